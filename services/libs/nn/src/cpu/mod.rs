//! The engine that is made for processors.
//!
//! A network is planned once: batch normalisations folded, places in memory found, convolutions given their kernels. At
//! each point the parameters are packed for the kernels. Images then go through the whole network a few at a time, so
//! that what lies between its layers never leaves the processor's cache.
//!
//! A logit is a function of its image and of the parameters alone: every sum has its order, whatever the number of
//! threads or of images that are computed together.

mod activation;
mod draft;
mod encoding;
mod forward;
mod kernel;
mod layout;
mod pack;
mod plan;
mod point;
#[cfg(test)]
mod tests;

pub use kernel::amx::exercise_matrix_unit;
pub use kernel::path::{Path, UnknownPath};
#[cfg(test)]
pub(crate) use pack::{Packed, Tensors};
pub(crate) use plan::Algorithm;
#[cfg(test)]
pub(crate) use plan::{Plan, Workspace};
pub(crate) use point::{Network, Point, obstacle};
