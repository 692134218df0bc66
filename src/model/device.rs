//! Where models run.

use std::fmt;
use std::str::FromStr;

use super::torch;
use crate::error::Error;

/// A device that computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Device {
    /// The processor.
    Cpu,
    /// A GPU, by its number from 0.
    Cuda(usize),
}

/// What a server was told to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// GPUs where there are some, else the CPU.
    #[default]
    Auto,
    /// The CPU, whatever there is.
    Cpu,
    /// Every GPU, or the one with this number.
    Cuda(Option<usize>),
}

impl DeviceChoice {
    /// The devices that it comes down to on this machine: the CPU, or at least one GPU.
    pub fn devices(self) -> Result<Vec<Device>, Error> {
        let found = torch();
        let gpus = || (0..found.cuda_devices.len()).map(Device::Cuda).collect::<Vec<_>>();
        let missing = || Err(Error::Unsupported(format!("--device {self}: {}", self.found())));
        match self {
            DeviceChoice::Cpu => Ok(vec![Device::Cpu]),
            DeviceChoice::Auto if found.cuda_devices.is_empty() => Ok(vec![Device::Cpu]),
            DeviceChoice::Cuda(None) if found.cuda_devices.is_empty() => missing(),
            DeviceChoice::Auto | DeviceChoice::Cuda(None) => Ok(gpus()),
            DeviceChoice::Cuda(Some(number)) if number < found.cuda_devices.len() => {
                Ok(vec![Device::Cuda(number)])
            }
            DeviceChoice::Cuda(Some(_)) => missing(),
        }
    }

    fn found(self) -> String {
        let torch = torch();
        if torch.cuda_devices.is_empty() {
            return format!("there is no CUDA device that it could use: {}", torch.cuda_reason);
        }
        format!("the CUDA devices here are {}", torch.cuda_devices.join(", "))
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let number = |number: &str| number.parse().ok().map(|number| DeviceChoice::Cuda(Some(number)));
        let known = match text {
            "auto" => Some(DeviceChoice::Auto),
            "cpu" => Some(DeviceChoice::Cpu),
            "cuda" => Some(DeviceChoice::Cuda(None)),
            text => text.strip_prefix("cuda:").and_then(number),
        };
        let range = "auto, cpu, cuda, or cuda:N with the number of a GPU".into();
        known.ok_or(Error::Range { what: "--device", value: format!("`{text}`"), range })
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(None) => f.write_str("cuda"),
            DeviceChoice::Cuda(Some(number)) => write!(f, "cuda:{number}"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}
