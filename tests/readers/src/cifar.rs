//! CIFAR-10 and CIFAR-100 in their binary version.

use relief_core::Philox;
use relief_store::DatasetFormat;

use crate::damage::{below, damage_bytes, once_in};
use crate::format::{Outcome, read_split};

const IMAGE_BYTES: usize = 3 * 32 * 32;

fn file(samples: &[&[u8]]) -> Vec<u8> {
    samples.iter().enumerate().flat_map(|(idx, labels)| [*labels, &[idx as u8; IMAGE_BYTES]].concat()).collect()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![file(&[&[3]]), file(&[&[0], &[9]]), file(&[&[19, 99]]), file(&[&[0, 0], &[4, 56]])]
}

pub(crate) fn damage(file: &[u8], random: &mut Philox) -> Option<Vec<u8>> {
    let sample_bytes = [1, 2].map(|n| n + IMAGE_BYTES).into_iter().find(|n| file.len().is_multiple_of(*n))?;
    let mut samples: Vec<Vec<u8>> = file.chunks_exact(sample_bytes).map(<[u8]>::to_vec).collect();
    let idx = below(random, samples.len());
    match below(random, 6) {
        0 => drop(samples.remove(idx)),
        1 if samples.len() < 4 => samples.push(samples[idx].clone()),
        2 => damage_bytes(&mut samples[idx], random),
        3 => {
            let place = below(random, sample_bytes);
            samples[idx][place] = random.next_u64() as u8;
        }
        _ => {
            let place = below(random, sample_bytes - IMAGE_BYTES);
            let label = if once_in(random, 2) { 128 } else { 32 };
            samples[idx][place] = below(random, label) as u8;
        }
    }
    Some(samples.concat())
}

/// Reads the file as both.
pub(crate) fn read(bytes: &[u8]) -> Outcome {
    let read = |format| read_split(format, bytes, &[], bytes.len());
    match [read(DatasetFormat::Cifar10), read(DatasetFormat::Cifar100)].contains(&Outcome::Taken) {
        true => Outcome::Taken,
        false => Outcome::Refused,
    }
}
