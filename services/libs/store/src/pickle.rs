//! Pickle, as much of it as PyTorch writes, and nothing executed: a callable is a name, and of the few that make
//! tensors and dictionaries the result is known; everything else becomes an opaque object of that name. (Python's
//! `pickletools` describes the instructions.)
//!
//! The work and the memory are proportional to the number of instructions, which is bounded.

use std::collections::HashMap;
use std::rc::Rc;

/// A value on the stack. Containers lie in the [`Heap`], so that a copy is the same container, as in Python.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Text(Rc<str>),
    Tuple(usize),
    List(usize),
    Dict(usize),
    /// A class or a function by its full name.
    Name(Rc<str>),
    Storage(Rc<StorageRef>),
    Tensor(Rc<TensorRef>),
    /// Anything that is not looked into, by the name of its type.
    Object(Rc<str>),
}

/// Where the values of tensors lie in a file.
#[derive(Debug)]
pub(crate) struct StorageRef {
    /// The name of the element type; `bytes` of an untyped storage.
    pub(crate) dtype: Rc<str>,
    pub(crate) key: Rc<str>,
    /// The number of elements, of the part that is seen.
    pub(crate) n_values: u64,
    /// The number of elements, of all of it.
    pub(crate) n_stored: u64,
    /// The first element that is seen.
    pub(crate) first: u64,
}

/// A tensor as a view of a storage.
#[derive(Debug)]
pub(crate) struct TensorRef {
    pub(crate) storage: Rc<StorageRef>,
    /// The name of the element type.
    pub(crate) dtype: Rc<str>,
    /// The first element in the storage's part.
    pub(crate) offset: u64,
    pub(crate) shape: Vec<u64>,
    pub(crate) strides: Vec<u64>,
}

/// The containers of a pickle.
#[derive(Debug, Default)]
pub(crate) struct Heap {
    sequences: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
    storages: Vec<Rc<StorageRef>>,
}

impl Heap {
    /// The entries of a tuple or a list, or none of another value.
    pub(crate) fn sequence(&self, value: &Value) -> Option<&[Value]> {
        match value {
            Value::Tuple(at) | Value::List(at) => self.sequences.get(*at).map(Vec::as_slice),
            _ => None,
        }
    }

    /// The entries of a dictionary in the order of insertion, or none of another value.
    pub(crate) fn dict(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(at) => self.dicts.get(*at).map(Vec::as_slice),
            _ => None,
        }
    }

    /// The storages that the file keeps, each as often as it is spoken of.
    pub(crate) fn storages(&self) -> &[Rc<StorageRef>] {
        &self.storages
    }

    fn add_sequence(&mut self, items: Vec<Value>) -> usize {
        self.sequences.push(items);
        self.sequences.len() - 1
    }

    fn add_dict(&mut self, items: Vec<(Value, Value)>) -> Value {
        self.dicts.push(items);
        Value::Dict(self.dicts.len() - 1)
    }
}

