//! Surfaces and trajectories in Zarr v3: metadata and chunks as bytes, without I/O.
//!
//! A surface is a group with the arrays `x` (nx) and `y` (ny), one chunk each, and `loss`, `squared_error`, `accuracy`
//! (float64, fill NaN) and `flags` (uint8, fill 0) of shape (ny, nx), whose chunks are the tiles; with a second split,
//! the same four again as `test_loss` and so on. The arrays of a trajectory have an entry per stop and one chunk. The
//! only codec is `bytes`, little-endian, so that every reader of Zarr opens them. Chunks are encoded here and put by
//! the store itself: zarrs would erase a chunk that equals the fill value, and a tile of NaN is a result like any
//! other.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use relief_core::{Split, TilePlan};
use zarrs::array::codec::BytesCodec;
use zarrs::array::{Array, ArrayBuilder, ArrayBytes, ArrayToBytesCodecTraits, CodecOptions, data_type};
use zarrs::group::GroupMetadataV3;

use crate::error::StoreError;

/// The file of a group's or an array's metadata.
pub(crate) const METADATA: &str = "zarr.json";

/// A number as the arrays hold it.
pub(crate) trait Entry: Copy {
    const SIZE: usize;
    const FILL: Self;
    /// What builds an array of such numbers, in chunks of `chunk`.
    fn array(shape: &[u64], chunk: &[u64]) -> ArrayBuilder;
    fn extend_native(self, bytes: &mut Vec<u8>);
    fn from_native(bytes: &[u8]) -> Option<Self>;
}

impl Entry for f64 {
    const SIZE: usize = 8;
    const FILL: Self = Self::NAN;

    fn array(shape: &[u64], chunk: &[u64]) -> ArrayBuilder {
        let mut builder = ArrayBuilder::new(shape, chunk, data_type::float64(), Self::FILL);
        builder.array_to_bytes_codec(Arc::new(BytesCodec::little()));
        builder
    }

    fn extend_native(self, bytes: &mut Vec<u8>) {
        // One NaN stands for all, so that equal results are equal bytes on every machine.
        let value = if self.is_nan() { Self::NAN } else { self };
        bytes.extend(value.to_ne_bytes());
    }

    fn from_native(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_ne_bytes)
    }
}

impl Entry for u8 {
    const SIZE: usize = 1;
    const FILL: Self = 0;

    fn array(shape: &[u64], chunk: &[u64]) -> ArrayBuilder {
        let mut builder = ArrayBuilder::new(shape, chunk, data_type::uint8(), Self::FILL);
        builder.array_to_bytes_codec(Arc::new(BytesCodec::new(None)));
        builder
    }

    fn extend_native(self, bytes: &mut Vec<u8>) {
        bytes.push(self);
    }

    fn from_native(bytes: &[u8]) -> Option<Self> {
        bytes.first().copied()
    }
}

impl Entry for u16 {
    const SIZE: usize = 2;
    const FILL: Self = 0;

    fn array(shape: &[u64], chunk: &[u64]) -> ArrayBuilder {
        let mut builder = ArrayBuilder::new(shape, chunk, data_type::uint16(), Self::FILL);
        builder.array_to_bytes_codec(Arc::new(BytesCodec::little()));
        builder
    }

    fn extend_native(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_ne_bytes());
    }

    fn from_native(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_ne_bytes)
    }
}

/// One array of a surface or a trajectory.
pub(crate) struct ZarrArray {
    array: Array<()>,
    chunk_shape: Vec<NonZeroU64>,
}

/// The arrays of a surface.
pub(crate) struct SurfaceArrays {
    pub(crate) x: ZarrArray,
    pub(crate) y: ZarrArray,
    pub(crate) main: SplitArrays,
    /// Those of the second split, where there is one.
    pub(crate) also: Option<SplitArrays>,
}

/// The arrays of one split.
pub(crate) struct SplitArrays {
    pub(crate) loss: ZarrArray,
    pub(crate) squared_error: ZarrArray,
    pub(crate) accuracy: ZarrArray,
    pub(crate) flags: ZarrArray,
}

