//! Other programs, which a Python process runs when it is told to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// The program that the process runs; its beginning describes what is said to it.
const PROGRAM: &str = include_str!("../../peers.py");

/// A process that runs peers, if there is an interpreter that has what it needs.
#[derive(Debug)]
pub(crate) struct Peers {
    process: Option<Process>,
    versions: Vec<String>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What a pass took, and what came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) seconds: f64,
    /// In nats; NaN when it is not finite.
    pub(crate) loss: f64,
}

impl Peers {
    /// Starts the process. Without an interpreter, or without NumPy there, all peers are left out.
    ///
    /// # Errors
    /// When an interpreter that was started does not answer as it should.
    pub(crate) fn start(python: &Path) -> anyhow::Result<Self> {
        let has_numpy = Command::new(python).args(["-c", "import numpy"]).stderr(Stdio::null()).status();
        if !has_numpy.is_ok_and(|status| status.success()) {
            return Ok(Self { process: None, versions: vec!["no Python with NumPy, so no peers".to_owned()] });
        }
        let mut child = Command::new(python)
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", python.display()))?;
        let (requests, answers) = (child.stdin.take(), child.stdout.take());
        let (requests, answers) = requests.zip(answers).context("no pipes to the peers")?;
        let mut process = Process { child, requests, answers: BufReader::new(answers) };
        let hello = process.ask(&json!({"cmd": "hello"}))?;
        let mut versions = Vec::new();
        for (name, version) in hello["peers"].as_object().context("no versions of peers")? {
            versions.push(match version.as_str() {
                Some(version) => format!("{name} {version}"),
                None => format!("{name} is not installed"),
            });
        }
        Ok(Self { process: Some(process), versions })
    }

    /// The peers' versions, in words.
    pub(crate) fn versions(&self) -> Vec<String> {
        self.versions.clone()
    }

    /// Loads the model and the samples that lie in `folder`; returns the number that they are known by, or why there is
    /// none.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn load(
        &mut self,
        peer: &str,
        folder: &Path,
        threads: NonZeroUsize,
        batch_size: usize,
    ) -> anyhow::Result<Result<u64, String>> {
        let Some(process) = &mut self.process else { return Ok(Err("there is no Python with NumPy".to_owned())) };
        let answer = process.ask(&json!({
            "cmd": "load", "peer": peer, "threads": threads, "batch": batch_size,
            "model": folder.join("model.onnx"), "inputs": folder.join("inputs.npy"), "targets": folder.join("targets.npy"),
        }))?;
        match (answer["loaded"].as_u64(), answer["skipped"].as_str()) {
            (Some(id), _) => Ok(Ok(id)),
            (None, Some(reason)) => Ok(Err(reason.to_owned())),
            (None, None) => bail!("{peer} answers {answer}"),
        }
    }

    /// Runs what is known as `id` once.
    ///
    /// # Errors
    /// When the peer fails.
    pub(crate) fn run(&mut self, id: u64) -> anyhow::Result<Run> {
        let process = self.process.as_mut().context("no peers were loaded")?;
        let answer = process.ask(&json!({"cmd": "run", "id": id}))?;
        let seconds = answer["seconds"].as_f64().with_context(|| format!("a peer answers {answer}"))?;
        Ok(Run { seconds, loss: answer["loss"].as_f64().unwrap_or(f64::NAN) })
    }

    /// Forgets what is known as `id`.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn unload(&mut self, id: u64) -> anyhow::Result<()> {
        let process = self.process.as_mut().context("no peers were loaded")?;
        process.ask(&json!({"cmd": "unload", "id": id})).map(|_| ())
    }
}

impl Process {
    fn ask(&mut self, request: &Value) -> anyhow::Result<Value> {
        writeln!(self.requests, "{request}").context("the peers' process is gone")?;
        let mut line = String::new();
        self.answers.read_line(&mut line).context("the peers' process is gone")?;
        let answer: Value = serde_json::from_str(&line).with_context(|| format!("the peers answer `{line}`"))?;
        match answer["error"].as_str() {
            Some(error) => bail!("{request} fails: {error}"),
            None => Ok(answer),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends by itself at the end of its input, unless it is computing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
