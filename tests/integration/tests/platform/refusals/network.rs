//! Networks.

use relief_api::catalog::v1::{DeleteNetworkRequest, GetNetworkRequest};
use relief_core::Digest;
use relief_test_support::{Client, Program, Sandbox, network_id};

use super::file::{self, PNG, TEXT, onnx};
use super::guard::{Guarded, Wrong};
use super::upload::{FileCase, FileUpload, Kind};

const OUTSIDE: &str = "../../etc";

#[tokio::test]
async fn networks_that_are_none_are_refused() -> anyhow::Result<()> {
    let [float, int] = [onnx::input(onnx::FLOAT), onnx::input(onnx::INT64)];
    let layer = |output| onnx::node("MatMul", &["x", "w"], output);
    let weight = |data_type| onnx::weight("w", data_type);
    let good = onnx::model(&[float.clone(), weight(onnx::FLOAT), layer("y")]);
    let sandbox = Sandbox::new()?;
    let launch = sandbox.launch(Program::Relief);
    let furnish = async |client: &Client| {
        Ok(FileUpload { name: "taken", ..FileUpload::of(Kind::Network, &good) }.send(client).await?)
    };
    let guarded = Guarded::start(sandbox, launch, furnish).await?;

    let cases: Vec<FileCase<'_>> = vec![
        ("photo.onnx", PNG.to_vec(), &["ONNX", "start with [89, 50, 4e, 47]"]),
        ("notes.onnx", TEXT.to_vec(), &["ONNX", "start with [23, 20, 53, 68]"]),
        ("empty.onnx", Vec::new(), &["ONNX", "empty"]),
        ("packed.onnx", file::gzip(TEXT)?, &["ONNX", "start with [1f, 8b"]),
        ("archive.onnx", file::zip(&[("a", b"b")]), &["ONNX", "start with [50, 4b, 03, 04]"]),
        ("weights.onnx", file::values([1, 1, 2, 2]), &["ONNX", "start with"]),
        ("truncated.onnx", good[..good.len() - 1].to_vec(), &["ONNX", "truncated"]),
        (
            "int_input.onnx",
            onnx::model(&[int.clone(), weight(onnx::FLOAT), layer("y")]),
            &["input `x`", "INT64", "float tensor"],
        ),
        (
            "double_weight.onnx",
            onnx::model(&[float.clone(), weight(onnx::DOUBLE), layer("y")]),
            &["`w`", "DOUBLE", "must be FLOAT"],
        ),
        (
            "int_weight.onnx",
            onnx::model(&[float.clone(), weight(onnx::INT64), layer("y")]),
            &["`y` (MatMul", "integers"],
        ),
        (
            "two_inputs.onnx",
            onnx::model(&[float.clone(), float.clone(), weight(onnx::FLOAT), layer("y")]),
            &["[x, x]", "exactly one"],
        ),
        (
            "two_weights.onnx",
            onnx::model(&[float.clone(), weight(onnx::FLOAT), weight(onnx::FLOAT), layer("y")]),
            &["`w`", "twice"],
        ),
        (
            "two_nodes.onnx",
            onnx::model(&[float.clone(), weight(onnx::FLOAT), layer("y"), layer("y")]),
            &["`y`", "twice"],
        ),
        (
            "strange.onnx",
            onnx::model(&[float.clone(), onnx::node("Einsum", &["x"], "h"), onnx::node("Det", &["h"], "y")]),
            &["`h` (Einsum)", "`y` (Det)", "supported are", "Conv"],
        ),
        ("loop.onnx", onnx::model(&[float, onnx::node("Relu", &["y"], "y")]), &["`y`"]),
    ];
    for (name, content, words) in &cases {
        let upload = FileUpload::of(Kind::Network, content);
        let wrong = Wrong::content("network", words);
        guarded.call(name, upload.send(&guarded.client), &wrong).await;
        let path = guarded.file(name, content)?;
        guarded.command_of_file(&upload.arguments(&path), &path, &wrong).await;
    }

    let upload = FileUpload::of(Kind::Network, &good);
    let (path, absent) = (guarded.file("good.onnx", &good)?, "/absent/net.onnx");
    for (name, wrong) in [
        ("taken", Wrong::taken("header.name", &["networks/taken already exists", "another name"])),
        // Its weights would be a checkpoint of that name, which is taken.
        ("initial", Wrong::taken("header.name", &["checkpoints/initial already exists", "another name"])),
        (OUTSIDE, Wrong::field("header.name", &[OUTSIDE, "networks/ID"])),
    ] {
        let upload = FileUpload { name, ..upload.clone() };
        guarded.call(name, upload.send(&guarded.client), &wrong).await;
        guarded.command(&upload.arguments(&path), &wrong).await;
    }
    let other = Digest::of(b"other").to_string();
    let wrong = Wrong::field("header.digest", &[&other, "send the file again"]);
    guarded
        .call("another digest", FileUpload { digest: other.clone(), ..upload.clone() }.send(&guarded.client), &wrong)
        .await;
    let wrong = Wrong::field("header.digest", &["`sha`", "64"]);
    guarded
        .call("no digest", FileUpload { digest: "sha".into(), ..upload.clone() }.send(&guarded.client), &wrong)
        .await;
    guarded.command_of_file(&upload.arguments(absent), absent, &Wrong::content("", &["cannot read"])).await;

    let get = |name: &str| GetNetworkRequest { name: name.to_owned() };
    let delete = |name: &str| DeleteNetworkRequest { name: name.to_owned() };
    let catalog = || guarded.client.catalog();
    let absent = Wrong::absent("", &["there is no networks/absent"]);
    guarded.call("get", catalog().get_network(get("absent")), &absent).await;
    guarded.call("delete", catalog().delete_network(delete("absent")), &absent).await;
    guarded.command(&["network", "show", "absent"], &absent).await;
    let outside = Wrong::field("name", &[OUTSIDE, "networks/ID"]);
    guarded.call("get", catalog().get_network(get(OUTSIDE)), &outside).await;
    guarded.call("delete", catalog().delete_network(delete(OUTSIDE)), &outside).await;
    guarded.command(&["network", "show", OUTSIDE], &Wrong::field("", &[OUTSIDE, "networks/ID"])).await;
    let owned = Wrong::state(&["checkpoints/initial belongs to", network_id(), "delete it first"]);
    guarded.call("delete", catalog().delete_network(delete(network_id())), &owned).await;
    guarded.end().await.map(drop)
}
