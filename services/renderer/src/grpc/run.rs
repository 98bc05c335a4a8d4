//! Pictures of runs.

use relief_api::convert::UnknownNumber;
use relief_api::plot::v1 as wire;
use relief_api::{ApiError, ErrorReason};
use relief_core::{NameError, RunId};
use relief_store::{SnapshotRecord, StepMetrics, Store};

use super::style;
use crate::plot::{Panel, Picture, PlotSpec, Run, RunEpoch, RunKind, RunStep, WeightCounts};

/// More runs than this cannot be told apart.
const MOST_RUNS: usize = 6;

/// Runs as they are now.
///
/// # Errors
/// With the field that is wrong, or when a run has no snapshot yet.
pub(super) async fn panel(store: &Store, request: &wire::RenderRunsRequest) -> Result<Panel, ApiError> {
    let kind = match wire::RunPlotKind::try_from(request.kind) {
        Ok(wire::RunPlotKind::Unspecified | wire::RunPlotKind::Training) => Some(RunKind::Training),
        Ok(wire::RunPlotKind::WeightNorm) => Some(RunKind::WeightNorm),
        Ok(wire::RunPlotKind::WeightHistogram) => None,
        Err(_) => {
            let known = "1 training, 2 weight norm, 3 weight histogram";
            let unknown = UnknownNumber { number: request.kind, known };
            return Err(ApiError::field("kind", unknown.to_string()));
        }
    };
    let ids = ids(request, kind)?;
    let spec = plot_spec(request)?;
    let name = |idx: usize, or: String| match request.labels.get(idx) {
        Some(label) if !label.is_empty() => label.clone(),
        _ => or,
    };
    let Some(kind) = kind else {
        let mut weights = Vec::with_capacity(ids.len());
        for (idx, id) in ids.iter().enumerate() {
            let snapshot = match request.epochs.get(idx) {
                Some(epoch) => snapshot(store, idx, id, *epoch).await?,
                None => last_snapshot(store, id).await?,
            };
            let or = if request.epochs.is_empty() { id.as_str().to_owned() } else { at_epoch(id, snapshot.epoch) };
            weights.push(counts(store, &snapshot, name(idx, or)).await?);
        }
        return Ok(Panel { picture: Picture::Weights(weights), spec });
    };
    let mut runs = Vec::with_capacity(ids.len());
    for (idx, id) in ids.iter().enumerate() {
        let epochs = snapshots(store, id).await?.iter().map(epoch).collect();
        let steps = match kind {
            RunKind::WeightNorm => store.get_run_metrics(id).await?.iter().map(step).collect(),
            RunKind::Training => Vec::new(),
        };
        runs.push(Run { name: name(idx, id.as_str().to_owned()), epochs, steps });
    }
    Ok(Panel { picture: Picture::Runs(runs, kind), spec })
}

fn ids(request: &wire::RenderRunsRequest, kind: Option<RunKind>) -> Result<Vec<RunId>, ApiError> {
    let wire::RenderRunsRequest { runs, labels, epochs, .. } = request;
    if runs.is_empty() || runs.len() > MOST_RUNS {
        return Err(ApiError::field("runs", format!("it holds {} runs; it must hold 1 to {MOST_RUNS}", runs.len())));
    }
    for (field, n_given) in [("labels", labels.len()), ("epochs", epochs.len())] {
        if n_given > 0 && n_given != runs.len() {
            let message =
                format!("it holds {n_given} {field} for {} runs; it must hold one for each, or none", runs.len());
            return Err(ApiError::field(field, message));
        }
    }
    if let (Some(_), Some(epoch)) = (kind, epochs.first()) {
        let message = format!("it holds {epoch}; only a weight histogram is of single epochs: leave it empty");
        return Err(ApiError::field("epochs", message));
    }
    let id = |(idx, run): (usize, &String)| {
        run.parse().map_err(|error: NameError| ApiError::field(format!("runs[{idx}]"), error.to_string()))
    };
    runs.iter().enumerate().map(id).collect()
}

