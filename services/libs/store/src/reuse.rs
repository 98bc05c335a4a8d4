//! Points that were computed before, found by what they depend on.
//!
//! A value depends on the network, the origin, the directions, the mode of the batch normalisations, the samples, the
//! numeric class and the coefficients. The digest of all but the last, one for each split, is a key; `points/KEY/ID` says
//! that the surface ID may hold values of it. It is a hint and no more: the key is computed again from the record of
//! that surface before anything is taken from it, so that nothing stale is ever found.

use std::collections::{BTreeMap, BTreeSet};

use relief_core::{Axis, Digest, Grid, PointValue, PointValues, SplitValues, SurfaceId};

use crate::error::{StoreError, StoreErrorKind};
use crate::layout;
use crate::store::Store;
use crate::surface::{DirectionSource, Reuse, SampleSource, SurfaceRecord};

/// What the values of a surface depend on besides their coefficients, for each split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueKeys {
    /// Of the main split.
    pub main: Digest,
    /// Of the second split, where there is one.
    pub also: Option<Digest>,
}

/// Points of a surface that others have.
#[derive(Debug, Default)]
pub struct FoundPoints {
    /// An entry per point of the grid, row-major, none where it must be computed; or no entry where all must be.
    pub values: Vec<Option<PointValues>>,
    /// How many are there, and who has them.
    pub reuse: Reuse,
    /// What could not be read of surfaces that might have some.
    pub damages: Vec<StoreError>,
}

impl SurfaceRecord {
    /// The keys of its values when they are computed in `class`.
    #[must_use]
    pub fn value_keys(&self, class: &str) -> ValueKeys {
        let main = self.value_key(class, &self.provenance.samples);
        ValueKeys { main, also: self.provenance.also.map(|also| self.value_key(class, &also)) }
    }

    fn value_key(&self, class: &str, samples: &SampleSource) -> Digest {
        let provenance = &self.provenance;
        let mut parts: Vec<Vec<u8>> = vec![
            b"relief values v1".to_vec(),
            provenance.network_digest.as_bytes().to_vec(),
            provenance.checkpoint_digest.as_bytes().to_vec(),
            self.spec.plane.batch_norm.as_str().into(),
            class.into(),
        ];
        for samples in std::iter::once(samples).chain(&provenance.statistics) {
            parts.push(samples.digest.as_bytes().to_vec());
            parts.push(samples.n_samples.to_le_bytes().to_vec());
        }
        for direction in &provenance.directions {
            parts.push(match direction {
                DirectionSource::Step(_) => b"step".to_vec(),
                DirectionSource::Towards(_) => b"towards".to_vec(),
            });
            parts.push(direction.digest().as_bytes().to_vec());
        }
        Digest::of_parts(parts.iter().map(Vec::as_slice))
    }

    /// The values of `key` that it has, if any.
    fn split_of<'a>(&self, key: Digest, values: &'a relief_core::SurfaceValues) -> Option<&'a SplitValues> {
        let keys = self.value_keys(&self.provenance.numeric_class);
        match key {
            key if key == keys.main => Some(&values.main),
            key if Some(key) == keys.also => values.also.as_ref(),
            _ => None,
        }
    }

    fn has_key(&self, key: Digest) -> bool {
        let keys = self.value_keys(&self.provenance.numeric_class);
        key == keys.main || Some(key) == keys.also
    }
}

/// A coefficient as parameters see it: in float32, and the two zeros are one.
fn coefficient(value: f64) -> u32 {
    (value as f32 + 0.0).to_bits()
}

/// The places of `axis` that `other` has too, each with its place there.
fn shared(axis: Option<Axis>, other: Option<Axis>) -> Vec<(usize, usize)> {
    let coordinates = |axis: Option<Axis>| axis.map_or_else(|| vec![0.0], |axis| axis.coordinates());
    let there: BTreeMap<u32, usize> =
        coordinates(other).into_iter().enumerate().map(|(idx, value)| (coefficient(value), idx)).collect();
    let here = coordinates(axis).into_iter().enumerate();
    here.filter_map(|(idx, value)| Some((idx, *there.get(&coefficient(value))?))).collect()
}

/// What was found on one split: for each point its value, and the place of the surface that has it among `donors`.
#[derive(Debug, Default)]
struct FoundSplit {
    values: Vec<Option<(PointValue, usize)>>,
    donors: Vec<SurfaceId>,
}

