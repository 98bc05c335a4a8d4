//! The deletion of surfaces. Its commit is the change `deleted`; what is removed afterwards is so by whoever comes by.

use futures::{StreamExt, TryStreamExt};
use relief_core::SurfaceId;

use crate::change::{Change, ChangeKind, Logs};
use crate::error::{StoreError, StoreErrorKind};
use crate::layout;
use crate::object::N_CONCURRENT;
use crate::store::Store;
use crate::surface::SurfaceRecord;

/// How many objects are deleted before it is seen whether they still belong to what was deleted; a bucket deletes as
/// many with one request.
const BATCH: usize = 1000;

impl Store {
    /// Deletes a surface with its values. Its log stays, so that no process that still knows the surface can change
    /// anything, until [`Store::collect_orphans`] finds it old enough.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name, and `Superseded` when another process has changed it since `record`
    /// was read, or has made it anew, or when `record` knows of a later epoch. After any other error it may be deleted
    /// already: the same call again, or [`Store::complete_deletions`], does what is left to do.
    pub async fn delete_surface(&self, record: &SurfaceRecord, epoch: u64) -> Result<(), StoreError> {
        let _change = self.change().await;
        let change = Change::to(record, ChangeKind::Deleted, epoch);
        let deleted = self.append(record, change).await?.done(&record.id)?;
        self.remove_deleted(&deleted).await
    }

    /// Deletes a surface whose record or last change cannot be read, with its values and its log.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name; `Superseded` when it can be read, as one that was made anew.
    pub async fn delete_damaged_surface(&self, id: &SurfaceId) -> Result<(), StoreError> {
        let _change = self.change().await;
        match self.find_surface(id).await {
            Ok(None) => Err(StoreError::not_found(id)),
            Ok(Some(stored)) if stored.is_deleted => self.remove_deleted(&stored.record).await,
            Ok(Some(_)) => Err(StoreError::superseded(id)),
            Err(error) if error.kind() == StoreErrorKind::Corrupt => self.remove_damaged(id).await,
            Err(error) => Err(error),
        }
    }

    /// Completes the deletions that were interrupted after their commit, and returns how many there were. What cannot
    /// be read is left alone.
    ///
    /// # Errors
    /// When the backend fails.
    pub async fn complete_deletions(&self) -> Result<u64, StoreError> {
        let logs = &self.list_logs().await?;
        let names = self.objects.list_children(&layout::collection(SurfaceId::COLLECTION)).await?;
        let ids = names.iter().filter_map(|name| name.strip_suffix(layout::GROUP_SUFFIX)?.parse().ok());
        let reads: Vec<_> = ids.map(|id: SurfaceId| self.find_deleted(id, logs)).collect();
        let mut reads = futures::stream::iter(reads).buffer_unordered(N_CONCURRENT);
        let mut n_completed = 0;
        while let Some(deleted) = reads.try_next().await? {
            if let Some(record) = deleted {
                let _change = self.change().await;
                self.remove_deleted(&record).await?;
                n_completed += 1;
            }
        }
        Ok(n_completed)
    }

