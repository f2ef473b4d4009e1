//! What a node weighs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

/// Proportional memory of the daemon and its shims, in MiB. `remora` is the program; the node is found as the program finds it.
///
/// # Errors
/// The node does not answer.
pub fn of_node(remora: &Path) -> Result<f64> {
    let output = Command::new(remora).args(["status", "--json"]).output()?;
    let status: Value = serde_json::from_slice(&output.stdout).context("the node does not answer")?;
    let daemon = pss(&status["pid"].to_string())?;
    let run = std::env::var("REMORA_RUN_DIR").unwrap_or_else(|_| "/run/remora".to_owned());
    let mut total = daemon;
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        if command.contains("remora-shim") && command.contains(&run) {
            // One that ends between the two reads counts as nothing.
            total += pss(&path.file_name().unwrap_or_default().to_string_lossy()).unwrap_or(0.0);
        }
    }
    Ok(total)
}

fn pss(pid: &str) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
