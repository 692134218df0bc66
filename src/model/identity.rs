//! A model that gives back what it was given: to try clients with, and to measure what is not the model.

use std::path::Path;
use std::sync::Arc;

use super::backend::{Backend, Inputs, Model, Opened, Outputs};
use super::device::Device;
use super::settings::Settings;
use crate::error::Error;

/// Serves models whose outputs are their inputs, in order.
#[derive(Debug)]
pub struct Identity;

impl Backend for Identity {
    fn open(&self, settings: &Arc<Settings>, _: &Path) -> Result<Box<dyn Opened>, Error> {
        let (inputs, outputs) = (&settings.signature.inputs, &settings.signature.outputs);
        let alike = inputs.len() == outputs.len()
            && inputs.iter().zip(outputs).all(|(input, output)| {
                input.datatype == output.datatype && input.dims == output.dims && !input.optional
            });
        if !alike {
            let reason = "an identity model has as many outputs as inputs, of the same types and dims";
            return Err(Error::Load(reason.into()));
        }
        Ok(Box::new(Identity))
    }
}

impl Opened for Identity {
    fn instance(&self, _: Device) -> Result<Box<dyn Model>, Error> {
        Ok(Box::new(Identity))
    }
}

impl Model for Identity {
    fn infer(&mut self, batch: &[Inputs]) -> Result<Vec<Outputs>, Error> {
        Ok(batch.iter().map(|inputs| inputs.iter().flatten().cloned().collect()).collect())
    }
}
