//! Few and small networks with all kernels, for an interpreter that finds what Rust leaves undefined. With the bounds
//! of kernels, of which it checks fewer, it takes some minutes: `cargo xtask miri`.

use relief_graph::{Gemm, Op, Pool};

use super::network::{PLAIN, Sketch};

#[test]
fn a_network_of_windows_has_the_logits_of_the_reference() {
    let mut sketch = Sketch::new(1, [1, 3, 3], true);
    let y = sketch.conv("x", 9, PLAIN, 1, true);
    let y = sketch.norm(&y);
    let x = sketch.alike(Op::Clip { min: Some(-3.0), max: Some(3.0) }, &[&y]);
    // Tiles of 4 x 4 that reach beyond the image.
    let y = sketch.conv(&x, 9, PLAIN, 1, true);
    let y = sketch.alike(Op::Add, &[&y, &x]);
    let y = sketch.alike(Op::Clip { min: Some(-3.0), max: Some(3.0) }, &[&y]);
    let y = sketch.conv(&y, 9, Pool { stride: [2, 2], ..PLAIN }, 9, false);
    let y = sketch.conv(&y, 6, Pool { kernel: [2, 2], padding: [1, 0, 0, 1], ..PLAIN }, 3, false);
    let y = sketch.pool(Op::MaxPool(Pool { kernel: [2, 1], padding: [0; 4], ..PLAIN }), &y);
    sketch.classify(&y, 3);
    sketch.finish().check(1, true, 0.0, "windows");
}

#[test]
fn a_network_of_parts_has_the_logits_of_the_reference() {
    let mut sketch = Sketch::new(2, [1, 2, 2], false);
    let a = sketch.conv("x", 8, PLAIN, 1, false);
    // Tiles of 2 x 2.
    let b = sketch.conv(&a, 3, PLAIN, 1, false);
    let inner = sketch.concat(&[&a, &b]);
    let outer = sketch.concat(&[&inner, "x"]);
    let y = sketch.norm(&outer);
    let y = sketch.alike(Op::Tanh, &[&y]);
    let z = sketch.pool(Op::AveragePool { pool: PLAIN, counts_padding: true }, &y);
    let y = sketch.alike(Op::Mul, &[&y, &z]);
    let y = sketch.conv(&y, 2, Pool { kernel: [2, 1], dilation: [2, 1], padding: [1, 0, 1, 0], ..PLAIN }, 1, true);
    let y = sketch.global_mean(&y);
    sketch.gemm(&y, 3, Gemm::LINEAR, true);
    sketch.finish().check(1, false, 1e-5, "parts");
}
