//! Trajectories: what was asked for, where it came from and how it ended.
//!
//! A trajectory exists from the moment its record is put. All that is computed for it lies under its incarnation, each
//! part put once where there is nothing: parts follow from the record alone, so that it does not matter who puts them,
//! and what a process puts that was held up while the trajectory was deleted is in nobody's way. The first outcome
//! that is put is the outcome.

mod result;
#[cfg(test)]
pub(crate) mod tests;
mod work;

use std::collections::BTreeSet;

use object_store::path::Path;
use relief_core::{Digest, GramPlan, JobState, SurfaceId, TrajectoryId, TrajectorySpec};
use serde::{Deserialize, Serialize};

use crate::change::LogPosition;
use crate::error::{StoreError, StoreErrorKind};
use crate::layout;
use crate::object::Placed;
use crate::page::{Listing, Page};
use crate::record::{from_json, to_json};
use crate::store::Store;
use crate::surface::{RequestMark, SampleSource};

pub use work::TrajectoryAxesRecord;

/// A trajectory as it is stored, without what was computed for it.
#[derive(Debug, Clone, PartialEq)]
pub struct TrajectoryRecord {
    /// Its name.
    pub id: TrajectoryId,
    /// What it depends on.
    pub spec: TrajectorySpec,
    /// Where it comes from.
    pub provenance: TrajectoryProvenance,
    /// The request that it was asked for by, where that had an id.
    pub request: Option<RequestMark>,
    /// What tells it from others that had its name before or will have it: 1 to 32 of the digits 0-9 and a-f.
    pub incarnation: String,
    /// How it ended; none while it is at work.
    pub outcome: Option<TrajectoryOutcome>,
}

/// Where a trajectory comes from, and how it is computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrajectoryProvenance {
    /// The digest of the network's ONNX file.
    pub network_digest: Digest,
    /// The digests of the directions that are rows of the Gram matrix, after the stops, in order.
    pub directions: Vec<Digest>,
    /// The tensors that make up a row, in order.
    pub tensors: Vec<GramTensor>,
    /// How the Gram matrix is cut.
    pub gram: GramPlan,
    /// The samples that the losses at the stops are means over.
    pub samples: SampleSource,
    /// The samples of the second split, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<SampleSource>,
    /// The surface that is computed for it.
    pub surface: SurfaceId,
    /// The version of Relief that accepted it.
    pub relief_version: String,
    /// When it was accepted, RFC 3339.
    pub created: String,
}

/// A tensor that is a part of every row of the Gram matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GramTensor {
    /// Its name.
    pub name: String,
    /// The number of its values.
    pub n_values: u64,
}

/// How a trajectory ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrajectoryOutcome {
    /// The final state.
    pub state: JobState,
    /// Why it failed, one of a closed set of words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it ended, RFC 3339.
    pub ended: String,
}

/// The record as it is put, once.
#[derive(Debug, Serialize, Deserialize)]
struct StoredTrajectory {
    specification: TrajectorySpec,
    provenance: TrajectoryProvenance,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<RequestMark>,
    incarnation: String,
}

impl TrajectoryRecord {
    /// Checks what makes its parts fit together, for whoever relies on it later.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let Self { spec, provenance, .. } = self;
        spec.validate().map_err(|error| ("specification", error.to_string()))?;
        LogPosition::new(self.incarnation.clone()).check().map_err(|reason| ("incarnation", reason))?;
        if provenance.directions.len() != spec.n_directions() {
            let (found, expected) = (provenance.directions.len(), spec.n_directions());
            return Err(("directions", format!("{found} directions; these axes take {expected}")));
        }
        let (n_rows, plan) = (spec.n_gram_rows(), &provenance.gram);
        let n_values = provenance.tensors.iter().try_fold(0_u64, |sum, tensor| sum.checked_add(tensor.n_values));
        if plan.n_rows() != n_rows || Some(plan.n_values()) != n_values {
            let (found, values) = (plan.n_rows(), plan.n_values());
            let reason = format!(
                "a plan of {found} rows of {values} values; there are {n_rows} rows of {} values",
                n_values.unwrap_or(u64::MAX)
            );
            return Err(("gram", reason));
        }
        if provenance.also.is_some() != spec.also.is_some() {
            return Err(("also", "samples of a second split and the split itself must come together".to_owned()));
        }
        Ok(())
    }
}

