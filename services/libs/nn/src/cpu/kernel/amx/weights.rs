//! Weights as second factors.

use super::{TILE, TILE_LEN};
use crate::cpu::encoding::Encoding;

/// How precise weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    /// Rounded to bfloat16.
    Bf16,
    /// The sums of two bfloat16.
    SplitBf16,
}

/// Where weights lie: (pair of blocks of outputs, chunk, part, block of the pair), tiles of (input channel, output
/// channel, 2 bfloat16). A chunk is an entry of the window in a pair of blocks of inputs, or in one that is alone;
/// chunks of pairs come first. The first part is w_lo, the second w_hi.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weights {
    precision: Precision,
    n_outputs: usize,
    n_inputs: usize,
    n_taps: usize,
}

impl Weights {
    /// Weights of the shape (output channel, input channel, window).
    pub(crate) fn new(precision: Precision, [n_outputs, n_inputs, n_taps]: [usize; 3]) -> Self {
        Self { precision, n_outputs, n_inputs, n_taps }
    }

    /// The numbers of outputs, of inputs and of entries of the window.
    pub(super) fn shape(&self) -> [usize; 3] {
        [self.n_outputs, self.n_inputs, self.n_taps]
    }

    /// The number of float32 that they take.
    pub(crate) fn len(&self) -> usize {
        self.n_outputs.div_ceil(TILE) * self.block_len()
    }

    /// Of one block of outputs.
    pub(super) fn block_len(&self) -> usize {
        self.n_taps * self.n_inputs.div_ceil(2 * TILE) * self.n_parts() * TILE_LEN
    }

    /// The bfloat16 that a weight is the sum of.
    pub(super) fn n_parts(&self) -> usize {
        match self.precision {
            Precision::Bf16 => 1,
            Precision::SplitBf16 => 2,
        }
    }

    /// Puts `weights` (output channel, input channel, window), each output channel scaled by its `scales`, where
    /// [`Amx::run`](super::Amx::run) reads them. Weights of channels that there are not keep what they have.
    pub(crate) fn pack(&self, weights: &[f32], scales: &[f64], packed: &mut [f32]) {
        let [n_output_blocks, n_input_blocks] = [self.n_outputs, self.n_inputs].map(|n| n.div_ceil(TILE));
        let (n_parts, n_input_pairs) = (self.n_parts(), n_input_blocks / 2);
        for (output, filters) in weights.chunks_exact(self.n_inputs * self.n_taps).enumerate() {
            let block = output / TILE;
            let n_together = (n_output_blocks - block / 2 * 2).min(2);
            let first = block / 2 * 2 * self.block_len() + block % 2 * TILE_LEN + output % TILE;
            for (input, filter) in filters.chunks_exact(self.n_taps).enumerate() {
                let is_alone = input / TILE == 2 * n_input_pairs;
                for (tap, weight) in filter.iter().enumerate() {
                    let weight = (f64::from(*weight) * scales[output]) as f32;
                    let bits = Encoding::SplitBf16.encode(weight).to_bits();
                    let chunk = match is_alone {
                        true => self.n_taps * n_input_pairs + tap,
                        false => tap * n_input_pairs + input / TILE / 2,
                    };
                    for (part, half) in [bits & 0xffff, bits >> 16].into_iter().skip(2 - n_parts).enumerate() {
                        let tile = (chunk * n_parts + part) * n_together * TILE_LEN;
                        let word = &mut packed[first + tile + input % TILE * TILE];
                        let others = word.to_bits();
                        // Both halves of a value that is alone are multiplied, else one half of each of two.
                        *word = f32::from_bits(match input / TILE % 2 {
                            _ if is_alone => half << 16 | half,
                            0 => others & 0xffff_0000 | half,
                            _ => others & 0xffff | half << 16,
                        });
                    }
                }
            }
        }
    }
}
