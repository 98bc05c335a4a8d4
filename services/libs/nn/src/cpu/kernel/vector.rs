//! Vectors of float32, each of the widths that kernels are built for.

use crate::cpu::encoding::Halves;

/// A vector of [`Vector::LANES`] float32.
///
/// Arithmetic is that of IEEE 754 lane by lane. `at_least` and `at_most` keep NaN: where the vector has NaN, so has the
/// result.
///
/// # Safety
/// No method needs other instructions than those that the implementation is for. Memory is touched only where the
/// method says, at any alignment.
pub(crate) unsafe trait Vector: Copy {
    /// The number of values.
    const LANES: usize;
    /// The runs of pixels that a tile of a convolution has with 1, 2 and 3 vectors of output channels, so that sums,
    /// weights and one input fit into the registers.
    const RUNS: [usize; 3];
    /// The tiles of Winograd's transform that are multiplied together with 1, 2 and 3 vectors of output channels.
    const TILES: [usize; 3];

    /// One value in all lanes.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn splat(value: f32) -> Self;
    /// Reads [`Self::LANES`] values.
    ///
    /// # Safety
    /// The processor has the instructions, and the values from `from` on may be read.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes [`Self::LANES`] values.
    ///
    /// # Safety
    /// The processor has the instructions, and the values from `to` on may be written.
    unsafe fn store(self, to: *mut f32);
    /// One value of an image, in all lanes. Values may be encoded in memory, unlike parameters, and lie where `halves`
    /// says.
    ///
    /// # Safety
    /// The processor has the instructions. The word at `from` may be read, and so may the other one that has a half of
    /// the value, if `halves` says that there is one.
    #[inline(always)]
    unsafe fn splat_value(from: *const f32, halves: Halves) -> Self {
        let _ = halves;
        // SAFETY: the caller's promise.
        unsafe { Self::splat(*from) }
    }
    /// Values of an image.
    ///
    /// # Safety
    /// The processor has the instructions. The [`Self::LANES`] words from `from` on may be read, and so may the others
    /// that have halves of the values, if `halves` says that there are any.
    #[inline(always)]
    unsafe fn load_values(from: *const f32, halves: Halves) -> Self {
        let _ = halves;
        // SAFETY: the caller's promise.
        unsafe { Self::load(from) }
    }
    /// Stores values of an image, and leaves other halves of the same words as they are.
    ///
    /// # Safety
    /// As for [`Self::load_values`], of words that may be written.
    #[inline(always)]
    unsafe fn store_values(self, to: *mut f32, halves: Halves) {
        let _ = halves;
        // SAFETY: the caller's promise.
        unsafe { self.store(to) }
    }
    /// Asks for the cache line of an address, which need not be one that may be read.
    #[inline(always)]
    fn prefetch(_: *const f32) {}
    /// # Safety
    /// The processor has the instructions.
    unsafe fn add(self, other: Self) -> Self;
    /// # Safety
    /// The processor has the instructions.
    unsafe fn sub(self, other: Self) -> Self;
    /// # Safety
    /// The processor has the instructions.
    unsafe fn mul(self, other: Self) -> Self;
    /// # Safety
    /// The processor has the instructions.
    unsafe fn div(self, other: Self) -> Self;
    /// self factor + summand, rounded once where the processor can.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self;
    /// The larger of two; NaN where `self` has it.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn at_least(self, bound: Self) -> Self;
    /// The smaller of two; NaN where `self` has it.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn at_most(self, bound: Self) -> Self;
    /// The larger of two; NaN counts as largest.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn max_or_nan(self, other: Self) -> Self;
}