impl Store {
    /// Looks for points of `record`, to be computed in `class`, in other surfaces that have values of the same key: in
    /// those that it has taken points from before, where its work has begun already, else in all.
    ///
    /// # Errors
    /// When the backend fails to list them. What cannot be read is reported with what was found: it is computed instead.
    pub async fn find_points(&self, record: &SurfaceRecord, class: &str) -> Result<FoundPoints, StoreError> {
        let mut found = FoundPoints::default();
        if record.spec.fresh || record.reuse.as_ref().is_some_and(|reuse| reuse.surfaces.is_empty()) {
            return Ok(found);
        }
        let ValueKeys { main, also } = record.value_keys(class);
        let main = self.find_split(record, main, &mut found.damages).await?;
        let also = match also {
            None => None,
            Some(also) => Some(self.find_split(record, also, &mut found.damages).await?),
        };
        let mut takers = BTreeSet::new();
        for (idx, value) in main.values.iter().enumerate() {
            let second = also.as_ref().map(|also| also.values.get(idx).copied().flatten());
            found.values.push(match (value, second) {
                (Some((value, donor)), None) => {
                    takers.insert(main.donors[*donor].clone());
                    Some(PointValues::from(*value))
                }
                (Some((value, donor)), Some(Some((second, second_donor)))) => {
                    takers.insert(main.donors[*donor].clone());
                    takers.extend(also.as_ref().map(|also| also.donors[second_donor].clone()));
                    Some(PointValues { main: *value, also: Some(second) })
                }
                _ => None,
            });
        }
        found.reuse.n_points = found.values.iter().flatten().count() as u64;
        found.reuse.surfaces = takers.into_iter().collect();
        Ok(found)
    }

    async fn find_split(
        &self,
        record: &SurfaceRecord,
        key: Digest,
        damages: &mut Vec<StoreError>,
    ) -> Result<FoundSplit, StoreError> {
        let grid = record.spec.grid;
        let values = vec![None; grid.n_rows() as usize * grid.n_columns() as usize];
        let mut found = FoundSplit { values, donors: Vec::new() };
        let hints = self.objects.list(&layout::points(key)).await?;
        let donors: BTreeSet<SurfaceId> = hints.iter().filter_map(|path| path.filename()?.parse().ok()).collect();
        let is_asked = |id: &SurfaceId| record.reuse.as_ref().is_none_or(|reuse| reuse.surfaces.contains(id));
        for id in donors.into_iter().filter(|id| *id != record.id && is_asked(id)) {
            if found.values.iter().all(Option::is_some) {
                break;
            }
            match self.take_points(&id, key, grid, &mut found).await {
                Ok(()) => found.donors.push(id),
                Err(error) if error.kind() == StoreErrorKind::NotFound => {}
                Err(error) => damages.push(error),
            }
        }
        Ok(found)
    }

    /// Fills in what the surface `id`, the next of the donors, has of `grid`.
    async fn take_points(
        &self,
        id: &SurfaceId,
        key: Digest,
        grid: Grid,
        found: &mut FoundSplit,
    ) -> Result<(), StoreError> {
        let other = self.get_surface(id).await?;
        let (columns, rows) = (shared(Some(grid.x), Some(other.spec.grid.x)), shared(grid.y, other.spec.grid.y));
        if !other.has_key(key) || columns.is_empty() || rows.is_empty() {
            return Ok(());
        }
        let there = self.read_values(&other).await;
        // One that was deleted meanwhile has no values, and one of that name since then may have others.
        let now = self.get_surface(id).await?;
        if now.log.incarnation != other.log.incarnation {
            return Ok(());
        }
        let there = there?;
        let Some(split) = other.split_of(key, &there) else { return Ok(()) };
        let donor = found.donors.len();
        for (row, other_row) in rows {
            for (column, other_column) in &columns {
                let value = &mut found.values[row * grid.n_columns() as usize + column];
                if value.is_none() {
                    *value = split.get(other_row * there.n_columns() + other_column).map(|value| (value, donor));
                }
            }
        }
        Ok(())
    }

    /// Lets others find the points of a surface whose class is known.
    pub(crate) async fn announce_points(&self, record: &SurfaceRecord) -> Result<(), StoreError> {
        for key in announced(record) {
            self.objects.put(&layout::points(key).join(record.id.as_str()), record.id.to_string().into()).await?;
        }
        Ok(())
    }

    /// The points of a surface are no longer there.
    pub(crate) async fn withdraw_points(&self, record: &SurfaceRecord) -> Result<(), StoreError> {
        for key in announced(record) {
            self.objects.delete(&layout::points(key).join(record.id.as_str())).await?;
        }
        Ok(())
    }
}

