//! Datasets, in every format.

use relief_api::catalog::v1::{DatasetFormat, DeleteDatasetRequest, GetDatasetRequest, ImportDatasetHeader, Split};
use relief_core::Digest;
use relief_test_support::{Client, DATASET, Program, Sandbox, SplitImages};

use super::file::{self, Entry, PNG, TEXT};
use super::guard::{Guarded, Wrong};
use super::upload::DatasetUpload;

const OUTSIDE: &str = "../../etc";

const INPUTS: &str = "train inputs";
const TARGETS: &str = "train targets";

/// A file or two that are refused, and what is said.
struct Case {
    what: &'static str,
    upload: DatasetUpload,
    field: &'static str,
    words: &'static [&'static str],
}

fn case(what: &'static str, upload: DatasetUpload, (field, words): (&'static str, &'static [&'static str])) -> Case {
    Case { what, upload, field, words }
}

/// `n` images of four pixels.
fn images(n: u32) -> Vec<u8> {
    file::idx(&[n, 2, 2], &(0..4 * n as u8).collect::<Vec<_>>())
}

fn labels(labels: &[u8]) -> Vec<u8> {
    file::idx(&[labels.len() as u32], labels)
}

fn of_idx() -> anyhow::Result<Vec<Case>> {
    let idx = DatasetUpload::of_idx;
    let good = labels(&[0, 1, 2]);
    let cut = |bytes: &[u8], n_missing: usize| bytes[..bytes.len() - n_missing].to_vec();
    Ok(vec![
        case("photo", idx(PNG.to_vec(), good.clone()), (INPUTS, &["IDX"])),
        case("notes", idx(images(3), TEXT.to_vec()), (TARGETS, &["IDX"])),
        case("labels twice", idx(good.clone(), good.clone()), (INPUTS, &["1 dimensions", "(n, height, width)"])),
        case("images twice", idx(images(3), images(3)), (TARGETS, &["3 dimensions"])),
        case("packed notes", idx(file::gzip(TEXT)?, good.clone()), (INPUTS, &["IDX"])),
        case("broken gzip", idx(b"\x1f\x8b\x08\0\0\0\0\0\0\0???".to_vec(), good.clone()), (INPUTS, &["gzip"])),
        case("empty images", idx(Vec::new(), good.clone()), (INPUTS, &["at least 4 bytes, found 0"])),
        case("empty labels", idx(images(3), Vec::new()), (TARGETS, &["at least 4 bytes, found 0"])),
        case("no samples", idx(images(0), labels(&[])), (INPUTS, &["[0, 2, 2]"])),
        case("truncated images", idx(cut(&images(3), 5), good.clone()), (INPUTS, &["truncated", "28", "23"])),
        case("truncated labels", idx(images(3), cut(&good, 1)), (TARGETS, &["truncated", "11", "10"])),
        case("too few labels", idx(images(3), labels(&[0, 1])), (TARGETS, &["2 targets for 3 inputs"])),
        case(
            "a class too many",
            idx(images(3), labels(&[0, 10, 1])),
            (TARGETS, &["target 10", "sample 1", "10 classes"]),
        ),
    ])
}

fn of_cifar() -> Vec<Case> {
    let [cifar10, cifar100] = [DatasetFormat::Cifar10, DatasetFormat::Cifar100];
    let sample = |labels: &[u8]| [labels, &[7; 3072]].concat();
    vec![
        case("photo.bin", DatasetUpload::of(cifar10, PNG.to_vec()), (INPUTS, &["3073"])),
        case("empty.bin", DatasetUpload::of(cifar10, Vec::new()), (INPUTS, &["3073"])),
        case("cifar100.bin", DatasetUpload::of(cifar10, sample(&[1, 1])), (INPUTS, &["3074", "3073"])),
        case("cifar10.bin", DatasetUpload::of(cifar100, sample(&[1])), (INPUTS, &["3073", "3074"])),
        case("label10.bin", DatasetUpload::of(cifar10, sample(&[10])), (INPUTS, &["sample 0", "label 10"])),
        case("label100.bin", DatasetUpload::of(cifar100, sample(&[0, 100])), (INPUTS, &["sample 0", "100"])),
    ]
}

/// A tensor of zeros.
fn zeros<'a>(name: &'a str, dtype: &'a str, shape: &'a [usize], width: usize) -> Entry<'a> {
    Entry { name, dtype, shape, data: vec![0; width * shape.iter().product::<usize>()] }
}

