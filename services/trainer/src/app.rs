//! The service as its process, or a test, holds it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use relief_api::training::v1::training_service_server::TrainingServiceServer;
use relief_nn::{DeviceChoice, DeviceChoiceError};
use relief_rpc::{MAX_MESSAGE_BYTES, ServiceHost};
use relief_store::Store;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::grpc::Service;
use crate::trainer::Trainer;
use crate::worker::{Job, Worker};

/// Runs that wait for their turn; more are refused with `QUEUE_FULL`.
const MAX_WAITING: usize = 256;

/// How long a run may take to end when the service stops: a step, a batch of an evaluation, and a write.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// What can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What computes.
    pub device: DeviceChoice,
    /// Samples per batch when a snapshot is evaluated, at least 1. With the evaluators' value the losses of a snapshot
    /// and of a surface around it that is asked for in float32 are of one numeric class.
    pub batch_size: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { device: DeviceChoice::Cpu, batch_size: 128 }
    }
}

/// Why the service cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppError {
    /// No samples in a batch.
    #[error("the batch size is 0; it must be at least 1")]
    BatchSize,
    /// This build has no such device.
    #[error(transparent)]
    Device(#[from] DeviceChoiceError),
}

/// The trainer. A clone is the same one.
#[derive(Debug, Clone)]
pub struct App {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    trainer: Arc<Trainer>,
    /// Taken by the one call of `run`.
    waiting: Mutex<Option<mpsc::Receiver<Job>>>,
    /// Cancelled once the runs that an earlier process left behind are dealt with.
    is_ready: CancellationToken,
    shutdown: CancellationToken,
}

impl App {
    /// Returns the service over `store`; `shutdown` ends its streams and its runs.
    ///
    /// # Errors
    /// When an option is out of bounds.
    pub fn new(options: Options, store: Store, shutdown: CancellationToken) -> Result<Self, AppError> {
        if options.batch_size == 0 {
            return Err(AppError::BatchSize);
        }
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let trainer = Trainer::new(store, options.device.open()?, options.batch_size, queue, shutdown.clone());
        let waiting = Mutex::new(Some(waiting));
        let is_ready = CancellationToken::new();
        Ok(Self { inner: Arc::new(Inner { trainer: Arc::new(trainer), waiting, is_ready, shutdown }) })
    }

    /// Adds `relief.training.v1.TrainingService`.
    pub fn add_to(&self, host: &mut ServiceHost) {
        host.add(
            TrainingServiceServer::new(Service::new(self.inner.trainer.clone()))
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        );
    }

    /// Completes when the runs that an earlier process left behind are marked as failed, which [`App::run`] does first.
    pub async fn ready(&self) {
        self.inner.is_ready.cancelled().await;
    }

    /// Trains what is accepted until the shutdown. The run at work then ends after its present step as failed, like those
    /// that wait; returns when that is stored, or after 20 seconds. Only the first call does anything.
    pub async fn run(&self) {
        let inner = &self.inner;
        let waiting = inner.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(waiting) = waiting else { return };
        let (ended, mut has_ended) = oneshot::channel::<()>();
        let worker = Worker::new(&inner.trainer, Handle::current());
        let thread = std::thread::Builder::new().name("relief-trainer".to_owned()).spawn(move || {
            worker.work(waiting);
            drop(ended);
        });
        if let Err(error) = thread {
            tracing::error!(%error, "cannot start the training thread");
            return;
        }
        inner.trainer.adopt().await;
        inner.is_ready.cancel();
        tokio::select! {
            () = inner.shutdown.cancelled() => {}
            _ = &mut has_ended => return,
        }
        if tokio::time::timeout(STOP_LIMIT, has_ended).await.is_err() {
            tracing::warn!(limit_seconds = STOP_LIMIT.as_secs(), "a run did not end in time");
        }
    }

    #[cfg(test)]
    pub(crate) fn service(&self) -> Service {
        Service::new(self.inner.trainer.clone())
    }
}
