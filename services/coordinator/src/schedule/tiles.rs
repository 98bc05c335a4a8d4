//! Which tiles of a surface are to be done, are being done, are to be stored, and are stored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use relief_core::{PointValue, PointValues, Tile, TilePlan};

use crate::schedule::order::coarse_to_fine;
use crate::schedule::{AttemptId, EvaluatorIdx};

/// A tile fails its surface after it has failed on so many evaluators, or so often on all that there are.
pub(crate) const MAX_FAILURES: usize = 3;

/// A tile fails its surface after so many attempts that were lost together with their evaluator.
pub(crate) const MAX_LOSSES: usize = 10;

/// How an attempt at a tile ended without the values that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setback {
    /// The evaluator reported a failure, or answered what was not asked.
    Failed,
    /// The evaluator, or the connection to it, was lost while it worked.
    Lost,
    /// The evaluator took no work, being out of reach or about to stop. Says nothing about the tile.
    Declined,
    /// The evaluator has as much work as it takes. Says nothing about the tile.
    Full,
    /// The evaluator cannot reach the store. Says nothing about the tile or the evaluator.
    Storeless,
    /// The evaluator ran out of memory.
    Memory,
}

/// What follows from a setback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The tile is to be done again.
    Retry,
    /// The tile has failed too often.
    GiveUp,
}

/// How far a surface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) points_total: u64,
    pub(crate) points_done: u64,
    pub(crate) points_reused: u64,
    pub(crate) points_non_finite: u64,
    /// Points that two attempts computed differently.
    pub(crate) points_disputed: u64,
    pub(crate) tiles_total: u64,
    pub(crate) tiles_done: u64,
    pub(crate) tiles_running: u64,
    pub(crate) tiles_retried: u64,
    pub(crate) tiles_hedged: u64,
}

/// What noting a point found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Noted {
    /// It was not known.
    New,
    /// It was known with the same bits.
    Known,
    /// It was known otherwise, which it keeps being.
    Disputed(PointValues),
}

#[derive(Debug, Default)]
struct OpenTile {
    values: Vec<Option<PointValues>>,
    n_known: usize,
    failures: Vec<EvaluatorIdx>,
    n_losses: usize,
    /// Those that it has failed on or was lost with, each once.
    avoided: Vec<EvaluatorIdx>,
    n_attempts: u32,
    /// One, or more when it was hedged.
    attempts: Vec<AttemptId>,
    /// On its way to the store, or waiting for it.
    is_whole: bool,
}

/// The tiles of one surface. A point that was computed once is kept, whatever becomes of the attempt that brought it.
#[derive(Debug)]
pub(crate) struct Tiles {
    plan: TilePlan,
    /// Those never given out, in the order of work, from `n_given` on.
    order: Vec<u32>,
    n_given: usize,
    /// Those that came back, which are first.
    returned: VecDeque<u32>,
    running: BTreeSet<u32>,
    /// Those whose points are all known.
    whole: VecDeque<u32>,
    n_storing: usize,
    open: BTreeMap<u32, OpenTile>,
    tally: Tally,
    tolerance: f64,
}

