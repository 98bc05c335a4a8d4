//! Convolution as products of matrices of bfloat16.
//!
//! A value x is written as two bfloat16, x_hi + x_lo, and so is a weight. A row of the first factor is the block of 16
//! channels of a pixel as it lies in memory: 32 bfloat16, as many as an instruction multiplies. The second factor has
//! w_hi, or w_lo, twice for each channel, so that two products give (x_hi + x_lo) w_hi + (x_hi + x_lo) w_lo, summed in
//! float32. Of weights that are rounded to w_hi, one product is enough.
//!
//! Rows are pixels at equal distances: a piece of a line through the images, in the direction that needs the fewest
//! instructions. Pixels do not depend on each other, and each sum runs from the bias on over rows and columns of the
//! window, then over blocks of channels, in whatever tile it is.

use super::direct::{Operands, Window};
use super::path::Path;
use crate::cpu::encoding::Encoding;
use crate::cpu::layout::{Border, Place};

/// The rows of a tile, which are as many as the lanes of a block.
const TILE: usize = 16;
/// The float32, or pairs of bfloat16, of a tile.
const TILE_LEN: usize = TILE * TILE;
/// The time that a product takes apart from its rows, in that of a row (measured: 7 cycles, and 0.6 for each row).
const BASE_COST: usize = 11;
/// Rows that lie further apart than a page of memory, in float32, take half as long again.
const PAGE_LEN: usize = 1024;

/// How precise weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    /// Rounded to bfloat16.
    Bf16,
    /// The sums of two bfloat16.
    SplitBf16,
}

/// Where weights lie: (block of outputs, window, block of inputs, part of the sum), tiles of (input channel, output
/// channel).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weights {
    precision: Precision,
    n_outputs: usize,
    n_inputs: usize,
    n_taps: usize,
}

/// A convolution, planned for a number of images.
#[derive(Debug)]
pub(crate) struct Amx {
    weights: Weights,
    /// The offsets of the window's entries in each block of inputs.
    chunks: Vec<usize>,
    lines: Lines,
    input: Place,
    output: Place,
    residual: Option<Place>,
    n_images: usize,
    extents: Extents,
}

/// The values that are touched.
#[derive(Debug, Clone, Copy)]
struct Extents {
    input: usize,
    residual: usize,
    output: usize,
}

/// How pixels are put into tiles.
#[derive(Debug)]
struct Lines {
    /// The rows of a tile, and the distance of their inputs.
    n_rows: usize,
    stride: usize,
    runs: Vec<Run>,
    pixels: Vec<Pixel>,
    /// The images that the runs are for; they are repeated for the next ones.
    n_images: usize,
}

/// The rows of a tile.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// The offset of the first row's input.
    input: usize,
    /// The pixels that are wanted.
    first_pixel: usize,
    n_pixels: usize,
}

/// A pixel of the result.
#[derive(Debug, Clone, Copy)]
struct Pixel {
    /// Its row in the tile.
    row: u32,
    /// The offsets of its first block.
    output: u32,
    residual: u32,
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

impl Weights {
    /// Weights of the shape (output channel, input channel, window).
    pub(crate) fn new(precision: Precision, [n_outputs, n_inputs, n_taps]: [usize; 3]) -> Self {
        Self { precision, n_outputs, n_inputs, n_taps }
    }

    /// The number of float32 that they take.
    pub(crate) fn len(&self) -> usize {
        self.n_outputs.div_ceil(TILE) * self.block_len()
    }

    /// Of one block of outputs.
    fn block_len(&self) -> usize {
        self.n_taps * self.n_inputs.div_ceil(TILE) * self.n_parts() * TILE_LEN
    }

    fn n_parts(&self) -> usize {
        match self.precision {
            Precision::Bf16 => 1,
            Precision::SplitBf16 => 2,
        }
    }

