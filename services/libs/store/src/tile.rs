//! The values of surfaces, tile by tile.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use relief_core::{PointValue, PointValues, SplitValues, SurfaceId, SurfaceValues, Tile};

use crate::error::StoreError;
use crate::layout;
use crate::object::{N_CONCURRENT, Placed};
use crate::store::Store;
use crate::surface::SurfaceRecord;
use crate::zarr::{Entry, SplitArrays, SurfaceArrays, ZarrArray};

/// What a write of a tile found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TileWrite {
    /// The tile was not there and is now.
    Written,
    /// The tile was there already, with the same bytes.
    AlreadyThere,
}

impl Store {
    /// Stores the values of a tile, row-major; the tile is done when this returns.
    ///
    /// # Errors
    /// `Conflict` when the tile, or a part of it, is there with other bytes: a value was computed differently before;
    /// what is there stays. `Invalid` when there is not one value for each point, on each split.
    pub async fn write_tile(
        &self,
        record: &SurfaceRecord,
        tile: &Tile,
        values: &[PointValues],
    ) -> Result<TileWrite, StoreError> {
        if values.len() != tile.n_points() {
            let reason = format!("{} values for the {} points of tile {}", values.len(), tile.n_points(), tile.idx);
            return Err(StoreError::invalid("values", reason));
        }
        if values.iter().any(|value| value.also.is_some() != record.spec.also.is_some()) {
            return Err(StoreError::invalid("values", format!("tile {} has values of other splits", tile.idx)));
        }
        let arrays = record.arrays()?;
        // The loss of the main split is the commit: it must not be there before the rest is.
        if let Some(also) = &arrays.also {
            let values: Vec<PointValue> = values.iter().filter_map(|value| value.also).collect();
            self.write_split(record, also, tile, &values).await?;
        }
        let values: Vec<PointValue> = values.iter().map(|value| value.main).collect();
        self.write_split(record, &arrays.main, tile, &values).await
    }

    /// Stores the values of one split, the loss last.
    async fn write_split(
        &self,
        record: &SurfaceRecord,
        arrays: &SplitArrays,
        tile: &Tile,
        values: &[PointValue],
    ) -> Result<TileWrite, StoreError> {
        let width = tile.columns.len();
        let of = |metric: fn(&PointValue) -> f64| values.iter().map(metric).collect::<Vec<f64>>();
        let flags: Vec<u8> = values.iter().map(|value| value.flag() as u8).collect();
        let mut written = TileWrite::AlreadyThere;
        for (array, chunk) in [
            (&arrays.accuracy, arrays.accuracy.encode(&of(|value| value.accuracy), width)?),
            (&arrays.squared_error, arrays.squared_error.encode(&of(|value| value.squared_error), width)?),
            (&arrays.flags, arrays.flags.encode(&flags, width)?),
            (&arrays.loss, arrays.loss.encode(&of(|value| value.loss), width)?),
        ] {
            written = self.write_chunk(&record.id, array, tile, chunk).await?;
        }
        Ok(written)
    }

    async fn write_chunk(
        &self,
        id: &SurfaceId,
        array: &ZarrArray,
        tile: &Tile,
        chunk: Bytes,
    ) -> Result<TileWrite, StoreError> {
        let path = layout::surface_object(id, &array.chunk_key(&tile.chunk));
        match self.objects.place(&path, chunk).await? {
            Placed::New => Ok(TileWrite::Written),
            Placed::Same => Ok(TileWrite::AlreadyThere),
            Placed::Other(Some(_)) => Err(StoreError::Conflict { path: path.to_string() }),
            Placed::Other(None) => Err(StoreError::not_found(id)),
        }
    }

