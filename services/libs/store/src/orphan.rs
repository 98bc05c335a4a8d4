//! What nothing needs any more: drawn directions that no surface and no trajectory names, hints and logs of surfaces
//! that are gone, and what creations and deletions that were interrupted, and processes that were held up, left
//! behind.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use relief_core::{CheckpointId, DatasetId, Digest, NetworkId, SurfaceId, TrajectoryId};

use crate::error::{StoreError, StoreErrorKind};
use crate::layout;
use crate::object::{N_CONCURRENT, ObjectEntry};
use crate::store::Store;
use crate::surface::{DirectionSource, SurfaceRecord};

/// For how long at least the log of a surface that is gone still fences off processes that know the surface.
const MIN_LOG_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How many objects were removed, by what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Of directions.
    pub directions: u64,
    /// Hints at surfaces that are gone.
    pub hints: u64,
    /// Of things without a record, or of trajectories that had the name of another one.
    pub remains: u64,
    /// Changes of surfaces that are gone.
    pub changes: u64,
    /// The bytes of all of them.
    pub n_bytes: u64,
}

/// When things are looked at, and how old those must be that are removed.
#[derive(Debug, Clone, Copy)]
struct Age {
    now: SystemTime,
    min: Duration,
}

impl Age {
    /// Whether all of `entries` are old enough. What seems to come from the future is new.
    fn is_reached(self, entries: &[ObjectEntry]) -> bool {
        let age = |entry: &ObjectEntry| self.now.duration_since(entry.modified).unwrap_or_default();
        entries.iter().all(|entry| age(entry) >= self.min)
    }
}

/// What the records of the surfaces and of the trajectories say.
#[derive(Debug, Default)]
struct Known {
    /// The incarnation of every surface that has a record; none where that is damaged.
    surfaces: BTreeMap<SurfaceId, Option<String>>,
    /// The same of every trajectory.
    trajectories: BTreeMap<TrajectoryId, Option<String>>,
    /// The directions that they name.
    directions: BTreeSet<Digest>,
}

/// What a trajectory that has a record says.
#[derive(Debug)]
struct KnownTrajectory {
    incarnation: String,
    directions: Vec<Digest>,
}

impl Known {
    fn add(&mut self, id: SurfaceId, record: Option<SurfaceRecord>) {
        for direction in record.iter().flat_map(|record| &record.provenance.directions) {
            if let DirectionSource::Step(digest) = direction {
                self.directions.insert(*digest);
            }
        }
        self.surfaces.insert(id, record.map(|record| record.log.incarnation));
    }

    fn add_trajectory(&mut self, id: TrajectoryId, known: Option<KnownTrajectory>) {
        let incarnation = known.map(|known| {
            self.directions.extend(known.directions);
            known.incarnation
        });
        self.trajectories.insert(id, incarnation);
    }

    fn is_whole(&self) -> bool {
        self.surfaces.values().chain(self.trajectories.values()).all(Option::is_some)
    }

    /// Whether the surface that a log belongs to is gone; not where that cannot be told.
    fn is_gone(&self, id: &SurfaceId, incarnation: &str) -> bool {
        match self.surfaces.get(id) {
            None => true,
            Some(there) => there.as_deref().is_some_and(|there| there != incarnation),
        }
    }
}

fn n_bytes(entries: &[ObjectEntry]) -> u64 {
    entries.iter().map(|entry| entry.n_bytes).sum()
}

fn paths(entries: Vec<ObjectEntry>) -> Vec<Path> {
    entries.into_iter().map(|entry| entry.path).collect()
}

/// The segments of the path of `entry`.
fn segments(entry: &ObjectEntry) -> Vec<&str> {
    entry.path.as_ref().split('/').collect()
}

/// The objects below each name directly below a collection.
fn by_name(entries: Vec<ObjectEntry>) -> BTreeMap<String, Vec<ObjectEntry>> {
    let mut things = BTreeMap::<String, Vec<ObjectEntry>>::new();
    for entry in entries {
        if let [_, name, _, ..] = segments(&entry)[..] {
            things.entry(name.to_owned()).or_default().push(entry);
        }
    }
    things
}

