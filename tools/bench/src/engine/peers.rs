//! Other programs, which a Python process runs when it is told to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, anyhow, bail, ensure};
use serde_json::{Value, json};

use super::subject::BATCH_SIZE;

/// The program that the process runs; its beginning describes what is said to it.
const PROGRAM: &str = include_str!("../../peers.py");

/// A process that runs peers, or why there is none.
#[derive(Debug)]
pub(crate) struct Peers {
    process: Result<Process, String>,
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
    /// Starts the process. Without an interpreter, without NumPy there, or when it does not answer, whatever is asked
    /// of it later fails with the reason.
    pub(crate) fn start(python: &Path) -> Self {
        match Process::start(python) {
            Ok((process, versions)) => Self { process: Ok(process), versions },
            Err(error) => {
                let reason = format!("{error:#}");
                Self { versions: vec![format!("none, as {reason}")], process: Err(reason) }
            }
        }
    }

    /// The peers' versions, in words.
    pub(crate) fn versions(&self) -> Vec<String> {
        self.versions.clone()
    }

    /// Loads the model and the samples that lie in `folder`, and returns the number that they are known by.
    ///
    /// # Errors
    /// When the peer is not installed, or cannot load them.
    pub(crate) fn load(&mut self, peer: &str, folder: &Path, threads: NonZeroUsize) -> anyhow::Result<u64> {
        let answer = self.ask(&json!({
            "cmd": "load", "peer": peer, "threads": threads, "batch": BATCH_SIZE,
            "model": folder.join("model.onnx"),
            "inputs": folder.join("inputs.npy"), "targets": folder.join("targets.npy"),
        }))?;
        match (answer["loaded"].as_u64(), answer["skipped"].as_str()) {
            (Some(id), _) => Ok(id),
            (None, Some(reason)) => bail!("{reason}"),
            (None, None) => bail!("it answers {answer}"),
        }
    }

    /// Runs what is known as `id` once.
    ///
    /// # Errors
    /// When the peer fails.
    pub(crate) fn run(&mut self, id: u64) -> anyhow::Result<Run> {
        let answer = self.ask(&json!({"cmd": "run", "id": id}))?;
        let seconds = answer["seconds"].as_f64().with_context(|| format!("it answers {answer}"))?;
        Ok(Run { seconds, loss: answer["loss"].as_f64().unwrap_or(f64::NAN) })
    }

    /// Lets [`Self::peak_mib`] begin anew.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub(crate) fn reset_peak(&mut self) -> anyhow::Result<()> {
        self.ask(&json!({"cmd": "memory", "reset": true})).map(|_| ())
    }

    /// The most memory that the process has held since [`Self::reset_peak`], in MiB.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub(crate) fn peak_mib(&mut self) -> anyhow::Result<f64> {
        let answer = self.ask(&json!({"cmd": "memory"}))?;
        answer["peak_mib"].as_f64().with_context(|| format!("it answers {answer}"))
    }

    fn ask(&mut self, request: &Value) -> anyhow::Result<Value> {
        match &mut self.process {
            Ok(process) => process.ask(request),
            Err(reason) => Err(anyhow!("{reason}")),
        }
    }
}

impl Process {
    /// Starts the process; returns the versions of what it finds too.
    fn start(python: &Path) -> anyhow::Result<(Self, Vec<String>)> {
        let has_numpy = Command::new(python).args(["-c", "import numpy"]).stderr(Stdio::null()).status();
        let has_numpy = has_numpy.is_ok_and(|status| status.success());
        ensure!(has_numpy, "`{}` is no Python with NumPy", python.display());
        let mut child = Command::new(python)
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", python.display()))?;
        let (requests, answers) = (child.stdin.take(), child.stdout.take());
        let (requests, answers) = requests.zip(answers).context("no pipes to the peers")?;
        let mut process = Self { child, requests, answers: BufReader::new(answers) };
        let hello = process.ask(&json!({"cmd": "hello"}))?;
        let versions = hello["peers"].as_object().context("the peers tell no versions")?;
        let in_words = |(name, version): (&String, &Value)| match version.as_str() {
            Some(version) => format!("{name} {version}"),
            None => format!("{name} is not installed"),
        };
        Ok((process, versions.iter().map(in_words).collect()))
    }

    fn ask(&mut self, request: &Value) -> anyhow::Result<Value> {
        writeln!(self.requests, "{request}").context("the peers' process is gone")?;
        let mut line = String::new();
        let length = self.answers.read_line(&mut line).context("the peers' process is gone")?;
        ensure!(length > 0, "the peers' process is gone");
        let answer: Value = serde_json::from_str(&line).with_context(|| format!("the peers answer `{line}`"))?;
        match answer["error"].as_str() {
            Some(error) => bail!("{error}"),
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