impl Tiles {
    /// Returns the tiles of `plan` with `done` of them stored, of whose points `n_non_finite` have no finite loss.
    pub(crate) fn new(plan: TilePlan, done: &BTreeSet<u64>, n_non_finite: u64) -> Self {
        let order: Vec<u32> =
            coarse_to_fine(&plan).into_iter().filter(|tile| !done.contains(&(*tile).into())).collect();
        let points_done = done.iter().filter_map(|tile| plan.tile(*tile)).map(|tile| tile.n_points() as u64).sum();
        let tally = Tally {
            points_total: plan.grid().n_points(),
            points_done,
            points_non_finite: n_non_finite,
            tiles_total: plan.n_tiles(),
            tiles_done: plan.n_tiles() - order.len() as u64,
            ..Tally::default()
        };
        Self {
            plan,
            order,
            n_given: 0,
            returned: VecDeque::new(),
            running: BTreeSet::new(),
            whole: VecDeque::new(),
            n_storing: 0,
            open: BTreeMap::new(),
            tally,
            tolerance: 0.0,
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally { tiles_running: self.running.len() as u64, ..self.tally }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.tally.tiles_done == self.tally.tiles_total
    }

    /// The tiles whose points are known and that are not stored yet.
    pub(crate) fn n_unstored(&self) -> usize {
        self.whole.len() + self.n_storing
    }

    pub(crate) fn n_storing(&self) -> usize {
        self.n_storing
    }

    pub(crate) fn is_anything_waiting(&self) -> bool {
        !self.returned.is_empty() || self.n_given < self.order.len()
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = u32> + '_ {
        self.running.iter().copied()
    }

    pub(crate) fn attempts(&self, tile: u32) -> &[AttemptId] {
        self.open.get(&tile).map_or(&[], |open| &open.attempts)
    }

    /// Says how far two computations of a loss may lie apart, as a part of it; not at all unless said.
    pub(crate) fn set_tolerance(&mut self, tolerance: f64) {
        self.tolerance = tolerance;
    }

    /// Notes that of the whole surface `n_reused` points are taken from others.
    pub(crate) fn set_reused(&mut self, n_reused: u64) {
        self.tally.points_reused = n_reused;
    }

    /// Takes over points that are known from elsewhere, row-major over the grid; `known` is empty where none are.
    /// Nothing may have been given out yet. Tiles of which all is known need no evaluator any more.
    pub(crate) fn reuse(&mut self, known: &[Option<PointValues>]) {
        if known.is_empty() {
            return;
        }
        let n_columns = self.plan.grid().n_columns() as usize;
        let mut left = Vec::with_capacity(self.order.len());
        for idx in std::mem::take(&mut self.order) {
            let Some(tile) = self.plan.tile(idx.into()) else { continue };
            let values: Vec<Option<PointValues>> = tile
                .points()
                .map(|(row, column)| known.get(row as usize * n_columns + column as usize).copied().flatten())
                .collect();
            let n_known = values.iter().flatten().count();
            let is_whole = n_known == values.len();
            if n_known > 0 {
                self.tally.points_done += n_known as u64;
                self.open.insert(idx, OpenTile { values, n_known, is_whole, ..OpenTile::default() });
            }
            match is_whole {
                true => self.whole.push_back(idx),
                false => left.push(idx),
            }
        }
        self.order = left;
    }

    /// The next tile for `evaluator`, which is still to be given. One that it has failed on is left to others of its
    /// class as long as there is one that has not, and one that it was lost with to those that have done neither;
    /// `is_other` says whether such a one is there beside those.
    pub(crate) fn next_for(&self, evaluator: EvaluatorIdx, is_other: impl Fn(&[EvaluatorIdx]) -> bool) -> Option<u32> {
        let may_take = |tile: &&u32| {
            let Some(open) = self.open.get(tile) else { return true };
            let barred = [&open.failures, &open.avoided].into_iter().find(|barred| barred.contains(&evaluator));
            barred.is_none_or(|barred| !is_other(barred))
        };
        self.returned.iter().find(may_take).or_else(|| self.order.get(self.n_given)).copied()
    }

    /// Gives a waiting tile to `attempt`, at most `max_points` of its points. Returns it, the places that are missing,
    /// and the number of the attempt, 1 for the first.
    pub(crate) fn give(&mut self, idx: u32, attempt: AttemptId, max_points: usize) -> Option<(Tile, Vec<u32>, u32)> {
        match self.returned.iter().position(|returned| *returned == idx) {
            Some(place) => drop(self.returned.remove(place)),
            None => self.n_given += 1,
        }
        self.running.insert(idx);
        let (tile, mut missing, n_attempts) = self.assign(idx, attempt)?;
        missing.truncate(max_points.max(1));
        Some((tile, missing, n_attempts))
    }

    /// Gives a running tile to one more attempt, which begins at the other end, at most `max_points` of its points.
    pub(crate) fn hedge(&mut self, idx: u32, attempt: AttemptId, max_points: usize) -> Option<(Tile, Vec<u32>, u32)> {
        let (tile, mut missing, n_attempts) = self.assign(idx, attempt)?;
        missing.reverse();
        missing.truncate(max_points.max(1));
        self.tally.tiles_hedged += 1;
        Some((tile, missing, n_attempts))
    }

    fn assign(&mut self, idx: u32, attempt: AttemptId) -> Option<(Tile, Vec<u32>, u32)> {
        let tile = self.plan.tile(idx.into())?;
        let open = self.open.entry(idx).or_default();
        open.values.resize(tile.n_points(), None);
        open.n_attempts += 1;
        open.attempts.push(attempt);
        let missing =
            open.values.iter().zip(0..).filter(|(value, _)| value.is_none()).map(|(_, place)| place).collect();
        Some((tile, missing, open.n_attempts))
    }

    /// Notes a computed point of a running tile.
    pub(crate) fn note(&mut self, idx: u32, place: u32, values: PointValues) -> Noted {
        let Some(open) = self.open.get_mut(&idx) else { return Noted::Known };
        let Some(slot) = open.values.get_mut(place as usize) else { return Noted::Known };
        match slot {
            None => {
                *slot = Some(values);
                open.n_known += 1;
                self.tally.points_done += 1;
                Noted::New
            }
            Some(known) if agree(known, &values, self.tolerance) => Noted::Known,
            Some(known) => {
                self.tally.points_disputed += 1;
                Noted::Disputed(*known)
            }
        }
    }

    /// Whether a point of a tile is still to be computed.
    pub(crate) fn is_missing(&self, idx: u32, place: u32) -> bool {
        self.open.get(&idx).and_then(|open| open.values.get(place as usize)).is_some_and(Option::is_none)
    }

    /// Whether all points of a tile are known.
    pub(crate) fn is_whole(&self, idx: u32) -> bool {
        self.open.get(&idx).is_some_and(|open| open.n_known > 0 && open.n_known == open.values.len())
    }

    /// Ends the running of a tile whose points are all known: it is to be stored. Returns the attempts that were at it.
    pub(crate) fn complete(&mut self, idx: u32) -> Vec<AttemptId> {
        self.running.remove(&idx);
        let Some(open) = self.open.get_mut(&idx) else { return Vec::new() };
        if !std::mem::replace(&mut open.is_whole, true) {
            self.whole.push_back(idx);
        }
        std::mem::take(&mut open.attempts)
    }

    /// Takes a tile off those that wait for the store, with its values row-major.
    pub(crate) fn take_whole(&mut self) -> Option<(Tile, Vec<PointValues>)> {
        let idx = self.whole.pop_front()?;
        let values: Vec<PointValues> = self.open.get(&idx)?.values.iter().copied().flatten().collect();
        self.n_storing += 1;
        Some((self.plan.tile(idx.into())?, values))
    }

    /// Notes that the store did not take a tile, which goes on waiting for it.
    pub(crate) fn put_back(&mut self, idx: u32) {
        self.n_storing = self.n_storing.saturating_sub(1);
        self.whole.push_front(idx);
    }

    /// Notes that a tile is stored.
    pub(crate) fn commit(&mut self, idx: u32) {
        self.n_storing = self.n_storing.saturating_sub(1);
        let Some(open) = self.open.remove(&idx) else { return };
        let values = open.values.iter().flatten();
        self.tally.points_non_finite += values.filter(|values| values.is_non_finite()).count() as u64;
        self.tally.tiles_done += 1;
    }

    /// Notes that an attempt at a running tile has ended and points are missing. The tile waits again when no other
    /// attempt is at it.
    pub(crate) fn give_back(&mut self, idx: u32, attempt: AttemptId) {
        let Some(open) = self.open.get_mut(&idx) else { return };
        open.attempts.retain(|other| *other != attempt);
        if open.attempts.is_empty() && self.running.remove(&idx) {
            self.returned.push_front(idx);
        }
    }

    /// Notes why an attempt of `evaluator` at a tile brought less than was asked; `is_other` as in [`Tiles::next_for`].
    pub(crate) fn set_back(
        &mut self,
        idx: u32,
        evaluator: EvaluatorIdx,
        setback: Setback,
        is_other: impl Fn(&[EvaluatorIdx]) -> bool,
    ) -> Verdict {
        let Some(open) = self.open.get_mut(&idx) else { return Verdict::Retry };
        match setback {
            Setback::Failed => open.failures.push(evaluator),
            Setback::Lost => open.n_losses += 1,
            Setback::Memory => {}
            Setback::Declined | Setback::Full | Setback::Storeless => {
                open.n_attempts = open.n_attempts.saturating_sub(1);
                return Verdict::Retry;
            }
        }
        if !open.avoided.contains(&evaluator) {
            open.avoided.push(evaluator);
        }
        self.tally.tiles_retried += 1;
        let n_evaluators = open.failures.iter().collect::<BTreeSet<_>>().len();
        let is_hopeless =
            n_evaluators >= MAX_FAILURES || (open.failures.len() >= MAX_FAILURES && !is_other(&open.failures));
        if is_hopeless || open.n_losses >= MAX_LOSSES { Verdict::GiveUp } else { Verdict::Retry }
    }
}

/// Whether two computations of a point are the same, but for a part of the loss and of the squared error.
fn agree(first: &PointValues, second: &PointValues, tolerance: f64) -> bool {
    let is_near = |first: f64, second: f64| (first - second).abs() <= tolerance * first.abs();
    let are_near = |first: PointValue, second: PointValue| {
        is_near(first.loss, second.loss) && is_near(first.squared_error, second.squared_error)
    };
    let is_also_near = match (first.also, second.also) {
        (None, None) => true,
        (Some(first), Some(second)) => are_near(first, second),
        _ => false,
    };
    bits(first) == bits(second) || (tolerance > 0.0 && are_near(first.main, second.main) && is_also_near)
}

fn bits(values: &PointValues) -> [Option<[u64; 3]>; 2] {
    // Of NaN all kinds are one, as in the store.
    let of = |value: f64| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
    let bits = |value: PointValue| [of(value.loss), of(value.squared_error), of(value.accuracy)];
    [Some(bits(values.main)), values.also.map(bits)]
}

#[cfg(test)]
mod tests {
    use relief_core::{Axis, Grid, TileShape};

