//! What is computed for a trajectory, part by part: sums of the Gram matrix, the axes, the values at the stops.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use relief_core::{Digest, Gram, GramReduction, Grid, PointValue, PointValues, Projection};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::json_float;
use crate::layout;
use crate::object::{N_CONCURRENT, Placed};
use crate::record::{from_json, to_json};
use crate::store::Store;
use crate::tile::TileWrite;
use crate::trajectory::TrajectoryRecord;

/// The plane of a trajectory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrajectoryAxesRecord {
    /// Where the stops lie in it.
    pub projection: Projection,
    /// The stored directions that span it, x first.
    pub directions: [Digest; 2],
    /// The grid of its surface.
    pub grid: Grid,
}

/// The values at a stop as they are stored; any of them may be NaN or infinite.
#[derive(Debug, Serialize, Deserialize)]
struct StoredValues {
    #[serde(flatten)]
    main: StoredValue,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    also: Option<StoredValue>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredValue {
    #[serde(with = "json_float")]
    loss: f64,
    #[serde(with = "json_float")]
    squared_error: f64,
    #[serde(with = "json_float")]
    accuracy: f64,
}

impl From<PointValue> for StoredValue {
    fn from(PointValue { loss, squared_error, accuracy }: PointValue) -> Self {
        Self { loss, squared_error, accuracy }
    }
}

impl From<StoredValue> for PointValue {
    fn from(StoredValue { loss, squared_error, accuracy }: StoredValue) -> Self {
        Self { loss, squared_error, accuracy }
    }
}

/// Sums as they are stored. One NaN stands for all, so that equal results are equal bytes on every machine.
fn encode(sums: &[f64]) -> Bytes {
    let one = |sum: &f64| if sum.is_nan() { f64::NAN } else { *sum };
    sums.iter().flat_map(|sum| one(sum).to_le_bytes()).collect()
}

fn decode(bytes: &[u8]) -> Option<Vec<f64>> {
    let (sums, rest) = bytes.as_chunks();
    rest.is_empty().then(|| sums.iter().map(|sum| f64::from_le_bytes(*sum)).collect())
}

impl TrajectoryRecord {
    /// The number of sums in the tile `idx` of the Gram matrix.
    fn n_sums(&self, idx: u64) -> Result<usize, StoreError> {
        let plan = &self.provenance.gram;
        let refuse = || StoreError::invalid("tile", format!("{idx} is not one of the {} tiles", plan.n_tiles()));
        Ok(plan.tile(idx).ok_or_else(refuse)?.n_entries())
    }
}

impl Store {
    /// Stores the sums of the tile `idx` of the Gram matrix, row-major; it is done when this returns.
    ///
    /// # Errors
    /// `Conflict` when it is there with other sums: it was computed differently before; what is there stays. `Invalid`
    /// when there is no such tile, or it has another number of sums.
    pub async fn put_gram_tile(
        &self,
        record: &TrajectoryRecord,
        idx: u64,
        sums: &[f64],
    ) -> Result<TileWrite, StoreError> {
        let n_sums = record.n_sums(idx)?;
        if sums.len() != n_sums {
            return Err(StoreError::invalid("sums", format!("{} sums for the {n_sums} of tile {idx}", sums.len())));
        }
        self.put_part(record, &layout::gram_tile(&record.id, &record.incarnation, idx), encode(sums)).await
    }

    /// Puts a part that follows from the record alone.
    async fn put_part(&self, record: &TrajectoryRecord, path: &Path, part: Bytes) -> Result<TileWrite, StoreError> {
        match self.objects.place(path, part).await? {
            Placed::New => Ok(TileWrite::Written),
            Placed::Same => Ok(TileWrite::AlreadyThere),
            Placed::Other(Some(_)) => Err(StoreError::Conflict { path: path.to_string() }),
            Placed::Other(None) => Err(StoreError::not_found(&record.id)),
        }
    }

    /// The numbers of the tiles of the Gram matrix that are done.
    ///
    /// # Errors
    /// When the backend fails.
    pub async fn gram_tiles(&self, record: &TrajectoryRecord) -> Result<BTreeSet<u64>, StoreError> {
        let paths = self.objects.list(&layout::gram_tiles(&record.id, &record.incarnation)).await?;
        let n_tiles = record.provenance.gram.n_tiles();
        Ok(paths.iter().filter_map(|path| layout::number_of(path, ".f64")).filter(|idx| *idx < n_tiles).collect())
    }

    /// The sums of a tile of the Gram matrix, row-major.
    ///
    /// # Errors
    /// `NotFound` when it is not done; `Corrupt` when it is damaged; `Invalid` when there is no such tile.
    pub async fn get_gram_tile(&self, record: &TrajectoryRecord, idx: u64) -> Result<Vec<f64>, StoreError> {
        let n_sums = record.n_sums(idx)?;
        let path = layout::gram_tile(&record.id, &record.incarnation, idx);
        let bytes = self.objects.get(&path).await?.ok_or_else(|| StoreError::not_found(&path))?;
        let sums = decode(&bytes).filter(|sums| sums.len() == n_sums);
        sums.ok_or_else(|| StoreError::corrupt(path, format!("{} bytes are not {n_sums} sums", bytes.len())))
    }

