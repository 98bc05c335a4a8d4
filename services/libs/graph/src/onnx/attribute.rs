//! The attributes of ONNX nodes.

use super::wire::attribute_proto::AttributeType;
use super::wire::{AttributeProto, NodeProto};
use super::{OnnxError, UnsupportedNode};

/// The attributes of one node, checked for names that its operator does not have here.
pub(super) struct Attributes<'a> {
    pub(super) node: &'a NodeProto,
}

/// What stands in the way of a node.
pub(super) enum NodeProblem {
    /// It is valid ONNX, but not supported.
    Unsupported(UnsupportedNode),
    /// It is wrong.
    Invalid(OnnxError),
}

impl<'a> Attributes<'a> {
    pub(super) fn new(node: &'a NodeProto, known: &[&str]) -> Result<Self, NodeProblem> {
        let attributes = Self { node };
        match node.attribute.iter().find(|attribute| !known.contains(&attribute.name.as_str())) {
            Some(unknown) => Err(attributes.unsupported(format!("attribute {}", unknown.name))),
            None => Ok(attributes),
        }
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, NodeProblem> {
        match self.find(name, AttributeType::Int)? {
            Some(attribute) => Ok(attribute.i),
            None => Ok(default),
        }
    }

    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32, NodeProblem> {
        match self.find(name, AttributeType::Float)? {
            Some(attribute) => Ok(attribute.f),
            None => Ok(default),
        }
    }

    /// The attribute as the two sizes down and across; `None` when it is absent.
    pub(super) fn pair(&self, name: &str) -> Result<Option<[usize; 2]>, NodeProblem> {
        let Some(attribute) = self.find(name, AttributeType::Ints)? else { return Ok(None) };
        match self.sizes(attribute)?[..] {
            [down, across] => Ok(Some([down, across])),
            _ => Err(self.invalid(name, format!("{:?}", attribute.ints), "two sizes, down and across")),
        }
    }

    /// The attribute `pads` (top, left, bottom, right) as the padding on either side.
    pub(super) fn padding(&self) -> Result<[usize; 2], NodeProblem> {
        let Some(attribute) = self.find("pads", AttributeType::Ints)? else { return Ok([0, 0]) };
        match self.sizes(attribute)?[..] {
            [top, left, bottom, right] if top == bottom && left == right => Ok([top, left]),
            [_, _, _, _] => Err(self.unsupported(format!("pads {:?} that differ between sides", attribute.ints))),
            _ => Err(self.invalid("pads", format!("{:?}", attribute.ints), "four sizes: top, left, bottom, right")),
        }
    }

    /// Checks that an attribute has the only value that is supported, or is absent.
    pub(super) fn expect_int(&self, name: &str, default: i64, supported: i64) -> Result<(), NodeProblem> {
        match self.int(name, default)? {
            found if found == supported => Ok(()),
            found => Err(self.unsupported(format!("{name} {found}, only {supported} is"))),
        }
    }

    /// Checks that an attribute has the only value that is supported, or is absent.
    pub(super) fn expect_float(&self, name: &str, supported: f32) -> Result<(), NodeProblem> {
        match self.float(name, supported)? {
            found if found == supported => Ok(()),
            found => Err(self.unsupported(format!("{name} {found}, only {supported} is"))),
        }
    }

    /// Checks that windows are padded as `pads` says and in no other way.
    pub(super) fn expect_explicit_padding(&self) -> Result<(), NodeProblem> {
        match self.find("auto_pad", AttributeType::String)? {
            Some(attribute) if attribute.s != b"NOTSET" => {
                Err(self.unsupported(format!("auto_pad {}, only NOTSET is", String::from_utf8_lossy(&attribute.s))))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn unsupported(&self, detail: impl Into<String>) -> NodeProblem {
        NodeProblem::Unsupported(UnsupportedNode {
            name: node_name(self.node),
            operator: self.node.op_type.clone(),
            detail: Some(detail.into()),
        })
    }

    pub(super) fn invalid(&self, attribute: &str, found: String, expected: &str) -> NodeProblem {
        NodeProblem::Invalid(OnnxError::Attribute {
            node: node_name(self.node),
            operator: self.node.op_type.clone(),
            attribute: attribute.to_owned(),
            found,
            expected: expected.to_owned(),
        })
    }

    fn find(&self, name: &str, expected: AttributeType) -> Result<Option<&'a AttributeProto>, NodeProblem> {
        let Some(attribute) = self.node.attribute.iter().find(|attribute| attribute.name == name) else {
            return Ok(None);
        };
        if attribute.r#type() != expected {
            let found = format!("of type {}", attribute.r#type().as_str_name());
            return Err(self.invalid(name, found, &format!("of type {}", expected.as_str_name())));
        }
        Ok(Some(attribute))
    }

    fn sizes(&self, attribute: &AttributeProto) -> Result<Vec<usize>, NodeProblem> {
        let sizes = attribute.ints.iter().map(|size| u32::try_from(*size).map(|size| size as usize));
        sizes
            .collect::<Result<_, _>>()
            .map_err(|_| self.invalid(&attribute.name, format!("{:?}", attribute.ints), "sizes that are not negative"))
    }
}

/// The node's name, or that of its first output where it has none.
pub(super) fn node_name(node: &NodeProto) -> String {
    if node.name.is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name.clone() }
}
