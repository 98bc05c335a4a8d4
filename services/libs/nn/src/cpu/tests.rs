//! The engine against an interpreter in float64 that is as plain as can be, and what else it promises.

mod bits;
mod bounds;
mod builtin;
mod call;
mod drawn;
mod folding;
mod halves;
mod memory;
mod miri;
mod network;
mod nonfinite;
mod point;
mod random;
mod reference;
mod winograd;
