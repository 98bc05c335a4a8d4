//! Pickle, as much of it as PyTorch writes, and nothing executed: a callable is a name, and of the few that make
//! tensors and dictionaries the result is known; everything else becomes an opaque object of that name. (Python's
//! `pickletools` describes the instructions.)
//!
//! The work and the memory are proportional to the length of the pickle, and the number of instructions is bounded.
//! Values are shared where a pickle speaks of them again, and what has to be copied is counted.

mod call;
mod machine;
#[cfg(test)]
mod tests;
mod value;

use machine::Machine;
pub(crate) use value::{Heap, StorageRef, TensorRef, Value};

#[derive(Debug, thiserror::Error)]
pub(crate) enum PickleError {
    #[error("the pickle ends within itself; the file is truncated")]
    Truncated,
    #[error("the instruction {code:#04x} at byte {at} of the pickle is not one that is read")]
    Instruction { code: u8, at: usize },
    #[error("the pickle is damaged at byte {at}: {what}")]
    Damaged { at: usize, what: &'static str },
    #[error("the pickle has more than the {MAX_STEPS} steps that are taken")]
    Long,
    #[error("the pickle copies the same names or entries again and again")]
    Repeated,
}

/// The most instructions of one pickle.
const MAX_STEPS: usize = 4 << 20;

/// Reads the pickle that `bytes` start with. Returns its value, the containers, and its length in bytes.
pub(crate) fn load(bytes: &[u8]) -> Result<(Value, Heap, usize), PickleError> {
    Machine::new(bytes).run()
}
