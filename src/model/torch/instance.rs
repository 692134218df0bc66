//! A module that one thread runs.

use std::sync::Arc;

use super::module::{Mode, Module};
use super::plan::Plan;
use super::text;
use crate::error::Error;
use crate::model::backend::{Inputs, Model, Outputs};

/// What a thread runs. The module may be that of other instances too.
#[derive(Debug)]
pub struct Instance {
    pub module: Arc<Module>,
    pub mode: Mode,
    pub plan: Arc<Plan>,
}

impl Model for Instance {
    fn infer(&mut self, batch: &[Inputs]) -> Result<Vec<Outputs>, Error> {
        let inputs = self.plan.inputs(batch)?;
        let results = self.module.run(self.mode, &inputs);
        let results = results.map_err(|reason| Error::Model(text::essence(&reason)))?;
        self.plan.outputs(batch, &results.outputs())
    }
}
