//! Protobuf messages without their schema: taken apart, damaged inside, and put together with the right lengths.

use relief_core::Philox;

use crate::damage::{below, damage_bytes, damage_list, odd_number, once_in};

/// The fields of a message in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message(Vec<Field>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    number: u64,
    value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Vec<u8>),
    Message(Message),
}

/// The deepest message that is taken apart; those of ONNX files without subgraphs are 7 deep.
const MAX_DEPTH: usize = 12;
/// Larger field numbers are taken for a sign that bytes are no message.
const MAX_NUMBER: u64 = 32;

impl Message {
    /// The message that bytes are, where they are one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        Self::parse_at(bytes, 0)
    }

    fn parse_at(mut bytes: &[u8], depth: usize) -> Option<Self> {
        let whole = bytes;
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            let number = Some(key >> 3).filter(|number| (1..=MAX_NUMBER).contains(number))?;
            let value = match key & 7 {
                0 => Value::Varint(varint(&mut bytes)?),
                1 => Value::Fixed64(u64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?)),
                5 => Value::Fixed32(u32::from_le_bytes(*bytes.split_off(..4)?.first_chunk()?)),
                2 => {
                    let len = usize::try_from(varint(&mut bytes)?).ok()?;
                    let content = bytes.split_off(..len)?;
                    let message = if depth < MAX_DEPTH && !content.is_empty() {
                        Self::parse_at(content, depth + 1)
                    } else {
                        None
                    };
                    message.map_or_else(|| Value::Bytes(content.to_vec()), Value::Message)
                }
                _ => return None,
            };
            fields.push(Field { number, value });
        }
        let message = Self(fields);
        (message.encode() == whole).then_some(message)
    }

    /// The bytes of the message.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for Field { number, value } in &self.0 {
            let mut key = |kind: u64| put_varint(&mut bytes, number << 3 | kind);
            match value {
                Value::Varint(value) => {
                    key(0);
                    put_varint(&mut bytes, *value);
                }
                Value::Fixed64(value) => {
                    key(1);
                    bytes.extend(value.to_le_bytes());
                }
                Value::Fixed32(value) => {
                    key(5);
                    bytes.extend(value.to_le_bytes());
                }
                Value::Bytes(content) => {
                    key(2);
                    put_varint(&mut bytes, content.len() as u64);
                    bytes.extend(content);
                }
                Value::Message(message) => {
                    key(2);
                    let content = message.encode();
                    put_varint(&mut bytes, content.len() as u64);
                    bytes.extend(content);
                }
            }
        }
        bytes
    }

    /// Damages one field somewhere in the message; one of `words` may become another of them.
    pub(crate) fn damage(&mut self, words: &[&str], random: &mut Philox) {
        // Another field of the file, which may take the place of one with its number.
        let mut all = Vec::new();
        self.collect(&mut all);
        let others: Vec<Field> = all.into_iter().cloned().collect();
        self.damage_with(words, &others, random);
    }

    fn collect<'a>(&'a self, fields: &mut Vec<&'a Field>) {
        for field in &self.0 {
            fields.push(field);
            if let Value::Message(message) = &field.value {
                message.collect(fields);
            }
        }
    }

    fn damage_with(&mut self, words: &[&str], others: &[Field], random: &mut Philox) {
        let chosen = below(random, self.0.len());
        if let Some(Field { value: Value::Message(message), .. }) = self.0.get_mut(chosen)
            && !once_in(random, 5)
        {
            return message.damage_with(words, others, random);
        }
        damage_list(&mut self.0, random, |field, random| {
            let same: Vec<&Field> = others.iter().filter(|other| other.number == field.number).collect();
            match &mut field.value {
                Value::Bytes(bytes) if words.iter().any(|word| word.as_bytes() == bytes) && once_in(random, 2) => {
                    *bytes = words[below(random, words.len())].as_bytes().to_vec();
                }
                value if once_in(random, 2) => {
                    if let Some(other) = same.get(below(random, same.len())) {
                        *value = other.value.clone();
                    }
                }
                Value::Varint(value) => *value = odd_number(random),
                Value::Fixed64(value) => *value = random.next_u64(),
                Value::Fixed32(value) => *value = random.next_u64() as u32,
                // Numbers of 64 bits, as shapes and axes are.
                Value::Bytes(bytes) if bytes.len() >= 8 && once_in(random, 2) => {
                    let place = 8 * below(random, bytes.len() / 8);
                    bytes[place..place + 8].copy_from_slice(&odd_number(random).to_le_bytes());
                }
                Value::Bytes(bytes) => damage_bytes(bytes, random),
                Value::Message(message) => message.damage_with(words, others, random),
            }
        });
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    #[test]
    fn messages_come_back_byte_for_byte() {
        for seed in Format::Onnx.seeds() {
            let message = Message::parse(&seed).expect("a message");
            assert_eq!(message.encode(), seed);
            assert!(matches!(
                &message.0.iter().find(|field| field.number == 7),
                Some(Field { value: Value::Message(_), .. })
            ));
        }
    }
}
