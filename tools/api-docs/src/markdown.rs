//! Comments as Markdown, and tables.

/// The comment with what Markdown would read as markup escaped; what stands between backquotes is left as it is.
pub(crate) fn text(comment: &str) -> String {
    let mut text = String::with_capacity(comment.len());
    for (idx, piece) in comment.split('`').enumerate() {
        if idx > 0 {
            text.push('`');
        }
        for character in piece.chars() {
            if idx % 2 == 0 && matches!(character, '*' | '<' | '|') {
                text.push('\\');
            }
            text.push(character);
        }
    }
    text
}

/// The comment on one line, as a cell of a table.
pub(crate) fn cell(comment: &str) -> String {
    let paragraphs: Vec<String> = comment.split("\n\n").map(|paragraph| text(&paragraph.replace('\n', " "))).collect();
    paragraphs.join("<br>")
}

/// A table with `head` and `rows` of as many cells.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut table = line(&head.map(str::to_owned));
    table.push_str(&format!("|{}\n", "---|".repeat(N)));
    table.extend(rows.into_iter().map(|row| line(&row)));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped_outside_code_only() {
        assert_eq!(text("d_f * ||w|| of `a*b` < c"), r"d_f \* \|\|w\|\| of `a*b` \< c");
    }

    #[test]
    fn a_cell_is_one_line() {
        assert_eq!(cell("One\nline.\n\nAnother."), "One line.<br>Another.");
    }

    #[test]
    fn a_table_has_a_line_per_row() {
        let table = table(["a", "b"], [["1".to_owned(), "2".to_owned()]]);
        assert_eq!(table, "| a | b |\n|---|---|\n| 1 | 2 |\n");
    }
}
