//! Shapes of what slides a window over an image.

use super::GraphError;
use super::site::Site;
use crate::op::{Conv, Op, Pool};
use crate::value_shape::ValueShape;

impl Site<'_> {
    pub(super) fn conv(&self, conv: &Conv) -> Result<ValueShape, GraphError> {
        let image = self.image()?;
        self.positive("stride", conv.stride)?;
        self.positive("dilation", conv.dilation)?;
        self.positive("groups", [conv.groups; 2])?;
        let misshapen =
            || self.misshapen(1, format!("(out, {} / {}, height, width), no dimension 0", image[0], conv.groups));
        let ValueShape { is_batched: false, dims } = self.input(1) else { return Err(misshapen()) };
        let [out, per_group, height, width] = dims[..] else { return Err(misshapen()) };
        if per_group.checked_mul(conv.groups) != Some(image[0]) || out % conv.groups != 0 {
            return Err(misshapen());
        }
        self.vector(2, out)?;
        let Conv { stride, padding, dilation, .. } = *conv;
        let windows = Pool { kernel: [height, width], stride, padding, dilation, rounds_up: false };
        let [height, width] = self.windows(image, &windows)?;
        Ok(ValueShape::batched([out, height, width]))
    }

    pub(super) fn pool(&self, pool: &Pool) -> Result<ValueShape, GraphError> {
        let image = self.image()?;
        self.positive("kernel", pool.kernel)?;
        self.positive("stride", pool.stride)?;
        self.positive("dilation", pool.dilation)?;
        if matches!(self.op(), Op::AveragePool { .. }) && pool.dilation != [1, 1] {
            return Err(self.attribute("dilation", "1", format!("{:?}", pool.dilation)));
        }
        if (0..4).any(|side| pool.padding[side] >= pool.kernel[side % 2]) {
            return Err(self.attribute("padding", "below the kernel's size", format!("{:?}", pool.padding)));
        }
        let [height, width] = self.windows(image, pool)?;
        Ok(ValueShape::batched([image[0], height, width]))
    }

    fn windows(&self, image: [usize; 3], pool: &Pool) -> Result<[usize; 2], GraphError> {
        let Pool { kernel, padding, .. } = pool;
        let expected = || format!("an image that a window of {kernel:?} with padding {padding:?} fits into");
        let size = |i| pool.n_windows(i, image[i + 1]).ok_or_else(|| self.misfit(self.input(0), expected()));
        Ok([size(0)?, size(1)?])
    }
}

impl Pool {
    /// The number of windows down (`direction` 0) or across (1) an image of `size` there; none when no window fits.
    ///
    /// It is floor((padded - dilation (kernel - 1) - 1) / stride) + 1, or with the quotient rounded up, less a last
    /// window that would start in the padding after the image.
    #[must_use]
    pub fn n_windows(&self, direction: usize, size: usize) -> Option<usize> {
        let (stride, before, after) = (self.stride[direction], self.padding[direction], self.padding[direction + 2]);
        let reach = self.dilation[direction].checked_mul(self.kernel[direction].checked_sub(1)?)?.checked_add(1)?;
        let room = size.checked_add(before)?.checked_add(after)?.checked_sub(reach)?;
        if !self.rounds_up {
            return Some(room / stride + 1);
        }
        let n_windows = room.div_ceil(stride) + 1;
        let starts_after_image = (n_windows - 1).checked_mul(stride)? >= size + before;
        Some(n_windows - usize::from(starts_after_image))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_round_up_start_inside_the_image() {
        let pool = |kernel, stride, padding, rounds_up| Pool {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 4],
            dilation: [1, 1],
            rounds_up,
        };
        // By hand: 3 windows of 3 by step 2 over 6 entries, the last one entry beyond the end.
        assert_eq!(pool(3, 2, 0, false).n_windows(0, 6), Some(2));
        assert_eq!(pool(3, 2, 0, true).n_windows(0, 6), Some(3));
        // A third window of 2 by step 3 over 1 + 4 + 1 entries would start at place 6, past the image's last place 4.
        assert_eq!(pool(2, 3, 1, true).n_windows(0, 4), Some(2));
        assert_eq!(pool(3, 1, 0, true).n_windows(0, 2), None);
    }
}
