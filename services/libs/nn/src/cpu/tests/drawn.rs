//! Small networks drawn at random, of all operators that the engine has.

use std::collections::BTreeSet;

use relief_graph::{GeluForm, Gemm, Op, ParameterKind, Pool};

use super::network::{Network, PLAIN, Sketch};

const CHANNELS: [usize; 15] = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 24, 32, 33, 48, 50];

/// The network of a seed.
pub(super) fn network(seed: u64, is_exact: bool) -> Network {
    let mut drawer = Drawer::new(seed, is_exact);
    for _ in 0..3 + drawer.sketch.below(7) {
        drawer.add();
    }
    drawer.finish()
}

struct Drawer {
    sketch: Sketch,
    images: Vec<String>,
    unread: BTreeSet<String>,
}

impl Drawer {
    fn new(seed: u64, is_exact: bool) -> Self {
        let mut sketch = Sketch::new(seed, [1, 1, 1], is_exact);
        let dims = [sketch.pick(&[1, 2, 3, 8, 17]), 1 + sketch.below(13), 1 + sketch.below(11)];
        sketch = Sketch::new(seed, dims, is_exact);
        Self { sketch, images: vec!["x".to_owned()], unread: BTreeSet::from(["x".to_owned()]) }
    }

    /// A value to read: one that nothing reads yet, more often than not.
    fn value(&mut self) -> String {
        let idx = match self.sketch.below(3) {
            0 => self.sketch.below(self.images.len()),
            _ => self.images.len() - 1,
        };
        self.images[idx].clone()
    }

    /// Another value of the same dimensions; the same one if there is no other.
    fn partner(&mut self, x: &str) -> String {
        let alike = |other: &&String| self.sketch.dims(other) == self.sketch.dims(x);
        let others: Vec<String> = self.images.iter().filter(alike).cloned().collect();
        let idx = self.sketch.below(others.len());
        others[idx].clone()
    }

    fn made(&mut self, output: String, inputs: &[&str]) {
        for input in inputs {
            self.unread.remove(*input);
        }
        self.unread.insert(output.clone());
        self.images.push(output);
    }

    fn add(&mut self) {
        let x = self.value();
        let output = match self.sketch.below(16) {
            0..=4 => self.conv(&x),
            5 => self.sketch.norm(&x),
            6 => self.sketch.relu(&x),
            7 => self.clip(&x),
            8 => self.pool(&x),
            9 => self.tune(&x),
            10 | 11 => return self.join(&x),
            12 => {
                let others: Vec<String> = (0..1 + self.sketch.below(3)).map(|_| self.partner(&x)).collect();
                let inputs: Vec<&str> = [&x].into_iter().chain(&others).map(String::as_str).collect();
                let output = self.sketch.concat(&inputs);
                return self.made(output, &inputs);
            }
            13 => return self.residual(&x),
            _ => self.activation(&x),
        };
        self.made(output, &[&x]);
    }

    fn windows(&mut self) -> Pool {
        let sketch = &mut self.sketch;
        let kernel = [sketch.pick(&[1, 2, 3, 3, 3, 4, 5]), sketch.pick(&[1, 2, 3, 3, 3, 5])];
        let padding = [0, 1, 2, 3].map(|side| sketch.below(kernel[side % 2]));
        let stride = [sketch.pick(&[1, 1, 2, 3]), sketch.pick(&[1, 1, 2, 3])];
        let dilation = [sketch.pick(&[1, 1, 1, 2]), sketch.pick(&[1, 1, 1, 3])];
        match sketch.below(3) {
            0 => PLAIN,
            1 => Pool { padding, ..PLAIN },
            _ => Pool { kernel, stride, padding, dilation, rounds_up: false },
        }
    }

    fn conv(&mut self, x: &str) -> String {
        let windows = self.windows();
        let n_inputs = self.sketch.dims(x)[0];
        let n_groups: Vec<usize> = (1..=n_inputs).filter(|n| n_inputs.is_multiple_of(*n)).collect();
        let groups = if self.sketch.below(3) == 0 { self.sketch.pick(&n_groups) } else { 1 };
        let n_outputs = match groups {
            1 => self.sketch.pick(&CHANNELS),
            _ => groups * self.sketch.pick(&[1, 1, 2, 3]),
        };
        let windows = match self.sketch.windows(x, &windows) {
            Some(_) => windows,
            None => Pool { kernel: [1, 1], padding: [0; 4], ..windows },
        };
        let has_bias = self.sketch.below(2) == 0;
        let output = self.sketch.conv(x, n_outputs, windows, groups, has_bias);
        // Small again, so that nothing is rounded behind several of them.
        if self.sketch.is_exact { self.clip(&output) } else { output }
    }