fn of_safetensors() -> Vec<Case> {
    let upload = |file: Vec<u8>| DatasetUpload::of(DatasetFormat::Safetensors, file);
    let inputs = || zeros("inputs", "F32", &[2, 1, 2, 2], 4);
    let targets = || zeros("targets", "I64", &[2], 8);
    let of = |inputs: Entry<'_>, targets: Entry<'_>| upload(file::safetensors(&[inputs, targets]));
    let classes = |classes: [i64; 2]| Entry { data: classes.map(i64::to_le_bytes).concat(), ..targets() };
    let whole = file::safetensors(&[inputs(), targets()]);
    vec![
        case("photo", upload(PNG.to_vec()), (INPUTS, &["safetensors"])),
        case("notes", upload(TEXT.to_vec()), (INPUTS, &["safetensors"])),
        case(
            "archive",
            upload(npz(&[("x", "|u1", "(1, 2, 2)", &[0; 4]), ("y", "|u1", "(1,)", &[0])]).inputs),
            (INPUTS, &["safetensors"]),
        ),
        case("empty", upload(Vec::new()), (INPUTS, &["safetensors"])),
        case("truncated", upload(whole[..whole.len() - 1].to_vec()), (INPUTS, &["safetensors"])),
        case("no inputs", upload(file::safetensors(&[targets()])), (INPUTS, &["`inputs`", "it has `targets`"])),
        case("no targets", upload(file::safetensors(&[inputs()])), (TARGETS, &["`targets`", "it has `inputs`"])),
        case("double inputs", of(zeros("inputs", "F64", &[2, 1, 2, 2], 8), targets()), (INPUTS, &["F64", "F32"])),
        case("integer inputs", of(zeros("inputs", "I32", &[2, 1, 2, 2], 4), targets()), (INPUTS, &["I32", "F32"])),
        case(
            "flat inputs",
            of(zeros("inputs", "F32", &[2, 4], 4), targets()),
            (INPUTS, &["[2, 4]", "(n, channels, height, width)"]),
        ),
        case(
            "channels last",
            of(zeros("inputs", "F32", &[2, 8, 8, 3], 4), targets()),
            (INPUTS, &["[2, 8, 8, 3]", "transpose"]),
        ),
        case(
            "no samples",
            of(zeros("inputs", "F32", &[0, 1, 2, 2], 4), zeros("targets", "I64", &[0], 8)),
            (INPUTS, &["[0, 1, 2, 2]"]),
        ),
        case("float targets", of(inputs(), zeros("targets", "F32", &[2], 4)), (TARGETS, &["F32", "integers"])),
        case("one-hot targets", of(inputs(), zeros("targets", "I64", &[2, 3], 8)), (TARGETS, &["[2, 3]", "(n)"])),
        case("negative targets", of(inputs(), classes([0, -1])), (TARGETS, &["-1", "sample 1", "from 0"])),
        case("huge targets", of(inputs(), classes([1 << 40, 0])), (TARGETS, &["1099511627776", "sample 0"])),
        case("many classes", of(inputs(), classes([0, 1 << 20])), (TARGETS, &["1048576", "sample 1"])),
        case(
            "a class too many",
            DatasetUpload { n_classes: 2, ..of(inputs(), classes([0, 2])) },
            (TARGETS, &["target 2", "sample 1", "2 classes"]),
        ),
        case("too few targets", of(inputs(), zeros("targets", "I64", &[1], 8)), (TARGETS, &["1 targets for 2 inputs"])),
        case(
            "inputs twice",
            upload(file::safetensors(&[inputs(), inputs(), targets()])),
            (INPUTS, &["inputs", "twice"]),
        ),
        case(
            "with a mean",
            DatasetUpload { mean: vec![0.5], ..upload(whole.clone()) },
            ("header.mean", &["as they are", "leave it out"]),
        ),
        case(
            "with a std",
            DatasetUpload { std: vec![0.5], ..upload(whole) },
            ("header.std", &["as they are", "leave it out"]),
        ),
    ]
}

/// A NumPy archive of arrays: name, type, shape, data.
fn npz(arrays: &[(&str, &str, &str, &[u8])]) -> DatasetUpload {
    let files: Vec<(String, Vec<u8>)> = arrays
        .iter()
        .map(|(name, dtype, shape, data)| (format!("{name}.npy"), file::npy(dtype, shape, data)))
        .collect();
    let entries: Vec<(&str, &[u8])> = files.iter().map(|(name, file)| (name.as_str(), file.as_slice())).collect();
    DatasetUpload::of(DatasetFormat::Npz, file::zip(&entries))
}

