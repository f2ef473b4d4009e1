//! What an ephemeral container asks for in `REMORA_…` variables, in the words that the runtime understands. What may be asked is
//! `remora_decide::features`' matter.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use remora_cri::annotations;
use remora_decide::{ContainerSpec, Features, Root, Target, features};

use super::ConfigError;

/// What comes of a container's wishes.
#[derive(Debug, PartialEq)]
pub(super) struct Wishes {
    /// The runtime's id of the container whose processes it joins.
    pub(super) joins: Option<String>,
    /// For the runtime.
    pub(super) annotations: BTreeMap<String, String>,
}

/// A crashed instance has no processes that could be joined.
pub(super) fn wishes(spec: &ContainerSpec<'_>, target: Option<&Target>) -> Result<Wishes, ConfigError> {
    let Features { root, image, ttl, idle_timeout } = features(spec)?;
    let running = target.and_then(|target| target.id.clone());
    let mut wishes = Wishes { joins: running.clone(), annotations: BTreeMap::new() };
    let mut note = |key: &str, value: String| _ = wishes.annotations.insert(key.to_owned(), value);
    if let (Some(root), Some(target)) = (root, target) {
        let (kind, of) = match root {
            Root::Target => (annotations::ROOT_TARGET, running),
            Root::Crashed => (annotations::ROOT_CRASHED, target.ended.clone()),
        };
        note(annotations::ROOT, kind.to_owned());
        note(annotations::ROOT_OF, of.ok_or_else(|| ConfigError::NothingEnded(target.container.clone()))?);
    }
    if image && let Some(target) = target {
        // With a crashed instance's root also its image: it stands on one instance only, which stays for as long.
        let of = if root == Some(Root::Crashed) { &target.ended } else { &target.id };
        let of = of.clone().ok_or_else(|| ConfigError::NothingEnded(target.container.clone()))?;
        note(annotations::IMAGE_OF, of);
    }
    let milliseconds = |duration: SignedDuration| duration.as_millis().to_string();
    ttl.into_iter().for_each(|ttl| note(annotations::TTL, milliseconds(ttl)));
    idle_timeout.into_iter().for_each(|idle| note(annotations::IDLE_TIMEOUT, milliseconds(idle)));
    if root == Some(Root::Crashed) {
        wishes.joins = None;
    }
    Ok(wishes)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use remora_decide::containers;
    use serde_json::json;

    use super::*;

    /// Who is joined, and what the runtime is told.
    type Expected<'a> = (Option<&'a str>, &'a [(&'a str, &'a str)]);

    #[test]
    fn wishes_become_annotations_and_a_crashed_target_is_not_joined() {
        let check = |env: &[(&str, &str)], ended: Option<&str>, expected: Result<Expected<'_>, &str>| {
            let env: Vec<_> = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            let debugger = json!({"name": "d", "targetContainerName": "app", "env": env});
            let pod: Pod =
                serde_json::from_value(json!({"spec": {"containers": [], "ephemeralContainers": [debugger]}})).unwrap();
            let target = Target { container: "app".into(), id: Some("now".into()), ended: ended.map(str::to_owned) };
            let found = wishes(&containers(&pod).next().unwrap(), Some(&target)).map_err(|error| error.to_string());
            let pair = |(key, value): &(&str, &str)| (format!("remora.dev/{key}"), (*value).to_owned());
            let expected = expected.map(|(joins, pairs)| Wishes {
                joins: joins.map(str::to_owned),
                annotations: pairs.iter().map(pair).collect(),
            });
            assert_eq!(found, expected.map_err(str::to_owned), "{env:?}");
        };
        let joined = Some("now");
        check(&[], None, Ok((joined, &[])));
        check(&[("REMORA_ROOT", "target")], None, Ok((joined, &[("root", "target"), ("root-of", "now")])));
        check(&[("REMORA_ROOT", "crashed")], Some("then"), Ok((None, &[("root", "crashed"), ("root-of", "then")])));
        let nothing = "container app has not ended yet: there is no crashed instance to look at";
        check(&[("REMORA_ROOT", "crashed")], None, Err(nothing));
        check(&[("REMORA_IMAGE", "target")], None, Ok((joined, &[("image-of", "now")])));
        let both = [("REMORA_ROOT", "crashed"), ("REMORA_IMAGE", "target")];
        check(&both, Some("then"), Ok((None, &[("root", "crashed"), ("root-of", "then"), ("image-of", "then")])));
        check(&[("REMORA_TTL", "1m30s")], None, Ok((joined, &[("ttl-milliseconds", "90000")])));
        check(&[("REMORA_IDLE_TIMEOUT", "10m")], None, Ok((joined, &[("idle-timeout-milliseconds", "600000")])));
    }
}
