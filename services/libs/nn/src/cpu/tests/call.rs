//! Calls of kernels on slices that hold exactly what they touch, and on shorter ones.

use std::panic::{AssertUnwindSafe, catch_unwind};

use relief_core::Philox;

#[cfg(all(target_os = "linux", not(miri)))]
use super::memory::{Edge, Guarded};
use super::network::spread;
use crate::cpu::layout::Place;

/// More images than one, so that the last begins somewhere.
pub(super) const N_IMAGES: usize = 2;
/// What lies behind the end of a slice, NaN in both of its halves, and what an output holds before.
const BEHIND: f32 = f32::from_bits(0x7fc0_7fc0);
const BEFORE: f32 = -12345.0;
const N_BEHIND: usize = 48;

/// A kernel, as a function of its inputs, its scratch memory and its output.
type Kernel<'a> = &'a dyn Fn(&[&[f32]], &mut [f32], &mut [f32]);

/// What a kernel reads and writes: the values that each slice must hold at least.
pub(super) struct Call<'a> {
    /// Input, weights, bias and so on.
    pub(super) inputs: Vec<usize>,
    pub(super) output: usize,
    pub(super) scratch: usize,
    /// Where the output lies: everything else in it stays as it is.
    pub(super) place: Place,
    pub(super) run: Kernel<'a>,
}

/// The slices of a call, with what is not a number behind each.
struct Poisoned {
    inputs: Vec<Vec<f32>>,
    output: Vec<f32>,
    scratch: Vec<f32>,
}

impl Call<'_> {
    /// Checks that slices of exactly these lengths are enough, wherever they lie, and that a value less of any is not.
    pub(super) fn check(&self, case: &str) {
        let inputs = self.drawn();
        let poisoned = |values: &[f32]| [values, &[BEHIND; N_BEHIND]].concat();
        let mut memory = Poisoned {
            inputs: inputs.iter().map(|values| poisoned(values)).collect(),
            output: poisoned(&vec![BEFORE; self.output]),
            scratch: poisoned(&vec![BEFORE; self.scratch]),
        };
        self.run_in(&mut memory, &[]);
        let output = memory.output[..self.output].to_vec();
        for ((idx, value), is_pixel) in output.iter().enumerate().zip(pixels(&self.place, output.len())) {
            match is_pixel {
                true => assert!(value.is_finite() && *value != BEFORE, "{case}: {value} at {idx}"),
                false => assert_eq!(*value, BEFORE, "{case}: written beside the output, at {idx}"),
            }
        }
        #[cfg(all(target_os = "linux", not(miri)))]
        for edge in [Edge::Last, Edge::First] {
            assert!(is_same(&self.run_beside_pages(&inputs, edge), &output), "{case}: another result, {edge:?}");
        }
        let lens: Vec<usize> = self.inputs.iter().copied().chain([self.output, self.scratch]).collect();
        for slot in (0..lens.len()).filter(|slot| lens[*slot] > 0) {
            let mut shorter = vec![0; lens.len()];
            shorter[slot] = 1;
            let result = catch_unwind(AssertUnwindSafe(|| self.run_in(&mut memory, &shorter)));
            assert!(result.is_err(), "{case}: slice {slot} of {lens:?} may end early");
        }
        assert!(is_same(&memory.output[..self.output], &output), "{case}: written by a call that was refused");
        for values in [&memory.output[self.output..], &memory.scratch[self.scratch..]] {
            assert!(is_same(values, &[BEHIND; N_BEHIND]), "{case}: written behind the output or the scratch memory");
        }
    }

    /// Inputs with some drawn words, again and again.
    fn drawn(&self) -> Vec<Vec<f32>> {
        let mut draws = Philox::new([3, 4]);
        let words: Vec<f32> = (0..251).map(|_| word(&mut draws)).collect();
        let drawn = |(slot, len): (usize, &usize)| words.iter().copied().cycle().skip(17 * slot).take(*len).collect();
        self.inputs.iter().enumerate().map(drawn).collect()
    }

    /// Runs the kernel with this much less in each slice.
    fn run_in(&self, memory: &mut Poisoned, shorter: &[usize]) {
        let less = |slot: usize| shorter.get(slot).copied().unwrap_or(0);
        let n_inputs = self.inputs.len();
        let lens = self.inputs.iter().enumerate().map(|(slot, len)| len - less(slot));
        let inputs: Vec<&[f32]> = memory.inputs.iter().zip(lens).map(|(values, len)| &values[..len]).collect();
        let (output_len, scratch_len) = (self.output - less(n_inputs), self.scratch - less(n_inputs + 1));
        (self.run)(&inputs, &mut memory.output[..output_len], &mut memory.scratch[..scratch_len]);
    }

    /// Runs the kernel with slices that have a page for their neighbour that nobody may touch: what is read beyond them
    /// is found though nothing depends on it. Returns what it wrote.
    #[cfg(all(target_os = "linux", not(miri)))]
    fn run_beside_pages(&self, inputs: &[Vec<f32>], edge: Edge) -> Vec<f32> {
        let inputs: Vec<Guarded> = inputs.iter().map(|values| Guarded::new(values, edge)).collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(|values| &values[..]).collect();
        let mut output = Guarded::new(&vec![BEFORE; self.output], edge);
        let mut scratch = Guarded::new(&vec![BEFORE; self.scratch], edge);
        (self.run)(&inputs, &mut output, &mut scratch);
        output.to_vec()
    }
}

fn is_same(found: &[f32], expected: &[f32]) -> bool {
    found.iter().zip(expected).all(|(found, expected)| found.to_bits() == expected.to_bits())
}

/// A word that is a number around 0 as a float32, and whose halves are as bfloat16.
fn word(draws: &mut Philox) -> f32 {
    let [upper, lower] = [spread(draws), spread(draws)].map(f32::to_bits);
    f32::from_bits((upper & 0xffff_0000) | (lower >> 16))
}

/// Which of the first `len` values of a place are those of pixels.
fn pixels(place: &Place, len: usize) -> Vec<bool> {
    let [_, height, width] = place.dims;
    let mut is_pixel = vec![false; len];
    for image in 0..N_IMAGES {
        for row in 0..height {
            for column in 0..width {
                for block in 0..place.n_blocks() {
                    let first = place.at(image, row as isize, column as isize) + block * place.block;
                    is_pixel[first..first + place.lanes].fill(true);
                }
            }
        }
    }
    is_pixel
}

/// All of `cases`; for interpreters, which take a thousand times as long, those with these numbers.
pub(super) fn few<T, const N: usize>(cases: [T; N], numbers: &[usize]) -> impl Iterator<Item = T> {
    cases.into_iter().enumerate().filter(|(idx, _)| !cfg!(miri) || numbers.contains(idx)).map(|(_, case)| case)
}
