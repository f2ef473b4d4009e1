//! The table of checks of v1.34: one row each, with the minor versions at which its rule came and changed (upstream:
//! k8s.io/pod-security-admission `policy`). A pod may be any object with `metadata` and `spec`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::policy::{Level, Rule};
use crate::object::{at, flag, integer, list, text};
use crate::pod::containers;

/// What a pod violates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Violation {
    reason: &'static str,
    detail: String,
}

type Judge = fn(&Value) -> Option<Violation>;

struct Check {
    name: &'static str,
    level: Level,
    /// From this minor version on, this rule.
    versions: &'static [(u32, Judge)],
    /// The baseline check that it stands for wherever it holds.
    instead_of: &'static str,
}

const BASELINE: Check = Check { name: "", level: Level::Baseline, versions: &[], instead_of: "" };
const RESTRICTED: Check = Check { level: Level::Restricted, ..BASELINE };

/// In the order in which violations are named.
static CHECKS: &[Check] = &[
    Check { name: "appArmorProfile", versions: &[(0, app_armor)], ..BASELINE },
    Check { name: "capabilities_baseline", versions: &[(0, added_capabilities)], ..BASELINE },
    Check { name: "hostNamespaces", versions: &[(0, host_namespaces)], ..BASELINE },
    Check { name: "hostPathVolumes", versions: &[(0, host_paths)], ..BASELINE },
    Check { name: "hostPorts", versions: &[(0, host_ports)], ..BASELINE },
    Check { name: "hostProbesAndHostLifecycle", versions: &[(34, probe_hosts)], ..BASELINE },
    Check { name: "privileged", versions: &[(0, privileged)], ..BASELINE },
    Check { name: "procMount", versions: &[(0, proc_mount)], ..BASELINE },
    Check {
        name: "seLinuxOptions",
        versions: &[(0, |pod| se_linux(pod, &SE_LINUX_TYPES[..3])), (31, |pod| se_linux(pod, &SE_LINUX_TYPES))],
        ..BASELINE
    },
    Check { name: "seccompProfile_baseline", versions: &[(0, seccomp_annotations), (19, unconfined)], ..BASELINE },
    Check {
        name: "sysctls",
        versions: &[
            (0, |pod| sysctls(pod, &SYSCTLS[..5])),
            (27, |pod| sysctls(pod, &SYSCTLS[..6])),
            (29, |pod| sysctls(pod, &SYSCTLS[..10])),
            (32, |pod| sysctls(pod, &SYSCTLS)),
        ],
        ..BASELINE
    },
    Check { name: "windowsHostProcess", versions: &[(0, host_process)], ..BASELINE },
    Check {
        name: "allowPrivilegeEscalation",
        versions: &[(8, escalation), (25, |pod| not_on_windows(pod, escalation))],
        ..RESTRICTED
    },
    Check {
        name: "capabilities_restricted",
        versions: &[(22, kept_capabilities), (25, |pod| not_on_windows(pod, kept_capabilities))],
        instead_of: "capabilities_baseline",
        ..RESTRICTED
    },
    Check { name: "restrictedVolumes", versions: &[(0, volumes)], instead_of: "hostPathVolumes", ..RESTRICTED },
    Check { name: "runAsNonRoot", versions: &[(0, non_root)], ..RESTRICTED },
    Check { name: "runAsUser", versions: &[(23, user_zero)], ..RESTRICTED },
    Check {
        name: "seccompProfile_restricted",
        versions: &[(19, no_seccomp), (25, |pod| not_on_windows(pod, no_seccomp))],
        instead_of: "seccompProfile_baseline",
        ..RESTRICTED
    },
];

impl Check {
    fn judge(&self, version: Option<u32>) -> Option<Judge> {
        let version = version.unwrap_or(u32::MAX);
        self.versions.iter().rev().find(|(since, _)| *since <= version).map(|(_, judge)| *judge)
    }
}

