//! A network and its data on the device.

use std::ops::ControlFlow;
use std::sync::Arc;

use relief_core::{BatchNormMode, NumericRequest, Numerics, PointValue, Precision, Recipe, TensorMap};
use relief_graph::Graph;
use relief_nn::{
    Device, Evaluation, NumericChoice, PlaneSession, ResidentPlane, ResidentSamples, Samples, SgdRecipe,
    TrainingSession,
};
use relief_store::StepMetrics;

use crate::error::RunError;
use crate::shuffle::shuffled;

/// A run's network in training. Blocks; to be used on a thread that may.
#[derive(Debug)]
pub(crate) struct Training {
    device: Device,
    /// Of evaluations.
    numerics: Numerics,
    graph: Arc<Graph>,
    recipe: Recipe,
    session: TrainingSession,
    samples: Samples,
    train: Arc<ResidentSamples>,
    test: Option<Arc<ResidentSamples>>,
    /// Of evaluations.
    batch_size: usize,
    n_steps: u64,
}

/// How well a snapshot does on whole splits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SplitValues {
    pub(crate) train: PointValue,
    pub(crate) test: Option<PointValue>,
}

impl Training {
    /// Returns the initialised network, to be trained on `samples` by `recipe`.
    pub(crate) fn new(
        device: &Device,
        batch_size: usize,
        graph: Graph,
        recipe: &Recipe,
        samples: Samples,
        test: Option<&Samples>,
    ) -> Result<Self, RunError> {
        let graph = Arc::new(graph);
        let sgd = SgdRecipe { momentum: recipe.momentum, weight_decay: recipe.weight_decay, nesterov: true };
        let origin = relief_graph::initialize(&graph, recipe.seed);
        let session = TrainingSession::new(device, graph.clone(), &origin, sgd)?;
        // As an evaluator chooses them for a surface that is asked for in float32.
        let request = NumericRequest { engine: None, precision: Some(Precision::F32) };
        let NumericChoice { numerics, passed_over } = device.choose(&graph, BatchNormMode::Frozen, request)?;
        if let Some(passed_over) = passed_over {
            tracing::info!(passed_over, "an engine is passed over");
        }
        let upload = |samples| ResidentSamples::upload(device, numerics.engine, samples, None);
        let train = Arc::new(upload(&samples)?);
        let test = test.map(upload).transpose()?.map(Arc::new);
        let (device, recipe) = (device.clone(), recipe.clone());
        Ok(Self { device, numerics, graph, recipe, session, samples, train, test, batch_size, n_steps: 0 })
    }

    /// The parameters, running statistics included.
    pub(crate) fn parameters(&self) -> Result<TensorMap, RunError> {
        Ok(self.session.parameters()?)
    }

    /// The Euclidean norm over all trainable tensors.
    pub(crate) fn weight_norm(&self) -> Result<f64, RunError> {
        Ok(self.session.weight_norm()?)
    }

    /// Evaluates `parameters` over both splits, as an evaluator does at the centre of a surface in float32: the same
    /// engine, batches and order. `check` is asked after every batch whether to go on.
    pub(crate) fn evaluate(
        &self,
        parameters: &TensorMap,
        check: &dyn Fn() -> Result<(), RunError>,
    ) -> Result<SplitValues, RunError> {
        let (device, graph) = (&self.device, self.graph.clone());
        let plane = ResidentPlane::upload(device, self.numerics, graph, parameters, &[], BatchNormMode::Frozen)?;
        let plane = Arc::new(plane);
        let value = |samples: &Arc<ResidentSamples>| {
            let session = PlaneSession::open(plane.clone(), samples.clone(), self.batch_size)?;
            let mut refusal = None;
            let evaluation = session.evaluate(&[], &mut |_| match check() {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    refusal = Some(error);
                    ControlFlow::Break(())
                }
            })?;
            match evaluation {
                Evaluation::Done(values) => Ok(values.main),
                Evaluation::Cancelled => Err(refusal.unwrap_or(RunError::Cancelled)),
            }
        };
        Ok(SplitValues { train: value(&self.train)?, test: self.test.as_ref().map(value).transpose()? })
    }

    /// Trains an epoch, counted from 1, and returns its steps. `on_step` is called after each with the number of samples
    /// in its batch, and breaks the epoch off with an error.
    pub(crate) fn epoch(
        &mut self,
        epoch: u32,
        on_step: &mut dyn FnMut(&StepMetrics, usize) -> Result<(), RunError>,
    ) -> Result<Vec<StepMetrics>, RunError> {
        let rate = self.recipe.rate_in_epoch(epoch);
        let order = shuffled(self.samples.n_samples(), self.recipe.seed, epoch);
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        let mut steps = Vec::new();
        for batch in order.chunks(self.recipe.batch_size.max(1) as usize) {
            gather(&self.samples, batch, &mut inputs, &mut targets);
            let metrics = self.session.step(&inputs, &targets, rate)?;
            self.n_steps += 1;
            let step = StepMetrics {
                step: self.n_steps,
                epoch,
                loss: metrics.loss,
                accuracy: metrics.accuracy,
                rate,
                weight_norm: self.session.weight_norm()?,
            };
            on_step(&step, batch.len())?;
            steps.push(step);
        }
        Ok(steps)
    }
}

fn gather(samples: &Samples, batch: &[usize], inputs: &mut Vec<f32>, targets: &mut Vec<u32>) {
    let len = samples.shape().n_values();
    inputs.clear();
    targets.clear();
    for idx in batch {
        inputs.extend_from_slice(&samples.inputs()[idx * len..(idx + 1) * len]);
        targets.push(samples.targets()[*idx]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_holds_its_samples_in_its_order() {
        let shape = "1x1x2".parse().expect("a good shape");
        let samples = Samples::new((0..6_u8).map(f32::from).collect(), vec![7, 8, 9], shape).expect("3 samples");
        let (mut inputs, mut targets) = (vec![1.0], vec![1]);
        gather(&samples, &[2, 0], &mut inputs, &mut targets);
        assert_eq!((inputs, targets), (vec![4.0, 5.0, 0.0, 1.0], vec![9, 7]));
    }
}
