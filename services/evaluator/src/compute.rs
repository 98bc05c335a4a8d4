//! The one thread that computes.

mod logits;
mod tile;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use relief_api::{ApiError, ErrorReason};
use relief_nn::SessionError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use logits::{LogitsEvent, LogitsTask};
pub(crate) use tile::{TileEvent, TileTask};

/// What the thread is given.
#[derive(Debug)]
pub(crate) enum ComputeTask {
    /// Points to evaluate.
    Tile(TileTask),
    /// Logits to compute.
    Logits(LogitsTask),
}

/// The way to the compute thread: a queue of fixed length.
#[derive(Debug, Clone)]
pub(crate) struct ComputeQueue {
    tasks: mpsc::Sender<ComputeTask>,
}

impl ComputeQueue {
    /// Starts the thread, which ends when all queues are dropped, or after its present point when `shutdown` is
    /// cancelled.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(length: usize, shutdown: CancellationToken) -> std::io::Result<Self> {
        let (tasks, mut queue) = mpsc::channel::<ComputeTask>(length);
        thread::Builder::new().name("relief-compute".to_owned()).spawn(move || {
            while let Some(task) = queue.blocking_recv() {
                match task {
                    ComputeTask::Tile(task) => task.compute(&shutdown),
                    ComputeTask::Logits(task) => task.compute(&shutdown),
                }
            }
        })?;
        Ok(Self { tasks })
    }

    /// Puts a task into the queue.
    ///
    /// # Errors
    /// `QUEUE_FULL` when there is no room now.
    pub(crate) fn submit(&self, task: ComputeTask) -> Result<(), ApiError> {
        self.tasks.try_send(task).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                ApiError::new(ErrorReason::QueueFull, "all places in the queue are taken; try again later")
            }
            mpsc::error::TrySendError::Closed(_) => {
                ApiError::new(ErrorReason::ShuttingDown, "the evaluator is stopping")
            }
        })
    }
}

/// Runs the engine. One that panics fails its task, not the thread and every later one.
fn guarded<T>(work: impl FnOnce() -> Result<T, SessionError>) -> Result<T, ApiError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Err(ApiError::new(ErrorReason::EvaluationFailed, error.to_string())),
        Err(_) => {
            let message = "the engine panicked; the log of this evaluator says where";
            Err(ApiError::new(ErrorReason::Internal, message))
        }
    }
}

fn handed_back() -> ApiError {
    ApiError::new(ErrorReason::ShuttingDown, "the evaluator hands back what it has not computed")
}
