//! Where values lie in memory.

use super::encoding::{Encoding, Halves};
use super::kernel::path::Path;

/// Where a value of several images lies in a buffer: channels in blocks of as many as a vector has lanes, each block an
/// image of such vectors, (image, block, row, pixel, lane). Around each image of a block lies a border of zeros, wide
/// enough for the windows of all that read it. A planar value has one block, (image, channel, row, pixel).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The channels, height and width.
    pub(crate) dims: [usize; 3],
    /// The channels of a block.
    pub(crate) lanes: usize,
    /// The offset of the first pixel.
    pub(crate) origin: usize,
    /// The distances between images, blocks, rows, pixels of a row, and channels of a block.
    pub(crate) image: usize,
    pub(crate) block: usize,
    pub(crate) row: usize,
    pub(crate) pixel: usize,
    pub(crate) channel: usize,
    /// The width of the border.
    pub(crate) border: Border,
    /// How its values are written.
    pub(crate) encoding: Encoding,
}

/// The rows and columns around an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Border {
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) bottom: usize,
    pub(crate) right: usize,
}

impl Border {
    /// The smallest border that contains both.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            top: self.top.max(other.top),
            left: self.left.max(other.left),
            bottom: self.bottom.max(other.bottom),
            right: self.right.max(other.right),
        }
    }
}

/// Whether a value of `dims` has one pixel.
pub(crate) fn is_vector([_, height, width]: [usize; 3]) -> bool {
    height * width == 1
}

impl Place {
    /// A value of `dims` alone in its buffer, in blocks. Vectors stay float32: no mean over pixels would cancel what an
    /// encoding rounds off.
    pub(crate) fn blocked(dims: [usize; 3], border: Border, path: Path) -> Self {
        let [channels, height, width] = dims;
        let lanes = path.lanes();
        let row = (width + border.left + border.right) * lanes;
        let block = (height + border.top + border.bottom) * row;
        Self {
            dims,
            lanes,
            origin: border.top * row + border.left * lanes,
            image: channels.div_ceil(lanes) * block,
            block,
            row,
            pixel: lanes,
            channel: 1,
            border,
            encoding: if is_vector(dims) { Encoding::F32 } else { path.encoding() },
        }
    }

    /// A value of `dims` alone in its buffer, channel by channel, as float32.
    pub(crate) fn planar(dims: [usize; 3], border: Border) -> Self {
        let [channels, height, width] = dims;
        let row = width + border.left + border.right;
        let plane = (height + border.top + border.bottom) * row;
        Self {
            dims,
            lanes: channels,
            origin: border.top * row + border.left,
            // Up to a whole vector may be written at the last pixel.
            image: (channels * plane).next_multiple_of(16),
            block: channels * plane,
            row,
            pixel: 1,
            channel: plane,
            border,
            encoding: Encoding::F32,
        }
    }

    /// The part of this value that has `channels` channels from the block `first_block` on.
    pub(crate) fn part(self, first_block: usize, channels: usize) -> Self {
        let [_, height, width] = self.dims;
        Self { dims: [channels, height, width], origin: self.origin + first_block * self.block, ..self }
    }

    /// Whether channels lie in blocks of the lanes of `path`.
    pub(crate) fn is_blocked(&self, path: Path) -> bool {
        self.lanes == path.lanes() && self.pixel == self.lanes && self.channel == 1
    }

    /// The number of blocks.
    pub(crate) fn n_blocks(&self) -> usize {
        self.dims[0].div_ceil(self.lanes)
    }

    /// Where the halves of a block's values lie: each block with an even number and the next one exchange theirs.
    pub(crate) fn halves(&self, block: usize) -> Halves {
        match self.encoding {
            Encoding::SplitBf16 if block % 2 == 1 => Halves::Upper(self.block),
            Encoding::SplitBf16 if block + 1 < self.n_blocks() => Halves::Lower(self.block),
            Encoding::SplitBf16 => Halves::Own,
            Encoding::F32 => Halves::None,
        }
    }

    /// The offset of a pixel of the first block, which may lie in the border.
    pub(crate) fn at(&self, image: usize, row: isize, column: isize) -> usize {
        let within = row * self.row as isize + column * self.pixel as isize;
        self.origin.wrapping_add(image * self.image).wrapping_add_signed(within)
    }

    /// One more than the largest offset of any pixel's last lane, borders included.
    pub(crate) fn end(&self, n_images: usize) -> usize {
        let [_, height, width] = self.dims;
        let last = self.at(n_images.max(1) - 1, (height + self.border.bottom) as isize - 1, 0)
            + (width + self.border.right - 1) * self.pixel;
        match self.channel {
            1 => last + (self.n_blocks() - 1) * self.block + self.lanes,
            channel => last + (self.lanes - 1) * channel + 1,
        }
    }
}

/// Sets the border around every image to 0.
pub(crate) fn clear_border(place: &Place, values: &mut [f32], n_images: usize) {
    let Border { top, left, bottom, right } = place.border;
    if place.border == Border::default() {
        return;
    }
    let [_, height, width] = place.dims;
    let (n_planes, plane) = match place.channel {
        1 => (place.n_blocks(), place.block),
        channel => (place.lanes, channel),
    };
    let full = (left + width + right) * place.pixel;
    for image in 0..n_images {
        for idx in 0..n_planes {
            let first = place.at(image, -(top as isize), -(left as isize)) + idx * plane;
            let values = &mut values[first..first + (top + height + bottom - 1) * place.row + full];
            let (above, rest) = values.split_at_mut(top * place.row);
            above.fill(0.0);
            for row in rest.chunks_mut(place.row).take(height) {
                row[..left * place.pixel].fill(0.0);
                row[(left + width) * place.pixel..full].fill(0.0);
            }
            if bottom > 0 {
                rest[height * place.row..].fill(0.0);
            }
        }
    }
}

/// Sets the lanes of the last block that no channel has to 0. Matrix products multiply them, by 0.
pub(crate) fn clear_absent_lanes(place: &Place, values: &mut [f32], n_images: usize) {
    let [channels, height, width] = place.dims;
    if place.channel != 1 || channels % place.lanes == 0 {
        return;
    }
    let last = place.n_blocks() - 1;
    let halves = place.halves(last);
    for image in 0..n_images {
        for row in 0..height {
            let first = place.at(image, row as isize, 0) + last * place.block;
            for column in 0..width {
                for lane in channels - last * place.lanes..place.lanes {
                    halves.set(values, first + column * place.pixel + lane, 0.0);
                }
            }
        }
    }
}
