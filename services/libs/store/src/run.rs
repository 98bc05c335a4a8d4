//! Training runs: what was asked for, how it stands, its snapshots and its metrics.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use relief_core::{CheckpointName, Digest, NetworkId, RunId, TensorMap};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkpoint::sealed;
use crate::error::StoreError;
use crate::json_float;
use crate::layout::{self, BlobPath};
use crate::object::{N_CONCURRENT, offload};
use crate::page::{Listing, Page};
use crate::record::{from_json, to_json};
use crate::store::Store;
use crate::timestamp;

/// What is stored of a snapshot beside its safetensors file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Its name, `runs/ID/snapshots/EPOCH`.
    pub name: CheckpointName,
    /// The network it belongs to.
    pub network: NetworkId,
    /// The digest of the safetensors file.
    pub digest: Digest,
    /// The size of the safetensors file in bytes.
    pub n_bytes: u64,
    /// The number of epochs trained; 0 is the initialisation.
    pub epoch: u32,
    /// How well it does.
    #[serde(flatten)]
    pub metrics: SnapshotMetrics,
    /// When it was stored, RFC 3339.
    pub created: String,
}

/// How well a snapshot does. Losses are means in nats, accuracies in percent; a run that diverges has losses that are
/// not finite.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct SnapshotMetrics {
    /// The number of steps taken.
    pub step: u64,
    /// The learning rate of the epoch.
    pub rate: f64,
    /// The loss on the training split.
    #[serde(with = "json_float")]
    pub train_loss: f64,
    /// The accuracy on the training split.
    #[serde(with = "json_float")]
    pub train_accuracy: f64,
    /// The loss on the test split, where it was evaluated.
    #[serde(with = "json_float::option")]
    pub test_loss: Option<f64>,
    /// The accuracy on the test split, where it was evaluated.
    #[serde(with = "json_float::option")]
    pub test_accuracy: Option<f64>,
    /// The Euclidean norm of the trainable tensors.
    #[serde(with = "json_float")]
    pub weight_norm: f64,
}

/// A step of a run. What it says of its batch is from before the step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The number of steps taken, this one included.
    pub step: u64,
    /// The epoch it belongs to, counted from 1.
    pub epoch: u32,
    /// The mean loss over its batch, in nats.
    #[serde(with = "json_float")]
    pub loss: f64,
    /// The accuracy over its batch, in percent.
    #[serde(with = "json_float")]
    pub accuracy: f64,
    /// The learning rate.
    pub rate: f64,
    /// The Euclidean norm of the trainable tensors after the step.
    #[serde(with = "json_float")]
    pub weight_norm: f64,
}

/// Steps as lines of JSON.
fn to_lines(steps: &[StepMetrics]) -> Result<Bytes, StoreError> {
    let mut lines = Vec::with_capacity(steps.len() * 128);
    for step in steps {
        serde_json::to_writer(&mut lines, step).map_err(|error| StoreError::invalid("steps", error))?;
        lines.push(b'\n');
    }
    Ok(lines.into())
}

fn from_lines(path: &Path, lines: &[u8]) -> Result<Vec<StepMetrics>, StoreError> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| from_json(path, line)).collect()
}

impl Store {
    /// Stores what a new run was asked to do, with which it exists.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; `Invalid` when `run` has no JSON form.
    pub async fn create_run<T: Serialize + Sync>(&self, id: &RunId, run: &T) -> Result<(), StoreError> {
        let _change = self.change().await;
        let path = layout::run_record(id);
        let json = to_json("run", run)?;
        if self.objects.exists(&path).await? {
            return Err(StoreError::already_exists(id));
        }
        // A deletion that was interrupted after the commit leaves objects that must not come back to life.
        self.objects.delete_below(&layout::run(id)).await?;
        if self.objects.put_new(&path, json).await? { Ok(()) } else { Err(StoreError::already_exists(id)) }
    }

    /// What the run was asked to do.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name; `Corrupt` when it is no `T`.
    pub async fn get_run<T: DeserializeOwned>(&self, id: &RunId) -> Result<T, StoreError> {
        self.find_record(&layout::run_record(id)).await?.ok_or_else(|| StoreError::not_found(id))
    }

