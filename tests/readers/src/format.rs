//! The formats, and what is done with a file of each.

use bytes::Bytes;
use relief_core::{Philox, Split};
use relief_store::{DatasetFormat, ParsedSplit, SplitFiles};

use crate::damage::{MAX_BYTES, below, damage_bytes, once_in};
use crate::{cifar, idx, npz, onnx, pytorch, safetensors};

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was read.
    Taken,
    /// It was refused with an error.
    Refused,
}

/// A format of foreign files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Networks.
    Onnx,
    /// Checkpoints and datasets.
    Safetensors,
    /// Checkpoints of PyTorch, in both forms.
    Pickle,
    /// Datasets as of MNIST.
    Idx,
    /// CIFAR-10 and CIFAR-100.
    Cifar,
    /// Datasets of NumPy.
    Npz,
}

/// The most bytes that deflate makes of one (zlib's technical details: 1032 to 1).
pub(crate) const MAX_INFLATION: usize = 1032;

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Onnx, Self::Safetensors, Self::Pickle, Self::Idx, Self::Cifar, Self::Npz];

    /// Files that are read, several of each form that the format has.
    #[must_use]
    pub fn seeds(self) -> Vec<Vec<u8>> {
        match self {
            Self::Onnx => onnx::seeds(),
            Self::Safetensors => safetensors::seeds(),
            Self::Pickle => pytorch::seeds(),
            Self::Idx => idx::seeds(),
            Self::Cifar => cifar::seeds(),
            Self::Npz => npz::seeds(),
        }
    }

    /// Reads a file and checks what comes out of it.
    ///
    /// # Panics
    /// When the reader does, or what it reads is not what it should be.
    pub fn read(self, bytes: &[u8]) -> Outcome {
        match self {
            Self::Onnx => onnx::read(bytes),
            Self::Safetensors => safetensors::read(bytes),
            Self::Pickle => pytorch::read(bytes),
            Self::Idx => idx::read(bytes),
            Self::Cifar => cifar::read(bytes),
            Self::Npz => npz::read(bytes),
        }
    }

    /// The most bytes that may be allocated at any time while a file is read and checked.
    ///
    /// The factors are what the smallest parts of a file, of one byte or two, take in memory; where a file is packed,
    /// times what deflate makes of a byte. The constants are for what does not depend on the file.
    #[must_use]
    pub fn max_bytes(self, file: &[u8]) -> usize {
        let (factor, constant) = match self {
            // A part of two bytes takes up to 200, in lists that grow. Constants may take 16 MiB, and what is made of
            // them for the graph as much again.
            Self::Onnx => (320, 40 << 20),
            // A digit and a comma of a shape take 8 bytes, more while its list grows, and again in each copy.
            Self::Safetensors => (64, 1 << 16),
            // An instruction of one byte makes a container of 24 and a value of 24 that refers to it, in lists that grow.
            Self::Pickle => (192, 1 << 18),
            // A packed array, what unpacking it takes while it grows, and the copy that is stored.
            Self::Idx if idx::is_packed(file) => (8 * MAX_INFLATION, 1 << 18),
            // A channel of one byte has two moments of 8.
            Self::Idx => (48, 1 << 18),
            Self::Cifar => (8, 1 << 16),
            Self::Npz => (8 * MAX_INFLATION, 1 << 18),
        };
        file.len().saturating_mul(factor).saturating_add(constant)
    }

    /// The damaged file with a number.
    #[must_use]
    pub fn damaged(self, number: u64) -> Vec<u8> {
        let mut random = Philox::new([number, self as u64]);
        let seeds = self.seeds();
        let mut file = seeds[below(&mut random, seeds.len())].clone();
        const MOST: usize = 4;
        for _ in 0..=below(&mut random, MOST) {
            file = self.damage(&file, &mut random);
        }
        file
    }

    /// A file with one more damage: mostly within its frame, else to its bytes. Of an empty file it is a good one.
    #[must_use]
    pub fn damage(self, file: &[u8], random: &mut Philox) -> Vec<u8> {
        if file.is_empty() {
            let mut seeds = self.seeds();
            return seeds.swap_remove(below(random, seeds.len()));
        }
        let inside = if once_in(random, 5) { None } else { self.damage_inside(file, random) };
        inside.filter(|file| file.len() <= MAX_BYTES).unwrap_or_else(|| {
            let mut file = file.to_vec();
            damage_bytes(&mut file, random);
            file
        })
    }

    fn damage_inside(self, file: &[u8], random: &mut Philox) -> Option<Vec<u8>> {
        match self {
            Self::Onnx => onnx::damage(file, random),
            Self::Safetensors => safetensors::damage(file, random),
            Self::Pickle => pytorch::damage(file, random),
            Self::Idx => idx::damage(file, random),
            Self::Cifar => cifar::damage(file, random),
            Self::Npz => npz::damage(file, random),
        }
    }
}

/// Reads a split. It has no more values than `most`, and its moments are those of pixels.
pub(crate) fn read_split(format: DatasetFormat, inputs: &[u8], targets: &[u8], most: usize) -> Outcome {
    let [inputs, targets] = [inputs, targets].map(Bytes::copy_from_slice);
    let most = most.max(inputs.len());
    let Ok(split) = ParsedSplit::parse(&SplitFiles { split: Split::Test, inputs, targets }, format) else {
        return Outcome::Refused;
    };
    let dims = split.shape().map(|dim| dim as usize);
    let n_values = dims.iter().product::<usize>() * split.record().n_samples as usize;
    assert!((1..=most).contains(&n_values), "{n_values} values of at most {most} bytes");
    let (mean, std) = split.moments();
    for (mean, std) in mean.iter().zip(&std) {
        assert!(
            (0.0..=1.0).contains(mean) && (0.0..=0.5 + 1e-9).contains(std),
            "pixels have the moments {mean}, {std}"
        );
    }
    Outcome::Taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_fuzz_target() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz");
        let manifest = std::fs::read_to_string(format!("{folder}/Cargo.toml")).expect("a manifest");
        for format in Format::ALL {
            let name = format!("{format:?}").to_lowercase();
            let path = format!("fuzz_targets/{name}.rs");
            let target = std::fs::read_to_string(format!("{folder}/{path}")).expect("a target");
            assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"{path}\"")), "{name}");
            assert_eq!(
                target.matches("Format::").count(),
                target.matches(&format!("Format::{format:?}")).count(),
                "{name}"
            );
        }
    }
}
