//! `relief.inference.v1.InferenceService`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use relief_api::ApiError;
use relief_api::convert::inference::inference_from_wire;
use relief_api::inference::v1 as wire;
use relief_api::inference::v1::compute_logits_response::Part;
use relief_api::inference::v1::inference_service_server::InferenceService;
use relief_store::Store;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::fleet::Fleet;
use crate::inference::{PlannedInference, RunningInference};

/// Serves logits.
#[derive(Debug)]
pub(crate) struct InferenceHandler {
    pub(crate) store: Store,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) stall_timeout: Duration,
}

type PartSender = mpsc::Sender<Result<wire::ComputeLogitsResponse, Status>>;

#[tonic::async_trait]
impl InferenceService for InferenceHandler {
    type ComputeLogitsStream = Pin<Box<dyn Stream<Item = Result<wire::ComputeLogitsResponse, Status>> + Send>>;

    async fn compute_logits(
        &self,
        request: Request<wire::ComputeLogitsRequest>,
    ) -> Result<Response<Self::ComputeLogitsStream>, Status> {
        let spec = inference_from_wire(request.into_inner())?;
        let planned = PlannedInference::plan(&self.store, spec).await?;
        let running = planned.begin(&self.fleet, self.stall_timeout).await?;
        let header = wire::LogitsHeader {
            network: planned.network.to_string(),
            n_samples: planned.n_samples,
            n_classes: planned.n_classes,
            numeric_class: running.numeric_class.clone(),
        };
        let (sender, receiver) = mpsc::channel(4);
        let work = async move {
            if let Err(error) = forward(header, running, &sender).await {
                // A caller that has gone needs no reason.
                let _ = sender.send(Err(error.into())).await;
            }
        };
        tokio::spawn(work.in_current_span());
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Passes everything on; ends early when the caller goes away.
async fn forward(
    header: wire::LogitsHeader,
    mut running: RunningInference,
    sender: &PartSender,
) -> Result<(), ApiError> {
    let mut part = Part::Header(header);
    loop {
        let is_last = matches!(part, Part::Summary(_));
        let sent = sender.send(Ok(wire::ComputeLogitsResponse { part: Some(part) })).await;
        if sent.is_err() || is_last {
            return Ok(());
        }
        part = tokio::select! {
            next = running.next() => next?,
            () = sender.closed() => return Ok(()),
        };
    }
}
