//! Which tiles of a surface are to be done, are being done, and are done. Pure: no I/O, no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use relief_core::{PointValues, Tile, TilePlan};

/// The number of an evaluator in the fleet.
pub(crate) type EvaluatorIdx = usize;

/// A tile fails its surface after so many attempts that an evaluator itself reported as failed.
const MAX_FAILURES: usize = 3;

/// A tile fails its surface after so many attempts that were lost together with their evaluator.
const MAX_LOSSES: usize = 10;

/// How an attempt at a tile ended without its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setback {
    /// The evaluator reported a failure.
    Failed,
    /// The evaluator, or the connection to it, was lost while it worked.
    Lost,
    /// The evaluator took no work: it is full, stopping or out of reach. Says nothing about the tile.
    Declined,
}

/// What follows from a setback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The tile is to be done again.
    Retry,
    /// The tile has failed too often.
    GiveUp,
}

/// A tile handed to an evaluator.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assignment {
    pub(crate) tile: Tile,
    /// The places in the tile, row-major, of the points that are still missing, in the order of work.
    pub(crate) missing: Vec<usize>,
    /// 1 for the first attempt.
    pub(crate) attempt: u32,
}

/// How far a surface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) points_total: u64,
    pub(crate) points_done: u64,
    pub(crate) points_reused: u64,
    pub(crate) points_non_finite: u64,
    pub(crate) tiles_total: u64,
    pub(crate) tiles_done: u64,
    pub(crate) tiles_running: u64,
    pub(crate) tiles_retried: u64,
}

#[derive(Debug, Default)]
struct OpenTile {
    values: Vec<Option<PointValues>>,
    failures: Vec<EvaluatorIdx>,
    n_losses: usize,
    n_attempts: u32,
}

/// The tiles of one surface. A point that was computed once is kept, whatever becomes of its tile's attempt.
#[derive(Debug)]
pub(crate) struct Ledger {
    plan: TilePlan,
    waiting: VecDeque<u64>,
    running: BTreeSet<u64>,
    open: BTreeMap<u64, OpenTile>,
    tally: Tally,
}

impl Ledger {
    /// Returns the ledger of `plan` with `done` tiles behind it, of whose points `n_non_finite` have no finite loss.
    pub(crate) fn new(plan: TilePlan, done: &BTreeSet<u64>, n_non_finite: u64) -> Self {
        let waiting: VecDeque<u64> = (0..plan.n_tiles()).filter(|idx| !done.contains(idx)).collect();
        let points_done = done.iter().filter_map(|idx| plan.tile(*idx)).map(|tile| tile.n_points() as u64).sum();
        let tally = Tally {
            points_total: plan.grid().n_points(),
            points_done,
            points_non_finite: n_non_finite,
            tiles_total: plan.n_tiles(),
            tiles_done: plan.n_tiles() - waiting.len() as u64,
            ..Tally::default()
        };
        Self { plan, waiting, running: BTreeSet::new(), open: BTreeMap::new(), tally }
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally { tiles_running: self.running.len() as u64, ..self.tally }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.tally.tiles_done == self.tally.tiles_total
    }

    /// Takes over points that are known from elsewhere, row-major over the grid, where tiles are still to be done; `known`
    /// is empty where none are. Of the whole surface `n_reused` are.
    pub(crate) fn reuse(&mut self, known: &[Option<PointValues>], n_reused: u64) {
        self.tally.points_reused = n_reused;
        if known.is_empty() {
            return;
        }
        let n_columns = self.plan.grid().n_columns() as usize;
        for tile in self.waiting.iter().filter_map(|idx| self.plan.tile(*idx)) {
            let values: Vec<Option<PointValues>> = tile
                .points()
                .map(|(row, column)| known.get(row as usize * n_columns + column as usize).copied().flatten())
                .collect();
            let n_known = values.iter().flatten().count() as u64;
            if n_known > 0 {
                self.open.insert(tile.idx, OpenTile { values, ..OpenTile::default() });
                self.tally.points_done += n_known;
            }
        }
    }

