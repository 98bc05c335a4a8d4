//! Requests for surfaces, and their values.

use anyhow::{Context as _, ensure};
use relief_api::evaluator::v1::plane_axis::Source as AxisSource;
use relief_api::evaluator::v1::{Blob, PlaneAxis};
use relief_api::surface::v1::direction::Source;
use relief_api::surface::v1::read_surface_response::Part;
use relief_api::surface::v1::{
    Axis, DatasetSlice, Direction, NumericRequest, Plane, Precision, RandomDirection, ReadSurfaceResponse, SurfaceSpec,
    TileShape,
};

/// The values of a surface by their bits, so that equal means bit-identical, NaN included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Values {
    /// The coefficients of the columns.
    pub x: Vec<u64>,
    /// The coefficients of the rows.
    pub y: Vec<u64>,
    /// Row-major, (ny, nx).
    pub loss: Vec<u64>,
    /// Row-major, (ny, nx).
    pub squared_error: Vec<u64>,
    /// Row-major, (ny, nx).
    pub accuracy: Vec<u64>,
    /// The loss on the second split, row-major, (ny, nx); empty without one.
    pub also_loss: Vec<u64>,
    /// Row-major, (ny, nx): 0 where there is no value yet.
    pub flags: Vec<u8>,
}

impl Values {
    /// Adds the next part of a reading.
    ///
    /// # Errors
    /// When it is not the one that follows.
    pub(crate) fn add(&mut self, message: ReadSurfaceResponse) -> anyhow::Result<()> {
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        match message.part.context("an empty part")? {
            Part::Header(header) => {
                ensure!(self.x.is_empty(), "a second header");
                (self.x, self.y) = (bits(&header.x), bits(&header.y));
            }
            Part::Rows(rows) => {
                ensure!(rows.first_row as usize * self.x.len() == self.loss.len(), "rows out of order");
                self.loss.extend(bits(&rows.loss));
                self.squared_error.extend(bits(&rows.squared_error));
                self.accuracy.extend(bits(&rows.accuracy));
                self.also_loss.extend(bits(&rows.also.map(|also| also.loss).unwrap_or_default()));
                self.flags.extend(&rows.flags);
            }
        }
        Ok(())
    }

    /// The number of points that have a value.
    #[must_use]
    pub fn n_known(&self) -> usize {
        self.flags.iter().filter(|flag| **flag != 0).count()
    }

    /// The loss and the accuracy at (a, b).
    ///
    /// # Errors
    /// When the grid has no such point.
    pub fn at(&self, a: f64, b: f64) -> anyhow::Result<(f64, f64)> {
        let place = |axis: &[u64], value: f64| {
            axis.iter()
                .position(|bits| f64::from_bits(*bits) == value)
                .with_context(|| format!("no {value} on the axis"))
        };
        let idx = place(&self.y, b)? * self.x.len() + place(&self.x, a)?;
        Ok((f64::from_bits(self.loss[idx]), f64::from_bits(self.accuracy[idx])))
    }
}

/// An axis.
#[must_use]
pub fn axis(min: f64, max: f64, count: u32) -> Axis {
    Axis { min, max, count }
}

/// A filter-normalised random direction.
#[must_use]
pub fn random(seed: u64) -> Direction {
    Direction { source: Some(Source::Random(RandomDirection { seed, ..RandomDirection::default() })) }
}

/// The axes along the stored directions with these digests, as an evaluator is asked for them.
#[must_use]
pub fn plane_axes(digests: &[String]) -> Vec<PlaneAxis> {
    let axis = |digest: &String| {
        let (path, digest) = (format!("directions/{digest}.safetensors"), digest.clone());
        PlaneAxis { source: Some(AxisSource::Step(Blob { path, digest })) }
    };
    digests.iter().map(axis).collect()
}

/// A surface around `origin` on the first `limit` training samples of `dataset` (none: all), in tiles of (rows, columns).
#[must_use]
pub fn surface_spec(
    origin: &str,
    dataset: &str,
    (x, y): (Axis, Axis),
    limit: Option<u64>,
    (rows, columns): (u32, u32),
) -> SurfaceSpec {
    SurfaceSpec {
        network: "lenet5".to_owned(),
        plane: Some(Plane { origin: origin.to_owned(), x: Some(random(7)), y: Some(random(7)), ..Plane::default() }),
        x: Some(x),
        y: Some(y),
        data: Some(DatasetSlice { dataset: dataset.to_owned(), limit, ..DatasetSlice::default() }),
        tile: Some(TileShape { rows, columns }),
        ..SurfaceSpec::default()
    }
}

/// The same surface, to be computed in float32 by whatever engine is best.
#[must_use]
pub fn in_float32(spec: SurfaceSpec) -> SurfaceSpec {
    let numerics = NumericRequest { engine: 0, precision: Precision::F32.into() };
    SurfaceSpec { numerics: Some(numerics), ..spec }
}
