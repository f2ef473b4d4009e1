//! The sizes of a deployment's replica sets: what a rollout does next, and what another size of the deployment means for them. Pure: it says which
//! replica sets get which size. Source of the rules: upstream's `rolling.go`, `recreate.go`, `sync.go`.

use std::cmp::Reverse;

use remora_rules::object::text;
use serde_json::Value;

use super::sets::{counted, desired, max_before, max_surge, max_unavailable, replicas, total, wanted};
use super::sets::{is_rolling, sort_by_age};

/// A replica set and the size that it is to get.
pub(super) type Size = (Value, i64);

/// The size of a new replica set, or of one that grows.
pub(super) fn room(deployment: &Value, all: &[Value], now: i64) -> i64 {
    let size = replicas(deployment);
    if !is_rolling(deployment) {
        return size;
    }
    let most = size + max_surge(deployment);
    let there = wanted(all);
    if there >= most {
        return now;
    }
    now + (most - there).min(size - now)
}

/// Whether somebody has changed the deployment's size since its replica sets were last written.
pub(super) fn is_scaled(deployment: &Value, new: Option<&Value>, old: &[Value]) -> bool {
    let active = old.iter().chain(new).filter(|set| replicas(set) > 0);
    active.filter_map(desired).any(|desired| desired != replicas(deployment))
}

/// What another size of the deployment means for its replica sets.
pub(super) fn scale(deployment: &Value, new: Option<&Value>, old: &[Value]) -> Vec<Size> {
    let size = replicas(deployment);
    if let Some(only) = active_or_latest(new, old) {
        let is_right = replicas(only) == size && desired(only).is_none_or(|desired| desired == size);
        return if is_right { Vec::new() } else { vec![(only.clone(), size)] };
    }
    let active_old = || old.iter().filter(|set| replicas(set) > 0);
    if new.is_some_and(|new| is_saturated(deployment, new)) {
        return active_old().map(|set| (set.clone(), 0)).collect();
    }
    if !is_rolling(deployment) {
        return Vec::new();
    }
    let active: Vec<Value> = active_old().chain(new.filter(|new| replicas(new) > 0)).cloned().collect();
    proportionally(deployment, active)
}

/// The only one with pods, or else the newest; none if several have pods.
fn active_or_latest<'s>(new: Option<&'s Value>, old: &'s [Value]) -> Option<&'s Value> {
    let active: Vec<&Value> = old.iter().chain(new).filter(|set| replicas(set) > 0).collect();
    match active.as_slice() {
        [] => new.or_else(|| old.last()),
        [only] => Some(only),
        _ => None,
    }
}

fn is_saturated(deployment: &Value, new: &Value) -> bool {
    let size = replicas(deployment);
    replicas(new) == size && desired(new) == Some(size) && counted(new, "availableReplicas") == size
}

/// Each gets or gives its share of what is to be added or taken; what is left over is the first one's.
fn proportionally(deployment: &Value, mut active: Vec<Value>) -> Vec<Size> {
    let size = replicas(deployment);
    let allowed = if size > 0 { size + max_surge(deployment) } else { 0 };
    let to_add = allowed - wanted(&active);
    sort_by_age(&mut active);
    // The larger first; of the same size the newer when pods are added, the older when they are taken.
    if to_add > 0 {
        active.reverse();
    }
    active.sort_by_key(|set| Reverse(replicas(set)));
    let mut added = 0;
    let mut sizes: Vec<Size> = Vec::with_capacity(active.len());
    for set in active {
        let share = share(deployment, &set, to_add, added);
        added += share;
        let size = replicas(&set) + share;
        sizes.push((set, size));
    }
    if let Some((_, first)) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    sizes
}