impl Violations {
    /// What a pod violates of a level.
    pub fn of(rule: Rule, pod: &Value) -> Self {
        let held = || CHECKS.iter().filter(|check| check.level <= rule.level && check.judge(rule.version).is_some());
        let replaced: BTreeSet<&str> = held().map(|check| check.instead_of).collect();
        let asked = held().filter(|check| rule.level != Level::Privileged && !replaced.contains(check.name));
        Self(asked.filter_map(|check| check.judge(rule.version)?(pod)).collect())
    }

    /// Whether it violates nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In short.
    pub fn reasons(&self) -> String {
        self.0.iter().map(|violation| violation.reason).collect::<Vec<_>>().join(", ")
    }

    /// With who violates it, and how not to.
    pub fn details(&self) -> String {
        let said = self.0.iter().map(|Violation { reason, detail }| format!("{reason} ({detail})"));
        said.collect::<Vec<_>>().join(", ")
    }
}

/// A violation, if there is something to say.
fn found(reason: &'static str, detail: Option<String>) -> Option<Violation> {
    detail.map(|detail| Violation { reason, detail })
}

/// The names of the containers of which something is true, of every kind.
fn which(pod: &Value, is: impl Fn(&Value) -> bool) -> Vec<&str> {
    containers::all(pod)
        .filter(|(_, container)| is(container))
        .map(|(_, container)| text(container, &["name"]))
        .collect()
}

/// `container "a"`, `containers "a", "b"`; none for none.
fn named(names: &[&str]) -> Option<String> {
    (!names.is_empty()).then(|| format!("{} {}", plural(names.len(), "container", "containers"), quoted(names)))
}

/// Who sets what a pod and its containers may set: `pod and container "a"`.
fn setters(pod_does: bool, names: &[&str]) -> Option<String> {
    let parts: Vec<String> = pod_does.then(|| "pod".to_owned()).into_iter().chain(named(names)).collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

fn plural(count: usize, one: &'static str, several: &'static str) -> &'static str {
    if count == 1 { one } else { several }
}

fn quoted<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("\"{}\"", word.as_ref())).collect();
    words.join(", ")
}

/// A field of the security context of a container, or of a pod's `spec`.
fn security<'v>(of: &'v Value, path: &[&str]) -> &'v Value {
    at(at(of, &["securityContext"]), path)
}

fn spec(pod: &Value) -> &Value {
    at(pod, &["spec"])
}

/// Windows knows no such thing, and validation has refused it there.
fn not_on_windows(pod: &Value, judge: Judge) -> Option<Violation> {
    if text(pod, &["spec", "os", "name"]) == "windows" { None } else { judge(pod) }
}

fn app_armor(pod: &Value) -> Option<Violation> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let bad = |of: &Value| {
        let profile = security(of, &["appArmorProfile"]);
        let word = text(profile, &["type"]);
        (!profile.is_null() && !matches!(word, "RuntimeDefault" | "Localhost")).then(|| word.to_owned())
    };
    let mut values: BTreeSet<String> = containers::all(pod).filter_map(|(_, container)| bad(container)).collect();
    values.extend(bad(spec(pod)));
    let annotations = at(pod, &["metadata", "annotations"]).as_object().into_iter().flatten();
    let allowed = |value: &str| matches!(value, "" | "runtime/default") || value.starts_with("localhost/");
    let annotated: Vec<String> = annotations
        .filter_map(|(name, value)| Some((name, value.as_str()?)))
        .filter(|(name, value)| name.starts_with(ANNOTATION) && !allowed(value))
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    let who = setters(bad(spec(pod)).is_some(), &which(pod, |container| bad(container).is_some()));
    let annotation = (!annotated.is_empty()).then(|| plural(annotated.len(), "annotation", "annotations").to_owned());
    let who: Vec<String> = who.into_iter().chain(annotation).collect();
    let values: Vec<String> = values.into_iter().chain(annotated).collect();
    let reason = plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles");
    let detail = || format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values));
    found(reason, (!who.is_empty()).then(detail))
}

