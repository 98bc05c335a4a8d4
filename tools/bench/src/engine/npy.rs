//! Arrays in NumPy's format, version 1 (`numpy.lib.format`).

#[cfg(test)]
mod tests;

/// The file of an array of float32.
pub(crate) fn of_f32(shape: &[usize], values: &[f32]) -> Vec<u8> {
    file("<f4", shape, values.iter().flat_map(|value| value.to_le_bytes()))
}

/// The file of an array of int64.
pub(crate) fn of_i64(shape: &[usize], values: impl IntoIterator<Item = i64>) -> Vec<u8> {
    file("<i8", shape, values.into_iter().flat_map(i64::to_le_bytes))
}

fn file(descr: &str, shape: &[usize], bytes: impl Iterator<Item = u8>) -> Vec<u8> {
    // A tuple of one has a comma.
    let shape: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Magic, version and length take 10 bytes; the values begin at a multiple of 64.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header = format!("{header:<width$}\n", width = length - 1);
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((length as u16).to_le_bytes());
    file.extend(header.bytes());
    file.extend(bytes);
    file
}
