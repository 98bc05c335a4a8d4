//! Trajectories against the numbers of an independent implementation (`tests/fixtures/trajectory`), and what holds of
//! any.

use std::path::Path;

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::{DatasetSlice, Digest, Ignore, Normalization, Philox, Split};

const PCA: TrajectoryAxes = TrajectoryAxes::Pca { centered: false, of_all: false };

fn stop(idx: usize) -> Stop {
    let checkpoint = format!("runs/r/snapshots/{idx}").parse().expect("a name");
    Stop { checkpoint, digest: Digest::of(&idx.to_le_bytes()), epoch: Some(idx as u32), rate: Some(0.1) }
}

/// A trajectory of paths with these numbers of stops.
fn spec(axes: TrajectoryAxes, n_stops: &[usize]) -> TrajectorySpec {
    let path = |(idx, n_stops): (usize, &usize)| PathSpec {
        name: format!("path {idx}"),
        stops: (0..*n_stops).map(stop).collect(),
    };
    TrajectorySpec {
        network: "net".parse().expect("an id"),
        paths: n_stops.iter().enumerate().map(path).collect(),
        axes,
        ignore: Ignore::BiasBn,
        margin: 0.1,
        n_columns: 51,
        n_rows: 41,
        data: DatasetSlice { dataset: "data".parse().expect("an id"), split: Split::Train, limit: None },
        also: None,
        numerics: crate::NumericRequest::default(),
        scheduling: crate::Scheduling::default(),
    }
}

fn normal(seed: u64, n_values: usize) -> Vec<f32> {
    let mut values = vec![0.0; n_values];
    Philox::new([seed, 7]).fill_normal(&mut values);
    values
}

fn points(points: &[Vec<f32>]) -> Vec<GramRow<'_>> {
    points.iter().map(|point| GramRow::Point(point)).collect()
}

