//! Convolutions and pools.

use burn::tensor::Tensor;
use burn::tensor::module::{avg_pool2d, conv2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use relief_graph::{Conv, Pool};

use super::layout::Value;

pub(super) fn conv(conv: &Conv, x: Value, weight: Value, bias: Option<Value>) -> Value {
    let (x, padding) = match symmetric(conv.padding) {
        Some(padding) => (image(x), padding),
        None => (padded(image(x), conv.padding, 0.0), [0, 0]),
    };
    let bias = bias.map(|bias| {
        let [.., len] = bias.dims();
        bias.reshape([len])
    });
    let options = ConvOptions::new(conv.stride, padding, conv.dilation, conv.groups);
    value(conv2d(x, image(weight), bias, options))
}

pub(super) fn max_pool(pool: &Pool, x: Value) -> Value {
    let x = image(x);
    let options = MaxPoolOptions::new(pool.kernel).with_stride(pool.stride).with_dilation(pool.dilation);
    value(match symmetric(pool.padding).filter(|_| !pool.rounds_up) {
        Some(padding) => max_pool2d(x, options.with_padding(padding)),
        None => {
            let padding = Windows::of(pool, &x).padding();
            max_pool2d(padded(x, padding, f32::NEG_INFINITY), options.with_padding([0, 0]))
        }
    })
}

pub(super) fn average_pool(pool: &Pool, counts_padding: bool, x: Value) -> Value {
    let x = image(x);
    let options = AvgPoolOptions::new(pool.kernel).with_stride(pool.stride);
    if let Some(padding) = symmetric(pool.padding).filter(|_| !pool.rounds_up) {
        return value(avg_pool2d(x, options.with_padding(padding).with_count_include_pad(counts_padding)));
    }
    let [_, _, height, width] = x.dims();
    let (whole, device) = (Windows::of(pool, &x).padding(), x.device());
    // The means are over whole windows; their sums belong to the entries that count. The share of those is a mean too: no
    // tensor need come from the host.
    let counted = if counts_padding { pool.padding } else { [0; 4] };
    let ones = padded(Tensor::ones([1, 1, height, width], &device), counted, 1.0);
    let rest = std::array::from_fn(|side| whole[side] - counted[side]);
    let mean = |x: Tensor<4>| avg_pool2d(x, options.clone().with_padding([0, 0]));
    value(mean(padded(x, whole, 0.0)) / mean(padded(ones, rest, 0.0)))
}

/// The windows over an image of one size.
struct Windows<'a> {
    pool: &'a Pool,
    size: [usize; 2],
    n_windows: [usize; 2],
}

impl<'a> Windows<'a> {
    fn of(pool: &'a Pool, x: &Tensor<4>) -> Self {
        let [_, _, height, width] = x.dims();
        let n_windows = |direction, size| match pool.n_windows(direction, size) {
            Some(n_windows) => n_windows,
            None => unreachable!("a valid graph's windows fit"),
        };
        Self { pool, size: [height, width], n_windows: [n_windows(0, height), n_windows(1, width)] }
    }

    /// The padding with which every window lies inside.
    fn padding(&self) -> [usize; 4] {
        let mut padding = self.pool.padding;
        for direction in 0..2 {
            let reach = self.pool.dilation[direction] * (self.pool.kernel[direction] - 1) + 1;
            let covered = (self.n_windows[direction] - 1) * self.pool.stride[direction] + reach;
            let needed = covered.saturating_sub(self.size[direction] + padding[direction]);
            padding[direction + 2] = padding[direction + 2].max(needed);
        }
        padding
    }
}

/// The padding above and below, and left and right, where both are the same.
fn symmetric([top, left, bottom, right]: [usize; 4]) -> Option<[usize; 2]> {
    (top == bottom && left == right).then_some([top, left])
}

fn padded(x: Tensor<4>, [top, left, bottom, right]: [usize; 4], value: f32) -> Tensor<4> {
    x.pad((left, right, top, bottom), value)
}

fn image(x: Value) -> Tensor<4> {
    let [_, _, first, second, third, fourth] = x.dims();
    x.reshape([first, second, third, fourth])
}

fn value(x: Tensor<4>) -> Value {
    let [first, second, third, fourth] = x.dims();
    x.reshape([1, 1, first, second, third, fourth])
}
