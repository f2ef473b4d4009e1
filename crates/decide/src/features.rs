//! What an ephemeral container asks this node for beyond Kubernetes: literal variables of its own entry, `REMORA_…`.
//!
//! The only place that knows their names and what may be said in them. For kinds of containers that are no guests they are variables like
//! any other. How the node passes the wishes on is in `node::container`; for users they are described in `docs/debug-on-remora.md`.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::EnvVar;

use crate::spec::ContainerSpec;

const PREFIX: &str = "REMORA_";
const ROOT: &str = "REMORA_ROOT";
const IMAGE: &str = "REMORA_IMAGE";
const TTL: &str = "REMORA_TTL";
const IDLE_TIMEOUT: &str = "REMORA_IDLE_TIMEOUT";

/// All that can be asked for. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Another container's root in place of the image's.
    pub root: Option<Root>,
    /// The files of its target's image, as they were, beside whatever its root is.
    pub image: bool,
    /// The container is ended after this time, counted from its start.
    pub ttl: Option<SignedDuration>,
    /// The container is ended when nobody has said or been told anything for this time.
    pub idle_timeout: Option<SignedDuration>,
}

/// Whose root an ephemeral container has as `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// Its target's, as it runs.
    Target,
    /// That of the instance of its target that has ended last, as it was then.
    Crashed,
}