fn of_npz() -> Vec<Case> {
    let upload = |file: Vec<u8>| DatasetUpload::of(DatasetFormat::Npz, file);
    let x = ("x", "|u1", "(2, 2, 2)", &[0_u8; 8][..]);
    let y = ("y", "|u1", "(2,)", &[0_u8; 2][..]);
    let minus = i64::to_le_bytes(-1);
    let minus_one: &'static [u8] = &[255; 16];
    assert_eq!(minus, minus_one[..8]);
    let whole = npz(&[x, y]).inputs;
    vec![
        case("photo.npz", upload(PNG.to_vec()), (INPUTS, &["npz"])),
        case("weights.npz", upload(file::values([1, 1, 2, 2])), (INPUTS, &["npz"])),
        case("empty.npz", upload(Vec::new()), (INPUTS, &["npz"])),
        case("truncated.npz", upload(whole[..whole.len() - 1].to_vec()), (INPUTS, &["npz"])),
        case("notes.npz", upload(file::zip(&[("notes.txt", TEXT)])), (INPUTS, &["`inputs`", "`x`", "notes.txt"])),
        case("no arrays.npz", upload(file::zip(&[("x.npy", TEXT), ("y.npy", TEXT)])), (TARGETS, &["`y`"])),
        case("no targets.npz", npz(&[x]), (TARGETS, &["`targets`", "`y`", "it has `x`"])),
        case("twice.npz", npz(&[x, x, y]), (INPUTS, &["x.npy", "twice"])),
        case("integers.npz", npz(&[("x", "<i4", "(2, 1, 2, 2)", &[0; 32]), y]), (INPUTS, &["<i4", "|u1", "<f4"])),
        case(
            "flat.npz",
            npz(&[("x", "|u1", "(2, 4)", &[0; 8]), y]),
            (INPUTS, &["[2, 4]", "(n, channels, height, width)"]),
        ),
        case("none.npz", npz(&[("x", "|u1", "(0, 2, 2)", &[]), ("y", "|u1", "(0,)", &[])]), (INPUTS, &["[0, 2, 2]"])),
        case("floats.npz", npz(&[x, ("y", "<f4", "(2,)", &[0; 8])]), (TARGETS, &["<f4", "integers"])),
        case("negative.npz", npz(&[x, ("y", "<i8", "(2,)", minus_one)]), (TARGETS, &["-1", "sample 0", "from 0"])),
        case("few.npz", npz(&[x, ("y", "|u1", "(1,)", &[0])]), (TARGETS, &["1 targets for 2 inputs"])),
        case("constant.npz", npz(&[x, y]), ("header.std", &["all pixels", "positive"])),
    ]
}

/// Constants and splits that do not go with the files, or with the dataset as it is.
fn of_header() -> Vec<Case> {
    let good = || DatasetUpload::of_idx(images(3), labels(&[0, 1, 2]));
    vec![
        case(
            "two means",
            DatasetUpload { mean: vec![0.5, 0.5], ..good() },
            ("header.mean", &["2 values for 1 channels"]),
        ),
        case("no number", DatasetUpload { mean: vec![f64::NAN], ..good() }, ("header.mean", &["NaN", "finite"])),
        case("no deviation", DatasetUpload { std: vec![0.0], ..good() }, ("header.std", &["0", "positive"])),
        case(
            "a deviation below zero",
            DatasetUpload { std: vec![-1.0], ..good() },
            ("header.std", &["-1", "positive"]),
        ),
        case(
            "a first test split",
            DatasetUpload { split: Split::Test, ..good() },
            ("header.mean", &["training split", "give both"]),
        ),
    ]
}

impl Guarded {
    async fn refuse_dataset(&self, name: &str, Case { what, upload, field, words }: &Case) -> anyhow::Result<()> {
        let wrong = match field.starts_with("header") {
            true => Wrong::field(field, words),
            false => Wrong::content(field, words),
        };
        self.call(&format!("{what} ({:?})", upload.format), upload.send(&self.client, name), &wrong).await;
        let mut files = vec![self.file(what, &upload.inputs)?];
        if upload.format == DatasetFormat::Idx {
            files.push(self.file("labels", &upload.targets)?);
        }
        let arguments = upload.arguments(name, &files);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match field.starts_with("header") {
            true => self.command(&arguments, &wrong).await,
            false => self.command_of_file(&arguments, &files[0], &wrong).await,
        }
        Ok(())
    }
}

#[tokio::test]
async fn files_that_hold_no_dataset_are_refused() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let launch = sandbox.launch(Program::Relief);
    let guarded = Guarded::start(sandbox, launch, async |_| Ok(())).await?;
    let cases = [of_idx()?, of_cifar(), of_safetensors(), of_npz(), of_header()];
    for case in cases.iter().flatten() {
        guarded.refuse_dataset("refused", case).await?;
    }
    let file = guarded.file("one", PNG)?;
    let labels = guarded.file("two", PNG)?;
    for (format, files, words) in [
        ("idx", &[file.as_str()][..], &["two files"][..]),
        ("npz", &[&file, &labels], &["one file", "2"]),
        ("safetensors", &[&file, &labels], &["one file", "2"]),
        ("png", &[&file], &["png", "--format", "idx", "cifar10", "cifar100", "safetensors", "npz"]),
        ("npz", &["/absent/x.npz"], &["cannot read", "/absent/x.npz"]),
    ] {
        let arguments = [&["dataset", "import", "refused", "--format", format], files].concat();
        guarded.command(&arguments, &Wrong::content("", words)).await;
    }
    guarded.end().await.map(drop)
}

