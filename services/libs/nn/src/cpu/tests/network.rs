//! Networks for tests, written node by node, and runs of them.

use std::collections::HashMap;

use relief_core::{Philox, Tensor, TensorMap};
use relief_graph::{BatchNormalization, Conv, Gemm, Graph, InputShape, Node, Op, Parameter, ParameterKind, Pool};

use super::reference;
use crate::cpu::kernel::winograd::Form;
use crate::cpu::plan::StepOp;
use crate::cpu::{Algorithm, Packed, Path, Plan, Tensors, Workspace};

pub(super) const ALGORITHMS: [Algorithm; 2] = [Algorithm::Fastest, Algorithm::Direct];

/// All instructions with the algorithms that are for them.
pub(super) fn all_algorithms() -> Vec<(Path, Algorithm)> {
    let matrices = Path::amx().into_iter().map(|path| (path, Algorithm::SplitBf16));
    let pairs = Path::all().into_iter().flat_map(|path| ALGORITHMS.map(|algorithm| (path, algorithm)));
    pairs.chain(matrices).collect()
}

/// One window everywhere, moved by one pixel.
pub(super) const PLAIN: Pool =
    Pool { kernel: [3, 3], stride: [1, 1], padding: [1; 4], dilation: [1, 1], rounds_up: false };

/// A draw around 0 with the deviation 1, by means that Miri has.
pub(super) fn spread(draws: &mut Philox) -> f32 {
    (draws.next_uniform() * 2.0 - 1.0) as f32 * 3.0_f32.sqrt()
}

/// A network with the values of its parameters.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) graph: Graph,
    pub(super) parameters: Vec<Vec<f32>>,
}

/// A network being written. Values go by their names.
#[derive(Debug)]
pub(super) struct Sketch {
    pub(super) draws: Philox,
    /// Whether all values are integers so small that nothing is ever rounded.
    pub(super) is_exact: bool,
    input: InputShape,
    nodes: Vec<Node>,
    parameters: Vec<(Parameter, Vec<f32>)>,
    constants: TensorMap,
    dims: HashMap<String, Vec<usize>>,
}

impl Sketch {
    pub(super) fn new(seed: u64, dims: [usize; 3], is_exact: bool) -> Self {
        let [channels, height, width] = dims;
        Self {
            draws: Philox::new([seed, 11]),
            is_exact,
            input: InputShape::new(channels, height, width).expect("a good shape"),
            nodes: Vec::new(),
            parameters: Vec::new(),
            constants: TensorMap::new(),
            dims: HashMap::from([("x".to_owned(), dims.to_vec())]),
        }
    }

