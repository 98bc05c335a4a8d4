//! From a request to a trajectory that can be computed: everything that it names is found and fits together.

use std::time::SystemTime;

use relief_api::convert::trajectory::{PathRequest, StopsRequest, TrajectoryRequest};
use relief_api::{ApiError, ErrorReason, FieldViolation, Violations};
use relief_core::{
    BatchNormMode, CheckpointName, Digest, DirectionSpec, GramPlan, Ignore, NameError, NetworkId, PathSpec, Plane,
    Split, Stop, SurfaceId, TrajectoryAxes, TrajectoryId, TrajectorySpec, TrajectorySpecError,
};
use relief_graph::{Graph, Parameter};
use relief_store::{
    FoundNetwork, GramTensor, RequestMark, SampleSource, Store, TrajectoryProvenance, TrajectoryRecord, rfc3339,
};

use crate::direction::{MeasuredDirections, Origin, measure};
use crate::subject::{Subject, SubjectFields, at, load_graph};

/// Where a trajectory's request says what is evaluated.
const FIELDS: SubjectFields = SubjectFields {
    network: "spec.network",
    checkpoint: "spec.paths",
    dataset: "spec.data.dataset",
    split: "spec.data.split",
};

/// What an evaluator may load of checkpoints for one tile of the Gram matrix, in bytes.
const MAX_TILE_BYTES: u64 = 256 << 20;

/// The most checkpoints that a message names.
const MAX_STOPS_NAMED: usize = 4;

/// A trajectory that can be computed, of which nothing is stored yet.
#[derive(Debug)]
pub(crate) struct Planned {
    spec: TrajectorySpec,
    tensors: Vec<GramTensor>,
    samples: SampleSource,
    also: Option<SampleSource>,
    network: FoundNetwork,
    /// Those of the axes that are given or drawn.
    directions: Option<MeasuredDirections>,
    rows: Vec<Digest>,
}

impl Planned {
    /// What is stored of it as the trajectory `id`.
    ///
    /// # Errors
    /// Never in practice: the name of its surface is that of a trajectory.
    pub(crate) fn record(
        &self,
        id: TrajectoryId,
        request: Option<RequestMark>,
        incarnation: String,
    ) -> Result<TrajectoryRecord, NameError> {
        let n_values = self.tensors.iter().map(|tensor| tensor.n_values).sum();
        let n_rows = self.spec.n_stops() + self.rows.len();
        let provenance = TrajectoryProvenance {
            network_digest: self.network.record.digest,
            directions: self.rows.clone(),
            tensors: self.tensors.clone(),
            gram: GramPlan::new(n_rows, n_values, MAX_TILE_BYTES),
            samples: self.samples,
            also: self.also,
            surface: surface_of(&id, &incarnation)?,
            relief_version: env!("CARGO_PKG_VERSION").to_owned(),
            created: rfc3339(SystemTime::now()),
        };
        Ok(TrajectoryRecord { id, spec: self.spec.clone(), provenance, request, incarnation, outcome: None })
    }

    /// Stores what was generated or drawn for it.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn keep(&mut self, store: &Store) -> Result<(), ApiError> {
        store.keep_network(self.network.clone()).await?;
        match &mut self.directions {
            Some(directions) => directions.keep(store).await,
            None => Ok(()),
        }
    }
}

/// The surface of a trajectory: one of its own, also where there was a trajectory of the same name before.
fn surface_of(id: &TrajectoryId, incarnation: &str) -> Result<SurfaceId, NameError> {
    let (name, tail) = (id.as_str(), &incarnation[..incarnation.len().min(6)]);
    // An id has at most 63 characters.
    let name = &name[..name.len().min(63 - 1 - tail.len())];
    format!("{name}-{tail}").parse()
}