    /// Puts `weights` (output channel, input channel, window), each output channel scaled by its `scales`, where
    /// [`Amx::run`] reads them. Weights of channels that there are not keep what they have.
    pub(crate) fn pack(&self, weights: &[f32], scales: &[f64], packed: &mut [f32]) {
        let n_input_blocks = self.n_inputs.div_ceil(TILE);
        for (output, filters) in weights.chunks_exact(self.n_inputs * self.n_taps).enumerate() {
            for (input, filter) in filters.chunks_exact(self.n_taps).enumerate() {
                for (tap, weight) in filter.iter().enumerate() {
                    let weight = (f64::from(*weight) * scales[output]) as f32;
                    let bits = Encoding::SplitBf16.encode(weight).to_bits();
                    let halves = [bits >> 16, bits & 0xffff];
                    let chunk = tap * n_input_blocks + input / TILE;
                    for (part, half) in halves.into_iter().take(self.n_parts()).enumerate() {
                        let tile = (output / TILE) * self.block_len() + (chunk * self.n_parts() + part) * TILE_LEN;
                        packed[tile + input % TILE * TILE + output % TILE] = f32::from_bits(half << 16 | half);
                    }
                }
            }
        }
    }
}

impl Amx {
    /// Plans the convolution of up to `n_images` from `input` to `output`, to which `residual` is added. All of them lie
    /// in blocks; all but the output are encoded.
    pub(crate) fn new(
        path: Path,
        window: &Window,
        weights: Weights,
        [input, output]: [Place; 2],
        residual: Option<Place>,
        n_images: usize,
    ) -> Self {
        assert_eq!(path.encoding(), Encoding::SplitBf16, "instructions for bfloat16");
        let is_encoded = |place: &Place| place.encoding == Encoding::SplitBf16;
        assert!(is_encoded(&input) && residual.as_ref().is_none_or(is_encoded), "encoded inputs");
        let is_blocked = |place: &Place| place.lanes == TILE && place.pixel == TILE && place.channel == 1;
        assert!([Some(input), Some(output), residual].iter().flatten().all(is_blocked), "blocks of 16 channels");
        let channels = [output.dims[0], input.dims[0], window.kernel[0] * window.kernel[1]];
        assert_eq!([weights.n_outputs, weights.n_inputs, weights.n_taps], channels, "weights of the convolution");
        // From the first entry of the first window to the last one of the last window.
        let lies_within = |axis: usize, before: usize, after: usize| {
            let reach =
                (output.dims[1 + axis] - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis];
            window.padding[axis] <= before && reach < window.padding[axis] + input.dims[1 + axis] + after
        };
        let Border { top, left, bottom, right } = input.border;
        assert!(lies_within(0, top, bottom) && lies_within(1, left, right), "a border as wide as the window");
        let taps = (0..window.kernel[0]).flat_map(|row| (0..window.kernel[1]).map(move |column| (row, column)));
        let chunks: Vec<usize> = taps
            .flat_map(|(row, column)| {
                let tap = row * window.dilation[0] * input.row + column * window.dilation[1] * input.pixel;
                (0..input.n_blocks()).map(move |block| tap + block * input.block)
            })
            .collect();
        let directions = [Direction::Row, Direction::Image, Direction::Column, Direction::Images];
        let lines = directions
            .into_iter()
            .filter_map(|direction| Lines::new(direction, window, &input, &output, residual.as_ref(), n_images))
            .min_by_key(|lines| lines.cost(n_images))
            .unwrap_or_else(|| unreachable!("every image has rows"));
        // The last images that the runs are repeated for.
        let first_image = n_images - lines.n_images;
        let reach = |place: &Place| first_image * place.image + (output.n_blocks() - 1) * place.block + TILE;
        let last = |offset: fn(&Pixel) -> u32| lines.pixels.iter().map(offset).max().unwrap_or(0) as usize;
        let extents = Extents {
            input: first_image * input.image
                + lines.runs.iter().map(|run| run.input).max().unwrap_or(0)
                + (lines.n_rows - 1) * lines.stride
                + chunks.iter().max().copied().unwrap_or(0)
                + TILE,
            residual: residual.map_or(0, |place| last(|pixel| pixel.residual) + reach(&place)),
            output: last(|pixel| pixel.output) + reach(&output),
        };
        Self { weights, chunks, lines, input, output, residual, n_images, extents }
    }

    /// Computes the first `n_images`.
    pub(crate) fn run(&self, n_images: usize, input: &[f32], operands: Operands<'_>, output: &mut [f32]) {
        let Operands { weights, bias, residual, .. } = operands;
        assert!(n_images <= self.n_images, "{n_images} images of at most {}", self.n_images);
        assert!(input.len() >= self.extents.input, "an input that ends early");
        assert!(weights.len() >= self.weights.len(), "weights that end early");
        assert!(bias.len() >= self.output.n_blocks() * TILE, "a bias that ends early");
        assert!(output.len() >= self.extents.output, "an output that ends early");
        assert_eq!(residual.is_some(), self.residual.is_some(), "a residual that was not planned");
        assert!(residual.is_none_or(|residual| residual.len() >= self.extents.residual), "a residual that ends early");
        // SAFETY: `new` found the path to be one with tiles, which therefore may be used. Everything that is read and
        // written lies within the extents, which the slices were found to have. The output is borrowed uniquely.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            x86::body(self, n_images, input.as_ptr(), &operands, output.as_mut_ptr());
        }
    }
}

