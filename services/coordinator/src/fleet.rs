//! The evaluators: where they are, what they are, and whether they answer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use relief_api::convert::evaluation::PROTOCOL_VERSION;
use relief_api::evaluator::v1::evaluator_service_client::EvaluatorServiceClient;
use relief_api::evaluator::v1::{DescribeEvaluatorRequest, DescribeEvaluatorResponse};
use relief_rpc::{ClientChannel, Endpoint, EndpointError, connect};
use tonic::Request;

use crate::ledger::EvaluatorIdx;

const DESCRIBE_DEADLINE: Duration = Duration::from_secs(5);

/// What an evaluator said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) numeric_class: String,
    pub(crate) slots: usize,
}

/// One evaluator.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) idx: EvaluatorIdx,
    pub(crate) endpoint: Endpoint,
    channel: ClientChannel,
    state: Mutex<Result<Description, String>>,
}

impl Link {
    pub(crate) fn client(&self) -> EvaluatorServiceClient<ClientChannel> {
        EvaluatorServiceClient::new(self.channel.clone())
    }

    /// Asks the evaluator what it is, and remembers the answer or why there is none.
    pub(crate) async fn describe(&self) -> Result<Description, String> {
        let mut request = Request::new(DescribeEvaluatorRequest {});
        request.set_timeout(DESCRIBE_DEADLINE);
        let answer = tokio::time::timeout(DESCRIBE_DEADLINE, self.client().describe_evaluator(request)).await;
        let described = match answer {
            Ok(Ok(answer)) => read_description(&answer.into_inner()),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err(format!("no answer within {} s", DESCRIBE_DEADLINE.as_secs())),
        };
        self.lock().clone_from(&described);
        described
    }

    /// Notes that the evaluator was lost; the first reason stays.
    pub(crate) fn mark_lost(&self, reason: &str) {
        let mut state = self.lock();
        if state.is_ok() {
            *state = Err(reason.to_owned());
        }
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

/// All evaluators, from a static list of endpoints.
#[derive(Debug)]
pub(crate) struct Fleet {
    links: Vec<Link>,
}

impl Fleet {
    /// Returns the fleet of `endpoints`, none of which has answered yet.
    ///
    /// # Errors
    /// When an endpoint cannot be used as an address.
    pub(crate) fn new(endpoints: &[Endpoint]) -> Result<Self, EndpointError> {
        let link = |(idx, endpoint): (usize, &Endpoint)| {
            let state = Mutex::new(Err("it was not asked yet".to_owned()));
            Ok(Link { idx, endpoint: endpoint.clone(), channel: connect(endpoint)?, state })
        };
        Ok(Self { links: endpoints.iter().enumerate().map(link).collect::<Result<_, _>>()? })
    }

    pub(crate) fn links(&self) -> &[Link] {
        &self.links
    }

    /// The evaluators that answer and compute in `class`.
    pub(crate) fn alive(&self, class: &str) -> Vec<EvaluatorIdx> {
        let is_alive = |link: &&Link| link.lock().as_ref().is_ok_and(|d| d.numeric_class == class);
        self.links.iter().filter(is_alive).map(|link| link.idx).collect()
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
        let mut silent = Vec::new();
        for link in &self.links {
            match &*link.lock() {
                Ok(description) if class.is_none_or(|class| class == description.numeric_class) => return None,
                Ok(description) => others.push(description.numeric_class.clone()),
                Err(reason) => silent.push(format!("{}: {reason}", link.endpoint)),
            }
        }
        others.sort_unstable();
        others.dedup();
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
            let state =
                state.map(|class| Description { numeric_class: class.to_owned(), slots: 1 }).map_err(ToOwned::to_owned);
            Link { idx, channel: connect(&endpoint).expect("a good endpoint"), endpoint, state: Mutex::new(state) }
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
