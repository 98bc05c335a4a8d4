//! One directory that all processes of a test share.

use std::path::{Path, PathBuf};

use relief_api::catalog::v1::Split;
use relief_store::encode_checkpoint;
use tempfile::TempDir;

use crate::checkpoint::{initial_tensors, network_id};
use crate::client::Client;
use crate::dataset::SplitImages;
use crate::directory;
use crate::process::Launch;
use crate::program::Program;

/// The dataset that [`Sandbox::furnish`] imports.
pub const DATASET: &str = "fashion";

/// The checkpoint that [`Sandbox::furnish`] imports.
pub const CHECKPOINT: &str = "initial";

/// A temporary directory with a store in it.
#[derive(Debug)]
pub struct Sandbox {
    dir: TempDir,
}

impl Sandbox {
    /// Returns an empty one.
    ///
    /// # Errors
    /// When there is no place for it.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { dir: tempfile::tempdir()? })
    }

    /// Returns another one with the same store in it, which nobody leads.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn copy(&self) -> anyhow::Result<Self> {
        let copy = Self::new()?;
        directory::copy(&self.store(), &copy.store())?;
        let leases = copy.store().join("leases");
        if leases.exists() {
            std::fs::remove_dir_all(leases)?;
        }
        Ok(copy)
    }

    /// The root of the store, where `relief up` has it too.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the start of `program` on this store, on a port that the system chooses.
    #[must_use]
    pub fn launch(&self, program: Program) -> Launch {
        self.launch_at(program, "127.0.0.1:0")
    }

    /// Returns the start of `program` on this store, on `address`.
    #[must_use]
    pub fn launch_at(&self, program: Program, address: &str) -> Launch {
        let launch = Launch::new(program);
        match program {
            Program::Relief => launch.arg("up").arg("--data").arg(self.path()).arg("--listen").arg(address),
            _ => {
                let store = format!("file://{}", self.store().display());
                launch.arg("--store").arg(store).arg("--listen").arg(address).arg("--grace").arg("5")
            }
        }
    }

    /// Returns the start of a coordinator of the evaluators at `endpoints`.
    #[must_use]
    pub fn launch_coordinator(&self, endpoints: &[&str]) -> Launch {
        endpoints
            .iter()
            .fold(self.launch(Program::Coordinator), |launch, endpoint| launch.arg("--evaluator").arg(endpoint))
    }

    /// Imports, through the coordinator behind `client`, what a surface needs without a training: [`DATASET`], of 300
    /// training and 100 test images, and [`CHECKPOINT`].
    ///
    /// # Errors
    /// When it is refused.
    pub async fn furnish(client: &Client) -> anyhow::Result<()> {
        client.import_dataset(DATASET, &SplitImages::first(Split::Train, 300)?).await?;
        client.import_dataset(DATASET, &SplitImages::first(Split::Test, 100)?).await?;
        client.import_checkpoint(CHECKPOINT, network_id(), &encode_checkpoint(&initial_tensors()?)?).await
    }
}
