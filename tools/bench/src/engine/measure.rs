//! The measurement of one network.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use relief_core::{BatchNormMode, Engine, NumericRequest};

use super::landscape::Landscape;
use super::peers::Peers;
use super::report::{NetworkReport, Stages, SubjectReport};
use super::subject::{Setup, Subject};
use super::{Arguments, memory, training};

/// What other programs compute with, and the words for them.
const PEERS: [&str; 4] = ["onnxruntime", "torch-nchw", "torch-nhwc", "original-loop"];

/// Why a slow one is left out.
const SLOW: &str = "slow, and --quick was given";

/// How long everything rests before it is a subject's turn.
const PAUSE: Duration = Duration::from_millis(250);

/// What is measured, and what was measured of it.
struct Contestant {
    subject: Subject,
    /// Of an engine of this build.
    setup: Option<Setup>,
    report: SubjectReport,
    stages: Vec<Stages>,
}

/// Measures all subjects on a network in turn.
pub(super) fn measure(network: &str, arguments: &Arguments, peers: &mut Peers) -> anyhow::Result<NetworkReport> {
    let n_samples = arguments.n_samples(network);
    let landscape = Landscape::of_default(network, n_samples)?;
    let files = tempfile::tempdir()?;
    landscape.write(files.path())?;
    let mut report = NetworkReport {
        network: network.to_owned(),
        n_samples,
        n_parameters: landscape.graph.n_parameters(),
        ..NetworkReport::default()
    };
    let setups = usable(&landscape, arguments, &mut report);
    let mut memories = Vec::new();
    for setup in &setups {
        let memory = memory::of_own(arguments, network, &setup.word);
        memories.push(kept(memory, &memory_of(&setup.word), &mut report));
    }
    let mut contestants = Vec::new();
    for (setup, memory) in setups.into_iter().zip(memories) {
        let subject = Subject::own(&setup, &landscape, n_samples).with_context(|| setup.word.clone())?;
        let report = SubjectReport {
            subject: setup.word.clone(),
            numeric_class: Some(setup.numeric_class()),
            n_samples: setup.n_samples(n_samples),
            threads: setup.threads.get(),
            memory,
            ..SubjectReport::default()
        };
        contestants.push(Contestant { subject, setup: Some(setup), report, stages: Vec::new() });
    }
    for peer in PEERS {
        contestants.extend(load(peer, files.path(), arguments, peers, &mut report));
    }
    let contestants = take_turns(contestants, arguments.rounds(), peers, &mut report)?;
    if arguments.training {
        let rates = training::rates(&landscape, arguments.threads, arguments.rounds());
        report.training = kept(rates, "training", &mut report).unwrap_or_default();
    }
    report.subjects = contestants.into_iter().map(Contestant::into_report).collect();
    Ok(report)
}

/// Runs all in turn, round by round. A peer that fails is left out, whatever was measured of it before.
fn take_turns(
    mut contestants: Vec<Contestant>,
    rounds: usize,
    peers: &mut Peers,
    report: &mut NetworkReport,
) -> anyhow::Result<Vec<Contestant>> {
    for round in 0..=rounds {
        let mut rest = Vec::new();
        for mut contestant in contestants {
            match contestant.take_turn(round, peers) {
                Ok(()) => rest.push(contestant),
                Err(error) if contestant.setup.is_none() => {
                    report.leave_out(&contestant.report.subject, &format!("it failed: {error:#}"));
                }
                Err(error) => return Err(error.context(contestant.report.subject)),
            }
        }
        contestants = rest;
    }
    Ok(contestants)
}

/// The engines of this build that are measured on the network.
fn usable(landscape: &Landscape, arguments: &Arguments, report: &mut NetworkReport) -> Vec<Setup> {
    let mut usable = Vec::new();
    for setup in Setup::all(arguments.threads) {
        let (engine, precision) = (Some(setup.numerics.engine), Some(setup.numerics.precision));
        let request = NumericRequest { engine, precision };
        if setup.is_slow && arguments.quick {
            report.leave_out(&setup.word, SLOW);
        } else if let Err(obstacle) = setup.device.choose(&landscape.graph, BatchNormMode::Frozen, request) {
            report.leave_out(&setup.word, &obstacle.to_string());
        } else {
            usable.push(setup);
        }
    }
    usable
}

/// A peer on what lies in `folder`, unless it is left out.
fn load(
    peer: &str,
    folder: &Path,
    arguments: &Arguments,
    peers: &mut Peers,
    report: &mut NetworkReport,
) -> Option<Contestant> {
    if arguments.quick && peer == "original-loop" {
        report.leave_out(peer, SLOW);
        return None;
    }
    let id = match peers.load(peer, folder, arguments.threads) {
        Ok(id) => id,
        Err(reason) => {
            report.leave_out(peer, &format!("{reason:#}"));
            return None;
        }
    };
    let memory = kept(memory::of_peer(arguments, peer, folder), &memory_of(peer), report);
    let n_samples = report.n_samples;
    let threads = arguments.threads.get();
    let report = SubjectReport { subject: peer.to_owned(), n_samples, threads, memory, ..SubjectReport::default() };
    Some(Contestant { subject: Subject::Peer(id), setup: None, report, stages: Vec::new() })
}

/// What was measured, or nothing and a word about it in the report.
fn kept<T>(measured: anyhow::Result<T>, what: &str, report: &mut NetworkReport) -> Option<T> {
    measured.map_err(|error| report.leave_out(what, &format!("{error:#}"))).ok()
}

fn memory_of(subject: &str) -> String {
    format!("the memory of {subject}")
}

impl Contestant {
    /// Runs it twice, of which the second counts, but for the first round.
    fn take_turn(&mut self, round: usize, peers: &mut Peers) -> anyhow::Result<()> {
        // Threads of the one before may wait busily for more work, and its data are in the caches.
        thread::sleep(PAUSE);
        let first = self.subject.run(peers)?;
        self.report.add_loss(round == 0, first.loss);
        let speed = self.setup.as_ref().filter(|_| round > 0).and_then(Setup::matrix_speed);
        let run = self.subject.run(peers)?;
        self.report.add_loss(false, run.loss);
        let has_stages = self.setup.as_ref().is_some_and(|setup| setup.numerics.engine == Engine::Cpu);
        if round > 0 {
            self.report.matrix_unit.extend(speed);
            self.report.seconds.push(run.seconds);
            if has_stages {
                self.stages.push(self.subject.stages()?);
            }
        }
        Ok(())
    }

    fn into_report(self) -> SubjectReport {
        let stages = if self.stages.is_empty() { None } else { Some(Stages::median(&self.stages)) };
        SubjectReport { stages, ..self.report }
    }
}