/// The record of the thing with the id `name`, if it is one.
fn record_of<I: FromStr>(name: &str, path: fn(&I) -> Path) -> Option<Path> {
    name.parse().ok().map(|id| path(&id))
}

fn surface_of(name: &str) -> Option<SurfaceId> {
    name.strip_suffix(layout::GROUP_SUFFIX)?.parse().ok()
}

fn trajectory_of(name: &str) -> Option<TrajectoryId> {
    let job = name.strip_suffix(layout::JOB_SUFFIX);
    job.or_else(|| name.strip_suffix(layout::GROUP_SUFFIX))?.parse().ok()
}

impl Store {
    /// Removes the directions that were kept by [`Store::keep_direction`] only, that no surface and no trajectory
    /// names, and that are at least `min_age` old by the clock of this machine; and the marks of directions that are
    /// not there. A trajectory names those of its Gram matrix and, once it has axes, those that span its plane.
    ///
    /// Where the record of a surface or of a trajectory, or its axes, cannot be read, nothing is removed. The caller
    /// holds off whatever plans surfaces and trajectories or finds axes meanwhile: a direction that was kept before
    /// and is to be named by what is not stored yet would be removed. Imports may go on through this store or its
    /// clones.
    ///
    /// # Errors
    /// When the backend fails; what was removed until then stays so, and the next call goes on.
    pub async fn collect_drawn_directions(&self, min_age: Duration) -> Result<Collected, StoreError> {
        self.collect_unnamed_directions(Age { now: SystemTime::now(), min: min_age }).await
    }

    async fn collect_unnamed_directions(&self, age: Age) -> Result<Collected, StoreError> {
        // What might be removed is listed before the records that may need it are, which are put later.
        let directions = self.objects.list_entries(&layout::collection(layout::DIRECTIONS)).await?;
        let surfaces = by_name(self.objects.list_entries(&layout::collection(SurfaceId::COLLECTION)).await?);
        let mut known = self.known_surfaces(&surfaces).await?;
        self.know_trajectories(self.trajectory_ids().await?, &mut known).await?;
        let mut collected = Collected::default();
        if known.is_whole() {
            self.collect_directions(directions, &known, age, &mut collected).await?;
        }
        Ok(collected)
    }

    /// Removes what is at least `min_age` old, by the clock of this machine, and
    ///
    /// - is a hint at values of a surface that is gone;
    /// - lies where a network, a checkpoint, a dataset, a surface or a trajectory would, without its record, as after a
    ///   creation or a deletion that was interrupted; things of which anything is younger stay whole;
    /// - was computed for a trajectory that is gone, although there is one of its name now;
    /// - is the log of a surface that is gone, whose last change is at least 24 h old too.
    ///
    /// Runs are left alone. All other work may go on meanwhile.
    ///
    /// # Errors
    /// When the backend fails; what was removed until then stays so, and the next call goes on.
    pub async fn collect_orphans(&self, min_age: Duration) -> Result<Collected, StoreError> {
        self.collect(Age { now: SystemTime::now(), min: min_age }).await
    }

    async fn collect(&self, age: Age) -> Result<Collected, StoreError> {
        let list = async |name| self.objects.list_entries(&layout::collection(name)).await;
        // What might be removed is listed before the records that may need it are, which are put later.
        let (hints, logs) = (list(layout::POINTS).await?, list(layout::CHANGES).await?);
        let surfaces = by_name(list(SurfaceId::COLLECTION).await?);
        let known = self.known_surfaces(&surfaces).await?;
        let mut collected = Collected::default();
        self.collect_hints(hints, &known, age, &mut collected).await?;
        self.collect_logs(logs, &known, age, &mut collected).await?;
        let surface = |name: &str| surface_of(name).map(|id| layout::surface_record(&id));
        self.collect_remains(surfaces, surface, age, &mut collected).await?;
        let network = |name: &str| record_of(name, layout::network_record);
        self.collect_remains(by_name(list(NetworkId::COLLECTION).await?), network, age, &mut collected).await?;
        let checkpoint = |name: &str| record_of(name, layout::checkpoint_record);
        self.collect_remains(by_name(list(CheckpointId::COLLECTION).await?), checkpoint, age, &mut collected).await?;
        let dataset = |name: &str| record_of(name, layout::dataset_record);
        self.collect_remains(by_name(list(DatasetId::COLLECTION).await?), dataset, age, &mut collected).await?;
        let trajectories = by_name(list(TrajectoryId::COLLECTION).await?);
        let trajectory = |name: &str| trajectory_of(name).map(|id| layout::trajectory_record(&id));
        self.collect_former_work(&trajectories, age, &mut collected).await?;
        self.collect_remains(trajectories, trajectory, age, &mut collected).await?;
        Ok(collected)
    }

