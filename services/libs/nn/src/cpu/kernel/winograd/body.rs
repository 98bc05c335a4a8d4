//! The loops of Winograd's convolutions: tiles are transformed, multiplied and transformed back, a chunk at a time.

use super::transform::{Four, Transform, Two};
use super::{Form, GRAIN, Group, Tile, Winograd};
use crate::cpu::kernel::direct::Operands;
use crate::cpu::kernel::vector::Vector;

/// The tiles that are multiplied together where [`Vector::TILES`] do not divide a chunk.
const N_REST: usize = 4;

/// # Safety
/// Input, scratch, output and the slices of `operands` have the extents of `conv`; the processor has the instructions of
/// `V`.
#[inline(always)]
pub(super) unsafe fn body<V: Vector>(
    conv: &Winograd,
    n_images: usize,
    input: *const f32,
    operands: &Operands<'_>,
    scratch: *mut f32,
    output: *mut f32,
) {
    // SAFETY: as for this function; the transforms are those of the form.
    unsafe {
        match conv.form {
            Form::Two => chunks::<V, Two, 4, 2>(conv, n_images, input, operands, scratch, output),
            Form::Four => chunks::<V, Four, 6, 4>(conv, n_images, input, operands, scratch, output),
        }
    }
}

/// # Safety
/// As for [`body`]; tiles have `I` x `I` inputs and `O` x `O` outputs.
#[inline(always)]
unsafe fn chunks<V: Vector, T: Transform<I, O>, const I: usize, const O: usize>(
    conv: &Winograd,
    n_images: usize,
    input: *const f32,
    operands: &Operands<'_>,
    scratch: *mut f32,
    output: *mut f32,
) {
    // SAFETY: the number of tiles is rounded up to whole chunks in `new`, with copies of the last tile; scratch has room
    // for the transforms of one chunk. Each frequency of the products takes the place in front of that of the inputs that
    // it is made of, where there were others before.
    unsafe {
        let (products, spectra) = (scratch, scratch.add(conv.stride()));
        let n_tiles = n_images * conv.n_tiles_per_image;
        let mut first = 0;
        while first < n_tiles {
            let tiles = conv.tiles.get_unchecked(first..first + conv.chunk);
            transform_inputs::<V, T, I, O>(conv, tiles, input, spectra);
            for frequency in 0..I * I {
                let spectrum = spectra.add(frequency * conv.stride()).cast_const();
                let weights = operands.weights.as_ptr().add(frequency * conv.weights_of_frequency());
                let product = products.add(frequency * conv.stride());
                for group in &conv.groups {
                    match group.n_blocks {
                        1 => multiply::<V, 1>(conv, group, spectrum, weights, product),
                        2 => multiply::<V, 2>(conv, group, spectrum, weights, product),
                        _ => multiply::<V, 3>(conv, group, spectrum, weights, product),
                    }
                }
            }
            transform_outputs::<V, T, I, O>(conv, tiles, products, operands, output);
            first += conv.chunk;
        }
    }
}

/// Writes B^T d B of each tile and block of channels: (frequency, block, tile, channel).
///
/// # Safety
/// As for [`chunks`].
#[inline(always)]
unsafe fn transform_inputs<V: Vector, T: Transform<I, O>, const I: usize, const O: usize>(
    conv: &Winograd,
    tiles: &[Tile],
    input: *const f32,
    spectra: *mut f32,
) {
    // SAFETY: a tile's inputs of every block lie within the input's extent; (block, tile) are those of a chunk.
    unsafe {
        for block in 0..conv.input.n_blocks() {
            for (idx, tile) in tiles.iter().enumerate() {
                let from = input.add(tile.input as usize + block * conv.input.block);
                let to = spectra.add((block * conv.chunk + idx) * V::LANES);
                transform_rows::<V, T, I, O, 0>(conv, from, to);
                transform_rows::<V, T, I, O, 1>(conv, from, to);
                if I > 4 {
                    transform_rows::<V, T, I, O, 2>(conv, from, to);
                }
            }
        }
    }
}

