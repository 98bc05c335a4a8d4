//! The life of a job: a surface or a run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a job is in its life. The last three are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted and stored, no work begun.
    #[default]
    Pending,
    /// At work.
    Running,
    /// All of it is done.
    Succeeded,
    /// It cannot be done; the job says why.
    Failed,
    /// Stopped by its user; what was finished is kept.
    Cancelled,
}

/// A step that a job's life does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {from} job cannot become {to}")]
pub struct TransitionError {
    /// Where the job is.
    pub from: JobState,
    /// Where it was to go.
    pub to: JobState,
}

impl JobState {
    /// Whether nothing can change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Returns `to` when a job may go there from here.
    ///
    /// # Errors
    /// When the job is final, or the step goes back.
    pub fn transition(self, to: Self) -> Result<Self, TransitionError> {
        let allowed = match self {
            Self::Pending => to != Self::Pending,
            Self::Running => to.is_final(),
            Self::Succeeded | Self::Failed | Self::Cancelled => false,
        };
        if allowed { Ok(to) } else { Err(TransitionError { from: self, to }) }
    }

    /// The word shown to users.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_stay() {
        for from in [JobState::Succeeded, JobState::Failed, JobState::Cancelled] {
            assert!(from.is_final());
            assert_eq!(from.transition(JobState::Running), Err(TransitionError { from, to: JobState::Running }));
        }
    }

    #[test]
    fn a_job_runs_and_ends() {
        assert_eq!(JobState::Pending.transition(JobState::Running), Ok(JobState::Running));
        assert_eq!(JobState::Running.transition(JobState::Succeeded), Ok(JobState::Succeeded));
        assert!(JobState::Running.transition(JobState::Pending).is_err());
    }
}
