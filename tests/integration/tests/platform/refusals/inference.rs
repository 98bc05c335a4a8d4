//! The logits of a checkpoint.

use relief_api::catalog::v1::{DatasetFormat, Split};
use relief_api::inference::v1::ComputeLogitsRequest;
use relief_api::surface::v1::{DatasetSlice, NumericRequest};
use relief_test_support::{CHECKPOINT, Client, DATASET, Program, Sandbox};

use super::file::values;
use super::guard::{Guarded, Wrong};
use super::upload::DatasetUpload;

const OUTSIDE: &str = "../../etc";

fn of(checkpoint: &str, network: &str, dataset: &str) -> ComputeLogitsRequest {
    let data = DatasetSlice { dataset: dataset.to_owned(), limit: Some(10), ..DatasetSlice::default() };
    let (network, checkpoint) = (network.to_owned(), checkpoint.to_owned());
    ComputeLogitsRequest { network, checkpoint, data: Some(data), numerics: None }
}

fn with_data(change: impl FnOnce(&mut DatasetSlice)) -> ComputeLogitsRequest {
    let mut request = of(CHECKPOINT, "", DATASET);
    change(request.data.get_or_insert_default());
    request
}

/// A dataset of values that is smaller than the network, without a test split.
async fn furnish(client: &Client) -> anyhow::Result<()> {
    let small = DatasetUpload::of(DatasetFormat::Safetensors, values([4, 1, 12, 12]));
    Ok(DatasetUpload { n_classes: 10, ..small }.send(client, "values").await?)
}

#[tokio::test]
async fn logits_of_what_is_wrong_are_refused() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let launch = sandbox.launch(Program::Relief);
    let guarded = Guarded::start(sandbox, launch, furnish).await?;
    let (field, absent) = (Wrong::field, Wrong::absent);
    let data = |change: fn(&mut DatasetSlice)| with_data(change);

    #[rustfmt::skip]
    let cases: &[(Wrong<'_>, ComputeLogitsRequest, &[&str])] = &[
        (absent("checkpoint", &["checkpoints/absent"]), of("absent", "", DATASET), &["absent", "--dataset=fashion"]),
        (absent("network", &["networks/vgg99", "lenet5"]), of(CHECKPOINT, "vgg99", DATASET), &["initial", "--network=vgg99", "--dataset=fashion"]),
        (absent("data.dataset", &["datasets/absent"]), of(CHECKPOINT, "", "absent"), &["initial", "--dataset=absent"]),
        (field("checkpoint", &[OUTSIDE, "checkpoints/ID"]), of(OUTSIDE, "", DATASET), &[OUTSIDE, "--dataset=fashion"]),
        (field("network", &[OUTSIDE, "networks/ID"]), of(CHECKPOINT, OUTSIDE, DATASET), &["initial", "--network=../../etc", "--dataset=fashion"]),
        (field("data.dataset", &[OUTSIDE, "datasets/ID"]), of(CHECKPOINT, "", OUTSIDE), &["initial", "--dataset=../../etc"]),
        (field("checkpoint", &["not to networks/resnet20", "conv1.weight"]), of(CHECKPOINT, "resnet20", DATASET), &["initial", "--network=resnet20", "--dataset=fashion"]),
        (field("data.dataset", &["[1, 12, 12]", "[1, 28, 28]", "not padded"]), of(CHECKPOINT, "", "values"), &["initial", "--dataset=values"]),
        (field("data.limit", &["0"]), data(|data| data.limit = Some(0)), &["initial", "--dataset=fashion", "--limit=0"]),
        (field("data.split", &["values has no test split"]), data(|data| (data.dataset, data.split) = ("values".into(), Split::Test.into())), &["initial", "--dataset=values", "--split=test"]),
        (field("data.split", &["9 is not", "train", "test"]), data(|data| data.split = 9), &[]),
        (field("numerics.engine", &["9 is not", "cpu", "burn"]), ComputeLogitsRequest { numerics: Some(NumericRequest { engine: 9, precision: 0 }), ..of(CHECKPOINT, "", DATASET) }, &[]),
        (field("data", &["missing"]), ComputeLogitsRequest { data: None, ..of(CHECKPOINT, "", DATASET) }, &[]),
    ];
    for (wrong, request, arguments) in cases {
        let mut inference = guarded.client.inference();
        guarded.call(&format!("{request:?}"), inference.compute_logits(request.clone()), wrong).await;
        if !arguments.is_empty() {
            guarded.command(&[&["checkpoint", "evaluate"], *arguments].concat(), wrong).await;
        }
    }
    let flags = ["checkpoint", "evaluate", "initial", "--dataset=fashion", "--split=val"];
    guarded.command(&flags, &field("data.split", &["val", "train, test"])).await;
    let flags = ["checkpoint", "evaluate", "initial", "--dataset=fashion", "--precision=f64"];
    guarded.command(&flags, &field("numerics.precision", &["f64", "auto, f32, split-bf16, bf16"])).await;
    guarded.end().await.map(drop)
}