/// Looks up what `request` names, checks that all of it fits together, and draws its axes where they are random.
///
/// # Errors
/// `NOT_FOUND` or `INVALID_FIELD`, with the field. Nothing is stored.
pub(crate) async fn plan(store: &Store, request: TrajectoryRequest) -> Result<Planned, ApiError> {
    let TrajectoryRequest { network, paths, axes, ignore, margin, n_columns, n_rows, data, also, numerics, scheduling } =
        request;
    let mut found = Vec::with_capacity(paths.len());
    for (idx, path) in paths.into_iter().enumerate() {
        found.push(find_path(store, idx, path).await?);
    }
    let networks: Vec<(CheckpointName, NetworkId)> = found.iter().flat_map(|(_, networks)| networks.clone()).collect();
    let mut spec = TrajectorySpec {
        // Of the origin, until it is looked up below.
        network: networks.first().map(|(_, network)| network.clone()).ok_or_else(no_stops)?,
        paths: found.into_iter().map(|(path, _)| path).collect(),
        axes,
        ignore,
        margin,
        n_columns,
        n_rows,
        data,
        also,
        numerics,
        scheduling,
    };
    spec.validate().map_err(|error| ApiError::field(field_of(&error), error.to_string()))?;

    let origin = spec.origin().clone();
    let subject = Subject { network: network.as_ref(), checkpoint: &origin, data: &spec.data };
    let subject = subject.find(store, &FIELDS).await?;
    check_networks(&origin, &networks)?;
    let also = spec.also.map(|split: Split| {
        let samples = subject.samples_of(split, spec.data.limit);
        samples.map_err(|message| ApiError::field("spec.also_split", message))
    });
    let also = also.transpose()?;
    spec.network = subject.network.record.id.clone();
    let graph = load_graph(store, &subject.network).await?;
    let tensors = tensors_of(&graph, spec.ignore)?;

    let (directions, rows) = match plane_of(&spec, origin) {
        None => (None, Vec::new()),
        Some(plane) => {
            let parameters = store.load_checkpoint(&subject.checkpoint.path, subject.checkpoint.digest).await?;
            let measured = measure(store, &spec.network.to_string(), Origin { graph, parameters }, &plane).await;
            let measured = measured.map_err(in_axes)?;
            let rows: Vec<Digest> = measured.sources.iter().map(|source| source.digest()).collect();
            // The last ones: x of a path from start to end is no direction that is drawn.
            let rows = rows[rows.len() - spec.n_directions()..].to_vec();
            (Some(measured), rows)
        }
    };
    Ok(Planned { tensors, samples: subject.samples, also, network: subject.network, directions, rows, spec })
}

/// The field of a request that a specification contradicts itself in.
fn field_of(error: &TrajectorySpecError) -> &'static str {
    match error {
        TrajectorySpecError::SameDirection(_) => "spec.axes",
        TrajectorySpecError::Margin(_) => "spec.margin",
        TrajectorySpecError::Count { field: "n_columns", .. } => "spec.columns",
        TrajectorySpecError::Count { .. } => "spec.rows",
        TrajectorySpecError::NoSamples => "spec.data.limit",
        TrajectorySpecError::SameSplit(_) => "spec.also_split",
        _ => "spec.paths",
    }
}

fn no_stops() -> ApiError {
    ApiError::field("spec.paths", "empty; name a run, or checkpoints")
}

/// The stops of a path, and the network that each belongs to.
async fn find_path(
    store: &Store,
    idx: usize,
    path: PathRequest,
) -> Result<(PathSpec, Vec<(CheckpointName, NetworkId)>), ApiError> {
    let mut stops = Vec::new();
    let mut networks = Vec::new();
    let default_name = match &path.stops {
        StopsRequest::Run(run) => run.as_str().to_owned(),
        StopsRequest::Checkpoints(_) => format!("path {}", idx + 1),
    };
    match path.stops {
        StopsRequest::Run(run) => {
            let snapshots = store.list_snapshots(&run).await.map_err(at("spec.paths.run"))?;
            if snapshots.is_empty() {
                // A run without snapshots yet is told from none.
                store.check_run(&run).await.map_err(at("spec.paths.run"))?;
                let message = format!("{run} has no snapshot yet; wait for the first");
                return Err(ApiError::field("spec.paths.run", message));
            }
            for snapshot in snapshots {
                networks.push((snapshot.name.clone(), snapshot.network));
                stops.push(Stop {
                    checkpoint: snapshot.name,
                    digest: snapshot.digest,
                    epoch: Some(snapshot.epoch),
                    // The initialisation was trained at no rate.
                    rate: (snapshot.epoch > 0).then_some(snapshot.metrics.rate),
                });
            }
        }
        StopsRequest::Checkpoints(names) => {
            let mut wrong = Violations::default();
            for name in names {
                match find_stop(store, &name).await {
                    Ok((stop, network)) => {
                        networks.push((name, network));
                        stops.push(stop);
                    }
                    Err(error) if error.violations.is_empty() => return Err(error),
                    Err(error) => {
                        for FieldViolation { field, description } in error.violations {
                            wrong.add(field, description);
                        }
                    }
                }
            }
            if !wrong.is_empty() {
                return Err(ApiError { reason: ErrorReason::NotFound, ..wrong.into_error() });
            }
        }
    }
    let name = if path.name.is_empty() { default_name } else { path.name };
    Ok((PathSpec { name, stops }, networks))
}

