//! NumPy archives.

use std::io::{self, Cursor};

use npyz::npz::NpzWriter;
use npyz::{AutoSerialize, WriterBuilder as _};

/// An archive in memory.
pub(crate) struct NpzFile {
    writer: NpzWriter<Cursor<Vec<u8>>>,
}

impl NpzFile {
    pub(crate) fn new() -> Self {
        Self { writer: NpzWriter::new(Cursor::default()) }
    }

    /// Adds `values`, row-major, as an array of `shape`.
    pub(crate) fn add<T: AutoSerialize + Copy>(&mut self, name: &str, shape: &[u64], values: &[T]) -> io::Result<()> {
        let mut array = self.writer.array(name, Default::default())?.default_dtype().shape(shape).begin_nd()?;
        array.extend(values.iter().copied())?;
        array.finish()
    }

    /// The archive as a file.
    pub(crate) fn finish(mut self) -> io::Result<Vec<u8>> {
        Ok(self.writer.zip_writer().finish().map_err(io::Error::other)?.into_inner())
    }
}