/// The Gram matrix by a plan.
fn gram_by(plan: &GramPlan, origin: &[f32], rows: &[GramRow<'_>]) -> Gram {
    let tiles = plan.tiles().map(|tile| {
        let values = tile.values.start as usize..tile.values.end as usize;
        let cut: Vec<GramRow<'_>> = rows
            .iter()
            .map(|row| match row {
                GramRow::Point(row) => GramRow::Point(&row[values.clone()]),
                GramRow::Step(row) => GramRow::Step(&row[values.clone()]),
            })
            .collect();
        gram_tile(&origin[values], &cut[tile.rows], &cut[tile.columns])
    });
    Gram::reduce(plan, tiles).expect("all tiles")
}

fn gram(origin: &[f32], rows: &[GramRow<'_>]) -> Gram {
    gram_by(&GramPlan::new(rows.len(), origin.len() as u64, 1 << 30), origin, rows)
}

/// A path whose steps are random, over `n_values` values, from far to near.
fn walk(seed: u64, n_stops: usize, n_values: usize) -> Vec<Vec<f32>> {
    let mut stops = vec![normal(seed, n_values)];
    for idx in 1..n_stops {
        let step = normal(seed + 1000 * idx as u64, n_values);
        let next = stops[idx - 1].iter().zip(&step).map(|(value, step)| value + step / idx as f32).collect();
        stops.push(next);
    }
    stops
}

fn project_points(spec: &TrajectorySpec, stops: &[Vec<f32>], directions: &[Vec<f32>]) -> Projection {
    try_project(spec, stops, directions).expect("a projection")
}

fn try_project(
    spec: &TrajectorySpec,
    stops: &[Vec<f32>],
    directions: &[Vec<f32>],
) -> Result<Projection, ProjectionError> {
    let origin = &stops[spec.paths[0].stops.len() - 1];
    let mut rows = points(stops);
    rows.extend(directions.iter().map(|direction| GramRow::Step(direction)));
    project(spec, &gram(origin, &rows))
}

/// The axis in parameter space.
fn axis_of(source: &AxisSource, stops: &[Vec<f32>], origin: &[f32]) -> Vec<f64> {
    let AxisSource::Combination(coefficients) = source else { panic!("{source:?} is a row") };
    assert_eq!(coefficients.len(), stops.len());
    let mut axis = vec![0.0; origin.len()];
    for (coefficient, stop) in coefficients.iter().zip(stops) {
        for ((axis, value), origin) in axis.iter_mut().zip(stop).zip(origin) {
            *axis += coefficient * (f64::from(*value) - f64::from(*origin));
        }
    }
    axis
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

fn assert_near(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!(found.is_finite(), "{what}: {found}");
    assert!((found - expected).abs() <= tolerance, "{what}: {found}, expected {expected}");
}

#[derive(Deserialize)]
struct Expected {
    explained: [f64; 2],
    singular_values: [f64; 2],
    coordinates: Vec<[f64; 2]>,
    off_plane: Vec<f64>,
}

#[test]
fn the_reference_trajectory_has_the_reference_numbers() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/trajectory");
    let file = std::fs::read(fixture.join("checkpoints.safetensors")).expect("a file");
    let tensors = safetensors::SafeTensors::deserialize(&file).expect("tensors");
    let json = std::fs::read(fixture.join("expected.json")).expect("a file");
    let expected: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&json).expect("numbers");
    fn take<T: DeserializeOwned>(value: &serde_json::Value) -> T {
        serde_json::from_value(value.clone()).expect("numbers")
    }
    let order: Vec<String> = take(&expected["order"]);
    let n_stops: usize = take(&expected["checkpoints"]);
    for ignore in [Ignore::None, Ignore::BiasBn] {
        let of = |idx: usize| -> Vec<f32> {
            let tensors = order.iter().map(|name| tensors.tensor(&format!("checkpoint-{idx:03}/{name}")));
            let tensors = tensors.map(|tensor| tensor.expect("a tensor"));
            let moving = tensors.filter(|tensor| ignore == Ignore::None || tensor.shape().len() > 1);
            let floats = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("4 bytes"));
            moving.flat_map(|tensor| tensor.data().chunks_exact(4).map(floats).collect::<Vec<_>>()).collect()
        };
        let stops: Vec<Vec<f32>> = (0..n_stops).map(of).collect();
        for centered in [false, true] {
            let axes = TrajectoryAxes::Pca { centered, of_all: false };
            let projection = project_points(&spec(axes, &[n_stops]), &stops, &[]);
            let word = |is, yes, no| if is { yes } else { no };
            let variant = format!(
                "ignore_{}/{}",
                word(ignore == Ignore::None, "none", "bias_bn"),
                word(centered, "centered", "uncentered")
            );
            let expected: Expected = take(&expected[&variant]);
            let near = |what: &str, found: f64, expected: f64| {
                assert_near(&format!("{variant} {what}"), found, expected, 1e-5 * expected.abs());
            };
            for axis in 0..2 {
                near("explained", projection.explained[axis], expected.explained[axis]);
                near("singular value", projection.singular_values[axis], expected.singular_values[axis]);
            }
            assert_eq!(projection.stops.len(), expected.coordinates.len());
            for (idx, (stop, expected)) in projection.stops.iter().zip(&expected.coordinates).enumerate() {
                // The last one lies at the origin.
                let floor = if idx == n_stops - 1 { 0.0 } else { 1e-9 };
                assert_near(&variant, stop.x, expected[0], 1e-5 * expected[0].abs() + floor);
                assert_near(&variant, stop.y, expected[1], 1e-5 * expected[1].abs() + floor);
            }
            assert_eq!(expected.off_plane.len(), n_stops);
            for (stop, expected) in projection.stops.iter().zip(&expected.off_plane) {
                near("off plane", stop.off_plane, *expected);
            }
        }
    }
}