    /// The numbers of the tiles that are done.
    ///
    /// # Errors
    /// When the backend fails.
    pub async fn committed_tiles(&self, record: &SurfaceRecord) -> Result<BTreeSet<u64>, StoreError> {
        let (id, plan, loss) = (&record.id, record.plan(), record.arrays()?.main.loss);
        let paths = self.objects.list(&layout::surface_object(id, loss.name())).await?;
        let there: BTreeSet<&str> = paths.iter().map(AsRef::as_ref).collect();
        let is_there = |tile: &Tile| there.contains(layout::surface_object(id, &loss.chunk_key(&tile.chunk)).as_ref());
        Ok(plan.tiles().filter(is_there).map(|tile| tile.idx).collect())
    }

    /// The values of a tile, row-major, or none when it is not done.
    ///
    /// # Errors
    /// `Corrupt` when a chunk is missing or damaged.
    pub async fn read_tile(&self, record: &SurfaceRecord, tile: &Tile) -> Result<Option<Vec<PointValues>>, StoreError> {
        self.read_points(&record.id, &record.arrays()?, tile).await
    }

    async fn read_points(
        &self,
        id: &SurfaceId,
        arrays: &SurfaceArrays,
        tile: &Tile,
    ) -> Result<Option<Vec<PointValues>>, StoreError> {
        let Some(main) = self.read_split(id, &arrays.main, tile).await? else { return Ok(None) };
        let also = match &arrays.also {
            None => None,
            Some(arrays) => {
                let also = self.read_split(id, arrays, tile).await?;
                Some(also.ok_or_else(|| missing(id, &arrays.loss, tile))?)
            }
        };
        let point = |(idx, main)| PointValues { main, also: also.as_ref().and_then(|also| also.get(idx).copied()) };
        Ok(Some(main.into_iter().enumerate().map(point).collect()))
    }

    async fn read_split(
        &self,
        id: &SurfaceId,
        arrays: &SplitArrays,
        tile: &Tile,
    ) -> Result<Option<Vec<PointValue>>, StoreError> {
        let Some(loss) = self.read_chunk::<f64>(id, &arrays.loss, tile).await? else { return Ok(None) };
        let missing = |array| move || missing(id, array, tile);
        let (accuracy, squared_error) = (&arrays.accuracy, &arrays.squared_error);
        let accuracy = self.read_chunk::<f64>(id, accuracy, tile).await?.ok_or_else(missing(accuracy))?;
        let squared_error =
            self.read_chunk::<f64>(id, squared_error, tile).await?.ok_or_else(missing(squared_error))?;
        let flags = self.read_chunk::<u8>(id, &arrays.flags, tile).await?.ok_or_else(missing(&arrays.flags))?;
        let values = loss.into_iter().zip(squared_error).zip(accuracy);
        let values: Vec<PointValue> =
            values.map(|((loss, squared_error), accuracy)| PointValue { loss, squared_error, accuracy }).collect();
        if values.iter().zip(&flags).any(|(value, flag)| value.flag() as u8 != *flag) {
            let path = layout::surface_object(id, &arrays.flags.chunk_key(&tile.chunk));
            return Err(StoreError::corrupt(path, "a flag is not that of its loss"));
        }
        Ok(Some(values))
    }

    async fn read_chunk<T: Entry>(
        &self,
        id: &SurfaceId,
        array: &ZarrArray,
        tile: &Tile,
    ) -> Result<Option<Vec<T>>, StoreError> {
        let path = layout::surface_object(id, &array.chunk_key(&tile.chunk));
        let Some(chunk) = self.objects.get(&path).await? else { return Ok(None) };
        let values = array.decode(&chunk, tile.rows.len(), tile.columns.len());
        values.map(Some).ok_or_else(|| StoreError::corrupt(path, format!("{} bytes are not a chunk", chunk.len())))
    }

    /// All values of a surface that are there.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name; `Corrupt` when a chunk is missing or damaged.
    pub async fn read_surface(&self, id: &SurfaceId) -> Result<SurfaceValues, StoreError> {
        self.read_values(&self.get_surface(id).await?).await
    }

