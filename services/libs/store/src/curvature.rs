//! The curvature that a surface may carry beside its loss: the arrays `lambda_min` and `lambda_max` of its group.

use futures::{StreamExt, TryStreamExt};
use relief_core::{Curvature, TilePlan};

use crate::error::StoreError;
use crate::layout;
use crate::object::N_CONCURRENT;
use crate::store::Store;
use crate::surface::SurfaceRecord;
use crate::zarr::ZarrArray;

/// The names of the arrays, and of the values that they hold.
const NAMES: [&str; 2] = ["lambda_min", "lambda_max"];

fn arrays(plan: &TilePlan) -> Result<[ZarrArray; 2], StoreError> {
    let [min, max] = NAMES.map(|name| ZarrArray::of_grid::<f64>(name, plan));
    Ok([min?, max?])
}

impl Store {
    /// Puts or replaces the curvature of a surface.
    ///
    /// # Errors
    /// `Invalid` when there is not one value for each point of the surface's grid.
    pub async fn put_curvature(&self, record: &SurfaceRecord, curvature: &Curvature) -> Result<(), StoreError> {
        let plan = record.plan();
        let n_columns = plan.grid().n_columns() as usize;
        let n_points = plan.grid().n_rows() as usize * n_columns;
        for (array, values) in arrays(&plan)?.iter().zip([&curvature.lambda_min, &curvature.lambda_max]) {
            if values.len() != n_points {
                let reason = format!("it holds {} values for {n_points} points", values.len());
                return Err(StoreError::invalid(array.name(), reason));
            }
            for tile in plan.tiles() {
                let of_tile: Vec<f64> =
                    tile.points().map(|(row, column)| values[row as usize * n_columns + column as usize]).collect();
                let path = layout::surface_object(&record.id, &array.chunk_key(&tile.chunk));
                self.objects.put(&path, array.encode(&of_tile, tile.columns.len())?).await?;
            }
            // The array is there once its metadata are.
            let path = layout::surface_object(&record.id, &array.metadata_key());
            self.objects.put(&path, array.metadata()?).await?;
        }
        Ok(())
    }

    /// The curvature of a surface; none when it does not carry both eigenvalues. Chunks that are not there are not
    /// computed.
    ///
    /// # Errors
    /// `Corrupt` when an array has other metadata than [`Self::put_curvature`] writes, or a chunk is damaged.
    pub async fn read_curvature(&self, record: &SurfaceRecord) -> Result<Option<Curvature>, StoreError> {
        let (plan, grid) = (record.plan(), record.spec.grid);
        let mut eigenvalues = Vec::with_capacity(NAMES.len());
        for array in arrays(&plan)? {
            let Some(values) = self.read_grid(record, &array, &plan).await? else { return Ok(None) };
            eigenvalues.push(values);
        }
        let (Some(lambda_max), Some(lambda_min)) = (eigenvalues.pop(), eigenvalues.pop()) else { return Ok(None) };
        let y = grid.y.map_or_else(|| vec![0.0], |y| y.coordinates());
        Ok(Some(Curvature { x: grid.x.coordinates(), y, lambda_min, lambda_max }))
    }

    /// All values of an array over the surface's grid; none when there is no such array.
    async fn read_grid(
        &self,
        record: &SurfaceRecord,
        array: &ZarrArray,
        plan: &TilePlan,
    ) -> Result<Option<Vec<f64>>, StoreError> {
        let path = layout::surface_object(&record.id, &array.metadata_key());
        let Some(metadata) = self.objects.get(&path).await? else { return Ok(None) };
        if !array.is_described_by(&metadata) {
            let ours = "it must have the shape, the chunks, the data type, the codecs and the fill value of `loss`";
            return Err(StoreError::corrupt(path, ours));
        }
        let n_columns = plan.grid().n_columns() as usize;
        let mut values = vec![f64::NAN; plan.grid().n_rows() as usize * n_columns];
        let mut tiles = futures::stream::iter(plan.tiles())
            .map(|tile| async move {
                let path = layout::surface_object(&record.id, &array.chunk_key(&tile.chunk));
                Ok::<_, StoreError>((self.objects.get(&path).await?, path, tile))
            })
            .buffer_unordered(N_CONCURRENT);
        while let Some((chunk, path, tile)) = tiles.try_next().await? {
            let Some(chunk) = chunk else { continue };
            let decoded = array.decode::<f64>(&chunk, tile.rows.len(), tile.columns.len());
            let decoded =
                decoded.ok_or_else(|| StoreError::corrupt(path, format!("{} bytes are not a chunk", chunk.len())))?;
            for ((row, column), value) in tile.points().zip(decoded) {
                values[row as usize * n_columns + column as usize] = value;
            }
        }
        Ok(Some(values))
    }
}

