//! Vectors of values that are written as two bfloat16 each.

use std::arch::x86_64::*;

use super::vector::{Avx512, Vector, methods};
use crate::cpu::encoding::Halves;

/// 16 values in an AVX-512 register, as float32; in memory their encoding is
/// [`SplitBf16`](crate::cpu::encoding::Encoding::SplitBf16).
#[derive(Clone, Copy)]
pub(crate) struct SplitBf16(Avx512);

/// Passes methods on to the vector inside.
macro_rules! delegate {
    ($($name:ident($($argument:ident),*);)*) => {
        $(
            #[inline(always)]
            unsafe fn $name(self $(, $argument: Self)*) -> Self {
                // SAFETY: the caller's promise, which is the same for the vector inside.
                unsafe { Self(self.0.$name($($argument.0),*)) }
            }
        )*
    };
}

// SAFETY: each method is a few instructions of AVX-512 F and BW, which every path with these vectors has. Words are
// touched at the caller's pointer and where `halves` says that the other halves lie.
unsafe impl Vector for SplitBf16 {
    const LANES: usize = Avx512::LANES;
    const RUNS: [usize; 3] = Avx512::RUNS;
    const TILES: [usize; 3] = Avx512::TILES;

    delegate! {
        add(other);
        sub(other);
        mul(other);
        div(other);
        mul_add(factor, summand);
        at_least(bound);
        at_most(bound);
        max_or_nan(other);
    }

    methods! {
        fn splat(value: f32) -> Self { Self(Avx512::splat(value)) }
        fn load(from: *const f32) -> Self { Self(Avx512::load(from)) }
        fn store(self, to: *mut f32) { self.0.store(to) }
        fn splat_value(from: *const f32, halves: Halves) -> Self {
            match halves {
                Halves::None => Self::splat(*from),
                Halves::Own => decode(splat(from)),
                Halves::Lower(distance) => decode_lower(splat(from), splat(from.add(distance))),
                Halves::Upper(distance) => decode_upper(splat(from.sub(distance)), splat(from)),
            }
        }
        fn load_values(from: *const f32, halves: Halves) -> Self {
            match halves {
                Halves::None => Self::load(from),
                Halves::Own => decode(load(from)),
                Halves::Lower(distance) => decode_lower(load(from), load(from.add(distance))),
                Halves::Upper(distance) => decode_upper(load(from.sub(distance)), load(from)),
            }
        }
        fn store_values(self, to: *mut f32, halves: Halves) {
            const LOWER_HALVES: __mmask32 = 0x5555_5555;
            let (nearest, rest) = self.split();
            match halves {
                Halves::None => self.store(to),
                Halves::Own => store(to, either(nearest, _mm512_srli_epi32::<16>(rest))),
                Halves::Lower(distance) => {
                    let (nearest, rest) = (_mm512_srli_epi32::<16>(nearest), _mm512_srli_epi32::<16>(rest));
                    _mm512_mask_storeu_epi16(to.cast(), LOWER_HALVES, nearest);
                    _mm512_mask_storeu_epi16(to.add(distance).cast(), LOWER_HALVES, rest);
                }
                Halves::Upper(distance) => {
                    _mm512_mask_storeu_epi16(to.sub(distance).cast(), !LOWER_HALVES, nearest);
                    _mm512_mask_storeu_epi16(to.cast(), !LOWER_HALVES, rest);
                }
            }
        }
    }
}

impl SplitBf16 {
    /// Adds values of two blocks that exchange halves, the first of which lies at `from`.
    ///
    /// # Safety
    /// As for [`Vector::load_values`], of both blocks.
    #[inline(always)]
    pub(super) unsafe fn add_pair(pair: [Self; 2], from: *const f32, distance: usize) -> [Self; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let (nearest, rest) = (load(from), load(from.add(distance)));
            [pair[0].add(decode_lower(nearest, rest)), pair[1].add(decode_upper(nearest, rest))]
        }
    }

    /// Stores values of two blocks that exchange halves, the first of which lies at `to`.
    ///
    /// # Safety
    /// As for [`Vector::store_values`], of both blocks.
    #[inline(always)]
    pub(super) unsafe fn store_pair(pair: [Self; 2], to: *mut f32, distance: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let ((nearest, rest), (other_nearest, other_rest)) = (pair[0].split(), pair[1].split());
            store(to, either(_mm512_srli_epi32::<16>(nearest), other_nearest));
            store(to.add(distance), either(_mm512_srli_epi32::<16>(rest), other_rest));
        }
    }

    /// The bfloat16 nearest to each value, and to what that lacks, in the upper halves.
    ///
    /// # Safety
    /// The processor has AVX-512 F.
    #[inline(always)]
    unsafe fn split(self) -> (__m512i, __m512i) {
        // What becomes of a NaN, of either kind: one from which no carry makes another number.
        const TABLE: i32 = 0x33;
        // SAFETY: the caller's promise.
        unsafe {
            let value: __m512 = self.0.into();
            let value = _mm512_fixupimm_ps::<0>(value, value, _mm512_set1_epi32(TABLE));
            let upper = nearest(value);
            (upper, nearest(_mm512_sub_ps(value, _mm512_castsi512_ps(upper))))
        }
    }
}

/// Half a unit of the upper half more, cut off.
///
/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn nearest(value: __m512) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { upper(_mm512_add_epi32(_mm512_castps_si512(value), _mm512_set1_epi32(0x8000))) }
}

/// # Safety
/// The processor has AVX-512 F, and a word may be read.
#[inline(always)]
unsafe fn splat(from: *const f32) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_set1_epi32(from.cast::<i32>().read()) }
}

/// # Safety
/// The processor has AVX-512 F, and a vector may be read.
#[inline(always)]
unsafe fn load(from: *const f32) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_loadu_si512(from.cast()) }
}

/// # Safety
/// The processor has AVX-512 F, and there is room for a vector.
#[inline(always)]
unsafe fn store(to: *mut f32, words: __m512i) {
    // SAFETY: the caller's promise.
    unsafe { _mm512_storeu_si512(to.cast(), words) }
}

/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn either(one: __m512i, other: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_or_si512(one, other) }
}

/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn upper(words: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_and_si512(words, _mm512_set1_epi32(0xffff_0000_u32 as i32)) }
}

/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn sum(nearest: __m512i, rest: __m512i) -> SplitBf16 {
    // SAFETY: the caller's promise.
    unsafe { SplitBf16(_mm512_add_ps(_mm512_castsi512_ps(nearest), _mm512_castsi512_ps(rest)).into()) }
}

/// The values of words that have both of their halves.
///
/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn decode(words: __m512i) -> SplitBf16 {
    // SAFETY: the caller's promise.
    unsafe { sum(upper(words), _mm512_slli_epi32::<16>(words)) }
}

/// The values whose halves are the lower halves of two words.
///
/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn decode_lower(nearest: __m512i, rest: __m512i) -> SplitBf16 {
    // SAFETY: the caller's promise.
    unsafe { sum(_mm512_slli_epi32::<16>(nearest), _mm512_slli_epi32::<16>(rest)) }
}

/// The values whose halves are the upper halves of two words.
///
/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn decode_upper(nearest: __m512i, rest: __m512i) -> SplitBf16 {
    // SAFETY: the caller's promise.
    unsafe { sum(upper(nearest), upper(rest)) }
}
