//! Pod Security Standards (KEP-2579): what a namespace's labels ask of its pods, and which pods violate it. Pure; the API server asks
//! after everything else has let an object pass.
//!
//! | module | what is in it |
//! |---|---|
//! | [`policy`] | the labels: levels and versions, for enforcing, auditing and warning |
//! | [`checks`] | the table of checks, one row each, by version |
//!
//! Nobody is exempt. **Deliberately absent:** the relaxations for pods with users of their own, which v1.34 has behind a gate that is off.

pub mod checks;
pub mod policy;

use remora_model::Status;
use remora_model::status::Qualified;
use serde_json::Value;

use self::checks::Violations;
use self::policy::{Level, Policy, Rule};
use crate::object::{list, text};

/// How many pods are looked at when a namespace's level gets stricter, as upstream.
pub const MAX_PODS: usize = 3000;

/// What is said of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it may not be: 403 that names all that is violated.
    pub refused: Option<Box<Status>>,
    /// For the client.
    pub warnings: Vec<String>,
    /// For the audit log: names below [`PREFIX`], and what they say.
    pub audit: Vec<(&'static str, String)>,
}

/// What a pod is judged by, and what the audit log calls it by.
pub const PREFIX: &str = "pod-security.kubernetes.io/";

/// Judges a pod by its namespace's labels. One that is refused is not warned of, but audited.
pub fn judge(labels: &Value, pod: &Value) -> Verdict {
    let (policy, wrong) = Policy::of(labels);
    let mut verdict = Verdict::default();
    if !wrong.is_empty() {
        let why = wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        verdict.audit.push(("error", format!("Failed to parse policy: {why}")));
    }
    let violations = |rule: Rule| Violations::of(rule, pod);
    verdict.audit.push(("enforce-policy", policy.enforce.to_string()));
    let enforced = violations(policy.enforce);
    if !enforced.is_empty() {
        let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, enforced.details());
        let refused = Status::forbidden(Qualified::core("pods"), text(pod, &["metadata", "name"]), &why);
        verdict.refused = Some(Box::new(refused));
    }
    let would = |rule: Rule| format!("would violate PodSecurity \"{rule}\": {}", violations(rule).details());
    if !violations(policy.audit).is_empty() {
        verdict.audit.push(("audit-violations", would(policy.audit)));
    }
    if verdict.refused.is_none() && !violations(policy.warn).is_empty() {
        verdict.warnings.push(would(policy.warn));
    }
    verdict
}

/// Whether a change of a pod is one that is judged: other images, or other containers.
pub fn is_judged(new: &Value, old: &Value) -> bool {
    let image = |container: &Value| text(container, &["image"]).to_owned();
    let images = |pod: &Value, field: &str| list(pod, &["spec", field]).iter().map(image).collect::<Vec<_>>();
    let has_other = ["containers", "initContainers"].iter().any(|field| images(new, field) != images(old, field));
    let before = list(old, &["spec", "ephemeralContainers"]);
    has_other
        || list(new, &["spec", "ephemeralContainers"]).iter().any(|container| {
            let name = text(container, &["name"]);
            before.iter().find(|old| text(old, &["name"]) == name).map(image) != Some(image(container))
        })
}

/// What a namespace's labels are judged to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relabelled {
    /// As strict as before, or less: its pods are not looked at.
    NotStricter,
    /// Its pods may violate this from now on.
    Stricter(Rule),
}

/// Judges a new namespace, or one whose labels change.
///
/// # Errors
/// 422 for levels and versions that are none, unless they were there before.
pub fn judge_namespace(new: &Value, old: Option<&Value>) -> Result<Relabelled, Status> {
    let labels = |namespace: &Value| crate::object::at(namespace, &["metadata", "labels"]).clone();
    let (policy, wrong) = Policy::of(&labels(new));
    let before = old.map(|old| Policy::of(&labels(old)));
    let was_wrong = before.as_ref().is_some_and(|(_, before)| *before == wrong);
    if !wrong.is_empty() && !was_wrong {
        return Err(Status::invalid(Qualified::core("Namespace"), text(new, &["metadata", "name"]), &wrong));
    }
    let Some((before, _)) = before else { return Ok(Relabelled::NotStricter) };
    let (now, before) = (policy.enforce, before.enforce);
    let is_no_stricter =
        now == before || now.level == Level::Privileged || (now.version == before.version && now.level <= before.level);
    Ok(if is_no_stricter { Relabelled::NotStricter } else { Relabelled::Stricter(now) })
}

/// What to say of the pods of a namespace that gets stricter: which violate it, those of one controller first once.
pub fn warnings_of_pods(namespace: &str, rule: Rule, pods: &[Value]) -> Vec<String> {
    let (first, rest) = one_of_each_controller(pods);
    let ordered = first.into_iter().chain(rest);
    let mut found: Vec<(String, &str, usize)> = Vec::new();
    for pod in ordered.take(MAX_PODS) {
        let violations = Violations::of(rule, pod);
        if violations.is_empty() {
            continue;
        }
        let (why, name) = (violations.reasons(), text(pod, &["metadata", "name"]));
        match found.iter_mut().find(|(seen, ..)| *seen == why) {
            Some((_, first, count)) => (*first, *count) = ((*first).min(name), *count + 1),
            None => found.push((why, name, 1)),
        }
    }
    let mut warnings = Vec::new();
    if pods.len() > MAX_PODS {
        let total = pods.len();
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {MAX_PODS} of {total} existing pods"
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{rule}\""
        ));
    }
    let said = |(why, name, count): (String, &str, usize)| match count {
        1 => format!("{name}: {why}"),
        2 => format!("{name} (and 1 other pod): {why}"),
        count => format!("{name} (and {} other pods): {why}", count - 1),
    };
    let mut lines: Vec<String> = found.into_iter().map(said).collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

