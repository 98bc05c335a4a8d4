//! Vectors of values that are written as two bfloat16 each.

use std::arch::x86_64::*;

use super::vector::{Avx512, Vector};

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
                // SAFETY: the caller's promise.
                unsafe { Self(self.0.$name($($argument.0),*)) }
            }
        )*
    };
}

// SAFETY: each method is a few instructions of AVX-512 F and BF16, which the caller vouches for, and touches memory
// only through the caller's pointer.
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

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { Self(Avx512::splat(value)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(Avx512::load(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { self.0.store(to) }
    }

    #[inline(always)]
    unsafe fn splat_value(from: *const f32) -> Self {
        unsafe { decode(_mm512_set1_epi32(from.cast::<i32>().read())) }
    }

    #[inline(always)]
    unsafe fn load_values(from: *const f32) -> Self {
        unsafe { decode(_mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store_values(self, to: *mut f32) {
        unsafe {
            let value: __m512 = self.0.into();
            // Half a unit more, cut off: what is nearest. A NaN may lose itself, but then the rest is NaN.
            let nearest = _mm512_add_epi32(_mm512_castps_si512(value), _mm512_set1_epi32(0x8000));
            let upper = _mm512_and_si512(nearest, upper_half());
            let rest = _mm512_cvtneps_pbh(_mm512_sub_ps(value, _mm512_castsi512_ps(upper)));
            let lower = _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(rest));
            _mm512_storeu_si512(to.cast(), _mm512_or_si512(upper, lower));
        }
    }
}

/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn upper_half() -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_set1_epi32(0xffff_0000_u32 as i32) }
}

/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn decode(words: __m512i) -> SplitBf16 {
    // SAFETY: the caller's promise.
    unsafe {
        let (upper, lower) = (_mm512_and_si512(words, upper_half()), _mm512_slli_epi32::<16>(words));
        SplitBf16(_mm512_add_ps(_mm512_castsi512_ps(upper), _mm512_castsi512_ps(lower)).into())
    }
}
