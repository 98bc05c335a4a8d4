//! Datasets: images and their classes in splits, with the constants that normalise them.

use std::collections::BTreeMap;

use bytes::Bytes;
use relief_core::{DatasetId, Digest, Split};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::layout;
use crate::object::offload;
use crate::page::{Listing, Page};
use crate::record::{from_json, to_json};
use crate::split::{DatasetFormat, ParsedSplit, SampleStorage};
use crate::store::Store;
use crate::timestamp;

/// What is stored of a dataset beside the files of its splits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetRecord {
    /// Its name.
    pub id: DatasetId,
    /// The number of classes; targets are below it.
    pub n_classes: u32,
    /// The shape of one sample: channels, height, width.
    pub shape: [u32; 3],
    /// Per channel, subtracted from pixel / 255; 0 where the samples are taken as they are.
    pub mean: Vec<f64>,
    /// Per channel and positive, divides after the mean is subtracted; 1 where the samples are taken as they are.
    pub std: Vec<f64>,
    /// How the samples are stored.
    #[serde(default, skip_serializing_if = "SampleStorage::is_pixels")]
    pub storage: SampleStorage,
    /// The splits there are.
    pub splits: BTreeMap<Split, SplitRecord>,
    /// Over everything above but the name.
    pub digest: Digest,
    /// When its first split was stored, RFC 3339.
    pub created: String,
}

/// A stored split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitRecord {
    /// The number of samples, at least 1.
    pub n_samples: u64,
    /// The digest of the stored inputs.
    pub inputs_digest: Digest,
    /// The digest of the stored targets.
    pub targets_digest: Digest,
}

/// The splits to store of a dataset, new or there already.
#[derive(Debug, Clone, Default)]
pub struct DatasetImport {
    /// The files of each split.
    pub splits: Vec<SplitFiles>,
    /// How the files are made.
    pub format: DatasetFormat,
    /// Per channel, subtracted from pixel / 255. None: what CIFAR-10 is normalised with everywhere, else the mean over
    /// the training split.
    pub mean: Option<Vec<f64>>,
    /// Per channel, divides after the mean is subtracted. None: what CIFAR-10 is normalised with everywhere, else the
    /// population standard deviation of the training split.
    pub std: Option<Vec<f64>>,
    /// The number of classes. None: that of the format, else one more than the largest target of a new dataset.
    pub n_classes: Option<u32>,
}

/// The files of a split.
#[derive(Debug, Clone)]
pub struct SplitFiles {
    /// Which split.
    pub split: Split,
    /// The inputs; the targets as well where the format has both in one file.
    pub inputs: Bytes,
    /// The targets, where they are in a file of their own, else empty.
    pub targets: Bytes,
}

impl DatasetRecord {
    /// The digest over all that the samples of `split` depend on, or none of an absent split. Unlike the record's
    /// digest it does not change when another split is added.
    #[must_use]
    pub fn split_digest(&self, split: Split) -> Option<Digest> {
        self.splits.get(&split).map(|record| self.digest_over([(split, record)]))
    }

    fn whole_digest(&self) -> Digest {
        self.digest_over(self.splits.iter().map(|(split, record)| (*split, record)))
    }

    fn digest_over<'a>(&self, splits: impl IntoIterator<Item = (Split, &'a SplitRecord)>) -> Digest {
        let bits = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        let mut parts = vec![
            self.n_classes.to_le_bytes().to_vec(),
            self.shape.iter().flat_map(|dim| dim.to_le_bytes()).collect(),
            bits(&self.mean),
            bits(&self.std),
        ];
        if self.storage == SampleStorage::Values {
            parts.push(b"values".to_vec());
        }
        for (split, record) in splits {
            parts.push(split.as_str().as_bytes().to_vec());
            parts.push(record.inputs_digest.to_string().into_bytes());
            parts.push(record.targets_digest.to_string().into_bytes());
        }
        Digest::of_parts(parts.iter().map(Vec::as_slice))
    }

    fn check(&self) -> Result<(), StoreError> {
        let n_channels = self.shape[0] as usize;
        for (field, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != n_channels {
                let reason = format!("{} values for {n_channels} channels; give one per channel", values.len());
                return Err(StoreError::invalid(field, reason));
            }
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return Err(StoreError::invalid(field, format!("{value} is not a finite number")));
            }
        }
        match self.std.iter().find(|value| **value <= 0.0) {
            Some(value) => Err(StoreError::invalid("std", format!("{value} is not positive"))),
            None => Ok(()),
        }
    }
}

