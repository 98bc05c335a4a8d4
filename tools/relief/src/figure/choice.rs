//! The runs that a figure is made from, and what is said of those that are missing.

use std::fmt::Write as _;

use relief_api::convert::job::state_from_wire;
use relief_api::training::v1::{ListRunsRequest, Run, RunSpec};
use relief_core::{DatasetId, JobState, NetworkId, RunId};

use super::recipe::{Choices, Entry, Wanted};
use crate::client::{Client, list_all};

/// A finished run that a figure draws.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chosen {
    pub(super) wanted: Wanted,
    pub(super) id: RunId,
    /// The number of epochs, which is that of its last snapshot.
    pub(super) epochs: u32,
    /// When it was accepted.
    pub(super) created: String,
}

impl Chosen {
    /// The name of its last snapshot.
    pub(super) fn solution(&self) -> String {
        format!("{}/snapshots/{}", self.id, self.epochs)
    }
}

/// Why a figure cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Missing(String);

/// Returns a run for each that `choices` want, all on one dataset, with its name: the newest of several.
pub(super) async fn choose(
    client: &Client,
    entry: &Entry,
    choices: &Choices,
    dataset: Option<&DatasetId>,
) -> anyhow::Result<(DatasetId, Vec<Chosen>)> {
    let runs = list_all!(client, training.list_runs, ListRunsRequest, runs);
    Ok(chosen(&runs, entry, choices, dataset)?)
}

fn chosen(
    runs: &[Run],
    entry: &Entry,
    choices: &Choices,
    dataset: Option<&DatasetId>,
) -> Result<(DatasetId, Vec<Chosen>), Missing> {
    let wanted = choices.wanted();
    let is_any = |spec: &RunSpec| wanted.iter().any(|wanted| is_of(spec, wanted));
    let finished: Vec<(&Run, &RunSpec)> = runs.iter().filter(|run| is_finished(run)).filter_map(with_spec).collect();
    let suiting = finished.iter().find(|(_, spec)| is_any(spec)).or(finished.first());
    let dataset = match dataset {
        Some(dataset) => dataset.clone(),
        None => suiting
            .and_then(|(_, spec)| spec.dataset.parse().ok())
            .ok_or_else(|| Missing(format!("{} is made from finished runs, and there is none; {}", entry.word, HOW)))?,
    };
    let on_it: Vec<(&Run, &RunSpec)> = finished
        .into_iter()
        .filter(|(_, spec)| spec.dataset.parse::<DatasetId>().is_ok_and(|other| other == dataset))
        .collect();
    let mut chosen = Vec::new();
    let mut missing = Vec::new();
    for wanted in wanted {
        let found = on_it.iter().find(|(_, spec)| is_of(spec, &wanted));
        match found.and_then(|(run, spec)| Some((run, run.name.parse().ok()?, spec.epochs))) {
            Some((run, id, epochs)) => {
                let created = run.create_time.as_ref().map(ToString::to_string).unwrap_or_default();
                chosen.push(Chosen { wanted, id, epochs, created });
            }
            None => missing.push(wanted),
        }
    }
    if missing.is_empty() { Ok((dataset, chosen)) } else { Err(said_of(&missing, runs, &on_it, entry, &dataset)) }
}

const HOW: &str = "`relief train` makes them";

fn said_of(missing: &[Wanted], all: &[Run], there: &[(&Run, &RunSpec)], entry: &Entry, dataset: &DatasetId) -> Missing {
    let runs = if missing.len() == 1 { "a run that is" } else { "runs that are" };
    let mut text = format!("{} (fig{}) needs {runs} not there:", entry.word, entry.number);
    for wanted in missing {
        let Wanted { network, batch, weight_decay } = wanted;
        let _ = write!(text, "\n  {network} on {dataset}, batch {batch}, weight decay {weight_decay}");
        let under_way = all.iter().filter_map(with_spec).find(|(run, spec)| {
            let is_on_it = spec.dataset.parse::<DatasetId>().is_ok_and(|other| other == *dataset);
            is_on_it && is_of(spec, wanted) && !is_finished(run)
        });
        let _ = match under_way {
            Some((run, _)) => write!(text, "\n    {} is {}", run.name, state(run)),
            None => write!(
                text,
                "\n    relief train --network {} --dataset {} --batch {batch} --weight-decay {weight_decay} --epochs 300 \
                 --milestones 150,225,275",
                network.as_str(),
                dataset.as_str(),
            ),
        };
    }
    if there.is_empty() {
        let _ = write!(text, "\nNo finished run is on {dataset}; --dataset chooses another.");
    } else {
        let _ = write!(text, "\nFinished on {dataset}, to be chosen with --networks, --batches and --weight-decays:");
        for (run, spec) in there {
            let (batch, weight_decay) = (spec.batch_size.unwrap_or_default(), spec.weight_decay.unwrap_or_default());
            let network = spec.network.trim_start_matches("networks/");
            let _ = write!(text, "\n  {}: {network}, batch {batch}, weight decay {weight_decay}", run.name);
        }
    }
    Missing(text)
}

