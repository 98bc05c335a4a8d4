//! Results on standard output, notes on standard error. Nothing else here writes to either.

use std::io::{self, Write as _};

use clap::ValueEnum;
use serde_json::Value;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Aligned columns for people
    #[default]
    Table,
    /// JSON with the fields of the API; numbers that are not finite are null
    Json,
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: OutputFormat,
}

impl Output {
    pub(crate) fn new(format: OutputFormat) -> Self {
        Self { format }
    }

    /// Prints a result as JSON or as the text for people.
    pub(crate) fn print(self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        match self.format {
            OutputFormat::Table => print_line(text().trim_end()),
            OutputFormat::Json => print_line(&serde_json::to_string_pretty(&json())?),
        }
    }
}

fn print_line(text: &str) -> anyhow::Result<()> {
    write_bytes(format!("{text}\n").as_bytes())
}

/// Writes a whole file to standard output.
pub(crate) fn write_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}

/// Tells the user `text` on standard error.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told that standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Returns `rows` under `header` in aligned columns, those of numbers to the right; a line each.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let columns: Vec<(usize, bool)> = (0..header.len())
        .map(|column| {
            let cells = || rows.iter().map(|row| cell(row, column));
            let width = cells().chain([header[column].to_owned()]).map(|text| text.chars().count()).max();
            let is_number = cells().all(|text| text.is_empty() || text == "-" || text.parse::<f64>().is_ok());
            (width.unwrap_or(0), is_number && !rows.is_empty())
        })
        .collect();
    let line = |cells: Vec<String>| {
        let aligned = cells.iter().zip(&columns).map(|(text, (width, is_number))| {
            if *is_number { format!("{text:>width$}") } else { format!("{text:<width$}") }
        });
        format!("{}\n", aligned.collect::<Vec<_>>().join("  ").trim_end())
    };
    let header = line(header.iter().map(|text| (*text).to_owned()).collect());
    let rows = rows.iter().map(|row| line((0..columns.len()).map(|column| cell(row, column)).collect()));
    rows.fold(header, |text, row| text + &row)
}

/// Returns the fields of one thing, a line each; those without a value are left out.
pub(crate) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let filled = fields.iter().filter(|(_, value)| !value.is_empty());
    filled.map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
}

/// Returns a number to six significant digits: a product such as 0.05 times 0.1 as it is meant.
pub(crate) fn rounded(value: f64) -> String {
    format!("{value:.5e}").parse::<f64>().map_or_else(|_| value.to_string(), |value| value.to_string())
}

/// Returns numbers separated by commas.
pub(crate) fn numbers(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.4}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_to_the_right() {
        let rows = [vec!["a".to_owned(), "5".to_owned(), "x".to_owned()], vec!["long".to_owned(), "-12.5".to_owned()]];
        assert_eq!(table(&["NAME", "VALUE", "NOTE"], &rows), "NAME  VALUE  NOTE\na         5  x\nlong  -12.5\n");
        assert_eq!(table(&["NAME", "VALUE"], &[]), "NAME  VALUE\n");
    }

    #[test]
    fn products_are_rounded_to_what_is_meant() {
        assert_eq!([0.05 * 0.1, 0.1, 1234.5, 0.0].map(rounded), ["0.005", "0.1", "1234.5", "0"]);
    }

    #[test]
    fn fields_without_a_value_are_left_out() {
        let text = fields(&[("name", "a".to_owned()), ("error", String::new()), ("state", "failed".to_owned())]);
        assert_eq!(text, "name   a\nstate  failed\n");
    }

    #[test]
    fn numbers_that_are_not_finite_are_null_in_json() {
        assert_eq!(
            serde_json::json!({"loss": f64::NAN, "rate": f64::INFINITY}).to_string(),
            r#"{"loss":null,"rate":null}"#
        );
    }
}
