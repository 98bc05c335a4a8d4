//! The programs under test, and where they are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, bail};

/// A program of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `relief-coordinator`.
    Coordinator,
    /// `relief-evaluator`.
    Evaluator,
    /// `relief-renderer`.
    Renderer,
    /// `relief-trainer`.
    Trainer,
    /// `relief up`: all of them in one process.
    Relief,
    /// `relief-test-s3`: an object store.
    S3,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Coordinator, Self::Evaluator, Self::Renderer, Self::Trainer, Self::Relief, Self::S3];

    /// The name of the file, and of its package.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "relief-coordinator",
            Self::Evaluator => "relief-evaluator",
            Self::Renderer => "relief-renderer",
            Self::Trainer => "relief-trainer",
            Self::Relief => "relief",
            Self::S3 => "relief-test-s3",
        }
    }

    /// The gRPC services that it serves.
    #[must_use]
    pub fn services(self) -> &'static [&'static str] {
        match self {
            Self::Coordinator => &[
                "relief.catalog.v1.CatalogService",
                "relief.inference.v1.InferenceService",
                "relief.surface.v1.SurfaceService",
                "relief.trajectory.v1.TrajectoryService",
            ],
            Self::Evaluator => &["relief.evaluator.v1.EvaluatorService"],
            Self::Renderer => &["relief.plot.v1.PlotService"],
            Self::Trainer => &["relief.training.v1.TrainingService"],
            Self::S3 => &[],
            Self::Relief => &[
                "relief.catalog.v1.CatalogService",
                "relief.evaluator.v1.EvaluatorService",
                "relief.inference.v1.InferenceService",
                "relief.plot.v1.PlotService",
                "relief.surface.v1.SurfaceService",
                "relief.training.v1.TrainingService",
                "relief.trajectory.v1.TrajectoryService",
            ],
        }
    }

    /// Where it is: built and up to date, or in the folder that `RELIEF_TEST_PROGRAMS` names, as it is.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn path(self) -> anyhow::Result<PathBuf> {
        static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        if let Some(folder) = env::var_os("RELIEF_TEST_PROGRAMS") {
            return Ok(Path::new(&folder).join(self.name()));
        }
        match FOLDER.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
            Ok(folder) => Ok(folder.join(self.name())),
            Err(error) => bail!("{error}"),
        }
    }
}

/// Builds all programs and returns their folder, that of the tests and of the same profile. Cargo builds the programs of
/// other packages for no test, and a stale one would be tested in silence; when all is up to date this takes less than a
/// second.
fn build() -> anyhow::Result<PathBuf> {
    let test = env::current_exe().context("the test does not know where it is")?;
    let folder = test.parent().and_then(Path::parent).context("a test lies in TARGET/PROFILE/deps")?;
    let target = folder.parent().context("a test lies in TARGET/PROFILE/deps")?;
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => bail!("{} is not the folder of a profile", folder.display()),
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--locked", "--quiet", "--bins", "--profile", profile, "--target-dir"]).arg(target);
    command.args(Program::ALL.iter().flat_map(|program| ["--package", program.name()]));
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("{command:?} does not start"))?;
    if !output.status.success() {
        bail!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(folder.to_owned())
}
