use super::*;

/// The header's text, and what follows it.
fn parts(file: &[u8]) -> (&str, &[u8]) {
    assert_eq!(&file[..8], b"\x93NUMPY\x01\x00");
    let length = usize::from(u16::from_le_bytes([file[8], file[9]]));
    assert_eq!((10 + length) % 64, 0, "values begin at a multiple of 64");
    let (header, values) = file[10..].split_at(length);
    (std::str::from_utf8(header).expect("ASCII"), values)
}

#[test]
fn a_header_says_what_the_values_are_and_ends_its_line() {
    let file = of_f32(&[1, 2, 1, 1], &[1.0, -2.0]);
    let (header, values) = parts(&file);
    assert_eq!(header.trim_end(), "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 1, 1, ), }");
    assert!(header.ends_with(" \n"));
    assert_eq!(values, [1.0_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat());
}

#[test]
fn a_shape_of_one_extent_is_a_tuple() {
    let file = of_i64(&[3], [0, 1, -1]);
    let (header, values) = parts(&file);
    assert!(header.starts_with("{'descr': '<i8', 'fortran_order': False, 'shape': (3, ), }"), "{header}");
    assert_eq!(values.len(), 24);
    assert_eq!(values[16..], [0xff; 8]);
}
