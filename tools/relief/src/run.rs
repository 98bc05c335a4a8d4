//! `relief run`: training runs and their snapshots.

use relief_api::convert::job::state_from_wire;
use relief_api::training::v1::{
    CancelRunRequest, GetRunRequest, ListRunsRequest, Run, RunSpec, RunStatus, Snapshot, WatchRunRequest,
};
use relief_core::{JobState, RunId};
use serde_json::{Value, json};

use crate::cli::RunCommand;
use crate::client::{Client, list_all};
use crate::job::{self, Job, Step};
use crate::output::{self, Output};
use crate::progress::words;

pub(crate) async fn run(command: RunCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        RunCommand::List => list(client, output).await,
        RunCommand::Get { name } => {
            let run = get(client, &name.to_string()).await?;
            output.print(|| to_json(&run), || description(&run))
        }
        RunCommand::Watch { name } => watch(client, output, &name).await,
        RunCommand::Cancel { name } => cancel(client, output, &name).await,
    }
}

async fn list(client: &Client, output: Output) -> anyhow::Result<()> {
    let runs = list_all!(client, training.list_runs, ListRunsRequest, runs);
    output.print(|| json!({"runs": runs.iter().map(to_json).collect::<Vec<_>>()}), || table(&runs))
}

async fn watch(client: &Client, output: Output, name: &RunId) -> anyhow::Result<()> {
    let name = name.to_string();
    job::until_interrupted(job(&name, &name), follow(client, &name, &name)).await?;
    let run = get(client, &name).await?;
    output.print(|| to_json(&run), || description(&run))
}

async fn cancel(client: &Client, output: Output, name: &RunId) -> anyhow::Result<()> {
    let request = CancelRunRequest { name: name.to_string() };
    let response = client.training().cancel_run(request).await.map_err(|status| client.training.refused(status))?;
    let run = client.training.required("run", response.into_inner().run)?;
    output.print(|| to_json(&run), || description(&run))
}

pub(crate) async fn get(client: &Client, name: &str) -> anyhow::Result<Run> {
    let request = GetRunRequest { name: name.to_owned() };
    let response = client.training().get_run(request).await.map_err(|status| client.training.refused(status))?;
    Ok(client.training.required("run", response.into_inner().run)?)
}

pub(crate) fn job<'a>(name: &'a str, label: &'a str) -> Job<'a> {
    Job { noun: "run", name, label, unit: "steps" }
}

/// Shows the progress of a run under `label` until it has succeeded.
pub(crate) async fn follow(client: &Client, name: &str, label: &str) -> anyhow::Result<()> {
    let request = WatchRunRequest { name: name.to_owned(), after_revision: 0 };
    let changes =
        client.training().watch_run(request).await.map_err(|status| client.training.refused(status))?.into_inner();
    job::follow(&client.training, job(name, label), changes, |change| change.run.map(|run| step(&run))).await
}

fn step(run: &Run) -> Step {
    let status = run.status.clone().unwrap_or_default();
    let n_epochs = run.spec.as_ref().map_or(0, |spec| spec.epochs);
    // The epoch at work is the one after those that are finished.
    let epoch = (status.epoch + 1).min(n_epochs.max(1));
    let detail = if status.step == 0 {
        String::new()
    } else {
        let RunStatus { loss, accuracy, samples_per_second, .. } = status;
        format!("epoch {epoch}/{n_epochs}, loss {loss:.4}, accuracy {accuracy:.2} %, {samples_per_second:.0} samples/s")
    };
    Step {
        state: state_from_wire(status.state),
        done: status.step,
        total: status.steps_total,
        detail,
        eta_seconds: status.eta.map(|eta| eta.seconds as f64 + f64::from(eta.nanos) * 1e-9),
        error: status.error,
    }
}

fn state(status: &RunStatus) -> &'static str {
    state_from_wire(status.state).map_or("unknown", JobState::as_str)
}

pub(crate) fn to_json(run: &Run) -> Value {
    json!({
        "name": run.name,
        "spec": run.spec.as_ref().map(spec_json),
        "status": run.status.as_ref().map(|status| json!({
            "state": state(status),
            "epoch": status.epoch,
            "step": status.step,
            "steps_total": status.steps_total,
            "loss": status.loss,
            "accuracy": status.accuracy,
            "rate": status.rate,
            "samples_per_second": status.samples_per_second,
            "eta": status.eta.as_ref().map(ToString::to_string),
            "revision": status.revision,
            "error": status.error.as_ref().map(|error| json!({"reason": error.reason, "message": error.message})),
        })),
        "snapshots": run.snapshots.iter().map(snapshot_json).collect::<Vec<_>>(),
        "create_time": run.create_time.as_ref().map(ToString::to_string),
    })
}

fn spec_json(spec: &RunSpec) -> Value {
    json!({
        "network": spec.network,
        "dataset": spec.dataset,
        "epochs": spec.epochs,
        "batch_size": spec.batch_size,
        "rate": spec.rate,
        "momentum": spec.momentum,
        "weight_decay": spec.weight_decay,
        "milestones": spec.milestones,
        "seed": spec.seed,
    })
}

