//! What the API server's refusal of an entry means: who refused, whether less would pass, and what would change it. Pure.

use kube::core::Status;

/// A refusal, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who refused.
    pub by: Refuser,
    /// Its reason, without the words around it.
    pub why: String,
    /// What would change that.
    pub remedy: String,
}

/// Who refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refuser {
    /// Pod Security admission, with level and version.
    PodSecurity(String),
    /// An admission webhook or policy, with its name.
    Policy(String),
    /// A quota.
    Quota,
    /// Authorization: the user may not do this at all.
    Rights,
    /// Something else.
    Other,
}

impl Refusal {
    /// A more modest entry may be admitted.
    pub fn depends_on_the_entry(&self) -> bool {
        matches!(self.by, Refuser::PodSecurity(_) | Refuser::Policy(_))
    }
}

/// Understands a refusal of a container of this name.
pub fn refusal(status: &Status, container: &str, namespace: &str) -> Refusal {
    let message = status.message.as_str();
    if let Some((_, rest)) = message.split_once("violates PodSecurity ") {
        return pod_security(rest, container, namespace);
    }
    if let Some(name) = between(message, "admission webhook \"", "\"") {
        let why = message.split_once("denied the request: ").map_or(message, |(_, why)| why);
        let remedy = format!("ask whoever runs the policy {name} for an exception");
        return Refusal { by: Refuser::Policy(name.to_owned()), why: why.to_owned(), remedy };
    }
    if let Some(name) = between(message, "ValidatingAdmissionPolicy '", "'") {
        let remedy = format!("ask whoever runs the policy {name} for an exception");
        return Refusal { by: Refuser::Policy(name.to_owned()), why: message.to_owned(), remedy };
    }
    if message.contains("exceeded quota") {
        let remedy = format!("free some: kubectl describe quota -n {namespace}");
        return Refusal { by: Refuser::Quota, why: message.to_owned(), remedy };
    }
    if status.code == 403 && message.contains(" cannot ") {
        let remedy = "ask an administrator for patch on pods/ephemeralcontainers, and get and create on pods/attach";
        return Refusal { by: Refuser::Rights, why: message.to_owned(), remedy: remedy.to_owned() };
    }
    Refusal { by: Refuser::Other, why: message.to_owned(), remedy: String::new() }
}

/// `"baseline:latest": non-default capabilities (container "d" must not …), …`. The whole pod is judged: what offends may not be the new entry.
fn pod_security(rest: &str, container: &str, namespace: &str) -> Refusal {
    let (level, why) = rest.split_once(": ").unwrap_or((rest, ""));
    let level = level.trim_matches('"').to_owned();
    let remedy = if why.contains("container") && !why.contains(&format!("\"{container}\"")) {
        "what the pod has already offends, so nothing is admitted to it any more: recreate the pod as the level demands, or ease the level".to_owned()
    } else {
        let allows = if why.contains("SYS_PTRACE") || why.contains("capabilities.add") || why.contains("privileged") {
            "privileged"
        } else {
            "baseline"
        };
        format!("kubectl label namespace {namespace} pod-security.kubernetes.io/enforce={allows} --overwrite")
    };
    Refusal { by: Refuser::PodSecurity(level), why: why.to_owned(), remedy }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.by {
            Refuser::PodSecurity(level) => write!(f, "refused by Pod Security level {level}: {}", self.why),
            Refuser::Policy(name) => write!(f, "refused by policy {name}: {}", self.why),
            Refuser::Quota | Refuser::Rights | Refuser::Other => f.write_str(&self.why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_who_refused_and_what_would_change_it() {
        let check = |code: u16, message: &str, by: Refuser, why: &str, remedy: &str, less_may_pass: bool| {
            let status = Status { code, message: message.to_owned(), ..Status::default() };
            let refusal = refusal(&status, "d", "shop");
            assert_eq!(refusal, Refusal { by, why: why.to_owned(), remedy: remedy.to_owned() });
            assert_eq!(refusal.depends_on_the_entry(), less_may_pass, "{message}");
        };
        let capabilities = "non-default capabilities (container \"d\" must not include \"SYS_PTRACE\" in securityContext.capabilities.add)";
        check(
            403,
            &format!("pods \"web\" is forbidden: violates PodSecurity \"baseline:latest\": {capabilities}"),
            Refuser::PodSecurity("baseline:latest".into()),
            capabilities,
            "kubectl label namespace shop pod-security.kubernetes.io/enforce=privileged --overwrite",
            true,
        );
        let other = "allowPrivilegeEscalation != false (container \"old\" must set securityContext.allowPrivilegeEscalation=false)";
        check(
            403,
            &format!("pods \"web\" is forbidden: violates PodSecurity \"restricted:v1.30\": {other}"),
            Refuser::PodSecurity("restricted:v1.30".into()),
            other,
            "what the pod has already offends, so nothing is admitted to it any more: recreate the pod as the level demands, or ease the level",
            true,
        );
        check(
            400,
            "admission webhook \"validate.kyverno.svc\" denied the request: no debuggers here",
            Refuser::Policy("validate.kyverno.svc".into()),
            "no debuggers here",
            "ask whoever runs the policy validate.kyverno.svc for an exception",
            true,
        );
        let rights = "pods \"web\" is forbidden: User \"bob\" cannot patch resource \"pods/ephemeralcontainers\" in API group \"\"";
        let ask = "ask an administrator for patch on pods/ephemeralcontainers, and get and create on pods/attach";
        check(403, rights, Refuser::Rights, rights, ask, false);
        let quota = "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1";
        check(403, quota, Refuser::Quota, quota, "free some: kubectl describe quota -n shop", false);
        check(422, "Pod \"web\" is invalid: spec", Refuser::Other, "Pod \"web\" is invalid: spec", "", false);
    }
}
