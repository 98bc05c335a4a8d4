//! The instructions that kernels are run with.

use std::fmt;
use std::str::FromStr;

use crate::cpu::encoding::Encoding;

/// A set of instructions that the engine for processors computes with, and that this processor has: there is no other way
/// to get one than to ask for those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path(Isa);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Isa {
    /// Products of matrices of bfloat16 by AMX, and AVX-512 for the rest.
    #[cfg(target_arch = "x86_64")]
    Amx,
    /// AVX-512 F, BW, DQ and VL with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What every processor has.
    Portable,
}

impl Path {
    /// All that this processor has, the fastest first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut paths = Vec::new();
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            let has_fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let has_512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if has_fma && has_512 {
                paths.push(Self(Isa::Avx512));
            }
            if has_fma {
                paths.push(Self(Isa::Avx2));
            }
        }
        paths.push(Self(Isa::Portable));
        paths
    }

    /// The instructions for products of matrices, where the processor has them and the operating system lets this
    /// process use them. Their kernels keep values in an encoding of their own, see [`Self::encoding`].
    pub(crate) fn amx() -> Option<Self> {
        #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
        if super::tile::is_available() {
            return Some(Self(Isa::Amx));
        }
        None
    }

    /// The path of float32 on the processors that have this one.
    pub(crate) fn f32(self) -> Self {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Self(Isa::Avx512),
            _ => self,
        }
    }

    /// How kernels read and write the values between layers.
    pub(crate) fn encoding(self) -> Encoding {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Encoding::SplitBf16,
            _ => Encoding::F32,
        }
    }

    /// The fastest that this processor has.
    #[must_use]
    pub fn best() -> Self {
        Self::all().first().copied().unwrap_or(Self(Isa::Portable))
    }

    /// The instructions.
    pub(crate) fn isa(self) -> Isa {
        self.0
    }

    /// The number of values in a vector.
    pub(crate) fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx | Isa::Avx512 => 16,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => 8,
            Isa::Portable => 8,
        }
    }

    /// How many of `rest` blocks of output channels a kernel computes together next: 1 to 3, such that sums, weights and
    /// one input fit into the registers with one or two to spare, or compilers put some of the sums into memory.
    pub(crate) fn blocks_together(self, rest: usize) -> usize {
        let most = match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => 2,
            _ => 3,
        };
        if rest == 4 { 2 } else { rest.min(most) }
    }

    /// The word in flags and numeric classes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => "amx",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            Isa::Portable => "portable",
        }
    }
}

/// A word that names no set of instructions, or one that this processor lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a kernel path of this processor; it has {has}")]
pub struct UnknownPath {
    word: String,
    has: String,
}

impl FromStr for Path {
    type Err = UnknownPath;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let all = Self::all();
        let found = all.iter().copied().find(|path| path.as_str() == word);
        found.ok_or_else(|| {
            let has = all.iter().map(|path| path.as_str()).collect::<Vec<_>>().join(", ");
            UnknownPath { word: word.to_owned(), has }
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Runs `$body::<V>($args)` with the vectors of `$path`, compiled for its instructions.
macro_rules! dispatch {
    ($path:expr, $body:ident, ($($arg:ident: $type:ty),* $(,)?)) => {{
        /// # Safety
        /// As for the body; the processor has these instructions.
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
        unsafe fn amx($($arg: $type),*) {
            // SAFETY: as for this function.
            unsafe { $body::<$crate::cpu::kernel::split::SplitBf16>($($arg),*) }
        }
        /// # Safety
        /// As for the body; the processor has these instructions.
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
        unsafe fn avx512($($arg: $type),*) {
            // SAFETY: as for this function.
            unsafe { $body::<$crate::cpu::kernel::vector::Avx512>($($arg),*) }
        }
        /// # Safety
        /// As for the body; the processor has these instructions.
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2($($arg: $type),*) {
            // SAFETY: as for this function.
            unsafe { $body::<$crate::cpu::kernel::vector::Avx2>($($arg),*) }
        }
        match $path.isa() {
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::kernel::path::Isa::Amx => amx($($arg),*),
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::kernel::path::Isa::Avx512 => avx512($($arg),*),
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::kernel::path::Isa::Avx2 => avx2($($arg),*),
            $crate::cpu::kernel::path::Isa::Portable => {
                $body::<$crate::cpu::kernel::vector::Portable>($($arg),*)
            }
        }
    }};
}
pub(crate) use dispatch;