/// What should be impossible: metadata and chunks made of checked values that zarrs refuses.
fn refused(error: impl ToString) -> StoreError {
    StoreError::invalid("array", format!("zarr refuses it: {}", error.to_string()))
}

/// What the names of the second split's arrays begin with.
pub(crate) fn prefix_of(also: Split) -> String {
    format!("{}_", also.as_str())
}

impl SurfaceArrays {
    pub(crate) fn new(plan: &TilePlan, also: Option<Split>) -> Result<Self, StoreError> {
        let (ny, nx) = (u64::from(plan.grid().n_rows()), u64::from(plan.grid().n_columns()));
        let split = |prefix: &str| {
            let name = |metric: &str| format!("{prefix}{metric}");
            Ok::<_, StoreError>(SplitArrays {
                loss: ZarrArray::of_grid::<f64>(&name("loss"), plan)?,
                squared_error: ZarrArray::of_grid::<f64>(&name("squared_error"), plan)?,
                accuracy: ZarrArray::of_grid::<f64>(&name("accuracy"), plan)?,
                flags: ZarrArray::of_grid::<u8>(&name("flags"), plan)?,
            })
        };
        Ok(Self {
            x: ZarrArray::new::<f64>("x", &[nx], &[nx], &["x"])?,
            y: ZarrArray::new::<f64>("y", &[ny], &[ny], &["y"])?,
            main: split("")?,
            also: also.map(|also| split(&prefix_of(also))).transpose()?,
        })
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &ZarrArray> {
        let splits = std::iter::once(&self.main).chain(&self.also);
        let arrays = splits.flat_map(|split| [&split.loss, &split.squared_error, &split.accuracy, &split.flags]);
        [&self.x, &self.y].into_iter().chain(arrays)
    }
}

impl ZarrArray {
    fn new<T: Entry>(name: &str, shape: &[u64], chunk: &[u64], dimensions: &[&str]) -> Result<Self, StoreError> {
        let mut builder = T::array(shape, chunk);
        builder.dimension_names(Some(dimensions.iter().copied()));
        let array = builder.build(Arc::new(()), &format!("/{name}")).map_err(refused)?;
        let chunk_shape = chunk.iter().map(|dim| NonZeroU64::new(*dim)).collect::<Option<_>>();
        Ok(Self { array, chunk_shape: chunk_shape.ok_or_else(|| refused("a chunk is empty"))? })
    }

    /// An array over the grid of `plan`, a chunk for each tile.
    pub(crate) fn of_grid<T: Entry>(name: &str, plan: &TilePlan) -> Result<Self, StoreError> {
        let shape = [u64::from(plan.grid().n_rows()), u64::from(plan.grid().n_columns())];
        let tile = [u64::from(plan.shape().rows), u64::from(plan.shape().columns)];
        Self::new::<T>(name, &shape, &tile, &["y", "x"])
    }

    /// Whether stored metadata are those of an array whose chunks are read as this one's are: attributes and names
    /// aside.
    pub(crate) fn is_described_by(&self, metadata: &[u8]) -> bool {
        let Ok(own) = serde_json::to_value(self.array.metadata()) else { return false };
        let Ok(stored) = serde_json::from_slice::<serde_json::Value>(metadata) else { return false };
        let parts = [
            "zarr_format",
            "node_type",
            "shape",
            "data_type",
            "chunk_grid",
            "chunk_key_encoding",
            "fill_value",
            "codecs",
        ];
        parts.iter().all(|part| plain(own.get(part)) == plain(stored.get(part)))
    }

    /// An array of one dimension with `n_entries` entries, at least one, in one chunk.
    pub(crate) fn line<T: Entry>(name: &str, n_entries: usize, dimension: &str) -> Result<Self, StoreError> {
        Self::new::<T>(name, &[n_entries as u64], &[n_entries as u64], &[dimension])
    }

    /// The key of the array's metadata in the group.
    pub(crate) fn metadata_key(&self) -> String {
        format!("{}/{METADATA}", self.name())
    }

