use super::*;

fn value(bytes: &[u8]) -> Result<(Value, Heap), PickleError> {
    load(bytes).map(|(value, heap, _)| (value, heap))
}

#[test]
fn containers_are_shared_as_in_python() {
    // d = {}; [d, d] with an entry set through the second one.
    let (list, heap) = value(b"\x80\x02]q\x00}q\x01ah\x00h\x01X\x01\x00\x00\x00aK\x05s0.").expect("a pickle");
    let items = heap.sequence(&list).expect("a list");
    let entries = heap.dict(&items[0]).expect("a dict");
    assert!(matches!(&entries[0], (Value::Text(key), Value::Int(5)) if &**key == "a"));
}

#[test]
fn numbers_have_their_values() {
    for (bytes, expected) in [
        (&b"K\xff."[..], 255),
        (b"M\x01\x02.", 513),
        (b"J\xff\xff\xff\xff.", -1),
        (b"\x8a\x00.", 0),
        (b"\x8a\x02\x00\x80.", -32768),
        (b"I12\n.", 12),
        (b"L-7L\n.", -7),
    ] {
        let (value, _) = value(bytes).expect("a pickle");
        assert!(matches!(value, Value::Int(found) if found == expected), "{value:?}");
    }
}

#[test]
fn a_call_is_never_made() {
    let (value, _) = value(b"cos\nsystem\n(S'touch /tmp/x'\ntR.").expect("a pickle");
    assert!(matches!(value, Value::Object(name) if &*name == "os.system"));
}

#[test]
fn hostile_pickles_are_errors() {
    for hostile in [
        &b""[..],
        b".",
        b"t.",
        b"(u.",
        b"}(K\x01u.",
        b"h\x00.",
        b"K",
        b"X\xff\xff\xff\xff.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"\x8b\xff\xff\xff\x7f.",
        b"K\x01K\x02s.",
        b"K\x01(0.",
        b"\xff.",
        b"i.",
    ] {
        assert!(value(hostile).is_err(), "{hostile:?}");
    }
}

#[test]
fn what_is_spoken_of_again_and_again_is_not_copied_without_end() {
    // A dict made of the same list five thousand times.
    let mut dicts = b"]q\x00(".to_vec();
    dicts.extend(b"K\x01K\x02\x86".repeat(1000));
    dicts.extend(b"e0");
    dicts.extend(b"ccollections\nOrderedDict\nh\x00\x85R0".repeat(5000));
    dicts.extend(b"N.");
    // A name joined of the same long text ten thousand times.
    let text = [b"X\x00\x00\x01\x00", "x".repeat(1 << 16).as_bytes(), b"q\x000"].concat();
    let names = [&text[..], &b"h\x00h\x00\x930".repeat(10_000), b"N."].concat();
    for pickle in [dicts, names] {
        assert!(matches!(value(&pickle), Err(PickleError::Repeated)));
    }
    let long = b"N0".repeat(MAX_STEPS / 2);
    assert!(matches!(value(&long), Err(PickleError::Long)));
}
