//! The one thread that computes.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use relief_api::{ApiError, ErrorReason};
use relief_core::PointValue;
use relief_nn::{Evaluation, PlaneSession};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What happens to a tile on the compute thread.
#[derive(Debug)]
pub(crate) enum ComputeEvent {
    /// A point is done.
    Point {
        /// Its place in the tile.
        idx: u32,
        /// Its metrics.
        value: PointValue,
    },
    /// All points are done.
    Finished {
        /// How many they were.
        n_points: u32,
        /// The time that they took.
        seconds: f64,
    },
    /// The rest of the points will not be done.
    Failed(ApiError),
}

/// A tile to compute.
#[derive(Debug)]
pub(crate) struct ComputeTask {
    /// What evaluates its points.
    pub(crate) session: PlaneSession,
    /// The coefficients of each point, one per direction.
    pub(crate) points: Vec<Vec<f64>>,
    /// Has room for every point and the end; when its receiver is gone the rest is not computed.
    pub(crate) events: mpsc::Sender<ComputeEvent>,
    /// Samples done of the present point.
    pub(crate) samples_done: Arc<AtomicU64>,
    /// The caller's span.
    pub(crate) span: tracing::Span,
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
                let span = task.span.clone();
                let end = span.in_scope(|| compute(&task, &shutdown));
                // The channel has room for the end; without a receiver nobody wants to know.
                let _ = task.events.try_send(end);
            }
        })?;
        Ok(Self { tasks })
    }

    /// Puts a tile into the queue.
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

#[tracing::instrument(name = "evaluator.compute", skip_all, fields(points = task.points.len()))]
fn compute(task: &ComputeTask, shutdown: &CancellationToken) -> ComputeEvent {
    let start = Instant::now();
    let is_unwanted = || task.events.is_closed() || shutdown.is_cancelled();
    for (idx, coefficients) in task.points.iter().enumerate() {
        if is_unwanted() {
            return ComputeEvent::Failed(handed_back());
        }
        let mut on_batch = |n_done: usize| {
            task.samples_done.store(n_done as u64, Ordering::Relaxed);
            // A point that is begun is finished within the grace period; one that nobody waits for is not.
            if task.events.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        // An engine that panics fails this tile, not the thread and every later one.
        let evaluated = catch_unwind(AssertUnwindSafe(|| task.session.evaluate(coefficients, &mut on_batch)));
        task.samples_done.store(0, Ordering::Relaxed);
        match evaluated {
            Ok(Ok(Evaluation::Done(value))) => {
                // As above: the channel has room for every point.
                let _ = task.events.try_send(ComputeEvent::Point { idx: idx as u32, value });
            }
            Ok(Ok(Evaluation::Cancelled)) => return ComputeEvent::Failed(handed_back()),
            Ok(Err(error)) => {
                return ComputeEvent::Failed(ApiError::new(ErrorReason::EvaluationFailed, error.to_string()));
            }
            Err(_) => {
                let message = "the engine panicked; the log of this evaluator says where";
                return ComputeEvent::Failed(ApiError::new(ErrorReason::Internal, message));
            }
        }
    }
    ComputeEvent::Finished { n_points: task.points.len() as u32, seconds: start.elapsed().as_secs_f64() }
}

fn handed_back() -> ApiError {
    ApiError::new(ErrorReason::ShuttingDown, "the evaluator hands the rest of the tile back")
}
