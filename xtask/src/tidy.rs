//! `cargo xtask tidy`: formatting and lints.

use std::process::Command;

use anyhow::Result;

use crate::host;

pub(crate) fn run() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let cargo = || {
        let mut command = Command::new(&cargo);
        command.current_dir(host::root());
        command
    };
    host::run(cargo().args(["fmt", "--all", "--check"]))?;
    host::run(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}
