//! Networks that are generated when they are first named.

use bytes::Bytes;
use relief_core::NetworkId;
use relief_graph::{InputShape, builtin};

use crate::error::StoreError;
use crate::layout::BlobPath;
use crate::network::{NetworkImport, NetworkRecord};
use crate::store::Store;

/// A generated network as an id names it: a kind, perhaps with the shape of an input and the number of classes.
#[derive(Debug, PartialEq)]
struct GeneratedName<'a> {
    kind: &'a str,
    instance: Option<(InputShape, usize)>,
}

impl<'a> GeneratedName<'a> {
    /// Reads `resnet20`, or `resnet20-3x32x32-10`; none when no generated network has that name.
    fn parse(id: &'a str) -> Option<Self> {
        let is_kind = |kind: &str| builtin::names().any(|name| name == kind);
        if is_kind(id) {
            return Some(Self { kind: id, instance: None });
        }
        let (rest, n_classes) = id.rsplit_once('-')?;
        let (kind, shape) = rest.rsplit_once('-')?;
        let instance = (shape.parse().ok()?, n_classes.parse().ok()?);
        is_kind(kind).then_some(Self { kind, instance: Some(instance) })
    }
}

/// A network by name: a stored one, or a generated one that is not stored yet.
#[derive(Debug, Clone)]
pub struct FoundNetwork {
    /// What is stored of it, or would be.
    pub record: NetworkRecord,
    /// Its ONNX file, if it is generated and not stored yet.
    generated: Option<NetworkImport>,
}

impl Store {
    /// Finds the network called `id`, and changes nothing: a stored one, else a generated one under its full id (as
    /// `resnet20-3x32x32-10`). The id of a kind alone stands for the instance that takes `sample`, an input shape
    /// (channels, height, width) and a number of classes, or the kind's own default.
    ///
    /// # Errors
    /// `NotFound` when neither is called that; `Invalid` when the kind cannot be made for that input.
    pub async fn find_network(
        &self,
        id: &NetworkId,
        sample: Option<([u32; 3], u32)>,
    ) -> Result<FoundNetwork, StoreError> {
        let invalid = |error: &dyn std::fmt::Display| StoreError::invalid(id.to_string(), error.to_string());
        if let Some(record) = self.stored_network(id).await? {
            return Ok(FoundNetwork { record, generated: None });
        }
        let Some(name) = GeneratedName::parse(id.as_str()) else {
            return Err(StoreError::not_found(format!("{id}; generated are {}", builtin::summary())));
        };
        let (input, n_classes) = match (name.instance, sample) {
            (Some(instance), _) => instance,
            (None, Some((shape, n_classes))) => {
                let [channels, height, width] = shape.map(|dim| dim as usize);
                let input = InputShape::new(channels, height, width).map_err(|error| invalid(&error))?;
                (input, n_classes as usize)
            }
            (None, None) => {
                let default = builtin::build_default(name.kind).map_err(|error| invalid(&error))?;
                (default.input_shape(), default.n_classes())
            }
        };
        let full = format!("{}-{input}-{n_classes}", name.kind);
        let full: NetworkId = full.parse().map_err(|error| invalid(&error))?;
        if let Some(record) = self.stored_network(&full).await? {
            return Ok(FoundNetwork { record, generated: None });
        }
        let graph = builtin::build(name.kind, input, n_classes).map_err(|error| invalid(&error))?;
        let onnx = graph.to_onnx(None).map_err(|error| invalid(&error))?;
        let import = NetworkImport::of(&graph, onnx.into());
        Ok(FoundNetwork { record: import.record(full), generated: Some(import) })
    }

    /// Stores a generated network that is not there yet; a stored one stays as it is.
    ///
    /// # Errors
    /// When the backend fails.
    pub async fn keep_network(&self, found: FoundNetwork) -> Result<NetworkRecord, StoreError> {
        let Some(import) = found.generated else { return Ok(found.record) };
        let id = found.record.id;
        match self.import_network(&id, import).await {
            // Somebody else kept it at the same time.
            Err(StoreError::AlreadyExists { .. }) => self.get_network(&id).await,
            imported => imported,
        }
    }

    /// The ONNX file of a network, stored or not.
    ///
    /// # Errors
    /// As [`Store::load_network`].
    pub async fn load_found_network(&self, found: &FoundNetwork) -> Result<Bytes, StoreError> {
        match &found.generated {
            Some(import) => Ok(import.onnx.clone()),
            None => self.load_network(&BlobPath::network(&found.record.id), found.record.digest).await,
        }
    }

    /// Finds the network called `id`, and keeps it.
    ///
    /// # Errors
    /// As [`Store::find_network`] and [`Store::keep_network`].
    pub async fn resolve_network(
        &self,
        id: &NetworkId,
        sample: Option<([u32; 3], u32)>,
    ) -> Result<NetworkRecord, StoreError> {
        self.keep_network(self.find_network(id, sample).await?).await
    }

    async fn stored_network(&self, id: &NetworkId) -> Result<Option<NetworkRecord>, StoreError> {
        match self.get_network(id).await {
            Ok(record) => Ok(Some(record)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> NetworkId {
        text.parse().expect("a good name")
    }

    #[tokio::test]
    async fn a_kind_takes_the_shape_of_the_samples() {
        let store = Store::open("memory://").expect("a good url");
        let sample = Some(([1, 28, 28], 10));
        let record = store.resolve_network(&id("lenet5"), sample).await.expect("a generated network");
        assert_eq!((record.id.as_str(), record.n_parameters), ("lenet5-1x28x28-10", 61_706));
        assert_eq!(store.get_network(&record.id).await.expect("stored"), record);
        let again = store.resolve_network(&id("lenet5-1x28x28-10"), None).await.expect("there already");
        assert_eq!(again, record);
    }

    #[tokio::test]
    async fn finding_a_network_stores_nothing() {
        let store = Store::open("memory://").expect("a good url");
        let found = store.find_network(&id("lenet5"), None).await.expect("a generated network");
        assert!(matches!(store.get_network(&found.record.id).await, Err(StoreError::NotFound { .. })));
        assert!(!store.load_found_network(&found).await.expect("its file").is_empty());
        let digest = found.record.digest;
        assert_eq!(store.keep_network(found).await.expect("kept").digest, digest);
    }

    #[tokio::test]
    async fn a_full_name_has_its_own_shape() {
        let store = Store::open("memory://").expect("a good url");
        let record = store.resolve_network(&id("resnet20_noshort-1x32x32-7"), Some(([3, 8, 8], 2))).await;
        assert_eq!(record.map(|r| (r.input_shape, r.n_classes)).expect("a generated network"), ([1, 32, 32], 7));
    }

    #[tokio::test]
    async fn unknown_networks_are_not_found_and_impossible_ones_refused() {
        let store = Store::open("memory://").expect("a good url");
        for name in ["vgg", "lenet5-10", "lenet5-1x28-10", "x-1x28x28-10"] {
            let error = store.resolve_network(&id(name), None).await.expect_err(name);
            assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
        }
        let error = store.resolve_network(&id("lenet5-1x2x2-10"), None).await.expect_err("too small");
        assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
    }
}
