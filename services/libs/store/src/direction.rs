//! Directions as files, given or drawn: safetensors, kept under their digest and used as they are.

use bytes::Bytes;
use relief_core::{Digest, TensorMap};
use serde::Serialize;

use crate::error::{StoreError, chain};
use crate::layout;
use crate::object::offload;
use crate::record::to_json;
use crate::safetensor::decode_checkpoint;
use crate::store::Store;
use crate::timestamp;

/// What is known of a stored direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectionRecord {
    /// The digest of its file.
    pub digest: Digest,
    /// The size of its file in bytes.
    pub n_bytes: u64,
    /// The number of its tensors.
    pub n_tensors: u64,
}

/// The tensors of a direction's file.
fn read(file: &[u8]) -> Result<TensorMap, String> {
    let decoded = decode_checkpoint(file).map_err(|error| chain(&error))?;
    if let Some(skipped) = decoded.skipped.first() {
        let (name, dtype) = (&skipped.name, &skipped.dtype);
        return Err(format!("tensor `{name}` has the type {dtype}; a direction has floating-point tensors only"));
    }
    if decoded.tensors.is_empty() {
        return Err("it has no tensors; name at least one that moves".to_owned());
    }
    for (name, tensor) in &decoded.tensors {
        if let Some(value) = tensor.data().iter().find(|value| !value.is_finite()) {
            return Err(format!("tensor `{name}` holds {value}; a direction is finite"));
        }
    }
    Ok(decoded.tensors)
}

/// What marks a direction as one that a user gave.
#[derive(Debug, Serialize)]
struct ImportMark {
    /// When it was given, RFC 3339.
    imported: String,
}

/// Checks the file of a direction.
async fn checked(file: Bytes) -> Result<(Bytes, DirectionRecord), StoreError> {
    let check = move || {
        let tensors = read(&file).map_err(|reason| StoreError::invalid("direction", reason))?;
        let (digest, n_bytes) = (Digest::of(&file), file.len() as u64);
        Ok((file, DirectionRecord { digest, n_bytes, n_tensors: tensors.len() as u64 }))
    };
    offload(check).await?
}

impl Store {
    /// Stores a direction that a user gave; one that is there already stays as it is. It is kept although no surface
    /// names it.
    ///
    /// # Errors
    /// `Invalid` when the file is no safetensors file of finite floating-point tensors.
    pub async fn import_direction(&self, file: Bytes) -> Result<DirectionRecord, StoreError> {
        let (file, record) = checked(file).await?;
        let mark = to_json("direction", &ImportMark { imported: timestamp::now() })?;
        let _change = self.change().await;
        // Before the file, which a collection of orphans could otherwise take for a drawn one.
        self.objects.put_new(&layout::direction_mark(record.digest), mark).await?;
        self.put_direction(record.digest, file).await?;
        Ok(record)
    }

    /// Stores a direction that was drawn; one that is there already stays as it is. It is kept for as long as a surface
    /// names it; see [`Store::collect_orphans`].
    ///
    /// # Errors
    /// `Invalid` when the file is no safetensors file of finite floating-point tensors.
    pub async fn keep_direction(&self, file: Bytes) -> Result<DirectionRecord, StoreError> {
        let (file, record) = checked(file).await?;
        self.put_direction(record.digest, file).await?;
        Ok(record)
    }

    async fn put_direction(&self, digest: Digest, file: Bytes) -> Result<(), StoreError> {
        let path = layout::direction(digest);
        if !self.objects.exists(&path).await? {
            // Whoever else puts it puts the same bytes.
            self.objects.put(&path, file).await?;
        }
        Ok(())
    }

    /// The file of a stored direction, with the digest verified.
    ///
    /// # Errors
    /// `NotFound` when there is none of that digest; `Corrupt` when it has another.
    pub async fn read_direction(&self, digest: Digest) -> Result<Bytes, StoreError> {
        self.objects.get_verified(&layout::direction(digest), digest).await
    }

    /// The tensors of a stored direction, with the digest verified.
    ///
    /// # Errors
    /// `NotFound` when there is none of that digest; `Corrupt` when it has another.
    pub async fn load_direction(&self, digest: Digest) -> Result<TensorMap, StoreError> {
        let file = self.read_direction(digest).await?;
        let tensors = offload(move || read(&file)).await?;
        tensors.map_err(|reason| StoreError::corrupt(layout::direction(digest), reason))
    }
}

#[cfg(test)]
mod tests {
    use relief_core::Tensor;

    use super::*;
    use crate::conformance::{everything, on_every_store};
    use crate::error::StoreErrorKind;
    use crate::safetensor::encode_checkpoint;

    fn tensors(value: f32) -> TensorMap {
        TensorMap::from([("fc.weight".to_owned(), Tensor::filled([2, 3], value))])
    }

    #[tokio::test]
    async fn a_direction_is_kept_under_its_digest() {
        on_every_store(async |store| {
            let file = encode_checkpoint(&tensors(0.5)).expect("a file");
            let record = store.import_direction(file.clone()).await.expect("an import");
            assert_eq!(record, DirectionRecord { digest: Digest::of(&file), n_bytes: file.len() as u64, n_tensors: 1 });
            assert_eq!(store.import_direction(file).await.expect("there already"), record);
            let of = |suffix| format!("directions/{}.{suffix}", record.digest);
            assert_eq!(everything(store).await, [of("json"), of("safetensors")]);
            assert_eq!(store.load_direction(record.digest).await.expect("tensors"), tensors(0.5));
            let error = store.load_direction(Digest::of(b"else")).await.expect_err("none");
            assert_eq!(error.kind(), StoreErrorKind::NotFound);
        })
        .await;
    }

    #[tokio::test]
    async fn a_drawn_direction_has_no_mark_until_it_is_imported() {
        on_every_store(async |store| {
            let file = encode_checkpoint(&tensors(0.5)).expect("a file");
            let record = store.keep_direction(file.clone()).await.expect("a direction");
            assert_eq!(store.keep_direction(file.clone()).await.expect("there already"), record);
            let of = |suffix| format!("directions/{}.{suffix}", record.digest);
            assert_eq!(everything(store).await, [of("safetensors")]);
            assert_eq!(store.load_direction(record.digest).await.expect("tensors"), tensors(0.5));
            assert_eq!(store.import_direction(file).await.expect("an import"), record);
            assert_eq!(everything(store).await, [of("json"), of("safetensors")]);
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_no_direction_is_refused() {
        let store = Store::open("memory://").expect("a store");
        let file = |tensors: &TensorMap| encode_checkpoint(tensors).expect("a file");
        for (file, word) in [
            (Bytes::from_static(b"PK"), "safetensors"),
            (file(&TensorMap::new()), "no tensors"),
            (file(&tensors(f32::NAN)), "`fc.weight` holds NaN"),
        ] {
            let error = store.import_direction(file).await.expect_err("no direction");
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            assert!(error.to_string().contains(word), "{error}");
        }
        assert!(everything(&store).await.is_empty());
    }
}
