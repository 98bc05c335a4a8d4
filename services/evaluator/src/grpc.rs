//! `relief.evaluator.v1.EvaluatorService`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use futures::Stream;
use relief_api::convert::difference::{MAX_PRODUCTS, combination_from_wire, gram_from_wire};
use relief_api::convert::evaluation::{
    ChoiceRequest, LogitsRequest, PROTOCOL_VERSION, TileRequest, choice_from_wire, logits_from_wire, point_to_wire,
    tile_from_wire,
};
use relief_api::evaluator::v1 as wire;
use relief_api::evaluator::v1::choose_numerics_response::Event as WireChoiceEvent;
use relief_api::evaluator::v1::combine_checkpoints_response::Event as WireCombinationEvent;
use relief_api::evaluator::v1::compute_gram_response::Event as WireGramEvent;
use relief_api::evaluator::v1::compute_logits_response::Event as WireLogitsEvent;
use relief_api::evaluator::v1::evaluate_tile_response::Event as WireTileEvent;
use relief_api::evaluator::v1::evaluator_service_server::EvaluatorService;
use relief_api::inference::v1::{LogitsRows, LogitsSummary};
use relief_api::{ApiError, ErrorReason, Retry};
use relief_core::{BatchNormMode, Digest, Numerics, PointValue, Precision};
use relief_nn::NumericChoice;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::compute::{ComputeQueue, ComputeTask, LogitsEvent, LogitsTask, ProbeTask, TileEvent, TileTask};
use crate::difference::Differences;
use crate::loader::{Loader, Subject};
use crate::numerics::{NumericOffers, Trial, compare};
use crate::outlet::Outlet;

/// Tiles that the coordinator may send at once: one computes, one is loaded and waits.
const N_SLOTS: u32 = 2;

/// Logits in one message, so that none comes near the limit.
const LOGITS_PER_MESSAGE: usize = 1 << 18;

/// The bytes of a direction in one message.
const CHUNK_BYTES: usize = 1 << 20;

/// The most logits of one request: a whole answer may wait for a slow caller.
const MAX_LOGITS: usize = 1 << 26;

/// The samples on which a shorter precision is compared with float32.
const N_PROBE_SAMPLES: u64 = 512;

/// Serves evaluations.
#[derive(Debug, Clone)]
pub(crate) struct EvaluatorHandler {
    pub(crate) loader: Arc<Loader>,
    pub(crate) differences: Arc<Differences>,
    pub(crate) queue: ComputeQueue,
    pub(crate) numerics: Arc<NumericOffers>,
    pub(crate) shutdown: CancellationToken,
}

type BoxStream<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

#[tonic::async_trait]
impl EvaluatorService for EvaluatorHandler {
    type EvaluateTileStream = BoxStream<wire::EvaluateTileResponse>;
    type ComputeLogitsStream = BoxStream<wire::ComputeLogitsResponse>;
    type ChooseNumericsStream = BoxStream<wire::ChooseNumericsResponse>;
    type ComputeGramStream = BoxStream<wire::ComputeGramResponse>;
    type CombineCheckpointsStream = BoxStream<wire::CombineCheckpointsResponse>;

