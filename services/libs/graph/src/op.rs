//! The operators that a network is built from.

use crate::parameter::ParameterKind;

/// What a node computes; the meaning is that of the ONNX operator of the same name.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Two-dimensional convolution of a value with a weight (out, in / groups, height, width) and an optional bias.
    Conv(Conv),
    /// Batch normalisation over the channels, with scale, shift, running mean and running variance.
    BatchNormalization(BatchNormalization),
    /// max(x, 0); NaN stays NaN.
    Relu,
    /// The sum of two values of the same shape.
    Add,
    /// The largest entry of each window; NaN counts as largest.
    MaxPool(MaxPool),
    /// The mean of each channel; the result has height and width 1.
    GlobalAveragePool,
    /// All values of a sample as one vector.
    Flatten,
    /// x W^T + b with the weight W (out, in) and an optional bias b.
    Gemm,
}

/// The attributes of a convolution; the size of its kernel is that of its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// The step of the window, down and across.
    pub stride: [usize; 2],
    /// The rows of zeros above and below, and the columns left and right.
    pub padding: [usize; 2],
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

/// The attributes of a max-pool. Padding never wins a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool {
    /// The height and width of the window.
    pub kernel: [usize; 2],
    /// The step of the window, down and across.
    pub stride: [usize; 2],
    /// The rows added above and below, and the columns left and right.
    pub padding: [usize; 2],
}

/// The names of the supported operators, for messages.
pub(crate) const SUPPORTED: &str = "Conv, BatchNormalization, Relu, Add, MaxPool, GlobalAveragePool, Flatten and Gemm";

/// A parameter that an operator reads after its values.
pub(crate) struct ParameterSlot {
    pub(crate) kind: ParameterKind,
    pub(crate) is_optional: bool,
}

const fn required(kind: ParameterKind) -> ParameterSlot {
    ParameterSlot { kind, is_optional: false }
}

const WEIGHT_AND_BIAS: [ParameterSlot; 2] =
    [required(ParameterKind::Weight), ParameterSlot { kind: ParameterKind::Bias, is_optional: true }];
const NORMALIZATION: [ParameterSlot; 4] = [
    required(ParameterKind::NormScale),
    required(ParameterKind::NormShift),
    required(ParameterKind::RunningMean),
    required(ParameterKind::RunningVariance),
];

impl Op {
    /// The name of the ONNX operator.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv(_) => "Conv",
            Self::BatchNormalization(_) => "BatchNormalization",
            Self::Relu => "Relu",
            Self::Add => "Add",
            Self::MaxPool(_) => "MaxPool",
            Self::GlobalAveragePool => "GlobalAveragePool",
            Self::Flatten => "Flatten",
            Self::Gemm => "Gemm",
        }
    }

    /// The number of inputs that are values; they come first, the parameters follow.
    #[must_use]
    pub fn n_values(&self) -> usize {
        match self {
            Self::Add => 2,
            _ => 1,
        }
    }

    pub(crate) fn parameter_slots(&self) -> &'static [ParameterSlot] {
        match self {
            Self::Conv(_) | Self::Gemm => &WEIGHT_AND_BIAS,
            Self::BatchNormalization(_) => &NORMALIZATION,
            Self::Relu | Self::Add | Self::MaxPool(_) | Self::GlobalAveragePool | Self::Flatten => &[],
        }
    }
}
