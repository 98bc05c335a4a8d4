//! The logits of samples, span by span.

use std::ops::ControlFlow;

use relief_core::PointValue;

use super::{PlaneSession, SessionError};
use crate::loss::{self, BatchMetrics};
use crate::plane::Theta;

/// The evaluation of a point whose logits are kept: the same batches, so the same bits, as [`PlaneSession::evaluate`].
#[derive(Debug)]
pub struct Inference {
    session: PlaneSession,
    /// The parameters; none when their computation was broken off, which nobody does.
    theta: Option<Theta>,
    batches: Vec<BatchMetrics>,
    n_done: usize,
}

/// The logits of consecutive samples.
#[derive(Debug, Clone, PartialEq)]
pub struct LogitsSpan {
    /// The index of the first sample.
    pub first_sample: usize,
    /// Row-major (samples, classes).
    pub logits: Vec<f32>,
    /// The class of each sample.
    pub targets: Vec<u32>,
}

impl PlaneSession {
    /// Begins to compute the logits at `coefficients`, one per direction of the plane.
    ///
    /// # Errors
    /// When the number of coefficients is wrong.
    pub fn infer(&self, coefficients: &[f64]) -> Result<Inference, SessionError> {
        let theta = self.theta(coefficients, &mut |_| ControlFlow::Continue(()))?;
        Ok(Inference { session: self.clone(), theta, batches: Vec::new(), n_done: 0 })
    }

    /// The number of samples.
    #[must_use]
    pub fn n_samples(&self) -> usize {
        self.samples.n_samples()
    }

    /// The number of classes.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.plane.graph().n_classes()
    }
}

impl Inference {
    /// Returns the logits of the next samples, `n_samples` or a few more, so that batches stay whole; none after the
    /// last.
    ///
    /// # Errors
    /// When the device fails.
    pub fn next_span(&mut self, n_samples: usize) -> Result<Option<LogitsSpan>, SessionError> {
        let (session, first_sample) = (&self.session, self.n_done);
        let n_left = session.n_samples() - first_sample;
        if n_left == 0 {
            return Ok(None);
        }
        let Some(theta) = &self.theta else { return Ok(None) };
        let batch_len = session.batch_len(&session.samples);
        let n_batches = n_samples.clamp(1, n_left).div_ceil(batch_len);
        let batches = session.plane.device().map(
            n_batches,
            |idx| {
                let idx = first_sample / batch_len + idx;
                let targets = session.samples.batch_targets(idx, batch_len);
                let logits = session.forward(&session.samples, [idx, batch_len], theta)?;
                Ok((BatchMetrics::of(&logits, targets), logits, targets))
            },
            |_| ControlFlow::Continue(()),
        );
        let mut span = LogitsSpan { first_sample, logits: Vec::new(), targets: Vec::new() };
        for batch in batches.into_iter().flatten() {
            let (metrics, logits, targets) = batch?;
            self.n_done += targets.len();
            self.batches.push(metrics);
            span.logits.extend(logits);
            span.targets.extend(targets);
        }
        Ok(Some(span))
    }

    /// The mean cross entropy and the accuracy over the samples so far.
    #[must_use]
    pub fn value(&self) -> PointValue {
        loss::mean(&self.batches)
    }
}