impl Lines {
    /// Puts the pixels of the result into tiles along `direction`; none where they do not lie at equal distances.
    fn new(
        direction: Direction,
        window: &Window,
        input: &Place,
        output: &Place,
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
        // The image, row and column of an entry of a line.
        let pixel_of = |line: usize, idx: usize| match direction {
            Direction::Row => (0, line, idx),
            Direction::Column => (0, idx, line),
            Direction::Image => (0, idx / pitch, idx % pitch),
            Direction::Images => (idx, line / width, line % width),
        };
        let n_pieces = len.div_ceil(TILE);
        let n_rows = len.div_ceil(n_pieces);
        let (mut runs, mut pixels) = (Vec::new(), Vec::new());
        for line in 0..n_lines {
            for piece in 0..n_pieces {
                // The last piece begins earlier where it would reach beyond: some of its rows are there already.
                let (wanted, start) = (piece * n_rows, (piece * n_rows).min(len - n_rows));
                let (image, row, column) = pixel_of(line, start);
                let top = (row * down) as isize - window.padding[0] as isize;
                let left = (column * across) as isize - window.padding[1] as isize;
                let first_pixel = pixels.len();
                for idx in wanted..(start + n_rows) {
                    let (image, row, column) = pixel_of(line, idx);
                    if column < width {
                        let at = |place: &Place| place.at(image, row as isize, column as isize) as u32;
                        let (row, residual) = ((idx - start) as u32, residual.map_or(0, at));
                        pixels.push(Pixel { row, output: at(output), residual });
                    }
                }
                let n_pixels = pixels.len() - first_pixel;
                runs.push(Run { input: input.at(image, top, left), first_pixel, n_pixels });
            }
        }
        let n_images = if direction == Direction::Images { n_images } else { 1 };
        Some(Self { n_rows, stride, runs, pixels, n_images })
    }

    /// How long the products of `n_images` take.
    fn cost(&self, n_images: usize) -> usize {
        let rows = self.n_rows + if self.stride > PAGE_LEN { self.n_rows.div_ceil(2) } else { 0 };
        n_images / self.n_images * self.runs.len() * (BASE_COST + rows)
    }
}