#[cfg(test)]
mod tests {
    use relief_core::Grid;

    use super::*;
    use crate::conformance::{new_surface, on_every_store, specification};
    use crate::error::StoreErrorKind;

    async fn surface(store: &Store) -> SurfaceRecord {
        let grid = Grid { x: "-1:1:3".parse().expect("an axis"), y: Some("0:1:2".parse().expect("an axis")) };
        let id: relief_core::SurfaceId = "s".parse().expect("an id");
        store.create_surface(&new_surface(id.clone(), &specification(grid, "2x2"))).await.expect("a surface");
        store.get_surface(&id).await.expect("a record")
    }

    #[tokio::test]
    async fn curvature_comes_back_as_far_as_it_is_there() {
        on_every_store(async |store| {
            let record = surface(store).await;
            assert_eq!(store.read_curvature(&record).await.expect("no curvature"), None);
            let curvature = Curvature {
                x: vec![-1.0, 0.0, 1.0],
                y: vec![0.0, 1.0],
                lambda_min: vec![-1.0, -2.0, -3.0, -4.0, -5.0, -6.0],
                lambda_max: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.5],
            };
            store.put_curvature(&record, &curvature).await.expect("a put");
            assert_eq!(store.read_curvature(&record).await.expect("curvature"), Some(curvature));
            let chunk = layout::surface_object(&record.id, "lambda_max/c/0/1");
            store.objects.delete(&chunk).await.expect("a deletion");
            let partial = store.read_curvature(&record).await.expect("curvature").expect("there");
            assert!(partial.lambda_max[2].is_nan() && partial.lambda_max[5].is_nan());
            assert_eq!(partial.lambda_max[4], 5.0);
            let paths = store.objects.list(&layout::surface_object(&record.id, "lambda_min")).await.expect("a list");
            assert_eq!(paths.len(), 3);
        })
        .await;
    }

    #[tokio::test]
    async fn an_array_of_another_form_is_refused() {
        on_every_store(async |store| {
            let record = surface(store).await;
            let short = Curvature { lambda_min: vec![0.0; 5], lambda_max: vec![0.0; 6], ..Curvature::default() };
            let error = store.put_curvature(&record, &short).await.expect_err("a value is missing");
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            let full = Curvature { lambda_min: vec![0.0; 6], ..short };
            store.put_curvature(&record, &full).await.expect("a put");
            let path = layout::surface_object(&record.id, "lambda_min/zarr.json");
            let metadata = store.objects.get(&path).await.expect("an object").expect("metadata");
            let text = String::from_utf8(metadata.to_vec()).expect("UTF-8");
            for (from, to) in [("float64", "float32"), ("\"NaN\"", "0.0"), ("\"little\"", "\"big\"")] {
                assert!(text.contains(from), "{text}");
                store.objects.put(&path, text.replace(from, to).into()).await.expect("a put");
                let error = store.read_curvature(&record).await.expect_err("another form");
                assert!(error.to_string().contains("the data type"), "{error}");
            }
            // An attribute, or an empty configuration, changes nothing.
            let same = text.replacen('{', "{\"attributes\": {\"by\": \"me\"},", 1);
            let same = same.replace("\"float64\"", "{\"name\": \"float64\", \"configuration\": {}}");
            store.objects.put(&path, same.into()).await.expect("a put");
            assert!(store.read_curvature(&record).await.expect("the same form").is_some());
        })
        .await;
    }
}