/// Writes two rows of B^T d B of a tile, as many as there are registers for.
///
/// # Safety
/// As for [`chunks`]; `from` is where the tile's inputs begin, `to` where its frequencies do.
#[inline(always)]
unsafe fn transform_rows<V: Vector, T: Transform<I, O>, const I: usize, const O: usize, const PAIR: usize>(
    conv: &Winograd,
    from: *const f32,
    to: *mut f32,
) {
    // SAFETY: as for this function.
    unsafe {
        let mut rows = [[V::splat(0.0); I]; 2];
        for column in 0..I {
            let pair = T::inputs::<V, PAIR>(|row| V::load(from.add(row * conv.input.row + column * V::LANES)));
            for (row, value) in rows.iter_mut().zip(pair) {
                row[column] = value;
            }
        }
        for (row, line) in rows.iter().enumerate() {
            let to = to.add(I * (2 * PAIR + row) * conv.stride());
            let store = |column: usize, pair: [V; 2]| {
                for (idx, value) in pair.into_iter().enumerate() {
                    value.store(to.add((column + idx) * conv.stride()));
                }
            };
            store(0, T::inputs::<V, 0>(|column| line[column]));
            store(2, T::inputs::<V, 1>(|column| line[column]));
            if I > 4 {
                store(4, T::inputs::<V, 2>(|column| line[column]));
            }
        }
    }
}

/// Sums products over the channels of one frequency.
///
/// # Safety
/// As for [`body`]; `group` is of `conv` and has `N` blocks; the pointers are those of one frequency.
#[inline(always)]
unsafe fn multiply<V: Vector, const N: usize>(
    conv: &Winograd,
    group: &Group,
    spectrum: *const f32,
    weights: *const f32,
    product: *mut f32,
) {
    // SAFETY: as for this function; a chunk has at least as many tiles as are multiplied together.
    unsafe {
        let mut first = 0;
        while first + V::TILES[N - 1] <= conv.chunk {
            multiply_tiles::<V, N>(conv, group, [first, V::TILES[N - 1]], spectrum, weights, product);
            first += V::TILES[N - 1];
        }
        while first < conv.chunk {
            // Some tiles may be multiplied twice.
            let start = first.min(conv.chunk - N_REST);
            multiply_tiles::<V, N>(conv, group, [start, N_REST], spectrum, weights, product);
            first = start + N_REST;
        }
    }
}

/// Sums products for some tiles: the first, and how many, which is known when this is compiled.
///
/// # Safety
/// As for [`multiply`]; the tiles are of a chunk.
#[inline(always)]
unsafe fn multiply_tiles<V: Vector, const N: usize>(
    conv: &Winograd,
    group: &Group,
    [first, n_tiles]: [usize; 2],
    spectrum: *const f32,
    weights: *const f32,
    product: *mut f32,
) {
    // SAFETY: offsets are (block, tile, channel) of a chunk, and (channel, output channel) of the group's weights.
    unsafe {
        let (n_full, n_rest) = (conv.input.dims[0] / V::LANES, conv.input.dims[0] % V::LANES);
        // The weights of the next frequency.
        let ahead = conv.weights_of_frequency();
        let mut sums = [[V::splat(0.0); GRAIN]; N];
        let mut weight = weights.add(group.weights);
        let mut values = spectrum.add(first * V::LANES);
        for _ in 0..n_full {
            for channel in 0..V::LANES {
                accumulate::<V, N>(n_tiles, values.add(channel), weight, ahead, &mut sums);
                weight = weight.add(N * V::LANES);
            }
            // Behind the last block lies nothing that is read.
            values = values.wrapping_add(conv.chunk * V::LANES);
        }
        for channel in 0..n_rest {
            accumulate::<V, N>(n_tiles, values.add(channel), weight, ahead, &mut sums);
            weight = weight.add(N * V::LANES);
        }
        for n in 0..N {
            let to = product.add(((group.block + n) * conv.chunk + first) * V::LANES);
            for idx in 0..n_tiles {
                sums[n][idx].store(to.add(idx * V::LANES));
            }
        }
    }
}

