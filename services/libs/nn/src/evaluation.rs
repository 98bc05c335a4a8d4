//! The metrics at the points of a plane.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::Tensor;
use relief_core::PointValue;
use relief_graph::InputShape;

use crate::loss::{self, BatchMetrics};
use crate::plane::ResidentPlane;
use crate::program::Statistics;
use crate::sample::{ResidentSamples, stray_target};

mod inference;
#[cfg(test)]
mod tests;

pub use inference::{Inference, LogitsSpan};

/// A plane and samples, to be evaluated at any number of points.
#[derive(Debug, Clone)]
pub struct PlaneSession {
    plane: Arc<ResidentPlane>,
    samples: Arc<ResidentSamples>,
    batch_size: usize,
}

/// How the evaluation of a point ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Evaluation {
    /// With its value.
    Done(PointValue),
    /// Its caller broke it off.
    Cancelled,
}

/// Why a point cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// No samples in a batch.
    #[error("the batch size is 0; it must be at least 1")]
    BatchSize,
    /// Images of another shape than the network takes.
    #[error("the samples have shape {found}; the network takes {expected}")]
    InputShape {
        /// The network's input.
        expected: InputShape,
        /// The samples'.
        found: InputShape,
    },
    /// A class that the network does not have.
    #[error("sample {sample} has target {target}; the network has the classes 0 to {}", n_classes - 1)]
    Target {
        /// The sample's index, from 0.
        sample: usize,
        /// Its target.
        target: u32,
        /// The number of classes.
        n_classes: usize,
    },
    /// Not one coefficient for each direction.
    #[error("{found} coefficients for a plane of {expected} directions")]
    Coefficients {
        /// The number of directions.
        expected: usize,
        /// The number of coefficients.
        found: usize,
    },
    /// The device did not compute.
    #[error("the device failed: {0}")]
    Device(String),
}

impl PlaneSession {
    /// Returns the session that evaluates `samples` on `plane` in batches of `batch_size`, the last one short. Both must
    /// lie on the same device.
    ///
    /// # Errors
    /// When the batch size is 0, or the samples have another shape or more classes than the network.
    pub fn open(
        plane: Arc<ResidentPlane>,
        samples: Arc<ResidentSamples>,
        batch_size: usize,
    ) -> Result<Self, SessionError> {
        if batch_size == 0 {
            return Err(SessionError::BatchSize);
        }
        let (expected, found) = (plane.graph().input_shape(), samples.shape());
        if expected != found {
            return Err(SessionError::InputShape { expected, found });
        }
        let n_classes = plane.graph().n_classes();
        if let Some((sample, target)) = stray_target(samples.targets(), n_classes) {
            return Err(SessionError::Target { sample, target, n_classes });
        }
        Ok(Self { plane, samples, batch_size })
    }

    /// Returns the mean cross entropy and the accuracy at `coefficients`, one per direction of the plane.
    ///
    /// `on_batch` is called on this thread with the number of samples done so far, after each batch; where it breaks,
    /// the evaluation is cancelled, after at most a batch per thread.
    ///
    /// # Errors
    /// When the number of coefficients is wrong or the device fails.
    pub fn evaluate(
        &self,
        coefficients: &[f64],
        on_batch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Evaluation, SessionError> {
        let parameters = self.parameters(coefficients)?;
        let n_batches = self.samples.n_samples().div_ceil(self.batch_size);
        let mut n_done = 0;
        let batches = self.plane.device().map(
            n_batches,
            |idx| self.evaluate_batch(idx * self.batch_size, &parameters),
            |batch| match batch {
                Ok(batch) => {
                    n_done += batch.losses.len();
                    on_batch(n_done)
                }
                Err(_) => ControlFlow::Continue(()),
            },
        );
        match batches {
            None => Ok(Evaluation::Cancelled),
            Some(batches) => Ok(Evaluation::Done(loss::mean(&batches.into_iter().collect::<Result<Vec<_>, _>>()?))),
        }
    }

    fn parameters(&self, coefficients: &[f64]) -> Result<Vec<Tensor<1>>, SessionError> {
        let (expected, found) = (self.plane.n_directions(), coefficients.len());
        if expected != found {
            return Err(SessionError::Coefficients { expected, found });
        }
        Ok(self.plane.parameters(coefficients))
    }

    fn evaluate_batch(&self, start: usize, parameters: &[Tensor<1>]) -> Result<BatchMetrics, SessionError> {
        let logits = self.forward_batch(start, parameters)?;
        Ok(BatchMetrics::of(&logits, self.targets(start)))
    }

    /// The logits of the batch that begins with sample `start`, row-major.
    fn forward_batch(&self, start: usize, parameters: &[Tensor<1>]) -> Result<Vec<f32>, SessionError> {
        let input = self.samples.inputs(start, self.targets(start).len());
        let logits = self.plane.program().forward(parameters, input, Statistics::Running);
        host_values(logits).map_err(SessionError::Device)
    }

    /// The targets of the batch that begins with sample `start`.
    fn targets(&self, start: usize) -> &[u32] {
        let targets = self.samples.targets();
        &targets[start..(start + self.batch_size).min(targets.len())]
    }
}

/// The values of a tensor, row-major, on the host.
pub(crate) fn host_values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, String> {
    let data = tensor.try_into_data().map_err(|error| error.to_string())?;
    data.try_into_vec().map_err(|error| error.to_string())
}