impl Value {
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What people call it.
    pub(crate) fn type_name(&self) -> &str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Text(_) => "str",
            Self::Tuple(_) => "tuple",
            Self::List(_) => "list",
            Self::Dict(_) => "dict",
            Self::Name(_) => "type",
            Self::Storage(_) => "storage",
            Self::Tensor(_) => "tensor",
            Self::Object(name) => name,
        }
    }

    fn as_index(&self) -> Option<u64> {
        match self {
            Self::Int(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PickleError {
    #[error("the pickle ends within itself; the file is truncated")]
    Truncated,
    #[error("the instruction {code:#04x} at byte {at} of the pickle is not one that is read")]
    Instruction { code: u8, at: usize },
    #[error("the pickle is damaged at byte {at}: {what}")]
    Damaged { at: usize, what: &'static str },
    #[error("the pickle has more than the {MAX_STEPS} steps that are taken")]
    Long,
}

/// The most instructions, and copied entries of containers, of one pickle.
const MAX_STEPS: usize = 4 << 20;
/// The most dimensions of a tensor.
const MAX_RANK: usize = 16;

/// Reads the pickle that `bytes` start with. Returns its value, the containers, and its length in bytes.
pub(crate) fn load(bytes: &[u8]) -> Result<(Value, Heap, usize), PickleError> {
    let mut machine = Machine {
        bytes,
        at: 0,
        start: 0,
        n_steps: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        heap: Heap::default(),
    };
    while !machine.step()? {}
    let value = machine.pop()?;
    Ok((value, machine.heap, machine.at))
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the present instruction starts.
    start: usize,
    n_steps: usize,
    stack: Vec<Value>,
    /// The heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    heap: Heap,
}

impl<'a> Machine<'a> {
    fn damaged(&self, what: &'static str) -> PickleError {
        PickleError::Damaged { at: self.start, what }
    }

    fn count(&mut self, n_steps: usize) -> Result<(), PickleError> {
        self.n_steps = self.n_steps.saturating_add(n_steps);
        if self.n_steps > MAX_STEPS { Err(PickleError::Long) } else { Ok(()) }
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
        match self.peek()?.clone() {
            Value::Dict(at) => self.heap.dicts[at].extend(pairs),
            Value::Object(_) => {}
            _ => return Err(self.damaged("entries are set in what is no dict")),
        }
        Ok(())
    }

    fn extend_list(&mut self, items: Vec<Value>) -> Result<(), PickleError> {
        match self.peek()?.clone() {
            Value::List(at) => self.heap.sequences[at].extend(items),
            Value::Object(_) => {}
            _ => return Err(self.damaged("items are added to what is no list")),
        }
        Ok(())
    }

    fn push_tuple(&mut self, items: Vec<Value>) {
        let at = self.heap.add_sequence(items);
        self.stack.push(Value::Tuple(at));
    }

    fn push_list(&mut self, items: Vec<Value>) {
        let at = self.heap.add_sequence(items);
        self.stack.push(Value::List(at));
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
        self.count(1)?;
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
                self.count(full.len())?;
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
                let id = Value::Text(self.line()?.into());
                self.stack.push(Value::Object(format!("persistent object {}", id.type_name()).into()));
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

    /// What a call would make, for the few callables that are known; nothing is called.
    fn call(&mut self, callable: &Value, arguments: &Value) -> Result<Value, PickleError> {
        let Value::Name(name) = callable else { return Ok(Value::Object(callable.type_name().into())) };
        let arguments = self.heap.sequence(arguments).ok_or_else(|| self.damaged("arguments are no tuple"))?;
        match &**name {
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor_v3" => {
                self.tensor(name, arguments)
            }
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" | "torch.Size" => {
                arguments.first().cloned().ok_or_else(|| self.damaged("an argument is missing"))
            }
            "collections.OrderedDict" | "collections.defaultdict" | "builtins.dict" | "__builtin__.dict" => {
                let pairs = self.items(arguments.last())?;
                self.count(pairs.len())?;
                Ok(self.heap.add_dict(pairs))
            }
            "copyreg._reconstructor" | "copy_reg._reconstructor" => match arguments.first() {
                Some(Value::Name(class)) => Ok(Value::Object(class.clone())),
                _ => Err(self.damaged("a class is missing")),
            },
            _ => Ok(Value::Object(name.clone())),
        }
    }

    /// The pairs of a list that a dictionary is made of; none where there is no list.
    fn items(&self, items: Option<&Value>) -> Result<Vec<(Value, Value)>, PickleError> {
        let Some(items @ Value::List(_)) = items else { return Ok(Vec::new()) };
        let pair = |item: &Value| match self.heap.sequence(item) {
            Some([key, value]) => Ok((key.clone(), value.clone())),
            _ => Err(self.damaged("an entry is no pair")),
        };
        let items = self.heap.sequence(items).unwrap_or_default();
        if items.len() > MAX_STEPS - self.n_steps {
            return Err(PickleError::Long);
        }
        items.iter().map(pair).collect()
    }

    fn tensor(&self, name: &str, arguments: &[Value]) -> Result<Value, PickleError> {
        let [Value::Storage(storage), offset, shape, strides, rest @ ..] = arguments else {
            return Err(self.damaged("a tensor has no storage, offset, shape and strides"));
        };
        let dims = |value: &Value| {
            let dims = self.heap.sequence(value).filter(|dims| dims.len() <= MAX_RANK)?;
            dims.iter().map(Value::as_index).collect::<Option<Vec<u64>>>()
        };
        let (Some(offset), Some(shape), Some(strides)) = (offset.as_index(), dims(shape), dims(strides)) else {
            return Err(self.damaged("a tensor's offset, shape or strides are not what they should be"));
        };
        if shape.len() != strides.len() {
            return Err(self.damaged("a tensor has not one stride per dimension"));
        }
        let dtype = match rest {
            [_, _, Value::Name(dtype), ..] if name.ends_with("_v3") => {
                dtype.strip_prefix("torch.").unwrap_or(dtype).into()
            }
            _ => storage.dtype.clone(),
        };
        Ok(Value::Tensor(Rc::new(TensorRef { storage: storage.clone(), dtype, offset, shape, strides })))
    }

    /// What the file keeps beside the pickle: storages.
    fn persistent(&mut self, id: &Value) -> Result<Value, PickleError> {
        let fields = self.heap.sequence(id).unwrap_or_default();
        let [Value::Text(kind), Value::Name(class), key, _, n_stored, rest @ ..] = fields else {
            return Ok(Value::Object("persistent object".into()));
        };
        let (true, Some(key), Some(n_stored)) = (&**kind == "storage", key.as_text(), n_stored.as_index()) else {
            return Ok(Value::Object("persistent object".into()));
        };
        let (first, n_values) = match rest.first().and_then(|view| self.heap.sequence(view)) {
            Some([_, first, n_values]) => {
                let view = first.as_index().zip(n_values.as_index());
                let view = view.filter(|(first, n)| first.checked_add(*n).is_some_and(|end| end <= n_stored));
                view.ok_or_else(|| self.damaged("a view lies outside its storage"))?
            }
            _ => (0, n_stored),
        };
        let dtype = storage_dtype(class).into();
        let storage = Rc::new(StorageRef { dtype, key: key.into(), n_values, n_stored, first });
        self.heap.storages.push(storage.clone());
        Ok(Value::Storage(storage))
    }
}

/// The element type of a storage class; the class's own name of one that is not known.
fn storage_dtype(class: &str) -> &str {
    match class.rsplit('.').next().unwrap_or(class) {
        "DoubleStorage" => "float64",
        "FloatStorage" => "float32",
        "HalfStorage" => "float16",
        "BFloat16Storage" => "bfloat16",
        "LongStorage" => "int64",
        "IntStorage" => "int32",
        "ShortStorage" => "int16",
        "CharStorage" => "int8",
        "ByteStorage" => "uint8",
        "BoolStorage" => "bool",
        "ComplexFloatStorage" => "complex64",
        "ComplexDoubleStorage" => "complex128",
        "UntypedStorage" => "bytes",
        other => other,
    }
}

#[cfg(test)]
mod tests {
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
        // A list doubled again and again by reference, a dict made of it again and again.
        let mut bomb = b"]q\x00(".to_vec();
        bomb.extend(b"K\x01K\x02\x86".repeat(1000));
        bomb.extend(b"e0");
        bomb.extend(b"ccollections\nOrderedDict\nh\x00\x85R0".repeat(5000));
        bomb.extend(b"N.");
        assert!(matches!(value(&bomb), Err(PickleError::Long)));
    }
}
