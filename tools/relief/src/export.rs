//! The values of a surface as a file.

use std::fmt::Write as _;
use std::io;

use relief_core::SurfaceValues;
use serde::Serialize;

use crate::cli::ExportFormat;
use crate::npz::NpzFile;

/// The JSON file: rows of `loss` and `accuracy` belong to `y`, their entries to `x`; null where a value is not finite or
/// not computed.
#[derive(Serialize)]
struct JsonSurface<'a> {
    x: &'a [f64],
    y: &'a [f64],
    loss: Vec<Vec<Option<f64>>>,
    accuracy: Vec<Vec<Option<f64>>>,
}

/// Returns `values` as a file in `format`, every number so that it reads back with the same bits.
pub(crate) fn encode(values: &SurfaceValues, format: ExportFormat) -> anyhow::Result<Vec<u8>> {
    match format {
        ExportFormat::Json => json(values),
        ExportFormat::Csv => Ok(csv(values).into_bytes()),
        ExportFormat::Npz => Ok(npz(values)?),
    }
}

fn json(values: &SurfaceValues) -> anyhow::Result<Vec<u8>> {
    let rows = |array: &[f64]| {
        let row = |row: &[f64]| row.iter().map(|value| Some(*value).filter(|value| value.is_finite())).collect();
        array.chunks(values.n_columns().max(1)).map(row).collect()
    };
    let surface =
        JsonSurface { x: &values.x, y: &values.y, loss: rows(&values.loss), accuracy: rows(&values.accuracy) };
    let mut file = serde_json::to_vec(&surface)?;
    file.push(b'\n');
    Ok(file)
}

fn csv(values: &SurfaceValues) -> String {
    let mut file = "x,y,loss,accuracy,flag\n".to_owned();
    for (idx, flag) in values.flags.iter().enumerate() {
        let (row, column) = (idx / values.n_columns(), idx % values.n_columns());
        let (x, y, loss, accuracy) = (values.x[column], values.y[row], values.loss[idx], values.accuracy[idx]);
        // Debug is the shortest form that reads back the same, with an exponent where the number is far from 1.
        // Writing to a string does not fail.
        let _ = writeln!(file, "{x:?},{y:?},{loss:?},{accuracy:?},{}", *flag as u8);
    }
    file
}

fn npz(values: &SurfaceValues) -> io::Result<Vec<u8>> {
    let flags: Vec<u8> = values.flags.iter().map(|flag| *flag as u8).collect();
    let (ny, nx) = (values.y.len() as u64, values.x.len() as u64);
    let mut archive = NpzFile::new();
    archive.add("x", &[nx], &values.x)?;
    archive.add("y", &[ny], &values.y)?;
    archive.add("loss", &[ny, nx], &values.loss)?;
    archive.add("accuracy", &[ny, nx], &values.accuracy)?;
    archive.add("flags", &[ny, nx], &flags)?;
    archive.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use npyz::npz::NpzArchive;
    use relief_core::PointFlag;

    use super::*;

    /// Two rows of three, with every kind of loss.
    fn values() -> SurfaceValues {
        let loss = vec![0.1 + 0.2, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-300, f64::NAN];
        let mut flags: Vec<PointFlag> = loss.iter().map(|loss| PointFlag::of_loss(*loss)).collect();
        flags[5] = PointFlag::Never;
        SurfaceValues {
            x: vec![-1.0, 0.0, 1.0 / 3.0],
            y: vec![0.0, 2.5],
            loss,
            accuracy: vec![100.0, 10.0, 9.8, 0.0, 33.3, f64::NAN],
            flags,
        }
    }

    #[test]
    fn json_has_rows_with_null_for_what_is_no_number() {
        let file = String::from_utf8(encode(&values(), ExportFormat::Json).expect("a file")).expect("text");
        assert_eq!(
            file,
            "{\"x\":[-1.0,0.0,0.3333333333333333],\"y\":[0.0,2.5],\
             \"loss\":[[0.30000000000000004,null,null],[null,1e-300,null]],\
             \"accuracy\":[[100.0,10.0,9.8],[0.0,33.3,null]]}\n"
        );
    }

    #[test]
    fn csv_has_a_line_per_point() {
        let file = String::from_utf8(encode(&values(), ExportFormat::Csv).expect("a file")).expect("text");
        let lines: Vec<&str> = file.lines().collect();
        assert_eq!(
            lines,
            [
                "x,y,loss,accuracy,flag",
                "-1.0,0.0,0.30000000000000004,100.0,1",
                "0.0,0.0,NaN,10.0,2",
                "0.3333333333333333,0.0,inf,9.8,3",
                "-1.0,2.5,-inf,0.0,4",
                "0.0,2.5,1e-300,33.3,1",
                "0.3333333333333333,2.5,NaN,NaN,0",
            ]
        );
    }

    #[test]
    fn npz_holds_the_arrays_with_their_shapes_and_bits() {
        let file = encode(&values(), ExportFormat::Npz).expect("a file");
        let mut archive = NpzArchive::new(Cursor::new(file)).expect("an archive");
        let mut names: Vec<String> = archive.array_names().map(str::to_owned).collect();
        names.sort();
        assert_eq!(names, ["accuracy", "flags", "loss", "x", "y"]);

        let mut array = |name: &str| {
            let array = archive.by_name(name).expect("readable").expect("there");
            (array.shape().to_vec(), array.into_vec::<f64>().expect("float64"))
        };
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let expected = values();
        for (name, shape, expected) in [
            ("x", vec![3], &expected.x),
            ("y", vec![2], &expected.y),
            ("loss", vec![2, 3], &expected.loss),
            ("accuracy", vec![2, 3], &expected.accuracy),
        ] {
            let (found_shape, found) = array(name);
            assert_eq!((found_shape, bits(&found)), (shape, bits(expected)), "{name}");
        }
        let flags = archive.by_name("flags").expect("readable").expect("there");
        assert_eq!(flags.into_vec::<u8>().expect("bytes"), [1, 2, 3, 4, 1, 0]);
    }
}
