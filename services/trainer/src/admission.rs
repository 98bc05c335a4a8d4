//! Whether what a run names is there and goes together.

use relief_api::{ApiError, ErrorReason};
use relief_core::{DatasetId, NetworkId, RunId, Split};
use relief_store::{DatasetRecord, NetworkRecord, SampleStorage, Store, StoreError, StoreErrorKind};

/// Returns the dataset, which has a training split.
///
/// # Errors
/// `NOT_FOUND` when there is none of that name; `INVALID_FIELD` when it has no training split.
pub(crate) async fn dataset(store: &Store, id: &DatasetId) -> Result<DatasetRecord, ApiError> {
    let record = store.get_dataset(id).await.map_err(at("spec.dataset"))?;
    if record.splits.contains_key(&Split::Train) {
        Ok(record)
    } else {
        Err(ApiError::field("spec.dataset", format!("{id} has no train split; import one to train on")))
    }
}

/// Returns the network, generated and stored where it is a built-in one that is not there yet. The samples of `dataset`
/// fit into it. What is refused is not stored.
///
/// # Errors
/// `NOT_FOUND` when there is none of that name; `INVALID_FIELD` when the dataset does not fit.
pub(crate) async fn network(store: &Store, id: &NetworkId, dataset: &DatasetRecord) -> Result<NetworkRecord, ApiError> {
    if let Some((input_shape, n_classes)) = in_name(id) {
        let is_stored = match store.get_network(id).await {
            Ok(_) => true,
            Err(error) if error.kind() == StoreErrorKind::NotFound => false,
            Err(error) => return Err(error.into()),
        };
        // A generated network says in its name what it takes, which must be right before it is stored.
        if !is_stored {
            check(id, input_shape, n_classes, dataset)?;
        }
    }
    let sample = (dataset.shape, dataset.n_classes);
    let record = store.resolve_network(id, Some(sample)).await.map_err(at("spec.network"))?;
    check(&record.id, record.input_shape, record.n_classes, dataset)?;
    Ok(record)
}

/// The input shape and the classes in a name such as `resnet20-1x32x32-10`.
fn in_name(id: &NetworkId) -> Option<([u32; 3], u32)> {
    let (name, n_classes) = id.as_str().rsplit_once('-')?;
    let (_, shape) = name.rsplit_once('-')?;
    let dims = shape.split('x').map(str::parse).collect::<Result<Vec<u32>, _>>().ok()?;
    Some((dims.try_into().ok()?, n_classes.parse().ok()?))
}

fn check(id: &NetworkId, input_shape: [u32; 3], n_classes: u32, dataset: &DatasetRecord) -> Result<(), ApiError> {
    let text = |[channels, height, width]: [u32; 3]| format!("{channels}x{height}x{width}");
    let ([channels, height, width], sample) = (input_shape, dataset.shape);
    if dataset.storage == SampleStorage::Values && sample != input_shape {
        let reason = format!(
            "{id} takes inputs of {}, the samples of {} are {}: numbers that are taken as they are are not padded",
            text(input_shape),
            dataset.id,
            text(sample)
        );
        return Err(ApiError::field("spec.network", reason));
    }
    if sample[0] != channels || sample[1] > height || sample[2] > width {
        let reason = format!(
            "{id} takes images of {}, which the {} of {} do not fit into: the channels must be equal, height and width \
             at most the network's",
            text(input_shape),
            text(sample),
            dataset.id
        );
        return Err(ApiError::field("spec.network", reason));
    }
    if dataset.n_classes > n_classes {
        let reason = format!("{id} has {n_classes} classes, {} has {}", dataset.id, dataset.n_classes);
        return Err(ApiError::field("spec.network", reason));
    }
    Ok(())
}

/// The refusal of a run whose name is taken.
pub(crate) fn taken(id: &RunId) -> ApiError {
    let description = format!("{id} already exists; choose another name");
    ApiError { reason: ErrorReason::AlreadyExists, ..ApiError::field("run_id", description) }
}

/// Names the field whose value the store refused.
fn at(field: &'static str) -> impl Fn(StoreError) -> ApiError {
    move |error| {
        let error = ApiError::from(error);
        match error.reason {
            ErrorReason::NotFound => {
                ApiError { reason: ErrorReason::NotFound, ..ApiError::field(field, error.message) }
            }
            ErrorReason::InvalidContent => ApiError::field(field, error.message),
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_network_says_in_its_name_what_it_takes() {
        let parts = |text: &str| in_name(&text.parse().expect("a good name"));
        assert_eq!(parts("resnet20_noshort-1x32x32-10"), Some(([1, 32, 32], 10)));
        for other in ["lenet5", "my-net", "a-1x2-3", "a-1x2x3x4-5"] {
            assert_eq!(parts(other), None, "{other}");
        }
    }
}
