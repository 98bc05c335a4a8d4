//! The evaluators, asked what they are as long as the term lasts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{MAX_PAUSE, MIN_PAUSE, Term};
use crate::fleet::{Absence, Link};
use crate::schedule::Classes;

const PROBE_INTERVAL: Duration = Duration::from_secs(5);

impl Term {
    /// Keeps an evaluator known: asks it what it is at intervals, and at once when it is in doubt.
    pub(super) async fn supervise(self: Arc<Self>, idx: usize) {
        let Some(link) = self.fleet.links().get(idx) else { return };
        let mut pause = MIN_PAUSE;
        let mut is_known = false;
        let mut known = None;
        let mut n_slow = 0;
        loop {
            match link.describe().await {
                Ok(description) => {
                    if !std::mem::replace(&mut is_known, true) {
                        let classes = description.numeric_classes.join(", ");
                        tracing::info!(evaluator = link.name, classes, "evaluator answers");
                    }
                    (pause, n_slow) = (MIN_PAUSE, 0);
                    let classes: Classes =
                        description.numeric_classes.iter().map(|class| class.as_str().into()).collect();
                    self.tell(|state, now| state.scheduler.evaluator_up(now, idx, &classes, description.slots));
                    if known.replace(description.clone()) != Some(description) {
                        self.has_news.store(true, Ordering::Relaxed);
                    }
                    tokio::select! {
                        () = tokio::time::sleep(PROBE_INTERVAL) => {}
                        // Not more often than a lost evaluator is asked.
                        () = async { link.doubt.notified().await; tokio::time::sleep(MIN_PAUSE).await } => {}
                    }
                    continue;
                }
                Err(Absence::Stopping) => {
                    self.tell(|state, now| state.scheduler.evaluator_draining(now, idx));
                }
                // One answer too late may be for once; what runs there is watched anyway.
                Err(Absence::Slow(_)) if is_known && n_slow == 0 => {
                    n_slow += 1;
                    continue;
                }
                Err(absence) => self.lose(link, &absence.to_string(), &mut is_known),
            }
            known = None;
            self.has_news.store(true, Ordering::Relaxed);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    pub(super) fn lose(self: &Arc<Self>, link: &Link, reason: &str, is_known: &mut bool) {
        if std::mem::take(is_known) {
            tracing::warn!(evaluator = link.name, reason, "evaluator lost");
        } else {
            tracing::debug!(evaluator = link.name, reason, "evaluator does not answer");
        }
        self.tell(|state, now| state.scheduler.evaluator_down(now, link.idx, reason));
    }
}