    async fn find_deleted(&self, id: SurfaceId, logs: &Logs) -> Result<Option<SurfaceRecord>, StoreError> {
        match self.find_surface_in(&id, logs).await {
            Ok(stored) => Ok(stored.filter(|stored| stored.is_deleted).map(|stored| stored.record)),
            Err(error) if error.kind() == StoreErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes what is left of a surface whose deletion is in its log, the record last: as long as that is there, the
    /// rest is known to be left.
    pub(crate) async fn remove_deleted(&self, record: &SurfaceRecord) -> Result<(), StoreError> {
        if !self.is_left(record).await? {
            return Ok(());
        }
        self.withdraw_points(record).await?;
        let (group, path) = (layout::surface(&record.id), layout::surface_record(&record.id));
        let mut parts = self.objects.list(&group).await?;
        parts.retain(|part| *part != path);
        for batch in parts.chunks(BATCH) {
            // What was made anew under the name, while this process was held up, is not its to remove.
            if !self.is_left(record).await? {
                return Ok(());
            }
            self.objects.delete_all(&group, batch.to_vec()).await?;
        }
        if self.is_left(record).await? {
            self.objects.delete(&path).await?;
        }
        Ok(())
    }

    /// Whether the record that lies under the name is still that of this surface.
    async fn is_left(&self, record: &SurfaceRecord) -> Result<bool, StoreError> {
        match self.check_incarnation(record).await {
            Ok(()) => Ok(true),
            Err(StoreError::NotFound { .. } | StoreError::Superseded { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn remove_damaged(&self, id: &SurfaceId) -> Result<(), StoreError> {
        let (group, path) = (layout::surface(id), layout::surface_record(id));
        let mut parts = self.objects.list(&group).await?;
        parts.retain(|part| *part != path);
        self.objects.delete_all(&group, parts).await?;
        self.objects.delete(&path).await?;
        // Without its log, a surface whose last change was damaged would be one that never changed: that goes last.
        let logs = layout::collection(layout::CHANGES);
        for name in self.objects.list_children(&logs).await? {
            if layout::change_log_owner(&name).is_some_and(|(owner, _)| owner == *id) {
                self.objects.delete_below(&logs.clone().join(name)).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use relief_core::{Grid, JobState};

    use super::*;
    use crate::conformance::{anew, another_process, everything, new_surface, on_every_store, outcome, specification};
    use crate::page::Page;
    use crate::surface::Reuse;

    fn id() -> SurfaceId {
        "s-1".parse().expect("an id")
    }

    fn new() -> SurfaceRecord {
        let axis = "-1:1:3".parse().expect("an axis");
        new_surface(id(), &specification(Grid { x: axis, y: Some(axis) }, "2x2"))
    }

    /// A surface at work, with hints at its points.
    async fn begun(store: &Store) -> SurfaceRecord {
        store.create_surface(&new()).await.expect("a surface");
        store.begin_surface(&new(), 1, "a", Reuse::default()).await.expect("a beginning")
    }

    /// What is left below `surfaces` and `points`.
    async fn left(store: &Store) -> Vec<String> {
        let mut paths = everything(store).await;
        paths.retain(|path| !path.starts_with("changes/"));
        paths
    }

    /// Deletes as one that is killed before it has removed everything.
    async fn interrupted(store: &Store, record: &SurfaceRecord) {
        let change = Change::to(record, ChangeKind::Deleted, 1);
        store.append(record, change).await.expect("a change").done(&record.id).expect("made");
        let part = layout::surface_object(&record.id, "x/c/0");
        store.objects.delete(&part).await.expect("a deletion");
    }

    async fn assert_gone(store: &Store, known: &SurfaceRecord) {
        let mut errors = vec![
            store.get_surface(&id()).await.expect_err("gone"),
            store.read_surface(&id()).await.expect_err("gone"),
            store.delete_damaged_surface(&id()).await.expect_err("gone"),
        ];
        for epoch in [1, 2] {
            let done = outcome(JobState::Succeeded);
            errors.push(store.finish_surface(known, epoch, &done).await.expect_err("gone"));
            errors.push(store.begin_surface(known, epoch, "b", Reuse::default()).await.expect_err("gone"));
            errors.push(store.take_up_surface(known, epoch).await.expect_err("gone"));
            errors.push(store.delete_surface(known, epoch).await.expect_err("gone"));
        }
        for error in errors {
            assert_eq!(error.to_string(), "there is no surfaces/s-1");
        }
        assert!(store.list_surfaces(&Page::default()).await.expect("a page").items.is_empty());
    }

    #[tokio::test]
    async fn what_is_deleted_is_not_found() {
        on_every_store(async |store| {
            let record = begun(store).await;
            store.delete_surface(&record, 1).await.expect("a deletion");
            assert_eq!(left(store).await, Vec::<String>::new());
            assert_gone(store, &record).await;
            assert_eq!(everything(store).await.len(), 2, "only its log is left");
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_deleted_stays_so_when_a_stale_process_ends_it() {
        on_every_store(async |store| {
            let record = begun(store).await;
            let stale = another_process(store);
            interrupted(store, &record).await;
            // Before the record is gone, and afterwards.
            let done = outcome(JobState::Succeeded);
            let error = stale.finish_surface(&record, 1, &done).await.expect_err("deleted");
            assert_eq!(error.kind(), StoreErrorKind::Superseded);
            let error = store.get_surface(&id()).await.expect_err("deleted");
            assert_eq!(error.kind(), StoreErrorKind::NotFound);
            assert_eq!(store.complete_deletions().await.expect("a completion"), 1);
            assert_gone(&stale, &record).await;
        })
        .await;
    }

    #[tokio::test]
    async fn a_deletion_that_was_interrupted_is_one_and_is_completed() {
        on_every_store(async |store| {
            let record = begun(store).await;
            let other = SurfaceRecord { id: "other".parse().expect("an id"), ..new() };
            store.create_surface(&other).await.expect("a surface");
            let others = left(store).await.into_iter().filter(|path| path.contains("/other.zarr/")).collect::<Vec<_>>();
            interrupted(store, &record).await;
            let listed = store.list_surfaces(&Page::default()).await.expect("a page").items;
            assert!(matches!(&listed[..], [Ok(there)] if there.id == other.id));
            assert_eq!(store.complete_deletions().await.expect("a completion"), 1);
            assert_eq!(left(store).await, others);
            assert_eq!(store.complete_deletions().await.expect("nothing to do"), 0);
        })
        .await;
    }

    #[tokio::test]
    async fn a_deletion_that_failed_may_be_repeated() {
        on_every_store(async |store| {
            let record = begun(store).await;
            interrupted(store, &record).await;
            store.delete_surface(&record, 1).await.expect("the same deletion");
            assert_eq!(left(store).await, Vec::<String>::new());
        })
        .await;
    }

    #[tokio::test]
    async fn a_name_whose_deletion_was_interrupted_is_free() {
        on_every_store(async |store| {
            let record = begun(store).await;
            interrupted(store, &record).await;
            let again = store.create_surface(&new()).await.expect_err("the same incarnation");
            assert_eq!(again.kind(), StoreErrorKind::Invalid);
            let new = anew(record);
            store.create_surface(&new).await.expect("a surface");
            assert_eq!(store.get_surface(&id()).await.expect("a record"), new);
            assert_eq!(store.complete_deletions().await.expect("nothing to do"), 0);
            assert_eq!(store.get_surface(&id()).await.expect("a record"), new);
        })
        .await;
    }

    #[tokio::test]
    async fn a_deletion_that_was_held_up_leaves_what_was_made_anew() {
        on_every_store(async |store| {
            let record = begun(store).await;
            store.delete_surface(&record, 1).await.expect("a deletion");
            store.create_surface(&anew(record.clone())).await.expect("a surface");
            let before = everything(store).await;
            store.remove_deleted(&record).await.expect("nothing to do");
            assert_eq!(everything(store).await, before);
        })
        .await;
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_deleted_all_the_same() {
        on_every_store(async |store| {
            for damaged in [layout::surface_record(&id()), layout::change(&id(), "5eed", 1)] {
                begun(store).await;
                let error = store.delete_damaged_surface(&id()).await.expect_err("it can be read");
                assert_eq!(error.kind(), StoreErrorKind::Superseded);
                store.objects.put(&damaged, "{".into()).await.expect("a put");
                let error = store.get_surface(&id()).await.expect_err("damaged");
                assert_eq!(error.kind(), StoreErrorKind::Corrupt);
                let error = store.create_surface(&anew(new())).await.expect_err("taken");
                assert_eq!(error.kind(), StoreErrorKind::AlreadyExists);
                assert_eq!(store.complete_deletions().await.expect("nothing to do"), 0);
                store.delete_damaged_surface(&id()).await.expect("a deletion");
                assert!(everything(store).await.iter().all(|path| path.starts_with("points/")));
                let error = store.delete_damaged_surface(&id()).await.expect_err("gone");
                assert_eq!(error.kind(), StoreErrorKind::NotFound);
            }
        })
        .await;
    }
}
