//! Surfaces: what was asked for, where it came from and how it ended.

use std::collections::BTreeSet;

use bytes::Bytes;
use object_store::path::Path;
use relief_core::{Digest, JobState, PlaneGeometry, SurfaceId, SurfaceSpec, TilePlan};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::change::{LogPosition, StoredSurface};
use crate::error::StoreError;
use crate::layout;
use crate::object::Placed;
use crate::page::{Listing, Page};
use crate::store::Store;
use crate::zarr::{self, SurfaceArrays};

/// A surface as it is stored, without its values.
#[derive(Debug, Clone, PartialEq)]
pub struct SurfaceRecord {
    /// Its name.
    pub id: SurfaceId,
    /// What its values depend on.
    pub spec: SurfaceSpec,
    /// Where they come from.
    pub provenance: Provenance,
    /// How its axes lie to the weights and to each other.
    pub geometry: PlaneGeometry,
    /// The request that it was asked for by, where that had an id.
    pub request: Option<RequestMark>,
    /// Which points it took from others; none until the work on it began.
    pub reuse: Option<Reuse>,
    /// How it ended; none while it is at work.
    pub outcome: Option<SurfaceOutcome>,
    /// The last of its changes that is known.
    pub log: LogPosition,
}

impl SurfaceRecord {
    /// How its grid is cut.
    #[must_use]
    pub fn plan(&self) -> TilePlan {
        TilePlan::new(self.spec.grid, self.spec.tile)
    }

    /// What its values and coordinates take in the store when all are there, in bytes.
    #[must_use]
    pub fn n_value_bytes(&self) -> u64 {
        let grid = self.spec.grid;
        // Three numbers of 64 bits and a flag.
        let per_point = 25 * (1 + u64::from(self.spec.also.is_some()));
        grid.n_points() * per_point + 8 * (u64::from(grid.n_rows()) + u64::from(grid.n_columns()))
    }

    pub(crate) fn arrays(&self) -> Result<SurfaceArrays, StoreError> {
        SurfaceArrays::new(&self.plan(), self.spec.also)
    }
}

/// Where the values of a surface come from: with the grid and the modes of the specification, all that they depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The digest of the network's ONNX file.
    pub network_digest: Digest,
    /// The digest of the origin's safetensors file.
    pub checkpoint_digest: Digest,
    /// What each axis is, x first.
    pub directions: Vec<DirectionSource>,
    /// The samples.
    pub samples: SampleSource,
    /// The samples of the second split, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<SampleSource>,
    /// The training samples that running statistics are recomputed from, where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<SampleSource>,
    /// The numeric class that every value is computed in; empty until the first evaluator was found.
    pub numeric_class: String,
    /// The version of Relief that accepted it.
    pub relief_version: String,
    /// When it was accepted, RFC 3339.
    pub created: String,
    /// The trace of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// What an axis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectionSource {
    /// The stored direction of this digest, which a random one is too.
    Step(Digest),
    /// The way to the checkpoint whose safetensors file has this digest.
    Towards(Digest),
}

impl DirectionSource {
    /// The digest of the direction's or the checkpoint's file.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Step(digest) | Self::Towards(digest) => *digest,
        }
    }
}

/// Which samples of which split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleSource {
    /// The digest of the split.
    pub digest: Digest,
    /// How many of its samples, from the first.
    pub n_samples: u64,
}

/// By what a repeated request is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestMark {
    /// The id that its sender gave it.
    pub id: String,
    /// The digest of its content.
    pub digest: Digest,
}

/// Which points of a surface were not computed, because others have them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reuse {
    /// How many.
    pub n_points: u64,
    /// Those that have them.
    pub surfaces: Vec<SurfaceId>,
}