    /// Checks that there is a run of that name.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn check_run(&self, id: &RunId) -> Result<(), StoreError> {
        match self.objects.exists(&layout::run_record(id)).await? {
            true => Ok(()),
            false => Err(StoreError::not_found(id)),
        }
    }

    /// Puts or replaces how the run stands, atomically.
    ///
    /// # Errors
    /// When `status` has no JSON form or the backend fails.
    pub async fn put_run_status<T: Serialize + Sync>(&self, id: &RunId, status: &T) -> Result<(), StoreError> {
        self.objects.put(&layout::run_status(id), to_json("status", status)?).await
    }

    /// How the run stands, or none when it was never said.
    ///
    /// # Errors
    /// `NotFound` when there is no run of that name; `Corrupt` when the status is no `T`.
    pub async fn get_run_status<T: DeserializeOwned>(&self, id: &RunId) -> Result<Option<T>, StoreError> {
        let status = self.find_record(&layout::run_status(id)).await?;
        if !self.objects.exists(&layout::run_record(id)).await? {
            return Err(StoreError::not_found(id));
        }
        Ok(status)
    }

    /// A page of the runs, in the order of their ids.
    ///
    /// # Errors
    /// When the backend fails or a record is no `T`.
    pub async fn list_runs<T: DeserializeOwned>(&self, page: &Page) -> Result<Listing<(RunId, T)>, StoreError> {
        let read = |id, path: &_, json: &[u8]| Ok((id, from_json(path, json)?));
        self.list_records(RunId::COLLECTION, page, layout::run_record, read).await
    }

    /// Deletes a run with its snapshots and metrics.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    pub async fn delete_run(&self, id: &RunId) -> Result<(), StoreError> {
        self.delete_committed(id, &layout::run(id), &layout::run_record(id)).await
    }

    /// Stores the parameters of `network` after `epoch` epochs.
    ///
    /// # Errors
    /// `AlreadyExists` when the run has a snapshot of that epoch.
    pub async fn put_snapshot(
        &self,
        run: &RunId,
        epoch: u32,
        network: &NetworkId,
        tensors: TensorMap,
        metrics: SnapshotMetrics,
    ) -> Result<SnapshotRecord, StoreError> {
        let name = CheckpointName::Snapshot { run: run.clone(), epoch };
        let path = layout::snapshot_record(run, epoch);
        if self.objects.exists(&path).await? {
            return Err(StoreError::already_exists(name));
        }
        let (bytes, digest) = offload(move || sealed(&tensors)).await??;
        let blob = BlobPath::checkpoint(&name);
        let (network, n_bytes, created) = (network.clone(), bytes.len() as u64, timestamp::now());
        let record = SnapshotRecord { name, network, digest, n_bytes, epoch, metrics, created };
        let json = to_json("snapshot", &record)?;
        self.objects.put(blob.as_path(), bytes).await?;
        if self.objects.put_new(&path, json).await? {
            Ok(record)
        } else {
            Err(StoreError::already_exists(&record.name))
        }
    }

    /// The record of a snapshot.
    ///
    /// # Errors
    /// `NotFound` when the run has none of that epoch, or there is no such run.
    pub async fn get_snapshot_record(&self, run: &RunId, epoch: u32) -> Result<SnapshotRecord, StoreError> {
        let record = self.find_record(&layout::snapshot_record(run, epoch)).await?;
        record.ok_or_else(|| StoreError::not_found(CheckpointName::Snapshot { run: run.clone(), epoch }))
    }

    /// The records of all snapshots of a run, by epoch.
    ///
    /// # Errors
    /// When the backend fails or a record is damaged.
    pub async fn list_snapshots(&self, run: &RunId) -> Result<Vec<SnapshotRecord>, StoreError> {
        let paths = self.objects.list(&layout::snapshots(run)).await?;
        let mut epochs: Vec<u32> = paths.iter().filter_map(|path| layout::epoch_of(path, ".json")).collect();
        epochs.sort_unstable();
        futures::stream::iter(epochs)
            .map(|epoch| self.get_snapshot_record(run, epoch))
            .buffered(N_CONCURRENT)
            .try_collect()
            .await
    }

    /// Puts or replaces the metrics of an epoch's steps.
    ///
    /// # Errors
    /// When the backend fails.
    pub async fn put_run_metrics(&self, run: &RunId, epoch: u32, steps: &[StepMetrics]) -> Result<(), StoreError> {
        self.objects.put(&layout::epoch_metrics(run, epoch), to_lines(steps)?).await
    }

    /// The metrics of all steps of a run, in their order.
    ///
    /// # Errors
    /// When the backend fails; `Corrupt` when a line is no step.
    pub async fn get_run_metrics(&self, run: &RunId) -> Result<Vec<StepMetrics>, StoreError> {
        let paths = self.objects.list(&layout::metrics(run)).await?;
        let mut epochs: Vec<u32> = paths.iter().filter_map(|path| layout::epoch_of(path, ".jsonl")).collect();
        epochs.sort_unstable();
        let reads = futures::stream::iter(epochs).map(|epoch| async move {
            let path = layout::epoch_metrics(run, epoch);
            let lines = self.objects.get(&path).await?.unwrap_or_default();
            from_lines(&path, &lines)
        });
        let epochs: Vec<Vec<StepMetrics>> = reads.buffered(N_CONCURRENT).try_collect().await?;
        Ok(epochs.concat())
    }
}

#[cfg(test)]
mod tests {
    use relief_core::Tensor;

    use super::*;
    use crate::conformance::{everything, on_every_store};
    use crate::error::StoreErrorKind;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Request {
        epochs: u32,
    }

    fn id(text: &str) -> RunId {
        text.parse().expect("an id")
    }

    fn network() -> NetworkId {
        "net".parse().expect("an id")
    }

    fn tensors(value: f32) -> TensorMap {
        TensorMap::from([("w".to_owned(), Tensor::filled([2], value))])
    }

