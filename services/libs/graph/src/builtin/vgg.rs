//! The networks of Simonyan and Zisserman 2015 with batch normalisation and one hidden linear layer, as in Li et al.
//! 2018.

use std::fmt;

use super::builder::{Builder, Window};
use crate::graph::Graph;
use crate::inference::GraphError;
use crate::shape::InputShape;

/// What sets one VGG apart from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vgg {
    /// The channels of the convolutions of each stage; a max-pool ends a stage.
    stages: &'static [&'static [usize]],
    /// The features of the hidden linear layer.
    hidden: usize,
}

/// The first 7 convolutions of VGG-16 and 2 linear layers.
pub(super) const VGG9: Vgg = Vgg { stages: &[&[64, 64], &[128, 128], &[256, 256, 256]], hidden: 256 };

impl Vgg {
    /// The least height and width of an image of which all pools leave something.
    pub(super) const fn least_side(&self) -> usize {
        1 << self.stages.len()
    }

    pub(super) fn write(&self, name: &str, input: InputShape, n_classes: usize) -> Result<Graph, GraphError> {
        let mut net = Builder::default();
        let mut value = net.input();
        let mut channels = input.channels();
        let mut n_layers = 0;
        let mut layer = || {
            n_layers += 1;
            format!("features.{}", n_layers - 1)
        };
        for widths in self.stages {
            for width in *widths {
                value = net.conv_with_bias(&layer(), &value, [channels, *width], Window::around(1));
                value = net.batch_normalization(&layer(), &value, *width);
                value = net.relu(&layer(), &value);
                channels = *width;
            }
            value = net.max_pool(&layer(), &value);
        }
        value = net.flatten("flatten", &value);
        let pooled = (input.height() / self.least_side()) * (input.width() / self.least_side());
        value = net.linear("fc.0", &value, [channels * pooled, self.hidden]);
        value = net.batch_normalization("fc.1", &value, self.hidden);
        value = net.relu("fc.2", &value);
        net.linear("classifier", &value, [self.hidden, n_classes]);
        net.finish(name, input)
    }
}

impl fmt::Display for Vgg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = self.stages.concat();
        let (n_convs, n_layers) = (widths.len(), widths.len() + 2);
        let [least, most] = [widths.iter().min(), widths.iter().max()].map(|width| width.copied().unwrap_or_default());
        write!(f, "{n_layers} layers, {n_convs} convolutions of {least} to {most} channels, 2 linear layers")
    }
}
