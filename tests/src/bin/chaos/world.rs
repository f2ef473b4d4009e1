//! What was asked for and what was done to it: the half of the truth that the checker brings along. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::random::chosen;
use crate::schedule::Step;
use crate::workload::{EphemeralPlan, PodPlan, Role, Shape};

/// Whether the API server has said that it did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It has: then it must be so for ever.
    Yes,
    /// The connection broke: it may be so or not.
    Unknown,
    /// It has refused.
    No,
}

/// A pod that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct PodModel {
    pub(crate) plan: PodPlan,
    pub(crate) created: Answer,
    pub(crate) deleted: Option<Answer>,
    pub(crate) ephemerals: Vec<EphemeralModel>,
}

/// An ephemeral container that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct EphemeralModel {
    pub(crate) plan: EphemeralPlan,
    pub(crate) added: Answer,
}

/// A container to which we did something that ends it, or may.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hit {
    pub(crate) id: String,
    pub(crate) what: HitKind,
}

/// What was done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HitKind {
    /// Its shim was killed.
    Shim,
    /// The process that was starting it, or one of its execs, was killed.
    Creator,
    /// The machine was started anew.
    Reboot,
    /// All records of it were damaged.
    Record,
}

/// A container that ran before a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) id: String,
    pub(crate) restart_count: i64,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) pods: BTreeMap<String, PodModel>,
    pub(crate) hits: BTreeSet<Hit>,
    /// Containers that ran just before the fault, by pod and container.
    pub(crate) before: BTreeMap<(String, String), Before>,
    /// Pods that were there while the disk was full: lines of their logs may be lost, and starts may have failed.
    pub(crate) on_full_disk: BTreeSet<String>,
    /// UIDs of pods whose sandbox has lost its pause process: everything in them ends and begins anew.
    pub(crate) broken: BTreeSet<String>,
}

/// A step with its aim.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    Create(PodPlan),
    Delete(String),
    Ephemeral { pod: String, plan: EphemeralPlan },
    Terminal { pod: String, variable: String },
    Exec { pod: String, code: i32 },
}

impl World {
    /// What a step means now. None if there is nobody whom it could concern.
    pub(crate) fn order(&self, step: &Step) -> Option<Order> {
        Some(match step {
            Step::Create(plan) => Order::Create(plan.clone()),
            Step::Delete { pick } => Order::Delete(self.one(*pick, |_| true)?),
            Step::Tool { pick, name, lines, code, targets } => {
                let role = Role::Tool { lines: *lines, code: *code };
                self.ephemeral(*pick, EphemeralPlan { name: name.clone(), role, targets: *targets })?
            }
            Step::Shell { pick, name, targets } => {
                self.ephemeral(*pick, EphemeralPlan { name: name.clone(), role: Role::Shell, targets: *targets })?
            }
            Step::Terminal { pick, variable } => {
                Order::Terminal { pod: self.one(*pick, PodModel::runs_on)?, variable: variable.clone() }
            }
            Step::Exec { pick, code } => Order::Exec { pod: self.one(*pick, PodModel::runs_on)?, code: *code },
        })
    }

    fn ephemeral(&self, pick: u64, plan: EphemeralPlan) -> Option<Order> {
        Some(Order::Ephemeral { pod: self.one(pick, PodModel::runs_on)?, plan })
    }

    fn one(&self, pick: u64, suits: impl Fn(&PodModel) -> bool) -> Option<String> {
        let there = |pod: &&PodModel| pod.created == Answer::Yes && pod.deleted.is_none();
        let names: Vec<&String> =
            self.pods.values().filter(there).filter(|pod| suits(pod)).map(|pod| &pod.plan.name).collect();
        (!names.is_empty()).then(|| names[chosen(pick, names.len())].clone())
    }

    /// Notes what came of an order.
    pub(crate) fn learn(&mut self, order: &Order, answer: Answer) {
        match order {
            Order::Create(plan) if answer != Answer::No => {
                let model = PodModel { plan: plan.clone(), created: answer, deleted: None, ephemerals: Vec::new() };
                self.pods.insert(plan.name.clone(), model);
            }
            Order::Delete(name) if answer != Answer::No => {
                if let Some(pod) = self.pods.get_mut(name) {
                    pod.deleted = Some(answer);
                }
            }
            Order::Ephemeral { pod, plan } if answer != Answer::No => {
                if let Some(pod) = self.pods.get_mut(pod) {
                    pod.ephemerals.push(EphemeralModel { plan: plan.clone(), added: answer });
                }
            }
            _ => {}
        }
    }

    /// Whether something was done to a container that may have ended it.
    pub(crate) fn is_hit(&self, id: &str) -> bool {
        self.hits.iter().any(|hit| hit.id == id)
    }

    /// Whether all records of some container were damaged: then nobody but the API knows of it, if it has heard.
    pub(crate) fn has_unheard(&self) -> bool {
        self.hits.iter().any(|hit| hit.what == HitKind::Record)
    }

    pub(crate) fn hit_by(&self, id: &str, what: HitKind) -> bool {
        self.hits.contains(&Hit { id: id.to_owned(), what })
    }

    /// Forgets what is gone for good.
    pub(crate) fn forget(&mut self, gone: impl Fn(&PodModel) -> bool) {
        self.pods.retain(|_, pod| !gone(pod));
        let pods = &self.pods;
        self.on_full_disk.retain(|name| pods.contains_key(name));
    }
}

impl PodModel {
    /// Its main container does not end by itself.
    pub(crate) fn runs_on(&self) -> bool {
        matches!(self.plan.shape, Shape::Counter | Shape::Idle)
    }

    /// It must be there.
    pub(crate) fn is_certain(&self) -> bool {
        self.created == Answer::Yes && self.deleted.is_none()
    }
}
