//! Why a run ends early.

use relief_api::{ApiError, ErrorReason};
use relief_graph::OnnxError;
use relief_nn::{NumericsError, PlaneError, SampleError, SessionError, TrainingError};
use relief_store::StoreError;

use crate::record::{Abandoned, RunFailure};

/// Why a run ends before its last epoch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("the run was cancelled")]
    Cancelled,
    #[error("{}", Abandoned { last_snapshot: *last_snapshot })]
    Stopped { last_snapshot: Option<u32> },
    #[error("cannot load {what}")]
    Load {
        what: String,
        #[source]
        reason: ApiError,
    },
    #[error("cannot store {what}")]
    Store {
        what: String,
        #[source]
        reason: ApiError,
    },
    #[error("cannot read the stored network")]
    Network(#[from] OnnxError),
    #[error("cannot evaluate snapshots")]
    Numerics(#[from] NumericsError),
    #[error("cannot put the samples on the device")]
    Samples(#[from] SampleError),
    #[error("cannot put the network on the device")]
    Plane(#[from] PlaneError),
    #[error("cannot evaluate a snapshot")]
    Evaluation(#[from] SessionError),
    #[error("cannot train")]
    Training(#[from] TrainingError),
    #[error("the training thread failed: {0}")]
    Panic(String),
}

impl RunError {
    pub(crate) fn load(what: impl ToString, error: StoreError) -> Self {
        Self::Load { what: what.to_string(), reason: error.into() }
    }

    pub(crate) fn store(what: impl ToString, error: StoreError) -> Self {
        Self::Store { what: what.to_string(), reason: error.into() }
    }

    fn reason(&self) -> ErrorReason {
        match self {
            Self::Cancelled => ErrorReason::Cancelled,
            Self::Stopped { .. } => ErrorReason::ShuttingDown,
            Self::Load { reason, .. } | Self::Store { reason, .. } => reason.reason,
            Self::Network(_) => ErrorReason::DataCorrupt,
            Self::Numerics(_)
            | Self::Samples(_)
            | Self::Plane(_)
            | Self::Evaluation(_)
            | Self::Training(_)
            | Self::Panic(_) => ErrorReason::Internal,
        }
    }

    pub(crate) fn failure(&self) -> RunFailure {
        RunFailure { reason: self.reason().to_string(), message: chain(self) }
    }
}

/// The error with all its sources.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
