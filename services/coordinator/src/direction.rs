//! The directions of a surface: found or drawn when it is accepted, kept under their digest, and read again as files.

use std::sync::Arc;

use bytes::Bytes;
use relief_api::{ApiError, ErrorReason};
use relief_core::{
    Digest, Direction, DirectionAxis, DirectionName, DirectionSpec, Ignore, Normalization, Plane, PlaneGeometry,
    Tensor, TensorMap, random_direction,
};
use relief_graph::Graph;
use relief_store::{BlobPath, DirectionSource, Store, StoreError, SurfaceRecord, encode_checkpoint};

use crate::subject::{at, join};

/// The fields of the directions in a request, x first.
const FIELDS: [&str; 2] = ["spec.plane.x", "spec.plane.y"];
const TOWARDS_FIELDS: [&str; 2] = ["spec.plane.x.towards", "spec.plane.y.towards"];
const AXES: [DirectionAxis; 2] = [DirectionAxis::X, DirectionAxis::Y];

/// A network and the parameters that directions start from.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) graph: Graph,
    pub(crate) parameters: TensorMap,
}

/// The directions of a plane, found, and measured against its origin.
#[derive(Debug)]
pub(crate) struct MeasuredDirections {
    pub(crate) sources: Vec<DirectionSource>,
    pub(crate) geometry: PlaneGeometry,
    /// Those that were drawn, still to be kept.
    drawn: Vec<Bytes>,
}

/// A direction, as far as the store knows it.
#[derive(Debug)]
enum FoundDirection {
    Random { axis: DirectionAxis, seed: u64, normalization: Normalization, ignore: Ignore },
    Given { digest: Digest, direction: Direction },
}

