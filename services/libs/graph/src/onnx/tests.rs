use proptest::prelude::*;
use prost::Message;
use relief_core::Tensor;

use super::wire::{ModelProto, NodeProto, tensor_proto::DataLocation};
use super::*;
use crate::{Op, builtin, initialize};

fn model(network: &str) -> ModelProto {
    let bytes = builtin::build_default(network).expect("a known network").to_onnx(None).expect("no weights to misfit");
    ModelProto::decode(&bytes[..]).expect("our own bytes")
}

/// What reading says of the model of `lenet5` after `change`.
fn refusal(change: impl FnOnce(&mut wire::GraphProto)) -> OnnxError {
    let mut model = model("lenet5");
    change(model.graph.as_mut().expect("a graph"));
    Graph::from_onnx(&model.encode_to_vec()).expect_err("a changed model")
}

#[test]
fn networks_survive_their_files() {
    for name in builtin::names() {
        let graph = builtin::build_default(name).expect("a known network");
        let bytes = graph.to_onnx(None).expect("no weights to misfit");
        let read = Graph::from_onnx(&bytes).expect("our own bytes");
        assert_eq!(read.graph, graph);
        assert!(read.initializers.is_empty());
        assert_eq!(read.graph.to_onnx(None).expect("no weights to misfit"), bytes);
    }
}

#[test]
fn weights_survive_their_files() {
    let graph = builtin::build_default("resnet20").expect("a known network");
    let mut weights = initialize(&graph, 3);
    weights.get_mut("bn1.bias").expect("a parameter").data_mut()[2] = f32::NEG_INFINITY;
    let bytes = graph.to_onnx(Some(&weights)).expect("weights that fit");
    let read = Graph::from_onnx(&bytes).expect("our own bytes");
    assert_eq!((read.graph, read.initializers), (graph, weights));
}

#[test]
fn weights_that_do_not_fit_are_not_written() {
    let graph = builtin::build_default("lenet5").expect("a known network");
    let mut weights = initialize(&graph, 3);
    weights.remove("fc1.bias");
    weights.remove("conv2.weight");
    weights.insert("fc3.bias".to_owned(), Tensor::filled([11], 0.0));
    weights.insert("more".to_owned(), Tensor::filled([1], 0.0));
    let mismatch = graph.to_onnx(Some(&weights)).expect_err("weights that do not fit");
    assert_eq!(
        mismatch.to_string(),
        "the checkpoint does not fit the network: missing `conv2.weight`, `fc1.bias`; \
         `fc3.bias` has shape [11], expected [10]"
    );
    assert_eq!(graph.unused(&weights), ["more"]);
}

#[test]
fn files_without_weights_point_to_the_checkpoint() {
    for tensor in model("lenet5").graph.expect("a graph").initializer {
        assert_eq!(tensor.data_location(), DataLocation::External);
        assert_eq!(tensor.external_data[0].value, "checkpoint.safetensors");
    }
}

#[test]
fn every_unsupported_node_is_named() {
    let error = refusal(|graph| {
        graph.node[1].op_type = "Selu".to_owned();
        graph.node[2].attribute.push(wire::AttributeProto {
            name: "unheard_of".to_owned(),
            i: 1,
            r#type: wire::attribute_proto::AttributeType::Int as i32,
            ..Default::default()
        });
        graph.node[4].domain = "com.example".to_owned();
    });
    assert_eq!(
        error.to_string(),
        format!(
            "3 of the ONNX graph's nodes are not supported: `relu1` (Selu), `pool1` (MaxPool: attribute unheard_of), \
             `relu2` (com.example.Relu); supported are {SUPPORTED}"
        )
    );
}

#[test]
fn dead_ends_are_left_out() {
    let mut model = model("lenet5");
    let graph = model.graph.as_mut().expect("a graph");
    graph.node.insert(
        1,
        NodeProto {
            input: vec!["conv1".to_owned()],
            output: vec!["unread".to_owned()],
            op_type: "Shape".to_owned(),
            ..NodeProto::default()
        },
    );
    graph.initializer.push(wire::TensorProto { name: "num_batches_tracked".to_owned(), ..Default::default() });
    let read = Graph::from_onnx(&model.encode_to_vec()).expect("a dead end");
    assert_eq!(read.graph, builtin::build_default("lenet5").expect("a known network"));
}