/// How a surface ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurfaceOutcome {
    /// The final state.
    pub state: JobState,
    /// Why it failed, one of a closed set of words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Points whose values were known.
    pub points_done: u64,
    /// Points whose loss was not finite.
    pub points_non_finite: u64,
    /// Tiles that were stored.
    pub tiles_done: u64,
    /// Attempts at tiles that failed and were made again.
    pub tiles_retried: u64,
    /// When it ended, RFC 3339.
    pub ended: String,
}

const SPECIFICATION: &str = "specification";
const PROVENANCE: &str = "provenance";
const GEOMETRY: &str = "geometry";
const REQUEST: &str = "request";
const INCARNATION: &str = "incarnation";

pub(crate) fn attribute(
    attributes: &mut Map<String, Value>,
    key: &str,
    value: &impl Serialize,
) -> Result<(), StoreError> {
    let value = serde_json::to_value(value).map_err(|error| StoreError::invalid(key, error))?;
    attributes.insert(key.to_owned(), value);
    Ok(())
}

/// What is stored of a surface when it is created; what becomes of it is in its log.
fn metadata(record: &SurfaceRecord) -> Result<Bytes, StoreError> {
    let mut attributes = Map::new();
    attribute(&mut attributes, SPECIFICATION, &record.spec)?;
    attribute(&mut attributes, PROVENANCE, &record.provenance)?;
    attribute(&mut attributes, GEOMETRY, &record.geometry)?;
    if let Some(request) = &record.request {
        attribute(&mut attributes, REQUEST, request)?;
    }
    attribute(&mut attributes, INCARNATION, &record.log.incarnation)?;
    zarr::group_metadata(attributes)
}

fn read_record(id: SurfaceId, path: &Path, json: &[u8]) -> Result<SurfaceRecord, StoreError> {
    fn take<T: DeserializeOwned>(attributes: &mut Map<String, Value>, key: &str) -> Result<T, String> {
        let value = attributes.remove(key).unwrap_or(Value::Null);
        serde_json::from_value(value).map_err(|error| format!("attribute `{key}`: {error}"))
    }
    let mut attributes = zarr::group_attributes(json).map_err(|error| StoreError::corrupt(path, error))?;
    let corrupt = |what: String| StoreError::corrupt(path, what);
    let spec = take(&mut attributes, SPECIFICATION).map_err(corrupt)?;
    let provenance = take(&mut attributes, PROVENANCE).map_err(corrupt)?;
    let geometry = take(&mut attributes, GEOMETRY).map_err(corrupt)?;
    let request = take(&mut attributes, REQUEST).map_err(corrupt)?;
    let log = LogPosition::new(take(&mut attributes, INCARNATION).map_err(corrupt)?);
    log.check().map_err(|reason| corrupt(format!("attribute `{INCARNATION}`: {reason}")))?;
    Ok(SurfaceRecord { id, spec, provenance, geometry, request, reuse: None, outcome: None, log })
}

/// Everything that is put for a new surface but its record.
fn parts(record: &SurfaceRecord) -> Result<Vec<(Path, Bytes)>, StoreError> {
    let (id, grid, arrays) = (&record.id, record.spec.grid, record.arrays()?);
    let mut parts = Vec::new();
    for array in arrays.all() {
        parts.push((layout::surface_object(id, &array.metadata_key()), array.metadata()?));
    }
    let y = grid.y.map_or_else(|| vec![0.0], |y| y.coordinates());
    for (array, values) in [(&arrays.x, grid.x.coordinates()), (&arrays.y, y)] {
        let chunk = array.encode(&values, values.len())?;
        parts.push((layout::surface_object(id, &array.chunk_key(&[0])), chunk));
    }
    Ok(parts)
}

