//! The interpretation of a graph, for evaluation and for training.

use std::collections::HashMap;
use std::sync::OnceLock;

use burn::tensor::{Device, Tensor, TensorData, activation};
use relief_graph::{GeluForm, Graph, Op, ValueShape};

mod layout;
mod matrix;
mod normalization;
#[cfg(test)]
mod operator_tests;
#[cfg(test)]
mod tests;
mod window;

use layout::{Value, full};

use crate::transfer;

/// A graph with its names resolved to places.
#[derive(Debug)]
pub(crate) struct Program {
    steps: Vec<Step>,
    n_values: usize,
    parameter_shapes: Vec<ValueShape>,
    constants: Vec<(Vec<f32>, ValueShape)>,
    /// The same on the device of the first forward pass.
    resident_constants: OnceLock<(Device, Vec<Value>)>,
}

#[derive(Debug)]
struct Step {
    op: Op,
    operands: Vec<Operand>,
    /// The shapes of the operands.
    shapes: Vec<ValueShape>,
    output: usize,
    output_shape: ValueShape,
}

/// Where an operand lies.
#[derive(Debug, Clone, Copy)]
enum Operand {
    /// Among the values, and whether this is the last to read it.
    Value(usize, bool),
    /// Among the parameters, in the graph's order.
    Parameter(usize),
    /// Among the constants.
    Constant(usize),
}

/// What batch normalisations go by.
pub(crate) enum Statistics<'a> {
    /// Their running statistics.
    Running,
    /// The statistics of the batch, which are reported here.
    Batch(&'a mut Vec<BatchStatistics>),
}

/// The statistics of a batch at one batch normalisation.
pub(crate) struct BatchStatistics {
    /// The places of the running mean and of the running variance among the parameters.
    pub(crate) places: [usize; 2],
    /// The mean of each channel.
    pub(crate) mean: Tensor<1>,
    /// The variance of each channel, divided by the number of values.
    pub(crate) biased_variance: Tensor<1>,
    /// The number of values of a channel.
    pub(crate) n_values: usize,
    /// The share of the running statistics that is kept.
    pub(crate) momentum: f32,
}

impl Program {
    pub(crate) fn new(graph: &Graph) -> Self {
        let mut found: HashMap<&str, (Operand, ValueShape)> = HashMap::new();
        for (place, parameter) in graph.parameters().iter().enumerate() {
            let shape = ValueShape::fixed(parameter.shape.as_slice());
            found.insert(&parameter.name, (Operand::Parameter(place), shape));
        }
        for (place, (name, constant)) in graph.constants().iter().enumerate() {
            found.insert(name, (Operand::Constant(place), ValueShape::fixed(constant.shape())));
        }
        let value_shape = |name: &str| graph.shapes()[name].clone();
        found.insert(graph.input_name(), (Operand::Value(0, false), value_shape(graph.input_name())));
        let mut steps: Vec<Step> = Vec::with_capacity(graph.nodes().len());
        let mut last_reads: HashMap<usize, (usize, usize)> = HashMap::new();
        for (idx, node) in graph.nodes().iter().enumerate() {
            let read: Vec<(Operand, ValueShape)> =
                node.inputs.iter().map(|name| found[name.as_str()].clone()).collect();
            let (operands, shapes): (Vec<_>, Vec<_>) = read.into_iter().unzip();
            for (slot, operand) in operands.iter().enumerate() {
                if let Operand::Value(place, _) = operand {
                    last_reads.insert(*place, (idx, slot));
                }
            }
            let (output, output_shape) = (idx + 1, value_shape(&node.output));
            found.insert(&node.output, (Operand::Value(output, false), output_shape.clone()));
            steps.push(Step { op: node.op.clone(), operands, shapes, output, output_shape });
        }
        for (idx, slot) in last_reads.into_values() {
            if let Operand::Value(_, is_last) = &mut steps[idx].operands[slot] {
                *is_last = true;
            }
        }
        let parameters = graph.parameters().iter();
        let constants = graph.constants().values();
        Self {
            n_values: steps.len() + 1,
            steps,
            parameter_shapes: parameters.map(|parameter| ValueShape::fixed(parameter.shape.as_slice())).collect(),
            constants: constants
                .map(|constant| (constant.data().to_vec(), ValueShape::fixed(constant.shape())))
                .collect(),
            resident_constants: OnceLock::new(),
        }
    }

    /// Returns the logits (samples, classes) of `input` (samples, channels, height, width). `parameters` stand in the
    /// graph's order.
    pub(crate) fn forward(
        &self,
        parameters: &[Tensor<1>],
        input: Tensor<4>,
        mut statistics: Statistics<'_>,
    ) -> Tensor<2> {
        let device = input.device();
        let [n_samples, channels, height, width] = input.dims();
        let mut values: Vec<Option<Value>> = vec![None; self.n_values];
        values[0] = Some(input.reshape([1, 1, n_samples, channels, height, width]));
        for step in &self.steps {
            let operands = step.operands.iter().map(|operand| match *operand {
                // The last reader takes the value away: a tensor with one owner is changed in place instead of copied.
                Operand::Value(place, true) => values[place].take(),
                Operand::Value(place, false) => values[place].clone(),
                Operand::Parameter(place) => {
                    Some(parameters[place].clone().reshape(full(&self.parameter_shapes[place], n_samples)))
                }
                Operand::Constant(place) => Some(self.constant(place, &device)),
            });
            let operands: Vec<Value> = operands.flatten().collect();
            values[step.output] = Some(step.apply(operands, n_samples, &mut statistics));
        }
        let Some(logits) = values.pop().flatten() else { unreachable!("a graph ends in its logits") };
        let [.., n_samples, n_classes] = logits.dims();
        logits.reshape([n_samples, n_classes])
    }

