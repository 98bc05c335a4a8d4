//! Formats of datasets.

use relief_store::{DatasetFormat, SampleStorage};

use crate::catalog::v1;
use crate::convert::UnknownNumber;

/// Returns the format that a message names; IDX when it names none.
///
/// # Errors
/// For a number that this version does not know.
pub fn format_from_wire(format: i32) -> Result<DatasetFormat, UnknownNumber> {
    match v1::DatasetFormat::try_from(format) {
        Ok(v1::DatasetFormat::Unspecified | v1::DatasetFormat::Idx) => Ok(DatasetFormat::Idx),
        Ok(v1::DatasetFormat::Cifar10) => Ok(DatasetFormat::Cifar10),
        Ok(v1::DatasetFormat::Cifar100) => Ok(DatasetFormat::Cifar100),
        Ok(v1::DatasetFormat::Safetensors) => Ok(DatasetFormat::Safetensors),
        Ok(v1::DatasetFormat::Npz) => Ok(DatasetFormat::Npz),
        Err(_) => {
            let known = "1 IDX, 2 CIFAR-10, 3 CIFAR-100, 4 safetensors, 5 npz";
            Err(UnknownNumber { number: format, known })
        }
    }
}

/// Returns how samples are stored as a message.
#[must_use]
pub fn storage_to_wire(storage: SampleStorage) -> v1::SampleStorage {
    match storage {
        SampleStorage::Pixels => v1::SampleStorage::Pixels,
        SampleStorage::Values => v1::SampleStorage::Values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_their_numbers() {
        assert_eq!(format_from_wire(0), Ok(DatasetFormat::Idx));
        assert_eq!(format_from_wire(5), Ok(DatasetFormat::Npz));
        for unknown in [-1, 6] {
            let error = format_from_wire(unknown).expect_err("unknown");
            assert!(error.to_string().starts_with(&unknown.to_string()));
        }
    }
}
