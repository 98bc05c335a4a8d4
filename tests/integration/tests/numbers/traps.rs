//! Mistakes that programs for loss landscapes made, each with a test that carries its name.

use std::thread;

use anyhow::Context as _;
use relief_core::{
    Axis, BatchNormMode, DatasetSlice, Digest, Direction, DirectionAxis, DirectionSpec, Grid, Ignore, Normalization,
    Plane, PlaneGeometry, PointFlag, PointValue, PointValues, Split, SurfaceSpec, Tensor, TensorMap, displace,
    random_direction,
};
use relief_graph::ParameterKind;
use relief_integration_tests::{Landscape, noise, value};
use relief_store::{DirectionSource, Provenance, SampleSource, Store, SurfaceRecord, encode_checkpoint};

use super::{landscape, resnet20};

const NORMALIZATIONS: [Normalization; 6] = [
    Normalization::Filter,
    Normalization::Layer,
    Normalization::Weight,
    Normalization::Dfilter,
    Normalization::Dlayer,
    Normalization::None,
];

fn draw(landscape: &Landscape, normalization: Normalization, ignore: Ignore) -> TensorMap {
    random_direction(landscape.graph.trainable(&landscape.origin), 11, DirectionAxis::X, normalization, ignore)
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

fn near(found: f64, expected: f64, bound: f64) -> bool {
    found.is_finite() && (found - expected).abs() <= bound * expected.abs()
}

#[test]
fn tensors_of_rank_1_are_neither_normalised_twice_nor_drawn_at_random() -> anyhow::Result<()> {
    let landscape = landscape()?;
    for normalization in NORMALIZATIONS {
        let all = draw(&landscape, normalization, Ignore::None);
        let without = draw(&landscape, normalization, Ignore::BiasBn);
        let mut n_vectors = 0;
        for (name, tensor) in landscape.graph.trainable(&landscape.origin).filter(|(_, t)| t.is_vector_like()) {
            assert_eq!(all[name], *tensor, "{normalization:?}: {name} is not a copy of the weights");
            assert!(!without.contains_key(name), "{normalization:?}: {name} moves");
            n_vectors += 1;
        }
        assert_eq!(n_vectors, 43, "scales and shifts of 21 normalisations, and a bias");
    }
    Ok(())
}

#[test]
fn directions_are_gaussian_and_not_uniform_on_0_to_1() -> anyhow::Result<()> {
    let plain = draw(&landscape()?, Normalization::None, Ignore::BiasBn);
    let values: Vec<f64> = plain.values().flat_map(|tensor| tensor.data()).map(|value| f64::from(*value)).collect();
    let share = |is_in: &dyn Fn(f64) -> bool| values.iter().filter(|value| is_in(**value)).count() as f64 / n(&values);
    // Of the standard normal distribution: a half below 0, 31.7 % beyond 1, 4.55 % beyond 2, 0.27 % beyond 3.
    for (found, expected) in [
        (share(&|value| value < 0.0), 0.5),
        (share(&|value| value.abs() > 1.0), 0.3173),
        (share(&|value| value.abs() > 2.0), 0.0455),
        (share(&|value| value.abs() > 3.0), 0.0027),
    ] {
        assert!(
            (found - expected).abs() < 4.0 * (expected * (1.0 - expected) / n(&values)).sqrt(),
            "{found}, {expected}"
        );
    }
    let mean_square = values.iter().map(|value| value * value).sum::<f64>() / n(&values);
    assert!((mean_square - 1.0).abs() < 0.02, "{mean_square}");
    Ok(())
}

fn n(values: &[f64]) -> f64 {
    values.len() as f64
}

#[test]
fn a_filter_norm_is_not_a_layer_norm() -> anyhow::Result<()> {
    let mut landscape = landscape()?;
    // Filters of very different lengths, which a layer's norm would make alike.
    let weights = landscape.origin.get_mut("conv1.weight").context("a convolution")?;
    let len = weights.data().len() / weights.shape()[0];
    for (idx, filter) in weights.data_mut().chunks_mut(len).enumerate() {
        filter.iter_mut().for_each(|value| *value *= 2.0_f32.powi(idx as i32));
    }
    let weights = &landscape.origin["conv1.weight"];
    let by_filter = draw(&landscape, Normalization::Filter, Ignore::BiasBn);
    let by_layer = draw(&landscape, Normalization::Layer, Ignore::BiasBn);
    let mut n_differ = 0;
    let filters = by_filter["conv1.weight"].data().chunks(len).zip(by_layer["conv1.weight"].data().chunks(len));
    for ((filter, layer), weights) in filters.zip(weights.data().chunks(len)) {
        assert!(near(norm(filter), norm(weights), 1e-6), "{} and {}", norm(filter), norm(weights));
        n_differ += usize::from(!near(norm(layer), norm(weights), 0.1));
    }
    assert!(n_differ > weights.shape()[0] / 2, "layer-normalised filters are as long as those of the weights");
    assert!(near(by_layer["conv1.weight"].norm(), weights.norm(), 1e-6));
    Ok(())
}

#[test]
fn the_epsilon_is_on_the_side_of_the_draw() {
    // A filter that is 0 stays where it is: with the epsilon on the side of the weights it would move, and without one an
    // empty draw would be divided by 0.
    let weights = Tensor::new([2, 3], vec![0.0, 0.0, 0.0, 1.0, 2.0, 2.0]).expect("6 values");
    let named = [("w", &weights)];
    for normalization in [Normalization::Filter, Normalization::Weight] {
        let direction = random_direction(named, 1, DirectionAxis::X, normalization, Ignore::BiasBn);
        assert_eq!(direction["w"].data()[..3], [0.0; 3], "{normalization:?}");
        assert!(direction["w"].data()[3..].iter().all(|value| *value != 0.0 && value.is_finite()));
    }
    // ||w|| / (||d|| + 1e-10) is what is multiplied with.
    let plain = random_direction(named, 1, DirectionAxis::X, Normalization::None, Ignore::BiasBn);
    let filter = random_direction(named, 1, DirectionAxis::X, Normalization::Filter, Ignore::BiasBn);
    let scale = norm(&weights.data()[3..]) / (norm(&plain["w"].data()[3..]) + 1e-10);
    for (filter, plain) in filter["w"].data()[3..].iter().zip(&plain["w"].data()[3..]) {
        assert_eq!(*filter, (f64::from(*plain) * scale) as f32);
    }
}

#[test]
fn the_whole_direction_is_not_rescaled_afterwards() -> anyhow::Result<()> {
    // A coefficient of 1 is the direction itself: every filter moves by its own length, and the whole by all of them.
    let landscape = landscape()?;
    let direction = Direction::Step(draw(&landscape, Normalization::Filter, Ignore::BiasBn));
    let moved = displace(&landscape.origin, &[(1.0, &direction)]);
    for (name, step) in direction.tensors() {
        for ((moved, origin), step) in moved[name].data().iter().zip(landscape.origin[name].data()).zip(step.data()) {
            assert_eq!(*moved, origin + step);
        }
    }
    let trainable = landscape.graph.trainable(&landscape.origin);
    let weights = trainable.filter(|(_, tensor)| !tensor.is_vector_like());
    let expected = weights.map(|(_, tensor)| tensor.norm().powi(2)).sum::<f64>().sqrt();
    let trainable: Vec<_> = landscape.graph.trainable(&landscape.origin).collect();
    let geometry = PlaneGeometry::of(trainable.into_iter(), &[direction.tensors()]);
    assert!(near(geometry.axes[0].norm, expected, 1e-6), "{} and {expected}", geometry.axes[0].norm);
    Ok(())
}

#[test]
fn steps_do_not_drift_and_do_not_change_the_callers_model() -> anyhow::Result<()> {
    let landscape = landscape()?;
    let before = landscape.origin.clone();
    let session = landscape.session(&landscape.plane(4, Normalization::Filter))?;
    let centre = value(&session, &[0.0, 0.0])?;
    let corner = value(&session, &[0.1, 0.3])?;
    for step in 0..30 {
        value(&session, &[0.1 * f64::from(step % 7), -0.3])?;
    }
    assert_eq!(value(&session, &[0.1, 0.3])?.loss.to_bits(), corner.loss.to_bits());
    assert_eq!(value(&session, &[0.0, 0.0])?.loss.to_bits(), centre.loss.to_bits());
    assert_eq!(landscape.origin, before);
    Ok(())
}

#[test]
fn a_grid_hits_its_centre() -> anyhow::Result<()> {
    let landscape = landscape()?;
    let own = landscape.at(&[], &[])?;
    let plane = landscape.plane(4, Normalization::Filter);
    let axes: [(&str, u32); 4] = [("-1:1:51", 25), ("-0.7:0.7:3", 1), ("-0.1:0.1:401", 200), ("-0.5:1.5:401", 100)];
    for (axis, middle) in axes {
        let axis: Axis = axis.parse()?;
        let grid = Grid { x: axis, y: Some(axis) };
        let (a, b) = grid.coefficients(middle, middle);
        assert_eq!((a.to_bits(), b.to_bits()), (0.0_f64.to_bits(), 0.0_f64.to_bits()), "{axis}");
        assert_eq!(landscape.at(&plane, &[a, b])?.loss.to_bits(), own.loss.to_bits(), "{axis}");
    }
    Ok(())
}

#[test]
fn odd_rows_lie_in_the_plane_when_rows_run_in_parallel() -> anyhow::Result<()> {
    let landscape = landscape()?;
    let plane = landscape.plane(4, Normalization::Filter);
    let session = landscape.session(&plane)?;
    let grid = Grid { x: "-0.4:0.4:3".parse()?, y: Some("-0.5:0.5:4".parse()?) };
    let row = |row: u32| -> anyhow::Result<Vec<u64>> {
        (0..grid.n_columns())
            .map(|column| {
                let (a, b) = grid.coefficients(row, column);
                Ok(value(&session, &[a, b])?.loss.to_bits())
            })
            .collect()
    };
    let rows = thread::scope(|scope| {
        let rows: Vec<_> = (0..grid.n_rows()).map(|idx| scope.spawn(move || row(idx))).collect();
        rows.into_iter().map(|row| row.join().map_err(|_| anyhow::anyhow!("a row panicked"))?).collect::<Vec<_>>()
    });
    for (idx, found) in rows.into_iter().enumerate() {
        for (column, found) in found?.into_iter().enumerate() {
            let (a, b) = grid.coefficients(idx as u32, column as u32);
            let moved = displace(&landscape.origin, &[(a, &plane[0]), (b, &plane[1])]);
            let alone = Landscape { origin: moved, ..landscape.clone() }.at(&[], &[])?;
            assert_eq!(found, alone.loss.to_bits(), "row {idx}, column {column}");
        }
    }
    Ok(())
}

#[test]
fn batch_normalisation_is_not_left_in_training_mode() -> anyhow::Result<()> {
    // In training mode a sample's loss depends on the others in its batch, and the running statistics drift.
    let landscape = landscape()?;
    let plane = landscape.plane(4, Normalization::Filter);
    let of = |batch_size| Landscape { batch_size, ..landscape.clone() }.at(&plane, &[0.2, 0.1]);
    let whole = of(20)?;
    for batch_size in [1, 3, 8] {
        let found = of(batch_size)?;
        assert!(near(found.loss, whole.loss, 1e-6), "batches of {batch_size}: {} and {}", found.loss, whole.loss);
        assert_eq!(found.accuracy, whole.accuracy);
    }
    let session = landscape.session(&plane)?;
    let first = value(&session, &[0.2, 0.1])?;
    for _ in 0..5 {
        assert_eq!(value(&session, &[0.2, 0.1])?.loss.to_bits(), first.loss.to_bits());
    }
    Ok(())
}

#[test]
fn a_running_variance_is_never_drawn() -> anyhow::Result<()> {
    let landscape = landscape()?;
    let statistics = landscape.graph.parameters().iter().filter(|parameter| !parameter.kind.is_trainable());
    let names: Vec<&str> = statistics.map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names.len(), 42);
    for normalization in NORMALIZATIONS {
        let direction = draw(&landscape, normalization, Ignore::None);
        assert!(names.iter().all(|name| !direction.contains_key(*name)), "{normalization:?}");
        let moved = displace(&landscape.origin, &[(-50.0, &Direction::Step(direction))]);
        for name in &names {
            assert_eq!(moved[*name], landscape.origin[*name]);
        }
    }
    let variances = landscape.graph.parameters().iter().filter(|p| p.kind == ParameterKind::RunningVariance);
    for parameter in variances {
        assert!(landscape.origin[&parameter.name].data().iter().all(|variance| *variance > 0.0));
    }
    Ok(())
}

