//! The whole service in one process, on a store in memory and a data set of a few small images.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use relief_api::job::v1::JobState;
use relief_api::training::v1::training_service_server::TrainingService as _;
use relief_api::training::v1::{
    CancelRunRequest, CreateRunRequest, GetRunRequest, ListRunsRequest, Run, RunSpec, RunStatus, WatchRunRequest,
};
use relief_api::{ApiError, ErrorReason};
use relief_core::{
    BatchNormMode, CheckpointName, Direction, DirectionAxis, Ignore, NetworkId, Normalization, NumericRequest, Philox,
    PointValue, Precision, RunId, Split, random_direction,
};
use relief_graph::{Graph, InputShape};
use relief_nn::{Device, Evaluation, PlaneSession, ResidentPlane, ResidentSamples, Samples};
use relief_store::{BlobPath, DatasetFormat, DatasetImport, DatasetSamples, Page, SnapshotMetrics, SplitFiles, Store};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::grpc::Service;
use crate::record::RunRecord;
use crate::run::tests::record;
use crate::{App, Options};

const SIDE: usize = 12;
const N_CLASSES: u32 = 3;
const N_TRAIN: u32 = 40;

/// A trainer at work.
struct Running {
    store: Store,
    service: Service,
    shutdown: CancellationToken,
    work: JoinHandle<()>,
}

impl Running {
    async fn over(store: Store) -> Self {
        let shutdown = CancellationToken::new();
        let app = App::new(Options::default(), store.clone(), shutdown.clone()).expect("good options");
        let service = app.service();
        let worker = app.clone();
        let work = tokio::spawn(async move { worker.run().await });
        within(app.ready()).await;
        Self { store, service, shutdown, work }
    }

    async fn with_dataset() -> Self {
        let store = Store::open("memory://").expect("a store");
        let import = DatasetImport {
            splits: vec![split(Split::Train, N_TRAIN), split(Split::Test, 10)],
            n_classes: Some(N_CLASSES),
            ..DatasetImport::default()
        };
        store.import_dataset(&"tiny".parse().expect("a good name"), import).await.expect("good files");
        Self::over(store).await
    }

    async fn create(&self, id: &str, spec: RunSpec) -> Result<Run, ApiError> {
        let request = CreateRunRequest { spec: Some(spec), run_id: id.to_owned() };
        let created = self.service.create_run(Request::new(request)).await;
        created
            .map(|response| response.into_inner().run.expect("a run"))
            .map_err(|status| ApiError::from_status(&status))
    }

    async fn get(&self, name: &str) -> Run {
        let response = self.service.get_run(Request::new(GetRunRequest { name: name.to_owned() })).await;
        response.expect("a run of that name").into_inner().run.expect("a run")
    }

    /// Follows a run until `is_enough`, or to its end.
    async fn watch(&self, name: &str, is_enough: impl Fn(&RunStatus) -> bool) -> RunStatus {
        let request = WatchRunRequest { name: name.to_owned(), after_revision: 0 };
        let mut changes = self.service.watch_run(Request::new(request)).await.expect("a run").into_inner();
        let mut last = RunStatus::default();
        while let Some(change) = within(changes.next()).await {
            let status = change.expect("a change").run.and_then(|run| run.status).expect("a status");
            assert!(status.revision > last.revision, "{status:?} after {last:?}");
            last = status;
            if is_enough(&last) {
                break;
            }
        }
        last
    }

    async fn cancel(&self, name: &str) -> Result<JobState, ApiError> {
        let cancelled = self.service.cancel_run(Request::new(CancelRunRequest { name: name.to_owned() })).await;
        cancelled
            .map(|response| state(&response.into_inner().run.expect("a run")))
            .map_err(|status| ApiError::from_status(&status))
    }

