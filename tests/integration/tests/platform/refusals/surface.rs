//! Surfaces, curves and their pictures.

use relief_api::catalog::v1::{DatasetFormat, Split};
use relief_api::plot::v1::RenderSurfaceRequest;
use relief_api::surface::v1::direction::Source;
use relief_api::surface::v1::{
    Axis, CancelSurfaceRequest, CreateSurfaceRequest, DatasetSlice, DeleteSurfaceRequest, Direction, GetSurfaceRequest,
    NumericRequest, Plane, RandomDirection, ReadDirectionsRequest, ReadSurfaceRequest, StoredDirection, SurfaceSpec,
    TileShape, WatchSurfaceRequest,
};
use relief_core::{Digest, Tensor, TensorMap};
use relief_store::encode_checkpoint;
use relief_test_support::{CHECKPOINT, Client, DATASET, Program, Sandbox, axis, surface_spec};

use super::file::values;
use super::guard::{Guarded, Wrong};
use super::upload::{DatasetUpload, FileUpload, Kind};

const OUTSIDE: &str = "../../etc";

fn good() -> SurfaceSpec {
    surface_spec(CHECKPOINT, DATASET, (axis(-1.0, 1.0, 3), axis(-1.0, 1.0, 3)), Some(10), (2, 2))
}

/// The same on the command line.
const GOOD: [&str; 7] = [
    "--network=lenet5",
    "--checkpoint=initial",
    "--dataset=fashion",
    "--x=-1:1:3",
    "--y=-1:1:3",
    "--limit=10",
    "--tile=2x2",
];

fn changed(change: impl FnOnce(&mut SurfaceSpec)) -> SurfaceSpec {
    let mut spec = good();
    change(&mut spec);
    spec
}

fn with_x(x: Axis) -> SurfaceSpec {
    changed(|spec| spec.x = Some(x))
}

fn with_y(y: Axis) -> SurfaceSpec {
    changed(|spec| spec.y = Some(y))
}

fn with_grid(n_columns: u32, n_rows: u32) -> SurfaceSpec {
    changed(|spec| (spec.x, spec.y) = (Some(axis(-1.0, 1.0, n_columns)), Some(axis(-1.0, 1.0, n_rows))))
}

fn with_data(change: impl FnOnce(&mut DatasetSlice)) -> SurfaceSpec {
    changed(|spec| change(spec.data.get_or_insert_default()))
}

fn with_plane(change: impl FnOnce(&mut Plane)) -> SurfaceSpec {
    changed(|spec| change(spec.plane.get_or_insert_default()))
}

fn with_origin(origin: &str) -> SurfaceSpec {
    with_plane(|plane| plane.origin = origin.to_owned())
}

fn with_source(source: Option<Source>) -> SurfaceSpec {
    with_plane(|plane| plane.x = Some(Direction { source }))
}

fn towards(checkpoint: &str) -> Direction {
    Direction { source: Some(Source::Towards(checkpoint.to_owned())) }
}

fn with_towards(checkpoint: &str) -> SurfaceSpec {
    with_plane(|plane| plane.x = Some(towards(checkpoint)))
}

fn with_random(random: RandomDirection) -> SurfaceSpec {
    with_source(Some(Source::Random(random)))
}

fn with_stored(name: &str) -> SurfaceSpec {
    with_source(Some(Source::Stored(StoredDirection { name: name.to_owned() })))
}

fn with_network(network: &str) -> SurfaceSpec {
    changed(|spec| spec.network = network.to_owned())
}

impl Guarded {
    /// Has a surface refused over gRPC, and, where flags can say the same, on the command line.
    async fn refuse_surface(&self, wrong: &Wrong<'_>, spec: SurfaceSpec, flags: &[&str]) {
        let request = CreateSurfaceRequest {
            spec: Some(spec),
            surface_id: "refused".to_owned(),
            ..CreateSurfaceRequest::default()
        };
        self.call(&format!("a surface ({wrong:?})"), self.client.surfaces().create_surface(request), wrong).await;
        if !flags.is_empty() {
            self.command(&arguments(flags), wrong).await;
        }
    }
}