#[test]
fn every_batch_is_evaluated_and_not_only_the_first_few() -> anyhow::Result<()> {
    let landscape = landscape()?;
    let whole = landscape.at(&[], &[])?;
    let n_values = landscape.graph.input_shape().n_values();
    let mut sum = 0.0;
    for idx in 0..landscape.samples.n_samples() {
        let inputs = landscape.samples.inputs()[idx * n_values..(idx + 1) * n_values].to_vec();
        let targets = vec![landscape.samples.targets()[idx]];
        let samples = relief_nn::Samples::new(inputs, targets, landscape.graph.input_shape())?;
        sum += Landscape { samples, ..landscape.clone() }.at(&[], &[])?.loss;
    }
    assert!(near(whole.loss, sum / 20.0, 1e-6), "{} and {}", whole.loss, sum / 20.0);
    // The last sample counts like any other.
    let mut targets = landscape.samples.targets().to_vec();
    targets[19] = (targets[19] + 1) % 10;
    let inputs = landscape.samples.inputs().to_vec();
    let samples = relief_nn::Samples::new(inputs, targets, landscape.graph.input_shape())?;
    let other = Landscape { samples, ..landscape.clone() }.at(&[], &[])?;
    assert!((other.loss - whole.loss).abs() > 1e-4, "{} and {}", other.loss, whole.loss);
    Ok(())
}

