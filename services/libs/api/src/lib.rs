//! The gRPC contract in Rust: code generated from `proto/`, conversions between its messages and the domain's types,
//! and the closed set of reasons for which a call is refused.
//!
//! What holds: nothing that came over the wire is trusted. A message becomes a domain type in one place, in
//! [`convert`], or a refusal that lists every field that is wrong; handlers see domain types only.
//!
//! What it does not do: no connections (see `relief-rpc`), no decisions.

pub mod convert;
mod error;

pub use error::{ApiError, ErrorReason, FieldViolation, Retry, Violations};

/// The compiled contract as an encoded `google.protobuf.FileDescriptorSet`, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

macro_rules! package {
    ($(#[$doc:meta])* $area:ident, $package:literal) => {
        $(#[$doc])*
        pub mod $area {
            /// Version 1.
            #[allow(missing_docs, clippy::all, rustdoc::all, unused_qualifications)]
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
            }
        }
    };
}

package!(
    /// What surfaces and runs have in common.
    job, "relief.job.v1"
);
package!(
    /// Networks, checkpoints and datasets.
    catalog, "relief.catalog.v1"
);
package!(
    /// Loss surfaces and curves.
    surface, "relief.surface.v1"
);
package!(
    /// Optimisers' paths in planes through parameter space.
    trajectory, "relief.trajectory.v1"
);
package!(
    /// What networks make of samples.
    inference, "relief.inference.v1"
);
package!(
    /// What the coordinator asks of evaluators.
    evaluator, "relief.evaluator.v1"
);
package!(
    /// Training runs and their snapshots.
    training, "relief.training.v1"
);
package!(
    /// Pictures of surfaces.
    plot, "relief.plot.v1"
);