    /// All values that are there of the surface with this record.
    ///
    /// # Errors
    /// `Corrupt` when a chunk is missing or damaged.
    pub async fn read_values(&self, record: &SurfaceRecord) -> Result<SurfaceValues, StoreError> {
        let (grid, plan, spec) = (record.spec.grid, record.plan(), &record.spec);
        let arrays = record.arrays()?;
        let n_points = grid.n_rows() as usize * grid.n_columns() as usize;
        let mut values = SurfaceValues {
            x: grid.x.coordinates(),
            y: grid.y.map_or_else(|| vec![0.0], |y| y.coordinates()),
            main: SplitValues::unknown(spec.data.split, n_points),
            also: spec.also.map(|also| SplitValues::unknown(also, n_points)),
        };
        let arrays = &arrays;
        let mut tiles = futures::stream::iter(self.committed_tiles(record).await?)
            .filter_map(|idx| std::future::ready(plan.tile(idx)))
            .map(|tile| async move { Ok::<_, StoreError>((self.read_points(&record.id, arrays, &tile).await?, tile)) })
            .buffer_unordered(N_CONCURRENT);
        while let Some((points, tile)) = tiles.try_next().await? {
            for ((row, column), point) in tile.points().zip(points.into_iter().flatten()) {
                let idx = row as usize * grid.n_columns() as usize + column as usize;
                values.main.set(idx, point.main);
                if let Some((values, point)) = values.also.as_mut().zip(point.also) {
                    values.set(idx, point);
                }
            }
        }
        Ok(values)
    }
}

fn missing(id: &SurfaceId, array: &ZarrArray, tile: &Tile) -> StoreError {
    let path = layout::surface_object(id, &array.chunk_key(&tile.chunk));
    StoreError::corrupt(path, "the chunk is missing although the tile is done")
}

#[cfg(test)]
mod tests {
    use relief_core::{Grid, PointFlag, Split, SurfaceSpec};

    use super::*;
    use crate::conformance::{anew, new_surface, on_every_store, specification};
    use crate::error::StoreErrorKind;

    fn id() -> SurfaceId {
        "s-1".parse().expect("an id")
    }

    fn surface(tile: &str) -> SurfaceSpec {
        let grid = Grid { x: "-0.7:0.1:5".parse().expect("an axis"), y: Some("-1:1:3".parse().expect("an axis")) };
        specification(grid, tile)
    }

    /// Every kind of value, a different one at every point.
    fn value(row: u32, column: u32) -> PointValue {
        let loss = match (row, column) {
            (0, 0) => f64::NAN,
            (0, 1) => f64::INFINITY,
            (2, 4) => f64::NEG_INFINITY,
            _ => f64::from(row) * 10.0 + f64::from(column) + 0.1,
        };
        PointValue { loss, squared_error: f64::from(row) / 8.0, accuracy: f64::from(row * 5 + column) }
    }

    fn values(tile: &Tile) -> Vec<PointValues> {
        tile.points().map(|(row, column)| value(row, column).into()).collect()
    }

    async fn create(store: &Store, spec: &SurfaceSpec) -> SurfaceRecord {
        let surface = new_surface(id(), spec);
        store.create_surface(&surface).await.expect("a surface");
        store.get_surface(&id()).await.expect("a record")
    }

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[tokio::test]
    async fn values_come_back_bit_for_bit_whatever_the_tiles() {
        for shape in ["2x2", "1x1", "3x5", "2x3", "9x9"] {
            on_every_store(async |store| {
                let record = create(store, &surface(shape)).await;
                let plan = record.plan();
                for tile in plan.tiles() {
                    let written = store.write_tile(&record, &tile, &values(&tile)).await.expect("a tile");
                    assert_eq!(written, TileWrite::Written);
                    let read = store.read_tile(&record, &tile).await.expect("a tile").expect("done");
                    assert_eq!(
                        bits(&read.iter().map(|value| value.main.loss).collect::<Vec<_>>()),
                        bits(&values(&tile).iter().map(|value| value.main.loss).collect::<Vec<_>>())
                    );
                }
                let read = store.read_surface(&id()).await.expect("values");
                let expected: Vec<_> = (0..3).flat_map(|row| (0..5).map(move |column| value(row, column))).collect();
                assert_eq!(bits(&read.main.loss), bits(&expected.iter().map(|v| v.loss).collect::<Vec<_>>()));
                assert_eq!(read.main.accuracy, expected.iter().map(|v| v.accuracy).collect::<Vec<_>>());
                assert_eq!(read.main.flags, expected.iter().map(PointValue::flag).collect::<Vec<_>>());
                assert_eq!((read.x, read.y), (surface(shape).grid.x.coordinates(), vec![-1.0, 0.0, 1.0]));
            })
            .await;
        }
    }

