//! `relief checkpoint evaluate`: what a network makes of samples.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use relief_api::convert::numerics::numerics_to_wire;
use relief_api::inference::v1::compute_logits_response::Part;
use relief_api::inference::v1::{ComputeLogitsRequest, LogitsHeader, LogitsRows, LogitsSummary};
use relief_api::surface::v1::DatasetSlice;
use relief_core::Split;
use serde_json::json;

use crate::cli::EvaluateArguments;
use crate::client::Client;
use crate::file;
use crate::npz::NpzFile;
use crate::output::{self, Output};
use crate::progress::Progress;

pub(crate) async fn run(arguments: &EvaluateArguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let format = arguments.logits.as_deref().map(LogitsFormat::of).transpose()?;
    let logits = compute(arguments, client).await?;
    if let (Some(path), Some(format)) = (&arguments.logits, format) {
        file::write(path, &logits.encode(format)?)?;
    }
    let (header, summary) = (&logits.header, logits.summary);
    let json = || {
        json!({
            "network": header.network,
            "numeric_class": header.numeric_class,
            "n_samples": header.n_samples,
            "loss": summary.loss,
            "accuracy": summary.accuracy,
            "squared_error": summary.squared_error,
        })
    };
    let text = || {
        output::fields(&[
            ("network", header.network.clone()),
            ("samples", header.n_samples.to_string()),
            ("loss", summary.loss.to_string()),
            ("accuracy", format!("{} %", summary.accuracy)),
            ("squared error", summary.squared_error.to_string()),
            ("numeric class", header.numeric_class.clone()),
        ])
    };
    output.print(json, text)
}

/// How logits are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogitsFormat {
    Npz,
    Csv,
}

impl LogitsFormat {
    fn of(path: &Path) -> anyhow::Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("npz") => Ok(Self::Npz),
            Some("csv") => Ok(Self::Csv),
            _ => bail!("--logits: {} ends neither in .npz nor in .csv", path.display()),
        }
    }
}

/// The logits of some samples.
#[derive(Debug)]
struct Logits {
    header: LogitsHeader,
    /// Row-major (samples, classes).
    logits: Vec<f32>,
    targets: Vec<u32>,
    summary: LogitsSummary,
}

async fn compute(arguments: &EvaluateArguments, client: &Client) -> anyhow::Result<Logits> {
    let split = match arguments.split {
        Split::Train => relief_api::catalog::v1::Split::Train,
        Split::Test => relief_api::catalog::v1::Split::Test,
    };
    let request = ComputeLogitsRequest {
        network: arguments.network.as_ref().map(ToString::to_string).unwrap_or_default(),
        checkpoint: arguments.checkpoint.to_string(),
        data: Some(DatasetSlice {
            dataset: arguments.dataset.to_string(),
            split: split.into(),
            limit: arguments.limit,
        }),
        numerics: numerics_to_wire(arguments.numerics.request()),
    };
    let refused = |status| client.inference.refused(status);
    let mut parts = client.inference().compute_logits(request).await.map_err(refused)?.into_inner();
    let mut progress = Progress::new("evaluating");
    let mut logits = None;
    while let Some(part) = parts.message().await.map_err(refused)? {
        let logits = add(&mut logits, client.inference.required("part", part.part)?)?;
        progress.show(logits.targets.len() as u64, logits.header.n_samples, "samples", "");
    }
    let logits = logits.context("the server sent no logits")?;
    ensure!(
        logits.targets.len() as u64 == logits.header.n_samples,
        "the server sent {} of {} samples",
        logits.targets.len(),
        logits.header.n_samples
    );
    progress.finish(&format!("{} samples", logits.header.n_samples));
    Ok(logits)
}

fn add(logits: &mut Option<Logits>, part: Part) -> anyhow::Result<&mut Logits> {
    let logits = match (part, logits.take()) {
        (Part::Header(header), None) => {
            let summary = LogitsSummary { loss: f64::NAN, accuracy: f64::NAN, squared_error: f64::NAN };
            logits.insert(Logits { header, logits: Vec::new(), targets: Vec::new(), summary })
        }
        (Part::Rows(rows), Some(known)) => {
            let logits = logits.insert(known);
            logits.extend(&rows)?;
            logits
        }
        (Part::Summary(summary), Some(known)) => logits.insert(Logits { summary, ..known }),
        (Part::Header(_), Some(_)) => bail!("the server sent the header twice"),
        (_, None) => bail!("the server sent logits before their header"),
    };
    Ok(logits)
}

