//! The values of a surface, put together from the stream that they come in.

use std::ops::Range;

use anyhow::{Context as _, bail, ensure};
use relief_api::convert::surface::split_from_wire;
use relief_api::surface::v1::read_surface_response::Part;
use relief_api::surface::v1::{ReadSurfaceRequest, SurfaceHeader, SurfaceRows};
use relief_core::{PointFlag, SplitValues, SurfaceId, SurfaceValues};

use crate::client::Client;

/// Reads the values of a surface, as far as they are computed.
pub(crate) async fn read(client: &Client, name: &SurfaceId) -> anyhow::Result<SurfaceValues> {
    let request = ReadSurfaceRequest { name: name.to_string() };
    let refused = |status| client.surfaces.refused(status);
    let mut parts = client.surfaces().read_surface(request).await.map_err(refused)?.into_inner();
    let mut values = None;
    while let Some(part) = parts.message().await.map_err(refused)? {
        add(&mut values, client.surfaces.required("part", part.part)?)?;
    }
    values.context("the server sent no values")
}

fn add(values: &mut Option<SurfaceValues>, part: Part) -> anyhow::Result<()> {
    match (part, values) {
        (Part::Header(header), values @ None) => *values = Some(empty(header)?),
        (Part::Rows(rows), Some(values)) => fill(values, &rows)?,
        (Part::Header(_), Some(_)) => bail!("the server sent the coordinates twice"),
        (Part::Rows(_), None) => bail!("the server sent values before their coordinates"),
    }
    Ok(())
}

fn empty(SurfaceHeader { x, y, splits }: SurfaceHeader) -> anyhow::Result<SurfaceValues> {
    let n_points = x.len().checked_mul(y.len()).context("the server sent too many coordinates")?;
    let unknown = |split: i32| anyhow::Ok(SplitValues::unknown(split_from_wire(split)?, n_points));
    let (main, also) = match splits[..] {
        [main] => (unknown(main)?, None),
        [main, also] => (unknown(main)?, Some(unknown(also)?)),
        _ => bail!("the server sent values of {} splits; there must be 1 or 2", splits.len()),
    };
    Ok(SurfaceValues { x, y, main, also })
}

fn fill(values: &mut SurfaceValues, rows: &SurfaceRows) -> anyhow::Result<()> {
    let range = place(values, rows).context("the server sent rows that do not fit the grid")?;
    let main = SplitRows {
        loss: &rows.loss,
        squared_error: &rows.squared_error,
        accuracy: &rows.accuracy,
        flags: &rows.flags,
    };
    main.fill(&mut values.main, range.clone())?;
    match (&mut values.also, &rows.also) {
        (None, None) => Ok(()),
        (Some(values), Some(rows)) => {
            let also = SplitRows {
                loss: &rows.loss,
                squared_error: &rows.squared_error,
                accuracy: &rows.accuracy,
                flags: &rows.flags,
            };
            also.fill(values, range)
        }
        _ => bail!("the server sent rows of other splits than it had announced"),
    }
}

/// The values of some rows on one split.
struct SplitRows<'a> {
    loss: &'a [f64],
    squared_error: &'a [f64],
    accuracy: &'a [f64],
    flags: &'a [u8],
}

impl SplitRows<'_> {
    fn fill(&self, values: &mut SplitValues, range: Range<usize>) -> anyhow::Result<()> {
        let lengths = [self.loss.len(), self.squared_error.len(), self.accuracy.len(), self.flags.len()];
        ensure!(
            lengths == [range.len(); 4],
            "the server sent {lengths:?} losses, squared errors, accuracies and flags for {} points",
            range.len()
        );
        let flags = self.flags.iter().map(|byte| PointFlag::from_u8(*byte)).collect::<Option<Vec<_>>>();
        values.flags[range.clone()].copy_from_slice(&flags.context("the server sent a flag of an unknown kind")?);
        values.loss[range.clone()].copy_from_slice(self.loss);
        values.squared_error[range.clone()].copy_from_slice(self.squared_error);
        values.accuracy[range].copy_from_slice(self.accuracy);
        Ok(())
    }
}

