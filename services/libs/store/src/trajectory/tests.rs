use std::time::Duration;

use object_store::path::Path;
use relief_core::{
    Axis, AxisSource, DatasetSlice, Grid, Ignore, NumericRequest, PathSpec, PointValue, PointValues, ProjectedStop,
    Projection, Scheduling, Split, Stop, Tensor, TensorMap, TrajectoryAxes,
};

use super::*;
use crate::conformance::{another_process, everything, on_every_store};
use crate::orphan::Collected;
use crate::safetensor::encode_checkpoint;
use crate::tile::TileWrite;
use crate::zarr::{Entry, ZarrArray};

const N_STOPS: usize = 5;

fn id() -> TrajectoryId {
    "t-1".parse().expect("an id")
}

fn specification() -> TrajectorySpec {
    let stop = |idx: u32| Stop {
        checkpoint: format!("runs/r/snapshots/{idx}").parse().expect("a name"),
        digest: Digest::of(&idx.to_le_bytes()),
        epoch: (idx != 1).then_some(idx),
        rate: (idx != 2).then_some(0.1 + 0.2),
    };
    TrajectorySpec {
        network: "net".parse().expect("an id"),
        paths: vec![
            PathSpec { name: "main".to_owned(), stops: (0..3).map(stop).collect() },
            PathSpec { name: "other".to_owned(), stops: (3..5).map(stop).collect() },
        ],
        axes: TrajectoryAxes::Directions { x: Digest::of(b"x"), y: Digest::of(b"y") },
        ignore: Ignore::BiasBn,
        margin: 0.1,
        n_columns: 5,
        n_rows: 5,
        data: DatasetSlice { dataset: "data".parse().expect("an id"), split: Split::Train, limit: Some(1000) },
        also: None,
        numerics: NumericRequest::default(),
        scheduling: Scheduling::default(),
    }
}

/// A trajectory that was just accepted, with two tiles of 7 x 7 sums.
pub(crate) fn new_trajectory(id: &str) -> TrajectoryRecord {
    let tensor = |name: &str, n_values| GramTensor { name: name.to_owned(), n_values };
    TrajectoryRecord {
        id: id.parse().expect("an id"),
        spec: specification(),
        provenance: TrajectoryProvenance {
            network_digest: Digest::of(b"network"),
            directions: vec![Digest::of(b"x"), Digest::of(b"y")],
            tensors: vec![tensor("conv.weight", 700), tensor("fc.weight", 300)],
            gram: GramPlan::with_tiles(7, 1000, 7, 512),
            samples: SampleSource { digest: Digest::of(b"dataset"), n_samples: 1000 },
            also: None,
            surface: "t-1-surface".parse().expect("an id"),
            relief_version: "0.1.0".to_owned(),
            created: "2026-01-31T12:00:00.000Z".to_owned(),
        },
        request: Some(RequestMark { id: "a request".to_owned(), digest: Digest::of(b"request") }),
        incarnation: "5eed".to_owned(),
        outcome: None,
    }
}

fn with_second_split(record: TrajectoryRecord) -> TrajectoryRecord {
    let spec = TrajectorySpec { also: Some(Split::Test), ..record.spec };
    let also = Some(SampleSource { digest: Digest::of(b"test"), n_samples: 500 });
    TrajectoryRecord { spec, provenance: TrajectoryProvenance { also, ..record.provenance }, ..record }
}

fn anew(record: &TrajectoryRecord) -> TrajectoryRecord {
    let incarnation = format!("{}0", record.incarnation);
    TrajectoryRecord { incarnation, outcome: None, ..record.clone() }
}

fn outcome(state: JobState) -> TrajectoryOutcome {
    TrajectoryOutcome { state, reason: None, message: None, ended: "2026-01-31T12:00:00.000Z".to_owned() }
}

