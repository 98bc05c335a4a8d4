//! The Gram matrix of a trajectory: the inner products of all its rows, in float64, computed in tiles.
//!
//! A path of n checkpoints lies in a space of at most n dimensions, so that everything about it follows from n x n
//! inner products: with P parameters, what takes O(n^2 P) is done in tiles of bounded memory, and what is left is
//! small.

use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Values that are summed one after the other; the sums of such chunks are added in order.
const CHUNK: usize = 512;

/// Rows on each side of a tile, so that its sums, in float64, fit into a message of 4 MiB.
const MAX_TILE_ROWS: usize = 512;

/// How the Gram matrix is cut into tiles: pairs of groups of rows, of which the second does not come before the first,
/// and ranges of values. The sums of a pair over all ranges are the entries of its rows and columns; those below the
/// diagonal are their mirror image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GramPlan {
    n_rows: usize,
    n_values: u64,
    rows_per_tile: NonZeroUsize,
    values_per_tile: NonZeroU64,
}

/// A part of the Gram matrix, over a part of the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GramTile {
    /// Its place in the plan.
    pub idx: u64,
    /// The rows of the matrix.
    pub rows: Range<usize>,
    /// The columns of the matrix: either the same as the rows, or such that come after all of them.
    pub columns: Range<usize>,
    /// The values of each row that are summed over.
    pub values: Range<u64>,
}

/// A part of a tile: some of its rows, with the columns that they need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GramBand {
    /// The rows, counted from the first of the tile.
    pub rows: Range<usize>,
    /// The columns, counted from the first of the tile.
    pub columns: Range<usize>,
}

/// The inner products of all rows of a trajectory: symmetric, n x n, in float64.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    n: usize,
    entries: Vec<f64>,
}

/// A Gram matrix to which tiles are added one by one.
#[derive(Debug, Clone)]
pub struct GramReduction {
    plan: GramPlan,
    n_added: u64,
    gram: Gram,
}

/// Why a Gram matrix cannot be made of tiles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GramError {
    /// There are more tiles than the plan has.
    #[error("tile {idx} is one too many for a plan of {n_tiles}")]
    TooMany {
        /// The index of the tile.
        idx: u64,
        /// The number of tiles of the plan.
        n_tiles: u64,
    },
    /// A tile does not have a sum for each of its rows and columns.
    #[error("{found} sums for tile {idx} with {rows} rows and {columns} columns")]
    Entries {
        /// The index of the tile.
        idx: u64,
        /// The number of sums given.
        found: usize,
        /// The number of its rows.
        rows: usize,
        /// The number of its columns.
        columns: usize,
    },
    /// There are fewer tiles than the plan has.
    #[error("{added} of {n_tiles} tiles were added; a Gram matrix takes all of them")]
    Missing {
        /// The number of tiles added.
        added: u64,
        /// The number of tiles of the plan.
        n_tiles: u64,
    },
}

