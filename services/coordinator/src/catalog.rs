//! Imports: content is collected up to a bound, held against its digest, checked wholly, and only then stored.

use bytes::{Bytes, BytesMut};
use relief_api::{ApiError, ErrorReason, Violations};
use relief_core::{CheckpointId, CheckpointName, DatasetId, Digest, NetworkId, Split};
use relief_graph::{Graph, OnnxError, OnnxModel};
use relief_store::{
    CheckpointRecord, DatasetFormat, DatasetImport, DatasetRecord, NetworkImport, NetworkRecord, SplitFiles, Store,
    StoreError, StoreErrorKind, read_checkpoint,
};

use crate::assignment::{Report, assign};
use crate::subject::at;

/// The most bytes that one message carries of a file.
const MAX_CHUNK_BYTES: usize = 2 << 20;

/// Collects the chunks of one file, up to a bound.
#[derive(Debug)]
pub(crate) struct Upload {
    /// The field of its chunks.
    chunk: &'static str,
    /// The field of its digest.
    field: &'static str,
    digest: Digest,
    max_bytes: usize,
    content: BytesMut,
}

impl Upload {
    /// Returns an empty upload of the file that comes in the field `chunk` and whose digest is in `field`.
    pub(crate) fn new((chunk, field): (&'static str, &'static str), digest: Digest, max_bytes: usize) -> Self {
        Self { chunk, field, digest, max_bytes, content: BytesMut::new() }
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    /// When they, or the file, are more than the bound.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<(), ApiError> {
        if chunk.len() > MAX_CHUNK_BYTES {
            let n_bytes = chunk.len();
            let message =
                format!("a chunk of {n_bytes} bytes is over the limit of {MAX_CHUNK_BYTES}; send smaller ones");
            return Err(ApiError::field(self.chunk, message));
        }
        if self.content.len() + chunk.len() > self.max_bytes {
            let message = format!("the file is larger than {} bytes, the most that is taken", self.max_bytes);
            return Err(ApiError::field(self.chunk, message));
        }
        self.content.extend_from_slice(chunk);
        Ok(())
    }

    /// Returns the content.
    ///
    /// # Errors
    /// When it does not have its digest.
    pub(crate) fn finish(self) -> Result<Bytes, ApiError> {
        let found = Digest::of(&self.content);
        if found != self.digest {
            let message = format!(
                "the {} bytes received have the digest {found}, not {}; send the file again",
                self.content.len(),
                self.digest
            );
            return Err(ApiError::field(self.field, message));
        }
        Ok(self.content.freeze())
    }
}

/// Stores a network, and its weights when the file carries them all. Returns them with what a user should know about the
/// file.
///
/// # Errors
/// `INVALID_CONTENT` when the file is no network that can be executed, `ALREADY_EXISTS` when the name is taken.
pub(crate) async fn import_network(
    store: &Store,
    id: &NetworkId,
    onnx: &Bytes,
) -> Result<(NetworkRecord, Option<CheckpointRecord>, Vec<String>), ApiError> {
    let onnx = onnx.clone();
    let read = tokio::task::spawn_blocking(move || read_network(&onnx)).await;
    let (model, bare) = read.map_err(|error| ApiError::new(ErrorReason::Internal, error.to_string())).flatten()?;
    let import = NetworkImport::of(&model.graph, bare.into());
    let network = store.import_network(id, import).await.map_err(at("header.name"))?;
    if model.initializers.is_empty() || model.graph.check(&model.initializers).is_err() {
        return Ok((network, None, model.notes));
    }
    let checkpoint: CheckpointId =
        id.as_str().parse().map_err(|error: relief_core::NameError| ApiError::field("name", error.to_string()))?;
    match store.import_checkpoint(&checkpoint, id, model.initializers).await {
        Ok(record) => Ok((network, Some(record), model.notes)),
        Err(error) => {
            // A refused import leaves nothing behind; what cannot be deleted either is reported by the first error.
            let _ = store.delete_network(id).await;
            Err(at("header.name")(error))
        }
    }
}

fn read_network(onnx: &[u8]) -> Result<(OnnxModel, Vec<u8>), ApiError> {
    let model = Graph::from_onnx(onnx).map_err(|error| match error {
        OnnxError::Decode(_) | OnnxError::NoGraph => {
            let what = match onnx {
                [] => "it is empty".to_owned(),
                _ => format!(
                    "its {} bytes start with {:02x?}; it is truncated, or of another format",
                    onnx.len(),
                    &onnx[..onnx.len().min(4)]
                ),
            };
            ApiError::new(ErrorReason::InvalidContent, format!("network: not a whole ONNX file: {what}"))
        }
        error => content_refused("network", &error),
    })?;
    let internal = |error| ApiError::new(ErrorReason::Internal, format!("cannot write the network: {error}"));
    let bare = model.graph.to_onnx(None).map_err(internal)?;
    Ok((model, bare))
}

