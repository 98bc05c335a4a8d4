//! The logits of samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relief_api::ApiError;
use relief_core::PointValue;
use relief_nn::{LogitsSpan, PlaneSession};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{guarded, handed_back};

/// What happens to a request for logits on the compute thread.
#[derive(Debug)]
pub(crate) enum LogitsEvent {
    /// Some are done.
    Span(LogitsSpan),
    /// All are done; they are worth so much.
    Finished(PointValue),
    /// The rest will not be done.
    Failed(ApiError),
}

/// Logits to compute.
#[derive(Debug)]
pub(crate) struct LogitsTask {
    /// What computes them; of a plane without directions.
    pub(crate) session: PlaneSession,
    /// Samples per span.
    pub(crate) n_samples: usize,
    /// Has room for every span and the end; when its receiver is gone the rest is not computed.
    pub(crate) events: mpsc::Sender<LogitsEvent>,
    /// Samples done.
    pub(crate) samples_done: Arc<AtomicU64>,
    /// The caller's span.
    pub(crate) span: tracing::Span,
}

impl LogitsTask {
    pub(super) fn compute(self, shutdown: &CancellationToken) {
        let end = match self.span.in_scope(|| self.compute_spans(shutdown)) {
            Ok(value) => LogitsEvent::Finished(value),
            Err(error) => LogitsEvent::Failed(error),
        };
        // The channel has room for the end; without a receiver nobody wants to know.
        let _ = self.events.try_send(end);
    }

    #[tracing::instrument(name = "evaluator.compute_logits", skip_all, fields(samples = self.session.n_samples()))]
    fn compute_spans(&self, shutdown: &CancellationToken) -> Result<PointValue, ApiError> {
        let mut inference = guarded(|| self.session.infer(&[]))?;
        while let Some(span) = guarded(|| inference.next_span(self.n_samples))? {
            if self.events.is_closed() || shutdown.is_cancelled() {
                return Err(handed_back());
            }
            self.samples_done.fetch_add(span.targets.len() as u64, Ordering::Relaxed);
            // As above: the channel has room for every span.
            let _ = self.events.try_send(LogitsEvent::Span(span));
        }
        Ok(inference.value())
    }
}
