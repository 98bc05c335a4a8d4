//! What the engine makes of a graph before anything has a place in memory: fewer and larger steps.
//!
//! A batch normalisation, a scale or a shift behind a convolution or linear layer that nothing else reads is folded into
//! it; a sum with a value that is there already, and a bound of the result, are done where the result is written.

use std::collections::HashMap;

use relief_graph::{BatchNormalization, Graph, Node, Op, Parameter, Pool, ValueShape};

use super::activation::Activation;
use super::kernel::direct::Window;
use super::kernel::pointwise::Joint;
use super::kernel::window::Summary;

/// No bounds.
pub(crate) const UNBOUNDED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

/// Why the engine cannot run a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsupported {
    /// It has an operator, or a form of one, that the engine lacks.
    #[error("the cpu engine cannot run {operator} `{node}`: {reason}")]
    Operator { node: String, operator: &'static str, reason: &'static str },
    /// Its values are too many for the offsets that kernels keep.
    #[error(
        "the cpu engine cannot keep {n_values} values of a layer in memory together, {} at most",
        super::plan::MAX_OFFSET
    )]
    Values { n_values: usize },
}

/// The steps of a network in order, and the values between them.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) steps: Vec<DraftStep>,
    /// (channels, height, width); the first is the network's input, and vectors are images of 1 x 1.
    pub(crate) values: Vec<[usize; 3]>,
    pub(crate) output: usize,
    /// The values of all parameters together.
    pub(crate) n_parameters: usize,
}

/// A step, and the values that it reads and writes.
#[derive(Debug, Clone)]
pub(crate) struct DraftStep {
    pub(crate) op: DraftOp,
    pub(crate) inputs: Vec<usize>,
    pub(crate) output: usize,
    /// What the result is brought within.
    pub(crate) bounds: [f32; 2],
}

#[derive(Debug, Clone)]
pub(crate) enum DraftOp {
    /// A second input is added to the result.
    Conv(DraftConv),
    /// A factor and a summand for each channel.
    Affine(Vec<Tuning>),
    Activate(Activation),
    Join(Joint),
    Window(Window, Summary),
    GlobalMean,
    Concat,
}

/// A convolution, or a linear layer, which is the convolution whose window is the whole image.
#[derive(Debug, Clone)]
pub(crate) struct DraftConv {
    pub(crate) window: Window,
    pub(crate) groups: usize,
    pub(crate) weight: Source,
    /// The order of the weight's axes.
    pub(crate) order: WeightOrder,
    /// The factor of the weight.
    pub(crate) alpha: f32,
    /// What is done to the result, channel by channel, in this order.
    pub(crate) tunings: Vec<Tuning>,
}

/// How the weight of a convolution lies in its tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WeightOrder {
    /// (output, input, row, column).
    OutputFirst,
    /// (input, row, column, output).
    OutputLast,
}

/// Where a tensor without a batch comes from: the graph's parameters, or its constants, by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Parameter(usize),
    Constant(usize),
}

/// What is done to each channel. A tensor of one entry is for all channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Tuning {
    /// (x - mean) / sqrt(variance + epsilon) scale + shift.
    Normalize { scale: Source, shift: Source, mean: Source, variance: Source, epsilon: f32 },
    /// x + factor summand.
    Shift { summand: Source, factor: f32 },
    /// x factor.
    Scale { factor: Source },
    /// x / divisor.
    Divide { divisor: Source },
}

/// What a name stands for.
#[derive(Debug, Clone)]
enum Meaning {
    /// A value; a flat one has the entries of an image of several pixels as one vector.
    Value {
        idx: usize,
        is_flat: bool,
    },
    Tensor {
        source: Source,
        dims: Vec<usize>,
    },
}

impl Draft {
    /// Returns the steps of `graph`.
    ///
    /// # Errors
    /// When it has an operator that the engine lacks, or one in a form that it lacks.
    pub(crate) fn of(graph: &Graph) -> Result<Self, Unsupported> {
        let mut drafter = Drafter::new(graph);
        for node in graph.nodes() {
            drafter.add(node)?;
        }
        match &drafter.names[graph.output_name()] {
            Meaning::Value { idx, .. } => {
                let output = *idx;
                let n_parameters = graph.parameters().iter().map(Parameter::n_values).sum();
                Ok(Self { steps: drafter.steps, values: drafter.values, output, n_parameters })
            }
            Meaning::Tensor { .. } => unreachable!("logits depend on the input"),
        }
    }
}

