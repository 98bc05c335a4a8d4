//! Training runs.

use relief_api::catalog::v1::{DatasetFormat, Split};
use relief_api::training::v1::{
    CancelRunRequest, CreateRunRequest, GetRunRequest, ListRunsRequest, RunSpec, WatchRunRequest,
};
use relief_test_support::{Client, DATASET, Program, Sandbox, SplitImages};

use super::file::values;
use super::guard::{Guarded, Wrong};
use super::upload::DatasetUpload;

const OUTSIDE: &str = "../../etc";

fn good() -> RunSpec {
    RunSpec { network: "lenet5".to_owned(), dataset: DATASET.to_owned(), epochs: 2, ..RunSpec::default() }
}

fn of(network: &str, dataset: &str) -> RunSpec {
    RunSpec { network: network.to_owned(), dataset: dataset.to_owned(), ..good() }
}

/// A dataset of small samples that are taken as they are, one without a training split, and a run.
async fn furnish(client: &Client) -> anyhow::Result<()> {
    let small = DatasetUpload::of(DatasetFormat::Safetensors, values([4, 1, 12, 12]));
    DatasetUpload { n_classes: 10, ..small }.send(client, "values").await?;
    client.import_dataset("untrained", &SplitImages::first(Split::Test, 10)?).await?;
    client.train("done", RunSpec { epochs: 1, ..good() }).await.map(drop)
}

#[tokio::test]
async fn runs_that_cannot_be_made_are_refused() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let launch = sandbox.launch(Program::Relief);
    let guarded = Guarded::start(sandbox, launch, furnish).await?;
    let (field, absent) = (Wrong::field, Wrong::absent);

    #[rustfmt::skip]
    let cases: &[(Wrong<'_>, RunSpec, &[&str])] = &[
        (absent("spec.network", &["networks/vgg99", "lenet5"]), of("vgg99", DATASET), &["--network=vgg99"]),
        (absent("spec.dataset", &["datasets/absent"]), of("lenet5", "absent"), &["--dataset=absent"]),
        (field("spec.network", &[OUTSIDE, "networks/ID"]), of(OUTSIDE, DATASET), &["--network=../../etc"]),
        (field("spec.dataset", &[OUTSIDE, "datasets/ID"]), of("lenet5", OUTSIDE), &["--dataset=../../etc"]),
        (field("spec.dataset", &["datasets/untrained has no train split"]), of("lenet5", "untrained"), &["--dataset=untrained"]),
        (field("spec.network", &["3x32x32", "1x28x28", "channels must be equal"]), of("lenet5-3x32x32-10", DATASET), &["--network=lenet5-3x32x32-10"]),
        (field("spec.network", &["7 classes", "has 10"]), of("lenet5-1x28x28-7", DATASET), &["--network=lenet5-1x28x28-7"]),
        (field("spec.network", &["lenet5-1x2x2-10"]), of("lenet5-1x2x2-10", DATASET), &["--network=lenet5-1x2x2-10"]),
        (field("spec.network", &["1x28x28", "1x12x12", "not padded"]), of("lenet5-1x28x28-10", "values"), &["--network=lenet5-1x28x28-10", "--dataset=values"]),
        (field("spec.epochs", &["0", "1 to 10000"]), RunSpec { epochs: 0, ..good() }, &["--epochs=0"]),
        (field("spec.epochs", &["10001", "1 to 10000"]), RunSpec { epochs: 10_001, ..good() }, &["--epochs=10001"]),
        (field("spec.batch_size", &["0", "1 to 65536"]), RunSpec { batch_size: Some(0), ..good() }, &["--batch=0"]),
        (field("spec.rate", &["NaN", "above 0"]), RunSpec { rate: Some(f64::NAN), ..good() }, &["--rate=NaN"]),
        (field("spec.rate", &["-0.1", "above 0"]), RunSpec { rate: Some(-0.1), ..good() }, &["--rate=-0.1"]),
        (field("spec.momentum", &["1", "below 1"]), RunSpec { momentum: Some(1.0), ..good() }, &["--momentum=1"]),
        (field("spec.weight_decay", &["inf", "finite"]), RunSpec { weight_decay: Some(f64::INFINITY), ..good() }, &["--weight-decay=inf"]),
        (field("spec.milestones", &["[2]", "below the number of epochs"]), RunSpec { milestones: vec![2], ..good() }, &["--milestones=2"]),
        (field("spec.milestones", &["[1, 1]", "rise"]), RunSpec { milestones: vec![1, 1], ..good() }, &["--milestones=1,1"]),
    ];
    let runs = || guarded.client.runs();
    for (wrong, spec, flags) in cases {
        let request = CreateRunRequest { spec: Some(spec.clone()), run_id: "refused".to_owned() };
        guarded.call(&format!("{spec:?}"), runs().create_run(request), wrong).await;
        // The last of two equal flags would be refused for being two.
        let base = ["--network=lenet5", "--dataset=fashion", "--epochs=2"];
        let name = |flag: &str| flag.split('=').next().map(str::to_owned);
        let base = base.into_iter().filter(|good| flags.iter().all(|flag| name(flag) != name(good)));
        let arguments: Vec<&str> = ["train"].into_iter().chain(base).chain(flags.iter().copied()).collect();
        guarded.command(&arguments, wrong).await;
    }
    for (flag, value) in [("--epochs", "many"), ("--batch", "-1"), ("--milestones", "1;2"), ("--seed", "0.5")] {
        let argument = format!("{flag}={value}");
        let arguments = ["train", "--network=lenet5", "--dataset=fashion", &argument];
        guarded.command(&arguments, &field("", &[flag, value, "a whole number from 0 to"])).await;
    }

    let create = |id: &str| CreateRunRequest { spec: Some(good()), run_id: id.to_owned() };
    let taken = Wrong::taken("run_id", &["runs/done already exists", "another name"]);
    guarded.call("a taken name", runs().create_run(create("done")), &taken).await;
    guarded.call("a name outside", runs().create_run(create(OUTSIDE)), &field("run_id", &[OUTSIDE, "runs/ID"])).await;
    guarded.call("nothing", runs().create_run(CreateRunRequest::default()), &field("spec", &["missing"])).await;
    let page = ListRunsRequest { page_token: "x".to_owned(), ..ListRunsRequest::default() };
    guarded.call("a page of nowhere", runs().list_runs(page), &field("page_token", &["`x`", "next_page_token"])).await;

    for (name, wrong) in
        [("absent", absent("", &["there is no runs/absent"])), (OUTSIDE, field("name", &[OUTSIDE, "runs/ID"]))]
    {
        let own = || name.to_owned();
        guarded.call("get", runs().get_run(GetRunRequest { name: own() }), &wrong).await;
        guarded.call("watch", runs().watch_run(WatchRunRequest { name: own(), after_revision: 0 }), &wrong).await;
        guarded.call("cancel", runs().cancel_run(CancelRunRequest { name: own() }), &wrong).await;
        for verb in ["get", "watch", "cancel"] {
            guarded.command(&["run", verb, name], &wrong.anywhere()).await;
        }
    }
    let ended = Wrong::state(&["runs/done has already ended", "succeeded"]);
    guarded.call("a second end", runs().cancel_run(CancelRunRequest { name: "done".to_owned() }), &ended).await;
    guarded.command(&["run", "cancel", "done"], &ended).await;
    guarded.end().await.map(drop)
}
