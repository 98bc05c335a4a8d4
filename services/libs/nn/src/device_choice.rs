//! The choice of what computes.

use std::fmt;
use std::str::FromStr;

use crate::device::Device;

/// What computes: `cpu`, or `cuda:N` in builds with the `cuda` feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// All cores of this machine.
    #[default]
    Cpu,
    /// The NVIDIA GPU of that number.
    Cuda(usize),
}

/// Why there is no such device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceChoiceError {
    /// A text that names no device.
    #[error("`{0}` is not a device: cpu, cuda or cuda:N")]
    Form(String),
    /// This build does not have it.
    #[error("this build has no device {0}: build with the `cuda` feature, or choose cpu")]
    Absent(DeviceChoice),
}

impl DeviceChoice {
    /// Opens the device.
    ///
    /// # Errors
    /// When this build does not have it.
    #[cfg(feature = "cuda")]
    #[allow(clippy::unnecessary_wraps, reason = "fails in builds without the feature")]
    pub fn open(self) -> Result<Device, DeviceChoiceError> {
        Ok(match self {
            Self::Cpu => Device::cpu(),
            Self::Cuda(number) => Device::cuda(number),
        })
    }

    /// Opens the device.
    ///
    /// # Errors
    /// When this build does not have it.
    #[cfg(not(feature = "cuda"))]
    pub fn open(self) -> Result<Device, DeviceChoiceError> {
        match self {
            Self::Cpu => Ok(Device::cpu()),
            Self::Cuda(_) => Err(DeviceChoiceError::Absent(self)),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = DeviceChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || DeviceChoiceError::Form(text.to_owned());
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", number)) => number.parse().map(Self::Cuda).map_err(|_| refuse()),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_survive_their_text() {
        for device in [DeviceChoice::Cpu, DeviceChoice::Cuda(3)] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        for bad in ["gpu", "cuda:", "cuda:x", "cpu:0"] {
            assert!(bad.parse::<DeviceChoice>().is_err(), "{bad}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_the_build_lacks_is_refused() {
        let choice = DeviceChoice::Cuda(0);
        assert_eq!(choice.open().map(|_| ()), Err(DeviceChoiceError::Absent(choice)));
    }
}