/// A wish that makes no sense. Users read these sentences in the container's status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// A name with our prefix that means nothing.
    #[error("unknown variable {0}: this node knows REMORA_ROOT, REMORA_IMAGE, REMORA_TTL and REMORA_IDLE_TIMEOUT")]
    Unknown(String),
    /// A value that is not in the entry itself.
    #[error("{0} must have a literal value: valueFrom is not looked at")]
    NotLiteral(String),
    /// [`Features::root`].
    #[error("REMORA_ROOT cannot be {0:?}: give target, or crashed for the target's last ended instance")]
    Root(String),
    /// [`Features::image`].
    #[error("REMORA_IMAGE cannot be {0:?}: give target")]
    Image(String),
    /// A duration that is none.
    #[error("{variable} cannot be {value:?}: give a duration above 0, such as 90s, 30m or 1h30m")]
    Duration {
        /// The variable.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// A root or an image is asked for, but not whose.
    #[error("{0} needs a target: give targetContainerName (kubectl debug --target=NAME)")]
    NoTarget(&'static str),
}

/// What a container asks for.
///
/// # Errors
/// [`FeatureError`]: then it must not be started.
pub fn features(spec: &ContainerSpec<'_>) -> Result<Features, FeatureError> {
    let mut features = Features::default();
    if !spec.rules().guest {
        return Ok(features);
    }
    // Of several of one name the last counts, as everywhere in an environment.
    for variable in spec.env.iter().filter(|variable| variable.name.starts_with(PREFIX)) {
        match variable.name.as_str() {
            ROOT => features.root = Some(root(literal(variable)?)?),
            IMAGE => features.image = image(literal(variable)?)?,
            TTL => features.ttl = Some(duration(TTL, literal(variable)?)?),
            IDLE_TIMEOUT => features.idle_timeout = Some(duration(IDLE_TIMEOUT, literal(variable)?)?),
            other => return Err(FeatureError::Unknown(other.to_owned())),
        }
    }
    match spec.target {
        None if features.root.is_some() => Err(FeatureError::NoTarget(ROOT)),
        None if features.image => Err(FeatureError::NoTarget(IMAGE)),
        _ => Ok(features),
    }
}

fn literal(variable: &EnvVar) -> Result<&str, FeatureError> {
    match variable.value_from {
        Some(_) => Err(FeatureError::NotLiteral(variable.name.clone())),
        None => Ok(variable.value.as_deref().unwrap_or_default()),
    }
}

fn root(value: &str) -> Result<Root, FeatureError> {
    match value {
        "target" => Ok(Root::Target),
        "crashed" => Ok(Root::Crashed),
        other => Err(FeatureError::Root(other.to_owned())),
    }
}

fn image(value: &str) -> Result<bool, FeatureError> {
    if value == "target" { Ok(true) } else { Err(FeatureError::Image(value.to_owned())) }
}

/// As Go writes durations, and kubectl's options with it.
fn duration(variable: &'static str, value: &str) -> Result<SignedDuration, FeatureError> {
    let parsed = value.parse::<SignedDuration>().ok().filter(|duration| duration.is_positive());
    parsed.ok_or_else(|| FeatureError::Duration { variable, value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;
    use crate::containers;

    fn asked(kind: &str, target: Value, env: Value) -> Result<Features, String> {
        let name = if kind == "containers" { "app" } else { "debugger" };
        let mut spec = json!({"containers": [{"name": "app"}]});
        spec[kind] = json!([{"name": name, "targetContainerName": target, "env": env}]);
        let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
        let found = containers(&pod).find(|container| container.name == name).unwrap();
        features(&found).map_err(|error| error.to_string())
    }

    #[test]
    fn an_ephemeral_container_asks_in_variables() {
        let check = |target: Value, env: &[(&str, &str)], expected: Result<Features, &str>| {
            let env: Vec<Value> = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            let found = asked("ephemeralContainers", target, json!(env));
            assert_eq!(found, expected.map_err(str::to_owned), "{env:?}");
        };
        let minutes = |minutes| Some(SignedDuration::from_mins(minutes));
        let root = |root| Ok(Features { root: Some(root), ..Features::default() });
        let ttl = |ttl| Ok(Features { ttl, ..Features::default() });
        check(json!("app"), &[], Ok(Features::default()));
        check(json!("app"), &[("OTHER", "x")], Ok(Features::default()));
        check(json!("app"), &[("REMORA_ROOT", "target")], root(Root::Target));
        check(
            json!("app"),
            &[("REMORA_ROOT", "x"), ("REMORA_ROOT", "crashed")],
            Err("REMORA_ROOT cannot be \"x\": give target, or crashed for the target's last ended instance"),
        );
        check(json!("app"), &[("REMORA_ROOT", "target"), ("REMORA_ROOT", "crashed")], root(Root::Crashed));
        let needs_target = "REMORA_ROOT needs a target: give targetContainerName (kubectl debug --target=NAME)";
        check(Value::Null, &[("REMORA_ROOT", "target")], Err(needs_target));
        check(Value::Null, &[("REMORA_TTL", "30m")], ttl(minutes(30)));
        check(Value::Null, &[("REMORA_TTL", "1h30m")], ttl(minutes(90)));
        check(Value::Null, &[("REMORA_TTL", "1.5h")], ttl(minutes(90)));
        check(Value::Null, &[("REMORA_TTL", "60s")], ttl(minutes(1)));
        check(Value::Null, &[("REMORA_TTL", "500ms")], ttl(Some(SignedDuration::from_millis(500))));
        let image = Ok(Features { image: true, ..Features::default() });
        check(json!("app"), &[("REMORA_IMAGE", "target")], image);
        check(json!("app"), &[("REMORA_IMAGE", "own")], Err("REMORA_IMAGE cannot be \"own\": give target"));
        let needs_target = "REMORA_IMAGE needs a target: give targetContainerName (kubectl debug --target=NAME)";
        check(Value::Null, &[("REMORA_IMAGE", "target")], Err(needs_target));
        let idle = Features { idle_timeout: minutes(10), ttl: minutes(30), ..Features::default() };
        check(Value::Null, &[("REMORA_IDLE_TIMEOUT", "10m"), ("REMORA_TTL", "30m")], Ok(idle));
        for value in ["", "30", "0s", "-5m", "soon", "1x", "$(OTHER)"] {
            let sentence =
                format!("REMORA_TTL cannot be {value:?}: give a duration above 0, such as 90s, 30m or 1h30m");
            check(Value::Null, &[("REMORA_TTL", value)], Err(&sentence));
        }
        let unknown = "unknown variable REMORA_TLL: this node knows REMORA_ROOT, REMORA_IMAGE, REMORA_TTL and REMORA_IDLE_TIMEOUT";
        check(Value::Null, &[("REMORA_TLL", "30m")], Err(unknown));
    }

    #[test]
    fn a_value_from_elsewhere_is_refused() {
        let env = json!([{"name": "REMORA_TTL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
        let sentence = "REMORA_TTL must have a literal value: valueFrom is not looked at".to_owned();
        assert_eq!(asked("ephemeralContainers", Value::Null, env), Err(sentence));
    }

    #[test]
    fn for_other_containers_they_are_ordinary_variables() {
        let env = json!([{"name": "REMORA_ROOT", "value": "x"}, {"name": "REMORA_OTHER", "value": "y"}]);
        for kind in ["containers", "initContainers"] {
            assert_eq!(asked(kind, Value::Null, env.clone()), Ok(Features::default()), "{kind}");
        }
    }
}
