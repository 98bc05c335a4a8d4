//! What slides a window over an image.

use super::super::OnnxError;
use super::super::attribute::{Attributes, NodeProblem, node_name};
use super::super::reader::Reader;
use super::super::wire::NodeProto;
use crate::op::{Conv, Op, Pool};
use crate::value_shape::ValueShape;

impl Reader<'_> {
    pub(super) fn lower_conv(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let group = attributes.int("group", 1)?;
        let groups = u32::try_from(group).map_err(|_| attributes.invalid("group", group.to_string(), "at least 1"))?;
        let inputs = self.operands_without_zero_bias(node)?;
        let (image, weight) = (self.shape(node, 0)?, self.shape(node, 1)?);
        let declared = attributes.pair("kernel_shape")?;
        let kernel = match weight.dims[..] {
            [_, _, height, width] => [height, width],
            // The graph says what is wrong with such a weight.
            _ => declared.unwrap_or([1, 1]),
        };
        if let Some(found) = declared.filter(|found| *found != kernel) {
            return Err(NodeProblem::Invalid(OnnxError::Attribute {
                node: node_name(node),
                operator: node.op_type.clone(),
                attribute: "kernel_shape".to_owned(),
                found: format!("{found:?}"),
                expected: format!("that of its weight, {kernel:?}"),
            }));
        }
        let stride = attributes.pair("strides")?.unwrap_or([1, 1]);
        let dilation = attributes.pair("dilations")?.unwrap_or([1, 1]);
        let windows = Pool { kernel, stride, padding: [0; 4], dilation, rounds_up: false };
        let padding = attributes.all_padding(&windows, &image)?;
        self.emit(node, Op::Conv(Conv { stride, padding, dilation, groups: groups as usize }), inputs)
    }

    pub(super) fn lower_pool(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let is_max = node.op_type == "MaxPool";
        let attributes = Attributes { node };
        let image = self.shape(node, 0)?;
        let absent = || attributes.invalid("kernel_shape", "absent".to_owned(), "given");
        let mut pool = Pool {
            kernel: attributes.pair("kernel_shape")?.ok_or_else(absent)?,
            stride: attributes.pair("strides")?.unwrap_or([1, 1]),
            padding: [0; 4],
            dilation: attributes.pair("dilations")?.unwrap_or([1, 1]),
            rounds_up: attributes.flag("ceil_mode", false)?,
        };
        if !is_max && pool.dilation != [1, 1] {
            return Err(attributes.unsupported(format!("dilations {:?}, only 1 is", pool.dilation)));
        }
        pool.padding = attributes.all_padding(&pool, &image)?;
        let op = match is_max {
            true => Op::MaxPool(pool),
            false => Op::AveragePool { pool, counts_padding: attributes.flag("count_include_pad", false)? },
        };
        let inputs = self.operands(node)?;
        self.emit(node, op, inputs)
    }
}

impl Attributes<'_> {
    /// The padding at the top, left, bottom and right, as `pads` or `auto_pad` say.
    fn all_padding(&self, windows: &Pool, image: &ValueShape) -> Result<[usize; 4], NodeProblem> {
        let word = self.word("auto_pad", "NOTSET")?;
        let is_upper = match word.as_str() {
            "NOTSET" | "" => return self.padding(),
            "VALID" => return Ok([0; 4]),
            "SAME_UPPER" => true,
            "SAME_LOWER" => false,
            _ => return Err(self.invalid("auto_pad", word, "NOTSET, VALID, SAME_UPPER or SAME_LOWER")),
        };
        let mut padding = [0; 4];
        let [_, size @ ..] = &image.dims[..] else { return Ok(padding) };
        for (direction, size) in size.iter().enumerate().take(2) {
            // As many windows as ceil(size / stride), so that stride 1 keeps the size.
            let total = windows.same_padding(direction, *size).unwrap_or(0);
            let less = total / 2;
            let (before, after) = if is_upper { (less, total - less) } else { (total - less, less) };
            (padding[direction], padding[direction + 2]) = (before, after);
        }
        Ok(padding)
    }
}

impl Pool {
    fn same_padding(&self, direction: usize, size: usize) -> Option<usize> {
        let reach = self.dilation[direction].checked_mul(self.kernel[direction].checked_sub(1)?)?.checked_add(1)?;
        let stride = self.stride[direction];
        let n_windows = size.checked_add(stride)?.checked_sub(1)?.checked_div(stride)?;
        let covered = n_windows.checked_sub(1)?.checked_mul(stride)?.checked_add(reach)?;
        Some(covered.saturating_sub(size))
    }
}