fn share(deployment: &Value, set: &Value, to_add: i64, added: i64) -> i64 {
    if to_add == added {
        return 0;
    }
    let left = to_add - added;
    let fraction = fraction(deployment, set);
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

/// By how much a replica set changes if all change alike.
fn fraction(deployment: &Value, set: &Value) -> i64 {
    let (size, now) = (replicas(deployment), replicas(set));
    if size == 0 {
        return -now;
    }
    let most = size + max_surge(deployment);
    let before = max_before(set).filter(|before| *before > 0).unwrap_or_else(|| counted(deployment, "replicas"));
    if before == 0 {
        return 0;
    }
    // To the nearest, halves up.
    (2 * now * most + before) / (2 * before) - now
}

/// The next step of a rolling update; nothing if it has to wait, or is done.
pub(super) fn roll(deployment: &Value, new: &Value, old: &[Value]) -> Vec<Size> {
    let size = replicas(deployment);
    let all: Vec<Value> = old.iter().chain([new]).cloned().collect();
    let now = replicas(new);
    if now != size {
        let next = if now > size { size } else { room(deployment, &all, now) };
        if next != now {
            return vec![(new.clone(), next)];
        }
    }
    shrink(deployment, new, old, &all)
}

/// Old replica sets give up pods: first those that do nothing, then as many as may be missing.
fn shrink(deployment: &Value, new: &Value, old: &[Value], all: &[Value]) -> Vec<Size> {
    let least = replicas(deployment) - max_unavailable(deployment);
    let unavailable = replicas(new) - counted(new, "availableReplicas");
    let most = wanted(all) - least - unavailable;
    let mut sizes: Vec<Size> =
        old.iter().filter(|set| replicas(set) > 0).map(|set| (set.clone(), replicas(set))).collect();
    if sizes.is_empty() || most <= 0 {
        return Vec::new();
    }
    let mut taken = 0;
    for (set, size) in &mut sizes {
        let idle = (*size - counted(set, "availableReplicas")).clamp(0, most - taken);
        *size -= idle;
        taken += idle;
    }
    let mut spare = (total(all, "availableReplicas") - least).max(0);
    for (_, size) in &mut sizes {
        let given = spare.min(*size);
        *size -= given;
        spare -= given;
    }
    sizes.retain(|(set, size)| replicas(set) != *size);
    sizes
}

/// The next step of a recreation: none of the old pods stays, then all of the new ones come.
pub(super) fn recreate(old: &[Value]) -> Vec<Size> {
    old.iter().filter(|set| replicas(set) > 0).map(|set| (set.clone(), 0)).collect()
}

/// Old replica sets that are one too many to be kept.
pub(super) fn forgotten(deployment: &Value, old: &[Value]) -> Vec<Value> {
    let Some(limit) = remora_rules::object::integer(deployment, &["spec", "revisionHistoryLimit"]) else {
        return Vec::new();
    };
    let mut alive: Vec<&Value> =
        old.iter().filter(|set| text(set, &["metadata", "deletionTimestamp"]).is_empty()).collect();
    let surplus = alive.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
    alive.sort_by_key(|set| super::sets::revision(set));
    let is_idle = |set: &&Value| {
        let generation = remora_rules::object::integer(set, &["metadata", "generation"]).unwrap_or_default();
        replicas(set) == 0 && counted(set, "replicas") == 0 && generation <= counted(set, "observedGeneration")
    };
    alive.into_iter().take(surplus).filter(is_idle).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(replicas: i64, surge: Value, unavailable: Value) -> Value {
        json!({"spec": {"replicas": replicas, "revisionHistoryLimit": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}})
    }

    /// A replica set of this age, with this many pods, of which so many are available.
    fn set(name: &str, replicas: i64, available: i64) -> Value {
        json!({
            "metadata": {"name": name, "creationTimestamp": name}, "spec": {"replicas": replicas},
            "status": {"replicas": replicas, "availableReplicas": available},
        })
    }

    fn sizes(sizes: &[Size]) -> Vec<(&str, i64)> {
        sizes.iter().map(|(set, size)| (text(set, &["metadata", "name"]), *size)).collect()
    }

    #[test]
    fn a_rollout_goes_step_by_step() {
        let check = |deployment: &Value, new: (i64, i64), old: &[(i64, i64)], expected: &[(&str, i64)]| {
            let old: Vec<Value> = old.iter().zip(["1", "2"]).map(|((r, a), name)| set(name, *r, *a)).collect();
            assert_eq!(sizes(&roll(deployment, &set("9", new.0, new.1), &old)), expected, "{new:?} {old:?}");
        };
        let four = deployment(4, json!("25%"), json!("25%"));
        check(&four, (0, 0), &[(4, 4)], &[("9", 1)]);
        check(&four, (1, 0), &[(4, 4)], &[("1", 3)]);
        check(&four, (1, 0), &[(3, 3)], &[("9", 2)]);
        check(&four, (2, 2), &[(3, 3)], &[("1", 1)]);
        check(&four, (4, 3), &[(1, 1)], &[("1", 0)]);
        check(&four, (4, 4), &[], &[]);
        check(&four, (5, 5), &[], &[("9", 4)]);
        // A broken new template takes nothing from the old one but what may be missing.
        check(&four, (2, 0), &[(3, 3)], &[]);
        // Old pods that do nothing go first.
        check(&four, (1, 0), &[(3, 0), (1, 1)], &[("1", 2)]);
        let careful = deployment(2, json!(1), json!(0));
        check(&careful, (1, 0), &[(2, 2)], &[]);
        check(&careful, (1, 1), &[(2, 2)], &[("1", 1)]);
        // What rounds to nothing lets one pod be missing.
        let small = deployment(1, json!("0%"), json!("10%"));
        check(&small, (0, 0), &[(1, 1)], &[("1", 0)]);
    }

    #[test]
    fn another_size_is_shared_among_those_that_have_pods() {
        let with = |mut set: Value, desired: i64, max: i64| {
            set["metadata"]["annotations"] = json!({
                "deployment.kubernetes.io/desired-replicas": desired.to_string(),
                "deployment.kubernetes.io/max-replicas": max.to_string(),
            });
            set
        };
        let check = |deployment: &Value, new: Option<Value>, old: &[Value], expected: &[(&str, i64)]| {
            assert_eq!(sizes(&scale(deployment, new.as_ref(), old)), expected, "{new:?} {old:?}");
        };
        let ten = deployment(10, json!(0), json!("25%"));
        check(&ten, None, &[set("1", 3, 3)], &[("1", 10)]);
        check(&ten, Some(set("9", 10, 1)), &[set("1", 0, 0)], &[]);
        check(&ten, Some(set("9", 0, 0)), &[set("1", 0, 0)], &[("9", 10)]);
        let (new, old) = (with(set("9", 2, 0), 5, 5), with(set("1", 3, 3), 5, 5));
        check(&ten, Some(new.clone()), std::slice::from_ref(&old), &[("1", 6), ("9", 4)]);
        check(&deployment(0, json!(0), json!(1)), Some(new), std::slice::from_ref(&old), &[("1", 0), ("9", 0)]);
        let full = with(set("9", 10, 10), 10, 10);
        check(&ten, Some(full), &[old], &[("1", 0)]);
    }

    #[test]
    fn old_replica_sets_without_pods_are_forgotten_but_for_some() {
        let old = |name: &str, revision: &str, replicas: i64| {
            let mut set = set(name, replicas, 0);
            set["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": revision});
            set
        };
        let all = [old("a", "10", 0), old("b", "9", 0), old("c", "8", 1)];
        let gone = forgotten(&deployment(1, json!(1), json!(0)), &all);
        assert_eq!(gone.iter().map(|set| text(set, &["metadata", "name"])).collect::<Vec<_>>(), ["b"]);
    }
}
