//! What becomes of a surface: a log of changes that only grows.
//!
//! A surface's record is put once and stays as it is. Whatever happens to it afterwards is the next entry of its log,
//! put where there is none: of two processes that know the same last change one makes the next, and the other learns
//! that it is out of date, however long it slept in between. An entry tells everything that changed so far, so that the
//! last one is all that is read. The logs of two surfaces that had the same name one after the other are told apart by
//! their incarnations.

use std::collections::BTreeMap;

use relief_core::SurfaceId;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::layout;
use crate::object::Placed;
use crate::record::{from_json, to_json};
use crate::store::Store;
use crate::surface::{Reuse, SurfaceOutcome, SurfaceRecord};
use crate::timestamp;

/// The last change of a surface that somebody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPosition {
    /// What tells the surface from others that had its name before or will have it: 1 to 32 of the digits 0-9 and a-f.
    pub incarnation: String,
    /// How many changes there were.
    pub n_changes: u64,
    /// The epoch of whoever made the last one; 0 when there was none.
    pub epoch: u64,
}

impl LogPosition {
    /// Returns the position of a new surface, before any change.
    #[must_use]
    pub fn new(incarnation: String) -> Self {
        Self { incarnation, n_changes: 0, epoch: 0 }
    }

    /// Checks that the incarnation is safe as a part of a path.
    pub(crate) fn check(&self) -> Result<(), String> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match self.incarnation.len() {
            1..=32 if self.incarnation.bytes().all(is_digit) => Ok(()),
            _ => Err(format!("`{}` is not 1 to 32 of the digits 0-9 and a-f", self.incarnation)),
        }
    }
}

/// What happened to a surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChangeKind {
    /// Somebody answers for it from now on.
    TakenUp,
    /// The work on it began.
    Begun,
    /// It ended.
    Ended,
    /// It exists no longer.
    Deleted,
}

/// An entry of a surface's log: what happened, and all that has changed since the surface was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    #[serde(rename = "change")]
    pub(crate) kind: ChangeKind,
    pub(crate) epoch: u64,
    pub(crate) time: String,
    pub(crate) numeric_class: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reuse: Option<Reuse>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<SurfaceOutcome>,
}

impl Change {
    /// The change after which a surface is as in `record`.
    pub(crate) fn to(record: &SurfaceRecord, kind: ChangeKind, epoch: u64) -> Self {
        Self {
            kind,
            epoch,
            time: timestamp::now(),
            numeric_class: record.provenance.numeric_class.clone(),
            reuse: record.reuse.clone(),
            outcome: record.outcome.clone(),
        }
    }

    /// Whether they are the same but for their times: one process, the only one of its epoch, made both, the second
    /// because it did not learn what became of the first.
    fn repeats(&self, other: &Self) -> bool {
        Self { time: other.time.clone(), ..self.clone() } == *other
    }

    /// `record` after this change, which is number `n_changes`.
    fn applied(self, mut record: SurfaceRecord, n_changes: u64) -> SurfaceRecord {
        record.provenance.numeric_class = self.numeric_class;
        record.reuse = self.reuse;
        record.outcome = self.outcome;
        record.log.n_changes = n_changes;
        record.log.epoch = self.epoch;
        record
    }
}

/// What became of a change that was to be made.
pub(crate) enum Appended {
    /// It is in the log; the surface is this now.
    Done(Box<SurfaceRecord>),
    /// There was this one in its place.
    Taken(Change),
}

impl Appended {
    /// The surface after the change.
    pub(crate) fn done(self, id: &SurfaceId) -> Result<SurfaceRecord, StoreError> {
        match self {
            Self::Done(record) => Ok(*record),
            Self::Taken(_) => Err(StoreError::superseded(id)),
        }
    }
}

/// A surface that has a record, deleted or not.
#[derive(Debug)]
pub(crate) struct StoredSurface {
    pub(crate) record: SurfaceRecord,
    /// Whether its last change is its deletion, which is then not complete yet.
    pub(crate) is_deleted: bool,
}

impl StoredSurface {
    /// The record, unless the surface is deleted.
    pub(crate) fn existing(self) -> Option<SurfaceRecord> {
        (!self.is_deleted).then_some(self.record)
    }
}

/// How many changes there are in each log, by the log's name.
pub(crate) type Logs = BTreeMap<String, u64>;

