//! `relief dataset`: inputs and targets.

use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use relief_api::catalog::v1::import_dataset_request::Part;
use relief_api::catalog::v1::{Dataset, ImportDatasetHeader, ImportDatasetRequest, ListDatasetsRequest};
use relief_api::convert::surface::split_to_wire;
use relief_core::Digest;
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
    let (inputs, targets) = match arguments.format {
        DatasetFormat::Idx => idx_files(&arguments.paths)?,
    };
    let header = ImportDatasetHeader {
        name: arguments.name.to_string(),
        split: split_to_wire(arguments.split).into(),
        inputs_digest: Digest::of(&inputs).to_string(),
        targets_digest: Digest::of(&targets).to_string(),
        mean: arguments.mean.clone(),
        std: arguments.std.clone(),
        n_classes: arguments.classes.unwrap_or(0),
    };
    let parts = std::iter::once(Part::Header(header))
        .chain(import::chunks(inputs).map(Part::InputsChunk))
        .chain(import::chunks(targets).map(Part::TargetsChunk));
    let messages = tokio_stream::iter(parts.map(|part| ImportDatasetRequest { part: Some(part) }));
    let imported = client.catalog().import_dataset(messages).await.map_err(|status| client.catalog.refused(status))?;
    let dataset = client.catalog.required("dataset", imported.into_inner().dataset)?;
    output.print(|| to_json(&dataset), || table(std::slice::from_ref(&dataset)))
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
        "n_train": dataset.n_train,
        "n_test": dataset.n_test,
        "create_time": dataset.create_time.as_ref().map(ToString::to_string),
    })
}

fn table(datasets: &[Dataset]) -> String {
    let header = ["NAME", "SHAPE", "CLASSES", "TRAIN", "TEST", "MEAN", "STD", "CREATED"];
    let row = |dataset: &Dataset| {
        let shape = dataset.shape.as_ref().map(|s| format!("{}x{}x{}", s.channels, s.height, s.width));
        vec![
            dataset.name.clone(),
            shape.unwrap_or_default(),
            dataset.n_classes.to_string(),
            dataset.n_train.to_string(),
            dataset.n_test.to_string(),
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
    fn an_absent_file_is_named() {
        let error = idx_files(&["/no/such/images", "/no/such/labels"]).expect_err("absent");
        assert!(format!("{error:#}").starts_with("cannot read /no/such/images: "));
    }
}