fn read_record(id: TrajectoryId, path: &Path, json: &[u8]) -> Result<TrajectoryRecord, StoreError> {
    let StoredTrajectory { specification, provenance, request, incarnation } = from_json(path, json)?;
    let record = TrajectoryRecord { id, spec: specification, provenance, request, incarnation, outcome: None };
    record.check().map_err(|(field, reason)| StoreError::corrupt(path, format!("{field}: {reason}")))?;
    Ok(record)
}

impl Store {
    /// Stores a new trajectory, of which nothing is computed. Its incarnation must be one that no trajectory of that
    /// name had.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, or another process is taking it; `Invalid` when the specification
    /// contradicts itself or the provenance, the incarnation is none, or there is an outcome already.
    pub async fn create_trajectory(&self, record: &TrajectoryRecord) -> Result<(), StoreError> {
        record.check().map_err(|(field, reason)| StoreError::invalid(field, reason))?;
        if record.outcome.is_some() {
            return Err(StoreError::invalid("outcome", "a new trajectory has none yet"));
        }
        let TrajectoryRecord { id, spec, provenance, request, incarnation, .. } = record.clone();
        let json = to_json("trajectory", &StoredTrajectory { specification: spec, provenance, request, incarnation })?;
        let path = layout::trajectory_record(&id);
        let _change = self.change().await;
        self.clear_trajectory_name(&id, &path).await?;
        match self.objects.place(&path, json).await? {
            Placed::New | Placed::Same => Ok(()),
            Placed::Other(_) => Err(StoreError::already_exists(&id)),
        }
    }

    /// Removes what a deletion that was interrupted left of `id`: it would count as part of a new one.
    async fn clear_trajectory_name(&self, id: &TrajectoryId, record: &Path) -> Result<(), StoreError> {
        // What another process puts for a new one comes after its record, and so does what is listed of that.
        let (job, group) = (layout::trajectory_job(id), layout::trajectory_group(id));
        let (group_remains, job_remains) = (self.objects.list(&group).await?, self.objects.list(&job).await?);
        if job_remains.contains(record) {
            return Err(StoreError::already_exists(id));
        }
        self.objects.delete_all(&group, group_remains).await?;
        self.objects.delete_all(&job, job_remains).await
    }

    /// A trajectory as it was created, without its outcome; or none.
    pub(crate) async fn created_trajectory(&self, id: &TrajectoryId) -> Result<Option<TrajectoryRecord>, StoreError> {
        let path = layout::trajectory_record(id);
        let json = self.objects.get(&path).await?;
        json.map(|json| read_record(id.clone(), &path, &json)).transpose()
    }

    async fn find_trajectory(&self, id: &TrajectoryId) -> Result<Option<TrajectoryRecord>, StoreError> {
        let Some(mut record) = self.created_trajectory(id).await? else { return Ok(None) };
        record.outcome = self.find_record(&layout::trajectory_outcome(id, &record.incarnation)).await?;
        Ok(Some(record))
    }

    /// Makes sure that the trajectory that has the name of `record` is the one that `record` tells of.
    async fn check_trajectory(&self, record: &TrajectoryRecord) -> Result<(), StoreError> {
        match self.created_trajectory(&record.id).await? {
            None => Err(StoreError::not_found(&record.id)),
            Some(there) if there.incarnation != record.incarnation => Err(StoreError::superseded(&record.id)),
            Some(_) => Ok(()),
        }
    }

    /// A trajectory without what was computed for it.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name; `Corrupt` when its record or its outcome is damaged.
    pub async fn get_trajectory(&self, id: &TrajectoryId) -> Result<TrajectoryRecord, StoreError> {
        self.find_trajectory(id).await?.ok_or_else(|| StoreError::not_found(id))
    }

