//! What a node does with a pod, as stories: one file per theme, in words (`stories/README.md`). Here they are read and played.

use super::world::{World, pod};
use crate::StopReason;
use serde_json::{Value, json};

/// One test per theme.
macro_rules! themes {
    ($($theme:ident)*) => {
        $(
            #[test]
            fn $theme() {
                play(include_str!(concat!("stories/", stringify!($theme), ".txt")));
            }
        )*
    };
}

themes! {
    ordinary_containers
    images
    init_containers_and_sidecars
    ephemeral_containers
    resizing
    the_root_of_a_crashed_container
    probes
    the_end_of_a_pod
    a_sandbox_that_dies
    volumes_with_limits
}

/// Plays a file's stories, each on a world of its own.
fn play(theme: &str) {
    let lines: Vec<&str> = theme.lines().filter(|line| !line.starts_with('#')).collect();
    let stories: Vec<&[&str]> = lines.split(|line| line.is_empty()).filter(|story| !story.is_empty()).collect();
    assert!(!stories.is_empty(), "a theme without a story");
    for story in stories {
        let [title, spec, happenings @ ..] = story else { panic!("a story without a pod: {story:?}") };
        assert!(!happenings.is_empty(), "{title}: nothing happens");
        let mut world = World::new(pod(serde_json::from_str::<Value>(spec).unwrap()));
        for line in happenings {
            let (what, expected) = line.split_once("->").unwrap_or_else(|| panic!("{title}: no arrow in {line:?}"));
            happen(&mut world, what.trim());
            assert_eq!(world.settle().join(" | "), expected.trim(), "{title}: after {:?}", what.trim());
        }
    }
}

fn happen(world: &mut World, what: &str) {
    let words: Vec<&str> = what.split(' ').collect();
    match words.as_slice() {
        ["at", "first"] => {}
        [name, "exits", code] => world.exit(name, code.parse().unwrap()),
        [seconds, "s", "pass"] => world.pass(seconds.parse().unwrap()),
        [name, "fails", "its", probe, "probe"] => world.fail_probe(
            name,
            match *probe {
                "liveness" => StopReason::LivenessProbe,
                "startup" => StopReason::StartupProbe,
                other => panic!("no {other} probe ends a container"),
            },
        ),
        ["the", "sandbox", "dies"] => world.sandbox_dies(),
        ["the", "runtime", "forgets", "a", "stop"] => {
            world.seen.sandboxes.last_mut().unwrap().ips = vec!["10.1.0.2".into()];
        }
        ["image", image, "is", "missing"] => world.missing_images.push((*image).into()),
        ["image", image, "appears"] => world.missing_images.retain(|i| i != image),
        ["it", "is", "deleted"] => world.delete(30),
        ["it", "is", "deleted", "by", "force"] => world.seen.removed = true,
        [volume, "grows", "to", megabytes, "MiB"] => {
            world.usage.insert((*volume).into(), megabytes.parse::<u64>().unwrap() << 20);
        }
        ["add", name] => world.add_ephemeral(json!(name)),
        ["add", name, "on", "crashed", target] => world.add_ephemeral(json!({
            "name": name, "targetContainerName": target, "env": [{"name": "REMORA_ROOT", "value": "crashed"}],
        })),
        ["add", name, "in", target] => world.add_ephemeral(json!({"name": name, "targetContainerName": target})),
        ["the", "runtime", "loses", "everything"] => {
            world.seen.tracks.clear();
            world.seen.sandboxes.clear();
        }
        ["the", "runtime", "loses", name] => {
            world.seen.tracks.remove(*name);
        }
        [name, "is", "to", "have", resources] => world.resize(name, serde_json::from_str(resources).unwrap()),
        [name, "gets", "a", "new", "image"] => {
            let spec = world.pod.spec.as_mut().unwrap();
            spec.containers.iter_mut().filter(|c| c.name == *name).for_each(|c| c.image = Some("busybox:2".into()));
        }
        _ => panic!("nobody knows how {what:?} happens"),
    }
}
