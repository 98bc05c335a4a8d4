//! LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998) in its present-day form: ReLU for tanh, max-pooling for trained
//! averages.

use super::builder::{Builder, Window};
use crate::graph::Graph;
use crate::inference::GraphError;
use crate::shape::InputShape;

/// The least height and width that both windows fit into: half of it, rounded down, less 4 must still hold a 2 x 2 pool.
pub(super) const LEAST_SIDE: usize = 12;

pub(super) fn lenet5(name: &str, input: InputShape, n_classes: usize) -> Result<Graph, GraphError> {
    let pooled = |side: usize| (side / 2).saturating_sub(4) / 2;
    let features = 16 * pooled(input.height()) * pooled(input.width());
    let mut net = Builder::default();
    let mut value = net.input();
    let window = Window { size: 5, stride: 1, padding: 2 };
    value = net.conv_with_bias("conv1", &value, [input.channels(), 6], window);
    value = net.relu("relu1", &value);
    value = net.max_pool("pool1", &value);
    value = net.conv_with_bias("conv2", &value, [6, 16], Window { padding: 0, ..window });
    value = net.relu("relu2", &value);
    value = net.max_pool("pool2", &value);
    value = net.flatten("flatten", &value);
    value = net.linear("fc1", &value, [features, 120]);
    value = net.relu("relu3", &value);
    value = net.linear("fc2", &value, [120, 84]);
    value = net.relu("relu4", &value);
    net.linear("fc3", &value, [84, n_classes]);
    net.finish(name, input)
}
