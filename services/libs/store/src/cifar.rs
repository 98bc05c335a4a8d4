//! CIFAR-10 and CIFAR-100 in their binary version: per sample one label, or a coarse and a fine one, then 32 x 32 pixels
//! of red, of green and of blue, row-major (Krizhevsky, "The CIFAR-10 dataset"). Files may follow one another.

use bytes::{Bytes, BytesMut};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cifar {
    name: &'static str,
    /// The number of values of each label of a sample; the last label is the class.
    labels: &'static [u8],
}

pub(crate) const CIFAR_10: Cifar = Cifar { name: "CIFAR-10", labels: &[10] };
pub(crate) const CIFAR_100: Cifar = Cifar { name: "CIFAR-100", labels: &[20, 100] };

pub(crate) const SHAPE: [u32; 3] = [3, 32, 32];
const IMAGE_BYTES: usize = 3 * 32 * 32;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CifarError {
    #[error("the file is empty; it should hold samples of {0} bytes each")]
    Empty(usize),
    #[error(
        "the file has {n_bytes} bytes, which are no whole number of {name} samples of {sample_bytes} bytes each: it is \
         truncated, or of another format"
    )]
    Length { name: &'static str, n_bytes: usize, sample_bytes: usize },
    #[error("sample {idx} has the label {found}; {name} has 0 to {}: the file is damaged, or of another format", n - 1)]
    Label { name: &'static str, idx: usize, found: u8, n: u8 },
}

impl Cifar {
    pub(crate) fn n_classes(self) -> u32 {
        self.labels.last().map_or(0, |n| u32::from(*n))
    }

    /// The pixels, (n, 3, 32, 32), and the classes.
    pub(crate) fn read(self, file: &[u8]) -> Result<(Bytes, Vec<u32>), CifarError> {
        let sample_bytes = self.labels.len() + IMAGE_BYTES;
        if file.is_empty() {
            return Err(CifarError::Empty(sample_bytes));
        }
        if !file.len().is_multiple_of(sample_bytes) {
            return Err(CifarError::Length { name: self.name, n_bytes: file.len(), sample_bytes });
        }
        let mut pixels = BytesMut::with_capacity(file.len());
        let mut targets = Vec::with_capacity(file.len() / sample_bytes);
        for (idx, sample) in file.chunks_exact(sample_bytes).enumerate() {
            let (labels, image) = sample.split_at(self.labels.len());
            for (found, n) in labels.iter().zip(self.labels) {
                if found >= n {
                    return Err(CifarError::Label { name: self.name, idx, found: *found, n: *n });
                }
            }
            targets.push(labels.last().map_or(0, |label| u32::from(*label)));
            pixels.extend_from_slice(image);
        }
        Ok((pixels.freeze(), targets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(labels: &[u8], pixel: u8) -> Vec<u8> {
        [labels, &[pixel; IMAGE_BYTES]].concat()
    }

    #[test]
    fn samples_come_in_order_with_their_fine_labels() {
        let (pixels, targets) = CIFAR_10.read(&[sample(&[3], 7), sample(&[9], 8)].concat()).expect("two samples");
        assert_eq!((targets, pixels.len()), (vec![3, 9], 2 * IMAGE_BYTES));
        assert_eq!((pixels[0], pixels[IMAGE_BYTES]), (7, 8));
        let (_, targets) = CIFAR_100.read(&sample(&[19, 99], 0)).expect("a sample");
        assert_eq!(targets, [99]);
    }

    #[test]
    fn other_files_are_refused() {
        assert_eq!(CIFAR_10.read(&[]), Err(CifarError::Empty(3073)));
        let text = CIFAR_10.read(&sample(&[1, 2], 0)).expect_err("CIFAR-100").to_string();
        assert!(text.contains("3074 bytes") && text.contains("3073"), "{text}");
        for (cifar, labels) in [(CIFAR_10, &[10][..]), (CIFAR_100, &[20, 1]), (CIFAR_100, &[1, 100])] {
            let error = cifar.read(&[vec![0; cifar.labels.len() + IMAGE_BYTES], sample(labels, 0)].concat());
            assert!(matches!(error, Err(CifarError::Label { idx: 1, .. })), "{labels:?}");
        }
    }
}
