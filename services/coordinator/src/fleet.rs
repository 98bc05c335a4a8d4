//! The evaluators: where they are, what they are, and whether they answer.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::Stream;
use relief_api::ErrorReason;
use relief_api::convert::evaluation::PROTOCOL_VERSION;
use relief_api::evaluator::v1::evaluator_service_client::EvaluatorServiceClient;
use relief_api::evaluator::v1::{
    ComputeLogitsRequest, ComputeLogitsResponse, DescribeEvaluatorRequest, DescribeEvaluatorResponse,
    EvaluateTileRequest, EvaluateTileResponse,
};
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
}

/// What an evaluator said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) numeric_class: String,
    pub(crate) slots: usize,
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
    if answer.numeric_class.is_empty() {
        return Err("it names no numeric class".to_owned());
    }
    let slots = answer.slots.clamp(1, 64) as usize;
    Ok(Description { numeric_class: answer.numeric_class.clone(), slots })
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

    /// The evaluators that answer, each with its class; those of the class of most come first.
    pub(crate) fn answering(&self) -> Vec<(&Link, String)> {
        let class = |link: &Link| link.lock().as_ref().ok().map(|description| description.numeric_class.clone());
        let mut links: Vec<_> = self.links.iter().filter_map(|link| Some((link, class(link)?))).collect();
        let majority = self.majority_class();
        links.sort_by_key(|(_, class)| Some(class) != majority.as_ref());
        links
    }

    /// The class that most evaluators compute in, of those that answer; the first of equals.
    pub(crate) fn majority_class(&self) -> Option<String> {
        let classes: Vec<String> =
            self.links.iter().filter_map(|link| link.lock().as_ref().ok().map(|d| d.numeric_class.clone())).collect();
        let count = |class: &String| classes.iter().filter(|other| *other == class).count();
        // `max_by_key` returns the last of equals.
        classes.iter().rev().max_by_key(|class| count(class)).cloned()
    }

    /// Why nobody works on a job of `class` (none: any class), when nobody can.
    pub(crate) fn why_idle(&self, class: Option<&str>) -> Option<String> {
        if self.links.is_empty() {
            return Some("no evaluator is configured".to_owned());
        }
        let mut others = Vec::new();
        let (mut silent, mut n_silent) = (Vec::new(), 0);
        for link in &self.links {
            match &*link.lock() {
                Ok(description) if class.is_none_or(|class| class == description.numeric_class) => return None,
                Ok(description) if others.contains(&description.numeric_class) => {}
                Ok(description) => others.push(description.numeric_class.clone()),
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
        others.sort_unstable();
        Some(match class {
            Some(class) if !others.is_empty() => {
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
    use super::*;

    fn fleet(states: Vec<Result<&str, &str>>) -> Fleet {
        let link = |(idx, state): (usize, Result<&str, &str>)| {
            let endpoint: Endpoint = format!("http://10.0.0.{idx}:1").parse().expect("a good endpoint");
            let channel = connect(&endpoint).expect("a good endpoint");
            let link = Link::new(idx, Arc::new(GrpcPort { endpoint, channel }));
            *link.lock() =
                state.map(|class| Description { numeric_class: class.to_owned(), slots: 1 }).map_err(ToOwned::to_owned);
            link
        };
        Fleet { links: states.into_iter().enumerate().map(link).collect() }
    }

    #[tokio::test]
    async fn the_class_of_most_is_chosen() {
        assert_eq!(fleet(vec![Ok("a"), Ok("b"), Ok("b")]).majority_class().as_deref(), Some("b"));
        assert_eq!(fleet(vec![Ok("a"), Ok("b")]).majority_class().as_deref(), Some("a"));
        assert_eq!(fleet(vec![Err("gone")]).majority_class(), None);
    }

    #[tokio::test]
    async fn evaluators_that_answer_are_asked_in_the_order_of_their_class() {
        let fleet = fleet(vec![Ok("a"), Err("gone"), Ok("b"), Ok("b")]);
        let asked: Vec<_> = fleet.answering().into_iter().map(|(link, class)| (link.idx, class)).collect();
        assert_eq!(asked, [(2, "b".to_owned()), (3, "b".to_owned()), (0, "a".to_owned())]);
    }

    #[tokio::test]
    async fn a_job_learns_why_it_waits() {
        assert_eq!(fleet(vec![Ok("a"), Err("gone")]).why_idle(Some("a")), None);
        assert_eq!(fleet(vec![Ok("a")]).why_idle(None), None);
        let silent = fleet(vec![Err("gone")]).why_idle(None).expect("a reason");
        assert!(silent.contains("http://10.0.0.0:1: gone"), "{silent}");
        let other = fleet(vec![Ok("b")]).why_idle(Some("a")).expect("a reason");
        assert!(other.contains("numeric class a") && other.contains("compute in b"), "{other}");
    }

    #[test]
    fn an_evaluator_of_another_protocol_is_not_used() {
        let answer = DescribeEvaluatorResponse {
            protocol_version: PROTOCOL_VERSION + 1,
            relief_version: "9".to_owned(),
            numeric_class: "a".to_owned(),
            slots: 1,
        };
        assert!(read_description(&answer).is_err());
    }
}
