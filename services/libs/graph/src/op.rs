//! The operators that a network is built from.

use std::ops::RangeInclusive;

use crate::parameter::ParameterKind;

/// What a node computes; the meaning is that of the ONNX operator of the same name.
///
/// Axes are counted as in ONNX: the batch of a value is its axis 0, and no operator moves it, mixes its samples or
/// changes its size. A parameter or constant has no batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Two-dimensional convolution of a value with a weight (out, in / groups, height, width) and an optional bias.
    Conv(Conv),
    /// Batch normalisation over the channels, with scale, shift, running mean and running variance.
    BatchNormalization(BatchNormalization),
    /// Normalisation of each sample over its last axes, with scale and optional shift.
    LayerNormalization(LayerNormalization),
    /// max(x, 0); NaN stays NaN.
    Relu,
    /// x where x >= 0, else alpha x.
    LeakyRelu {
        /// The slope below 0.
        alpha: f32,
    },
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// max(0, min(1, alpha x + beta)); NaN stays NaN.
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// x max(0, min(1, x / 6 + 1 / 2)); NaN stays NaN.
    HardSwish,
    /// x times the standard normal distribution function of x.
    Gelu(GeluForm),
    /// The error function.
    Erf,
    /// The hyperbolic tangent.
    Tanh,
    /// The square root.
    Sqrt,
    /// min(max(x, min), max); NaN stays NaN.
    Clip {
        /// The lower bound, if any.
        min: Option<f32>,
        /// The upper bound, if any.
        max: Option<f32>,
    },
    /// Softmax over one axis.
    Softmax {
        /// The axis.
        axis: usize,
    },
    /// The logarithm of the softmax over one axis.
    LogSoftmax {
        /// The axis.
        axis: usize,
    },
    /// The sum, broadcast as ONNX does.
    Add,
    /// The difference, broadcast as ONNX does.
    Sub,
    /// The product entry by entry, broadcast as ONNX does.
    Mul,
    /// The quotient entry by entry, broadcast as ONNX does.
    Div,
    /// The matrix product over the last two axes, the axes before them broadcast.
    MatMul,
    /// alpha A B + beta C, with A or B transposed first where so said.
    Gemm(Gemm),
    /// The largest entry of each window; NaN counts as largest, padding never wins.
    MaxPool(Pool),
    /// The mean of each window.
    AveragePool {
        /// The windows.
        pool: Pool,
        /// Whether padding counts as zeros; else the mean is over the image's own entries.
        counts_padding: bool,
    },
    /// The mean of each channel; the result has height and width 1.
    GlobalAveragePool,
    /// The mean over some axes.
    ReduceMean {
        /// The axes, ascending.
        axes: Vec<usize>,
        /// Whether they stay, with size 1.
        keeps_axes: bool,
    },
    /// All values of a sample as one vector.
    Flatten,
    /// The same entries in the same order under other dimensions. Squeeze and Unsqueeze are written so too.
    Reshape {
        /// The dimensions; those of a sample where there is a batch.
        dims: Vec<usize>,
    },
    /// The axes in another order.
    Transpose {
        /// The axis that each axis of the result comes from.
        order: Vec<usize>,
    },
    /// Tensors one after the other along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// Every so many entries of some axes.
    Slice {
        /// What is taken of each axis; axes that are not named are taken whole.
        ranges: Vec<Range>,
    },
    /// More entries at the ends of the axes.
    Pad {
        /// The number of entries before the first of each axis.
        before: Vec<usize>,
        /// The number of entries after the last of each axis.
        after: Vec<usize>,
        /// What they are.
        value: f32,
    },
}

/// The attributes of a convolution; the size of its kernel is that of its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// The step of the window, down and across.
    pub stride: [usize; 2],
    /// The zeros at the top, left, bottom and right.
    pub padding: [usize; 4],
    /// The distance between kernel entries, down and across.
    pub dilation: [usize; 2],
    /// The number of groups that channels are split into.
    pub groups: usize,
}

/// The attributes of a batch normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNormalization {
    /// Added to the variance before its root is taken.
    pub epsilon: f32,
    /// The share of a running statistic that a training step *keeps* (ONNX's sense; PyTorch's momentum is 1 minus it).
    pub momentum: f32,
}

/// The attributes of a layer normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNormalization {
    /// The first of the axes that are normalised over together.
    pub axis: usize,
    /// Added to the variance before its root is taken.
    pub epsilon: f32,
}

/// How the normal distribution function is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeluForm {
    /// (1 + erf(x / sqrt 2)) / 2.
    Exact,
    /// (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
    Tanh,
}

