//! The beginnings of surfaces: the class that was chosen is pinned, and what others have of them is found.

use std::sync::Arc;

use relief_store::{FoundPoints, StoreError, StoreErrorKind};

use super::{End, MAX_PAUSE, MIN_PAUSE, Term};
use crate::job::{Job, chain};
use crate::schedule::Class;

impl Term {
    /// Begins the work on a job: pins its class, and finds what others have of it. A store that fails is asked again.
    pub(super) async fn begin_job(self: Arc<Self>, job: Arc<Job>, class: Class) {
        let mut pause = MIN_PAUSE;
        loop {
            match self.try_begin(&job, &class).await {
                Ok(None) => return,
                Ok(Some((class, found))) => {
                    let n_reused = job.record().reuse.as_ref().map_or(0, |reuse| reuse.n_points);
                    if n_reused > 0 {
                        tracing::info!(surface = %job.id(), points = n_reused, "points are reused");
                    }
                    let (key, values) = (job.key, &found.values);
                    self.tell(|state, now| state.scheduler.job_begun(now, key, class, values, n_reused));
                    return;
                }
                Err(error) if error.kind() == StoreErrorKind::Superseded => return self.give_up(&job, &error),
                Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                    tracing::warn!(surface = %job.id(), error = %chain(&error), "a surface cannot begin yet");
                    let reason = format!("the store does not let it begin: {error}");
                    self.tell(|state, now| state.scheduler.job_waits(now, job.key, reason));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Err(error) => {
                    tracing::error!(surface = %job.id(), error = %chain(&error), "a surface cannot begin");
                    self.tell(|state, now| state.scheduler.end_job(now, job.key, End::Failed(error.into())));
                    return;
                }
            }
        }
    }

    /// None when there is nothing to begin any more.
    pub(super) async fn try_begin(
        &self,
        job: &Job,
        offered: &Class,
    ) -> Result<Option<(Class, FoundPoints)>, StoreError> {
        let accepted = job.record();
        let class = match accepted.provenance.numeric_class.as_str() {
            "" => Arc::clone(offered),
            pinned => pinned.into(),
        };
        let found = self.store.find_points(&accepted, &class).await?;
        for error in &found.damages {
            tracing::error!(surface = %job.id(), %error, "points of another surface cannot be reused");
        }
        let _change = job.changing.lock().await;
        if self.mandate.hold().await.is_err() || !self.lock().jobs.contains_key(&job.key) {
            return Ok(None);
        }
        let record = self.store.begin_surface(&job.record(), self.epoch, &class, found.reuse.clone()).await?;
        job.set_record(record);
        Ok(Some((class, found)))
    }

    /// Somebody else has changed a surface: this process does not lead any more.
    pub(super) fn give_up(&self, job: &Job, error: &StoreError) {
        tracing::warn!(surface = %job.id(), %error, "this coordinator does not lead any more");
        self.mandate.give_up();
    }
}
