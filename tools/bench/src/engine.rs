//! Images per second of the engines of this build, in turn with those of other programs.
//!
//! Every round runs each subject once, one after the other, so that a machine that slows down slows all of them down. A
//! figure is the median over the rounds, and a ratio is the median of the rounds' ratios. In its turn a subject runs twice
//! after a pause, and the second run counts; a first round does not.

mod peers;
mod report;
mod subject;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use relief_core::{BatchNormMode, Engine, NumericRequest, Numerics, Precision};
use relief_graph::builtin;
use relief_nn::{CpuPath, Device};

use peers::Peers;
use report::{NetworkReport, Report, SubjectReport};
pub(crate) use subject::{Landscape, Subject};

use crate::usage;

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

/// What other programs compute with, and the words for them.
const PEERS: [&str; 4] = ["onnxruntime", "torch-nchw", "torch-nhwc", "original-loop"];

/// How long everything rests before it is a subject's turn.
const PAUSE: Duration = Duration::from_millis(250);

/// Samples per forward pass, where there is a choice.
pub(crate) const BATCH_SIZE: usize = 128;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The networks, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    networks: Vec<String>,

    /// Rounds that are counted
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: usize,

    /// Threads of every subject that is not measured with one
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::MIN.saturating_add(1))]
    threads: NonZeroUsize,

    /// A Python interpreter, for the peers that are installed there: onnxruntime and onnx, torch and torchvision
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: PathBuf,

    /// Leaves the slow ones out: burn, the portable path, and the original's loop
    #[arg(long)]
    quick: bool,

    /// Where the report goes as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Where the report goes as Markdown; it is printed too
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut peers = Peers::start(&arguments.python)?;
    let mut report = Report::new(arguments.rounds, arguments.threads, peers.versions());
    let named = |name: &&(&str, usize)| arguments.networks.is_empty() || arguments.networks.iter().any(|n| n == name.0);
    for other in &arguments.networks {
        anyhow::ensure!(builtin::names().any(|name| name == other), "`{other}` is not a built-in network");
    }
    for (name, n_samples) in NETWORKS.iter().filter(named) {
        eprint(&format!("{name}: {n_samples} samples, {} rounds", arguments.rounds));
        report.networks.push(measure(name, *n_samples, &arguments, &mut peers)?);
    }
    let markdown = report.to_markdown();
    println!("{markdown}");
    if let Some(path) = &arguments.markdown {
        write(path, &markdown)?;
    }
    if let Some(path) = &arguments.json {
        write(path, &serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[expect(clippy::print_stderr, reason = "progress is not part of the report")]
fn eprint(line: &str) {
    eprintln!("{line}");
}

/// What is measured of this build: a word, what it computes in, the device, and whether it is slow.
fn own_subjects(threads: NonZeroUsize) -> Vec<(String, Numerics, Device, bool)> {
    let cpu = Numerics { engine: Engine::Cpu, precision: Precision::F32 };
    let device = Device::cpu_with_threads(threads);
    let mut subjects = Vec::new();
    for (idx, path) in CpuPath::all().into_iter().enumerate() {
        let is_slow = path.as_str() == "portable";
        subjects.push((format!("cpu/f32/{path}"), cpu, device.clone().with_path(path), is_slow));
        if idx == 0 {
            let single = Device::cpu_with_threads(NonZeroUsize::MIN).with_path(path);
            subjects.push((format!("cpu/f32/{path}, one thread"), cpu, single, false));
        }
    }
    for numerics in device.offers().into_iter().filter(|numerics| *numerics != cpu) {
        let (word, is_slow) = match numerics.engine {
            Engine::Cpu => (format!("cpu/{}", numerics.precision), false),
            Engine::Burn => ("burn".to_owned(), true),
        };
        subjects.push((word, numerics, device.clone(), is_slow));
    }
    subjects
}

fn measure(name: &str, n_samples: usize, arguments: &Arguments, peers: &mut Peers) -> anyhow::Result<NetworkReport> {
    let landscape = Arc::new(Landscape::of_default(name, n_samples)?);
    let files = tempfile::tempdir()?;
    let mut subjects = Vec::new();
    let mut memory = None;
    for (word, numerics, device, is_slow) in own_subjects(arguments.threads) {
        if is_slow && arguments.quick {
            continue;
        }
        let request = NumericRequest { engine: Some(numerics.engine), precision: Some(numerics.precision) };
        if device.choose(&landscape.graph, BatchNormMode::Frozen, request).is_err() {
            continue;
        }
        // The slow ones see fewer samples.
        let n_samples = if is_slow { n_samples.div_ceil(4) } else { n_samples };
        if memory.is_none() {
            usage::reset_peak()?;
        }
        let subject = Subject::own(&word, &landscape, numerics, &device, n_samples, BATCH_SIZE)?;
        if memory.is_none() {
            subject.clone().run(peers)?;
            memory = Some((usage::peak_mib()?, subject.n_bytes() as f64 / f64::from(1 << 20)));
        }
        subjects.push(subject);
    }
    landscape.write(files.path())?;
    for peer in PEERS.iter().filter(|peer| !arguments.quick || **peer != "original-loop") {
        match peers.load(peer, files.path(), arguments.threads, BATCH_SIZE)? {
            Ok(id) => subjects.push(Subject::peer(peer, id, n_samples)),
            Err(reason) => eprint(&format!("{peer} is left out: {reason}")),
        }
    }
    let mut runs = vec![Vec::new(); subjects.len()];
    let mut losses = vec![None; subjects.len()];
    for round in 0..=arguments.rounds {
        for (idx, subject) in subjects.iter_mut().enumerate() {
            // Threads of the one before may wait busily for more work, and its data are in the caches.
            std::thread::sleep(PAUSE);
            subject.run(peers)?;
            let run = subject.run(peers)?;
            losses[idx] = Some(run.loss).filter(|_| subject.n_samples() == n_samples);
            if round > 0 {
                runs[idx].push(subject.n_samples() as f64 / run.seconds);
            }
        }
    }
    let stages = subjects.first().map(|subject| subject.stages(arguments.rounds)).transpose()?.flatten();
    for subject in &subjects {
        subject.unload(peers)?;
    }
    let reports = subjects.iter().zip(runs).zip(losses);
    Ok(NetworkReport {
        network: name.to_owned(),
        n_samples,
        n_parameters: landscape.graph.n_parameters(),
        subjects: reports
            .map(|((subject, rates), loss)| SubjectReport { subject: subject.word().to_owned(), rates, loss })
            .collect(),
        stages,
        peak_mib: memory.map(|(peak, _)| peak),
        formula_mib: memory.map(|(_, formula)| formula),
    })
}