/// The places of the rows' values, or none when they are not whole rows of the grid.
fn place(values: &SurfaceValues, rows: &SurfaceRows) -> Option<Range<usize>> {
    let start = (rows.first_row as usize).checked_mul(values.n_columns())?;
    let end = start.checked_add(rows.loss.len())?;
    (rows.loss.len().is_multiple_of(values.n_columns()) && end <= values.main.loss.len()).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use relief_api::surface::v1::AlsoRows;
    use relief_core::Split;

    use super::*;

    fn header() -> Part {
        header_of(vec![1])
    }

    fn header_of(splits: Vec<i32>) -> Part {
        Part::Header(SurfaceHeader { x: vec![-1.0, 1.0], y: vec![0.0, 1.0, 2.0], splits })
    }

    fn rows_of(first_row: u32, loss: &[f64], flags: &'static [u8], also: Option<AlsoRows>) -> Part {
        let accuracy = loss.iter().map(|loss| loss * 10.0).collect();
        let (squared_error, loss) = (vec![0.5; loss.len()], loss.to_vec());
        Part::Rows(SurfaceRows { first_row, loss, accuracy, flags: flags.into(), squared_error, also })
    }

    fn rows(first_row: u32, loss: &[f64], flags: &'static [u8]) -> Part {
        rows_of(first_row, loss, flags, None)
    }

    fn also(loss: &[f64]) -> AlsoRows {
        let (flags, other) = (vec![1; loss.len()].into(), vec![0.0; loss.len()]);
        AlsoRows { loss: loss.to_vec(), accuracy: other.clone(), flags, squared_error: other }
    }

    fn assembled(parts: impl IntoIterator<Item = Part>) -> anyhow::Result<SurfaceValues> {
        let mut values = None;
        for part in parts {
            add(&mut values, part)?;
        }
        values.context("none")
    }

    #[test]
    fn rows_take_their_place_and_the_rest_is_not_computed() {
        let values = assembled([header(), rows(1, &[3.0, 4.0], &[1, 1])]).expect("good parts");
        let main = &values.main;
        assert_eq!(main.loss[2..4], [3.0, 4.0]);
        assert_eq!(main.accuracy[2..4], [30.0, 40.0]);
        assert_eq!(main.squared_error[2..4], [0.5, 0.5]);
        assert!(main.loss[..2].iter().chain(&main.loss[4..]).all(|loss| loss.is_nan()));
        assert_eq!(main.flags[..3], [PointFlag::Never, PointFlag::Never, PointFlag::Finite]);
        assert!(!values.is_complete() && values.also.is_none());
    }

    #[test]
    fn two_splits_stand_side_by_side() {
        let parts = [header_of(vec![2, 1]), rows_of(0, &[3.0, 4.0], &[1, 1], Some(also(&[5.0, 6.0])))];
        let values = assembled(parts).expect("good parts");
        let second = values.also.expect("a second split");
        assert_eq!((values.main.split, second.split), (Split::Test, Split::Train));
        assert_eq!((&values.main.loss[..2], &second.loss[..2]), (&[3.0, 4.0][..], &[5.0, 6.0][..]));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        for parts in [
            vec![header_of(vec![])],
            vec![header_of(vec![1, 2, 1])],
            vec![header(), rows_of(0, &[1.0, 2.0], &[1, 1], Some(also(&[1.0, 2.0])))],
            vec![header_of(vec![1, 2]), rows(0, &[1.0, 2.0], &[1, 1])],
            vec![header_of(vec![1, 2]), rows_of(0, &[1.0, 2.0], &[1, 1], Some(also(&[1.0])))],
            vec![rows(0, &[1.0, 2.0], &[1, 1])],
            vec![header(), header()],
            vec![header(), rows(2, &[1.0; 4], &[1; 4])],
            vec![header(), rows(0, &[1.0; 3], &[1; 3])],
            vec![header(), rows(u32::MAX, &[1.0; 2], &[1; 2])],
            vec![header(), rows(0, &[1.0; 2], &[1])],
            vec![header(), rows(0, &[1.0; 2], &[1, 9])],
            vec![],
        ] {
            assert!(assembled(parts.clone()).is_err(), "{parts:?}");
        }
    }
}
