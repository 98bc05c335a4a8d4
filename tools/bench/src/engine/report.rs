//! What was measured.

mod markdown;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::statistic::{Spread, median};

/// The subject that others are held against.
pub(crate) const REFERENCE: &str = "onnxruntime";

/// The end of the word of a subject that is measured on all threads too.
pub(crate) const ONE_THREAD: &str = ", one thread";

/// All that was measured.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    version: String,
    processor: String,
    rounds: usize,
    threads: NonZeroUsize,
    /// Their versions, in words.
    pub(crate) peers: Vec<String>,
    pub(crate) networks: Vec<NetworkReport>,
    pub(crate) failures: Vec<Failure>,
}

/// What was measured of one network.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NetworkReport {
    pub(crate) network: String,
    pub(crate) n_samples: usize,
    pub(crate) n_parameters: usize,
    pub(crate) subjects: Vec<SubjectReport>,
    /// What was not measured.
    pub(crate) left_out: Vec<LeftOut>,
    /// Images per second of training, round by round, where it was asked for.
    pub(crate) training: Vec<f64>,
}

/// A network that could not be measured.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) network: String,
    pub(crate) reason: String,
}

/// What was not measured of a network.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    pub(crate) what: String,
    pub(crate) reason: String,
}

/// What was measured of one program.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SubjectReport {
    pub(crate) subject: String,
    /// Of an engine of this build.
    pub(crate) numeric_class: Option<String>,
    pub(crate) n_samples: usize,
    pub(crate) threads: usize,
    /// Of the point, round by round.
    pub(crate) seconds: Vec<f64>,
    /// The loss at the point, of all its samples; none when that of any run was not finite.
    pub(crate) loss: Option<f64>,
    /// TFLOP/s of the matrix unit before each run that counts, of a subject that computes with it.
    pub(crate) matrix_unit: Vec<f64>,
    pub(crate) stages: Option<Stages>,
    pub(crate) memory: Option<Memory>,
}

/// Seconds of one point: displacing and packing on all threads of the subject, the rest on one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stages {
    pub(crate) displace: f64,
    pub(crate) pack: f64,
    pub(crate) forward: f64,
    pub(crate) reduce: f64,
}

/// The memory of a process that holds nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The most while it computed the point.
    pub(crate) peak_mib: f64,
    /// What an engine of this build counts for itself.
    pub(crate) formula_mib: Option<f64>,
}

/// How the loss of a subject stands to the reference's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Agreement {
    /// It is the reference's.
    Reference,
    /// The difference, relative to the reference's loss.
    Relative(f64),
    NotFinite,
    /// Why there is nothing to hold it against.
    Unknown(&'static str),
}

impl Report {
    pub(crate) fn new(rounds: usize, threads: NonZeroUsize) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            processor: processor(),
            rounds,
            threads,
            peers: Vec::new(),
            networks: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Takes over what another process measured.
    pub(crate) fn merge(&mut self, other: Self) {
        if self.peers.is_empty() {
            self.peers = other.peers;
        }
        self.networks.extend(other.networks);
        self.failures.extend(other.failures);
    }

    pub(crate) fn fail(&mut self, network: &str, reason: String) {
        self.failures.push(Failure { network: network.to_owned(), reason });
    }
}

impl NetworkReport {
    pub(crate) fn leave_out(&mut self, what: &str, reason: &str) {
        self.left_out.push(LeftOut { what: what.to_owned(), reason: reason.to_owned() });
    }

    fn subject(&self, word: &str) -> Option<&SubjectReport> {
        self.subjects.iter().find(|subject| subject.subject == word)
    }

    /// How many times as many images per second a subject does as the best of `others` in the same round; none where
    /// one of them was not measured.
    fn ratio(&self, word: &str, others: &[&str]) -> Option<Spread> {
        let rates = self.subject(word)?.rates();
        let others = others.iter().map(|other| Some(self.subject(other)?.rates())).collect::<Option<Vec<_>>>()?;
        let ratios = rates.iter().enumerate().filter_map(|(round, rate)| {
            Some(rate / others.iter().filter_map(|rates| rates.get(round)).copied().max_by(f64::total_cmp)?)
        });
        Spread::of(&ratios.collect::<Vec<_>>())
    }

    fn agreement(&self, subject: &SubjectReport) -> Agreement {
        let Some(loss) = subject.loss.filter(|loss| loss.is_finite()) else { return Agreement::NotFinite };
        let Some(reference) = self.subject(REFERENCE) else { return Agreement::Unknown("no reference") };
        if subject.subject == REFERENCE {
            return Agreement::Reference;
        }
        if subject.n_samples != reference.n_samples {
            return Agreement::Unknown("of fewer samples");
        }
        match reference.loss.filter(|loss| loss.is_finite()) {
            None => Agreement::Unknown("the reference is not finite"),
            Some(0.0) => Agreement::Unknown("the reference is 0"),
            Some(reference) => Agreement::Relative((loss - reference).abs() / reference.abs()),
        }
    }
}

impl SubjectReport {
    /// Images per second, round by round.
    fn rates(&self) -> Vec<f64> {
        self.seconds.iter().map(|seconds| self.n_samples as f64 / seconds).collect()
    }

    /// The median of the rounds.
    fn images_per_second(&self) -> f64 {
        median(&self.rates())
    }

    /// The median of the rounds.
    fn points_per_second(&self) -> f64 {
        1.0 / median(&self.seconds)
    }

    /// Adds the loss of a run; one that is not finite stays.
    pub(crate) fn add_loss(&mut self, is_first: bool, loss: f64) {
        if is_first || self.loss.is_some() {
            self.loss = Some(loss).filter(|loss| loss.is_finite());
        }
    }
}

impl Stages {
    /// The median of each.
    pub(crate) fn median(all: &[Self]) -> Self {
        let of = |stage: fn(&Self) -> f64| median(&all.iter().map(stage).collect::<Vec<_>>());
        Self {
            displace: of(|stages| stages.displace),
            pack: of(|stages| stages.pack),
            forward: of(|stages| stages.forward),
            reduce: of(|stages| stages.reduce),
        }
    }

    /// The share of what is not forward passes, in percent, at `n_samples` samples where `measured` were, when `threads`
    /// share the samples.
    fn overhead(&self, measured: usize, n_samples: usize, threads: usize) -> f64 {
        let scale = n_samples as f64 / measured as f64 / threads as f64;
        let rest = self.displace + self.pack + scale * self.reduce;
        100.0 * rest / (rest + scale * self.forward)
    }
}

/// The processor's name, and how many there are.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let n_processors = std::thread::available_parallelism().map_or(0, NonZeroUsize::get);
    format!("{}, {n_processors} processors", name.trim_start_matches([' ', '\t', ':']))
}
