//! The ends of surfaces, stored before anybody is told.

use std::sync::Arc;
use std::time::SystemTime;

use relief_api::ApiError;
use relief_core::JobState;
use relief_store::{StoreErrorKind, SurfaceOutcome, rfc3339};

use super::{End, MAX_PAUSE, MIN_PAUSE, Term};
use crate::job::{Job, Settled, chain};

impl Term {
    /// Stores the end of a job of which nothing is on its way.
    pub(super) async fn end_stored(self: Arc<Self>, job: Arc<Job>, end: End) {
        let settled = match end {
            End::Removed => self.remove(&job).await,
            End::Succeeded => self.finish(&job, JobState::Succeeded, None).await,
            End::Cancelled => self.finish(&job, JobState::Cancelled, None).await,
            End::Failed(error) => {
                tracing::warn!(surface = %job.id(), %error, "surface fails");
                self.finish(&job, JobState::Failed, Some(error)).await
            }
        };
        job.settle(settled);
    }

    /// Stores how a job ends. Waits for a store that is out of reach until the end of the term.
    async fn finish(self: &Arc<Self>, job: &Job, state: JobState, error: Option<ApiError>) -> Settled {
        let _change = job.changing.lock().await;
        let tally = job.status().tally;
        let outcome = SurfaceOutcome {
            state,
            reason: error.as_ref().map(|error| error.reason.as_str().to_owned()),
            message: error.as_ref().map(|error| error.message.clone()),
            points_done: tally.points_done,
            points_non_finite: tally.points_non_finite,
            tiles_done: tally.tiles_done,
            tiles_retried: tally.tiles_retried,
            ended: rfc3339(SystemTime::now()),
        };
        let mut pause = MIN_PAUSE;
        loop {
            self.mandate.hold().await?;
            match self.store.finish_surface(&job.record(), self.epoch, &outcome).await {
                Ok(record) => {
                    job.set_record(record);
                    job.end(state, error.map(|error| (error.reason, error.message)));
                    tracing::info!(surface = %job.id(), %state, "surface ended");
                    self.forget(job);
                    return Ok(());
                }
                Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                    tracing::warn!(surface = %job.id(), error = %chain(&error), "cannot store the end of a surface yet");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Err(error) if error.kind() == StoreErrorKind::Superseded => {
                    self.give_up(job, &error);
                    return Err(ApiError::not_leader(None));
                }
                Err(error) => {
                    tracing::warn!(surface = %job.id(), %state, %error, "the end of a surface was not stored");
                    job.end(JobState::Cancelled, None);
                    self.forget(job);
                    return Err(error.into());
                }
            }
        }
    }

    /// Deletes a surface. Waits for a store that is out of reach until the end of the term.
    async fn remove(self: &Arc<Self>, job: &Job) -> Settled {
        let _change = job.changing.lock().await;
        let mut pause = MIN_PAUSE;
        let mut is_repeated = false;
        let settled = loop {
            self.mandate.hold().await?;
            match self.store.delete_surface(&job.record(), self.epoch).await {
                Ok(()) => break Ok(()),
                // A try before this one has done it, although it did not seem so.
                Err(error) if is_repeated && error.kind() == StoreErrorKind::NotFound => break Ok(()),
                Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                    tracing::warn!(surface = %job.id(), error = %chain(&error), "cannot delete a surface yet");
                    is_repeated = true;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Err(error) if error.kind() == StoreErrorKind::Superseded => {
                    self.give_up(job, &error);
                    return Err(ApiError::not_leader(None));
                }
                Err(error) => break Err(error.into()),
            }
        };
        job.end(JobState::Cancelled, None);
        self.forget(job);
        settled
    }
}
