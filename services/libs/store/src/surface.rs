//! Surfaces: what was asked for, where it came from and how it ended.

use bytes::Bytes;
use object_store::path::Path;
use relief_core::{Digest, JobState, PlaneGeometry, SurfaceId, SurfaceSpec, TilePlan};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::StoreError;
use crate::layout;
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
}

impl SurfaceRecord {
    /// How its grid is cut.
    #[must_use]
    pub fn plan(&self) -> TilePlan {
        TilePlan::new(self.spec.grid, self.spec.tile)
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
const REUSE: &str = "reuse";
const OUTCOME: &str = "outcome";

fn attribute(attributes: &mut Map<String, Value>, key: &str, value: &impl Serialize) -> Result<(), StoreError> {
    let value = serde_json::to_value(value).map_err(|error| StoreError::invalid(key, error))?;
    attributes.insert(key.to_owned(), value);
    Ok(())
}

fn metadata(record: &SurfaceRecord) -> Result<Bytes, StoreError> {
    let mut attributes = Map::new();
    attribute(&mut attributes, SPECIFICATION, &record.spec)?;
    attribute(&mut attributes, PROVENANCE, &record.provenance)?;
    attribute(&mut attributes, GEOMETRY, &record.geometry)?;
    if let Some(request) = &record.request {
        attribute(&mut attributes, REQUEST, request)?;
    }
    if let Some(reuse) = &record.reuse {
        attribute(&mut attributes, REUSE, reuse)?;
    }
    if let Some(outcome) = &record.outcome {
        attribute(&mut attributes, OUTCOME, outcome)?;
    }
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
    let reuse = take(&mut attributes, REUSE).map_err(corrupt)?;
    let outcome = take(&mut attributes, OUTCOME).map_err(corrupt)?;
    Ok(SurfaceRecord { id, spec, provenance, geometry, request, reuse, outcome })
}

impl Store {
    /// Stores a new surface without values.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; `Invalid` when the specification contradicts itself. Nothing is left
    /// behind when the backend fails.
    pub async fn create_surface(&self, record: &SurfaceRecord) -> Result<(), StoreError> {
        let SurfaceRecord { id, spec, .. } = record;
        spec.validate().map_err(|error| StoreError::invalid("specification", error))?;
        let arrays = record.arrays()?;
        let json = metadata(record)?;
        let mut puts = Vec::new();
        for array in arrays.all() {
            puts.push((layout::surface_object(id, &array.metadata_key()), array.metadata()?));
        }
        let y = spec.grid.y.map_or_else(|| vec![0.0], |y| y.coordinates());
        for (array, values) in [(&arrays.x, spec.grid.x.coordinates()), (&arrays.y, y)] {
            let chunk = array.encode(&values, values.len())?;
            puts.push((layout::surface_object(id, &array.chunk_key(&[0])), chunk));
        }
        let _change = self.change().await;
        let path = layout::surface_record(id);
        if self.objects.exists(&path).await? {
            return Err(StoreError::already_exists(id));
        }
        // A deletion that was interrupted after the commit leaves chunks that would count as tiles of this surface.
        self.objects.delete_below(&layout::surface(id)).await?;
        self.commit(&id.to_string(), &layout::surface(id), &path, json, puts).await
    }

    /// A surface without its values.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    pub async fn get_surface(&self, id: &SurfaceId) -> Result<SurfaceRecord, StoreError> {
        let path = layout::surface_record(id);
        let json = self.objects.get(&path).await?.ok_or_else(|| StoreError::not_found(id))?;
        read_record(id.clone(), &path, &json)
    }

    /// Stores how a surface ended.
    ///
    /// # Errors
    /// `Ended` when it has ended otherwise already; `Invalid` when the state is not a final one.
    pub async fn finish_surface(&self, id: &SurfaceId, outcome: &SurfaceOutcome) -> Result<(), StoreError> {
        if !outcome.state.is_final() {
            return Err(StoreError::invalid("state", format!("{} is not the end of a job", outcome.state)));
        }
        let _change = self.change().await;
        let mut record = self.get_surface(id).await?;
        match &record.outcome {
            Some(ended) if ended == outcome => Ok(()),
            Some(_) => Err(StoreError::Ended { name: id.to_string() }),
            None => {
                record.outcome = Some(outcome.clone());
                self.objects.put(&layout::surface_record(id), metadata(&record)?).await
            }
        }
    }

    /// Stores the numeric class of a surface, and which points it takes from others, unless either is stored already; from
    /// then on other surfaces find its points. Returns what is stored then.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    pub async fn begin_surface(&self, id: &SurfaceId, class: &str, reuse: Reuse) -> Result<SurfaceRecord, StoreError> {
        let _change = self.change().await;
        let mut record = self.get_surface(id).await?;
        let stored = record.clone();
        if record.provenance.numeric_class.is_empty() {
            class.clone_into(&mut record.provenance.numeric_class);
        }
        record.reuse.get_or_insert(reuse);
        if record != stored {
            self.objects.put(&layout::surface_record(id), metadata(&record)?).await?;
        }
        self.announce_points(&record).await?;
        Ok(record)
    }

