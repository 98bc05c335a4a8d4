//! Checkpoints, and directions, which are read alike.

use relief_api::catalog::v1::{DeleteCheckpointRequest, GetCheckpointRequest};
use relief_core::{Digest, Tensor, TensorMap};
use relief_store::encode_checkpoint;
use relief_test_support::{CHECKPOINT, Program, Sandbox, initial_tensors};

use super::file::{self, Entry, PNG, TEXT};
use super::guard::{Guarded, Wrong};
use super::upload::{FileCase, FileUpload, Kind};

const OUTSIDE: &str = "../../etc";

/// The name of a file, its content, and what must be said of it.
type Case = (&'static str, Vec<u8>, &'static [&'static str]);

/// Files that hold no tensors by name.
fn strangers() -> anyhow::Result<Vec<Case>> {
    Ok(vec![
        ("photo.pth", PNG.to_vec(), &["safetensors", "[89, 50, 4e, 47]"]),
        ("notes.safetensors", TEXT.to_vec(), &["safetensors", "[23, 20, 53, 68]"]),
        ("empty.pth", Vec::new(), &["safetensors", "0 bytes"]),
        ("packed.pth", file::gzip(PNG)?, &["safetensors", "[1f, 8b"]),
        ("archive.pth", file::zip(&[("notes.txt", TEXT)]), &["PyTorch", "data.pkl"]),
        ("arrays.pth", file::zip(&[("x.npy", &file::npy("<f4", "(1,)", &[0; 4]))]), &["PyTorch", "data.pkl"]),
        ("broken.pth", b"PK\x03\x04".to_vec(), &["PyTorch", "truncated"]),
        ("pickle.pth", b"\x80\x04\x95\0\0\0\0\0\0\0\0K\x01.".to_vec(), &["pickle", "torch.save"]),
        ("weights.pth", b"\x89HDF\r\n\x1a\n".to_vec(), &["HDF5", "safetensors"]),
        ("twice.pth", file::pytorch(&["conv1.weight", "conv1.weight"]), &["`conv1.weight`", "twice"]),
    ])
}

fn tensor<'a>(name: &'a str, dtype: &'a str, n_bytes: usize) -> Entry<'a> {
    Entry { name, dtype, shape: &[1], data: vec![0; n_bytes] }
}

#[tokio::test]
async fn checkpoints_that_do_not_fit_are_refused() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let launch = sandbox.launch(Program::Relief);
    let guarded = Guarded::start(sandbox, launch, async |_| Ok(())).await?;
    let whole = initial_tensors()?;
    let changed = |change: &dyn Fn(&mut TensorMap)| {
        let mut tensors = whole.clone();
        change(&mut tensors);
        Ok::<_, anyhow::Error>(encode_checkpoint(&tensors)?.to_vec())
    };
    let good = changed(&|_| {})?;
    let huge = Entry { data: 1e300_f64.to_le_bytes().to_vec(), ..tensor("conv1.weight", "F64", 0) };

    let mut cases = strangers()?;
    cases.extend([
        (
            "missing.safetensors",
            changed(&|tensors| tensors.retain(|name, _| !["conv1.weight", "fc2.bias"].contains(&name.as_str())))?,
            &["missing", "conv1.weight", "fc2.bias"][..],
        ),
        (
            "misshapen.safetensors",
            changed(&|tensors| {
                tensors.insert("conv1.weight".to_owned(), Tensor::filled([5, 4], 0.5));
            })?,
            &["conv1.weight", "[5, 4]", "expected [6, 1, 5, 5]"],
        ),
        ("truncated.safetensors", good[..good.len() - 1].to_vec(), &["safetensors"]),
        (
            "integers.safetensors",
            file::safetensors(&[tensor("conv1.weight", "I64", 8)]),
            &["conv1.weight", "I64", "missing"],
        ),
        ("huge.safetensors", file::safetensors(&[huge]), &["`conv1.weight`", "float32"]),
        (
            "twice.safetensors",
            file::safetensors(&[tensor("fc2.bias", "F32", 4), tensor("fc2.bias", "F32", 4)]),
            &["fc2.bias", "twice"],
        ),
        ("other.pth", file::pytorch(&["weight"]), &["missing", "conv1.weight", "`weight`"]),
    ]);
    for (name, content, words) in &cases {
        let upload = FileUpload::of(Kind::Checkpoint, content);
        let wrong = Wrong::content("checkpoint", words);
        guarded.call(name, upload.send(&guarded.client), &wrong).await;
        let path = guarded.file(name, content)?;
        guarded.command_of_file(&upload.arguments(&path), &path, &wrong).await;
    }

    let upload = FileUpload::of(Kind::Checkpoint, &good);
    let (path, absent) = (guarded.file("good.safetensors", &good)?, "/absent/weights.pth");
    for (name, network, wrong) in [
        (
            CHECKPOINT,
            upload.network,
            Wrong::taken("header.name", &["checkpoints/initial already exists", "another name"]),
        ),
        (OUTSIDE, upload.network, Wrong::field("header.name", &[OUTSIDE, "checkpoints/ID"])),
        ("refused", OUTSIDE, Wrong::field("header.network", &[OUTSIDE, "networks/ID"])),
        ("refused", "vgg99", Wrong::absent("header.network", &["networks/vgg99", "lenet5"])),
        ("refused", "lenet5-1x2x2-10", Wrong::field("header.network", &["networks/lenet5-1x2x2-10", "12 x 12"])),
    ] {
        let upload = FileUpload { name, network, ..upload.clone() };
        guarded.call(&format!("{name} of {network}"), upload.send(&guarded.client), &wrong).await;
        guarded.command(&upload.arguments(&path), &wrong).await;
    }
    // It can be generated, but was not yet.
    let other_network = FileUpload { network: "lenet5-1x28x28-7", ..upload.clone() };
    let wrong = Wrong::content("checkpoint", &["[10", "expected [7"]);
    guarded.call("another network", other_network.send(&guarded.client), &wrong).await;
    guarded.command_of_file(&other_network.arguments(&path), &path, &wrong).await;
    let other = Digest::of(b"other").to_string();
    let wrong = Wrong::field("header.digest", &[&other, "send the file again"]);
    guarded
        .call("another digest", FileUpload { digest: other.clone(), ..upload.clone() }.send(&guarded.client), &wrong)
        .await;
    guarded.command_of_file(&upload.arguments(absent), absent, &Wrong::content("", &["cannot read"])).await;

    let catalog = || guarded.client.catalog();
    for (name, wrong) in [
        ("absent", Wrong::absent("", &["there is no checkpoints/absent"])),
        (OUTSIDE, Wrong::field("name", &[OUTSIDE, "checkpoints/ID"])),
    ] {
        let get = GetCheckpointRequest { name: name.to_owned() };
        guarded.call("get", catalog().get_checkpoint(get), &wrong).await;
        let delete = DeleteCheckpointRequest { name: name.to_owned() };
        guarded.call("delete", catalog().delete_checkpoint(delete), &wrong).await;
    }
    guarded.end().await.map(drop)
}

#[tokio::test]
async fn files_that_hold_no_direction_are_refused() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let launch = sandbox.launch(Program::Relief);
    let guarded = Guarded::start(sandbox, launch, async |_| Ok(())).await?;
    let nan = Entry { data: f32::NAN.to_le_bytes().to_vec(), ..tensor("conv1.weight", "F32", 0) };
    let whole = file::safetensors(&[tensor("conv1.weight", "F32", 4)]);
    let cases: [FileCase<'_>; 9] = [
        ("photo.safetensors", PNG.to_vec(), &["safetensors"]),
        ("notes.safetensors", TEXT.to_vec(), &["safetensors"]),
        ("none.safetensors", Vec::new(), &["safetensors"]),
        ("weights.pth", file::pytorch(&["conv1.weight"]), &["safetensors"]),
        ("truncated.safetensors", whole[..whole.len() - 1].to_vec(), &["safetensors"]),
        ("empty.safetensors", file::safetensors(&[]), &["no tensors", "at least one"]),
        ("integers.safetensors", file::safetensors(&[tensor("conv1.weight", "I64", 8)]), &["`conv1.weight`", "I64"]),
        ("nan.safetensors", file::safetensors(&[nan]), &["`conv1.weight`", "NaN", "finite"]),
        ("twice.safetensors", file::safetensors(&[tensor("a", "F32", 4), tensor("a", "F32", 4)]), &["a", "twice"]),
    ];
    for (name, content, words) in &cases {
        let upload = FileUpload::of(Kind::Direction, content);
        let wrong = Wrong::content("direction", words);
        guarded.call(name, upload.send(&guarded.client), &wrong).await;
        let path = guarded.file(name, content)?;
        guarded.command_of_file(&upload.arguments(&path), &path, &wrong).await;
    }
    let other = Digest::of(b"other").to_string();
    let upload = FileUpload { digest: other.clone(), ..FileUpload::of(Kind::Direction, &whole) };
    let wrong = Wrong::field("header.digest", &[&other, "send the file again"]);
    guarded.call("another digest", upload.send(&guarded.client), &wrong).await;
    let absent = "/absent/x.safetensors";
    guarded.command_of_file(&upload.arguments(absent), absent, &Wrong::content("", &["cannot read"])).await;
    guarded.end().await.map(drop)
}
