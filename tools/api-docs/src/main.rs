//! Writes `docs/api.md`: the introduction in `api.md.in`, with the reasons of refusals, the Python clients and the
//! contract put in their places.
//!
//! What holds: the page says what the servers say, since both take it from `relief-api`. Everything in the contract has
//! a comment, and every call a `grpcurl` line in the introduction, or nothing is written.
//!
//! What it does not do: it runs no line of the page; `cargo xtask clients` does.

mod comment;
mod markdown;
mod reason;
mod reference;
mod template;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use prost::Message as _;
use prost_types::FileDescriptorSet;

/// Where the page is, from the root of the repository.
const PAGE: &str = "docs/api.md";

fn main() -> anyhow::Result<()> {
    let root = workspace_root()?;
    let path = root.join(PAGE);
    std::fs::write(&path, page(&root)?).with_context(|| format!("cannot write {}", path.display()))
}

/// The page as it should be.
fn page(root: &Path) -> anyhow::Result<String> {
    let contract = FileDescriptorSet::decode(relief_api::FILE_DESCRIPTOR_SET).context("the compiled contract")?;
    template::fill(include_str!("../api.md.in"), &contract, root)
}

fn workspace_root() -> anyhow::Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").context("not started by cargo; run `cargo xtask api-docs`")?;
    Ok(PathBuf::from(package).join("../.."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_contract_says() -> anyhow::Result<()> {
        let root = workspace_root()?;
        let written = std::fs::read_to_string(root.join(PAGE)).context(PAGE)?;
        assert!(written == page(&root)?, "{PAGE} is stale: run `cargo xtask api-docs`");
        Ok(())
    }
}