impl Store {
    /// How many changes the log of a surface has.
    pub(crate) async fn count_changes(&self, id: &SurfaceId, incarnation: &str) -> Result<u64, StoreError> {
        let entries = self.objects.list(&layout::change_log(id, incarnation)).await?;
        Ok(entries.iter().filter_map(layout::entry_number).max().unwrap_or_default())
    }

    /// The logs of all surfaces, those that are gone included.
    pub(crate) async fn list_logs(&self) -> Result<Logs, StoreError> {
        let mut logs = Logs::new();
        for path in self.objects.list(&layout::collection(layout::CHANGES)).await? {
            if let (Some(log), Some(number)) = (path.parts().nth(1), layout::entry_number(&path)) {
                let last = logs.entry(log.as_ref().to_owned()).or_default();
                *last = number.max(*last);
            }
        }
        Ok(logs)
    }

    /// The surface `id`, deleted or not, as its record and its log tell.
    pub(crate) async fn find_surface(&self, id: &SurfaceId) -> Result<Option<StoredSurface>, StoreError> {
        let Some(record) = self.created_surface(id).await? else { return Ok(None) };
        let n_changes = self.count_changes(id, &record.log.incarnation).await?;
        self.with_changes(record, n_changes).await
    }

    /// The same with logs that were listed before.
    pub(crate) async fn find_surface_in(
        &self,
        id: &SurfaceId,
        logs: &Logs,
    ) -> Result<Option<StoredSurface>, StoreError> {
        let Some(record) = self.created_surface(id).await? else { return Ok(None) };
        let n_changes = logs.get(&layout::change_log_name(id, &record.log.incarnation)).copied().unwrap_or_default();
        self.with_changes(record, n_changes).await
    }

    async fn with_changes(&self, record: SurfaceRecord, n_changes: u64) -> Result<Option<StoredSurface>, StoreError> {
        if n_changes == 0 {
            return Ok(Some(StoredSurface { record, is_deleted: false }));
        }
        let path = layout::change(&record.id, &record.log.incarnation, n_changes);
        // Nothing is removed from the log of a surface that is there.
        let Some(change) = self.find_record::<Change>(&path).await? else { return Ok(None) };
        let is_deleted = change.kind == ChangeKind::Deleted;
        Ok(Some(StoredSurface { record: change.applied(record, n_changes), is_deleted }))
    }

    /// Makes sure that the surface that has the name of `record` is the one that `record` tells of.
    pub(crate) async fn check_incarnation(&self, record: &SurfaceRecord) -> Result<(), StoreError> {
        match self.created_surface(&record.id).await? {
            None => Err(StoreError::not_found(&record.id)),
            Some(there) if there.log.incarnation != record.log.incarnation => Err(StoreError::superseded(&record.id)),
            Some(_) => Ok(()),
        }
    }

    /// Makes `change` the one after the last that `record` knows.
    pub(crate) async fn append(&self, record: &SurfaceRecord, change: Change) -> Result<Appended, StoreError> {
        let SurfaceRecord { id, log, .. } = record;
        // Who has lost the lead, and reads what became of a surface since, has lost it still.
        if change.epoch < log.epoch {
            return Err(StoreError::superseded(id));
        }
        self.check_incarnation(record).await?;
        let n_changes = log.n_changes + 1;
        let path = layout::change(id, &log.incarnation, n_changes);
        let done = |change: Change| Appended::Done(Box::new(change.applied(record.clone(), n_changes)));
        match self.objects.place(&path, to_json("change", &change)?).await? {
            Placed::New | Placed::Same => Ok(done(change)),
            Placed::Other(None) => Err(StoreError::superseded(id)),
            Placed::Other(Some(json)) => {
                let there: Change = from_json(&path, &json)?;
                Ok(if there.repeats(&change) { done(there) } else { Appended::Taken(there) })
            }
        }
    }

    /// Takes up a surface for the leader of `epoch`: who knows only what was before cannot change it any more. Returns
    /// the surface after that, which every further change needs.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name; `Superseded` when another process has changed it since `record` was
    /// read, or has made it anew, or when `record` knows of a later epoch.
    pub async fn take_up_surface(&self, record: &SurfaceRecord, epoch: u64) -> Result<SurfaceRecord, StoreError> {
        let _change = self.change().await;
        self.append(record, Change::to(record, ChangeKind::TakenUp, epoch)).await?.done(&record.id)
    }

