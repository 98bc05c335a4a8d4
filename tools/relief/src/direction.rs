//! Directions as files, on their way to the server and back.

use std::path::Path;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use relief_api::catalog::v1::import_direction_request::Part as ImportPart;
use relief_api::catalog::v1::{ImportDirectionHeader, ImportDirectionRequest};
use relief_api::surface::v1::direction::Source;
use relief_api::surface::v1::read_directions_response::Part;
use relief_api::surface::v1::{Direction, DirectionHeader, ReadDirectionsRequest, StoredDirection};
use relief_core::{Digest, SurfaceId};

use crate::client::Client;
use crate::output;
use crate::{file, import};

/// Stores the direction that `path` holds on the server, and returns how a surface names it.
pub(crate) async fn import(client: &Client, path: &Path) -> anyhow::Result<Direction> {
    let content = Bytes::from(file::read(path)?);
    let header = ImportDirectionHeader { digest: Digest::of(&content).to_string() };
    let parts = std::iter::once(ImportPart::Header(header)).chain(import::chunks(content).map(ImportPart::Chunk));
    let messages = tokio_stream::iter(parts.map(|part| ImportDirectionRequest { part: Some(part) }));
    let imported = client.catalog().import_direction(messages).await.map_err(|status| client.catalog.refused(status));
    let response = imported.with_context(|| format!("cannot import {}", path.display()))?.into_inner();
    let name = client.catalog.required("direction", response.direction)?.name;
    Ok(Direction { source: Some(Source::Stored(StoredDirection { name })) })
}

/// Writes the directions of a surface below `out`.
pub(crate) async fn export(client: &Client, name: &SurfaceId, out: &Path) -> anyhow::Result<()> {
    let request = ReadDirectionsRequest { name: name.to_string() };
    let refused = |status| client.surfaces.refused(status);
    let mut parts = client.surfaces().read_directions(request).await.map_err(refused)?.into_inner();
    let mut files = Vec::new();
    while let Some(part) = parts.message().await.map_err(refused)? {
        add(&mut files, client.surfaces.required("part", part.part)?)?;
    }
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    for (header, content) in &files {
        check(header, content)?;
        let path = out.join(format!("{}.safetensors", header.axis));
        file::write(&path, content)?;
        output::note(&format!("{}: direction {} of {name}", path.display(), header.axis));
    }
    Ok(())
}

fn add(files: &mut Vec<(DirectionHeader, Vec<u8>)>, part: Part) -> anyhow::Result<()> {
    match part {
        Part::Header(header) => files.push((header, Vec::new())),
        Part::Chunk(chunk) => {
            let (_, content) = files.last_mut().context("the server sent a direction without its header")?;
            content.extend_from_slice(&chunk);
        }
    }
    Ok(())
}

fn check(header: &DirectionHeader, content: &[u8]) -> anyhow::Result<()> {
    ensure!(matches!(header.axis.as_str(), "x" | "y"), "the server sent a direction of the axis `{}`", header.axis);
    let found = Digest::of(content);
    ensure!(
        found.to_string() == header.digest,
        "the server sent direction {} with the digest {found}, not {}",
        header.axis,
        header.digest
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(axis: &str, content: &[u8]) -> Part {
        let (digest, n_bytes) = (Digest::of(content).to_string(), content.len() as u64);
        Part::Header(DirectionHeader { axis: axis.to_owned(), digest, n_bytes })
    }

    #[test]
    fn directions_are_put_together_from_their_pieces() {
        let mut files = Vec::new();
        let chunk = |bytes: &'static [u8]| Part::Chunk(Bytes::from_static(bytes));
        for part in [header("x", b"abcd"), chunk(b"ab"), chunk(b"cd"), header("y", b"e"), chunk(b"e")] {
            add(&mut files, part).expect("in order");
        }
        let contents: Vec<&[u8]> = files.iter().map(|(_, content)| content.as_slice()).collect();
        assert_eq!(contents, [&b"abcd"[..], b"e"]);
        assert!(files.iter().all(|(header, content)| check(header, content).is_ok()));
        assert!(add(&mut Vec::new(), chunk(b"a")).is_err());
        assert!(check(&files[0].0, b"abc").is_err());
        let Part::Header(outside) = header("../x", b"") else { return };
        assert!(check(&outside, b"").is_err());
    }
}
