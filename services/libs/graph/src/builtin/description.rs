//! What the built-in networks are, and the table of them.

use std::fmt;

use super::densenet::{DENSENET121, DenseNet};
use super::lenet;
use super::resnet::{
    Block::{Basic, Bottleneck},
    ResNet,
    Shortcuts::{self, Absent, Projected},
};
use super::vgg::{VGG9, Vgg};
use crate::graph::Graph;
use crate::inference::GraphError;
use crate::shape::InputShape;

/// What a built-in network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// The name it is asked for by.
    pub name: &'static str,
    /// The kind of network it is.
    pub family: &'static str,
    /// Channels, height and width of the input it was designed for.
    pub input: [usize; 3],
    /// The number of classes it was designed for.
    pub n_classes: usize,
    /// The least height and width of an input.
    pub least_side: usize,
    architecture: Architecture,
}

impl Description {
    /// What sets it apart within its family.
    #[must_use]
    pub fn text(&self) -> String {
        self.architecture.to_string()
    }

    pub(super) fn write(&self, input: InputShape, n_classes: usize) -> Result<Graph, GraphError> {
        match &self.architecture {
            Architecture::LeNet5 => lenet::lenet5(self.name, input, n_classes),
            Architecture::Vgg(vgg) => vgg.write(self.name, input, n_classes),
            Architecture::ResNet(resnet) => resnet.write(self.name, input, n_classes),
            Architecture::DenseNet(densenet) => densenet.write(self.name, input, n_classes),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Architecture {
    LeNet5,
    Vgg(Vgg),
    ResNet(ResNet),
    DenseNet(DenseNet),
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeNet5 => f.write_str("5 layers, 2 convolutions of 6 and 16 channels, 3 linear layers"),
            Self::Vgg(vgg) => vgg.fmt(f),
            Self::ResNet(resnet) => resnet.fmt(f),
            Self::DenseNet(densenet) => densenet.fmt(f),
        }
    }
}

/// The built-in networks; those of one family stand together.
pub(super) const NETWORKS: [Description; 31] = [
    described("lenet5", "LeNet", Architecture::LeNet5),
    described("vgg9", "VGG", Architecture::Vgg(VGG9)),
    cifar("resnet20", 20, Projected),
    cifar("resnet20_noshort", 20, Absent),
    cifar("resnet32", 32, Projected),
    cifar("resnet32_noshort", 32, Absent),
    cifar("resnet44", 44, Projected),
    cifar("resnet44_noshort", 44, Absent),
    cifar("resnet56", 56, Projected),
    cifar("resnet56_noshort", 56, Absent),
    cifar("resnet110", 110, Projected),
    cifar("resnet110_noshort", 110, Absent),
    wide("wrn56_2", 56, 2, Projected),
    wide("wrn56_2_noshort", 56, 2, Absent),
    wide("wrn56_4", 56, 4, Projected),
    wide("wrn56_4_noshort", 56, 4, Absent),
    wide("wrn56_8", 56, 8, Projected),
    wide("wrn56_8_noshort", 56, 8, Absent),
    wide("wrn110_2_noshort", 110, 2, Absent),
    wide("wrn110_4_noshort", 110, 4, Absent),
    imagenet("resnet18", ResNet::imagenet(Basic, [2, 2, 2, 2], Projected)),
    imagenet("resnet18_noshort", ResNet::imagenet(Basic, [2, 2, 2, 2], Absent)),
    imagenet("resnet34", ResNet::imagenet(Basic, [3, 4, 6, 3], Projected)),
    imagenet("resnet34_noshort", ResNet::imagenet(Basic, [3, 4, 6, 3], Absent)),
    imagenet("resnet50", ResNet::imagenet(Bottleneck, [3, 4, 6, 3], Projected)),
    imagenet("resnet50_noshort", ResNet::imagenet(Bottleneck, [3, 4, 6, 3], Absent)),
    imagenet("resnet101", ResNet::imagenet(Bottleneck, [3, 4, 23, 3], Projected)),
    imagenet("resnet101_noshort", ResNet::imagenet(Bottleneck, [3, 4, 23, 3], Absent)),
    imagenet("resnet152", ResNet::imagenet(Bottleneck, [3, 8, 36, 3], Projected)),
    imagenet("resnet152_noshort", ResNet::imagenet(Bottleneck, [3, 8, 36, 3], Absent)),
    described("densenet121", "DenseNet", Architecture::DenseNet(DENSENET121)),
];

const fn cifar(name: &'static str, depth: usize, shortcuts: Shortcuts) -> Description {
    described(name, "CIFAR ResNet", Architecture::ResNet(ResNet::cifar(depth, 1, shortcuts)))
}

const fn wide(name: &'static str, depth: usize, factor: usize, shortcuts: Shortcuts) -> Description {
    described(name, "wide CIFAR ResNet", Architecture::ResNet(ResNet::cifar(depth, factor, shortcuts)))
}

const fn imagenet(name: &'static str, resnet: ResNet) -> Description {
    described(name, "ImageNet ResNet", Architecture::ResNet(resnet))
}

const fn described(name: &'static str, family: &'static str, architecture: Architecture) -> Description {
    let (input, least_side) = match &architecture {
        Architecture::LeNet5 => ([1, 28, 28], lenet::LEAST_SIDE),
        Architecture::Vgg(vgg) => ([3, 32, 32], vgg.least_side()),
        Architecture::ResNet(_) => ([3, 32, 32], 1),
        Architecture::DenseNet(densenet) => ([3, 32, 32], densenet.least_side()),
    };
    Description { name, family, input, n_classes: 10, least_side, architecture }
}
