//! What a world is made of.

use std::time::Duration;

use relief_core::{Axis, Digest, Grid, PointValue, PointValues, Tile, TilePlan, TileShape};

use super::fault::Weather;
use super::random::{Random, mix};
use crate::schedule::{Class, Classes, ClientName, End, Settings};

/// The most seconds of an evaluator that a job takes, and the most jobs.
const MAX_WORK: Duration = Duration::from_secs(100);
const MAX_JOBS: u64 = 14;
/// How many times longer a slow evaluator takes.
const SLOWNESS: u32 = 20;

/// A job as its client means it.
#[derive(Debug, Clone)]
pub(super) struct JobPlan {
    pub(super) at: Duration,
    pub(super) client: ClientName,
    pub(super) client_weight: u32,
    pub(super) priority: i32,
    pub(super) weight: u32,
    /// None when it is to be chosen, of those that are asked for.
    pub(super) class: Option<Class>,
    pub(super) asked_for: Vec<Class>,
    pub(super) subject: u64,
    pub(super) tiles: TilePlan,
    /// What a point costs an evaluator of speed 1.
    pub(super) point_cost: Duration,
    /// What it is about: its values follow from that.
    pub(super) seed: u64,
    pub(super) known: Vec<Option<PointValues>>,
    /// A tile on which every evaluator fails.
    pub(super) poisoned: Option<u64>,
    /// The store takes nothing of it.
    pub(super) is_refused: bool,
    /// When its client wants it to end otherwise, and how.
    pub(super) wish: Option<(Duration, End)>,
}

impl JobPlan {
    pub(super) fn new(client: &str, n_rows: u32, n_columns: u32, shape: (u32, u32), point_cost: Duration) -> Self {
        let axis = |n| Axis::new(if n == 1 { 1.0 } else { -1.0 }, 1.0, n).expect("a good axis");
        let grid = Grid { x: axis(n_columns), y: Some(axis(n_rows)) };
        Self {
            at: Duration::ZERO,
            client: client.into(),
            client_weight: 1,
            priority: 0,
            weight: 1,
            class: Some(class(0)),
            asked_for: vec![class(0)],
            subject: 0,
            tiles: TilePlan::new(grid, TileShape { rows: shape.0, columns: shape.1 }),
            point_cost,
            seed: 0,
            known: Vec::new(),
            poisoned: None,
            is_refused: false,
            wish: None,
        }
    }

    /// What an evaluator that offers `classes` chooses for it, if it has something that is asked for.
    pub(super) fn choice(&self, classes: &[Class]) -> Option<Class> {
        classes.iter().find(|class| self.asked_for.contains(class)).cloned()
    }

    pub(super) fn subject(&self) -> Digest {
        Digest::of(&self.subject.to_le_bytes())
    }

    /// The right value of a point; now and then there is none.
    pub(super) fn value(&self, row: u32, column: u32) -> PointValues {
        let mixed = mix(&[self.seed, row.into(), column.into()]);
        let of = |bits: u64| PointValue { loss: bits as f64, squared_error: 0.5, accuracy: (bits % 101) as f64 };
        match mixed % 50 {
            0 => PointValue { loss: f64::NAN, ..of(mixed >> 20) }.into(),
            1..25 => PointValues { main: of(mixed >> 20), also: Some(of(mixed >> 30)) },
            _ => of(mixed >> 20).into(),
        }
    }

    pub(super) fn values(&self, tile: &Tile) -> Vec<PointValues> {
        tile.points().map(|(row, column)| self.value(row, column)).collect()
    }

    /// What is known of `tile` from elsewhere.
    pub(super) fn known(&self, tile: &Tile) -> Vec<Option<PointValues>> {
        let n_columns = self.tiles.grid().n_columns();
        let known = |(row, column): (u32, u32)| self.known.get((row * n_columns + column) as usize).copied().flatten();
        tile.points().map(known).collect()
    }
}

/// An evaluator as it is set up.
#[derive(Debug, Clone)]
pub(super) struct MachinePlan {
    pub(super) classes: Classes,
    pub(super) slots: usize,
    /// What it takes at once while the storm lasts.
    pub(super) takes: usize,
    /// The most points of one request.
    pub(super) memory: usize,
    /// How many times longer than others it takes.
    pub(super) slowness: f64,
    /// Whether its answers may be wrong.
    pub(super) is_faulty: bool,
    /// It says for ever that it is alive, and nothing else.
    pub(super) is_hung: bool,
    /// It never reaches the store.
    pub(super) is_storeless: bool,
    /// It comes back as one of other classes, now and then.
    pub(super) is_fickle: bool,
}

impl MachinePlan {
    pub(super) fn good(slots: usize) -> Self {
        Self {
            classes: classes(&[0]),
            slots,
            takes: slots,
            memory: usize::MAX,
            slowness: 1.0,
            is_faulty: false,
            is_hung: false,
            is_storeless: false,
            is_fickle: false,
        }
    }
}

/// All that there is and will be.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) jobs: Vec<JobPlan>,
    pub(super) machines: Vec<MachinePlan>,
    pub(super) weather: Weather,
    /// After this nothing goes wrong any more.
    pub(super) storm_end: Duration,
    /// By then all is done.
    pub(super) deadline: Duration,
}

impl Plan {
    /// A world in which nothing goes wrong.
    pub(super) fn calm(jobs: Vec<JobPlan>, machines: Vec<MachinePlan>, deadline: Duration) -> Self {
        let settings = Settings::default();
        Self { settings, jobs, machines, weather: Weather::calm(), storm_end: Duration::ZERO, deadline }
    }

