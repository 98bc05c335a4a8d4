//! Tells the engine which build it is, by the sources that its numbers come from.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;
use std::process::Command;
use std::{env, fs, io};

/// Everything that the last bits of a value can depend on: the engine, the arithmetic and the graphs below it, what reads
/// parameters and samples, and the versions of all libraries.
const SOURCES: [&str; 9] = [
    "Cargo.toml",
    "src",
    "../core/src",
    "../graph/src",
    "../store/src/half.rs",
    "../store/src/safetensor.rs",
    "../store/src/sample.rs",
    "../../../Cargo.toml",
    "../../../Cargo.lock",
];

/// What cargo says of the machine that is compiled for and of how: whether a product and a sum are rounded once or twice
/// is up to these.
const SETTINGS: [&str; 4] = ["TARGET", "CARGO_CFG_TARGET_FEATURE", "CARGO_ENCODED_RUSTFLAGS", "OPT_LEVEL"];

fn main() -> io::Result<()> {
    let mut hasher = DefaultHasher::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        hash(Path::new(source), &mut hasher)?;
    }
    for setting in SETTINGS {
        env::var(setting).unwrap_or_default().hash(&mut hasher);
    }
    let compiler = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output()?;
    compiler.stdout.hash(&mut hasher);
    println!("cargo::rustc-env=RELIEF_NN_BUILD={:016x}", hasher.finish());
    Ok(())
}

/// Hashes files with their names, folders in the order of names; tests are left out.
fn hash(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with("tests.rs") || name == "tests" {
        return Ok(());
    }
    name.hash(hasher);
    if path.is_dir() {
        let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        entries.sort_unstable();
        entries.iter().try_for_each(|entry| hash(entry, hasher))
    } else {
        fs::read(path)?.hash(hasher);
        Ok(())
    }
}
