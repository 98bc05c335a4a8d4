//! A platform whose store is not to change, and how refusals are judged.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{bail, ensure};
use relief_api::ErrorReason;
use relief_test_support::{Client, CommandLine, Launch, Process, Refusal, Said, Sandbox, contents, within};
use tonic::Status;

/// What is wrong with a request, and how that is told.
#[derive(Debug, Clone)]
pub(super) struct Wrong<'a> {
    reason: ErrorReason,
    /// What is to be named as wrong; empty where the name that is asked for is all there is.
    field: &'a str,
    /// What is to be said of it: the value, and what would be right.
    words: Vec<&'a str>,
}

impl<'a> Wrong<'a> {
    /// A field with a value that it cannot have.
    pub(super) fn field(field: &'a str, words: &[&'a str]) -> Self {
        Self { reason: ErrorReason::InvalidField, field, words: words.to_vec() }
    }

    /// A file that is not what it should be.
    pub(super) fn content(field: &'a str, words: &[&'a str]) -> Self {
        Self { reason: ErrorReason::InvalidContent, field, words: words.to_vec() }
    }

    /// A name that nothing has.
    pub(super) fn absent(field: &'a str, words: &[&'a str]) -> Self {
        Self { reason: ErrorReason::NotFound, field, words: words.to_vec() }
    }

    /// A name that something has already.
    pub(super) fn taken(field: &'a str, words: &[&'a str]) -> Self {
        Self { reason: ErrorReason::AlreadyExists, field, words: words.to_vec() }
    }

    /// A state in which that cannot be done.
    pub(super) fn state(words: &[&'a str]) -> Self {
        Self { reason: ErrorReason::WrongState, field: "", words: words.to_vec() }
    }

    /// The same, wherever it is said to be.
    pub(super) fn anywhere(&self) -> Self {
        Self { field: "", ..self.clone() }
    }

    fn judge_call<T>(&self, answer: Result<T, Status>) -> anyhow::Result<()> {
        let refusal = Refusal::of("the call", answer)?;
        ensure!(refusal.reason == self.reason, "{} instead of {}: {refusal:?}", refusal.reason, self.reason);
        ensure!(self.field.is_empty() || refusal.names(self.field), "{} is not named: {refusal:?}", self.field);
        self.judge_text(&refusal.message)
    }

    fn judge_command(&self, said: &Said, file: Option<&str>) -> anyhow::Result<()> {
        // A command sees some things before the server does, and calls them wrong use.
        let expected: &[i32] = match self.reason {
            ErrorReason::InvalidField => &[2],
            ErrorReason::InvalidContent => &[1, 2],
            _ => &[1],
        };
        let Said { status, stdout, stderr } = said;
        ensure!(
            status.code().is_some_and(|code| expected.contains(&code)),
            "{status}, expected {expected:?}: {stderr}"
        );
        ensure!(stdout.is_empty(), "something is printed: {stdout}");
        ensure!(stderr.starts_with("error: "), "no error is told: {stderr}");
        let blamed = file.or_else(|| flag(self.field)).unwrap_or(self.field);
        ensure!(stderr.contains(blamed), "`{blamed}` is not named: {stderr}");
        // A file's name is no explanation.
        self.judge_text(&file.map_or_else(|| stderr.clone(), |file| stderr.replace(file, "FILE")))
    }

    fn judge_text(&self, text: &str) -> anyhow::Result<()> {
        for word in &self.words {
            ensure!(text.contains(word), "`{word}` is not said: {text}");
        }
        for foreign in ["tonic", "status:", "Status {", "Some(", "Err("] {
            ensure!(!text.contains(foreign), "`{foreign}` is said: {text}");
        }
        let parts: Vec<&str> = text.split(": ").collect();
        let again = parts.windows(2).find(|pair| pair[0].ends_with(pair[1]) && !pair[1].is_empty());
        ensure!(again.is_none(), "it is said twice: {text}");
        Ok(())
    }
}