#[tokio::test]
async fn splits_that_do_not_fit_their_dataset_are_refused() -> anyhow::Result<()> {
    let train =
        || DatasetUpload { mean: vec![0.5], std: vec![0.25], ..DatasetUpload::of_idx(images(3), labels(&[0, 1, 2])) };
    let test = || DatasetUpload { split: Split::Test, ..DatasetUpload::of_idx(images(2), labels(&[0, 1])) };
    let values = DatasetUpload {
        split: Split::Test,
        ..DatasetUpload::of(DatasetFormat::Safetensors, file::values([2, 1, 2, 2]))
    };
    let sandbox = Sandbox::new()?;
    let launch = sandbox.launch(Program::Relief);
    let furnish = async |client: &Client| Ok(train().send(client, "small").await?);
    let guarded = Guarded::start(sandbox, launch, furnish).await?;
    let wide = file::idx(&[2, 1, 4], &[7; 8]);
    for case in [
        case("another shape", DatasetUpload { inputs: wide, ..test() }, ("test inputs", &["[1, 1, 4]", "[1, 2, 2]"])),
        case("another storage", values, ("test inputs", &["taken as they are", "images"])),
        case(
            "a class too many",
            DatasetUpload { n_classes: 0, targets: labels(&[0, 10]), ..test() },
            ("test targets", &["target 10", "10 classes"]),
        ),
        case("another mean", DatasetUpload { mean: vec![0.25], ..test() }, ("header.mean", &["[0.25]", "[0.5]"])),
        case("another std", DatasetUpload { std: vec![0.5], ..test() }, ("header.std", &["[0.5]", "[0.25]"])),
        case("other classes", DatasetUpload { n_classes: 11, ..test() }, ("header.n_classes", &["11", "10"])),
    ] {
        guarded.refuse_dataset("small", &case).await?;
    }

    let upload = train();
    let files = [guarded.file("inputs", &upload.inputs)?, guarded.file("targets", &upload.targets)?];
    for (name, wrong) in [
        ("small", Wrong::taken("header.name", &["train split of datasets/small already exists"])),
        (OUTSIDE, Wrong::field("header.name", &[OUTSIDE, "datasets/ID"])),
    ] {
        guarded.call(name, upload.send(&guarded.client, name), &wrong).await;
        let arguments = upload.arguments(name, &files);
        guarded.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &wrong).await;
    }
    let images = SplitImages::first(Split::Train, 10)?;
    let again = DatasetUpload::of_idx(images.inputs, images.targets);
    guarded
        .call(
            "again",
            again.send(&guarded.client, DATASET),
            &Wrong::taken("header.name", &["train split of datasets/fashion"]),
        )
        .await;

    let header = || upload.header("refused");
    let other = Digest::of(b"other").to_string();
    for (header, wrong) in [
        (ImportDatasetHeader { split: 9, ..header() }, Wrong::field("header.split", &["9 is not", "train", "test"])),
        (ImportDatasetHeader { format: 9, ..header() }, Wrong::field("header.format", &["9 is not", "IDX", "npz"])),
        (
            ImportDatasetHeader { inputs_digest: other.clone(), ..header() },
            Wrong::field("header.inputs_digest", &[&other, "send the file again"]),
        ),
        (
            ImportDatasetHeader { targets_digest: other.clone(), ..header() },
            Wrong::field("header.targets_digest", &[&other]),
        ),
        (
            ImportDatasetHeader { targets_digest: String::new(), ..header() },
            Wrong::field("header.targets_digest", &["``", "64"]),
        ),
        (
            ImportDatasetHeader { name: String::new(), inputs_digest: "x".into(), ..header() },
            Wrong::field("header.name", &["header.inputs_digest: `x`"]),
        ),
        (
            ImportDatasetHeader { format: DatasetFormat::Npz.into(), ..header() },
            Wrong::content(TARGETS, &["same file"]),
        ),
    ] {
        guarded.call(&format!("{header:?}"), upload.send_with(&guarded.client, header), &wrong).await;
    }

    let catalog = || guarded.client.catalog();
    for (name, wrong) in [
        ("absent", Wrong::absent("", &["there is no datasets/absent"])),
        (OUTSIDE, Wrong::field("name", &[OUTSIDE, "datasets/ID"])),
    ] {
        guarded.call("get", catalog().get_dataset(GetDatasetRequest { name: name.to_owned() }), &wrong).await;
        guarded.call("delete", catalog().delete_dataset(DeleteDatasetRequest { name: name.to_owned() }), &wrong).await;
    }
    guarded.end().await.map(drop)
}
