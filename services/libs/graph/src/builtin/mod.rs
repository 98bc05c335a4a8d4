//! The networks generated here, for any input shape and number of classes.

mod builder;
mod densenet;
mod description;
mod lenet;
mod resnet;
#[cfg(test)]
mod tests;
mod vgg;

use crate::graph::Graph;
use crate::inference::GraphError;
use crate::shape::InputShape;
use description::NETWORKS;

pub use description::Description;

/// Why a network is not generated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuiltinError {
    /// No network of that name.
    #[error("there is no built-in network `{name}`; there are {}", summary())]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// No classes.
    #[error("a network needs at least 1 class, got 0")]
    NoClasses,
    /// The images are smaller than the network's windows.
    #[error("`{name}` needs images of at least {least} x {least}, got {input}")]
    TooSmall {
        /// The network.
        name: &'static str,
        /// The least height and width.
        least: usize,
        /// The input shape asked for.
        input: InputShape,
    },
    /// The network would be too large.
    #[error("`{name}` cannot be built for input {input} and {n_classes} classes")]
    Build {
        /// The network.
        name: &'static str,
        /// The input shape asked for.
        input: InputShape,
        /// The number of classes asked for.
        n_classes: usize,
        /// What is wrong.
        source: Box<GraphError>,
    },
}

/// The names of the built-in networks.
pub fn names() -> impl Iterator<Item = &'static str> {
    NETWORKS.iter().map(|network| network.name)
}

/// Returns the names for a message: families one after the other, `[_noshort]` after those that there are with and
/// without shortcuts.
#[must_use]
pub fn summary() -> String {
    const SUFFIX: &str = "_noshort";
    let is_name = |name: &str| names().any(|other| other == name);
    let families = NETWORKS.chunk_by(|network, next| network.family == next.family).map(|family| {
        let of_family = family.iter().filter_map(|network| match network.name.strip_suffix(SUFFIX) {
            Some(name) if is_name(name) => None,
            _ if is_name(&format!("{}{SUFFIX}", network.name)) => Some(format!("{}[{SUFFIX}]", network.name)),
            _ => Some(network.name.to_owned()),
        });
        of_family.collect::<Vec<_>>().join(", ")
    });
    families.collect::<Vec<_>>().join("; ")
}

/// Returns what the network `name` is.
///
/// # Errors
/// When there is none of that name.
pub fn describe(name: &str) -> Result<Description, BuiltinError> {
    NETWORKS
        .iter()
        .find(|network| network.name == name)
        .copied()
        .ok_or_else(|| BuiltinError::Unknown { name: name.to_owned() })
}

/// Returns the network `name` for images of `input` and `n_classes` classes.
///
/// # Errors
/// When there is no such network, the images are too small for it, or there is no class.
pub fn build(name: &str, input: InputShape, n_classes: usize) -> Result<Graph, BuiltinError> {
    let description = describe(name)?;
    let Description { name, least_side, .. } = description;
    if n_classes == 0 {
        return Err(BuiltinError::NoClasses);
    }
    if input.height() < least_side || input.width() < least_side {
        return Err(BuiltinError::TooSmall { name, least: least_side, input });
    }
    let graph = description.write(input, n_classes);
    graph.map_err(|source| BuiltinError::Build { name, input, n_classes, source: Box::new(source) })
}

/// Returns the network `name` for the images and classes it was designed for.
///
/// # Errors
/// When there is none of that name.
pub fn build_default(name: &str) -> Result<Graph, BuiltinError> {
    let Description { name, input: [channels, height, width], n_classes, .. } = describe(name)?;
    let input =
        InputShape::new(channels, height, width).map_err(|_| BuiltinError::Unknown { name: name.to_owned() })?;
    build(name, input, n_classes)
}