/// A row of a trajectory, over the values of a tile.
#[derive(Debug, Clone, Copy)]
pub enum GramRow<'a> {
    /// A point of parameter space: the row is its difference from the origin, taken in float64.
    Point(&'a [f32]),
    /// A difference already, as a direction is: the row is this.
    Step(&'a [f32]),
}

impl GramPlan {
    /// Returns the plan for `n_rows` rows of `n_values` values each, in which the float32 values that a tile needs, of
    /// its rows, its columns and the origin, take at most `max_bytes`; but never fewer than one row and 512 values,
    /// which is 6 KiB.
    ///
    /// Whoever computes a tile reads the files of its rows whole, to verify their digests, so that the bytes read are
    /// the fewest with as few groups of rows and then as few ranges as there can be. Groups have at most 512 rows.
    #[must_use]
    pub fn new(n_rows: usize, n_values: u64, max_bytes: u64) -> Self {
        let max_values = max_bytes / size_of::<f32>() as u64;
        // Of a pair of two groups, rows and columns are different ones.
        let n_loaded = |n_groups: usize| {
            let rows = n_rows.div_ceil(n_groups);
            1 + if n_groups == 1 { rows } else { 2 * rows }
        };
        let fits = |n_groups: &usize| n_loaded(*n_groups) as u64 * CHUNK as u64 <= max_values;
        let n_groups = (n_rows.div_ceil(MAX_TILE_ROWS).max(1)..n_rows).find(fits).unwrap_or(n_rows.max(1));
        let range = (max_values / n_loaded(n_groups) as u64 / CHUNK as u64).max(1) * CHUNK as u64;
        let n_ranges = n_values.div_ceil(range).max(1);
        // As many ranges as it takes, but equal ones.
        let range = n_values.div_ceil(n_ranges).next_multiple_of(CHUNK as u64).min(range);
        Self::with_tiles(n_rows, n_values, n_rows.div_ceil(n_groups), range)
    }

    /// Returns the plan with at most `rows_per_tile` rows and columns and `values_per_tile` values in each tile; 0 of
    /// either is 1.
    #[must_use]
    pub fn with_tiles(n_rows: usize, n_values: u64, rows_per_tile: usize, values_per_tile: u64) -> Self {
        Self {
            n_rows,
            n_values,
            rows_per_tile: NonZeroUsize::new(rows_per_tile).unwrap_or(NonZeroUsize::MIN),
            values_per_tile: NonZeroU64::new(values_per_tile).unwrap_or(NonZeroU64::MIN),
        }
    }

    /// The number of rows of the matrix.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The number of values of each row.
    #[must_use]
    pub fn n_values(&self) -> u64 {
        self.n_values
    }

    fn n_groups(&self) -> u64 {
        self.n_rows.div_ceil(self.rows_per_tile.get()) as u64
    }

    fn n_pairs(&self) -> u64 {
        self.n_groups() * (self.n_groups() + 1) / 2
    }

    /// The number of tiles.
    #[must_use]
    pub fn n_tiles(&self) -> u64 {
        self.n_pairs() * self.n_values.div_ceil(self.values_per_tile.get())
    }

    /// The tile with the index `idx`, or none beyond the last one. Tiles of one range of values follow each other,
    /// pairs in row-major order.
    #[must_use]
    pub fn tile(&self, idx: u64) -> Option<GramTile> {
        if idx >= self.n_tiles() {
            return None;
        }
        let (n_groups, mut pair) = (self.n_groups(), idx % self.n_pairs());
        let mut first = 0;
        while pair >= n_groups - first {
            pair -= n_groups - first;
            first += 1;
        }
        let group = |group: u64| {
            let start = group as usize * self.rows_per_tile.get();
            start..(start + self.rows_per_tile.get()).min(self.n_rows)
        };
        let start = idx / self.n_pairs() * self.values_per_tile.get();
        let values = start..start.saturating_add(self.values_per_tile.get()).min(self.n_values);
        Some(GramTile { idx, rows: group(first), columns: group(first + pair), values })
    }

    /// All tiles, by index.
    pub fn tiles(&self) -> impl Iterator<Item = GramTile> {
        (0..self.n_tiles()).map_while(|idx| self.tile(idx))
    }
}

impl GramTile {
    /// Whether its rows are its columns.
    #[must_use]
    pub fn is_diagonal(&self) -> bool {
        self.rows == self.columns
    }

    /// The number of its sums, rows times columns.
    #[must_use]
    pub fn n_entries(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// The indices of all rows of the matrix that it needs, each once, in order.
    pub fn needed_rows(&self) -> impl Iterator<Item = usize> {
        let columns = if self.is_diagonal() { 0..0 } else { self.columns.clone() };
        self.rows.clone().chain(columns)
    }

    /// Cuts the tile into at most `n_bands` bands of rows, each about as much work, to be computed side by side by
    /// [`gram_tile`] and put together by [`GramTile::place`]. On the diagonal, a band leaves out the columns before its
    /// first row, which are the mirror image of other bands.
    #[must_use]
    pub fn bands(&self, n_bands: usize) -> Vec<GramBand> {
        let (n_rows, n_columns) = (self.rows.len(), self.columns.len());
        let n_columns_from = |row: usize| if self.is_diagonal() { n_columns - row } else { n_columns };
        let work = (0..n_rows).map(n_columns_from).sum::<usize>();
        let per_band = work.div_ceil(n_bands.max(1));
        let mut bands: Vec<GramBand> = Vec::new();
        let (mut start, mut done) = (0, 0);
        for row in 0..n_rows {
            done += n_columns_from(row);
            if done >= per_band || row + 1 == n_rows {
                bands.push(GramBand { rows: start..row + 1, columns: n_columns - n_columns_from(start)..n_columns });
                (start, done) = (row + 1, 0);
            }
        }
        bands
    }

    /// Puts the `sums` of `band`, row-major, into those of the tile, `into`, row-major with [`GramTile::n_entries`]
    /// entries; on the diagonal the mirror image too.
    ///
    /// # Panics
    /// When a slice has another length.
    pub fn place(&self, band: &GramBand, sums: &[f64], into: &mut [f64]) {
        assert_eq!(sums.len(), band.rows.len() * band.columns.len(), "the sums of a band");
        assert_eq!(into.len(), self.n_entries(), "the sums of a tile");
        let n_columns = self.columns.len();
        for (row, sums) in band.rows.clone().zip(sums.chunks(band.columns.len().max(1))) {
            for (column, sum) in band.columns.clone().zip(sums) {
                into[row * n_columns + column] = *sum;
                if self.is_diagonal() {
                    into[column * n_columns + row] = *sum;
                }
            }
        }
    }
}

impl GramReduction {
    /// Returns the sum of no tiles of `plan` yet.
    #[must_use]
    pub fn new(plan: GramPlan) -> Self {
        let n = plan.n_rows;
        Self { plan, n_added: 0, gram: Gram { n, entries: vec![0.0; n * n] } }
    }

    /// Adds the next tile by index, `sums` row-major as of [`gram_tile`]. Of a tile on the diagonal only what is on it
    /// and right of it counts.
    ///
    /// # Errors
    /// When all tiles were added already, or it has another number of entries.
    pub fn add(&mut self, sums: &[f64]) -> Result<(), GramError> {
        let idx = self.n_added;
        let tile = self.plan.tile(idx).ok_or_else(|| GramError::TooMany { idx, n_tiles: self.plan.n_tiles() })?;
        let (rows, columns) = (tile.rows.len(), tile.columns.len());
        if sums.len() != tile.n_entries() {
            return Err(GramError::Entries { idx, found: sums.len(), rows, columns });
        }
        for (row, sums) in tile.rows.zip(sums.chunks(columns.max(1))) {
            for (column, sum) in tile.columns.clone().zip(sums).filter(|(column, _)| *column >= row) {
                self.gram.entries[row * self.gram.n + column] += sum;
            }
        }
        self.n_added += 1;
        Ok(())
    }

    /// Returns the matrix.
    ///
    /// # Errors
    /// When tiles are missing.
    pub fn finish(mut self) -> Result<Gram, GramError> {
        let (added, n_tiles) = (self.n_added, self.plan.n_tiles());
        if added < n_tiles {
            return Err(GramError::Missing { added, n_tiles });
        }
        let Gram { n, entries } = &mut self.gram;
        for row in 0..*n {
            for column in 0..row {
                entries[row * *n + column] = entries[column * *n + row];
            }
        }
        Ok(self.gram)
    }
}

impl Gram {
    /// Returns the matrix that `tiles`, all of `plan` by index, add up to, always in this order.
    ///
    /// # Errors
    /// When there are more or fewer tiles, or one has another number of entries.
    pub fn reduce<T: AsRef<[f64]>>(plan: &GramPlan, tiles: impl IntoIterator<Item = T>) -> Result<Self, GramError> {
        let mut reduction = GramReduction::new(*plan);
        tiles.into_iter().try_for_each(|tile| reduction.add(tile.as_ref()))?;
        reduction.finish()
    }

    /// The number of rows.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// The inner product of the rows `i` and `j`.
    ///
    /// # Panics
    /// When one of them is not below [`Gram::n`].
    #[must_use]
    pub fn get(&self, i: usize, j: usize) -> f64 {
        assert!(j < self.n, "row {j} of {}", self.n);
        self.entries[i * self.n + j]
    }
}

impl<'a> GramRow<'a> {
    fn values(self) -> &'a [f32] {
        match self {
            Self::Point(values) | Self::Step(values) => values,
        }
    }

    fn is_same(self, other: Self) -> bool {
        let is_alike = matches!((self, other), (Self::Point(_), Self::Point(_)) | (Self::Step(_), Self::Step(_)));
        is_alike && std::ptr::eq(self.values(), other.values())
    }
}

/// Returns the inner products of `rows` with `columns`, row-major: the entry at row i and column j is their sum over
/// the values, with points taken relative to `origin`, in float64.
///
/// Each product is rounded, then added (there is no fused multiplication); values one after the other in chunks of 512
/// from the first, then chunks one after the other. So a sum has the same bits on every machine and whatever rows are
/// beside it: callers may divide rows among threads. It is symmetric, and where the first columns are the very slices
/// of the rows, half of those products are saved. NaN is a result, with the same bits always.
///
/// # Panics
/// When a row has not as many values as `origin`.
#[must_use]
pub fn gram_tile(origin: &[f32], rows: &[GramRow<'_>], columns: &[GramRow<'_>]) -> Vec<f64> {
    for row in rows.iter().chain(columns) {
        assert_eq!(row.values().len(), origin.len(), "a row and the origin have the same number of values");
    }
    pulp::Arch::new().dispatch(Sums { origin, rows, columns })
}

/// The sums of a tile, compiled for every set of instructions that there may be.
struct Sums<'a> {
    origin: &'a [f32],
    rows: &'a [GramRow<'a>],
    columns: &'a [GramRow<'a>],
}

