//! Evaluators that only pretend: they answer every point after a while, within this process or over gRPC.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use relief_api::convert::evaluation::PROTOCOL_VERSION;
use relief_api::evaluator::v1::evaluate_tile_response::Event;
use relief_api::evaluator::v1::evaluator_service_server::EvaluatorService;
use relief_api::evaluator::v1::{
    ChooseNumericsRequest, ChooseNumericsResponse, CombineCheckpointsRequest, CombineCheckpointsResponse,
    ComputeGramRequest, ComputeGramResponse, ComputeLogitsRequest, ComputeLogitsResponse, DescribeEvaluatorRequest,
    DescribeEvaluatorResponse, EvaluateTileRequest, EvaluateTileResponse, NumericChoice, PointResult, TileSummary,
    choose_numerics_response,
};
use relief_coordinator::{Answers, EvaluatorPort};
use tonic::{Request, Response, Status};

/// An evaluator. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Simulated {
    pub(crate) idx: usize,
    /// Until it is set, nobody answers.
    pub(crate) is_open: Arc<AtomicBool>,
    /// From a request to its answer, on average.
    pub(crate) latency: Duration,
}

/// The tiles that one takes at once, as a real one does.
const N_SLOTS: u32 = 2;

/// What all of them compute in.
const CLASS: &str = "simulated";

impl Simulated {
    fn describe(&self) -> Result<DescribeEvaluatorResponse, Status> {
        if !self.is_open.load(Ordering::Relaxed) {
            return Err(Status::unavailable("not open yet"));
        }
        Ok(DescribeEvaluatorResponse {
            protocol_version: PROTOCOL_VERSION,
            relief_version: env!("CARGO_PKG_VERSION").to_owned(),
            numeric_classes: vec![CLASS.to_owned()],
            slots: N_SLOTS,
        })
    }

    fn evaluate(
        &self,
        request: &EvaluateTileRequest,
    ) -> impl Stream<Item = Result<EvaluateTileResponse, Status>> + use<> {
        // Tickets count up, so that their hashes are as good as chance.
        let chance = request.ticket.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let latency = self.latency.mul_f64(0.5 + chance as f64 / f64::from(1 << 24));
        let ticket = request.ticket;
        let points = request.points.iter().zip(0..).map(|(point, index)| {
            let loss = point.x + 10.0 * point.y;
            Event::Point(PointResult { index, loss, accuracy: 50.0, squared_error: 0.1, also: None, ticket })
        });
        let n_points = request.points.len() as u32;
        let summary = TileSummary { points: n_points, compute_seconds: latency.as_secs_f64() / 2.0, ticket };
        let events: Vec<Event> = points.chain([Event::Summary(summary)]).collect();
        futures::stream::once(tokio::time::sleep(latency)).flat_map(move |()| {
            futures::stream::iter(
                events.clone().into_iter().map(|event| Ok(EvaluateTileResponse { event: Some(event) })),
            )
        })
    }
}

#[tonic::async_trait]
impl EvaluatorPort for Simulated {
    fn name(&self) -> String {
        format!("simulated {}", self.idx)
    }

    async fn describe_evaluator(&self) -> Result<DescribeEvaluatorResponse, Status> {
        self.describe()
    }

    async fn evaluate_tile(&self, request: EvaluateTileRequest) -> Result<Answers<EvaluateTileResponse>, Status> {
        Ok(Box::pin(self.evaluate(&request)))
    }

    async fn compute_logits(&self, _: ComputeLogitsRequest) -> Result<Answers<ComputeLogitsResponse>, Status> {
        Err(Status::unimplemented("it only pretends"))
    }

    async fn choose_numerics(&self, _: ChooseNumericsRequest) -> Result<Answers<ChooseNumericsResponse>, Status> {
        Ok(Box::pin(chosen()))
    }

    async fn compute_gram(&self, _: ComputeGramRequest) -> Result<Answers<ComputeGramResponse>, Status> {
        Err(Status::unimplemented("it only pretends"))
    }

    async fn combine_checkpoints(
        &self,
        _: CombineCheckpointsRequest,
    ) -> Result<Answers<CombineCheckpointsResponse>, Status> {
        Err(Status::unimplemented("it only pretends"))
    }
}

/// The one class that there is.
fn chosen() -> impl Stream<Item = Result<ChooseNumericsResponse, Status>> {
    let choice = NumericChoice { numeric_class: CLASS.to_owned(), reason: "there is no other".to_owned() };
    let event = choose_numerics_response::Event::Choice(choice);
    futures::stream::iter([Ok(ChooseNumericsResponse { event: Some(event) })])
}

type BoxStream<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

#[tonic::async_trait]
impl EvaluatorService for Simulated {
    type EvaluateTileStream = BoxStream<EvaluateTileResponse>;
    type ComputeLogitsStream = BoxStream<ComputeLogitsResponse>;
    type ChooseNumericsStream = BoxStream<ChooseNumericsResponse>;
    type ComputeGramStream = BoxStream<ComputeGramResponse>;
    type CombineCheckpointsStream = BoxStream<CombineCheckpointsResponse>;

    async fn evaluate_tile(
        &self,
        request: Request<EvaluateTileRequest>,
    ) -> Result<Response<Self::EvaluateTileStream>, Status> {
        Ok(Response::new(Box::pin(self.evaluate(request.get_ref()))))
    }

    async fn compute_logits(
        &self,
        _: Request<ComputeLogitsRequest>,
    ) -> Result<Response<Self::ComputeLogitsStream>, Status> {
        Err(Status::unimplemented("it only pretends"))
    }

    async fn choose_numerics(
        &self,
        _: Request<ChooseNumericsRequest>,
    ) -> Result<Response<Self::ChooseNumericsStream>, Status> {
        Ok(Response::new(Box::pin(chosen())))
    }

    async fn compute_gram(&self, _: Request<ComputeGramRequest>) -> Result<Response<Self::ComputeGramStream>, Status> {
        Err(Status::unimplemented("it only pretends"))
    }

    async fn combine_checkpoints(
        &self,
        _: Request<CombineCheckpointsRequest>,
    ) -> Result<Response<Self::CombineCheckpointsStream>, Status> {
        Err(Status::unimplemented("it only pretends"))
    }

    async fn describe_evaluator(
        &self,
        _: Request<DescribeEvaluatorRequest>,
    ) -> Result<Response<DescribeEvaluatorResponse>, Status> {
        self.describe().map(Response::new)
    }
}
