//! The introduction, and what is put in its places.

use std::path::Path;

use anyhow::{Context as _, bail};
use prost_types::FileDescriptorSet;

use crate::{reason, reference};

/// What every page begins with; a reader of the page sees none of it.
const NOTE: &str =
    "<!-- Written by `cargo xtask api-docs` from proto/ and tools/api-docs/api.md.in. Change those. -->\n\n";

/// Returns `template` with each line that is `{{PLACE}}` replaced: `reasons` and `reference` by what they say, and
/// `file PATH` by the file at that path from `root`.
///
/// # Errors
/// When there is no such place, a file cannot be read, or a call of the contract is in no `grpcurl` line.
pub(crate) fn fill(template: &str, contract: &FileDescriptorSet, root: &Path) -> anyhow::Result<String> {
    let uncalled: Vec<String> =
        reference::calls(contract).into_iter().filter(|call| !is_called(template, call)).collect();
    if !uncalled.is_empty() {
        bail!("tools/api-docs/api.md.in has no grpcurl line for {}", uncalled.join(", "));
    }
    let mut page = NOTE.to_owned();
    for line in template.lines() {
        match line.strip_prefix("{{").and_then(|line| line.strip_suffix("}}")) {
            Some("reasons") => page.push_str(&reason::table()?),
            Some("reference") => page.push_str(&format!("{}\n", reference::reference(contract)?)),
            Some(place) => {
                let path = place.strip_prefix("file ").with_context(|| format!("nothing is called {place}"))?;
                page.push_str(&std::fs::read_to_string(root.join(path)).with_context(|| path.to_owned())?);
            }
            None => page.push_str(&format!("{line}\n")),
        }
    }
    Ok(page)
}

/// Whether a `grpcurl` line, which may be continued on others, names `call`.
fn is_called(template: &str, call: &str) -> bool {
    let is_end = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric());
    let commands = template.replace("\\\n", " ");
    commands
        .lines()
        .filter(|line| line.contains("grpcurl "))
        .any(|line| line.match_indices(call).any(|(at, _)| line.get(at + call.len()..).is_some_and(is_end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_named_whole_in_a_grpcurl_line() {
        let template = "a.B/C\ngrpcurl -d '{}' \\\n    server a.B/Create\n";
        assert!(is_called(template, "a.B/Create"));
        assert!(!is_called(template, "a.B/C"));
    }

    #[test]
    fn places_are_filled_and_unknown_ones_refused() {
        let fill = |template| fill(template, &FileDescriptorSet::default(), Path::new(env!("CARGO_MANIFEST_DIR")));
        let page = fill("# Title\n{{file Cargo.toml}}\nend\n").expect("a page");
        assert!(page.contains("# Title\n[package]\n") && page.ends_with("\nend\n"), "{page}");
        assert!(fill("{{reasons}}\n").expect("a page").contains("| `NOT_FOUND` | `NOT_FOUND` | no |"));
        assert!(fill("{{nothing}}\n").is_err());
        assert!(fill("{{file nothing}}\n").is_err());
    }
}
