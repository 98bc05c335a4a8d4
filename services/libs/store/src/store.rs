//! The store itself: its URL, and the lock that keeps changes in order.

use std::path::Path as FsPath;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use tokio::sync::{Mutex, MutexGuard};

use crate::error::StoreError;
use crate::object::Objects;

/// Networks, checkpoints, datasets, runs and surfaces in one object store. A clone is the same store.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) objects: Objects,
    changes: Arc<Mutex<()>>,
}

impl Store {
    /// Opens the store at `url`: `file:///absolute/directory` (created when absent, taken literally, without percent
    /// escapes) or `memory://` (empty, and seen only by this value and its clones).
    ///
    /// # Errors
    /// When the URL is of no supported kind, or the directory cannot be made.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let refuse = |reason: String| StoreError::Url { url: url.to_owned(), reason };
        if url == "memory://" {
            return Ok(Self::over(Objects::new(InMemory::new())));
        }
        let Some(dir) = url.strip_prefix("file://") else {
            return Err(refuse("the scheme is not supported".to_owned()));
        };
        if !dir.starts_with('/') {
            return Err(refuse("the directory is not absolute".to_owned()));
        }
        let dir = FsPath::new(dir);
        std::fs::create_dir_all(dir).map_err(|error| refuse(error.to_string()))?;
        let backend = LocalFileSystem::new_with_prefix(dir).map_err(|error| refuse(error.to_string()))?;
        Ok(Self::over(Objects::new(backend.with_automatic_cleanup(true))))
    }

    pub(crate) fn over(objects: Objects) -> Self {
        Self { objects, changes: Arc::new(Mutex::new(())) }
    }

    /// Holds back every other change that reads before it writes.
    pub(crate) async fn change(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StoreErrorKind;

    #[test]
    fn other_schemes_are_refused_by_name() {
        for url in ["s3://bucket/a", "/tmp/a", "file://tmp/a", "file:/tmp/a", "memory:///a", ""] {
            let error = Store::open(url).expect_err("no store");
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            let text = error.to_string();
            assert!(text.contains(&format!("`{url}`")) && text.contains("file:///") && text.contains("memory://"));
        }
    }

    #[test]
    fn a_directory_is_made_when_it_is_absent() {
        let dir = tempfile::tempdir().expect("a directory");
        let inner = dir.path().join("a b/%41");
        Store::open(&format!("file://{}", inner.display())).expect("a store");
        assert!(inner.is_dir());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("file"), b"").expect("a file");
        assert!(Store::open(&format!("file://{}/file/inner", dir.path().display())).is_err());
    }
}
