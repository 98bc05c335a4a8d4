//! The interpretation of a graph, for evaluation and for training.

use std::collections::HashMap;

use burn::tensor::module::{batch_norm_train, conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Tensor, activation};
use relief_graph::{BatchNormalization, Conv, Graph, MaxPool, Op};

#[cfg(test)]
mod tests;

/// A graph with its names resolved to places.
///
/// Every value is held as (samples, channels, height, width), a vector with height and width 1. Every parameter is held
/// as the vector of its scalars and takes its own shape where it is read.
#[derive(Debug)]
pub(crate) struct Program {
    steps: Vec<Step>,
    n_values: usize,
    parameter_shapes: Vec<Vec<usize>>,
}

#[derive(Debug)]
struct Step {
    op: Op,
    /// The places of the values it reads, and whether it is the last to read each.
    values: Vec<(usize, bool)>,
    /// The places of its parameters in the graph's order.
    parameters: Vec<usize>,
    output: usize,
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
        let mut places = HashMap::from([(graph.input_name(), 0)]);
        let parameters: HashMap<&str, usize> =
            graph.parameters().iter().enumerate().map(|(place, parameter)| (parameter.name.as_str(), place)).collect();
        let mut steps: Vec<Step> = Vec::with_capacity(graph.nodes().len());
        let mut last_reads: HashMap<usize, (usize, usize)> = HashMap::new();
        for (idx, node) in graph.nodes().iter().enumerate() {
            let (values, own_parameters) = node.inputs.split_at(node.op.n_values());
            let values: Vec<(usize, bool)> = values.iter().map(|name| (places[name.as_str()], false)).collect();
            for (slot, (place, _)) in values.iter().enumerate() {
                last_reads.insert(*place, (idx, slot));
            }
            let output = idx + 1;
            places.insert(node.output.as_str(), output);
            let parameters = own_parameters.iter().map(|name| parameters[name.as_str()]).collect();
            steps.push(Step { op: node.op.clone(), values, parameters, output });
        }
        for (idx, slot) in last_reads.into_values() {
            steps[idx].values[slot].1 = true;
        }
        let parameter_shapes = graph.parameters().iter().map(|parameter| parameter.shape.clone()).collect();
        Self { n_values: steps.len() + 1, steps, parameter_shapes }
    }

    /// Returns the logits (samples, classes) of `input` (samples, channels, height, width). `parameters` stand in the
    /// graph's order.
    pub(crate) fn forward(
        &self,
        parameters: &[Tensor<1>],
        input: Tensor<4>,
        mut statistics: Statistics<'_>,
    ) -> Tensor<2> {
        let mut values: Vec<Option<Tensor<4>>> = vec![None; self.n_values];
        values[0] = Some(input);
        for step in &self.steps {
            let arguments = step.values.iter().map(|(place, is_last)| {
                // The last reader takes the value away: a tensor with one owner is changed in place instead of copied.
                if *is_last { values[*place].take() } else { values[*place].clone() }
            });
            let arguments: Vec<Tensor<4>> = arguments.flatten().collect();
            let parameters = step.parameters.iter().map(|place| self.parameter(parameters, *place)).collect();
            values[step.output] = Some(step.apply(arguments, parameters, &mut statistics));
        }
        let Some(logits) = values.pop().flatten() else { unreachable!("a graph ends in its logits") };
        let [n_samples, n_classes, _, _] = logits.dims();
        logits.reshape([n_samples, n_classes])
    }

    fn parameter(&self, parameters: &[Tensor<1>], place: usize) -> Parameter {
        Parameter { flat: parameters[place].clone(), shape: self.parameter_shapes[place].clone() }
    }
}

/// A parameter as a step reads it.
struct Parameter {
    flat: Tensor<1>,
    shape: Vec<usize>,
}

impl Parameter {
    fn shaped<const D: usize>(self) -> Tensor<D> {
        let mut shape = [1; D];
        shape.copy_from_slice(&self.shape);
        self.flat.reshape(shape)
    }
}