fn plot_spec(request: &wire::RenderRunsRequest) -> Result<PlotSpec, ApiError> {
    let like = wire::RenderSurfaceRequest {
        kind: wire::PlotKind::Curve.into(),
        scale: request.scale,
        format: request.format,
        theme: request.theme,
        width: request.width,
        dpi: request.dpi,
        ..wire::RenderSurfaceRequest::default()
    };
    let title = Some(request.title.clone()).filter(|title| !title.is_empty());
    Ok(PlotSpec { title, ..style(&like, 1)? })
}

/// The snapshots of a run, by epoch, 1 or more.
async fn snapshots(store: &Store, id: &RunId) -> Result<Vec<SnapshotRecord>, ApiError> {
    store.check_run(id).await?;
    let snapshots = store.list_snapshots(id).await?;
    if snapshots.is_empty() {
        let message = format!("{id} has no snapshot yet; draw it when its first epoch is stored");
        return Err(ApiError::new(ErrorReason::WrongState, message));
    }
    Ok(snapshots)
}

async fn last_snapshot(store: &Store, id: &RunId) -> Result<SnapshotRecord, ApiError> {
    let last = snapshots(store, id).await?.pop();
    last.ok_or_else(|| ApiError::new(ErrorReason::WrongState, format!("{id} has no snapshot yet")))
}

async fn snapshot(store: &Store, idx: usize, id: &RunId, epoch: u32) -> Result<SnapshotRecord, ApiError> {
    let snapshots = snapshots(store, id).await?;
    let (first, last) = (snapshots[0].epoch, snapshots[snapshots.len() - 1].epoch);
    let found = snapshots.into_iter().find(|snapshot| snapshot.epoch == epoch);
    found.ok_or_else(|| {
        let message = format!("it is {epoch}, of which {id} has no snapshot; it has them from {first} to {last}");
        ApiError::field(format!("epochs[{idx}]"), message)
    })
}

fn at_epoch(id: &RunId, epoch: u32) -> String {
    format!("{}, epoch {epoch}", id.as_str())
}

fn epoch(snapshot: &SnapshotRecord) -> RunEpoch {
    let metrics = &snapshot.metrics;
    RunEpoch {
        epoch: f64::from(snapshot.epoch),
        rate: metrics.rate,
        train_loss: metrics.train_loss,
        train_accuracy: metrics.train_accuracy,
        test_loss: metrics.test_loss,
        test_accuracy: metrics.test_accuracy,
        weight_norm: metrics.weight_norm,
    }
}

fn step(metrics: &StepMetrics) -> RunStep {
    let StepMetrics { step, epoch, weight_norm, .. } = *metrics;
    RunStep { step: step as f64, epoch: f64::from(epoch), weight_norm }
}

/// Counts the weights of a snapshot, of which no more than one is in memory at a time.
async fn counts(store: &Store, snapshot: &SnapshotRecord, name: String) -> Result<WeightCounts, ApiError> {
    let blob = store.resolve_checkpoint(&snapshot.name).await?;
    let tensors = store.load_checkpoint(&blob.path, blob.digest).await?;
    let counted = tokio::task::spawn_blocking(move || {
        let weights = tensors.values().filter(|tensor| tensor.shape().len() > 1).map(|tensor| tensor.data());
        WeightCounts::of(name, weights)
    });
    counted.await.map_err(|error| ApiError::new(ErrorReason::Internal, error.to_string()))
}

#[cfg(test)]
mod tests {
    use relief_core::{Tensor, TensorMap};
    use relief_store::SnapshotMetrics;

    use super::*;
    use crate::grpc::alone;

