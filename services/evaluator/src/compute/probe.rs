//! The same points in two precisions.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relief_api::ApiError;
use relief_core::PointValues;
use relief_nn::{Evaluation, PlaneSession};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{guarded, handed_back};
use crate::numerics::Probe;

/// Points to try.
#[derive(Debug)]
pub(crate) struct ProbeTask {
    /// What evaluates them in float32.
    pub(crate) exact: PlaneSession,
    /// What evaluates them in the shorter precision.
    pub(crate) short: PlaneSession,
    /// The coefficients (a, b) of each.
    pub(crate) points: Vec<(f64, f64)>,
    /// The number of directions of the plane.
    pub(crate) n_directions: usize,
    /// When its receiver is gone the rest is not computed.
    pub(crate) done: oneshot::Sender<Result<Vec<Probe>, ApiError>>,
    /// Samples done of the present point.
    pub(crate) samples_done: Arc<AtomicU64>,
    /// The caller's span.
    pub(crate) span: tracing::Span,
}

impl ProbeTask {
    pub(super) fn compute(self, shutdown: &CancellationToken) {
        let probes = self.span.in_scope(|| self.compute_probes(shutdown));
        // Without a receiver nobody wants to know.
        let _ = self.done.send(probes);
    }

    #[tracing::instrument(name = "evaluator.probe", skip_all, fields(points = self.points.len()))]
    fn compute_probes(&self, shutdown: &CancellationToken) -> Result<Vec<Probe>, ApiError> {
        let probe = |at: &(f64, f64)| {
            if shutdown.is_cancelled() {
                return Err(handed_back());
            }
            let coefficients = &[at.0, at.1][..self.n_directions.min(2)];
            let (exact, short) = (self.value(&self.exact, coefficients)?, self.value(&self.short, coefficients)?);
            Ok(Probe { at: *at, exact, short })
        };
        self.points.iter().map(probe).collect()
    }

    fn value(&self, session: &PlaneSession, coefficients: &[f64]) -> Result<PointValues, ApiError> {
        let mut on_batch = |n_done: usize| {
            self.samples_done.store(n_done as u64, Ordering::Relaxed);
            if self.done.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match guarded(|| session.evaluate(coefficients, &mut on_batch))? {
            Evaluation::Done(values) => Ok(values),
            Evaluation::Cancelled => Err(handed_back()),
        }
    }
}