struct Drafter<'a> {
    graph: &'a Graph,
    names: HashMap<&'a str, Meaning>,
    steps: Vec<DraftStep>,
    values: Vec<[usize; 3]>,
    /// How often each value is read.
    n_reads: Vec<usize>,
    /// How often each name is read; the output is read once more.
    reads_of_name: HashMap<&'a str, usize>,
    /// The step that makes each value.
    makers: Vec<Option<usize>>,
}

impl<'a> Drafter<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut reads_of_name: HashMap<&str, usize> = HashMap::new();
        for name in graph.nodes().iter().flat_map(|node| &node.inputs) {
            *reads_of_name.entry(name).or_default() += 1;
        }
        *reads_of_name.entry(graph.output_name()).or_default() += 1;
        let mut names = HashMap::new();
        for (place, parameter) in graph.parameters().iter().enumerate() {
            let (source, dims) = (Source::Parameter(place), parameter.shape.clone());
            names.insert(parameter.name.as_str(), Meaning::Tensor { source, dims });
        }
        for (place, (name, constant)) in graph.constants().iter().enumerate() {
            let (source, dims) = (Source::Constant(place), constant.shape().to_vec());
            names.insert(name, Meaning::Tensor { source, dims });
        }
        let mut drafter = Self {
            graph,
            names,
            steps: Vec::new(),
            values: Vec::new(),
            n_reads: Vec::new(),
            reads_of_name,
            makers: Vec::new(),
        };
        drafter.value(graph.input_name(), graph.input_shape().dims(), None);
        drafter
    }

    fn value(&mut self, name: &'a str, dims: [usize; 3], maker: Option<usize>) -> usize {
        let idx = self.values.len();
        self.values.push(dims);
        self.makers.push(maker);
        self.n_reads.push(self.reads_of_name.get(name).copied().unwrap_or(0));
        self.names.insert(name, Meaning::Value { idx, is_flat: false });
        idx
    }

    fn add(&mut self, node: &'a Node) -> Result<(), Unsupported> {
        match &node.op {
            Op::Conv(conv) => {
                let input = self.image(node, 0)?;
                let (weight, dims) = self.tensor(node, 1)?;
                let window = Window {
                    kernel: [dims[2], dims[3]],
                    stride: conv.stride,
                    padding: [conv.padding[0], conv.padding[1]],
                    dilation: conv.dilation,
                };
                let (groups, order, alpha) = (conv.groups, WeightOrder::OutputFirst, 1.0);
                let tunings = match node.inputs.len() {
                    3 => vec![Tuning::Shift { summand: self.tensor(node, 2)?.0, factor: 1.0 }],
                    _ => Vec::new(),
                };
                self.step(node, DraftOp::Conv(DraftConv { window, groups, weight, order, alpha, tunings }), vec![input])
            }
            Op::Gemm(gemm) if !gemm.transposes_a => {
                let order = if gemm.transposes_b { WeightOrder::OutputFirst } else { WeightOrder::OutputLast };
                let tunings = match node.inputs.len() {
                    3 => {
                        let (summand, dims) = self.tensor(node, 2)?;
                        self.check_per_channel(node, &dims, self.output_dims(node)?[0])?;
                        vec![Tuning::Shift { summand, factor: gemm.beta }]
                    }
                    _ => Vec::new(),
                };
                self.linear(node, order, gemm.alpha, tunings)
            }
            Op::MatMul => self.linear(node, WeightOrder::OutputLast, 1.0, Vec::new()),
            Op::BatchNormalization(norm) => self.batch_normalization(node, norm),
            Op::Relu => self.bound(node, [0.0, f32::INFINITY]),
            Op::Clip { min, max } => self.bound(node, [min.unwrap_or(f32::NEG_INFINITY), max.unwrap_or(f32::INFINITY)]),
            Op::Add => self.join(node, Joint::Add),
            Op::Sub => self.join(node, Joint::Sub),
            Op::Mul => self.join(node, Joint::Mul),
            Op::Div => self.join(node, Joint::Div),
            Op::MaxPool(pool) => self.pool(node, pool, Summary::Max),
            Op::AveragePool { pool, counts_padding: false } => self.pool(node, pool, Summary::Mean),
            Op::AveragePool { pool, counts_padding: true } => {
                self.pool(node, pool, Summary::PaddedMean { end: [pool.padding[2], pool.padding[3]] })
            }
            Op::GlobalAveragePool => self.unary(node, DraftOp::GlobalMean),
            Op::ReduceMean { axes, .. } if axes[..] == [2, 3] => self.unary(node, DraftOp::GlobalMean),
            Op::Flatten | Op::Reshape { .. } => self.reshape(node),
            Op::Concat { axis: 1 } => {
                let inputs = (0..node.inputs.len()).map(|slot| self.image(node, slot)).collect::<Result<_, _>>()?;
                self.step(node, DraftOp::Concat, inputs)
            }
            op => match Activation::of(op) {
                Some(activation) => self.unary(node, DraftOp::Activate(activation)),
                None => Err(refuse(node, "it has no kernel for this operator or this form of it")),
            },
        }
    }

    fn step(&mut self, node: &'a Node, op: DraftOp, inputs: Vec<usize>) -> Result<(), Unsupported> {
        let dims = self.output_dims(node)?;
        let output = self.value(&node.output, dims, Some(self.steps.len()));
        self.steps.push(DraftStep { op, inputs, output, bounds: UNBOUNDED });
        Ok(())
    }

    fn unary(&mut self, node: &'a Node, op: DraftOp) -> Result<(), Unsupported> {
        let input = self.image(node, 0)?;
        self.step(node, op, vec![input])
    }

    fn linear(
        &mut self,
        node: &'a Node,
        order: WeightOrder,
        alpha: f32,
        tunings: Vec<Tuning>,
    ) -> Result<(), Unsupported> {
        let Meaning::Value { idx: input, is_flat } = self.meaning(node, 0) else {
            return Err(refuse(node, "its first input is not a value"));
        };
        let (weight, dims) = self.tensor(node, 1)?;
        let [channels, height, width] = self.values[input];
        let n_inputs = channels * height * width;
        let (makes, takes) = match order {
            WeightOrder::OutputFirst => (dims.first(), dims.last()),
            WeightOrder::OutputLast => (dims.last(), dims.first()),
        };
        let is_vector = self.output_dims(node)? == [makes.copied().unwrap_or(0), 1, 1];
        if dims.len() != 2 || takes != Some(&n_inputs) || (!is_flat && height * width > 1) || !is_vector {
            return Err(refuse(node, "it multiplies something else than one vector per sample by a matrix"));
        }
        let window = Window { kernel: [height, width], stride: [1, 1], padding: [0, 0], dilation: [1, 1] };
        self.step(node, DraftOp::Conv(DraftConv { window, groups: 1, weight, order, alpha, tunings }), vec![input])
    }

    fn batch_normalization(&mut self, node: &'a Node, norm: &BatchNormalization) -> Result<(), Unsupported> {
        let [scale, shift, mean, variance] = [1, 2, 3, 4].map(|slot| self.tensor(node, slot).map(|(source, _)| source));
        let (scale, shift, mean, variance) = (scale?, shift?, mean?, variance?);
        let input = self.image(node, 0)?;
        self.tune(node, input, Tuning::Normalize { scale, shift, mean, variance, epsilon: norm.epsilon })
    }

    /// Folds `tuning` into what makes `input`, or makes a step of it.
    fn tune(&mut self, node: &'a Node, input: usize, tuning: Tuning) -> Result<(), Unsupported> {
        if let Some(maker) = self.open_maker(input) {
            let has_residual = self.steps[maker].inputs.len() > 1;
            match &mut self.steps[maker].op {
                DraftOp::Conv(DraftConv { tunings, .. }) if !has_residual => {
                    tunings.push(tuning);
                    return self.rename(node, maker);
                }
                DraftOp::Affine(tunings) => {
                    tunings.push(tuning);
                    return self.rename(node, maker);
                }
                _ => {}
            }
        }
        self.step(node, DraftOp::Affine(vec![tuning]), vec![input])
    }

    fn bound(&mut self, node: &'a Node, bounds: [f32; 2]) -> Result<(), Unsupported> {
        let input = self.image(node, 0)?;
        if let Some(maker) = self.open_maker(input) {
            let op = &self.steps[maker].op;
            if matches!(op, DraftOp::Conv(_) | DraftOp::Affine(_) | DraftOp::Join(_)) {
                self.steps[maker].bounds = bounds;
                return self.rename(node, maker);
            }
        }
        self.step(node, DraftOp::Affine(Vec::new()), vec![input])?;
        if let Some(step) = self.steps.last_mut() {
            step.bounds = bounds;
        }
        Ok(())
    }

    /// The step that makes a value which nobody reads but the node at hand, if its result is not bounded yet.
    fn open_maker(&self, value: usize) -> Option<usize> {
        let maker = self.makers[value].filter(|_| self.n_reads[value] == 1)?;
        (self.steps[maker].bounds == UNBOUNDED).then_some(maker)
    }

    /// Lets the step `maker` make the value of `node`, in place of the one that it made.
    fn rename(&mut self, node: &'a Node, maker: usize) -> Result<(), Unsupported> {
        let dims = self.output_dims(node)?;
        let output = self.value(&node.output, dims, Some(maker));
        self.steps[maker].output = output;
        Ok(())
    }

    fn join(&mut self, node: &'a Node, joint: Joint) -> Result<(), Unsupported> {
        match (self.meaning(node, 0), self.meaning(node, 1)) {
            (Meaning::Value { .. }, Meaning::Value { .. }) => {
                let (first, second) = (self.image(node, 0)?, self.image(node, 1)?);
                self.join_values(node, joint, first, second)
            }
            (Meaning::Value { .. }, Meaning::Tensor { source, dims }) => {
                let input = self.image(node, 0)?;
                self.check_broadcast(node, &dims, input)?;
                let tuning = match joint {
                    Joint::Add => Tuning::Shift { summand: source, factor: 1.0 },
                    Joint::Sub => Tuning::Shift { summand: source, factor: -1.0 },
                    Joint::Mul => Tuning::Scale { factor: source },
                    Joint::Div => Tuning::Divide { divisor: source },
                };
                self.tune(node, input, tuning)
            }
            (Meaning::Tensor { source, dims }, Meaning::Value { .. }) => {
                let input = self.image(node, 1)?;
                self.check_broadcast(node, &dims, input)?;
                let tuning = match joint {
                    Joint::Add => Tuning::Shift { summand: source, factor: 1.0 },
                    Joint::Mul => Tuning::Scale { factor: source },
                    Joint::Sub | Joint::Div => return Err(refuse(node, "its first input is a parameter")),
                };
                self.tune(node, input, tuning)
            }
            _ => Err(refuse(node, "neither of its inputs depends on the sample")),
        }
    }

    fn join_values(&mut self, node: &'a Node, joint: Joint, first: usize, second: usize) -> Result<(), Unsupported> {
        let dims = self.output_dims(node)?;
        if joint == Joint::Add && self.values[first] == self.values[second] && first != second {
            // The later of the two makers may add the other, which is there when it runs.
            let made = |value: usize| self.makers[value].map_or(0, |maker| maker + 1);
            let (earlier, later) = if made(first) < made(second) { (first, second) } else { (second, first) };
            if let Some(maker) = self.open_maker(later) {
                let step = &self.steps[maker];
                if matches!(step.op, DraftOp::Conv(_)) && step.inputs.len() == 1 {
                    self.steps[maker].inputs.push(earlier);
                    return self.rename(node, maker);
                }
            }
        }
        let is_small = |value: usize| self.values[value] == [dims[0], 1, 1];
        if self.values[first] == dims && (self.values[second] == dims || is_small(second)) {
            return self.step(node, DraftOp::Join(joint), vec![first, second]);
        }
        let commutes = matches!(joint, Joint::Add | Joint::Mul);
        if commutes && self.values[second] == dims && is_small(first) {
            return self.step(node, DraftOp::Join(joint), vec![second, first]);
        }
        Err(refuse(node, "it repeats an input in a way that there is no kernel for"))
    }

    fn pool(&mut self, node: &'a Node, pool: &Pool, summary: Summary) -> Result<(), Unsupported> {
        let window = Window {
            kernel: pool.kernel,
            stride: pool.stride,
            padding: [pool.padding[0], pool.padding[1]],
            dilation: pool.dilation,
        };
        self.unary(node, DraftOp::Window(window, summary))
    }

    fn reshape(&mut self, node: &'a Node) -> Result<(), Unsupported> {
        let Meaning::Value { idx, is_flat } = self.meaning(node, 0) else {
            return Err(refuse(node, "its input is not a value"));
        };
        let from = self.values[idx];
        let shape = self.output_shape(node);
        let n_pixels = from[1] * from[2];
        let is_flat = match shape.dims[..] {
            _ if shape.dims == from => is_flat,
            [_] => n_pixels > 1,
            [_, 1, 1] if n_pixels == 1 => false,
            _ => return Err(refuse(node, "it neither flattens an image nor leaves its shape")),
        };
        self.n_reads[idx] += self.reads_of_name.get(node.output.as_str()).copied().unwrap_or(0);
        self.n_reads[idx] -= 1;
        self.names.insert(&node.output, Meaning::Value { idx, is_flat });
        Ok(())
    }

    fn meaning(&self, node: &Node, slot: usize) -> Meaning {
        self.names[node.inputs[slot].as_str()].clone()
    }

    /// The value that a node reads as an image.
    fn image(&self, node: &Node, slot: usize) -> Result<usize, Unsupported> {
        match self.meaning(node, slot) {
            Meaning::Value { idx, is_flat: false } => Ok(idx),
            Meaning::Value { .. } => Err(refuse(node, "it reads a flattened image")),
            Meaning::Tensor { .. } => Err(refuse(node, "it reads a parameter where it should read a value")),
        }
    }

    fn tensor(&self, node: &Node, slot: usize) -> Result<(Source, Vec<usize>), Unsupported> {
        match self.meaning(node, slot) {
            Meaning::Tensor { source, dims } => Ok((source, dims)),
            Meaning::Value { .. } => Err(refuse(node, "it takes its parameters from a value")),
        }
    }

    /// Checks that a tensor that is joined with a value has one entry, or one for each channel.
    fn check_broadcast(&self, node: &Node, dims: &[usize], value: usize) -> Result<(), Unsupported> {
        let [channels, height, width] = self.values[value];
        let is_vector = self.value_rank(node) == 2;
        let is_per_channel = match dims {
            _ if dims.iter().all(|dim| *dim == 1) => true,
            [.., 1, 1] => dims[..dims.len() - 2].iter().product::<usize>() == channels && dims.len() <= 4,
            [rest @ .., last] => is_vector && height * width == 1 && *last == channels && rest.iter().all(|d| *d == 1),
            [] => true,
        };
        match is_per_channel {
            true => Ok(()),
            false => Err(refuse(node, "it joins a value with a tensor that has not one entry for each channel")),
        }
    }

    fn check_per_channel(&self, node: &Node, dims: &[usize], channels: usize) -> Result<(), Unsupported> {
        let n_values: usize = dims.iter().product();
        match n_values == 1 || (n_values == channels && dims.last() == Some(&channels)) {
            true => Ok(()),
            false => Err(refuse(node, "its summand has not one entry for each output")),
        }
    }

    fn output_shape(&self, node: &Node) -> &'a ValueShape {
        &self.graph.shapes()[&node.output]
    }

    fn value_rank(&self, node: &Node) -> usize {
        self.output_shape(node).rank()
    }

    /// The shape of what a node makes, as an image.
    fn output_dims(&self, node: &Node) -> Result<[usize; 3], Unsupported> {
        let shape = self.output_shape(node);
        match shape.dims[..] {
            [channels, height, width] if shape.is_batched => Ok([channels, height, width]),
            [channels] if shape.is_batched => Ok([channels, 1, 1]),
            _ => Err(refuse(node, "it makes neither images nor vectors")),
        }
    }
}

fn refuse(node: &Node, reason: &'static str) -> Unsupported {
    Unsupported::Operator { node: node.name.clone(), operator: node.op.name(), reason }
}
