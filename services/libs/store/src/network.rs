//! Networks: an ONNX file and its record.

use bytes::Bytes;
use relief_core::{Digest, NetworkId};
use relief_graph::Graph;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::layout::{self, BlobPath};
use crate::object::offload;
use crate::page::{Listing, Page};
use crate::record::{from_json, to_json};
use crate::store::Store;
use crate::timestamp;

/// What is stored of a network beside its ONNX file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// Its name.
    pub id: NetworkId,
    /// The digest of the ONNX file.
    pub digest: Digest,
    /// The number of trainable scalars.
    pub n_parameters: u64,
    /// The shape of one input: channels, height, width.
    pub input_shape: [u32; 3],
    /// The length of the logits.
    pub n_classes: u32,
    /// When it was stored, RFC 3339.
    pub created: String,
}

/// A network to store. The caller has read the file and vouches for what it says about it.
#[derive(Debug, Clone)]
pub struct NetworkImport {
    /// The ONNX file.
    pub onnx: Bytes,
    /// The number of trainable scalars.
    pub n_parameters: u64,
    /// The shape of one input: channels, height, width.
    pub input_shape: [u32; 3],
    /// The length of the logits.
    pub n_classes: u32,
}

impl NetworkImport {
    /// Returns the import of `graph`, written as `onnx`.
    #[must_use]
    pub fn of(graph: &Graph, onnx: Bytes) -> Self {
        // No dimension of a valid graph is near the end of u32.
        let dim = |dim: usize| u32::try_from(dim).unwrap_or(u32::MAX);
        Self {
            onnx,
            n_parameters: graph.n_parameters() as u64,
            input_shape: graph.input_shape().dims().map(dim),
            n_classes: dim(graph.n_classes()),
        }
    }
}

impl NetworkImport {
    /// What would be stored of it as `id`.
    pub(crate) fn record(&self, id: NetworkId) -> NetworkRecord {
        NetworkRecord {
            id,
            digest: Digest::of(&self.onnx),
            n_parameters: self.n_parameters,
            input_shape: self.input_shape,
            n_classes: self.n_classes,
            created: timestamp::now(),
        }
    }
}

impl Store {
    /// Stores a network.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; nothing is left behind when the backend fails.
    pub async fn import_network(&self, id: &NetworkId, import: NetworkImport) -> Result<NetworkRecord, StoreError> {
        let _change = self.change().await;
        let path = layout::network_record(id);
        if self.objects.exists(&path).await? {
            return Err(StoreError::already_exists(id));
        }
        let (import, record) = {
            let id = id.clone();
            offload(move || {
                let record = import.record(id);
                (import, record)
            })
            .await?
        };
        let json = to_json("network", &record)?;
        let puts = vec![(BlobPath::network(id).as_path().clone(), import.onnx)];
        self.commit(&id.to_string(), &layout::network(id), &path, json, puts).await?;
        Ok(record)
    }