    use super::*;

    const VALUE: PointValues =
        PointValues { main: PointValue { loss: 1.0, squared_error: 0.1, accuracy: 50.0 }, also: None };

    fn plan() -> TilePlan {
        let axis = Axis::new(-1.0, 1.0, 4).expect("a good axis");
        TilePlan::new(Grid { x: axis, y: Some(axis) }, TileShape { rows: 2, columns: 2 })
    }

    fn tiles(done: &[u64]) -> Tiles {
        Tiles::new(plan(), &done.iter().copied().collect(), 0)
    }

    /// Gives the next tile to `evaluator`, of as many as `others` beside it.
    fn take(tiles: &mut Tiles, attempt: u64, evaluator: usize, others: &[usize]) -> Option<(u32, Vec<u32>)> {
        let is_other = |failed: &[usize]| others.iter().any(|other| !failed.contains(other));
        let idx = tiles.next_for(evaluator, is_other)?;
        tiles.give(idx, AttemptId(attempt), usize::MAX).map(|(_, missing, _)| (idx, missing))
    }

    fn finish(tiles: &mut Tiles, idx: u32, places: &[u32]) {
        for place in places {
            assert_eq!(tiles.note(idx, *place, VALUE), Noted::New);
        }
        assert!(tiles.is_whole(idx));
        tiles.complete(idx);
        let (tile, values) = tiles.take_whole().expect("a whole tile");
        assert_eq!((tile.idx, values.len()), (idx.into(), 4));
        tiles.commit(idx);
    }

