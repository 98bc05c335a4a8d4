//! What this process has used, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// The time that all threads of this process have computed.
///
/// # Errors
/// Where there is no `/proc`.
pub(crate) fn cpu_time() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").context("no /proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // proc(5) counts the state as field 3, user and system time as fields 14 and 15, in hundredths of a second.
    let ticks = |idx: usize| fields.get(idx).and_then(|field| field.parse::<u64>().ok()).context("no time in stat");
    Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}

/// The memory that this process holds, in MiB.
///
/// # Errors
/// Where there is no `/proc`.
pub(crate) fn resident_mib() -> anyhow::Result<f64> {
    status_mib("VmRSS:")
}

fn status_mib(field: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("no /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// The most memory that this process has held since [`reset_peak`], in MiB.
///
/// # Errors
/// Where there is no `/proc`.
pub(crate) fn peak_mib() -> anyhow::Result<f64> {
    status_mib("VmHWM:")
}

/// Lets [`peak_mib`] begin anew.
///
/// # Errors
/// Where there is no `/proc`.
pub(crate) fn reset_peak() -> anyhow::Result<()> {
    fs::write("/proc/self/clear_refs", "5").context("no /proc/self/clear_refs")
}
