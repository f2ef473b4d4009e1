//! What must be true after every fault: one pure function for each sentence of the promise.

use std::collections::BTreeSet;

use crate::snapshot::{ContainerView, Ended, PodView, Snapshot, State};
use crate::workload::{EphemeralPlan, INIT, INIT_LINES, MAIN, NO_MEMORY, NO_TOKEN, Role, Shape};
use crate::world::{Answer, HitKind, PodModel, World};

/// Killed with its shim or its target.
const KILLED: i32 = 137;
/// Nobody saw the end.
const UNKNOWN: i32 = 255;
/// It could not be started.
const NOT_STARTED: i32 = 128;

/// When it must be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// At every moment: what breaks it is never mended.
    Always,
    /// Once all has settled.
    InTheEnd,
}

type Check = fn(&World, &Snapshot) -> Vec<String>;

/// A sentence, and who judges it.
pub(crate) struct Invariant {
    pub(crate) name: &'static str,
    pub(crate) when: When,
    pub(crate) check: Check,
}

/// All of them.
pub(crate) const INVARIANTS: [Invariant; 12] = [
    Invariant { name: "what was acknowledged is there", when: When::Always, check: acknowledged },
    Invariant { name: "a container that ran on is the same", when: When::Always, check: same_container },
    Invariant { name: "what has ended for good is never started twice", when: When::Always, check: once },
    Invariant { name: "an end is told truly", when: When::Always, check: true_exits },
    Invariant { name: "nothing restarts without a reason", when: When::Always, check: restarts },
    Invariant { name: "every start is counted", when: When::InTheEnd, check: counted },
    Invariant { name: "pods settle", when: When::InTheEnd, check: settled },
    Invariant { name: "what was deleted is gone", when: When::InTheEnd, check: deleted },
    Invariant { name: "no folder, address or mount is left over", when: When::InTheEnd, check: no_leftover_files },
    Invariant { name: "no cgroup or interface is left over", when: When::InTheEnd, check: no_leftover_kernel },
    Invariant { name: "no process is left over", when: When::InTheEnd, check: no_leftover_processes },
    Invariant { name: "every running container has one shim", when: When::InTheEnd, check: one_shim },
];

/// Pods that we know, with what the API says of them.
fn known<'a>(world: &'a World, seen: &'a Snapshot) -> impl Iterator<Item = (&'a PodModel, &'a PodView)> {
    world.pods.values().filter_map(|model| Some((model, seen.pods.get(&model.plan.name)?)))
}

fn acknowledged(world: &World, seen: &Snapshot) -> Vec<String> {
    let mut wrong = Vec::new();
    for model in world.pods.values().filter(|model| model.is_certain()) {
        let name = &model.plan.name;
        let Some(view) = seen.pods.get(name) else {
            wrong.push(format!("pod {name} was created, and is not there"));
            continue;
        };
        let added = model.ephemerals.iter().filter(|ephemeral| ephemeral.added == Answer::Yes);
        let lost = added.filter(|ephemeral| !view.ephemerals.contains(&ephemeral.plan.name));
        wrong.extend(lost.map(|ephemeral| format!("{name}: {} was added, and is not there", ephemeral.plan.name)));
    }
    wrong
}

fn same_container(world: &World, seen: &Snapshot) -> Vec<String> {
    let mut wrong = Vec::new();
    for ((pod, container), before) in &world.before {
        let going = world.pods.get(pod).is_none_or(|model| model.deleted.is_some());
        let Some(view) = seen.pods.get(pod).filter(|view| !view.going && !going) else { continue };
        let broken = world.broken.contains(&view.uid);
        if broken || world.is_hit(&before.id) || its_target_is_hit(world, pod, container) {
            continue;
        }
        let Some(now) = view.containers.get(container) else {
            wrong.push(format!("{pod}/{container}: {before:?} is not in the status any more"));
            continue;
        };
        // One that ends by itself may have ended, and another may have come after it: then it is the last one.
        let crasher = world.pods.get(pod).is_some_and(|model| model.plan.shape == Shape::Crasher);
        let ends = container == INIT || container == MAIN && crasher;
        let same = now.id == before.id && now.restart_count == before.restart_count;
        if !same && !ends {
            wrong.push(format!("{pod}/{container}: {before:?} became {now:?}"));
        }
    }
    wrong
}

/// The role of an ephemeral container that we know.
fn ephemeral<'a>(model: &'a PodModel, container: &str) -> Option<&'a EphemeralPlan> {
    model.ephemerals.iter().map(|ephemeral| &ephemeral.plan).find(|plan| plan.name == container)
}