async fn find_stop(store: &Store, name: &CheckpointName) -> Result<(Stop, NetworkId), ApiError> {
    let field = "spec.paths.checkpoints";
    Ok(match name {
        CheckpointName::Snapshot { run, epoch } => {
            let snapshot = store.get_snapshot_record(run, *epoch).await.map_err(at(field))?;
            let rate = (snapshot.epoch > 0).then_some(snapshot.metrics.rate);
            let (checkpoint, digest) = (snapshot.name, snapshot.digest);
            (Stop { checkpoint, digest, epoch: Some(*epoch), rate }, snapshot.network)
        }
        CheckpointName::Imported(_) => {
            let blob = store.resolve_checkpoint(name).await.map_err(at(field))?;
            (Stop { checkpoint: name.clone(), digest: blob.digest, epoch: None, rate: None }, blob.network)
        }
    })
}

/// Checks that all stops belong to the network of the origin.
fn check_networks(origin: &CheckpointName, networks: &[(CheckpointName, NetworkId)]) -> Result<(), ApiError> {
    let own = networks.iter().find(|(name, _)| name == origin).map(|(_, network)| network).ok_or_else(no_stops)?;
    let others: Vec<String> = networks
        .iter()
        .filter(|(_, network)| network != own)
        .map(|(name, network)| format!("{name} belongs to {network}"))
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    let more = match others.len().saturating_sub(MAX_STOPS_NAMED) {
        0 => String::new(),
        n_more => format!(" and {n_more} more"),
    };
    let named = others[..others.len().min(MAX_STOPS_NAMED)].join(", ");
    let message = format!("{named}{more}; all checkpoints must belong to one network, as {origin} does to {own}");
    Err(ApiError::field("spec.paths", message))
}

/// The tensors whose differences make up a row: the trainable ones, without vector-like ones where those are ignored.
fn tensors_of(graph: &Graph, ignore: Ignore) -> Result<Vec<GramTensor>, ApiError> {
    let counts =
        |parameter: &&Parameter| parameter.kind.is_trainable() && (ignore == Ignore::None || parameter.shape.len() > 1);
    let tensor =
        |parameter: &Parameter| GramTensor { name: parameter.name.clone(), n_values: parameter.n_values() as u64 };
    let tensors: Vec<GramTensor> = graph.parameters().iter().filter(counts).map(tensor).collect();
    if tensors.iter().all(|tensor| tensor.n_values == 0) {
        let message = "bias_bn leaves out every trainable tensor of this network; ask for none";
        return Err(ApiError::field("spec.ignore", message));
    }
    Ok(tensors)
}

/// The plane whose directions are to be found or drawn; none of principal components.
fn plane_of(spec: &TrajectorySpec, origin: CheckpointName) -> Option<Plane> {
    let (x, y) = match &spec.axes {
        TrajectoryAxes::Pca { .. } => return None,
        TrajectoryAxes::Random { seed, normalization } | TrajectoryAxes::StartEnd { seed, normalization } => {
            let random = DirectionSpec::Random { seed: *seed, normalization: *normalization, ignore: spec.ignore };
            (random.clone(), random)
        }
        TrajectoryAxes::Directions { x, y } => {
            (DirectionSpec::Stored { digest: *x }, DirectionSpec::Stored { digest: *y })
        }
    };
    Some(Plane { origin, x, y: Some(y), batch_norm: BatchNormMode::Frozen })
}

/// What is wrong with the directions of a plane, told by the fields of a trajectory.
fn in_axes(mut error: ApiError) -> ApiError {
    for violation in &mut error.violations {
        violation.field = match violation.field.as_str() {
            "spec.plane.x" => "spec.axes.given.x".to_owned(),
            "spec.plane.y" => "spec.axes.given.y".to_owned(),
            "spec.plane.origin" => "spec.paths".to_owned(),
            other => other.to_owned(),
        };
    }
    error
}
