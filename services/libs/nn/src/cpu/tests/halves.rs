//! Values of so many channels that blocks exchange halves, through every operation.

use relief_graph::{Op, Pool};

use super::network::{PLAIN, Sketch};

#[test]
fn pairs_of_blocks_go_through_all_operations() {
    for (is_exact, tolerance) in [(true, 0.0), (false, 1e-5)] {
        // A pair, two and a block without another, and with lanes that have no channel.
        for n_channels in [32, 48, 40, 80] {
            let mut sketch = Sketch::new(n_channels as u64, [3, 9, 8], is_exact);
            let clip = |sketch: &mut Sketch, x: &str| sketch.alike(Op::Clip { min: Some(-3.0), max: Some(5.0) }, &[x]);
            // From planes, by groups, by filters of each channel's own, with a shortcut, and at every second pixel.
            let x = sketch.conv("x", n_channels, PLAIN, 1, true);
            let x = clip(&mut sketch, &x);
            let grouped = sketch.conv(&x, n_channels, PLAIN, 2, true);
            let grouped = clip(&mut sketch, &grouped);
            let own = sketch.conv(&grouped, n_channels, PLAIN, n_channels, false);
            let own = clip(&mut sketch, &own);
            let dense = sketch.conv(&own, n_channels, PLAIN, 1, false);
            let dense = sketch.alike(Op::Add, &[&dense, &x]);
            let dense = clip(&mut sketch, &dense);
            let product = sketch.alike(Op::Mul, &[&dense, &own]);
            let product = clip(&mut sketch, &product);
            let pooled = sketch.pool(Op::MaxPool(PLAIN), &product);
            let normal = sketch.norm(&pooled);
            let normal = clip(&mut sketch, &normal);
            let slope = if is_exact { 1.0 } else { 0.1 };
            let leaky = sketch.alike(Op::LeakyRelu { alpha: slope }, &[&normal]);
            // In place where both parts fill pairs of blocks, else copied.
            let part = sketch.conv(&leaky, 32, PLAIN, 1, true);
            let part = clip(&mut sketch, &part);
            let joined = sketch.concat(&[&leaky, &part, &own]);
            let wide = Pool { stride: [2, 2], ..PLAIN };
            let last = sketch.conv(&joined, 16, wide, 1, true);
            let last = clip(&mut sketch, &last);
            let last = sketch.conv(&last, n_channels, PLAIN, 1, true);
            let last = clip(&mut sketch, &last);
            sketch.classify(&last, 10);
            let network = sketch.finish();
            network.check(5, is_exact, tolerance, &format!("{n_channels} channels"));
        }
    }
}