/// In the PID namespace of a container that was hit since: it ends with its process 1.
fn its_target_is_hit(world: &World, pod: &str, container: &str) -> bool {
    let Some(model) = world.pods.get(pod) else { return false };
    let targets = ephemeral(model, container).is_some_and(|plan| plan.targets);
    targets && world.before.get(&(pod.to_owned(), MAIN.to_owned())).is_none_or(|main| world.is_hit(&main.id))
}

fn once(world: &World, seen: &Snapshot) -> Vec<String> {
    let mut wrong = Vec::new();
    for model in world.pods.values() {
        let ephemerals = model.ephemerals.iter().map(|ephemeral| ephemeral.plan.name.as_str());
        let main = model.plan.never_again().then_some(MAIN);
        for container in ephemerals.chain(main) {
            let key = format!("{}.{container}", model.plan.name);
            let starts = seen.starts.get(&key).copied().unwrap_or(0);
            if starts > 1 {
                wrong.push(format!("{key} was started {starts} times"));
            }
        }
    }
    wrong
}

fn true_exits(world: &World, seen: &Snapshot) -> Vec<String> {
    let mut wrong = Vec::new();
    for (model, view) in known(world, seen) {
        for (name, container) in &view.containers {
            let current = match &container.state {
                State::Ended(ended) => Some(ended),
                _ => None,
            };
            for ended in current.into_iter().chain(&container.last) {
                if !is_true(world, seen, model, view, name, ended) {
                    wrong.push(format!("{}/{name}: {ended:?} cannot be", model.plan.name));
                }
            }
        }
    }
    wrong
}

fn is_true(world: &World, seen: &Snapshot, model: &PodModel, view: &PodView, name: &str, ended: &Ended) -> bool {
    if ended.code == NO_TOKEN || ended.code == NO_MEMORY {
        return false;
    }
    if world.broken.contains(&view.uid) {
        return true;
    }
    let told = match (name == MAIN, ephemeral(model, name).map(|plan| plan.role)) {
        _ if name == INIT => Some(0),
        (true, _) if !model.runs_on() => Some(model.plan.code),
        (_, Some(Role::Tool { code, .. })) => Some(code),
        (_, Some(Role::Shell)) => Some(0),
        _ => None,
    };
    let going = view.going || model.deleted.is_some();
    let began = seen.starts.get(&format!("{}.{name}", model.plan.name)).is_some_and(|starts| *starts > 0);
    let full = world.on_full_disk.contains(&model.plan.name);
    // Its target may go just as it starts.
    let by_target = ephemeral(model, name).is_some_and(|plan| plan.targets) && (pod_is_hit(world, view) || going);
    // Of a run that was forgotten there is no id to know it by.
    let forgotten = ended.id.is_empty() && ended.reason == "ContainerStatusUnknown" && world.has_unheard();
    told == Some(ended.code)
        || forgotten
        || world.is_hit(&ended.id) && matches!(ended.code, KILLED | UNKNOWN | NOT_STARTED)
        || by_target && matches!(ended.code, KILLED | NOT_STARTED)
        || going && matches!(ended.code, 0 | KILLED | 143)
        || full && ended.code == NOT_STARTED && (!began || name == INIT || name == MAIN && !model.plan.never_again())
}

fn pod_is_hit(world: &World, view: &PodView) -> bool {
    let main = view.containers.get(MAIN);
    let ids = main.into_iter().flat_map(|main| [Some(&main.id), main.last.as_ref().map(|last| &last.id)]).flatten();
    ids.into_iter().any(|id| world.is_hit(id)) || main.is_some_and(|main| main.restart_count > 0)
}

fn restarts(world: &World, seen: &Snapshot) -> Vec<String> {
    let mut wrong = Vec::new();
    for (model, view) in known(world, seen) {
        for (name, container) in &view.containers {
            let may = name == INIT || name == MAIN && !model.plan.never_again();
            let forgotten = |ended: &Ended| ended.id.is_empty() && world.has_unheard();
            let ends = name == MAIN && !model.runs_on();
            let explained = |ended: &Ended| world.is_hit(&ended.id) || forgotten(ended) || ends;
            let unexplained = container.last.as_ref().filter(|last| !explained(last));
            let on_full_disk = world.on_full_disk.contains(&model.plan.name) || world.broken.contains(&view.uid);
            if container.restart_count > 0 && (!may || unexplained.is_some() && !on_full_disk) {
                wrong.push(format!("{}/{name}: {container:?}", model.plan.name));
            }
        }
    }
    wrong
}