/// Those that container runtimes give without being asked.
const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn capabilities<'v>(container: &'v Value, side: &str) -> impl Iterator<Item = &'v str> {
    list(security(container, &["capabilities"]), &[side]).iter().filter_map(Value::as_str)
}

/// Which containers add capabilities other than these: `container "a" must not include …`.
fn adding(pod: &Value, allowed: &[&str]) -> Option<String> {
    let is_bad = |word: &&str| !allowed.contains(word);
    let who = named(&which(pod, |container| capabilities(container, "add").any(|word| is_bad(&word))))?;
    let all = containers::all(pod).flat_map(|(_, container)| capabilities(container, "add"));
    let bad: BTreeSet<&str> = all.filter(is_bad).collect();
    Some(format!("{who} must not include {} in securityContext.capabilities.add", quoted(bad)))
}

fn added_capabilities(pod: &Value) -> Option<Violation> {
    found("non-default capabilities", adding(pod, &DEFAULT_CAPABILITIES))
}

fn kept_capabilities(pod: &Value) -> Option<Violation> {
    let keeping = named(&which(pod, |container| capabilities(container, "drop").all(|word| word != "ALL")));
    let keeping = keeping.map(|who| format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    let parts: Vec<String> = keeping.into_iter().chain(adding(pod, &["NET_BIND_SERVICE"])).collect();
    found("unrestricted capabilities", (!parts.is_empty()).then(|| parts.join("; ")))
}

fn host_namespaces(pod: &Value) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| flag(pod, &["spec", field]));
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    found("host namespaces", (!shared.is_empty()).then(|| shared.join(", ")))
}

fn which_volumes(pod: &Value, is: impl Fn(&Value) -> bool) -> Option<String> {
    let names: Vec<&str> = list(pod, &["spec", "volumes"])
        .iter()
        .filter(|volume| is(volume))
        .map(|volume| text(volume, &["name"]))
        .collect();
    (!names.is_empty()).then(|| format!("{} {}", plural(names.len(), "volume", "volumes"), quoted(&names)))
}

fn host_paths(pod: &Value) -> Option<Violation> {
    found("hostPath volumes", which_volumes(pod, |volume| volume.get("hostPath").is_some()))
}

fn volumes(pod: &Value) -> Option<Violation> {
    const ALLOWED: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let kind = |volume: &Value| {
        let sources =
            volume.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).filter(|name| *name != "name");
        let source = sources.into_iter().next().unwrap_or("unknown");
        (!ALLOWED.contains(&source)).then(|| source.to_owned())
    };
    let who = which_volumes(pod, |volume| kind(volume).is_some());
    let count = list(pod, &["spec", "volumes"]).iter().filter(|volume| kind(volume).is_some()).count();
    let kinds: BTreeSet<String> = list(pod, &["spec", "volumes"]).iter().filter_map(kind).collect();
    let what = plural(kinds.len(), "restricted volume type", "restricted volume types");
    let detail = who.map(|who| format!("{who} {} {what} {}", plural(count, "uses", "use"), quoted(&kinds)));
    found("restricted volume types", detail)
}

fn host_ports(pod: &Value) -> Option<Violation> {
    let ports = |container: &Value| -> BTreeSet<String> {
        let ports = list(container, &["ports"]).iter().filter_map(|port| integer(port, &["hostPort"]));
        ports.filter(|port| *port != 0).map(|port| port.to_string()).collect()
    };
    let names = which(pod, |container| !ports(container).is_empty());
    let all: BTreeSet<String> = containers::all(pod).flat_map(|(_, container)| ports(container)).collect();
    let all: Vec<String> = all.into_iter().collect();
    let what = plural(all.len(), "hostPort", "hostPorts");
    found(
        "hostPort",
        named(&names).map(|who| format!("{who} {} {what} {}", plural(names.len(), "uses", "use"), all.join(", "))),
    )
}

