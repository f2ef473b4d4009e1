//! `cargo xtask demo`: from a fresh clone to the session, with Remora's commands and with a stock kubectl.

use std::path::PathBuf;

use anyhow::Result;

use crate::binaries::Profile;
use crate::host;
use crate::node::{self, Node};
use crate::session::{self, Client};

/// Its own folder, so that a node started by hand is left alone.
const DIR: &str = "/var/tmp/remora-demo";

pub(crate) fn run() -> Result<()> {
    let dir = PathBuf::from(DIR);
    let node = node::start(&dir, Profile::Dev, &[])?;
    let played = play(&node);
    // Cleaned up also when the session failed; the first failure is the one to report.
    let stopped = node::stop(&dir);
    played.and(stopped)?;
    host::print("\nThe demo is done, and everything it started is gone. Your own node: sudo remora up");
    Ok(())
}

fn play(node: &Node) -> Result<()> {
    let remora = Client { node, program: node.remora().display().to_string(), shown: "remora".to_owned() };
    session::pause(&remora)?;
    session::distroless(&remora)?;
    match host::find_program("kubectl") {
        Some(kubectl) => {
            let kubectl = Client { node, program: kubectl.display().to_string(), shown: "kubectl".to_owned() };
            session::pause(&kubectl)?;
            session::distroless(&kubectl)
        }
        None => {
            host::say("no kubectl in $PATH: the part of the demo with stock kubectl is SKIPPED");
            Ok(())
        }
    }
}