impl Step {
    /// Computes the step's value. A valid graph gives every operator the arguments and parameters it takes.
    fn apply(
        &self,
        arguments: Vec<Tensor<4>>,
        parameters: Vec<Parameter>,
        statistics: &mut Statistics<'_>,
    ) -> Tensor<4> {
        let mut arguments = arguments.into_iter();
        let Some(x) = arguments.next() else { unreachable!("every operator reads a value") };
        match &self.op {
            Op::Conv(attributes) => conv(attributes, x, parameters),
            Op::BatchNormalization(attributes) => match statistics {
                Statistics::Running => normalize(attributes, x, parameters),
                Statistics::Batch(batch) => {
                    let (y, statistics) = normalize_batch(attributes, x, parameters);
                    let places = [self.parameters[2], self.parameters[3]];
                    batch.push(BatchStatistics { places, ..statistics });
                    y
                }
            },
            Op::Relu => activation::relu(x),
            Op::Add => match arguments.next() {
                Some(y) => x + y,
                None => unreachable!("a sum reads two values"),
            },
            Op::MaxPool(attributes) => max_pool(attributes, x),
            Op::GlobalAveragePool => x.mean_dim(3).mean_dim(2),
            Op::Flatten => {
                let [n_samples, channels, height, width] = x.dims();
                x.reshape([n_samples, channels * height * width, 1, 1])
            }
            Op::Gemm => linear(x, parameters),
        }
    }
}

fn conv(attributes: &Conv, x: Tensor<4>, parameters: Vec<Parameter>) -> Tensor<4> {
    let Conv { stride, padding, dilation, groups } = *attributes;
    let mut parameters = parameters.into_iter();
    let Some(weight) = parameters.next() else { unreachable!("a convolution has a weight") };
    let bias = parameters.next().map(|bias| bias.flat);
    conv2d(x, weight.shaped::<4>(), bias, ConvOptions::new(stride, padding, dilation, groups))
}

fn linear(x: Tensor<4>, parameters: Vec<Parameter>) -> Tensor<4> {
    let [n_samples, n_features, _, _] = x.dims();
    let mut parameters = parameters.into_iter();
    let Some(weight) = parameters.next() else { unreachable!("a linear layer has a weight") };
    let y = x.reshape([n_samples, n_features]).matmul(weight.shaped::<2>().transpose());
    let y = match parameters.next() {
        Some(bias) => y + bias.flat.unsqueeze::<2>(),
        None => y,
    };
    let [_, n_outputs] = y.dims();
    y.reshape([n_samples, n_outputs, 1, 1])
}

fn max_pool(attributes: &MaxPool, x: Tensor<4>) -> Tensor<4> {
    let MaxPool { kernel, stride, padding } = *attributes;
    max_pool2d(x, MaxPoolOptions::new(kernel).with_stride(stride).with_padding(padding))
}

/// x s + t for each channel, with s = scale / sqrt(variance + epsilon) and t = shift - mean s.
fn normalize(attributes: &BatchNormalization, x: Tensor<4>, parameters: Vec<Parameter>) -> Tensor<4> {
    let [scale, shift, mean, variance] = normalization(parameters);
    let scale = scale / (variance + attributes.epsilon).sqrt();
    let shift = shift - mean * scale.clone();
    x * per_channel(scale) + per_channel(shift)
}

/// As `normalize`, by the mean and the biased variance of the batch itself, which are returned.
fn normalize_batch(
    attributes: &BatchNormalization,
    x: Tensor<4>,
    parameters: Vec<Parameter>,
) -> (Tensor<4>, BatchStatistics) {
    let [n_samples, _, height, width] = x.dims();
    let [scale, shift, _, _] = normalization(parameters);
    let result = batch_norm_train(x, scale, shift, f64::from(attributes.epsilon));
    let statistics = BatchStatistics {
        places: [0, 0],
        mean: result.mean.without_autodiff(),
        biased_variance: result.variance.without_autodiff(),
        n_values: n_samples * height * width,
        momentum: attributes.momentum,
    };
    (result.output, statistics)
}

fn normalization(parameters: Vec<Parameter>) -> [Tensor<1>; 4] {
    match <[Parameter; 4]>::try_from(parameters) {
        Ok(parameters) => parameters.map(|parameter| parameter.flat),
        Err(_) => unreachable!("a batch normalisation has four parameters"),
    }
}

fn per_channel(values: Tensor<1>) -> Tensor<4> {
    let n_channels = values.dims()[0];
    values.reshape([1, n_channels, 1, 1])
}
