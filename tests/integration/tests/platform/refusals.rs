//! Bad input: a clear refusal that names the field, and a store that is as it was.

use std::collections::BTreeMap;
use std::path::PathBuf;

use relief_api::ErrorReason;
use relief_api::catalog::v1::import_checkpoint_request::Part as CheckpointPart;
use relief_api::catalog::v1::import_dataset_request::Part as DatasetPart;
use relief_api::catalog::v1::{ImportCheckpointRequest, ImportDatasetRequest, Split};
use relief_api::surface::v1::{Axis, CreateSurfaceRequest, DatasetSlice, SurfaceSpec, TileShape};
use relief_core::{Tensor, TensorMap};
use relief_store::encode_checkpoint;
use relief_test_support::{
    CHECKPOINT, Client, DATASET, Process, Refusal, Sandbox, SplitImages, axis, checkpoint_messages, contents,
    dataset_messages, initial_tensors, network_id, surface_spec, within,
};
use tonic::Code;

const OUTSIDE: &str = "../../etc";

/// A coordinator of small surfaces with a store that is not to change.
struct Guarded {
    sandbox: Sandbox,
    client: Client,
    before: BTreeMap<PathBuf, Option<Vec<u8>>>,
    _coordinator: Process,
}

impl Guarded {
    async fn start() -> anyhow::Result<Self> {
        let sandbox = Sandbox::new()?;
        let coordinator = sandbox.launch_coordinator(&[]).arg("--max-points").arg("100").start().await?;
        let client = coordinator.client()?;
        Sandbox::furnish(&client).await?;
        let before = contents(&sandbox.store())?;
        Ok(Self { sandbox, client, before, _coordinator: coordinator })
    }

    /// Reads a refusal and holds it, and the store, against what is expected.
    fn check<T>(
        &self,
        what: &str,
        answer: Result<T, tonic::Status>,
        (code, field): (Code, &str),
        words: &[&str],
    ) -> anyhow::Result<()> {
        let refusal = Refusal::of(what, answer)?;
        assert_eq!(refusal.code, code, "{what}: {refusal:?}");
        assert!(refusal.names(field), "{what}: {field} is not named: {refusal:?}");
        for word in words {
            assert!(refusal.message.contains(word), "{what}: `{word}` is not said: {refusal:?}");
        }
        let after = contents(&self.sandbox.store())?;
        let names = |contents: &BTreeMap<PathBuf, _>| contents.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(&self.before), "{what}: something is left behind");
        assert!(after == self.before, "{what}: something was changed");
        Ok(())
    }

    async fn refuse_surface(
        &self,
        what: &str,
        spec: SurfaceSpec,
        expected: (Code, &str),
        words: &[&str],
    ) -> anyhow::Result<()> {
        let request = CreateSurfaceRequest { spec: Some(spec), surface_id: "refused".to_owned() };
        let answer = within(what, self.client.surfaces().create_surface(request)).await?;
        self.check(what, answer, expected, words)
    }

    async fn refuse_checkpoint(
        &self,
        what: &str,
        messages: Vec<ImportCheckpointRequest>,
        expected: (Code, &str),
        words: &[&str],
    ) -> anyhow::Result<()> {
        let answer = within(what, self.client.catalog().import_checkpoint(tokio_stream::iter(messages))).await?;
        self.check(what, answer, expected, words)
    }

    async fn refuse_dataset(
        &self,
        what: &str,
        messages: Vec<ImportDatasetRequest>,
        expected: (Code, &str),
        words: &[&str],
    ) -> anyhow::Result<()> {
        let answer = within(what, self.client.catalog().import_dataset(tokio_stream::iter(messages))).await?;
        self.check(what, answer, expected, words)
    }
}

fn good() -> SurfaceSpec {
    surface_spec(CHECKPOINT, DATASET, (axis(-1.0, 1.0, 3), axis(-1.0, 1.0, 3)), Some(10), (2, 2))
}

fn with_x(x: Axis) -> SurfaceSpec {
    SurfaceSpec { x: Some(x), ..good() }
}

fn with_data(change: impl FnOnce(&mut DatasetSlice)) -> SurfaceSpec {
    let mut spec = good();
    change(spec.data.get_or_insert_default());
    spec
}

fn with_origin(origin: &str) -> SurfaceSpec {
    let mut spec = good();
    spec.plane.get_or_insert_default().origin = origin.to_owned();
    spec
}

fn with_network(network: &str) -> SurfaceSpec {
    SurfaceSpec { network: network.to_owned(), ..good() }
}

