//! What was measured, as Markdown.

use std::fmt::{self, Write as _};

use super::{Agreement, NetworkReport, ONE_THREAD, REFERENCE, Report, SubjectReport};
use crate::engine::landscape::POINT;
use crate::statistic::Spread;

/// What the ratios to other programs are to, with the words for it.
const OTHERS: [(&str, &[&str]); 4] = [
    ("torch-nchw", &["torch-nchw"]),
    ("torch-nhwc", &["torch-nhwc"]),
    ("the better of both", &["torch-nchw", "torch-nhwc"]),
    ("original-loop", &["original-loop"]),
];

/// Samples that overheads are told for.
const MANY_SAMPLES: usize = 5000;

/// The words of a row, and its cells.
type Row = (String, Vec<String>);

/// What a table of subjects says in one of its columns.
type Column<'a> = (String, &'a dyn Fn(&SubjectReport) -> Option<String>);

impl Report {
    pub(crate) fn to_markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        let Self { version, processor, rounds, threads, peers, .. } = self;
        let [x, y] = POINT;
        writeln!(
            text,
            "relief-bench {version}; {processor}; {threads} threads unless said otherwise; {rounds} rounds."
        )?;
        writeln!(
            text,
            "Figures are of the point ({x}, {y}) of a plane, and medians of the rounds; those of ratios are of the \
             rounds' ratios, beside the lowest and the highest. Peers read a model with the weights of the point."
        )?;
        writeln!(text, "Peers: {}.", peers.join(", "))?;
        let classes = self.words(|subject| subject.numeric_class.as_deref());
        writeln!(text, "Numeric classes: {}.\n", classes.join(", "))?;
        self.write_failures(text)?;
        writeln!(text, "## Images per second\n\nIn brackets the ratio to {REFERENCE}.\n")?;
        self.write_rates(text)?;
        writeln!(text, "\n## Ratios to others, and of threads\n")?;
        self.write_ratios(text)?;
        writeln!(text, "\n## Losses\n")?;
        self.write_losses(text)?;
        writeln!(text, "\n## Points\n")?;
        self.write_conditions(text)?;
        self.networks.iter().try_for_each(|network| network.write(text))
    }

    fn write_failures(&self, text: &mut String) -> fmt::Result {
        if self.failures.is_empty() {
            return Ok(());
        }
        writeln!(text, "These networks could not be measured:\n")?;
        for failure in &self.failures {
            writeln!(text, "- {}: {}", failure.network, failure.reason)?;
        }
        writeln!(text)
    }

    fn write_rates(&self, text: &mut String) -> fmt::Result {
        let cell = |network: &NetworkReport, word: &str| {
            let rate = network.subject(word)?.images_per_second();
            Some(match network.ratio(word, &[REFERENCE]) {
                Some(ratio) if word != REFERENCE => format!("{rate:.0} ({ratio})"),
                _ => format!("{rate:.0}"),
            })
        };
        let words = self.words(|subject| Some(&subject.subject));
        let rows = words.into_iter().map(|word| self.row(word.to_owned(), &|network| cell(network, word)));
        self.write_table(text, rows)
    }

    fn write_ratios(&self, text: &mut String) -> fmt::Result {
        let mut rows = Vec::new();
        for main in self.mains() {
            for (other, words) in OTHERS {
                rows.push(
                    self.row(format!("{main} to {other}"), &|network| Some(network.ratio(main, words)?.to_string())),
                );
            }
            let single = format!("{main}{ONE_THREAD}");
            let words = format!("{main}, {} threads to one", self.threads);
            rows.push(self.row(words, &|network| Some(network.ratio(main, &[&single])?.to_string())));
        }
        self.write_table(text, rows.into_iter().filter(|(_, cells)| cells.iter().any(|cell| !cell.is_empty())))
    }

    fn write_losses(&self, text: &mut String) -> fmt::Result {
        let agreements: Vec<Agreement> = self
            .networks
            .iter()
            .flat_map(|network| network.subjects.iter().map(|subject| network.agreement(subject)))
            .collect();
        if agreements.contains(&Agreement::NotFinite) {
            writeln!(text, "**Not every loss is finite.**")?;
        }
        writeln!(
            text,
            "Differences from {REFERENCE}'s loss, relative to it. Those of bf16, whose weights have 8 bits, and of \
             original-loop, whose images do, need not be small.\n"
        )?;
        let cell = |network: &NetworkReport, word: &str| {
            let subject = network.subject(word)?;
            Some(match network.agreement(subject) {
                Agreement::Reference => format!("loss {:.6}", subject.loss?),
                Agreement::Relative(difference) => format!("{difference:.1e}"),
                Agreement::NotFinite => "**not finite**".to_owned(),
                Agreement::Unknown(reason) => reason.to_owned(),
            })
        };
        let words = self.words(|subject| Some(&subject.subject));
        let rows = words.into_iter().map(|word| self.row(word.to_owned(), &|network| cell(network, word)));
        self.write_table(text, rows)
    }

    /// What the tables of single networks tell.
    fn write_conditions(&self, text: &mut String) -> fmt::Result {
        writeln!(
            text,
            "Of a point, displacing and packing are on all threads, forward passes and reducing on one; the overhead is \
             what a point takes beside forward passes, when all threads share these. Memory is the most that a process held \
             while it computed the point and nothing else, all being loaded (of original-loop without its two workers), \
             and in brackets what the engine counts."
        )?;
        if self.networks.iter().flat_map(|network| &network.subjects).any(|subject| !subject.matrix_unit.is_empty()) {
            writeln!(
                text,
                "The matrix unit was measured by itself directly before each run that counts: on a processor shared \
                 with other machines its speed is what the rates of these subjects follow."
            )?;
        }
        Ok(())
    }

    /// The words of all subjects, each once.
    fn words<'a>(&'a self, word: impl Fn(&'a SubjectReport) -> Option<&'a str>) -> Vec<&'a str> {
        let mut words = Vec::new();
        for word in self.networks.iter().flat_map(|network| &network.subjects).filter_map(word) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words
    }

    /// The best path of float32, and split-bf16.
    fn mains(&self) -> Vec<&str> {
        let words = self.words(|subject| Some(&subject.subject));
        let best = words.iter().find(|word| word.starts_with("cpu/f32/"));
        let split = words.iter().find(|word| **word == "cpu/split-bf16");
        best.into_iter().chain(split).copied().collect()
    }

    fn row(&self, words: String, cell: &dyn Fn(&NetworkReport) -> Option<String>) -> Row {
        (words, self.networks.iter().map(|network| cell(network).unwrap_or_default()).collect())
    }

    fn write_table(&self, text: &mut String, rows: impl IntoIterator<Item = Row>) -> fmt::Result {
        write_table(text, self.networks.iter().map(|network| network.network.as_str()), rows)
    }
}

