//! What a pickle holds.

use std::rc::Rc;

use crate::element::ElementType;

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
    pub(crate) element: ElementType,
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
    pub(crate) element: ElementType,
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

    pub(super) fn add_tuple(&mut self, items: Vec<Value>) -> Value {
        self.sequences.push(items);
        Value::Tuple(self.sequences.len() - 1)
    }

    pub(super) fn add_list(&mut self, items: Vec<Value>) -> Value {
        self.sequences.push(items);
        Value::List(self.sequences.len() - 1)
    }

    pub(super) fn add_storage(&mut self, storage: StorageRef) -> Value {
        let storage = Rc::new(storage);
        self.storages.push(storage.clone());
        Value::Storage(storage)
    }

    /// The entries of a list, to add to; none of another value.
    pub(super) fn list_mut(&mut self, value: &Value) -> Option<&mut Vec<Value>> {
        match value {
            Value::List(at) => self.sequences.get_mut(*at),
            _ => None,
        }
    }

    /// The entries of a dictionary, to add to; none of another value.
    pub(super) fn dict_mut(&mut self, value: &Value) -> Option<&mut Vec<(Value, Value)>> {
        match value {
            Value::Dict(at) => self.dicts.get_mut(*at),
            _ => None,
        }
    }

    pub(super) fn add_dict(&mut self, items: Vec<(Value, Value)>) -> Value {
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

    pub(super) fn as_index(&self) -> Option<u64> {
        match self {
            Self::Int(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }
}
