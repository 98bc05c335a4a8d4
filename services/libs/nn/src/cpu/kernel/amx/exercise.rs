//! Products and nothing else, to see how fast the matrix unit is.

use super::{TILE, TILE_LEN};
use crate::cpu::kernel::memory::Buffer;
use crate::cpu::kernel::tile::{self, Tiles};

/// How often all that a turn of a convolution multiplies is multiplied.
const N_TURNS: usize = 1 << 16;
/// The products of a turn: x_hi w_lo, x_hi w_hi and x_lo w_hi, each of two runs and two blocks.
const N_PRODUCTS: usize = 12;
/// The operations of a product: a multiplication and an addition of each pair of bfloat16.
const PRODUCT_FLOPS: usize = 2 * TILE * TILE * 2 * TILE;

/// Multiplies tiles as a convolution does, with factors that come from the first cache. Returns the number of
/// floating-point operations.
///
/// # Safety
/// The process may use tiles.
pub(super) unsafe fn exercise() -> f64 {
    let factors = Buffer::new(4 * TILE_LEN);
    // SAFETY: as for this function; there are the values of four tiles.
    unsafe {
        let _tiles = Tiles::new(TILE);
        let at = |tile: usize| factors.as_ptr().add(tile * TILE_LEN);
        tile::load::<0>(at(0), TILE);
        tile::load::<1>(at(0), TILE);
        tile::load::<2>(at(0), TILE);
        tile::load::<3>(at(0), TILE);
        for _ in 0..N_TURNS {
            tile::load::<4>(at(0), TILE);
            tile::load::<5>(at(1), TILE);
            for second in [[2, 3], [3, 2]] {
                tile::load::<6>(at(second[0]), TILE);
                tile::load::<7>(at(second[1]), TILE);
                multiply();
            }
            tile::load::<4>(at(1), TILE);
            tile::load::<5>(at(0), TILE);
            multiply();
        }
    }
    (N_TURNS * N_PRODUCTS * PRODUCT_FLOPS) as f64
}

/// # Safety
/// Tiles are configured.
#[inline(always)]
unsafe fn multiply() {
    // SAFETY: as for this function.
    unsafe {
        tile::multiply_add::<0, 4, 6>();
        tile::multiply_add::<1, 4, 7>();
        tile::multiply_add::<2, 5, 6>();
        tile::multiply_add::<3, 5, 7>();
    }
}