#[test]
fn nodes_out_of_order_are_refused() {
    let error = refusal(|graph| graph.node.swap(0, 1));
    assert!(matches!(error, OnnxError::Graph(GraphError::UnknownValue { node, .. }) if node == "relu1"));
    let cycle = refusal(|graph| graph.node[0].input[0] = "pool1".to_owned());
    assert!(matches!(cycle, OnnxError::Graph(GraphError::UnknownValue { node, .. }) if node == "conv1"));
}

#[test]
fn wrong_shapes_are_refused() {
    let weight = refusal(|graph| graph.initializer[0].dims = vec![6, 5, 5]);
    assert!(matches!(weight, OnnxError::Graph(GraphError::ParameterShape { .. })), "{weight}");
    let negative = refusal(|graph| graph.initializer[0].dims[0] = -6);
    assert!(matches!(negative, OnnxError::Initializer { .. }), "{negative}");
    let huge = refusal(|graph| graph.initializer[0].dims = vec![1 << 31; 4]);
    assert!(matches!(huge, OnnxError::Graph(GraphError::TooLarge { .. })), "{huge}");
    let kernel = refusal(|graph| graph.node[0].attribute[0].ints = vec![3, 3]);
    assert!(matches!(kernel, OnnxError::Attribute { .. }), "{kernel}");
    let stride = refusal(|graph| graph.node[0].attribute[1].ints = vec![0, 1]);
    assert!(matches!(stride, OnnxError::Graph(GraphError::Attribute { .. })), "{stride}");
    let rank = refusal(|graph| {
        graph.node.remove(6);
        graph.node[6].input[0] = "pool2".to_owned();
    });
    assert!(matches!(rank, OnnxError::Graph(GraphError::ValueShape { .. })), "{rank}");
}

#[test]
fn initializers_must_be_float32_and_fill_their_shape() {
    let half = refusal(|graph| graph.initializer[1].data_type = 10);
    assert_eq!(half.to_string(), "the ONNX initializer `conv1.bias` is of type FLOAT16; it must be FLOAT");
    let short = refusal(|graph| {
        graph.initializer[1].data_location = 0;
        graph.initializer[1].raw_data = vec![0; 20];
    });
    assert_eq!(short.to_string(), "the ONNX initializer `conv1.bias` has shape [6] but 5 values");
}

#[test]
fn the_graph_must_have_one_image_input_and_one_output() {
    assert!(matches!(refusal(|graph| graph.input.clear()), OnnxError::Inputs(_)));
    assert!(matches!(refusal(|graph| graph.output.push(graph.output[0].clone())), OnnxError::Outputs(_)));
    assert!(matches!(refusal(|graph| graph.input[0].r#type = None), OnnxError::InputType { .. }));
    assert!(matches!(Graph::from_onnx(&[]), Err(OnnxError::NoGraph)));
}

#[test]
fn initializers_may_be_listed_as_inputs_and_hold_float_data() {
    let mut model = model("lenet5");
    let graph = model.graph.as_mut().expect("a graph");
    graph.input.push(wire::ValueInfoProto { name: "conv1.bias".to_owned(), ..Default::default() });
    graph.initializer[1].data_location = 0;
    graph.initializer[1].float_data = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let read = Graph::from_onnx(&model.encode_to_vec()).expect("an older file");
    assert_eq!(read.initializers["conv1.bias"].data(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(read.initializers.len(), 1);
}

#[test]
fn batch_normalisations_keep_their_attributes() {
    let graph = builtin::build_default("resnet20").expect("a known network");
    let norm = graph.nodes().iter().find_map(|node| match &node.op {
        Op::BatchNormalization(norm) => Some(*norm),
        _ => None,
    });
    assert_eq!(norm, Some(crate::BatchNormalization { epsilon: 1e-5, momentum: 0.9 }));
}

proptest! {
    #[test]
    fn random_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Graph::from_onnx(&bytes).is_err());
    }

    #[test]
    fn truncated_files_never_panic(len in any::<prop::sample::Index>()) {
        let bytes = model("resnet20").encode_to_vec();
        prop_assert!(Graph::from_onnx(&bytes[..len.index(bytes.len())]).is_err());
    }
}
