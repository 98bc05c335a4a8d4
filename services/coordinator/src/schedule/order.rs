//! In which order the tiles of a grid are done: coarse to fine, so that whatever is done is spread over all of it.

use relief_core::TilePlan;

/// The numbers of all tiles of `plan`, those first that a grid of twice the spacing has too, and so on: after the first
/// `n` tiles no point of the grid is much farther from a known one than `sqrt(tiles / n)` tiles. Among those of one
/// level the order is row-major.
pub(crate) fn coarse_to_fine(plan: &TilePlan) -> Vec<u32> {
    let [n_rows, n_columns] = plan.n_chunks();
    let mut order: Vec<(u32, u32)> = (0..n_rows)
        .flat_map(|row| (0..n_columns).map(move |column| (row, column)))
        .map(|(row, column)| (level(row, column), (row * n_columns + column) as u32))
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, tile)| tile).collect()
}

/// How many times the spacing is halved until the tile belongs to the grid, counted from the coarsest there is.
fn level(row: u64, column: u64) -> u32 {
    // Of 0 all 64 bits are, which is the coarsest level.
    u64::BITS - row.trailing_zeros().min(column.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use relief_core::{Axis, Grid, TileShape};

    use super::*;

    fn plan(n_rows: u32, n_columns: u32) -> TilePlan {
        let axis = |n| Axis::new(if n == 1 { 1.0 } else { -1.0 }, 1.0, n).expect("a good axis");
        TilePlan::new(Grid { x: axis(n_columns), y: Some(axis(n_rows)) }, TileShape { rows: 1, columns: 1 })
    }

    #[test]
    fn every_tile_comes_once() {
        for (n_rows, n_columns) in [(1, 1), (1, 9), (7, 5), (16, 16)] {
            let mut order = coarse_to_fine(&plan(n_rows, n_columns));
            order.sort_unstable();
            assert_eq!(order, (0..n_rows * n_columns).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_spacing_is_halved_level_by_level() {
        assert_eq!(coarse_to_fine(&plan(1, 9)), [0, 8, 4, 2, 6, 1, 3, 5, 7]);
        assert_eq!(coarse_to_fine(&plan(3, 3)), [0, 2, 6, 8, 1, 3, 4, 5, 7]);
    }

    #[test]
    fn whatever_is_done_is_spread_over_the_whole_grid() {
        const SIDE: u32 = 32;
        let order = coarse_to_fine(&plan(SIDE, SIDE));
        for n_done in [4_u32, 16, 60, 256, 700] {
            let done = &order[..n_done as usize];
            let distance = |tile: u32, other: u32| {
                let along = |of: fn(u32) -> u32| of(tile).abs_diff(of(other));
                along(|tile| tile / SIDE).max(along(|tile| tile % SIDE))
            };
            let farthest = (0..SIDE * SIDE).map(|tile| done.iter().map(|other| distance(tile, *other)).min());
            let farthest = f64::from(farthest.flatten().max().expect("tiles"));
            let spacing = f64::from(SIDE * SIDE / n_done).sqrt();
            assert!(farthest <= 2.0 * spacing, "after {n_done} tiles one is {farthest} away from the next");
        }
    }
}
