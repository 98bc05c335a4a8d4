//! The values of a surface as a file.

use std::fmt::Write as _;
use std::io;

use relief_core::{SplitValues, SurfaceValues};
use serde::Serializer as _;
use serde_json::{Value, json};

use crate::cli::ExportFormat;
use crate::npz::NpzFile;

/// Returns `values` as a file in `format`, every number so that it reads back with the same bits. Values on a second split
/// are called as those on the first, with the name of the split in front.
pub(crate) fn encode(values: &SurfaceValues, format: ExportFormat) -> anyhow::Result<Vec<u8>> {
    match format {
        ExportFormat::Json => json(values),
        ExportFormat::Csv => Ok(csv(values).into_bytes()),
        ExportFormat::Npz => Ok(npz(values)?),
    }
}

/// The splits of `values`, each with what its names begin with.
fn splits(values: &SurfaceValues) -> impl Iterator<Item = (String, &SplitValues)> {
    let also = values.also.iter().map(|also| (format!("{}_", also.split.as_str()), also));
    std::iter::once((String::new(), &values.main)).chain(also)
}

/// The arrays of numbers of a split, by name.
fn arrays(values: &SplitValues) -> [(&'static str, &[f64]); 3] {
    [("loss", &values.loss), ("accuracy", &values.accuracy), ("squared_error", &values.squared_error)]
}

/// Rows belong to `y`, their entries to `x`; null where a value is not finite or not computed, which the flags tell apart.
fn json(values: &SurfaceValues) -> anyhow::Result<Vec<u8>> {
    let n_columns = values.n_columns().max(1);
    let mut entries = vec![("x".to_owned(), json!(values.x)), ("y".to_owned(), json!(values.y))];
    for (prefix, split) in splits(values) {
        for (name, array) in arrays(split) {
            // A number that JSON has not becomes null.
            let rows: Vec<Value> = array.chunks(n_columns).map(|row| json!(row)).collect();
            entries.push((format!("{prefix}{name}"), rows.into()));
        }
        let flags: Vec<u8> = split.flags.iter().map(|flag| *flag as u8).collect();
        let rows: Vec<Value> = flags.chunks(n_columns).map(|row| json!(row)).collect();
        entries.push((format!("{prefix}flags"), rows.into()));
    }
    let mut file = Vec::new();
    serde_json::Serializer::new(&mut file).collect_map(entries)?;
    file.push(b'\n');
    Ok(file)
}

fn csv(values: &SurfaceValues) -> String {
    let mut file = "x,y".to_owned();
    for (prefix, _) in splits(values) {
        // Writing to a string does not fail.
        let _ = write!(file, ",{prefix}loss,{prefix}accuracy,{prefix}squared_error,{prefix}flag");
    }
    file.push('\n');
    for idx in 0..values.main.flags.len() {
        let (row, column) = (idx / values.n_columns(), idx % values.n_columns());
        let _ = write!(file, "{:?},{:?}", values.x[column], values.y[row]);
        for (_, split) in splits(values) {
            // Debug is the shortest form that reads back the same, with an exponent where the number is far from 1.
            for (_, array) in arrays(split) {
                let _ = write!(file, ",{:?}", array[idx]);
            }
            let _ = write!(file, ",{}", split.flags[idx] as u8);
        }
        file.push('\n');
    }
    file
}

fn npz(values: &SurfaceValues) -> io::Result<Vec<u8>> {
    let (ny, nx) = (values.y.len() as u64, values.x.len() as u64);
    let mut archive = NpzFile::new();
    archive.add("x", &[nx], &values.x)?;
    archive.add("y", &[ny], &values.y)?;
    for (prefix, split) in splits(values) {
        for (name, array) in arrays(split) {
            archive.add(&format!("{prefix}{name}"), &[ny, nx], array)?;
        }
        let flags: Vec<u8> = split.flags.iter().map(|flag| *flag as u8).collect();
        archive.add(&format!("{prefix}flags"), &[ny, nx], &flags)?;
    }
    archive.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use npyz::npz::NpzArchive;
    use relief_core::{PointFlag, Split};

    use super::*;

    /// Two rows of three, with every kind of loss.
    fn values() -> SurfaceValues {
        let loss = vec![0.1 + 0.2, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-300, f64::NAN];
        let mut flags: Vec<PointFlag> = loss.iter().map(|loss| PointFlag::of_loss(*loss)).collect();
        flags[5] = PointFlag::Never;
        let squared_error = vec![0.5, f64::NAN, 0.25, 0.0, 1.0, f64::NAN];
        let accuracy = vec![100.0, 10.0, 9.8, 0.0, 33.3, f64::NAN];
        let main = SplitValues { split: Split::Train, loss, squared_error, accuracy, flags };
        SurfaceValues { x: vec![-1.0, 0.0, 1.0 / 3.0], y: vec![0.0, 2.5], main, also: None }
    }

    #[test]
    fn json_has_rows_with_null_for_what_is_no_number() {
        let file = String::from_utf8(encode(&values(), ExportFormat::Json).expect("a file")).expect("text");
        assert_eq!(
            file,
            "{\"x\":[-1.0,0.0,0.3333333333333333],\"y\":[0.0,2.5],\
             \"loss\":[[0.30000000000000004,null,null],[null,1e-300,null]],\
             \"accuracy\":[[100.0,10.0,9.8],[0.0,33.3,null]],\
             \"squared_error\":[[0.5,null,0.25],[0.0,1.0,null]],\"flags\":[[1,2,3],[4,1,0]]}\n"
        );
    }

    #[test]
    fn csv_has_a_line_per_point() {
        let file = String::from_utf8(encode(&values(), ExportFormat::Csv).expect("a file")).expect("text");
        let lines: Vec<&str> = file.lines().collect();
        assert_eq!(
            lines,
            [
                "x,y,loss,accuracy,squared_error,flag",
                "-1.0,0.0,0.30000000000000004,100.0,0.5,1",
                "0.0,0.0,NaN,10.0,NaN,2",
                "0.3333333333333333,0.0,inf,9.8,0.25,3",
                "-1.0,2.5,-inf,0.0,0.0,4",
                "0.0,2.5,1e-300,33.3,1.0,1",
                "0.3333333333333333,2.5,NaN,NaN,NaN,0",
            ]
        );
    }

    #[test]
    fn npz_holds_the_arrays_with_their_shapes_and_bits() {
        let file = encode(&values(), ExportFormat::Npz).expect("a file");
        let mut archive = NpzArchive::new(Cursor::new(file)).expect("an archive");
        let mut names: Vec<String> = archive.array_names().map(str::to_owned).collect();
        names.sort();
        assert_eq!(names, ["accuracy", "flags", "loss", "squared_error", "x", "y"]);

        let mut array = |name: &str| {
            let array = archive.by_name(name).expect("readable").expect("there");
            (array.shape().to_vec(), array.into_vec::<f64>().expect("float64"))
        };
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let expected = values();
        for (name, shape, expected) in [
            ("x", vec![3], &expected.x),
            ("y", vec![2], &expected.y),
            ("loss", vec![2, 3], &expected.main.loss),
            ("accuracy", vec![2, 3], &expected.main.accuracy),
        ] {
            let (found_shape, found) = array(name);
            assert_eq!((found_shape, bits(&found)), (shape, bits(expected)), "{name}");
        }
        let flags = archive.by_name("flags").expect("readable").expect("there");
        assert_eq!(flags.into_vec::<u8>().expect("bytes"), [1, 2, 3, 4, 1, 0]);
    }

    #[test]
    fn a_second_split_has_its_name_in_front() {
        let values = SurfaceValues { also: Some(SplitValues { split: Split::Test, ..values().main }), ..values() };
        let text = |format| String::from_utf8(encode(&values, format).expect("a file")).expect("text");
        let csv = text(ExportFormat::Csv);
        let header = "x,y,loss,accuracy,squared_error,flag,test_loss,test_accuracy,test_squared_error,test_flag\n";
        assert!(csv.starts_with(header), "{csv}");
        assert!(csv.lines().nth(3).is_some_and(|line| line.ends_with(",0.0,inf,9.8,0.25,3,inf,9.8,0.25,3")), "{csv}");
        assert!(text(ExportFormat::Json).contains("\"test_squared_error\":[[0.5,null,0.25]"));
        let file = encode(&values, ExportFormat::Npz).expect("a file");
        let mut archive = NpzArchive::new(Cursor::new(file)).expect("an archive");
        let flags = archive.by_name("test_flags").expect("readable").expect("there");
        assert_eq!(flags.into_vec::<u8>().expect("bytes"), [1, 2, 3, 4, 1, 0]);
    }
}
