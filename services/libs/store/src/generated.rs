//! Networks that are generated when they are first named.

use relief_core::NetworkId;
use relief_graph::{InputShape, builtin};

use crate::error::StoreError;
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

impl Store {
    /// The network called `id`: a stored one, else a generated one, which is stored under its full id (as
    /// `resnet20-3x32x32-10`) when it is not there yet. The id of a kind alone stands for the instance that takes
    /// `sample`, an input shape (channels, height, width) and a number of classes, or the kind's own default.
    ///
    /// # Errors
    /// `NotFound` when neither is called that; `Invalid` when the kind cannot be made for that input.
    pub async fn resolve_network(
        &self,
        id: &NetworkId,
        sample: Option<([u32; 3], u32)>,
    ) -> Result<NetworkRecord, StoreError> {
        let invalid = |error: &dyn std::fmt::Display| StoreError::invalid(id.to_string(), error.to_string());
        match self.get_network(id).await {
            Err(StoreError::NotFound { .. }) => {}
            found => return found,
        }
        let Some(name) = GeneratedName::parse(id.as_str()) else {
            let known = builtin::names().collect::<Vec<_>>().join(", ");
            return Err(StoreError::not_found(format!("{id}; generated are {known}")));
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
        match self.get_network(&full).await {
            Err(StoreError::NotFound { .. }) => {}
            found => return found,
        }
        let graph = builtin::build(name.kind, input, n_classes).map_err(|error| invalid(&error))?;
        let onnx = graph.to_onnx(None).map_err(|error| invalid(&error))?;
        match self.import_network(&full, NetworkImport::of(&graph, onnx.into())).await {
            // Somebody else named it at the same time.
            Err(StoreError::AlreadyExists { .. }) => self.get_network(&full).await,
            imported => imported,
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
