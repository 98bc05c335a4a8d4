//! What was measured, as Markdown and JSON.

use std::fmt::Write as _;
use std::num::NonZeroUsize;

use serde::Serialize;

/// The subject that others are held against.
const REFERENCE: &str = "onnxruntime";

/// All that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: &'static str,
    processor: String,
    rounds: usize,
    threads: NonZeroUsize,
    peers: Vec<String>,
    pub(crate) networks: Vec<NetworkReport>,
}

/// What was measured of one network.
#[derive(Debug, Serialize)]
pub(crate) struct NetworkReport {
    pub(crate) network: String,
    pub(crate) n_samples: usize,
    pub(crate) n_parameters: usize,
    pub(crate) subjects: Vec<SubjectReport>,
    /// Of the first subject.
    pub(crate) stages: Option<Stages>,
    /// The most memory of the process while the first subject alone was loaded, and what the engine counts for it.
    pub(crate) peak_mib: Option<f64>,
    pub(crate) formula_mib: Option<f64>,
}

/// What was measured of one program.
#[derive(Debug, Serialize)]
pub(crate) struct SubjectReport {
    pub(crate) subject: String,
    /// Images per second, round by round.
    pub(crate) rates: Vec<f64>,
    /// The loss at the centre, where all samples were seen; none when it is not finite.
    pub(crate) loss: Option<f64>,
}

/// Seconds of one point on one thread.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Stages {
    pub(crate) displace: f64,
    pub(crate) pack: f64,
    pub(crate) forward: f64,
    pub(crate) reduce: f64,
}

impl Stages {
    /// The median of each.
    pub(crate) fn median(all: &[Self]) -> Self {
        let of = |stage: fn(&Self) -> f64| median(all.iter().map(stage).collect());
        Self {
            displace: of(|stages| stages.displace),
            pack: of(|stages| stages.pack),
            forward: of(|stages| stages.forward),
            reduce: of(|stages| stages.reduce),
        }
    }

    /// The share of what is not forward passes, in percent, at `n_samples` samples where `measured` were.
    fn overhead(&self, measured: usize, n_samples: usize) -> f64 {
        let scale = n_samples as f64 / measured as f64;
        let rest = self.displace + self.pack + scale * self.reduce;
        100.0 * rest / (rest + scale * self.forward)
    }
}

/// What a table says of a network.
type Cell<'a> = &'a dyn Fn(&NetworkReport) -> Option<String>;

impl Report {
    pub(crate) fn new(rounds: usize, threads: NonZeroUsize, peers: Vec<String>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            processor: processor(),
            rounds,
            threads,
            peers,
            networks: Vec::new(),
        }
    }

    pub(crate) fn to_markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "{}; {} threads unless said otherwise; medians of {} rounds.",
            self.processor, self.threads, self.rounds
        )?;
        writeln!(text, "Peers: {}.\n", self.peers.join(", "))?;
        writeln!(text, "Images per second, and in brackets the ratio to {REFERENCE}:\n")?;
        let mut words: Vec<&str> = Vec::new();
        for subject in self.networks.iter().flat_map(|network| &network.subjects) {
            if !words.contains(&subject.subject.as_str()) {
                words.push(&subject.subject);
            }
        }
        write!(text, "| |")?;
        self.networks.iter().try_for_each(|network| write!(text, " {} |", network.network))?;
        write!(text, "\n|---|")?;
        self.networks.iter().try_for_each(|_| write!(text, "---:|"))?;
        writeln!(text)?;
        for word in words {
            write!(text, "| {word} |")?;
            for network in &self.networks {
                match (network.rate(word), network.ratio(word, REFERENCE)) {
                    (Some(rate), Some(ratio)) if word != REFERENCE => write!(text, " {rate:.0} ({ratio:.2}) |")?,
                    (Some(rate), _) => write!(text, " {rate:.0} |")?,
                    (None, _) => write!(text, " |")?,
                }
            }
            writeln!(text)?;
        }
        writeln!(text, "\nOf the first row:\n")?;
        let rows: [(&str, Cell<'_>); 7] = [
            ("all threads against one", &|network| Some(format!("{:.2}", network.scaling()?))),
            ("points per second at 1,000 samples", &|network| Some(format!("{:.1}", network.points_per_second()?))),
            ("a point: displacing, ms on one thread", &|n| Some(format!("{:.2}", 1e3 * n.stages?.displace))),
            ("packing, ms on all threads", &|n| Some(format!("{:.2}", 1e3 * n.stages?.pack))),
            ("reducing, us per image on one thread", &|n| {
                Some(format!("{:.2}", 1e6 * n.stages?.reduce / n.n_samples as f64))
            }),
            ("overhead at 5,000 samples, one thread, %", &|n| {
                Some(format!("{:.2}", n.stages?.overhead(n.n_samples, 5000)))
            }),
            ("memory at its peak (by the formula), MiB", &|n| {
                Some(format!("{:.0} ({:.0})", n.peak_mib?, n.formula_mib?))
            }),
        ];
        write!(text, "| |")?;
        self.networks.iter().try_for_each(|network| write!(text, " {} |", network.network))?;
        write!(text, "\n|---|")?;
        self.networks.iter().try_for_each(|_| write!(text, "---:|"))?;
        writeln!(text)?;
        for (word, cell) in rows {
            write!(text, "| {word} |")?;
            for network in &self.networks {
                write!(text, " {} |", cell(network).unwrap_or_default())?;
            }
            writeln!(text)?;
        }
        let worst = self.networks.iter().filter_map(NetworkReport::disagreement).fold(0.0, f64::max);
        if worst > 0.0 {
            writeln!(
                text,
                "\nThe losses at the centre differ from {REFERENCE}'s by at most {worst:.1e} of it, but for bf16."
            )?;
        }
        Ok(())
    }
}

impl NetworkReport {
    fn rates(&self, word: &str) -> Option<&[f64]> {
        let subject = self.subjects.iter().find(|subject| subject.subject == word)?;
        Some(&subject.rates)
    }

    fn rate(&self, word: &str) -> Option<f64> {
        Some(median(self.rates(word)?.to_vec()))
    }

    /// The median of the rounds' ratios.
    fn ratio(&self, word: &str, other: &str) -> Option<f64> {
        let pairs = self.rates(word)?.iter().zip(self.rates(other)?);
        Some(median(pairs.map(|(rate, other)| rate / other).collect()))
    }

    fn scaling(&self) -> Option<f64> {
        let [first, second, ..] = &self.subjects[..] else { return None };
        second.subject.ends_with("one thread").then(|| self.ratio(&first.subject, &second.subject))?
    }

    fn points_per_second(&self) -> Option<f64> {
        Some(self.rate(&self.subjects.first()?.subject)? / 1000.0)
    }

    /// The largest relative difference of a loss from the reference's.
    fn disagreement(&self) -> Option<f64> {
        let loss = |word: &str| self.subjects.iter().find(|subject| subject.subject == word)?.loss;
        let reference = loss(REFERENCE)?;
        // The original's images have 8 bits, and in another order.
        let others = self.subjects.iter().filter(|s| s.subject != "original-loop" && s.subject != "cpu/bf16");
        Some(others.filter_map(|s| s.loss).map(|loss| (loss - reference).abs() / reference.abs()).fold(0.0, f64::max))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// The processor's name, and how many there are.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let n_processors = std::thread::available_parallelism().map_or(0, NonZeroUsize::get);
    format!("{}, {n_processors} processors", name.trim_start_matches([' ', '\t', ':']))
}
