//! How datasets come, and how they are stored.

use serde::{Deserialize, Serialize};

use crate::cifar::{CIFAR_10, CIFAR_100, Cifar};

/// How the files of a dataset are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DatasetFormat {
    /// Two IDX files, as of MNIST: images of bytes, and labels. Either may be compressed with gzip.
    #[default]
    Idx,
    /// The binary version of CIFAR-10, several files one after the other.
    Cifar10,
    /// The binary version of CIFAR-100, of which the fine labels are read.
    Cifar100,
    /// A safetensors file with `inputs`, F32 of shape (n, channels, height, width), taken as they are, and `targets`,
    /// integers of shape (n).
    Safetensors,
    /// A NumPy archive with `inputs` or `x`, bytes (images) or floats (taken as they are), and `targets` or `y`.
    Npz,
}

/// How the samples of a dataset are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleStorage {
    /// Images of bytes, normalised when they are loaded.
    #[default]
    Pixels,
    /// Numbers that networks take as they are.
    Values,
}

impl SampleStorage {
    pub(crate) fn is_pixels(&self) -> bool {
        *self == Self::Pixels
    }
}

impl DatasetFormat {
    /// The mean and the standard deviation that the format's data are normalised with everywhere, per channel.
    pub(crate) fn constants(self) -> Option<([f64; 3], [f64; 3])> {
        let of_pixels = |pixels: [f64; 3]| pixels.map(|pixel| pixel / 255.0);
        match self {
            Self::Cifar10 => Some((of_pixels([125.3, 123.0, 113.9]), of_pixels([63.0, 62.1, 66.7]))),
            _ => None,
        }
    }

    fn cifar(self) -> Option<Cifar> {
        match self {
            Self::Cifar10 => Some(CIFAR_10),
            Self::Cifar100 => Some(CIFAR_100),
            _ => None,
        }
    }

    /// The number of classes that every dataset of the format has.
    pub(crate) fn n_classes(self) -> Option<u32> {
        self.cifar().map(Cifar::n_classes)
    }
}