#[test]
fn the_loss_is_the_mean_over_samples_and_not_of_batch_means() -> anyhow::Result<()> {
    // 20 samples in batches of 8: the last 4 would count twice as much each.
    let landscape = landscape()?;
    let of = |range: std::ops::Range<usize>| -> anyhow::Result<f64> {
        let n_values = landscape.graph.input_shape().n_values();
        let inputs = landscape.samples.inputs()[range.start * n_values..range.end * n_values].to_vec();
        let targets = landscape.samples.targets()[range].to_vec();
        let samples = relief_nn::Samples::new(inputs, targets, landscape.graph.input_shape())?;
        Ok(Landscape { samples, ..landscape.clone() }.at(&[], &[])?.loss)
    };
    let means = [of(0..8)?, of(8..16)?, of(16..20)?];
    let by_sample = (8.0 * means[0] + 8.0 * means[1] + 4.0 * means[2]) / 20.0;
    let by_batch = means.iter().sum::<f64>() / 3.0;
    let found = landscape.at(&[], &[])?.loss;
    assert!(near(found, by_sample, 1e-6), "{found}, not {by_sample}");
    assert!(!near(found, by_batch, 1e-4), "{found} and {by_batch} are too near to tell");
    Ok(())
}

/// A stored surface of 2 x 2 points in tiles of one.
fn record(id: &str) -> anyhow::Result<SurfaceRecord> {
    let axis: Axis = "0:1:2".parse()?;
    let direction = DirectionSpec::Random { seed: 1, normalization: Normalization::Filter, ignore: Ignore::BiasBn };
    let plane =
        Plane { origin: "mine".parse()?, x: direction.clone(), y: Some(direction), batch_norm: BatchNormMode::Frozen };
    let source = |name: &[u8]| DirectionSource::Step(Digest::of(name));
    Ok(SurfaceRecord {
        id: id.parse()?,
        spec: SurfaceSpec {
            network: "net".parse()?,
            plane,
            grid: Grid { x: axis, y: Some(axis) },
            data: DatasetSlice { dataset: "data".parse()?, split: Split::Train, limit: None },
            also: None,
            tile: "1x1".parse()?,
            fresh: false,
            scheduling: relief_core::Scheduling::default(),
            numerics: relief_core::NumericRequest::default(),
        },
        provenance: Provenance {
            network_digest: Digest::of(b"network"),
            checkpoint_digest: Digest::of(b"checkpoint"),
            directions: vec![source(b"x"), source(b"y")],
            samples: SampleSource { digest: Digest::of(b"data"), n_samples: 20 },
            also: None,
            statistics: None,
            numeric_class: "class".to_owned(),
            relief_version: "0.1.0".to_owned(),
            created: "2026-01-31T12:00:00.000Z".to_owned(),
            trace_id: None,
        },
        geometry: PlaneGeometry { cosine: None, axes: Vec::new() },
        request: None,
        reuse: None,
        log: relief_store::LogPosition::new("1".to_owned()),
        outcome: None,
    })
}

