//! A public load generator, wrk, told what to ask by `load.lua`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

const SCRIPT: &str = include_str!("load.lua");

/// Runs wrk against one server.
pub(crate) struct Load<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) server: &'a str,
    pub(crate) token: &'a str,
    pub(crate) seconds: u32,
}

/// What one run has measured.
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    /// Milliseconds.
    pub(crate) median: f64,
}

impl Load<'_> {
    /// Asks for `kind` (see the script) over so many connections; `objects` is how many there are to choose from.
    pub(crate) fn run(&self, kind: &str, connections: u32, objects: usize) -> Result<Rate> {
        let script = self.folder.join("load.lua");
        std::fs::write(&script, SCRIPT).with_context(|| format!("writing {}", script.display()))?;
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", &connections.min(2).to_string(), "--connections", &connections.to_string()]);
        wrk.args(["--duration", &format!("{}s", self.seconds), "--timeout", "30s", "--script"]).arg(&script);
        wrk.args([self.server, "--", kind, &objects.to_string()]).env("BENCH_TOKEN", self.token);
        let output = wrk.output().context("wrk is not installed")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk failed: {said}{}", String::from_utf8_lossy(&output.stderr));
        parse(&said).with_context(|| format!("{kind}: {said}"))
    }
}

/// `RESULT requests microseconds failed median-microseconds`
fn parse(said: &str) -> Result<Rate> {
    let line = said.lines().find_map(|line| line.strip_prefix("RESULT ")).context("wrk gave no result")?;
    let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [requests, duration, failed, median] = numbers[..] else { anyhow::bail!("wrk gave an odd result") };
    ensure!(failed == 0.0, "{failed} of {requests} requests failed");
    Ok(Rate { per_second: requests / duration * 1e6, median: median / 1e3 })
}
