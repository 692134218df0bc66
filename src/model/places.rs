//! On which devices the instances of a model run.

use super::device::Device;
use super::settings::{Instances, Place, Settings};
use super::version::Means;
use crate::error::Error;

/// Instances of a model on each GPU, where the configuration does not say how many. While one computes, pictures and
/// results of the other go up and down: each has a stream of its own, and they share the weights. One alone would leave
/// the GPU idle for as long as they take, and a third finds nothing to do.
const GPU_INSTANCES: usize = 2;

impl Means {
    /// A device for each instance of a model.
    pub fn places(&self, settings: &Settings) -> Result<Vec<Device>, Error> {
        let unsaid = [Instances { count: 0, place: Place::Auto }];
        let groups = if settings.instances.is_empty() { &unsaid[..] } else { &settings.instances };
        let mut places = Vec::new();
        for Instances { count, place } in groups {
            let devices = self.devices(place)?;
            let each = match count {
                0 if devices == [Device::Cpu] && settings.instances.is_empty() => self.cpu_instances,
                // A group of its own is one instance there.
                0 if devices == [Device::Cpu] => 1,
                0 => GPU_INSTANCES,
                count => *count,
            };
            places.extend(devices.iter().flat_map(|device| std::iter::repeat_n(*device, each)));
        }
        Ok(places)
    }

    /// Whether the CPU is all that a model runs on.
    pub fn is_cpu_alone(&self, settings: &Settings) -> bool {
        let gpus = self.devices.iter().any(|device| *device != Device::Cpu);
        !gpus
            || (!settings.instances.is_empty() && settings.instances.iter().all(|of| of.place == Place::Cpu))
    }

    fn devices(&self, place: &Place) -> Result<Vec<Device>, Error> {
        let gpus: Vec<_> = self.devices.iter().copied().filter(|device| *device != Device::Cpu).collect();
        let wanted = match place {
            Place::Cpu => return Ok(vec![Device::Cpu]),
            Place::Auto => return Ok(self.devices.clone()),
            Place::Gpus(_) if self.cpu_only => {
                tracing::warn!("a model that wants a GPU runs on the CPU, as --device cpu says");
                return Ok(vec![Device::Cpu]);
            }
            Place::Gpus(numbers) if gpus.is_empty() => {
                let reason = "instance_group wants a GPU (KIND_GPU), and this server uses none: run it with \
                              --device cpu to have such models on the CPU";
                let which = if numbers.is_empty() { String::new() } else { format!(" (gpus: {numbers:?})") };
                return Err(Error::Load(format!("{reason}{which}")));
            }
            Place::Gpus(numbers) if numbers.is_empty() => return Ok(gpus),
            Place::Gpus(numbers) => numbers,
        };
        let known = |number: &usize| {
            let device = Device::Cuda(*number);
            let have = gpus.iter().map(Device::to_string).collect::<Vec<_>>().join(", ");
            let reason =
                || Error::Load(format!("instance_group wants {device}, and this server uses {have}"));
            gpus.contains(&device).then_some(device).ok_or_else(reason)
        };
        wanted.iter().map(known).collect()
    }
}