pub(crate) fn axes() -> TrajectoryAxesRecord {
    let stop = |idx: usize| ProjectedStop {
        x: 0.1 * idx as f64,
        y: -1.0 / 3.0,
        off_plane: 0.5,
        distance: 2.0,
        step_norm: (idx > 0).then_some(1.5),
        step_cosine: (idx > 1).then_some(-0.25),
        is_drop: idx == 2,
    };
    TrajectoryAxesRecord {
        projection: Projection {
            axes: [AxisSource::Row(5), AxisSource::Combination(vec![0.1 + 0.2; N_STOPS])],
            norms: [1.0, 2.0],
            cosine: 0.01,
            explained: [0.9, 0.05],
            explained_plane: 0.95,
            singular_values: vec![3.0, 2.0, 1.0],
            stops: (0..N_STOPS).map(stop).collect(),
        },
        directions: [Digest::of(b"axis x"), Digest::of(b"axis y")],
        grid: Grid { x: axis(), y: Some(axis()) },
    }
}

fn axis() -> Axis {
    "-1:0.3:5".parse().expect("an axis")
}

fn value(loss: f64) -> PointValue {
    PointValue { loss, squared_error: 0.1 + 0.2, accuracy: 12.5 }
}

async fn created(store: &Store) -> TrajectoryRecord {
    store.create_trajectory(&new_trajectory("t-1")).await.expect("a trajectory");
    store.get_trajectory(&id()).await.expect("a record")
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> StoreErrorKind {
    result.expect_err("an error").kind()
}

/// All that there is to compute for a trajectory.
async fn compute(store: &Store, record: &TrajectoryRecord) {
    for idx in 0..2 {
        store.put_gram_tile(record, idx, &[1.0; 49]).await.expect("a tile");
    }
    store.put_trajectory_axes(record, &axes()).await.expect("axes");
    let mut values = Vec::new();
    for stop in 0..N_STOPS {
        values.push(Some(PointValues::from(value(stop as f64))));
        store.put_stop_values(record, stop, &value(stop as f64).into()).await.expect("values");
    }
    store.put_trajectory_result(record, &axes(), &values).await.expect("a result");
}

#[tokio::test]
async fn a_trajectory_comes_back_as_it_was_asked_for() {
    on_every_store(async |store| {
        assert_eq!(kind(store.get_trajectory(&id()).await), StoreErrorKind::NotFound);
        let record = created(store).await;
        assert_eq!(record, new_trajectory("t-1"));
        assert_eq!(kind(store.create_trajectory(&record).await), StoreErrorKind::AlreadyExists);
        assert_eq!(kind(store.create_trajectory(&anew(&record)).await), StoreErrorKind::AlreadyExists);
        // An id may end like the name of a group or of a record.
        for id in ["t-1.zarr", "t-1.job"] {
            store.create_trajectory(&new_trajectory(id)).await.expect("a trajectory");
        }
        let listed = store.list_trajectories(&Page::new(2, None)).await.expect("a page");
        let ids: Vec<String> = listed.items.into_iter().map(|record| record.expect("whole").id.to_string()).collect();
        assert_eq!(ids, ["trajectories/t-1", "trajectories/t-1.job"]);
        let next = store.list_trajectories(&Page::new(2, listed.next)).await.expect("a page");
        assert!(matches!(&next.items[..], [Ok(last)] if last.id.as_str() == "t-1.zarr"));
        let ids = store.trajectory_ids().await.expect("ids");
        assert_eq!(ids.iter().map(TrajectoryId::as_str).collect::<Vec<_>>(), ["t-1", "t-1.job", "t-1.zarr"]);
    })
    .await;
}

#[tokio::test]
async fn what_does_not_fit_together_is_not_created() {
    let store = Store::open("memory://").expect("a store");
    let new = new_trajectory("t-1");
    let refused = async |change: &dyn Fn(&mut TrajectoryRecord)| {
        let mut record = new.clone();
        change(&mut record);
        let error = store.create_trajectory(&record).await.expect_err("it does not fit together");
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        error.to_string()
    };
    for (error, words) in [
        (refused(&|record| record.spec.margin = -1.0).await, "specification: margin: -1"),
        (refused(&|record| record.incarnation = "../a".to_owned()).await, "incarnation: `../a`"),
        (refused(&|record| record.outcome = Some(outcome(JobState::Failed))).await, "outcome: a new trajectory"),
        (
            refused(&|record| record.provenance.directions.truncate(1)).await,
            "directions: 1 directions; these axes take 2",
        ),
        (refused(&|record| record.provenance.tensors.truncate(1)).await, "gram: a plan of 7 rows of 1000 values"),
        (refused(&|record| record.provenance.gram = GramPlan::new(6, 1000, 1 << 20)).await, "gram: a plan of 6 rows"),
        (refused(&|record| record.spec.also = Some(Split::Test)).await, "also: samples of a second split"),
    ] {
        assert!(error.contains(words), "{error}");
    }
    assert!(everything(&store).await.is_empty());
}

#[tokio::test]
async fn of_two_processes_that_create_one_trajectory_one_succeeds() {
    on_every_store(async |store| {
        let other = another_process(store);
        for round in 0..10 {
            let left = new_trajectory(&format!("t-{round}"));
            let right = anew(&left);
            let (is_left, is_right) = tokio::join!(store.create_trajectory(&left), other.create_trajectory(&right));
            let (record, error) = match (is_left, is_right) {
                (Ok(()), Err(error)) => (left, error),
                (Err(error), Ok(())) => (right, error),
                both => panic!("{both:?}"),
            };
            assert_eq!(error.kind(), StoreErrorKind::AlreadyExists);
            assert_eq!(store.get_trajectory(&record.id).await.expect("a record"), record);
        }
    })
    .await;
}

#[tokio::test]
async fn the_first_outcome_is_the_outcome() {
    on_every_store(async |store| {
        let record = created(store).await;
        let error = store.finish_trajectory(&record, &outcome(JobState::Running)).await.expect_err("no end");
        assert_eq!(error.to_string(), "state: running is not the end of a job");
        let failed = TrajectoryOutcome { reason: Some("plane".to_owned()), ..outcome(JobState::Failed) };
        let ended = store.finish_trajectory(&record, &failed).await.expect("an end");
        assert_eq!(ended, TrajectoryRecord { outcome: Some(failed), ..record.clone() });
        for later in [&record, &ended] {
            let other = another_process(store);
            let again = other.finish_trajectory(later, &outcome(JobState::Succeeded)).await.expect("an end");
            assert_eq!(again, ended);
        }
        assert_eq!(store.get_trajectory(&id()).await.expect("a record"), ended);
        let listed = store.list_trajectories(&Page::default()).await.expect("a page").items;
        assert!(matches!(&listed[..], [Ok(there)] if *there == ended));
    })
    .await;
}

#[tokio::test]
async fn sums_come_back_with_their_bits_and_stay() {
    on_every_store(async |store| {
        let record = created(store).await;
        assert!(store.gram_tiles(&record).await.expect("tiles").is_empty());
        assert_eq!(kind(store.get_gram_tile(&record, 1).await), StoreErrorKind::NotFound);
        let mut sums: Vec<f64> = (0..49).map(|idx| f64::from(idx) / 3.0).collect();
        (sums[3], sums[4], sums[5]) = (-f64::NAN, f64::NEG_INFINITY, -0.0);
        let written = store.put_gram_tile(&record, 1, &sums).await.expect("a tile");
        assert_eq!(written, TileWrite::Written);
        sums[3] = f64::NAN;
        assert_eq!(store.put_gram_tile(&record, 1, &sums).await.expect("the same"), TileWrite::AlreadyThere);
        let bits = |sums: &[f64]| sums.iter().map(|sum| sum.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&store.get_gram_tile(&record, 1).await.expect("sums")), bits(&sums));
        assert_eq!(store.gram_tiles(&record).await.expect("tiles"), BTreeSet::from([1]));
        assert_eq!(kind(store.load_gram(&record).await), StoreErrorKind::NotFound);

        let mut other = sums.clone();
        other[48] = f64::from_bits(other[48].to_bits() + 1);
        let error = store.put_gram_tile(&record, 1, &other).await.expect_err("other sums");
        assert!(
            matches!(&error, StoreError::Conflict { path } if path == "trajectories/t-1.job/5eed/gram/00000001.f64")
        );
        for (idx, n_sums, words) in
            [(1, 48, "sums: 48 sums for the 49 of tile 1"), (2, 49, "tile: 2 is not one of the 2")]
        {
            let error = store.put_gram_tile(&record, idx, &vec![0.0; n_sums]).await.expect_err("not a tile");
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            assert!(error.to_string().contains(words), "{error}");
        }
        store.put_gram_tile(&record, 0, &[1.0; 49]).await.expect("a tile");
        let gram = store.load_gram(&record).await.expect("all tiles");
        assert_eq!((gram.n(), gram.get(6, 6), gram.get(1, 0)), (7, 17.0, 1.0 + sums[1]));

        let path = layout::gram_tile(&id(), "5eed", 0);
        store.objects.put(&path, "1234567".into()).await.expect("a put");
        let error = store.load_gram(&record).await.expect_err("damaged");
        assert_eq!(error.to_string(), format!("{path} is damaged: 7 bytes are not 49 sums"));
    })
    .await;
}