/// The command that creates [`good`], but for `flags`.
fn arguments<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    let name = |flag: &str| flag.split('=').next().map(str::to_owned);
    let is_kept = |good: &&&str| flags.iter().all(|flag| name(flag) != name(good));
    let kept = GOOD.iter().filter(is_kept).copied();
    ["surface", "create"].into_iter().chain(kept).chain(flags.iter().copied()).collect()
}

/// A dataset of values that is smaller than any network here, without a test split.
async fn furnish(client: &Client) -> anyhow::Result<()> {
    let upload =
        DatasetUpload { n_classes: 10, ..DatasetUpload::of(DatasetFormat::Safetensors, values([4, 1, 12, 12])) };
    upload.send(client, "values").await?;
    Ok(())
}

async fn guarded() -> anyhow::Result<Guarded> {
    let sandbox = Sandbox::new()?;
    let launch = sandbox.launch(Program::Relief);
    Guarded::start(sandbox, launch, furnish).await
}

#[tokio::test]
async fn surfaces_that_cannot_be_computed_are_refused() -> anyhow::Result<()> {
    let guarded = guarded().await?;
    let (field, absent) = (Wrong::field, Wrong::absent);
    let data = |change: fn(&mut DatasetSlice)| with_data(change);
    let random = RandomDirection::default;
    let unknown = format!("directions/{}", Digest::of(b"unknown"));

    #[rustfmt::skip]
    let cases: &[(Wrong<'_>, SurfaceSpec, &[&str])] = &[
        // What is not there.
        (absent("spec.network", &["networks/vgg99", "lenet5"]), with_network("vgg99"), &["--network=vgg99"]),
        (absent("spec.plane.origin", &["checkpoints/absent"]), with_origin("absent"), &["--checkpoint=absent"]),
        (absent("spec.plane.origin", &["runs/absent"]), with_origin("runs/absent/snapshots/0"), &["--checkpoint=runs/absent/snapshots/0"]),
        (absent("spec.data.dataset", &["datasets/absent"]), data(|data| data.dataset = "absent".into()), &["--dataset=absent"]),
        (absent("spec.data.dataset", &["datasets/absent", "networks/vgg99"]), changed(|spec| {
            spec.network = "vgg99".into();
            spec.data.get_or_insert_default().dataset = "absent".into();
        }), &["--dataset=absent", "--network=vgg99"]),
        (field("spec.data.split", &["datasets/values has no test split"]), data(|data| {
            data.dataset = "values".into();
            data.split = Split::Test.into();
        }), &["--dataset=values", "--split=test"]),
        (absent("spec.plane.x", &[&unknown, "import it first"]), with_stored(&unknown), &[]),

        (absent("spec.plane.x.towards", &["checkpoints/absent"]), with_towards("absent"), &["--to=absent"]),
        (absent("spec.plane.x.towards", &["runs/absent"]), with_towards("runs/absent/snapshots/1"), &["--to=runs/absent/snapshots/1"]),
        (absent("spec.plane.y.towards", &["checkpoints/absent"]), with_plane(|plane| plane.y = Some(towards("absent"))), &["--y-to=absent"]),

        // Grids, tiles and slices.
        (field("spec.x", &["NaN", "finite"]), with_x(axis(f64::NAN, 1.0, 3)), &["--x=NaN:1:3"]),
        (field("spec.x", &["inf", "finite"]), with_x(axis(-1.0, f64::INFINITY, 3)), &["--x=-1:inf:3"]),
        (field("spec.x", &["0", "at least 1 point"]), with_x(axis(1.0, -1.0, 0)), &["--x=1:-1:0"]),
        (field("spec.x", &["1", "-1", "smaller end first"]), with_x(axis(1.0, -1.0, 3)), &["--x=1:-1:3"]),
        (field("spec.x", &["min = max"]), with_x(axis(-1.0, 1.0, 1)), &["--x=-1:1:1"]),
        (field("spec.y", &["2", "1", "smaller end first"]), with_y(axis(2.0, 1.0, 3)), &["--y=2:1:3"]),
        (field("spec.x", &["missing"]), changed(|spec| spec.x = None), &[]),
        (field("spec.y", &["direction"]), changed(|spec| spec.y = None), &[]),
        (field("spec.y", &["513 x 512", "262656 points", "at most 262144"]), with_grid(512, 513), &["--x=-1:1:512", "--y=-1:1:513"]),
        (field("spec.y", &["1000000 points", "at most 262144"]), with_grid(1000, 1000), &["--x=-1:1:1000", "--y=-1:1:1000"]),
        (field("spec.y", &["18446744065119617025 points", "at most 262144"]), with_grid(u32::MAX, u32::MAX), &["--x=-1:1:4294967295", "--y=-1:1:4294967295"]),
        (field("spec.tile", &["0x1", "ROWSxCOLUMNS"]), changed(|spec| spec.tile = Some(TileShape { rows: 0, columns: 1 })), &["--tile=0x1"]),
        (field("spec.data.limit", &["0"]), data(|data| data.limit = Some(0)), &["--limit=0"]),

        // Numbers and words that stand for nothing.
        (field("spec.data.split", &["9 is not", "train", "test"]), data(|data| data.split = 9), &[]),
        (field("spec.data.split", &["-1 is not", "train", "test"]), data(|data| data.split = -1), &[]),
        (field("spec.plane.x.random.normalization", &["7 is not", "filter", "layer", "weight", "none"]), with_random(RandomDirection { normalization: 7, ..random() }), &[]),
        (field("spec.plane.x.random.ignore", &["3 is not", "bias_bn", "none"]), with_random(RandomDirection { ignore: 3, ..random() }), &[]),
        (field("spec.plane.x.source", &["missing", "random", "stored", "towards"]), with_source(None), &[]),
        (field("spec.plane.batch_norm", &["9 is not", "frozen", "interpolated", "recomputed"]), with_plane(|plane| plane.batch_norm = 9), &[]),
        (field("spec.also_split", &["9 is not", "train", "test"]), changed(|spec| spec.also_split = 9), &[]),
        (field("spec.also_split", &["train split", "already"]), changed(|spec| spec.also_split = Split::Train.into()), &[]),
        (field("spec.numerics.engine", &["9 is not", "cpu", "burn"]), changed(|spec| spec.numerics = Some(NumericRequest { engine: 9, precision: 0 })), &[]),
        (field("spec.numerics.precision", &["-1 is not", "f32", "split-bf16", "bf16"]), changed(|spec| spec.numerics = Some(NumericRequest { engine: 0, precision: -1 })), &[]),
        (field("spec.plane.x.stored.name", &["directions/x", "SHA-256"]), with_stored("directions/x"), &[]),

        // Names that leave the store.
        (field("spec.network", &[OUTSIDE, "networks/ID"]), with_network(OUTSIDE), &["--network=../../etc"]),
        (field("spec.plane.origin", &[OUTSIDE, "checkpoints/ID"]), with_origin(OUTSIDE), &["--checkpoint=../../etc"]),
        (field("spec.plane.origin", &[OUTSIDE, "checkpoints/ID"]), with_origin("runs/../../etc/snapshots/1"), &["--checkpoint=runs/../../etc/snapshots/1"]),
        (field("spec.plane.x.towards", &[OUTSIDE, "checkpoints/ID"]), with_towards(OUTSIDE), &["--to=../../etc"]),
        (field("spec.data.dataset", &[OUTSIDE, "datasets/ID"]), data(|data| data.dataset = OUTSIDE.into()), &["--dataset=../../etc"]),

        // What does not go together. Networks that can be generated, but were not yet, are not left behind.
        (field("spec.plane.origin", &["not to networks/resnet20", "conv1.weight"]), with_network("resnet20"), &["--network=resnet20"]),
        (field("spec.network", &["networks/lenet5-1x2x2-10", "12 x 12"]), with_network("lenet5-1x2x2-10"), &["--network=lenet5-1x2x2-10"]),
        (field("spec.data.dataset", &["[1, 28, 28]", "[3, 32, 32]"]), with_network("lenet5-3x32x32-10"), &["--network=lenet5-3x32x32-10"]),
        (field("spec.data.dataset", &["10 classes", "only 7"]), with_network("lenet5-1x28x28-7"), &["--network=lenet5-1x28x28-7"]),
        (field("spec.data.dataset", &["[1, 12, 12]", "[1, 28, 28]", "not padded"]), data(|data| data.dataset = "values".into()), &["--dataset=values"]),
    ];
    for (wrong, spec, flags) in cases {
        guarded.refuse_surface(wrong, spec.clone(), flags).await;
    }
    // What only a command line can say.
    for (wrong, flags) in [
        (field("spec.data.split", &["val", "train, test, both"]), "--split=val"),
        (
            field("spec.plane.x.random.normalization", &["sum", "filter, layer, weight, dfilter, dlayer, none"]),
            "--normalization=sum",
        ),
        (field("spec.plane.batch_norm", &["train", "frozen, interpolated, recomputed"]), "--batch-norm=train"),
        (field("spec.plane.x.random.ignore", &["all", "bias_bn, none"]), "--ignore=all"),
        (field("spec.numerics.engine", &["gpu", "auto, cpu, burn"]), "--engine=gpu"),
        (field("spec.numerics.precision", &["f64", "auto, f32, split-bf16, bf16"]), "--precision=f64"),
        (field("spec.x", &["0:1", "min:max:count"]), "--x=0:1"),
        (field("spec.tile", &["3", "ROWSxCOLUMNS"]), "--tile=3"),
    ] {
        guarded.command(&arguments(&[flags]), &wrong).await;
    }

    let create = |id: &str| {
        let request =
            CreateSurfaceRequest { spec: Some(good()), surface_id: id.to_owned(), ..CreateSurfaceRequest::default() };
        let mut surfaces = guarded.client.surfaces();
        async move { surfaces.create_surface(request).await }
    };
    guarded.call("a name outside", create(OUTSIDE), &field("surface_id", &[OUTSIDE, "surfaces/ID"])).await;
    let nothing = CreateSurfaceRequest::default();
    let call = guarded.client.surfaces().create_surface(nothing).await;
    guarded.call("nothing", async { call }, &field("spec", &["missing"])).await;
    guarded.end().await.map(drop)
}

#[tokio::test]
async fn directions_that_do_not_fit_are_refused() -> anyhow::Result<()> {
    let file = |tensors: TensorMap| encode_checkpoint(&tensors);
    let stranger = file(TensorMap::from([("stranger".to_owned(), Tensor::filled([3], 0.5))]))?;
    let misshapen = file(TensorMap::from([("conv1.weight".to_owned(), Tensor::filled([3], 0.5))]))?;
    let sandbox = Sandbox::new()?;
    let launch = sandbox.launch(Program::Relief);
    // They are directions, and are kept; only this network has no use for them.
    let furnish = async |client: &Client| {
        for file in [&stranger, &misshapen] {
            FileUpload::of(Kind::Direction, file).send(client).await?;
        }
        Ok(())
    };
    let guarded = Guarded::start(sandbox, launch, furnish).await?;
    for (name, file, words) in [
        ("stranger.safetensors", &stranger, &["`stranger`", "does not have"][..]),
        ("misshapen.safetensors", &misshapen, &["`conv1.weight`", "[3]", "expected [6, 1, 5, 5]"]),
    ] {
        let path = format!("--x-direction={}", guarded.file(name, file)?);
        guarded
            .refuse_surface(&Wrong::field("spec.plane.x", words), with_stored(&Digest::of(file).to_string()), &[&path])
            .await;
    }
    let path = format!("--y-direction={}", guarded.file("y.safetensors", &stranger)?);
    let without_y: Vec<&str> = arguments(&[&path]).into_iter().filter(|flag| !flag.starts_with("--y=")).collect();
    guarded.command(&without_y, &Wrong::field("--y <", &["required"])).await;
    guarded.end().await.map(drop)
}

#[tokio::test]
async fn surfaces_that_are_not_there_and_pictures_that_cannot_be_drawn_are_refused() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let launch = sandbox.launch(Program::Relief);
    let curve = changed(|spec| {
        (spec.y, spec.tile) = (None, None);
        spec.plane.get_or_insert_default().y = None;
    });
    let furnish = async |client: &Client| client.computed("curve", curve.clone()).await.map(drop);
    let guarded = Guarded::start(sandbox, launch, furnish).await?;
    let svg = guarded.file("out.svg", b"")?;

    let surfaces = || guarded.client.surfaces();
    for (name, wrong) in [
        ("absent", Wrong::absent("", &["there is no surfaces/absent"])),
        (OUTSIDE, Wrong::field("name", &[OUTSIDE, "surfaces/ID"])),
    ] {
        let what = |verb: &str| format!("{verb} {name}");
        let name = || name.to_owned();
        guarded.call(&what("get"), surfaces().get_surface(GetSurfaceRequest { name: name() }), &wrong).await;
        let request = WatchSurfaceRequest { name: name(), after_revision: 0 };
        guarded.call(&what("watch"), surfaces().watch_surface(request), &wrong).await;
        guarded.call(&what("read"), surfaces().read_surface(ReadSurfaceRequest { name: name() }), &wrong).await;
        let request = ReadDirectionsRequest { name: name() };
        guarded.call(&what("directions of"), surfaces().read_directions(request), &wrong).await;
        guarded.call(&what("cancel"), surfaces().cancel_surface(CancelSurfaceRequest { name: name() }), &wrong).await;
        guarded.call(&what("delete"), surfaces().delete_surface(DeleteSurfaceRequest { name: name() }), &wrong).await;
        let name = name();
        let out = ["--out", &svg];
        for verb in [&["get"][..], &["watch"], &["cancel"], &["delete"], &["export", "--format=csv"], &["directions"]] {
            let out = if matches!(verb[0], "export" | "directions") { &out[..] } else { &[] };
            guarded.command(&[&["surface"], verb, &[name.as_str()], out].concat(), &wrong.anywhere()).await;
        }
    }
    let taken =
        CreateSurfaceRequest { spec: Some(good()), surface_id: "curve".to_owned(), ..CreateSurfaceRequest::default() };
    let wrong = Wrong::taken("surface_id", &["surfaces/curve already exists", "another name"]);
    guarded.call("a taken name", surfaces().create_surface(taken), &wrong).await;

    let curve = || RenderSurfaceRequest { surface: "curve".to_owned(), ..RenderSurfaceRequest::default() };
    let plot = ["plot", "surface", "curve", "--out"];
    let cases: [(Wrong<'_>, RenderSurfaceRequest, &[&str]); 6] = [
        (
            Wrong::absent("", &["there is no surfaces/absent"]),
            RenderSurfaceRequest { surface: "absent".to_owned(), ..curve() },
            &["plot", "surface", "absent", "--out", &svg],
        ),
        (
            Wrong::field("surface", &[OUTSIDE]),
            RenderSurfaceRequest { surface: OUTSIDE.to_owned(), ..curve() },
            &["plot", "surface", OUTSIDE, "--out", &svg],
        ),
        (
            Wrong::field("kind", &["9 is not", "curve", "contour", "heatmap"]),
            RenderSurfaceRequest { kind: 9, ..curve() },
            &[],
        ),
        (Wrong::field("scale", &["9 is not", "linear", "log"]), RenderSurfaceRequest { scale: 9, ..curve() }, &[]),
        (Wrong::field("format", &["9 is not", "SVG", "PNG"]), RenderSurfaceRequest { format: 9, ..curve() }, &[]),
        (
            Wrong::field("kind", &["heatmap"]),
            RenderSurfaceRequest { kind: 3, ..curve() },
            &[&plot[..], &[&svg, "--kind=heatmap"]].concat(),
        ),
    ];
    for (wrong, request, arguments) in cases {
        guarded.call(&format!("{request:?}"), guarded.client.plots().render_surface(request), &wrong).await;
        if !arguments.is_empty() {
            guarded.command(arguments, &wrong).await;
        }
    }
    guarded.command(&[&plot[..], &[&svg, "--kind=pie"]].concat(), &Wrong::field("kind", &["pie", "heatmap"])).await;
    guarded.command(&[&plot[..], &["out.bmp"]].concat(), &Wrong::field("format", &["out.bmp", ".svg", ".stl"])).await;
    guarded.end().await.map(drop)
}
