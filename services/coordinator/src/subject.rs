//! What is evaluated: everything that a request names is looked up, and checked against the rest.

use relief_api::{ApiError, ErrorReason};
use relief_core::{CheckpointName, DatasetSlice, NetworkId, Split};
use relief_graph::Graph;
use relief_store::{
    CheckpointBlob, DatasetRecord, FoundNetwork, NetworkRecord, SampleSource, SampleStorage, Store, StoreError,
};

/// A network at a checkpoint on samples, by name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// None for the one that the checkpoint belongs to.
    pub(crate) network: Option<&'a NetworkId>,
    pub(crate) checkpoint: &'a CheckpointName,
    pub(crate) data: &'a DatasetSlice,
}

/// Where the request says what is evaluated, for refusals.
#[derive(Debug)]
pub(crate) struct SubjectFields {
    pub(crate) network: &'static str,
    pub(crate) checkpoint: &'static str,
    pub(crate) dataset: &'static str,
    pub(crate) split: &'static str,
}

/// What was found, and fits together.
#[derive(Debug)]
pub(crate) struct FoundSubject {
    pub(crate) network: FoundNetwork,
    pub(crate) checkpoint: CheckpointBlob,
    dataset: DatasetRecord,
    pub(crate) samples: SampleSource,
}

impl FoundSubject {
    /// The first `limit` samples of a split of the same dataset.
    ///
    /// # Errors
    /// When there is no such split.
    pub(crate) fn samples_of(&self, split: Split, limit: Option<u64>) -> Result<SampleSource, String> {
        samples_of(&self.dataset, split, limit)
    }
}

fn samples_of(dataset: &DatasetRecord, split: Split, limit: Option<u64>) -> Result<SampleSource, String> {
    let found = dataset.split_digest(split).zip(dataset.splits.get(&split));
    let (digest, record) = found.ok_or_else(|| format!("{} has no {} split", dataset.id, split.as_str()))?;
    Ok(SampleSource { digest, n_samples: limit.map_or(record.n_samples, |limit| limit.min(record.n_samples)) })
}

impl Subject<'_> {
    /// Looks up what is named, and checks that all of it fits together. Nothing is stored.
    ///
    /// # Errors
    /// `NOT_FOUND` or `INVALID_FIELD`, with the field.
    pub(crate) async fn find(&self, store: &Store, fields: &SubjectFields) -> Result<FoundSubject, ApiError> {
        let (dataset, checkpoint, network) = self.look_up(store, fields).await?;
        let DatasetSlice { split, limit, .. } = *self.data;
        let samples = samples_of(&dataset, split, limit).map_err(|message| ApiError::field(fields.split, message))?;
        fits(&network.record, &dataset).map_err(|message| ApiError::field(fields.dataset, message))?;
        if checkpoint.network != network.record.id {
            self.check_tensors(store, &network, &checkpoint, fields).await?;
        }
        Ok(FoundSubject { network, checkpoint, dataset, samples })
    }

    /// Finds everything that is named, or names everything that is not there.
    async fn look_up(
        &self,
        store: &Store,
        fields: &SubjectFields,
    ) -> Result<(DatasetRecord, CheckpointBlob, FoundNetwork), ApiError> {
        let dataset = of_request(store.get_dataset(&self.data.dataset).await.map_err(at(fields.dataset)))?;
        let checkpoint = of_request(store.resolve_checkpoint(self.checkpoint).await.map_err(at(fields.checkpoint)))?;
        let network = match (&dataset, &checkpoint, self.network) {
            (Ok(dataset), Ok(checkpoint), _) => self.find_network(store, dataset, checkpoint, fields).await.map(Some),
            // Not the one that would be used, but it tells whether there is one of that name.
            (_, _, Some(network)) => store.find_network(network, None).await.map(Some).map_err(at(fields.network)),
            _ => Ok(None),
        };
        match (dataset, checkpoint, network) {
            (Ok(dataset), Ok(checkpoint), Ok(Some(network))) => Ok((dataset, checkpoint, network)),
            (dataset, checkpoint, network) => {
                let errors = [network.err(), checkpoint.err(), dataset.err()];
                let nothing = || ApiError::new(ErrorReason::Internal, "nothing is missing");
                Err(errors.into_iter().flatten().reduce(join).unwrap_or_else(nothing))
            }
        }
    }

    /// A generated network named without its shape is the one that the checkpoint belongs to, if it is one of that kind,
    /// else the one of the dataset's shape.
    async fn find_network(
        &self,
        store: &Store,
        dataset: &DatasetRecord,
        checkpoint: &CheckpointBlob,
        fields: &SubjectFields,
    ) -> Result<FoundNetwork, ApiError> {
        let own = &checkpoint.network;
        let name = match self.network {
            None => own,
            Some(name) if is_instance(own, name) => own,
            Some(name) => name,
        };
        store.find_network(name, Some((dataset.shape, dataset.n_classes))).await.map_err(at(fields.network))
    }

    async fn check_tensors(
        &self,
        store: &Store,
        network: &FoundNetwork,
        checkpoint: &CheckpointBlob,
        fields: &SubjectFields,
    ) -> Result<(), ApiError> {
        let graph = load_graph(store, network).await?;
        let tensors = store.load_checkpoint(&checkpoint.path, checkpoint.digest).await?;
        graph.check(&tensors).map_err(|mismatch| {
            let (name, owner, other) = (self.checkpoint, &checkpoint.network, &network.record.id);
            ApiError::field(fields.checkpoint, format!("{name} belongs to {owner}, not to {other}: {mismatch}"))
        })
    }
}

