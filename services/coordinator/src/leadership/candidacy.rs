//! When to take over. Pure: no I/O, no clock.

use std::time::Duration;

use relief_store::{Holder, Lease};

/// What one who does not lead does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look again after the pause; meanwhile `leader` leads, when anybody does.
    Wait { leader: Option<String>, pause: Duration },
    /// Write this entry; if that succeeds, lead.
    Write(Lease),
}

/// The longest time between two looks: a leader that has stopped, or is seen to be dead, is succeeded within it.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// One who would lead if nobody else did.
#[derive(Debug)]
pub(crate) struct Candidacy {
    me: Holder,
    duration: Duration,
    /// The newest entry, and when it was seen first.
    seen: Option<(u64, Duration)>,
}

impl Candidacy {
    pub(crate) fn new(me: Holder, duration: Duration) -> Self {
        Self { me, duration, seen: None }
    }

    /// Decides at `now`, by the newest entry. `is_dead` says that a holder cannot renew any more, so that nobody need wait
    /// for what it was promised.
    pub(crate) fn consider(
        &mut self,
        now: Duration,
        newest: Option<&Lease>,
        is_dead: impl Fn(&Holder) -> bool,
    ) -> Step {
        let Some(newest) = newest else { return Step::Write(self.entry(1, 1)) };
        if self.seen.is_none_or(|(sequence, _)| sequence != newest.sequence) {
            self.seen = Some((newest.sequence, now));
        }
        let since = self.seen.map_or(now, |(_, since)| since);
        let take_over = Step::Write(self.entry(newest.sequence + 1, newest.epoch + 1));
        let Some(holder) = &newest.holder else { return take_over };
        let left = (since + newest.duration).saturating_sub(now);
        // One of its own, which it does not hold any more, or whose answer was lost, keeps nobody else.
        if left.is_zero() || is_dead(holder) || holder.id == self.me.id {
            return take_over;
        }
        Step::Wait { leader: Some(holder.endpoint.clone()), pause: left.min(self.duration / 5).min(MAX_PAUSE) }
    }

    fn entry(&self, sequence: u64, epoch: u64) -> Lease {
        Lease { sequence, epoch, holder: Some(self.me.clone()), duration: self.duration }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(10);

    fn holder(id: &str) -> Holder {
        Holder { id: id.to_owned(), endpoint: format!("http://{id}:7373"), process: None }
    }

    fn candidacy() -> Candidacy {
        Candidacy::new(holder("me"), DURATION)
    }

    fn lease(sequence: u64) -> Lease {
        Lease { sequence, epoch: 4, holder: Some(holder("other")), duration: DURATION }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn alive(_: &Holder) -> bool {
        false
    }

    #[test]
    fn the_first_one_leads_at_once() {
        let step = candidacy().consider(at(0), None, alive);
        assert_eq!(step, Step::Write(Lease { sequence: 1, epoch: 1, holder: Some(holder("me")), duration: DURATION }));
    }

    #[test]
    fn nobody_takes_over_from_one_who_renews() {
        let mut candidacy = candidacy();
        for second in 0..100 {
            let step = candidacy.consider(at(second), Some(&lease(second / 5)), alive);
            assert!(matches!(step, Step::Wait { leader: Some(leader), .. } if leader == "http://other:7373"));
        }
    }

    #[test]
    fn who_does_not_renew_is_succeeded_after_the_time_it_was_promised() {
        let mut candidacy = candidacy();
        // How long the entry had been there before is not known, so that it counts from now.
        assert!(matches!(candidacy.consider(at(100), Some(&lease(7)), alive), Step::Wait { .. }));
        assert!(
            matches!(candidacy.consider(at(109), Some(&lease(7)), alive), Step::Wait { pause, .. } if pause <= at(1))
        );
        let step = candidacy.consider(at(110), Some(&lease(7)), alive);
        assert!(matches!(step, Step::Write(Lease { sequence: 8, epoch: 5, .. })));
    }

    #[test]
    fn nobody_waits_for_one_who_has_released_it_or_is_dead() {
        let released = Lease { holder: None, ..lease(7) };
        let step = candidacy().consider(at(0), Some(&released), alive);
        assert!(matches!(step, Step::Write(Lease { sequence: 8, epoch: 5, .. })));
        let step = candidacy().consider(at(0), Some(&lease(7)), |holder| holder.id == "other");
        assert!(matches!(step, Step::Write(Lease { sequence: 8, epoch: 5, .. })));
    }

    #[test]
    fn nobody_waits_for_itself() {
        let mine = Lease { holder: Some(holder("me")), ..lease(7) };
        let step = candidacy().consider(at(0), Some(&mine), alive);
        assert!(matches!(step, Step::Write(Lease { sequence: 8, epoch: 5, .. })));
    }

    #[test]
    fn the_time_promised_is_that_of_the_entry() {
        let mut candidacy = candidacy();
        let long = Lease { duration: DURATION * 6, ..lease(7) };
        candidacy.consider(at(0), Some(&long), alive);
        assert!(matches!(candidacy.consider(at(59), Some(&long), alive), Step::Wait { .. }));
        assert!(matches!(candidacy.consider(at(60), Some(&long), alive), Step::Write(_)));
    }
}
