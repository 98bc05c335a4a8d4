//! What is stored, and outlives every process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use relief_core::PointValues;

use super::ledger::JobIdx;
use super::plan::{JobPlan, bits};

/// The tiles of all jobs, each written once.
#[derive(Debug, Default)]
pub(super) struct Store {
    tiles: BTreeMap<(JobIdx, u64), Vec<PointValues>>,
    /// It answers nothing before.
    pub(super) down_until: Duration,
}

impl Store {
    /// Creates a tile, or finds it there as it is; returns whether it is new.
    pub(super) fn put(&mut self, job: JobIdx, tile: u64, values: &[PointValues]) -> bool {
        if let Some(stored) = self.tiles.get(&(job, tile)) {
            let is_same = stored.iter().map(bits).eq(values.iter().map(bits));
            assert!(is_same, "tile {tile} of job {job} is stored with other values than it has");
            return false;
        }
        self.tiles.insert((job, tile), values.to_vec());
        true
    }

    pub(super) fn remove(&mut self, job: JobIdx) {
        self.tiles.retain(|(other, _), _| *other != job);
    }

    pub(super) fn tiles_of(&self, job: JobIdx) -> BTreeSet<u64> {
        self.tiles.range((job, 0)..=(job, u64::MAX)).map(|((_, tile), _)| *tile).collect()
    }

    pub(super) fn n_non_finite(&self, job: JobIdx) -> u64 {
        let values = self.tiles.range((job, 0)..=(job, u64::MAX)).flat_map(|(_, values)| values);
        values.filter(|values| values.is_non_finite()).count() as u64
    }

    /// Every point of a job that succeeded is there, and right.
    pub(super) fn check_whole(&self, job: JobIdx, plan: &JobPlan, is_honest: bool) {
        for tile in plan.tiles.tiles() {
            let stored = self.tiles.get(&(job, tile.idx));
            let stored = stored.unwrap_or_else(|| panic!("job {job} has succeeded without tile {}", tile.idx));
            assert_eq!(stored.len(), tile.n_points(), "tile {} of job {job} has points more or less", tile.idx);
            let is_right = stored.iter().map(bits).eq(plan.values(&tile).iter().map(bits));
            assert!(is_right || !is_honest, "tile {} of job {job} is stored with wrong values", tile.idx);
        }
    }
}