impl pulp::WithSimd for Sums<'_> {
    type Output = Vec<f64>;

    // What is not inlined is not compiled for the instructions that were found.
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Vec<f64> {
        // Four rows by eight columns are what the registers of most processors hold.
        sums::<4, 8>(self.origin, self.rows, self.columns)
    }
}

#[inline(always)]
fn sums<const R: usize, const C: usize>(origin: &[f32], rows: &[GramRow<'_>], columns: &[GramRow<'_>]) -> Vec<f64> {
    let is_mirrored = columns.len() >= rows.len() && rows.iter().zip(columns).all(|(row, column)| row.is_same(*column));
    let mut sums = vec![0.0; rows.len() * columns.len()];
    let mut left = vec![[0.0; R]; rows.len().div_ceil(R) * CHUNK];
    let mut right = vec![[0.0; C]; columns.len().div_ceil(C) * CHUNK];
    for start in (0..origin.len()).step_by(CHUNK) {
        let range = start..origin.len().min(start + CHUNK);
        let n_values = range.len();
        pack(&origin[range.clone()], rows, range.clone(), &mut left);
        pack(&origin[range.clone()], columns, range, &mut right);
        for (right, first_column) in right.chunks(CHUNK).zip((0..columns.len()).step_by(C)) {
            for (left, first_row) in left.chunks(CHUNK).zip((0..rows.len()).step_by(R)) {
                if is_mirrored && first_row >= first_column + C {
                    break;
                }
                let block = products(&left[..n_values], &right[..n_values]);
                for (row, block) in (first_row..rows.len()).zip(&block) {
                    let sums = &mut sums[row * columns.len()..][..columns.len()];
                    for (sum, product) in sums[first_column..].iter_mut().zip(block) {
                        *sum += product;
                    }
                }
            }
        }
    }
    for sum in &mut sums {
        if sum.is_nan() {
            *sum = f64::NAN;
        }
    }
    if is_mirrored {
        for row in 0..rows.len() {
            for column in 0..row {
                sums[row * columns.len() + column] = sums[column * columns.len() + row];
            }
        }
    }
    sums
}

