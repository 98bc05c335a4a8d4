//! Requests to evaluators beside tiles of surfaces, asked until one answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use relief_api::{ApiError, ErrorReason};

use super::job::TrajectoryJob;
use crate::fleet::{Fleet, Link};
use crate::reply::{Refused, setback_of};
use crate::schedule::{EvaluatorIdx, Setback};

/// A request that fails on so many evaluators, or so often where there are fewer, fails the trajectory.
const MAX_FAILURES: u32 = 3;
/// A request during which evaluators are lost so often is taken for what kills them.
const MAX_LOSSES: u32 = 10;

/// Between two tries of a request, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];

/// Finds evaluators for requests. Each evaluator has one at a time.
#[derive(Debug)]
pub(crate) struct Errands {
    fleet: Arc<Fleet>,
    stall_timeout: Duration,
    pauses: [Duration; 2],
    /// Those that are at a request.
    busy: Mutex<BTreeSet<EvaluatorIdx>>,
}

/// A request to an evaluator.
pub(crate) trait Errand: Sync {
    /// What it is answered with.
    type Answer;

    /// Asks an evaluator once. One that is silent for `stall_timeout` is taken for lost.
    fn ask(&self, link: &Link, stall_timeout: Duration) -> impl Future<Output = Result<Self::Answer, Refused>> + Send;
}

/// An evaluator that is at a request, until this is dropped.
struct Engaged<'a> {
    errands: &'a Errands,
    link: &'a Link,
}

impl Drop for Engaged<'_> {
    fn drop(&mut self) {
        self.errands.lock().remove(&self.link.idx);
    }
}

impl Errands {
    pub(crate) fn new(fleet: Arc<Fleet>, stall_timeout: Duration) -> Self {
        Self { fleet, stall_timeout, pauses: PAUSES, busy: Mutex::default() }
    }

    /// How many requests can be at work at once, at least 1.
    pub(crate) fn n_concurrent(&self) -> usize {
        self.fleet.links().len().clamp(1, 64)
    }