    async fn evaluate_tile(
        &self,
        request: Request<wire::EvaluateTileRequest>,
    ) -> Result<Response<Self::EvaluateTileStream>, Status> {
        let request = tile_from_wire(request.into_inner())?;
        let Some(numerics) = self.numerics.numerics_of(&request.numeric_class) else {
            let message = format!(
                "numeric_class: this evaluator computes in {}, the request is for {}",
                self.numerics.classes().collect::<Vec<_>>().join(", "),
                request.numeric_class
            );
            return Err(ApiError::new(ErrorReason::VersionMismatch, message).into());
        };
        let (mut outlet, stream) = self.open_stream(tile_heartbeat)?;
        let handler = self.clone();
        let work = async move {
            if let Err(error) = handler.evaluate(request, numerics, &mut outlet).await {
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
        self.numerics.check(request.numerics)?;
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

    async fn choose_numerics(
        &self,
        request: Request<wire::ChooseNumericsRequest>,
    ) -> Result<Response<Self::ChooseNumericsStream>, Status> {
        let request = choice_from_wire(request.into_inner())?;
        self.numerics.check(request.numerics)?;
        let (mut outlet, stream) = self.open_stream(choice_heartbeat)?;
        let handler = self.clone();
        let work = async move {
            if let Err(error) = handler.choose(request, &mut outlet).await {
                outlet.refuse(error.into()).await;
            }
        };
        tokio::spawn(work.in_current_span());
        Ok(Response::new(stream))
    }

    async fn compute_gram(
        &self,
        request: Request<wire::ComputeGramRequest>,
    ) -> Result<Response<Self::ComputeGramStream>, Status> {
        let request = gram_from_wire(request.into_inner())?;
        let (mut outlet, stream) = self.open_stream(gram_heartbeat)?;
        let differences = Arc::clone(&self.differences);
        let work = async move {
            let working = differences.gram(&request);
            match outlet.wait(&AtomicU64::new(0), working).await {
                Some(Ok(products)) => send_products(&outlet, &products, request.ticket).await,
                Some(Err(error)) => outlet.refuse(error.into()).await,
                None => {}
            }
        };
        tokio::spawn(work.in_current_span());
        Ok(Response::new(stream))
    }

    async fn combine_checkpoints(
        &self,
        request: Request<wire::CombineCheckpointsRequest>,
    ) -> Result<Response<Self::CombineCheckpointsStream>, Status> {
        let request = combination_from_wire(request.into_inner())?;
        let (mut outlet, stream) = self.open_stream(combination_heartbeat)?;
        let differences = Arc::clone(&self.differences);
        let work = async move {
            let working = differences.combine(&request);
            match outlet.wait(&AtomicU64::new(0), working).await {
                Some(Ok(file)) => send_file(&outlet, file, request.ticket).await,
                Some(Err(error)) => outlet.refuse(error.into()).await,
                None => {}
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
            numeric_classes: self.numerics.classes().map(str::to_owned).collect(),
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
        numerics: Numerics,
        outlet: &mut Outlet<wire::EvaluateTileResponse>,
    ) -> Result<(), ApiError> {
        let samples_done = Arc::new(AtomicU64::new(0));
        let subject = Subject::of_plane(&request.plane, numerics);
        let opening = self.loader.open(&subject);
        let Some(session) = outlet.wait(&samples_done, opening).await else { return Ok(()) };

        let (ticket, n_directions) = (request.ticket, request.plane.axes.len());
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
        let loading = self.loader.graph(&request.network);
        let Some(graph) = outlet.wait(&samples_done, loading).await else { return Ok(()) };
        let NumericChoice { numerics, passed_over } =
            self.numerics.choose(&*graph?, BatchNormMode::Frozen, request.numerics)?;
        if let Some(passed_over) = &passed_over {
            tracing::info!(passed_over, "an engine is passed over");
        }
        if let Some(Trial { short, is_exact_offered: false, .. }) = self.numerics.trial(request.numerics, numerics) {
            return Err(self.numerics.not_good_enough(short, "logits are not tried in a shorter precision"));
        }
        let choice = self.choice_to_wire(numerics, passed_over.unwrap_or_default())?;
        let subject = Subject::of_logits(request, numerics);
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
        if outlet.send(logits_event(WireLogitsEvent::Choice(choice))).await.is_none() {
            return Ok(());
        }
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

impl EvaluatorHandler {
    /// Chooses what the points of a plane are computed in; ends early when the caller goes away.
    async fn choose(
        &self,
        request: ChoiceRequest,
        outlet: &mut Outlet<wire::ChooseNumericsResponse>,
    ) -> Result<(), ApiError> {
        let samples_done = Arc::new(AtomicU64::new(0));
        let loading = self.loader.graph(&request.plane.network);
        let Some(graph) = outlet.wait(&samples_done, loading).await else { return Ok(()) };
        let NumericChoice { mut numerics, passed_over } =
            self.numerics.choose(&*graph?, request.plane.batch_norm, request.numerics)?;
        if let Some(passed_over) = &passed_over {
            tracing::info!(surface = request.surface, passed_over, "an engine is passed over");
        }
        let mut reasons: Vec<String> = passed_over.into_iter().collect();
        if let Some(trial) = self.numerics.trial(request.numerics, numerics) {
            if trial.short.precision == Precision::Bf16 {
                return Err(self.numerics.not_good_enough(trial.short, "rounded weights are for previews"));
            }
            let probing = self.probe(&request, trial, &samples_done);
            let Some(probed) = outlet.wait(&samples_done, probing).await else { return Ok(()) };
            let (is_good, found) = probed?;
            if !is_good && !trial.is_exact_offered {
                return Err(self.numerics.not_good_enough(trial.short, &found));
            }
            numerics = if is_good { trial.short } else { trial.exact };
            reasons.push(found);
        }
        if reasons.is_empty() {
            reasons.push("of what is asked for it is the best that is offered".to_owned());
        }
        let choice = self.choice_to_wire(numerics, reasons.join("; "))?;
        tracing::info!(
            surface = request.surface,
            class = choice.numeric_class,
            reason = choice.reason,
            "numerics are chosen"
        );
        // A caller that has gone needs no answer.
        let _ = outlet.send(choice_event(WireChoiceEvent::Choice(choice))).await;
        Ok(())
    }

    /// Tries whether a shorter precision is as good as float32 on a plane, and says what was found. Where it cannot be
    /// tried it is not: what keeps it from that is for the tiles to tell, whose failures are counted.
    async fn probe(
        &self,
        request: &ChoiceRequest,
        trial: Trial,
        samples_done: &Arc<AtomicU64>,
    ) -> Result<(bool, String), ApiError> {
        let ChoiceRequest { plane, probes, .. } = request;
        let Trial { exact, short, .. } = trial;
        if probes.is_empty() {
            return Ok((false, format!("{short} was not tried, as no points were named to try it at")));
        }
        let probed = async {
            let subject = |numerics| Subject::of_plane(plane, numerics).limited(N_PROBE_SAMPLES);
            let exact = self.loader.open(&subject(exact)).await?;
            let short = self.loader.open(&subject(short)).await?;
            let (done, probed) = oneshot::channel();
            self.queue.submit(ComputeTask::Probe(ProbeTask {
                exact,
                short,
                points: probes.clone(),
                n_directions: plane.axes.len(),
                done,
                samples_done: Arc::clone(samples_done),
                span: tracing::Span::current(),
            }))?;
            probed.await.map_err(|_| thread_ended())?
        };
        match probed.await {
            Ok(probes) => Ok(compare(&probes, short)),
            // Another evaluator, or this one a little later, can say more.
            Err(error) if error.reason.retry() == Retry::Later => Err(error),
            Err(error) => {
                tracing::warn!(surface = request.surface, %error, numerics = %short, "numerics cannot be tried");
                Ok((false, format!("{short} could not be tried: {error}")))
            }
        }
    }

    fn choice_to_wire(&self, numerics: Numerics, reason: String) -> Result<wire::NumericChoice, ApiError> {
        Ok(wire::NumericChoice { numeric_class: self.numerics.class_of(numerics)?, reason })
    }
}

/// Sends products, until the caller goes away.
async fn send_products(outlet: &Outlet<wire::ComputeGramResponse>, products: &[f64], ticket: u64) {
    let pieces = products
        .chunks(MAX_PRODUCTS)
        .map(|products| WireGramEvent::Products(wire::GramProducts { products: products.to_vec() }));
    for event in pieces.chain([WireGramEvent::Summary(wire::GramSummary { ticket })]) {
        if outlet.send(wire::ComputeGramResponse { event: Some(event) }).await.is_none() {
            return;
        }
    }
}

/// Sends a file, until the caller goes away.
async fn send_file(outlet: &Outlet<wire::CombineCheckpointsResponse>, mut file: Bytes, ticket: u64) {
    let digest = Digest::of(&file).to_string();
    while !file.is_empty() {
        let chunk = file.split_to(file.len().min(CHUNK_BYTES));
        let event = Some(WireCombinationEvent::Chunk(chunk));
        if outlet.send(wire::CombineCheckpointsResponse { event }).await.is_none() {
            return;
        }
    }
    let event = Some(WireCombinationEvent::Summary(wire::CombinationSummary { digest, ticket }));
    // A caller that has gone needs no summary.
    let _ = outlet.send(wire::CombineCheckpointsResponse { event }).await;
}

fn gram_heartbeat(heartbeat: wire::Heartbeat) -> wire::ComputeGramResponse {
    wire::ComputeGramResponse { event: Some(WireGramEvent::Heartbeat(heartbeat)) }
}

fn combination_heartbeat(heartbeat: wire::Heartbeat) -> wire::CombineCheckpointsResponse {
    wire::CombineCheckpointsResponse { event: Some(WireCombinationEvent::Heartbeat(heartbeat)) }
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

fn choice_event(event: WireChoiceEvent) -> wire::ChooseNumericsResponse {
    wire::ChooseNumericsResponse { event: Some(event) }
}

fn choice_heartbeat(heartbeat: wire::Heartbeat) -> wire::ChooseNumericsResponse {
    choice_event(WireChoiceEvent::Heartbeat(heartbeat))
}

fn logits_heartbeat(heartbeat: wire::Heartbeat) -> wire::ComputeLogitsResponse {
    logits_event(WireLogitsEvent::Heartbeat(heartbeat))
}