/// The sums over one chunk: of row i and column j at (i, j).
#[inline(always)]
fn products<const R: usize, const C: usize>(left: &[[f64; R]], right: &[[f64; C]]) -> [[f64; C]; R] {
    let mut sums = [[0.0; C]; R];
    for (left, right) in left.iter().zip(right) {
        for (sums, left) in sums.iter_mut().zip(left) {
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum += left * right;
            }
        }
    }
    sums
}

/// Puts a chunk of `rows` into panels of `W` rows, value by value, so that one value of a panel's rows is one vector.
#[inline(always)]
fn pack<const W: usize>(origin: &[f32], rows: &[GramRow<'_>], range: Range<usize>, panels: &mut [[f64; W]]) {
    for (rows, panel) in rows.chunks(W).zip(panels.chunks_mut(CHUNK)) {
        for (lane, row) in rows.iter().enumerate() {
            match row {
                GramRow::Point(point) => {
                    for ((vector, value), origin) in panel.iter_mut().zip(&point[range.clone()]).zip(origin) {
                        vector[lane] = f64::from(*value) - f64::from(*origin);
                    }
                }
                GramRow::Step(step) => {
                    for (vector, value) in panel.iter_mut().zip(&step[range.clone()]) {
                        vector[lane] = f64::from(*value);
                    }
                }
            }
        }
    }
}
