use super::*;
use crate::archive::tests::archive;
use crate::npy::tests::npy;

fn parse(format: DatasetFormat, inputs: &[u8]) -> Result<ParsedSplit, StoreError> {
    let inputs = Bytes::copy_from_slice(inputs);
    ParsedSplit::parse(&SplitFiles { split: Split::Test, inputs, targets: Bytes::new() }, format)
}

fn refusal(format: DatasetFormat, inputs: &[u8]) -> String {
    parse(format, inputs).expect_err("bad data").to_string()
}

/// A safetensors file of the tensors: name, type, shape, data.
fn safetensors(tensors: &[(&str, &str, &str, &[u8])]) -> Vec<u8> {
    let (mut header, mut data) = (Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let start = data.len();
        data.extend_from_slice(bytes);
        let end = data.len();
        header.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#));
    }
    let header = format!("{{{}}}", header.join(","));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

const TARGETS: &[u8] = &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];

fn values_file() -> Vec<u8> {
    let inputs = floats(&[0.5, f32::NAN, -1.0, 4.0]);
    safetensors(&[("inputs", "F32", "[2,1,1,2]", &inputs), ("targets", "I64", "[2]", TARGETS)])
}

fn npz_file(is_packed: bool) -> Vec<u8> {
    let inputs = npy("|u1", "(2, 1, 2)", &[1, 2, 3, 4]);
    let targets = npy("<i8", "(2,)", TARGETS);
    archive(&[("x.npy", &inputs, is_packed), ("y.npy", &targets, is_packed)])
}

#[test]
fn values_are_kept_bit_for_bit() {
    let split = parse(DatasetFormat::Safetensors, &values_file()).expect("a split");
    assert_eq!((split.shape, split.storage, &split.targets[..]), ([1, 1, 2], SampleStorage::Values, &[1, 2][..]));
    let (shape, data) = decode_values(&split.files[0]).expect("stored");
    assert_eq!((shape, data.to_vec()), (vec![2, 1, 1, 2], floats(&[0.5, f32::NAN, -1.0, 4.0])));
}

#[test]
fn npz_holds_images_or_values() {
    for is_packed in [false, true] {
        let split = parse(DatasetFormat::Npz, &npz_file(is_packed)).expect("a split");
        assert_eq!((split.shape, split.storage, split.n_classes()), ([1, 1, 2], SampleStorage::Pixels, 3));
    }
    let values: Vec<u8> = [0.5_f64, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let file = |inputs: &[u8]| {
        let targets = npy("|u1", "(1,)", &[0]);
        archive(&[("x_test.npy", &npy("<f8", "(1, 1, 1, 2)", inputs), true), ("y_test.npy", &targets, false)])
    };
    let split = parse(DatasetFormat::Npz, &file(&values)).expect("a split");
    assert_eq!(decode_values(&split.files[0]).expect("stored").1, floats(&[0.5, 2.0]));
    let huge: Vec<u8> = [1e300_f64, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert!(refusal(DatasetFormat::Npz, &file(&huge)).contains("beyond the range"));
}

#[test]
fn bad_safetensors_are_refused_by_field_and_value() {
    let inputs = floats(&[0.0; 4]);
    let with = |inputs: (&str, &str, &[u8]), targets: (&str, &str, &[u8])| {
        let file =
            safetensors(&[("inputs", inputs.0, inputs.1, inputs.2), ("targets", targets.0, targets.1, targets.2)]);
        refusal(DatasetFormat::Safetensors, &file)
    };
    let good = ("F32", "[2,1,1,2]", &inputs[..]);
    for (text, parts) in [
        (with(("U8", "[2,1,1,2]", &[0; 4]), ("U8", "[2]", &[0, 0])), ["test inputs: ", "type U8", "F32"]),
        (with(good, ("F32", "[2]", &[0; 8])), ["test targets: ", "type F32", "integers"]),
        (with(good, ("U8", "[3]", &[0; 3])), ["test targets: ", "3 targets for 2 inputs", "one for each"]),
        (with(good, ("U8", "[2,1]", &[0; 2])), ["test targets: ", "[2, 1]", "(n)"]),
        (with(good, ("I8", "[2]", &[0, 255])), ["test targets: ", "class -1 at sample 1", "from 0"]),
        (with(good, ("U32", "[2]", &[255; 8])), ["test targets: ", "4294967295 of sample 0", "classes"]),
        (with(("F32", "[4]", &inputs), ("U8", "[2]", &[0; 2])), ["test inputs: ", "[4]", "(n, channels"]),
        (with(("F32", "[0,1,1,2]", &[]), ("U8", "[0]", &[])), ["test inputs: ", "[0, 1, 1, 2]", "nothing"]),
        (refusal(DatasetFormat::Safetensors, b"PK\x03\x04"), ["test inputs: ", "safetensors", ""]),
        (
            refusal(DatasetFormat::Safetensors, &safetensors(&[("x", "F32", "[1]", &[0; 4])])),
            ["test inputs: ", "no tensor `inputs`", "`x`"],
        ),
    ] {
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}

#[test]
fn bad_archives_are_refused_by_field_and_value() {
    let one = |name: &str, file: &[u8]| archive(&[(name, file, false), ("y.npy", &npy("|u1", "(1,)", &[0]), false)]);
    for (file, parts) in [
        (one("z.npy", &[]), ["test inputs: ", "`inputs`, `x`, `x_test`", "`z`"]),
        (one("x.npy", b"text"), ["test inputs: ", "`x`", "NUMPY"]),
        (one("x.npy", &npy("<i4", "(1, 1, 1)", &[0; 4])), ["test inputs: ", "<i4", "|u1"]),
        (one("x.npy", &npy("|u1", "(1, 8, 8, 3)", &[0; 192])), ["test inputs: ", "[1, 8, 8, 3]", "transpose"]),
        (one("x.npy", &npy("|u1", "(1, 5)", &[0; 5])), ["test inputs: ", "[1, 5]", "expected (n, channels"]),
        (b"\x93NUMPY".to_vec(), ["test inputs: ", "npz", "end"]),
    ] {
        let text = refusal(DatasetFormat::Npz, &file);
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}

#[test]
fn one_file_is_enough_where_the_format_has_one() {
    let inputs = Bytes::from(values_file());
    let files = SplitFiles { split: Split::Train, inputs, targets: Bytes::from_static(b"x") };
    let error = ParsedSplit::parse(&files, DatasetFormat::Safetensors).expect_err("a file too many");
    assert!(error.to_string().starts_with("train targets: "), "{error}");
}
