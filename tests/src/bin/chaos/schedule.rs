//! What happens in which round: load, and one fault in the middle of it. Follows from the seed alone. Pure.

use std::fmt;
use std::time::Duration;

use crate::random::Random;
use crate::workload::{PodPlan, Shape};

/// One round.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) number: u32,
    pub(crate) steps: Vec<Timed>,
    pub(crate) fault: Fault,
    /// From the round's beginning.
    pub(crate) fault_after: Duration,
    /// How long the fault lasts, if it is one that does.
    pub(crate) hold: Duration,
    /// Whom it hits, among those that there are at that moment.
    pub(crate) pick: u64,
}

/// A step and when it begins, from the round's beginning.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    pub(crate) after: Duration,
    pub(crate) step: Step,
}

/// Something that a user does. `pick` chooses among what there is.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create(PodPlan),
    Delete {
        pick: u64,
    },
    /// An ephemeral container that prints numbers and ends.
    Tool {
        pick: u64,
        name: String,
        lines: u32,
        code: i32,
        targets: bool,
    },
    /// An ephemeral container with a terminal, attached to, in which a variable is set.
    Shell {
        pick: u64,
        name: String,
        targets: bool,
    },
    /// A shell by exec, in which a variable is set.
    Terminal {
        pick: u64,
        variable: String,
    },
    /// A command that ends with an exit status.
    Exec {
        pick: u64,
        code: i32,
    },
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    /// `kill -9` of the daemon.
    Daemon,
    /// Of one shim.
    Shim,
    /// Of every second shim.
    Shims,
    /// Of the daemon, and of a shim before the next daemon starts.
    DaemonThenShim,
    /// Of the daemon and all shims at once.
    Together,
    /// Of a `remora-create` at work.
    Creator,
    /// Of a `remora-create` at work and the daemon.
    DaemonAndCreator,
    /// The machine is started anew: no process, mount, interface or run folder is left, and the boot is another one.
    Reboot,
    /// No space on the data disk for a while.
    DiskFull,
    /// The same, and the daemon is killed meanwhile.
    DiskFullAndDaemon,
    /// A file of a container or sandbox is damaged while no daemon runs.
    Damage(Record),
}

/// Which file is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Container,
    /// The container's record and the copy of it.
    ContainerTwice,
    Sandbox,
    Start,
    Exit,
    ShimConfig,
    /// The network's of all pods, or of one.
    Network,
    Address,
    /// The image store's.
    Images,
}

const FAULTS: [Fault; 20] = [
    Fault::Daemon,
    Fault::Daemon,
    Fault::Shim,
    Fault::Shims,
    Fault::DaemonThenShim,
    Fault::Together,
    Fault::Creator,
    Fault::DaemonAndCreator,
    Fault::Reboot,
    Fault::DiskFull,
    Fault::DiskFullAndDaemon,
    Fault::Damage(Record::Container),
    Fault::Damage(Record::ContainerTwice),
    Fault::Damage(Record::Sandbox),
    Fault::Damage(Record::Exit),
    Fault::Damage(Record::ShimConfig),
    Fault::Damage(Record::Start),
    Fault::Damage(Record::Network),
    Fault::Damage(Record::Address),
    Fault::Damage(Record::Images),
];

impl Fault {
    /// Whether the daemon must be started again.
    pub(crate) fn ends_daemon(self) -> bool {
        !matches!(self, Fault::Nothing | Fault::Shim | Fault::Shims | Fault::Creator | Fault::DiskFull)
    }

    pub(crate) fn fills_disk(self) -> bool {
        matches!(self, Fault::DiskFull | Fault::DiskFullAndDaemon)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Nothing => "nothing",
            Fault::Daemon => "kill -9 of the daemon",
            Fault::Shim => "kill -9 of a shim",
            Fault::Shims => "kill -9 of every second shim",
            Fault::DaemonThenShim => "kill -9 of the daemon, then of a shim",
            Fault::Together => "kill -9 of the daemon and all shims",
            Fault::Creator => "kill -9 of remora-create at work",
            Fault::DaemonAndCreator => "kill -9 of remora-create at work and the daemon",
            Fault::Reboot => "loss of power: nothing but the disk is left",
            Fault::DiskFull => "full disk",
            Fault::DiskFullAndDaemon => "full disk and kill -9 of the daemon",
            Fault::Damage(Record::Container) => "damaged container.json",
            Fault::Damage(Record::ContainerTwice) => "damaged container.json and its copy",
            Fault::Damage(Record::Sandbox) => "damaged sandbox.json",
            Fault::Damage(Record::Start) => "damaged start.json",
            Fault::Damage(Record::Exit) => "damaged exit.json",
            Fault::Damage(Record::ShimConfig) => "damaged shim.json",
            Fault::Damage(Record::Network) => "damaged network.json",
            Fault::Damage(Record::Address) => "damaged record of an address",
            Fault::Damage(Record::Images) => "damaged images.json",
        })
    }
}

