//! The thread that trains.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use opentelemetry::Context;
use relief_core::{JobState, Split};
use relief_graph::{Graph, InputShape};
use relief_nn::{Device, Samples};
use relief_store::{BlobPath, DatasetRecord, NetworkRecord, SnapshotMetrics};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::error::{RunError, chain};
use crate::journal::Journal;
use crate::progress::{EpochMean, Pace};
use crate::run::{LiveRun, Registry};
use crate::trainer::Trainer;
use crate::training::Training;

/// An accepted run with what it needs.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) run: Arc<LiveRun>,
    pub(crate) network: NetworkRecord,
    pub(crate) dataset: DatasetRecord,
    /// Of the call that created it.
    pub(crate) trace: Context,
}

/// Trains one run after the other.
#[derive(Debug)]
pub(crate) struct Worker {
    journal: Journal,
    registry: Arc<Registry>,
    device: Device,
    batch_size: usize,
    shutdown: CancellationToken,
    runtime: Handle,
}

impl Worker {
    /// Returns the worker of `trainer`, whose reads and writes happen on `runtime`.
    pub(crate) fn new(trainer: &Trainer, runtime: Handle) -> Self {
        Self {
            journal: trainer.journal.clone(),
            registry: trainer.registry.clone(),
            device: trainer.device.clone(),
            batch_size: trainer.batch_size,
            shutdown: trainer.shutdown.clone(),
            runtime,
        }
    }

    /// Trains what comes from `queue` until the shutdown, then fails what is left. Blocks its thread.
    pub(crate) fn work(&self, mut queue: mpsc::Receiver<Job>) {
        let next = async |queue: &mut mpsc::Receiver<Job>| {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => None,
                job = queue.recv() => job,
            }
        };
        while let Some(job) = self.runtime.block_on(next(&mut queue)) {
            self.execute(&job);
        }
        queue.close();
        while let Some(Job { run, .. }) = queue.blocking_recv() {
            if run.transition(JobState::Running, None).is_ok() {
                self.finish(&run, Err(RunError::Stopped { last_snapshot: None }));
            }
        }
    }

    fn execute(&self, job: &Job) {
        let run = &job.run;
        // Linked by its context and not as a child span: that would keep the span of the call open until the run ends.
        let span = tracing::info_span!(parent: None, "trainer.run", run = %run.id(), network = %job.network.id);
        // Fails only when no exporter is installed, and then there is nothing to link.
        let _ = span.set_parent(job.trace.clone());
        let _entered = span.enter();
        if run.transition(JobState::Running, None).is_err() {
            self.store_cancelled(run);
            return;
        }
        tracing::info!("run begins");
        let outcome = catch_unwind(AssertUnwindSafe(|| self.train(job)))
            .unwrap_or_else(|panic| Err(RunError::Panic(panic_message(&*panic))));
        self.finish(run, outcome);
    }

    /// Stores the end of a run that was cancelled before its turn, if its canceller could not.
    fn store_cancelled(&self, run: &LiveRun) {
        if self.registry.find(run.id()).is_none() {
            return;
        }
        match self.runtime.block_on(self.journal.put_status(run.id(), &run.status())) {
            Ok(()) => self.registry.forget(run.id()),
            Err(error) => tracing::error!(error = %chain(&error), "cannot store that the run is cancelled"),
        }
    }

    fn finish(&self, run: &LiveRun, outcome: Result<(), RunError>) {
        let (state, failure) = match outcome {
            Ok(()) => (JobState::Succeeded, None),
            Err(RunError::Cancelled) => (JobState::Cancelled, None),
            Err(error) => (JobState::Failed, Some(error.failure())),
        };
        // Stored before it is told: what a client has seen ended stays so after a restart.
        let status = run.status_in(state, failure.clone());
        let ended = match self.runtime.block_on(self.journal.put_status(run.id(), &status)) {
            Ok(()) => {
                match &failure {
                    None => tracing::info!(%state, "run ended"),
                    Some(failure) => tracing::warn!(reason = failure.reason, error = failure.message, "run failed"),
                }
                let ended = run.transition(state, failure);
                self.registry.forget(run.id());
                ended
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), %state, "cannot store the end of the run");
                let failure = failure.unwrap_or_else(|| RunError::store("the end of the run", error).failure());
                run.transition(JobState::Failed, Some(failure))
            }
        };
        if let Err(refusal) = ended {
            tracing::error!(run = %run.id(), %refusal, "the run ended twice");
        }
    }

    fn train(&self, job: &Job) -> Result<(), RunError> {
        let training = self.runtime.block_on(self.load(job))?;
        let run = &*job.run;
        let course =
            Course { worker: self, run, training, pace: Pace::default(), begun: Instant::now(), last_snapshot: None };
        course.run()
    }

    async fn load(&self, job: &Job) -> Result<Training, RunError> {
        let (network, dataset) = (&job.network, &job.dataset);
        let store = self.journal.store();
        let onnx = store.load_network(&BlobPath::network(&network.id), network.digest).await;
        let onnx = onnx.map_err(|error| RunError::load(&network.id, error))?;
        let graph = Graph::from_onnx(&onnx)?.graph;
        let shape = graph.input_shape();
        let samples = self.samples(dataset, Split::Train, network, shape).await?;
        let test = match dataset.splits.contains_key(&Split::Test) {
            true => Some(self.samples(dataset, Split::Test, network, shape).await?),
            false => None,
        };
        let recipe = &job.run.record().spec.recipe;
        Training::new(&self.device, self.batch_size, graph, recipe, samples, test.as_ref())
    }

    async fn samples(
        &self,
        dataset: &DatasetRecord,
        split: Split,
        network: &NetworkRecord,
        shape: InputShape,
    ) -> Result<Samples, RunError> {
        let loaded = self.journal.store().load_samples(dataset, split, None, network.input_shape).await;
        let loaded = loaded.map_err(|error| RunError::load(&dataset.id, error))?;
        Ok(Samples::new(loaded.inputs, loaded.targets, shape)?)
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

/// A run on its way.
struct Course<'a> {
    worker: &'a Worker,
    run: &'a LiveRun,
    training: Training,
    pace: Pace,
    begun: Instant,
    last_snapshot: Option<u32>,
}

