//! Networks as they are after a training, without one: at the weights that a training starts from the loss is ln 10
//! whatever one does, and agreement there says little.

use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use relief_core::{
    BatchNormMode, Direction, DirectionAxis, Ignore, Normalization, NumericRequest, Numerics, Philox, PointValue,
    Precision, TensorMap, random_direction,
};
use relief_graph::{Graph, Node, Op, ParameterKind, initialize};
use relief_nn::{
    Device, Evaluation, PlaneSession, ResidentPlane, ResidentSamples, Samples, SgdRecipe, TrainingSession,
};

/// N(0, 1) images of the network's input with the classes in turn.
///
/// # Errors
/// When there are none.
pub fn noise(graph: &Graph, n_samples: usize, seed: u64) -> anyhow::Result<Samples> {
    let mut inputs = vec![0.0; n_samples * graph.input_shape().n_values()];
    Philox::new([seed, 17]).fill_normal(&mut inputs);
    let targets = (0..n_samples).map(|idx| (idx % graph.n_classes()) as u32).collect();
    Ok(Samples::new(inputs, targets, graph.input_shape())?)
}

/// Parameters of `graph` whose batch normalisations have scales and shifts of their own and the running statistics of
/// `samples`, and whose logits are of the size of 1.
///
/// `openness` is the mean of the shifts. Where it is large, few units are cut off by the rectifiers: a deep network
/// without shortcuts multiplies every rounding from layer to layer otherwise, in any implementation, until nothing of
/// the result is left.
///
/// # Errors
/// When the device fails.
pub fn settled(graph: &Arc<Graph>, samples: &Samples, seed: u64, openness: f32) -> anyhow::Result<TensorMap> {
    let mut parameters = initialize(graph, seed);
    for (idx, parameter) in graph.parameters().iter().enumerate() {
        let tensor = parameters.get_mut(&parameter.name).context("a parameter is missing")?;
        let mut draw = vec![0.0; tensor.data().len()];
        Philox::new([seed, 1000 + idx as u64]).fill_normal(&mut draw);
        let fan_in = parameter.shape.iter().skip(1).product::<usize>() as f32;
        for (value, draw) in tensor.data_mut().iter_mut().zip(draw) {
            *value = match parameter.kind {
                ParameterKind::NormScale => 1.0 + 0.2 * draw.tanh(),
                ParameterKind::NormShift => openness + 0.2 * draw,
                ParameterKind::Bias => 0.1 * draw,
                // Linear layers begin with almost nothing.
                ParameterKind::Weight if parameter.shape.len() == 2 => draw / fan_in.sqrt(),
                _ => *value,
            };
        }
    }
    // A step of length 0 in which the running statistics forget what they were.
    let forgetful = |mut node: Node| {
        if let Op::BatchNormalization(norm) = &mut node.op {
            norm.momentum = 0.0;
        }
        node
    };
    let nodes = graph.nodes().iter().cloned().map(forgetful).collect();
    let (name, input) = (graph.name(), graph.input_name());
    let observer = Graph::new(name, input, graph.input_shape(), nodes, graph.parameters().to_vec())?;
    let recipe = SgdRecipe { momentum: 0.0, weight_decay: 0.0, nesterov: false };
    let mut training = TrainingSession::new(&Device::cpu(), Arc::new(observer), &parameters, recipe)?;
    training.step(samples.inputs(), samples.targets(), 0.0)?;
    Ok(training.parameters()?)
}

/// A network at a checkpoint, on samples.
#[derive(Debug, Clone)]
pub struct Landscape {
    /// The network.
    pub graph: Arc<Graph>,
    /// The parameters at the centre.
    pub origin: TensorMap,
    /// What the loss is a mean over.
    pub samples: Samples,
    /// How many of them go through the network at a time.
    pub batch_size: usize,
    /// Where it is computed.
    pub device: Device,
}

impl Landscape {
    /// A settled network on noise.
    ///
    /// # Errors
    /// When the device fails.
    pub fn settled(graph: Graph, n_samples: usize, seed: u64) -> anyhow::Result<Self> {
        let graph = Arc::new(graph);
        let samples = noise(&graph, n_samples, seed)?;
        let origin = settled(&graph, &samples, seed, 0.0)?;
        Ok(Self { graph, origin, samples, batch_size: 8, device: Device::cpu() })
    }

    /// A random direction from here.
    #[must_use]
    pub fn random(&self, seed: u64, axis: DirectionAxis, normalization: Normalization) -> Arc<Direction> {
        let trainable = self.graph.trainable(&self.origin);
        Arc::new(Direction::Step(random_direction(trainable, seed, axis, normalization, Ignore::BiasBn)))
    }

    /// Two of them, drawn from one seed.
    #[must_use]
    pub fn plane(&self, seed: u64, normalization: Normalization) -> Vec<Arc<Direction>> {
        [DirectionAxis::X, DirectionAxis::Y].map(|axis| self.random(seed, axis, normalization)).to_vec()
    }

    /// What its losses are computed in: float32, as a surface that asks for that.
    ///
    /// # Errors
    /// When the device has nothing for the network.
    pub fn numerics(&self, mode: BatchNormMode) -> anyhow::Result<Numerics> {
        let request = NumericRequest { engine: None, precision: Some(Precision::F32) };
        Ok(self.device.choose(&self.graph, mode, request)?.numerics)
    }

    /// What evaluates points of the plane along `directions`.
    ///
    /// # Errors
    /// When the directions do not fit the network.
    pub fn session(&self, directions: &[Arc<Direction>]) -> anyhow::Result<PlaneSession> {
        self.session_in(directions, &self.device, self.numerics(BatchNormMode::Frozen)?)
    }

    /// The same on another device and in other numerics.
    ///
    /// # Errors
    /// When the directions do not fit the network.
    pub fn session_in(
        &self,
        directions: &[Arc<Direction>],
        device: &Device,
        numerics: Numerics,
    ) -> anyhow::Result<PlaneSession> {
        let (graph, mode) = (Arc::clone(&self.graph), BatchNormMode::Frozen);
        let plane = ResidentPlane::upload(device, numerics, graph, &self.origin, directions, mode)?;
        let samples = ResidentSamples::upload(device, numerics.engine, &self.samples, None)?;
        Ok(PlaneSession::open(Arc::new(plane), Arc::new(samples), self.batch_size)?)
    }

    /// The value at `coefficients`.
    ///
    /// # Errors
    /// When the directions do not fit the network, or the device fails.
    pub fn at(&self, directions: &[Arc<Direction>], coefficients: &[f64]) -> anyhow::Result<PointValue> {
        value(&self.session(directions)?, coefficients)
    }
}

/// The value of a session at a point.
///
/// # Errors
/// When the device fails.
pub fn value(session: &PlaneSession, coefficients: &[f64]) -> anyhow::Result<PointValue> {
    match session.evaluate(coefficients, &mut |_| ControlFlow::Continue(()))? {
        Evaluation::Done(values) => Ok(values.main),
        Evaluation::Cancelled => bail!("nobody cancelled"),
    }
}
