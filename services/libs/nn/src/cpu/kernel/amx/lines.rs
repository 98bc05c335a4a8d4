//! Which pixels are the rows of which tile.
//!
//! Rows lie at equal distances: a piece of a line through the images, in the direction that needs the fewest
//! instructions.

use super::TILE;
use crate::cpu::kernel::direct::Window;
use crate::cpu::layout::Place;

/// The time that a product takes apart from its rows, in that of a row (measured: 7 cycles, and 0.6 for each row).
const BASE_COST: usize = 11;
/// Rows that lie further apart than a page of memory, in float32, take half as long again.
const PAGE_LEN: usize = 1024;

/// How pixels are put into tiles.
#[derive(Debug)]
pub(super) struct Lines {
    /// The rows of a tile, and the distances of their inputs, outputs and residuals.
    pub(super) n_rows: usize,
    pub(super) stride: usize,
    pub(super) output_stride: usize,
    pub(super) residual_stride: usize,
    pub(super) runs: Vec<Run>,
    pub(super) segments: Vec<Segment>,
    /// The images that the runs are for; they are repeated for the next ones.
    pub(super) n_images: usize,
}

/// The rows of a tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// The offset of the first row's input.
    pub(super) input: usize,
    /// The pixels that are wanted, and the segments that they are in.
    pub(super) n_pixels: usize,
    pub(super) first_segment: usize,
    pub(super) n_segments: usize,
}

/// Rows of a tile behind each other that are pixels of the result, at equal distances.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) row: u32,
    pub(super) n_rows: u32,
    /// The offsets of the first one's first block.
    pub(super) output: u32,
    pub(super) residual: u32,
}

/// A direction in which pixels are put into tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// Along the rows of an image.
    Row,
    /// Along its columns.
    Column,
    /// All of an image, row by row, with what lies between the rows.
    Image,
    /// From image to image.
    Images,
}

impl Lines {
    /// The lines that take the least time for `n_images`.
    pub(super) fn fastest(window: &Window, places: [&Place; 2], residual: Option<&Place>, n_images: usize) -> Self {
        let directions = [Direction::Row, Direction::Image, Direction::Column, Direction::Images];
        directions
            .into_iter()
            .filter_map(|direction| Self::new(direction, window, places, residual, n_images))
            .min_by_key(|lines| lines.cost(n_images))
            .unwrap_or_else(|| unreachable!("every image has rows"))
    }

    /// Puts the pixels of the result into tiles along `direction`; none where they do not lie at equal distances.
    fn new(
        direction: Direction,
        window: &Window,
        [input, output]: [&Place; 2],
        residual: Option<&Place>,
        n_images: usize,
    ) -> Option<Self> {
        let [_, height, width] = output.dims;
        let [down, across] = window.stride;
        // Pixels of an image from the beginning of a row to that of the next, if those were of the output.
        let pitch = input.row / input.pixel;
        let (n_lines, len, stride) = match direction {
            Direction::Row => (height, width, across * input.pixel),
            Direction::Column => (width, height, down * input.row),
            Direction::Image if down == across && width <= pitch => {
                (1, (height - 1) * pitch + width, across * input.pixel)
            }
            Direction::Image => return None,
            Direction::Images => (height * width, n_images, input.image),
        };
        let step = |place: &Place| match direction {
            Direction::Row | Direction::Image => place.pixel,
            Direction::Column => place.row,
            Direction::Images => place.image,
        };
        // The image, row and column of an entry of a line.
        let pixel_of = |line: usize, idx: usize| match direction {
            Direction::Row => (0, line, idx),
            Direction::Column => (0, idx, line),
            Direction::Image => (0, idx / pitch, idx % pitch),
            Direction::Images => (idx, line / width, line % width),
        };
        let n_pieces = len.div_ceil(TILE);
        let n_rows = len.div_ceil(n_pieces);
        let (mut runs, mut segments) = (Vec::new(), Vec::<Segment>::new());
        for line in 0..n_lines {
            for piece in 0..n_pieces {
                // The last piece begins earlier where it would reach beyond: some of its rows are there already.
                let (wanted, start) = (piece * n_rows, (piece * n_rows).min(len - n_rows));
                let (image, row, column) = pixel_of(line, start);
                let top = (row * down) as isize - window.padding[0] as isize;
                let left = (column * across) as isize - window.padding[1] as isize;
                let first_segment = segments.len();
                let (mut n_pixels, mut continues) = (0, false);
                for idx in wanted..(start + n_rows) {
                    let (image, row, column) = pixel_of(line, idx);
                    let is_wanted = column < width;
                    if is_wanted {
                        let at = |place: &Place| place.at(image, row as isize, column as isize) as u32;
                        n_pixels += 1;
                        // Along an image a row of it is a segment.
                        match segments.last_mut() {
                            Some(segment) if continues && (direction != Direction::Image || column > 0) => {
                                segment.n_rows += 1;
                            }
                            _ => segments.push(Segment {
                                row: (idx - start) as u32,
                                n_rows: 1,
                                output: at(output),
                                residual: residual.map_or(0, at),
                            }),
                        }
                    }
                    continues = is_wanted;
                }
                let n_segments = segments.len() - first_segment;
                runs.push(Run { input: input.at(image, top, left), n_pixels, first_segment, n_segments });
            }
        }
        Some(Self {
            n_rows,
            stride,
            output_stride: step(output),
            residual_stride: residual.map_or(0, step),
            runs,
            segments,
            n_images: if direction == Direction::Images { n_images } else { 1 },
        })
    }

    /// How long the products of `n_images` take.
    fn cost(&self, n_images: usize) -> usize {
        let rows = self.n_rows + if self.stride > PAGE_LEN { self.n_rows.div_ceil(2) } else { 0 };
        n_images / self.n_images * self.runs.len() * (BASE_COST + rows)
    }

    /// The largest offset of a row's input.
    pub(super) fn last_input(&self) -> usize {
        self.runs.iter().map(|run| run.input).max().unwrap_or(0) + (self.n_rows - 1) * self.stride
    }

    /// The largest offset of a pixel of the result.
    pub(super) fn last_output(&self) -> usize {
        self.last(self.output_stride, |segment| segment.output)
    }

    /// The largest offset of a pixel's residual.
    pub(super) fn last_residual(&self) -> usize {
        self.last(self.residual_stride, |segment| segment.residual)
    }

    fn last(&self, stride: usize, first: impl Fn(&Segment) -> u32) -> usize {
        let last = |segment: &Segment| first(segment) as usize + (segment.n_rows as usize - 1) * stride;
        self.segments.iter().map(last).max().unwrap_or(0)
    }
}
