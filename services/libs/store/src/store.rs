//! The store itself: its URL, and the lock that keeps changes in order.

use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use tokio::sync::{Mutex, MutexGuard};

use crate::cloud::{self, Limits};
use crate::error::StoreError;
use crate::location::{self, Location};
use crate::object::Objects;

/// Networks, checkpoints, datasets, runs and surfaces in one object store. A clone is the same store.
///
/// Of its configuration, it shows its URL only.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) objects: Objects,
    changes: Arc<Mutex<()>>,
}

/// What a process does with its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreAccess {
    /// It reads; credentials that cannot write will do.
    Read,
    /// It reads and writes.
    Write,
}

impl Store {
    /// Opens the store at `url`, which is one of
    ///
    /// - `file:///absolute/directory`, created when absent, taken literally, without percent escapes;
    /// - `memory://`, empty, and seen only by this value and its clones;
    /// - `s3://bucket/prefix`, configured by `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
    ///   `AWS_REGION`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP` and the other variables that
    ///   `object_store::aws::AmazonS3ConfigKey` names;
    /// - `gs://bucket/prefix`, by `GOOGLE_APPLICATION_CREDENTIALS`, `GOOGLE_SERVICE_ACCOUNT` and the others of
    ///   `object_store::gcp::GoogleConfigKey`;
    /// - `az://container/prefix`, by `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY` and the others of
    ///   `object_store::azure::AzureConfigKey`.
    ///
    /// A bucket is not contacted yet; see [`Store::connect`]. A request to one may take 5 s to connect, be silent for
    /// 20 s, and take 5 min in all (`AWS_CONNECT_TIMEOUT`, `AWS_READ_TIMEOUT`, `AWS_TIMEOUT`, with the prefix of the
    /// cloud, say otherwise, as in `30 seconds`); it is made again at most three times, and not after 30 s. Credentials
    /// are in no error, in no log and in no `Debug`.
    ///
    /// # Errors
    /// When the URL is of no supported kind or holds credentials, the directory cannot be made, or the variables do not
    /// fit together.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::open_with(url, &std::env::vars_os().filter_map(text).collect::<Vec<_>>(), Limits::default())
    }

    /// Opens the store at `url` and makes sure that it can be used: that a bucket is there and takes the credentials,
    /// and, for [`StoreAccess::Write`], that it may be written and honours conditional writes, which keep two processes
    /// from overwriting each other's results. For that, `store.json` is put at its root.
    ///
    /// # Errors
    /// Those of [`Store::open`]; `Open` when the bucket cannot be reached or refuses, and `Unconditional` when its server
    /// lets a create-only put replace an object.
    pub async fn connect(url: &str, access: StoreAccess) -> Result<Self, StoreError> {
        let store = Self::open(url)?;
        store.objects.check(access == StoreAccess::Write).await?;
        Ok(store)
    }

    pub(crate) fn open_with(url: &str, variables: &[(String, String)], limits: Limits) -> Result<Self, StoreError> {
        let refuse = |reason: String| location::refuse(url, reason);
        let objects = match Location::parse(url)? {
            Location::Memory => Objects::new(InMemory::new()),
            Location::Directory(dir) => {
                std::fs::create_dir_all(&dir).map_err(|error| refuse(error.to_string()))?;
                let backend = LocalFileSystem::new_with_prefix(dir).map_err(|error| refuse(error.to_string()))?;
                Objects::new(backend.with_automatic_cleanup(true))
            }
            Location::Bucket { cloud, bucket, prefix } => {
                cloud::open((cloud, &bucket, prefix), url, variables, limits).map_err(refuse)?
            }
        };
        Ok(Self::over(objects))
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