/// Stores a surface with `losses`, row-major.
async fn stored(store: &Store, id: &str, losses: [f64; 4]) -> anyhow::Result<SurfaceRecord> {
    let record = record(id)?;
    store.create_surface(&record).await?;
    let record = store.begin_surface(&record, 1, "class", relief_store::Reuse::default()).await?;
    for (tile, loss) in record.plan().tiles().zip(losses) {
        let value = PointValue { loss, squared_error: 0.0, accuracy: 100.0 };
        store.write_tile(&record, &tile, &[value.into()]).await?;
    }
    Ok(record)
}

#[tokio::test]
async fn nan_is_kept_and_not_replaced_by_a_mean() -> anyhow::Result<()> {
    let store = Store::open("memory://")?;
    let record = stored(&store, "s", [1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]).await?;
    let values = store.read_surface(&record.id).await?.main;
    assert_eq!(values.loss[0].to_bits(), 1.0_f64.to_bits());
    assert!(values.loss[1].is_nan());
    assert_eq!(values.loss[2..], [f64::INFINITY, f64::NEG_INFINITY]);
    use PointFlag::{Finite, Nan, NegativeInfinity, PositiveInfinity};
    assert_eq!(values.flags, [Finite, Nan, PositiveInfinity, NegativeInfinity]);

    // A network in which one weight is NaN has no loss, and says so.
    let mut landscape = landscape()?;
    landscape.origin.get_mut("conv1.weight").context("a convolution")?.data_mut()[0] = f32::NAN;
    let value = landscape.at(&[], &[])?;
    assert!(value.loss.is_nan() && value.flag() == Nan, "{value:?}");
    Ok(())
}

