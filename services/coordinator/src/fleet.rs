//! The evaluators: where they are, what they are, and whether they answer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::Stream;
use relief_api::ErrorReason;
use relief_api::convert::evaluation::PROTOCOL_VERSION;
use relief_api::evaluator::v1::evaluator_service_client::EvaluatorServiceClient;
use relief_api::evaluator::v1::{
    ChooseNumericsRequest, ChooseNumericsResponse, CombineCheckpointsRequest, CombineCheckpointsResponse,
    ComputeGramRequest, ComputeGramResponse, ComputeLogitsRequest, ComputeLogitsResponse, DescribeEvaluatorRequest,
    DescribeEvaluatorResponse, EvaluateTileRequest, EvaluateTileResponse,
};
use relief_core::{NumericRequest, Numerics, Precision};
use relief_rpc::{ClientChannel, Endpoint, EndpointError, connect};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use crate::reply::read_refusal;
use crate::schedule::EvaluatorIdx;

const DESCRIBE_DEADLINE: Duration = Duration::from_secs(5);
/// Between two questions of one who stands by.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// The most evaluators that a reason to wait names.
const N_NAMED: usize = 4;

/// The answers of an evaluator, one after the other.
pub type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// The way to one evaluator: over gRPC, or, where the evaluator is simulated, within this process.
#[tonic::async_trait]
pub trait EvaluatorPort: fmt::Debug + Send + Sync {
    /// Where it is, for logs.
    fn name(&self) -> String;
    /// As the RPC of this name.
    async fn describe_evaluator(&self) -> Result<DescribeEvaluatorResponse, Status>;
    /// As the RPC of this name.
    async fn evaluate_tile(&self, request: EvaluateTileRequest) -> Result<Answers<EvaluateTileResponse>, Status>;
    /// As the RPC of this name.
    async fn compute_logits(&self, request: ComputeLogitsRequest) -> Result<Answers<ComputeLogitsResponse>, Status>;
    /// As the RPC of this name.
    async fn choose_numerics(&self, request: ChooseNumericsRequest) -> Result<Answers<ChooseNumericsResponse>, Status>;
    /// As the RPC of this name.
    async fn compute_gram(&self, request: ComputeGramRequest) -> Result<Answers<ComputeGramResponse>, Status>;
    /// As the RPC of this name.
    async fn combine_checkpoints(
        &self,
        request: CombineCheckpointsRequest,
    ) -> Result<Answers<CombineCheckpointsResponse>, Status>;
}

#[derive(Debug)]
struct GrpcPort {
    endpoint: Endpoint,
    channel: ClientChannel,
}

impl GrpcPort {
    fn client(&self) -> EvaluatorServiceClient<ClientChannel> {
        EvaluatorServiceClient::new(self.channel.clone())
    }
}

#[tonic::async_trait]
impl EvaluatorPort for GrpcPort {
    fn name(&self) -> String {
        self.endpoint.to_string()
    }

    async fn describe_evaluator(&self) -> Result<DescribeEvaluatorResponse, Status> {
        let mut request = Request::new(DescribeEvaluatorRequest {});
        request.set_timeout(DESCRIBE_DEADLINE);
        Ok(self.client().describe_evaluator(request).await?.into_inner())
    }

    async fn evaluate_tile(&self, request: EvaluateTileRequest) -> Result<Answers<EvaluateTileResponse>, Status> {
        Ok(Box::pin(self.client().evaluate_tile(request).await?.into_inner()))
    }

    async fn compute_logits(&self, request: ComputeLogitsRequest) -> Result<Answers<ComputeLogitsResponse>, Status> {
        Ok(Box::pin(self.client().compute_logits(request).await?.into_inner()))
    }

    async fn choose_numerics(&self, request: ChooseNumericsRequest) -> Result<Answers<ChooseNumericsResponse>, Status> {
        Ok(Box::pin(self.client().choose_numerics(request).await?.into_inner()))
    }

    async fn compute_gram(&self, request: ComputeGramRequest) -> Result<Answers<ComputeGramResponse>, Status> {
        Ok(Box::pin(self.client().compute_gram(request).await?.into_inner()))
    }

    async fn combine_checkpoints(
        &self,
        request: CombineCheckpointsRequest,
    ) -> Result<Answers<CombineCheckpointsResponse>, Status> {
        Ok(Box::pin(self.client().combine_checkpoints(request).await?.into_inner()))
    }
}

