//! Job states.

use relief_core::JobState;

use crate::job::v1;

/// Returns the state as a message.
#[must_use]
pub fn state_to_wire(state: JobState) -> v1::JobState {
    match state {
        JobState::Pending => v1::JobState::Pending,
        JobState::Running => v1::JobState::Running,
        JobState::Succeeded => v1::JobState::Succeeded,
        JobState::Failed => v1::JobState::Failed,
        JobState::Cancelled => v1::JobState::Cancelled,
    }
}

/// Returns the state that a message names, or none for one that this version does not know.
#[must_use]
pub fn state_from_wire(state: i32) -> Option<JobState> {
    match v1::JobState::try_from(state).ok()? {
        v1::JobState::Unspecified => None,
        v1::JobState::Pending => Some(JobState::Pending),
        v1::JobState::Running => Some(JobState::Running),
        v1::JobState::Succeeded => Some(JobState::Succeeded),
        v1::JobState::Failed => Some(JobState::Failed),
        v1::JobState::Cancelled => Some(JobState::Cancelled),
    }
}