fn snapshot_json(snapshot: &Snapshot) -> Value {
    json!({
        "name": snapshot.name,
        "epoch": snapshot.epoch,
        "digest": snapshot.digest,
        "rate": snapshot.rate,
        "train_loss": snapshot.train_loss,
        "train_accuracy": snapshot.train_accuracy,
        "test_loss": snapshot.test_loss,
        "test_accuracy": snapshot.test_accuracy,
        "weight_norm": snapshot.weight_norm,
    })
}

fn table(runs: &[Run]) -> String {
    let header = ["NAME", "STATE", "EPOCH", "OF", "LOSS", "ACCURACY", "NETWORK", "DATASET", "CREATED"];
    let row = |run: &Run| {
        let (spec, status) = (run.spec.clone().unwrap_or_default(), run.status.clone().unwrap_or_default());
        vec![
            run.name.clone(),
            state(&status).to_owned(),
            status.epoch.to_string(),
            spec.epochs.to_string(),
            format!("{:.4}", status.loss),
            format!("{:.2}", status.accuracy),
            spec.network,
            spec.dataset,
            run.create_time.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]
    };
    output::table(&header, &runs.iter().map(row).collect::<Vec<_>>())
}

fn description(run: &Run) -> String {
    let (spec, status) = (run.spec.clone().unwrap_or_default(), run.status.clone().unwrap_or_default());
    let number = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
    let milestones: Vec<String> = spec.milestones.iter().map(ToString::to_string).collect();
    let is_at_work = state_from_wire(status.state) == Some(JobState::Running);
    let left = step(run).eta_seconds.filter(|_| is_at_work);
    let fields = output::fields(&[
        ("name", run.name.clone()),
        ("state", state(&status).to_owned()),
        ("error", status.error.as_ref().map(job::reason).unwrap_or_default()),
        ("network", spec.network),
        ("dataset", spec.dataset),
        ("epochs", format!("{} of {}", status.epoch, spec.epochs)),
        ("steps", format!("{} of {}", status.step, status.steps_total)),
        ("left", left.map(words).unwrap_or_default()),
        ("batch", spec.batch_size.map(|size| size.to_string()).unwrap_or_default()),
        ("rate", number(spec.rate)),
        ("momentum", number(spec.momentum)),
        ("weight decay", number(spec.weight_decay)),
        ("milestones", milestones.join(",")),
        ("seed", spec.seed.to_string()),
        ("created", run.create_time.as_ref().map(ToString::to_string).unwrap_or_default()),
    ]);
    if run.snapshots.is_empty() { fields } else { format!("{fields}\n{}", snapshot_table(&run.snapshots)) }
}

/// A rate without the last digits, in which its decay by tenths leaves a trace.
fn rate(rate: f64) -> String {
    format!("{rate:.9e}").parse().map_or_else(|_| rate.to_string(), |rounded: f64| rounded.to_string())
}

/// Returns a line per snapshot.
pub(crate) fn snapshot_table(snapshots: &[Snapshot]) -> String {
    let header = ["SNAPSHOT", "RATE", "TRAIN LOSS", "TRAIN ACCURACY", "TEST LOSS", "TEST ACCURACY", "WEIGHT NORM"];
    let loss = |loss: f64| format!("{loss:.4}");
    let accuracy = |accuracy: f64| format!("{accuracy:.2}");
    let row = |snapshot: &Snapshot| {
        vec![
            snapshot.name.clone(),
            rate(snapshot.rate),
            loss(snapshot.train_loss),
            accuracy(snapshot.train_accuracy),
            snapshot.test_loss.map_or_else(|| "-".to_owned(), loss),
            snapshot.test_accuracy.map_or_else(|| "-".to_owned(), accuracy),
            format!("{:.3}", snapshot.weight_norm),
        ]
    };
    output::table(&header, &snapshots.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(status: RunStatus) -> Run {
        let spec = RunSpec { epochs: 5, ..RunSpec::default() };
        Run { name: "runs/r".to_owned(), spec: Some(spec), status: Some(status), ..Run::default() }
    }

    #[test]
    fn progress_counts_the_epoch_at_work() {
        let status =
            RunStatus { epoch: 1, step: 80, steps_total: 395, loss: 0.5, accuracy: 81.25, ..RunStatus::default() };
        let step = step(&run(status));
        assert_eq!((step.done, step.total), (80, 395));
        assert_eq!(step.detail, "epoch 2/5, loss 0.5000, accuracy 81.25 %, 0 samples/s");
    }

    #[test]
    fn absent_metrics_are_dashes_in_tables_and_null_in_json() {
        let snapshot = Snapshot { train_loss: f64::NAN, rate: 0.05 * 0.1, ..Snapshot::default() };
        let table = snapshot_table(std::slice::from_ref(&snapshot));
        assert!(table.contains(" - ") && table.contains(" 0.005 "), "{table}");
        let json = snapshot_json(&snapshot);
        assert!(json["test_loss"].is_null() && json["train_loss"].is_null());
    }
}
