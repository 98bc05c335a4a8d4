//! `relief.evaluator.v1.EvaluatorService`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures::Stream;
use relief_api::convert::evaluation::{
    LogitsRequest, PROTOCOL_VERSION, TileRequest, logits_from_wire, point_to_wire, tile_from_wire,
};
use relief_api::evaluator::v1 as wire;
use relief_api::evaluator::v1::compute_logits_response::Event as WireLogitsEvent;
use relief_api::evaluator::v1::evaluate_tile_response::Event as WireTileEvent;
use relief_api::evaluator::v1::evaluator_service_server::EvaluatorService;
use relief_api::inference::v1::{LogitsRows, LogitsSummary};
use relief_api::{ApiError, ErrorReason};
use relief_core::PointValue;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::compute::{ComputeQueue, ComputeTask, LogitsEvent, LogitsTask, TileEvent, TileTask};
use crate::loader::{Loader, Subject};
use crate::outlet::Outlet;

/// Tiles that the coordinator may send at once: one computes, one is loaded and waits.
const N_SLOTS: u32 = 2;

/// Logits in one message, so that none comes near the limit.
const LOGITS_PER_MESSAGE: usize = 1 << 18;

/// The most logits of one request: a whole answer may wait for a slow caller.
const MAX_LOGITS: usize = 1 << 26;

/// Serves evaluations.
#[derive(Debug, Clone)]
pub(crate) struct EvaluatorHandler {
    pub(crate) loader: Arc<Loader>,
    pub(crate) queue: ComputeQueue,
    pub(crate) numeric_class: Arc<str>,
    pub(crate) shutdown: CancellationToken,
}

type BoxStream<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

#[tonic::async_trait]
impl EvaluatorService for EvaluatorHandler {
    type EvaluateTileStream = BoxStream<wire::EvaluateTileResponse>;
    type ComputeLogitsStream = BoxStream<wire::ComputeLogitsResponse>;

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
        let (mut outlet, stream) = self.open_stream(tile_heartbeat)?;
        let handler = self.clone();
        let work = async move {
            if let Err(error) = handler.evaluate(request, &mut outlet).await {
                outlet.refuse(error.into()).await;
            }
        };
        tokio::spawn(work.in_current_span());
        Ok(Response::new(stream))
    }

    async fn compute_logits(
        &self,
        request: Request<wire::ComputeLogitsRequest>,
    ) -> Result<Response<Self::ComputeLogitsStream>, Status> {
        let request = logits_from_wire(request.into_inner())?;
        let (mut outlet, stream) = self.open_stream(logits_heartbeat)?;
        let handler = self.clone();
        let work = async move {
            if let Err(error) = handler.infer(request, &mut outlet).await {
                outlet.refuse(error.into()).await;
            }
        };
        tokio::spawn(work.in_current_span());
        Ok(Response::new(stream))
    }

    async fn describe_evaluator(
        &self,
        _: Request<wire::DescribeEvaluatorRequest>,
    ) -> Result<Response<wire::DescribeEvaluatorResponse>, Status> {
        self.not_stopping()?;
        Ok(Response::new(wire::DescribeEvaluatorResponse {
            protocol_version: PROTOCOL_VERSION,
            relief_version: env!("CARGO_PKG_VERSION").to_owned(),
            numeric_class: self.numeric_class.to_string(),
            slots: N_SLOTS,
        }))
    }
}

impl EvaluatorHandler {
    fn not_stopping(&self) -> Result<(), ApiError> {
        match self.shutdown.is_cancelled() {
            true => Err(ApiError::new(ErrorReason::ShuttingDown, "the evaluator is stopping")),
            false => Ok(()),
        }
    }