    #[test]
    fn every_tile_is_given_out_once_and_counted() {
        let mut tiles = tiles(&[]);
        let mut n_attempts = 0;
        while let Some((idx, missing)) = take(&mut tiles, n_attempts, 0, &[]) {
            assert_eq!(missing, [0, 1, 2, 3]);
            finish(&mut tiles, idx, &missing);
            n_attempts += 1;
        }
        assert!(tiles.is_complete());
        let tally = tiles.tally();
        assert_eq!((tally.points_done, tally.tiles_done, tally.tiles_running, tally.tiles_retried), (16, 4, 0, 0));
    }

    #[test]
    fn tiles_that_are_stored_already_are_not_given_out() {
        let mut tiles = tiles(&[0, 1, 3]);
        assert_eq!(tiles.tally().points_done, 12);
        assert_eq!(take(&mut tiles, 0, 0, &[]).map(|(idx, _)| idx), Some(2));
        assert_eq!(take(&mut tiles, 1, 0, &[]), None);
    }

    #[test]
    fn a_tile_that_failed_goes_to_another_evaluator_first() {
        let mut tiles = tiles(&[]);
        let (first, _) = take(&mut tiles, 0, 0, &[1]).expect("a tile");
        tiles.give_back(first, AttemptId(0));
        assert_eq!(tiles.set_back(first, 0, Setback::Failed, |_| true), Verdict::Retry);
        assert_ne!(take(&mut tiles, 1, 0, &[1]).map(|(idx, _)| idx), Some(first));
        assert_eq!(take(&mut tiles, 2, 1, &[0]).map(|(idx, _)| idx), Some(first));
    }