/// Stores a checkpoint of `network`. Returns it with what became of every tensor of the file.
///
/// # Errors
/// `INVALID_CONTENT` when the file is malformed or a tensor is missing or misshapen, `NOT_FOUND` without that network,
/// `ALREADY_EXISTS` when the name is taken.
pub(crate) async fn import_checkpoint(
    store: &Store,
    id: &CheckpointId,
    network: &NetworkId,
    content: Bytes,
) -> Result<(CheckpointRecord, Report), ApiError> {
    // Asked first, so that a taken name leaves nothing behind.
    match store.get_checkpoint(id).await {
        Ok(_) => return Err(at("header.name")(StoreError::AlreadyExists { name: id.to_string() })),
        Err(error) if error.kind() == StoreErrorKind::Unavailable => return Err(error.into()),
        // One that is damaged is found when its record is put.
        Err(_) => {}
    }
    let found = store.find_network(network, None).await.map_err(at("header.network"))?;
    let onnx = store.load_found_network(&found).await?;
    let checked = tokio::task::spawn_blocking(move || check_checkpoint(&onnx, &content)).await;
    let (tensors, report) =
        checked.map_err(|error| ApiError::new(ErrorReason::Internal, error.to_string())).flatten()?;
    let network = store.keep_network(found).await?;
    let record = store.import_checkpoint(id, &network.id, tensors).await.map_err(at("header.name"))?;
    Ok((record, report))
}

fn check_checkpoint(onnx: &[u8], content: &Bytes) -> Result<(relief_core::TensorMap, Report), ApiError> {
    let model = Graph::from_onnx(onnx).map_err(|error| ApiError::new(ErrorReason::DataCorrupt, error.to_string()))?;
    let decoded = read_checkpoint(content).map_err(|error| content_refused("checkpoint", &error))?;
    assign(&model.graph, decoded)
        .map_err(|reason| ApiError::new(ErrorReason::InvalidContent, format!("checkpoint: {reason}")))
}

/// Refuses the file that `what` names, with everything that `error` knows about it.
fn content_refused(what: &str, error: &dyn std::error::Error) -> ApiError {
    let sources = std::iter::successors(error.source(), |error| error.source());
    let message = sources.fold(format!("{what}: {error}"), |text, error| format!("{text}: {error}"));
    ApiError::new(ErrorReason::InvalidContent, message)
}

/// One split of a dataset as uploaded.
#[derive(Debug)]
pub(crate) struct SplitUpload {
    pub(crate) split: Split,
    pub(crate) format: DatasetFormat,
    pub(crate) inputs: Bytes,
    pub(crate) targets: Bytes,
    pub(crate) mean: Option<Vec<f64>>,
    pub(crate) std: Option<Vec<f64>>,
    pub(crate) n_classes: Option<u32>,
}

/// Stores a split of a dataset.
///
/// # Errors
/// `INVALID_CONTENT` when a file is malformed or contradicts the other, `ALREADY_EXISTS` when the split is there.
pub(crate) async fn import_dataset(
    store: &Store,
    id: &DatasetId,
    upload: SplitUpload,
) -> Result<DatasetRecord, ApiError> {
    let files = SplitFiles { split: upload.split, inputs: upload.inputs, targets: upload.targets };
    let SplitUpload { format, mean, std, n_classes, .. } = upload;
    let import = DatasetImport { splits: vec![files], format, mean, std, n_classes };
    store.import_dataset(id, import).await.map_err(|error| match error {
        StoreError::AlreadyExists { .. } => at("header.name")(error),
        StoreError::Invalid { field, reason } => {
            // What is not a file is a field of the header.
            let fields: &[&str] = match field.as_str() {
                "mean" => &["header.mean"],
                "std" => &["header.std"],
                "mean and std" => &["header.mean", "header.std"],
                "n_classes" => &["header.n_classes"],
                _ => return StoreError::Invalid { field, reason }.into(),
            };
            let mut wrong = Violations::default();
            fields.iter().for_each(|field| wrong.add(*field, &reason));
            wrong.into_error()
        }
        error => error.into(),
    })
}

/// Deletes a network that nothing belongs to.
///
/// # Errors
/// `WRONG_STATE` while an imported checkpoint belongs to it, `NOT_FOUND` when there is none.
pub(crate) async fn delete_network(store: &Store, id: &NetworkId) -> Result<(), ApiError> {
    let mut after = None;
    loop {
        let page = store.list_checkpoints(&relief_store::Page::new(1000, after)).await?;
        if let Some(checkpoint) = page.items.iter().find(|checkpoint| checkpoint.network == *id) {
            let message =
                format!("{} belongs to {id}; delete it first", CheckpointName::Imported(checkpoint.name.clone()));
            return Err(ApiError::new(ErrorReason::WrongState, message));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(store.delete_network(id).await?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_held_against_its_digest_and_its_bound() {
        let upload = |digest, max_bytes| Upload::new(("chunk", "header.digest"), digest, max_bytes);
        let mut good = upload(Digest::of(b"abcd"), 4);
        good.push(b"ab").and_then(|()| good.push(b"cd")).expect("within the bound");
        assert_eq!(good.finish().expect("the right digest").as_ref(), b"abcd");

        let mut long = upload(Digest::of(b"abcd"), 3);
        assert_eq!(long.push(b"abcd").map_err(|e| e.reason), Err(ErrorReason::InvalidField));

        let mut lump = upload(Digest::of(b"abcd"), usize::MAX);
        let error = lump.push(&vec![0; MAX_CHUNK_BYTES + 1]).expect_err("a chunk over the limit");
        assert!(error.message.starts_with("chunk: a chunk of 2097153 bytes is over the limit of 2097152"), "{error}");

        let mut torn = upload(Digest::of(b"abcd"), 4);
        torn.push(b"abc").expect("within the bound");
        assert!(torn.finish().is_err());
    }
}