fn counted(world: &World, seen: &Snapshot) -> Vec<String> {
    let mut wrong = Vec::new();
    for (model, view) in known(world, seen).filter(|(model, view)| !view.going && model.deleted.is_none()) {
        for (name, container) in &view.containers {
            let key = format!("{}.{name}", model.plan.name);
            let starts = i64::from(seen.starts.get(&key).copied().unwrap_or(0));
            // A start that failed began nothing.
            if starts > container.restart_count + 1 {
                wrong.push(format!("{key} began {starts} times: {container:?}"));
            }
        }
    }
    wrong
}

fn settled(world: &World, seen: &Snapshot) -> Vec<String> {
    let mut wrong = Vec::new();
    for (model, view) in known(world, seen).filter(|(model, view)| !view.going && model.deleted.is_none()) {
        let name = &model.plan.name;
        match view.containers.get(MAIN) {
            Some(main) if main_is_settled(model, main, view) => {}
            main => wrong.push(format!("{name}/{MAIN}: phase {}, ready {}, {main:?}", view.phase, view.ready)),
        }
        for plan in model.ephemerals.iter().map(|e| &e.plan).filter(|plan| view.ephemerals.contains(&plan.name)) {
            let container = view.containers.get(&plan.name).cloned().unwrap_or_default();
            if !ephemeral_is_settled(world, view, plan, &container) {
                wrong.push(format!("{name}/{}: {container:?}", plan.name));
            }
        }
    }
    wrong
}

fn main_is_settled(model: &PodModel, main: &ContainerView, view: &PodView) -> bool {
    let waits_to_try_again = |state: &State| matches!(state, State::Waiting(why) if why == "CrashLoopBackOff");
    let backs_off = waits_to_try_again(&main.state);
    // What began it was hit: it is tried again, or the pod has failed.
    let init = view.containers.get(INIT).map(|init| &init.state);
    let not_begun = match init {
        Some(State::Ended(ended)) => ended.code != 0 && view.phase == "Failed",
        init => init.is_some_and(waits_to_try_again),
    };
    match (model.plan.shape, &main.state) {
        (_, State::Waiting(_)) if not_begun => true,
        (Shape::Counter | Shape::Idle, State::Running) => view.ready,
        (Shape::Finite, State::Ended(_)) => matches!(view.phase.as_str(), "Succeeded" | "Failed"),
        (Shape::Crasher, State::Ended(_) | State::Running) => true,
        (Shape::Counter | Shape::Idle | Shape::Crasher, _) => backs_off,
        _ => false,
    }
}

fn ephemeral_is_settled(world: &World, view: &PodView, plan: &EphemeralPlan, container: &ContainerView) -> bool {
    // In a pod whose main container waits or has ended, nothing new begins for a target that is not there.
    let main = view.containers.get(MAIN).map(|main| &main.state);
    let no_target = plan.targets && main != Some(&State::Running);
    match (&container.state, plan.role) {
        (State::Ended(_), Role::Tool { .. }) => true,
        (State::Running, Role::Shell) => true,
        (State::Ended(_), Role::Shell) => {
            let broken = world.broken.contains(&view.uid);
            broken
                || container.id.is_empty() && world.has_unheard()
                || world.is_hit(&container.id)
                || plan.targets && pod_is_hit(world, view)
                || !world.on_full_disk.is_empty()
        }
        (State::Waiting(_) | State::Unknown, _) => no_target,
        (State::Running, Role::Tool { .. }) => false,
    }
}

fn deleted(world: &World, seen: &Snapshot) -> Vec<String> {
    let gone = world.pods.values().filter(|model| model.deleted == Some(Answer::Yes));
    let still = gone.filter(|model| seen.pods.contains_key(&model.plan.name)).map(|model| model.plan.name.clone());
    let going = seen.pods.iter().filter(|(_, view)| view.going).map(|(name, _)| name.clone());
    still.chain(going).collect::<BTreeSet<_>>().into_iter().map(|name| format!("{name} is still there")).collect()
}

fn uids(seen: &Snapshot) -> BTreeSet<&str> {
    seen.pods.values().map(|view| view.uid.as_str()).collect()
}

fn sandboxes(seen: &Snapshot) -> BTreeSet<&str> {
    seen.disk.sandboxes.iter().map(|sandbox| sandbox.id.as_str()).collect()
}

