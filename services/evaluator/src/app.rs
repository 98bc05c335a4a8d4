//! The parts put together.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use relief_api::evaluator::v1::evaluator_service_server::EvaluatorServiceServer;
use relief_nn::Device;
use relief_rpc::{MAX_MESSAGE_BYTES, ServiceHost};
use relief_store::Store;
use tokio_util::sync::CancellationToken;

use crate::compute::ComputeQueue;
use crate::grpc::EvaluatorHandler;
use crate::loader::Loader;

/// What an evaluator is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// What computes.
    pub device: DeviceChoice,
    /// Samples per forward pass; part of the numeric class.
    pub batch_size: usize,
    /// Tiles that may wait.
    pub queue: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { device: DeviceChoice::Cpu, batch_size: 128, queue: 4 }
    }
}

/// What computes: `cpu`, or `cuda:N` in builds with the `cuda` feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// All cores of this machine.
    #[default]
    Cpu,
    /// The NVIDIA GPU of that number.
    Cuda(usize),
}

/// A text that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a device: cpu, cuda or cuda:N")]
pub struct DeviceChoiceError(String);

impl FromStr for DeviceChoice {
    type Err = DeviceChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", number)) => number.parse().map(Self::Cuda).map_err(|_| DeviceChoiceError(text.to_owned())),
            _ => Err(DeviceChoiceError(text.to_owned())),
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

/// Why an evaluator cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// This build has no such device.
    #[error("this build has no device {0}: build with the `cuda` feature, or choose cpu")]
    Device(DeviceChoice),
    /// The compute thread cannot be started.
    #[error("cannot start the compute thread")]
    Thread(#[source] std::io::Error),
}

/// An evaluator. Clones are the same one.
#[derive(Debug, Clone)]
pub struct App {
    handler: EvaluatorHandler,
}

impl App {
    /// Returns an evaluator that reads from `store`.
    ///
    /// # Errors
    /// When this build does not have the device, or the compute thread cannot be started.
    pub fn new(options: Options, store: Store, shutdown: CancellationToken) -> Result<Self, AppError> {
        let device = open_device(options.device)?;
        let batch_size = options.batch_size.max(1);
        let numeric_class = device.numeric_class(batch_size).into();
        let queue = ComputeQueue::start(options.queue.max(1), shutdown.clone()).map_err(AppError::Thread)?;
        let loader = Arc::new(Loader::new(store, device, batch_size));
        Ok(Self { handler: EvaluatorHandler { loader, queue, numeric_class, shutdown } })
    }

    /// Adds the evaluator service.
    pub fn add_to(&self, host: &mut ServiceHost) {
        let service = EvaluatorServiceServer::new(self.handler.clone());
        host.add(service.max_decoding_message_size(MAX_MESSAGE_BYTES));
    }

    /// Completes at once: nothing is loaded before it is named.
    pub async fn ready(&self) {}

    /// Waits for the shutdown.
    pub async fn run(&self) {
        self.handler.shutdown.cancelled().await;
    }
}

#[cfg(feature = "cuda")]
#[allow(clippy::unnecessary_wraps, reason = "fails in builds without the feature")]
fn open_device(choice: DeviceChoice) -> Result<Device, AppError> {
    Ok(match choice {
        DeviceChoice::Cpu => Device::cpu(),
        DeviceChoice::Cuda(number) => Device::cuda(number),
    })
}

#[cfg(not(feature = "cuda"))]
fn open_device(choice: DeviceChoice) -> Result<Device, AppError> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::cpu()),
        DeviceChoice::Cuda(_) => Err(AppError::Device(choice)),
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
        assert!("gpu".parse::<DeviceChoice>().is_err());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_the_build_lacks_is_refused() {
        assert!(matches!(open_device(DeviceChoice::Cuda(0)), Err(AppError::Device(_))));
    }
}
