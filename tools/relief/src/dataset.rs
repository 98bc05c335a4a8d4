//! `relief dataset`: inputs and targets.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use relief_api::catalog::v1::import_dataset_request::Part;
use relief_api::catalog::v1::{
    self as wire, Dataset, ImportDatasetHeader, ImportDatasetRequest, ListDatasetsRequest, SampleStorage,
};
use relief_api::convert::surface::split_to_wire;
use relief_core::{Digest, Split};
use serde_json::{Value, json};

use crate::cli::{DatasetCommand, DatasetFormat, DatasetImportArguments};
use crate::client::{Client, list_all};
use crate::error::CommandError;
use crate::output::{self, Output};
use crate::{file, import};

pub(crate) async fn run(command: DatasetCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        DatasetCommand::Import(arguments) => import(&arguments, client, output).await,
        DatasetCommand::List => list(client, output).await,
    }
}

async fn import(arguments: &DatasetImportArguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let paths = &arguments.paths;
    let (format, (inputs, targets)) = match arguments.format {
        DatasetFormat::Idx => (wire::DatasetFormat::Idx, idx_files(paths)?),
        DatasetFormat::Cifar10 => (wire::DatasetFormat::Cifar10, cifar_files(&CIFAR_10, paths, arguments.split)?),
        DatasetFormat::Cifar100 => (wire::DatasetFormat::Cifar100, cifar_files(&CIFAR_100, paths, arguments.split)?),
        DatasetFormat::Safetensors => (wire::DatasetFormat::Safetensors, one_file("a safetensors", paths)?),
        DatasetFormat::Npz => (wire::DatasetFormat::Npz, one_file("an npz", paths)?),
    };
    let has_targets = format == wire::DatasetFormat::Idx;
    let header = ImportDatasetHeader {
        name: arguments.name.to_string(),
        split: split_to_wire(arguments.split).into(),
        inputs_digest: Digest::of(&inputs).to_string(),
        targets_digest: if has_targets { Digest::of(&targets).to_string() } else { String::new() },
        mean: arguments.mean.clone(),
        std: arguments.std.clone(),
        n_classes: arguments.classes.unwrap_or(0),
        format: format.into(),
    };
    let parts = std::iter::once(Part::Header(header))
        .chain(import::chunks(inputs).map(Part::InputsChunk))
        .chain(import::chunks(targets).map(Part::TargetsChunk));
    let messages = tokio_stream::iter(parts.map(|part| ImportDatasetRequest { part: Some(part) }));
    let imported = client.catalog().import_dataset(messages).await.map_err(|status| client.catalog.refused(status));
    let named = || paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ");
    let imported = imported.with_context(|| format!("cannot import {}", named()))?;
    let dataset = client.catalog.required("dataset", imported.into_inner().dataset)?;
    output.print(|| to_json(&dataset), || table(std::slice::from_ref(&dataset)))
}

/// The files of a dataset that comes in several.
struct Cifar {
    name: &'static str,
    sample_bytes: usize,
    train: &'static [&'static str],
    test: &'static [&'static str],
}

const CIFAR_10: Cifar = Cifar {
    name: "CIFAR-10",
    sample_bytes: 1 + 3072,
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: &["test_batch.bin"],
};

const CIFAR_100: Cifar =
    Cifar { name: "CIFAR-100", sample_bytes: 2 + 3072, train: &["train.bin"], test: &["test.bin"] };

/// Returns the samples of all files, one after the other.
fn cifar_files(cifar: &Cifar, paths: &[PathBuf], split: Split) -> anyhow::Result<(Bytes, Bytes)> {
    let names = if split == Split::Test { cifar.test } else { cifar.train };
    let files = paths.iter().flat_map(|path| match path.is_dir() {
        true => names.iter().map(|name| path.join(name)).collect(),
        false => vec![path.clone()],
    });
    let mut samples = BytesMut::new();
    for path in files {
        let content = file::read(&path)?;
        // The server sees all files as one, and could not tell which of them is wrong.
        if content.is_empty() || !content.len().is_multiple_of(cifar.sample_bytes) {
            let text = format!(
                "{} has {} bytes, expected a multiple of the {} of a {} sample; it is truncated, or of another format",
                path.display(),
                content.len(),
                cifar.sample_bytes,
                cifar.name
            );
            return Err(CommandError::WrongUse(text).into());
        }
        samples.extend_from_slice(&content);
    }
    Ok((samples.freeze(), Bytes::new()))
}

/// Returns the file that holds inputs and targets.
fn one_file(kind: &str, paths: &[PathBuf]) -> anyhow::Result<(Bytes, Bytes)> {
    match paths {
        [path] => Ok((Bytes::from(file::read(path)?), Bytes::new())),
        _ => Err(CommandError::WrongUse(format!("{kind} dataset has one file, got {}", paths.len())).into()),
    }
}

