//! The values of surfaces, tile by tile.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use relief_core::{PointFlag, PointValue, SurfaceId, SurfaceValues, Tile, TilePlan};

use crate::error::StoreError;
use crate::layout;
use crate::object::N_CONCURRENT;
use crate::store::Store;
use crate::zarr::{Entry, SurfaceArray, SurfaceArrays};

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
    /// what is there stays. `Invalid` when there is not one value for each point.
    pub async fn write_tile(
        &self,
        id: &SurfaceId,
        plan: &TilePlan,
        tile: &Tile,
        values: &[PointValue],
    ) -> Result<TileWrite, StoreError> {
        if values.len() != tile.n_points() {
            let reason = format!("{} values for the {} points of tile {}", values.len(), tile.n_points(), tile.idx);
            return Err(StoreError::invalid("values", reason));
        }
        let arrays = SurfaceArrays::new(plan)?;
        let width = tile.columns.len();
        let flags: Vec<u8> = values.iter().map(|value| value.flag() as u8).collect();
        let accuracy: Vec<f64> = values.iter().map(|value| value.accuracy).collect();
        let loss: Vec<f64> = values.iter().map(|value| value.loss).collect();
        // The loss is the commit: it must not be there before the rest is.
        let mut written = TileWrite::AlreadyThere;
        for (array, chunk) in [
            (&arrays.accuracy, arrays.accuracy.encode(&accuracy, width)?),
            (&arrays.flags, arrays.flags.encode(&flags, width)?),
            (&arrays.loss, arrays.loss.encode(&loss, width)?),
        ] {
            written = self.write_chunk(id, array, tile, chunk).await?;
        }
        Ok(written)
    }

    async fn write_chunk(
        &self,
        id: &SurfaceId,
        array: &SurfaceArray,
        tile: &Tile,
        chunk: Bytes,
    ) -> Result<TileWrite, StoreError> {
        let path = layout::surface_object(id, &array.chunk_key(&tile.chunk));
        if self.objects.put_new(&path, chunk.clone()).await? {
            return Ok(TileWrite::Written);
        }
        match self.objects.get(&path).await? {
            Some(there) if there == chunk => Ok(TileWrite::AlreadyThere),
            Some(_) => Err(StoreError::Conflict { path: path.to_string() }),
            None => Err(StoreError::not_found(id)),
        }
    }

    /// The numbers of the tiles that are done.
    ///
    /// # Errors
    /// When the backend fails.
    pub async fn committed_tiles(&self, id: &SurfaceId, plan: &TilePlan) -> Result<BTreeSet<u64>, StoreError> {
        let arrays = SurfaceArrays::new(plan)?;
        let paths = self.objects.list(&layout::surface_object(id, arrays.loss.name())).await?;
        let there: BTreeSet<&str> = paths.iter().map(AsRef::as_ref).collect();
        let is_there = |tile: &Tile| {
            let path = layout::surface_object(id, &arrays.loss.chunk_key(&tile.chunk));
            there.contains(path.as_ref())
        };
        Ok(plan.tiles().filter(is_there).map(|tile| tile.idx).collect())
    }

    /// The values of a tile, row-major, or none when it is not done.
    ///
    /// # Errors
    /// `Corrupt` when a chunk is missing or damaged.
    pub async fn read_tile(
        &self,
        id: &SurfaceId,
        plan: &TilePlan,
        tile: &Tile,
    ) -> Result<Option<Vec<PointValue>>, StoreError> {
        self.read_points(id, &SurfaceArrays::new(plan)?, tile).await
    }

    async fn read_points(
        &self,
        id: &SurfaceId,
        arrays: &SurfaceArrays,
        tile: &Tile,
    ) -> Result<Option<Vec<PointValue>>, StoreError> {
        let Some(loss) = self.read_chunk::<f64>(id, &arrays.loss, tile).await? else { return Ok(None) };
        let missing = |array: &SurfaceArray| {
            let path = layout::surface_object(id, &array.chunk_key(&tile.chunk));
            StoreError::corrupt(path, "the chunk is missing although the tile is done")
        };
        let accuracy = self.read_chunk::<f64>(id, &arrays.accuracy, tile).await?;
        let accuracy = accuracy.ok_or_else(|| missing(&arrays.accuracy))?;
        let flags = self.read_chunk::<u8>(id, &arrays.flags, tile).await?;
        let flags = flags.ok_or_else(|| missing(&arrays.flags))?;
        let values = loss.into_iter().zip(accuracy).map(|(loss, accuracy)| PointValue { loss, accuracy });
        let values: Vec<_> = values.collect();
        if values.iter().zip(&flags).any(|(value, flag)| value.flag() as u8 != *flag) {
            let path = layout::surface_object(id, &arrays.flags.chunk_key(&tile.chunk));
            return Err(StoreError::corrupt(path, "a flag is not that of its loss"));
        }
        Ok(Some(values))
    }

    async fn read_chunk<T: Entry>(
        &self,
        id: &SurfaceId,
        array: &SurfaceArray,
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
        let record = self.get_surface(id).await?;
        let (grid, plan) = (record.spec.grid, record.plan());
        let arrays = SurfaceArrays::new(&plan)?;
        let n_points = grid.n_rows() as usize * grid.n_columns() as usize;
        let mut values = SurfaceValues {
            x: grid.x.coordinates(),
            y: grid.y.map_or_else(|| vec![0.0], |y| y.coordinates()),
            loss: vec![f64::NAN; n_points],
            accuracy: vec![f64::NAN; n_points],
            flags: vec![PointFlag::Never; n_points],
        };
        let arrays = &arrays;
        let mut tiles = futures::stream::iter(self.committed_tiles(id, &plan).await?)
            .filter_map(|idx| std::future::ready(plan.tile(idx)))
            .map(|tile| async move { Ok::<_, StoreError>((self.read_points(id, arrays, &tile).await?, tile)) })
            .buffer_unordered(N_CONCURRENT);
        while let Some((points, tile)) = tiles.try_next().await? {
            for ((row, column), point) in tile.points().zip(points.into_iter().flatten()) {
                let idx = row as usize * grid.n_columns() as usize + column as usize;
                values.loss[idx] = point.loss;
                values.accuracy[idx] = point.accuracy;
                values.flags[idx] = point.flag();
            }
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use relief_core::{Grid, SurfaceSpec};

    use super::*;
    use crate::conformance::{on_every_store, provenance, specification};
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
        PointValue { loss, accuracy: f64::from(row * 5 + column) }
    }

    fn values(tile: &Tile) -> Vec<PointValue> {
        tile.points().map(|(row, column)| value(row, column)).collect()
    }

    async fn create(store: &Store, spec: &SurfaceSpec) -> TilePlan {
        store.create_surface(&id(), spec, &provenance()).await.expect("a surface");
        store.get_surface(&id()).await.expect("a record").plan()
    }

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[tokio::test]
    async fn values_come_back_bit_for_bit_whatever_the_tiles() {
        for shape in ["2x2", "1x1", "3x5", "2x3", "9x9"] {
            on_every_store(async |store| {
                let plan = create(store, &surface(shape)).await;
                for tile in plan.tiles() {
                    let written = store.write_tile(&id(), &plan, &tile, &values(&tile)).await.expect("a tile");
                    assert_eq!(written, TileWrite::Written);
                    let read = store.read_tile(&id(), &plan, &tile).await.expect("a tile").expect("done");
                    assert_eq!(
                        bits(&read.iter().map(|value| value.loss).collect::<Vec<_>>()),
                        bits(&values(&tile).iter().map(|value| value.loss).collect::<Vec<_>>())
                    );
                }
                let read = store.read_surface(&id()).await.expect("values");
                let expected: Vec<_> = (0..3).flat_map(|row| (0..5).map(move |column| value(row, column))).collect();
                assert_eq!(bits(&read.loss), bits(&expected.iter().map(|v| v.loss).collect::<Vec<_>>()));
                assert_eq!(read.accuracy, expected.iter().map(|v| v.accuracy).collect::<Vec<_>>());
                assert_eq!(read.flags, expected.iter().map(PointValue::flag).collect::<Vec<_>>());
                assert_eq!((read.x, read.y), (surface(shape).grid.x.coordinates(), vec![-1.0, 0.0, 1.0]));
            })
            .await;
        }
    }

    #[tokio::test]
    async fn a_tile_is_done_with_its_loss_and_not_before() {
        on_every_store(async |store| {
            let plan = create(store, &surface("2x2")).await;
            let tile = plan.tile(4).expect("a tile");
            let arrays = SurfaceArrays::new(&plan).expect("arrays");
            let chunk = arrays.accuracy.encode(&[8.0, 9.0], 2).expect("a chunk");
            store.write_chunk(&id(), &arrays.accuracy, &tile, chunk).await.expect("a chunk");
            assert!(store.committed_tiles(&id(), &plan).await.expect("tiles").is_empty());
            assert_eq!(store.read_tile(&id(), &plan, &tile).await.expect("no tile"), None);
            let read = store.read_surface(&id()).await.expect("values");
            assert!(read.flags.iter().all(|flag| *flag == PointFlag::Never));
            assert!(read.loss.iter().chain(&read.accuracy).all(|value| value.is_nan()));
            assert!(!read.is_complete());

            let tile_values: Vec<_> = [8.0, 9.0].map(|accuracy| PointValue { loss: f64::NAN, accuracy }).to_vec();
            let other = plan.tile(3).expect("a tile");
            store.write_tile(&id(), &plan, &other, &values(&other)).await.expect("a tile");
            assert_eq!(plan.tile(5).map(|tile| tile.n_points()), Some(1));
            let narrow = plan.tile(4).expect("a tile");
            assert_eq!(narrow.n_points(), 2);
            store.write_tile(&id(), &plan, &narrow, &tile_values).await.expect("a tile of NaN is a result");
            let done = store.committed_tiles(&id(), &plan).await.expect("tiles");
            assert_eq!(done.into_iter().collect::<Vec<_>>(), [3, 4]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_tile_written_again_must_be_the_same() {
        on_every_store(async |store| {
            let plan = create(store, &surface("2x2")).await;
            let tile = plan.tile(0).expect("a tile");
            store.write_tile(&id(), &plan, &tile, &values(&tile)).await.expect("a tile");
            let mut again = values(&tile);
            again[0].loss = -f64::NAN;
            let written = store.write_tile(&id(), &plan, &tile, &again).await.expect("the same tile");
            assert_eq!(written, TileWrite::AlreadyThere);

            let mut other = values(&tile);
            other[3].loss = f64::from_bits(other[3].loss.to_bits() + 1);
            let error = store.write_tile(&id(), &plan, &tile, &other).await.expect_err("another value");
            assert!(matches!(&error, StoreError::Conflict { path } if path == "surfaces/s-1.zarr/loss/c/0/0"));
            let read = store.read_tile(&id(), &plan, &tile).await.expect("a tile").expect("done");
            assert_eq!(read[3], values(&tile)[3]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_wrong_number_of_values_is_refused() {
        let store = Store::open("memory://").expect("a store");
        let plan = create(&store, &surface("2x2")).await;
        let tile = plan.tile(2).expect("a tile");
        let error = store.write_tile(&id(), &plan, &tile, &[value(0, 0); 4]).await.expect_err("too many");
        assert_eq!(error.to_string(), "values: 4 values for the 2 points of tile 2");
        assert!(store.committed_tiles(&id(), &plan).await.expect("tiles").is_empty());
    }

    #[tokio::test]
    async fn damaged_tiles_are_found() {
        on_every_store(async |store| {
            let plan = create(store, &surface("2x2")).await;
            let tile = plan.tile(1).expect("a tile");
            store.write_tile(&id(), &plan, &tile, &values(&tile)).await.expect("a tile");
            let arrays = SurfaceArrays::new(&plan).expect("arrays");
            let path = |array: &SurfaceArray| layout::surface_object(&id(), &array.chunk_key(&tile.chunk));
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
            let plan = create(store, &surface("2x2")).await;
            let tile = plan.tile(0).expect("a tile");
            store.write_tile(&id(), &plan, &tile, &values(&tile)).await.expect("a tile");
            store.delete_surface(&id()).await.expect("a deletion");
            store.write_tile(&id(), &plan, &tile, &values(&tile)).await.expect("a tile that comes late");
            let plan = create(store, &surface("2x2")).await;
            assert!(store.committed_tiles(&id(), &plan).await.expect("tiles").is_empty());
        })
        .await;
    }

    #[tokio::test]
    async fn a_curve_has_one_row_at_zero() {
        on_every_store(async |store| {
            let grid = Grid { x: "0:1:4".parse().expect("an axis"), y: None };
            let plan = create(store, &specification(grid, "1x3")).await;
            for tile in plan.tiles() {
                let tile_values: Vec<_> = tile.points().map(|(row, column)| value(row + 1, column)).collect();
                store.write_tile(&id(), &plan, &tile, &tile_values).await.expect("a tile");
            }
            let read = store.read_surface(&id()).await.expect("values");
            assert_eq!((read.y, read.loss), (vec![0.0], vec![10.1, 11.1, 12.1, 13.1]));
        })
        .await;
    }
}
