//! The object store: networks, checkpoints, datasets, directions, runs, surfaces and trajectories, where they lie and
//! in which formats.
//!
//! What holds: an object's path is made of checked ids only; a thing exists from the moment its small JSON record is
//! put, which is the last put of its creation, so that readers never see half of it; what is read by digest has that
//! digest; user data is checked wholly before anything is put. Values come back with the bits they were stored with.
//! Nothing that a surface consists of is replaced by something else: its record, its tiles, the changes that it goes
//! through and the entries of the lease that says who leads are put where there is nothing, on every backend, so that
//! a process that was held up while another took over finds their places taken and is told so
//! ([`StoreErrorKind::Superseded`]). The curvature that may lie beside a surface's loss is no part of that, and may be
//! put anew. The parts of a trajectory are put in the same way, where those of no other one of
//! its name lie. Credentials of a bucket are in no error, no log and no `Debug`, and every request to one is bounded
//! in time.
//!
//! What it does not do: it executes nothing and does not know whether a checkpoint fits its network (see
//! `relief-graph`), it keeps the entries of a lease but does not say when one has run out, it caches nothing, and no
//! backend's type is visible outside. Of two processes that create the same thing at once at most one succeeds; two
//! that import splits of one dataset at once are not told apart, so imports belong to one process, within which one
//! [`Store`] and its clones keep them in order. Nothing is deleted on a condition, which a directory cannot do: a
//! process that deletes looks first whether a thing is still the one that it means, and one that is held up between
//! that look and the deletion deletes what took its place.

mod archive;
mod change;
mod checkpoint;
mod checkpoint_file;
mod cifar;
mod cloud;
mod curvature;
mod dataset;
mod direction;
mod discard;
mod element;
pub mod embedded;
mod error;
mod failure;
mod generated;
mod half;
mod header;
mod idx;
pub mod json_float;
mod layout;
mod lease;
mod location;
mod network;
mod npy;
mod object;
mod orphan;
mod page;
mod pickle;
mod pytorch;
mod record;
mod removal;
mod reuse;
mod run;
mod safetensor;
mod sample;
mod secret;
mod split;
mod store;
mod surface;
mod tile;
mod timestamp;
mod trajectory;
mod zarr;

#[cfg(test)]
mod bucket_tests;
#[cfg(test)]
mod conformance;

pub use change::LogPosition;
pub use checkpoint::{CheckpointBlob, CheckpointRecord};
pub use checkpoint_file::{CheckpointError, CheckpointFormat, DecodedCheckpoint, SkippedTensor, read_checkpoint};
pub use dataset::{DatasetImport, DatasetRecord, SplitFiles, SplitRecord};
pub use direction::DirectionRecord;
pub use discard::ValueCounter;
pub use error::{StoreError, StoreErrorKind};
pub use generated::FoundNetwork;
pub use layout::{BlobPath, BlobPathError};
pub use lease::{Holder, Lease, ProcessMark};
pub use network::{NetworkImport, NetworkRecord};
pub use orphan::Collected;
pub use page::{Listing, Page};
pub use pytorch::PytorchError;
pub use reuse::{FoundPoints, ValueKeys};
pub use run::{SnapshotMetrics, SnapshotRecord, StepMetrics};
pub use safetensor::{decode_checkpoint, encode_checkpoint};
pub use sample::DatasetSamples;
pub use split::{DatasetFormat, ParsedSplit, SampleStorage};
pub use store::{Store, StoreAccess};
pub use surface::{DirectionSource, Provenance, RequestMark, Reuse, SampleSource, SurfaceOutcome, SurfaceRecord};
pub use tile::TileWrite;
pub use timestamp::rfc3339;
pub use trajectory::{GramTensor, TrajectoryAxesRecord, TrajectoryOutcome, TrajectoryProvenance, TrajectoryRecord};
