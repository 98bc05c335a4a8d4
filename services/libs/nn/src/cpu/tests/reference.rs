//! The network as it is defined: one value after the other, in float64, row-major (image, channel, row, column).

use std::collections::HashMap;

use relief_graph::{Conv, GeluForm, Gemm, Graph, Node, Op, Pool};

use super::network::Network;

/// A tensor of float64; a value has the images as its first dimension.
#[derive(Debug, Clone)]
struct Tensor {
    dims: Vec<usize>,
    data: Vec<f64>,
}

impl Tensor {
    fn zeros(dims: Vec<usize>) -> Self {
        let n_values = dims.iter().product();
        Self { dims, data: vec![0.0; n_values] }
    }

    fn of(dims: &[usize], data: &[f32]) -> Self {
        Self { dims: dims.to_vec(), data: data.iter().copied().map(f64::from).collect() }
    }

    fn map(&self, function: impl Fn(f64) -> f64) -> Self {
        Self { dims: self.dims.clone(), data: self.data.iter().copied().map(function).collect() }
    }

    /// An entry of a value of four dimensions.
    fn at(&self, [image, channel, row, column]: [usize; 4]) -> f64 {
        let [_, channels, height, width] = self.dims[..] else { panic!("not images: {:?}", self.dims) };
        self.data[((image * channels + channel) * height + row) * width + column]
    }
}

/// The logits of `images`, and the largest absolute value of any intermediate result.
pub(super) fn logits(network: &Network, images: &[f32]) -> (Vec<f64>, f64) {
    let graph = &network.graph;
    let values = interpret(graph, network, images);
    let largest = values.values().flat_map(|value| &value.data).fold(0.0, |largest: f64, v| largest.max(v.abs()));
    (values[graph.output_name()].data.clone(), largest)
}

fn interpret(graph: &Graph, network: &Network, images: &[f32]) -> HashMap<String, Tensor> {
    let shape = graph.input_shape();
    let mut dims = vec![images.len() / shape.n_values()];
    dims.extend(shape.dims());
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    for (parameter, values) in graph.parameters().iter().zip(&network.parameters) {
        tensors.insert(parameter.name.clone(), Tensor::of(&parameter.shape, values));
    }
    for (name, constant) in graph.constants() {
        tensors.insert(name.clone(), Tensor::of(constant.shape(), constant.data()));
    }
    let mut values = HashMap::from([(graph.input_name().to_owned(), Tensor::of(&dims, images))]);
    for node in graph.nodes() {
        let inputs: Vec<&Tensor> =
            node.inputs.iter().map(|name| values.get(name).unwrap_or_else(|| &tensors[name])).collect();
        let result = compute(node, &inputs);
        values.insert(node.output.clone(), result);
    }
    values
}

fn compute(node: &Node, inputs: &[&Tensor]) -> Tensor {
    let x = inputs[0];
    match &node.op {
        Op::Conv(form) => conv(*form, x, inputs[1], inputs.get(2).copied()),
        Op::Gemm(form) => gemm(*form, x, inputs[1], inputs.get(2).copied()),
        Op::MatMul => gemm(Gemm { transposes_b: false, ..Gemm::LINEAR }, x, inputs[1], None),
        Op::BatchNormalization(norm) => {
            let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|slot| &inputs[slot].data);
            per_channel(x, |value, c| {
                (value - mean[c]) / (variance[c] + f64::from(norm.epsilon)).sqrt() * gamma[c] + beta[c]
            })
        }
        Op::Add => broadcast(x, inputs[1], |a, b| a + b),
        Op::Sub => broadcast(x, inputs[1], |a, b| a - b),
        Op::Mul => broadcast(x, inputs[1], |a, b| a * b),
        Op::Div => broadcast(x, inputs[1], |a, b| a / b),
        Op::MaxPool(form) => pool(form, x, |entries, _| {
            entries.iter().fold(f64::NEG_INFINITY, |max, v| if max.is_nan() || max > *v { max } else { *v })
        }),
        Op::AveragePool { pool: form, counts_padding } => pool(form, x, |entries, n_padded| {
            let n_counted = if *counts_padding { n_padded } else { entries.len() };
            entries.iter().sum::<f64>() / n_counted as f64
        }),
        Op::GlobalAveragePool => mean(x, true),
        Op::ReduceMean { keeps_axes, .. } => mean(x, *keeps_axes),
        Op::Flatten => Tensor { dims: vec![x.dims[0], x.data.len() / x.dims[0]], data: x.data.clone() },
        Op::Reshape { dims } => Tensor { dims: [&x.dims[..1], &dims[..]].concat(), data: x.data.clone() },
        Op::Concat { .. } => concat(inputs),
        op => x.map(|value| function(op, value)),
    }
}