/// Returns the inputs and the targets, whichever of the two was named first.
fn idx_files(paths: &[impl AsRef<Path>]) -> anyhow::Result<(Bytes, Bytes)> {
    let [first, second] = paths else {
        return Err(CommandError::WrongUse("an IDX dataset has two files, the images and the labels".to_owned()).into());
    };
    let first = Bytes::from(file::read(first.as_ref())?);
    let second = Bytes::from(file::read(second.as_ref())?);
    // Labels have one dimension, images more. Whatever else is wrong with a file, the server says.
    let is_swapped = idx_rank(&first) == Some(1) && idx_rank(&second).is_some_and(|rank| rank > 1);
    Ok(if is_swapped { (second, first) } else { (first, second) })
}

/// The number of dimensions that the head of an IDX file states, or none when it has no such head.
fn idx_rank(content: &[u8]) -> Option<u8> {
    let mut magic = [0; 4];
    if content.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(content).read_exact(&mut magic).ok()?;
    } else {
        magic.copy_from_slice(content.get(..4)?);
    }
    (magic[..2] == [0, 0]).then_some(magic[3])
}

async fn list(client: &Client, output: Output) -> anyhow::Result<()> {
    let datasets = list_all!(client, catalog.list_datasets, ListDatasetsRequest, datasets);
    output.print(|| json!({"datasets": datasets.iter().map(to_json).collect::<Vec<_>>()}), || table(&datasets))
}

fn to_json(dataset: &Dataset) -> Value {
    json!({
        "name": dataset.name,
        "digest": dataset.digest,
        "shape": dataset.shape.as_ref().map(|shape| {
            json!({"channels": shape.channels, "height": shape.height, "width": shape.width})
        }),
        "n_classes": dataset.n_classes,
        "mean": dataset.mean,
        "std": dataset.std,
        "storage": storage(dataset),
        "n_train": dataset.n_train,
        "n_test": dataset.n_test,
        "create_time": dataset.create_time.as_ref().map(ToString::to_string),
    })
}

fn storage(dataset: &Dataset) -> &'static str {
    match dataset.storage() {
        SampleStorage::Unspecified => "unknown",
        SampleStorage::Pixels => "pixels",
        SampleStorage::Values => "values",
    }
}

fn table(datasets: &[Dataset]) -> String {
    let header = ["NAME", "SHAPE", "CLASSES", "TRAIN", "TEST", "STORED AS", "MEAN", "STD", "CREATED"];
    let row = |dataset: &Dataset| {
        let shape = dataset.shape.as_ref().map(|s| format!("{}x{}x{}", s.channels, s.height, s.width));
        vec![
            dataset.name.clone(),
            shape.unwrap_or_default(),
            dataset.n_classes.to_string(),
            dataset.n_train.to_string(),
            dataset.n_test.to_string(),
            storage(dataset).to_owned(),
            output::numbers(&dataset.mean),
            output::numbers(&dataset.std),
            dataset.create_time.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]
    };
    output::table(&header, &datasets.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const IMAGES: &[u8] = &[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7];
    const LABELS: &[u8] = &[0, 0, 8, 1, 0, 0, 0, 1, 0];

    fn compressed(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).expect("a buffer");
        encoder.finish().expect("a buffer")
    }

    #[test]
    fn images_and_labels_are_told_apart_in_either_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let (images, labels) = (dir.path().join("i"), dir.path().join("l"));
        for (images_file, labels_file) in [
            (IMAGES.to_vec(), LABELS.to_vec()),
            (compressed(IMAGES), compressed(LABELS)),
            (b"?".to_vec(), b"!".to_vec()),
        ] {
            std::fs::write(&images, &images_file).expect("written");
            std::fs::write(&labels, &labels_file).expect("written");
            let expected = (Bytes::from(images_file.clone()), Bytes::from(labels_file));
            assert_eq!(idx_files(&[&images, &labels]).expect("two files"), expected);
            if images_file != b"?" {
                assert_eq!(idx_files(&[&labels, &images]).expect("two files"), expected);
            }
        }
    }

    #[test]
    fn cifar_files_are_put_together_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let sample = |label: u8| [&[label][..], &[label; 3072]].concat();
        for (label, name) in (1..).zip(CIFAR_10.train) {
            std::fs::write(dir.path().join(name), sample(label)).expect("written");
        }
        let (samples, targets) = cifar_files(&CIFAR_10, &[dir.path().to_owned()], Split::Train).expect("five files");
        assert_eq!(samples.chunks(3073).map(|sample| sample[0]).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(targets.is_empty());

        let error = cifar_files(&CIFAR_10, &[dir.path().to_owned()], Split::Test).expect_err("absent");
        assert!(format!("{error:#}").contains("test_batch.bin"));
        let short = dir.path().join("short.bin");
        std::fs::write(&short, &sample(1)[1..]).expect("written");
        let error = cifar_files(&CIFAR_10, &[short], Split::Train).expect_err("truncated");
        let text = error.to_string();
        assert!(text.contains("short.bin has 3072 bytes") && text.contains("3073"), "{text}");
    }

    #[test]
    fn an_absent_file_is_named() {
        let error = idx_files(&["/no/such/images", "/no/such/labels"]).expect_err("absent");
        assert!(format!("{error:#}").starts_with("cannot read /no/such/images: "));
    }
}