fn no_leftover_files(_: &World, seen: &Snapshot) -> Vec<String> {
    let (uids, sandboxes) = (uids(seen), sandboxes(seen));
    let disk = &seen.disk;
    let mut wrong = Vec::new();
    let orphans = disk.sandboxes.iter().filter(|sandbox| !uids.contains(sandbox.pod.as_str()));
    wrong.extend(orphans.map(|sandbox| format!("sandbox {} of a pod that is gone", sandbox.id)));
    let orphans = disk.containers.iter().filter(|(_, sandbox)| !sandboxes.contains(sandbox.as_str()));
    wrong.extend(orphans.map(|(id, _)| format!("container {id} of a sandbox that is gone")));
    let orphans = disk.running_sandboxes.iter().filter(|id| !sandboxes.contains(id.as_str()));
    wrong.extend(orphans.map(|id| format!("run folder of sandbox {id}")));
    let orphans = disk.running_containers.iter().filter(|id| !disk.containers.contains_key(*id));
    wrong.extend(orphans.map(|id| format!("run folder of container {id}")));
    let running = running(seen);
    let forgotten = |id: &&String| !running.contains(id.as_str()) && !sandboxes.contains(id.as_str());
    wrong.extend(disk.low_level.iter().filter(forgotten).map(|id| format!("the low-level runtime's state of {id}")));
    let connected: BTreeSet<&str> = disk.sandboxes.iter().filter(|s| s.connected).map(|s| s.id.as_str()).collect();
    let held: BTreeSet<&str> = disk.addresses.iter().map(String::as_str).collect();
    wrong.extend(held.symmetric_difference(&connected).map(|id| format!("the address of sandbox {id}")));
    wrong.extend(disk.volumes.iter().filter(|uid| !uids.contains(uid.as_str())).map(|u| format!("volumes of {u}")));
    wrong.extend(disk.logs.iter().filter(|uid| !uids.contains(uid.as_str())).map(|uid| format!("logs of {uid}")));
    let is_known = |mount: &str| {
        let parts = || mount.split('/');
        parts().any(|part| uids.contains(part) || sandboxes.contains(part) || disk.containers.contains_key(part))
    };
    wrong.extend(seen.kernel.mounts.iter().filter(|mount| !is_known(mount)).map(|mount| format!("mount {mount}")));
    wrong
}

