//! `cargo xtask chaos`: random kills and disk faults under load; after each, a checker looks for what must always be true.
//!
//! ```text
//! schedule (seed) ─▶ load, faults ─▶ the node          world: what was asked for, whom it hit
//!                                      │
//!                     observe ◀────────┘ ─▶ snapshot    invariants(world, snapshot) ─▶ what is wrong
//! ```
//! `random`, `schedule`, `workload`, `world` and `invariants` are pure; what touches the node is `machine`, `disk`, `faults`, `load`,
//! `terminal` and `observe`. It runs inside the node's network namespace, as any client would. A seed gives the same steps and
//! faults each time; which instruction of the node a fault meets still varies.

mod disk;
mod faults;
mod invariants;
mod load;
mod machine;
mod observe;
mod random;
mod runner;
mod schedule;
mod snapshot;
mod terminal;
mod workload;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;

use machine::Machine;
use runner::Runner;
use schedule::Schedule;

#[derive(Parser)]
struct Arguments {
    /// Where the schedule comes from.
    #[arg(long)]
    seed: u64,
    /// How long. A round that has begun is finished.
    #[arg(long)]
    minutes: f64,
    /// Remora's program.
    #[arg(long)]
    remora: PathBuf,
    /// The registry that stands in for all others.
    #[arg(long)]
    registry: String,
    /// Who makes cgroups, as for `remora up`.
    #[arg(long)]
    cgroup_driver: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    show(&format!("seed {}, {} minutes", arguments.seed, arguments.minutes));
    let machine = Machine::from_environment(arguments.remora, arguments.registry, arguments.cgroup_driver)?;
    let mut tally = Tally::default();
    let mut runner = Runner::new(machine).await?;
    let until = Instant::now() + Duration::from_secs_f64(arguments.minutes * 60.0);
    let classes = runner.runtime_classes().await?;
    show(&format!("runtime classes beside the default: {classes:?}"));
    for round in Schedule::new(arguments.seed, classes) {
        if Instant::now() >= until {
            break;
        }
        show(&format!("round {}: {} after {} ms", round.number, round.fault, round.fault_after.as_millis()));
        let wrong = runner.round(&round).await.unwrap_or_else(|error| vec![format!("the round broke: {error:#}")]);
        if !tally.count(&wrong) {
            show(&format!("  round {} of seed {}; the end of the daemon's log:", round.number, arguments.seed));
            show(&runner.daemon_log());
            if let Err(error) = runner.begin_anew().await {
                show(&format!("  given up, the node cannot be used any more: {error:#}"));
                break;
            }
        }
    }
    show("the end: remora down");
    let left = runner.down().await.unwrap_or_else(|error| vec![format!("{error:#}")]);
    tally.count(&left);
    show(&format!("{} passed, {} failed", tally.passed, tally.failed));
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Rounds, by how they ended.
#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    /// Counts a round and says what was wrong with it. Whether it passed.
    fn count(&mut self, wrong: &[String]) -> bool {
        wrong.iter().for_each(|line| show(&format!("  FAILED {line}")));
        if wrong.is_empty() {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
        wrong.is_empty()
    }
}

#[expect(clippy::print_stdout, reason = "what it is for")]
pub(crate) fn show(line: &str) {
    println!("{line}");
}
