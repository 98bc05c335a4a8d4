//! What the subjects compute: a network, a plane, and samples.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use relief_core::{Direction, DirectionAxis, Ignore, Normalization, Philox, TensorMap, displace, random_direction};
use relief_graph::{Graph, InputShape, ParameterKind, builtin, initialize};
use relief_nn::Samples;

use super::npy;

/// The point whose loss is computed, off both axes, so that displacing takes what it does anywhere else.
pub(crate) const POINT: [f64; 2] = [0.1, -0.2];

/// A network, a plane through its parameters, and samples.
#[derive(Debug)]
pub(crate) struct Landscape {
    pub(crate) graph: Arc<Graph>,
    pub(crate) origin: TensorMap,
    pub(crate) directions: Vec<Arc<Direction>>,
    pub(crate) samples: Samples,
}

impl Landscape {
    /// The built-in network `name` for the samples that it was designed for.
    pub(crate) fn of_default(name: &str, n_samples: usize) -> anyhow::Result<Self> {
        let graph = builtin::build_default(name)?;
        Self::of(name, graph.input_shape(), graph.n_classes(), n_samples)
    }

    /// The built-in network `name` with parameters as they are after a training, and images of noise.
    pub(crate) fn of(name: &str, shape: InputShape, n_classes: usize, n_samples: usize) -> anyhow::Result<Self> {
        let graph = Arc::new(builtin::build(name, shape, n_classes)?);
        let origin = settled(&graph)?;
        let directions = [DirectionAxis::X, DirectionAxis::Y].map(|axis| {
            let trainable = graph.trainable(&origin);
            Arc::new(Direction::Step(random_direction(trainable, 7, axis, Normalization::Filter, Ignore::BiasBn)))
        });
        let mut inputs = vec![0.0; n_samples * graph.input_shape().n_values()];
        Philox::new([5, 17]).fill_normal(&mut inputs);
        let targets = (0..n_samples).map(|idx| (idx % graph.n_classes()) as u32).collect();
        let samples = Samples::new(inputs, targets, graph.input_shape())?;
        Ok(Self { graph, origin, directions: directions.to_vec(), samples })
    }

    /// The parameters at [`POINT`].
    pub(super) fn displaced(&self) -> TensorMap {
        let steps: Vec<(f64, &Direction)> = POINT.into_iter().zip(self.directions.iter().map(Arc::as_ref)).collect();
        displace(&self.origin, &steps)
    }

    /// Writes what peers read: `model.onnx` with the parameters at [`POINT`], `inputs.npy` and `targets.npy`.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::write(folder.join("model.onnx"), self.graph.to_onnx(Some(&self.displaced()))?)?;
        let [channels, height, width] = self.samples.shape().dims();
        let n_samples = self.samples.n_samples();
        let inputs = npy::of_f32(&[n_samples, channels, height, width], self.samples.inputs());
        fs::write(folder.join("inputs.npy"), inputs)?;
        let targets = npy::of_i64(&[n_samples], self.samples.targets().iter().copied().map(i64::from));
        fs::write(folder.join("targets.npy"), targets)?;
        Ok(())
    }
}

/// First weights, with statistics and scales that keep most units open, as those of a trained network do.
fn settled(graph: &Graph) -> anyhow::Result<TensorMap> {
    let mut parameters = initialize(graph, 2);
    for (idx, parameter) in graph.parameters().iter().enumerate() {
        let (mean, deviation) = match parameter.kind {
            ParameterKind::NormScale => (0.6, 0.1),
            ParameterKind::NormShift => (0.3, 0.1),
            ParameterKind::RunningMean => (0.1, 0.1),
            ParameterKind::RunningVariance => (1.5, 0.2),
            ParameterKind::Weight | ParameterKind::Bias => continue,
        };
        let values = parameters.get_mut(&parameter.name).context("a parameter is missing")?.data_mut();
        Philox::new([11, idx as u64]).fill_normal(values);
        values.iter_mut().for_each(|value| *value = mean + deviation * *value);
    }
    Ok(parameters)
}
