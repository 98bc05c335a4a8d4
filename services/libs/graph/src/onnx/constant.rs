//! Tensors whose entries are known while a file is read.

use super::tensor;
use super::wire::TensorProto;
use super::wire::tensor_proto::DataType;

/// An integer that may depend on the size N of the batch: `offset` + `n_batches` N.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) n_batches: i64,
    pub(super) offset: i64,
}

impl Size {
    /// The size of the batch itself.
    pub(super) const BATCH: Self = Self { n_batches: 1, offset: 0 };

    pub(super) fn known(offset: i64) -> Self {
        Self { n_batches: 0, offset }
    }

    /// The number, when it does not depend on the batch.
    pub(super) fn value(self) -> Option<i64> {
        (self.n_batches == 0).then_some(self.offset)
    }

    pub(super) fn add(self, other: Self) -> Option<Self> {
        let n_batches = self.n_batches.checked_add(other.n_batches)?;
        Some(Self { n_batches, offset: self.offset.checked_add(other.offset)? })
    }

    pub(super) fn sub(self, other: Self) -> Option<Self> {
        let n_batches = self.n_batches.checked_sub(other.n_batches)?;
        Some(Self { n_batches, offset: self.offset.checked_sub(other.offset)? })
    }

    pub(super) fn mul(self, other: Self) -> Option<Self> {
        let (size, factor) = match (self.value(), other.value()) {
            (Some(factor), _) => (other, factor),
            (_, Some(factor)) => (self, factor),
            (None, None) => return None,
        };
        let n_batches = size.n_batches.checked_mul(factor)?;
        Some(Self { n_batches, offset: size.offset.checked_mul(factor)? })
    }

    /// The quotient, rounded towards 0 where it does not depend on the batch and exact where it does.
    pub(super) fn div(self, other: Self) -> Option<Self> {
        let divisor = other.value()?;
        if self.n_batches == 0 {
            return self.offset.checked_div(divisor).map(Self::known);
        }
        let exact =
            |part: i64| part.checked_div(divisor).filter(|quotient| quotient.checked_mul(divisor) == Some(part));
        Some(Self { n_batches: exact(self.n_batches)?, offset: exact(self.offset)? })
    }
}

/// The entries of a constant, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Entries {
    /// Integers; a truth value is 0 or 1.
    Ints(Vec<Size>),
    /// Numbers.
    Floats(Vec<f32>),
}

/// A tensor whose entries are known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Constant {
    pub(super) dims: Vec<usize>,
    pub(super) entries: Entries,
}

impl Constant {
    pub(super) fn ints(values: Vec<Size>) -> Self {
        Self { dims: vec![values.len()], entries: Entries::Ints(values) }
    }

    /// The tensor of a file, when it holds its values and they are float32, float64, integers or truth values.
    pub(super) fn read(proto: &TensorProto) -> Result<Option<Self>, String> {
        let dims = tensor::dims(proto)?;
        let Some(entries) = read_entries(proto)? else { return Ok(None) };
        let constant = Self { dims, entries };
        if constant.dims.iter().try_fold(1_usize, |n, dim| n.checked_mul(*dim)) == Some(constant.len()) {
            return Ok(Some(constant));
        }
        Err(format!("has shape {:?} but {} values", constant.dims, constant.len()))
    }

    pub(super) fn len(&self) -> usize {
        match &self.entries {
            Entries::Ints(values) => values.len(),
            Entries::Floats(values) => values.len(),
        }
    }

    /// The memory that an entry takes.
    pub(super) fn entry_bytes(&self) -> usize {
        match &self.entries {
            Entries::Ints(_) => size_of::<Size>(),
            Entries::Floats(_) => size_of::<f32>(),
        }
    }

    /// The constant made of these `n` entries of this one, under other dimensions; none when an index is beyond it.
    pub(super) fn pick(&self, dims: Vec<usize>, n: usize, indices: impl Iterator<Item = usize>) -> Option<Self> {
        let entries = match &self.entries {
            Entries::Ints(values) => Entries::Ints(pick(values, n, indices)?),
            Entries::Floats(values) => Entries::Floats(pick(values, n, indices)?),
        };
        Some(Self { dims, entries })
    }

    /// The integers of a tensor of at most one dimension.
    pub(super) fn sizes(&self) -> Option<&[Size]> {
        match &self.entries {
            Entries::Ints(values) if self.dims.len() <= 1 => Some(values),
            _ => None,
        }
    }

    /// The integers of a tensor of at most one dimension, when they do not depend on the batch.
    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        self.sizes()?.iter().map(|size| size.value()).collect()
    }

    /// The integers of a tensor, when they do not depend on the batch.
    pub(super) fn integers_of_any_rank(&self) -> Option<Vec<i64>> {
        match &self.entries {
            Entries::Ints(values) => values.iter().map(|size| size.value()).collect(),
            Entries::Floats(_) => None,
        }
    }

    /// The only entry, as a number.
    pub(super) fn number(&self) -> Option<f32> {
        match &self.entries {
            Entries::Floats(values) => <[f32; 1]>::try_from(values.as_slice()).ok().map(|[value]| value),
            Entries::Ints(_) => self.integer().map(|value| value as f32),
        }
    }

    /// The only entry, when it is an integer that does not depend on the batch.
    pub(super) fn integer(&self) -> Option<i64> {
        match &self.entries {
            Entries::Ints(values) if values.len() == 1 => values[0].value(),
            _ => None,
        }
    }
}

fn pick<T: Copy>(values: &[T], n: usize, indices: impl Iterator<Item = usize>) -> Option<Vec<T>> {
    let mut picked = Vec::with_capacity(n);
    for idx in indices {
        picked.push(*values.get(idx)?);
    }
    Some(picked)
}

fn read_entries(proto: &TensorProto) -> Result<Option<Entries>, String> {
    if tensor::is_external(proto) {
        return Ok(None);
    }
    let raw = &proto.raw_data;
    let known = |values: Vec<i64>| Ok(Some(Entries::Ints(values.into_iter().map(Size::known).collect())));
    match DataType::try_from(proto.data_type) {
        Ok(DataType::Float) => Ok(tensor::floats(proto)?.map(Entries::Floats)),
        Ok(DataType::Double) if raw.is_empty() => {
            Ok(Some(Entries::Floats(proto.double_data.iter().map(|value| *value as f32).collect())))
        }
        Ok(DataType::Double) => {
            let values = tensor::words::<8>(raw)?.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32);
            Ok(Some(Entries::Floats(values.collect())))
        }
        Ok(DataType::Int64) if raw.is_empty() => known(proto.int64_data.clone()),
        Ok(DataType::Int64) => known(tensor::words::<8>(raw)?.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()),
        Ok(DataType::Int32 | DataType::Bool) if raw.is_empty() => {
            known(proto.int32_data.iter().copied().map(i64::from).collect())
        }
        Ok(DataType::Int32) => {
            known(tensor::words::<4>(raw)?.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect())
        }
        Ok(DataType::Bool) => known(raw.iter().copied().map(i64::from).collect()),
        _ => Err(format!(
            "is of type {}; a constant must be FLOAT, DOUBLE, INT64, INT32 or BOOL",
            tensor::type_name(proto.data_type)
        )),
    }
}