fn one_of_each_controller(pods: &[Value]) -> (Vec<&Value>, Vec<&Value>) {
    let mut seen = Vec::new();
    pods.iter().partition(|pod| {
        let owners = list(pod, &["metadata", "ownerReferences"]);
        let controller = owners.iter().find(|owner| crate::object::flag(owner, &["controller"]));
        let Some(uid) = controller.map(|owner| text(owner, &["uid"]).to_owned()) else { return true };
        let is_first = !seen.contains(&uid);
        seen.push(uid);
        is_first
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, containers: Value) -> Value {
        json!({"metadata": {"name": name}, "spec": {"containers": containers}})
    }

    #[test]
    fn what_is_enforced_is_refused_and_what_is_watched_is_said() {
        let bad = pod("p", json!([{"name": "c", "securityContext": {"privileged": true}}]));
        let labels = |mode: &str| json!({ format!("pod-security.kubernetes.io/{mode}"): "baseline" });
        let enforced = judge(&labels("enforce"), &bad);
        let refused = enforced.refused.unwrap();
        let detail = "privileged (container \"c\" must not set securityContext.privileged=true)";
        assert_eq!(
            refused.message,
            format!("pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": {detail}")
        );
        assert_eq!(enforced.audit, [("enforce-policy", "baseline:latest".to_owned())]);
        let warned = judge(&labels("warn"), &bad);
        assert_eq!(warned.refused, None);
        assert_eq!(warned.warnings, [format!("would violate PodSecurity \"baseline:latest\": {detail}")]);
        assert_eq!(warned.audit, [("enforce-policy", "privileged:latest".to_owned())]);
        let audited = judge(&labels("audit"), &bad);
        assert!(audited.warnings.is_empty() && audited.audit[1].0 == "audit-violations");
        assert_eq!(judge(&json!({}), &bad).warnings, [""; 0]);
    }

    #[test]
    fn a_label_that_is_wrong_is_enforced_as_the_strictest() {
        let labels = json!({"pod-security.kubernetes.io/enforce": "wibble"});
        assert_eq!(judge(&labels, &pod("p", json!([{"name": "c"}]))).refused.unwrap().code, 403);
    }

    #[test]
    fn changes_of_images_and_new_containers_are_judged() {
        let old = pod("p", json!([{"name": "c", "image": "a"}]));
        let mut new = old.clone();
        new["metadata"]["labels"] = json!({"a": "b"});
        new["spec"]["activeDeadlineSeconds"] = 1.into();
        assert!(!is_judged(&new, &old));
        new["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": "b"}]);
        assert!(is_judged(&new, &old) && !is_judged(&new, &new));
        assert!(is_judged(&pod("p", json!([{"name": "c", "image": "b"}])), &old));
    }

    #[test]
    fn a_stricter_level_names_the_pods_that_violate_it() {
        let rule = Rule { level: Level::Baseline, version: None };
        let (bad, good) = (json!([{"name": "c", "securityContext": {"privileged": true}}]), json!([{"name": "c"}]));
        let pods = [pod("b", bad.clone()), pod("a", bad.clone()), pod("good", good), pod("c", bad)];
        let expected = [
            "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a (and 2 other pods): privileged",
        ];
        assert_eq!(warnings_of_pods("n", rule, &pods), expected);
        assert_eq!(warnings_of_pods("n", rule, &pods[2..3]), [""; 0]);
    }

    #[test]
    fn only_a_stricter_level_is_looked_into() {
        let namespace = |level: &str, version: &str| {
            let labels = json!({"pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/enforce-version": version});
            json!({"metadata": {"name": "n", "labels": labels}})
        };
        for (old, new, stricter) in [
            (("privileged", "latest"), ("baseline", "latest"), true),
            (("baseline", "latest"), ("restricted", "latest"), true),
            (("restricted", "latest"), ("baseline", "latest"), false),
            (("restricted", "latest"), ("baseline", "v1.2"), true),
            (("restricted", "v1.2"), ("privileged", "latest"), false),
            (("baseline", "latest"), ("baseline", "latest"), false),
        ] {
            let judged = judge_namespace(&namespace(new.0, new.1), Some(&namespace(old.0, old.1))).unwrap();
            assert_eq!(judged != Relabelled::NotStricter, stricter, "{old:?} {new:?}");
        }
        let wrong = namespace("wibble", "latest");
        assert_eq!(judge_namespace(&wrong, None).unwrap_err().code, 422);
        assert!(judge_namespace(&wrong, Some(&wrong)).is_ok(), "what was wrong before may stay");
    }
}