    async fn store() -> Store {
        let store = Store::open("memory://").expect("a store");
        for name in ["a", "b", "new"] {
            store.create_run(&name.parse().expect("an id"), &"a request").await.expect("a run");
        }
        let network = "net".parse().expect("an id");
        for (run, epoch) in [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)] {
            let weights = (0..600).map(|idx| (idx as f32 - 300.0) / 1000.0).collect();
            let tensors = TensorMap::from([
                ("w".to_owned(), Tensor::new([20, 30], weights).expect("a tensor")),
                ("bias".to_owned(), Tensor::filled([7], 9.0)),
            ]);
            let metrics = SnapshotMetrics {
                rate: if epoch == 2 { 0.01 } else { 0.1 },
                train_loss: if run == "b" && epoch == 1 { f64::NAN } else { 2.0 / f64::from(epoch + 1) },
                train_accuracy: 50.0,
                test_loss: Some(2.5),
                test_accuracy: Some(40.0),
                weight_norm: 3.0 + f64::from(epoch),
                ..SnapshotMetrics::default()
            };
            let run = run.parse().expect("an id");
            store.put_snapshot(&run, epoch, &network, tensors, metrics).await.expect("a snapshot");
        }
        store
    }

    fn request(runs: &[&str]) -> wire::RenderRunsRequest {
        wire::RenderRunsRequest {
            runs: runs.iter().map(|run| (*run).to_owned()).collect(),
            ..wire::RenderRunsRequest::default()
        }
    }

    async fn svg(store: &Store, request: wire::RenderRunsRequest) -> String {
        let panel = panel(store, &request).await.expect("runs");
        String::from_utf8(panel.draw().expect("a picture")).expect("UTF-8")
    }

    fn says(svg: &str, text: &str) -> bool {
        svg.contains(&format!("aria-label=\"{text}\""))
    }

    #[tokio::test]
    async fn runs_are_drawn_from_what_is_stored() {
        let store = store().await;
        let svg = svg(&store, request(&["a", "runs/b"])).await;
        for text in ["a", "b", "train", "test", "epoch", "a: learning rate lowered", "b: 1 value not finite"] {
            assert!(says(&svg, text), "{text}");
        }
    }

    #[tokio::test]
    async fn a_histogram_is_of_the_weights_and_not_of_biases() {
        let store = store().await;
        let kind = wire::RunPlotKind::WeightHistogram.into();
        let last = svg(&store, wire::RenderRunsRequest { kind, ..request(&["a"]) }).await;
        assert!(says(&last, "a") && says(&last, "600 weights in all"));
        let two = wire::RenderRunsRequest { kind, epochs: vec![0, 2], ..request(&["a", "a"]) };
        let two = svg(&store, two).await;
        assert!(says(&two, "a, epoch 0") && says(&two, "a, epoch 2"));
        let labels = vec!["start".to_owned(), String::new()];
        let named = wire::RenderRunsRequest { kind, epochs: vec![0, 2], labels, ..request(&["a", "a"]) };
        let named = svg(&store, named).await;
        assert!(says(&named, "start") && says(&named, "a, epoch 2"));
    }

    #[tokio::test]
    async fn refusals_name_the_field_and_what_would_be_right() {
        let store = store().await;
        let histogram = wire::RunPlotKind::WeightHistogram.into();
        let cases = [
            (request(&[]), ErrorReason::InvalidField, "it holds 0 runs; it must hold 1 to 6"),
            (request(&["a"; 7]), ErrorReason::InvalidField, "it holds 7 runs"),
            (request(&["a", "a b"]), ErrorReason::InvalidField, "runs[1]"),
            (request(&["none"]), ErrorReason::NotFound, "there is no runs/none"),
            (request(&["a", "new"]), ErrorReason::WrongState, "runs/new has no snapshot yet"),
            (wire::RenderRunsRequest { kind: 9, ..request(&["a"]) }, ErrorReason::InvalidField, "3 weight histogram"),
            (
                wire::RenderRunsRequest { labels: vec!["x".to_owned()], ..request(&["a", "b"]) },
                ErrorReason::InvalidField,
                "it holds 1 labels for 2 runs",
            ),
            (
                wire::RenderRunsRequest { epochs: vec![1], ..request(&["a"]) },
                ErrorReason::InvalidField,
                "leave it empty",
            ),
            (
                wire::RenderRunsRequest { kind: histogram, epochs: vec![9], ..request(&["a"]) },
                ErrorReason::InvalidField,
                "it is 9, of which runs/a has no snapshot; it has them from 0 to 2",
            ),
            (
                wire::RenderRunsRequest { format: wire::PlotFormat::Gif.into(), ..request(&["a"]) },
                ErrorReason::InvalidField,
                "a run is drawn as SVG, PNG, PDF or HTML",
            ),
        ];
        for (request, reason, part) in cases {
            let picture = async { alone(panel(&store, &request).await?).await };
            let error = picture.await.expect_err(part);
            assert_eq!(error.reason, reason, "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
