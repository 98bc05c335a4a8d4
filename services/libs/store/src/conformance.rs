//! What every backend must do, and what tests share.
//!
//! Every test of this crate that takes [`on_every_store`] belongs to the suite.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};
use relief_core::{
    AxisGeometry, BatchNormMode, DatasetSlice, Digest, DirectionSpec, Engine, Grid, Ignore, JobState, Normalization,
    NumericRequest, Plane, PlaneGeometry, Split, SurfaceId, SurfaceSpec, TensorMap, TensorNorms,
};
use relief_test_s3::S3Server;

use crate::change::LogPosition;
use crate::cloud::Limits;
use crate::dataset::DatasetImport;
use crate::object::Objects;
use crate::page::Page;
use crate::run::SnapshotMetrics;
use crate::store::Store;
use crate::surface::{DirectionSource, Provenance, RequestMark, Reuse, SampleSource, SurfaceOutcome, SurfaceRecord};

/// Runs `test` on a new store of every kind.
pub(crate) async fn on_every_store(test: impl AsyncFn(&Store)) {
    test(&Store::open("memory://").expect("a store")).await;
    let dir = tempfile::tempdir().expect("a directory");
    test(&Store::open(&format!("file://{}", dir.path().display())).expect("a store")).await;
    let server = S3Server::start().await.expect("a server");
    test(&bucket_store(&server)).await;
}

/// A store in the bucket of `server`.
pub(crate) fn bucket_store(server: &S3Server) -> Store {
    Store::open_with(&server.url("a/prefix"), &server.variables(), Limits::default()).expect("a store")
}

/// The paths of everything in the store, sorted.
pub(crate) async fn everything(store: &Store) -> Vec<String> {
    let paths = store.objects.list(&Path::default()).await.expect("a list");
    let mut paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
    paths.sort_unstable();
    paths
}

/// The same store in a process of its own: nothing but its objects is shared.
pub(crate) fn another_process(store: &Store) -> Store {
    Store::over(store.objects.clone())
}

/// A store in which puts of objects whose path ends with `suffix` fail.
pub(crate) fn faulty(inner: &Arc<InMemory>, suffix: &'static str) -> Store {
    Store::over(Objects::new(Faulty { inner: inner.clone(), suffix }))
}

/// A specification of `grid` in tiles of `tile`.
pub(crate) fn specification(grid: Grid, tile: &str) -> SurfaceSpec {
    let direction =
        DirectionSpec::Random { seed: u64::MAX, normalization: Normalization::Filter, ignore: Ignore::BiasBn };
    SurfaceSpec {
        network: "net".parse().expect("an id"),
        plane: Plane {
            origin: "runs/r/snapshots/3".parse().expect("a name"),
            x: direction.clone(),
            y: grid.y.map(|_| direction),
            batch_norm: BatchNormMode::Frozen,
        },
        grid,
        data: DatasetSlice { dataset: "data".parse().expect("an id"), split: Split::Train, limit: Some(1000) },
        also: None,
        tile: tile.parse().expect("a shape"),
        fresh: false,
        scheduling: relief_core::Scheduling::default(),
        numerics: NumericRequest { engine: Some(Engine::Burn), precision: None },
    }
}

/// A surface of `spec` that was just accepted.
pub(crate) fn new_surface(id: SurfaceId, spec: &SurfaceSpec) -> SurfaceRecord {
    let step = |name: &[u8]| DirectionSource::Step(Digest::of(name));
    let norms = TensorNorms { name: "fc.weight".to_owned(), direction: 1.5, weights: 0.1 + 0.2 };
    let axis = AxisGeometry { norm: 1.5, tensors: vec![norms] };
    let n_axes = 1 + usize::from(spec.grid.y.is_some());
    SurfaceRecord {
        id,
        spec: spec.clone(),
        provenance: Provenance {
            network_digest: Digest::of(b"network"),
            checkpoint_digest: Digest::of(b"checkpoint"),
            directions: [step(b"x"), step(b"y")][..n_axes].to_vec(),
            samples: SampleSource { digest: Digest::of(b"dataset"), n_samples: 1000 },
            also: None,
            statistics: None,
            numeric_class: "burn-flex/f32".to_owned(),
            relief_version: "0.1.0".to_owned(),
            created: "2026-01-31T12:00:00.000Z".to_owned(),
            trace_id: None,
        },
        geometry: PlaneGeometry { cosine: (n_axes == 2).then_some(0.01), axes: vec![axis; n_axes] },
        request: Some(RequestMark { id: "a request".to_owned(), digest: Digest::of(b"request") }),
        reuse: None,
        outcome: None,
        log: LogPosition::new("5eed".to_owned()),
    }
}

