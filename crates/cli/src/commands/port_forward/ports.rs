//! Which ports are meant. Pure. Source of the rules: kubectl's `portforward` command (`translateServicePortToTargetPort`,
//! `convertPodNamedPortToNumber`).

use std::fmt;

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A port to listen on and one to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// None is the remote's number, 0 any free one.
    pub(super) local: Option<u16>,
    pub(super) remote: Remote,
}

/// As it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    Number(u16),
    Name(String),
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(port) => write!(f, "{port}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// `[LOCAL:]REMOTE`
pub(super) fn parse(text: &str) -> Result<Wanted, String> {
    let (local, remote) = match text.split_once(':') {
        None => (None, text),
        Some(("", remote)) => (Some(0), remote),
        Some((local, remote)) => (Some(local.parse().map_err(|_| format!("{local} is no port"))?), remote),
    };
    let is_name = |text: &str| {
        text.bytes().any(|byte| byte.is_ascii_lowercase())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let remote = match remote.parse() {
        Ok(0) => return Err("the remote port must be above 0".to_owned()),
        Ok(port) => Remote::Number(port),
        Err(_) if is_name(remote) => Remote::Name(remote.to_owned()),
        Err(_) => return Err(format!("{remote} is no port")),
    };
    Ok(Wanted { local, remote })
}

/// The pod's port: of a pod, a number or the name of a container's port; of a service, one of its ports, and where that leads.
pub(super) fn of_pod(remote: &Remote, service: Option<&Service>, pod: &Pod) -> Result<u16, String> {
    match (service, remote) {
        (None, Remote::Number(port)) => Ok(*port),
        (None, Remote::Name(name)) => named(pod, name),
        (Some(service), remote) => behind(service, remote, pod),
    }
}

fn behind(service: &Service, remote: &Remote, pod: &Pod) -> Result<u16, String> {
    let spec = service.spec.clone().unwrap_or_default();
    let is_meant = |port: &ServicePort| match remote {
        Remote::Number(number) => port.port == i32::from(*number),
        Remote::Name(name) => port.name.as_ref() == Some(name),
    };
    let service_name = service.metadata.name.as_deref().unwrap_or_default();
    let ports = spec.ports.unwrap_or_default();
    let port = ports.into_iter().find(is_meant);
    let port = port.ok_or_else(|| format!("service {service_name} does not have a service port {remote}"))?;
    // A headless service leads nowhere by itself: its ports are those of its pods.
    let is_headless = spec.cluster_ip.as_deref() == Some("None");
    match port.target_port {
        Some(IntOrString::String(name)) => named(pod, &name),
        Some(IntOrString::Int(target)) if target > 0 && !is_headless => number(target),
        _ => number(port.port),
    }
}

fn named(pod: &Pod, name: &str) -> Result<u16, String> {
    let containers = pod.spec.iter().flat_map(|spec| {
        let init = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        spec.containers.iter().chain(init)
    });
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(name));
    let pod = pod.metadata.name.as_deref().unwrap_or_default();
    port.map_or_else(
        || Err(format!("pod {pod} does not have a named port '{name}'")),
        |port| number(port.container_port),
    )
}

fn number(port: i32) -> Result<u16, String> {
    u16::try_from(port).map_err(|_| format!("{port} is no port"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_are_parsed_as_kubectl_parses_them() {
        let number = Remote::Number;
        let check = |text: &str, expected: Result<(Option<u16>, Remote), &str>| {
            let expected = expected.map(|(local, remote)| Wanted { local, remote }).map_err(str::to_owned);
            assert_eq!(parse(text), expected, "{text}");
        };
        check("80", Ok((None, number(80))));
        check("8080:80", Ok((Some(8080), number(80))));
        check(":80", Ok((Some(0), number(80))));
        check("0:80", Ok((Some(0), number(80))));
        check("8080:http", Ok((Some(8080), Remote::Name("http".into()))));
        check("http", Ok((None, Remote::Name("http".into()))));
        check("8080:0", Err("the remote port must be above 0"));
        check("8080:", Err(" is no port"));
        check("x:80", Err("x is no port"));
        check("65536", Err("65536 is no port"));
        check("1:2:3", Err("2:3 is no port"));
    }

    #[test]
    fn ports_of_pods_and_services_lead_to_numbers() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": {
        "containers": [{"name": "a", "ports": [{"name": "http", "containerPort": 8080}]}],
        "initContainers": [
            {"name": "once", "ports": [{"name": "once", "containerPort": 1}]},
            {"name": "side", "restartPolicy": "Always", "ports": [{"name": "metrics", "containerPort": 9090}]},
        ]}}))
        .unwrap();
        let service = |headless: bool| -> Service {
            let ports = json!([
                {"name": "web", "port": 80, "targetPort": "http"},
                {"name": "admin", "port": 81, "targetPort": 8081},
                {"name": "same", "port": 82},
                {"name": "ghost", "port": 83, "targetPort": "nobody"},
            ]);
            let ip = if headless { "None" } else { "10.0.0.1" };
            serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": {"clusterIP": ip, "ports": ports}}))
                .unwrap()
        };
        let check = |text: &str, service: Option<Service>, expected: Result<u16, &str>| {
            let remote = parse(text).unwrap().remote;
            let got = of_pod(&remote, service.as_ref(), &pod);
            assert_eq!(got.as_ref().map(|port| *port).map_err(String::as_str), expected, "{text}");
        };
        check("80", None, Ok(80));
        check("http", None, Ok(8080));
        check("metrics", None, Ok(9090));
        check("once", None, Err("pod web does not have a named port 'once'"));
        check("80", Some(service(false)), Ok(8080));
        check("web", Some(service(false)), Ok(8080));
        check("81", Some(service(false)), Ok(8081));
        check("admin", Some(service(false)), Ok(8081));
        check("81", Some(service(true)), Ok(81));
        check("82", Some(service(false)), Ok(82));
        check("83", Some(service(false)), Err("pod web does not have a named port 'nobody'"));
        check("8080", Some(service(false)), Err("service s does not have a service port 8080"));
    }
}
