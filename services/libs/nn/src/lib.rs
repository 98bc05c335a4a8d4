//! Execution of network graphs: the metrics at the points of a plane, and training.
//!
//! Two engines run a graph. Burn evaluates and trains with one interpretation of it, on any device; the engine that is made
//! for processors (`cpu`) evaluates.
//!
//! What holds: the engines agree, as far as float32 tells. A point's value is a function of the
//! network, the plane, the samples, the coefficients and the numeric class, which [`Device::numeric_class`] names; it
//! has the same bits for any number of threads. NaN and infinities pass through as they are.
//!
//! What it does not do: no I/O, no async, no clock. It reads no files (see `relief-store`) and knows no wire format.

mod cpu;
mod device;
mod device_choice;
mod evaluation;
#[cfg(test)]
mod fixture;
mod loss;
mod plane;
mod program;
mod sample;
mod sgd;
mod training;
mod transfer;

pub use cpu::{Path as CpuPath, UnknownPath as UnknownCpuPath, exercise_matrix_unit};
pub use device::{Device, NumericChoice, NumericsError};
pub use device_choice::{DeviceChoice, DeviceChoiceError};
pub use evaluation::{Evaluation, Inference, LogitsSpan, PlaneSession, SessionError, Stage};
pub use plane::{PlaneError, ResidentPlane};
pub use sample::{ResidentSamples, SampleError, Samples};
pub use sgd::SgdRecipe;
pub use training::{StepMetrics, TrainingError, TrainingSession};