fn announced(record: &SurfaceRecord) -> Vec<Digest> {
    match record.provenance.numeric_class.as_str() {
        "" => Vec::new(),
        class => {
            let ValueKeys { main, also } = record.value_keys(class);
            std::iter::once(main).chain(also).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use relief_core::{BatchNormMode, Split, SurfaceSpec};

    use super::*;
    use crate::conformance::{anew, new_surface, on_every_store, specification};

    const CLASS: &str = "burn-flex/f32";

    fn record(id: &str, x: &str, y: Option<&str>) -> SurfaceRecord {
        let axis = |text: &str| text.parse().expect("an axis");
        let spec = specification(Grid { x: axis(x), y: y.map(axis) }, "2x2");
        new_surface(id.parse().expect("an id"), &spec)
    }

    fn value(a: f64, b: f64) -> PointValue {
        PointValue { loss: a + 10.0 * b, squared_error: a, accuracy: 50.0 }
    }

    /// Stores `record` with values at every point of its first `n_tiles`.
    async fn compute(store: &Store, record: &SurfaceRecord, n_tiles: usize) -> SurfaceRecord {
        store.create_surface(record).await.expect("a surface");
        let begun = store.begin_surface(record, 1, CLASS, Reuse::default()).await.expect("a beginning");
        for tile in record.plan().tiles().take(n_tiles) {
            let point = |(row, column)| {
                let (a, b) = record.spec.grid.coefficients(row, column);
                PointValues { main: value(a, b), also: record.spec.also.map(|_| value(a, b + 1.0)) }
            };
            let points: Vec<PointValues> = tile.points().map(point).collect();
            store.write_tile(record, &tile, &points).await.expect("a tile");
        }
        begun
    }

    async fn found(store: &Store, record: &SurfaceRecord) -> Vec<Option<PointValues>> {
        store.find_points(record, CLASS).await.expect("a search").values
    }

    #[tokio::test]
    async fn a_finer_grid_finds_the_points_of_a_coarser_one() {
        on_every_store(async |store| {
            compute(store, &record("coarse", "-1:1:3", Some("0:1:2")), usize::MAX).await;
            let fine = record("fine", "-1:1:5", Some("0:1:3"));
            let found = store.find_points(&fine, CLASS).await.expect("a search");
            assert_eq!(found.reuse, Reuse { n_points: 6, surfaces: vec!["coarse".parse().expect("an id")] });
            for row in 0..3 {
                for column in 0..5 {
                    let (a, b) = fine.spec.grid.coefficients(row, column);
                    let expected = (row % 2 == 0 && column % 2 == 0).then(|| PointValues::from(value(a, b)));
                    assert_eq!(found.values[(row * 5 + column) as usize], expected, "({a}, {b})");
                }
            }
        })
        .await;
    }

    #[tokio::test]
    async fn only_points_that_are_stored_are_found() {
        on_every_store(async |store| {
            let partial = compute(store, &record("partial", "-1:1:4", Some("-1:1:4")), 1).await;
            let again = record("again", "-1:1:4", Some("-1:1:4"));
            assert_eq!(found(store, &again).await.iter().flatten().count(), 4);
            store.delete_surface(&partial, 1).await.expect("a deletion");
            assert_eq!(found(store, &again).await.iter().flatten().count(), 0);
            let left = ["changes/partial.5eed/00000001.json", "changes/partial.5eed/00000002.json"];
            assert_eq!(crate::conformance::everything(store).await, left);
        })
        .await;
    }

    #[tokio::test]
    async fn nothing_is_found_where_anything_else_differs() {
        let store = Store::open("memory://").expect("a store");
        let first = record("first", "-1:1:3", Some("-1:1:3"));
        compute(&store, &first, usize::MAX).await;
        let differs = |change: &dyn Fn(&mut SurfaceRecord)| {
            let mut record = record("second", "-1:1:3", Some("-1:1:3"));
            change(&mut record);
            record
        };
        let other = Digest::of(b"other");
        assert_eq!(found(&store, &differs(&|_| {})).await.iter().flatten().count(), 9);
        for (what, record) in [
            ("network", differs(&|record| record.provenance.network_digest = other)),
            ("checkpoint", differs(&|record| record.provenance.checkpoint_digest = other)),
            ("direction", differs(&|record| record.provenance.directions[1] = DirectionSource::Step(other))),
            ("order", differs(&|record| record.provenance.directions.reverse())),
            (
                "kind",
                differs(&|record| {
                    let digest = record.provenance.directions[0].digest();
                    record.provenance.directions[0] = DirectionSource::Towards(digest);
                }),
            ),
            ("mode", differs(&|record| record.spec.plane.batch_norm = BatchNormMode::Interpolated)),
            ("data", differs(&|record| record.provenance.samples.digest = other)),
            ("limit", differs(&|record| record.provenance.samples.n_samples += 1)),
            ("statistics", differs(&|record| record.provenance.statistics = Some(record.provenance.samples))),
            ("range", record("second", "2:3:3", Some("2:3:3"))),
        ] {
            assert_eq!(found(&store, &record).await.iter().flatten().count(), 0, "{what}");
        }
        let elsewhere = store.find_points(&differs(&|_| {}), "burn-cuda/f32").await.expect("a search");
        assert_eq!(elsewhere.reuse, Reuse::default());
        let fresh = store.find_points(&differs(&|record| record.spec.fresh = true), CLASS).await.expect("a search");
        assert_eq!((fresh.values.len(), fresh.reuse), (0, Reuse::default()));
    }

    #[tokio::test]
    async fn a_hint_that_is_wrong_is_not_believed() {
        let store = Store::open("memory://").expect("a store");
        let honest = record("honest", "-1:1:3", Some("-1:1:3"));
        let mut stale = record("stale", "-1:1:3", Some("-1:1:3"));
        stale.provenance.checkpoint_digest = Digest::of(b"an older checkpoint");
        compute(&store, &stale, usize::MAX).await;
        let hint = layout::points(honest.value_keys(CLASS).main).join("stale");
        store.objects.put(&hint, "surfaces/stale".into()).await.expect("a put");
        assert_eq!(found(&store, &honest).await.iter().flatten().count(), 0);
    }

    #[tokio::test]
    async fn a_surface_that_has_begun_goes_on_with_those_that_it_took_points_from() {
        let store = Store::open("memory://").expect("a store");
        let mut begun = record("begun", "-1:1:3", Some("-1:1:3"));
        begun.reuse = Some(Reuse::default());
        compute(&store, &record("later", "-1:1:3", Some("-1:1:3")), usize::MAX).await;
        assert_eq!(found(&store, &begun).await.iter().flatten().count(), 0, "it began without any");
        begun.reuse = Some(Reuse { n_points: 9, surfaces: vec!["later".parse().expect("an id")] });
        assert_eq!(found(&store, &begun).await.iter().flatten().count(), 9);
    }

    #[tokio::test]
    async fn what_was_made_anew_under_a_name_lends_nothing_to_what_knew_the_old_one() {
        let store = Store::open("memory://").expect("a store");
        let old = compute(&store, &record("name", "-1:1:3", Some("-1:1:3")), usize::MAX).await;
        store.delete_surface(&old, 1).await.expect("a deletion");
        let mut new = anew(old);
        new.provenance.checkpoint_digest = Digest::of(b"another");
        compute(&store, &new, usize::MAX).await;
        let asking = record("asking", "-1:1:3", Some("-1:1:3"));
        // As a hint that outlived a deletion.
        let hint = layout::points(asking.value_keys(CLASS).main).join("name");
        store.objects.put(&hint, "surfaces/name".into()).await.expect("a put");
        assert_eq!(found(&store, &asking).await.iter().flatten().count(), 0);
    }

    #[tokio::test]
    async fn each_split_is_found_by_itself() {
        let store = Store::open("memory://").expect("a store");
        let train = record("train", "-1:1:3", Some("-1:1:3"));
        let test_samples = SampleSource { digest: Digest::of(b"test"), n_samples: 10 };
        let mut both = record("both", "-1:1:3", Some("-1:1:3"));
        both.spec = SurfaceSpec { also: Some(Split::Test), ..both.spec };
        both.provenance.also = Some(test_samples);
        compute(&store, &train, usize::MAX).await;
        let half = store.find_points(&both, CLASS).await.expect("a search");
        assert_eq!(half.reuse, Reuse::default(), "the test split is not there");
        compute(&store, &both, usize::MAX).await;
        let mut test = record("test", "-1:1:3", Some("-1:1:3"));
        test.spec.data.split = Split::Test;
        test.provenance.samples = test_samples;
        let points = found(&store, &test).await;
        assert_eq!(points[0], Some(value(-1.0, 0.0).into()));
    }

    #[tokio::test]
    async fn a_damaged_surface_is_reported_and_others_are_used() {
        let store = Store::open("memory://").expect("a store");
        let damaged = record("a-damaged", "-1:1:3", Some("-1:1:3"));
        compute(&store, &damaged, usize::MAX).await;
        compute(&store, &record("b-whole", "-1:1:3", Some("-1:1:3")), usize::MAX).await;
        let chunk = layout::surface_object(&damaged.id, "accuracy/c/0/0");
        store.objects.delete(&chunk).await.expect("a deletion");
        let found = store.find_points(&record("new", "-1:1:3", Some("-1:1:3")), CLASS).await.expect("a search");
        assert_eq!((found.reuse.n_points, found.damages.len()), (9, 1));
    }
}
