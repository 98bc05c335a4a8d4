//! Objects by path: the few operations that everything here is made of, over any backend.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use relief_core::Digest;

use crate::error::StoreError;

/// How many requests one operation keeps open at once.
pub(crate) const N_CONCURRENT: usize = 16;

#[derive(Debug, Clone)]
pub(crate) struct Objects(Arc<dyn ObjectStore>);

impl Objects {
    pub(crate) fn new(backend: impl ObjectStore) -> Self {
        Self(Arc::new(backend))
    }

    /// The bytes of the object at `path`, or none.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>, StoreError> {
        let read = |source: object_store::Error| StoreError::Read { path: path.to_string(), source: source.into() };
        match self.0.get(path).await {
            Ok(object) => object.bytes().await.map(Some).map_err(read),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(read(source)),
        }
    }

    /// The bytes of an object that must be there, checked against its digest.
    pub(crate) async fn get_verified(&self, path: &Path, digest: Digest) -> Result<Bytes, StoreError> {
        let bytes = self.get(path).await?.ok_or_else(|| StoreError::not_found(path))?;
        let (bytes, found) = offload(move || {
            let found = Digest::of(&bytes);
            (bytes, found)
        })
        .await?;
        if found != digest {
            return Err(StoreError::corrupt(path, format!("the digest is {found}, not {digest}")));
        }
        Ok(bytes)
    }

    pub(crate) async fn exists(&self, path: &Path) -> Result<bool, StoreError> {
        match self.0.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(StoreError::Read { path: path.to_string(), source: source.into() }),
        }
    }

    /// Puts an object or replaces it, atomically.
    pub(crate) async fn put(&self, path: &Path, bytes: Bytes) -> Result<(), StoreError> {
        let put = self.0.put(path, bytes.into()).await;
        put.map(drop).map_err(|source| StoreError::Write { path: path.to_string(), source: source.into() })
    }

    /// Puts an object where there is none, atomically; false, and no change, where there is one.
    pub(crate) async fn put_new(&self, path: &Path, bytes: Bytes) -> Result<bool, StoreError> {
        match self.0.put_opts(path, bytes.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(source) => Err(StoreError::Write { path: path.to_string(), source: source.into() }),
        }
    }

    /// Deletes an object; one that is not there is deleted already.
    pub(crate) async fn delete(&self, path: &Path) -> Result<(), StoreError> {
        match self.0.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(StoreError::Delete { path: path.to_string(), source: source.into() }),
        }
    }

    /// Deletes every object below `prefix`.
    pub(crate) async fn delete_below(&self, prefix: &Path) -> Result<(), StoreError> {
        let paths = self.list(prefix).await?;
        futures::stream::iter(paths)
            .map(|path| async move { self.delete(&path).await })
            .buffer_unordered(N_CONCURRENT)
            .try_collect()
            .await
    }

    /// The paths of all objects below `prefix`, at any depth, in no order.
    pub(crate) async fn list(&self, prefix: &Path) -> Result<Vec<Path>, StoreError> {
        let paths = self.0.list(Some(prefix)).map_ok(|object| object.location).try_collect().await;
        paths.map_err(|source| StoreError::List { path: prefix.to_string(), source: source.into() })
    }

    /// The names directly below `prefix` that have objects below them.
    pub(crate) async fn list_children(&self, prefix: &Path) -> Result<BTreeSet<String>, StoreError> {
        match self.0.list_with_delimiter(Some(prefix)).await {
            Ok(list) => Ok(list.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect()),
            Err(source) => Err(StoreError::List { path: prefix.to_string(), source: source.into() }),
        }
    }
}

/// Runs `work`, which takes long enough to hold up other tasks, on the blocking pool.
pub(crate) async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(StoreError::Stopped)
}