    fn open_stream<M: Send + 'static>(
        &self,
        beat: fn(wire::Heartbeat) -> M,
    ) -> Result<(Outlet<M>, BoxStream<M>), ApiError> {
        self.not_stopping()?;
        let (sender, receiver) = mpsc::channel(16);
        Ok((Outlet::new(sender, beat), Box::pin(ReceiverStream::new(receiver))))
    }

    /// Loads, computes and sends points; ends early when the caller goes away.
    async fn evaluate(
        &self,
        request: TileRequest,
        outlet: &mut Outlet<wire::EvaluateTileResponse>,
    ) -> Result<(), ApiError> {
        let samples_done = Arc::new(AtomicU64::new(0));
        let subject = Subject::of_tile(&request);
        let opening = self.loader.open(&subject);
        let Some(session) = outlet.wait(&samples_done, opening).await else { return Ok(()) };

        let (ticket, n_directions) = (request.ticket, request.axes.len());
        let points: Vec<Vec<f64>> =
            request.points.iter().map(|(x, y)| [*x, *y][..n_directions.min(2)].to_vec()).collect();
        let (events, mut computed) = mpsc::channel(points.len() + 1);
        self.queue.submit(ComputeTask::Tile(TileTask {
            session: session?,
            points,
            events,
            samples_done: Arc::clone(&samples_done),
            span: tracing::Span::current(),
        }))?;
        // Dropping the receiver tells the compute thread.
        while let Some(event) = outlet.wait(&samples_done, computed.recv()).await {
            let (event, is_last) = match event {
                Some(TileEvent::Point { idx, values }) => {
                    (WireTileEvent::Point(point_to_wire(ticket, idx, values)), false)
                }
                Some(TileEvent::Finished { n_points, seconds }) => {
                    let summary = wire::TileSummary { points: n_points, compute_seconds: seconds, ticket };
                    (WireTileEvent::Summary(summary), true)
                }
                Some(TileEvent::Failed(error)) => return Err(error),
                None => return Err(thread_ended()),
            };
            if outlet.send(tile_event(event)).await.is_none() || is_last {
                break;
            }
        }
        Ok(())
    }

    /// Loads, computes and sends logits; ends early when the caller goes away.
    async fn infer(
        &self,
        request: LogitsRequest,
        outlet: &mut Outlet<wire::ComputeLogitsResponse>,
    ) -> Result<(), ApiError> {
        let samples_done = Arc::new(AtomicU64::new(0));
        let subject = Subject::of_logits(request);
        let opening = self.loader.open(&subject);
        let Some(session) = outlet.wait(&samples_done, opening).await else { return Ok(()) };
        let session = session?;

        let (n_samples, n_classes) = (session.n_samples(), session.n_classes());
        let n_logits = n_samples.saturating_mul(n_classes);
        if n_logits > MAX_LOGITS {
            let message = format!(
                "{n_samples} samples have {n_logits} logits; one request may ask for {MAX_LOGITS}, which is those of {} \
                 samples",
                MAX_LOGITS / n_classes
            );
            return Err(ApiError::field("data.limit", message));
        }
        let samples_per_span = (LOGITS_PER_MESSAGE / n_classes).max(1);
        let (events, mut computed) = mpsc::channel(n_samples.div_ceil(samples_per_span) + 1);
        self.queue.submit(ComputeTask::Logits(LogitsTask {
            session,
            n_samples: samples_per_span,
            events,
            samples_done: Arc::clone(&samples_done),
            span: tracing::Span::current(),
        }))?;
        while let Some(event) = outlet.wait(&samples_done, computed.recv()).await {
            let (event, is_last) = match event {
                Some(LogitsEvent::Span(span)) => {
                    let (first_sample, logits, targets) = (span.first_sample as u64, span.logits, span.targets);
                    (WireLogitsEvent::Rows(LogitsRows { first_sample, logits, targets }), false)
                }
                Some(LogitsEvent::Finished(PointValue { loss, squared_error, accuracy })) => {
                    (WireLogitsEvent::Summary(LogitsSummary { loss, accuracy, squared_error }), true)
                }
                Some(LogitsEvent::Failed(error)) => return Err(error),
                None => return Err(thread_ended()),
            };
            if outlet.send(logits_event(event)).await.is_none() || is_last {
                break;
            }
        }
        Ok(())
    }
}

fn thread_ended() -> ApiError {
    ApiError::new(ErrorReason::Internal, "the compute thread has ended")
}

fn tile_event(event: WireTileEvent) -> wire::EvaluateTileResponse {
    wire::EvaluateTileResponse { event: Some(event) }
}

fn tile_heartbeat(heartbeat: wire::Heartbeat) -> wire::EvaluateTileResponse {
    tile_event(WireTileEvent::Heartbeat(heartbeat))
}

fn logits_event(event: WireLogitsEvent) -> wire::ComputeLogitsResponse {
    wire::ComputeLogitsResponse { event: Some(event) }
}

fn logits_heartbeat(heartbeat: wire::Heartbeat) -> wire::ComputeLogitsResponse {
    logits_event(WireLogitsEvent::Heartbeat(heartbeat))
}
