//! Training, one step at a time.

use std::collections::HashMap;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use relief_core::{Tensor as HostTensor, TensorError, TensorMap};
use relief_graph::{CheckpointMismatch, Graph};

use crate::device::Device;
use crate::evaluation::host_values;
use crate::loss::{self, BatchMetrics};
use crate::plane::vector;
use crate::program::{BatchStatistics, Program, Statistics};
use crate::sample::{batch, stray_target};
use crate::sgd::SgdRecipe;

#[cfg(test)]
mod operator_tests;
#[cfg(test)]
mod tests;

/// A network in training: its parameters, and the velocities of its optimiser.
#[derive(Debug)]
pub struct TrainingSession {
    device: Device,
    graph: Arc<Graph>,
    program: Program,
    recipe: SgdRecipe,
    /// In the graph's order.
    parameters: Vec<Tensor<1>>,
    /// In the graph's order; none before the first step, and where nothing is trained.
    velocities: Vec<Option<Tensor<1>>>,
}

/// What a batch said before its step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepMetrics {
    /// The mean cross entropy over the batch, in nats, without weight decay.
    pub loss: f64,
    /// The share of samples whose largest logit is the target's, in percent.
    pub accuracy: f64,
}

/// Why a network cannot be trained.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TrainingError {
    /// The parameters are no checkpoint of the network.
    #[error(transparent)]
    Parameters(#[from] CheckpointMismatch),
    /// A number of the recipe is out of range.
    #[error("the {what} is {found}; it must be finite and not negative")]
    Recipe {
        /// Which number.
        what: &'static str,
        /// Its value.
        found: f64,
    },
    /// Velocities that are not the network's.
    #[error("the velocity of `{0}` does not fit the network")]
    Velocity(String),
    /// No samples.
    #[error("the batch is empty")]
    EmptyBatch,
    /// Inputs and targets do not go together.
    #[error("a batch of {n_targets} targets needs {expected} input values, got {found}")]
    Length {
        /// The number of targets.
        n_targets: usize,
        /// The number of input values that would be right.
        expected: usize,
        /// The number given.
        found: usize,
    },
    /// A class that the network does not have.
    #[error("sample {sample} of the batch has target {target}; the network has the classes 0 to {}", n_classes - 1)]
    Target {
        /// The sample's index in the batch, from 0.
        sample: usize,
        /// Its target.
        target: u32,
        /// The number of classes.
        n_classes: usize,
    },
    /// The device did not compute.
    #[error("the device failed: {0}")]
    Device(String),
    /// The device returned values that do not fill their tensor.
    #[error("the device returned a wrong tensor")]
    Readback(#[from] TensorError),
}

impl TrainingSession {
    /// Returns the session that trains `graph` from `parameters` by `recipe` on `device`.
    ///
    /// # Errors
    /// When `parameters` does not fit the network, or a number of the recipe is negative or not finite.
    pub fn new(
        device: &Device,
        graph: Arc<Graph>,
        parameters: &TensorMap,
        recipe: SgdRecipe,
    ) -> Result<Self, TrainingError> {
        graph.check(parameters)?;
        check_number("momentum", recipe.momentum)?;
        check_number("weight decay", recipe.weight_decay)?;
        let values = graph.parameters().iter().filter_map(|parameter| parameters.get(&parameter.name));
        let parameters: Vec<_> = values.map(|tensor| vector(tensor.data().to_vec(), device)).collect();
        let velocities = vec![None; parameters.len()];
        let program = Program::new(&graph);
        Ok(Self { device: device.clone(), graph, program, recipe, parameters, velocities })
    }

    /// Returns the session with the velocities that [`Self::velocities`] gave, to go on where a run was broken off.
    ///
    /// # Errors
    /// When a velocity belongs to no trainable parameter or has another shape.
    pub fn with_velocities(mut self, velocities: &TensorMap) -> Result<Self, TrainingError> {
        for (name, velocity) in velocities {
            let place = self.graph.parameters().iter().position(|parameter| {
                parameter.name == *name && parameter.kind.is_trainable() && parameter.shape == velocity.shape()
            });
            let place = place.ok_or_else(|| TrainingError::Velocity(name.clone()))?;
            self.velocities[place] = Some(vector(velocity.data().to_vec(), &self.device));
        }
        Ok(self)
    }

    /// Takes one step at `rate` against the gradient of the mean cross entropy over a batch, and returns what the batch
    /// said before it.
    ///
    /// `inputs` holds the normalised values of one image per target, row-major. Batch normalisations go by the batch's
    /// own statistics and move their running ones: r <- m r + (1 - m) s with the unbiased variance for s. A loss that is
    /// not finite is returned like any other; the parameters then are not finite either.
    ///
    /// # Errors
    /// When the batch is empty or contradicts itself or the network, `rate` is negative or not finite, or the device
    /// fails. The parameters are unchanged then.
    pub fn step(&mut self, inputs: &[f32], targets: &[u32], rate: f64) -> Result<StepMetrics, TrainingError> {
        self.check_batch(inputs, targets)?;
        check_number("rate", rate)?;
        let inputs = inputs.to_vec();
        let device = self.device.clone();
        device.run(|| self.step_here(inputs, targets, rate))
    }

    /// The parameters, running statistics included.
    ///
    /// # Errors
    /// When the device fails.
    pub fn parameters(&self) -> Result<TensorMap, TrainingError> {
        self.read(self.parameters.iter().map(Some))
    }

    /// The optimiser's velocities under the names of their parameters; none before the first step.
    ///
    /// # Errors
    /// When the device fails.
    pub fn velocities(&self) -> Result<TensorMap, TrainingError> {
        self.read(self.velocities.iter().map(Option::as_ref))
    }

    /// The Euclidean norm of all trainable parameters together, accumulated in float64.
    ///
    /// # Errors
    /// When the device fails.
    pub fn weight_norm(&self) -> Result<f64, TrainingError> {
        let mut squares = 0.0;
        for (parameter, tensor) in self.graph.parameters().iter().zip(&self.parameters) {
            if parameter.kind.is_trainable() {
                let values = host_values(tensor.clone()).map_err(TrainingError::Device)?;
                squares += values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>();
            }
        }
        Ok(squares.sqrt())
    }

    fn check_batch(&self, inputs: &[f32], targets: &[u32]) -> Result<(), TrainingError> {
        let n_targets = targets.len();
        if n_targets == 0 {
            return Err(TrainingError::EmptyBatch);
        }
        let expected = n_targets.saturating_mul(self.graph.input_shape().n_values());
        if inputs.len() != expected {
            return Err(TrainingError::Length { n_targets, expected, found: inputs.len() });
        }
        let n_classes = self.graph.n_classes();
        match stray_target(targets, n_classes) {
            Some((sample, target)) => Err(TrainingError::Target { sample, target, n_classes }),
            None => Ok(()),
        }
    }

    fn step_here(&mut self, inputs: Vec<f32>, targets: &[u32], rate: f64) -> Result<StepMetrics, TrainingError> {
        let Differentiated { metrics, mut gradients, statistics } = self.differentiate(inputs, targets)?;
        for place in 0..self.parameters.len() {
            let Some(gradient) = gradients.remove(&place) else { continue };
            let theta = self.parameters[place].clone();
            let (theta, velocity) = self.recipe.step(theta, gradient, self.velocities[place].take(), rate);
            self.parameters[place] = theta;
            self.velocities[place] = velocity;
        }
        for statistics in statistics {
            self.move_running(statistics);
        }
        let value = loss::mean(&[metrics]);
        Ok(StepMetrics { loss: value.loss, accuracy: value.accuracy })
    }

    /// The loss of a batch and its gradient by every trainable parameter.
    fn differentiate(&self, inputs: Vec<f32>, targets: &[u32]) -> Result<Differentiated, TrainingError> {
        let device = self.device.tensors().clone().autodiff();
        let parameters = self.graph.parameters().iter().zip(&self.parameters);
        let leaves: Vec<Tensor<1>> = parameters
            .map(|(parameter, tensor)| tensor.clone().autodiff().set_require_grad(parameter.kind.is_trainable()))
            .collect();
        let input = batch(inputs, targets.len(), self.graph.input_shape(), &device);
        let mut statistics = Vec::new();
        let logits = self.program.forward(&leaves, input, Statistics::Batch(&mut statistics));
        let shape = logits.dims();
        let values = host_values(logits.clone().without_autodiff()).map_err(TrainingError::Device)?;
        let metrics = BatchMetrics::of(&values, targets);
        // The loss is taken on the host in float64. Its gradient by the logits goes back in as the weights of a sum,
        // whose own gradient by the logits it is.
        let weights = Tensor::from_data(TensorData::new(loss::gradient(&values, targets), shape), &device);
        let mut backward = (logits * weights).sum().backward();
        let gradients = leaves
            .iter()
            .enumerate()
            .filter_map(|(place, leaf)| leaf.grad_remove(&mut backward).map(|gradient| (place, gradient)))
            .collect();
        Ok(Differentiated { metrics, gradients, statistics })
    }

    /// r <- m r + (1 - m) s for the running mean and, with the unbiased variance, the running variance.
    fn move_running(&mut self, statistics: BatchStatistics) {
        let BatchStatistics { places, mean, biased_variance, n_values, momentum } = statistics;
        let kept = f64::from(momentum);
        let unbiased = n_values as f64 / n_values.saturating_sub(1).max(1) as f64;
        for (place, statistic) in places.into_iter().zip([mean, biased_variance.mul_scalar(unbiased)]) {
            let running = self.parameters[place].clone();
            self.parameters[place] = running.mul_scalar(kept) + statistic.mul_scalar(1.0 - kept);
        }
    }

    fn read<'a>(&self, tensors: impl Iterator<Item = Option<&'a Tensor<1>>>) -> Result<TensorMap, TrainingError> {
        let named = self.graph.parameters().iter().zip(tensors);
        named
            .filter_map(|(parameter, tensor)| tensor.map(|tensor| (parameter, tensor)))
            .map(|(parameter, tensor)| {
                let values = host_values(tensor.clone()).map_err(TrainingError::Device)?;
                Ok((parameter.name.clone(), HostTensor::new(parameter.shape.as_slice(), values)?))
            })
            .collect()
    }
}

struct Differentiated {
    metrics: BatchMetrics,
    /// By the parameters' places.
    gradients: HashMap<usize, Tensor<1>>,
    statistics: Vec<BatchStatistics>,
}

fn check_number(what: &'static str, found: f64) -> Result<(), TrainingError> {
    if found.is_finite() && found >= 0.0 { Ok(()) } else { Err(TrainingError::Recipe { what, found }) }
}
