//! What others left behind: surfaces to go on with, and what nothing names any more.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use relief_api::{ApiError, ErrorReason};
use relief_core::SurfaceId;
use relief_store::{StoreErrorKind, SurfaceRecord};
use tokio::time::Instant;

use super::{End, Term};
use crate::app::stored_surfaces;
use crate::job::chain;
use crate::planning::count_done;

/// Between two looks for surfaces that a leader before stored late.
const SEARCH_INTERVAL: Duration = Duration::from_secs(30);
/// From the beginning of a term to the first look for what nothing names, between two looks, and how long that has been so
/// at least.
const COLLECTION_DELAY: Duration = Duration::from_secs(300);
const COLLECTION_INTERVAL: Duration = Duration::from_secs(3600);
const MIN_ORPHAN_AGE: Duration = Duration::from_secs(3600);

impl Term {
    /// Puts every stored surface that has not ended back to work. From then on looks at intervals for those that a leader
    /// before stored too late to be found, and removes what nothing names.
    pub(super) async fn resume(self: Arc<Self>) {
        let mut seen = HashSet::new();
        let mut pause = Duration::from_millis(200);
        while let Err(error) = self.try_resume(&mut seen).await {
            tracing::warn!(%error, "cannot look for unfinished surfaces yet");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(10));
        }
        self.is_resumed.cancel();
        let mut collection = tokio::time::interval_at(Instant::now() + COLLECTION_DELAY, COLLECTION_INTERVAL);
        let mut search = tokio::time::interval(SEARCH_INTERVAL);
        search.reset();
        loop {
            tokio::select! {
                _ = collection.tick() => self.collect().await,
                _ = search.tick() => {
                    if let Err(error) = self.search(&mut seen).await {
                        tracing::warn!(%error, "cannot look for unfinished surfaces");
                    }
                }
            }
        }
    }

    pub(super) async fn try_resume(self: &Arc<Self>, seen: &mut HashSet<SurfaceId>) -> Result<(), ApiError> {
        self.mandate.hold().await?;
        let n_deleted = self.store.complete_deletions().await?;
        if n_deleted > 0 {
            tracing::info!(surfaces = n_deleted, "interrupted deletions are completed");
        }
        for record in stored_surfaces(&self.store).await? {
            if record.outcome.is_some() {
                seen.insert(record.id);
            } else if !self.is_at_hand(&record.id) {
                self.take_up(record).await?;
            }
        }
        Ok(())
    }

    /// Whether a surface is at work in this term, or just being created.
    fn is_at_hand(&self, id: &SurfaceId) -> bool {
        let state = self.lock();
        state.keys.contains_key(id) || state.reserved.contains_key(id)
    }

    /// Takes up surfaces that appeared in the store and were not created in this term.
    pub(super) async fn search(self: &Arc<Self>, seen: &mut HashSet<SurfaceId>) -> Result<(), ApiError> {
        let ids = self.store.surface_ids().await?;
        seen.retain(|id| ids.contains(id));
        for id in ids {
            if seen.contains(&id) || self.is_at_hand(&id) {
                continue;
            }
            match self.store.get_surface(&id).await {
                Ok(record) if record.outcome.is_some() => drop(seen.insert(id)),
                Ok(record) if !self.is_at_hand(&id) => self.take_up(record).await?,
                Ok(_) => {}
                // It was told before, and stays so.
                Err(error) if error.kind() == StoreErrorKind::Corrupt => drop(seen.insert(id)),
                // It is just being created or deleted, or the store fails: it is looked at again.
                Err(error) => tracing::debug!(surface = %id, %error, "a surface cannot be read"),
            }
        }
        Ok(())
    }

    /// Removes what nothing names. Nothing depends on that, so that a failure is only told.
    pub(super) async fn collect(&self) {
        if self.mandate.hold().await.is_err() {
            return;
        }
        let orphans = self.store.collect_orphans(MIN_ORPHAN_AGE).await;
        // Surfaces that are just being planned may be about to name a direction that none does yet.
        let _planning = self.planning.write().await;
        if !self.mandate.is_held() {
            return;
        }
        let directions = self.store.collect_drawn_directions(MIN_ORPHAN_AGE).await;
        for collected in [orphans, directions] {
            match collected {
                Ok(collected) if collected.n_bytes > 0 => tracing::info!(?collected, "orphans are removed"),
                Ok(_) => {}
                Err(error) => tracing::warn!(error = %chain(&error), "cannot look for orphans"),
            }
        }
    }

    /// Puts a stored surface that has not ended back to work; from then on no other process can change it.
    ///
    /// # Errors
    /// When the store fails, or another process was faster.
    pub(crate) async fn take_up(self: &Arc<Self>, record: SurfaceRecord) -> Result<(), ApiError> {
        self.mandate.hold().await?;
        let record = match self.store.take_up_surface(&record, self.epoch).await {
            Ok(record) => record,
            // Deleted meanwhile.
            Err(error) if error.kind() == StoreErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == StoreErrorKind::Superseded => {
                return match self.store.get_surface(&record.id).await {
                    Ok(now) if now.log.epoch > self.epoch => {
                        self.mandate.give_up();
                        Err(ApiError::not_leader(None))
                    }
                    // It was this process that changed it, after the record was read.
                    _ => Ok(()),
                };
            }
            Err(error) => return Err(error.into()),
        };
        match count_done(&self.store, &record).await {
            Ok((done, n_non_finite)) => {
                tracing::info!(surface = %record.id, tiles_done = done.len(), "surface taken up again");
                self.add(record, &done, n_non_finite);
            }
            Err(error) if error.reason == ErrorReason::DataCorrupt => {
                // One damaged surface must not keep the others from going on.
                tracing::error!(surface = %record.id, %error, "a surface cannot be taken up again");
                let job = self.add(record, &BTreeSet::new(), 0);
                self.tell(|state, now| state.scheduler.end_job(now, job.key, End::Failed(error)));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
