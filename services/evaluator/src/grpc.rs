//! `relief.evaluator.v1.EvaluatorService`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::Stream;
use relief_api::convert::evaluation::{PROTOCOL_VERSION, TileRequest, point_to_wire, tile_from_wire};
use relief_api::evaluator::v1 as wire;
use relief_api::evaluator::v1::evaluate_tile_response::Event;
use relief_api::evaluator::v1::evaluator_service_server::EvaluatorService;
use relief_api::{ApiError, ErrorReason};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::compute::{ComputeEvent, ComputeQueue, ComputeTask};
use crate::loader::Loader;

/// The longest silence of a stream that is at work.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);

/// Tiles that the coordinator may send at once: one computes, one is loaded and waits.
const N_SLOTS: u32 = 2;

/// Serves evaluations.
#[derive(Debug, Clone)]
pub(crate) struct EvaluatorHandler {
    pub(crate) loader: Arc<Loader>,
    pub(crate) queue: ComputeQueue,
    pub(crate) numeric_class: Arc<str>,
    pub(crate) shutdown: CancellationToken,
}

type EventSender = mpsc::Sender<Result<wire::EvaluateTileResponse, Status>>;

#[tonic::async_trait]
impl EvaluatorService for EvaluatorHandler {
    type EvaluateTileStream = Pin<Box<dyn Stream<Item = Result<wire::EvaluateTileResponse, Status>> + Send>>;

    async fn evaluate_tile(
        &self,
        request: Request<wire::EvaluateTileRequest>,
    ) -> Result<Response<Self::EvaluateTileStream>, Status> {
        let request = tile_from_wire(request.into_inner())?;
        if request.numeric_class != *self.numeric_class {
            let message = format!(
                "numeric_class: this evaluator computes in {}, the request is for {}",
                self.numeric_class, request.numeric_class
            );
            return Err(ApiError::new(ErrorReason::VersionMismatch, message).into());
        }
        if self.shutdown.is_cancelled() {
            return Err(ApiError::new(ErrorReason::ShuttingDown, "the evaluator is stopping").into());
        }
        let (sender, receiver) = mpsc::channel(16);
        let handler = self.clone();
        let work = async move {
            if let Err(error) = handler.evaluate(request, &sender).await {
                // A caller that has gone needs no reason.
                let _ = sender.send(Err(error.into())).await;
            }
        };
        tokio::spawn(work.in_current_span());
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn describe_evaluator(
        &self,
        _: Request<wire::DescribeEvaluatorRequest>,
    ) -> Result<Response<wire::DescribeEvaluatorResponse>, Status> {
        if self.shutdown.is_cancelled() {
            return Err(ApiError::new(ErrorReason::ShuttingDown, "the evaluator is stopping").into());
        }
        Ok(Response::new(wire::DescribeEvaluatorResponse {
            protocol_version: PROTOCOL_VERSION,
            relief_version: env!("CARGO_PKG_VERSION").to_owned(),
            numeric_class: self.numeric_class.to_string(),
            slots: N_SLOTS,
        }))
    }
}

impl EvaluatorHandler {
    /// Loads, computes and sends; ends early when the caller goes away.
    async fn evaluate(&self, request: TileRequest, sender: &EventSender) -> Result<(), ApiError> {
        let mut heartbeat = tokio::time::interval(HEARTBEAT_INTERVAL);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

        let session = {
            let mut opening = std::pin::pin!(self.loader.open(&request));
            loop {
                tokio::select! {
                    session = &mut opening => break session?,
                    _ = heartbeat.tick() => beat(sender, 0),
                    () = sender.closed() => return Ok(()),
                }
            }
        };

        let n_directions = request.directions.len();
        let points: Vec<Vec<f64>> =
            request.points.iter().map(|(x, y)| [*x, *y][..n_directions.min(2)].to_vec()).collect();
        let samples_done = Arc::new(AtomicU64::new(0));
        let (events, mut computed) = mpsc::channel(points.len() + 1);
        self.queue.submit(ComputeTask {
            session,
            points,
            events,
            samples_done: Arc::clone(&samples_done),
            span: tracing::Span::current(),
        })?;
        loop {
            let event = tokio::select! {
                event = computed.recv() => event,
                _ = heartbeat.tick() => {
                    beat(sender, samples_done.load(Ordering::Relaxed));
                    continue;
                }
                // Dropping the receiver tells the compute thread.
                () = sender.closed() => return Ok(()),
            };
            let event = match event {
                Some(ComputeEvent::Point { idx, value }) => Event::Point(point_to_wire(idx, value)),
                Some(ComputeEvent::Finished { n_points, seconds }) => {
                    let summary = wire::TileSummary { points: n_points, compute_seconds: seconds };
                    // As everywhere: a caller that has gone needs no more.
                    let _ = sender.send(Ok(respond(Event::Summary(summary)))).await;
                    return Ok(());
                }
                Some(ComputeEvent::Failed(error)) => return Err(error),
                None => return Err(ApiError::new(ErrorReason::Internal, "the compute thread has ended")),
            };
            if sender.send(Ok(respond(event))).await.is_err() {
                return Ok(());
            }
        }
    }
}

fn respond(event: Event) -> wire::EvaluateTileResponse {
    wire::EvaluateTileResponse { event: Some(event) }
}

fn beat(sender: &EventSender, samples_done: u64) {
    // A full channel holds proof of life enough.
    let _ = sender.try_send(Ok(respond(Event::Heartbeat(wire::Heartbeat { samples_done }))));
}
