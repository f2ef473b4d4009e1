//! Whatever happens, the node comes to rest: plans carried out end in an empty plan, nothing is started that must not be,
//! and a pod that has ended stays ended.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::{World, pod};
use crate::{PodLife, StopReason};

#[derive(Clone, Debug)]
enum Event {
    Exit(&'static str, i32),
    Pass(i64),
    SandboxDies,
    AddEphemeral(u8),
    Lose(&'static str),
    NewImage,
    ImageGone(bool),
    ProbeFails(&'static str),
    Resize(&'static str, u8),
    /// What only the agent knew is gone.
    AgentRestarts,
    Delete,
    Removed,
    /// One plan only is begun, and only its first action is done.
    Hasty,
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["i", "s", "a", "b", "e0", "e1", "e2"])
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (name(), 0..3).prop_map(|(name, code)| Event::Exit(name, code)),
        3 => (0..700_i64).prop_map(Event::Pass),
        1 => Just(Event::SandboxDies),
        2 => (0..3_u8).prop_map(Event::AddEphemeral),
        1 => name().prop_map(Event::Lose),
        1 => Just(Event::NewImage),
        1 => any::<bool>().prop_map(Event::ImageGone),
        2 => name().prop_map(Event::ProbeFails),
        2 => (prop::sample::select(vec!["s", "a", "b"]), 1..4_u8).prop_map(|(name, cpus)| Event::Resize(name, cpus)),
        1 => Just(Event::AgentRestarts),
        1 => Just(Event::Delete),
        1 => Just(Event::Removed),
        3 => Just(Event::Hasty),
    ]
}

fn spec() -> impl Strategy<Value = Value> {
    let sidecar = json!({"name": "s", "restartPolicy": "Always"});
    let init = prop::sample::select(vec![json!([]), json!(["i"]), json!([sidecar]), json!(["i", sidecar])]);
    let policy = prop::sample::select(vec!["Always", "OnFailure", "Never"]);
    let restarted =
        json!({"name": "b", "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]});
    let containers = prop::sample::select(vec![json!(["a"]), json!(["a", "b"]), json!(["a", restarted])]);
    let deadline = prop::option::weighted(0.1, 1..1000_i64);
    (policy, init, containers, deadline).prop_map(|(policy, init, containers, deadline)| {
        json!({"restartPolicy": policy, "init": init, "containers": containers, "activeDeadlineSeconds": deadline})
    })
}

fn happen(world: &mut World, event: &Event) {
    match event {
        Event::Exit(name, code) => world.exit(name, *code),
        Event::Pass(seconds) => world.pass(*seconds),
        Event::SandboxDies if world.seen.sandboxes.is_empty() => {}
        Event::SandboxDies => world.sandbox_dies(),
        Event::AddEphemeral(number) => {
            let name = format!("e{number}");
            let taken =
                world.pod.spec.iter().flat_map(|s| s.ephemeral_containers.iter().flatten()).any(|e| e.name == name);
            if !taken {
                world.add_ephemeral(json!({"name": name, "targetContainerName": if number % 2 == 0 { json!("a") } else { Value::Null }}));
            }
        }
        Event::Lose(name) => {
            world.seen.tracks.remove(*name);
        }
        Event::NewImage => {
            let spec = world.pod.spec.as_mut().unwrap();
            spec.containers[0].image = Some(format!("busybox:{}", world.now.as_second()));
        }
        Event::ImageGone(gone) => {
            world.missing_images.clear();
            if *gone {
                world.missing_images.push("busybox:1".into());
            }
        }
        Event::ProbeFails(name) => world.fail_probe(name, StopReason::LivenessProbe),
        Event::Resize(name, cpus) if world.seen.resize.allocated.contains_key(*name) => {
            let amounts = json!({"cpu": cpus.to_string(), "memory": format!("{cpus}Mi")});
            world.resize(name, json!({"requests": amounts, "limits": amounts}));
        }
        Event::Resize(..) => {}
        Event::AgentRestarts => world.restart_agent(),
        Event::Delete => world.delete(30),
        Event::Removed => world.seen.removed = true,
        Event::Hasty => {
            if let Some(action) = world.look().actions.into_iter().next() {
                world.carry_out(action);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_node_comes_to_rest_whatever_happens(spec in spec(), events in prop::collection::vec(event(), 0..24)) {
        let mut world = World::new(pod(spec));
        let mut ended = false;
        for event in &events {
            if world.forgotten {
                break;
            }
            happen(&mut world, event);
            let starts = world.started();
            if !matches!(event, Event::Hasty) {
                world.settle();
            }
            prop_assert!(!ended || starts == world.started(), "a pod that has begun to end started a container");
            ended = world.life != PodLife::Syncing;
        }
        if !world.forgotten {
            world.settle();
            let again = world.look();
            prop_assert!(again.actions.is_empty());
            prop_assert!(again.look_again.is_none_or(|at| at > world.now), "wakes for nothing");
        }
        for (name, count) in world.started() {
            prop_assert!(!name.starts_with('e') || count <= 1, "{name} was started {count} times");
        }
    }
}
