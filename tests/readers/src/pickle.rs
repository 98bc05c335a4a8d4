//! Pickles, instruction by instruction.

use relief_core::Philox;

use crate::damage::{below, damage_bytes, damage_list, odd_number, once_in};

/// Instructions, with arguments where they take any, that may come in anywhere.
const INSTRUCTIONS: &[&[u8]] = &[
    b"(",
    b")",
    b"}",
    b"]",
    b"t",
    b"u",
    b"s",
    b"e",
    b"a",
    b"l",
    b"d",
    b"R",
    b"\x81",
    b"\x92",
    b"\x93",
    b"b",
    b"Q",
    b"0",
    b"1",
    b"2",
    b"N",
    b"\x88",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x8f",
    b"\x90",
    b"\x91",
    b"\x94",
    b"q\x00",
    b"h\x00",
    b"h\x01",
    b"h\x02",
    b"K\x00",
    b"K\x07",
    b"J\xff\xff\xff\xff",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"X\x00\x00\x00\x00",
    b"\x8c\x01a",
    b"cos\nsystem\n",
    b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nBFloat16Storage\n",
    b"ctorch.storage\nUntypedStorage\n",
    b".",
];

/// Writes pickles as `torch.save` with protocol 2 does.
#[derive(Default)]
pub(crate) struct Pickler(pub(crate) Vec<u8>);

/// A tensor of a seed: its storage's class, key and number of values, and the view.
pub(crate) struct TensorSeed<'a> {
    pub(crate) class: &'a str,
    pub(crate) key: &'a str,
    pub(crate) n_stored: i32,
    pub(crate) offset: i32,
    pub(crate) shape: &'a [i32],
    pub(crate) strides: &'a [i32],
}

impl Pickler {
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    pub(crate) fn int(self, value: i32) -> Self {
        match u8::try_from(value) {
            Ok(value) => self.raw(b"K").raw(&[value]),
            Err(_) => self.raw(b"J").raw(&value.to_le_bytes()),
        }
    }

    fn ints(self, values: &[i32]) -> Self {
        values.iter().fold(self.raw(b"("), |pickler, value| pickler.int(*value)).raw(b"t")
    }

    pub(crate) fn tensor(self, tensor: &TensorSeed<'_>) -> Self {
        self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((")
            .text("storage")
            .raw(format!("ctorch\n{}\n", tensor.class).as_bytes())
            .text(tensor.key)
            .text("cpu")
            .int(tensor.n_stored)
            .raw(b"tQ")
            .int(tensor.offset)
            .ints(tensor.shape)
            .ints(tensor.strides)
            .raw(b"\x89ccollections\nOrderedDict\n)RtR")
    }
}

/// The instructions of the pickle that `bytes` start with, and what comes after it.
fn instructions(mut bytes: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
    let mut found = Vec::new();
    while let Some(len) = instruction_len(bytes) {
        let (instruction, rest) = bytes.split_at(len);
        found.push(instruction.to_vec());
        bytes = rest;
        if instruction == b"." {
            break;
        }
    }
    (found, bytes)
}

/// The length of the first instruction; none where it is not whole.
fn instruction_len(bytes: &[u8]) -> Option<usize> {
    let (code, rest) = bytes.split_first()?;
    let number = |width: usize| {
        let digits = rest.get(..width)?;
        let len = digits.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        usize::try_from(len).ok()?.checked_add(width)
    };
    let line = || rest.iter().position(|byte| *byte == b'\n').map(|place| place + 1);
    let arguments = match code {
        0x80 | b'K' | b'q' | b'h' => 1,
        b'M' => 2,
        b'J' | b'r' | b'j' => 4,
        b'G' | 0x95 => 8,
        0x8a | 0x8c | b'U' | b'C' => number(1)?,
        0x8b | b'X' | b'T' | b'B' => number(4)?,
        0x8d | 0x8e => number(8)?,
        b'I' | b'F' | b'L' | b'V' | b'S' | b'P' | b'p' | b'g' => line()?,
        b'c' => {
            let first = line()?;
            first + rest[first..].iter().position(|byte| *byte == b'\n')? + 1
        }
        _ => 0,
    };
    Some(1 + arguments).filter(|len| *len <= bytes.len())
}

/// Damages the pickle that bytes start with, and leaves what comes after it.
pub(crate) fn damage(bytes: &mut Vec<u8>, random: &mut Philox) {
    let (mut steps, rest) = instructions(bytes);
    let rest = rest.to_vec();
    if steps.is_empty() {
        return damage_bytes(bytes, random);
    }
    if once_in(random, 3) {
        let place = below(random, steps.len());
        let new = INSTRUCTIONS[below(random, INSTRUCTIONS.len())].to_vec();
        if once_in(random, 2) { steps[place] = new } else { steps.insert(place, new) }
    } else {
        let texts: Vec<Vec<u8>> = steps.iter().filter(|step| step[0] == b'X').cloned().collect();
        damage_list(&mut steps, random, |step, random| match (step[0], below(random, 3)) {
            (b'K' | b'M' | b'J', 0) => {
                *step = [&b"\x8a\x08"[..], &odd_number(random).to_le_bytes()].concat();
            }
            (b'K' | b'M' | b'J', _) => *step = [&b"J"[..], &(odd_number(random) as u32).to_le_bytes()].concat(),
            (b'X', 0 | 1) => step.clone_from(&texts[below(random, texts.len())]),
            (b'c', _) => damage_bytes(step, random),
            _ => {
                // The length of a text stays right.
                let start = if step[0] == b'X' { 5 } else { 1 }.min(step.len());
                for byte in &mut step[start..] {
                    *byte ^= u8::from(once_in(random, 4)) << below(random, 8);
                }
            }
        });
    }
    *bytes = [steps.concat(), rest].concat();
}

/// The lengths of the pickles that follow one another in `bytes`, `n` of them.
pub(crate) fn lengths(mut bytes: &[u8], n: usize) -> Vec<usize> {
    let mut lengths = Vec::new();
    for _ in 0..n {
        let (_, rest) = instructions(bytes);
        lengths.push(bytes.len() - rest.len());
        bytes = rest;
    }
    lengths
}
