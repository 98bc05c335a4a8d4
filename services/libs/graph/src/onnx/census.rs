//! How much a file holds, found before anything is made of it.

use super::OnnxError;
use super::wire::GraphProto;

/// The most fields of a file's messages, values of tensors not counted. Large networks have some hundred thousand; each
/// takes up to 200 bytes once it is unpacked, and as few as two in the file.
const MAX_PARTS: usize = 1 << 20;
/// The longest name. Any number of nodes may speak of it by shorter ones.
const MAX_NAME_BYTES: usize = 1024;

/// The messages whose fields are counted.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    /// Any other, whose fields are not looked into.
    Leaf,
}

impl Message {
    /// The message that a field holds.
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) => Self::Graph,
            (Self::Model, 8) => Self::Leaf,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5) => Self::Tensor,
            (Self::Graph, 11 | 12) => Self::ValueInfo,
            (Self::Node, 5) => Self::Attribute,
            (Self::Tensor, 13) => Self::Leaf,
            (Self::ValueInfo, 2) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Shape, 1) => Self::Leaf,
            _ => return None,
        })
    }
}

/// Refuses a file with more parts than any network has. What is no whole file is not found here.
pub(super) fn check_parts(bytes: &[u8]) -> Result<(), OnnxError> {
    let mut n_left = MAX_PARTS + 1;
    count(bytes, Message::Model, &mut n_left);
    if n_left == 0 { Err(OnnxError::Parts(MAX_PARTS)) } else { Ok(()) }
}

/// Takes the fields of a message from `n_left`; none when there are not so many left, or the message is damaged.
fn count(mut bytes: &[u8], message: Message, n_left: &mut usize) -> Option<()> {
    while !bytes.is_empty() {
        *n_left = n_left.checked_sub(1)?;
        let key = varint(&mut bytes)?;
        match key & 7 {
            0 => drop(varint(&mut bytes)?),
            1 => drop(take(&mut bytes, 8)?),
            2 => {
                let len = varint(&mut bytes)?;
                let content = take(&mut bytes, len)?;
                message.field(key >> 3).and_then(|message| count(content, message, n_left));
            }
            5 => drop(take(&mut bytes, 4)?),
            // The ends of groups, an old way of nesting; what lies between them is counted like anything else.
            _ => {}
        }
    }
    Some(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    const MAX_BYTES: usize = 10;
    let len = bytes.iter().take(MAX_BYTES).position(|byte| byte & 0x80 == 0)? + 1;
    let digits = take(bytes, len as u64)?;
    Some(digits.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)))
}

fn take<'a>(bytes: &mut &'a [u8], len: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    *bytes = rest;
    Some(taken)
}

/// Refuses a graph with a name that is longer than names are.
pub(super) fn check_names(graph: &GraphProto) -> Result<(), OnnxError> {
    let of_nodes = graph.node.iter().flat_map(|node| {
        let attributes = node.attribute.iter().map(|attribute| &attribute.name);
        let own = [&node.name, &node.op_type, &node.domain];
        node.input.iter().chain(&node.output).chain(own).chain(attributes)
    });
    let of_tensors = graph.initializer.iter().map(|tensor| &tensor.name);
    let of_values = graph.input.iter().chain(&graph.output).map(|value| &value.name);
    let mut names = of_nodes.chain(of_tensors).chain(of_values).chain([&graph.name]);
    match names.find(|name| name.len() > MAX_NAME_BYTES) {
        None => Ok(()),
        Some(name) => {
            const N_SHOWN: usize = 64;
            let start = name.chars().take(N_SHOWN).collect();
            Err(OnnxError::Name { start, n_bytes: name.len(), max: MAX_NAME_BYTES })
        }
    }
}
