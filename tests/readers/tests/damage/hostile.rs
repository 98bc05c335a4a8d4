//! Files that are made to take more than they should.

use relief_test_readers::{Format, Outcome, Part, zip};

use super::measure::check;

/// Reading is refused, within the same bounds as that of any file.
fn refused(format: Format, name: &str, file: &[u8]) {
    assert_eq!(check(format, name, file).0, Outcome::Refused, "{name}");
}

fn framed(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn part(name: &str, content: impl Into<Vec<u8>>, is_packed: bool) -> Part {
    Part { name: name.to_owned(), content: content.into(), is_packed }
}

fn pytorch(pickle: Vec<u8>, is_packed: bool) -> Vec<u8> {
    zip(&[part("net/data.pkl", pickle, is_packed), part("net/data/0", [0; 16], false)])
}

/// A message field with a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut len = content.len();
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    [&bytes, content].concat()
}

/// A model of version 17 of the operators with this graph.
fn model(graph: &[u8]) -> Vec<u8> {
    [field(7, graph), field(8, &[0x10, 17])].concat()
}

/// The input `x` of 4 features and the output `y`.
fn ends() -> Vec<u8> {
    let dims = [field(1, &[0x08, 1]), field(1, &[0x08, 4])].concat();
    let tensor = field(1, &[&[0x08, 1][..], &field(2, &dims)].concat());
    [field(11, &[field(1, b"x"), field(2, &tensor)].concat()), field(12, &field(1, b"y"))].concat()
}

fn node(operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|name| field(1, name.as_bytes())).collect();
    field(1, &[inputs, field(2, output.as_bytes()), field(4, operator.as_bytes())].concat())
}

