//! What a trajectory came to, as a Zarr group.

use bytes::Bytes;
use object_store::path::Path;
use relief_core::{PointFlag, PointValue, PointValues, ProjectedStop, Split};
use serde_json::Map;

use crate::error::StoreError;
use crate::layout;
use crate::object::Placed;
use crate::store::Store;
use crate::surface::attribute;
use crate::trajectory::{TrajectoryAxesRecord, TrajectoryRecord};
use crate::zarr::{self, Entry, METADATA, ZarrArray};

/// The objects of a group, the metadata of each array before its chunk.
struct Group {
    path: Path,
    objects: Vec<(Path, Bytes)>,
}

impl Group {
    /// Adds an array with one dimension; one without entries is left out.
    fn add<T: Entry>(&mut self, name: &str, dimension: &str, entries: &[T]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let array = ZarrArray::line::<T>(name, entries.len(), dimension)?;
        let object = |key: &str| layout::group_object(self.path.clone(), key);
        let metadata = (object(&array.metadata_key()), array.metadata()?);
        let chunk = (object(&array.chunk_key(&[0])), array.encode(entries, entries.len())?);
        self.objects.extend([metadata, chunk]);
        Ok(())
    }

    /// Adds the values of one split.
    fn add_values(&mut self, prefix: &str, values: &[Option<PointValue>]) -> Result<(), StoreError> {
        let of = |metric: fn(&PointValue) -> f64| -> Vec<f64> {
            values.iter().map(|value| value.as_ref().map_or(f64::NAN, metric)).collect()
        };
        self.add(&format!("{prefix}loss"), STOP, &of(|value| value.loss))?;
        self.add(&format!("{prefix}squared_error"), STOP, &of(|value| value.squared_error))?;
        self.add(&format!("{prefix}accuracy"), STOP, &of(|value| value.accuracy))?;
        let flag = |value: &Option<PointValue>| value.as_ref().map_or(PointFlag::Never, PointValue::flag) as u8;
        self.add(&format!("{prefix}flags"), STOP, &values.iter().map(flag).collect::<Vec<_>>())
    }
}

const STOP: &str = "stop";

/// Everything that is put, the metadata of the group last.
fn group(
    record: &TrajectoryRecord,
    axes: &TrajectoryAxesRecord,
    values: &[Option<PointValues>],
) -> Result<Vec<(Path, Bytes)>, StoreError> {
    let TrajectoryAxesRecord { projection, directions, grid } = axes;
    let (spec, provenance) = (&record.spec, &record.provenance);
    let mut group = Group { path: layout::trajectory_group(&record.id), objects: Vec::new() };
    let paths: Option<Vec<u16>> = spec.stops().map(|(path, _)| u16::try_from(path).ok()).collect();
    group.add("path", STOP, &paths.ok_or_else(|| StoreError::invalid("paths", "there are more than 65536"))?)?;
    let unknown = |number: Option<f64>| number.unwrap_or(f64::NAN);
    let epochs: Vec<f64> = spec.stops().map(|(_, stop)| unknown(stop.epoch.map(f64::from))).collect();
    group.add("epoch", STOP, &epochs)?;
    let rates: Vec<f64> = spec.stops().map(|(_, stop)| unknown(stop.rate)).collect();
    group.add("learning_rate", STOP, &rates)?;
    let of = |number: fn(&ProjectedStop) -> f64| projection.stops.iter().map(number).collect::<Vec<f64>>();
    group.add("x", STOP, &of(|stop| stop.x))?;
    group.add("y", STOP, &of(|stop| stop.y))?;
    group.add("off_plane", STOP, &of(|stop| stop.off_plane))?;
    group.add("distance", STOP, &of(|stop| stop.distance))?;
    group.add("step_norm", STOP, &of(|stop| stop.step_norm.unwrap_or(f64::NAN)))?;
    group.add("step_cosine", STOP, &of(|stop| stop.step_cosine.unwrap_or(f64::NAN)))?;
    let drops: Vec<u8> = projection.stops.iter().map(|stop| u8::from(stop.is_drop)).collect();
    group.add("is_drop", STOP, &drops)?;
    let main: Vec<_> = values.iter().map(|values| values.as_ref().map(|values| values.main)).collect();
    group.add_values("", &main)?;
    if let Some(split) = spec.also {
        let also: Vec<_> = values.iter().map(|values| values.as_ref().and_then(|values| values.also)).collect();
        group.add_values(&zarr::prefix_of(split), &also)?;
    }
    group.add("singular_values", "component", &projection.singular_values)?;

    let mut attributes = Map::new();
    attribute(&mut attributes, "specification", spec)?;
    attribute(&mut attributes, "provenance", provenance)?;
    attribute(&mut attributes, "incarnation", &record.incarnation)?;
    attribute(&mut attributes, "explained", &projection.explained)?;
    attribute(&mut attributes, "explained_plane", &projection.explained_plane)?;
    attribute(&mut attributes, "norms", &projection.norms)?;
    attribute(&mut attributes, "cosine", &projection.cosine)?;
    attribute(&mut attributes, "directions", directions)?;
    attribute(&mut attributes, "grid", grid)?;
    attribute(&mut attributes, "surface", &provenance.surface)?;
    attribute(&mut attributes, "splits", &std::iter::once(spec.data.split).chain(spec.also).collect::<Vec<Split>>())?;
    let metadata = (layout::group_object(group.path.clone(), METADATA), zarr::group_metadata(attributes)?);
    group.objects.push(metadata);
    Ok(group.objects)
}

impl Store {
    /// Stores what a trajectory came to as a Zarr v3 group, for whoever reads it without Relief; its metadata comes
    /// last. Every array has an entry per stop of all paths, in order, in one chunk: `path` (the index of the stop's
    /// path), `epoch`, `learning_rate`, `x`, `y`, `off_plane`, `distance`, `step_norm`, `step_cosine`, `is_drop`, and
    /// `loss`, `squared_error`, `accuracy` and `flags` as a surface has them, with a second split as `test_loss` and
    /// so on; what is not known is NaN. `singular_values`, where there are any, has an entry per component.
    ///
    /// # Errors
    /// `Conflict` when a part is there with other bytes; `Invalid` when there is not one entry for each stop;
    /// `NotFound` when there is no trajectory of that name, and `Superseded` when it was made anew since `record` was
    /// read.
    pub async fn put_trajectory_result(
        &self,
        record: &TrajectoryRecord,
        axes: &TrajectoryAxesRecord,
        values: &[Option<PointValues>],
    ) -> Result<(), StoreError> {
        let n_stops = record.spec.n_stops();
        for (field, found) in [("stops", axes.projection.stops.len()), ("values", values.len())] {
            if found != n_stops {
                return Err(StoreError::invalid(field, format!("{found} entries for {n_stops} stops")));
            }
        }
        let objects = group(record, axes, values)?;
        let _change = self.change().await;
        // The group is all of a trajectory that does not lie under its incarnation.
        self.check_trajectory(record).await?;
        for (path, bytes) in objects {
            match self.objects.place(&path, bytes).await? {
                Placed::New | Placed::Same => {}
                Placed::Other(Some(_)) => return Err(StoreError::Conflict { path: path.to_string() }),
                Placed::Other(None) => return Err(StoreError::not_found(&record.id)),
            }
        }
        Ok(())
    }
}
