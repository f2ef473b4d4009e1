//! A method and a path: what is asked for, and the rights that it takes. Both are read from the same parts of the path, so that no way of
//! writing one leads past the other. Source: kubernetes `pkg/kubelet/server/{server,auth}.go`.

use http::Method;
use percent_encoding::percent_decode_str;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `/healthz`, and single checks below it.
    Healthz(String),
    /// `/pods`
    Pods,
    /// `/runningpods/`
    RunningPods,
    /// `/containerLogs/NAMESPACE/POD/CONTAINER`
    Logs(Target),
    /// `/exec/NAMESPACE/POD/[UID/]CONTAINER`
    Exec(Target),
    /// `/attach/…`
    Attach(Target),
    /// `/portForward/NAMESPACE/POD[/UID]`
    PortForward(Target),
    /// `/run/…`
    Run(Target),
    /// `/stats/summary`
    Summary,
    /// `/metrics`
    Metrics,
    /// `/metrics/resource`
    ResourceMetrics,
    /// `/metrics/cadvisor`
    ContainerMetrics,
    /// `/metrics/probes`
    ProbeMetrics,
    /// `/checkpoint/NAMESPACE/POD/CONTAINER`
    Checkpoint(Target),
    /// `/configz`
    Configz,
    /// There, and switched off here: the reason.
    Disabled(&'static str),
    /// There, by another method.
    OtherMethod,
    /// Nothing.
    None,
}

/// A container of a pod, or, where that is asked for, a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// If given, the only pod that is meant.
    pub(crate) uid: String,
    /// Empty where a pod is meant.
    pub(crate) container: String,
}

/// A request, as far as method and path say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) endpoint: Endpoint,
    /// The verb of authorization; empty for methods that have none.
    pub(crate) verb: &'static str,
    /// Subresources of the Node, one of which must be allowed: the fine one first (KEP-2862).
    pub(crate) rights: &'static [&'static str],
    /// For counting: the endpoint's name, or `other`.
    pub(crate) bucket: &'static str,
}

impl Asked {
    /// Reads them.
    pub(crate) fn parse(method: &Method, path: &str) -> Self {
        let path = percent_decode_str(path).decode_utf8_lossy();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let endpoint = endpoint(method, &parts);
        // A GET begins a WebSocket session: it is asked for what the same session over SPDY takes, a POST's right. A kubelet v1.34 asks it for
        // `get`, so that who may read metrics through the API server gets a shell.
        let verb = if is_session(&endpoint) { "create" } else { verb(method) };
        Self { verb, rights: rights(&parts), bucket: bucket(&parts), endpoint }
    }

    /// Whether it may go on for long.
    pub(crate) fn is_long_running(&self) -> bool {
        is_session(&self.endpoint) || matches!(self.endpoint, Endpoint::Logs(_))
    }
}

fn is_session(endpoint: &Endpoint) -> bool {
    matches!(endpoint, Endpoint::Exec(_) | Endpoint::Attach(_) | Endpoint::PortForward(_) | Endpoint::Run(_))
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn rights(parts: &[&str]) -> &'static [&'static str] {
    match parts.first() {
        Some(&"stats") => &["stats"],
        Some(&"metrics") => &["metrics"],
        Some(&"logs") => &["log"],
        Some(&"checkpoint") => &["checkpoint"],
        Some(&"statusz") => &["statusz"],
        Some(&"flagz") => &["configz"],
        Some(&"pods" | &"runningpods") => &["pods", "proxy"],
        Some(&"healthz") => &["healthz", "proxy"],
        Some(&"configz") => &["configz", "proxy"],
        _ => &["proxy"],
    }
}

/// Names that are counted apart; whatever else strangers write is one.
const BUCKETS: [&str; 15] = [
    "healthz",
    "pods",
    "runningpods",
    "containerLogs",
    "exec",
    "attach",
    "portForward",
    "run",
    "stats",
    "metrics",
    "checkpoint",
    "configz",
    "logs",
    "debug",
    "other",
];

fn bucket(parts: &[&str]) -> &'static str {
    let first = parts.first().copied().unwrap_or_default();
    match parts {
        ["metrics", "cadvisor"] => "metrics/cadvisor",
        ["metrics", "resource"] => "metrics/resource",
        ["metrics", "probes"] => "metrics/probes",
        _ => BUCKETS.into_iter().find(|name| *name == first).unwrap_or("other"),
    }
}