    /// Asks evaluators that compute in `class` (none: any) until one has answered: another one first after a failure, and
    /// later again where none of them can be asked now.
    ///
    /// # Errors
    /// With what would be the same everywhere, or was on three.
    pub(crate) async fn ask<E: Errand>(
        &self,
        job: &TrajectoryJob,
        class: Option<&str>,
        errand: &E,
    ) -> Result<E::Answer, ApiError> {
        let mut failures = BTreeMap::<EvaluatorIdx, u32>::new();
        let [min_pause, max_pause] = self.pauses;
        let (mut pause, mut n_lost) = (min_pause, 0);
        loop {
            let Some(engaged) = self.engage(class, &failures) else {
                // Either all are busy, or nobody is there.
                let reason = self.fleet.why_idle(class);
                let is_there = reason.is_none();
                job.wait_for(reason.unwrap_or_default());
                tokio::time::sleep(if is_there { min_pause / 4 } else { min_pause * 5 }).await;
                continue;
            };
            job.wait_for(String::new());
            let refused = match errand.ask(engaged.link, self.stall_timeout).await {
                Ok(answer) => return Ok(answer),
                Err(refused) => refused,
            };
            let link = engaged.link;
            drop(engaged);
            let Refused { error, .. } = &refused;
            tracing::info!(
                trajectory = %job.id(), evaluator = link.name, %error, reason = error.reason.as_str(),
                "a request comes back"
            );
            job.update(|status| status.n_retries += 1);
            match setback_of(&refused, true) {
                None => return Err(refused.error),
                Some(Setback::Failed | Setback::Memory) => {
                    *failures.entry(link.idx).or_default() += 1;
                    if failures.values().sum::<u32>() >= MAX_FAILURES {
                        return Err(refused.error);
                    }
                }
                Some(Setback::Storeless) => {
                    let message = format!("{} cannot read the store: {}", link.name, refused.error.message);
                    return Err(ApiError::new(ErrorReason::StoreUnavailable, message));
                }
                Some(Setback::Lost) => {
                    link.doubt.notify_one();
                    n_lost += 1;
                    if n_lost >= MAX_LOSSES {
                        return Err(ApiError { reason: ErrorReason::EvaluationFailed, ..refused.error });
                    }
                }
                // It is gone, or has no room: whoever looks after the evaluators finds out.
                Some(Setback::Declined | Setback::Full) => link.doubt.notify_one(),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(max_pause);
        }
    }

    /// An evaluator that is free, of those that failed least.
    fn engage(&self, class: Option<&str>, failures: &BTreeMap<EvaluatorIdx, u32>) -> Option<Engaged<'_>> {
        let mut links = self.fleet.computing_in(class);
        links.sort_by_key(|link| failures.get(&link.idx).copied().unwrap_or_default());
        let mut busy = self.lock();
        let link = links.into_iter().find(|link| !busy.contains(&link.idx))?;
        busy.insert(link.idx);
        Some(Engaged { errands: self, link })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<EvaluatorIdx>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use relief_api::convert::evaluation::PROTOCOL_VERSION;
    use relief_api::evaluator::v1 as wire;
    use tonic::Status;

    use super::*;
    use crate::fleet::{Answers, EvaluatorPort};
    use crate::trajectory::testing::record;

    /// An evaluator that only says what it is.
    #[derive(Debug)]
    struct Mute(&'static str);

    #[tonic::async_trait]
    impl EvaluatorPort for Mute {
        fn name(&self) -> String {
            self.0.to_owned()
        }

        async fn describe_evaluator(&self) -> Result<wire::DescribeEvaluatorResponse, Status> {
            Ok(wire::DescribeEvaluatorResponse {
                protocol_version: PROTOCOL_VERSION,
                numeric_classes: vec!["class".to_owned()],
                slots: 1,
                ..wire::DescribeEvaluatorResponse::default()
            })
        }

        async fn evaluate_tile(
            &self,
            _: wire::EvaluateTileRequest,
        ) -> Result<Answers<wire::EvaluateTileResponse>, Status> {
            Err(Status::unimplemented("mute"))
        }

        async fn compute_logits(
            &self,
            _: wire::ComputeLogitsRequest,
        ) -> Result<Answers<wire::ComputeLogitsResponse>, Status> {
            Err(Status::unimplemented("mute"))
        }

        async fn choose_numerics(
            &self,
            _: wire::ChooseNumericsRequest,
        ) -> Result<Answers<wire::ChooseNumericsResponse>, Status> {
            Err(Status::unimplemented("mute"))
        }

        async fn compute_gram(
            &self,
            _: wire::ComputeGramRequest,
        ) -> Result<Answers<wire::ComputeGramResponse>, Status> {
            Err(Status::unimplemented("mute"))
        }

        async fn combine_checkpoints(
            &self,
            _: wire::CombineCheckpointsRequest,
        ) -> Result<Answers<wire::CombineCheckpointsResponse>, Status> {
            Err(Status::unimplemented("mute"))
        }
    }

    /// A request that fails as `fails` says of an evaluator and the number of the try, from 0.
    struct Failing<F> {
        fails: F,
        asked: Mutex<Vec<String>>,
    }

    impl<F: Fn(&str, usize) -> Option<Refused> + Sync> Errand for Failing<F> {
        type Answer = String;

        async fn ask(&self, link: &Link, _: Duration) -> Result<String, Refused> {
            let mut asked = self.asked.lock().expect("nobody panicked");
            asked.push(link.name.clone());
            match (self.fails)(&link.name, asked.len() - 1) {
                Some(refused) => Err(refused),
                None => Ok(link.name.clone()),
            }
        }
    }

    async fn outcome(
        names: &[&'static str],
        fails: impl Fn(&str, usize) -> Option<Refused> + Sync,
    ) -> (Result<String, ErrorReason>, Vec<String>) {
        let ports = names.iter().map(|name| Arc::new(Mute(name)) as Arc<dyn EvaluatorPort>).collect();
        let fleet = Arc::new(Fleet::new(&[], ports).expect("no endpoints"));
        for link in fleet.links() {
            link.describe().await.expect("it says what it is");
        }
        let pauses = [Duration::from_millis(1); 2];
        let errands = Errands { pauses, ..Errands::new(fleet, Duration::from_secs(1)) };
        let errand = Failing { fails, asked: Mutex::default() };
        let job = TrajectoryJob::new(record(), 1);
        let answer = errands.ask(&job, Some("class"), &errand).await.map_err(|error| error.reason);
        assert!(errands.lock().is_empty(), "nobody is busy afterwards");
        (answer, errand.asked.into_inner().expect("nobody panicked"))
    }

    fn failed() -> Refused {
        ApiError::new(ErrorReason::EvaluationFailed, "it fails").into()
    }

    #[tokio::test]
    async fn another_evaluator_is_asked_after_a_failure() {
        let (answer, asked) = outcome(&["a", "b"], |name, _| (name == "a").then(failed)).await;
        assert_eq!(answer, Ok("b".to_owned()));
        assert_eq!(asked, ["a", "b"]);
    }

    #[tokio::test]
    async fn three_failures_are_enough_also_of_one() {
        let (answer, asked) = outcome(&["a", "b", "c", "d"], |_, _| Some(failed())).await;
        assert_eq!((answer, asked.len()), (Err(ErrorReason::EvaluationFailed), 3));
        assert_eq!(asked, ["a", "b", "c"]);
        let (answer, asked) = outcome(&["a"], |_, _| Some(failed())).await;
        assert_eq!((answer, asked.len()), (Err(ErrorReason::EvaluationFailed), 3));
    }

    #[tokio::test]
    async fn who_declines_or_is_lost_has_not_failed_and_what_is_wrong_is_so_everywhere() {
        let full = || ApiError::new(ErrorReason::QueueFull, "full").into();
        let (answer, asked) = outcome(&["a"], |_, n| (n < 7).then(full)).await;
        assert_eq!((answer, asked.len()), (Ok("a".to_owned()), 8));
        let lost = || Refused { error: ApiError::new(ErrorReason::ShuttingDown, "gone"), is_broken: true };
        let (answer, asked) = outcome(&["a"], |_, n| (n < 7).then(lost)).await;
        assert_eq!((answer, asked.len()), (Ok("a".to_owned()), 8));
        let (answer, asked) = outcome(&["a", "b"], |_, _| Some(lost())).await;
        assert_eq!((answer, asked.len()), (Err(ErrorReason::EvaluationFailed), MAX_LOSSES as usize));
        let wrong = || ApiError::new(ErrorReason::InvalidField, "wrong").into();
        let (answer, asked) = outcome(&["a", "b"], |_, _| Some(wrong())).await;
        assert_eq!((answer, asked.len()), (Err(ErrorReason::InvalidField), 1));
    }
}