    /// Stores the numeric class of a surface, and which points it takes from others, unless `record` has either
    /// already; from then on other surfaces find its points. Returns the surface after that.
    ///
    /// # Errors
    /// Those of [`Store::take_up_surface`]. Where `record` has both already, nothing changes, and whether another
    /// process has changed the surface does not show.
    pub async fn begin_surface(
        &self,
        record: &SurfaceRecord,
        epoch: u64,
        class: &str,
        reuse: Reuse,
    ) -> Result<SurfaceRecord, StoreError> {
        let _change = self.change().await;
        let mut begun = record.clone();
        if begun.provenance.numeric_class.is_empty() {
            class.clone_into(&mut begun.provenance.numeric_class);
        }
        begun.reuse.get_or_insert(reuse);
        if begun == *record {
            self.check_incarnation(record).await?;
        } else {
            let change = Change::to(&begun, ChangeKind::Begun, epoch);
            begun = self.append(record, change).await?.done(&record.id)?;
        }
        self.announce_points(&begun).await?;
        Ok(begun)
    }

    /// Stores how a surface ended. Returns the surface after that.
    ///
    /// # Errors
    /// `Ended` when `record` has another outcome, or when the change that stands in the place of this one is another
    /// outcome of the same epoch; `Invalid` when the state is not a final one; else those of
    /// [`Store::take_up_surface`]. The same outcome again is no error.
    pub async fn finish_surface(
        &self,
        record: &SurfaceRecord,
        epoch: u64,
        outcome: &SurfaceOutcome,
    ) -> Result<SurfaceRecord, StoreError> {
        if !outcome.state.is_final() {
            return Err(StoreError::invalid("state", format!("{} is not the end of a job", outcome.state)));
        }
        let other = || StoreError::Ended { name: record.id.to_string() };
        match &record.outcome {
            Some(ended) if ended == outcome => return Ok(record.clone()),
            Some(_) => return Err(other()),
            None => {}
        }
        let _change = self.change().await;
        let ended = SurfaceRecord { outcome: Some(outcome.clone()), ..record.clone() };
        match self.append(record, Change::to(&ended, ChangeKind::Ended, epoch)).await? {
            Appended::Taken(there) if there.epoch == epoch && there.kind == ChangeKind::Ended => Err(other()),
            appended => appended.done(&record.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use relief_core::{Grid, JobState};

    use super::*;
    use crate::conformance::{anew, another_process, everything, new_surface, on_every_store, outcome, specification};
    use crate::error::StoreErrorKind;
    use crate::page::Page;

    fn id() -> SurfaceId {
        "s-1".parse().expect("an id")
    }

    /// A surface whose numeric class is not known yet, just created.
    async fn created(store: &Store) -> SurfaceRecord {
        let grid = Grid { x: "-0.7:0.1:5".parse().expect("an axis"), y: None };
        let mut record = new_surface(id(), &specification(grid, "1x2"));
        record.provenance.numeric_class.clear();
        store.create_surface(&record).await.expect("a surface");
        store.get_surface(&id()).await.expect("a record")
    }

    fn position(n_changes: u64, epoch: u64) -> LogPosition {
        LogPosition { n_changes, epoch, ..LogPosition::new("5eed".to_owned()) }
    }

    fn reuse() -> Reuse {
        Reuse { n_points: 3, surfaces: vec!["other".parse().expect("an id")] }
    }

    fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> StoreErrorKind {
        result.expect_err("an error").kind()
    }

    #[tokio::test]
    async fn changes_are_read_back_as_they_were_made() {
        on_every_store(async |store| {
            let created = created(store).await;
            assert_eq!(created.log, position(0, 0));
            let taken = store.take_up_surface(&created, 1).await.expect("a change");
            assert_eq!(taken, SurfaceRecord { log: position(1, 1), ..created.clone() });
            assert_eq!(store.get_surface(&id()).await.expect("a record"), taken);
            let begun = store.begin_surface(&taken, 2, "burn-flex/f32", reuse()).await.expect("a change");
            assert_eq!((begun.log.clone(), begun.reuse.clone()), (position(2, 2), Some(reuse())));
            assert_eq!(begun.provenance.numeric_class, "burn-flex/f32");
            assert_eq!(store.get_surface(&id()).await.expect("a record"), begun);
            let failed = outcome(JobState::Failed);
            let ended = store.finish_surface(&begun, 2, &failed).await.expect("a change");
            let expected = SurfaceRecord { outcome: Some(failed), log: position(3, 2), ..begun };
            assert_eq!(ended, expected);
            assert_eq!(store.get_surface(&id()).await.expect("a record"), expected);
            let listed = store.list_surfaces(&Page::default()).await.expect("a page").items;
            assert_eq!(listed.into_iter().map(|record| record.expect("whole")).collect::<Vec<_>>(), [expected]);
            let changes: Vec<_> =
                everything(store).await.into_iter().filter(|path| path.starts_with("changes/")).collect();
            assert_eq!(changes, [1, 2, 3].map(|number| format!("changes/s-1.5eed/0000000{number}.json")));
        })
        .await;
    }

    #[tokio::test]
    async fn a_change_tells_everything_in_words() {
        let store = Store::open("memory://").expect("a store");
        let taken = store.take_up_surface(&created(&store).await, 7).await.expect("a change");
        store.begin_surface(&taken, 7, "a", reuse()).await.expect("a change");
        for (number, word, n_keys) in [(1, "taken_up", 4), (2, "begun", 5)] {
            let path = layout::change(&id(), "5eed", number);
            let change: serde_json::Value = store.find_record(&path).await.expect("a read").expect("a change");
            assert_eq!((&change["change"], &change["epoch"]), (&word.into(), &7.into()));
            assert_eq!(change.as_object().map(serde_json::Map::len), Some(n_keys));
        }
    }

    #[tokio::test]
    async fn the_record_stays_as_it_was_put() {
        on_every_store(async |store| {
            let record = created(store).await;
            let path = layout::surface_record(&id());
            let before = store.objects.get(&path).await.expect("a read");
            let begun = store.begin_surface(&record, 1, "a", reuse()).await.expect("a change");
            store.finish_surface(&begun, 1, &outcome(JobState::Succeeded)).await.expect("a change");
            assert_eq!(store.objects.get(&path).await.expect("a read"), before);
        })
        .await;
    }

    #[tokio::test]
    async fn of_two_that_take_up_the_same_record_one_succeeds() {
        on_every_store(async |store| {
            let mut record = created(store).await;
            let other = another_process(store);
            for epoch in (1..20).step_by(2) {
                let (left, right) =
                    tokio::join!(store.take_up_surface(&record, epoch), other.take_up_surface(&record, epoch + 1));
                let (winner, loser) = if left.is_ok() { (left, right) } else { (right, left) };
                record = winner.expect("one takes it up");
                let error = loser.expect_err("the other does not");
                assert_eq!(error.to_string(), "surfaces/s-1 was changed by another process meanwhile");
                assert_eq!(store.get_surface(&id()).await.expect("a record"), record);
                // Whoever comes next has a later epoch than both.
            }
        })
        .await;
    }

    #[tokio::test]
    async fn who_knows_an_older_change_cannot_make_one() {
        on_every_store(async |store| {
            let old = created(store).await;
            let taken = another_process(store).take_up_surface(&old, 2).await.expect("a change");
            let before = everything(store).await;
            assert_eq!(kind(store.take_up_surface(&old, 1).await), StoreErrorKind::Superseded);
            assert_eq!(kind(store.begin_surface(&old, 1, "a", reuse()).await), StoreErrorKind::Superseded);
            let done = outcome(JobState::Succeeded);
            assert_eq!(kind(store.finish_surface(&old, 1, &done).await), StoreErrorKind::Superseded);
            assert_eq!(kind(store.delete_surface(&old, 1).await), StoreErrorKind::Superseded);
            assert_eq!(everything(store).await, before);
            assert_eq!(store.get_surface(&id()).await.expect("a record"), taken);
        })
        .await;
    }

    #[tokio::test]
    async fn who_led_before_cannot_change_what_it_reads_anew() {
        on_every_store(async |store| {
            let taken = store.take_up_surface(&created(store).await, 2).await.expect("a change");
            let done = outcome(JobState::Succeeded);
            assert_eq!(kind(store.finish_surface(&taken, 1, &done).await), StoreErrorKind::Superseded);
            assert_eq!(kind(store.delete_surface(&taken, 1).await), StoreErrorKind::Superseded);
            assert_eq!(store.get_surface(&id()).await.expect("a record"), taken);
        })
        .await;
    }

    #[tokio::test]
    async fn what_was_made_anew_is_not_touched_by_who_knows_the_old_one() {
        on_every_store(async |store| {
            let old = store.take_up_surface(&created(store).await, 1).await.expect("a change");
            let other = another_process(store);
            let taken = other.take_up_surface(&old, 2).await.expect("a change");
            other.delete_surface(&taken, 2).await.expect("a deletion");
            other.create_surface(&anew(taken.clone())).await.expect("a surface");
            let new = other.get_surface(&id()).await.expect("a record");
            let before = everything(store).await;
            let done = outcome(JobState::Succeeded);
            for known in [&old, &taken] {
                assert_eq!(kind(store.finish_surface(known, 2, &done).await), StoreErrorKind::Superseded);
                assert_eq!(kind(store.begin_surface(known, 2, "a", reuse()).await), StoreErrorKind::Superseded);
                assert_eq!(kind(store.delete_surface(known, 2).await), StoreErrorKind::Superseded);
            }
            assert_eq!(everything(store).await, before);
            assert_eq!(store.get_surface(&id()).await.expect("a record"), new);
        })
        .await;
    }

    #[tokio::test]
    async fn a_change_whose_answer_was_lost_is_made() {
        on_every_store(async |store| {
            let record = created(store).await;
            let taken = store.take_up_surface(&record, 1).await.expect("a change");
            // The bucket repeats a put that it has made: the same bytes are there.
            let path = layout::change(&id(), "5eed", 1);
            let there: Change = store.find_record(&path).await.expect("a read").expect("a change");
            let again = store.append(&record, there).await.expect("the same").done(&id()).expect("made");
            assert_eq!(again, taken);
            // The caller repeats one of which it learnt nothing: at another time, in the same epoch.
            for _ in 0..2 {
                let begun = store.begin_surface(&taken, 1, "a", reuse()).await.expect("a change");
                assert_eq!(begun.log, position(2, 1));
                let ended = store.finish_surface(&begun, 1, &outcome(JobState::Failed)).await.expect("a change");
                assert_eq!(ended.log, position(3, 1));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn an_outcome_is_final() {
        on_every_store(async |store| {
            let record = created(store).await;
            let error = store.finish_surface(&record, 1, &outcome(JobState::Running)).await.expect_err("not an end");
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            let failed = SurfaceOutcome { reason: Some("no evaluator".to_owned()), ..outcome(JobState::Failed) };
            let ended = store.finish_surface(&record, 1, &failed).await.expect("an end");
            // Both who knows the outcome and who does not.
            for known in [&record, &ended] {
                assert_eq!(store.finish_surface(known, 1, &failed).await.expect("the same end"), ended);
                let error = store.finish_surface(known, 1, &outcome(JobState::Succeeded)).await.expect_err("another");
                assert_eq!(error.kind(), StoreErrorKind::FailedPrecondition);
            }
            let error = store.finish_surface(&record, 2, &outcome(JobState::Succeeded)).await.expect_err("stale");
            assert_eq!(error.kind(), StoreErrorKind::Superseded);
            let record = store.get_surface(&id()).await.expect("a record");
            assert_eq!((record.spec, record.outcome), (ended.spec, Some(failed)));
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_known_already_is_not_begun_again() {
        on_every_store(async |store| {
            let begun = store.begin_surface(&created(store).await, 1, "a", reuse()).await.expect("a change");
            let again = store.begin_surface(&begun, 2, "b", Reuse::default()).await.expect("no change");
            assert_eq!(again, begun);
            assert_eq!(store.get_surface(&id()).await.expect("a record"), begun);
        })
        .await;
    }

    #[tokio::test]
    async fn a_damaged_change_is_an_error_in_the_place_of_its_surface() {
        on_every_store(async |store| {
            let record = created(store).await;
            let whole = SurfaceRecord { id: "whole".parse().expect("an id"), ..record.clone() };
            store.create_surface(&whole).await.expect("a surface");
            store.take_up_surface(&record, 1).await.expect("a change");
            let path = layout::change(&id(), "5eed", 1);
            store.objects.put(&path, "{".into()).await.expect("a put");
            let error = store.get_surface(&id()).await.expect_err("damaged");
            assert_eq!(error.kind(), StoreErrorKind::Corrupt);
            assert!(error.to_string().contains(path.as_ref()), "{error}");
            let items = store.list_surfaces(&Page::default()).await.expect("a page").items;
            assert!(matches!(&items[..], [Err(StoreError::Corrupt { .. }), Ok(there)] if *there == whole));
        })
        .await;
    }

    #[test]
    fn an_incarnation_is_safe_in_a_path() {
        for good in ["0", "5eed", &"f".repeat(32)] {
            assert_eq!(LogPosition::new(good.to_owned()).check(), Ok(()));
        }
        for bad in ["", "5EED", "a/b", "..", "g", &"f".repeat(33)] {
            assert!(LogPosition::new(bad.to_owned()).check().is_err(), "{bad}");
        }
    }
}
