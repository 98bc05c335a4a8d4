use super::*;
use crate::archive::tests::archive;
use crate::checkpoint_file::{SkippedTensor, read_checkpoint};

/// Writes pickles by hand, as `torch.save` with protocol 2 does.
#[derive(Default)]
struct Pickler(Vec<u8>);

impl Pickler {
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    fn int(self, value: i32) -> Self {
        self.raw(b"J").raw(&value.to_le_bytes())
    }

    fn ints(self, values: &[i32]) -> Self {
        values.iter().fold(self.raw(b"("), |pickler, value| pickler.int(*value)).raw(b"t")
    }

    fn tensor(self, class: &str, key: &str, n: i32, offset: i32, shape: &[i32], strides: &[i32]) -> Self {
        self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((")
            .text("storage")
            .raw(format!("ctorch\n{class}\n").as_bytes())
            .text(key)
            .text("cpu")
            .int(n)
            .raw(b"NtQ")
            .int(offset)
            .ints(shape)
            .ints(strides)
            .raw(b"\x89ccollections\nOrderedDict\n)RtR")
    }
}

/// A state dict of a transposed float32 matrix, a float16 vector within a larger storage, and an int64 counter.
fn entries(pickler: Pickler) -> Pickler {
    pickler
        .raw(b"ccollections\nOrderedDict\n)R(")
        .text("z.weight")
        .tensor("FloatStorage", "0", 6, 0, &[3, 2], &[1, 3])
        .text("a.bias")
        .tensor("HalfStorage", "1", 4, 1, &[2], &[1])
        .text("a.steps")
        .tensor("LongStorage", "2", 1, 0, &[], &[])
        .raw(b"u}")
        .text("_metadata")
        .raw(b"}sb")
}

fn storages() -> [(&'static str, i64, Vec<u8>); 3] {
    let floats = (0..6).flat_map(|value| (value as f32).to_le_bytes()).collect();
    let halves = [0x3c00_u16, 0xc000, 0x3800, 0x0000].iter().flat_map(|bits| bits.to_le_bytes()).collect();
    [("0", 6, floats), ("1", 4, halves), ("2", 1, 9_i64.to_le_bytes().to_vec())]
}

fn zip(pickle: &[u8]) -> Bytes {
    let storages = storages();
    let names = storages.each_ref().map(|(key, ..)| format!("net/data/{key}"));
    let mut parts = vec![("net/data.pkl", pickle, false), ("net/byteorder", &b"little"[..], false)];
    parts.extend(names.iter().zip(&storages).map(|(name, (_, _, bytes))| (name.as_str(), &bytes[..], false)));
    archive(&parts).into()
}

fn legacy(pickle: &[u8]) -> Bytes {
    let mut file = [&b"\x80\x02\x8a\x0a"[..], &LEGACY_MAGIC, b".\x80\x02M\xe9\x03."].concat();
    file.extend(Pickler::default().raw(b"\x80\x02}").text("little_endian").raw(b"\x88s.").0);
    file.extend(pickle);
    let storages = storages();
    let keys = storages.iter().fold(Pickler::default().raw(b"\x80\x02]("), |pickler, (key, ..)| pickler.text(key));
    file.extend(keys.raw(b"e.").0);
    for (_, count, bytes) in &storages {
        file.extend(count.to_le_bytes());
        file.extend(bytes);
    }
    file.into()
}

fn bare() -> Vec<u8> {
    entries(Pickler::default().raw(b"\x80\x02")).raw(b".").0
}

fn check(decoded: &DecodedCheckpoint) {
    assert_eq!(decoded.order, ["z.weight", "a.bias"]);
    let tensor = |name: &str| (decoded.tensors[name].shape().to_vec(), decoded.tensors[name].data().to_vec());
    assert_eq!(tensor("z.weight"), (vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    assert_eq!(tensor("a.bias"), (vec![2], vec![-2.0, 0.5]));
    assert_eq!(decoded.skipped, [SkippedTensor { name: "a.steps".to_owned(), dtype: "int64".to_owned() }]);
}

#[test]
fn a_state_dict_is_read_from_either_form() {
    let decoded = read_checkpoint(&zip(&bare())).expect("a checkpoint");
    check(&decoded);
    assert_eq!((decoded.format, decoded.key), (CheckpointFormat::PytorchZip, None));
    let decoded = read_checkpoint(&legacy(&bare())).expect("a checkpoint");
    check(&decoded);
    assert_eq!((decoded.format, decoded.key), (CheckpointFormat::PytorchLegacy, None));
}

#[test]
fn a_state_dict_is_found_under_the_usual_keys() {
    for key in WRAPPERS {
        let start = Pickler::default().raw(b"\x80\x02}(").text("epoch").int(3).text(key);
        let pickle = entries(start).raw(b"u.").0;
        for file in [zip(&pickle), legacy(&pickle)] {
            let decoded = read_checkpoint(&file).expect("a checkpoint");
            check(&decoded);
            assert_eq!(decoded.key.as_deref(), Some(key));
        }
    }
}

#[test]
fn what_holds_no_tensors_by_name_is_refused_with_what_it_holds() {
    let text = |pickle: &[u8]| {
        let error = read_checkpoint(&zip(pickle)).expect_err("no state dict");
        crate::error::chain(&error)
    };
    let whole = text(b"\x80\x02cmodels\nResNet\n)\x81}b.");
    assert!(whole.contains("models.ResNet") && whole.contains("model.state_dict()"), "{whole}");
    let other = text(&Pickler::default().raw(b"}").text("weights").int(1).raw(b"s.").0);
    assert!(other.contains("`weights`: int") && other.contains("state_dict"), "{other}");
    assert!(text(b"cos\nsystem\n)R.").contains("os.system"));
}

#[test]
fn tensors_beyond_their_storage_are_refused() {
    for (offset, shape, strides) in [
        (0, &[7][..], &[1][..]),
        (1, &[6], &[1]),
        (0, &[2, 2], &[5, 1]),
        (0, &[1 << 30, 1 << 30, 1 << 30], &[0, 0, 0]),
        (0, &[1 << 20], &[0]),
    ] {
        let pickle = Pickler::default().raw(b"}").text("w").tensor("FloatStorage", "0", 6, offset, shape, strides);
        let pickle = pickle.raw(b"s.").0;
        for file in [zip(&pickle), legacy(&pickle)] {
            assert!(matches!(read_checkpoint(&file), Err(CheckpointError::Pytorch(_))), "{shape:?}");
        }
    }
    let pickle = Pickler::default().raw(b"}").text("w").tensor("FloatStorage", "0", 9, 0, &[9], &[1]).raw(b"s.").0;
    assert!(matches!(read_checkpoint(&zip(&pickle)), Err(CheckpointError::Pytorch(_))));
}

#[test]
fn a_truncated_file_is_an_error_wherever_it_ends() {
    for whole in [zip(&bare()), legacy(&bare())] {
        for end in 0..whole.len() {
            assert!(read_checkpoint(&whole.slice(..end)).is_err(), "{end}");
        }
    }
}

/// The file of one tensor of two values, in a storage of `class`.
fn pair(class: &str, data: &[u8]) -> Bytes {
    let pickle = Pickler::default().raw(b"}").text("w").tensor(class, "0", 2, 0, &[2], &[1]).raw(b"s.").0;
    archive(&[("net/data.pkl", &pickle, false), ("net/data/0", data, false)]).into()
}

#[test]
fn other_floats_become_float32() {
    let values =
        |class, data: &[u8]| read_checkpoint(&pair(class, data)).map(|decoded| decoded.tensors["w"].data().to_vec());
    let doubles = |pair: [f64; 2]| pair.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    assert_eq!(values("DoubleStorage", &doubles([0.1, -2.0])).expect("read"), [0.1, -2.0]);
    assert_eq!(values("BFloat16Storage", &[0x80, 0x3f, 0x40, 0xc0]).expect("read"), [1.0, -3.0]);
    assert_eq!(values("HalfStorage", &[0x00, 0x3c, 0x00, 0xc0]).expect("read"), [1.0, -2.0]);
    assert!(matches!(values("DoubleStorage", &doubles([1e300, 0.0])), Err(CheckpointError::Range { .. })));
    assert!(matches!(values("ComplexFloatStorage", &[0; 16]), Err(CheckpointError::Type { .. })));
}

#[test]
fn an_axis_of_one_entry_may_have_any_stride() {
    let start = Pickler::default().raw(b"}").text("w").raw(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    let start = start.text("storage").raw(b"ctorch\nFloatStorage\n").text("0").text("cpu").int(6).raw(b"NtQ");
    let pickle = start.int(1).ints(&[1, 2]).raw(b"(\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x03t").raw(b"tRs.").0;
    let decoded = read_checkpoint(&zip(&pickle)).expect("a checkpoint");
    assert_eq!(decoded.tensors["w"].data(), [1.0, 4.0]);
}
