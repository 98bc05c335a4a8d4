//! How a value between two layers is written in the 32 bits that it takes.

/// What the 32 bits of a value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// A float32.
    F32,
    /// Two bfloat16 whose sum is the value: the nearest one in the upper half, in the lower half what it lacks.
    SplitBf16,
}

/// Where the two halves of a value lie, if it is encoded. Values of a channel and of the one a block further on exchange
/// halves, so that one word has what is nearest to both of them, and the other one what both lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halves {
    /// There are none: the value's word is a float32.
    None,
    /// In the value's own word: it exchanges nothing.
    Own,
    /// In the lower halves of the value's own word, and of the word this far behind it.
    Lower(usize),
    /// In the upper halves of the word this far before the value's own, and of its own.
    Upper(usize),
}

/// The half of the bits that is a bfloat16 by itself.
const UPPER: u32 = 0xffff_0000;
/// What all that is not a number is written as.
const NAN: u32 = 0xffc0_0000;

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
                let upper = nearest(value);
                f32::from_bits(upper | (nearest(value - f32::from_bits(upper)) >> 16))
            }
        }
    }
}

/// The bits of the bfloat16 that is nearest to `value`, in the upper half: half a unit more, cut off.
fn nearest(value: f32) -> u32 {
    let bits = if value.is_nan() { NAN } else { value.to_bits() };
    bits.wrapping_add(0x8000) & UPPER
}

impl Halves {
    /// The word of the value whose own place is `at`.
    pub(crate) fn get(self, values: &[f32], at: usize) -> f32 {
        let (nearest, rest) = self.places(at);
        let (nearest, rest) = (values[nearest].to_bits(), values[rest].to_bits());
        f32::from_bits(match self {
            Self::None | Self::Own => nearest,
            Self::Lower(_) => (nearest << 16) | (rest & !UPPER),
            Self::Upper(_) => (nearest & UPPER) | (rest >> 16),
        })
    }

    /// Writes `word` as the value whose own place is `at`.
    pub(crate) fn set(self, values: &mut [f32], at: usize, word: f32) {
        let bits = word.to_bits();
        let mut keep = |place: usize, mask: u32, bits: u32| {
            values[place] = f32::from_bits((values[place].to_bits() & mask) | bits);
        };
        let (nearest, rest) = self.places(at);
        match self {
            Self::None | Self::Own => keep(at, 0, bits),
            Self::Lower(_) => {
                keep(nearest, UPPER, bits >> 16);
                keep(rest, UPPER, bits & !UPPER);
            }
            Self::Upper(_) => {
                keep(nearest, !UPPER, bits & UPPER);
                keep(rest, !UPPER, bits << 16);
            }
        }
    }

    /// How far behind the value's own word the last one lies that has a half of it.
    pub(crate) fn reach(self) -> usize {
        match self {
            Self::Lower(distance) => distance,
            Self::None | Self::Own | Self::Upper(_) => 0,
        }
    }

    /// The words that have what is nearest to the value, and what that lacks.
    fn places(self, at: usize) -> (usize, usize) {
        match self {
            Self::None | Self::Own => (at, at),
            Self::Lower(distance) => (at, at + distance),
            Self::Upper(distance) => (at - distance, at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_lie_where_they_should_and_leave_others_alone() {
        let words: Vec<f32> = (0..6).map(|idx| f32::from_bits(0x1000_2000 + 0x0101_0101 * idx)).collect();
        let mut values = vec![0.0; 6];
        let all = [Halves::Lower(2), Halves::Own, Halves::Upper(2), Halves::None];
        // Places 1 and 3 exchange halves.
        for (halves, at) in all.into_iter().zip([1, 0, 3, 4]) {
            halves.set(&mut values, at, words[at]);
        }
        for (halves, at) in all.into_iter().zip([1, 0, 3, 4]) {
            assert_eq!(halves.get(&values, at).to_bits(), words[at].to_bits(), "{halves:?}");
        }
        let bits: Vec<u32> = words.iter().map(|word| word.to_bits()).collect();
        assert_eq!(values[1].to_bits(), (bits[3] & UPPER) | (bits[1] >> 16), "what is nearest");
        assert_eq!(values[3].to_bits(), (bits[3] << 16) | (bits[1] & !UPPER), "what is lacking");
        assert_eq!([values[2], values[5]], [0.0; 2]);
    }

    #[test]
    fn values_of_all_sizes_survive_and_what_is_not_finite_does_not_become_finite() {
        let of = |bits: u32| {
            let encoding = Encoding::SplitBf16;
            encoding.decode(encoding.encode(f32::from_bits(bits)))
        };
        for bits in (0..=u32::MAX).step_by(65_537).chain([0x7fff_ffff, 0xffff_ffff, 0x7f80_0000, 0xff80_0000, 1]) {
            let value = f32::from_bits(bits);
            let is_small = value.abs() < f32::from_bits(0x7f7f_8000);
            assert_eq!(of(bits).is_finite(), is_small, "{value}");
            let error = (of(bits) - value).abs();
            assert!(!is_small || error <= value.abs() / 131_072.0 + f32::MIN_POSITIVE, "{value}: {}", of(bits));
        }
    }
}