    fn clip(&mut self, x: &str) -> String {
        let bounds = [(Some(0.0), Some(6.0)), (None, Some(4.0)), (Some(-2.0), None), (Some(-3.0), Some(5.0))];
        let (min, max) = self.sketch.pick(&bounds[if self.sketch.is_exact { 3 } else { 0 }..]);
        self.sketch.alike(Op::Clip { min, max }, &[x])
    }

    fn pool(&mut self, x: &str) -> String {
        let mut windows = Pool { rounds_up: self.sketch.below(2) == 0, ..self.windows() };
        for side in 0..4 {
            windows.padding[side] = windows.padding[side].min(windows.kernel[side % 2] - 1);
        }
        let windows = if self.sketch.windows(x, &windows).is_some() {
            windows
        } else {
            Pool { kernel: [1, 1], padding: [0; 4], ..windows }
        };
        let mean = Pool { dilation: [1, 1], ..windows };
        let is_sum = [mean.kernel[0], mean.kernel[1]].iter().all(|size| size.is_power_of_two());
        let counts_padding = self.sketch.below(2) == 0;
        let op = match self.sketch.below(3) {
            // Quotients that are not rounded.
            0 | 1 if self.sketch.is_exact && !(is_sum && counts_padding && !mean.rounds_up) => Op::MaxPool(windows),
            0 | 1 => Op::AveragePool { pool: mean, counts_padding },
            _ => Op::MaxPool(windows),
        };
        if self.sketch.is_exact && matches!(op, Op::AveragePool { .. }) {
            let rounded = self.sketch.pool(op, x);
            let ceiling = self.sketch.constant(&[], vec![16.0]);
            return self.sketch.alike(Op::Mul, &[&rounded, &ceiling]);
        }
        self.sketch.pool(op, x)
    }