#[test]
fn principal_directions_are_orthonormal_and_begin_on_the_positive_side() {
    for (centered, of_all) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut stops = walk(1, 9, 5000);
        stops.extend(walk(2, 5, 5000));
        let origin = stops[8].clone();
        let spec = spec(TrajectoryAxes::Pca { centered, of_all }, &[9, 5]);
        let projection = project_points(&spec, &stops, &[]);
        let [x, y] = projection.axes.each_ref().map(|axis| axis_of(axis, &stops, &origin));
        for (what, found, expected) in [("|x|", dot(&x, &x), 1.0), ("|y|", dot(&y, &y), 1.0), ("x y", dot(&x, &y), 0.0)]
        {
            assert_near(what, found, expected, 1e-12);
        }
        assert_near("cosine", projection.cosine, 0.0, 1e-12);
        assert_near("norm", projection.norms[1], 1.0, 1e-12);
        assert!(projection.stops[0].x > 0.0 && projection.stops[0].y > 0.0);
        let n_rows = if of_all { 14 } else { 9 } - usize::from(!centered);
        assert_eq!(projection.singular_values.len(), n_rows);
        assert!(projection.singular_values.is_sorted_by(|left, right| left >= right));
        assert!(projection.explained[0] > projection.explained[1]);
        // Coordinates are inner products with the axes themselves.
        for (stop, point) in projection.stops.iter().zip(&stops) {
            let row: Vec<f64> =
                point.iter().zip(&origin).map(|(value, origin)| f64::from(*value) - f64::from(*origin)).collect();
            assert_near("x", stop.x, dot(&row, &x), 1e-9);
            assert_near("y", stop.y, dot(&row, &y), 1e-9);
            assert_near("distance", stop.distance, dot(&row, &row).sqrt(), 1e-9);
            let residual: Vec<f64> =
                row.iter().zip(x.iter().zip(&y)).map(|(row, (x, y))| row - stop.x * x - stop.y * y).collect();
            let expected = dot(&residual, &residual).sqrt() / stop.distance.max(1e-300);
            assert_near("off plane", stop.off_plane, expected, 1e-7);
        }
    }
}

#[test]
fn a_second_path_that_is_the_first_has_its_coordinates() {
    let stops = walk(3, 7, 3000);
    let twice = [stops.clone(), stops.clone()].concat();
    let drawn = [normal(8, 3000), normal(9, 3000)];
    for (axes, directions) in [
        (PCA, &[][..]),
        (TrajectoryAxes::Random { seed: 1, normalization: Normalization::None }, &drawn[..]),
        (TrajectoryAxes::StartEnd { seed: 1, normalization: Normalization::None }, &drawn[..1]),
        (TrajectoryAxes::Directions { x: Digest::of(b"x"), y: Digest::of(b"y") }, &drawn[..]),
    ] {
        let one = project_points(&spec(axes.clone(), &[7]), &stops, directions);
        let two = project_points(&spec(axes, &[7, 7]), &twice, directions);
        assert_eq!(two.stops[..7], two.stops[7..]);
        assert_eq!((one.explained, &one.stops[..]), (two.explained, &two.stops[..7]));
        assert_eq!((one.stops[6].x, one.stops[6].y), (0.0, 0.0));
    }
}

#[test]
fn axes_that_are_not_orthogonal_give_least_squares_coordinates() {
    // A path in the plane of two skew directions has the coordinates that it was made of.
    let (x, mut y) = (normal(1, 4000), normal(2, 4000));
    y.iter_mut().zip(&x).for_each(|(y, x)| *y = 0.01 * (*y + 3.0 * x));
    let made = [[3.0, -200.0], [1.5, 40.0], [-0.25, 10.0], [0.0, 0.0_f32]];
    let stop = |[a, b]: &[f32; 2]| x.iter().zip(&y).map(|(x, y)| a * x + b * y).collect();
    let stops: Vec<Vec<f32>> = made.iter().map(stop).collect();
    let spec = spec(TrajectoryAxes::Directions { x: Digest::of(b"x"), y: Digest::of(b"y") }, &[4]);
    let projection = project_points(&spec, &stops, &[x, y]);
    for (stop, [a, b]) in projection.stops.iter().zip(made) {
        assert_near("x", stop.x, f64::from(a), 1e-5);
        assert_near("y", stop.y, f64::from(b), 1e-3);
        assert_near("off plane", stop.off_plane, 0.0, 1e-6);
    }
    assert!(projection.cosine > 0.9 && projection.norms[0] > 10.0 * projection.norms[1]);
    assert_near("plane", projection.explained_plane, 1.0, 1e-9);
    assert!(projection.explained.iter().all(|share| *share < 1.0) && projection.singular_values.is_empty());
    assert_eq!(projection.axes, [AxisSource::Row(4), AxisSource::Row(5)]);
}