#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Amx, Encoding, Operands, Pixel, Precision, TILE, TILE_LEN};
    use crate::cpu::kernel::split::SplitBf16;
    use crate::cpu::kernel::tile::{self, Tiles};
    use crate::cpu::kernel::vector::Vector;

    /// The sums that are computed together, of as many runs.
    const N_SUMS: usize = 4;

    /// Memory for sums: those that become results, and those that are computed meanwhile.
    #[repr(C, align(64))]
    struct Sums([[f32; TILE_LEN]; 2 * N_SUMS]);

    /// Sums that have yet to become results, which is done between products: it needs other parts of the processor.
    struct Epilogue<'a> {
        tiles: [Finished<'a>; N_SUMS],
        n_tiles: usize,
        /// The next tile, and its next pixel.
        tile: usize,
        pixel: usize,
        /// The pixels of a turn.
        n_pixels: usize,
        low: SplitBf16,
        high: SplitBf16,
        has_high: bool,
        is_encoded: bool,
    }

    /// The sums of a tile, and what they belong to.
    #[derive(Clone, Copy)]
    struct Finished<'a> {
        pixels: &'a [Pixel],
        sums: *const f32,
        output: *mut f32,
        /// Null if there is none.
        residual: *const f32,
    }

    /// # Safety
    /// The slices of `operands`, `input` and `output` have the extents of `conv`; the process may use tiles.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
    pub(super) unsafe fn body(
        conv: &Amx,
        n_images: usize,
        input: *const f32,
        operands: &Operands<'_>,
        output: *mut f32,
    ) {
        // SAFETY: as for this function.
        unsafe {
            let _tiles = Tiles::new(conv.lines.n_rows);
            match conv.weights.precision {
                Precision::Bf16 => blocks::<1>(conv, n_images, input, operands, output),
                Precision::SplitBf16 => blocks::<2>(conv, n_images, input, operands, output),
            }
        }
    }

    /// # Safety
    /// As for [`body`]; tiles are configured for the rows of `conv`, and weights have `PARTS` parts.
    #[inline(always)]
    unsafe fn blocks<const PARTS: usize>(
        conv: &Amx,
        n_images: usize,
        input: *const f32,
        operands: &Operands<'_>,
        output: *mut f32,
    ) {
        let mut sums = Sums([[0.0; TILE_LEN]; 2 * N_SUMS]);
        let lines = &conv.lines;
        let n_runs = n_images.div_ceil(lines.n_images) * lines.runs.len();
        // SAFETY: offsets are those of the runs, chunks, pixels and blocks that the extents were computed from, and the
        // runs' images end with the last that was planned.
        unsafe {
            let sums = sums.0.as_mut_ptr().cast::<f32>();
            let mut half = 0;
            let nothing = Finished {
                pixels: &[],
                sums: std::ptr::null(),
                output: std::ptr::null_mut(),
                residual: std::ptr::null(),
            };
            let residual = operands.residual.map(|values| values.as_ptr()).zip(conv.residual.as_ref());
            let mut epilogue = Epilogue::new(conv, operands, [nothing; N_SUMS]);
            let mut block = 0;
            while block < conv.output.n_blocks() {
                let weights = operands.weights.as_ptr().add(block * conv.weights.block_len());
                let bias = operands.bias.as_ptr().add(block * TILE);
                let (mut image, mut runs) = (0, lines.runs.iter());
                let mut n_left = n_runs;
                while n_left > 0 {
                    let to = sums.add(half * N_SUMS * TILE_LEN);
                    let mut next = [nothing; N_SUMS];
                    let mut from = [input; N_SUMS];
                    let n_wanted = n_left.min(N_SUMS);
                    for idx in 0..n_wanted {
                        let run = match runs.next() {
                            Some(run) => run,
                            None => {
                                image += lines.n_images;
                                runs = lines.runs.iter();
                                runs.next().unwrap_or_else(|| unreachable!("lines have runs"))
                            }
                        };
                        from[idx] = input.add(image * conv.input.image + run.input);
                        next[idx] = Finished {
                            pixels: &lines.pixels[run.first_pixel..run.first_pixel + run.n_pixels],
                            sums: to.add(idx * TILE_LEN),
                            output: output.add(image * conv.output.image + block * conv.output.block),
                            residual: residual.map_or(std::ptr::null(), |(values, place)| {
                                values.add(image * place.image + block * place.block)
                            }),
                        };
                    }
                    // Where there are 1 or 3, the last is computed twice.
                    let last = from[n_wanted - 1];
                    from[n_wanted..].fill(last);
                    match n_wanted {
                        1 | 2 => multiply::<PARTS, 1>(conv, from, weights, bias, to, &mut epilogue),
                        _ => multiply::<PARTS, 2>(conv, from, weights, bias, to, &mut epilogue),
                    }
                    epilogue.finish();
                    epilogue.start(next, n_wanted, 2 * PARTS * conv.chunks.len());
                    half = 1 - half;
                    n_left -= n_wanted;
                }
                block += 1;
            }
            epilogue.finish();
        }
    }

    /// Computes sums of `PAIRS` pairs of runs, 1 or 2, and one block.
    ///
    /// # Safety
    /// As for [`blocks`]; `from` are inputs of runs, `weights` and `bias` those of a block, `to` has room for the sums.
    #[inline(always)]
    unsafe fn multiply<const PARTS: usize, const PAIRS: usize>(
        conv: &Amx,
        from: [*const f32; N_SUMS],
        mut weights: *const f32,
        bias: *const f32,
        to: *mut f32,
        epilogue: &mut Epilogue<'_>,
    ) {
        let stride = conv.lines.stride;
        // SAFETY: as for this function.
        unsafe {
            // Every row of a sum begins as the bias.
            tile::load::<0>(bias, 0);
            tile::load::<1>(bias, 0);
            if PAIRS == 2 {
                tile::load::<2>(bias, 0);
                tile::load::<3>(bias, 0);
            }
            for chunk in &conv.chunks {
                tile::load::<6>(weights, TILE);
                if PARTS == 2 {
                    tile::load::<7>(weights.add(TILE_LEN), TILE);
                }
                weights = weights.add(PARTS * TILE_LEN);
                multiply_pair::<PARTS, 0, 1>([from[0].add(*chunk), from[1].add(*chunk)], stride, epilogue);
                if PAIRS == 2 {
                    multiply_pair::<PARTS, 2, 3>([from[2].add(*chunk), from[3].add(*chunk)], stride, epilogue);
                }
            }
            tile::store::<0>(to);
            tile::store::<1>(to.add(TILE_LEN));
            if PAIRS == 2 {
                tile::store::<2>(to.add(2 * TILE_LEN));
                tile::store::<3>(to.add(3 * TILE_LEN));
            }
        }
    }

    /// Adds products of two runs with the weights in tiles 6 and 7 to the sums in tiles `FIRST` and `SECOND`. Products
    /// with the same weights follow each other, so that these are loaded into the multiplier only once.
    ///
    /// # Safety
    /// Tiles are configured, and the rows of `from` may be read.
    #[inline(always)]
    unsafe fn multiply_pair<const PARTS: usize, const FIRST: usize, const SECOND: usize>(
        from: [*const f32; 2],
        stride: usize,
        epilogue: &mut Epilogue<'_>,
    ) {
        // SAFETY: as for this function.
        unsafe {
            tile::load::<4>(from[0], stride);
            tile::multiply_add::<FIRST, 4, 6>();
            tile::load::<5>(from[1], stride);
            tile::multiply_add::<SECOND, 5, 6>();
            epilogue.turn();
            if PARTS == 2 {
                tile::multiply_add::<FIRST, 4, 7>();
                tile::multiply_add::<SECOND, 5, 7>();
                epilogue.turn();
            }
        }
    }

    impl<'a> Epilogue<'a> {
        /// Nothing to do.
        ///
        /// # Safety
        /// The processor has AVX-512 with BF16.
        #[inline(always)]
        unsafe fn new(conv: &Amx, operands: &Operands<'_>, tiles: [Finished<'a>; N_SUMS]) -> Self {
            // SAFETY: as for this function.
            let [low, high] = operands.bounds.map(|bound| unsafe { SplitBf16::splat(bound) });
            let has_high = operands.bounds[1] < f32::INFINITY;
            let is_encoded = conv.output.encoding == Encoding::SplitBf16;
            Self { tiles, n_tiles: 0, tile: 0, pixel: 0, n_pixels: 0, low, high, has_high, is_encoded }
        }

        /// Begins with the first `n_tiles` of `tiles`, to be done in `n_turns` turns.
        #[inline(always)]
        fn start(&mut self, tiles: [Finished<'a>; N_SUMS], n_tiles: usize, n_turns: usize) {
            let n_pixels: usize = tiles[..n_tiles].iter().map(|tile| tile.pixels.len()).sum();
            self.tiles = tiles;
            (self.n_tiles, self.tile, self.pixel, self.n_pixels) = (n_tiles, 0, 0, n_pixels.div_ceil(n_turns));
        }

        /// Does a part of what is to be done.
        ///
        /// # Safety
        /// The tiles that are left have sums; outputs and residuals of their pixels may be written and read.
        #[inline(always)]
        unsafe fn turn(&mut self) {
            // SAFETY: as for this function.
            unsafe { self.advance(self.n_pixels) }
        }

        /// Does what is left.
        ///
        /// # Safety
        /// As for [`Self::turn`].
        #[inline(always)]
        unsafe fn finish(&mut self) {
            // SAFETY: as for this function.
            unsafe { self.advance(usize::MAX) }
        }

        /// # Safety
        /// As for [`Self::turn`].
        #[inline(always)]
        unsafe fn advance(&mut self, mut n_pixels: usize) {
            while self.tile < self.n_tiles && n_pixels > 0 {
                let tile = &self.tiles[self.tile];
                let end = self.pixel.saturating_add(n_pixels).min(tile.pixels.len());
                for pixel in &tile.pixels[self.pixel..end] {
                    // SAFETY: as for this function; a pixel's row is one of the tile's.
                    unsafe {
                        let mut value = SplitBf16::load(tile.sums.add(pixel.row as usize * TILE));
                        if !tile.residual.is_null() {
                            let residual = tile.residual.add(pixel.residual as usize);
                            value = value.add(SplitBf16::load_values(residual));
                        }
                        value = value.at_least(self.low);
                        // Most results have no upper bound, and the products wait for each of these instructions.
                        if self.has_high {
                            value = value.at_most(self.high);
                        }
                        let to = tile.output.add(pixel.output as usize);
                        if self.is_encoded { value.store_values(to) } else { value.store(to) }
                    }
                }
                n_pixels -= end - self.pixel;
                self.pixel = end;
                if end == tile.pixels.len() {
                    (self.tile, self.pixel) = (self.tile + 1, 0);
                }
            }
        }
    }
}