fn function(op: &Op, x: f64) -> f64 {
    let clip = |x: f64, low: f64, high: f64| if x.is_nan() { x } else { x.max(low).min(high) };
    match op {
        Op::Relu => clip(x, 0.0, f64::INFINITY),
        Op::Clip { min, max } => {
            clip(x, min.map_or(f64::NEG_INFINITY, f64::from), max.map_or(f64::INFINITY, f64::from))
        }
        Op::LeakyRelu { alpha } => {
            if x < 0.0 {
                f64::from(*alpha) * x
            } else {
                x
            }
        }
        Op::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Op::HardSigmoid { alpha, beta } => clip(f64::from(*alpha) * x + f64::from(*beta), 0.0, 1.0),
        Op::HardSwish => x * clip(x / 6.0 + 0.5, 0.0, 1.0),
        Op::Gelu(GeluForm::Exact) => 0.5 * x * (1.0 + libm::erf(x / 2.0_f64.sqrt())),
        Op::Gelu(GeluForm::Tanh) => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        }
        Op::Erf => libm::erf(x),
        Op::Tanh => x.tanh(),
        Op::Sqrt => x.sqrt(),
        _ => panic!("the reference lacks {}", op.name()),
    }
}

fn conv(form: Conv, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let ([n, _, height, width], [n_outputs, per_group, down, across]) = (four(x), four(weight));
    let windows = Pool {
        kernel: [down, across],
        stride: form.stride,
        padding: form.padding,
        dilation: form.dilation,
        rounds_up: false,
    };
    let [n_rows, n_columns] = sizes(&windows, [height, width]);
    let mut result = Tensor::zeros(vec![n, n_outputs, n_rows, n_columns]);
    let mut sums = result.data.iter_mut();
    for image in 0..n {
        for output in 0..n_outputs {
            let first = output / (n_outputs / form.groups) * per_group;
            for row in 0..n_rows {
                for column in 0..n_columns {
                    let mut sum = bias.map_or(0.0, |bias| bias.data[output]);
                    for [dy, dx, y, x_at] in entries(&windows, [row, column], [height, width]) {
                        for input in 0..per_group {
                            sum += x.at([image, first + input, y, x_at]) * weight.at([output, input, dy, dx]);
                        }
                    }
                    if let Some(result) = sums.next() {
                        *result = sum;
                    }
                }
            }
        }
    }
    result
}

/// The entries of a window that lie inside the image: places in the window and in the image.
fn entries(windows: &Pool, position: [usize; 2], size: [usize; 2]) -> Vec<[usize; 4]> {
    let place = |axis: usize, idx: usize| {
        (position[axis] * windows.stride[axis] + idx * windows.dilation[axis]).checked_sub(windows.padding[axis])
    };
    let mut inside = Vec::new();
    for dy in 0..windows.kernel[0] {
        for dx in 0..windows.kernel[1] {
            if let (Some(y), Some(x)) = (place(0, dy), place(1, dx))
                && y < size[0]
                && x < size[1]
            {
                inside.push([dy, dx, y, x]);
            }
        }
    }
    inside
}