    async fn stop(self) -> Store {
        self.shutdown.cancel();
        within(self.work).await.expect("no panic");
        self.store
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("in time")
}

fn state(run: &Run) -> JobState {
    run.status.as_ref().expect("a status").state()
}

fn spec(epochs: u32) -> RunSpec {
    RunSpec {
        network: "lenet5".to_owned(),
        dataset: "tiny".to_owned(),
        epochs,
        batch_size: Some(7),
        rate: Some(0.05),
        ..RunSpec::default()
    }
}

/// Images whose class is the third that is bright, under noise.
fn split(split: Split, n_samples: u32) -> SplitFiles {
    let mut noise = Philox::new([n_samples.into(), 1]);
    let targets: Vec<u8> = (0..n_samples).map(|idx| (idx % N_CLASSES) as u8).collect();
    let band = SIDE * SIDE / N_CLASSES as usize;
    let mut pixels = Vec::new();
    for target in &targets {
        for place in 0..SIDE * SIDE {
            let bright = if place / band == usize::from(*target) { 150 } else { 0 };
            pixels.push((bright + noise.next_below(100)) as u8);
        }
    }
    SplitFiles {
        split,
        inputs: idx(&[n_samples, SIDE as u32, SIDE as u32], &pixels),
        targets: idx(&[n_samples], &targets),
    }
}

fn idx(shape: &[u32], data: &[u8]) -> Bytes {
    let mut file = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|dim| file.extend(dim.to_be_bytes()));
    file.extend(data);
    file.into()
}