/// The attributes of a general matrix product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gemm {
    /// The factor of the product.
    pub alpha: f32,
    /// The factor of the summand.
    pub beta: f32,
    /// Whether the first matrix is transposed; never where its rows are the batch.
    pub transposes_a: bool,
    /// Whether the second matrix is transposed, as in a linear layer with the weight (out, in).
    pub transposes_b: bool,
}

impl Gemm {
    /// x W^T + b, the linear layer with the weight W (out, in).
    pub const LINEAR: Self = Self { alpha: 1.0, beta: 1.0, transposes_a: false, transposes_b: true };
}

/// The windows of a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// The height and width of the window.
    pub kernel: [usize; 2],
    /// The step of the window, down and across.
    pub stride: [usize; 2],
    /// The padding at the top, left, bottom and right.
    pub padding: [usize; 4],
    /// The distance between the window's entries, down and across.
    pub dilation: [usize; 2],
    /// Whether a last window that reaches beyond the padded image counts, if it starts inside the image or before it.
    pub rounds_up: bool,
}

/// The entries start, start + step, ... before end of one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The axis.
    pub axis: usize,
    /// The first entry.
    pub start: usize,
    /// One more than the last entry that may be taken.
    pub end: usize,
    /// The step, at least 1.
    pub step: usize,
}

impl Range {
    /// The number of entries taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end.saturating_sub(self.start).div_ceil(self.step.max(1))
    }

    /// Whether no entry is taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The names of the supported operators, for messages.
pub(crate) const SUPPORTED: &str = "Conv, BatchNormalization, LayerNormalization, Relu, LeakyRelu, Sigmoid, \
     HardSigmoid, HardSwish, Gelu, Erf, Tanh, Sqrt, Clip, Softmax, LogSoftmax, Add, Sub, Mul, Div, Pow (of 2), MatMul, \
     Gemm, MaxPool, AveragePool, GlobalAveragePool, ReduceMean, Flatten, Reshape, Squeeze, Unsqueeze, Transpose, \
     Concat, Split, Slice, Pad, Dropout, Identity, Cast, Constant, and Shape, Gather, Expand, CastLike, \
     ConstantOfShape, Equal and Where of constants and shapes";

impl Op {
    /// The name of the ONNX operator.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv(_) => "Conv",
            Self::BatchNormalization(_) => "BatchNormalization",
            Self::LayerNormalization(_) => "LayerNormalization",
            Self::Relu => "Relu",
            Self::LeakyRelu { .. } => "LeakyRelu",
            Self::Sigmoid => "Sigmoid",
            Self::HardSigmoid { .. } => "HardSigmoid",
            Self::HardSwish => "HardSwish",
            Self::Gelu(_) => "Gelu",
            Self::Erf => "Erf",
            Self::Tanh => "Tanh",
            Self::Sqrt => "Sqrt",
            Self::Clip { .. } => "Clip",
            Self::Softmax { .. } => "Softmax",
            Self::LogSoftmax { .. } => "LogSoftmax",
            Self::Add => "Add",
            Self::Sub => "Sub",
            Self::Mul => "Mul",
            Self::Div => "Div",
            Self::MatMul => "MatMul",
            Self::Gemm(_) => "Gemm",
            Self::MaxPool(_) => "MaxPool",
            Self::AveragePool { .. } => "AveragePool",
            Self::GlobalAveragePool => "GlobalAveragePool",
            Self::ReduceMean { .. } => "ReduceMean",
            Self::Flatten => "Flatten",
            Self::Reshape { .. } => "Reshape",
            Self::Transpose { .. } => "Transpose",
            Self::Concat { .. } => "Concat",
            Self::Slice { .. } => "Slice",
            Self::Pad { .. } => "Pad",
        }
    }

    /// How many tensors it reads.
    pub(crate) fn n_inputs(&self) -> RangeInclusive<usize> {
        match self {
            Self::Conv(_) | Self::Gemm(_) | Self::LayerNormalization(_) => 2..=3,
            Self::BatchNormalization(_) => 5..=5,
            Self::Add | Self::Sub | Self::Mul | Self::Div | Self::MatMul => 2..=2,
            Self::Concat { .. } => 1..=usize::MAX,
            _ => 1..=1,
        }
    }

    /// What a parameter in the place `idx` of its inputs must be; none where any will do.
    pub(crate) fn slot_kind(&self, idx: usize) -> Option<ParameterKind> {
        use ParameterKind::{Bias, NormScale, NormShift, RunningMean, RunningVariance, Weight};

        let kinds: &[ParameterKind] = match self {
            Self::Conv(_) | Self::Gemm(_) => &[Weight, Bias],
            Self::BatchNormalization(_) => &[NormScale, NormShift, RunningMean, RunningVariance],
            Self::LayerNormalization(_) => &[NormScale, NormShift],
            _ => &[],
        };
        kinds.get(idx.checked_sub(1)?).copied()
    }
}