/// What an evaluator said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    /// The best first; at least one.
    pub(crate) numeric_classes: Vec<String>,
    pub(crate) slots: usize,
}

impl Description {
    /// Whether something of what it offers may be what is asked for; a class that tells nothing of itself may be
    /// anything.
    fn may_serve(&self, request: NumericRequest) -> bool {
        self.numeric_classes.iter().any(|class| is_asked_for(class, request))
    }
}

fn is_asked_for(class: &str, request: NumericRequest) -> bool {
    Numerics::of_class(class).is_none_or(|numerics| request.allows(numerics))
}

/// Why an evaluator is not to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Absence {
    /// It is stopping, and finishes what it has.
    Stopping,
    /// It cannot be reached, or not be used.
    Gone(String),
    /// It did not answer in time, which may be for once.
    Slow(String),
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopping => f.write_str("it is stopping"),
            Self::Gone(reason) | Self::Slow(reason) => f.write_str(reason),
        }
    }
}

/// One evaluator.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) idx: EvaluatorIdx,
    pub(crate) name: String,
    pub(crate) port: Arc<dyn EvaluatorPort>,
    /// Notified when it is in doubt whether it is there.
    pub(crate) doubt: Notify,
    state: Mutex<Result<Description, String>>,
}

impl Link {
    fn new(idx: EvaluatorIdx, port: Arc<dyn EvaluatorPort>) -> Self {
        let state = Mutex::new(Err("it was not asked yet".to_owned()));
        Self { idx, name: port.name(), port, doubt: Notify::new(), state }
    }

    /// Asks the evaluator what it is, and remembers the answer or why there is none.
    pub(crate) async fn describe(&self) -> Result<Description, Absence> {
        let described = match tokio::time::timeout(DESCRIBE_DEADLINE, self.port.describe_evaluator()).await {
            Ok(Ok(answer)) => read_description(&answer).map_err(Absence::Gone),
            Ok(Err(status)) => {
                let refused = read_refusal(&status);
                let is_stopping = !refused.is_broken && refused.error.reason == ErrorReason::ShuttingDown;
                Err(if is_stopping { Absence::Stopping } else { Absence::Gone(refused.error.message) })
            }
            Err(_) => Err(Absence::Slow(format!("no answer within {} s", DESCRIBE_DEADLINE.as_secs()))),
        };
        *self.lock() = described.clone().map_err(|absence| absence.to_string());
        described
    }

    fn lock(&self) -> MutexGuard<'_, Result<Description, String>> {
        // Only whole values are ever put under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_description(answer: &DescribeEvaluatorResponse) -> Result<Description, String> {
    if answer.protocol_version != PROTOCOL_VERSION {
        return Err(format!(
            "it speaks protocol version {} (relief {}), this coordinator speaks {PROTOCOL_VERSION}",
            answer.protocol_version, answer.relief_version
        ));
    }
    if answer.numeric_classes.is_empty() || answer.numeric_classes.iter().any(String::is_empty) {
        return Err("it names no numeric class".to_owned());
    }
    let slots = answer.slots.clamp(1, 64) as usize;
    Ok(Description { numeric_classes: answer.numeric_classes.clone(), slots })
}

/// All evaluators, from a static list.
#[derive(Debug)]
pub(crate) struct Fleet {
    links: Vec<Link>,
}

impl Fleet {
    /// Returns the fleet of `endpoints` and of `ports`, none of which has answered yet.
    ///
    /// # Errors
    /// When an endpoint cannot be used as an address.
    pub(crate) fn new(endpoints: &[Endpoint], ports: Vec<Arc<dyn EvaluatorPort>>) -> Result<Self, EndpointError> {
        let mut all: Vec<Arc<dyn EvaluatorPort>> = Vec::new();
        for endpoint in endpoints {
            all.push(Arc::new(GrpcPort { endpoint: endpoint.clone(), channel: connect(endpoint)? }));
        }
        all.extend(ports);
        Ok(Self { links: all.into_iter().enumerate().map(|(idx, port)| Link::new(idx, port)).collect() })
    }

