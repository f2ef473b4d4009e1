//! Doing what goes wrong, and noting whom it hit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep;

use crate::disk::{Filler, damage};
use crate::machine::{Machine, Process, creator_id, kill, shim_id};
use crate::observe::sandboxes;
use crate::random::chosen;
use crate::schedule::{Fault, Record, Round};
use crate::world::{Hit, HitKind};

/// How long a fault that needs a `remora-create` at work looks for one.
const LOOK_FOR_CREATOR: Duration = Duration::from_millis(1500);

/// Whom a fault has hit.
#[derive(Debug, Default)]
pub(crate) struct Struck {
    pub(crate) hits: Vec<Hit>,
    /// The pods, by their sandboxes' ids, as they were just before shims were killed: some may be younger than the round.
    pub(crate) pods: BTreeMap<String, String>,
    /// For people.
    pub(crate) said: String,
}

impl Struck {
    fn hit(&mut self, ids: impl IntoIterator<Item = String>, what: HitKind) {
        for id in ids {
            self.said.push_str(&format!(" {}", &id[..id.len().min(12)]));
            self.hits.push(Hit { id, what });
        }
    }
}

/// Carries out a round's fault. `daemon` is its pid.
pub(crate) async fn strike(machine: &Arc<Machine>, round: &Round, daemon: i32) -> Result<Struck> {
    sleep(round.fault_after).await;
    let mut struck = Struck::default();
    match round.fault {
        Fault::Nothing => {}
        Fault::Daemon => kill([daemon])?,
        Fault::Shim => kill_shims(machine, &mut struck, |shims| one(shims, round.pick), None)?,
        Fault::Shims => kill_shims(machine, &mut struck, every_second, None)?,
        Fault::DaemonThenShim => {
            kill([daemon])?;
            kill_shims(machine, &mut struck, |shims| one(shims, round.pick), None)?;
        }
        Fault::Together => kill_shims(machine, &mut struck, |shims| shims, Some(daemon))?,
        Fault::Creator => creator(machine, &mut struck, None).await?,
        Fault::DaemonAndCreator => creator(machine, &mut struck, Some(daemon)).await?,
        Fault::Reboot => {
            kill([daemon])?;
            struck.hit(machine.containers()?, HitKind::Reboot);
            machine.lose_power().await?;
        }
        Fault::DiskFull => full_disk(machine, round.hold).await?,
        Fault::DiskFullAndDaemon => {
            let filler = Filler::fill(&machine.data)?;
            sleep(round.hold).await;
            kill([daemon])?;
            drop(filler);
        }
        Fault::Damage(record) => {
            kill([daemon])?;
            damaged(machine, &mut struck, record, round.pick)?;
        }
    }
    Ok(struck)
}

fn one(shims: Vec<Process>, pick: u64) -> Vec<Process> {
    let at = chosen(pick, shims.len());
    shims.into_iter().skip(at).take(1).collect()
}

fn every_second(shims: Vec<Process>) -> Vec<Process> {
    shims.into_iter().step_by(2).collect()
}

fn kill_shims(
    machine: &Machine,
    struck: &mut Struck,
    choose: impl FnOnce(Vec<Process>) -> Vec<Process>,
    daemon: Option<i32>,
) -> Result<()> {
    let doomed = choose(machine.shims()?);
    struck.hit(doomed.iter().filter_map(shim_id), HitKind::Shim);
    struck.pods = sandboxes(machine).into_iter().map(|sandbox| (sandbox.id, sandbox.pod)).collect();
    kill(daemon.into_iter().chain(doomed.iter().map(|shim| shim.pid)))
}

/// There is no event for the start of a process that an onlooker could wait for: the processes are looked through again and again.
async fn creator(machine: &Arc<Machine>, struck: &mut Struck, daemon: Option<i32>) -> Result<()> {
    let looking = machine.clone();
    let found = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        while begun.elapsed() < LOOK_FOR_CREATOR {
            if let Some(found) = looking.creators()?.into_iter().next() {
                kill(daemon.into_iter().chain([found.pid]))?;
                return Ok(Some(found));
            }
        }
        daemon.map_or(Ok(()), |daemon| kill([daemon]))?;
        anyhow::Ok(None)
    });
    let Some(found) = found.await?? else {
        struck.said = " none was at work".to_owned();
        return Ok(());
    };
    // A `delete` or `exec` that is killed ends no container; one that awaits its bundle, ahead of the order, ends the start that gets it.
    if found.command.iter().any(|word| word == "run" || word == "await") {
        struck.hit(creator_id(&found), HitKind::Creator);
    }
    struck.said = format!(" {}", found.command.join(" "));
    Ok(())
}

async fn full_disk(machine: &Machine, hold: Duration) -> Result<()> {
    let filler = Filler::fill(&machine.data)?;
    sleep(hold).await;
    drop(filler);
    Ok(())
}

fn damaged(machine: &Machine, struck: &mut Struck, record: Record, pick: u64) -> Result<()> {
    match damage(machine, record, pick)? {
        Some(damaged) => {
            struck.said = format!(" {:?}", damaged.files);
            if record == Record::ContainerTwice {
                struck.hits.push(Hit { id: damaged.id, what: HitKind::Record });
            }
        }
        None => struck.said = " there was none".to_owned(),
    }
    Ok(())
}
