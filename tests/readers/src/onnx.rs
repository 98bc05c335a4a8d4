//! Networks.

use relief_core::Philox;
use relief_graph::{Graph, builtin};

use crate::format::Outcome;
use crate::protobuf::Message;

/// Operators that one can be taken for another.
const OPERATORS: &[&str] = &[
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "CastLike",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "Div",
    "Dropout",
    "Equal",
    "Expand",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "Identity",
    "LayerNormalization",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "Pow",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Shape",
    "Slice",
    "Softmax",
    "Split",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Files as PyTorch's exporters write them, and some of our own.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let exported: [&[u8]; 2] = [include_bytes!("../seeds/dynamo.onnx"), include_bytes!("../seeds/many_operators.onnx")];
    let own = ["resnet20", "lenet5"].map(|name| builtin::build_default(name).ok()?.to_onnx(None).ok());
    exported.into_iter().map(<[u8]>::to_vec).chain(own.into_iter().flatten()).collect()
}

pub(crate) fn damage(file: &[u8], random: &mut Philox) -> Option<Vec<u8>> {
    let mut message = Message::parse(file)?;
    message.damage(OPERATORS, random);
    Some(message.encode())
}

/// Reads a network. What is read can be written and read again.
pub(crate) fn read(bytes: &[u8]) -> Outcome {
    let Ok(model) = Graph::from_onnx(bytes) else { return Outcome::Refused };
    let again = model.graph.to_onnx(None).map(|file| Graph::from_onnx(&file));
    let Ok(Ok(again)) = again else { panic!("a network that was read is not read again: {again:?}") };
    // What is computed from constants alone may be folded now that the first reading has simplified it.
    assert!(again.graph.nodes().len() <= model.graph.nodes().len(), "reading a network again added nodes");
    assert_eq!(again.graph.parameters(), model.graph.parameters(), "reading a network again changed parameters");
    assert_eq!(again.graph.n_classes(), model.graph.n_classes(), "reading a network again changed its classes");
    Outcome::Taken
}