impl Store {
    /// Stores a new surface without values. Its incarnation must be one that no surface of that name had.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, or another process is taking it; `Invalid` when the specification
    /// contradicts itself, the incarnation is none or was used before, or the record tells of changes. Nothing is left
    /// behind when the backend fails.
    pub async fn create_surface(&self, record: &SurfaceRecord) -> Result<(), StoreError> {
        let SurfaceRecord { id, spec, log, .. } = record;
        spec.validate().map_err(|error| StoreError::invalid("specification", error))?;
        log.check().map_err(|reason| StoreError::invalid(INCARNATION, reason))?;
        if log.n_changes > 0 || record.reuse.is_some() || record.outcome.is_some() {
            return Err(StoreError::invalid("surface", "a new one has no changes yet"));
        }
        let (parts, json) = (parts(record)?, metadata(record)?);
        let _change = self.change().await;
        self.clear_name(id).await?;
        if self.count_changes(id, &log.incarnation).await? > 0 {
            return Err(StoreError::invalid(INCARNATION, format!("`{}` was used before", log.incarnation)));
        }
        self.put_group(id, &parts, json).await
    }

    /// Removes what a deletion or a creation that was interrupted left of `id`: it would count as part of a new one.
    async fn clear_name(&self, id: &SurfaceId) -> Result<(), StoreError> {
        match self.find_surface(id).await {
            Ok(None) => {}
            Ok(Some(stored)) if stored.is_deleted => self.remove_deleted(&stored.record).await?,
            Ok(Some(_)) | Err(StoreError::Corrupt { .. }) => return Err(StoreError::already_exists(id)),
            Err(error) => return Err(error),
        }
        let (group, record) = (layout::surface(id), layout::surface_record(id));
        let remains = self.objects.list(&group).await?;
        // What another process commits meanwhile is its own: only what was seen without a record is deleted.
        if remains.contains(&record) {
            return Err(StoreError::already_exists(id));
        }
        self.objects.delete_all(&group, remains).await
    }

    /// Puts the objects of a new group, the record last, each where there is none.
    async fn put_group(&self, id: &SurfaceId, parts: &[(Path, Bytes)], record: Bytes) -> Result<(), StoreError> {
        let record = (layout::surface_record(id), record);
        let mut put = Vec::new();
        for (path, bytes) in parts.iter().chain([&record]) {
            match self.objects.place(path, bytes.clone()).await {
                Ok(Placed::New) => put.push(path.clone()),
                Ok(Placed::Same) => {}
                // Another process was first; what it found there of this one is its own by now.
                Ok(Placed::Other(_)) => return Err(StoreError::already_exists(id)),
                Err(error) => {
                    // Where a record has come to be after all, what lies there belongs to it. The first error tells
                    // why; a second one, of the same backend, would not help.
                    if matches!(self.objects.exists(&record.0).await, Ok(false)) {
                        let _ = self.objects.delete_all(&layout::surface(id), put).await;
                    }
                    return Err(error);
                }
            }
        }
        // The surface exists by now: what cannot be looked at is taken to be as it was put.
        let checks = parts.iter().map(|(path, bytes)| self.put_back(path, bytes));
        let _ = futures::future::try_join_all(checks).await;
        Ok(())
    }

    /// Puts a part of a surface once more if it is not as it was put: another process may have taken it for the remains
    /// of a creation that was interrupted, until it found that the record is there.
    async fn put_back(&self, path: &Path, bytes: &Bytes) -> Result<(), StoreError> {
        if self.objects.get(path).await?.as_ref() == Some(bytes) {
            return Ok(());
        }
        self.objects.put(path, bytes.clone()).await
    }

    /// A surface as it was created, whatever became of it; or none.
    pub(crate) async fn created_surface(&self, id: &SurfaceId) -> Result<Option<SurfaceRecord>, StoreError> {
        let path = layout::surface_record(id);
        let json = self.objects.get(&path).await?;
        json.map(|json| read_record(id.clone(), &path, &json)).transpose()
    }

    /// A surface without its values.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name; `Corrupt` when its record or its last change is damaged.
    pub async fn get_surface(&self, id: &SurfaceId) -> Result<SurfaceRecord, StoreError> {
        let stored = self.find_surface(id).await?.and_then(StoredSurface::existing);
        stored.ok_or_else(|| StoreError::not_found(id))
    }

