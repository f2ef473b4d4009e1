//! Which actions bring the world closer to the wish. One file per part of a pod's life.

mod ending;
mod resizing;
mod syncing;
mod wish;

pub(crate) use wish::{Wish, initialized, passed, wish};

use crate::Now;
use crate::action::Plan;
use crate::life::PodLife;
use crate::observed::Observed;
use crate::spec::Desired;

/// What to do now. Actions whose subject is being worked on already are left out; when there is nothing to do and
/// nothing under way, the plan is empty.
pub fn plan(desired: &Desired<'_>, observed: &Observed, now: Now) -> Plan {
    let mut plan = match desired.life {
        PodLife::Syncing => syncing::plan(desired, observed, now),
        PodLife::Terminating { kill_by, .. } => ending::terminating(desired, observed, *kill_by, now),
        PodLife::Terminated { removed, .. } => ending::terminated(desired, observed, *removed),
    };
    plan.actions.retain(|action| action.subject().is_none_or(|subject| !observed.doing.contains(&subject)));
    let mut begun = Vec::new();
    plan.actions.retain(|action| match action.subject() {
        Some(subject) if begun.contains(&subject) => false,
        Some(subject) => {
            begun.push(subject);
            true
        }
        None => true,
    });
    plan
}