    /// The ids of all trajectories, of those too that are just being created or deleted.
    ///
    /// # Errors
    /// When the backend fails.
    pub async fn trajectory_ids(&self) -> Result<BTreeSet<TrajectoryId>, StoreError> {
        let names = self.objects.list_children(&layout::collection(TrajectoryId::COLLECTION)).await?;
        let ids = names.iter().filter_map(|name| name.strip_suffix(layout::JOB_SUFFIX)?.parse().ok());
        Ok(ids.collect())
    }

    /// A page of the trajectories, in the order of their ids. One whose record or outcome is damaged is an error in its
    /// place, so that it does not hide the others.
    ///
    /// # Errors
    /// When the backend fails.
    pub async fn list_trajectories(
        &self,
        page: &Page,
    ) -> Result<Listing<Result<TrajectoryRecord, StoreError>>, StoreError> {
        let get = async move |id: TrajectoryId| match self.find_trajectory(&id).await {
            Ok(record) => Ok(record.map(Ok)),
            Err(error @ StoreError::Corrupt { .. }) => Ok(Some(Err(error))),
            Err(error) => Err(error),
        };
        self.list_things(TrajectoryId::COLLECTION, page, layout::JOB_SUFFIX, get).await
    }

    /// Stores how a trajectory ended, unless that is stored already; what is stored first stays. Returns the trajectory
    /// with the outcome that it has.
    ///
    /// # Errors
    /// `Invalid` when the state is not a final one; `NotFound` when there is no trajectory of that name, and
    /// `Superseded` when it was made anew since `record` was read; `Corrupt` when the outcome that is stored is
    /// damaged.
    pub async fn finish_trajectory(
        &self,
        record: &TrajectoryRecord,
        outcome: &TrajectoryOutcome,
    ) -> Result<TrajectoryRecord, StoreError> {
        if !outcome.state.is_final() {
            return Err(StoreError::invalid("state", format!("{} is not the end of a job", outcome.state)));
        }
        let path = layout::trajectory_outcome(&record.id, &record.incarnation);
        let json = to_json("outcome", outcome)?;
        let _change = self.change().await;
        self.check_trajectory(record).await?;
        let ended = |outcome| TrajectoryRecord { outcome: Some(outcome), ..record.clone() };
        match self.objects.place(&path, json).await? {
            Placed::New | Placed::Same => Ok(ended(outcome.clone())),
            Placed::Other(Some(json)) => Ok(ended(from_json(&path, &json)?)),
            Placed::Other(None) => Err(StoreError::not_found(&record.id)),
        }
    }

    /// Deletes a trajectory with all that was computed for it, but for its surface, which is one like any other. The
    /// record goes first: what is left when this is interrupted is nobody's, and [`Store::collect_orphans`] removes
    /// it.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name; `Superseded` when it was made anew since `record` was read.
    pub async fn delete_trajectory(&self, record: &TrajectoryRecord) -> Result<(), StoreError> {
        let TrajectoryRecord { id, incarnation, .. } = record;
        let group = layout::trajectory_group(id);
        let _change = self.change().await;
        self.check_trajectory(record).await?;
        // What is listed before the record is gone belongs to no later one.
        let results = self.objects.list(&group).await?;
        self.objects.delete(&layout::trajectory_record(id)).await?;
        self.objects.delete_below(&layout::trajectory_work(id, incarnation)).await?;
        self.objects.delete_all(&group, results).await
    }

    /// Deletes a trajectory whose record or outcome cannot be read, with all that lies under its name.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name; `Superseded` when it can be read, as one that was made anew.
    pub async fn delete_damaged_trajectory(&self, id: &TrajectoryId) -> Result<(), StoreError> {
        let _change = self.change().await;
        match self.find_trajectory(id).await {
            Ok(None) => Err(StoreError::not_found(id)),
            Ok(Some(_)) => Err(StoreError::superseded(id)),
            Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                self.objects.delete(&layout::trajectory_record(id)).await?;
                self.objects.delete_below(&layout::trajectory_job(id)).await?;
                self.objects.delete_below(&layout::trajectory_group(id)).await
            }
            Err(error) => Err(error),
        }
    }
}
