//! Every reader of foreign files, with good files for it and ways to damage them: what the tests and the fuzz targets
//! of all readers share.
//!
//! What holds: a [`Format`] reads its files as a service would, and checks what comes out of it. Damage is done inside a
//! file's frame, which is then made whole again (lengths, checksums, packing), as well as to its bytes: files damaged
//! at random seldom come past the first header. A file of a format and a number is the same file at all times.
//!
//! What it does not do: it measures nothing (see its tests), and it keeps no files that fuzzing found; those become
//! tests of their own.

mod archive;
mod cifar;
mod damage;
mod format;
mod idx;
mod npz;
mod onnx;
mod pickle;
mod protobuf;
mod pytorch;
mod safetensors;

pub use archive::{Part, zip};
pub use format::{Format, Outcome};