#[tokio::test]
async fn surfaces_of_what_is_not_there_are_refused() -> anyhow::Result<()> {
    let guarded = Guarded::start().await?;
    let refuse = async |spec, field, words: &[&str]| {
        guarded.refuse_surface(words[0], spec, (Code::NotFound, field), words).await
    };
    refuse(with_network("vgg"), "spec.network", &["networks/vgg", "lenet5"]).await?;
    refuse(with_origin("checkpoints/absent"), "spec.plane.origin", &["checkpoints/absent"]).await?;
    refuse(with_origin("runs/absent/snapshots/0"), "spec.plane.origin", &["runs/absent"]).await?;
    refuse(with_data(|data| data.dataset = "absent".to_owned()), "spec.data.dataset", &["datasets/absent"]).await?;
    Ok(())
}

#[tokio::test]
async fn surfaces_with_a_bad_grid_or_slice_are_refused() -> anyhow::Result<()> {
    let guarded = Guarded::start().await?;
    let refuse = async |spec, field, words: &[&str]| {
        guarded.refuse_surface(field, spec, (Code::InvalidArgument, field), words).await
    };
    refuse(with_x(axis(f64::NAN, 1.0, 3)), "spec.x", &["NaN", "finite"]).await?;
    refuse(with_x(axis(-1.0, f64::INFINITY, 3)), "spec.x", &["inf", "finite"]).await?;
    refuse(with_x(axis(1.0, -1.0, 0)), "spec.x", &["count is 0"]).await?;
    refuse(with_x(axis(1.0, -1.0, 3)), "spec.x", &["1", "-1", "smaller end first"]).await?;
    refuse(with_x(axis(-1.0, 1.0, 1)), "spec.x", &["min = max"]).await?;
    refuse(SurfaceSpec { x: None, ..good() }, "spec.x", &["missing"]).await?;
    refuse(SurfaceSpec { y: None, ..good() }, "spec.y", &["direction"]).await?;
    refuse(SurfaceSpec { y: Some(axis(-1.0, 1.0, 34)), ..good() }, "spec.y", &["102", "at most 100"]).await?;
    refuse(SurfaceSpec { y: Some(axis(-1.0, 1.0, u32::MAX)), ..good() }, "spec.y", &["at most 100"]).await?;
    refuse(SurfaceSpec { tile: Some(TileShape { rows: 0, columns: 1 }), ..good() }, "spec.tile", &["0x1"]).await?;
    refuse(with_data(|data| data.limit = Some(0)), "spec.data.limit", &["0"]).await?;
    refuse(with_data(|data| data.split = 9), "spec.data.split", &["9"]).await?;
    Ok(())
}

#[tokio::test]
async fn names_that_leave_the_store_are_refused() -> anyhow::Result<()> {
    let guarded = Guarded::start().await?;
    let refuse =
        async |spec, field| guarded.refuse_surface(field, spec, (Code::InvalidArgument, field), &[OUTSIDE]).await;
    refuse(with_network(OUTSIDE), "spec.network").await?;
    refuse(with_origin(OUTSIDE), "spec.plane.origin").await?;
    refuse(with_origin(&format!("runs/{OUTSIDE}/snapshots/1")), "spec.plane.origin").await?;
    refuse(with_data(|data| data.dataset = OUTSIDE.to_owned()), "spec.data.dataset").await?;

    let request = CreateSurfaceRequest { spec: Some(good()), surface_id: OUTSIDE.to_owned() };
    let answer = within("a surface", guarded.client.surfaces().create_surface(request)).await?;
    guarded.check("a surface's name", answer, (Code::InvalidArgument, "surface_id"), &[OUTSIDE])?;

    let content = encode_checkpoint(&initial_tensors()?)?;
    let expected = (Code::InvalidArgument, "header.name");
    let messages = checkpoint_messages(OUTSIDE, network_id(), &content);
    guarded.refuse_checkpoint("a checkpoint's name", messages, expected, &[OUTSIDE]).await?;
    let messages = dataset_messages(OUTSIDE, &SplitImages::first(Split::Train, 10)?);
    guarded.refuse_dataset("a dataset's name", messages, expected, &[OUTSIDE]).await
}

#[tokio::test]
async fn a_surface_of_a_network_that_the_checkpoint_does_not_fit_is_refused() -> anyhow::Result<()> {
    let guarded = Guarded::start().await?;
    // Networks that can be generated, but were not yet.
    let expected = (Code::InvalidArgument, "spec.plane.origin");
    guarded
        .refuse_surface("resnet20", with_network("resnet20"), expected, &["not to networks/resnet20", "conv1.weight"])
        .await?;
    let expected = (Code::InvalidArgument, "spec.data.dataset");
    let words = ["[1, 28, 28]", "[3, 32, 32]"];
    guarded.refuse_surface("three channels", with_network("lenet5-3x32x32-10"), expected, &words).await?;
    let words = ["10 classes"];
    guarded.refuse_surface("fewer classes", with_network("lenet5-1x28x28-7"), expected, &words).await
}

