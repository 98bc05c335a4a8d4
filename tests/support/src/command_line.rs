//! The program `relief` as somebody at a terminal uses it.

use std::process::{ExitStatus, Stdio};

use anyhow::ensure;
use tokio::process::Child;

use crate::bound::within;
use crate::process::{Process, command};
use crate::program::Program;

/// The command line, and where the servers are that it asks.
#[derive(Debug, Clone)]
pub struct CommandLine {
    variables: Vec<(String, String)>,
}

/// What a command said, and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its results.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl CommandLine {
    /// Returns the command line that asks `platform` for everything.
    #[must_use]
    pub fn at(platform: &Process) -> Self {
        Self::with([("RELIEF_ENDPOINT", platform.endpoint())])
    }

    /// Returns the command line with these environment variables.
    #[must_use]
    pub fn with(variables: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self { variables: variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    /// Starts `relief` with `arguments`. It is killed when the child is dropped.
    ///
    /// # Errors
    /// When it cannot be built or started.
    pub fn start(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        let mut command = command(Program::Relief)?;
        command.args(arguments).envs(self.variables.clone()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command.spawn()?)
    }

    /// Runs `relief` with `arguments` to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be built or started, or does not end in time.
    pub async fn said(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        let what = format!("relief {}", arguments.join(" "));
        let output = within(&what, self.start(arguments)?.wait_with_output()).await??;
        let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        Ok(Said { status: output.status, stdout, stderr })
    }

    /// Runs `relief` with `arguments`, and returns what it prints.
    ///
    /// # Errors
    /// When it does not succeed in time.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let Said { status, stdout, stderr } = self.said(arguments).await?;
        ensure!(status.success(), "relief {}: {status}: {stderr}", arguments.join(" "));
        Ok(stdout.trim().to_owned())
    }
}