#[test]
fn random_axes_explain_two_in_as_many_as_there_are_parameters() {
    let n_values = 2000;
    let stops = walk(5, 12, n_values);
    let spec = spec(TrajectoryAxes::Random { seed: 1, normalization: Normalization::None }, &[12]);
    let n_draws = 40;
    let explained = (0..n_draws).map(|draw| {
        let directions = [normal(100 + 2 * draw, n_values), normal(101 + 2 * draw, n_values)];
        project_points(&spec, &stops, &directions).explained_plane
    });
    let mean = explained.sum::<f64>() / n_draws as f64;
    assert_near("explained", mean * n_values as f64 / 2.0, 1.0, 0.5);
}

#[test]
fn from_start_to_end_the_first_stop_lies_on_the_axis() {
    let stops = walk(6, 5, 3000);
    let spec = spec(TrajectoryAxes::StartEnd { seed: 1, normalization: Normalization::None }, &[5]);
    let projection = project_points(&spec, &stops, &[normal(3, 3000)]);
    let first = &projection.stops[0];
    assert_near("x", first.x, first.distance, 1e-9);
    assert_near("y", first.y, 0.0, 1e-9);
    assert_near("off plane", first.off_plane, 0.0, 1e-7);
    assert!(matches!(&projection.axes, [AxisSource::Combination(c), AxisSource::Row(5)] if c[1..] == [0.0; 4]));
}

#[test]
fn steps_have_their_lengths_and_turns() {
    // Three steps of length 2: straight on, then back, and a stop that does not move.
    let at = |value: f32, other: f32| vec![value, other, 0.0];
    let stops = [at(4.0, 1.0), at(2.0, 1.0), at(0.0, 1.0), at(2.0, 1.0), at(2.0, 1.0), at(0.0, 0.0)];
    let mut spec = spec(PCA, &[6]);
    let rates = [Some(0.1), Some(0.1), Some(0.01), None, Some(0.001), Some(0.01)];
    spec.paths[0].stops.iter_mut().zip(rates).for_each(|(stop, rate)| stop.rate = rate);
    let projection = project_points(&spec, &stops, &[]);
    let of = |get: fn(&ProjectedStop) -> Option<f64>| projection.stops.iter().map(get).collect::<Vec<_>>();
    assert_eq!(of(|stop| stop.step_norm)[..5], [None, Some(2.0), Some(2.0), Some(2.0), Some(0.0)]);
    assert_eq!(of(|stop| stop.step_cosine), [None, None, Some(1.0), Some(-1.0), None, None]);
    let drops: Vec<bool> = projection.stops.iter().map(|stop| stop.is_drop).collect();
    assert_eq!(drops, [false, true, false, false, false, false]);
    assert_eq!((projection.stops[5].off_plane, projection.stops[5].distance), (0.0, 0.0));
}