    pub(crate) fn metadata(&self) -> Result<Bytes, StoreError> {
        serde_json::to_vec_pretty(self.array.metadata()).map(Bytes::from).map_err(refused)
    }

    pub(crate) fn name(&self) -> &str {
        self.array.path().as_str().trim_start_matches('/')
    }

    /// The key of a chunk in the group.
    pub(crate) fn chunk_key(&self, chunk: &[u64]) -> String {
        self.array.chunk_key(chunk).as_str().to_owned()
    }

    fn chunk_len(&self) -> usize {
        self.chunk_shape.iter().map(|dim| dim.get() as usize).product()
    }

    fn chunk_width(&self) -> usize {
        self.chunk_shape.last().map_or(1, |dim| dim.get() as usize)
    }

    /// The bytes of a chunk whose top left holds `values`, row-major with `width` columns; the rest is fill.
    pub(crate) fn encode<T: Entry>(&self, values: &[T], width: usize) -> Result<Bytes, StoreError> {
        let mut native = Vec::with_capacity(self.chunk_len() * T::SIZE);
        for row in values.chunks(width.max(1)) {
            row.iter().for_each(|value| value.extend_native(&mut native));
            (row.len()..self.chunk_width()).for_each(|_| T::FILL.extend_native(&mut native));
        }
        (native.len() / T::SIZE..self.chunk_len()).for_each(|_| T::FILL.extend_native(&mut native));
        let encoded = self.array.codecs().encode(
            ArrayBytes::new_flen(native),
            &self.chunk_shape,
            self.array.data_type(),
            self.array.fill_value(),
            &CodecOptions::default(),
        );
        encoded.map(|bytes| Bytes::from(bytes.into_owned())).map_err(refused)
    }

    /// The top left of a chunk: `height` rows of `width` columns, row-major; none when the chunk is not whole.
    pub(crate) fn decode<T: Entry>(&self, chunk: &[u8], height: usize, width: usize) -> Option<Vec<T>> {
        let decoded = self.array.codecs().decode(
            chunk.into(),
            &self.chunk_shape,
            self.array.data_type(),
            self.array.fill_value(),
            &CodecOptions::default(),
        );
        let native = decoded.ok()?.into_fixed().ok()?;
        if native.len() != self.chunk_len() * T::SIZE {
            return None;
        }
        let rows = native.chunks_exact(self.chunk_width() * T::SIZE).take(height);
        let row = |row: &[u8]| row.chunks_exact(T::SIZE).take(width).map(T::from_native).collect::<Vec<_>>();
        rows.flat_map(row).collect()
    }
}

/// A part of metadata in its plain form: that an empty configuration may be left out, or a name stand for itself, are
/// other ways to write the same.
fn plain(part: Option<&serde_json::Value>) -> serde_json::Value {
    match part {
        Some(serde_json::Value::Object(fields)) => {
            let is_empty = |value: &serde_json::Value| value.as_object().is_some_and(serde_json::Map::is_empty);
            let is_said = |(key, value): &(&String, &serde_json::Value)| *key != "configuration" || !is_empty(value);
            match fields.get("name") {
                Some(name) if fields.iter().filter(is_said).count() == 1 => name.clone(),
                _ => serde_json::Value::Object(fields.clone()),
            }
        }
        Some(serde_json::Value::Array(items)) => items.iter().map(|item| plain(Some(item))).collect(),
        Some(value) => value.clone(),
        None => serde_json::Value::Null,
    }
}

/// The metadata of a group with `attributes`.
pub(crate) fn group_metadata(attributes: serde_json::Map<String, serde_json::Value>) -> Result<Bytes, StoreError> {
    let group = GroupMetadataV3::new().with_attributes(attributes);
    serde_json::to_vec_pretty(&group).map(Bytes::from).map_err(refused)
}

/// The attributes of a group, from its metadata.
pub(crate) fn group_attributes(
    metadata: &[u8],
) -> Result<serde_json::Map<String, serde_json::Value>, serde_json::Error> {
    serde_json::from_slice::<GroupMetadataV3>(metadata).map(|group| group.attributes)
}
