//! The order in which an epoch sees its samples.

use relief_core::{Digest, Philox};

/// Returns the order of 0..n that `epoch` (counted from 1) sees: a permutation that depends on the three arguments
/// only, uniform over all of them.
///
/// It is the shuffle of Fisher and Yates in Durstenfeld's form (1964): from the identity, for i = n - 1 down to 1, the
/// entries i and j are exchanged, where j is uniform on 0..=i ([`Philox::next_below`]). The [`Philox`] key is the first 16
/// bytes (two little-endian words) of the SHA-256 of `relief shuffle v1`, a zero byte, the seed as 8 and the epoch as 4
/// little-endian bytes.
pub(crate) fn shuffled(n_samples: usize, seed: u64, epoch: u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n_samples).collect();
    let mut generator = Philox::new(key(seed, epoch));
    for idx in (1..n_samples).rev() {
        order.swap(idx, generator.next_below(idx as u64 + 1) as usize);
    }
    order
}

fn key(seed: u64, epoch: u32) -> [u64; 2] {
    let text = [b"relief shuffle v1\0", &seed.to_le_bytes()[..], &epoch.to_le_bytes()].concat();
    let digest = Digest::of(&text);
    let word = |start: usize| {
        digest.as_bytes()[start..start + 8].iter().rev().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte))
    };
    [word(0), word(8)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_holds_every_sample_once() {
        for n_samples in [0, 1, 2, 7, 1000] {
            let mut order = shuffled(n_samples, 3, 1);
            order.sort_unstable();
            assert_eq!(order, (0..n_samples).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_order_depends_on_seed_and_epoch_only() {
        let order = shuffled(100, 1, 1);
        assert_eq!(order, shuffled(100, 1, 1));
        assert_ne!(order, shuffled(100, 2, 1));
        assert_ne!(order, shuffled(100, 1, 2));
        assert_ne!(order, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn all_orders_are_equally_likely() {
        let mut counts = std::collections::BTreeMap::<Vec<usize>, u32>::new();
        for epoch in 0..6000 {
            *counts.entry(shuffled(3, 9, epoch)).or_default() += 1;
        }
        assert_eq!(counts.len(), 6);
        // Five standard deviations of a count.
        assert!(counts.values().all(|count| count.abs_diff(1000) < 145), "{counts:?}");
    }

    #[test]
    fn the_order_is_the_documented_one() {
        let digest = Digest::of(b"relief shuffle v1\0\x05\0\0\0\0\0\0\0\x02\0\0\0");
        let words: Vec<u64> = digest
            .as_bytes()
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")))
            .collect();
        assert_eq!(key(5, 2), [words[0], words[1]]);
        let mut generator = Philox::new([words[0], words[1]]);
        let mut order = vec![0, 1, 2, 3];
        for idx in [3, 2, 1] {
            order.swap(idx, generator.next_below(idx as u64 + 1) as usize);
        }
        assert_eq!(shuffled(4, 5, 2), order);
    }
}