    #[test]
    fn the_failing_evaluator_tries_again_when_nobody_else_is_left() {
        let mut tiles = tiles(&[]);
        let (first, _) = take(&mut tiles, 0, 0, &[]).expect("a tile");
        tiles.give_back(first, AttemptId(0));
        tiles.set_back(first, 0, Setback::Failed, |_| false);
        assert_eq!(take(&mut tiles, 1, 0, &[]).map(|(idx, _)| idx), Some(first));
    }

    #[test]
    fn points_of_a_lost_tile_are_kept() {
        let mut tiles = tiles(&[]);
        let (first, _) = take(&mut tiles, 0, 0, &[1]).expect("a tile");
        tiles.note(first, 0, VALUE);
        tiles.note(first, 2, VALUE);
        tiles.give_back(first, AttemptId(0));
        tiles.set_back(first, 0, Setback::Lost, |_| true);
        assert_eq!(tiles.tally().points_done, 2);
        assert_eq!(take(&mut tiles, 1, 1, &[0]), Some((first, vec![1, 3])));
    }

    #[test]
    fn a_tile_fails_on_three_evaluators_or_three_times_on_all_there_are() {
        let mut tiles = tiles(&[]);
        let verdicts = |tiles: &mut Tiles, evaluators: &[usize], others: bool| -> Vec<Verdict> {
            evaluators.iter().map(|evaluator| tiles.set_back(0, *evaluator, Setback::Failed, |_| others)).collect()
        };
        take(&mut tiles, 0, 0, &[]);
        assert_eq!(verdicts(&mut tiles, &[0, 1, 2], true), [Verdict::Retry, Verdict::Retry, Verdict::GiveUp]);
        let mut tiles = self::tiles(&[]);
        take(&mut tiles, 0, 0, &[]);
        assert_eq!(verdicts(&mut tiles, &[0, 0, 0, 1], true), [Verdict::Retry; 4], "a third one may do it");
        assert_eq!(verdicts(&mut tiles, &[1], false), [Verdict::GiveUp]);
    }

