//! The engine against an interpreter in float64 that is as plain as can be, and what else it promises.

mod bits;
mod bounds;
mod builtin;
mod call;
mod drawn;
mod folding;
#[cfg(all(target_os = "linux", not(miri)))]
mod guard;
mod halves;
mod miri;
mod network;
mod nonfinite;
mod random;
mod reference;
mod winograd;
