//! The counter-based generator behind random directions.

/// Philox4x64-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
///
/// The stream is that of `numpy.random.Philox(key=[k0, k1]).random_raw()`: blocks of four words, the counter starting
/// at 1, so that a direction can be drawn again in Python.
#[derive(Debug, Clone)]
pub struct Philox {
    key: [u64; 2],
    counter: u64,
    block: [u64; 4],
    used: usize,
}

const MULTIPLIERS: [u64; 2] = [0xD2E7_470E_E14C_6C93, 0xCA5A_8263_9512_1157];
const WEYL: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xBB67_AE85_84CA_A73B];
const N_ROUNDS: usize = 10;

impl Philox {
    /// Returns the generator for `key`, at the start of its stream.
    #[must_use]
    pub fn new(key: [u64; 2]) -> Self {
        Self { key, counter: 0, block: [0; 4], used: 4 }
    }

    /// Returns the next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        if self.used == self.block.len() {
            self.counter = self.counter.wrapping_add(1);
            self.block = philox4x64([self.counter, 0, 0, 0], self.key);
            self.used = 0;
        }
        let word = self.block[self.used];
        self.used += 1;
        word
    }

    /// Returns a float64 uniform on [0, 1): the upper 53 bits of the next word, over 2^53.
    pub fn next_uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Returns two independent standard normal values by the transform of Box and Muller (1958):
    /// r cos(2 pi v) and r sin(2 pi v) with r = sqrt(-2 ln(1 - u)), u and v the next two uniforms.
    pub fn next_normal_pair(&mut self) -> (f64, f64) {
        let u = self.next_uniform();
        let v = self.next_uniform();
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - u));
        let (sin, cos) = libm::sincos(2.0 * std::f64::consts::PI * v);
        (radius * cos, radius * sin)
    }

    /// Returns an integer uniform on 0..bound (bound > 0), without bias: words outside a whole multiple are redrawn.
    pub fn next_below(&mut self, bound: u64) -> u64 {
        let zone = u64::MAX - u64::MAX % bound;
        loop {
            let word = self.next_u64();
            if word < zone {
                return word % bound;
            }
        }
    }

    /// Fills `values` with independent N(0, 1) draws, rounded to float32.
    pub fn fill_normal(&mut self, values: &mut [f32]) {
        for pair in values.chunks_mut(2) {
            let (first, second) = self.next_normal_pair();
            pair[0] = first as f32;
            if let Some(value) = pair.get_mut(1) {
                *value = second as f32;
            }
        }
    }
}

fn philox4x64(counter: [u64; 4], key: [u64; 2]) -> [u64; 4] {
    let mut words = counter;
    let mut key = key;
    for round in 0..N_ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let product0 = u128::from(MULTIPLIERS[0]) * u128::from(words[0]);
        let product1 = u128::from(MULTIPLIERS[1]) * u128::from(words[2]);
        words = [
            (product1 >> 64) as u64 ^ words[1] ^ key[0],
            product1 as u64,
            (product0 >> 64) as u64 ^ words[3] ^ key[1],
            product0 as u64,
        ];
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_known_answers() {
        // Random123's kat_vectors for philox4x64 with 10 rounds.
        assert_eq!(
            philox4x64([0; 4], [0; 2]),
            [0x16554d9eca36314c, 0xdb20fe9d672d0fdc, 0xd7e772cee186176b, 0x7e68b68aec7ba23b]
        );
        assert_eq!(
            philox4x64([u64::MAX; 4], [u64::MAX; 2]),
            [0x87b092c3013fe90b, 0x438c3c67be8d0224, 0x9cc7d7c69cd777b6, 0xa09caebf594f0ba0]
        );
    }

    #[test]
    fn normals_have_the_moments_of_the_standard_normal() {
        let mut values = vec![0.0_f32; 200_001];
        Philox::new([1, 2]).fill_normal(&mut values);
        let n = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
        let fourth = values.iter().map(|v| (f64::from(*v) - mean).powi(4)).sum::<f64>() / n;
        assert!(mean.abs() < 0.01, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
        assert!((fourth - 3.0).abs() < 0.1, "fourth moment {fourth}");
    }

    #[test]
    fn integers_stay_below_their_bound_and_reach_every_value() {
        let mut generator = Philox::new([7, 7]);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[generator.next_below(5) as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
    }
}
