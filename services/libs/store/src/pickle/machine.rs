//! The instructions of a pickle.

use std::collections::HashMap;

use super::value::{Heap, Value};
use super::{MAX_STEPS, PickleError};

/// What may be copied beside as much as the pickle is long, which more than suffices for what Python writes.
const FREE_COPIES: usize = 1 << 16;

pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the present instruction starts.
    start: usize,
    n_steps: usize,
    n_copied: usize,
    stack: Vec<Value>,
    /// The heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    pub(super) heap: Heap,
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            start: 0,
            n_steps: 0,
            n_copied: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            heap: Heap::default(),
        }
    }

    /// Does all instructions. Returns the value, the containers, and the length of the pickle in bytes.
    pub(super) fn run(mut self) -> Result<(Value, Heap, usize), PickleError> {
        while !self.step()? {
            self.n_steps += 1;
            if self.n_steps == MAX_STEPS {
                return Err(PickleError::Long);
            }
        }
        let value = self.pop()?;
        Ok((value, self.heap, self.at))
    }

    pub(super) fn damaged(&self, what: &'static str) -> PickleError {
        PickleError::Damaged { at: self.start, what }
    }

    /// Counts bytes or entries that are about to be copied.
    pub(super) fn count_copies(&mut self, n: usize) -> Result<(), PickleError> {
        self.n_copied = self.n_copied.saturating_add(n);
        if self.n_copied > self.bytes.len() + FREE_COPIES { Err(PickleError::Repeated) } else { Ok(()) }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], PickleError> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len)).ok_or(PickleError::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(PickleError::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    /// An unsigned little-endian number of `len` bytes, at most 8.
    fn number(&mut self, len: u64) -> Result<u64, PickleError> {
        Ok(self.take(len)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|byte| *byte == b'\n').ok_or(PickleError::Truncated)?;
        let line = self.take(len as u64)?;
        self.at += 1;
        std::str::from_utf8(line).map_err(|_| self.damaged("a line is no text"))
    }

    fn text(&mut self, len: u64) -> Result<Value, PickleError> {
        let text = self.take(len)?;
        let text = std::str::from_utf8(text).map_err(|_| self.damaged("a text is not UTF-8"))?;
        Ok(Value::Text(text.into()))
    }

    /// A text of Python 2 or bytes; names are ASCII in either.
    fn bytes(&mut self, len: u64) -> Result<Value, PickleError> {
        let bytes = self.take(len)?;
        Ok(std::str::from_utf8(bytes).map_or_else(|_| Value::Object("bytes".into()), |text| Value::Text(text.into())))
    }

    fn pop(&mut self) -> Result<Value, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.damaged("a value is missing"));
        }
        self.stack.pop().ok_or_else(|| self.damaged("a value is missing"))
    }

    fn peek(&self) -> Result<&Value, PickleError> {
        self.stack.last().ok_or_else(|| self.damaged("a value is missing"))
    }

    /// Everything above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Value>, PickleError> {
        let mark = self.marks.pop().ok_or_else(|| self.damaged("a mark is missing"))?;
        if mark > self.stack.len() {
            return Err(self.damaged("a value is missing"));
        }
        Ok(self.stack.split_off(mark))
    }

    fn pairs(&self, items: Vec<Value>) -> Result<Vec<(Value, Value)>, PickleError> {
        if items.len() % 2 == 1 {
            return Err(self.damaged("a key has no value"));
        }
        let mut items = items.into_iter();
        Ok(std::iter::from_fn(|| items.next().zip(items.next())).collect())
    }

    fn extend_dict(&mut self, pairs: Vec<(Value, Value)>) -> Result<(), PickleError> {
        let target = self.peek()?.clone();
        match self.heap.dict_mut(&target) {
            Some(entries) => entries.extend(pairs),
            None if matches!(target, Value::Object(_)) => {}
            None => return Err(self.damaged("entries are set in what is no dict")),
        }
        Ok(())
    }

    fn extend_list(&mut self, items: Vec<Value>) -> Result<(), PickleError> {
        let target = self.peek()?.clone();
        match self.heap.list_mut(&target) {
            Some(entries) => entries.extend(items),
            None if matches!(target, Value::Object(_)) => {}
            None => return Err(self.damaged("items are added to what is no list")),
        }
        Ok(())
    }

    fn push_tuple(&mut self, items: Vec<Value>) {
        let tuple = self.heap.add_tuple(items);
        self.stack.push(tuple);
    }

    fn push_list(&mut self, items: Vec<Value>) {
        let list = self.heap.add_list(items);
        self.stack.push(list);
    }

    fn remember(&mut self, at: u64) -> Result<(), PickleError> {
        let key = u32::try_from(at).map_err(|_| self.damaged("a memo's number is too large"))?;
        let value = self.peek()?.clone();
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, at: u64) -> Result<(), PickleError> {
        let value = u32::try_from(at).ok().and_then(|key| self.memo.get(&key)).cloned();
        self.stack.push(value.ok_or_else(|| self.damaged("a memo is missing"))?);
        Ok(())
    }

    fn decimal(&mut self) -> Result<u64, PickleError> {
        self.line()?.parse().map_err(|_| self.damaged("a number is none"))
    }

    /// Does one instruction. Returns whether it was the last.
    fn step(&mut self) -> Result<bool, PickleError> {
        self.start = self.at;
        let code = self.take(1)?[0];
        match code {
            b'.' => return Ok(true),
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => self.stack.push(self.peek()?.clone()),
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'I' => {
                let value = match self.line()? {
                    "00" => Value::Bool(false),
                    "01" => Value::Bool(true),
                    line => Value::Int(line.parse().map_err(|_| self.damaged("a number is none"))?),
                };
                self.stack.push(value);
            }
            b'L' => {
                let line = self.line()?;
                let value = line.trim_end_matches('L').parse();
                self.stack.push(value.map_or_else(|_| Value::Object("int".into()), Value::Int));
            }
            b'J' => {
                let value = self.number(4)? as u32 as i32;
                self.stack.push(Value::Int(value.into()));
            }
            b'K' => {
                let value = self.number(1)?;
                self.stack.push(Value::Int(value as i64));
            }
            b'M' => {
                let value = self.number(2)?;
                self.stack.push(Value::Int(value as i64));
            }
            0x8a | 0x8b => {
                let len = self.number(if code == 0x8a { 1 } else { 4 })?;
                let digits = self.take(len)?;
                let fill = if digits.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
                let value = if digits.len() <= 8 {
                    let mut bytes = [fill; 8];
                    bytes[..digits.len()].copy_from_slice(digits);
                    Value::Int(i64::from_le_bytes(bytes))
                } else {
                    Value::Object("int".into())
                };
                self.stack.push(value);
            }
            b'F' => {
                self.line()?;
                self.stack.push(Value::Object("float".into()));
            }
            b'G' => {
                self.take(8)?;
                self.stack.push(Value::Object("float".into()));
            }
            b'V' => {
                let line = self.line()?;
                self.stack.push(Value::Text(line.into()));
            }
            b'S' => {
                let line = self.line()?.trim_matches(['\'', '"']);
                self.stack.push(Value::Text(line.into()));
            }
            0x8c | b'X' | 0x8d => {
                let len = self.number(match code {
                    0x8c => 1,
                    b'X' => 4,
                    _ => 8,
                })?;
                let text = self.text(len)?;
                self.stack.push(text);
            }
            b'U' | b'C' | b'T' | b'B' | 0x8e => {
                let len = self.number(match code {
                    b'U' | b'C' => 1,
                    b'T' | b'B' => 4,
                    _ => 8,
                })?;
                let bytes = self.bytes(len)?;
                self.stack.push(bytes);
            }
            b']' | 0x8f => self.push_list(Vec::new()),
            b'l' | 0x91 => {
                let items = self.pop_mark()?;
                self.push_list(items);
            }
            b'a' => {
                let item = self.pop()?;
                self.extend_list(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.extend_list(items)?;
            }
            b')' => self.push_tuple(Vec::new()),
            b't' => {
                let items = self.pop_mark()?;
                self.push_tuple(items);
            }
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0..=code - 0x85 {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push_tuple(items);
            }
            b'}' => {
                let dict = self.heap.add_dict(Vec::new());
                self.stack.push(dict);
            }
            b'd' => {
                let items = self.pop_mark()?;
                let pairs = self.pairs(items)?;
                let dict = self.heap.add_dict(pairs);
                self.stack.push(dict);
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dict(vec![(key, value)])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                let pairs = self.pairs(items)?;
                self.extend_dict(pairs)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Name(format!("{module}.{name}").into()));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let full = module.as_text().zip(name.as_text()).map(|(module, name)| format!("{module}.{name}"));
                let full = full.ok_or_else(|| self.damaged("a name is no text"))?;
                // Otherwise two names of a mebibyte each could be joined a million times.
                self.count_copies(full.len())?;
                self.stack.push(Value::Name(full.into()));
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let value = self.call(&callable, &arguments)?;
                self.stack.push(value);
            }
            0x92 => {
                let (_, arguments, callable) = (self.pop()?, self.pop()?, self.pop()?);
                let value = self.call(&callable, &arguments)?;
                self.stack.push(value);
            }
            // The attributes of what lies below.
            b'b' => drop(self.pop()?),
            b'P' => {
                self.line()?;
                self.stack.push(Value::Object("persistent object".into()));
            }
            b'Q' => {
                let id = self.pop()?;
                let value = self.persistent(&id)?;
                self.stack.push(value);
            }
            b'p' => {
                let at = self.decimal()?;
                self.remember(at)?;
            }
            b'q' | b'r' => {
                let at = self.number(if code == b'q' { 1 } else { 4 })?;
                self.remember(at)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'g' => {
                let at = self.decimal()?;
                self.recall(at)?;
            }
            b'h' | b'j' => {
                let at = self.number(if code == b'h' { 1 } else { 4 })?;
                self.recall(at)?;
            }
            _ => return Err(PickleError::Instruction { code, at: self.start }),
        }
        Ok(false)
    }
}
