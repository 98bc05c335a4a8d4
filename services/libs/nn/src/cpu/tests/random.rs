//! Drawn networks against the reference.

use std::collections::HashMap;

use relief_graph::Op;

use super::drawn;
use super::network::ALGORITHMS;
use crate::cpu::Path;
use crate::cpu::plan::StepOp;

#[test]
fn drawn_networks_of_small_integers_have_exactly_the_logits_of_the_reference() {
    for seed in 0..300 {
        drawn::network(seed, true).check(5, true, 0.0, &format!("seed {seed}"));
    }
}

#[test]
fn drawn_networks_have_the_logits_of_the_reference_but_for_rounding() {
    for seed in 1000..1300 {
        drawn::network(seed, false).check(5, false, 1e-5, &format!("seed {seed}"));
    }
}

#[test]
fn drawn_networks_have_steps_of_all_kinds() {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for seed in 1000..1300 {
        let network = drawn::network(seed, false);
        let plan = network.plan(Path::all()[0], ALGORITHMS[0], 1);
        for step in &plan.steps {
            let kind = match &step.op {
                StepOp::Direct(..) if step.inputs.len() > 1 => "direct with shortcut",
                StepOp::Direct(..) if step.inputs[0].place.pixel == 1 => "direct from planes",
                StepOp::Direct(..) => "direct",
                StepOp::Winograd(..) if step.inputs.len() > 1 => "winograd with shortcut",
                StepOp::Winograd(..) => "winograd",
                StepOp::Amx(..) => "matrix products",
                StepOp::Depthwise(..) => "depthwise",
                StepOp::Affine(_) => "affine",
                StepOp::Activate(_) => "activate",
                StepOp::Join(_) => "join",
                StepOp::Windows(_) => "windows",
                StepOp::GlobalMean => "mean",
                StepOp::Concat(_) => "concat",
            };
            *counts.entry(kind).or_default() += 1;
        }
        let n_concats = network.graph.nodes().iter().filter(|node| matches!(node.op, Op::Concat { .. })).count();
        let n_copied = plan.steps.iter().filter(|step| matches!(step.op, StepOp::Concat(_))).count();
        *counts.entry("concat in place").or_default() += n_concats - n_copied;
    }
    assert!(counts.len() == 13 && counts.values().all(|count| *count >= 5), "{counts:?}");
}