#[test]
fn what_spans_no_plane_is_refused_with_its_reason() {
    let line: Vec<Vec<f32>> =
        (0..4).map(|idx| normal(1, 500).iter().map(|value| value * idx as f32).collect()).collect();
    let same = vec![normal(1, 500); 4];
    let (x, two_x) = (normal(2, 500), normal(2, 500).iter().map(|value| value * 2.0).collect::<Vec<f32>>());
    let given = TrajectoryAxes::Directions { x: Digest::of(b"x"), y: Digest::of(b"y") };
    let to_start = TrajectoryAxes::StartEnd { seed: 1, normalization: Normalization::None };
    let path = walk(1, 4, 500);
    let closed = [path[0].clone(), path[1].clone(), path[2].clone(), path[0].clone()];
    let mut diverged = walk(1, 4, 500);
    diverged[2][7] = f32::NAN;
    let mut lost = walk(1, 4, 500);
    lost[3][7] = f32::INFINITY;
    let zero = vec![0.0; 500];
    let refused = |axes: &TrajectoryAxes, stops: &[Vec<f32>], directions: &[Vec<f32>]| {
        try_project(&spec(axes.clone(), &[4]), stops, directions).expect_err("no plane").to_string()
    };
    for (error, words) in [
        (refused(&PCA, &line, &[]), "the main path lie on a straight line"),
        (
            refused(&TrajectoryAxes::Pca { centered: true, of_all: true }, &line, &[]),
            "all paths lie on a straight line",
        ),
        (refused(&PCA, &same, &[]), "all stops of the main path are the same point"),
        (refused(&given, &path, &[x.clone(), two_x.clone()]), "the axes are parallel (their cosine is 1"),
        (refused(&given, &path, &[x.clone(), zero]), "the direction of axis y moves none"),
        (refused(&to_start, &closed, std::slice::from_ref(&x)), "the first stop of the main path, runs/r/snapshots/0"),
        (refused(&PCA, &diverged, &[]), "runs/r/snapshots/2, a stop of path `path 0`, holds NaN"),
        (refused(&PCA, &lost, &[]), "runs/r/snapshots/3, a stop of path `path 0`, holds NaN"),
        (refused(&to_start, &path, &[vec![f32::INFINITY; 500]]), "the direction of axis y holds values"),
        (refused(&given, &path, &[vec![f32::NAN; 500], x.clone()]), "the direction of axis x holds values"),
        (refused(&PCA, &path, &[x]), "the Gram matrix has 5 rows; 4 stops and 0 directions"),
    ] {
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn the_fitted_grid_holds_all_paths_with_the_margin() {
    let mut stops = walk(1, 9, 2000);
    stops.extend(walk(2, 5, 2000));
    let spec = spec(PCA, &[9, 5]);
    let projection = project_points(&spec, &stops, &[]);
    let grid = fitted_grid(&spec, &projection).expect("a grid");
    assert_eq!((grid.n_columns(), grid.n_rows()), (51, 41));
    let axes = [grid.x, grid.y.expect("two axes")];
    for (axis, get) in axes.iter().zip([(|stop| stop.x) as fn(&ProjectedStop) -> f64, |stop| stop.y]) {
        let min = projection.stops.iter().map(get).fold(0.0, f64::min);
        let max = projection.stops.iter().map(get).fold(0.0, f64::max);
        assert_near("min", axis.min(), min - 0.1 * (max - min), 1e-9);
        assert_near("max", axis.max(), max + 0.1 * (max - min), 1e-9);
    }
}

#[test]
fn an_axis_without_extent_gets_a_part_of_the_other_one() {
    // Along y, which is ten times as long as x, nothing moves.
    let stops = [vec![8.0, 0.0], vec![4.0, 0.0], vec![0.0, 0.0]];
    let mut spec = spec(TrajectoryAxes::Directions { x: Digest::of(b"x"), y: Digest::of(b"y") }, &[3]);
    spec.margin = 0.0;
    let projection = project_points(&spec, &stops, &[vec![1.0, 0.0], vec![0.0, 10.0]]);
    let grid = fitted_grid(&spec, &projection).expect("a grid");
    assert_eq!((grid.x.min(), grid.x.max()), (0.0, 8.0));
    let y = grid.y.expect("two axes");
    assert_near("min", y.min(), -0.04, 1e-12);
    assert_near("max", y.max(), 0.04, 1e-12);
    // Directions that all stops are orthogonal to show nothing.
    let stops = [vec![8.0, 0.0, 0.0], vec![4.0, 0.0, 0.0], vec![0.0, 0.0, 0.0]];
    let projection = project_points(&spec, &stops, &[vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 1.0]]);
    assert_eq!(fitted_grid(&spec, &projection), Err(ProjectionError::NoExtent));
}

#[test]
fn a_projection_survives_its_json() {
    let projection = project_points(&spec(PCA, &[5]), &walk(1, 5, 100), &[]);
    let json = serde_json::to_string(&projection).expect("finite numbers");
    let read: Projection = serde_json::from_str(&json).expect("the same");
    assert_eq!(read.stops.len(), 5);
    assert_near("x", read.stops[0].x, projection.stops[0].x, 1e-12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_path_in_a_plane_has_no_residual(seed in 0..1000_u64, n_stops in 3..12_usize, n_values in 10..2000_usize) {
        let (u, v) = (normal(seed, n_values), normal(seed + 5000, n_values));
        let turn = |idx: usize| f64::from(idx as u32) * 0.7;
        let stops: Vec<Vec<f32>> = (0..n_stops)
            .map(|idx| {
                let (a, b) = (turn(idx).cos() as f32, turn(idx).sin() as f32);
                u.iter().zip(&v).map(|(u, v)| a * u + b * v).collect()
            })
            .collect();
        let projection = project_points(&spec(PCA, &[n_stops]), &stops, &[]);
        prop_assert!(projection.stops.iter().all(|stop| stop.off_plane < 1e-5));
        prop_assert!((projection.explained_plane - 1.0).abs() < 1e-9);
    }

    #[test]
    fn sums_have_the_same_bits_in_any_split_of_the_rows(
        seed in 0..1000_u64,
        n_rows in 1..30_usize,
        n_values in 1..3000_usize,
        rows_per_tile in 1..12_usize,
        n_bands in 1..8_usize,
    ) {
        let (origin, stops) = (normal(seed, n_values), walk(seed + 1, n_rows, n_values));
        let mut rows = points(&stops);
        let step = normal(seed + 9, n_values);
        rows.push(GramRow::Step(&step));
        let n_values = n_values as u64;
        let whole = gram(&origin, &rows);
        let split = gram_by(&GramPlan::with_tiles(rows.len(), n_values, rows_per_tile, n_values), &origin, &rows);
        prop_assert_eq!(&whole, &split);
        // Bands of a tile, as of several threads.
        let plan = GramPlan::with_tiles(rows.len(), n_values, rows.len(), n_values);
        let tile = plan.tile(0).expect("a tile");
        let mut sums = vec![0.0; tile.n_entries()];
        for band in tile.bands(n_bands) {
            let part = gram_tile(&origin, &rows[band.rows.clone()], &rows[band.columns.clone()]);
            tile.place(&band, &part, &mut sums);
        }
        prop_assert_eq!(&sums, &gram_tile(&origin, &rows, &rows));
        prop_assert_eq!(&Gram::reduce(&plan, [sums]).expect("one tile"), &whole);
    }

    #[test]
    fn sums_are_inner_products_whatever_the_ranges(
        seed in 0..1000_u64,
        n_values in 1..3000_usize,
        values_per_tile in 1..4000_u64,
    ) {
        let (origin, stops) = (normal(seed, n_values), walk(seed + 1, 5, n_values));
        let rows = points(&stops);
        let found = gram_by(&GramPlan::with_tiles(5, n_values as u64, 2, values_per_tile), &origin, &rows);
        let row = |stop: &[f32]| -> Vec<f64> {
            stop.iter().zip(&origin).map(|(value, origin)| f64::from(*value) - f64::from(*origin)).collect()
        };
        for i in 0..5 {
            for j in 0..5 {
                let expected = dot(&row(&stops[i]), &row(&stops[j]));
                let scale = (found.get(i, i) * found.get(j, j)).sqrt();
                prop_assert!((found.get(i, j) - expected).abs() <= 1e-12 * scale);
                prop_assert_eq!(found.get(i, j).to_bits(), found.get(j, i).to_bits());
            }
        }
    }

    #[test]
    fn tiles_cover_the_matrix_once_within_their_memory(
        n_rows in 1..2100_usize,
        n_values in 1..3_000_000_u64,
        max_bytes in 6144..(1_u64 << 31),
    ) {
        let plan = GramPlan::new(n_rows, n_values, max_bytes);
        prop_assume!(plan.n_tiles() < 20_000);
        let mut n_products = 0;
        for (idx, tile) in plan.tiles().enumerate() {
            prop_assert_eq!(tile.idx, idx as u64);
            prop_assert!(tile.is_diagonal() || tile.rows.end <= tile.columns.start);
            let n_values = tile.values.end - tile.values.start;
            let n_bytes = (tile.needed_rows().count() as u64 + 1) * n_values * 4;
            prop_assert!(n_bytes <= max_bytes, "{} bytes in {:?}", n_bytes, tile);
            prop_assert!(tile.n_entries() * 8 <= 4 << 20);
            let n_rows = tile.rows.len();
            let n_pairs = if tile.is_diagonal() { n_rows * (n_rows + 1) / 2 } else { tile.n_entries() };
            n_products += n_pairs as u64 * n_values;
        }
        prop_assert_eq!(n_products, n_rows as u64 * (n_rows as u64 + 1) / 2 * n_values);
        prop_assert_eq!(plan.tile(plan.n_tiles()), None);
    }
}

#[test]
fn a_plan_keeps_rows_together_and_says_so_in_json() {
    let plan = GramPlan::new(300, 850_000, 256 << 20);
    assert_eq!(plan.n_tiles(), 4);
    assert!(plan.tiles().all(|tile| tile.rows == (0..300)));
    let json = serde_json::to_string(&plan).expect("numbers");
    assert_eq!(serde_json::from_str::<GramPlan>(&json).expect("a plan"), plan);
    assert!(serde_json::from_str::<GramPlan>(&json.replace("300,\"n_values", "0,\"n_values")).is_ok());
    assert_eq!(GramPlan::new(0, 0, 0).n_tiles(), 0);
    assert_eq!(GramPlan::new(3, 10, 0).n_tiles(), 6);
}

#[test]
fn tiles_that_do_not_belong_to_the_plan_are_refused() {
    let plan = GramPlan::with_tiles(3, 10, 3, 5);
    let refused = |tiles: Vec<Vec<f64>>| Gram::reduce(&plan, tiles).expect_err("not the tiles").to_string();
    assert_eq!(refused(vec![vec![0.0; 9]]), "1 of 2 tiles were added; a Gram matrix takes all of them");
    assert_eq!(refused(vec![vec![0.0; 9]; 3]), "tile 2 is one too many for a plan of 2");
    assert_eq!(refused(vec![vec![0.0; 8]]), "8 sums for tile 0 with 3 rows and 3 columns");
}

#[test]
fn a_value_that_is_not_finite_makes_the_same_sum_everywhere() {
    let mut rows = walk(1, 6, 700);
    rows[1][3] = f32::NAN;
    rows[2][3] = f32::INFINITY;
    rows[4][3] = f32::NEG_INFINITY;
    let origin = normal(1, 700);
    let rows = points(&rows);
    let sums = gram_tile(&origin, &rows, &rows);
    let nan = f64::NAN.to_bits();
    assert_eq!(sums[1].to_bits(), nan);
    assert_eq!((sums[2 * 6 + 2], sums[2 * 6 + 4]), (f64::INFINITY, f64::NEG_INFINITY));
    assert!(sums.iter().all(|sum| !sum.is_nan() || sum.to_bits() == nan));
    assert!(sums[0].is_finite() && sums[5].is_finite(), "others are untouched");
}
