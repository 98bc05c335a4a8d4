//! The attributes of ONNX nodes.

use super::wire::attribute_proto::AttributeType;
use super::wire::{AttributeProto, NodeProto, TensorProto};
use super::{OnnxError, UnsupportedNode};
use crate::inference::GraphError;

/// The attributes of one node.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a> {
    pub(super) node: &'a NodeProto,
}

/// What stands in the way of a node.
pub(super) enum NodeProblem {
    /// It is valid ONNX, but not supported.
    Unsupported(UnsupportedNode),
    /// It is wrong.
    Invalid(OnnxError),
    /// It reads what a node before it should have made, which has a problem itself.
    Follows,
}

impl From<GraphError> for NodeProblem {
    fn from(error: GraphError) -> Self {
        Self::Invalid(error.into())
    }
}

impl<'a> Attributes<'a> {
    /// Checks that the node has none but the `known` attributes.
    pub(super) fn check_names(&self, known: &[&str]) -> Result<(), NodeProblem> {
        match self.node.attribute.iter().find(|attribute| !known.contains(&attribute.name.as_str())) {
            Some(unknown) => Err(self.unsupported(format!("attribute {}", unknown.name))),
            None => Ok(()),
        }
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, NodeProblem> {
        Ok(self.find(name, AttributeType::Int)?.map_or(default, |attribute| attribute.i))
    }

    pub(super) fn float(&self, name: &str) -> Result<Option<f32>, NodeProblem> {
        Ok(self.find(name, AttributeType::Float)?.map(|attribute| attribute.f))
    }

    pub(super) fn floats(&self, name: &str) -> Result<Option<&'a [f32]>, NodeProblem> {
        Ok(self.find(name, AttributeType::Floats)?.map(|attribute| attribute.floats.as_slice()))
    }

    pub(super) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, NodeProblem> {
        Ok(self.find(name, AttributeType::Ints)?.map(|attribute| attribute.ints.as_slice()))
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>, NodeProblem> {
        Ok(self.find(name, AttributeType::Tensor)?.and_then(|attribute| attribute.t.as_deref()))
    }

    /// The text of an attribute, or `default`.
    pub(super) fn word(&self, name: &str, default: &'static str) -> Result<String, NodeProblem> {
        let found = self.find(name, AttributeType::String)?;
        Ok(found.map_or(default.to_owned(), |attribute| String::from_utf8_lossy(&attribute.s).into_owned()))
    }

    /// The attribute as a truth value, or `default`.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, NodeProblem> {
        match self.int(name, i64::from(default))? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(self.invalid(name, found.to_string(), "0 or 1")),
        }
    }

    /// The attribute as the two sizes down and across; `None` when it is absent.
    pub(super) fn pair(&self, name: &str) -> Result<Option<[usize; 2]>, NodeProblem> {
        let Some(ints) = self.ints(name)? else { return Ok(None) };
        match self.sizes(name, ints)?[..] {
            [down, across] => Ok(Some([down, across])),
            _ => Err(self.unsupported(format!("{name} {ints:?}, only two sizes, down and across, are"))),
        }
    }

    /// The attribute `pads`: top, left, bottom, right.
    pub(super) fn padding(&self) -> Result<[usize; 4], NodeProblem> {
        let Some(ints) = self.ints("pads")? else { return Ok([0; 4]) };
        match self.sizes("pads", ints)?[..] {
            [top, left, bottom, right] => Ok([top, left, bottom, right]),
            _ => Err(self.unsupported(format!("pads {ints:?}, only four, top, left, bottom and right, are"))),
        }
    }

    /// Checks that an attribute has the only value that is supported, or is absent.
    pub(super) fn expect_int(&self, name: &str, supported: i64) -> Result<(), NodeProblem> {
        match self.int(name, supported)? {
            found if found == supported => Ok(()),
            found => Err(self.unsupported(format!("{name} {found}, only {supported} is"))),
        }
    }

    /// An axis of a tensor of `rank` axes, which may be counted from the end.
    pub(super) fn axis(&self, name: &str, axis: i64, rank: usize) -> Result<usize, NodeProblem> {
        let counted = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
        let place = usize::try_from(counted).ok().filter(|place| *place < rank);
        place.ok_or_else(|| self.invalid(name, axis.to_string(), &format!("within the {rank} axes of its input")))
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

    fn sizes(&self, name: &str, ints: &[i64]) -> Result<Vec<usize>, NodeProblem> {
        let sizes = ints.iter().map(|size| u32::try_from(*size).map(|size| size as usize));
        sizes
            .collect::<Result<_, _>>()
            .map_err(|_| self.invalid(name, format!("{ints:?}"), "sizes that are not negative"))
    }
}

/// The node's name, or that of its first output where it has none.
pub(super) fn node_name(node: &NodeProto) -> String {
    if node.name.is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name.clone() }
}
