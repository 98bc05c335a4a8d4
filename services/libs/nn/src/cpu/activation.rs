//! Functions of single values that no kernel is made for.

use relief_graph::{GeluForm, Op};

/// A function of one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Activation {
    LeakyRelu(f32),
    Sigmoid,
    /// The slope, and the value at 0.
    HardSigmoid(f32, f32),
    HardSwish,
    Gelu(GeluForm),
    Erf,
    Tanh,
    Sqrt,
}

impl Activation {
    /// The function that an operator is, if it is one.
    pub(crate) fn of(op: &Op) -> Option<Self> {
        Some(match op {
            Op::LeakyRelu { alpha } => Self::LeakyRelu(*alpha),
            Op::Sigmoid => Self::Sigmoid,
            Op::HardSigmoid { alpha, beta } => Self::HardSigmoid(*alpha, *beta),
            Op::HardSwish => Self::HardSwish,
            Op::Gelu(form) => Self::Gelu(*form),
            Op::Erf => Self::Erf,
            Op::Tanh => Self::Tanh,
            Op::Sqrt => Self::Sqrt,
            _ => return None,
        })
    }

    /// Applies it to every value.
    pub(crate) fn apply(self, input: &[f32], output: &mut [f32]) {
        let each = |function: &dyn Fn(f32) -> f32, output: &mut [f32]| {
            for (output, input) in output.iter_mut().zip(input) {
                *output = function(*input);
            }
        };
        match self {
            Self::LeakyRelu(alpha) => each(&|x| if x < 0.0 { alpha * x } else { x }, output),
            Self::Sigmoid => each(&|x| 1.0 / (1.0 + libm::expf(-x)), output),
            Self::HardSigmoid(alpha, beta) => each(&|x| clamp(alpha * x + beta), output),
            Self::HardSwish => each(&|x| x * clamp(x / 6.0 + 0.5), output),
            Self::Gelu(GeluForm::Exact) => {
                each(&|x| 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2)), output);
            }
            Self::Gelu(GeluForm::Tanh) => {
                let root = (2.0 / std::f32::consts::PI).sqrt();
                each(&|x| 0.5 * x * (1.0 + libm::tanhf(root * (x + 0.044_715 * x * x * x))), output);
            }
            Self::Erf => each(&|x| libm::erff(x), output),
            Self::Tanh => each(&|x| libm::tanhf(x), output),
            Self::Sqrt => each(&|x| x.sqrt(), output),
        }
    }
}

/// max(0, min(1, x)); NaN stays NaN.
fn clamp(x: f32) -> f32 {
    x.clamp(0.0, 1.0)
}