/// The mean and the standard deviation of a new dataset: those given, else the usual ones, else those of its training
/// split.
fn constants(
    import: &DatasetImport,
    first: &ParsedSplit,
    splits: &[ParsedSplit],
) -> Result<(Vec<f64>, Vec<f64>), StoreError> {
    let n_channels = first.shape[0] as usize;
    if first.storage == SampleStorage::Values {
        return Ok((vec![0.0; n_channels], vec![1.0; n_channels]));
    }
    if let (Some(mean), Some(std)) = (&import.mean, &import.std) {
        return Ok((mean.clone(), std.clone()));
    }
    let given =
        |mean: Vec<f64>, std: Vec<f64>| (import.mean.clone().unwrap_or(mean), import.std.clone().unwrap_or(std));
    if let Some((mean, std)) = import.format.constants() {
        return Ok(given(mean.to_vec(), std.to_vec()));
    }
    let Some(train) = splits.iter().find(|parsed| parsed.split == Split::Train) else {
        let reason = "there is no training split to compute them from; import that first, or give both";
        return Err(StoreError::invalid("mean and std", reason));
    };
    let (mean, std) = train.moments();
    if import.std.is_none()
        && let Some(channel) = std.iter().position(|std| *std <= 0.0)
    {
        let reason = format!("all pixels of channel {channel} are equal; give a positive std");
        return Err(StoreError::invalid("std", reason));
    }
    Ok(given(mean, std))
}

/// Returns the record of the dataset with the splits added, everything checked.
fn merged(
    id: &DatasetId,
    existing: Option<DatasetRecord>,
    import: &DatasetImport,
    splits: &[ParsedSplit],
) -> Result<DatasetRecord, StoreError> {
    let Some(first) = splits.first() else {
        return Err(StoreError::invalid("splits", "there are none; give the files of at least one split"));
    };
    if first.storage == SampleStorage::Values {
        for (field, given) in [("mean", &import.mean), ("std", &import.std)] {
            if given.is_some() {
                return Err(StoreError::invalid(field, "these samples are taken as they are; leave it out"));
            }
        }
    }
    let mut record = match existing {
        Some(record) => {
            let kept = [("mean", &import.mean, &record.mean), ("std", &import.std, &record.std)];
            for (field, given, kept) in kept {
                if let Some(given) = given.as_ref().filter(|given| *given != kept) {
                    let reason = format!("{given:?} is not the dataset's own {kept:?}; leave it out to keep that");
                    return Err(StoreError::invalid(field, reason));
                }
            }
            if let Some(n_classes) = import.n_classes.filter(|n_classes| *n_classes != record.n_classes) {
                let reason = format!("{n_classes} is not the dataset's own number, {}", record.n_classes);
                return Err(StoreError::invalid("n_classes", reason));
            }
            record
        }
        None => {
            let (mean, std) = constants(import, first, splits)?;
            let found = splits.iter().map(ParsedSplit::n_classes).max().unwrap_or_default();
            let n_classes = import.n_classes.or(import.format.n_classes()).unwrap_or(found);
            let digest = Digest::of(b"");
            let created = timestamp::now();
            let (shape, storage, splits) = (first.shape, first.storage, BTreeMap::new());
            DatasetRecord { id: id.clone(), n_classes, shape, mean, std, storage, splits, digest, created }
        }
    };
    record.check()?;
    for parsed in splits {
        parsed.check(&record)?;
        if record.splits.insert(parsed.split, parsed.record.clone()).is_some() {
            return Err(StoreError::already_exists(format!("{} split of {id}", parsed.split.as_str())));
        }
    }
    record.digest = record.whole_digest();
    Ok(record)
}