    #[test]
    fn what_says_nothing_about_a_tile_never_fails_it() {
        let mut tiles = tiles(&[]);
        take(&mut tiles, 0, 0, &[]);
        for setback in [Setback::Declined, Setback::Full, Setback::Storeless].repeat(50) {
            assert_eq!(tiles.set_back(0, 0, setback, |_| false), Verdict::Retry);
        }
        assert_eq!(tiles.tally().tiles_retried, 0);
        for _ in 1..MAX_LOSSES {
            assert_eq!(tiles.set_back(0, 0, Setback::Lost, |_| false), Verdict::Retry);
        }
        assert_eq!(tiles.set_back(0, 0, Setback::Lost, |_| false), Verdict::GiveUp);
    }

    #[test]
    fn a_tile_that_was_lost_with_an_evaluator_goes_to_another_one_first() {
        let mut tiles = tiles(&[]);
        let (first, _) = take(&mut tiles, 0, 0, &[1]).expect("a tile");
        tiles.give_back(first, AttemptId(0));
        assert_eq!(tiles.set_back(first, 0, Setback::Lost, |_| true), Verdict::Retry);
        assert_ne!(take(&mut tiles, 1, 0, &[1]).map(|(idx, _)| idx), Some(first));
        assert_eq!(take(&mut tiles, 2, 0, &[]).map(|(idx, _)| idx), Some(first), "nobody else is left");
    }

    #[test]
    fn who_was_lost_with_a_tile_has_it_again_sooner_than_who_failed_on_it() {
        let mut tiles = tiles(&[1, 2, 3]);
        for (attempt, (evaluator, setback)) in (0..).zip([(0, Setback::Failed), (1, Setback::Lost)]) {
            let others: &[usize] = if evaluator == 0 { &[1] } else { &[0] };
            take(&mut tiles, attempt, evaluator, others).expect("the tile");
            tiles.give_back(0, AttemptId(attempt));
            tiles.set_back(0, evaluator, setback, |_| true);
        }
        assert_eq!(take(&mut tiles, 2, 0, &[1]), None);
        assert_eq!(take(&mut tiles, 2, 1, &[0]).map(|(idx, _)| idx), Some(0));
    }

    #[test]
    fn a_hedge_asks_for_no_more_than_fits() {
        let mut tiles = tiles(&[]);
        let idx = tiles.next_for(0, |_| false).expect("a tile");
        tiles.give(idx, AttemptId(0), 2).expect("a tile");
        assert_eq!(tiles.hedge(idx, AttemptId(1), 2).map(|(_, places, _)| places), Some(vec![3, 2]));
    }

    #[test]
    fn two_attempts_at_a_tile_meet_in_the_middle() {
        let mut tiles = tiles(&[]);
        let (idx, missing) = take(&mut tiles, 0, 0, &[1]).expect("a tile");
        let (_, reversed, _) = tiles.hedge(idx, AttemptId(1), usize::MAX).expect("the same tile");
        assert_eq!((missing.as_slice(), reversed.as_slice()), (&[0, 1, 2, 3][..], &[3, 2, 1, 0][..]));
        for place in [0, 3, 1] {
            assert_eq!(tiles.note(idx, place, VALUE), Noted::New);
        }
        assert_eq!(tiles.note(idx, 1, VALUE), Noted::Known);
        let other = PointValue { loss: 2.0, ..VALUE.main };
        assert_eq!(tiles.note(idx, 0, other.into()), Noted::Disputed(VALUE));
        tiles.give_back(idx, AttemptId(0));
        assert!(tiles.running().eq([idx]), "the other one goes on");
        tiles.note(idx, 2, VALUE);
        assert_eq!(tiles.complete(idx), [AttemptId(1)]);
        assert_eq!(tiles.take_whole().map(|(_, values)| values), Some(vec![VALUE; 4]), "the first answer stays");
        assert_eq!((tiles.tally().points_disputed, tiles.tally().tiles_hedged), (1, 1));
    }