    /// A sum, difference, product or quotient with a tensor.
    fn tune(&mut self, x: &str) -> String {
        let channels = self.sketch.dims(x)[0];
        let shape = match self.sketch.below(4) {
            0 => vec![1],
            1 => vec![],
            2 => vec![1, channels, 1, 1],
            _ => vec![channels, 1, 1],
        };
        let n_values = shape.iter().product();
        let op = self.sketch.pick(&[0, 1, 2, 3]);
        let mut values = self.sketch.values(n_values, 0.3);
        if op == 3 {
            values.iter_mut().for_each(|value| *value = if *value < 0.0 { -2.0 } else { 1.0 });
        } else if op == 2 && !self.sketch.is_exact {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        let tensor = match self.sketch.below(2) {
            0 => self.sketch.constant(&shape, values),
            _ => self.sketch.parameter(ParameterKind::Weight, &shape, values),
        };
        match (op, self.sketch.below(2)) {
            (0, 0) => self.sketch.alike(Op::Add, &[x, &tensor]),
            (0, _) => self.reversed(Op::Add, x, &tensor),
            (1, _) => self.sketch.alike(Op::Sub, &[x, &tensor]),
            (2, 0) => self.sketch.alike(Op::Mul, &[x, &tensor]),
            (2, _) => self.reversed(Op::Mul, x, &tensor),
            (_, _) => self.sketch.alike(Op::Div, &[x, &tensor]),
        }
    }

    /// `op` with the tensor first.
    fn reversed(&mut self, op: Op, x: &str, tensor: &str) -> String {
        let dims = self.sketch.dims(x).to_vec();
        self.sketch.node(op, &[tensor, x], &dims)
    }

    fn join(&mut self, x: &str) {
        let other = self.partner(x);
        let dims = self.sketch.dims(x).to_vec();
        match self.sketch.below(5) {
            0 | 1 => {
                let output = self.sketch.alike(Op::Add, &[x, &other]);
                self.made(output, &[x, &other]);
            }
            2 => {
                let output = self.sketch.alike(Op::Sub, &[x, &other]);
                self.made(output, &[x, &other]);
            }
            3 => {
                // A factor of each channel of each image, as in squeeze and excitation.
                let whole = Pool { kernel: [dims[1], dims[2]], padding: [0; 4], ..PLAIN };
                let pooled = self.sketch.pool(Op::MaxPool(whole), &other);
                let factor = self.sketch.alike(Op::Clip { min: Some(-1.0), max: Some(2.0) }, &[&pooled]);
                let (output, inputs) = match self.sketch.below(3) {
                    0 => (self.sketch.alike(Op::Mul, &[x, &factor]), [x, &other]),
                    1 => (self.sketch.node(Op::Add, &[&factor, x], &dims), [x, &other]),
                    _ => (self.sketch.alike(Op::Sub, &[x, &factor]), [x, &other]),
                };
                self.made(output, &inputs);
            }
            _ => {
                let bounds = if self.sketch.is_exact { (1.0, 1.0) } else { (0.5, 2.0) };
                let divisor = Op::Clip { min: Some(bounds.0), max: Some(bounds.1) };
                let divisor = self.sketch.alike(divisor, &[&other]);
                let output = self.sketch.alike(Op::Div, &[x, &divisor]);
                self.made(output, &[x, &other]);
            }
        }
    }

    /// A block with a shortcut.
    fn residual(&mut self, x: &str) {
        let channels = self.sketch.dims(x)[0];
        let mut y = self.sketch.conv(x, channels, PLAIN, 1, false);
        if self.sketch.below(2) == 0 {
            y = self.sketch.norm(&y);
        }
        let inputs = if self.sketch.below(2) == 0 { [x, &y] } else { [&y, x] };
        let sum = self.sketch.alike(Op::Add, &inputs);
        let output = self.clip(&sum);
        self.made(output, &[x]);
    }

    fn activation(&mut self, x: &str) -> String {
        let op = match self.sketch.below(8) {
            _ if self.sketch.is_exact => Op::Relu,
            0 => Op::LeakyRelu { alpha: 0.1 },
            1 => Op::Sigmoid,
            2 => Op::HardSigmoid { alpha: 0.2, beta: 0.5 },
            3 => Op::HardSwish,
            4 => Op::Gelu(GeluForm::Exact),
            5 => Op::Gelu(GeluForm::Tanh),
            6 => Op::Tanh,
            _ => {
                let positive = self.sketch.alike(Op::Clip { min: Some(0.25), max: None }, &[x]);
                return self.sketch.alike(Op::Sqrt, &[&positive]);
            }
        };
        self.sketch.alike(op, &[x])
    }

    /// Lets the logits depend on everything that nothing reads.
    fn finish(mut self) -> Network {
        let mut vectors: Vec<String> = Vec::new();
        for value in std::mem::take(&mut self.unread) {
            vectors.push(self.vector(&value));
        }
        let parts: Vec<&str> = vectors.iter().map(String::as_str).collect();
        let mut vector = if parts.len() > 1 { self.sketch.concat(&parts) } else { parts[0].to_owned() };
        if parts.len() == 1 && self.sketch.below(2) == 0 {
            return self.sketch.finish();
        }
        if self.sketch.below(2) == 0 {
            vector = self.sketch.norm(&vector);
        }
        let form = match self.sketch.is_exact {
            true => Gemm { alpha: 2.0, beta: 3.0, transposes_b: false, ..Gemm::LINEAR },
            false => Gemm { alpha: 0.7, beta: 1.3, ..Gemm::LINEAR },
        };
        let has_bias = self.sketch.below(2) == 0;
        self.sketch.gemm(&vector, 10, form, has_bias);
        self.sketch.finish()
    }

    fn vector(&mut self, value: &str) -> String {
        let channels = self.sketch.dims(value)[0];
        let sketch = &mut self.sketch;
        match sketch.below(4) {
            0 if !sketch.is_exact => sketch.global_mean(value),
            1 if !sketch.is_exact => {
                let mean = sketch.node(Op::GlobalAveragePool, &[value], &[channels, 1, 1]);
                sketch.node(Op::Reshape { dims: vec![channels] }, &[&mean], &[channels])
            }
            2 => {
                let flat = sketch.flatten(value);
                let n_values = sketch.dims(&flat)[0];
                let mut values = sketch.values(n_values * 7, 1.0 / (n_values as f32).sqrt());
                if sketch.is_exact {
                    values
                        .iter_mut()
                        .for_each(|value| *value *= f32::from(sketch.draws.next_below(n_values as u64) < 8));
                }
                let matrix = sketch.parameter(ParameterKind::Weight, &[n_values, 7], values);
                sketch.node(Op::MatMul, &[&flat, &matrix], &[7])
            }
            _ => {
                let n_outputs = sketch.pick(&[3, 8, 13]);
                sketch.classify(value, n_outputs)
            }
        }
    }
}
