//! Which requests wait when more come than may be answered at one time, and which are refused: Kubernetes' API priority and fairness with a
//! fixed configuration. Called by `apiserver::flow`, which holds the requests.
//!
//! A request belongs to a [`Level`], by its user. Levels share nothing, so that no client can keep the node from reporting. Within one, each
//! user is a flow, and a [`FairQueue`] gives the next free seat to the flow that has the fewest.
//!
//! A request takes one seat, a [list](list) one for each 100 kB that it reads.
//!
//! Deliberately absent: `FlowSchema` and `PriorityLevelConfiguration` objects, and further seats for writes that many watch
//! (`docs/decisions/0025-too-many-requests.md`).

pub mod list;
mod queue;

pub use queue::{Arrival, FairQueue, Ticket};

/// Who competes with whom. The names are those of upstream's suggested configuration
/// (`k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap/default.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Never waits: the group `system:masters`.
    Exempt,
    /// Nodes, the scheduler, controllers, and service accounts of `kube-system`.
    System,
    /// All other service accounts.
    WorkloadLow,
    /// Everybody else, the anonymous user too.
    GlobalDefault,
}

impl Level {
    /// The levels that have seats.
    pub const LIMITED: [Self; 3] = [Self::System, Self::WorkloadLow, Self::GlobalDefault];

    /// The level of a user with this name and these groups.
    pub fn of(name: &str, groups: &[String]) -> Self {
        let in_group = |wanted: &str| groups.iter().any(|group| group == wanted);
        if in_group("system:masters") {
            return Self::Exempt;
        }
        let of_the_system = ["system:nodes", "system:serviceaccounts:kube-system"].into_iter().any(in_group)
            || matches!(name, "system:kube-scheduler" | "system:kube-controller-manager");
        match of_the_system {
            true => Self::System,
            false if in_group("system:serviceaccounts") => Self::WorkloadLow,
            false => Self::GlobalDefault,
        }
    }

    /// As metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::System => "system",
            Self::WorkloadLow => "workload-low",
            Self::GlobalDefault => "global-default",
        }
    }

    /// How many of all seats this level has: a quarter for the system, the rest in halves, one at least.
    pub fn seats(self, all: usize) -> usize {
        let system = all / 4;
        let share = match self {
            Self::Exempt => return usize::MAX,
            Self::System => system,
            Self::WorkloadLow | Self::GlobalDefault => (all - system) / 2,
        };
        share.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_level_is_that_of_its_groups() {
        let check = |name: &str, groups: &[&str], expected: Level| {
            let groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
            assert_eq!(Level::of(name, &groups), expected, "{name}");
        };
        check("kubernetes-admin", &["system:masters", "system:authenticated"], Level::Exempt);
        check("system:node:anchor", &["system:nodes", "system:authenticated"], Level::System);
        check("system:kube-scheduler", &["system:authenticated"], Level::System);
        check(
            "system:serviceaccount:kube-system:namespace-controller",
            &["system:serviceaccounts", "system:serviceaccounts:kube-system"],
            Level::System,
        );
        check("system:serviceaccount:default:ci", &["system:serviceaccounts"], Level::WorkloadLow);
        check("jane", &["developers", "system:authenticated"], Level::GlobalDefault);
        check("system:anonymous", &["system:unauthenticated"], Level::GlobalDefault);
        // A name alone makes nobody a node.
        check("system:node:anchor", &["system:authenticated"], Level::GlobalDefault);
    }

    #[test]
    fn all_seats_are_shared_out_and_no_level_has_none() {
        let seats = |all| Level::LIMITED.map(|level| level.seats(all));
        assert_eq!(seats(600), [150, 225, 225]);
        assert_eq!(seats(1), [1, 1, 1]);
    }
}
