use super::fixture::{File, Value, dynamo, many_operators};
use super::*;
use crate::ParameterKind::{Bias, NormScale, NormShift, RunningMean, RunningVariance, Weight};
use crate::{BatchNormalization, Op, ParameterKind, Range, ValueShape};

fn read(file: File) -> OnnxModel {
    let model = Graph::from_onnx(&file.bytes()).expect("a supported file");
    let again = model.graph.to_onnx(Some(&model.initializers)).expect("its own weights");
    let reread = Graph::from_onnx(&again).expect("our own file");
    assert_eq!((&reread.graph, &reread.initializers), (&model.graph, &model.initializers));
    model
}

fn refusal(file: File) -> String {
    Graph::from_onnx(&file.bytes()).expect_err("an unsupported file").to_string()
}

fn operators(model: &OnnxModel) -> Vec<&str> {
    model.graph.nodes().iter().map(|node| node.op.name()).collect()
}

fn kinds(model: &OnnxModel) -> Vec<(&str, ParameterKind)> {
    model.graph.parameters().iter().map(|parameter| (parameter.name.as_str(), parameter.kind)).collect()
}

#[test]
fn shape_arithmetic_is_folded_with_the_batch_open() {
    let model = read(dynamo());
    assert_eq!(operators(&model), ["Conv", "BatchNormalization", "Relu", "AveragePool", "Reshape", "Gemm"]);
    assert_eq!(model.graph.nodes()[0].inputs, ["x", "conv.weight"], "a bias of zeros is none");
    assert_eq!(model.graph.nodes()[4].op, Op::Reshape { dims: vec![4] });
    assert_eq!(
        kinds(&model),
        [
            ("conv.weight", Weight),
            ("bn.weight", NormScale),
            ("bn.bias", NormShift),
            ("bn.running_mean", RunningMean),
            ("bn.running_var", RunningVariance),
            ("linear.weight", Weight),
            ("linear.bias", Bias),
        ]
    );
    assert_eq!((model.initializers.len(), model.graph.constants().len()), (7, 0));
    assert!(model.notes.is_empty(), "{:?}", model.notes);
}

#[test]
fn most_operators_survive_their_files() {
    let model = read(many_operators());
    assert_eq!(
        operators(&model),
        [
            "Sub",
            "Pad",
            "Conv",
            "Clip",
            "Conv",
            "MaxPool",
            "Mul",
            "Div",
            "Erf",
            "Reshape",
            "Transpose",
            "Reshape",
            "LeakyRelu",
            "Transpose",
            "LayerNormalization",
            "Gelu",
            "Slice",
            "Concat",
            "ReduceMean",
            "MatMul",
            "HardSwish",
            "Gemm",
            "LogSoftmax"
        ]
    );
    let op = |idx: usize| model.graph.nodes()[idx].op.clone();
    assert_eq!(op(3), Op::Clip { min: Some(0.0), max: Some(6.0) });
    assert_eq!(op(16), Op::Slice { ranges: vec![Range { axis: 2, start: 0, end: 5, step: 2 }] });
    let Op::Conv(conv) = op(2) else { panic!("a convolution") };
    assert_eq!((conv.padding, conv.groups), ([1, 1, 1, 1], 4));
    assert_eq!(model.graph.constants().keys().collect::<Vec<_>>(), ["mean", "sqrt2"]);
    assert_eq!(model.graph.shapes()["x14"], ValueShape::batched([5, 5, 8]));
}

#[test]
fn initializers_shared_through_identity_are_parameters_of_their_own() {
    let mut file = dynamo();
    file.graph.initializer.retain(|tensor| tensor.name != "bn.running_var");
    let mut file = file.node("Identity", &["bn.weight"], "bn.running_var");
    let identity = file.graph.node.pop().expect("a node");
    file.graph.node.insert(0, identity);
    let model = read(file);
    assert!(kinds(&model).contains(&("bn.running_var", RunningVariance)));
    assert_eq!(model.initializers["bn.running_var"], model.initializers["bn.weight"]);
    assert!(model.notes[0].contains("bn.running_var"), "{:?}", model.notes);
}

#[test]
fn an_initializer_in_two_roles_becomes_two_parameters() {
    let mut file = dynamo();
    for node in &mut file.graph.node {
        for input in node.input.iter_mut().filter(|input| *input == "bn.running_mean") {
            *input = "bn.bias".to_owned();
        }
    }
    let model = read(file);
    assert!(kinds(&model).contains(&("bn.bias", NormShift)));
    assert!(kinds(&model).contains(&("bn.bias.running_mean", RunningMean)));
    assert_eq!(model.initializers["bn.bias.running_mean"], model.initializers["bn.bias"]);
    assert_eq!(model.notes.len(), 1);
}