    /// A world in which much goes wrong for a while.
    pub(super) fn stormy(random: &mut Random) -> Self {
        let n_classes = 1 + random.below(4);
        let storm_end = random.millis(60_000, 600_000);
        let n_machines = n_classes + random.below(8);
        let machines: Vec<MachinePlan> = (0..n_machines).map(|idx| stormy_machine(random, idx, n_classes)).collect();
        let jobs =
            (0..2 + random.below(MAX_JOBS - 1)).map(|idx| stormy_job(random, idx, n_classes, storm_end)).collect();
        let is_limited = random.chance(0.3);
        let settings = Settings {
            max_running_per_client: if is_limited { 1 + random.index(3) } else { usize::MAX },
            ..Settings::default()
        };
        // All that is to be done takes a single slot less than half of this. Where a client may have one tile running
        // at once, the slot may be that of a slow evaluator which holds what the client needs.
        let all_of_it = MAX_WORK * MAX_JOBS as u32 * if is_limited { SLOWNESS } else { 1 };
        let deadline = storm_end + all_of_it * 3;
        Self { settings, jobs, machines, weather: Weather::stormy(random), storm_end, deadline }
    }
}

pub(super) fn class(idx: u64) -> Class {
    format!("class-{idx}").into()
}

pub(super) fn classes(of: &[u64]) -> Classes {
    of.iter().map(|idx| class(*idx)).collect()
}

/// What an evaluator offers: some of all classes, in any order, `first` among them.
fn offer(random: &mut Random, first: u64, n_classes: u64) -> Classes {
    let mut offered: Vec<u64> = (0..n_classes).filter(|idx| *idx == first || random.chance(0.4)).collect();
    random.shuffle(&mut offered);
    classes(&offered)
}

fn stormy_machine(random: &mut Random, idx: u64, n_classes: u64) -> MachinePlan {
    // The first of each class are as they should be.
    let is_first = idx < n_classes;
    let slots = 1 + random.index(4);
    let main = if is_first { idx } else { random.below(n_classes) };
    MachinePlan {
        classes: offer(random, main, n_classes),
        slots,
        takes: if random.chance(0.2) { slots.div_ceil(2) } else { slots },
        memory: if random.chance(0.2) { 1 + random.index(5) } else { usize::MAX },
        slowness: if !is_first && random.chance(0.2) { SLOWNESS.into() } else { 0.5 + random.unit() },
        is_faulty: !is_first && random.chance(0.4),
        is_fickle: !is_first && n_classes > 1 && random.chance(0.3),
        ..MachinePlan::good(slots)
    }
}

fn stormy_job(random: &mut Random, idx: u64, n_classes: u64, storm_end: Duration) -> JobPlan {
    let side = random.pick(&[1, 2, 3, 5, 8, 8, 12, 20]);
    let shape = random.pick(&[(1, 1), (1, 2), (2, 2), (1, 4), (3, 3)]);
    let n_rows = 1 + random.below(u64::from(side)) as u32;
    let mut job =
        JobPlan::new(&format!("client-{}", random.below(4)), n_rows * shape.0, side * shape.1, shape, Duration::ZERO);
    job.point_cost = random.millis(5, 200).min(MAX_WORK / job.tiles.grid().n_points() as u32);
    let is_late = random.chance(0.8);
    job.at = if is_late { storm_end.mul_f64(random.unit() * 0.8) } else { Duration::ZERO };
    job.client_weight = 1 + random.below(3) as u32;
    job.priority = random.pick(&[0, 0, 0, 1, -1]);
    job.weight = 1 + random.below(4) as u32;
    job.class = random.chance(0.4).then(|| class(random.below(n_classes)));
    job.asked_for = offer(random, idx % n_classes, n_classes).to_vec();
    job.subject = random.below(4);
    job.seed = mix(&[idx, random.next()]);
    if random.chance(0.1) {
        job.poisoned = Some(random.below(job.tiles.n_tiles()));
    }
    job.is_refused = random.chance(0.03);
    if random.chance(0.2) {
        let end = if random.chance(0.5) { End::Cancelled } else { End::Removed };
        job.wish = Some((job.at + random.millis(0, 120_000), end));
    }
    if random.chance(0.3) {
        job.known = known_points(random, &job);
    }
    job
}

/// Points that others have, whole tiles among them; nothing of the tile that nobody can compute.
fn known_points(random: &mut Random, job: &JobPlan) -> Vec<Option<PointValues>> {
    let grid = job.tiles.grid();
    let n_columns = grid.n_columns();
    let mut known = vec![None; grid.n_points() as usize];
    for tile in
        (0..job.tiles.n_tiles()).filter(|tile| job.poisoned != Some(*tile)).filter_map(|tile| job.tiles.tile(tile))
    {
        let share = random.pick(&[0.0, 0.5, 1.0]);
        for (row, column) in tile.points() {
            if random.chance(share) {
                known[(row * n_columns + column) as usize] = Some(job.value(row, column));
            }
        }
    }
    known
}

/// What tells two values apart; of NaN all kinds are one.
pub(super) fn bits(values: &PointValues) -> [Option<[u64; 3]>; 2] {
    let of = |value: f64| if value.is_nan() { u64::MAX } else { value.to_bits() };
    let bits = |value: PointValue| [of(value.loss), of(value.squared_error), of(value.accuracy)];
    [Some(bits(values.main)), values.also.map(bits)]
}
