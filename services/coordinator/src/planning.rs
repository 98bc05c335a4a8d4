//! From a request to a surface that can be computed: everything that it names is found and fits together.

use std::collections::BTreeSet;
use std::time::SystemTime;

use relief_api::convert::surface::SurfaceRequest;
use relief_api::{ApiError, ErrorReason};
use relief_core::{BatchNormMode, PlaneGeometry, Split, SurfaceSpec};
use relief_store::{Provenance, Store, rfc3339};

use crate::direction::{Origin, measure};
use crate::ledger::Ledger;
use crate::subject::{Subject, SubjectFields, join, load_graph};

/// Where a surface's request says what is evaluated.
const FIELDS: SubjectFields = SubjectFields {
    network: "spec.network",
    checkpoint: "spec.plane.origin",
    dataset: "spec.data.dataset",
    split: "spec.data.split",
};

/// A surface that can be computed.
#[derive(Debug)]
pub(crate) struct Planned {
    /// With the names that were found.
    pub(crate) spec: SurfaceSpec,
    pub(crate) provenance: Provenance,
    pub(crate) geometry: PlaneGeometry,
}

/// Looks up what `request` names, checks that all of it fits together, and draws its directions.
///
/// # Errors
/// `NOT_FOUND` or `INVALID_FIELD`, with the field.
pub(crate) async fn plan_surface(
    store: &Store,
    request: SurfaceRequest,
    max_points: u64,
    numeric_class: Option<String>,
) -> Result<Planned, ApiError> {
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
    let graph = load_graph(store, &found.network).await?;
    let parameters = store.load_checkpoint(&found.checkpoint.path, found.checkpoint.digest).await?;
    let network = found.network.record.id.to_string();
    let directions = measure(store, &network, Origin { graph, parameters }, plane).await;
    let (also, statistics, mut directions) = all_of(also, statistics, directions)?;
    // Nothing is refused from here on, so what was made may be stored.
    let network = store.keep_network(found.network).await?;
    directions.keep(store).await?;

    let provenance = Provenance {
        network_digest: network.digest,
        checkpoint_digest: found.checkpoint.digest,
        directions: directions.sources,
        samples: found.samples,
        also,
        statistics,
        numeric_class: numeric_class.unwrap_or_default(),
        relief_version: env!("CARGO_PKG_VERSION").to_owned(),
        created: rfc3339(SystemTime::now()),
        trace_id: None,
    };
    Ok(Planned { spec: request.of(network.id), provenance, geometry: directions.geometry })
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

/// Reads from the store how far a surface is.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn open_ledger(store: &Store, record: &relief_store::SurfaceRecord) -> Result<Ledger, ApiError> {
    let done: BTreeSet<u64> = store.committed_tiles(record).await?;
    let n_non_finite = if done.is_empty() { 0 } else { count_non_finite(store, record).await? };
    let mut ledger = Ledger::new(record.plan(), &done, n_non_finite);
    ledger.reuse(&[], record.reuse.as_ref().map_or(0, |reuse| reuse.n_points));
    Ok(ledger)
}

async fn count_non_finite(store: &Store, record: &relief_store::SurfaceRecord) -> Result<u64, ApiError> {
    use relief_core::PointFlag::{Finite, Never};
    let values = store.read_values(record).await?;
    let is_non_finite = |idx: &usize| values.splits().any(|split| !matches!(split.flags[*idx], Finite | Never));
    Ok((0..values.main.flags.len()).filter(is_non_finite).count() as u64)
}