    /// Hands out the next tile for `evaluator`. A tile that it reported as failed before is left to `others`, the
    /// other evaluators that could take it, as long as one of them has not failed on it too.
    pub(crate) fn take(&mut self, evaluator: EvaluatorIdx, others: &[EvaluatorIdx]) -> Option<Assignment> {
        let may_take = |open: Option<&OpenTile>| {
            open.is_none_or(|open| {
                !open.failures.contains(&evaluator) || others.iter().all(|other| open.failures.contains(other))
            })
        };
        let place = self.waiting.iter().position(|idx| may_take(self.open.get(idx)))?;
        let idx = self.waiting.remove(place)?;
        let tile = self.plan.tile(idx)?;
        let open = self.open.entry(idx).or_default();
        open.values.resize(tile.n_points(), None);
        open.n_attempts += 1;
        let missing = (0..open.values.len()).filter(|place| open.values[*place].is_none()).collect();
        self.running.insert(idx);
        Some(Assignment { tile, missing, attempt: open.n_attempts })
    }

    /// Notes a computed point of a running tile.
    pub(crate) fn note(&mut self, tile_idx: u64, place: usize, value: PointValues) {
        let Some(slot) = self.open.get_mut(&tile_idx).and_then(|open| open.values.get_mut(place)) else { return };
        if slot.replace(value).is_none() {
            self.tally.points_done += 1;
        }
    }

    /// The values of a tile, row-major, when all its points are computed.
    pub(crate) fn values(&self, tile_idx: u64) -> Option<Vec<PointValues>> {
        self.open.get(&tile_idx)?.values.iter().copied().collect()
    }

    /// Notes that a running tile is stored.
    pub(crate) fn commit(&mut self, tile_idx: u64) {
        if !self.running.remove(&tile_idx) {
            return;
        }
        let Some(open) = self.open.remove(&tile_idx) else { return };
        let values = open.values.iter().flatten();
        self.tally.points_non_finite += values.filter(|values| values.is_non_finite()).count() as u64;
        self.tally.tiles_done += 1;
    }

    /// Notes that the attempt of `evaluator` at a running tile brought no values for all its points.
    pub(crate) fn set_back(&mut self, tile_idx: u64, evaluator: EvaluatorIdx, setback: Setback) -> Verdict {
        self.running.remove(&tile_idx);
        self.waiting.push_front(tile_idx);
        let open = self.open.entry(tile_idx).or_default();
        match setback {
            Setback::Failed => open.failures.push(evaluator),
            Setback::Lost => open.n_losses += 1,
            Setback::Declined => {
                open.n_attempts = open.n_attempts.saturating_sub(1);
                return Verdict::Retry;
            }
        }
        self.tally.tiles_retried += 1;
        if open.failures.len() >= MAX_FAILURES || open.n_losses >= MAX_LOSSES {
            Verdict::GiveUp
        } else {
            Verdict::Retry
        }
    }
}

#[cfg(test)]
mod tests {
    use relief_core::{Axis, Grid, PointValue, TileShape};

    use super::*;

    const VALUE: PointValues =
        PointValues { main: PointValue { loss: 1.0, squared_error: 0.1, accuracy: 50.0 }, also: None };

    fn plan() -> TilePlan {
        let axis = Axis::new(-1.0, 1.0, 4).expect("a good axis");
        TilePlan::new(Grid { x: axis, y: Some(axis) }, TileShape { rows: 2, columns: 2 })
    }

    fn finish(ledger: &mut Ledger, assignment: &Assignment) {
        for place in &assignment.missing {
            ledger.note(assignment.tile.idx, *place, VALUE);
        }
        assert!(ledger.values(assignment.tile.idx).is_some());
        ledger.commit(assignment.tile.idx);
    }

    #[test]
    fn every_tile_is_handed_out_once_and_counted() {
        let mut ledger = Ledger::new(plan(), &BTreeSet::new(), 0);
        while let Some(assignment) = ledger.take(0, &[]) {
            assert_eq!(assignment.missing, [0, 1, 2, 3]);
            finish(&mut ledger, &assignment);
        }
        assert!(ledger.is_complete());
        let tally = ledger.tally();
        assert_eq!((tally.points_done, tally.tiles_done, tally.tiles_running, tally.tiles_retried), (16, 4, 0, 0));
    }

    #[test]
    fn tiles_that_are_stored_already_are_not_handed_out() {
        let mut ledger = Ledger::new(plan(), &BTreeSet::from([0, 1, 3]), 1);
        assert_eq!(ledger.tally().points_done, 12);
        assert_eq!(ledger.take(0, &[]).map(|a| a.tile.idx), Some(2));
        assert_eq!(ledger.take(0, &[]), None);
    }

