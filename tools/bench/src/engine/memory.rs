//! The memory of one subject in a process that holds nothing else.
//!
//! What was freed before stays with a process, so that one that has held another subject would count this too.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use super::Arguments;
use super::landscape::{Landscape, POINT};
use super::peers::Peers;
use super::report::Memory;
use super::subject::{Setup, Subject};
use crate::usage;

/// Measures an engine of this build in a new process, which calls [`of_this_process`].
///
/// # Errors
/// When that fails, as where there is no `/proc`.
pub(super) fn of_own(arguments: &Arguments, network: &str, subject: &str) -> anyhow::Result<Memory> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("memory.json");
    let status = arguments.process_for(network, &file)?.args(["--memory-of", subject]).status()?;
    ensure!(status.success(), "its process failed: {status}");
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

/// Measures an engine of this build here.
///
/// # Errors
/// When there is none of that word, or no `/proc`.
pub(super) fn of_this_process(arguments: &Arguments, network: &str, subject: &str) -> anyhow::Result<Memory> {
    let setups = Setup::all(arguments.threads);
    let setup = setups.into_iter().find(|setup| setup.word == subject);
    let setup = setup.with_context(|| format!("`{subject}` is not measured here"))?;
    let n_samples = arguments.n_samples(network);
    let subject = {
        let landscape = Landscape::of_default(network, n_samples)?;
        Subject::own(&setup, &landscape, n_samples)?
    };
    usage::reset_peak()?;
    // The first run makes what all later ones compute in.
    subject.point(&POINT)?;
    subject.point(&POINT)?;
    let mib = |n_bytes: usize| n_bytes as f64 / f64::from(1 << 20);
    Ok(Memory { peak_mib: usage::peak_mib()?, formula_mib: subject.n_bytes().map(mib) })
}

/// Measures a peer on what lies in `folder` in a new process.
///
/// # Errors
/// When the peer fails, or there is no `/proc`.
pub(super) fn of_peer(arguments: &Arguments, peer: &str, folder: &Path) -> anyhow::Result<Memory> {
    let mut peers = Peers::start(&arguments.python);
    let id = peers.load(peer, folder, arguments.threads)?;
    peers.reset_peak()?;
    peers.run(id)?;
    peers.run(id)?;
    Ok(Memory { peak_mib: peers.peak_mib()?, formula_mib: None })
}
