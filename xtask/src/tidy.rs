//! `cargo xtask tidy`: formatting and lints.

use anyhow::Result;

use crate::host;

pub(crate) fn run() -> Result<()> {
    host::run(host::cargo().args(["fmt", "--all", "--check"]))?;
    host::run(host::cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}
