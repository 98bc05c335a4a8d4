//! Checkpoints: imported ones with their records, and any checkpoint by name.

use bytes::Bytes;
use relief_core::{CheckpointId, CheckpointName, Digest, NetworkId, TensorMap};
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, chain};
use crate::layout::{self, BlobPath};
use crate::object::offload;
use crate::page::{Listing, Page};
use crate::record::{from_json, to_json};
use crate::safetensor::{decode_checkpoint, encode_checkpoint};
use crate::store::Store;
use crate::timestamp;

/// What is stored of an imported checkpoint beside its safetensors file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// Its name.
    pub name: CheckpointId,
    /// The network it belongs to.
    pub network: NetworkId,
    /// The digest of the safetensors file.
    pub digest: Digest,
    /// The size of the safetensors file in bytes.
    pub n_bytes: u64,
    /// When it was stored, RFC 3339.
    pub created: String,
}

/// Where the tensors of a checkpoint are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointBlob {
    /// The path of the safetensors file.
    pub path: BlobPath,
    /// Its digest.
    pub digest: Digest,
    /// The network it belongs to.
    pub network: NetworkId,
}

/// The safetensors file of `tensors` and its digest.
pub(crate) fn sealed(tensors: &TensorMap) -> Result<(Bytes, Digest), StoreError> {
    let bytes = encode_checkpoint(tensors).map_err(|error| StoreError::unreadable("checkpoint", &error))?;
    let digest = Digest::of(&bytes);
    Ok((bytes, digest))
}

impl Store {
    /// Stores `tensors` as a checkpoint of `network`. The caller has checked that they fit the network.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; `Invalid` when a tensor has the one name that safetensors reserves.
    /// Nothing is left behind when the backend fails.
    pub async fn import_checkpoint(
        &self,
        id: &CheckpointId,
        network: &NetworkId,
        tensors: TensorMap,
    ) -> Result<CheckpointRecord, StoreError> {
        let _change = self.change().await;
        let path = layout::checkpoint_record(id);
        if self.objects.exists(&path).await? {
            return Err(StoreError::already_exists(id));
        }
        let (bytes, digest) = offload(move || sealed(&tensors)).await??;
        let record = CheckpointRecord {
            name: id.clone(),
            network: network.clone(),
            digest,
            n_bytes: bytes.len() as u64,
            created: timestamp::now(),
        };
        let json = to_json("checkpoint", &record)?;
        let blob = BlobPath::checkpoint(&CheckpointName::Imported(id.clone()));
        let puts = vec![(blob.as_path().clone(), bytes)];
        self.commit(&id.to_string(), &layout::checkpoint(id), &path, json, puts).await?;
        Ok(record)
    }

    /// The record of an imported checkpoint.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    pub async fn get_checkpoint(&self, id: &CheckpointId) -> Result<CheckpointRecord, StoreError> {
        self.find_record(&layout::checkpoint_record(id)).await?.ok_or_else(|| StoreError::not_found(id))
    }

    /// A page of the imported checkpoints, in the order of their ids.
    ///
    /// # Errors
    /// When the backend fails or a record is damaged.
    pub async fn list_checkpoints(&self, page: &Page) -> Result<Listing<CheckpointRecord>, StoreError> {
        let read = |_, path: &_, json: &[u8]| from_json(path, json);
        self.list_records(CheckpointId::COLLECTION, page, layout::checkpoint_record, read).await
    }

    /// Deletes an imported checkpoint.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    pub async fn delete_checkpoint(&self, id: &CheckpointId) -> Result<(), StoreError> {
        self.delete_committed(id, &layout::checkpoint(id), &layout::checkpoint_record(id)).await
    }

    /// Where the tensors of the checkpoint called `name` are, imported or a run's snapshot.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    pub async fn resolve_checkpoint(&self, name: &CheckpointName) -> Result<CheckpointBlob, StoreError> {
        let path = BlobPath::checkpoint(name);
        let (digest, network) = match name {
            CheckpointName::Imported(id) => {
                let record = self.get_checkpoint(id).await?;
                (record.digest, record.network)
            }
            CheckpointName::Snapshot { run, epoch } => {
                let record = self.get_snapshot_record(run, *epoch).await?;
                (record.digest, record.network)
            }
        };
        Ok(CheckpointBlob { path, digest, network })
    }

    /// The tensors of the safetensors file at `path`, with the digest verified.
    ///
    /// # Errors
    /// `NotFound` when there is no file, as after a deletion; `Corrupt` when it has another digest or is no checkpoint.
    pub async fn load_checkpoint(&self, path: &BlobPath, digest: Digest) -> Result<TensorMap, StoreError> {
        let bytes = self.objects.get_verified(path.as_path(), digest).await?;
        let decoded = offload(move || decode_checkpoint(&bytes)).await?;
        Ok(decoded.map_err(|error| StoreError::corrupt(path, chain(&error)))?.tensors)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use relief_core::Tensor;

    use super::*;
    use crate::conformance::{everything, faulty, on_every_store};
    use crate::error::StoreErrorKind;

    fn tensors() -> TensorMap {
        TensorMap::from([("fc.weight".to_owned(), Tensor::filled([2, 3], 0.1))])
    }

    #[tokio::test]
    async fn a_checkpoint_is_found_by_name_and_loaded_by_digest() {
        on_every_store(async |store| {
            let (id, network) = ("mine".parse().expect("an id"), "net".parse().expect("an id"));
            let record = store.import_checkpoint(&id, &network, tensors()).await.expect("an import");
            assert_eq!(store.get_checkpoint(&id).await.expect("a record"), record);
            let blob = store.resolve_checkpoint(&CheckpointName::Imported(id.clone())).await.expect("a blob");
            assert_eq!((blob.digest, &blob.network), (record.digest, &network));
            let path = blob.path.to_string().parse().expect("a path that may be passed on");
            assert_eq!(store.load_checkpoint(&path, blob.digest).await.expect("tensors"), tensors());

            let error = store.load_checkpoint(&path, Digest::of(b"else")).await.expect_err("another digest");
            assert_eq!(error.kind(), StoreErrorKind::Corrupt);
            let error = store.import_checkpoint(&id, &network, tensors()).await.expect_err("taken");
            assert_eq!(error.kind(), StoreErrorKind::AlreadyExists);
            assert_eq!(store.list_checkpoints(&Page::default()).await.expect("a page").items, [record]);

            store.delete_checkpoint(&id).await.expect("a deletion");
            let error = store.load_checkpoint(&path, blob.digest).await.expect_err("gone");
            assert_eq!(error.kind(), StoreErrorKind::NotFound);
            let error = store.resolve_checkpoint(&CheckpointName::Imported(id)).await.expect_err("gone");
            assert_eq!(error.kind(), StoreErrorKind::NotFound);
            assert!(everything(store).await.is_empty());
        })
        .await;
    }

    #[tokio::test]
    async fn an_import_that_fails_leaves_nothing_behind() {
        let (id, network) = ("mine".parse().expect("an id"), "net".parse().expect("an id"));
        let store = faulty(&Arc::new(InMemory::new()), "checkpoint.json");
        assert!(store.import_checkpoint(&id, &network, tensors()).await.is_err());
        let reserved = TensorMap::from([("__metadata__".to_owned(), Tensor::filled([1], 0.0))]);
        let error = store.import_checkpoint(&id, &network, reserved).await.expect_err("a reserved name");
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        assert!(everything(&store).await.is_empty());
    }
}
