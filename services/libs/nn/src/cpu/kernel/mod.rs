//! The loops that everything takes its time in, and all unsafe code of the engine.
//!
//! A kernel is a safe function over slices: it checks that they hold all that its plan touches, and only then calls its
//! body, which is compiled once for each set of instructions.

#![allow(unsafe_code, reason = "vectors of the processor, and offsets that are checked once per call")]
#![allow(clippy::needless_range_loop, reason = "loops over registers, which must unroll as they stand")]

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "read by what x86-64 alone has"))]
pub(super) mod amx;
pub(super) mod direct;
pub(super) mod memory;
pub(super) mod path;
pub(super) mod pointwise;
#[cfg(target_arch = "x86_64")]
mod split;
#[cfg(target_arch = "x86_64")]
mod tile;
pub(super) mod vector;
pub(super) mod window;
pub(super) mod winograd;
