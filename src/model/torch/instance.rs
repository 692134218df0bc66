//! A module that one thread runs.

use std::sync::Arc;

use super::module::{Mode, Module, Staging};
use super::plan::Plan;
use super::text;
use crate::error::Error;
use crate::model::backend::{Inputs, Model, Outputs, Pixels};

/// What a thread runs. The module may be that of other instances too.
#[derive(Debug)]
pub struct Instance {
    pub module: Arc<Module>,
    pub mode: Mode,
    pub plan: Arc<Plan>,
    pub staging: Staging,
}

impl Model for Instance {
    fn infer(&mut self, batch: &[Inputs]) -> Result<Vec<Outputs>, Error> {
        self.infer_pixels(batch, Pixels::default())
    }

    fn infer_pixels(&mut self, batch: &[Inputs], pixels: Pixels) -> Result<Vec<Outputs>, Error> {
        let inputs = self.plan.inputs(batch, pixels)?;
        let picture = self.plan.picture(pixels)?;
        let results = self.module.run_through(&mut self.staging, self.mode, &inputs, picture);
        let results = results.map_err(|reason| self.failed(&reason))?;
        self.plan.outputs(batch, &results.outputs(), picture)
    }
}

impl Instance {
    /// A GPU without room for a batch goes on with the next one. One that failed says so whatever it is asked.
    fn failed(&self, reason: &str) -> Error {
        let why = text::essence(reason);
        match self.module.check_device() {
            Ok(()) => Error::Model(why),
            Err(_) => Error::Device(why),
        }
    }
}
