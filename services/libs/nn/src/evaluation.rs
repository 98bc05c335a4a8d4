//! The metrics at the points of a plane.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::Tensor;
use relief_core::{BatchNormMode, PointValue, PointValues};
use relief_graph::InputShape;

use crate::loss::{self, BatchMetrics};
use crate::plane::ResidentPlane;
use crate::program::Statistics;
use crate::sample::{ResidentSamples, stray_target};

mod inference;
mod statistics;
#[cfg(test)]
mod tests;

pub use inference::{Inference, LogitsSpan};

/// A plane and samples, to be evaluated at any number of points.
#[derive(Debug, Clone)]
pub struct PlaneSession {
    plane: Arc<ResidentPlane>,
    samples: Arc<ResidentSamples>,
    /// Those of a second split.
    also: Option<Arc<ResidentSamples>>,
    /// What the running statistics are estimated from at each point, where they are.
    statistics: Option<Arc<ResidentSamples>>,
    batch_size: usize,
}

/// How the evaluation of a point ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Evaluation {
    /// With its values.
    Done(PointValues),
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
    /// Nothing to estimate running statistics from.
    #[error("running statistics are to be recomputed, and there are no samples to recompute them from")]
    NoStatistics,
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
        check_samples(&plane, &samples)?;
        Ok(Self { plane, samples, also: None, statistics: None, batch_size })
    }

    /// Evaluates a second split too, at the same points.
    ///
    /// # Errors
    /// When the samples have another shape or more classes than the network.
    pub fn with_also(mut self, samples: Arc<ResidentSamples>) -> Result<Self, SessionError> {
        check_samples(&self.plane, &samples)?;
        self.also = Some(samples);
        Ok(self)
    }

    /// Gives what the running statistics are estimated from at each point, for planes of the mode `recomputed`.
    ///
    /// # Errors
    /// When the samples have another shape or more classes than the network.
    pub fn with_statistics(mut self, samples: Arc<ResidentSamples>) -> Result<Self, SessionError> {
        check_samples(&self.plane, &samples)?;
        self.statistics = Some(samples);
        Ok(self)
    }

    /// Returns the mean cross entropy, squared error and accuracy at `coefficients`, one per direction of the plane.
    ///
    /// `on_batch` is called on this thread with the number of samples done so far, of all splits, after each batch; where
    /// it breaks, the evaluation is cancelled, after at most a batch per thread.
    ///
    /// # Errors
    /// When the number of coefficients is wrong, there is nothing to recompute the running statistics from, or the device
    /// fails.
    pub fn evaluate(
        &self,
        coefficients: &[f64],
        on_batch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Evaluation, SessionError> {
        let mut n_done = 0;
        let mut progress = |n_samples: usize| {
            n_done += n_samples;
            on_batch(n_done)
        };
        let Some(parameters) = self.parameters(coefficients, &mut progress)? else { return Ok(Evaluation::Cancelled) };
        let Some(main) = self.evaluate_split(&self.samples, &parameters, &mut progress)? else {
            return Ok(Evaluation::Cancelled);
        };
        let also = match &self.also {
            None => None,
            Some(samples) => match self.evaluate_split(samples, &parameters, &mut progress)? {
                None => return Ok(Evaluation::Cancelled),
                also => also,
            },
        };
        Ok(Evaluation::Done(PointValues { main, also }))
    }

    /// The means over `samples`, or none when `on_batch` breaks off.
    fn evaluate_split(
        &self,
        samples: &ResidentSamples,
        parameters: &[Tensor<1>],
        on_batch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<PointValue>, SessionError> {
        let batches = self.plane.device().map(
            samples.n_batches(self.batch_size),
            |idx| {
                let batch = samples.batch(idx, self.batch_size);
                Ok(BatchMetrics::of(&self.forward(batch.inputs, parameters)?, batch.targets))
            },
            |batch: &Result<BatchMetrics, SessionError>| match batch {
                Ok(batch) => on_batch(batch.losses.len()),
                Err(_) => ControlFlow::Continue(()),
            },
        );
        let Some(batches) = batches else { return Ok(None) };
        Ok(Some(loss::mean(&batches.into_iter().collect::<Result<Vec<_>, _>>()?)))
    }

    /// The parameters at `coefficients`, running statistics included, or none when `on_batch` breaks off.
    fn parameters(
        &self,
        coefficients: &[f64],
        on_batch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Tensor<1>>>, SessionError> {
        let (expected, found) = (self.plane.n_directions(), coefficients.len());
        if expected != found {
            return Err(SessionError::Coefficients { expected, found });
        }
        let parameters = self.plane.parameters(coefficients);
        let has_statistics = self.plane.graph().parameters().iter().any(|parameter| !parameter.kind.is_trainable());
        match (self.plane.batch_norm(), &self.statistics) {
            _ if !has_statistics => Ok(Some(parameters)),
            (BatchNormMode::Recomputed, None) => Err(SessionError::NoStatistics),
            (BatchNormMode::Recomputed, Some(samples)) => {
                statistics::recompute(&self.plane, samples, parameters, on_batch)
            }
            (BatchNormMode::Frozen | BatchNormMode::Interpolated, _) => Ok(Some(parameters)),
        }
    }

    /// The logits of a batch, row-major.
    fn forward(&self, inputs: Tensor<4>, parameters: &[Tensor<1>]) -> Result<Vec<f32>, SessionError> {
        let logits = self.plane.program().forward(parameters, inputs, Statistics::Running);
        host_values(logits).map_err(SessionError::Device)
    }
}

fn check_samples(plane: &ResidentPlane, samples: &ResidentSamples) -> Result<(), SessionError> {
    let (expected, found) = (plane.graph().input_shape(), samples.shape());
    if expected != found {
        return Err(SessionError::InputShape { expected, found });
    }
    let n_classes = plane.graph().n_classes();
    match stray_target(samples.targets(), n_classes) {
        Some((sample, target)) => Err(SessionError::Target { sample, target, n_classes }),
        None => Ok(()),
    }
}

/// The values of a tensor, row-major, on the host.
pub(crate) fn host_values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, String> {
    let data = tensor.try_into_data().map_err(|error| error.to_string())?;
    data.try_into_vec().map_err(|error| error.to_string())
}