/// # Safety
/// `values` is followed by those of `n_tiles` tiles, `weight` by `N` vectors.
#[inline(always)]
unsafe fn accumulate<V: Vector, const N: usize>(
    n_tiles: usize,
    values: *const f32,
    weight: *const f32,
    ahead: usize,
    sums: &mut [[V; GRAIN]; N],
) {
    // SAFETY: as for this function.
    unsafe {
        let mut factors = [V::splat(0.0); N];
        for n in 0..N {
            factors[n] = V::load(weight.add(n * V::LANES));
            V::prefetch(weight.wrapping_add(n * V::LANES + ahead));
        }
        for idx in 0..n_tiles {
            let value = V::splat(*values.add(idx * V::LANES));
            for n in 0..N {
                sums[n][idx] = value.mul_add(factors[n], sums[n][idx]);
            }
        }
    }
}

/// Writes A^T m A of each tile with bias and residual, within the bounds.
///
/// # Safety
/// As for [`chunks`].
#[inline(always)]
unsafe fn transform_outputs<V: Vector, T: Transform<I, O>, const I: usize, const O: usize>(
    conv: &Winograd,
    tiles: &[Tile],
    products: *const f32,
    operands: &Operands<'_>,
    output: *mut f32,
) {
    // SAFETY: products are those of a chunk; a tile's outputs, as many as there are, lie within the output's extent and
    // within the residual's.
    unsafe {
        for block in 0..conv.output.n_blocks() {
            for (idx, tile) in tiles.iter().enumerate() {
                let from = products.add((block * conv.chunk + idx) * V::LANES);
                let mut rows = [[V::splat(0.0); I]; O];
                for column in 0..I {
                    let mut line = [V::splat(0.0); I];
                    for row in 0..I {
                        line[row] = V::load(from.add((I * row + column) * conv.stride()));
                    }
                    for (row, value) in T::outputs(line).into_iter().enumerate() {
                        rows[row][column] = value;
                    }
                }
                let size = [usize::from(tile.n_rows), usize::from(tile.n_columns)];
                // Compiled twice: whole tiles know no edges.
                match size == [O, O] {
                    true => finish::<V, T, I, O>(conv, tile, block, [O, O], rows, operands, output),
                    false => finish::<V, T, I, O>(conv, tile, block, size, rows, operands, output),
                }
            }
        }
    }
}

/// Writes the outputs that a tile of `size` has, of which `rows` are the columns' transforms.
///
/// # Safety
/// As for [`chunks`]; the tile is one of the convolution, of this size, and `block` one of its output.
#[inline(always)]
unsafe fn finish<V: Vector, T: Transform<I, O>, const I: usize, const O: usize>(
    conv: &Winograd,
    tile: &Tile,
    block: usize,
    [n_rows, n_columns]: [usize; 2],
    rows: [[V; I]; O],
    operands: &Operands<'_>,
    output: *mut f32,
) {
    // SAFETY: as for this function.
    unsafe {
        let [low, high] = operands.bounds.map(|bound| V::splat(bound));
        let bias = V::load(operands.bias.as_ptr().add(block * V::LANES));
        let to = output.add(tile.output as usize + block * conv.output.block);
        for (row, line) in rows.into_iter().enumerate().take(n_rows) {
            for (column, value) in T::outputs(line).into_iter().enumerate().take(n_columns) {
                let mut value = value.add(bias);
                if let (Some(residual), Some(place)) = (operands.residual, &conv.residual) {
                    let first = tile.residual as usize + block * place.block;
                    let from = residual.as_ptr().add(first + row * place.row + column * V::LANES);
                    value = value.add(V::load(from));
                }
                let to = to.add(row * conv.output.row + column * V::LANES);
                value.at_least(low).at_most(high).store(to);
            }
        }
    }
}