    /// The dimensions of a value, without those of the batch.
    pub(super) fn dims(&self, value: &str) -> &[usize] {
        &self.dims[value]
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.draws.next_below(bound as u64) as usize
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Values around 0, of the size of `deviation`; integers from -2 to 2 in an exact network.
    pub(super) fn values(&mut self, n_values: usize, deviation: f32) -> Vec<f32> {
        let mut values = vec![0.0; n_values];
        if self.is_exact {
            values.iter_mut().for_each(|value| *value = self.draws.next_below(5) as f32 - 2.0);
        } else {
            values.iter_mut().for_each(|value| *value = deviation * spread(&mut self.draws));
        }
        values
    }

    pub(super) fn parameter(&mut self, kind: ParameterKind, shape: &[usize], values: Vec<f32>) -> String {
        let name = format!("p{}", self.parameters.len());
        self.parameters.push((Parameter { name: name.clone(), shape: shape.to_vec(), kind }, values));
        name
    }

    pub(super) fn constant(&mut self, shape: &[usize], values: Vec<f32>) -> String {
        let name = format!("c{}", self.constants.len());
        self.constants.insert(name.clone(), Tensor::new(shape, values).expect("as many values as the shape has"));
        name
    }

    /// Adds a node that makes a value of `dims`.
    pub(super) fn node(&mut self, op: Op, inputs: &[&str], dims: &[usize]) -> String {
        let name = format!("v{}", self.nodes.len());
        let inputs = inputs.iter().map(ToString::to_string).collect();
        self.nodes.push(Node { name: name.clone(), op, inputs, output: name.clone() });
        self.dims.insert(name.clone(), dims.to_vec());
        name
    }

    /// Adds a node that keeps the dimensions of its first input.
    pub(super) fn alike(&mut self, op: Op, inputs: &[&str]) -> String {
        let dims = self.dims(inputs[0]).to_vec();
        self.node(op, inputs, &dims)
    }

    pub(super) fn relu(&mut self, x: &str) -> String {
        self.alike(Op::Relu, &[x])
    }

    /// A convolution whose windows are those of `windows`.
    pub(super) fn conv(&mut self, x: &str, n_outputs: usize, windows: Pool, groups: usize, has_bias: bool) -> String {
        let n_inputs = self.dims(x)[0] / groups;
        let shape = [n_outputs, n_inputs, windows.kernel[0], windows.kernel[1]];
        let fan_in = n_inputs * shape[2] * shape[3];
        let mut values = self.values(n_outputs * fan_in, 1.2 / (fan_in as f32).sqrt());
        if self.is_exact {
            // Some weights of each filter alone, lest sums become large.
            values.iter_mut().for_each(|value| *value *= f32::from(self.draws.next_below(fan_in as u64) < 4));
        }
        let weight = self.parameter(ParameterKind::Weight, &shape, values);
        let bias = has_bias.then(|| {
            let values = self.values(n_outputs, 0.3);
            self.parameter(ParameterKind::Bias, &[n_outputs], values)
        });
        let inputs: Vec<&str> = [Some(x), Some(&weight), bias.as_deref()].into_iter().flatten().collect();
        let Pool { stride, padding, dilation, .. } = windows;
        let [height, width] = self.windows(x, &windows).expect("windows that fit");
        self.node(Op::Conv(Conv { stride, padding, dilation, groups }), &inputs, &[n_outputs, height, width])
    }

    /// The number of windows down and across, if any fits.
    pub(super) fn windows(&self, x: &str, windows: &Pool) -> Option<[usize; 2]> {
        let [_, height, width] = self.dims(x)[..] else { return None };
        Some([windows.n_windows(0, height)?, windows.n_windows(1, width)?])
    }

    pub(super) fn pool(&mut self, op: Op, x: &str) -> String {
        let (Op::MaxPool(windows) | Op::AveragePool { pool: windows, .. }) = &op else { panic!("no pool") };
        let [height, width] = self.windows(x, windows).expect("windows that fit");
        let dims = [self.dims(x)[0], height, width];
        self.node(op, &[x], &dims)
    }

    pub(super) fn norm(&mut self, x: &str) -> String {
        let channels = self.dims(x)[0];
        let is_exact = self.is_exact;
        let around = |sketch: &mut Self, centre: f32, deviation: f32| -> Vec<f32> {
            let values = sketch.values(channels, deviation);
            values.into_iter().map(|value| if is_exact { value } else { centre + value.clamp(-0.6, 0.6) }).collect()
        };
        let (scale, shift, mean) = (around(self, 1.0, 0.3), around(self, 0.2, 0.3), around(self, 0.0, 0.3));
        let variance = match is_exact {
            true => vec![1.0; channels],
            false => around(self, 1.0, 0.3),
        };
        let kinds = [
            (ParameterKind::NormScale, scale),
            (ParameterKind::NormShift, shift),
            (ParameterKind::RunningMean, mean),
            (ParameterKind::RunningVariance, variance),
        ];
        let names = kinds.map(|(kind, values)| self.parameter(kind, &[channels], values));
        let [scale, shift, mean, variance] = names.each_ref().map(String::as_str);
        let epsilon = if is_exact { 0.0 } else { 1e-3 };
        let op = Op::BatchNormalization(BatchNormalization { epsilon, momentum: 0.9 });
        self.alike(op, &[x, scale, shift, mean, variance])
    }

    pub(super) fn concat(&mut self, inputs: &[&str]) -> String {
        let mut dims = self.dims(inputs[0]).to_vec();
        dims[0] = inputs.iter().map(|input| self.dims(input)[0]).sum();
        self.node(Op::Concat { axis: 1 }, inputs, &dims)
    }

    pub(super) fn flatten(&mut self, x: &str) -> String {
        let n_values = self.dims(x).iter().product();
        self.node(Op::Flatten, &[x], &[n_values])
    }

    pub(super) fn global_mean(&mut self, x: &str) -> String {
        let channels = self.dims(x)[0];
        self.node(Op::ReduceMean { axes: vec![2, 3], keeps_axes: false }, &[x], &[channels])
    }

    /// A linear layer; the bias is left out without `beta`.
    pub(super) fn gemm(&mut self, x: &str, n_outputs: usize, form: Gemm, has_bias: bool) -> String {
        let n_inputs = self.dims(x)[0];
        let mut values = self.values(n_inputs * n_outputs, 1.2 / (n_inputs as f32).sqrt());
        if self.is_exact {
            values.iter_mut().for_each(|value| *value *= f32::from(self.draws.next_below(n_inputs as u64) < 8));
        }
        let shape = if form.transposes_b { [n_outputs, n_inputs] } else { [n_inputs, n_outputs] };
        let weight = self.parameter(ParameterKind::Weight, &shape, values);
        let bias = has_bias.then(|| {
            let values = self.values(n_outputs, 0.3);
            self.parameter(ParameterKind::Bias, &[n_outputs], values)
        });
        let inputs: Vec<&str> = [Some(x), Some(&weight), bias.as_deref()].into_iter().flatten().collect();
        self.node(Op::Gemm(form), &inputs, &[n_outputs])
    }

    /// Flattens `x` and multiplies it by a matrix.
    pub(super) fn classify(&mut self, x: &str, n_classes: usize) -> String {
        let vector = if self.dims(x).len() == 1 { x.to_owned() } else { self.flatten(x) };
        self.gemm(&vector, n_classes, Gemm::LINEAR, true)
    }

    pub(super) fn finish(self) -> Network {
        let (parameters, values): (Vec<_>, Vec<_>) = self.parameters.into_iter().unzip();
        let graph = Graph::with_constants("test", "x", self.input, self.nodes, parameters, self.constants);
        Network { graph: graph.expect("a valid network"), parameters: values }
    }
}

impl Network {
    /// Images for the network: integers from -3 to 3, or draws around 0 with the deviation 1.
    pub(super) fn images(&self, n_images: usize, seed: u64, is_exact: bool) -> Vec<f32> {
        let mut images = vec![0.0; n_images * self.graph.input_shape().n_values()];
        let mut draws = Philox::new([seed, 5]);
        match is_exact {
            true => images.iter_mut().for_each(|value| *value = draws.next_below(7) as f32 - 3.0),
            false => images.iter_mut().for_each(|value| *value = spread(&mut draws)),
        }
        images
    }