fn no_leftover_kernel(_: &World, seen: &Snapshot) -> Vec<String> {
    let (uids, sandboxes) = (uids(seen), sandboxes(seen));
    let mut wrong = Vec::new();
    for cgroup in &seen.kernel.cgroups {
        let known = cgroup.path.split('/').all(|part| match part.strip_prefix("pod") {
            Some(uid) if uid.len() == 36 => uids.contains(uid),
            _ if is_id(part) => seen.disk.containers.contains_key(part) || sandboxes.contains(part),
            _ => true,
        });
        if !known {
            wrong.push(format!("cgroup {}", cgroup.path));
        }
    }
    let connected = seen.disk.sandboxes.iter().filter(|sandbox| sandbox.connected).count();
    if seen.kernel.interfaces.len() != connected {
        wrong.push(format!("{connected} connected sandboxes, but interfaces {:?}", seen.kernel.interfaces));
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

fn is_id(part: &str) -> bool {
    part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Containers that the API shows as running.
fn running(seen: &Snapshot) -> BTreeSet<&str> {
    let containers = seen.pods.values().flat_map(|view| view.containers.values());
    containers.filter(|container| container.state == State::Running).map(|container| container.id.as_str()).collect()
}

fn no_leftover_processes(_: &World, seen: &Snapshot) -> Vec<String> {
    let (running, sandboxes) = (running(seen), sandboxes(seen));
    let mut wrong: Vec<String> = seen.kernel.creators.iter().map(|line| format!("still at work: {line}")).collect();
    for cgroup in seen.kernel.cgroups.iter().filter(|cgroup| cgroup.processes > 0) {
        let id = cgroup.path.rsplit('/').next().unwrap_or_default();
        if !running.contains(id) && !sandboxes.contains(id) {
            wrong.push(format!("{} processes in {}", cgroup.processes, cgroup.path));
        }
    }
    let of_nobody =
        seen.kernel.shims.iter().filter(|id| !running.contains(id.as_str()) && !sandboxes.contains(id.as_str()));
    wrong.extend(of_nobody.map(|id| format!("the shim of {id}, which does not run")));
    wrong.sort();
    wrong.dedup();
    wrong
}

fn one_shim(_: &World, seen: &Snapshot) -> Vec<String> {
    let shims = |id: &str| seen.kernel.shims.iter().filter(|shim| *shim == id).count();
    let counts = running(seen).into_iter().map(|id| (id, shims(id)));
    counts.filter(|(_, count)| *count != 1).map(|(id, count)| format!("{id} has {count} shims")).collect()
}

/// Whether a log holds what it must: consecutive numbers, all of them.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn log(text: &str, expected: &LogExpectation) -> Result<(), String> {
    let numbers: Result<Vec<u32>, _> = text.lines().map(str::parse).collect();
    let numbers = numbers.map_err(|error| format!("{error} in {text:?}"))?;
    for (at, pair) in numbers.windows(2).enumerate() {
        let hole = pair[1] > pair[0] + 1;
        if pair[1] <= pair[0] || hole && !expected.may_lose {
            return Err(format!("line {} is {} and the next is {}", at + 1, pair[0], pair[1]));
        }
    }
    let (first, last) = (numbers.first().copied().unwrap_or(1), numbers.last().copied().unwrap_or(0));
    if first != 1 && !expected.may_lose {
        return Err(format!("it begins with {first}"));
    }
    if last < expected.at_least && !expected.may_lose {
        return Err(format!("it ends with {last}, but {} was said", expected.at_least));
    }
    if last > expected.at_most {
        return Err(format!("it ends with {last}, more than {}", expected.at_most));
    }
    Ok(())
}

/// See [`log`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogExpectation {
    pub(crate) at_least: u32,
    pub(crate) at_most: u32,
    /// The disk was full meanwhile.
    pub(crate) may_lose: bool,
}

/// What a container's log must hold; none if it prints nothing.
pub(crate) fn expected_log(
    world: &World,
    model: &PodModel,
    name: &str,
    container: &ContainerView,
    said: u32,
) -> Option<LogExpectation> {
    let whole = |lines: u32| {
        let ended = match &container.state {
            State::Ended(ended) => ended.code != KILLED && ended.code != UNKNOWN && ended.code != NOT_STARTED,
            _ => false,
        };
        if ended && !world.is_hit(&container.id) { (lines, lines) } else { (0, lines) }
    };
    let (at_least, at_most) = match ephemeral(model, name).map(|plan| plan.role) {
        _ if name == INIT => whole(INIT_LINES),
        Some(Role::Tool { lines, .. }) => whole(lines),
        Some(Role::Shell) => return None,
        None => match model.plan.shape {
            Shape::Idle => return None,
            Shape::Finite | Shape::Crasher => whole(model.plan.lines),
            Shape::Counter if container.state == State::Running => (said, u32::MAX),
            Shape::Counter => (0, u32::MAX),
        },
    };
    Some(LogExpectation { at_least, at_most, may_lose: world.on_full_disk.contains(&model.plan.name) })
}

/// What the log of the run before must hold; none if nothing is known of it.
pub(crate) fn expected_previous_log(
    world: &World,
    model: &PodModel,
    name: &str,
    container: &ContainerView,
) -> Option<LogExpectation> {
    let last = container.last.as_ref().filter(|last| !last.id.is_empty() && !world.is_hit(&last.id))?;
    let lines = (name == MAIN && model.plan.shape == Shape::Crasher && last.code == model.plan.code)
        .then_some(model.plan.lines)?;
    let may_lose = world.on_full_disk.contains(&model.plan.name);
    Some(LogExpectation { at_least: lines, at_most: lines, may_lose })
}

/// Whether a terminal may have ended by what was done.
pub(crate) fn terminal_may_be_lost(world: &World, uid: &str, pod: &str, container: &str, id: &str) -> bool {
    let creator = world.hit_by(id, HitKind::Creator);
    world.broken.contains(uid) || world.is_hit(id) && !creator || its_target_is_hit(world, pod, container)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::workload::PodPlan;
    use crate::world::{Before, Hit, Order};

    #[test]
    fn a_log_has_no_hole_no_double_line_and_all_that_was_said() {
        let check = |text: &str, at_least, may_lose, expected: bool| {
            let expected_log = LogExpectation { at_least, at_most: 4, may_lose };
            assert_eq!(log(text, &expected_log).is_ok(), expected, "{text:?} of {at_least}");
        };
        check("1\n2\n3\n", 3, false, true);
        check("", 0, false, true);
        check("1\n2\n", 3, false, false);
        check("1\n3\n", 3, false, false);
        check("1\n3\n", 3, true, true);
        check("1\n2\n2\n3\n", 3, false, false);
        check("2\n3\n", 3, false, false);
        check("1\n2\n1\n2\n3\n", 3, true, false);
        check("1\n2\n3\n4\n5\n", 3, false, false);
        check("1\ntwo\n", 0, false, false);
    }

    /// One pod that ends with 7, with an ephemeral container that ends with 3.
    fn world() -> World {
        let mut plan = PodPlan::new("p".into(), Shape::Finite, &[], &mut Random::new(1));
        plan.code = 7;
        let tool = EphemeralPlan { name: "tool".into(), role: Role::Tool { lines: 1, code: 3 }, targets: false };
        let mut world = World::default();
        world.learn(&Order::Create(plan), Answer::Yes);
        world.learn(&Order::Ephemeral { pod: "p".into(), plan: tool }, Answer::Yes);
        world
    }

    fn ended(id: &str, code: i32) -> ContainerView {
        let ended = Ended { id: id.into(), code, reason: String::new(), message: String::new() };
        ContainerView { id: id.into(), restart_count: 0, state: State::Ended(ended), last: None }
    }

    fn seen(main: ContainerView, tool: ContainerView) -> Snapshot {
        let containers = [(MAIN.to_owned(), main), ("tool".to_owned(), tool)].into();
        let (uid, phase) = ("u".into(), "Failed".into());
        let view = PodView { uid, containers, ephemerals: vec!["tool".into()], phase, ..PodView::default() };
        Snapshot { pods: [("p".to_owned(), view)].into(), ..Snapshot::default() }
    }

    /// The names of the invariants that do not hold.
    fn broken(world: &World, seen: &Snapshot) -> Vec<&'static str> {
        INVARIANTS.iter().filter(|invariant| !(invariant.check)(world, seen).is_empty()).map(|i| i.name).collect()
    }

    #[test]
    fn what_is_as_it_must_be_breaks_nothing() {
        assert_eq!(broken(&world(), &seen(ended("m", 7), ended("t", 3))), [""; 0]);
    }

    #[test]
    fn each_lie_breaks_the_sentence_that_it_belongs_to() {
        let truth = || seen(ended("m", 7), ended("t", 3));
        let check = |world: &World, seen: &Snapshot, expected: &str| {
            assert!(broken(world, seen).contains(&expected), "{expected}: {:?}", broken(world, seen));
        };
        check(&world(), &Snapshot::default(), "what was acknowledged is there");
        check(&world(), &seen(ended("m", 137), ended("t", 3)), "an end is told truly");
        let mut hit = world();
        hit.hits.insert(Hit { id: "m".into(), what: HitKind::Shim });
        assert_eq!(broken(&hit, &seen(ended("m", 137), ended("t", 3))), [""; 0]);
        let mut twice = truth();
        twice.starts.insert("p.tool".into(), 2);
        check(&world(), &twice, "what has ended for good is never started twice");
        let mut running = world();
        running.before.insert(("p".into(), MAIN.into()), Before { id: "other".into(), restart_count: 0 });
        check(&running, &truth(), "a container that ran on is the same");
        let restarted = ContainerView { restart_count: 1, ..ended("m", 7) };
        check(&world(), &seen(restarted, ended("t", 3)), "nothing restarts without a reason");
        let mut left = truth();
        left.kernel.mounts.push("/n/run/containers/sandboxes/x/shm".into());
        check(&world(), &left, "no folder, address or mount is left over");
        let mut left = truth();
        left.kernel.interfaces.insert("veth1".into());
        check(&world(), &left, "no cgroup or interface is left over");
        let mut left = truth();
        left.kernel.shims.push("m".into());
        check(&world(), &left, "no process is left over");
        let waiting = ContainerView { state: State::Waiting("ContainerCreating".into()), ..ContainerView::default() };
        check(&world(), &seen(waiting, ended("t", 3)), "pods settle");
        let running = ContainerView { id: "m".into(), state: State::Running, ..ContainerView::default() };
        check(&world(), &seen(running, ended("t", 3)), "every running container has one shim");
        let mut deleted = world();
        deleted.learn(&Order::Delete("p".into()), Answer::Yes);
        check(&deleted, &truth(), "what was deleted is gone");
        let mut more = truth();
        more.starts.insert("p.main".into(), 3);
        check(&world(), &more, "every start is counted");
    }
}