fn probe_hosts(pod: &Value) -> Option<Violation> {
    const HANDLERS: [&[&str]; 5] = [
        &["livenessProbe"],
        &["readinessProbe"],
        &["startupProbe"],
        &["lifecycle", "postStart"],
        &["lifecycle", "preStop"],
    ];
    let hosts = |container: &Value| -> BTreeSet<String> {
        let handlers = HANDLERS.iter().map(|path| at(container, path));
        let hosts =
            handlers.flat_map(|handler| ["httpGet", "tcpSocket"].map(|way| text(handler, &[way, "host"]).to_owned()));
        hosts.filter(|host| !host.is_empty()).collect()
    };
    let mut names = which(pod, |container| !hosts(container).is_empty());
    names.sort_unstable();
    let all: BTreeSet<String> = containers::all(pod).flat_map(|(_, container)| hosts(container)).collect();
    let what = plural(all.len(), "probe or lifecycle host", "probe or lifecycle hosts");
    let detail =
        named(&names).map(|who| format!("{who} {} {what} {}", plural(names.len(), "uses", "use"), quoted(&all)));
    found("probe or lifecycle host", detail)
}

fn privileged(pod: &Value) -> Option<Violation> {
    let who = named(&which(pod, |container| security(container, &["privileged"]) == true));
    found("privileged", who.map(|who| format!("{who} must not set securityContext.privileged=true")))
}

fn proc_mount(pod: &Value) -> Option<Violation> {
    let mount =
        |container: &Value| security(container, &["procMount"]).as_str().filter(|m| *m != "Default").map(str::to_owned);
    let who = named(&which(pod, |container| mount(container).is_some()));
    let kinds: BTreeSet<String> = containers::all(pod).filter_map(|(_, container)| mount(container)).collect();
    found("procMount", who.map(|who| format!("{who} must not set securityContext.procMount to {}", quoted(&kinds))))
}

/// The last one since v1.31.
const SE_LINUX_TYPES: [&str; 4] = ["container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

fn se_linux(pod: &Value, allowed: &[&str]) -> Option<Violation> {
    let options = |of: &'_ Value| security(of, &["seLinuxOptions"]).clone();
    let bad_type = |options: &Value| {
        let word = text(options, &["type"]);
        (!word.is_empty() && !allowed.contains(&word)).then(|| word.to_owned())
    };
    let sets = |options: &Value, field: &str| !text(options, &[field]).is_empty();
    let is_bad = |options: &Value| bad_type(options).is_some() || sets(options, "user") || sets(options, "role");
    let who = setters(is_bad(&options(spec(pod))), &which(pod, |container| is_bad(&options(container))))?;
    let all: Vec<Value> =
        std::iter::once(spec(pod)).chain(containers::all(pod).map(|(_, container)| container)).map(options).collect();
    let types: BTreeSet<String> = all.iter().filter_map(bad_type).collect();
    let types = (!types.is_empty()).then(|| format!("{} {}", plural(types.len(), "type", "types"), quoted(&types)));
    let set = ["user", "role"].into_iter().filter(|field| all.iter().any(|options| sets(options, field)));
    let what: Vec<String> = types.into_iter().chain(set.map(|field| format!("{field} may not be set"))).collect();
    let detail = format!("{who} set forbidden securityContext.seLinuxOptions: {}", what.join("; "));
    found("seLinuxOptions", Some(detail))
}

/// Until v1.19 the profile was an annotation.
fn seccomp_annotations(pod: &Value) -> Option<Violation> {
    let allowed =
        |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let of_container = |(_, container): (_, &Value)| {
        format!("container.seccomp.security.alpha.kubernetes.io/{}", text(container, &["name"]))
    };
    let names = std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_owned());
    let bad: BTreeSet<String> = names
        .chain(containers::all(pod).map(of_container))
        .filter_map(|name| {
            let value = at(pod, &["metadata", "annotations", &name]).as_str()?;
            (!allowed(value)).then(|| format!("{name}=\"{value}\""))
        })
        .collect();
    let bad: Vec<String> = bad.into_iter().collect();
    let what = plural(bad.len(), "annotation", "annotations");
    found("seccompProfile", (!bad.is_empty()).then(|| format!("forbidden {what} {}", bad.join(", "))))
}