    #[test]
    fn where_rounding_may_differ_small_differences_are_none() {
        let near = PointValue { loss: 1.0 + 5e-6, ..VALUE.main };
        let far = PointValue { loss: 1.0 + 5e-5, ..VALUE.main };
        for (tolerance, value, is_disputed) in [(0.0, near, true), (1e-5, near, false), (1e-5, far, true)] {
            let mut tiles = tiles(&[]);
            tiles.set_tolerance(tolerance);
            let (idx, _) = take(&mut tiles, 0, 0, &[]).expect("a tile");
            tiles.note(idx, 0, VALUE);
            let noted = tiles.note(idx, 0, value.into());
            assert_eq!(noted, if is_disputed { Noted::Disputed(VALUE) } else { Noted::Known });
        }
    }

    #[test]
    fn a_request_may_be_a_part_of_a_tile() {
        let mut tiles = tiles(&[]);
        let idx = tiles.next_for(0, |_| false).expect("a tile");
        let (_, missing, _) = tiles.give(idx, AttemptId(0), 3).expect("a tile");
        assert_eq!(missing, [0, 1, 2]);
        missing.iter().for_each(|place| assert_eq!(tiles.note(idx, *place, VALUE), Noted::New));
        assert!(!tiles.is_whole(idx));
        tiles.give_back(idx, AttemptId(0));
        assert_eq!(take(&mut tiles, 1, 0, &[]), Some((idx, vec![3])));
    }

    #[test]
    fn a_tile_that_the_store_did_not_take_is_offered_again() {
        let mut tiles = tiles(&[1, 2, 3]);
        let (idx, missing) = take(&mut tiles, 0, 0, &[]).expect("a tile");
        missing.iter().for_each(|place| assert_eq!(tiles.note(idx, *place, VALUE), Noted::New));
        tiles.complete(idx);
        assert!(tiles.take_whole().is_some());
        tiles.put_back(idx);
        assert_eq!((tiles.n_unstored(), tiles.n_storing()), (1, 0));
        assert!(tiles.take_whole().is_some());
        tiles.commit(idx);
        assert!(tiles.is_complete() && tiles.n_unstored() == 0);
    }

    #[test]
    fn non_finite_points_are_counted_when_their_tile_is_stored() {
        let mut tiles = tiles(&[]);
        let (idx, _) = take(&mut tiles, 0, 0, &[]).expect("a tile");
        for place in 0..4 {
            let non_finite = PointValue { loss: f64::NAN, ..VALUE.main };
            let values = match place {
                0 => PointValues { main: VALUE.main, also: Some(non_finite) },
                _ => non_finite.into(),
            };
            tiles.note(idx, place, values);
        }
        tiles.complete(idx);
        tiles.take_whole();
        tiles.commit(idx);
        assert_eq!(tiles.tally().points_non_finite, 4);
    }

    #[test]
    fn points_known_from_elsewhere_are_not_computed() {
        let mut tiles = tiles(&[3]);
        // Of the tile at the top left all, of the one at its right one, and of the one that is stored all.
        let known: Vec<Option<PointValues>> =
            [0, 1, 2, 4, 5, 10, 11, 14, 15].iter().fold(vec![None; 16], |mut known, idx| {
                known[*idx] = Some(VALUE);
                known
            });
        tiles.set_reused(9);
        tiles.reuse(&known);
        assert_eq!((tiles.tally().points_done, tiles.tally().points_reused), (9, 9));
        assert_eq!(tiles.take_whole().map(|(tile, values)| (tile.idx, values.len())), Some((0, 4)));
        tiles.commit(0);
        let (idx, missing) = take(&mut tiles, 0, 0, &[]).expect("a tile");
        assert_eq!((idx, missing.as_slice()), (1, &[1, 2, 3][..]));
        finish(&mut tiles, idx, &missing);
        let (idx, missing) = take(&mut tiles, 1, 0, &[]).expect("a tile");
        finish(&mut tiles, idx, &missing);
        assert!(tiles.is_complete());
        assert_eq!(tiles.tally().points_done, 16);
    }
}
