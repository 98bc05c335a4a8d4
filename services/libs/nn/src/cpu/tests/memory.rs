//! Memory that tests watch, and all unsafe code of theirs.

#![allow(unsafe_code, reason = "pages are asked of the operating system, and allocations are passed on to it")]

mod counter;
#[cfg(all(target_os = "linux", not(miri)))]
mod guard;

pub(super) use counter::n_allocations;
#[cfg(all(target_os = "linux", not(miri)))]
pub(super) use guard::{Edge, Guarded};