fn endpoint(method: &Method, parts: &[&str]) -> Endpoint {
    let get = |endpoint| if method == Method::GET { endpoint } else { Endpoint::OtherMethod };
    let post = |endpoint| if method == Method::POST { endpoint } else { Endpoint::OtherMethod };
    let session =
        |endpoint| if matches!(*method, Method::GET | Method::POST) { endpoint } else { Endpoint::OtherMethod };
    match parts {
        ["healthz"] => get(Endpoint::Healthz(String::new())),
        ["healthz", check] => get(Endpoint::Healthz((*check).to_owned())),
        ["pods"] => get(Endpoint::Pods),
        ["runningpods"] => get(Endpoint::RunningPods),
        ["containerLogs", namespace, pod, container] => get(Endpoint::Logs(Target::new(namespace, pod, "", container))),
        ["exec", rest @ ..] => Target::of_container(rest).map_or(Endpoint::None, |at| session(Endpoint::Exec(at))),
        ["attach", rest @ ..] => Target::of_container(rest).map_or(Endpoint::None, |at| session(Endpoint::Attach(at))),
        ["run", rest @ ..] => Target::of_container(rest).map_or(Endpoint::None, |at| post(Endpoint::Run(at))),
        ["portForward", namespace, pod] => session(Endpoint::PortForward(Target::new(namespace, pod, "", ""))),
        ["portForward", namespace, pod, uid] => session(Endpoint::PortForward(Target::new(namespace, pod, uid, ""))),
        ["stats", "summary"] => get(Endpoint::Summary),
        ["metrics"] => get(Endpoint::Metrics),
        ["metrics", "resource"] => get(Endpoint::ResourceMetrics),
        ["metrics", "cadvisor"] => get(Endpoint::ContainerMetrics),
        ["metrics", "probes"] => get(Endpoint::ProbeMetrics),
        ["checkpoint", namespace, pod, container] => {
            post(Endpoint::Checkpoint(Target::new(namespace, pod, "", container)))
        }
        ["configz"] => get(Endpoint::Configz),
        ["logs", ..] => Endpoint::Disabled("logs endpoint is disabled.\n"),
        ["debug", "flags", "v"] => Endpoint::Disabled("flags endpoint is disabled.\n"),
        ["debug", "pprof", ..] => Endpoint::Disabled("profiling endpoint is disabled.\n"),
        _ => Endpoint::None,
    }
}

impl Target {
    fn new(namespace: &str, pod: &str, uid: &str, container: &str) -> Self {
        let [namespace, pod, uid, container] = [namespace, pod, uid, container].map(str::to_owned);
        Self { namespace, pod, uid, container }
    }

    fn of_container(parts: &[&str]) -> Option<Self> {
        match parts {
            [namespace, pod, container] => Some(Self::new(namespace, pod, "", container)),
            [namespace, pod, uid, container] => Some(Self::new(namespace, pod, uid, container)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str) -> Asked {
        Asked::parse(&method.parse().unwrap(), path)
    }

    #[test]
    fn rights_are_those_of_a_kubelet() {
        for (method, path, verb, rights) in [
            ("GET", "/stats/summary", "get", &["stats"][..]),
            ("GET", "/metrics", "get", &["metrics"]),
            ("GET", "/metrics/cadvisor", "get", &["metrics"]),
            ("GET", "/logs/syslog", "get", &["log"]),
            ("POST", "/checkpoint/a/p/c", "create", &["checkpoint"]),
            ("GET", "/pods", "get", &["pods", "proxy"]),
            ("GET", "/runningpods/", "get", &["pods", "proxy"]),
            ("GET", "/healthz/ping", "get", &["healthz", "proxy"]),
            ("GET", "/configz", "get", &["configz", "proxy"]),
            ("GET", "/flagz", "get", &["configz"]),
            ("GET", "/statusz", "get", &["statusz"]),
            ("GET", "/containerLogs/a/p/c", "get", &["proxy"]),
            ("POST", "/exec/a/p/c", "create", &["proxy"]),
            ("GET", "/exec/a/p/c", "create", &["proxy"]),
            ("GET", "/attach/a/p/c", "create", &["proxy"]),
            ("GET", "/portForward/a/p", "create", &["proxy"]),
            ("GET", "/metricsx", "get", &["proxy"]),
            ("GET", "/podsx", "get", &["proxy"]),
            ("HEAD", "/pods", "", &["pods", "proxy"]),
            ("GET", "/", "get", &["proxy"]),
            // However it is written, what is answered is what was asked for.
            ("GET", "//stats//summary", "get", &["stats"]),
            ("GET", "/%73tats/summary", "get", &["stats"]),
            ("GET", "/stats%2F..%2Fexec/a/p/c", "get", &["stats"]),
        ] {
            let got = asked(method, path);
            assert_eq!((got.verb, got.rights), (verb, rights), "{method} {path}");
        }
    }

    #[test]
    fn paths_lead_to_endpoints() {
        let check = |method, path, expected: Endpoint| assert_eq!(asked(method, path).endpoint, expected, "{path}");
        check("GET", "/healthz", Endpoint::Healthz(String::new()));
        check("GET", "/runningpods/", Endpoint::RunningPods);
        check("POST", "/runningpods/", Endpoint::OtherMethod);
        check("GET", "/containerLogs/a/p/c", Endpoint::Logs(Target::new("a", "p", "", "c")));
        check("POST", "/exec/a/p/u/c", Endpoint::Exec(Target::new("a", "p", "u", "c")));
        check("GET", "/attach/a/p/c", Endpoint::Attach(Target::new("a", "p", "", "c")));
        check("GET", "/run/a/p/c", Endpoint::OtherMethod);
        check("POST", "/portForward/a/p/u", Endpoint::PortForward(Target::new("a", "p", "u", "")));
        check("GET", "/exec/a/p", Endpoint::None);
        check("GET", "/stats/summary/", Endpoint::Summary);
        check("GET", "/stats/../exec", Endpoint::None);
        check("PUT", "/debug/flags/v", Endpoint::Disabled("flags endpoint is disabled.\n"));
        check("GET", "/debug/pprof/profile", Endpoint::Disabled("profiling endpoint is disabled.\n"));
    }

    #[test]
    fn strangers_make_no_series_of_their_own() {
        let check = |path, expected| assert_eq!(asked("GET", path).bucket, expected, "{path}");
        check("/exec/a/p/c", "exec");
        check("/metrics/cadvisor", "metrics/cadvisor");
        check("/metrics/other", "metrics");
        check("/stats/summary", "stats");
        check("/whatever", "other");
        check("/", "other");
    }
}