impl Logits {
    fn extend(&mut self, rows: &LogitsRows) -> anyhow::Result<()> {
        let n_logits = rows.targets.len().checked_mul(self.header.n_classes as usize);
        ensure!(
            rows.first_sample == self.targets.len() as u64 && Some(rows.logits.len()) == n_logits,
            "the server sent {} logits of {} samples from sample {}, which do not follow the {} before them",
            rows.logits.len(),
            rows.targets.len(),
            rows.first_sample,
            self.targets.len(),
        );
        self.logits.extend_from_slice(&rows.logits);
        self.targets.extend_from_slice(&rows.targets);
        Ok(())
    }

    fn encode(&self, format: LogitsFormat) -> anyhow::Result<Vec<u8>> {
        match format {
            LogitsFormat::Npz => {
                let (n_samples, n_classes) = (self.targets.len() as u64, u64::from(self.header.n_classes));
                let mut archive = NpzFile::new();
                archive.add("logits", &[n_samples, n_classes], &self.logits)?;
                archive.add("targets", &[n_samples], &self.targets)?;
                Ok(archive.finish()?)
            }
            LogitsFormat::Csv => Ok(self.csv().into_bytes()),
        }
    }

    fn csv(&self) -> String {
        let n_classes = self.header.n_classes as usize;
        let classes: String = (0..n_classes).map(|class| format!(",logit_{class}")).collect();
        let mut file = format!("sample,target{classes}\n");
        for (sample, (target, row)) in self.targets.iter().zip(self.logits.chunks(n_classes.max(1))).enumerate() {
            // Writing to a string does not fail.
            let _ = write!(file, "{sample},{target}");
            for logit in row {
                // Debug is the shortest form that reads back the same.
                let _ = write!(file, ",{logit:?}");
            }
            file.push('\n');
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Part {
        let network = "networks/n".to_owned();
        Part::Header(LogitsHeader { network, n_samples: 2, n_classes: 2, numeric_class: "c".to_owned() })
    }

    fn rows(first_sample: u64, logits: &[f32], targets: &[u32]) -> Part {
        Part::Rows(LogitsRows { first_sample, logits: logits.to_vec(), targets: targets.to_vec() })
    }

    fn assembled(parts: impl IntoIterator<Item = Part>) -> anyhow::Result<Logits> {
        let mut logits = None;
        for part in parts {
            add(&mut logits, part)?;
        }
        logits.context("none")
    }

    #[test]
    fn samples_follow_one_another_with_their_targets() {
        let summary = Part::Summary(LogitsSummary { loss: 0.5, accuracy: 50.0, squared_error: 0.1 });
        let parts = [header(), rows(0, &[0.1, f32::NAN], &[1]), rows(1, &[-3.0, 1e-30], &[0]), summary];
        let logits = assembled(parts).expect("good parts");
        assert_eq!(logits.csv(), "sample,target,logit_0,logit_1\n0,1,0.1,NaN\n1,0,-3.0,1e-30\n");
        assert_eq!((logits.summary.loss, logits.summary.accuracy), (0.5, 50.0));
        assert!(logits.encode(LogitsFormat::Npz).expect("an archive").starts_with(b"PK"));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        for parts in [
            vec![rows(0, &[1.0, 2.0], &[0])],
            vec![header(), header()],
            vec![header(), rows(1, &[1.0, 2.0], &[0])],
            vec![header(), rows(0, &[1.0], &[0])],
            vec![],
        ] {
            assert!(assembled(parts.clone()).is_err(), "{parts:?}");
        }
    }

    #[test]
    fn the_name_of_the_file_tells_the_format() {
        assert_eq!(LogitsFormat::of(Path::new("a.npz")).expect("npz"), LogitsFormat::Npz);
        let error = LogitsFormat::of(Path::new("a.txt")).expect_err("no format").to_string();
        assert!(error.contains("a.txt") && error.contains(".npz"), "{error}");
    }
}
