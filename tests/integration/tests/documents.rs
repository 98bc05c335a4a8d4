//! The Markdown documents, checked for what goes stale or was never true for the reader.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Folders that hold no documents of ours.
const SKIPPED: &[&str] = &["target", "node_modules"];

fn documents_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut documents = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&name) {
            documents.extend(documents_below(&path)?);
        } else if name.ends_with(".md") {
            documents.push(path);
        }
    }
    Ok(documents)
}

/// The targets of inline links `[text](target)`, without the fragment, that are no URLs.
fn local_links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

/// Paths that exist on the machine of whoever wrote them.
fn machine_paths(text: &str) -> Vec<&str> {
    let is_separator = |c: char| c.is_whitespace() || "`\"'()=".contains(c);
    text.split(is_separator)
        .filter(|word| ["/work/", "/root/", "/home/", "/Users/"].iter().any(|home| word.starts_with(home)))
        .collect()
}

fn complaints(text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let broken = local_links(text).into_iter().filter(|target| target.starts_with('/') || !exists(target));
    let foreign = machine_paths(text).into_iter();
    broken.map(|t| format!("link to nothing: {t}")).chain(foreign.map(|p| format!("somebody's path: {p}"))).collect()
}

#[test]
fn documents_link_to_what_is_there_and_name_no_machine() -> anyhow::Result<()> {
    let root = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").context("not started by cargo")?).join("../..");
    let documents = documents_below(&root)?;
    assert!(documents.iter().any(|path| path.ends_with("CONTRIBUTING.md")), "the documents are looked for elsewhere");
    for path in documents {
        let folder = path.parent().context("a file lies in a folder")?;
        let found = complaints(&fs::read_to_string(&path)?, |target| folder.join(target).exists());
        assert_eq!(found, Vec::<String>::new(), "{}", path.display());
    }
    Ok(())
}

#[test]
fn a_broken_link_and_a_foreign_path_are_reported() {
    let text = "See [a](a.md#top), [b](b.md), [top](#top), [c](https://example.com/x) and `/home/somebody/relief`.";
    let found = complaints(text, |target| target == "a.md");
    assert_eq!(found, ["link to nothing: b.md", "somebody's path: /home/somebody/relief"]);
}
