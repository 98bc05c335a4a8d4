//! What goes wrong, how often, and how often it did.

use super::random::Random;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $rate:expr,)*) => {
        /// A kind of trouble.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Fault { $($(#[$doc])* $name,)* }

        impl Fault {
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            /// How often it strikes where it may: of messages, attempts or seconds.
            fn usual_rate(self) -> f64 {
                match self { $(Self::$name => $rate,)* }
            }
        }
    };
}

faults! {
    // Of the seconds of the coordinator.
    Kill = 0.006,
    /// The process does not run for minutes, and then does.
    Leap = 0.004,
    StoreOutage = 0.005,
    /// All evaluators are cut off at once.
    SwitchFailure = 0.001,
    // Of the seconds of each evaluator.
    Crash = 0.003,
    /// It is gone and nobody is told.
    SilentCrash = 0.003,
    Drain = 0.003,
    CutTo = 0.002,
    CutFrom = 0.002,
    CutBoth = 0.002,
    /// It cannot reach the store.
    Storeless = 0.003,
    // Of the puts.
    PutFailure = 0.03,
    /// It is stored, and nobody is told.
    PutAnswerLost = 0.03,
    BeginFailure = 0.1,
    // Of the questions in what a job is best computed.
    ChoiceFailure = 0.1,
    /// Of those to evaluators that are not as they should be.
    FailedChoice = 0.2,
    // Of the messages.
    Duplicate = 0.02,
    Loss = 0.0005,
    /// It takes so long that others overtake it.
    Delay = 0.01,
    StaleTicket = 0.001,
    // Of the attempts at evaluators that are not as they should be.
    WrongTicket = 0.04,
    OutOfRange = 0.04,
    Omission = 0.04,
    ReportedFailure = 0.04,
    Mute = 0.03,
    Hang = 0.04,
    /// It answers, and then answers something else.
    Contradiction = 0.05,
    WrongValue = 0.1,
    // Those that follow from the others, or from how the world is made: they are only counted.
    Full = 0.0,
    Memory = 0.0,
    Poison = 0.0,
    Refused = 0.0,
    Slow = 0.0,
    Cancelled = 0.0,
    Removed = 0.0,
    Reused = 0.0,
    Restart = 0.0,
    OtherClass = 0.0,
    TakenUp = 0.0,
    PutAfterDeath = 0.0,
    AnswerToTheDead = 0.0,
    AnswerAfterAbort = 0.0,
    AnswerInTheLeap = 0.0,
    GivenUpEvaluator = 0.0,
    Hedged = 0.0,
    Silence = 0.0,
    Disputed = 0.0,
    AtTheLimit = 0.0,
    Classless = 0.0,
    Unfit = 0.0,
}

/// How often each thing went wrong.
#[derive(Debug, Clone)]
pub(super) struct Faults(Vec<u64>);

impl Faults {
    pub(super) fn new() -> Self {
        Self(vec![0; Fault::ALL.len()])
    }

    pub(super) fn count(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    pub(super) fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, n)| *sum += n);
    }
}

/// How often each thing goes wrong in one world.
#[derive(Debug, Clone)]
pub(super) struct Weather(Vec<f64>);

impl Weather {
    /// Nothing goes wrong.
    pub(super) fn calm() -> Self {
        Self(vec![0.0; Fault::ALL.len()])
    }

    /// About half of all that may go wrong does, more or less often: what always comes with everything else would hide
    /// what only happens without it.
    pub(super) fn stormy(random: &mut Random) -> Self {
        let rate = |fault: &Fault| match random.below(6) {
            0..3 => 0.0,
            3 => fault.usual_rate() * 0.3,
            4 => fault.usual_rate(),
            _ => fault.usual_rate() * 3.0,
        };
        let mut weather = Self(Fault::ALL.iter().map(rate).collect());
        if random.chance(0.7) {
            weather.never(Fault::WrongValue);
            weather.never(Fault::Contradiction);
        }
        if weather.has(Fault::WrongValue) || weather.has(Fault::Contradiction) {
            // Two processes may come to different values then, and which one is stored is anybody's guess.
            weather.never(Fault::Kill);
        }
        weather
    }

    pub(super) fn never(&mut self, fault: Fault) {
        self.0[fault as usize] = 0.0;
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.0[fault as usize] > 0.0
    }

    pub(super) fn rate(&self, fault: Fault) -> f64 {
        self.0[fault as usize]
    }
}
