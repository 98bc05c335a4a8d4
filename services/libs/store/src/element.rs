//! The types of the elements of PyTorch's storages and tensors.

use std::rc::Rc;

/// A type, known or not.
#[derive(Debug, Clone)]
pub(crate) enum ElementType {
    Known(&'static Known),
    /// A type by its full name.
    Other(Rc<str>),
}

#[derive(Debug)]
pub(crate) struct Known {
    name: &'static str,
    /// The class of storages of the type, where there is one.
    storage: &'static str,
    n_bytes: u64,
}

const fn known(name: &'static str, storage: &'static str, n_bytes: u64) -> Known {
    Known { name, storage, n_bytes }
}

static KNOWN: [Known; 16] = [
    known("float64", "DoubleStorage", 8),
    known("float32", "FloatStorage", 4),
    known("float16", "HalfStorage", 2),
    known("bfloat16", "BFloat16Storage", 2),
    known("int64", "LongStorage", 8),
    known("int32", "IntStorage", 4),
    known("int16", "ShortStorage", 2),
    known("int8", "CharStorage", 1),
    known("uint64", "", 8),
    known("uint32", "", 4),
    known("uint16", "", 2),
    known("uint8", "ByteStorage", 1),
    known("bool", "BoolStorage", 1),
    known("complex64", "ComplexFloatStorage", 8),
    known("complex128", "ComplexDoubleStorage", 16),
    known("bytes", "UntypedStorage", 1),
];

impl ElementType {
    /// That of the storages of a class, as `torch.FloatStorage`.
    pub(crate) fn of_storage(class: &Rc<str>) -> Self {
        Self::find(class, |known| known.storage)
    }

    /// The one with a name, as `torch.float32`.
    pub(crate) fn named(name: &Rc<str>) -> Self {
        Self::find(name, |known| known.name)
    }

    // The name is kept as it is, not copied: a file of one long name may speak of it a million times.
    fn find(full: &Rc<str>, word: impl Fn(&Known) -> &str) -> Self {
        let last = last(full);
        let known = KNOWN.iter().find(|known| !last.is_empty() && word(known) == last);
        known.map_or_else(|| Self::Other(full.clone()), Self::Known)
    }

    /// Its name; that of its class where it is not known.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Known(known) => known.name,
            Self::Other(full) => last(full),
        }
    }

    /// The size of an element, or none of an unknown type.
    pub(crate) fn n_bytes(&self) -> Option<u64> {
        match self {
            Self::Known(known) => Some(known.n_bytes),
            Self::Other(full) => last(full).starts_with("float8").then_some(1),
        }
    }

    /// Whether it is that of a storage that is only bytes, which tensors of any type may be views of.
    pub(crate) fn is_untyped(&self) -> bool {
        self.name() == "bytes"
    }
}

fn last(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}