impl NetworkReport {
    fn write(&self, text: &mut String) -> fmt::Result {
        let Self { network, n_samples, n_parameters, .. } = self;
        writeln!(text, "\n### {network}\n\n{n_samples} samples, {n_parameters} parameters.\n")?;
        let milliseconds = |seconds: f64| Some(format!("{:.2}", 1e3 * seconds));
        let per_image = |seconds: f64, s: &SubjectReport| Some(format!("{:.2}", 1e6 * seconds / s.n_samples as f64));
        let columns: [Column<'_>; 8] = [
            (format!("points/s at {n_samples} samples"), &|subject| Some(self.points(subject))),
            ("displacing, ms".to_owned(), &|s| milliseconds(s.stages?.displace)),
            ("packing, ms".to_owned(), &|s| milliseconds(s.stages?.pack)),
            ("forward, us/image".to_owned(), &|s| per_image(s.stages?.forward, s)),
            ("reducing, us/image".to_owned(), &|s| per_image(s.stages?.reduce, s)),
            (format!("overhead at {MANY_SAMPLES} samples, %"), &|s| {
                Some(format!("{:.2}", s.stages?.overhead(s.n_samples, MANY_SAMPLES, s.threads.max(1))))
            }),
            ("memory, MiB".to_owned(), &|subject| {
                let memory = subject.memory?;
                let formula = memory.formula_mib.map(|mib| format!(" ({mib:.0})"));
                Some(format!("{:.0}{}", memory.peak_mib, formula.unwrap_or_default()))
            }),
            ("matrix unit, TFLOP/s".to_owned(), &|subject| Some(Spread::of(&subject.matrix_unit)?.to_string())),
        ];
        let rows = self.subjects.iter().map(|subject| {
            let cells = columns.iter().map(|(_, cell)| cell(subject).unwrap_or_default());
            (subject.subject.clone(), cells.collect())
        });
        write_table(text, columns.iter().map(|(head, _)| head.as_str()), rows)?;
        if let Some(spread) = Spread::of(&self.training) {
            let Spread { median, lowest, highest } = spread;
            writeln!(text, "\nTraining by burn: {median:.0} images per second, {lowest:.0}-{highest:.0}.")?;
        }
        if !self.left_out.is_empty() {
            writeln!(text, "\nLeft out:\n")?;
        }
        self.left_out.iter().try_for_each(|part| writeln!(text, "- {}: {}", part.what, part.reason))
    }

    /// Points per second of an engine of this build, and at how many samples where these are fewer.
    fn points(&self, subject: &SubjectReport) -> String {
        if subject.numeric_class.is_none() {
            return String::new();
        }
        let rate = format!("{:.2}", subject.points_per_second());
        if subject.n_samples == self.n_samples { rate } else { format!("{rate} at {}", subject.n_samples) }
    }
}

fn write_table<'a>(
    text: &mut String,
    heads: impl Iterator<Item = &'a str> + Clone,
    rows: impl IntoIterator<Item = Row>,
) -> fmt::Result {
    write!(text, "| |")?;
    heads.clone().try_for_each(|head| write!(text, " {head} |"))?;
    write!(text, "\n|---|")?;
    heads.into_iter().try_for_each(|_| write!(text, "---:|"))?;
    writeln!(text)?;
    for (words, cells) in rows {
        writeln!(text, "| {words} | {} |", cells.join(" | "))?;
    }
    Ok(())
}
