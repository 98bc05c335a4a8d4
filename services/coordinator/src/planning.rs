//! From a request to a surface that can be computed: everything that it names is found and fits together.

use std::collections::BTreeSet;
use std::time::SystemTime;

use relief_api::convert::surface::SurfaceRequest;
use relief_api::{ApiError, ErrorReason};
use relief_core::{BatchNormMode, PlaneGeometry, Split, SurfaceSpec};
use relief_store::{FoundNetwork, Provenance, Store, SurfaceRecord, rfc3339};

use crate::direction::{MeasuredDirections, Origin, measure};
use crate::subject::{Subject, SubjectFields, join, load_graph};

/// Where a surface's request says what is evaluated.
const FIELDS: SubjectFields = SubjectFields {
    network: "spec.network",
    checkpoint: "spec.plane.origin",
    dataset: "spec.data.dataset",
    split: "spec.data.split",
};

/// A surface that can be computed, of which nothing is stored yet.
#[derive(Debug)]
pub(crate) struct Planned {
    /// With the names that were found.
    pub(crate) spec: SurfaceSpec,
    pub(crate) provenance: Provenance,
    pub(crate) geometry: PlaneGeometry,
    /// What an evaluator reads before its first point.
    pub(crate) input_bytes: u64,
    network: FoundNetwork,
    directions: MeasuredDirections,
}

impl Planned {
    /// Stores what was generated or drawn for it.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn keep(&mut self, store: &Store) -> Result<(), ApiError> {
        store.keep_network(self.network.clone()).await?;
        self.directions.keep(store).await
    }
}

/// Looks up what `request` names, checks that all of it fits together, and draws its directions.
///
/// # Errors
/// `NOT_FOUND` or `INVALID_FIELD`, with the field. Nothing is stored.
pub(crate) async fn plan_surface(store: &Store, request: SurfaceRequest, max_points: u64) -> Result<Planned, ApiError> {
    let grid = &request.grid;
    let n_points = grid.n_points();
    if n_points > max_points {
        let field = if grid.y.is_some() { "spec.y" } else { "spec.x" };
        let message = format!(
            "the grid of {} x {} has {n_points} points; this coordinator takes at most {max_points}",
            grid.n_rows(),
            grid.n_columns()
        );
        return Err(ApiError::field(field, message));
    }

    let plane = &request.plane;
    let subject = Subject { network: request.network.as_ref(), checkpoint: &plane.origin, data: &request.data };
    let found = subject.find(store, &FIELDS).await?;
    let of_split =
        |field, split| found.samples_of(split, request.data.limit).map_err(|message| ApiError::field(field, message));
    let also = request.also.map(|split| of_split("spec.also_split", split)).transpose();
    let statistics = match plane.batch_norm {
        BatchNormMode::Recomputed => of_split("spec.plane.batch_norm", Split::Train).map(Some),
        BatchNormMode::Frozen | BatchNormMode::Interpolated => Ok(None),
    };
    let onnx_bytes = store.load_found_network(&found.network).await?.len();
    let graph = load_graph(store, &found.network).await?;
    let parameters = store.load_checkpoint(&found.checkpoint.path, found.checkpoint.digest).await?;
    let parameter_bytes: usize = parameters.values().map(|tensor| size_of_val(tensor.data())).sum();
    let network = found.network.record.id.clone();
    let directions = measure(store, &network.to_string(), Origin { graph, parameters }, plane).await;
    let (also, statistics, directions) = all_of(also, statistics, directions)?;

    let n_axes = directions.sources.len();
    let provenance = Provenance {
        network_digest: found.network.record.digest,
        checkpoint_digest: found.checkpoint.digest,
        directions: directions.sources.clone(),
        samples: found.samples,
        also,
        statistics,
        // It is chosen when the work begins.
        numeric_class: String::new(),
        relief_version: env!("CARGO_PKG_VERSION").to_owned(),
        created: rfc3339(SystemTime::now()),
        trace_id: None,
    };
    Ok(Planned {
        spec: request.of(network),
        provenance,
        geometry: directions.geometry.clone(),
        input_bytes: (onnx_bytes + parameter_bytes * (1 + n_axes)) as u64,
        network: found.network,
        directions,
    })
}

/// All of them, or what is wrong with any.
fn all_of<A, B, C>(
    first: Result<A, ApiError>,
    second: Result<B, ApiError>,
    third: Result<C, ApiError>,
) -> Result<(A, B, C), ApiError> {
    match (first, second, third) {
        (Ok(first), Ok(second), Ok(third)) => Ok((first, second, third)),
        (first, second, third) => {
            let refusals = [first.err(), second.err(), third.err()].into_iter().flatten();
            Err(refusals.reduce(join).unwrap_or_else(|| ApiError::new(ErrorReason::Internal, "nothing is wrong")))
        }
    }
}

/// Reads from the store how far a surface is: the tiles that are done, and how many of their points have no finite loss.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn count_done(store: &Store, record: &SurfaceRecord) -> Result<(BTreeSet<u64>, u64), ApiError> {
    let done: BTreeSet<u64> = store.committed_tiles(record).await?;
    let n_non_finite = if done.is_empty() { 0 } else { count_non_finite(store, record).await? };
    Ok((done, n_non_finite))
}

async fn count_non_finite(store: &Store, record: &SurfaceRecord) -> Result<u64, ApiError> {
    use relief_core::PointFlag::{Finite, Never};
    let values = store.read_values(record).await?;
    let is_non_finite = |idx: &usize| values.splits().any(|split| !matches!(split.flags[*idx], Finite | Never));
    Ok((0..values.main.flags.len()).filter(is_non_finite).count() as u64)
}