/// What the command line calls a field of a request.
fn flag(field: &str) -> Option<&'static str> {
    Some(match field {
        "spec.network" | "header.network" | "network" => "--network",
        "checkpoint" => "CHECKPOINT",
        "spec.dataset" | "spec.data.dataset" | "data.dataset" => "--dataset",
        "spec.data.split" | "header.split" | "data.split" => "--split",
        "spec.data.limit" | "data.limit" => "--limit",
        "spec.plane.origin" => "--checkpoint",
        "spec.plane.x" => "--x-direction",
        "spec.plane.x.random.normalization" => "--normalization",
        "spec.plane.x.random.ignore" => "--ignore",
        "spec.plane.x.towards" => "--to",
        "spec.plane.y.towards" => "--y-to",
        "spec.plane.batch_norm" => "--batch-norm",
        "spec.x" => "--x",
        "spec.y" => "--y",
        "spec.tile" => "--tile",
        "spec.numerics.engine" | "numerics.engine" => "--engine",
        "spec.numerics.precision" | "numerics.precision" => "--precision",
        "spec.epochs" => "--epochs",
        "spec.batch_size" => "--batch",
        "spec.rate" => "--rate",
        "spec.momentum" => "--momentum",
        "spec.weight_decay" => "--weight-decay",
        "spec.milestones" => "--milestones",
        "header.format" => "--format",
        "header.mean" => "--mean",
        "header.std" => "--std",
        "header.n_classes" => "--classes",
        "header.name" => "NAME",
        "kind" => "--kind",
        "format" => "--out",
        _ => return None,
    })
}

type Contents = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// A server, and a store that is not to change. What goes otherwise is collected, to be told all at once.
pub(super) struct Guarded {
    pub(super) client: Client,
    pub(super) relief: CommandLine,
    sandbox: Sandbox,
    /// What is given to commands.
    files: Sandbox,
    before: Contents,
    faults: RefCell<Vec<String>>,
    server: Process,
}

impl Guarded {
    /// Starts `launch` over `sandbox`, with what [`Sandbox::furnish`] and `furnish` put into its store.
    pub(super) async fn start(
        sandbox: Sandbox,
        launch: Launch,
        furnish: impl AsyncFnOnce(&Client) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let server = launch.start().await?;
        let client = server.client()?;
        Sandbox::furnish(&client).await?;
        furnish(&client).await?;
        let before = contents(&sandbox.store())?;
        let (relief, files, faults) = (CommandLine::at(&server), Sandbox::new()?, RefCell::default());
        Ok(Self { client, relief, sandbox, files, before, faults, server })
    }

    /// Where the server listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Makes a call that is to be refused.
    pub(super) async fn call<T>(&self, what: &str, call: impl Future<Output = Result<T, Status>>, wrong: &Wrong<'_>) {
        let judged = async { wrong.judge_call(within("an answer", call).await?) };
        self.note(&format!("{what} over gRPC"), judged.await);
    }

    /// Runs a command that is to be refused because of a flag.
    pub(super) async fn command(&self, arguments: &[&str], wrong: &Wrong<'_>) {
        let judged = async { wrong.judge_command(&self.relief.said(arguments).await?, None) };
        self.note(&format!("relief {}", arguments.join(" ")), judged.await);
    }

    /// Runs a command that is to be refused because of the file that it is given.
    pub(super) async fn command_of_file(&self, arguments: &[&str], file: &str, wrong: &Wrong<'_>) {
        let judged = async { wrong.judge_command(&self.relief.said(arguments).await?, Some(file)) };
        self.note(&format!("relief {}", arguments.join(" ")), judged.await);
    }

    /// Writes a file to give to a command, and returns where.
    pub(super) fn file(&self, name: &str, content: &[u8]) -> anyhow::Result<String> {
        let path = self.files.path().join(name);
        std::fs::write(&path, content)?;
        Ok(path.display().to_string())
    }

    fn note(&self, what: &str, judged: anyhow::Result<()>) {
        if let Err(fault) = judged.and_then(|()| self.check_store()) {
            self.faults.borrow_mut().push(format!("{what}: {fault:#}"));
        }
    }

    fn check_store(&self) -> anyhow::Result<()> {
        let after = contents(&self.sandbox.store())?;
        let paths = after.keys().chain(self.before.keys());
        let changed: Vec<_> = paths.filter(|path| after.get(*path) != self.before.get(*path)).collect();
        ensure!(changed.is_empty(), "the store is changed: {changed:?}");
        Ok(())
    }

    /// Ends the server in order, when all its calls have ended, and returns the store it leaves.
    ///
    /// # Errors
    /// When anything was not refused as it should be, or the store is not as it was.
    pub(super) async fn end(mut self) -> anyhow::Result<Sandbox> {
        self.server.terminate()?;
        let status = self.server.ended().await?;
        ensure!(status.success(), "the server ended with {status}");
        let ended = self.check_store().map_err(|fault| format!("after the end of the server: {fault}"));
        let faults: Vec<String> = self.faults.into_inner().into_iter().chain(ended.err()).collect();
        if !faults.is_empty() {
            bail!("{} refusals are not as they should be:\n\n{}", faults.len(), faults.join("\n\n"));
        }
        Ok(self.sandbox)
    }
}