#[test]
fn huge_claims_take_nothing() {
    for shape in ["[1152921504606846976]", "[4294967296,4294967296]", "[18446744073709551615]"] {
        let header = format!(r#"{{"t":{{"dtype":"F32","shape":{shape},"data_offsets":[0,18446744073709551615]}}}}"#);
        refused(Format::Safetensors, "a large tensor", &framed(&header, &[0; 8]));
    }
    refused(Format::Safetensors, "a long header", &[&(1_u64 << 60).to_le_bytes()[..], b"{}"].concat());
    refused(Format::Idx, "a large array", &[&[0, 0, 8, 3][..], &[0xff; 12]].concat());
    refused(
        Format::Pickle,
        "a long text",
        &pytorch(b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\x0fabc.".to_vec(), false),
    );
    refused(Format::Pickle, "a long number", &pytorch(b"\x80\x02\x8b\xff\xff\xff\x7f.".to_vec(), false));
    let array = b"\x93NUMPY\x01\x00\x50\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976, 1, 1)}     \n";
    refused(Format::Npz, "a large array", &zip(&[part("x.npy", *array, true), part("y.npy", *array, true)]));
    let initializer = [[&[0x08][..], &[0xff; 9], &[1]].concat(), field(8, b"w")].concat();
    refused(
        Format::Onnx,
        "a large tensor",
        &model(&[ends(), field(5, &initializer), node("Gemm", &["x", "w"], "y")].concat()),
    );
}

#[test]
fn nesting_is_refused_before_the_stack_ends() {
    const DEPTH: usize = 100_000;
    for opening in ["[", r#"{"a":"#, r#"{"__metadata__":{"a":["#] {
        refused(Format::Safetensors, "nested JSON", &framed(&opening.repeat(DEPTH), &[]));
    }
    for opening in [&b"("[..], b"]", b"}", b"N\x85", b"]a"] {
        refused(Format::Pickle, "a nested pickle", &pytorch([&b"]"[..], &opening.repeat(DEPTH), b"."].concat(), false));
    }
    // Containers in each other, all the way down, and closed.
    let deep = [&b"]"[..], &b"]".repeat(DEPTH), &b"a".repeat(DEPTH), b"."].concat();
    refused(Format::Pickle, "lists in lists", &pytorch(deep, false));
    // A subgraph in an attribute of a node of a subgraph, and groups.
    let mut graph = Vec::new();
    for _ in 0..1000 {
        graph = field(1, &field(5, &field(6, &graph)));
    }
    refused(Format::Onnx, "graphs in graphs", &model(&graph));
    refused(Format::Onnx, "groups in groups", &vec![0x0b; DEPTH]);
}

#[test]
fn many_small_parts_take_memory_in_proportion() {
    // Twice this is a little more than a power of two: lists that double have as much room again.
    const N: usize = 66_000;
    for (name, empty) in [
        ("nodes", field(1, &[])),
        ("initializers", field(5, &[])),
        ("attributes", field(1, &field(5, &[]))),
        ("tensors", field(1, &field(5, &field(5, &[])))),
        ("names", field(1, &field(1, &[]))),
        ("files", field(5, &field(13, &[]))),
        ("inputs", field(11, &field(2, &field(1, &field(2, &field(1, &[])))))),
    ] {
        refused(Format::Onnx, name, &model(&empty.repeat(N)));
    }
    refused(Format::Onnx, "attributes of one node", &model(&field(1, &field(5, &[]).repeat(N))));
    // More parts than any network has are refused at once.
    let parts = model(&field(1, &[]).repeat((1 << 20) + 1));
    assert!(check(Format::Onnx, "a million nodes", &parts).1 < 1 << 20);

    let steps: [&[u8]; 14] =
        [b"N", b")", b"}", b"]", b"(", b"N\x94", b"U\0", b"c\n\n", b"S\n", b"N0", b"(t", b"}]", b"(l", b"NN\x94"];
    for step in steps {
        let pickle = [step.repeat(2 * N), b"N.".to_vec()].concat();
        refused(Format::Pickle, &format!("a pickle of {}", step.escape_ascii()), &pytorch(pickle, false));
    }
    let storage = b"X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tq\x01";
    let storages = [&b"("[..], storage, &b"h\x01Q".repeat(N), b"N."].concat();
    refused(Format::Pickle, "a storage again and again", &pytorch(storages, false));
    // Views of 16 axes, each of a tuple that is there once.
    let arguments = [&b"(h\x01QK\0("[..], &b"K\x01".repeat(16), b"t2tq\x020"].concat();
    let views = b"ctorch._utils\n_rebuild_tensor_v2\nq\x03h\x02R0";
    let tensors = [&b"("[..], storage, b"0", &arguments, views, b"(", &b"h\x03h\x02R".repeat(N), b"tN."].concat();
    refused(Format::Pickle, "a tensor again and again", &pytorch(tensors, false));

    let shape = format!(r#"{{"t":{{"dtype":"F32","shape":[{}1],"data_offsets":[0,4]}}}}"#, "1,".repeat(N));
    check(Format::Safetensors, "a tensor of many axes", &framed(&shape, &[0; 4]));
    let metadata: Vec<String> = (0..N).map(|idx| format!(r#""{idx:x}":"""#)).collect();
    check(Format::Safetensors, "metadata", &framed(&format!(r#"{{"__metadata__":{{{}}}}}"#, metadata.join(",")), &[]));
    let tensors: Vec<String> =
        (0..N).map(|idx| format!(r#""{idx:x}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#)).collect();
    check(Format::Safetensors, "tensors", &framed(&format!("{{{}}}", tensors.join(",")), &[]));

    let channels = [&[0, 0, 8, 4, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 1][..], &[9; 0xffff]].concat();
    check(Format::Idx, "many channels", &channels);
}

#[test]
fn what_is_spoken_of_again_and_again_is_not_copied() {
    const N: usize = 20_000;
    const LONG: usize = 50_000;
    let long = "n".repeat(LONG);
    let text = [&b"X"[..], &(LONG as u32).to_le_bytes(), long.as_bytes()].concat();
    // A long name, remembered as 0 and dropped.
    let remembered = [text.clone(), b"q\x000".to_vec()].concat();
    let class = [b"c", long.as_bytes(), b"\n", long.as_bytes(), b"\nq\x010"].concat();
    let object = b"h\x01)\x81q\x020";
    let storage = b"(X\x07\0\0\0storageh\x01h\x00X\x03\0\0\0cpuK\x04tq\x030";
    for (name, again) in [
        ("joined names", &b"h\x00h\x00\x930"[..]),
        ("objects", b"h\x01)\x810"),
        ("objects of objects", b"h\x02)\x81q\x020"),
        ("storages", b"h\x03Q0"),
    ] {
        let pickle = [&remembered[..], &class, object, storage, &again.repeat(N), b"N."].concat();
        refused(Format::Pickle, name, &pytorch(pickle, false));
    }
    let entries = [&remembered[..], &class, object, b"}(", &b"h\x00h\x02".repeat(N), b"u."].concat();
    refused(Format::Pickle, "entries of one name", &pytorch(entries, false));
    let list = [&b"]q\x00("[..], &b"K\x01K\x02\x86".repeat(1000), b"e0"].concat();
    let dicts = [&list[..], &b"ccollections\nOrderedDict\nh\x00\x85R0".repeat(N), b"N."].concat();
    refused(Format::Pickle, "a dict of a list again and again", &pytorch(dicts, false));

    // A long name under short ones, and a long list of sizes that every node reads.
    let aliases: Vec<u8> =
        (0..N).flat_map(|idx| node("Identity", &[&idx.to_string()], &(idx + 1).to_string())).collect();
    let first = node("Relu", &["x"], &long);
    let graph =
        [ends(), first, node("Identity", &[&long], "0"), aliases, node("Identity", &[&N.to_string()], "y")].concat();
    refused(Format::Onnx, "aliases of a long name", &model(&graph));
    let sizes = [&[0x08, 0xd0, 0x86, 0x03, 0x10, 7][..], &field(8, b"s"), &field(9, &vec![0xff; 8 * LONG])].concat();
    let pads: Vec<u8> = (0..N).flat_map(|idx| node("Pad", &["x", "s"], &idx.to_string())).collect();
    let all: Vec<String> = (0..N).map(|idx| idx.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let graph = [ends(), field(5, &sizes), pads, node("Concat", &all, "y")].concat();
    refused(Format::Onnx, "a long list in every message", &model(&graph));
}

#[test]
fn constants_do_not_grow_without_end() {
    let ints = |name: &str, values: &[i64]| {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims = [&[0x08][..], &[values.len() as u8], &[0x10, 7]].concat();
        field(5, &[dims, field(8, name.as_bytes()), field(9, &data)].concat())
    };
    for n in [500_000, 1 << 20, 1 << 40, i64::MAX] {
        // A constant of n ones, added to itself again and again.
        let steps: Vec<u8> = (0..50_u8)
            .flat_map(|idx| node("Add", &[&format!("c{idx}"), &format!("c{idx}")], &format!("c{}", idx + 1)))
            .collect();
        let graph = [
            ends(),
            ints("one", &[1]),
            ints("shape", &[n]),
            node("Expand", &["one", "shape"], "c0"),
            steps,
            node("Reshape", &["x", "c50"], "y"),
        ];
        refused(Format::Onnx, "a sum of constants", &model(&graph.concat()));
        let graph = [
            ends(),
            ints("shape", &[n, n, 1]),
            node("ConstantOfShape", &["shape"], "c"),
            node("Add", &["x", "c"], "y"),
        ];
        refused(Format::Onnx, "a constant of a shape", &model(&graph.concat()));
    }
}

#[test]
fn packed_bombs_are_unpacked_no_further_than_they_may() {
    const N: usize = 64 << 20;
    let zeros = vec![0; N];
    let pickle = [b"]".repeat(N / 16), b".".to_vec()].concat();
    refused(Format::Pickle, "a packed pickle", &pytorch(pickle, true));
    refused(
        Format::Npz,
        "an array that goes on",
        &zip(&[part("x.npy", zeros.clone(), true), part("y.npy", zeros, true)]),
    );
}
