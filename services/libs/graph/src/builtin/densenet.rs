//! The densely connected networks of Huang, Liu, van der Maaten and Weinberger 2017 with bottlenecks and compression,
//! behind the stem for small images, as in Li et al. 2018.

use std::fmt;

use super::builder::{Builder, Window};
use crate::graph::Graph;
use crate::inference::GraphError;
use crate::shape::InputShape;

/// What sets one DenseNet apart from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DenseNet {
    /// The channels that each layer adds; the stem makes twice as many.
    growth: usize,
    /// The layers of each block. Between two blocks channels, height and width are halved.
    n_layers: [usize; 4],
}

/// Of 121 layers.
pub(super) const DENSENET121: DenseNet = DenseNet { growth: 32, n_layers: [6, 12, 24, 16] };

/// The channels inside a layer, in multiples of the growth.
const BOTTLENECK: usize = 4;

impl DenseNet {
    /// The least height and width of an image of which all pools leave something.
    pub(super) const fn least_side(&self) -> usize {
        1 << (self.n_layers.len() - 1)
    }

    pub(super) fn write(&self, name: &str, input: InputShape, n_classes: usize) -> Result<Graph, GraphError> {
        let mut net = Builder::default();
        let mut value = net.input();
        let mut channels = 2 * self.growth;
        value = net.conv("conv1", &value, [input.channels(), channels], Window::around(1));
        for (idx, n_layers) in self.n_layers.into_iter().enumerate() {
            if idx > 0 {
                value = transition(&mut net, &format!("trans{idx}"), &value, channels);
                channels /= 2;
            }
            for layer in 0..n_layers {
                value = self.layer(&mut net, &format!("dense{}.{layer}", idx + 1), &value, channels);
                channels += self.growth;
            }
        }
        value = net.batch_normalization("bn", &value, channels);
        value = net.relu("relu", &value);
        value = net.global_average_pool("pool", &value);
        value = net.flatten("flatten", &value);
        net.linear("linear", &value, [channels, n_classes]);
        net.finish(name, input)
    }

    /// BN-ReLU-conv1x1-BN-ReLU-conv3x3; what that makes stands before what it read.
    fn layer(&self, net: &mut Builder, name: &str, from: &str, channels: usize) -> String {
        let part = |part: &str| format!("{name}.{part}");
        let inner = BOTTLENECK * self.growth;
        let mut value = net.batch_normalization(&part("bn1"), from, channels);
        value = net.relu(&part("relu1"), &value);
        value = net.conv(&part("conv1"), &value, [channels, inner], Window::point(1));
        value = net.batch_normalization(&part("bn2"), &value, inner);
        value = net.relu(&part("relu2"), &value);
        value = net.conv(&part("conv2"), &value, [inner, self.growth], Window::around(1));
        net.concat(&part("concat"), [&value, from])
    }
}

/// BN-ReLU-conv1x1 to half the channels, and an average pool.
fn transition(net: &mut Builder, name: &str, from: &str, channels: usize) -> String {
    let part = |part: &str| format!("{name}.{part}");
    let mut value = net.batch_normalization(&part("bn"), from, channels);
    value = net.relu(&part("relu"), &value);
    value = net.conv(&part("conv"), &value, [channels, channels / 2], Window::point(1));
    net.average_pool(&part("pool"), &value)
}

impl fmt::Display for DenseNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The stem, two convolutions a layer, one between two blocks, and the linear layer.
        let n_layers = 1 + 2 * self.n_layers.iter().sum::<usize>() + self.n_layers.len();
        write!(f, "{n_layers} layers, {} blocks that grow by {} channels a layer", self.n_layers.len(), self.growth)
    }
}
