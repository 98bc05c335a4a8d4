//! The table of reasons for which a call is refused.

use anyhow::Context as _;
use relief_api::{ErrorReason, Retry};

use crate::markdown;

/// Where the reasons are explained: the comments of the one table.
const SOURCE: &str = include_str!("../../../services/libs/api/src/error.rs");

/// The table: every reason with its code, whether to try again, and what it means.
pub(crate) fn table() -> anyhow::Result<String> {
    let mut rows = Vec::new();
    for reason in ErrorReason::ALL {
        let code = format!("`{}`", screaming(&format!("{:?}", reason.code())));
        let meaning = meaning(SOURCE, &format!("{reason:?}"))?;
        rows.push([format!("`{reason}`"), code, retry(reason.retry()).to_owned(), markdown::cell(&meaning)]);
    }
    Ok(markdown::table(["reason", "code", "try again", "meaning"], rows))
}

fn retry(retry: Retry) -> &'static str {
    match retry {
        Retry::Never => "no",
        Retry::Elsewhere => "elsewhere",
        Retry::Later => "later",
    }
}

/// The comment above `variant` in `source`.
fn meaning(source: &str, variant: &str) -> anyhow::Result<String> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| line.strip_suffix(',') == Some(variant));
    let above = lines.get(..at.with_context(|| format!("{variant} is not found"))?).unwrap_or_default();
    let mut comment: Vec<&str> = above.iter().rev().map_while(|line| line.strip_prefix("/// ")).collect();
    anyhow::ensure!(!comment.is_empty(), "{variant} has no comment");
    comment.reverse();
    Ok(comment.join(" "))
}

/// `NotFound` as `NOT_FOUND`.
fn screaming(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 2);
    for character in name.chars() {
        if character.is_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.push(character.to_ascii_uppercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_above_a_variant_is_its_meaning() {
        let source = "/// All.\nenum E {\n    /// One\n    /// of them.\n    One,\n    Two,\n}\n";
        assert_eq!(meaning(source, "One").expect("a comment"), "One of them.");
        assert!(meaning(source, "Two").is_err());
        assert!(meaning(source, "Three").is_err());
    }

    #[test]
    fn codes_are_named_as_on_the_wire() {
        assert_eq!(screaming("NotFound"), "NOT_FOUND");
        assert_eq!(screaming("Internal"), "INTERNAL");
    }
}
