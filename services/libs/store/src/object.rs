//! Objects by path: the few operations that everything here is made of, over any backend.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use relief_core::Digest;

use crate::error::StoreError;
use crate::failure::Origin;
use crate::layout;

/// How many requests one operation keeps open at once.
pub(crate) const N_CONCURRENT: usize = 16;

/// An object of more bytes is put in parts, so that no request takes long.
const MAX_WHOLE_BYTES: usize = 16 << 20;

/// Bytes per part; S3 takes no fewer than 5 MiB and no more than 10,000 parts.
const PART_BYTES: usize = 8 << 20;

/// How many parts of an object are on their way at once.
const N_PARTS: usize = 4;

/// What is put at the root of a bucket to see whether its server honours conditions.
const MARKER: &str = "{\n  \"format\": \"relief\"\n}\n";

/// What a create-only put found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placed {
    /// Nothing was there, and the object is now.
    New,
    /// The very same bytes were there.
    Same,
    /// Other bytes were there and stay; none when they are gone again.
    Other(Option<Bytes>),
}

/// An object as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectEntry {
    pub(crate) path: Path,
    pub(crate) n_bytes: u64,
    pub(crate) modified: SystemTime,
}

#[derive(Clone)]
pub(crate) struct Objects {
    backend: Arc<dyn ObjectStore>,
    /// None for what is on this machine, whose errors hold no secrets.
    origin: Option<Arc<Origin>>,
}

/// A backend shows its configuration, which is nobody's business.
impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Objects").field(&self.origin.as_ref().map_or("local", |origin| &origin.url)).finish()
    }
}

impl Objects {
    pub(crate) fn new(backend: impl ObjectStore) -> Self {
        Self { backend: Arc::new(backend), origin: None }
    }

    pub(crate) fn of_bucket(backend: Arc<dyn ObjectStore>, origin: Origin) -> Self {
        Self { backend, origin: Some(Arc::new(origin)) }
    }

    /// Checks that a bucket is there and may be read; and, for a process that writes, that it may be written and that
    /// its server honours conditions. What is on this machine does.
    pub(crate) async fn check(&self, is_writer: bool) -> Result<(), StoreError> {
        let Some(origin) = &self.origin else { return Ok(()) };
        let refused = |source| StoreError::Open { source: self.reason(source) };
        if let Some(Err(source)) = self.backend.list(None).next().await {
            return Err(refused(source));
        }
        if is_writer {
            // Whichever process puts it first, the second of two puts finds it there.
            let marker = layout::marker();
            for _ in 0..2 {
                let put = self.backend.put_opts(&marker, MARKER.into(), PutMode::Create.into()).await;
                match put {
                    Err(object_store::Error::AlreadyExists { .. }) => return Ok(()),
                    Err(source) => return Err(refused(source)),
                    Ok(_) => {}
                }
            }
            return Err(StoreError::Unconditional { url: origin.url.clone() });
        }
        Ok(())
    }

    /// What a backend's error says to those outside.
    fn reason(&self, source: object_store::Error) -> Box<dyn Error + Send + Sync> {
        match &self.origin {
            Some(origin) => Box::new(origin.explain(&source)),
            None => source.into(),
        }
    }

