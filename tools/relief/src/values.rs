//! The values of a surface, put together from the stream that they come in.

use std::ops::Range;

use anyhow::{Context as _, bail, ensure};
use relief_api::surface::v1::read_surface_response::Part;
use relief_api::surface::v1::{ReadSurfaceRequest, SurfaceHeader, SurfaceRows};
use relief_core::{PointFlag, SurfaceId, SurfaceValues};

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

fn empty(SurfaceHeader { x, y }: SurfaceHeader) -> anyhow::Result<SurfaceValues> {
    let n_points = x.len().checked_mul(y.len()).context("the server sent too many coordinates")?;
    Ok(SurfaceValues {
        x,
        y,
        loss: vec![f64::NAN; n_points],
        accuracy: vec![f64::NAN; n_points],
        flags: vec![PointFlag::Never; n_points],
    })
}

fn fill(values: &mut SurfaceValues, rows: &SurfaceRows) -> anyhow::Result<()> {
    let range = place(values, rows).context("the server sent rows that do not fit the grid")?;
    ensure!(
        rows.accuracy.len() == range.len() && rows.flags.len() == range.len(),
        "the server sent {} losses, {} accuracies and {} flags; there must be equally many",
        range.len(),
        rows.accuracy.len(),
        rows.flags.len(),
    );
    let flags = rows.flags.iter().map(|byte| PointFlag::from_u8(*byte)).collect::<Option<Vec<_>>>();
    values.flags[range.clone()].copy_from_slice(&flags.context("the server sent a flag of an unknown kind")?);
    values.loss[range.clone()].copy_from_slice(&rows.loss);
    values.accuracy[range].copy_from_slice(&rows.accuracy);
    Ok(())
}

/// The places of the rows' values, or none when they are not whole rows of the grid.
fn place(values: &SurfaceValues, rows: &SurfaceRows) -> Option<Range<usize>> {
    let start = (rows.first_row as usize).checked_mul(values.n_columns())?;
    let end = start.checked_add(rows.loss.len())?;
    (rows.loss.len().is_multiple_of(values.n_columns()) && end <= values.loss.len()).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Part {
        Part::Header(SurfaceHeader { x: vec![-1.0, 1.0], y: vec![0.0, 1.0, 2.0] })
    }

    fn rows(first_row: u32, loss: &[f64], flags: &'static [u8]) -> Part {
        let accuracy = loss.iter().map(|loss| loss * 10.0).collect();
        Part::Rows(SurfaceRows { first_row, loss: loss.to_vec(), accuracy, flags: flags.into() })
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
        assert_eq!(values.loss[2..4], [3.0, 4.0]);
        assert_eq!(values.accuracy[2..4], [30.0, 40.0]);
        assert!(values.loss[..2].iter().chain(&values.loss[4..]).all(|loss| loss.is_nan()));
        assert_eq!(values.flags[..3], [PointFlag::Never, PointFlag::Never, PointFlag::Finite]);
        assert!(!values.is_complete());
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        for parts in [
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