    /// The ids of all surfaces, of those too that are just being created or deleted.
    ///
    /// # Errors
    /// When the backend fails.
    pub async fn surface_ids(&self) -> Result<BTreeSet<SurfaceId>, StoreError> {
        let names = self.objects.list_children(&layout::collection(SurfaceId::COLLECTION)).await?;
        let ids = names.iter().filter_map(|name| name.strip_suffix(layout::GROUP_SUFFIX)?.parse().ok());
        Ok(ids.collect())
    }

    /// A page of the surfaces, in the order of their ids. One whose record or last change is damaged is an error in its
    /// place, so that it does not hide the others.
    ///
    /// # Errors
    /// When the backend fails.
    pub async fn list_surfaces(&self, page: &Page) -> Result<Listing<Result<SurfaceRecord, StoreError>>, StoreError> {
        let logs = &self.list_logs().await?;
        let get = async move |id: SurfaceId| match self.find_surface_in(&id, logs).await {
            Ok(stored) => Ok(stored.and_then(StoredSurface::existing).map(Ok)),
            Err(error @ StoreError::Corrupt { .. }) => Ok(Some(Err(error))),
            Err(error) => Err(error),
        };
        self.list_things(SurfaceId::COLLECTION, page, layout::GROUP_SUFFIX, get).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use relief_core::Grid;

    use super::*;
    use crate::conformance::{
        anew, another_process, everything, faulty, new_surface, on_every_store, outcome, specification,
    };
    use crate::error::StoreErrorKind;

    fn id() -> SurfaceId {
        "s-1".parse().expect("an id")
    }

    fn spec() -> SurfaceSpec {
        let grid = Grid { x: "-0.7:0.1:5".parse().expect("an axis"), y: Some("-1:1:3".parse().expect("an axis")) };
        specification(grid, "2x2")
    }

    #[tokio::test]
    async fn a_surface_comes_back_as_it_was_asked_for() {
        on_every_store(async |store| {
            store.create_surface(&new_surface(id(), &spec())).await.expect("a surface");
            let record = store.get_surface(&id()).await.expect("a record");
            let expected = new_surface(id(), &spec());
            assert_eq!(record, expected);
            let error = store.create_surface(&new_surface(id(), &spec())).await.expect_err("taken");
            assert_eq!(error.kind(), StoreErrorKind::AlreadyExists);
            let listed = store.list_surfaces(&Page::default()).await.expect("a page").items;
            assert_eq!(listed.into_iter().map(|record| record.expect("whole")).collect::<Vec<_>>(), [expected]);
            assert_eq!(
                everything(store).await,
                [
                    "surfaces/s-1.zarr/accuracy/zarr.json",
                    "surfaces/s-1.zarr/flags/zarr.json",
                    "surfaces/s-1.zarr/loss/zarr.json",
                    "surfaces/s-1.zarr/squared_error/zarr.json",
                    "surfaces/s-1.zarr/x/c/0",
                    "surfaces/s-1.zarr/x/zarr.json",
                    "surfaces/s-1.zarr/y/c/0",
                    "surfaces/s-1.zarr/y/zarr.json",
                    "surfaces/s-1.zarr/zarr.json",
                ]
            );
        })
        .await;
    }

    async fn assert_whole(store: &Store, record: &SurfaceRecord) {
        assert_eq!(store.get_surface(&record.id).await.expect("a record"), *record);
        for (path, bytes) in parts(record).expect("parts") {
            assert_eq!(store.objects.get(&path).await.expect("a read"), Some(bytes), "{path}");
        }
    }

    #[tokio::test]
    async fn of_two_processes_that_create_one_surface_one_succeeds() {
        on_every_store(async |store| {
            let other = another_process(store);
            for round in 0..10 {
                let left = new_surface(format!("s-{round}").parse().expect("an id"), &spec());
                let right = anew(left.clone());
                let (is_left, is_right) = tokio::join!(store.create_surface(&left), other.create_surface(&right));
                let (record, error) = match (is_left, is_right) {
                    (Ok(()), Err(error)) => (left, error),
                    (Err(error), Ok(())) => (right, error),
                    both => panic!("{both:?}"),
                };
                assert_eq!(error.kind(), StoreErrorKind::AlreadyExists);
                assert_whole(store, &record).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn who_was_held_up_before_its_commit_gets_the_whole_surface_or_none() {
        on_every_store(async |store| {
            let old = new_surface(id(), &spec());
            let axis = "-0.7:0.1:9".parse().expect("an axis");
            let new = anew(new_surface(id(), &specification(Grid { x: axis, ..spec().grid }, "2x2")));
            let (old_parts, new_parts) = (parts(&old).expect("parts"), parts(&new).expect("parts"));
            let (old_json, new_json) = (metadata(&old).expect("a record"), metadata(&new).expect("a record"));
            let half = async || {
                for (path, bytes) in &old_parts {
                    store.objects.place(path, bytes.clone()).await.expect("a put");
                }
                // Another process takes that for remains, and starts with its own.
                store.clear_name(&id()).await.expect("a free name");
                store.objects.place(&new_parts[0].0, new_parts[0].1.clone()).await.expect("a put");
            };
            half().await;
            store.put_group(&id(), &[], old_json.clone()).await.expect("a commit");
            for (path, bytes) in &old_parts {
                store.put_back(path, bytes).await.expect("a part");
            }
            let error = store.put_group(&id(), &new_parts, new_json.clone()).await.expect_err("taken");
            assert_eq!(error.kind(), StoreErrorKind::AlreadyExists);
            assert_whole(store, &old).await;
            store.delete_surface(&old, 1).await.expect("a deletion");

            half().await;
            store.put_group(&id(), &new_parts, new_json).await.expect("a surface");
            let error = store.put_group(&id(), &old_parts, old_json).await.expect_err("taken");
            assert_eq!(error.kind(), StoreErrorKind::AlreadyExists);
            assert_whole(store, &new).await;
        })
        .await;
    }

    #[tokio::test]
    async fn a_creation_whose_answer_was_lost_is_made() {
        on_every_store(async |store| {
            let record = new_surface(id(), &spec());
            let (parts, json) = (parts(&record).expect("parts"), metadata(&record).expect("a record"));
            for _ in 0..2 {
                store.put_group(&id(), &parts, json.clone()).await.expect("a surface");
                assert_whole(store, &record).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_surface_that_is_not_new_is_not_created() {
        let store = Store::open("memory://").expect("a store");
        let new = new_surface(id(), &spec());
        let begun = SurfaceRecord { reuse: Some(Reuse::default()), ..new.clone() };
        let changed = SurfaceRecord { log: LogPosition { n_changes: 1, ..new.log.clone() }, ..new.clone() };
        let elsewhere = SurfaceRecord { log: LogPosition::new("../a".to_owned()), ..new.clone() };
        let ended = SurfaceRecord { outcome: Some(outcome(JobState::Failed)), ..new };
        for record in [begun, changed, elsewhere, ended] {
            let error = store.create_surface(&record).await.expect_err("not new");
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
        }
        assert!(everything(&store).await.is_empty());
    }

    #[tokio::test]
    async fn a_creation_that_fails_leaves_nothing_behind() {
        let store = faulty(&Arc::new(InMemory::new()), "s-1.zarr/zarr.json");
        let error = store.create_surface(&new_surface(id(), &spec())).await.expect_err("a fault");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(everything(&store).await.is_empty());
        let curve = SurfaceSpec { grid: Grid { y: None, ..spec().grid }, ..spec() };
        let error = store.create_surface(&new_surface(id(), &curve)).await.expect_err("a direction too many");
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        assert!(everything(&store).await.is_empty());
    }
}