    fn constant(&self, place: usize, device: &Device) -> Value {
        let upload = |(values, shape): &(Vec<f32>, ValueShape)| -> Value {
            transfer::uploaded();
            Tensor::from_data(TensorData::new(values.clone(), full(shape, 1)), device)
        };
        let (home, resident) =
            self.resident_constants.get_or_init(|| (device.clone(), self.constants.iter().map(upload).collect()));
        if home == device { resident[place].clone() } else { upload(&self.constants[place]) }
    }
}

impl Step {
    /// Computes the step's value. A valid graph gives every operator the operands that it takes.
    fn apply(&self, operands: Vec<Value>, n_samples: usize, statistics: &mut Statistics<'_>) -> Value {
        let mut operands = operands.into_iter();
        let Some(x) = operands.next() else { unreachable!("every operator reads something") };
        let mut next = || match operands.next() {
            Some(operand) => operand,
            None => unreachable!("{} reads more", self.op.name()),
        };
        let output = full(&self.output_shape, n_samples);
        match &self.op {
            Op::Conv(conv) => window::conv(conv, x, next(), operands.next()),
            Op::BatchNormalization(norm) => {
                let parameters = [next(), next(), next(), next()];
                self.batch_normalization(norm, x, parameters, statistics)
            }
            Op::LayerNormalization(norm) => {
                let n_normalized = self.shapes[0].axes()[norm.axis..].iter().flatten().product();
                normalization::layer(norm.epsilon, x, n_normalized, next(), operands.next())
            }
            Op::Relu => activation::relu(x),
            Op::LeakyRelu { alpha } => activation::leaky_relu(x, f64::from(*alpha)),
            Op::Sigmoid => activation::sigmoid(x),
            Op::HardSigmoid { alpha, beta } => hard_sigmoid(x, *alpha, *beta),
            Op::HardSwish => x.clone() * hard_sigmoid(x, 1.0 / 6.0, 0.5),
            Op::Gelu(GeluForm::Exact) => activation::gelu(x),
            Op::Gelu(GeluForm::Tanh) => activation::gelu_approximate(x),
            Op::Erf => x.erf(),
            Op::Tanh => x.tanh(),
            Op::Sqrt => x.sqrt(),
            Op::Clip { min, max } => clip(x, *min, *max),
            Op::Softmax { axis } => activation::softmax(x, self.place(*axis)),
            Op::LogSoftmax { axis } => activation::log_softmax(x, self.place(*axis)),
            Op::Add => x + next(),
            Op::Sub => x - next(),
            Op::Mul => x * next(),
            Op::Div => x / next(),
            Op::MatMul => matrix::matmul(x, next(), &self.shapes[1], output),
            Op::Gemm(gemm) => matrix::gemm(gemm, x, next(), operands.next()),
            Op::MaxPool(pool) => window::max_pool(pool, x),
            Op::AveragePool { pool, counts_padding } => window::average_pool(pool, *counts_padding, x),
            Op::GlobalAveragePool => x.mean_dim(5).mean_dim(4),
            Op::ReduceMean { axes, .. } => {
                axes.iter().fold(x, |mean, axis| mean.mean_dim(self.place(*axis))).reshape(output)
            }
            Op::Flatten | Op::Reshape { .. } => x.reshape(output),
            Op::Transpose { order } => layout::transpose(x, order),
            Op::Concat { axis } => Tensor::cat(std::iter::once(x).chain(operands).collect(), self.place(*axis)),
            Op::Slice { ranges } => ranges.iter().fold(x, |x, range| layout::slice(x, self.place(range.axis), range)),
            Op::Pad { before, after, value } => layout::pad(x, before, after, *value),
        }
    }

    /// Where an axis of the first operand lies among those of its tensor.
    fn place(&self, axis: usize) -> usize {
        layout::N_AXES - self.shapes[0].rank() + axis
    }

    /// The places of the running statistics among the parameters, where they are parameters.
    fn statistics_places(&self) -> Option<[usize; 2]> {
        match self.operands[..] {
            [_, _, _, Operand::Parameter(mean), Operand::Parameter(variance)] => Some([mean, variance]),
            _ => None,
        }
    }
}

/// min(max(x, min), max), each bound by a comparison that leaves NaN as it is.
fn clip(x: Value, min: Option<f32>, max: Option<f32>) -> Value {
    let x = min.into_iter().fold(x, |x, min| x.clamp_min(min));
    max.into_iter().fold(x, |x, max| x.clamp_max(max))
}

fn hard_sigmoid(x: Value, alpha: f32, beta: f32) -> Value {
    clip(x.mul_scalar(alpha).add_scalar(beta), Some(0.0), Some(1.0))
}