#[test]
fn a_fixed_batch_is_opened() {
    for (batch, shape) in [(1, [1, -1]), (1, [1, 32]), (16, [16, 32]), (16, [-1, 32]), (16, [0, -1])] {
        let file = File::new(&[batch, 2, 4, 4])
            .weight("w", &[3, 32])
            .ints("shape", &shape)
            .node("Reshape", &["x", "shape"], "flat")
            .with("Gemm", &["flat", "w"], "y", &[("transB", Value::Int(1))]);
        assert_eq!(read(file).graph.nodes()[0].op, Op::Reshape { dims: vec![32] }, "{batch} {shape:?}");
    }
    let file = |batch: i64, shape: &[i64]| {
        let file = File::new(&[batch, 2, 4, 4]).weight("w", &[3, 32]).ints("shape", shape);
        file.node("Reshape", &["x", "shape"], "flat").with("Gemm", &["flat", "w"], "y", &[("transB", Value::Int(1))])
    };
    for (batch, shape) in [(0, [4, 32]), (8, [16, 16]), (0, [-1, 16])] {
        let message = refusal(file(batch, &shape));
        assert!(message.contains("not one sample after the other"), "{message}");
    }
}

#[test]
fn the_size_of_the_batch_may_be_computed_with() {
    // x.view(x.size(0) * 2 // 2, -1)
    let file = File::new(&[0, 2, 4, 4])
        .weight("w", &[32, 3])
        .ints("two", &[2])
        .ints("rest", &[-1])
        .ints("axis", &[0])
        .floats("index", &[], &[0.0])
        .with("Cast", &["index"], "index_int", &[("to", Value::Int(7))])
        .node("Shape", &["x"], "shape")
        .with("Gather", &["shape", "index_int"], "n", &[("axis", Value::Int(0))])
        .node("Unsqueeze", &["n", "axis"], "n1")
        .node("Mul", &["n1", "two"], "n2")
        .node("Div", &["n2", "two"], "n3")
        .with("Concat", &["n3", "rest"], "target", &[("axis", Value::Int(0))])
        .node("Reshape", &["x", "target"], "flat")
        .node("MatMul", &["flat", "w"], "y");
    let model = read(file);
    assert_eq!(operators(&model), ["Reshape", "MatMul"]);
    assert!(model.notes[0].contains("(in, out)"), "{:?}", model.notes);
}

#[test]
fn what_prepares_the_input_is_constant_and_what_follows_is_not() {
    let file = File::new(&[0, 3, 4, 4])
        .weight("mean", &[1, 3, 1, 1])
        .weight("std", &[3, 1, 1])
        .weight("w", &[4, 3, 4, 4])
        .weight("gain", &[4, 1, 1])
        .weight("half", &[])
        .node("Sub", &["x", "mean"], "centred")
        .node("Div", &["centred", "std"], "scaled")
        .node("Conv", &["scaled", "w"], "conv")
        .node("Mul", &["conv", "gain"], "gained")
        .node("Mul", &["gained", "half"], "halved")
        .node("Flatten", &["halved"], "y");
    let model = read(file);
    assert_eq!(kinds(&model), [("w", Weight), ("gain", NormScale)]);
    assert_eq!(model.graph.constants().keys().collect::<Vec<_>>(), ["half", "mean", "std"]);
    assert!(model.notes[0].contains("mean, std"), "{:?}", model.notes);
}

#[test]
fn a_network_whose_normalisation_may_be_folded_away_is_said_to_be_so() {
    let conv = |bias: bool| {
        let inputs: &[&str] = if bias { &["x", "w", "b"] } else { &["x", "w"] };
        let file = File::new(&[0, 1, 4, 4]).weight("w", &[2, 1, 4, 4]).weight("b", &[2]);
        file.node("Conv", inputs, "conv").node("Flatten", &["conv"], "y")
    };
    let notes = read(conv(true)).notes;
    assert!(notes[0].contains("no BatchNormalization, and all 1 convolutions have a bias"), "{notes:?}");
    assert!(read(conv(false)).notes.is_empty());
}

#[test]
fn dropout_and_a_last_softmax_are_said() {
    let file = File::new(&[0, 3]).node("Dropout", &["x"], "kept").node("Softmax", &["kept"], "y");
    let notes = read(file).notes;
    assert!(notes[0].contains("1 Dropout") && notes[1].contains("ends in Softmax"), "{notes:?}");
}

#[test]
fn inputs_may_be_vectors_or_planes() {
    let vector = File::new(&[0, 6]).weight("w", &[3, 6]).with("Gemm", &["x", "w"], "y", &[("transB", Value::Int(1))]);
    let model = read(vector);
    assert_eq!(model.graph.input_shape().dims(), [6, 1, 1]);
    assert_eq!(operators(&model), ["Flatten", "Gemm"]);
    let plane = File::new(&[0, 2, 3]).weight("w", &[3, 6]).node("Flatten", &["x"], "flat");
    let model = read(plane.with("Gemm", &["flat", "w"], "y", &[("transB", Value::Int(1))]));
    assert_eq!(model.graph.input_shape().dims(), [1, 2, 3]);
    let sequence = File::new(&[0, 2, 3, 4, 5]).node("Flatten", &["x"], "y");
    assert!(refusal(sequence).contains("of shape (n, 2, 3, 4, 5)"));
}

