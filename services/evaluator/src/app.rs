//! The parts put together.

use std::sync::Arc;

use relief_api::evaluator::v1::evaluator_service_server::EvaluatorServiceServer;
use relief_core::NumericRequest;
use relief_nn::{CpuPath, DeviceChoice, DeviceChoiceError};
use relief_rpc::{MAX_MESSAGE_BYTES, ServiceHost};
use relief_store::Store;
use tokio_util::sync::CancellationToken;

use crate::compute::ComputeQueue;
use crate::difference::Differences;
use crate::grpc::EvaluatorHandler;
use crate::loader::Loader;
use crate::numerics::{NothingOffered, NumericOffers};

/// What an evaluator is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// What computes.
    pub device: DeviceChoice,
    /// Samples per forward pass of burn; part of its numeric classes.
    pub batch_size: usize,
    /// Tiles that may wait.
    pub queue: usize,
    /// What it may compute in, of all that the device offers.
    pub numerics: NumericRequest,
    /// The instructions that the cpu engine computes with; none for the fastest that the processor has.
    pub cpu_path: Option<CpuPath>,
    /// The bytes that a plane and its samples may take; none for any number.
    pub memory_limit: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            device: DeviceChoice::Cpu,
            batch_size: 128,
            queue: 4,
            numerics: NumericRequest::default(),
            cpu_path: None,
            memory_limit: None,
        }
    }
}

/// Why an evaluator cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// This build has no such device.
    #[error(transparent)]
    Device(#[from] DeviceChoiceError),
    /// The device offers nothing of what it may compute in.
    #[error(transparent)]
    Numerics(#[from] NothingOffered),
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
    /// When this build does not have the device, the device does not offer what it is restricted to, or the compute
    /// thread cannot be started.
    pub fn new(options: Options, store: Store, shutdown: CancellationToken) -> Result<Self, AppError> {
        let device = options.device.open()?;
        let device = match options.cpu_path {
            Some(path) => device.with_path(path),
            None => device,
        };
        let batch_size = options.batch_size.max(1);
        let numerics = Arc::new(NumericOffers::of(&device, batch_size, options.numerics)?);
        let queue = ComputeQueue::start(options.queue.max(1), shutdown.clone()).map_err(AppError::Thread)?;
        let differences = Arc::new(Differences::new(store.clone()));
        let loader = Arc::new(Loader::new(store, device, batch_size, options.memory_limit));
        Ok(Self { handler: EvaluatorHandler { loader, differences, queue, numerics, shutdown } })
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