    #[test]
    fn retry_avoids_the_failing_evaluator() {
        let mut ledger = Ledger::new(plan(), &BTreeSet::new(), 0);
        let first = ledger.take(0, &[1]).expect("a tile");
        assert_eq!(ledger.set_back(first.tile.idx, 0, Setback::Failed), Verdict::Retry);
        assert_ne!(ledger.take(0, &[1]).map(|a| a.tile.idx), Some(first.tile.idx));
        let second = ledger.take(1, &[0]).expect("a tile");
        assert_eq!((second.tile.idx, second.attempt), (first.tile.idx, 2));
    }

    #[test]
    fn the_failing_evaluator_tries_again_when_nobody_else_is_left() {
        let mut ledger = Ledger::new(plan(), &BTreeSet::new(), 0);
        let first = ledger.take(0, &[]).expect("a tile");
        ledger.set_back(first.tile.idx, 0, Setback::Failed);
        assert_eq!(ledger.take(0, &[]).map(|a| a.tile.idx), Some(first.tile.idx));
    }

    #[test]
    fn points_of_a_lost_tile_are_kept() {
        let mut ledger = Ledger::new(plan(), &BTreeSet::new(), 0);
        let first = ledger.take(0, &[1]).expect("a tile");
        ledger.note(first.tile.idx, 0, VALUE);
        ledger.note(first.tile.idx, 2, VALUE);
        ledger.set_back(first.tile.idx, 0, Setback::Lost);
        assert_eq!(ledger.tally().points_done, 2);
        let second = ledger.take(1, &[0]).expect("a tile");
        assert_eq!((second.tile.idx, second.missing), (first.tile.idx, vec![1, 3]));
    }

    #[test]
    fn a_tile_that_keeps_failing_is_given_up_and_a_declined_one_is_not() {
        let mut ledger = Ledger::new(plan(), &BTreeSet::new(), 0);
        for _ in 0..100 {
            let tile = ledger.take(0, &[]).expect("a tile").tile.idx;
            assert_eq!(ledger.set_back(tile, 0, Setback::Declined), Verdict::Retry);
        }
        let verdicts: Vec<Verdict> = (0..MAX_FAILURES)
            .map(|evaluator| {
                let others: Vec<usize> = (0..3).filter(|other| *other != evaluator).collect();
                let tile = ledger.take(evaluator, &others).expect("a tile").tile.idx;
                ledger.set_back(tile, evaluator, Setback::Failed)
            })
            .collect();
        assert_eq!(verdicts, [Verdict::Retry, Verdict::Retry, Verdict::GiveUp]);
        assert_eq!(ledger.tally().tiles_retried, 3);
    }

    #[test]
    fn non_finite_points_are_counted_when_their_tile_is_stored() {
        let mut ledger = Ledger::new(plan(), &BTreeSet::new(), 0);
        let tile = ledger.take(0, &[]).expect("a tile");
        for place in 0..4 {
            let non_finite = PointValue { loss: f64::NAN, ..VALUE.main };
            let values = match place {
                0 => PointValues { main: VALUE.main, also: Some(non_finite) },
                _ => non_finite.into(),
            };
            ledger.note(tile.tile.idx, place, values);
        }
        ledger.commit(tile.tile.idx);
        assert_eq!(ledger.tally().points_non_finite, 4);
    }

    #[test]
    fn points_known_from_elsewhere_are_not_handed_out() {
        let mut ledger = Ledger::new(plan(), &BTreeSet::from([3]), 0);
        // Of the tile at the top left all, of the one at its right one, and of the one that is stored all.
        let known: Vec<Option<PointValues>> =
            [0, 1, 2, 4, 5, 10, 11, 14, 15].iter().fold(vec![None; 16], |mut known, idx| {
                known[*idx] = Some(VALUE);
                known
            });
        ledger.reuse(&known, 9);
        assert_eq!((ledger.tally().points_done, ledger.tally().points_reused), (9, 9));
        let first = ledger.take(0, &[]).expect("a tile");
        assert_eq!((first.tile.idx, first.missing.as_slice()), (0, &[][..]));
        finish(&mut ledger, &first);
        let second = ledger.take(0, &[]).expect("a tile");
        assert_eq!((second.tile.idx, second.missing.as_slice()), (1, &[1, 2, 3][..]));
        finish(&mut ledger, &second);
        let third = ledger.take(0, &[]).expect("a tile");
        finish(&mut ledger, &third);
        assert!(ledger.is_complete());
        assert_eq!(ledger.tally().points_done, 16);
    }
}