#[tokio::test]
async fn no_loss_stands_for_not_computed_not_even_0_or_minus_1() -> anyhow::Result<()> {
    let store = Store::open("memory://")?;
    let first = stored(&store, "first", [0.0, -1.0, f64::NAN, -0.0]).await?;
    assert_eq!(store.committed_tiles(&first).await?.len(), 4, "each of them is done, once and for all");
    assert!(store.read_surface(&first.id).await?.is_complete());
    let second = record("second")?;
    let found = store.find_points(&second, "class").await?;
    assert_eq!(found.reuse.n_points, 4, "none of them is computed again");
    let main = |idx: usize| found.values[idx].map(|PointValues { main, .. }| main.loss);
    assert_eq!((main(0), main(1)), (Some(0.0), Some(-1.0)));

    // A real one: logits so far apart that the loss is exactly 0.
    let mut landscape = Landscape::settled(resnet20()?, 6, 3)?;
    let bias = landscape.graph.parameters().last().context("a bias")?.name.clone();
    landscape.origin.get_mut(&bias).context("a bias")?.data_mut()[0] = 1e6;
    let samples = noise(&landscape.graph, 6, 3)?;
    let inputs = samples.inputs().to_vec();
    landscape.samples = relief_nn::Samples::new(inputs, vec![0; 6], landscape.graph.input_shape())?;
    let value = landscape.at(&[], &[])?;
    assert_eq!((value.loss.to_bits(), value.accuracy), (0.0_f64.to_bits(), 100.0));
    assert_eq!(value.flag(), PointFlag::Finite);
    Ok(())
}

#[tokio::test]
async fn a_stale_direction_is_not_reused_for_another_request() -> anyhow::Result<()> {
    // A direction is known by its content, and its content depends on all that was asked for.
    let landscape = landscape()?;
    let digest = |landscape: &Landscape, seed, axis, normalization, ignore| -> anyhow::Result<Digest> {
        let trainable = landscape.graph.trainable(&landscape.origin);
        let direction = random_direction(trainable, seed, axis, normalization, ignore);
        Ok(Digest::of(&encode_checkpoint(&direction)?))
    };
    use DirectionAxis::{X, Y};
    use Normalization::{Filter, Layer};
    let first = digest(&landscape, 1, X, Filter, Ignore::BiasBn)?;
    assert_eq!(digest(&landscape, 1, X, Filter, Ignore::BiasBn)?, first);
    let mut trained = landscape.clone();
    let weights = trained.origin.get_mut("conv1.weight").context("a convolution")?;
    weights.data_mut()[0] += 0.5;
    for other in [
        digest(&landscape, 2, X, Filter, Ignore::BiasBn)?,
        digest(&landscape, 1, Y, Filter, Ignore::BiasBn)?,
        digest(&landscape, 1, X, Layer, Ignore::BiasBn)?,
        digest(&landscape, 1, X, Filter, Ignore::None)?,
        digest(&trained, 1, X, Filter, Ignore::BiasBn)?,
    ] {
        assert_ne!(other, first);
    }
    // What lies under a digest has it, or is refused.
    let store = Store::open("memory://")?;
    let file = encode_checkpoint(&TensorMap::from([("w".to_owned(), Tensor::filled([2], 1.0))]))?;
    let kept = store.import_direction(file).await?;
    assert!(store.load_direction(kept.digest).await.is_ok());
    assert!(store.load_direction(first).await.is_err());
    // And points are found along the same directions only.
    stored(&store, "first", [1.0; 4]).await?;
    let mut second = record("second")?;
    assert_eq!(store.find_points(&second, "class").await?.reuse.n_points, 4);
    second.provenance.directions[0] = DirectionSource::Step(first);
    assert_eq!(store.find_points(&second, "class").await?.reuse.n_points, 0);
    Ok(())
}
