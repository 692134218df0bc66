//! Which calls stream, as the descriptions of services tell.

use std::collections::HashSet;

use prost::Message;
use prost_types::FileDescriptorSet;

use crate::error::Error;

/// Paths of the calls in which a stream goes one way or both: `/package.Service/Method`.
#[derive(Debug, Clone, Default)]
pub struct Streams(HashSet<String>);

impl Streams {
    /// Adds those of the services of this set, as compilers of protocols write it, and gives the names of all services
    /// in it.
    pub fn add(&mut self, descriptors: &[u8]) -> Result<Vec<String>, Error> {
        let set = FileDescriptorSet::decode(descriptors)
            .map_err(|error| Error::Load(format!("this is no set of descriptors: {error}")))?;
        let mut services = Vec::new();
        for file in set.file {
            let package = file.package.filter(|package| !package.is_empty());
            let package = package.map(|package| package + ".").unwrap_or_default();
            for service in file.service {
                let name = format!("{package}{}", service.name.unwrap_or_default());
                for method in service.method {
                    if method.client_streaming == Some(true) || method.server_streaming == Some(true) {
                        self.0.insert(format!("/{name}/{}", method.name.unwrap_or_default()));
                    }
                }
                services.push(name);
            }
        }
        Ok(services)
    }

    /// Whether the call of this path is one.
    pub fn contains(&self, path: &str) -> bool {
        self.0.contains(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_told_from_other_calls() {
        let mut streams = Streams::default();
        let services = streams.add(crate::proto::DESCRIPTORS).unwrap();
        assert!(services.iter().any(|name| name == "ImageTest"), "{services:?}");
        for path in ["/ImageTest/Analyse", "/inference.GRPCInferenceService/ModelStreamInfer"] {
            assert!(streams.contains(path), "{path}");
        }
        for path in ["/ImageTest/Describe", "/inference.GRPCInferenceService/ModelInfer", "/", ""] {
            assert!(!streams.contains(path), "{path}");
        }
        assert!(Streams::default().add(b"no descriptors").is_err());
    }
}
