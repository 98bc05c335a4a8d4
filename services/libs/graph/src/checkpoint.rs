//! How a checkpoint fits a network.

use std::fmt;

use relief_core::{Tensor, TensorMap};

use crate::graph::Graph;

/// Everything in which a checkpoint does not fit a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointMismatch {
    /// The parameters that the checkpoint lacks, in the network's order.
    pub missing: Vec<String>,
    /// The tensors that have other dimensions than the network's parameters, in the network's order.
    pub misshapen: Vec<MisshapenTensor>,
}

/// A tensor with other dimensions than the network's parameter of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MisshapenTensor {
    /// The name of both.
    pub name: String,
    /// The dimensions of the parameter.
    pub expected: Vec<usize>,
    /// The dimensions of the tensor.
    pub found: Vec<usize>,
}

/// The most tensors that a message names; a checkpoint of another network misses hundreds.
const N_NAMED: usize = 8;

impl fmt::Display for CheckpointMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the checkpoint does not fit the network: ")?;
        let missing = self.missing.iter().map(|name| format!("`{name}`"));
        if !self.missing.is_empty() {
            write!(f, "missing {}", named(missing, ", "))?;
        }
        if !self.missing.is_empty() && !self.misshapen.is_empty() {
            f.write_str("; ")?;
        }
        let misshapen = self.misshapen.iter().map(|MisshapenTensor { name, expected, found }| {
            format!("`{name}` has shape {found:?}, expected {expected:?}")
        });
        f.write_str(&named(misshapen, "; "))
    }
}

fn named(mut items: impl ExactSizeIterator<Item = String>, separator: &str) -> String {
    let shown: Vec<String> = items.by_ref().take(N_NAMED).collect();
    match items.len() {
        0 => shown.join(separator),
        n_more => format!("{} and {n_more} more", shown.join(separator)),
    }
}

impl std::error::Error for CheckpointMismatch {}

impl Graph {
    /// Checks that `checkpoint` holds every parameter in its shape. More tensors than that are allowed: see
    /// [`Graph::unused`].
    ///
    /// # Errors
    /// All missing and all misshapen tensors at once.
    pub fn check(&self, checkpoint: &TensorMap) -> Result<(), CheckpointMismatch> {
        let mut mismatch = CheckpointMismatch { missing: Vec::new(), misshapen: Vec::new() };
        for parameter in self.parameters() {
            match checkpoint.get(&parameter.name) {
                None => mismatch.missing.push(parameter.name.clone()),
                Some(tensor) if tensor.shape() != parameter.shape => mismatch.misshapen.push(MisshapenTensor {
                    name: parameter.name.clone(),
                    expected: parameter.shape.clone(),
                    found: tensor.shape().to_vec(),
                }),
                Some(_) => {}
            }
        }
        if mismatch.missing.is_empty() && mismatch.misshapen.is_empty() { Ok(()) } else { Err(mismatch) }
    }

    /// Returns the names of the tensors that the network does not read, in order.
    #[must_use]
    pub fn unused<'a>(&self, checkpoint: &'a TensorMap) -> Vec<&'a str> {
        let known: std::collections::HashSet<&str> = self.parameters().iter().map(|p| p.name.as_str()).collect();
        checkpoint.keys().map(String::as_str).filter(|name| !known.contains(name)).collect()
    }

    /// The trainable tensors of `checkpoint` under their names, in the network's order: what
    /// [`relief_core::random_direction`] takes. Names that the checkpoint lacks are skipped.
    pub fn trainable<'a>(&'a self, checkpoint: &'a TensorMap) -> impl Iterator<Item = (&'a str, &'a Tensor)> {
        self.parameters()
            .iter()
            .filter(|parameter| parameter.kind.is_trainable())
            .filter_map(|parameter| checkpoint.get(&parameter.name).map(|tensor| (parameter.name.as_str(), tensor)))
    }
}