/// `summary` takes the entries inside the image, and how many lie in the image or its padding.
fn pool(form: &Pool, x: &Tensor, summary: impl Fn(&[f64], usize) -> f64) -> Tensor {
    let [n, channels, height, width] = four(x);
    let [n_rows, n_columns] = sizes(form, [height, width]);
    let mut result = Tensor { dims: vec![n, channels, n_rows, n_columns], data: Vec::new() };
    for image in 0..n {
        for channel in 0..channels {
            for row in 0..n_rows {
                for column in 0..n_columns {
                    let inside = entries(form, [row, column], [height, width]);
                    let values: Vec<f64> =
                        inside.iter().map(|[_, _, y, x_at]| x.at([image, channel, *y, *x_at])).collect();
                    // With the padding a part of the image, everything that counts is inside.
                    let [top, left, bottom, right] = form.padding;
                    let padded = Pool { padding: [0; 4], ..*form };
                    let n_padded = entries(&padded, [row, column], [top + height + bottom, left + width + right]).len();
                    result.data.push(summary(&values, n_padded));
                }
            }
        }
    }
    result
}

fn sizes(windows: &Pool, size: [usize; 2]) -> [usize; 2] {
    [0, 1].map(|axis| windows.n_windows(axis, size[axis]).unwrap_or(0))
}

fn four(x: &Tensor) -> [usize; 4] {
    x.dims[..].try_into().unwrap_or_else(|_| panic!("not four dimensions: {:?}", x.dims))
}

fn gemm(form: Gemm, x: &Tensor, weight: &Tensor, summand: Option<&Tensor>) -> Tensor {
    let (n, n_inputs) = (x.dims[0], x.data.len() / x.dims[0]);
    let n_outputs = weight.data.len() / n_inputs;
    let mut result = Tensor { dims: vec![n, n_outputs], data: Vec::new() };
    for row in x.data.chunks_exact(n_inputs) {
        for output in 0..n_outputs {
            let at = |input: usize| match form.transposes_b {
                true => weight.data[output * n_inputs + input],
                false => weight.data[input * n_outputs + output],
            };
            let product: f64 = row.iter().enumerate().map(|(input, value)| value * at(input)).sum();
            let summand = summand.map_or(0.0, |c| c.data[if c.data.len() == 1 { 0 } else { output }]);
            result.data.push(f64::from(form.alpha) * product + f64::from(form.beta) * summand);
        }
    }
    result
}

fn per_channel(x: &Tensor, function: impl Fn(f64, usize) -> f64) -> Tensor {
    let (channels, plane) = (x.dims[1], x.dims[2..].iter().product::<usize>());
    let data = x.data.iter().enumerate().map(|(idx, value)| function(*value, idx / plane % channels)).collect();
    Tensor { dims: x.dims.clone(), data }
}

/// As ONNX does: aligned at the last axis, sizes of 1 repeated.
fn broadcast(first: &Tensor, second: &Tensor, function: impl Fn(f64, f64) -> f64) -> Tensor {
    let rank = first.dims.len().max(second.dims.len());
    let size = |x: &Tensor, axis: usize| (axis + x.dims.len()).checked_sub(rank).map_or(1, |axis| x.dims[axis]);
    let dims: Vec<usize> = (0..rank).map(|axis| size(first, axis).max(size(second, axis))).collect();
    let mut result = Tensor::zeros(dims);
    for idx in 0..result.data.len() {
        let at = |x: &Tensor| {
            let (mut rest, mut place, mut step) = (idx, 0, 1);
            for axis in (0..rank).rev() {
                let position = rest % result.dims[axis];
                rest /= result.dims[axis];
                if size(x, axis) > 1 {
                    place += position * step;
                }
                step *= size(x, axis);
            }
            x.data[place]
        };
        result.data[idx] = function(at(first), at(second));
    }
    result
}

fn mean(x: &Tensor, keeps_axes: bool) -> Tensor {
    let [n, channels, height, width] = four(x);
    let means = x.data.chunks_exact(height * width).map(|plane| plane.iter().sum::<f64>() / plane.len() as f64);
    let dims = if keeps_axes { vec![n, channels, 1, 1] } else { vec![n, channels] };
    Tensor { dims, data: means.collect() }
}

fn concat(inputs: &[&Tensor]) -> Tensor {
    let n = inputs[0].dims[0];
    let mut dims = inputs[0].dims.clone();
    dims[1] = inputs.iter().map(|input| input.dims[1]).sum();
    let mut data = Vec::new();
    for image in 0..n {
        for input in inputs {
            let len = input.data.len() / n;
            data.extend_from_slice(&input.data[image * len..(image + 1) * len]);
        }
    }
    Tensor { dims, data }
}
