//! How a value between two layers is written in the 32 bits that it takes.

/// What the 32 bits of a value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// A float32.
    F32,
    /// Two bfloat16 whose sum is the value: the nearest one in the upper half, in the lower half what it lacks.
    SplitBf16,
}

/// The half of the bits that is a bfloat16 by itself.
const UPPER: u32 = 0xffff_0000;

impl Encoding {
    /// The value that `word` stands for.
    pub(crate) fn decode(self, word: f32) -> f32 {
        match self {
            Self::F32 => word,
            Self::SplitBf16 => {
                let bits = word.to_bits();
                f32::from_bits(bits & UPPER) + f32::from_bits(bits << 16)
            }
        }
    }

    /// The bits that stand for `value`, as a float32 of these bits. What is not finite, or too large for a bfloat16,
    /// becomes something that is not finite.
    pub(crate) fn encode(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::SplitBf16 => {
                // Half a unit more, cut off: what is nearest. A NaN may lose itself, but then the rest is NaN.
                let upper = value.to_bits().wrapping_add(0x8000) & UPPER;
                f32::from_bits(upper | (round(value - f32::from_bits(upper)) >> 16))
            }
        }
    }
}

/// The bits of the bfloat16 that is nearest to `value`, the even one of two, in the upper half.
fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    match value.is_nan() {
        true => (bits | 0x40_0000) & UPPER,
        // The instruction for it flushes subnormal numbers, and so does this.
        false if value.abs() < f32::MIN_POSITIVE => bits & 0x8000_0000,
        false => bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & UPPER,
    }
}
