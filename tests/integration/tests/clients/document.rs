//! The examples of a Markdown page: a block marked `sh`, and what it prints in the block after it.

use std::process::Output;

use anyhow::{Context as _, ensure};

/// What the expected output of a refused command begins with.
const REFUSED: &str = "ERROR:";

/// What stands for any text.
const ANYTHING: &str = "...";

/// How much of a line is shown, in characters.
const WIDTH: usize = 500;

/// A script, and what it should print.
#[derive(Debug, PartialEq, Eq)]
pub struct Example {
    /// Where it begins in the page, from 1.
    pub line: usize,
    /// Commands of the shell.
    pub script: String,
    /// Their output, or what they say when they are refused; `None` when the page does not show it.
    pub expected: Option<String>,
}

/// A fenced block.
#[derive(Debug)]
struct Block<'a> {
    line: usize,
    language: &'a str,
    text: String,
    /// Whether nothing stands between it and the block before.
    is_next: bool,
}

/// Returns the examples of `page`, in order.
///
/// # Errors
/// When a block has no end, or there is no example.
pub fn examples(page: &str) -> anyhow::Result<Vec<Example>> {
    let mut examples: Vec<Example> = Vec::new();
    let mut is_shown = false;
    for block in blocks(page)? {
        match (block.language, examples.last_mut()) {
            ("sh", _) => examples.push(Example { line: block.line, script: block.text, expected: None }),
            ("text" | "json", Some(example)) if is_shown && block.is_next => example.expected = Some(block.text),
            _ => {}
        }
        is_shown = block.language == "sh";
    }
    ensure!(!examples.is_empty(), "the page has no example");
    Ok(examples)
}

fn blocks(page: &str) -> anyhow::Result<Vec<Block<'_>>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().zip(1..);
    let mut is_next = false;
    while let Some((line, number)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let mut text = String::new();
            loop {
                let (line, _) = lines.next().with_context(|| format!("the block of line {number} has no end"))?;
                if line == "```" {
                    break;
                }
                text.push_str(line);
                text.push('\n');
            }
            blocks.push(Block { line: number, language, text, is_next });
            is_next = true;
        } else if !line.is_empty() {
            is_next = false;
        }
    }
    Ok(blocks)
}

impl Example {
    /// Says what is wrong with `output`, if anything is.
    pub fn complaint(&self, output: &Output) -> Option<String> {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let expected = self.expected.as_deref();
        let is_refusal = expected.is_some_and(|expected| expected.starts_with(REFUSED));
        let shown = if is_refusal { &stderr } else { &stdout };
        let wrong = if output.status.success() == is_refusal {
            format!("ended with {}", output.status)
        } else if expected.is_some_and(|expected| !is_match(expected, shown)) {
            "printed something else".to_owned()
        } else {
            return None;
        };
        let expected = expected.map_or_else(String::new, |expected| format!("--- expected\n{expected}"));
        let (stdout, stderr) = (shortened(&stdout), shortened(&stderr));
        Some(format!("{wrong}\n{}{expected}--- output\n{stdout}--- errors\n{stderr}", self.script))
    }
}

/// The text with its longest lines, which are encoded bytes, cut.
fn shortened(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.chars().take(WIDTH).collect::<String>())).collect()
}

/// Whether `text` is `expected`, in which `...` stands for any text; space at the ends of lines and of the whole, and the
/// depth of indentation, do not count.
fn is_match(expected: &str, text: &str) -> bool {
    let trimmed = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n").trim().to_owned();
    let (expected, text) = (trimmed(expected), trimmed(text));
    let Some((first, rest)) = expected.split_once(ANYTHING) else { return expected == text };
    let (middle, last) = rest.rsplit_once(ANYTHING).unwrap_or(("", rest));
    let Some(mut text) = text.strip_prefix(first) else { return false };
    for piece in middle.split(ANYTHING) {
        let Some((_, after)) = text.split_once(piece) else { return false };
        text = after;
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    fn output(code: i32, stdout: &str, stderr: &str) -> Output {
        Output { status: ExitStatus::from_raw(code << 8), stdout: stdout.into(), stderr: stderr.into() }
    }

    fn example(expected: Option<&str>) -> Example {
        Example { line: 1, script: "x\n".to_owned(), expected: expected.map(str::to_owned) }
    }

    #[test]
    fn an_example_is_a_script_and_the_block_right_after_it() -> anyhow::Result<()> {
        let page =
            "```sh\na\n```\n\n```json\nA\n```\n\n```sh\nb\n```\n\nWords.\n\n```text\nB\n```\n```console\n$ c\n```\n";
        let expected = [
            Example { line: 1, script: "a\n".to_owned(), expected: Some("A\n".to_owned()) },
            Example { line: 9, script: "b\n".to_owned(), expected: None },
        ];
        assert_eq!(examples(page)?, expected);
        assert!(examples("```sh\na\n").is_err());
        assert!(examples("no block").is_err());
        Ok(())
    }

    #[test]
    fn dots_stand_for_any_text_and_nothing_else_does() {
        for (expected, text) in
            [("a", "a\n"), ("a\n...\nd", "a\nb\nc\nd"), ("...b...", "a\nb\nc"), ("x: ...,", "  x: 1,")]
        {
            assert!(is_match(expected, text), "{expected:?} {text:?}");
        }
        for (expected, text) in
            [("a", "a\nb"), ("b...", "a\nb"), ("a...b", "a\nb\nc"), ("a...b...a", "a\na"), ("a...a", "a")]
        {
            assert!(!is_match(expected, text), "{expected:?} {text:?}");
        }
    }

    #[test]
    fn a_failure_another_output_and_a_refusal_that_passes_are_reported() {
        assert_eq!(example(None).complaint(&output(0, "anything", "")), None);
        assert_eq!(example(Some("a...")).complaint(&output(0, "a1", "")), None);
        assert_eq!(example(Some("ERROR:...")).complaint(&output(67, "", "ERROR:\n  Code")), None);
        assert!(example(None).complaint(&output(1, "", "")).is_some());
        assert!(example(Some("a")).complaint(&output(0, "b", "")).is_some());
        assert!(example(Some("a")).complaint(&output(1, "a", "")).is_some());
        assert!(example(Some("ERROR:...")).complaint(&output(0, "", "ERROR:")).is_some());
        assert!(example(Some("ERROR:\n Code: A")).complaint(&output(67, "", "ERROR:\n Code: B")).is_some());
    }
}