    #[tokio::test]
    async fn a_tile_is_done_with_its_loss_and_not_before() {
        on_every_store(async |store| {
            let record = create(store, &surface("2x2")).await;
            let plan = record.plan();
            let tile = plan.tile(4).expect("a tile");
            let arrays = record.arrays().expect("arrays").main;
            let chunk = arrays.accuracy.encode(&[8.0, 9.0], 2).expect("a chunk");
            store.write_chunk(&id(), &arrays.accuracy, &tile, chunk).await.expect("a chunk");
            assert!(store.committed_tiles(&record).await.expect("tiles").is_empty());
            assert_eq!(store.read_tile(&record, &tile).await.expect("no tile"), None);
            let read = store.read_surface(&id()).await.expect("values");
            assert!(read.main.flags.iter().all(|flag| *flag == PointFlag::Never));
            assert!(read.main.loss.iter().chain(&read.main.accuracy).all(|value| value.is_nan()));
            assert!(!read.is_complete());

            let tile_values: Vec<_> = [8.0, 9.0]
                .map(|accuracy| PointValue { loss: f64::NAN, squared_error: f64::NAN, accuracy }.into())
                .to_vec();
            let other = plan.tile(3).expect("a tile");
            store.write_tile(&record, &other, &values(&other)).await.expect("a tile");
            assert_eq!(plan.tile(5).map(|tile| tile.n_points()), Some(1));
            let narrow = plan.tile(4).expect("a tile");
            assert_eq!(narrow.n_points(), 2);
            store.write_tile(&record, &narrow, &tile_values).await.expect("a tile of NaN is a result");
            let done = store.committed_tiles(&record).await.expect("tiles");
            assert_eq!(done.into_iter().collect::<Vec<_>>(), [3, 4]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_tile_written_again_must_be_the_same() {
        on_every_store(async |store| {
            let record = create(store, &surface("2x2")).await;
            let plan = record.plan();
            let tile = plan.tile(0).expect("a tile");
            store.write_tile(&record, &tile, &values(&tile)).await.expect("a tile");
            let mut again = values(&tile);
            again[0].main.loss = -f64::NAN;
            let written = store.write_tile(&record, &tile, &again).await.expect("the same tile");
            assert_eq!(written, TileWrite::AlreadyThere);

            let mut other = values(&tile);
            other[3].main.loss = f64::from_bits(other[3].main.loss.to_bits() + 1);
            let error = store.write_tile(&record, &tile, &other).await.expect_err("another value");
            assert!(matches!(&error, StoreError::Conflict { path } if path == "surfaces/s-1.zarr/loss/c/0/0"));
            let read = store.read_tile(&record, &tile).await.expect("a tile").expect("done");
            assert_eq!(read[3], values(&tile)[3]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_wrong_number_of_values_is_refused() {
        let store = Store::open("memory://").expect("a store");
        let record = create(&store, &surface("2x2")).await;
        let plan = record.plan();
        let tile = plan.tile(2).expect("a tile");
        let error = store.write_tile(&record, &tile, &[value(0, 0).into(); 4]).await.expect_err("too many");
        assert_eq!(error.to_string(), "values: 4 values for the 2 points of tile 2");
        assert!(store.committed_tiles(&record).await.expect("tiles").is_empty());
    }

    #[tokio::test]
    async fn damaged_tiles_are_found() {
        on_every_store(async |store| {
            let record = create(store, &surface("2x2")).await;
            let plan = record.plan();
            let tile = plan.tile(1).expect("a tile");
            store.write_tile(&record, &tile, &values(&tile)).await.expect("a tile");
            let arrays = record.arrays().expect("arrays").main;
            let path = |array: &ZarrArray| layout::surface_object(&id(), &array.chunk_key(&tile.chunk));
            for (path, bytes) in [
                (path(&arrays.flags), Some(vec![1, 9, 1, 1])),
                (path(&arrays.flags), None),
                (path(&arrays.loss), Some(vec![0; 31])),
            ] {
                match bytes {
                    Some(bytes) => store.objects.put(&path, bytes.into()).await.expect("a put"),
                    None => store.objects.delete(&path).await.expect("a deletion"),
                }
                let error = store.read_surface(&id()).await.expect_err("damaged");
                assert_eq!(error.kind(), StoreErrorKind::Corrupt);
                assert!(error.to_string().contains(path.as_ref()));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_surface_does_not_inherit_the_tiles_of_a_deleted_one() {
        on_every_store(async |store| {
            let record = create(store, &surface("2x2")).await;
            let plan = record.plan();
            let tile = plan.tile(0).expect("a tile");
            store.write_tile(&record, &tile, &values(&tile)).await.expect("a tile");
            store.delete_surface(&record, 1).await.expect("a deletion");
            store.write_tile(&record, &tile, &values(&tile)).await.expect("a tile that comes late");
            store.create_surface(&anew(record)).await.expect("a surface");
            let record = store.get_surface(&id()).await.expect("a record");
            assert!(store.committed_tiles(&record).await.expect("tiles").is_empty());
        })
        .await;
    }

    #[tokio::test]
    async fn a_curve_has_one_row_at_zero() {
        on_every_store(async |store| {
            let grid = Grid { x: "0:1:4".parse().expect("an axis"), y: None };
            let record = create(store, &specification(grid, "1x3")).await;
            let plan = record.plan();
            for tile in plan.tiles() {
                let tile_values: Vec<_> = tile.points().map(|(row, column)| value(row + 1, column).into()).collect();
                store.write_tile(&record, &tile, &tile_values).await.expect("a tile");
            }
            let read = store.read_surface(&id()).await.expect("values");
            assert_eq!((read.y, read.main.loss), (vec![0.0], vec![10.1, 11.1, 12.1, 13.1]));
        })
        .await;
    }

    #[tokio::test]
    async fn a_second_split_stands_beside_the_first() {
        on_every_store(async |store| {
            let spec = SurfaceSpec { also: Some(Split::Test), ..surface("2x2") };
            let record = create(store, &spec).await;
            let also = |row, column| PointValue { loss: f64::from(row + 100 * column), ..value(row, column) };
            let both = |(row, column)| PointValues { main: value(row, column), also: Some(also(row, column)) };
            for tile in record.plan().tiles() {
                let points: Vec<_> = tile.points().map(both).collect();
                store.write_tile(&record, &tile, &points).await.expect("a tile");
                let error = store.write_tile(&record, &tile, &values(&tile)).await.expect_err("one split only");
                assert_eq!(error.kind(), StoreErrorKind::Invalid);
            }
            let read = store.read_surface(&id()).await.expect("values");
            let read_also = read.also.as_ref().expect("two splits");
            assert_eq!((read.main.split, read_also.split), (Split::Train, Split::Test));
            assert_eq!(read_also.get(7), Some(also(1, 2)));
            assert_eq!(read.main.get(7), Some(value(1, 2)));
            assert_eq!(read_also.flags, [PointFlag::Finite; 15]);

            let lost = layout::surface_object(&id(), "test_loss/c/0/0");
            store.objects.delete(&lost).await.expect("a deletion");
            let error = store.read_surface(&id()).await.expect_err("damaged");
            assert!(error.to_string().contains(lost.as_ref()), "{error}");
        })
        .await;
    }
}
