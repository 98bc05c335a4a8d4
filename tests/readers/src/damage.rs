//! Damage to bytes and to text.

use relief_core::Philox;

/// The most bytes that a damaged file is let grow to, so that what is repeated again and again ends.
pub(crate) const MAX_BYTES: usize = 1 << 18;

/// A number below `bound`, 0 where that is 0.
pub(crate) fn below(random: &mut Philox, bound: usize) -> usize {
    random.next_below(bound.max(1) as u64) as usize
}

/// One in `n` times.
pub(crate) fn once_in(random: &mut Philox, n: usize) -> bool {
    below(random, n) == 0
}

/// A size that is usual, or one that arithmetic stumbles over.
pub(crate) fn odd_number(random: &mut Philox) -> u64 {
    const NUMBERS: [u64; 20] = [
        0,
        1,
        2,
        3,
        4,
        7,
        16,
        255,
        1 << 10,
        (1 << 16) - 1,
        1 << 16,
        (1 << 31) - 1,
        1 << 31,
        (1 << 32) - 1,
        1 << 40,
        1 << 60,
        i64::MAX as u64,
        i64::MIN as u64,
        u64::MAX - 1,
        u64::MAX,
    ];
    NUMBERS[below(random, NUMBERS.len())]
}

/// A part of `len` places.
fn span(random: &mut Philox, len: usize) -> std::ops::Range<usize> {
    const LONGEST: usize = 64;
    let start = below(random, len);
    start..(start + 1 + below(random, LONGEST)).min(len)
}

/// Damages bytes in one place.
pub(crate) fn damage_bytes(bytes: &mut Vec<u8>, random: &mut Philox) {
    if bytes.is_empty() {
        bytes.extend(odd_number(random).to_le_bytes());
        return;
    }
    let place = below(random, bytes.len());
    match below(random, 8) {
        0 => bytes[place] = random.next_u64() as u8,
        1 | 2 => bytes[place] ^= 1 << below(random, 8),
        3 => bytes.truncate(place),
        4 => drop(bytes.drain(span(random, bytes.len()))),
        5 => {
            let piece = bytes[span(random, bytes.len())].to_vec();
            bytes.splice(place..place, piece);
        }
        _ => {
            let width = 1 << below(random, 4);
            let number = odd_number(random).to_le_bytes();
            let mut digits = number[..width].to_vec();
            if once_in(random, 2) {
                digits.reverse();
            }
            let end = (place + width).min(bytes.len());
            bytes.splice(place..end, digits);
        }
    }
}

/// Damages text in one place: a number in it becomes another, or one of `words` another of them; else as bytes.
pub(crate) fn damage_text(text: &mut Vec<u8>, words: &[&str], random: &mut Philox) {
    let choice = below(random, 5);
    let found = match choice {
        0 | 1 => numbers(text),
        2 | 3 => places(text, words),
        _ => Vec::new(),
    };
    let Some(place) = found.get(below(random, found.len())).cloned() else { return damage_bytes(text, random) };
    let new = match choice {
        0 | 1 if once_in(random, 4) => (odd_number(random) as i64).to_string(),
        0 | 1 => odd_number(random).to_string(),
        _ => words[below(random, words.len())].to_owned(),
    };
    text.splice(place, new.into_bytes());
}

/// Where decimal numbers stand.
fn numbers(text: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    for (place, _) in text.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
        match found.last_mut() {
            Some(last) if last.end == place => last.end += 1,
            _ => found.push(place..place + 1),
        }
    }
    found
}

/// Where words stand.
fn places(text: &[u8], words: &[&str]) -> Vec<std::ops::Range<usize>> {
    let at = |word: &str| {
        let len = word.len();
        let word = word.as_bytes().to_vec();
        text.windows(len).enumerate().filter(move |(_, part)| *part == word).map(move |(at, _)| at..at + len)
    };
    words.iter().filter(|word| !word.is_empty()).flat_map(|word| at(word)).collect()
}

/// Damages a list in one place: an item goes, comes twice or many times, or changes places; else `change` is done to one
/// or, where there is none, nothing.
pub(crate) fn damage_list<T: Clone>(items: &mut Vec<T>, random: &mut Philox, change: impl FnOnce(&mut T, &mut Philox)) {
    const MOST: usize = 200;
    if items.is_empty() {
        return;
    }
    let (place, other) = (below(random, items.len()), below(random, items.len()));
    match below(random, 10) {
        0 => drop(items.remove(place)),
        1 => items.insert(other, items[place].clone()),
        2 => items.swap(place, other),
        3 if once_in(random, 4) => {
            let run = items[span(random, items.len())].to_vec();
            let n_times = below(random, MOST);
            items.splice(other..other, run.into_iter().cycle().take(n_times).collect::<Vec<_>>());
        }
        _ => change(&mut items[place], random),
    }
}