    /// Adds to `known` what the trajectories `ids` say.
    async fn know_trajectories(&self, ids: BTreeSet<TrajectoryId>, known: &mut Known) -> Result<(), StoreError> {
        let reads: Vec<_> = ids.into_iter().map(|id| self.known_trajectory(id)).collect();
        let mut reads = futures::stream::iter(reads).buffer_unordered(N_CONCURRENT);
        while let Some(read) = reads.try_next().await? {
            if let Some((id, trajectory)) = read {
                known.add_trajectory(id, trajectory);
            }
        }
        Ok(())
    }

    /// What the trajectory `id` says, or none of that where its record or its axes are damaged; none at all when there
    /// is no record.
    async fn known_trajectory(
        &self,
        id: TrajectoryId,
    ) -> Result<Option<(TrajectoryId, Option<KnownTrajectory>)>, StoreError> {
        match self.named_by_trajectory(&id).await {
            Ok(known) => Ok(known.map(|known| (id, Some(known)))),
            Err(error) if error.kind() == StoreErrorKind::Corrupt => Ok(Some((id, None))),
            Err(error) => Err(error),
        }
    }

    async fn named_by_trajectory(&self, id: &TrajectoryId) -> Result<Option<KnownTrajectory>, StoreError> {
        let Some(record) = self.created_trajectory(id).await? else { return Ok(None) };
        let axes = self.find_trajectory_axes(&record).await?;
        let mut directions = record.provenance.directions;
        directions.extend(axes.into_iter().flat_map(|axes| axes.directions));
        Ok(Some(KnownTrajectory { incarnation: record.incarnation, directions }))
    }

    /// Removes what lies under other incarnations of trajectories than those that there are. What cannot be read keeps
    /// all that lies under its name.
    async fn collect_former_work(
        &self,
        trajectories: &BTreeMap<String, Vec<ObjectEntry>>,
        age: Age,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        for (name, entries) in trajectories {
            let Some(id) = name.strip_suffix(layout::JOB_SUFFIX).and_then(|id| id.parse::<TrajectoryId>().ok()) else {
                continue;
            };
            let record = layout::trajectory_record(&id);
            let mut by_incarnation = BTreeMap::<&str, Vec<ObjectEntry>>::new();
            for entry in entries.iter().filter(|entry| entry.path != record) {
                if let [_, _, incarnation, _, ..] = segments(entry)[..] {
                    by_incarnation.entry(incarnation).or_default().push(entry.clone());
                }
            }
            by_incarnation.retain(|_, parts| age.is_reached(parts));
            if by_incarnation.is_empty() {
                continue;
            }
            let there = match self.created_trajectory(&id).await {
                Ok(Some(there)) => there,
                // Where there is no record at all, everything is remains.
                Ok(None) => continue,
                Err(error) if error.kind() == StoreErrorKind::Corrupt => continue,
                Err(error) => return Err(error),
            };
            for (_, parts) in by_incarnation.into_iter().filter(|(incarnation, _)| *incarnation != there.incarnation) {
                collected.remains += parts.len() as u64;
                collected.n_bytes += n_bytes(&parts);
                self.objects.delete_all(&layout::trajectory_job(&id), paths(parts)).await?;
            }
        }
        Ok(())
    }

    async fn known_surfaces(&self, groups: &BTreeMap<String, Vec<ObjectEntry>>) -> Result<Known, StoreError> {
        let reads: Vec<_> =
            groups.keys().filter_map(|name| surface_of(name)).map(|id| self.known_surface(id)).collect();
        let mut reads = futures::stream::iter(reads).buffer_unordered(N_CONCURRENT);
        let mut known = Known::default();
        while let Some(read) = reads.try_next().await? {
            if let Some((id, record)) = read {
                known.add(id, record);
            }
        }
        Ok(known)
    }

