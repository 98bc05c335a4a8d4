//! From a request to a surface that can be computed: everything it names is looked up and checked against the rest.

use std::collections::BTreeSet;
use std::time::SystemTime;

use relief_api::{ApiError, ErrorReason, FieldViolation};
use relief_core::{CheckpointName, Digest, DirectionName, DirectionSpec, SurfaceId, SurfaceSpec, TensorMap};
use relief_graph::Graph;
use relief_store::{
    CheckpointBlob, DatasetRecord, FoundNetwork, NetworkRecord, Provenance, SampleStorage, Store, StoreError, rfc3339,
};

use crate::ledger::Ledger;

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

    let (dataset, checkpoint, found) = look_up(store, &spec).await?;
    if !dataset.splits.contains_key(&spec.data.split) {
        let message = format!("{} has no {} split", dataset.id, spec.data.split.as_str());
        return Err(ApiError::field("spec.data.split", message));
    }
    fits(&found.record, &dataset)?;
    if checkpoint.network != found.record.id {
        check_tensors(store, &found, &checkpoint, &spec.plane.origin).await?;
    }
    check_directions(store, &found, &spec).await?;
    // Nothing is refused from here on, so a generated network may be stored.
    let network = store.keep_network(found).await?;

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
        checkpoint_digest: checkpoint.digest,
        dataset_digest: dataset.split_digest(spec.data.split).unwrap_or(dataset.digest),
        direction_seeds: directions().filter_map(seed).collect(),
        direction_digests: directions().filter_map(digest).collect(),
        numeric_class: numeric_class.unwrap_or_default(),
        relief_version: env!("CARGO_PKG_VERSION").to_owned(),
        created: rfc3339(SystemTime::now()),
        trace_id: None,
    };
    Ok(Planned { spec, provenance })
}

/// Finds everything that `spec` names, or names everything that is not there.
async fn look_up(store: &Store, spec: &SurfaceSpec) -> Result<(DatasetRecord, CheckpointBlob, FoundNetwork), ApiError> {
    let dataset = store.get_dataset(&spec.data.dataset).await.map_err(at("spec.data.dataset"));
    let checkpoint = store.resolve_checkpoint(&spec.plane.origin).await.map_err(at("spec.plane.origin"));
    let network = match (&dataset, &checkpoint) {
        (Ok(dataset), Ok(checkpoint)) => find_network(store, spec, dataset, checkpoint).await,
        // Not the one that would be used, but it tells whether there is one of that name.
        _ => store.find_network(&spec.network, None).await.map_err(at("spec.network")),
    };
    match (dataset, checkpoint, network) {
        (Ok(dataset), Ok(checkpoint), Ok(network)) => Ok((dataset, checkpoint, network)),
        (dataset, checkpoint, network) => {
            let errors = [network.err(), checkpoint.err(), dataset.err()];
            Err(errors.into_iter().flatten().reduce(join).unwrap_or_else(|| internal("nothing is missing")))
        }
    }
}

/// One refusal of both; an error that names no field comes first, for it may hide the others.
fn join(first: ApiError, second: ApiError) -> ApiError {
    match (first.violations.is_empty(), second.violations.is_empty()) {
        (true, _) => first,
        (_, true) => second,
        _ => ApiError {
            reason: first.reason,
            message: format!("{}; {}", first.message, second.message),
            violations: [first.violations, second.violations].concat(),
        },
    }
}

fn internal(message: &str) -> ApiError {
    ApiError::new(ErrorReason::Internal, message)
}

/// A generated network named without its shape is the one that the checkpoint belongs to, if it is one of that kind,
/// else the one of the dataset's shape.
async fn find_network(
    store: &Store,
    spec: &SurfaceSpec,
    dataset: &DatasetRecord,
    checkpoint: &CheckpointBlob,
) -> Result<FoundNetwork, ApiError> {
    let kind = spec.network.as_str();
    let is_of_kind = checkpoint.network.as_str().strip_prefix(kind).is_some_and(|rest| rest.starts_with('-'));
    let name = if is_of_kind && relief_graph::builtin::names().any(|name| name == kind) {
        &checkpoint.network
    } else {
        &spec.network
    };
    store.find_network(name, Some((dataset.shape, dataset.n_classes))).await.map_err(at("spec.network"))
}

fn fits(network: &NetworkRecord, dataset: &DatasetRecord) -> Result<(), ApiError> {
    let [channels, height, width] = network.input_shape;
    let shape = dataset.shape;
    if dataset.storage == SampleStorage::Values && shape != network.input_shape {
        let message = format!(
            "{} has samples of shape {shape:?}, the input of {} is {:?}: numbers that are taken as they are are not padded",
            dataset.id, network.id, network.input_shape
        );
        return Err(ApiError::field("spec.data.dataset", message));
    }
    if shape[0] != channels || shape[1] > height || shape[2] > width {
        let message = format!(
            "{} has samples of shape {shape:?}, which do not fit into the input {:?} of {}: the channels must be \
             equal, height and width at most those of the network",
            dataset.id, network.input_shape, network.id
        );
        return Err(ApiError::field("spec.data.dataset", message));
    }
    if dataset.n_classes > network.n_classes {
        let message =
            format!("{} has {} classes, {} only {}", dataset.id, dataset.n_classes, network.id, network.n_classes);
        return Err(ApiError::field("spec.data.dataset", message));
    }
    Ok(())
}

async fn check_tensors(
    store: &Store,
    network: &FoundNetwork,
    checkpoint: &CheckpointBlob,
    name: &CheckpointName,
) -> Result<(), ApiError> {
    let onnx = store.load_found_network(network).await?;
    let model = Graph::from_onnx(&onnx).map_err(|error| ApiError::new(ErrorReason::DataCorrupt, error.to_string()))?;
    let tensors = store.load_checkpoint(&checkpoint.path, checkpoint.digest).await?;
    model.graph.check(&tensors).map_err(|mismatch| {
        let message = format!("{name} belongs to {}, not to {}: {mismatch}", checkpoint.network, network.record.id);
        ApiError::field("spec.plane.origin", message)
    })
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
    let onnx = store.load_found_network(network).await?;
    let model = Graph::from_onnx(&onnx).map_err(|error| ApiError::new(ErrorReason::DataCorrupt, error.to_string()))?;
    let mut refusals = Vec::new();
    for (field, digest) in [x, y].into_iter().flatten() {
        let tensors = load_direction(store, field, digest).await?;
        if let Err(reason) = check_direction(&model.graph, &tensors) {
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

/// Names the field whose value the store refused.
pub(crate) fn at(field: &'static str) -> impl Fn(StoreError) -> ApiError {
    move |error| {
        let error = ApiError::from(error);
        match error.reason {
            ErrorReason::NotFound | ErrorReason::InvalidContent | ErrorReason::InvalidField => {
                let violation = FieldViolation { field: field.to_owned(), description: error.message.clone() };
                ApiError { message: format!("{field}: {}", error.message), violations: vec![violation], ..error }
            }
            _ => error,
        }
    }
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