/// A surface as `record`, to be made after that one was deleted.
pub(crate) fn anew(record: SurfaceRecord) -> SurfaceRecord {
    let log = LogPosition::new(format!("{}0", record.log.incarnation));
    SurfaceRecord { reuse: None, outcome: None, log, ..record }
}

/// The end of a surface that had no points.
pub(crate) fn outcome(state: JobState) -> SurfaceOutcome {
    SurfaceOutcome {
        state,
        reason: None,
        message: None,
        points_done: 0,
        points_non_finite: 0,
        tiles_done: 0,
        tiles_retried: 0,
        ended: "2026-01-31T12:00:00.000Z".to_owned(),
    }
}

#[derive(Debug)]
struct Faulty {
    inner: Arc<InMemory>,
    suffix: &'static str,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        if location.as_ref().ends_with(self.suffix) {
            return Err(object_store::Error::Generic { store: "faulty", source: "no space left".into() });
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn a_new_object_is_put_once() {
    on_every_store(async |store| {
        let path = Path::from("a/b/c.json");
        assert!(store.objects.put_new(&path, bytes("first")).await.expect("a put"));
        assert!(!store.objects.put_new(&path, bytes("second")).await.expect("a put"));
        assert_eq!(store.objects.get(&path).await.expect("a get"), Some(bytes("first")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_put_a_new_object_one_succeeds() {
    on_every_store(async |store| {
        let path = Path::from("a/b/c.json");
        let puts = (0..16_u8).map(|writer| {
            let (objects, path) = (store.objects.clone(), path.clone());
            tokio::spawn(async move { objects.put_new(&path, vec![writer; 100].into()).await.expect("a put") })
        });
        let put = futures::future::join_all(puts.collect::<Vec<_>>()).await;
        let winners: Vec<_> = (0..16_u8).zip(&put).filter(|(_, put)| matches!(put, Ok(true))).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(store.objects.get(&path).await.expect("a get"), Some(vec![winners[0].0; 100].into()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_an_object_before_or_after_its_replacement() {
    on_every_store(async |store| {
        let path = Path::from("a/status.json");
        store.objects.put(&path, vec![0; 100_000].into()).await.expect("a put");
        let (objects, target) = (store.objects.clone(), path.clone());
        let writer = tokio::spawn(async move {
            for round in 1..50_u8 {
                objects.put(&target, vec![round; 100_000 + usize::from(round)].into()).await.expect("a put");
            }
        });
        let mut last = 0;
        while last < 49 && !writer.is_finished() {
            let read = store.objects.get(&path).await.expect("a get").expect("an object");
            assert!(read[0] >= last && read.len() == 100_000 + usize::from(read[0]));
            assert!(read.iter().all(|byte| *byte == read[0]));
            last = read[0];
            tokio::task::yield_now().await;
        }
        writer.await.expect("no panic");
    })
    .await;
}

#[tokio::test]
async fn lists_keep_to_whole_segments() {
    on_every_store(async |store| {
        for path in ["n/a/1", "n/a/x/2", "n/ab/3", "n/b.zarr/4", "n/5", "m/6"] {
            store.objects.put(&Path::from(path), bytes("x")).await.expect("a put");
        }
        let mut below: Vec<_> = store.objects.list(&Path::from("n/a")).await.expect("a list");
        below.sort_unstable();
        assert_eq!(below, [Path::from("n/a/1"), Path::from("n/a/x/2")]);
        let children = store.objects.list_children(&Path::from("n")).await.expect("a list");
        assert_eq!(children.into_iter().collect::<Vec<_>>(), ["a", "ab", "b.zarr"]);
        store.objects.delete_below(&Path::from("n/a")).await.expect("a deletion");
        assert_eq!(everything(store).await, ["m/6", "n/5", "n/ab/3", "n/b.zarr/4"]);
        let children = store.objects.list_children(&Path::from("n")).await.expect("a list");
        assert_eq!(children.into_iter().collect::<Vec<_>>(), ["ab", "b.zarr"]);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_no_error() {
    on_every_store(async |store| {
        let path = Path::from("a/b");
        assert_eq!(store.objects.get(&path).await.expect("a get"), None);
        assert!(!store.objects.exists(&path).await.expect("a look"));
        store.objects.delete(&path).await.expect("a deletion");
        assert!(store.objects.list(&path).await.expect("a list").is_empty());
        assert!(store.objects.list_children(&path).await.expect("a list").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_list_is_whole_however_long_it_is() {
    on_every_store(async |store| {
        // A server lists a thousand at a time.
        let names: Vec<String> = (0..2100).map(|idx| format!("n/{idx:04}/object")).collect();
        let puts = futures::stream::iter(&names)
            .map(|name| async move { store.objects.put(&Path::from(name.as_str()), bytes("x")).await });
        puts.buffer_unordered(16).try_collect::<()>().await.expect("puts");
        assert_eq!(everything(store).await, names);
        let children = store.objects.list_children(&Path::from("n")).await.expect("a list");
        assert_eq!(children.len(), 2100);
        store.objects.delete_below(&Path::from("n")).await.expect("a deletion");
        assert!(everything(store).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_object_is_replaced_whole_by_a_shorter_one_and_a_longer_one() {
    on_every_store(async |store| {
        let path = Path::from("a/b");
        // The longest goes in parts.
        for n_bytes in [1_000_000, 10, 0, 20 << 20, 5] {
            store.objects.put(&path, vec![7; n_bytes].into()).await.expect("a put");
            let there = store.objects.get(&path).await.expect("a get").expect("an object");
            assert!(there.len() == n_bytes && there.iter().all(|byte| *byte == 7));
        }
    })
    .await;
}

#[tokio::test]
async fn a_large_object_comes_back_whole() {
    on_every_store(async |store| {
        let large: Bytes = (0..32_u32 << 20).map(|idx| (idx.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let path = Path::from("a/large");
        store.objects.put(&path, large.clone()).await.expect("a put");
        let read = store.objects.get_verified(&path, Digest::of(&large)).await.expect("a get");
        assert!(read == large);
        let error = store.objects.get_verified(&path, Digest::of(b"else")).await.expect_err("another digest");
        assert_eq!(error.kind(), crate::StoreErrorKind::Corrupt);
    })
    .await;
}

#[tokio::test]
async fn a_failing_backend_is_unavailable_and_says_why() {
    let store = faulty(&Arc::new(InMemory::new()), "c");
    let error = store.objects.put(&Path::from("a/c"), bytes("x")).await.expect_err("a fault");
    assert_eq!(error.kind(), crate::StoreErrorKind::Unavailable);
    assert!(crate::error::chain(&error).contains("no space left"));
}

#[test]
fn every_operation_may_move_between_threads() {
    fn moves<T: Send>(_: impl FnOnce() -> T) {}
    let store = Store::open("memory://").expect("a store");
    let (run, surface) = ("r".parse().expect("an id"), "s".parse().expect("an id"));
    let (dataset, network) = ("d".parse().expect("an id"), "n".parse().expect("an id"));
    let (checkpoint, page) = ("c".parse().expect("an id"), Page::default());
    moves(|| store.list_networks(&page));
    moves(|| store.list_checkpoints(&page));
    moves(|| store.list_datasets(&page));
    moves(|| store.list_runs::<String>(&page));
    moves(|| store.list_surfaces(&page));
    moves(|| store.list_snapshots(&run));
    moves(|| store.get_run_metrics(&run));
    moves(|| store.create_run(&run, &"request"));
    moves(|| store.put_snapshot(&run, 0, &network, TensorMap::new(), SnapshotMetrics::default()));
    moves(|| store.import_dataset(&dataset, DatasetImport::default()));
    moves(|| store.import_checkpoint(&checkpoint, &network, TensorMap::new()));
    moves(|| store.delete_network(&network));
    moves(|| store.read_surface(&surface));
    let grid = Grid { x: "0:1:4".parse().expect("an axis"), y: None };
    let record = new_surface(surface, &specification(grid, "1x2"));
    let tile = record.plan().tile(0).expect("a tile");
    moves(|| store.create_surface(&record));
    moves(|| store.begin_surface(&record, 1, "a", Reuse::default()));
    moves(|| store.take_up_surface(&record, 1));
    moves(|| store.delete_surface(&record, 1));
    moves(|| store.delete_damaged_surface(&record.id));
    moves(|| store.complete_deletions());
    moves(|| store.collect_orphans(Duration::ZERO));
    moves(|| store.read_lease());
    moves(|| store.find_points(&record, "a"));
    moves(|| store.write_tile(&record, &tile, &[]));
    moves(|| store.committed_tiles(&record));
    let record = crate::trajectory::tests::new_trajectory("t");
    let (id, axes) = (&record.id, crate::trajectory::tests::axes());
    moves(|| store.create_trajectory(&record));
    moves(|| store.get_trajectory(id));
    moves(|| store.list_trajectories(&page));
    moves(|| store.trajectory_ids());
    moves(|| store.delete_trajectory(&record));
    moves(|| store.delete_damaged_trajectory(id));
    moves(|| store.put_gram_tile(&record, 0, &[]));
    moves(|| store.load_gram(&record));
    moves(|| store.put_trajectory_axes(&record, &axes));
    moves(|| store.find_trajectory_axes(&record));
    moves(|| store.stop_values(&record));
    moves(|| store.put_trajectory_result(&record, &axes, &[]));
}
