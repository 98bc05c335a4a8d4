//! Small datasets of real images.

use std::io::Read as _;

use anyhow::{Context as _, ensure};
use flate2::read::GzDecoder;
use relief_api::catalog::v1::import_dataset_request::Part;
use relief_api::catalog::v1::{DatasetFormat, ImportDatasetHeader, ImportDatasetRequest, Split};
use relief_core::Digest;
use relief_store::embedded;

/// Bytes per message of an import.
const CHUNK: usize = 1 << 20;

/// The two IDX files of a split.
#[derive(Debug, Clone)]
pub struct SplitImages {
    /// Which split.
    pub split: Split,
    /// (n, 28, 28).
    pub inputs: Vec<u8>,
    /// (n).
    pub targets: Vec<u8>,
}

impl SplitImages {
    /// Returns the first `n_samples` of a split of the embedded dataset.
    ///
    /// # Errors
    /// When it does not have so many.
    pub fn first(split: Split, n_samples: u32) -> anyhow::Result<Self> {
        let domain = if split == Split::Test { relief_core::Split::Test } else { relief_core::Split::Train };
        let embedded = embedded::fashion_mnist_6k();
        let files = embedded.splits.iter().find(|files| files.split == domain).context("no such split")?;
        Ok(Self {
            split,
            inputs: cut(&files.inputs, n_samples, 16, 28 * 28)?,
            targets: cut(&files.targets, n_samples, 8, 1)?,
        })
    }
}

/// The first `n_samples` of an IDX file of bytes that is compressed.
fn cut(file: &[u8], n_samples: u32, header_len: usize, sample_len: usize) -> anyhow::Result<Vec<u8>> {
    let len = header_len + n_samples as usize * sample_len;
    let mut bytes = Vec::with_capacity(len);
    GzDecoder::new(file).take(len as u64).read_to_end(&mut bytes)?;
    ensure!(bytes.len() == len, "there are fewer than {n_samples} samples");
    bytes[4..8].copy_from_slice(&n_samples.to_be_bytes());
    Ok(bytes)
}

/// The messages that import `images` as a split of `name`, with two constants that no test depends on.
#[must_use]
pub fn dataset_messages(name: &str, images: &SplitImages) -> Vec<ImportDatasetRequest> {
    let header = ImportDatasetHeader {
        name: name.to_owned(),
        split: images.split.into(),
        inputs_digest: Digest::of(&images.inputs).to_string(),
        targets_digest: Digest::of(&images.targets).to_string(),
        mean: vec![0.286],
        std: vec![0.353],
        n_classes: 10,
        format: DatasetFormat::Idx.into(),
    };
    let inputs = images.inputs.chunks(CHUNK).map(|chunk| Part::InputsChunk(chunk.to_vec().into()));
    let targets = images.targets.chunks(CHUNK).map(|chunk| Part::TargetsChunk(chunk.to_vec().into()));
    std::iter::once(Part::Header(header))
        .chain(inputs)
        .chain(targets)
        .map(|part| ImportDatasetRequest { part: Some(part) })
        .collect()
}