fn with_spec(run: &Run) -> Option<(&Run, &RunSpec)> {
    Some((run, run.spec.as_ref()?))
}

fn state(run: &Run) -> JobState {
    run.status.as_ref().and_then(|status| state_from_wire(status.state)).unwrap_or_default()
}

fn is_finished(run: &Run) -> bool {
    state(run) == JobState::Succeeded
}

fn is_of(spec: &RunSpec, wanted: &Wanted) -> bool {
    let is_close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
    is_network(&spec.network, &wanted.network)
        && spec.batch_size == Some(wanted.batch)
        && spec.weight_decay.is_some_and(|weight_decay| is_close(weight_decay, wanted.weight_decay))
}

/// Whether `name` is the network `wanted`, perhaps for samples and classes that follow it, as in resnet20-1x28x28-10.
fn is_network(name: &str, wanted: &NetworkId) -> bool {
    let Some(rest) = name.trim_start_matches("networks/").strip_prefix(wanted.as_str()) else { return false };
    let is_shape = |rest: &str| match rest.split_once('-') {
        Some((shape, classes)) => {
            shape.split('x').count() == 3 && shape.split('x').chain([classes]).all(|n| n.parse::<u32>().is_ok())
        }
        None => false,
    };
    rest.is_empty() || rest.strip_prefix('-').is_some_and(is_shape)
}

#[cfg(test)]
mod tests {
    use relief_api::job::v1::JobState as WireState;
    use relief_api::training::v1::RunStatus;

    use super::*;
    use crate::cli::FigureName;

    fn run(id: &str, network: &str, batch: u32, weight_decay: f64, state: WireState) -> Run {
        Run {
            name: format!("runs/{id}"),
            spec: Some(RunSpec {
                network: format!("networks/{network}"),
                dataset: "datasets/d".to_owned(),
                epochs: 30,
                batch_size: Some(batch),
                weight_decay: Some(weight_decay),
                ..RunSpec::default()
            }),
            status: Some(RunStatus { state: state.into(), ..RunStatus::default() }),
            ..Run::default()
        }
    }

    fn choices(networks: &[&str]) -> Choices {
        Choices {
            networks: networks.iter().map(|name| name.parse().expect("a name")).collect(),
            batches: vec![32, 1000],
            weight_decays: vec![5e-4],
        }
    }

    fn entry() -> &'static Entry {
        Entry::of(FigureName::Minima).expect("a figure")
    }

    #[test]
    fn networks_are_known_with_and_without_their_shapes() {
        let is = |name: &str, wanted: &str| is_network(name, &wanted.parse().expect("a name"));
        assert!(is("networks/resnet20", "resnet20") && is("resnet20-1x28x28-10", "resnet20"));
        assert!(is("resnet20-1x28x28-10", "resnet20-1x28x28-10"));
        assert!(!is("resnet20_noshort-1x28x28-10", "resnet20") && !is("resnet20-mine", "resnet20"));
        assert!(!is("resnet20-1x28-10", "resnet20") && !is("resnet20", "resnet20-1x28x28-10"));
    }

    #[test]
    fn the_newest_finished_run_of_each_is_chosen() {
        let runs = [
            run("e", "lenet5", 32, 5e-4, WireState::Running),
            run("d", "lenet5", 32, 5e-4, WireState::Succeeded),
            run("c", "lenet5", 1000, 5e-4, WireState::Succeeded),
            run("b", "lenet5", 32, 5e-4, WireState::Succeeded),
            run("a", "lenet5", 32, 0.0, WireState::Succeeded),
        ];
        let (dataset, chosen) = chosen(&runs, entry(), &choices(&["lenet5"]), None).expect("runs");
        assert_eq!(dataset.to_string(), "datasets/d");
        let names: Vec<String> = chosen.iter().map(Chosen::solution).collect();
        assert_eq!(names, ["runs/d/snapshots/30", "runs/c/snapshots/30"]);
    }

    #[test]
    fn what_is_missing_is_said_with_how_to_make_it() {
        let runs =
            [run("b", "lenet5", 1000, 5e-4, WireState::Running), run("a", "lenet5", 32, 5e-4, WireState::Succeeded)];
        let error = chosen(&runs, entry(), &choices(&["lenet5", "vgg9"]), None).expect_err("missing runs").to_string();
        for part in [
            "minima (fig9) needs runs that are not there:",
            "networks/vgg9 on datasets/d, batch 32, weight decay 0.0005\n    relief train --network vgg9 --dataset d",
            "networks/lenet5 on datasets/d, batch 1000, weight decay 0.0005\n    runs/b is running",
            "runs/a: lenet5, batch 32, weight decay 0.0005",
        ] {
            assert!(error.contains(part), "{part}:\n{error}");
        }
        let other = "elsewhere".parse().expect("a name");
        let error = chosen(&runs, entry(), &choices(&["lenet5"]), Some(&other)).expect_err("missing runs").to_string();
        assert!(error.contains("No finished run is on datasets/elsewhere"), "{error}");
        let none = chosen(&[], entry(), &choices(&["lenet5"]), None).expect_err("no run").to_string();
        assert!(none.contains("there is none"), "{none}");
    }
}