    /// The surface `id` with its record, or none of that where it is damaged; none at all when there is no record.
    async fn known_surface(&self, id: SurfaceId) -> Result<Option<(SurfaceId, Option<SurfaceRecord>)>, StoreError> {
        match self.created_surface(&id).await {
            Ok(record) => Ok(record.map(|record| (id, Some(record)))),
            Err(error) if error.kind() == StoreErrorKind::Corrupt => Ok(Some((id, None))),
            Err(error) => Err(error),
        }
    }

    async fn collect_directions(
        &self,
        entries: Vec<ObjectEntry>,
        known: &Known,
        age: Age,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        let there: BTreeSet<Path> = entries.iter().map(|entry| entry.path.clone()).collect();
        for entry in entries {
            let Some((name, suffix)) = entry.path.filename().and_then(|name| name.split_once('.')) else { continue };
            let Ok(digest) = name.parse::<Digest>() else { continue };
            // A file is needed by its mark, and a mark by its file.
            let needed_by = match suffix {
                "safetensors" if !known.directions.contains(&digest) => layout::direction_mark(digest),
                "json" => layout::direction(digest),
                _ => continue,
            };
            if there.contains(&needed_by) || !age.is_reached(std::slice::from_ref(&entry)) {
                continue;
            }
            // An import puts both under this lock.
            let _change = self.change().await;
            if !self.objects.exists(&needed_by).await? {
                self.objects.delete(&entry.path).await?;
                collected.directions += 1;
                collected.n_bytes += entry.n_bytes;
            }
        }
        Ok(())
    }

    async fn collect_hints(
        &self,
        mut hints: Vec<ObjectEntry>,
        known: &Known,
        age: Age,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        hints.retain(|hint| match segments(hint)[..] {
            [_, _, id] => id.parse().is_ok_and(|id| !known.surfaces.contains_key(&id)),
            _ => false,
        });
        hints.retain(|hint| age.is_reached(std::slice::from_ref(hint)));
        collected.hints += hints.len() as u64;
        collected.n_bytes += n_bytes(&hints);
        self.objects.delete_all(&layout::collection(layout::POINTS), paths(hints)).await
    }

    async fn collect_logs(
        &self,
        entries: Vec<ObjectEntry>,
        known: &Known,
        age: Age,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        let age = Age { min: age.min.max(MIN_LOG_AGE), ..age };
        let is_gone = |name: &str| {
            layout::change_log_owner(name).is_some_and(|(id, incarnation)| known.is_gone(&id, incarnation))
        };
        for (name, changes) in by_name(entries) {
            if is_gone(&name) && age.is_reached(&changes) {
                collected.changes += changes.len() as u64;
                collected.n_bytes += n_bytes(&changes);
                self.objects.delete_all(&layout::collection(layout::CHANGES), paths(changes)).await?;
            }
        }
        Ok(())
    }