/// Endless rounds.
pub(crate) struct Schedule {
    random: Random,
    /// Faults that are still to come before all begin again, in another order.
    bag: Vec<Fault>,
    round: u32,
    names: u32,
    classes: &'static [&'static str],
}

impl Schedule {
    /// `classes`: see [`PodPlan::new`].
    pub(crate) fn new(seed: u64, classes: &'static [&'static str]) -> Self {
        Schedule { random: Random::new(seed), bag: Vec::new(), round: 0, names: 0, classes }
    }

    fn fault(&mut self) -> Fault {
        if self.bag.is_empty() {
            self.bag = FAULTS.to_vec();
        }
        let at = self.random.between(0, self.bag.len() as u64) as usize;
        self.bag.swap_remove(at)
    }

    fn name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{what}{}", self.names)
    }

    /// The first round makes one pod of each shape, and nothing goes wrong.
    fn first(&mut self) -> Round {
        let steps = [Shape::Counter, Shape::Finite, Shape::Crasher, Shape::Idle, Shape::Idle]
            .map(|shape| Timed { after: Duration::ZERO, step: self.create(shape) });
        Round {
            number: 1,
            steps: steps.into(),
            fault: Fault::Nothing,
            fault_after: Duration::ZERO,
            hold: Duration::ZERO,
            pick: 0,
        }
    }

    fn create(&mut self, shape: Shape) -> Step {
        let name = self.name("p");
        Step::Create(PodPlan::new(name, shape, self.classes, &mut self.random))
    }

    fn step(&mut self) -> Step {
        let pick = self.random.number();
        let targets = self.random.percent(50);
        match self.random.between(0, 100) {
            0..30 => {
                let shape =
                    self.random.pick(&[Shape::Counter, Shape::Finite, Shape::Finite, Shape::Crasher, Shape::Idle]);
                self.create(shape)
            }
            30..50 => Step::Delete { pick },
            50..68 => {
                let (lines, code) = (self.random.between(1, 60) as u32, self.random.between(0, 40) as i32);
                Step::Tool { pick, name: self.name("tool"), lines, code, targets }
            }
            68..80 => Step::Shell { pick, name: self.name("shell"), targets },
            80..90 => Step::Terminal { pick, variable: self.name("exec") },
            _ => Step::Exec { pick, code: self.random.between(0, 100) as i32 },
        }
    }
}

impl Iterator for Schedule {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        self.round += 1;
        if self.round == 1 {
            return Some(self.first());
        }
        let count = self.random.between(4, 9);
        let mut steps: Vec<Timed> = (0..count)
            .map(|_| Timed { after: Duration::from_millis(self.random.between(0, 500)), step: self.step() })
            .collect();
        steps.sort_by_key(|timed| timed.after);
        Some(Round {
            number: self.round,
            steps,
            fault: self.fault(),
            fault_after: Duration::from_millis(self.random.between(20, 700)),
            hold: Duration::from_millis(self.random.between(200, 1500)),
            pick: self.random.number(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rounds_of_a_seed_are_always_the_same_and_those_of_another_are_not() {
        let rounds = |seed| format!("{:?}", Schedule::new(seed, &["runc"]).take(40).collect::<Vec<_>>());
        assert_eq!(rounds(1), rounds(1));
        assert_ne!(rounds(1), rounds(2));
    }

    #[test]
    fn every_fault_comes_before_any_comes_again() {
        let mut seen: Vec<Fault> = Schedule::new(7, &[]).skip(1).take(FAULTS.len()).map(|round| round.fault).collect();
        for fault in FAULTS {
            let at = seen.iter().position(|have| *have == fault).unwrap_or_else(|| panic!("{fault} is missing"));
            seen.swap_remove(at);
        }
    }
}
