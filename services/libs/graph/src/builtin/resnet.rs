//! The residual networks of Li et al. 2018 and the same without shortcuts: for CIFAR-10 (He, Zhang, Ren and Sun 2016,
//! section 4.2), plain or wide, and with the widths for ImageNet (their table 1) behind the stem for small images.
//! Shortcuts are projected where shapes change (their option B).

use std::fmt;

use super::builder::{Builder, Window};
use crate::graph::Graph;
use crate::inference::GraphError;
use crate::shape::InputShape;

/// What sets one residual network apart from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ResNet {
    /// The channels of the stem and of the first stage; each further stage has twice as many, at half the height and
    /// width.
    width: usize,
    /// The number of blocks of each stage; 0 where there is no such stage.
    n_blocks: [usize; 4],
    block: Block,
    shortcuts: Shortcuts,
}

/// What a stage repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    /// Two convolutions of 3 x 3.
    Basic,
    /// A convolution of 3 x 3 between two of 1 x 1, the last to [`EXPANSION`] times the channels.
    Bottleneck,
}

const EXPANSION: usize = 4;

/// What is added to the output of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shortcuts {
    /// Its input, through a convolution of 1 x 1 and a batch normalisation where shapes differ.
    Projected,
    /// Nothing.
    Absent,
}

impl ResNet {
    /// The network of `depth` = 6 n + 2 layers for CIFAR: three stages of n basic blocks, 16, 32 and 64 channels wide, all
    /// times `factor`.
    pub(super) const fn cifar(depth: usize, factor: usize, shortcuts: Shortcuts) -> Self {
        let n = (depth - 2) / 6;
        Self { width: 16 * factor, n_blocks: [n, n, n, 0], block: Block::Basic, shortcuts }
    }

    /// A network with the widths for ImageNet.
    pub(super) const fn imagenet(block: Block, n_blocks: [usize; 4], shortcuts: Shortcuts) -> Self {
        Self { width: 64, n_blocks, block, shortcuts }
    }

    pub(super) fn write(&self, name: &str, input: InputShape, n_classes: usize) -> Result<Graph, GraphError> {
        let mut net = Builder::default();
        let mut value = net.input();
        value = net.conv("conv1", &value, [input.channels(), self.width], Window::around(1));
        value = net.batch_normalization("bn1", &value, self.width);
        value = net.relu("relu1", &value);
        let mut channels = self.width;
        for (stage, n_blocks) in self.n_blocks.into_iter().enumerate() {
            for idx in 0..n_blocks {
                let site = Site {
                    name: format!("layer{}.{idx}", stage + 1),
                    channels,
                    width: self.width << stage,
                    stride: if stage > 0 && idx == 0 { 2 } else { 1 },
                    shortcuts: self.shortcuts,
                };
                (value, channels) = site.write(self.block, &mut net, &value);
            }
        }
        value = net.global_average_pool("pool", &value);
        value = net.flatten("flatten", &value);
        net.linear("linear", &value, [channels, n_classes]);
        net.finish(name, input)
    }
}

impl fmt::Display for ResNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n_convs, block) = match self.block {
            Block::Basic => (2, "basic blocks"),
            Block::Bottleneck => (3, "bottlenecks"),
        };
        let shortcuts = match self.shortcuts {
            Shortcuts::Projected => "projected shortcuts",
            Shortcuts::Absent => "no shortcuts",
        };
        let n_layers = 2 + n_convs * self.n_blocks.iter().sum::<usize>();
        let n_stages = self.n_blocks.iter().filter(|n_blocks| **n_blocks > 0).count();
        let last = self.width << (n_stages - 1);
        write!(f, "{n_layers} layers, {block} of {} to {last} channels, {shortcuts}", self.width)
    }
}

/// A block in its place.
struct Site {
    name: String,
    /// The channels that it reads.
    channels: usize,
    width: usize,
    stride: usize,
    shortcuts: Shortcuts,
}

impl Site {
    /// Returns the value that the block makes, and its channels.
    fn write(&self, block: Block, net: &mut Builder, from: &str) -> (String, usize) {
        match block {
            Block::Basic => self.basic(net, from),
            Block::Bottleneck => self.bottleneck(net, from),
        }
    }

    fn basic(&self, net: &mut Builder, from: &str) -> (String, usize) {
        let Self { channels, width, stride, .. } = *self;
        let mut value = self.conv(net, from, 1, [channels, width], Window::around(stride));
        value = net.relu(&self.part("relu1"), &value);
        value = self.conv(net, &value, 2, [width, width], Window::around(1));
        value = self.shortcut(net, from, value, width);
        (net.relu(&self.part("relu2"), &value), width)
    }

    fn bottleneck(&self, net: &mut Builder, from: &str) -> (String, usize) {
        let Self { channels, width, stride, .. } = *self;
        let out = EXPANSION * width;
        let mut value = self.conv(net, from, 1, [channels, width], Window::point(1));
        value = net.relu(&self.part("relu1"), &value);
        value = self.conv(net, &value, 2, [width, width], Window::around(stride));
        value = net.relu(&self.part("relu2"), &value);
        value = self.conv(net, &value, 3, [width, out], Window::point(1));
        // Without its shortcut this block, unlike the basic one, has no ReLU at its end in the authors' networks.
        if self.shortcuts == Shortcuts::Projected {
            value = self.shortcut(net, from, value, out);
            value = net.relu(&self.part("relu3"), &value);
        }
        (value, out)
    }

    /// The block's convolution `idx` and its batch normalisation.
    fn conv(&self, net: &mut Builder, from: &str, idx: usize, channels: [usize; 2], window: Window) -> String {
        let value = net.conv(&self.part(&format!("conv{idx}")), from, channels, window);
        net.batch_normalization(&self.part(&format!("bn{idx}")), &value, channels[1])
    }

    /// The block's `value` of `out` channels, plus the shortcut from its input where there are shortcuts.
    fn shortcut(&self, net: &mut Builder, from: &str, value: String, out: usize) -> String {
        let shortcut = match self.shortcuts {
            Shortcuts::Absent => return value,
            Shortcuts::Projected if self.stride == 1 && self.channels == out => from.to_owned(),
            Shortcuts::Projected => {
                let window = Window::point(self.stride);
                let projected = net.conv(&self.part("shortcut.0"), from, [self.channels, out], window);
                net.batch_normalization(&self.part("shortcut.1"), &projected, out)
            }
        };
        net.add(&self.part("add"), [&value, &shortcut])
    }

    fn part(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }
}
