//! The dataset that comes with the program: the first 5,000 training and 1,000 test samples of Fashion-MNIST (Zalando
//! SE, 2017, MIT; see `data/fashion-mnist-6k` for its licence and how it was cut).

use bytes::Bytes;
use relief_core::Split;

use crate::dataset::{DatasetImport, SplitFiles};

/// The id that the dataset is stored under.
pub const FASHION_MNIST_6K: &str = "fashion-mnist-6k";

macro_rules! file {
    ($name:literal) => {
        Bytes::from_static(include_bytes!(concat!("../../../../data/fashion-mnist-6k/", $name)))
    };
}

/// Returns both splits: grey images of 28 x 28, 10 classes.
#[must_use]
pub fn fashion_mnist_6k() -> DatasetImport {
    let split = |split, inputs, targets| SplitFiles { split, inputs, targets };
    DatasetImport {
        splits: vec![
            split(Split::Train, file!("train-images-idx3-ubyte.gz"), file!("train-labels-idx1-ubyte.gz")),
            split(Split::Test, file!("t10k-images-idx3-ubyte.gz"), file!("t10k-labels-idx1-ubyte.gz")),
        ],
        n_classes: Some(10),
        ..DatasetImport::default()
    }
}