    /// Keeps the evaluators known until the shutdown, while nobody else does, as `is_watched` says.
    pub(crate) async fn watch(&self, shutdown: &CancellationToken, is_watched: impl Fn() -> bool) {
        while !shutdown.is_cancelled() {
            if !is_watched() {
                // What comes of it is remembered.
                futures::future::join_all(self.links.iter().map(Link::describe)).await;
            }
            tokio::select! {
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    pub(crate) fn links(&self) -> &[Link] {
        &self.links
    }

    /// The evaluators that answer, each with what it is; those come first that offer what most do.
    fn answering(&self) -> Vec<(&Link, Description)> {
        let description = |link: &Link| link.lock().as_ref().ok().cloned();
        let mut links: Vec<_> = self.links.iter().filter_map(|link| Some((link, description(link)?))).collect();
        let mut n_offering = BTreeMap::<Vec<String>, usize>::new();
        for (_, description) in &links {
            *n_offering.entry(description.numeric_classes.clone()).or_default() += 1;
        }
        links.sort_by_key(|(_, description)| Reverse(n_offering.get(&description.numeric_classes).copied()));
        links
    }

    /// The evaluators that answer and may have what is asked for; those come first that offer what most do.
    pub(crate) fn serving(&self, request: NumericRequest) -> Vec<&Link> {
        let answering = self.answering().into_iter();
        answering.filter(|(_, description)| description.may_serve(request)).map(|(link, _)| link).collect()
    }

    /// The evaluators that answer and compute in `class`; without one, all that answer.
    pub(crate) fn computing_in(&self, class: Option<&str>) -> Vec<&Link> {
        let offers = |description: &Description| {
            class.is_none_or(|class| description.numeric_classes.iter().any(|offered| offered == class))
        };
        let answering = self.answering().into_iter();
        answering.filter(|(_, description)| offers(description)).map(|(link, _)| link).collect()
    }

    /// The classes in which a surface may be computed for which this is asked, the likelier ones first.
    pub(crate) fn likely_classes(&self, request: NumericRequest) -> Vec<String> {
        // The shortest one is never chosen unless it is asked for.
        let is_previewed = |class: &str| Numerics::of_class(class).is_some_and(|n| n.precision == Precision::Bf16);
        let is_likely =
            |class: &String| is_asked_for(class, request) && (request.precision.is_some() || !is_previewed(class));
        let mut classes = Vec::new();
        for class in self.answering().into_iter().flat_map(|(_, description)| description.numeric_classes) {
            if is_likely(&class) && !classes.contains(&class) {
                classes.push(class);
            }
        }
        classes
    }

    /// What those offer that answer, of which none has what is asked for; none where nobody answers.
    pub(crate) fn why_unserved(&self) -> Option<String> {
        let mut classes: Vec<String> =
            self.answering().into_iter().flat_map(|(_, description)| description.numeric_classes).collect();
        classes.sort_unstable();
        classes.dedup();
        (!classes.is_empty()).then(|| format!("those that answer compute in {}", classes.join(", ")))
    }

    /// Why nobody works on a job of `class` (none: any class), when nobody can.
    pub(crate) fn why_idle(&self, class: Option<&str>) -> Option<String> {
        if self.links.is_empty() {
            return Some("no evaluator is configured".to_owned());
        }
        let mut others = BTreeSet::new();
        let (mut silent, mut n_silent) = (Vec::new(), 0);
        for link in &self.links {
            match &*link.lock() {
                Ok(Description { numeric_classes, .. }) => {
                    if class.is_none_or(|class| numeric_classes.iter().any(|offered| offered == class)) {
                        return None;
                    }
                    others.extend(numeric_classes.iter().cloned());
                }
                Err(reason) => {
                    n_silent += 1;
                    if silent.len() < N_NAMED {
                        silent.push(format!("{}: {reason}", link.name));
                    }
                }
            }
        }
        if n_silent > silent.len() {
            silent.push(format!("and {} more", n_silent - silent.len()));
        }
        Some(match class {
            Some(class) if !others.is_empty() => {
                let others: Vec<String> = others.into_iter().collect();
                format!(
                    "no evaluator computes in numeric class {class}; those that answer compute in {}",
                    others.join(", ")
                )
            }
            _ => format!("no evaluator answers; {}", silent.join("; ")),
        })
    }
}

#[cfg(test)]
mod tests {
    use relief_core::Engine;

    use super::*;

    /// Evaluators by what they offer, in words, or why they do not answer.
    fn fleet(states: Vec<Result<&str, &str>>) -> Fleet {
        let link = |(idx, state): (usize, Result<&str, &str>)| {
            let endpoint: Endpoint = format!("http://10.0.0.{idx}:1").parse().expect("a good endpoint");
            let channel = connect(&endpoint).expect("a good endpoint");
            let link = Link::new(idx, Arc::new(GrpcPort { endpoint, channel }));
            let described = |classes: &str| {
                let numeric_classes = classes.split_whitespace().map(str::to_owned).collect();
                Description { numeric_classes, slots: 1 }
            };
            *link.lock() = state.map(described).map_err(ToOwned::to_owned);
            link
        };
        Fleet { links: states.into_iter().enumerate().map(link).collect() }
    }

    fn request(engine: Option<Engine>, precision: Option<Precision>) -> NumericRequest {
        NumericRequest { engine, precision }
    }

    const BOTH: &str = "cpu/f32/avx2 burn/f32/avx2 cpu/split-bf16/amx cpu/bf16/amx";
    const BURN: &str = "burn/f32/avx2";

    #[tokio::test]
    async fn evaluators_that_offer_what_most_do_are_asked_first() {
        let asked = |states: Vec<Result<&str, &str>>| {
            let fleet = fleet(states);
            fleet.serving(NumericRequest::default()).into_iter().map(|link| link.idx).collect::<Vec<_>>()
        };
        assert_eq!(asked(vec![Ok("a"), Err("gone"), Ok("a b"), Ok("a b")]), [2, 3, 0]);
        assert_eq!(asked(vec![Ok("a"), Ok("b")]), [0, 1]);
        assert_eq!(asked(vec![Err("gone")]), Vec::<usize>::new());
    }

    #[tokio::test]
    async fn only_those_are_asked_that_may_have_what_is_asked_for() {
        let fleet = fleet(vec![Ok(BURN), Ok(BURN), Ok(BOTH), Ok("abacus")]);
        let asked = |request| fleet.serving(request).into_iter().map(|link| link.idx).collect::<Vec<_>>();
        assert_eq!(asked(request(None, Some(Precision::F32))), [0, 1, 2, 3]);
        // One that says nothing of itself may have it.
        assert_eq!(asked(request(Some(Engine::Cpu), None)), [2, 3]);
        assert_eq!(asked(request(Some(Engine::Burn), Some(Precision::Bf16))), [3]);
        let said = fleet.why_unserved().expect("they answer");
        assert!(said.contains("abacus, burn/f32/avx2, cpu/bf16/amx"), "{said}");
    }

    #[tokio::test]
    async fn the_classes_that_are_likely_are_those_of_most_and_no_preview() {
        let fleet = fleet(vec![Ok(BURN), Ok(BOTH), Ok(BOTH)]);
        let all = ["cpu/f32/avx2", "burn/f32/avx2", "cpu/split-bf16/amx"];
        assert_eq!(fleet.likely_classes(NumericRequest::default()), all);
        assert_eq!(fleet.likely_classes(request(None, Some(Precision::Bf16))), ["cpu/bf16/amx"]);
        assert_eq!(fleet.likely_classes(request(Some(Engine::Burn), None)), ["burn/f32/avx2"]);
    }

    #[tokio::test]
    async fn a_job_learns_why_it_waits() {
        assert_eq!(fleet(vec![Ok("b a"), Err("gone")]).why_idle(Some("a")), None);
        assert_eq!(fleet(vec![Ok("a")]).why_idle(None), None);
        let silent = fleet(vec![Err("gone")]).why_idle(None).expect("a reason");
        assert!(silent.contains("http://10.0.0.0:1: gone"), "{silent}");
        let other = fleet(vec![Ok("c b"), Ok("b")]).why_idle(Some("a")).expect("a reason");
        assert!(other.contains("numeric class a") && other.contains("compute in b, c"), "{other}");
    }

    #[test]
    fn an_evaluator_of_another_protocol_or_without_a_class_is_not_used() {
        let answer = DescribeEvaluatorResponse {
            protocol_version: PROTOCOL_VERSION,
            relief_version: "9".to_owned(),
            numeric_classes: vec!["a".to_owned()],
            slots: 1,
        };
        assert!(read_description(&answer).is_ok());
        let other = DescribeEvaluatorResponse { protocol_version: PROTOCOL_VERSION + 1, ..answer.clone() };
        assert!(read_description(&other).is_err());
        assert!(read_description(&DescribeEvaluatorResponse { numeric_classes: vec![], ..answer }).is_err());
    }
}