#[tokio::test]
async fn the_first_axes_are_the_axes() {
    on_every_store(async |store| {
        let record = created(store).await;
        assert_eq!(store.find_trajectory_axes(&record).await.expect("none"), None);
        let mut not_finite = axes();
        not_finite.projection.stops[1].y = f64::NAN;
        let error = store.put_trajectory_axes(&record, &not_finite).await.expect_err("not finite");
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        assert_eq!(store.put_trajectory_axes(&record, &axes()).await.expect("axes"), axes());
        let mut later = axes();
        later.projection.stops[1].y = 7.0;
        assert_eq!(store.put_trajectory_axes(&record, &later).await.expect("axes"), axes());
        assert_eq!(store.find_trajectory_axes(&record).await.expect("axes"), Some(axes()));
    })
    .await;
}

#[tokio::test]
async fn values_at_stops_may_be_anything_and_stay() {
    on_every_store(async |store| {
        let record = with_second_split(new_trajectory("t-1"));
        store.create_trajectory(&record).await.expect("a trajectory");
        let of = |main, also| PointValues { main: value(main), also: Some(value(also)) };
        let there = [(0, of(f64::NAN, 0.1 + 0.2)), (3, of(f64::INFINITY, f64::NEG_INFINITY)), (4, of(1.0 / 3.0, -0.0))];
        for (stop, values) in &there {
            for written in [TileWrite::Written, TileWrite::AlreadyThere] {
                assert_eq!(store.put_stop_values(&record, *stop, values).await.expect("values"), written);
            }
        }
        let read = store.stop_values(&record).await.expect("values");
        assert_eq!(read.len(), N_STOPS);
        assert_eq!((read[1], read[2], read[3], read[4]), (None, None, Some(there[1].1), Some(there[2].1)));
        assert!(read[0].is_some_and(|values| values.main.loss.is_nan() && values.also == there[0].1.also));

        let error = store.put_stop_values(&record, 4, &of(1.0, -0.0)).await.expect_err("other values");
        assert!(matches!(&error, StoreError::Conflict { path } if path == "trajectories/t-1.job/5eed/stops/0004.json"));
        assert_eq!(kind(store.put_stop_values(&record, 5, &of(1.0, 1.0)).await), StoreErrorKind::Invalid);
        assert_eq!(kind(store.put_stop_values(&record, 1, &value(1.0).into()).await), StoreErrorKind::Invalid);
        store.objects.put(&layout::stop(&id(), "5eed", 3), "{}".into()).await.expect("a put");
        assert_eq!(kind(store.stop_values(&record).await), StoreErrorKind::Corrupt);
    })
    .await;
}

