//! The points of a tile.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use relief_api::ApiError;
use relief_core::PointValues;
use relief_nn::{Evaluation, PlaneSession};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{guarded, handed_back};

/// What happens to a tile on the compute thread.
#[derive(Debug)]
pub(crate) enum TileEvent {
    /// A point is done.
    Point {
        /// Its place in the tile.
        idx: u32,
        /// Its metrics.
        values: PointValues,
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
pub(crate) struct TileTask {
    /// What evaluates its points.
    pub(crate) session: PlaneSession,
    /// The coefficients of each point, one per direction.
    pub(crate) points: Vec<Vec<f64>>,
    /// Has room for every point and the end; when its receiver is gone the rest is not computed.
    pub(crate) events: mpsc::Sender<TileEvent>,
    /// Samples done of the present point, of all splits.
    pub(crate) samples_done: Arc<AtomicU64>,
    /// The caller's span.
    pub(crate) span: tracing::Span,
}

impl TileTask {
    pub(super) fn compute(self, shutdown: &CancellationToken) {
        let start = Instant::now();
        let end = match self.span.in_scope(|| self.compute_points(shutdown)) {
            Ok(()) => {
                TileEvent::Finished { n_points: self.points.len() as u32, seconds: start.elapsed().as_secs_f64() }
            }
            Err(error) => TileEvent::Failed(error),
        };
        // The channel has room for the end; without a receiver nobody wants to know.
        let _ = self.events.try_send(end);
    }

    #[tracing::instrument(name = "evaluator.compute", skip_all, fields(points = self.points.len()))]
    fn compute_points(&self, shutdown: &CancellationToken) -> Result<(), ApiError> {
        for (idx, coefficients) in self.points.iter().enumerate() {
            if self.events.is_closed() || shutdown.is_cancelled() {
                return Err(handed_back());
            }
            let mut on_batch = |n_done: usize| {
                self.samples_done.store(n_done as u64, Ordering::Relaxed);
                // A point that is begun is finished within the grace period; one that nobody waits for is not.
                if self.events.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let evaluated = guarded(|| self.session.evaluate(coefficients, &mut on_batch));
            self.samples_done.store(0, Ordering::Relaxed);
            match evaluated? {
                Evaluation::Done(values) => {
                    // As above: the channel has room for every point.
                    let _ = self.events.try_send(TileEvent::Point { idx: idx as u32, values });
                }
                Evaluation::Cancelled => return Err(handed_back()),
            }
        }
        Ok(())
    }
}