    /// A page of the surfaces, in the order of their ids. One whose record is damaged is an error in its place, so that
    /// it does not hide the others.
    ///
    /// # Errors
    /// When the backend fails.
    pub async fn list_surfaces(&self, page: &Page) -> Result<Listing<Result<SurfaceRecord, StoreError>>, StoreError> {
        let suffix = layout::SURFACE_SUFFIX;
        let read = |id, path: &_, json: &[u8]| Ok(read_record(id, path, json));
        self.list_records(SurfaceId::COLLECTION, page, suffix, layout::surface_record, read).await
    }

    /// Deletes a surface with its values.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    pub async fn delete_surface(&self, id: &SurfaceId) -> Result<(), StoreError> {
        // One whose record is damaged is deleted all the same; others find nothing where it is announced.
        if let Ok(record) = self.get_surface(id).await {
            self.withdraw_points(&record).await?;
        }
        self.delete_committed(id, &layout::surface(id), &layout::surface_record(id)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use relief_core::Grid;

    use super::*;
    use crate::conformance::{everything, faulty, new_surface, on_every_store, specification};
    use crate::error::StoreErrorKind;

    fn id() -> SurfaceId {
        "s-1".parse().expect("an id")
    }

    fn spec() -> SurfaceSpec {
        let grid = Grid { x: "-0.7:0.1:5".parse().expect("an axis"), y: Some("-1:1:3".parse().expect("an axis")) };
        specification(grid, "2x2")
    }

    fn outcome(state: JobState) -> SurfaceOutcome {
        SurfaceOutcome {
            state,
            reason: None,
            message: None,
            points_done: 0,
            points_non_finite: 0,
            tiles_done: 0,
            tiles_retried: 0,
            ended: "2026-01-31T12:00:00.000Z".to_owned(),
        }
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

    #[tokio::test]
    async fn an_outcome_is_final() {
        on_every_store(async |store| {
            store.create_surface(&new_surface(id(), &spec())).await.expect("a surface");
            let error = store.finish_surface(&id(), &outcome(JobState::Running)).await.expect_err("not an end");
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            let failed = SurfaceOutcome { reason: Some("no evaluator".to_owned()), ..outcome(JobState::Failed) };
            store.finish_surface(&id(), &failed).await.expect("an end");
            store.finish_surface(&id(), &failed).await.expect("the same end");
            let error = store.finish_surface(&id(), &outcome(JobState::Succeeded)).await.expect_err("another end");
            assert_eq!(error.kind(), StoreErrorKind::FailedPrecondition);
            let record = store.get_surface(&id()).await.expect("a record");
            assert_eq!((record.spec, record.outcome), (spec(), Some(failed)));
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_deleted_is_not_found() {
        on_every_store(async |store| {
            store.create_surface(&new_surface(id(), &spec())).await.expect("a surface");
            store.delete_surface(&id()).await.expect("a deletion");
            assert!(everything(store).await.is_empty());
            for error in [
                store.get_surface(&id()).await.expect_err("gone"),
                store.delete_surface(&id()).await.expect_err("gone"),
                store.read_surface(&id()).await.expect_err("gone"),
                store.finish_surface(&id(), &outcome(JobState::Succeeded)).await.expect_err("gone"),
            ] {
                assert_eq!(error.to_string(), "there is no surfaces/s-1");
            }
        })
        .await;
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
