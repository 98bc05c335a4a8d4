//! The named tensors that a network is made of.

use std::fmt;

/// What a parameter is to the node that reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    /// The kernel of a convolution or the matrix of a linear layer.
    Weight,
    /// The bias of a convolution or of a linear layer.
    Bias,
    /// The scale (gamma) of a batch normalisation.
    NormScale,
    /// The shift (beta) of a batch normalisation.
    NormShift,
    /// The running mean of a batch normalisation.
    RunningMean,
    /// The running variance of a batch normalisation.
    RunningVariance,
}

impl ParameterKind {
    /// Whether training moves it along a gradient: everything but the running statistics.
    #[must_use]
    pub fn is_trainable(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVariance)
    }
}

impl fmt::Display for ParameterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
            Self::NormScale => "normalisation scale",
            Self::NormShift => "normalisation shift",
            Self::RunningMean => "running mean",
            Self::RunningVariance => "running variance",
        })
    }
}

/// A tensor that a checkpoint of the network must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in checkpoints, and as an ONNX initialiser.
    pub name: String,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
    /// What it is to the node that reads it.
    pub kind: ParameterKind,
}

impl Parameter {
    /// The number of scalars.
    #[must_use]
    pub fn n_values(&self) -> usize {
        self.shape.iter().product()
    }
}
