//! The residual networks for CIFAR-10 (He, Zhang, Ren and Sun 2016, section 4.2) with projected shortcuts (their option
//! B) as in Li et al. 2018, and the same without shortcuts.

use super::builder::{Builder, Window};
use crate::graph::Graph;
use crate::inference::GraphError;
use crate::shape::InputShape;

const WIDTHS: [usize; 3] = [16, 32, 64];

/// A network of `depth` = 6 n + 2 layers: a stem, three stages of n blocks, a linear layer.
pub(super) fn resnet(
    name: &str,
    input: InputShape,
    n_classes: usize,
    depth: usize,
    has_shortcuts: bool,
) -> Result<Graph, GraphError> {
    let n_blocks = (depth - 2) / 6;
    let mut net = Builder::default();
    let mut value = net.input();
    value = net.conv("conv1", &value, [input.channels(), WIDTHS[0]], Window { size: 3, stride: 1, padding: 1 });
    value = net.batch_normalization("bn1", &value, WIDTHS[0]);
    value = net.relu("relu1", &value);
    let mut channels = WIDTHS[0];
    for (stage, width) in WIDTHS.into_iter().enumerate() {
        for block in 0..n_blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let block = Block { name: format!("layer{}.{block}", stage + 1), channels: [channels, width], stride };
            value = block.write(&mut net, &value, has_shortcuts);
            channels = width;
        }
    }
    value = net.global_average_pool("pool", &value);
    value = net.flatten("flatten", &value);
    net.linear("linear", &value, [channels, n_classes]);
    net.finish(name, input)
}

/// conv-BN-ReLU-conv-BN, plus the shortcut, ReLU.
struct Block {
    name: String,
    channels: [usize; 2],
    stride: usize,
}

impl Block {
    fn write(&self, net: &mut Builder, from: &str, has_shortcuts: bool) -> String {
        let Self { channels: [channels, width], stride, .. } = *self;
        let name = |part: &str| format!("{}.{part}", self.name);
        let mut value = net.conv(&name("conv1"), from, [channels, width], Window { size: 3, stride, padding: 1 });
        value = net.batch_normalization(&name("bn1"), &value, width);
        value = net.relu(&name("relu1"), &value);
        value = net.conv(&name("conv2"), &value, [width, width], Window { size: 3, stride: 1, padding: 1 });
        value = net.batch_normalization(&name("bn2"), &value, width);
        if has_shortcuts {
            let shortcut = if stride == 1 && channels == width {
                from.to_owned()
            } else {
                let window = Window { size: 1, stride, padding: 0 };
                let projected = net.conv(&name("shortcut.0"), from, [channels, width], window);
                net.batch_normalization(&name("shortcut.1"), &projected, width)
            };
            value = net.add(&name("add"), [&value, &shortcut]);
        }
        net.relu(&name("relu2"), &value)
    }
}
