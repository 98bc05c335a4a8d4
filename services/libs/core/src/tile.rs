//! Tiles: the rectangles of points that are evaluated, stored and retried as one.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::axis::Grid;

/// The rows and columns of a tile, written `RxC`. Tiles at the far edges may hold fewer points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TileShape {
    /// The number of grid rows, at least 1.
    pub rows: u32,
    /// The number of grid columns, at least 1.
    pub columns: u32,
}

/// Why a tile shape is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form ROWSxCOLUMNS with both at least 1, as in 4x16")]
pub struct TileShapeError(String);

impl TileShape {
    /// Returns the shape with `rows` and `columns`.
    ///
    /// # Errors
    /// When one of them is 0.
    pub fn new(rows: u32, columns: u32) -> Result<Self, TileShapeError> {
        if rows == 0 || columns == 0 {
            return Err(TileShapeError(format!("{rows}x{columns}")));
        }
        Ok(Self { rows, columns })
    }

    /// The shape used when a request names none: about 16 points, the whole of the short side first.
    #[must_use]
    pub fn default_for(grid: &Grid) -> Self {
        const N_POINTS: u32 = 16;
        let rows = grid.n_rows().min(4);
        Self { rows, columns: (N_POINTS / rows).min(grid.n_columns()) }
    }

    /// Returns this shape cut to the grid, so that no tile reaches beyond it.
    #[must_use]
    pub fn within(self, grid: &Grid) -> Self {
        Self { rows: self.rows.min(grid.n_rows()), columns: self.columns.min(grid.n_columns()) }
    }
}

impl FromStr for TileShape {
    type Err = TileShapeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || TileShapeError(text.to_owned());
        let (rows, columns) = text.split_once('x').ok_or_else(refuse)?;
        Self::new(rows.parse().map_err(|_| refuse())?, columns.parse().map_err(|_| refuse())?).map_err(|_| refuse())
    }
}

impl fmt::Display for TileShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.rows, self.columns)
    }
}

/// How a grid is cut into tiles; tiles are numbered row-major.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TilePlan {
    grid: Grid,
    shape: TileShape,
}

/// A rectangle of grid points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// The row-major number in its plan.
    pub idx: u64,
    /// The row and column in the grid of tiles, which is the key of its chunk.
    pub chunk: [u64; 2],
    /// The grid rows it covers.
    pub rows: Range<u32>,
    /// The grid columns it covers.
    pub columns: Range<u32>,
}

impl Tile {
    /// The number of points.
    #[must_use]
    pub fn n_points(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// The (row, column) of every point in the grid, row-major.
    pub fn points(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.rows.clone().flat_map(move |row| self.columns.clone().map(move |column| (row, column)))
    }
}

impl TilePlan {
    /// Returns the plan that cuts `grid` into tiles of `shape`, which is first cut to the grid.
    #[must_use]
    pub fn new(grid: Grid, shape: TileShape) -> Self {
        Self { grid, shape: shape.within(&grid) }
    }

    /// The grid that is cut.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The shape of a full tile.
    #[must_use]
    pub fn shape(&self) -> TileShape {
        self.shape
    }

    /// The number of rows and columns of tiles.
    #[must_use]
    pub fn n_chunks(&self) -> [u64; 2] {
        [
            u64::from(self.grid.n_rows().div_ceil(self.shape.rows)),
            u64::from(self.grid.n_columns().div_ceil(self.shape.columns)),
        ]
    }

    /// The number of tiles.
    #[must_use]
    pub fn n_tiles(&self) -> u64 {
        let [rows, columns] = self.n_chunks();
        rows * columns
    }

    /// The tile with number `idx`, or none beyond the last.
    #[must_use]
    pub fn tile(&self, idx: u64) -> Option<Tile> {
        if idx >= self.n_tiles() {
            return None;
        }
        let [_, n_columns] = self.n_chunks();
        let chunk = [idx / n_columns, idx % n_columns];
        let span = |chunk: u64, len: u32, end: u32| {
            let start = chunk as u32 * len;
            start..start.saturating_add(len).min(end)
        };
        Some(Tile {
            idx,
            chunk,
            rows: span(chunk[0], self.shape.rows, self.grid.n_rows()),
            columns: span(chunk[1], self.shape.columns, self.grid.n_columns()),
        })
    }

    /// All tiles, by number.
    pub fn tiles(&self) -> impl Iterator<Item = Tile> + '_ {
        (0..self.n_tiles()).filter_map(|idx| self.tile(idx))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::axis::Axis;

    fn grid(ny: u32, nx: u32) -> Grid {
        let axis = |n| Axis::new(if n == 1 { 1.0 } else { -1.0 }, 1.0, n).expect("a good axis");
        Grid { x: axis(nx), y: Some(axis(ny)) }
    }

    #[test]
    fn shapes_are_written_rows_by_columns() {
        assert_eq!("4x16".parse(), Ok(TileShape { rows: 4, columns: 16 }));
        for bad in ["0x4", "4", "4x", "ax4", "-1x4"] {
            assert!(bad.parse::<TileShape>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn tiles_cover_every_point_once(ny in 1..40_u32, nx in 1..40_u32, rows in 1..50_u32, columns in 1..50_u32) {
            let plan = TilePlan::new(grid(ny, nx), TileShape { rows, columns });
            let mut seen = vec![0_u8; (ny * nx) as usize];
            for tile in plan.tiles() {
                prop_assert_eq!(tile.points().count(), tile.n_points());
                for (row, column) in tile.points() {
                    seen[(row * nx + column) as usize] += 1;
                }
            }
            prop_assert!(seen.iter().all(|n| *n == 1));
        }
    }
}