    /// Removes those of `things` that have no record; `record_of` says where that of a name is, if it is an id.
    async fn collect_remains(
        &self,
        things: BTreeMap<String, Vec<ObjectEntry>>,
        record_of: impl Fn(&str) -> Option<Path>,
        age: Age,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        for (name, remains) in things {
            let Some(record) = record_of(&name) else { continue };
            if !age.is_reached(&remains) || remains.iter().any(|entry| entry.path == record) {
                continue;
            }
            // A creation has put its record by the time that it gives this lock back.
            let _change = self.change().await;
            if !self.objects.exists(&record).await? {
                collected.remains += remains.len() as u64;
                collected.n_bytes += n_bytes(&remains);
                self.objects.delete_all(&record, paths(remains)).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use relief_core::{Grid, Tensor, TensorMap};

    use super::*;
    use crate::conformance::{anew, everything, new_surface, on_every_store, specification};
    use crate::direction::DirectionRecord;
    use crate::safetensor::encode_checkpoint;
    use crate::surface::Reuse;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn direction(value: f32) -> Bytes {
        encode_checkpoint(&TensorMap::from([("w".to_owned(), Tensor::filled([2], value))])).expect("a file")
    }

    async fn drawn(store: &Store, value: f32) -> DirectionRecord {
        store.keep_direction(direction(value)).await.expect("a direction")
    }

    fn surface(id: &str, directions: &[DirectionSource]) -> SurfaceRecord {
        let axis = "-1:1:3".parse().expect("an axis");
        let mut record =
            new_surface(id.parse().expect("an id"), &specification(Grid { x: axis, y: Some(axis) }, "2x2"));
        record.provenance.directions = directions.to_vec();
        record
    }

    async fn begun(store: &Store, record: &SurfaceRecord) -> SurfaceRecord {
        store.create_surface(record).await.expect("a surface");
        store.begin_surface(record, 1, "a", Reuse::default()).await.expect("a beginning")
    }

    async fn put(store: &Store, path: &str) {
        store.objects.put(&Path::from(path), "12345".into()).await.expect("a put");
    }

    fn now(min: Duration) -> Age {
        Age { now: SystemTime::now(), min }
    }

    async fn all(store: &Store, age: Age) -> Result<Collected, StoreError> {
        let drawn = store.collect_unnamed_directions(age).await?;
        let orphans = store.collect(age).await?;
        Ok(Collected { directions: drawn.directions, n_bytes: drawn.n_bytes + orphans.n_bytes, ..orphans })
    }

    async fn collect(store: &Store) -> Collected {
        let collected = all(store, now(Duration::ZERO)).await.expect("a collection");
        let again = all(store, now(Duration::ZERO)).await.expect("a collection");
        assert_eq!(again, Collected::default(), "nothing is left for the second time");
        collected
    }

    #[tokio::test]
    async fn a_drawn_direction_goes_with_the_last_surface_that_names_it() {
        on_every_store(async |store| {
            let (named, towards, unnamed) = (drawn(store, 0.1).await, drawn(store, 0.2).await, drawn(store, 0.3).await);
            let given = store.import_direction(direction(0.4)).await.expect("an import");
            drawn(store, 0.4).await;
            let directions = [DirectionSource::Step(named.digest), DirectionSource::Towards(towards.digest)];
            let record = surface("s-1", &directions);
            store.create_surface(&record).await.expect("a surface");

            let expected = Collected { directions: 2, n_bytes: unnamed.n_bytes * 2, ..Collected::default() };
            assert_eq!(collect(store).await, expected);
            store.load_direction(named.digest).await.expect("it is named");
            store.load_direction(given.digest).await.expect("it was given");
            for gone in [towards.digest, unnamed.digest] {
                assert_eq!(store.load_direction(gone).await.expect_err("gone").kind(), StoreErrorKind::NotFound);
            }

            store.delete_surface(&record, 1).await.expect("a deletion");
            assert_eq!(collect(store).await.directions, 1);
            let left = everything(store).await;
            let of = |suffix| format!("directions/{}.{suffix}", given.digest);
            assert_eq!(left[left.len() - 2..], [of("json"), of("safetensors")]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_drawn_direction_that_is_given_later_is_kept() {
        let store = Store::open("memory://").expect("a store");
        let record = drawn(&store, 0.1).await;
        store.import_direction(direction(0.1)).await.expect("an import");
        assert_eq!(collect(&store).await, Collected::default());
        store.objects.delete(&layout::direction(record.digest)).await.expect("a deletion");
        assert_eq!(collect(&store).await.directions, 1, "the mark of what is not there");
        assert!(everything(&store).await.is_empty());
    }

    #[tokio::test]
    async fn a_damaged_surface_keeps_what_it_might_name() {
        on_every_store(async |store| {
            drawn(store, 0.1).await;
            let record = begun(store, &surface("s-1", &[DirectionSource::Step(Digest::of(b"x")); 2])).await;
            store.objects.put(&layout::surface_record(&record.id), "{".into()).await.expect("a put");
            let before = everything(store).await;
            let later = Age { now: SystemTime::now() + 2 * DAY, min: Duration::ZERO };
            assert_eq!(all(store, later).await.expect("a collection"), Collected::default());
            assert_eq!(everything(store).await, before);
            store.delete_damaged_surface(&record.id).await.expect("a deletion");
            let collected = collect(store).await;
            assert_eq!((collected.directions, collected.hints), (1, 1));
            assert!(everything(store).await.is_empty());
        })
        .await;
    }

    #[tokio::test]
    async fn hints_at_surfaces_that_are_gone_are_removed() {
        on_every_store(async |store| {
            let record = begun(store, &surface("s-1", &[DirectionSource::Step(Digest::of(b"x")); 2])).await;
            let key = layout::points(record.value_keys("a").main);
            let (wrong, foreign) = (key.clone().join("gone"), key.join("No id"));
            put(store, wrong.as_ref()).await;
            put(store, foreign.as_ref()).await;
            let before = everything(store).await;
            assert_eq!(collect(store).await, Collected { hints: 1, n_bytes: 5, ..Collected::default() });
            let mut expected = before;
            expected.retain(|path| path != wrong.as_ref());
            assert_eq!(everything(store).await, expected);
        })
        .await;
    }

    #[tokio::test]
    async fn remains_without_a_record_are_removed() {
        on_every_store(async |store| {
            let remains = [
                "surfaces/s.zarr/loss/c/0/0",
                "surfaces/s.zarr/x/zarr.json",
                "networks/n/network.onnx",
                "checkpoints/c/checkpoint.safetensors",
                "datasets/d/train-inputs.idx",
                "trajectories/t.job/5eed/gram/00000000.f64",
                "trajectories/t.zarr/x/zarr.json",
            ];
            let mut kept = vec![
                "checkpoints/whole/checkpoint.json",
                "checkpoints/whole/checkpoint.safetensors",
                "datasets/whole/dataset.json",
                "datasets/whole/train-inputs.idx",
                "networks/No id/network.onnx",
                "networks/loose",
                "networks/whole/network.json",
                "networks/whole/network.onnx",
                "runs/r/snapshots/0.safetensors",
                "store.json",
                "surfaces/No id.zarr/x",
                "surfaces/s/x",
                "surfaces/whole.zarr/x/c/0",
                "surfaces/whole.zarr/zarr.json",
                "trajectories/No id.job/x",
                "trajectories/t/x",
            ];
            kept.sort_unstable();
            for path in remains.iter().chain(&kept) {
                put(store, path).await;
            }
            assert_eq!(collect(store).await, Collected { remains: 7, n_bytes: 35, ..Collected::default() });
            assert_eq!(everything(store).await, kept);
        })
        .await;
    }

    #[tokio::test]
    async fn the_log_of_a_surface_that_is_gone_outlives_it_by_a_day() {
        on_every_store(async |store| {
            let old = begun(store, &surface("s-1", &[DirectionSource::Step(Digest::of(b"x")); 2])).await;
            store.delete_surface(&old, 1).await.expect("a deletion");
            let new = begun(store, &anew(old)).await;
            let gone = begun(store, &surface("s-2", &[DirectionSource::Step(Digest::of(b"x")); 2])).await;
            store.delete_surface(&gone, 1).await.expect("a deletion");
            assert_eq!(collect(store).await, Collected::default());

            let in_days = |days, min| Age { now: SystemTime::now() + days * DAY, min };
            let none = all(store, in_days(2, 3 * DAY)).await.expect("a collection");
            assert_eq!(none, Collected::default());
            let collected = all(store, in_days(2, Duration::ZERO)).await.expect("a collection");
            assert_eq!(collected, Collected { changes: 4, n_bytes: collected.n_bytes, ..Collected::default() });
            let logs: Vec<_> = store.list_logs().await.expect("logs").into_keys().collect();
            assert_eq!(logs, ["s-1.5eed0"]);
            assert_eq!(store.get_surface(&new.id).await.expect("a record"), new);
            let again = all(store, in_days(2, Duration::ZERO)).await.expect("a collection");
            assert_eq!(again, Collected::default());
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_young_is_left_alone() {
        on_every_store(async |store| {
            drawn(store, 0.1).await;
            for path in ["surfaces/s.zarr/x/c/0", "networks/n/network.onnx"] {
                put(store, path).await;
            }
            put(store, layout::points(Digest::of(b"key")).join("gone").as_ref()).await;
            let before = everything(store).await;
            let collected = all(store, now(Duration::from_secs(3600))).await.expect("a collection");
            assert_eq!(collected, Collected::default());
            assert_eq!(everything(store).await, before);
            let collected = collect(store).await;
            assert_eq!((collected.directions, collected.hints, collected.remains), (1, 1, 2));
        })
        .await;
    }
}