    /// The bytes of the object at `path`, or none.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>, StoreError> {
        let read = |source| StoreError::Read { path: path.to_string(), source: self.reason(source) };
        match self.backend.get(path).await {
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
        match self.backend.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(StoreError::Read { path: path.to_string(), source: self.reason(source) }),
        }
    }

    /// Puts an object or replaces it, atomically.
    pub(crate) async fn put(&self, path: &Path, bytes: Bytes) -> Result<(), StoreError> {
        let put = match bytes.len() > MAX_WHOLE_BYTES {
            true => self.put_parts(path, &bytes).await,
            false => self.backend.put(path, bytes.into()).await.map(drop),
        };
        put.map_err(|source| StoreError::Write { path: path.to_string(), source: self.reason(source) })
    }

    async fn put_parts(&self, path: &Path, bytes: &Bytes) -> object_store::Result<()> {
        let mut upload = self.backend.put_multipart(path).await?;
        let starts = (0..bytes.len()).step_by(PART_BYTES);
        let slices = starts.map(|start| bytes.slice(start..bytes.len().min(start + PART_BYTES)));
        let parts: Vec<_> = slices.map(|slice| upload.put_part(slice.into())).collect();
        let put = futures::stream::iter(parts).buffer_unordered(N_PARTS).try_collect::<()>().await;
        let completed = match put {
            Ok(()) => upload.complete().await.map(drop),
            Err(error) => Err(error),
        };
        if completed.is_err() {
            // The first error tells why; a second one, of the same backend, would not help.
            let _ = upload.abort().await;
        }
        completed
    }

    /// Puts an object where there is none, atomically; false, and no change, where there is one. That may be this very
    /// one: when a bucket's answer is lost, the put is made again and finds what it put before.
    pub(crate) async fn put_new(&self, path: &Path, bytes: Bytes) -> Result<bool, StoreError> {
        match self.backend.put_opts(path, bytes.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(source) => Err(StoreError::Write { path: path.to_string(), source: self.reason(source) }),
        }
    }

    /// Puts an object where there is none, or says what is there instead. Where a bucket's answer was lost and the put
    /// was made again, that is the same.
    pub(crate) async fn place(&self, path: &Path, bytes: Bytes) -> Result<Placed, StoreError> {
        if self.put_new(path, bytes.clone()).await? {
            return Ok(Placed::New);
        }
        let there = self.get(path).await?;
        Ok(if there.as_ref() == Some(&bytes) { Placed::Same } else { Placed::Other(there) })
    }

    /// Deletes an object; one that is not there is deleted already.
    pub(crate) async fn delete(&self, path: &Path) -> Result<(), StoreError> {
        match self.backend.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(StoreError::Delete { path: path.to_string(), source: self.reason(source) }),
        }
    }

    /// Deletes every object below `prefix`.
    pub(crate) async fn delete_below(&self, prefix: &Path) -> Result<(), StoreError> {
        self.delete_all(prefix, self.list(prefix).await?).await
    }

    /// Deletes the objects at `paths`, all of which lie below `prefix`; those that are not there are deleted already.
    pub(crate) async fn delete_all(&self, prefix: &Path, paths: Vec<Path>) -> Result<(), StoreError> {
        let mut deletions = self.backend.delete_stream(futures::stream::iter(paths.into_iter().map(Ok)).boxed());
        while let Some(deleted) = deletions.next().await {
            match deleted {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => {
                    return Err(StoreError::Delete { path: prefix.to_string(), source: self.reason(source) });
                }
            }
        }
        Ok(())
    }

    /// The paths of all objects below `prefix`, at any depth, in no order.
    pub(crate) async fn list(&self, prefix: &Path) -> Result<Vec<Path>, StoreError> {
        let paths = self.backend.list(Some(prefix)).map_ok(|object| object.location).try_collect().await;
        paths.map_err(|source| StoreError::List { path: prefix.to_string(), source: self.reason(source) })
    }

    /// All objects below `prefix`, at any depth, in no order.
    pub(crate) async fn list_entries(&self, prefix: &Path) -> Result<Vec<ObjectEntry>, StoreError> {
        let entries = self.backend.list(Some(prefix)).map_ok(|object| ObjectEntry {
            path: object.location,
            n_bytes: object.size,
            modified: object.last_modified.into(),
        });
        let entries = entries.try_collect().await;
        entries.map_err(|source| StoreError::List { path: prefix.to_string(), source: self.reason(source) })
    }

    /// The names directly below `prefix` that have objects below them.
    pub(crate) async fn list_children(&self, prefix: &Path) -> Result<BTreeSet<String>, StoreError> {
        match self.backend.list_with_delimiter(Some(prefix)).await {
            Ok(list) => Ok(list.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect()),
            Err(source) => Err(StoreError::List { path: prefix.to_string(), source: self.reason(source) }),
        }
    }
}

/// Runs `work`, which takes long enough to hold up other tasks, on the blocking pool.
pub(crate) async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(StoreError::Stopped)
}
