//! The logits of a checkpoint, computed by whichever evaluator takes the request.

use std::time::Duration;

use relief_api::convert::evaluation::{BlobRef, LogitsRequest, SamplesRef, logits_to_wire};
use relief_api::evaluator::v1::ComputeLogitsResponse;
use relief_api::evaluator::v1::compute_logits_response::Event;
use relief_api::inference::v1::compute_logits_response::Part;
use relief_api::{ApiError, ErrorReason, Retry};
use relief_core::{InferenceSpec, NetworkId, NumericRequest};
use relief_store::{BlobPath, Store};

use crate::fleet::{Answers, Fleet, Link};
use crate::reply::{next_message, of_later_version, read_refusal, stalled};
use crate::subject::{Subject, SubjectFields};

const FIELDS: SubjectFields =
    SubjectFields { network: "network", checkpoint: "checkpoint", dataset: "data.dataset", split: "data.split" };

/// Logits that can be computed.
#[derive(Debug)]
pub(crate) struct PlannedInference {
    pub(crate) network: NetworkId,
    pub(crate) n_samples: u64,
    pub(crate) n_classes: u32,
    request: LogitsRequest,
}

/// Logits on their way, of which some are there.
pub(crate) struct RunningInference {
    /// What the evaluator has chosen to compute in.
    pub(crate) numeric_class: String,
    next: Option<Part>,
    events: Answers<ComputeLogitsResponse>,
    stall_timeout: Duration,
}

impl PlannedInference {
    /// Looks up what `spec` names.
    ///
    /// # Errors
    /// `NOT_FOUND` or `INVALID_FIELD`, with the field.
    pub(crate) async fn plan(store: &Store, spec: InferenceSpec) -> Result<Self, ApiError> {
        let subject = Subject { network: spec.network.as_ref(), checkpoint: &spec.checkpoint, data: &spec.data };
        let found = subject.find(store, &FIELDS).await?;
        let network = store.keep_network(found.network).await?;
        let checkpoint = found.checkpoint;
        let request = LogitsRequest {
            network: BlobRef { path: BlobPath::network(&network.id).to_string(), digest: network.digest },
            checkpoint: BlobRef { path: checkpoint.path.to_string(), digest: checkpoint.digest },
            samples: SamplesRef {
                dataset: spec.data.dataset,
                digest: found.samples.digest,
                split: spec.data.split,
                limit: spec.data.limit,
            },
            numerics: spec.numerics,
        };
        Ok(Self { network: network.id, n_samples: found.samples.n_samples, n_classes: network.n_classes, request })
    }

    /// Has the first evaluator begin that can, those first that offer what most do.
    ///
    /// # Errors
    /// `NO_EVALUATOR` when none answers, `NUMERICS_UNAVAILABLE` when none that does has what is asked for, else the
    /// last refusal.
    pub(crate) async fn begin(&self, fleet: &Fleet, stall_timeout: Duration) -> Result<RunningInference, ApiError> {
        let mut refusal = None;
        for link in fleet.serving(self.request.numerics) {
            match self.begin_at(link, stall_timeout).await {
                Ok(running) => return Ok(running),
                Err(error) if error.reason.retry() == Retry::Never => return Err(error),
                Err(error) => {
                    tracing::info!(evaluator = link.name, %error, "an evaluator does not compute logits");
                    refusal = Some(error);
                }
            }
        }
        if let (None, Some(reason)) = (&refusal, fleet.why_unserved()) {
            return Err(unserved(self.request.numerics, &reason));
        }
        Err(refusal.unwrap_or_else(|| {
            let reason = fleet.why_idle(None).unwrap_or_else(|| "no evaluator answers".to_owned());
            ApiError::new(ErrorReason::NoEvaluator, reason)
        }))
    }

    async fn begin_at(&self, link: &Link, stall_timeout: Duration) -> Result<RunningInference, ApiError> {
        let opening = link.port.compute_logits(logits_to_wire(&self.request));
        let opened = tokio::time::timeout(stall_timeout, opening).await.map_err(|_| stalled(stall_timeout).error)?;
        let events = opened.map_err(|status| read_refusal(&status).error)?;
        let mut running = RunningInference { numeric_class: String::new(), next: None, events, stall_timeout };
        running.next = Some(running.read().await?);
        Ok(running)
    }
}

/// The refusal of what no evaluator offers.
fn unserved(request: NumericRequest, reason: &str) -> ApiError {
    let (field, word) = match (request.engine, request.precision) {
        (Some(engine), None) => ("numerics.engine", engine.to_string()),
        (Some(engine), Some(precision)) => ("numerics.precision", format!("{precision} with engine {engine}")),
        (None, precision) => {
            ("numerics.precision", precision.map(|precision| precision.to_string()).unwrap_or_default())
        }
    };
    let refusal = ApiError::field(field, format!("no evaluator offers {word}; {reason}"));
    ApiError { reason: ErrorReason::NumericsUnavailable, ..refusal }
}

impl RunningInference {
    /// The next rows, or the summary, which is the last.
    ///
    /// # Errors
    /// When the evaluator is lost or fails.
    pub(crate) async fn next(&mut self) -> Result<Part, ApiError> {
        match self.next.take() {
            Some(part) => Ok(part),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Result<Part, ApiError> {
        loop {
            let message = next_message(&mut self.events, self.stall_timeout).await.map_err(|refused| refused.error)?;
            match message.map(|message| message.event) {
                Some(Some(Event::Heartbeat(_))) => {}
                // It comes before all else.
                Some(Some(Event::Choice(choice))) => self.numeric_class = choice.numeric_class,
                Some(Some(Event::Rows(rows))) => return Ok(Part::Rows(rows)),
                Some(Some(Event::Summary(summary))) => return Ok(Part::Summary(summary)),
                Some(None) => return Err(of_later_version()),
                None => {
                    let message = "the evaluator ended the logits without a summary";
                    return Err(ApiError::new(ErrorReason::EvaluationFailed, message));
                }
            }
        }
    }
}
