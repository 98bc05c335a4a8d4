//! What is stored of a run.

use std::fmt;

use relief_core::{Digest, JobState, RunId, RunSpec};
use relief_store::json_float;
use serde::{Deserialize, Serialize};

/// What a run was asked to do; written once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    /// Its name.
    pub(crate) id: RunId,
    /// As accepted, with every default filled in and the network under its full name.
    pub(crate) spec: RunSpec,
    /// The number of training samples.
    pub(crate) n_samples: u64,
    /// The digest of the network's ONNX file.
    pub(crate) network_digest: Digest,
    /// The digest over all that the training samples depend on.
    pub(crate) dataset_digest: Digest,
    /// What the last bits depend on besides.
    pub(crate) numeric_class: String,
    /// When it was accepted, RFC 3339.
    pub(crate) created: String,
}

impl RunRecord {
    /// The number of steps of each epoch.
    pub(crate) fn n_steps_per_epoch(&self) -> u64 {
        self.n_samples.div_ceil(u64::from(self.spec.recipe.batch_size).max(1))
    }

    /// The number of steps in all.
    pub(crate) fn n_steps(&self) -> u64 {
        self.n_steps_per_epoch() * u64::from(self.spec.recipe.epochs)
    }
}

/// How a run stands; written at the end of every epoch and of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunStatus {
    /// Where it is in its life.
    pub(crate) state: JobState,
    /// The number of finished epochs.
    pub(crate) epoch: u32,
    /// The number of steps done.
    pub(crate) step: u64,
    /// The mean cross entropy over the samples of the present epoch so far, in nats; 0 before the first step.
    #[serde(with = "json_float")]
    pub(crate) loss: f64,
    /// The accuracy over the same samples, in percent.
    #[serde(with = "json_float")]
    pub(crate) accuracy: f64,
    /// The present learning rate.
    pub(crate) rate: f64,
    /// Training samples per second since the run began.
    pub(crate) samples_per_second: f64,
    /// The time until the run is done, in seconds; none when not known.
    #[serde(skip)]
    pub(crate) eta_seconds: Option<f64>,
    /// Grows with every change.
    pub(crate) revision: u64,
    /// Why it failed, in state failed.
    pub(crate) error: Option<RunFailure>,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunFailure {
    /// One of the closed set of reasons.
    pub(crate) reason: String,
    /// The same for people.
    pub(crate) message: String,
}

impl RunStatus {
    /// The status of a run that was accepted and not begun.
    pub(crate) fn pending(record: &RunRecord) -> Self {
        Self {
            state: JobState::Pending,
            epoch: 0,
            step: 0,
            loss: 0.0,
            accuracy: 0.0,
            rate: record.spec.recipe.rate,
            samples_per_second: 0.0,
            eta_seconds: None,
            revision: 1,
            error: None,
        }
    }
}

/// Says why a run that its trainer left behind failed, `last_snapshot` being the epoch of its newest snapshot.
pub(crate) struct Abandoned {
    pub(crate) last_snapshot: Option<u32>,
}

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last_snapshot {
            None => f.write_str("the trainer was stopped before the run wrote a snapshot"),
            Some(epoch) => write!(f, "the trainer was stopped during the run; snapshots up to epoch {epoch} are kept"),
        }
    }
}