    /// The whole Gram matrix, of which every tile must be done.
    ///
    /// # Errors
    /// `NotFound` when a tile is not done; `Corrupt` when one is damaged.
    pub async fn load_gram(&self, record: &TrajectoryRecord) -> Result<Gram, StoreError> {
        let plan = record.provenance.gram;
        let corrupt = |error| StoreError::corrupt(layout::gram_tiles(&record.id, &record.incarnation), error);
        let mut reduction = GramReduction::new(plan);
        let mut tiles =
            futures::stream::iter(0..plan.n_tiles()).map(|idx| self.get_gram_tile(record, idx)).buffered(N_CONCURRENT);
        while let Some(sums) = tiles.try_next().await? {
            reduction.add(&sums).map_err(corrupt)?;
        }
        reduction.finish().map_err(corrupt)
    }

    /// Stores the plane of a trajectory, unless one is stored already. Returns the one that it has.
    ///
    /// # Errors
    /// `Invalid` when a number is not finite; `Corrupt` when what is stored is damaged; `NotFound` when the trajectory
    /// is deleted meanwhile.
    pub async fn put_trajectory_axes(
        &self,
        record: &TrajectoryRecord,
        axes: &TrajectoryAxesRecord,
    ) -> Result<TrajectoryAxesRecord, StoreError> {
        let path = layout::trajectory_axes(&record.id, &record.incarnation);
        let json = to_json("axes", axes)?;
        // JSON has no NaN, so that what was not finite is not read back.
        if from_json::<TrajectoryAxesRecord>(&path, &json).is_err() {
            return Err(StoreError::invalid("axes", "a number of the projection is not finite"));
        }
        match self.objects.place(&path, json).await? {
            Placed::New | Placed::Same => Ok(axes.clone()),
            Placed::Other(Some(there)) => from_json(&path, &there),
            Placed::Other(None) => Err(StoreError::not_found(&record.id)),
        }
    }

    /// The plane of a trajectory, or none when it is not known yet.
    ///
    /// # Errors
    /// `Corrupt` when it is damaged.
    pub async fn find_trajectory_axes(
        &self,
        record: &TrajectoryRecord,
    ) -> Result<Option<TrajectoryAxesRecord>, StoreError> {
        self.find_record(&layout::trajectory_axes(&record.id, &record.incarnation)).await
    }

    /// Stores the values at the stop with the index `stop` over all paths.
    ///
    /// # Errors
    /// `Conflict` when other values are there: they were computed differently before; what is there stays. `Invalid`
    /// when there is no such stop, or the values are those of other splits.
    pub async fn put_stop_values(
        &self,
        record: &TrajectoryRecord,
        stop: usize,
        values: &PointValues,
    ) -> Result<TileWrite, StoreError> {
        let n_stops = record.spec.n_stops();
        if stop >= n_stops {
            return Err(StoreError::invalid("stop", format!("{stop} is not one of the {n_stops} stops")));
        }
        if values.also.is_some() != record.spec.also.is_some() {
            return Err(StoreError::invalid("values", format!("stop {stop} has values of other splits")));
        }
        let stored = StoredValues { main: values.main.into(), also: values.also.map(StoredValue::from) };
        let json = to_json("values", &stored)?;
        self.put_part(record, &layout::stop(&record.id, &record.incarnation, stop), json).await
    }

    /// The values at all stops of all paths, in order, none where they are not known yet.
    ///
    /// # Errors
    /// `Corrupt` when one is damaged.
    pub async fn stop_values(&self, record: &TrajectoryRecord) -> Result<Vec<Option<PointValues>>, StoreError> {
        let TrajectoryRecord { id, incarnation, spec, .. } = record;
        let paths = self.objects.list(&layout::stops(id, incarnation)).await?;
        let mut values = vec![None; spec.n_stops()];
        let there = paths.iter().filter_map(|path| usize::try_from(layout::number_of(path, ".json")?).ok());
        let there: Vec<usize> = there.filter(|stop| *stop < values.len()).collect();
        let mut reads = futures::stream::iter(there)
            .map(async |stop| Ok::<_, StoreError>((stop, self.read_stop(record, stop).await?)))
            .buffer_unordered(N_CONCURRENT);
        while let Some((stop, read)) = reads.try_next().await? {
            values[stop] = read;
        }
        Ok(values)
    }

    async fn read_stop(&self, record: &TrajectoryRecord, stop: usize) -> Result<Option<PointValues>, StoreError> {
        let path = layout::stop(&record.id, &record.incarnation, stop);
        let Some(StoredValues { main, also }) = self.find_record(&path).await? else { return Ok(None) };
        let values = PointValues { main: main.into(), also: also.map(PointValue::from) };
        if values.also.is_some() != record.spec.also.is_some() {
            return Err(StoreError::corrupt(path, "it has values of other splits"));
        }
        Ok(Some(values))
    }
}