impl Store {
    /// Stores splits of a dataset: of a new one, or of one that does not have them yet, which keeps its constants.
    ///
    /// # Errors
    /// `Invalid`, naming the part, when a file is damaged or the parts do not fit; `AlreadyExists` when a split is
    /// there already. Nothing is stored then.
    pub async fn import_dataset(&self, id: &DatasetId, import: DatasetImport) -> Result<DatasetRecord, StoreError> {
        let _change = self.change().await;
        let path = layout::dataset_record(id);
        let existing = self.find_record::<DatasetRecord>(&path).await?;
        let is_new = existing.is_none();
        let owner = id.clone();
        let (record, puts) = offload(move || {
            let parse = |files| ParsedSplit::parse(files, import.format);
            let splits = import.splits.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
            let record = merged(&owner, existing, &import, &splits)?;
            let puts = splits.into_iter().flat_map(|parsed| {
                let [inputs, targets] = parsed.files;
                [
                    (layout::dataset_inputs(&owner, parsed.split, parsed.storage), inputs),
                    (layout::dataset_targets(&owner, parsed.split), targets),
                ]
            });
            Ok::<_, StoreError>((record, puts.collect::<Vec<_>>()))
        })
        .await??;
        let json = to_json("dataset", &record)?;
        if is_new {
            self.commit(&id.to_string(), &layout::dataset(id), &path, json, puts).await?;
        } else {
            self.replace(&path, json, puts).await?;
        }
        Ok(record)
    }

