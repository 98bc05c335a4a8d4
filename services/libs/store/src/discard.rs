//! A store that counts the values of surfaces instead of keeping them: for measuring what is around a store.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};

use crate::object::Objects;
use crate::store::Store;

/// How many values went into a store that keeps none.
#[derive(Debug, Clone, Default)]
pub struct ValueCounter {
    chunks: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl ValueCounter {
    /// The number of chunks that were put.
    #[must_use]
    pub fn n_chunks(&self) -> u64 {
        self.chunks.load(Ordering::Relaxed)
    }

    /// The number of their bytes.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Store {
    /// Returns a store in memory that keeps everything but the chunks of surfaces' values, which it counts.
    #[must_use]
    pub fn discarding_values() -> (Self, ValueCounter) {
        let counter = ValueCounter::default();
        let backend = Discarding { inner: InMemory::new(), counter: counter.clone() };
        (Self::over(Objects::new(backend)), counter)
    }
}

#[derive(Debug)]
struct Discarding {
    inner: InMemory,
    counter: ValueCounter,
}

/// Whether a path is that of a chunk of values: `surfaces/ID.zarr/ARRAY/c/...`, but for those of the coordinates.
fn is_values(path: &Path) -> bool {
    let mut parts = path.parts();
    let is_surface = parts.next().is_some_and(|part| part.as_ref() == "surfaces");
    let array = parts.nth(1);
    let is_chunk = parts.next().is_some_and(|part| part.as_ref() == "c");
    is_surface && is_chunk && array.is_some_and(|array| !matches!(array.as_ref(), "x" | "y"))
}

impl fmt::Display for Discarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory that keeps no values")
    }
}

#[async_trait]
impl ObjectStore for Discarding {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        if !is_values(path) {
            return self.inner.put_opts(path, payload, options).await;
        }
        self.counter.chunks.fetch_add(1, Ordering::Relaxed);
        self.counter.bytes.fetch_add(payload.content_length() as u64, Ordering::Relaxed);
        Ok(PutResult { e_tag: None, version: None, extensions: object_store::Extensions::default() })
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use relief_core::{PointValue, PointValues};

    use super::*;
    use crate::conformance::{new_surface, specification};

    #[tokio::test]
    async fn values_are_counted_and_everything_else_is_kept() {
        let (store, counter) = Store::discarding_values();
        let axis = "0:1:2".parse().expect("an axis");
        let spec = specification(relief_core::Grid { x: axis, y: Some(axis) }, "1x2");
        let record = new_surface("s".parse().expect("an id"), &spec);
        store.create_surface(&record).await.expect("a surface");
        let value = PointValue { loss: 1.0, squared_error: 0.1, accuracy: 50.0 };
        for tile in record.plan().tiles() {
            store.write_tile(&record, &tile, &[PointValues::from(value); 2]).await.expect("a tile");
        }
        // Of each of two tiles two points: three numbers and a flag.
        assert_eq!((counter.n_chunks(), counter.n_bytes()), (8, 2 * 2 * 25));
        assert_eq!(store.get_surface(&record.id).await.expect("a record"), record);
        assert!(store.committed_tiles(&record).await.expect("tiles").is_empty());
    }
}