/// What an evaluator finds at the centre of a surface around a snapshot.
async fn evaluated_as_a_surface(store: &Store, snapshot: &str, split: Split) -> PointValue {
    let name: CheckpointName = snapshot.parse().expect("a snapshot's name");
    let blob = store.resolve_checkpoint(&name).await.expect("a snapshot");
    let origin = store.load_checkpoint(&blob.path, blob.digest).await.expect("a checkpoint");
    let network = store.get_network(&blob.network).await.expect("a network");
    let onnx = store.load_network(&BlobPath::network(&network.id), network.digest).await.expect("a file");
    let graph = Arc::new(Graph::from_onnx(&onnx).expect("a network").graph);
    let dataset = store.get_dataset(&"tiny".parse().expect("a good name")).await.expect("a data set");
    let loaded = store.load_samples(&dataset, split, None, network.input_shape).await.expect("samples");
    let [channels, height, width] = network.input_shape.map(|dim| dim as usize);
    let shape = InputShape::new(channels, height, width).expect("a good shape");
    let samples = Samples::new(loaded.inputs, loaded.targets, shape).expect("samples");
    let device = Device::cpu();
    let request = NumericRequest { engine: None, precision: Some(Precision::F32) };
    let numerics = device.choose(&graph, BatchNormMode::Frozen, request).expect("something to compute in").numerics;
    let samples = ResidentSamples::upload(&device, numerics.engine, &samples, None).expect("samples");
    let directions = [DirectionAxis::X, DirectionAxis::Y].map(|axis| {
        let trainable = graph.trainable(&origin);
        Arc::new(Direction::Step(random_direction(trainable, 1, axis, Normalization::Filter, Ignore::BiasBn)))
    });
    let plane = ResidentPlane::upload(&device, numerics, graph, &origin, &directions, BatchNormMode::Frozen);
    let session = PlaneSession::open(Arc::new(plane.expect("a plane")), Arc::new(samples), 128).expect("a session");
    let evaluation = session.evaluate(&[0.0, 0.0], &mut |_| std::ops::ControlFlow::Continue(()));
    match evaluation.expect("a value") {
        Evaluation::Done(values) => values.main,
        Evaluation::Cancelled => panic!("nobody cancelled"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_keeps_a_snapshot_and_the_metrics_of_every_epoch() {
    let running = Running::with_dataset().await;
    let created = running.create("a", RunSpec { milestones: vec![2], ..spec(3) }).await.expect("a good run");
    assert_eq!((created.name.as_str(), state(&created)), ("runs/a", JobState::Pending));
    assert_eq!(created.spec.expect("a specification").network, "networks/lenet5-1x12x12-3");
    let last = running.watch("a", |_| false).await;
    assert_eq!(last.state(), JobState::Succeeded, "{last:?}");
    assert_eq!((last.epoch, last.step, last.steps_total), (3, 18, 18));

    let run = running.get("runs/a").await;
    assert_eq!(run.status, Some(last));
    let snapshots = &run.snapshots;
    assert_eq!(snapshots.iter().map(|snapshot| snapshot.epoch).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(snapshots.iter().map(|snapshot| snapshot.rate).collect::<Vec<_>>(), [0.05, 0.05, 0.05, 0.05 * 0.1]);
    assert!((snapshots[0].train_loss - f64::from(N_CLASSES).ln()).abs() < 0.05, "{snapshots:?}");
    assert!(snapshots[3].train_loss < 0.9 * snapshots[0].train_loss, "{snapshots:?}");
    for snapshot in snapshots {
        let train = evaluated_as_a_surface(&running.store, &snapshot.name, Split::Train).await;
        assert_eq!((train.loss.to_bits(), train.accuracy), (snapshot.train_loss.to_bits(), snapshot.train_accuracy));
        let test = evaluated_as_a_surface(&running.store, &snapshot.name, Split::Test).await;
        assert_eq!((Some(test.loss), Some(test.accuracy)), (snapshot.test_loss, snapshot.test_accuracy));
    }

    let steps = running.store.get_run_metrics(&"a".parse().expect("a good name")).await.expect("metrics");
    assert_eq!(steps.iter().map(|step| step.epoch).collect::<Vec<_>>(), [1, 2, 3].map(|epoch| [epoch; 6]).concat());
    assert_eq!(steps.iter().map(|step| step.step).collect::<Vec<_>>(), (1..=18).collect::<Vec<_>>());
    assert!(steps.iter().all(|step| step.loss.is_finite() && step.weight_norm > 0.0));
    assert_eq!(steps[17].weight_norm, snapshots[3].weight_norm);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_depends_on_its_specification_only() {
    let running = Running::with_dataset().await;
    let mut digests = Vec::new();
    for (id, seed) in [("a", 5), ("b", 5), ("c", 6)] {
        running.create(id, RunSpec { seed, ..spec(2) }).await.expect("a good run");
        running.watch(id, |_| false).await;
        let snapshots = running.get(id).await.snapshots;
        digests.push(snapshots.into_iter().map(|snapshot| snapshot.digest).collect::<Vec<_>>());
    }
    assert_eq!(digests[0].len(), 3);
    assert_eq!(digests[0], digests[1]);
    assert!(digests[0].iter().zip(&digests[2]).all(|(a, c)| a != c));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_stored_as_values_are_trained_on_as_they_are() {
    let running = Running::with_dataset().await;
    let tiny = running.store.get_dataset(&"tiny".parse().expect("a good name")).await.expect("a dataset");
    let mut splits = Vec::new();
    for split in [Split::Train, Split::Test] {
        let samples = running.store.load_samples(&tiny, split, None, tiny.shape).await.expect("samples");
        splits.push(SplitFiles { split, inputs: values_file(&samples), targets: Bytes::new() });
    }
    let format = DatasetFormat::Safetensors;
    let import = DatasetImport { splits, format, n_classes: Some(N_CLASSES), ..DatasetImport::default() };
    running.store.import_dataset(&"values".parse().expect("a good name"), import).await.expect("good files");

    let mut digests = Vec::new();
    for dataset in ["tiny", "values"] {
        let spec = RunSpec { dataset: dataset.to_owned(), ..spec(2) };
        running.create(dataset, spec).await.expect("a good run");
        assert_eq!(running.watch(dataset, |_| false).await.state(), JobState::Succeeded);
        let snapshots = running.get(dataset).await.snapshots;
        digests.push(snapshots.into_iter().map(|snapshot| snapshot.digest).collect::<Vec<_>>());
    }
    assert_eq!(digests[0].len(), 3);
    assert_eq!(digests[0], digests[1]);

    let padded = RunSpec { dataset: "values".to_owned(), network: "lenet5-1x16x16-3".to_owned(), ..spec(1) };
    let error = running.create("padded", padded).await.expect_err("values are not padded");
    assert_eq!((error.reason, error.violations[0].field.as_str()), (ErrorReason::InvalidField, "spec.network"));
    assert!(error.message.contains("1x16x16") && error.message.contains("1x12x12"), "{error}");
    running.stop().await;
}

/// A safetensors file of the samples.
fn values_file(samples: &DatasetSamples) -> Bytes {
    let n = samples.n_samples();
    let [channels, height, width] = samples.shape;
    let inputs: Vec<u8> = samples.inputs.iter().flat_map(|value| value.to_le_bytes()).collect();
    let targets: Vec<u8> = samples.targets.iter().flat_map(|target| target.to_le_bytes()).collect();
    let (middle, end) = (inputs.len(), inputs.len() + targets.len());
    let header = format!(
        r#"{{"inputs":{{"dtype":"F32","shape":[{n},{channels},{height},{width}],"data_offsets":[0,{middle}]}},"targets":{{"dtype":"U32","shape":[{n}],"data_offsets":[{middle},{end}]}}}}"#
    );
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &inputs, &targets].concat().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_diverges_is_a_result() {
    let running = Running::with_dataset().await;
    running.create("a", RunSpec { rate: Some(1e30), ..spec(2) }).await.expect("a good run");
    let last = running.watch("a", |_| false).await;
    assert_eq!(last.state(), JobState::Succeeded, "{last:?}");
    let snapshots = running.get("a").await.snapshots;
    assert!(snapshots[0].train_loss.is_finite() && !snapshots[2].train_loss.is_finite(), "{snapshots:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_cancelled_before_and_during_their_work() {
    let running = Running::with_dataset().await;
    running.create("first", spec(10_000)).await.expect("a good run");
    running.create("second", spec(10_000)).await.expect("a good run");
    running.watch("first", |status| status.step > 0).await;
    assert_eq!(running.cancel("second").await, Ok(JobState::Cancelled));
    assert!(running.get("second").await.snapshots.is_empty());
    running.cancel("first").await.expect("it is at work");
    let last = running.watch("first", |_| false).await;
    assert_eq!(last.state(), JobState::Cancelled);
    assert_eq!(running.get("first").await.snapshots.len(), last.epoch as usize + 1);
    for id in ["first", "second"] {
        let error = running.cancel(id).await.expect_err("it has ended");
        assert_eq!(
            (error.reason, error.message),
            (ErrorReason::WrongState, format!("runs/{id} has already ended; it is cancelled"))
        );
    }
    let third = running.create("third", spec(1)).await.expect("a good run");
    assert_eq!(running.watch(&third.name, |_| false).await.state(), JobState::Succeeded);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_specifications_are_refused_by_their_field_and_leave_nothing() {
    let running = Running::with_dataset().await;
    let import = DatasetImport { splits: vec![split(Split::Test, 4)], ..DatasetImport::default() };
    let import = DatasetImport { mean: Some(vec![0.0]), std: Some(vec![1.0]), ..import };
    running.store.import_dataset(&"untrained".parse().expect("a name"), import).await.expect("good files");
    let network = |network: &str| RunSpec { network: network.to_owned(), ..spec(1) };
    let dataset = |dataset: &str| RunSpec { dataset: dataset.to_owned(), ..spec(1) };
    for (bad, field) in [
        (network("../x"), "spec.network"),
        (network("lenet5-3x12x12-3"), "spec.network"),
        (network("lenet5-1x28x11-3"), "spec.network"),
        (network("lenet5-1x12x12-2"), "spec.network"),
        (dataset(""), "spec.dataset"),
        (dataset("untrained"), "spec.dataset"),
        (spec(0), "spec.epochs"),
        (RunSpec { batch_size: Some(0), ..spec(1) }, "spec.batch_size"),
        (RunSpec { rate: Some(f64::NAN), ..spec(1) }, "spec.rate"),
        (RunSpec { milestones: vec![1], ..spec(1) }, "spec.milestones"),
    ] {
        let error = running.create("a", bad.clone()).await.expect_err(field);
        assert_eq!(error.reason, ErrorReason::InvalidField, "{error} for {bad:?}");
        assert_eq!(error.violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), [field], "{error}");
    }
    for (bad, name) in [(network("vgg"), "networks/vgg"), (dataset("nowhere"), "datasets/nowhere")] {
        let error = running.create("a", bad).await.expect_err(name);
        assert_eq!((error.reason, error.violations.len()), (ErrorReason::NotFound, 1));
        assert!(error.message.contains(name), "{error}");
    }
    let error = running.create("../a", spec(1)).await.expect_err("no name");
    assert_eq!(error.violations[0].field, "run_id");
    let store = running.stop().await;
    assert_eq!(store.list_runs::<RunRecord>(&Page::default()).await.expect("a list").items, []);
    assert_eq!(store.list_networks(&Page::default()).await.expect("a list").items, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_taken_once_and_lists_are_newest_first() {
    let running = Running::with_dataset().await;
    let chosen = running.create("", spec(1)).await.expect("a good run");
    assert!(chosen.name.starts_with("runs/r-2"), "{}", chosen.name);
    running.watch(&chosen.name, |_| false).await;
    running.create("a", spec(1)).await.expect("a good run");
    for _ in 0..2 {
        let error = running.create("a", spec(1)).await.expect_err("taken");
        assert_eq!((error.reason, error.violations[0].field.as_str()), (ErrorReason::AlreadyExists, "run_id"));
        assert!(error.message.contains("runs/a already exists"), "{error}");
        running.watch("a", |_| false).await;
    }
    let (mut names, mut page_token) = (Vec::new(), String::new());
    for _ in 0..2 {
        let request = ListRunsRequest { page_size: 1, page_token };
        let page = running.service.list_runs(Request::new(request)).await.expect("a page").into_inner();
        names.extend(page.runs.into_iter().map(|run| run.name));
        page_token = page.next_page_token;
    }
    assert_eq!((names, page_token), (vec!["runs/a".to_owned(), chosen.name], String::new()));
    let status = running.service.get_run(Request::new(GetRunRequest { name: "b".to_owned() })).await;
    assert_eq!(status.expect_err("no such run").code(), tonic::Code::NotFound);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_fails_its_runs_and_keeps_their_snapshots() {
    let running = Running::with_dataset().await;
    running.create("first", spec(10_000)).await.expect("a good run");
    running.create("second", spec(1)).await.expect("a good run");
    running.watch("first", |status| status.step > 0).await;
    let service = running.service.clone();
    let store = running.stop().await;
    let request = CreateRunRequest { spec: Some(spec(1)), run_id: String::new() };
    let error = service.create_run(Request::new(request)).await.expect_err("it is stopping");
    assert_eq!(ApiError::from_status(&error).reason, ErrorReason::ShuttingDown);

    let again = Running::over(store).await;
    let first = again.get("first").await;
    let last_snapshot = first.snapshots.last().expect("a snapshot").epoch;
    let failure = first.status.expect("a status").error.expect("a reason");
    assert_eq!(failure.reason, "SHUTTING_DOWN");
    let expected = format!("the trainer was stopped during the run; snapshots up to epoch {last_snapshot} are kept");
    assert_eq!(failure.message, expected);
    let second = again.get("second").await;
    assert_eq!(state(&second), JobState::Failed);
    let failure = second.status.expect("a status").error.expect("a reason");
    assert_eq!(failure.message, "the trainer was stopped before the run wrote a snapshot");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_a_killed_trainer_left_behind_is_marked_as_failed() {
    let store = Store::open("memory://").expect("a store");
    let (id, network): (RunId, NetworkId) = ("a".parse().expect("a name"), "n".parse().expect("a name"));
    store.create_run(&id, &record("a")).await.expect("a new run");
    for epoch in [0, 1] {
        let metrics = SnapshotMetrics::default();
        store.put_snapshot(&id, epoch, &network, Default::default(), metrics).await.expect("a snapshot");
    }
    let running = Running::over(store).await;
    let last = running.watch("a", |_| false).await;
    assert_eq!(last.state(), JobState::Failed);
    let message = last.error.expect("a reason").message;
    assert_eq!(message, "the trainer was stopped during the run; snapshots up to epoch 1 are kept");
    running.stop().await;
}