/// Whether `network` is a generated one of the kind that `name` is.
fn is_instance(network: &NetworkId, name: &NetworkId) -> bool {
    let kind = name.as_str();
    network.as_str().strip_prefix(kind).is_some_and(|rest| rest.starts_with('-'))
        && relief_graph::builtin::names().any(|name| name == kind)
}

fn fits(network: &NetworkRecord, dataset: &DatasetRecord) -> Result<(), String> {
    let [channels, height, width] = network.input_shape;
    let shape = dataset.shape;
    if dataset.storage == SampleStorage::Values && shape != network.input_shape {
        return Err(format!(
            "{} has samples of shape {shape:?}, the input of {} is {:?}: numbers that are taken as they are are not padded",
            dataset.id, network.id, network.input_shape
        ));
    }
    if shape[0] != channels || shape[1] > height || shape[2] > width {
        return Err(format!(
            "{} has samples of shape {shape:?}, which do not fit into the input {:?} of {}: the channels must be \
             equal, height and width at most those of the network",
            dataset.id, network.input_shape, network.id
        ));
    }
    if dataset.n_classes > network.n_classes {
        return Err(format!(
            "{} has {} classes, {} only {}",
            dataset.id, dataset.n_classes, network.id, network.n_classes
        ));
    }
    Ok(())
}

/// The graph of a network.
pub(crate) async fn load_graph(store: &Store, network: &FoundNetwork) -> Result<Graph, ApiError> {
    let onnx = store.load_found_network(network).await?;
    let model = Graph::from_onnx(&onnx).map_err(|error| ApiError::new(ErrorReason::DataCorrupt, error.to_string()))?;
    Ok(model.graph)
}

/// Passes on what is wrong with the request, to be told with the rest; a store that fails would only fail again.
fn of_request<T>(found: Result<T, ApiError>) -> Result<Result<T, ApiError>, ApiError> {
    match found {
        Err(error) if error.violations.is_empty() => Err(error),
        found => Ok(found),
    }
}

/// One refusal of both; an error that names no field comes first, for it may hide the others.
pub(crate) fn join(first: ApiError, second: ApiError) -> ApiError {
    match (first.violations.is_empty(), second.violations.is_empty()) {
        (true, _) => first,
        (_, true) => second,
        _ => ApiError {
            violations: [first.violations, second.violations].concat(),
            ..ApiError::new(first.reason, format!("{}; {}", first.message, second.message))
        },
    }
}

/// Names the field whose value the store refused.
pub(crate) fn at(field: &'static str) -> impl Fn(StoreError) -> ApiError {
    move |error| {
        let error = ApiError::from(error);
        let (reason, description) = match error.reason {
            ErrorReason::NotFound => (ErrorReason::NotFound, error.message),
            ErrorReason::AlreadyExists => {
                (ErrorReason::AlreadyExists, format!("{}; choose another name", error.message))
            }
            ErrorReason::InvalidContent | ErrorReason::InvalidField => (ErrorReason::InvalidField, error.message),
            _ => return error,
        };
        ApiError { reason, ..ApiError::field(field, description) }
    }
}
