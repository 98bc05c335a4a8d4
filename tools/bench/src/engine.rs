//! Images per second of the engines of this build, in turn with those of other programs.
//!
//! Every round runs each subject once, one after the other, so that a machine that slows down slows all of them down. A
//! figure is the median over the rounds, and a ratio is the median of the rounds' ratios. In its turn a subject runs
//! twice after a pause, and the second run counts; a first round does not. A run is a point: from the parameters at the
//! origin to the mean loss at the point.
//!
//! Each of several networks is measured by a process of its own, and the report is written anew after each: one that
//! fails is named there, and the others go on.

mod landscape;
mod measure;
mod memory;
mod npy;
mod peers;
mod report;
mod subject;
#[cfg(test)]
mod tests;
mod training;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, ensure};
use relief_graph::builtin;

pub(crate) use landscape::Landscape;
use peers::Peers;
use report::Report;
pub(crate) use subject::{Setup, Subject};

/// The networks that are measured unless said otherwise, with their samples.
const NETWORKS: [(&str, usize); 7] = [
    ("lenet5", 2048),
    ("vgg9", 256),
    ("resnet20", 1024),
    ("resnet56", 512),
    ("resnet110", 256),
    ("densenet121", 128),
    ("resnet18", 256),
];

/// The samples of other networks.
const OTHER_SAMPLES: usize = 256;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The built-in networks, separated by commas; seven of them unless given
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    networks: Vec<String>,

    /// Samples of every network, instead of as many as take a while
    #[arg(long, value_name = "N")]
    samples: Option<NonZeroUsize>,

    /// Rounds that are counted
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Threads of every subject that is not measured with one
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::MIN.saturating_add(1))]
    threads: NonZeroUsize,

    /// A Python interpreter, for the peers that are installed there: onnxruntime and onnx, torch and torchvision
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: PathBuf,

    /// Leaves the slow ones out: burn, the portable path, and the original's loop
    #[arg(long)]
    quick: bool,

    /// Measures training too
    #[arg(long)]
    training: bool,

    /// Where the report goes as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Where the report goes as Markdown; it is printed too
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// Measures the memory of this subject alone, for the process that measures the rest
    #[arg(long, value_name = "SUBJECT", hide = true, requires = "json")]
    memory_of: Option<String>,
}

impl Arguments {
    fn rounds(&self) -> usize {
        self.rounds as usize
    }

    /// The samples that the network is measured with.
    fn n_samples(&self, network: &str) -> usize {
        let usual = NETWORKS.iter().find(|(name, _)| *name == network).map_or(OTHER_SAMPLES, |(_, usual)| *usual);
        self.samples.map_or(usual, NonZeroUsize::get)
    }

    /// The networks to measure, each once.
    ///
    /// # Errors
    /// When one is not built in.
    fn networks(&self) -> anyhow::Result<Vec<&str>> {
        if self.networks.is_empty() {
            return Ok(NETWORKS.map(|(name, _)| name).to_vec());
        }
        let mut networks = Vec::new();
        for name in &self.networks {
            builtin::describe(name)?;
            if !networks.contains(&name.as_str()) {
                networks.push(name.as_str());
            }
        }
        Ok(networks)
    }

    /// This program anew with the same options, but for one network alone, with its report in `json`.
    ///
    /// # Errors
    /// When this program does not know where it is.
    fn process_for(&self, network: &str, json: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(env::current_exe().context("this program does not know where it is")?);
        command.args(["engine", "--networks", network]).arg("--json").arg(json);
        command.args(["--rounds", &self.rounds.to_string(), "--threads", &self.threads.to_string()]);
        command.args(self.samples.iter().flat_map(|samples| ["--samples".to_owned(), samples.to_string()]));
        command.arg("--python").arg(&self.python);
        command.args(self.quick.then_some("--quick")).args(self.training.then_some("--training"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(command)
    }

    /// Writes the report wherever it goes.
    fn write(&self, report: &Report) -> anyhow::Result<()> {
        if let Some(path) = &self.markdown {
            write(path, &report.to_markdown())?;
        }
        if let Some(path) = &self.json {
            write(path, &serde_json::to_string_pretty(report)?)?;
        }
        Ok(())
    }
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let networks = arguments.networks()?;
    if let (Some(subject), Some(path), [network]) = (&arguments.memory_of, &arguments.json, &networks[..]) {
        let memory = memory::of_this_process(&arguments, network, subject)?;
        return write(path, &serde_json::to_string(&memory)?);
    }
    let mut report = Report::new(arguments.rounds(), arguments.threads);
    if let [network] = networks[..] {
        eprint(&format!("{network}: {} samples, {} rounds", arguments.n_samples(network), arguments.rounds));
        let mut peers = Peers::start(&arguments.python);
        report.peers = peers.versions();
        match measure::measure(network, &arguments, &mut peers) {
            Ok(measured) => report.networks.push(measured),
            Err(error) => report.fail(network, format!("{error:#}")),
        }
        arguments.write(&report)?;
    } else {
        for network in networks {
            match measure_elsewhere(network, &arguments) {
                Ok(measured) => report.merge(measured),
                Err(error) => report.fail(network, format!("{error:#}")),
            }
            arguments.write(&report)?;
        }
    }
    println!("{}", report.to_markdown());
    let failures: Vec<String> = report.failures.iter().map(|f| format!("{}: {}", f.network, f.reason)).collect();
    ensure!(failures.is_empty(), "not measured: {}", failures.join("; "));
    Ok(())
}

/// Measures a network in a process of its own; a failure that it reports is in the report.
fn measure_elsewhere(network: &str, arguments: &Arguments) -> anyhow::Result<Report> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("report.json");
    let status = arguments.process_for(network, &file)?.status().context("its process does not start")?;
    let text = fs::read(&file).with_context(|| format!("its process left no report: {status}"))?;
    let report: Report = serde_json::from_slice(&text).context("its process left a report that cannot be read")?;
    ensure!(status.success() || !report.failures.is_empty(), "its process failed: {status}");
    Ok(report)
}

/// Writes a file whole or not at all.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[expect(clippy::print_stderr, reason = "progress is not part of the report")]
fn eprint(line: &str) {
    eprintln!("{line}");
}