/// Methods of a [`Vector`] that are made of unsafe operations and nothing else.
#[cfg(target_arch = "x86_64")]
macro_rules! methods {
    ($(fn $name:ident($($parameters:tt)*) $(-> $result:ty)? $body:block)*) => {
        $(
            #[inline(always)]
            unsafe fn $name($($parameters)*) $(-> $result)? {
                // SAFETY: what the trait asks of this method's callers is all that the body needs. The processor has
                // the instructions; pointers lead to what may be read or written, of any alignment.
                unsafe { $body }
            }
        )*
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use methods;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    /// 16 values in an AVX-512 register.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    impl From<__m512> for Avx512 {
        #[inline(always)]
        fn from(vector: __m512) -> Self {
            Self(vector)
        }
    }

    impl From<Avx512> for __m512 {
        #[inline(always)]
        fn from(vector: Avx512) -> Self {
            vector.0
        }
    }

    // SAFETY: each method is one or two instructions of AVX-512 F; `load` and `store` touch 64 bytes at the caller's
    // pointer.
    unsafe impl Vector for Avx512 {
        const LANES: usize = 16;
        const RUNS: [usize; 3] = [4, 3, 2];
        const TILES: [usize; 3] = [16, 8, 8];

        methods! {
            fn splat(value: f32) -> Self { Self(_mm512_set1_ps(value)) }
            fn load(from: *const f32) -> Self { Self(_mm512_loadu_ps(from)) }
            fn store(self, to: *mut f32) { _mm512_storeu_ps(to, self.0) }
            fn add(self, other: Self) -> Self { Self(_mm512_add_ps(self.0, other.0)) }
            fn sub(self, other: Self) -> Self { Self(_mm512_sub_ps(self.0, other.0)) }
            fn mul(self, other: Self) -> Self { Self(_mm512_mul_ps(self.0, other.0)) }
            fn div(self, other: Self) -> Self { Self(_mm512_div_ps(self.0, other.0)) }
            fn mul_add(self, factor: Self, summand: Self) -> Self { Self(_mm512_fmadd_ps(self.0, factor.0, summand.0)) }
            // The instructions return their second operand where one is NaN.
            fn at_least(self, bound: Self) -> Self { Self(_mm512_max_ps(bound.0, self.0)) }
            fn at_most(self, bound: Self) -> Self { Self(_mm512_min_ps(bound.0, self.0)) }
            fn max_or_nan(self, other: Self) -> Self {
                let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
                Self(_mm512_mask_blend_ps(is_nan, _mm512_max_ps(self.0, other.0), self.0))
            }
        }

        #[inline(always)]
        fn prefetch(from: *const f32) {
            // SAFETY: the instruction never faults, and every processor of this architecture has it.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
        }
    }

    /// 8 values in an AVX register.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256);

    // SAFETY: each method is one or two instructions of AVX or FMA; `load` and `store` touch 32 bytes at the caller's
    // pointer.
    unsafe impl Vector for Avx2 {
        const LANES: usize = 8;
        const RUNS: [usize; 3] = [2, 1, 1];
        const TILES: [usize; 3] = [12, 6, 4];

        methods! {
            fn splat(value: f32) -> Self { Self(_mm256_set1_ps(value)) }
            fn load(from: *const f32) -> Self { Self(_mm256_loadu_ps(from)) }
            fn store(self, to: *mut f32) { _mm256_storeu_ps(to, self.0) }
            fn add(self, other: Self) -> Self { Self(_mm256_add_ps(self.0, other.0)) }
            fn sub(self, other: Self) -> Self { Self(_mm256_sub_ps(self.0, other.0)) }
            fn mul(self, other: Self) -> Self { Self(_mm256_mul_ps(self.0, other.0)) }
            fn div(self, other: Self) -> Self { Self(_mm256_div_ps(self.0, other.0)) }
            fn mul_add(self, factor: Self, summand: Self) -> Self { Self(_mm256_fmadd_ps(self.0, factor.0, summand.0)) }
            // The instructions return their second operand where one is NaN.
            fn at_least(self, bound: Self) -> Self { Self(_mm256_max_ps(bound.0, self.0)) }
            fn at_most(self, bound: Self) -> Self { Self(_mm256_min_ps(bound.0, self.0)) }
            fn max_or_nan(self, other: Self) -> Self {
                let is_nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0);
                Self(_mm256_blendv_ps(_mm256_max_ps(self.0, other.0), self.0, is_nan))
            }
        }

        #[inline(always)]
        fn prefetch(from: *const f32) {
            // SAFETY: the instruction never faults, and every processor of this architecture has it.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
        }
    }
}

/// 8 values in plain Rust, for processors that none of the others is for; compilers make vectors of it.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, op: impl Fn(f32, f32) -> f32) -> Self {
        let mut result = self;
        for (result, other) in result.0.iter_mut().zip(other.0) {
            *result = op(*result, other);
        }
        result
    }
}

// SAFETY: there are no instructions to vouch for; `load` and `store` touch an array of `LANES` values at the caller's
// pointer.
unsafe impl Vector for Portable {
    const LANES: usize = 8;
    const RUNS: [usize; 3] = [1, 1, 1];
    const TILES: [usize; 3] = [4, 4, 4];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
        let mut result = summand;
        for (result, (a, b)) in result.0.iter_mut().zip(self.0.into_iter().zip(factor.0)) {
            // Without the instruction the fused product would be a call of a function for each value.
            *result = if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
                a.mul_add(b, *result)
            } else {
                a * b + *result
            };
        }
        result
    }

    #[inline(always)]
    unsafe fn at_least(self, bound: Self) -> Self {
        self.zip(bound, |value, bound| if value < bound { bound } else { value })
    }

    #[inline(always)]
    unsafe fn at_most(self, bound: Self) -> Self {
        self.zip(bound, |value, bound| if value > bound { bound } else { value })
    }

    #[inline(always)]
    unsafe fn max_or_nan(self, other: Self) -> Self {
        self.zip(other, |a, b| if a.is_nan() || a > b { a } else { b })
    }
}