/// The only chunk of an array of the result.
async fn entries<T: Entry>(store: &Store, name: &str, n_entries: usize) -> Vec<T> {
    let array = ZarrArray::line::<T>(name, n_entries, "stop").expect("an array");
    let path = layout::group_object(layout::trajectory_group(&id()), &array.chunk_key(&[0]));
    let chunk = store.objects.get(&path).await.expect("a read").expect("a chunk");
    array.decode(&chunk, 1, n_entries).expect("entries")
}

fn assert_same(found: &[f64], expected: &[f64]) {
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(found), bits(expected), "{found:?}, expected {expected:?}");
}

#[tokio::test]
async fn the_result_is_a_group_of_arrays_over_the_stops() {
    on_every_store(async |store| {
        let record = with_second_split(new_trajectory("t-1"));
        store.create_trajectory(&record).await.expect("a trajectory");
        let of = |main, also| Some(PointValues { main: value(main), also: Some(value(also)) });
        let values = [of(1.5, 2.5), None, of(f64::NAN, 0.5), of(f64::INFINITY, 0.25), of(1.0, 0.125)];
        for _ in 0..2 {
            store.put_trajectory_result(&record, &axes(), &values).await.expect("a result");
        }
        let nan = f64::NAN;
        for (name, expected) in [
            ("x", [0.0, 0.1, 0.2, 0.1 * 3.0, 0.4]),
            ("y", [-1.0 / 3.0; 5]),
            ("off_plane", [0.5; 5]),
            ("distance", [2.0; 5]),
            ("step_norm", [nan, 1.5, 1.5, 1.5, 1.5]),
            ("step_cosine", [nan, nan, -0.25, -0.25, -0.25]),
            ("epoch", [0.0, nan, 2.0, 3.0, 4.0]),
            ("learning_rate", [0.1 + 0.2, 0.1 + 0.2, nan, 0.1 + 0.2, 0.1 + 0.2]),
            ("loss", [1.5, nan, nan, f64::INFINITY, 1.0]),
            ("test_loss", [2.5, nan, 0.5, 0.25, 0.125]),
            ("test_accuracy", [12.5, nan, 12.5, 12.5, 12.5]),
        ] {
            assert_same(&entries::<f64>(store, name, 5).await, &expected);
        }
        assert_same(&entries::<f64>(store, "singular_values", 3).await, &[3.0, 2.0, 1.0]);
        assert_eq!(entries::<u16>(store, "path", 5).await, [0, 0, 0, 1, 1]);
        assert_eq!(entries::<u8>(store, "is_drop", 5).await, [0, 0, 1, 0, 0]);
        assert_eq!(entries::<u8>(store, "flags", 5).await, [1, 0, 2, 3, 1]);

        let group = layout::group_object(layout::trajectory_group(&id()), "zarr.json");
        let json = store.objects.get(&group).await.expect("a read").expect("a group");
        let attributes = crate::zarr::group_attributes(&json).expect("attributes");
        assert_eq!(attributes["explained"], serde_json::json!([0.9, 0.05]));
        assert_eq!(attributes["surface"], "surfaces/t-1-surface");
        assert_eq!(attributes["specification"]["paths"][1]["name"], "other");
        assert_eq!(attributes["splits"], serde_json::json!(["train", "test"]));
        assert_eq!(attributes["directions"][0], Digest::of(b"axis x").to_string());

        let mut other = axes();
        other.projection.stops[0].x = 7.0;
        let error = store.put_trajectory_result(&record, &other, &values).await.expect_err("another result");
        assert!(matches!(&error, StoreError::Conflict { path } if path == "trajectories/t-1.zarr/x/c/0"));
        let error = store.put_trajectory_result(&record, &axes(), &values[1..]).await.expect_err("too few");
        assert_eq!(error.to_string(), "values: 4 entries for 5 stops");
    })
    .await;
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_its_name_is_free() {
    on_every_store(async |store| {
        let record = created(store).await;
        compute(store, &record).await;
        let ended = store.finish_trajectory(&record, &outcome(JobState::Succeeded)).await.expect("an end");
        store.delete_trajectory(&ended).await.expect("a deletion");
        assert!(everything(store).await.is_empty());
        for known in [&record, &ended] {
            assert_eq!(kind(store.delete_trajectory(known).await), StoreErrorKind::NotFound);
            let late = store.finish_trajectory(known, &outcome(JobState::Failed)).await;
            assert_eq!(kind(late), StoreErrorKind::NotFound);
        }
        let new = anew(&record);
        store.create_trajectory(&new).await.expect("a trajectory");
        assert_eq!(store.get_trajectory(&id()).await.expect("a record"), new);
    })
    .await;
}

#[tokio::test]
async fn who_knows_a_deleted_one_does_no_harm_to_what_has_its_name_now() {
    on_every_store(async |store| {
        let old = created(store).await;
        compute(store, &old).await;
        let other = another_process(store);
        other.delete_trajectory(&old).await.expect("a deletion");
        let new = anew(&old);
        other.create_trajectory(&new).await.expect("a trajectory");

        let done = store.finish_trajectory(&old, &outcome(JobState::Succeeded)).await;
        assert_eq!(kind(done), StoreErrorKind::Superseded);
        assert_eq!(kind(store.delete_trajectory(&old).await), StoreErrorKind::Superseded);
        let result = store.put_trajectory_result(&old, &axes(), &[None; N_STOPS]).await;
        assert_eq!(kind(result), StoreErrorKind::Superseded);
        store.put_gram_tile(&old, 0, &[2.0; 49]).await.expect("a tile that comes late");
        store.put_trajectory_axes(&old, &axes()).await.expect("axes that come late");
        store.put_stop_values(&old, 0, &value(7.0).into()).await.expect("values that come late");

        assert!(store.gram_tiles(&new).await.expect("tiles").is_empty());
        assert_eq!(store.find_trajectory_axes(&new).await.expect("none"), None);
        assert_eq!(store.stop_values(&new).await.expect("none"), [None; N_STOPS]);
        assert_eq!(store.get_trajectory(&id()).await.expect("a record"), new);
        compute(store, &new).await;
        let before = everything(store).await;
        let collected = store.collect_orphans(Duration::ZERO).await.expect("a collection");
        assert_eq!(Collected { n_bytes: 0, ..collected }, Collected { remains: 3, ..Collected::default() });
        let mut expected = before;
        expected.retain(|path| !path.starts_with("trajectories/t-1.job/5eed/"));
        assert_eq!(everything(store).await, expected);
        assert_eq!(store.collect_orphans(Duration::ZERO).await.expect("a collection"), Collected::default());
    })
    .await;
}

#[tokio::test]
async fn a_deletion_that_was_interrupted_leaves_remains_only() {
    on_every_store(async |store| {
        let record = created(store).await;
        compute(store, &record).await;
        store.objects.delete(&layout::trajectory_record(&id())).await.expect("a deletion");
        let n_remains = everything(store).await.len() as u64;
        assert_eq!(kind(store.get_trajectory(&id()).await), StoreErrorKind::NotFound);
        assert!(store.list_trajectories(&Page::default()).await.expect("a page").items.is_empty());
        let young = store.collect_orphans(Duration::from_secs(3600)).await.expect("a collection");
        assert_eq!(young, Collected::default());
        assert_eq!(store.collect_orphans(Duration::ZERO).await.expect("a collection").remains, n_remains);
        assert!(everything(store).await.is_empty());

        let record = created(store).await;
        compute(store, &record).await;
        store.objects.delete(&layout::trajectory_record(&id())).await.expect("a deletion");
        store.create_trajectory(&anew(&record)).await.expect("a trajectory");
        assert_eq!(everything(store).await, ["trajectories/t-1.job/trajectory.json"]);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_in_its_place_and_is_deleted_all_the_same() {
    on_every_store(async |store| {
        for damaged in [layout::trajectory_record(&id()), layout::trajectory_outcome(&id(), "5eed")] {
            let record = created(store).await;
            compute(store, &record).await;
            assert_eq!(kind(store.delete_damaged_trajectory(&id()).await), StoreErrorKind::Superseded);
            store.objects.put(&damaged, "{".into()).await.expect("a put");
            let whole = new_trajectory("whole");
            store.create_trajectory(&whole).await.expect("a trajectory");
            let items = store.list_trajectories(&Page::default()).await.expect("a page").items;
            assert!(matches!(&items[..], [Err(StoreError::Corrupt { .. }), Ok(there)] if *there == whole));
            assert_eq!(kind(store.create_trajectory(&anew(&record)).await), StoreErrorKind::AlreadyExists);
            let before = everything(store).await;
            store.collect_orphans(Duration::ZERO).await.expect("a collection");
            assert_eq!(everything(store).await, before);
            store.delete_damaged_trajectory(&id()).await.expect("a deletion");
            assert_eq!(kind(store.delete_damaged_trajectory(&id()).await), StoreErrorKind::NotFound);
            store.delete_trajectory(&whole).await.expect("a deletion");
            assert!(everything(store).await.is_empty());
        }
        let mut other = new_trajectory("t-1");
        other.provenance.directions.clear();
        let TrajectoryRecord { spec: specification, provenance, request, incarnation, .. } = other;
        let json = to_json("t", &StoredTrajectory { specification, provenance, request, incarnation }).expect("json");
        store.objects.put(&layout::trajectory_record(&id()), json).await.expect("a put");
        let error = store.get_trajectory(&id()).await.expect_err("it does not fit together");
        assert!(error.to_string().contains("is damaged: directions: 0 directions"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn directions_are_kept_for_as_long_as_a_trajectory_names_them() {
    on_every_store(async |store| {
        let mut drawn = Vec::new();
        for value in [0.1, 0.2, 0.3, 0.4, 0.5] {
            let file = encode_checkpoint(&TensorMap::from([("w".to_owned(), Tensor::filled([2], value))]));
            drawn.push(store.keep_direction(file.expect("a file")).await.expect("a direction").digest);
        }
        let mut record = new_trajectory("t-1");
        record.provenance.directions = drawn[..2].to_vec();
        store.create_trajectory(&record).await.expect("a trajectory");
        let axes = TrajectoryAxesRecord { directions: [drawn[2], drawn[3]], ..axes() };
        store.put_trajectory_axes(&record, &axes).await.expect("axes");
        let collect = async || store.collect_drawn_directions(Duration::ZERO).await.expect("a collection").directions;
        // What the axes name cannot be told where they are damaged.
        let path = layout::trajectory_axes(&id(), "5eed");
        let json = store.objects.get(&path).await.expect("a read").expect("axes");
        store.objects.put(&path, "{".into()).await.expect("a put");
        assert_eq!(collect().await, 0);
        store.objects.put(&path, json).await.expect("a put");

        assert_eq!(collect().await, 1);
        store.finish_trajectory(&record, &outcome(JobState::Succeeded)).await.expect("an end");
        assert_eq!(collect().await, 0);
        for digest in &drawn[..4] {
            store.load_direction(*digest).await.expect("it is named");
        }
        assert_eq!(kind(store.load_direction(drawn[4]).await), StoreErrorKind::NotFound);
        store.delete_trajectory(&record).await.expect("a deletion");
        assert_eq!(collect().await, 4);
        assert_eq!(store.objects.list(&Path::from("directions")).await.expect("a list"), []);
    })
    .await;
}
