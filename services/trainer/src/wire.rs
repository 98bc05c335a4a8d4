//! Runs as messages.

use relief_api::convert::{job, time, training};
use relief_api::job::v1::JobError;
use relief_api::training::v1;
use relief_store::SnapshotRecord;

use crate::record::{RunRecord, RunStatus};
use crate::run::RunView;

pub(crate) fn run(view: &RunView, snapshots: &[SnapshotRecord]) -> v1::Run {
    v1::Run {
        name: view.record.id.to_string(),
        spec: Some(training::spec_to_wire(&view.record.spec)),
        status: Some(status(&view.record, &view.status)),
        snapshots: snapshots.iter().map(snapshot).collect(),
        create_time: time::timestamp_from_text(&view.record.created),
    }
}

fn status(record: &RunRecord, status: &RunStatus) -> v1::RunStatus {
    v1::RunStatus {
        state: job::state_to_wire(status.state).into(),
        epoch: status.epoch,
        step: status.step,
        steps_total: record.n_steps(),
        loss: status.loss,
        accuracy: status.accuracy,
        rate: status.rate,
        samples_per_second: status.samples_per_second,
        eta: status.eta_seconds.and_then(time::duration),
        revision: status.revision,
        error: status
            .error
            .as_ref()
            .map(|failure| JobError { reason: failure.reason.clone(), message: failure.message.clone() }),
    }
}

fn snapshot(record: &SnapshotRecord) -> v1::Snapshot {
    let metrics = &record.metrics;
    v1::Snapshot {
        name: record.name.to_string(),
        epoch: record.epoch,
        digest: record.digest.to_string(),
        rate: metrics.rate,
        train_loss: metrics.train_loss,
        train_accuracy: metrics.train_accuracy,
        test_loss: metrics.test_loss,
        test_accuracy: metrics.test_accuracy,
        weight_norm: metrics.weight_norm,
    }
}