/// The seccomp profile that something sets, and whether it is one that confines.
fn seccomp(of: &Value) -> Option<(bool, String)> {
    let profile = security(of, &["seccompProfile"]);
    let word = text(profile, &["type"]);
    (!profile.is_null()).then(|| (matches!(word, "RuntimeDefault" | "Localhost"), word.to_owned()))
}

fn unconfined(pod: &Value) -> Option<Violation> {
    let bad = |of: &Value| seccomp(of).filter(|(confines, _)| !confines).map(|(_, word)| word);
    let who = setters(bad(spec(pod)).is_some(), &which(pod, |container| bad(container).is_some()))?;
    let mut values: BTreeSet<String> = containers::all(pod).filter_map(|(_, container)| bad(container)).collect();
    values.extend(bad(spec(pod)));
    found(
        "seccompProfile",
        Some(format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(&values))),
    )
}

fn no_seccomp(pod: &Value) -> Option<Violation> {
    if let Some(violation) = unconfined(pod) {
        return Some(violation);
    }
    let is_set = seccomp(spec(pod)).is_some();
    let who = named(&which(pod, |container| !is_set && seccomp(container).is_none()))?;
    let detail =
        format!("pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"");
    found("seccompProfile", Some(detail))
}

/// Five of old, one more since v1.27, four since v1.29, two since v1.32.
const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

fn sysctls(pod: &Value, allowed: &[&str]) -> Option<Violation> {
    let all = list(security(spec(pod), &[]), &["sysctls"]).iter().map(|sysctl| text(sysctl, &["name"]));
    let bad: Vec<&str> = all.filter(|name| !allowed.contains(name)).collect();
    found("forbidden sysctls", (!bad.is_empty()).then(|| bad.join(", ")))
}

fn host_process(pod: &Value) -> Option<Violation> {
    let is_bad = |of: &Value| security(of, &["windowsOptions", "hostProcess"]) == true;
    let who = setters(is_bad(spec(pod)), &which(pod, is_bad));
    found("hostProcess", who.map(|who| format!("{who} must not set securityContext.windowsOptions.hostProcess=true")))
}

fn escalation(pod: &Value) -> Option<Violation> {
    let who = named(&which(pod, |container| security(container, &["allowPrivilegeEscalation"]) != false));
    let detail = who.map(|who| format!("{who} must set securityContext.allowPrivilegeEscalation=false"));
    found("allowPrivilegeEscalation != false", detail)
}

fn non_root(pod: &Value) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let word = |of: &Value| security(of, &["runAsNonRoot"]).as_bool();
    if let Some(who) = setters(word(spec(pod)) == Some(false), &which(pod, |container| word(container) == Some(false)))
    {
        return found(REASON, Some(format!("{who} must not set securityContext.runAsNonRoot=false")));
    }
    let is_set = word(spec(pod)) == Some(true);
    let who = named(&which(pod, |container| !is_set && word(container).is_none()));
    found(REASON, who.map(|who| format!("pod or {who} must set securityContext.runAsNonRoot=true")))
}

fn user_zero(pod: &Value) -> Option<Violation> {
    let is_zero = |of: &Value| security(of, &["runAsUser"]).as_i64() == Some(0);
    let who = setters(is_zero(spec(pod)), &which(pod, is_zero));
    found("runAsUser=0", who.map(|who| format!("{who} must not set runAsUser=0")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_upstreams_order_and_replace_what_is_there() {
        let names = |level| CHECKS.iter().filter(move |c| c.level == level).map(|c| c.name).collect::<Vec<_>>();
        for level in [Level::Baseline, Level::Restricted] {
            assert!(names(level).is_sorted(), "{level:?}");
        }
        let baseline = names(Level::Baseline);
        for check in CHECKS.iter().filter(|c| !c.instead_of.is_empty()) {
            assert!(baseline.contains(&check.instead_of), "{}", check.name);
        }
        assert!(CHECKS.iter().all(|c| c.versions.is_sorted_by_key(|(since, _)| *since)));
    }
}
