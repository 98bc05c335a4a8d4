//! The one thread that computes.

mod logits;
mod probe;
mod tile;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use relief_api::{ApiError, ErrorReason};
use relief_nn::SessionError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use logits::{LogitsEvent, LogitsTask};
pub(crate) use probe::ProbeTask;
pub(crate) use tile::{TileEvent, TileTask};

/// What the thread is given.
#[derive(Debug)]
pub(crate) enum ComputeTask {
    /// Points to evaluate.
    Tile(TileTask),
    /// Logits to compute.
    Logits(LogitsTask),
    /// Points to evaluate in two precisions.
    Probe(ProbeTask),
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
                    ComputeTask::Probe(task) => task.compute(&shutdown),
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
        Err(panic) if is_out_of_memory(&*panic) => {
            let message =
                "the device has not enough memory for a batch; start the evaluator with a smaller --batch-size";
            Err(ApiError::new(ErrorReason::OutOfMemory, message))
        }
        Err(_) => {
            let message = "the engine panicked; the log of this evaluator says where";
            Err(ApiError::new(ErrorReason::Internal, message))
        }
    }
}

/// Whether an engine panicked for want of memory, which it has no other way to tell.
fn is_out_of_memory(panic: &(dyn Any + Send)) -> bool {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or_default().to_lowercase();
    ["out of memory", "outofmemory", "out_of_memory", "can't allocate"].iter().any(|words| text.contains(words))
}

fn handed_back() -> ApiError {
    ApiError::new(ErrorReason::ShuttingDown, "the evaluator hands back what it has not computed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_panics_fails_its_task_with_the_reason() {
        let reason = |text: &'static str| guarded::<()>(|| panic!("{text}")).expect_err("a panic").reason;
        assert_eq!(reason("CUDA_ERROR_OUT_OF_MEMORY: out of memory"), ErrorReason::OutOfMemory);
        assert_eq!(reason("index out of bounds"), ErrorReason::Internal);
        assert_eq!(guarded(|| Ok(7)), Ok(7));
    }
}
