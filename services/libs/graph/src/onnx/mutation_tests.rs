//! Valid files with random damage: reading them ends, in a graph or in an error, and without panic.

use prost::Message;
use relief_core::Philox;

use super::fixture::{dynamo, many_operators};
use super::wire::{ModelProto, TensorProto};
use super::*;

const N_FILES: u64 = 1500;

fn below(random: &mut Philox, bound: usize) -> usize {
    random.next_below(bound.max(1) as u64) as usize
}

/// A size that is usual, or one that arithmetic stumbles over.
fn odd_size(random: &mut Philox) -> i64 {
    const SIZES: [i64; 14] = [0, 1, -1, 2, 3, 4, -2, 7, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 40, i64::MAX, i64::MIN];
    SIZES[below(random, SIZES.len())]
}

/// What is read is a graph that can be written and read again.
fn check(bytes: &[u8]) {
    if let Ok(model) = Graph::from_onnx(bytes) {
        let again = model.graph.to_onnx(None).expect("no weights to misfit");
        let reread = Graph::from_onnx(&again).expect("our own file");
        // What is computed from constants alone may be folded now that the first reading has simplified it.
        assert!(reread.graph.nodes().len() <= model.graph.nodes().len());
        assert_eq!(reread.graph.parameters(), model.graph.parameters());
        assert_eq!(reread.graph.n_classes(), model.graph.n_classes());
    }
}

#[test]
fn files_with_damaged_bytes_never_panic() {
    let files = [dynamo().bytes(), many_operators().bytes()];
    for seed in 0..N_FILES {
        let random = &mut Philox::new([seed, 1]);
        let mut bytes = files[below(random, files.len())].clone();
        for _ in 0..=below(random, 4) {
            let place = below(random, bytes.len());
            match below(random, 4) {
                0 => bytes[place] = random.next_u64() as u8,
                1 => bytes[place] ^= 1 << below(random, 8),
                2 => bytes.truncate(place + 1),
                _ => {
                    let end = (place + below(random, 64)).min(bytes.len());
                    let piece = bytes[place..end].to_vec();
                    let target = below(random, bytes.len());
                    bytes.splice(target..target, piece);
                }
            }
        }
        check(&bytes);
    }
}

#[test]
fn files_with_damaged_structure_never_panic() {
    let files = [dynamo().model(), many_operators().model()];
    for seed in 0..N_FILES {
        let random = &mut Philox::new([seed, 2]);
        let mut model = files[below(random, files.len())].clone();
        for _ in 0..=below(random, 3) {
            damage(&mut model, random);
        }
        check(&model.encode_to_vec());
    }
}

fn damage(model: &mut ModelProto, random: &mut Philox) {
    const OPERATORS: [&str; 16] = [
        "Reshape",
        "Concat",
        "Slice",
        "Gather",
        "Expand",
        "Squeeze",
        "Unsqueeze",
        "Split",
        "Where",
        "Equal",
        "Cast",
        "ConstantOfShape",
        "MatMul",
        "Transpose",
        "Pad",
        "Flatten",
    ];
    if below(random, 20) == 0 {
        model.opset_import[0].version = 9 + below(random, 13) as i64;
    }
    let Some(graph) = &mut model.graph else { return };
    let names: Vec<String> = graph.node.iter().flat_map(|node| node.output.clone()).collect();
    let idx = below(random, graph.node.len());
    let other = below(random, names.len());
    match below(random, 9) {
        0 => {
            let tensor = below(random, graph.initializer.len());
            damage_tensor(&mut graph.initializer[tensor], random);
        }
        1 => graph.node[idx].op_type = OPERATORS[below(random, OPERATORS.len())].to_owned(),
        2 => {
            let inputs = &mut graph.node[idx].input;
            let slot = below(random, inputs.len());
            if let Some(input) = inputs.get_mut(slot) {
                input.clone_from(&names[other]);
            }
        }
        3 => graph.node[idx].input.push(names[other].clone()),
        4 => {
            let other = below(random, graph.node.len());
            graph.node.swap(idx, other);
        }
        5 => {
            graph.node.remove(idx);
        }
        6 => graph.node[idx].output[0].clone_from(&names[other]),
        _ => {
            let attributes = &mut graph.node[idx].attribute;
            let place = below(random, attributes.len());
            let Some(attribute) = attributes.get_mut(place) else { return };
            attribute.i = odd_size(random);
            attribute.f = f32::from_bits(random.next_u64() as u32);
            let place = below(random, attribute.ints.len());
            if let Some(entry) = attribute.ints.get_mut(place) {
                *entry = odd_size(random);
            }
            if let Some(tensor) = &mut attribute.t {
                damage_tensor(tensor, random);
            }
        }
    }
}

fn damage_tensor(tensor: &mut TensorProto, random: &mut Philox) {
    match below(random, 5) {
        0 => tensor.dims.push(odd_size(random)),
        1 => {
            let place = below(random, tensor.dims.len());
            if let Some(dim) = tensor.dims.get_mut(place) {
                *dim = odd_size(random);
            }
        }
        2 => tensor.data_type = below(random, 17) as i32,
        3 => tensor.raw_data.truncate(below(random, tensor.raw_data.len())),
        _ => {
            let place = below(random, tensor.raw_data.len() / 8);
            if let Some(bytes) = tensor.raw_data.get_mut(8 * place..8 * place + 8) {
                bytes.copy_from_slice(&odd_size(random).to_le_bytes());
            }
        }
    }
}