    pub(super) fn plan(&self, path: Path, algorithm: Algorithm, n_images: usize) -> Plan {
        Plan::with_micro_batch(&self.graph, path, algorithm, n_images).expect("a network that the engine can run")
    }

    /// The engine's logits; everything that it does not write itself is NaN.
    pub(super) fn run(&self, plan: &Plan, images: &[f32]) -> Vec<f32> {
        self.run_in(plan, images, &mut plan.workspace())
    }

    pub(super) fn run_in(&self, plan: &Plan, images: &[f32], workspace: &mut Workspace) -> Vec<f32> {
        let mut packed = plan.allocate();
        self.pack(plan, &mut packed);
        workspace.poison().into_iter().for_each(|values| values.fill(f32::NAN));
        let n_images = images.len() / self.graph.input_shape().n_values();
        let mut logits = vec![f32::NAN; n_images * self.graph.n_classes()];
        plan.forward(&packed, images, workspace, &mut logits);
        logits
    }

    pub(super) fn pack(&self, plan: &Plan, packed: &mut [Packed]) {
        let parameters: Vec<&[f32]> = self.parameters.iter().map(|values| &values[..]).collect();
        let constants: Vec<&[f32]> = self.graph.constants().values().map(Tensor::data).collect();
        let tensors = Tensors { parameters: &parameters, constants: &constants };
        for (idx, packed) in packed.iter_mut().enumerate() {
            plan.pack(idx, tensors, packed);
        }
    }

    /// Checks the engine's logits of `n_images` with all instructions and algorithms against the reference's: to the
    /// bit where the network is exact and the plan is, else within `tolerance` of the largest of them.
    pub(super) fn check(&self, n_images: usize, is_exact: bool, tolerance: f64, case: &str) {
        let images = self.images(n_images, 3, is_exact);
        let (expected, largest) = reference::logits(self, &images);
        assert!(!is_exact || largest < 4096.0, "{case}: {largest} is not small");
        let scale = expected.iter().fold(0.0, |scale: f64, logit| scale.max(logit.abs()));
        for (path, algorithm) in all_algorithms() {
            // The last micro-batch is not full.
            let plan = self.plan(path, algorithm, 2);
            let found = self.run(&plan, &images);
            let case = format!("{case}, {} {algorithm:?}", path.as_str());
            assert_eq!(found.len(), expected.len(), "{case}");
            // Two bfloat16 have 7 binary digits less than a float32, but small integers fit into them. Drawn networks
            // lose up to 1.3 times the tests' tolerances, built-in ones and those of pairs of blocks up to 2.1 times.
            let factor = if algorithm == Algorithm::SplitBf16 { 3.5 } else { 1.0 };
            for (idx, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let error = (f64::from(*found) - expected).abs();
                let is_right = match is_exact {
                    // Where a result is wrong it is wrong by an integer.
                    true if is_rounded(&plan) => error <= 1e-3_f64.max(2e-6 * largest),
                    true => error == 0.0,
                    false => error <= factor * tolerance * scale,
                };
                assert!(is_right, "{case}: logit {idx} is {found}, not {expected}; the largest is {scale}");
            }
        }
    }
}

/// Whether the plan rounds what is computed of integers: F(4 x 4, 3 x 3) divides by what is no power of two.
fn is_rounded(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(&step.op, StepOp::Winograd(winograd, _) if winograd.form() == Form::Four))
}