/// Finds the directions that `plane` names, draws those that it describes, and measures all.
///
/// # Errors
/// `NOT_FOUND` or `INVALID_FIELD`, with every field that is wrong. Nothing is stored.
pub(crate) async fn measure(
    store: &Store,
    network: &str,
    origin: Origin,
    plane: &Plane,
) -> Result<MeasuredDirections, ApiError> {
    let mut found = Vec::new();
    let mut refusals = Vec::new();
    for (place, direction) in plane.directions().enumerate() {
        match find(store, network, &origin.graph, direction, place).await {
            Ok(direction) => found.push(direction),
            Err(refusal) if refusal.violations.is_empty() => return Err(refusal),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if let Some(refusal) = refusals.into_iter().reduce(join) {
        return Err(refusal);
    }
    blocking(move || draw(&origin, &found)).await?
}

async fn find(
    store: &Store,
    network: &str,
    graph: &Graph,
    direction: &DirectionSpec,
    place: usize,
) -> Result<FoundDirection, ApiError> {
    let field = FIELDS[place];
    match direction {
        DirectionSpec::Random { seed, normalization, ignore } => Ok(FoundDirection::Random {
            axis: AXES[place],
            seed: *seed,
            normalization: *normalization,
            ignore: *ignore,
        }),
        DirectionSpec::Stored { digest } => {
            let tensors = load_step(store, field, *digest).await?;
            check_step(graph, &tensors).map_err(|reason| {
                ApiError::field(field, format!("{} does not fit {network}: {reason}", DirectionName(*digest)))
            })?;
            Ok(FoundDirection::Given { digest: *digest, direction: Direction::Step(tensors) })
        }
        DirectionSpec::Towards { checkpoint } => {
            let field = TOWARDS_FIELDS[place];
            let blob = store.resolve_checkpoint(checkpoint).await.map_err(at(field))?;
            let tensors = store.load_checkpoint(&blob.path, blob.digest).await?;
            graph.check(&tensors).map_err(|mismatch| {
                let message = format!("{checkpoint} belongs to {}, not to {network}: {mismatch}", blob.network);
                ApiError::field(field, message)
            })?;
            Ok(FoundDirection::Given { digest: blob.digest, direction: Direction::Towards(tensors) })
        }
    }
}

async fn load_step(store: &Store, field: &'static str, digest: Digest) -> Result<TensorMap, ApiError> {
    store.load_direction(digest).await.map_err(|error| match error {
        StoreError::NotFound { .. } => {
            at(field)(StoreError::NotFound { name: format!("{}; import it first", DirectionName(digest)) })
        }
        error => error.into(),
    })
}

/// The most tensors that a message names.
const N_NAMED: usize = 8;

fn check_step(graph: &Graph, direction: &TensorMap) -> Result<(), String> {
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

fn draw(origin: &Origin, found: &[FoundDirection]) -> Result<MeasuredDirections, ApiError> {
    let Origin { graph, parameters } = origin;
    let (mut sources, mut differences, mut drawn) = (Vec::new(), Vec::new(), Vec::new());
    for direction in found {
        match direction {
            FoundDirection::Random { axis, seed, normalization, ignore } => {
                let moving = random_direction(graph.trainable(parameters), *seed, *axis, *normalization, *ignore);
                check_finite(&moving)?;
                let whole = whole(origin, moving);
                let file = encode_checkpoint(&whole).map_err(|error| internal(&error))?;
                sources.push(DirectionSource::Step(Digest::of(&file)));
                drawn.push(file);
                differences.push(whole);
            }
            FoundDirection::Given { digest, direction } => {
                sources.push(match direction {
                    Direction::Step(_) => DirectionSource::Step(*digest),
                    Direction::Towards(_) => DirectionSource::Towards(*digest),
                });
                differences.push(direction.difference(parameters));
            }
        }
    }
    let trainable: Vec<(&str, &Tensor)> = graph.trainable(parameters).collect();
    let geometry = PlaneGeometry::of(trainable.iter().copied(), &differences.iter().collect::<Vec<_>>());
    Ok(MeasuredDirections { sources, geometry, drawn })
}

/// A direction that is scaled to weights that are not finite is nothing to walk along.
fn check_finite(direction: &TensorMap) -> Result<(), ApiError> {
    let is_bad = |tensor: &Tensor| tensor.data().iter().any(|value| !value.is_finite());
    match direction.iter().find(|(_, tensor)| is_bad(tensor)) {
        Some((name, _)) => {
            let message = format!(
                "its tensor `{name}` holds NaN, an infinity or nearly one, and a random direction cannot be scaled to it: \
                 take a checkpoint of finite weights, or normalization none with ignore bias_bn"
            );
            Err(ApiError::field("spec.plane.origin", message))
        }
        None => Ok(()),
    }
}

/// A direction with a tensor for every trainable one.
fn whole(origin: &Origin, mut direction: TensorMap) -> TensorMap {
    for (name, tensor) in origin.graph.trainable(&origin.parameters) {
        if !direction.contains_key(name) {
            direction.insert(name.to_owned(), Tensor::filled(tensor.shape(), 0.0));
        }
    }
    direction
}

impl MeasuredDirections {
    /// Keeps those that were drawn in the store, under their digest.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn keep(&mut self, store: &Store) -> Result<(), ApiError> {
        for file in self.drawn.drain(..) {
            store.keep_direction(file).await?;
        }
        Ok(())
    }
}

/// Returns the directions of a surface as safetensors files, x first: as they are stored, and towards a checkpoint the
/// difference of all tensors.
///
/// # Errors
/// `NOT_FOUND` or `DATA_CORRUPT` when what the surface was computed from is gone or has become something else.
pub(crate) async fn directions_of(
    store: &Store,
    record: &SurfaceRecord,
) -> Result<Vec<(DirectionAxis, Bytes)>, ApiError> {
    let mut files = Vec::new();
    let mut origin = None;
    let sources = record.provenance.directions.iter().zip(record.spec.plane.directions()).zip(AXES);
    for ((source, direction), axis) in sources {
        let file = match (source, direction) {
            (DirectionSource::Towards(digest), DirectionSpec::Towards { checkpoint }) => {
                let target = store.load_checkpoint(&BlobPath::checkpoint(checkpoint), *digest).await?;
                if origin.is_none() {
                    let path = BlobPath::checkpoint(&record.spec.plane.origin);
                    origin = Some(Arc::new(store.load_checkpoint(&path, record.provenance.checkpoint_digest).await?));
                }
                let Some(origin) = origin.clone() else { continue };
                let difference = move || encode_checkpoint(&Direction::Towards(target).difference(&origin));
                blocking(difference).await?.map_err(|error| internal(&error))?
            }
            (source, _) => store.read_direction(source.digest()).await?,
        };
        files.push((axis, file));
    }
    Ok(files)
}

/// Runs what takes the processor for long away from the threads that answer calls.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| internal(&error))
}

fn internal(error: &dyn std::error::Error) -> ApiError {
    ApiError::new(ErrorReason::Internal, error.to_string())
}

#[cfg(test)]
mod tests {
    use relief_graph::{builtin, initialize};

    use super::*;

    #[test]
    fn a_direction_moves_only_what_the_network_has() {
        let graph = builtin::build_default("lenet5").expect("built in");
        let first = &graph.parameters()[0];
        let mut direction = TensorMap::from([(first.name.clone(), Tensor::filled(first.shape.clone(), 0.0))]);
        assert_eq!(check_step(&graph, &direction), Ok(()));
        direction.insert(first.name.clone(), Tensor::filled([3], 0.0));
        direction.insert("other".to_owned(), Tensor::filled([1], 0.0));
        let reason = check_step(&graph, &direction).expect_err("two wrong tensors");
        assert!(reason.contains("`other`") && reason.contains("has shape [3], expected"), "{reason}");
    }

    fn random(normalization: Normalization) -> FoundDirection {
        FoundDirection::Random { axis: DirectionAxis::X, seed: 5, normalization, ignore: Ignore::BiasBn }
    }

    #[test]
    fn a_direction_that_was_drawn_is_known_by_its_content() {
        let graph = builtin::build_default("lenet5").expect("built in");
        let parameters = initialize(&graph, 3);
        let origin = Origin { graph, parameters };
        let drawn = |normalization| draw(&origin, &[random(normalization)]).expect("finite weights");
        let filter = drawn(Normalization::Filter);
        assert_eq!(filter.sources, [DirectionSource::Step(Digest::of(&filter.drawn[0]))]);
        assert_eq!(filter.drawn, drawn(Normalization::Filter).drawn);
        assert_ne!(filter.drawn, drawn(Normalization::None).drawn);
        let norms = &filter.geometry.axes[0].tensors;
        assert_eq!(norms.len(), origin.graph.parameters().len());
        assert!(norms.iter().any(|norms| norms.direction == 0.0), "biases do not move");
        assert!(
            norms.iter().all(|norms| norms.direction == 0.0 || (norms.direction / norms.weights - 1.0).abs() < 1e-6)
        );
        assert_eq!(filter.geometry.cosine, None);
    }

    #[test]
    fn a_random_direction_is_not_scaled_to_nan() {
        let graph = builtin::build_default("lenet5").expect("built in");
        let mut parameters = initialize(&graph, 3);
        let name = graph.parameters()[0].name.clone();
        parameters.get_mut(&name).expect("a parameter").data_mut()[0] = f32::NAN;
        let origin = Origin { graph, parameters };
        let refusal = draw(&origin, &[random(Normalization::Filter)]).expect_err("NaN");
        assert!(refusal.message.contains(&name), "{refusal}");
        assert!(draw(&origin, &[random(Normalization::None)]).is_ok());
    }
}