#[test]
fn older_operators_keep_their_bounds_as_attributes() {
    let mut file =
        File::new(&[0, 3]).with("Clip", &["x"], "c", &[("min", Value::Float(0.0)), ("max", Value::Float(6.0))]);
    file = file.with("Softmax", &["c"], "y", &[]);
    file.opset = 9;
    let model = read(file);
    assert_eq!(model.graph.nodes()[1].op, Op::Clip { min: Some(0.0), max: Some(6.0) });
    assert_eq!(model.graph.nodes()[2].op, Op::Softmax { axis: 1 });
}

#[test]
fn parameters_seen_through_views_have_the_kind_of_their_use() {
    let file = File::new(&[0, 3])
        .weight("w", &[4, 3])
        .weight("b", &[1, 4, 1])
        .ints("axes", &[0, 2])
        .with("Transpose", &["w"], "wt", &[("perm", Value::Ints(&[1, 0]))])
        .node("MatMul", &["x", "wt"], "product")
        .node("Squeeze", &["b", "axes"], "flat_b")
        .node("Add", &["product", "flat_b"], "y");
    assert_eq!(kinds(&read(file)), [("w", Weight), ("b", Bias)]);
}

#[test]
fn all_unsupported_nodes_are_listed_whatever_they_follow() {
    let file = File::new(&[0, 3, 4, 4])
        .weight("w", &[2, 3, 1, 1])
        .node("Selu", &["x"], "a")
        .with("Conv", &["a", "w"], "b", &[("auto_pad", Value::Word("NOTSET"))])
        .node("LSTM", &["b"], "c")
        .with("Transpose", &["x"], "d", &[("perm", Value::Ints(&[1, 0, 2, 3]))])
        .node("Add", &["c", "d"], "y");
    let message = refusal(file);
    let listed = "`node_a` (Selu), `node_c` (LSTM), `node_d` (Transpose: an order that moves the batch)";
    assert!(message.starts_with(&format!("3 of the ONNX graph's nodes are not supported: {listed}; ")), "{message}");
    assert!(message.contains("supported are Conv, "), "{message}");
}

#[test]
fn what_mixes_the_samples_of_a_batch_is_refused() {
    let file = |operator: &str, attributes: &[(&str, Value<'_>)]| {
        File::new(&[0, 3, 4, 4]).with(operator, &["x"], "a", attributes).node("Flatten", &["a"], "y")
    };
    let cases = [
        file("Softmax", &[("axis", Value::Int(0))]),
        file("Flatten", &[("axis", Value::Int(2))]),
        file("Flatten", &[("axis", Value::Int(0))]),
        file("ReduceMean", &[]),
        file("Transpose", &[]),
        file("Split", &[("axis", Value::Int(0))]),
    ];
    for case in cases {
        let message = refusal(case);
        assert!(message.starts_with("1 of the ONNX graph's nodes are not supported: `node_a`"), "{message}");
    }
}

#[test]
fn constants_cannot_ask_for_unbounded_memory() {
    let mut file = File::new(&[0, 3]).ints("shape", &[1 << 30]).node("ConstantOfShape", &["shape"], "zeros");
    file = file.node("Add", &["x", "zeros"], "y");
    assert!(refusal(file).contains("constants of more than"));
    let mut file = File::new(&[0, 3]).ints("shape", &[1 << 20]).node("ConstantOfShape", &["shape"], "c0");
    for idx in 0..8 {
        file =
            file.with("Concat", &[format!("c{idx}").as_str(); 2], &format!("c{}", idx + 1), &[("axis", Value::Int(0))]);
    }
    assert!(refusal(file.node("Add", &["x", "c8"], "y")).contains("constants of more than"));
}

#[test]
fn batch_normalisations_in_training_mode_are_refused() {
    let file = dynamo();
    let model = read(file);
    let norm = model.graph.nodes().iter().find_map(|node| match &node.op {
        Op::BatchNormalization(norm) => Some(*norm),
        _ => None,
    });
    assert_eq!(norm, Some(BatchNormalization { epsilon: 1e-5, momentum: 0.9 }));
    let mut file = dynamo();
    for node in file.graph.node.iter_mut().filter(|node| node.op_type == "BatchNormalization") {
        node.attribute.push(wire::AttributeProto {
            name: "training_mode".to_owned(),
            i: 1,
            r#type: wire::attribute_proto::AttributeType::Int as i32,
            ..Default::default()
        });
    }
    assert!(refusal(file).contains("training_mode 1, only 0 is"));
}

/// The reader tests damage files of these networks; without access to what makes them, they keep the files.
#[test]
fn the_seeds_of_the_reader_tests_are_these_networks() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/readers/seeds");
    for (name, file) in [("dynamo", dynamo()), ("many_operators", many_operators())] {
        let path = format!("{folder}/{name}.onnx");
        let bytes = file.bytes();
        if std::env::var_os("RELIEF_WRITE_SEEDS").is_some() {
            std::fs::write(&path, &bytes).expect("a seed");
        }
        let is_same = std::fs::read(&path).is_ok_and(|seed| seed == bytes);
        assert!(is_same, "{path} is another network; run this test with RELIEF_WRITE_SEEDS=1");
    }
}