    /// The record of a network.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    pub async fn get_network(&self, id: &NetworkId) -> Result<NetworkRecord, StoreError> {
        self.find_record(&layout::network_record(id)).await?.ok_or_else(|| StoreError::not_found(id))
    }

    /// The ONNX file at `path`, with the digest verified.
    ///
    /// # Errors
    /// `NotFound` when there is no file, as after a deletion; `Corrupt` when it has another digest.
    pub async fn load_network(&self, path: &BlobPath, digest: Digest) -> Result<Bytes, StoreError> {
        self.objects.get_verified(path.as_path(), digest).await
    }

    /// A page of the networks, in the order of their ids.
    ///
    /// # Errors
    /// When the backend fails or a record is damaged.
    pub async fn list_networks(&self, page: &Page) -> Result<Listing<NetworkRecord>, StoreError> {
        let read = |_, path: &_, json: &[u8]| from_json(path, json);
        self.list_records(NetworkId::COLLECTION, page, layout::network_record, read).await
    }

    /// Deletes a network.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    pub async fn delete_network(&self, id: &NetworkId) -> Result<(), StoreError> {
        self.delete_committed(id, &layout::network(id), &layout::network_record(id)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::conformance::{everything, faulty, on_every_store};
    use crate::error::StoreErrorKind;

    fn import(onnx: &'static [u8]) -> NetworkImport {
        NetworkImport { onnx: Bytes::from_static(onnx), n_parameters: 61_706, input_shape: [1, 28, 28], n_classes: 10 }
    }

    fn id(text: &str) -> NetworkId {
        text.parse().expect("an id")
    }

    #[tokio::test]
    async fn a_network_is_stored_once_and_comes_back() {
        on_every_store(async |store| {
            let record = store.import_network(&id("a"), import(b"onnx")).await.expect("an import");
            assert_eq!(store.get_network(&id("a")).await.expect("a record"), record);
            let path = BlobPath::network(&id("a"));
            assert_eq!(store.load_network(&path, record.digest).await.expect("a file"), "onnx");
            let error = store.load_network(&path, Digest::of(b"else")).await.expect_err("another digest");
            assert_eq!(error.kind(), StoreErrorKind::Corrupt);

            let error = store.import_network(&id("a"), import(b"other")).await.expect_err("taken");
            assert_eq!(error.to_string(), "networks/a already exists");
            assert_eq!(store.load_network(&path, record.digest).await.expect("a file"), "onnx");
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_deleted_is_not_found() {
        on_every_store(async |store| {
            for name in ["a", "ab"] {
                store.import_network(&id(name), import(b"onnx")).await.expect("an import");
            }
            store.delete_network(&id("a")).await.expect("a deletion");
            assert_eq!(everything(store).await, ["networks/ab/network.json", "networks/ab/network.onnx"]);
            let error = store.get_network(&id("a")).await.expect_err("gone");
            assert_eq!((error.kind(), error.to_string()), (StoreErrorKind::NotFound, "there is no networks/a".into()));
            let error = store.delete_network(&id("a")).await.expect_err("gone");
            assert_eq!(error.kind(), StoreErrorKind::NotFound);
            store.import_network(&id("a"), import(b"again")).await.expect("the name is free again");
        })
        .await;
    }

    #[tokio::test]
    async fn pages_follow_the_order_of_the_ids_and_leave_out_what_is_not_committed() {
        on_every_store(async |store| {
            for name in ["c", "a", "e", "a-b", "d"] {
                store.import_network(&id(name), import(b"onnx")).await.expect("an import");
            }
            let half = BlobPath::network(&id("b"));
            store.objects.put(half.as_path(), Bytes::from_static(b"half")).await.expect("a put");
            let mut pages = Vec::new();
            let mut after = None;
            loop {
                let page = store.list_networks(&Page::new(2, after)).await.expect("a page");
                pages.push(page.items.iter().map(|record| record.id.as_str().to_owned()).collect::<Vec<_>>());
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(pages, [vec!["a", "a-b"], vec!["c", "d"], vec!["e"]]);
            let all = store.list_networks(&Page::default()).await.expect("a page");
            assert_eq!((all.items.len(), all.next), (5, None));
        })
        .await;
    }

    #[tokio::test]
    async fn an_import_that_fails_leaves_nothing_behind() {
        for suffix in ["network.onnx", "network.json"] {
            let backend = Arc::new(InMemory::new());
            let store = faulty(&backend, suffix);
            let error = store.import_network(&id("a"), import(b"onnx")).await.expect_err("a fault");
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            assert!(everything(&store).await.is_empty(), "{suffix}");
        }
    }

    #[tokio::test]
    async fn a_damaged_record_names_its_path() {
        on_every_store(async |store| {
            store.import_network(&id("a"), import(b"onnx")).await.expect("an import");
            store.objects.put(&layout::network_record(&id("a")), Bytes::from_static(b"{")).await.expect("a put");
            let error = store.get_network(&id("a")).await.expect_err("damaged");
            assert_eq!(error.kind(), StoreErrorKind::Corrupt);
            assert!(error.to_string().contains("networks/a/network.json"));
        })
        .await;
    }
}