    /// A step with a loss that is not finite.
    fn step(step: u64, epoch: u32) -> StepMetrics {
        StepMetrics { step, epoch, loss: f64::INFINITY, accuracy: 10.0, rate: 0.1, weight_norm: 3.0 }
    }

    #[test]
    fn steps_are_lines_of_json() {
        let lines = to_lines(&[StepMetrics { loss: 2.5, ..step(1, 1) }, step(2, 1)]).expect("steps have a JSON form");
        let text = std::str::from_utf8(&lines).expect("JSON is UTF-8");
        assert!(text.starts_with(r#"{"step":1,"epoch":1,"loss":2.5,"#), "{text}");
        assert_eq!(text.lines().count(), 2);
        let damaged = from_lines(&Path::from("runs/r/metrics/1.jsonl"), b"{}\n").expect_err("no step");
        assert_eq!(damaged.kind(), StoreErrorKind::Corrupt);
    }

    #[tokio::test]
    async fn a_run_is_created_once_and_its_status_replaced() {
        on_every_store(async |store| {
            let error = store.get_run_status::<Request>(&id("r")).await.expect_err("no run");
            assert_eq!(error.kind(), StoreErrorKind::NotFound);
            store.create_run(&id("r"), &Request { epochs: 3 }).await.expect("a run");
            let error = store.create_run(&id("r"), &Request { epochs: 4 }).await.expect_err("taken");
            assert_eq!(error.kind(), StoreErrorKind::AlreadyExists);
            assert_eq!(store.get_run::<Request>(&id("r")).await.expect("a run"), Request { epochs: 3 });
            assert_eq!(store.get_run_status::<String>(&id("r")).await.expect("a status"), None);
            for status in ["running", "succeeded"] {
                store.put_run_status(&id("r"), &status).await.expect("a put");
                let read = store.get_run_status::<String>(&id("r")).await.expect("a status");
                assert_eq!(read.as_deref(), Some(status));
            }
            store.create_run(&id("q"), &Request { epochs: 1 }).await.expect("a run");
            let runs = store.list_runs::<Request>(&Page::default()).await.expect("a page").items;
            assert_eq!(runs, [(id("q"), Request { epochs: 1 }), (id("r"), Request { epochs: 3 })]);
            assert!(store.get_run::<String>(&id("r")).await.is_err_and(|e| e.kind() == StoreErrorKind::Corrupt));
        })
        .await;
    }

    #[tokio::test]
    async fn snapshots_are_checkpoints_and_stay_what_they_are() {
        on_every_store(async |store| {
            let metrics = SnapshotMetrics {
                train_loss: f64::NAN,
                test_loss: Some(f64::INFINITY),
                rate: 0.1,
                ..Default::default()
            };
            for epoch in [10, 9, 0] {
                let value = epoch as f32;
                let put = store.put_snapshot(&id("r"), epoch, &network(), tensors(value), metrics).await;
                assert_eq!(put.expect("a snapshot").epoch, epoch);
            }
            let error = store.put_snapshot(&id("r"), 9, &network(), tensors(1.0), metrics).await.expect_err("taken");
            assert_eq!(error.to_string(), "runs/r/snapshots/9 already exists");
            let records = store.list_snapshots(&id("r")).await.expect("a list");
            assert_eq!(records.iter().map(|record| record.epoch).collect::<Vec<_>>(), [0, 9, 10]);
            let read = &records[1].metrics;
            assert!(read.train_loss.is_nan() && read.test_loss == Some(f64::INFINITY) && read.test_accuracy.is_none());

            let blob = store.resolve_checkpoint(&records[1].name).await.expect("a blob");
            assert_eq!((blob.digest, blob.network), (records[1].digest, network()));
            assert_eq!(store.load_checkpoint(&blob.path, blob.digest).await.expect("tensors"), tensors(9.0));
            let missing = store.get_snapshot_record(&id("r"), 1).await.expect_err("no such epoch");
            assert_eq!(missing.to_string(), "there is no runs/r/snapshots/1");
        })
        .await;
    }

    #[tokio::test]
    async fn metrics_come_back_by_epoch_and_go_with_the_run() {
        on_every_store(async |store| {
            store.create_run(&id("r"), &Request { epochs: 3 }).await.expect("a run");
            for (epoch, steps) in [(10, [5, 6]), (2, [7, 8]), (2, [3, 4])] {
                store.put_run_metrics(&id("r"), epoch, &steps.map(|at| step(at, epoch))).await.expect("a put");
            }
            let metrics = store.get_run_metrics(&id("r")).await.expect("metrics");
            assert_eq!(metrics, [step(3, 2), step(4, 2), step(5, 10), step(6, 10)]);
            store.delete_run(&id("r")).await.expect("a deletion");
            assert!(everything(store).await.is_empty());
        })
        .await;
    }

    #[tokio::test]
    async fn a_run_does_not_inherit_from_a_deleted_one() {
        on_every_store(async |store| {
            store.put_run_metrics(&id("r"), 1, &[step(1, 1)]).await.expect("a put");
            store.create_run(&id("r"), &Request { epochs: 3 }).await.expect("a run");
            assert!(store.get_run_metrics(&id("r")).await.expect("metrics").is_empty());
        })
        .await;
    }
}
