//! From a request to a surface that can be computed: everything that it names is found and fits together.

use std::collections::BTreeSet;
use std::time::SystemTime;

use relief_api::ApiError;
use relief_core::{Digest, DirectionName, DirectionSpec, SurfaceId, SurfaceSpec, TensorMap};
use relief_graph::Graph;
use relief_store::{FoundNetwork, Provenance, Store, StoreError, rfc3339};

use crate::ledger::Ledger;
use crate::subject::{Subject, SubjectFields, at, join, load_graph};

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
}

/// Looks up what `spec` names, and checks that all of it fits together.
///
/// # Errors
/// `NOT_FOUND` or `INVALID_FIELD`, with the field.
pub(crate) async fn plan_surface(
    store: &Store,
    mut spec: SurfaceSpec,
    max_points: u64,
    numeric_class: Option<String>,
) -> Result<Planned, ApiError> {
    let n_points = spec.grid.n_points();
    if n_points > max_points {
        let field = if spec.grid.y.is_some() { "spec.y" } else { "spec.x" };
        let message = format!(
            "the grid of {} x {} has {n_points} points; this coordinator takes at most {max_points}",
            spec.grid.n_rows(),
            spec.grid.n_columns()
        );
        return Err(ApiError::field(field, message));
    }

    let subject = Subject { network: Some(&spec.network), checkpoint: &spec.plane.origin, data: &spec.data };
    let found = subject.find(store, &FIELDS).await?;
    check_directions(store, &found.network, &spec).await?;
    // Nothing is refused from here on, so a generated network may be stored.
    let network = store.keep_network(found.network).await?;

    spec.network = network.id.clone();
    let directions = || std::iter::once(&spec.plane.x).chain(&spec.plane.y);
    let seed = |direction: &DirectionSpec| match direction {
        DirectionSpec::Random { seed, .. } => Some(*seed),
        DirectionSpec::Stored { .. } => None,
    };
    let digest = |direction: &DirectionSpec| match direction {
        DirectionSpec::Random { .. } => None,
        DirectionSpec::Stored { digest } => Some(*digest),
    };
    let provenance = Provenance {
        network_digest: network.digest,
        checkpoint_digest: found.checkpoint.digest,
        dataset_digest: found.split_digest,
        direction_seeds: directions().filter_map(seed).collect(),
        direction_digests: directions().filter_map(digest).collect(),
        numeric_class: numeric_class.unwrap_or_default(),
        relief_version: env!("CARGO_PKG_VERSION").to_owned(),
        created: rfc3339(SystemTime::now()),
        trace_id: None,
    };
    Ok(Planned { spec, provenance })
}

/// Checks that the directions given as files move nothing but tensors of the network, in its shapes.
async fn check_directions(store: &Store, network: &FoundNetwork, spec: &SurfaceSpec) -> Result<(), ApiError> {
    let stored = |direction: &DirectionSpec, field: &'static str| match direction {
        DirectionSpec::Random { .. } => None,
        DirectionSpec::Stored { digest } => Some((field, *digest)),
    };
    let x = stored(&spec.plane.x, "spec.plane.x");
    let y = spec.plane.y.as_ref().and_then(|direction| stored(direction, "spec.plane.y"));
    if x.or(y).is_none() {
        return Ok(());
    }
    let graph = load_graph(store, network).await?;
    let mut refusals = Vec::new();
    for (field, digest) in [x, y].into_iter().flatten() {
        let tensors = load_direction(store, field, digest).await?;
        if let Err(reason) = check_direction(&graph, &tensors) {
            let message = format!("{} does not fit {}: {reason}", DirectionName(digest), network.record.id);
            refusals.push(ApiError::field(field, message));
        }
    }
    refusals.into_iter().reduce(join).map_or(Ok(()), Err)
}

async fn load_direction(store: &Store, field: &'static str, digest: Digest) -> Result<TensorMap, ApiError> {
    store.load_direction(digest).await.map_err(|error| match error {
        StoreError::NotFound { .. } => {
            at(field)(StoreError::NotFound { name: format!("{}; import it first", DirectionName(digest)) })
        }
        error => error.into(),
    })
}

/// The most tensors that a message names.
const N_NAMED: usize = 8;

fn check_direction(graph: &Graph, direction: &TensorMap) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (name, tensor) in direction {
        match graph.parameters().iter().find(|parameter| parameter.name == *name) {
            None => wrong.push(format!("it moves `{name}`, which the network does not have")),
            Some(parameter) if parameter.shape != tensor.shape() => {
                wrong.push(format!("`{name}` has shape {:?}, expected {:?}", tensor.shape(), parameter.shape));
            }
            Some(_) => {}
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let more = if wrong.len() > N_NAMED { format!("; and {} more", wrong.len() - N_NAMED) } else { String::new() };
    Err(format!("{}{more}", wrong[..wrong.len().min(N_NAMED)].join("; ")))
}

/// Reads from the store how far a surface is.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn open_ledger(store: &Store, record: &relief_store::SurfaceRecord) -> Result<Ledger, ApiError> {
    let plan = record.plan();
    let done: BTreeSet<u64> = store.committed_tiles(&record.id, &plan).await?;
    let n_non_finite = if done.is_empty() { 0 } else { count_non_finite(store, &record.id).await? };
    Ok(Ledger::new(plan, &done, n_non_finite))
}

async fn count_non_finite(store: &Store, id: &SurfaceId) -> Result<u64, ApiError> {
    use relief_core::PointFlag::{Finite, Never};
    let values = store.read_surface(id).await?;
    Ok(values.flags.iter().filter(|flag| !matches!(flag, Finite | Never)).count() as u64)
}

#[cfg(test)]
mod tests {
    use relief_core::Tensor;
    use relief_graph::builtin;

    use super::*;

    #[test]
    fn a_direction_moves_only_what_the_network_has() {
        let graph = builtin::build_default("lenet5").expect("built in");
        let first = &graph.parameters()[0];
        let mut direction = TensorMap::from([(first.name.clone(), Tensor::filled(first.shape.clone(), 0.0))]);
        assert_eq!(check_direction(&graph, &direction), Ok(()));
        direction.insert(first.name.clone(), Tensor::filled([3], 0.0));
        direction.insert("other".to_owned(), Tensor::filled([1], 0.0));
        let reason = check_direction(&graph, &direction).expect_err("two wrong tensors");
        assert!(reason.contains("`other`") && reason.contains("has shape [3], expected"), "{reason}");
    }
}
