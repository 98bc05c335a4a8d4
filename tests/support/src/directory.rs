//! What lies in a directory, to be compared with what lies there later.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What changes when a file is written again, be it with the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    inode: u64,
    modified: (i64, i64),
    n_bytes: u64,
}

/// The content of every file below `folder`, and none for every folder, by path from there. The lease of a store's
/// coordinators, which is renewed all the time, is left out.
///
/// # Errors
/// When something cannot be read.
pub fn contents(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, Option<Vec<u8>>>> {
    let mut contents = BTreeMap::new();
    for path in below(folder)? {
        let inner = path.strip_prefix(folder)?;
        if inner.components().any(|part| part.as_os_str() == "leases") {
            continue;
        }
        let content = if path.is_dir() { None } else { Some(fs::read(&path)?) };
        contents.insert(inner.to_owned(), content);
    }
    Ok(contents)
}

/// The stamp of every file below `folder`, by path from there; none when there is no such folder. What a process was
/// still writing when it was killed or suspended is no object of the store yet: it has a name with a `#`, and is left
/// out.
///
/// # Errors
/// When something cannot be read.
pub fn stamps(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, FileStamp>> {
    let mut stamps = BTreeMap::new();
    if !folder.exists() {
        return Ok(stamps);
    }
    for path in below(folder)? {
        if path.to_string_lossy().contains('#') {
            continue;
        }
        let metadata = fs::metadata(&path)?;
        if metadata.is_file() {
            let modified = (metadata.mtime(), metadata.mtime_nsec());
            let stamp = FileStamp { inode: metadata.ino(), modified, n_bytes: metadata.len() };
            stamps.insert(path.strip_prefix(folder)?.to_owned(), stamp);
        }
    }
    Ok(stamps)
}

/// Copies everything below `from` to `to`.
pub(crate) fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.strip_prefix(from)?);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

fn below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            paths.extend(below(&path)?);
        }
        paths.push(path);
    }
    Ok(paths)
}
