//! What must hold of the numbers, on a real network: properties of the method, and the mistakes that other programs made.

mod properties;
mod traps;

use relief_graph::{Graph, builtin};
use relief_integration_tests::Landscape;

/// A residual network of the paper on small images.
fn resnet20() -> anyhow::Result<Graph> {
    Ok(builtin::build("resnet20", "3x8x8".parse()?, 10)?)
}

/// The same, settled, on 20 samples in batches of 8, the last of which is short.
fn landscape() -> anyhow::Result<Landscape> {
    Landscape::settled(resnet20()?, 20, 3)
}