impl Course<'_> {
    fn run(mut self) -> Result<(), RunError> {
        let n_epochs = self.run.record().spec.recipe.epochs;
        self.snapshot(0)?;
        for epoch in 1..=n_epochs {
            self.epoch(epoch)?;
            self.snapshot(epoch)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), RunError> {
        check(self.worker, self.run, self.last_snapshot)
    }

    fn epoch(&mut self, epoch: u32) -> Result<(), RunError> {
        let Self { worker, run, training, pace, begun, last_snapshot } = self;
        check(worker, run, *last_snapshot)?;
        let record = run.record();
        let n_evaluations = u64::from(record.spec.recipe.epochs - epoch + 1);
        let n_before = u64::from(epoch - 1) * record.n_samples;
        let mut mean = EpochMean::default();
        let mut n_in_epoch = 0;
        let mut step_began = Instant::now();
        let steps = training.epoch(epoch, &mut |step, n_samples| {
            mean.add(n_samples, step.loss, step.accuracy);
            n_in_epoch += n_samples as u64;
            pace.step(step_began.elapsed());
            step_began = Instant::now();
            let eta_seconds = pace.eta_seconds(record.n_steps() - step.step, n_evaluations);
            run.update(|status| {
                (status.loss, status.accuracy) = mean.value();
                status.step = step.step;
                status.rate = step.rate;
                status.samples_per_second = (n_before + n_in_epoch) as f64 / begun.elapsed().as_secs_f64().max(1e-9);
                status.eta_seconds = eta_seconds;
            });
            check(worker, run, *last_snapshot)
        })?;
        let put = worker.journal.put_metrics(run.id(), epoch, &steps);
        worker.runtime.block_on(put).map_err(|error| RunError::store(format!("the metrics of epoch {epoch}"), error))
    }

    fn snapshot(&mut self, epoch: u32) -> Result<(), RunError> {
        let (worker, run) = (self.worker, self.run);
        let began = Instant::now();
        self.check()?;
        let parameters = self.training.parameters()?;
        let values = self.training.evaluate(&parameters, &|| self.check())?;
        let record = run.record();
        let metrics = SnapshotMetrics {
            step: u64::from(epoch) * record.n_steps_per_epoch(),
            rate: record.spec.recipe.rate_in_epoch(epoch),
            train_loss: values.train.loss,
            train_accuracy: values.train.accuracy,
            test_loss: values.test.map(|value| value.loss),
            test_accuracy: values.test.map(|value| value.accuracy),
            weight_norm: self.training.weight_norm()?,
        };
        let put = worker.journal.put_snapshot(run.id(), epoch, &record.spec.network, &parameters, metrics);
        worker
            .runtime
            .block_on(put)
            .map_err(|error| RunError::store(format!("the snapshot of epoch {epoch}"), error))?;
        self.last_snapshot = Some(epoch);
        self.pace.evaluation(began.elapsed());
        run.update(|status| status.epoch = epoch);
        tracing::info!(
            epoch,
            train_loss = metrics.train_loss,
            train_accuracy = metrics.train_accuracy,
            test_loss = metrics.test_loss,
            test_accuracy = metrics.test_accuracy,
            "snapshot"
        );
        let status = run.status();
        let put = worker.journal.put_status(run.id(), &status);
        worker.runtime.block_on(put).map_err(|error| RunError::store("the progress of the run", error))
    }
}

/// Whether the run is to go on.
fn check(worker: &Worker, run: &LiveRun, last_snapshot: Option<u32>) -> Result<(), RunError> {
    if run.is_cancelled() {
        Err(RunError::Cancelled)
    } else if worker.shutdown.is_cancelled() {
        Err(RunError::Stopped { last_snapshot })
    } else {
        Ok(())
    }
}