    /// The record of a dataset.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    pub async fn get_dataset(&self, id: &DatasetId) -> Result<DatasetRecord, StoreError> {
        self.find_record(&layout::dataset_record(id)).await?.ok_or_else(|| StoreError::not_found(id))
    }

    /// A page of the datasets, in the order of their ids.
    ///
    /// # Errors
    /// When the backend fails or a record is damaged.
    pub async fn list_datasets(&self, page: &Page) -> Result<Listing<DatasetRecord>, StoreError> {
        let read = |_, path: &_, json: &[u8]| from_json(path, json);
        self.list_records(DatasetId::COLLECTION, page, layout::dataset_record, read).await
    }

    /// Deletes a dataset with all its splits.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    pub async fn delete_dataset(&self, id: &DatasetId) -> Result<(), StoreError> {
        self.delete_committed(id, &layout::dataset(id), &layout::dataset_record(id)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::conformance::{everything, faulty, on_every_store};
    use crate::embedded;
    use crate::error::StoreErrorKind;
    use crate::idx::Idx;

    fn id() -> DatasetId {
        "data".parse().expect("an id")
    }

    fn idx(shape: &[u32], data: &[u8]) -> Bytes {
        Idx { shape: shape.to_vec(), data: Bytes::copy_from_slice(data) }.to_bytes()
    }

    fn files(split: Split, pixels: &[u8], targets: &[u8]) -> SplitFiles {
        let n = targets.len() as u32;
        SplitFiles { split, inputs: idx(&[n, 2, 1, 2], pixels), targets: idx(&[n], targets) }
    }

    fn train() -> SplitFiles {
        files(Split::Train, &[0, 51, 255, 255, 102, 255, 255, 0], &[2, 0])
    }

    fn of(splits: Vec<SplitFiles>) -> DatasetImport {
        DatasetImport { splits, ..DatasetImport::default() }
    }

    async fn refusal(store: &Store, import: DatasetImport) -> String {
        let before = everything(store).await;
        let error = store.import_dataset(&id(), import).await.expect_err("bad data");
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        assert_eq!(everything(store).await, before);
        error.to_string()
    }

    #[tokio::test]
    async fn the_constants_are_those_of_the_training_split() {
        on_every_store(async |store| {
            let record = store.import_dataset(&id(), of(vec![train()])).await.expect("an import");
            assert_eq!((record.shape, record.n_classes), ([2, 1, 2], 3));
            let close = |left: f64, right: f64| (left - right).abs() < 1e-15;
            assert!(close(record.mean[0], 0.4) && close(record.mean[1], 0.75));
            assert!(close(record.std[0], 0.14_f64.sqrt()) && close(record.std[1], 0.1875_f64.sqrt()));
            assert_eq!(store.get_dataset(&id()).await.expect("a record"), record);
        })
        .await;
    }

    #[tokio::test]
    async fn a_split_added_later_keeps_the_constants() {
        on_every_store(async |store| {
            let first = store.import_dataset(&id(), of(vec![train()])).await.expect("an import");
            let test = files(Split::Test, &[9; 4], &[1]);
            let second = store.import_dataset(&id(), of(vec![test.clone()])).await.expect("an import");
            assert_eq!((&second.mean, &second.std, second.n_classes), (&first.mean, &first.std, 3));
            assert_eq!(second.created, first.created);
            assert_ne!(second.digest, first.digest);
            assert_eq!(second.split_digest(Split::Train), first.split_digest(Split::Train));
            assert_eq!((first.split_digest(Split::Test), second.splits.len()), (None, 2));
            assert_eq!(store.get_dataset(&id()).await.expect("a record"), second);

            let error = store.import_dataset(&id(), of(vec![test])).await.expect_err("taken");
            assert_eq!(error.kind(), StoreErrorKind::AlreadyExists);
            assert_eq!(error.to_string(), "test split of datasets/data already exists");
            store.delete_dataset(&id()).await.expect("a deletion");
            assert!(everything(store).await.is_empty());
        })
        .await;
    }

    #[tokio::test]
    async fn both_splits_at_once_or_one_after_the_other_are_the_same_dataset() {
        let store = Store::open("memory://").expect("a store");
        let test = files(Split::Test, &[9; 4], &[1]);
        let once = of(vec![test.clone(), train()]);
        let other = "other".parse().expect("an id");
        let once = store.import_dataset(&other, once).await.expect("an import");
        store.import_dataset(&id(), of(vec![train()])).await.expect("an import");
        let later = store.import_dataset(&id(), of(vec![test])).await.expect("an import");
        assert_eq!(once.digest, later.digest);
        let listed = store.list_datasets(&Page::default()).await.expect("a page").items;
        assert_eq!(listed, [later, once]);
    }

    #[tokio::test]
    async fn bad_data_is_refused_by_its_part_and_leaves_nothing_behind() {
        on_every_store(async |store| {
            let text = refusal(store, of(vec![])).await;
            assert!(text.starts_with("splits: "), "{text}");

            let mut truncated = train();
            truncated.inputs.truncate(27);
            let text = refusal(store, of(vec![truncated])).await;
            assert!(text.starts_with("train inputs: ") && text.contains("expected 28") && text.contains("found 27"));

            let mut swapped = train();
            std::mem::swap(&mut swapped.inputs, &mut swapped.targets);
            let text = refusal(store, of(vec![swapped])).await;
            assert!(text.starts_with("train inputs: ") && text.contains("1 dimensions"), "{text}");

            let mut uneven = train();
            uneven.targets = idx(&[3], &[0; 3]);
            let text = refusal(store, of(vec![uneven])).await;
            assert!(text.starts_with("train targets: 3 targets for 2 inputs"), "{text}");

            let text = refusal(store, DatasetImport { n_classes: Some(2), ..of(vec![train()]) }).await;
            assert!(text.starts_with("train targets: target 2 of sample 0 is not below the 2 classes"), "{text}");

            let text = refusal(store, of(vec![files(Split::Test, &[9; 4], &[1])])).await;
            assert!(text.starts_with("mean and std: "), "{text}");

            let text = refusal(store, of(vec![files(Split::Train, &[9; 4], &[1])])).await;
            assert!(text.starts_with("std: all pixels of channel 0 are equal"), "{text}");

            for (values, part) in [(vec![0.5], "1 values for 2 channels"), (vec![f64::NAN, 1.0], "NaN")] {
                let text = refusal(store, DatasetImport { mean: Some(values), ..of(vec![train()]) }).await;
                assert!(text.starts_with("mean: ") && text.contains(part), "{text}");
            }
            let text = refusal(store, DatasetImport { std: Some(vec![1.0, 0.0]), ..of(vec![train()]) }).await;
            assert!(text.starts_with("std: 0 is not positive"), "{text}");
        })
        .await;
    }

    #[tokio::test]
    async fn a_split_that_does_not_fit_its_dataset_is_refused() {
        on_every_store(async |store| {
            store.import_dataset(&id(), of(vec![train()])).await.expect("an import");
            let test = files(Split::Test, &[9; 4], &[1]);
            let text = refusal(store, DatasetImport { mean: Some(vec![0.0, 0.0]), ..of(vec![test.clone()]) }).await;
            assert!(text.starts_with("mean: "), "{text}");
            let text = refusal(store, DatasetImport { n_classes: Some(4), ..of(vec![test]) }).await;
            assert!(text.starts_with("n_classes: 4 is not the dataset's own number, 3"), "{text}");
            let text = refusal(store, of(vec![files(Split::Test, &[9; 4], &[3])])).await;
            assert!(text.starts_with("test targets: target 3"), "{text}");
            let mut wide = files(Split::Test, &[9; 4], &[1]);
            wide.inputs = idx(&[1, 2, 2, 1], &[9; 4]);
            let text = refusal(store, of(vec![wide])).await;
            assert!(text.starts_with("test inputs: samples have the shape [2, 2, 1]"), "{text}");
        })
        .await;
    }

    #[tokio::test]
    async fn a_backend_that_fails_leaves_what_was_there() {
        let backend = Arc::new(InMemory::new());
        let store = faulty(&backend, "dataset.json");
        assert!(store.import_dataset(&id(), of(vec![train()])).await.is_err());
        assert!(everything(&store).await.is_empty());

        let sound = faulty(&backend, "nothing");
        let record = sound.import_dataset(&id(), of(vec![train()])).await.expect("an import");
        let before = everything(&store).await;
        assert!(store.import_dataset(&id(), of(vec![files(Split::Test, &[9; 4], &[1])])).await.is_err());
        assert_eq!(everything(&store).await, before);
        assert_eq!(store.get_dataset(&id()).await.expect("a record"), record);
    }

    #[tokio::test]
    async fn the_embedded_dataset_is_what_it_says() {
        let store = Store::open("memory://").expect("a store");
        let id = embedded::FASHION_MNIST_6K.parse().expect("an id");
        let record = store.import_dataset(&id, embedded::fashion_mnist_6k()).await.expect("an import");
        assert_eq!((record.shape, record.n_classes), ([1, 28, 28], 10));
        assert_eq!(record.splits[&Split::Train].n_samples, 5000);
        assert_eq!(record.splits[&Split::Test].n_samples, 1000);
        let digest = |text: &str| text.parse::<Digest>().expect("a digest");
        assert_eq!(
            record.splits[&Split::Train].inputs_digest,
            digest("626b8bf8433327de7912bae1d0e4c70fdcca53de33970297bf9a2205500c574a")
        );
        assert_eq!(
            record.splits[&Split::Test].targets_digest,
            digest("b40abac7ec8228f434940f579deb7cf7b6e3103b5274cb91d1545771f5ef1c8b")
        );
    }

    /// A CIFAR-10 file of one sample per label.
    fn cifar(labels: &[u8]) -> Bytes {
        labels.iter().flat_map(|label| [&[*label][..], &[*label; 3072]].concat()).collect()
    }

    #[tokio::test]
    async fn cifar_has_its_own_constants_and_classes() {
        let store = Store::open("memory://").expect("a store");
        let files = |split, labels| SplitFiles { split, inputs: cifar(labels), targets: Bytes::new() };
        let import = |splits| DatasetImport { splits, format: DatasetFormat::Cifar10, ..DatasetImport::default() };
        let record = store.import_dataset(&id(), import(vec![files(Split::Test, &[3, 1])])).await.expect("an import");
        assert_eq!((record.shape, record.n_classes, record.storage), ([3, 32, 32], 10, SampleStorage::Pixels));
        assert_eq!(record.mean, [125.3 / 255.0, 123.0 / 255.0, 113.9 / 255.0]);
        assert_eq!(record.std, [63.0 / 255.0, 62.1 / 255.0, 66.7 / 255.0]);
        let text = refusal(&store, import(vec![files(Split::Train, &[3, 10])])).await;
        assert!(text.starts_with("train inputs: sample 1 has the label 10"), "{text}");
        let text = refusal(&store, import(vec![])).await;
        assert!(text.starts_with("splits: "), "{text}");
        let images = DatasetImport { mean: None, ..of(vec![train()]) };
        let text = refusal(&store, images).await;
        assert!(text.starts_with("train inputs: samples have the shape [2, 1, 2]"), "{text}");
    }

    #[tokio::test]
    async fn a_record_without_a_storage_is_one_of_pixels() {
        let store = Store::open("memory://").expect("a store");
        let record = store.import_dataset(&id(), of(vec![train()])).await.expect("an import");
        let json = serde_json::to_value(&record).expect("JSON");
        assert!(json.get("storage").is_none());
        assert_eq!(serde_json::from_value::<DatasetRecord>(json).expect("a record"), record);
    }
}
