//! The metrics at the points of a plane.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::Tensor;
use relief_core::{BatchNormMode, Engine, PointValue, PointValues};
use relief_graph::InputShape;

use crate::loss::{self, BatchMetrics};
use crate::plane::{ResidentPlane, Theta};
use crate::program::Statistics;
use crate::sample::{ResidentSamples, stray_target};
use crate::transfer;

#[cfg(test)]
mod engine_tests;
mod inference;
mod statistics;
#[cfg(test)]
mod tests;

pub use inference::{Inference, LogitsSpan};

/// The most samples that a thread of the cpu engine takes at once; a value does not depend on it.
const CPU_BATCH: usize = 32;
/// How often each thread takes samples at least, so that none is left to wait for long.
const CPU_TURNS: usize = 4;

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

/// A part of the evaluation of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The parameters are at the point.
    Displaced,
    /// They are as the engine reads them.
    Packed,
    /// The logits of a batch are there.
    Forwarded,
    /// The metrics of a batch are there.
    Reduced,
}

/// Why a point cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Samples that lie as another engine reads them.
    #[error("the samples lie as the {found} engine reads them; the plane is computed by {expected}")]
    Engine {
        /// The plane's.
        expected: Engine,
        /// The samples'.
        found: Engine,
    },
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
    /// Returns the session that evaluates `samples` on `plane`, with burn in batches of `batch_size`, the last one short.
    /// Both must lie on the same device, as the same engine reads them.
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

    /// The bytes that evaluations take: the plane's (see [`ResidentPlane::n_bytes`]) and the inputs of all samples.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        let samples = [Some(&self.samples), self.also.as_ref(), self.statistics.as_ref()];
        self.plane.n_bytes() + samples.into_iter().flatten().map(|samples| samples.n_bytes()).sum::<usize>()
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
        let Some(theta) = self.theta(coefficients, &mut progress)? else { return Ok(Evaluation::Cancelled) };
        let Some(main) = self.evaluate_split(&self.samples, &theta, &mut progress)? else {
            return Ok(Evaluation::Cancelled);
        };
        let also = match &self.also {
            None => None,
            Some(samples) => match self.evaluate_split(samples, &theta, &mut progress)? {
                None => return Ok(Evaluation::Cancelled),
                also => also,
            },
        };
        Ok(Evaluation::Done(PointValues { main, also }))
    }

    /// Evaluates the first split at `coefficients`, the samples on this thread alone, and tells after each of its stages: for
    /// those who want to know where its time goes.
    ///
    /// # Errors
    /// When the number of coefficients is wrong, or the device fails.
    pub fn walk(&self, coefficients: &[f64], on_stage: &mut dyn FnMut(Stage)) -> Result<PointValue, SessionError> {
        let (expected, found) = (self.plane.n_directions(), coefficients.len());
        if expected != found {
            return Err(SessionError::Coefficients { expected, found });
        }
        let theta = self.plane.theta(coefficients, || on_stage(Stage::Displaced));
        on_stage(Stage::Packed);
        let mut batches = Vec::new();
        let batch_len = self.batch_len(&self.samples);
        for idx in 0..self.samples.n_batches(batch_len) {
            let logits = self.forward(&self.samples, [idx, batch_len], &theta)?;
            on_stage(Stage::Forwarded);
            batches.push(BatchMetrics::of(&logits, self.samples.batch_targets(idx, batch_len)));
            on_stage(Stage::Reduced);
        }
        Ok(loss::mean(&batches))
    }

    /// The means over `samples`, or none when `on_batch` breaks off.
    fn evaluate_split(
        &self,
        samples: &ResidentSamples,
        theta: &Theta,
        on_batch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<PointValue>, SessionError> {
        if let Theta::Burn(parameters) = theta
            && self.plane.device().is_remote()
        {
            return self.evaluate_remotely(samples, parameters, on_batch);
        }
        let batch_len = self.batch_len(samples);
        let batches = self.plane.device().map(
            samples.n_batches(batch_len),
            |idx| {
                let logits = self.forward(samples, [idx, batch_len], theta)?;
                Ok(BatchMetrics::of(&logits, samples.batch_targets(idx, batch_len)))
            },
            |batch: &Result<BatchMetrics, SessionError>| match batch {
                Ok(batch) => on_batch(batch.losses.len()),
                Err(_) => ControlFlow::Continue(()),
            },
        );
        let Some(batches) = batches else { return Ok(None) };
        Ok(Some(loss::mean(&batches.into_iter().collect::<Result<Vec<_>, _>>()?)))
    }

    /// The same where asking for a value makes the device wait: the forward passes of all batches are told to it one after
    /// the other, and their logits read once. `on_batch` hears of a batch when the device is told of it.
    fn evaluate_remotely(
        &self,
        samples: &ResidentSamples,
        parameters: &[Tensor<1>],
        on_batch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<PointValue>, SessionError> {
        let mut logits = Vec::new();
        for idx in 0..samples.n_batches(self.batch_size) {
            let batch = samples.batch(idx, self.batch_size);
            logits.push(self.plane.program().forward(parameters, batch.inputs, Statistics::Running));
            if on_batch(batch.targets.len()).is_break() {
                return Ok(None);
            }
        }
        let logits = host_values(Tensor::cat(logits, 0)).map_err(SessionError::Device)?;
        Ok(Some(loss::mean(&[BatchMetrics::of(&logits, samples.targets())])))
    }

    /// The parameters at `coefficients`, running statistics included, or none when `on_batch` breaks off.
    fn theta(
        &self,
        coefficients: &[f64],
        on_batch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<Theta>, SessionError> {
        let (expected, found) = (self.plane.n_directions(), coefficients.len());
        if expected != found {
            return Err(SessionError::Coefficients { expected, found });
        }
        let has_statistics = self.plane.graph().parameters().iter().any(|parameter| !parameter.kind.is_trainable());
        let is_recomputed = has_statistics && self.plane.batch_norm() == BatchNormMode::Recomputed;
        match (self.plane.theta(coefficients, || ()), &self.statistics) {
            (_, None) if is_recomputed => Err(SessionError::NoStatistics),
            (Theta::Burn(parameters), Some(samples)) if is_recomputed => {
                Ok(statistics::recompute(&self.plane, samples, parameters, on_batch)?.map(Theta::Burn))
            }
            (theta, _) => Ok(Some(theta)),
        }
    }

    /// How many of `samples` one thread computes at once: the engine for processors has its own way to divide them.
    fn batch_len(&self, samples: &ResidentSamples) -> usize {
        match self.plane.engine() {
            Engine::Burn => self.batch_size,
            Engine::Cpu => {
                let n_turns = CPU_TURNS * self.plane.device().n_threads();
                samples.n_samples().div_ceil(n_turns).clamp(1, CPU_BATCH)
            }
        }
    }

    /// The logits of batch `idx` of `batch_len`, row-major.
    fn forward(
        &self,
        samples: &ResidentSamples,
        [idx, batch_len]: [usize; 2],
        theta: &Theta,
    ) -> Result<Vec<f32>, SessionError> {
        match theta {
            Theta::Burn(parameters) => {
                let inputs = samples.batch(idx, batch_len).inputs;
                let logits = self.plane.program().forward(parameters, inputs, Statistics::Running);
                host_values(logits).map_err(SessionError::Device)
            }
            Theta::Cpu(point) => Ok(point.logits(samples.batch_values(idx, batch_len))),
        }
    }
}

fn check_samples(plane: &ResidentPlane, samples: &ResidentSamples) -> Result<(), SessionError> {
    let (expected, found) = (plane.engine(), samples.engine());
    if expected != found {
        return Err(SessionError::Engine { expected, found });
    }
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
    transfer::read();
    let data = tensor.try_into_data().map_err(|error| error.to_string())?;
    data.try_into_vec().map_err(|error| error.to_string())
}