#[tokio::test]
async fn checkpoints_that_are_not_whole_are_refused() -> anyhow::Result<()> {
    let guarded = Guarded::start().await?;
    let refuse = async |what: &str, network: &str, content: &[u8], words: &[&str]| {
        let messages = checkpoint_messages("refused", network, content);
        guarded.refuse_checkpoint(what, messages, (Code::InvalidArgument, "checkpoint"), words).await
    };
    let whole = initial_tensors()?;
    let changed = |change: &dyn Fn(&mut TensorMap)| {
        let mut tensors = whole.clone();
        change(&mut tensors);
        encode_checkpoint(&tensors)
    };
    let names: Vec<&str> = whole.keys().map(String::as_str).collect();
    let (first, last) = (names[0], names[names.len() - 1]);

    let missing = changed(&|tensors| tensors.retain(|name, _| name != first && name != last))?;
    refuse("missing tensors", network_id(), &missing, &["missing", first, last]).await?;
    let misshapen = changed(&|tensors| {
        tensors.insert(first.to_owned(), Tensor::filled([5, 4], 0.5));
    })?;
    refuse("a misshapen tensor", network_id(), &misshapen, &[first, "[5, 4]"]).await?;
    let whole = encode_checkpoint(&whole)?;
    refuse("a truncated file", network_id(), &whole[..whole.len() - 1], &["safetensors"]).await?;
    refuse("another format", network_id(), b"PK\x03\x04", &["safetensors"]).await?;
    refuse("a network of another shape, not generated yet", "lenet5-1x28x28-7", &whole, &["[7"]).await?;

    let messages = checkpoint_messages("refused", "vgg", &whole);
    guarded.refuse_checkpoint("unknown", messages, (Code::NotFound, "header.network"), &["networks/vgg"]).await?;
    let messages = checkpoint_messages(CHECKPOINT, network_id(), &whole);
    let refusal = Refusal::of(
        "a taken name",
        within("taken", guarded.client.catalog().import_checkpoint(tokio_stream::iter(messages))).await?,
    )?;
    assert_eq!(refusal.reason, ErrorReason::AlreadyExists);
    assert!(contents(&guarded.sandbox.store())? == guarded.before);

    let mut messages = checkpoint_messages("refused", network_id(), &whole);
    if let Some(CheckpointPart::Header(header)) = &mut messages[0].part {
        header.digest = "0".repeat(64);
    }
    let expected = (Code::InvalidArgument, "header.digest");
    guarded.refuse_checkpoint("another digest", messages, expected, &[&"0".repeat(64)]).await?;
    let messages = checkpoint_messages("refused", network_id(), &whole).split_off(1);
    guarded.refuse_checkpoint("no header", messages, (Code::InvalidArgument, "part"), &["header"]).await
}

#[tokio::test]
async fn datasets_that_are_not_whole_are_refused() -> anyhow::Result<()> {
    let guarded = Guarded::start().await?;
    let refuse = async |what: &str, images: &SplitImages, field: &str, words: &[&str]| {
        let messages = dataset_messages("refused", images);
        guarded.refuse_dataset(what, messages, (Code::InvalidArgument, field), words).await
    };
    let good = SplitImages::first(Split::Train, 10)?;
    let cut = |bytes: &[u8], n_missing: usize| bytes[..bytes.len() - n_missing].to_vec();

    let inputs = cut(&good.inputs, 100);
    let words = ["truncated", &good.inputs.len().to_string(), &inputs.len().to_string()];
    refuse("truncated images", &SplitImages { inputs, ..good.clone() }, "train inputs", &words).await?;
    let targets = cut(&good.targets, 1);
    let words = ["truncated", &good.targets.len().to_string(), &targets.len().to_string()];
    refuse("truncated labels", &SplitImages { targets, ..good.clone() }, "train targets", &words).await?;
    let targets = SplitImages::first(Split::Train, 9)?.targets;
    refuse("too few labels", &SplitImages { targets, ..good.clone() }, "train targets", &["9", "10"]).await?;
    let mut targets = good.targets.clone();
    targets[8 + 3] = 10;
    refuse("a class too many", &SplitImages { targets, ..good.clone() }, "train targets", &["target 10", "sample 3"])
        .await?;
    refuse("another format", &SplitImages { inputs: b"\x89PNG".to_vec(), ..good.clone() }, "train inputs", &[]).await?;

    let mut messages = dataset_messages("refused", &good);
    if let Some(DatasetPart::Header(header)) = &mut messages[0].part {
        header.targets_digest = "0".repeat(64);
    }
    let expected = (Code::InvalidArgument, "header.targets_digest");
    guarded.refuse_dataset("another digest", messages, expected, &[&"0".repeat(64)]).await?;

    let messages = dataset_messages(DATASET, &good);
    let answer = within("taken", guarded.client.catalog().import_dataset(tokio_stream::iter(messages))).await?;
    let refusal = Refusal::of("a split that is there", answer)?;
    assert_eq!(refusal.reason, ErrorReason::AlreadyExists);
    assert!(contents(&guarded.sandbox.store())? == guarded.before);
    Ok(())
}
