//! What happened, as one number, or line by line.

use std::time::Duration;

use super::random::mix;
use super::world::Told;

/// The events of a world in their order.
#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    is_printed: bool,
}

impl Trace {
    pub(super) fn new(is_printed: bool) -> Self {
        Self { hash: 0, is_printed }
    }

    #[expect(clippy::print_stderr, reason = "it is printed for whoever replays a seed")]
    pub(super) fn note(&mut self, now: Duration, what: &str, of: [u64; 3]) {
        let word = what.bytes().fold(0, |word, byte| word << 8 | u64::from(byte));
        self.hash = mix(&[self.hash, now.as_nanos() as u64, word, of[0], of[1], of[2]]);
        if self.is_printed {
            eprintln!("{:12.3} {what} {of:?}", now.as_secs_f64());
        }
    }

    /// Notes what the coordinator is told.
    #[expect(clippy::print_stderr, reason = "it is printed for whoever replays a seed")]
    pub(super) fn told(&mut self, now: Duration, told: &Told) {
        let number = match told {
            Told::Point { attempt, ticket, idx, values } => {
                mix(&[attempt.0, *ticket, *idx as u64, values.main.loss.to_bits()])
            }
            Told::Beat { attempt } | Told::Finished { attempt, .. } | Told::Broken { attempt, .. } => attempt.0,
            Told::Up { machine, .. } | Told::Draining { machine } | Told::Down { machine } => *machine as u64,
            Told::PutAnswered { job, tile, .. } => mix(&[*job as u64, *tile]),
            Told::Begun { job, .. } | Told::Waits { job } | Told::EndStored { job } => *job as u64,
            Told::Chosen { job, machine, .. } | Told::NotChosen { job, machine, .. } => {
                mix(&[*job as u64, *machine as u64])
            }
        };
        self.hash = mix(&[self.hash, now.as_nanos() as u64, number]);
        if self.is_printed {
            eprintln!("{:12.3} {told:?}", now.as_secs_f64());
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}
