//! What `pods/NAME/proxy`, `services/NAME/proxy` and `nodes/NAME/proxy` lead to. Source of the rules: upstream's `ResourceLocation` of pods,
//! services and nodes, and `IsProxyableIP` (k8s.io/kubernetes `pkg/proxy/util`).

use std::net::{IpAddr, SocketAddr};

use remora_model::Status;
use remora_model::text::quoted;
use serde_json::Value;

use crate::object::{at, list, text};

/// The part of a path that names an object and a port: `web`, `web:8080`, `http:web:8080`, `https:web:8443`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The object.
    pub name: &'a str,
    /// Whether it is asked over TLS. What its certificate would have to prove is nowhere said: any will do.
    pub over_tls: bool,
    port: &'a str,
    segment: &'a str,
}

impl<'a> Asked<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// 400 if it is none; `what` is `pod`, `service` or `node`, for the message.
    pub fn parse(segment: &'a str, what: &str) -> Result<Asked<'a>, Status> {
        let parts: Vec<&str> = segment.split(':').collect();
        let (name, port, over_tls) = match parts.as_slice() {
            [name] => (*name, "", false),
            [name, port] | ["" | "http", name, port] => (*name, *port, false),
            ["https", name, port] => (*name, *port, true),
            _ => ("", "", false),
        };
        if name.is_empty() {
            return Err(Status::bad_request(format!("invalid {what} request {}", quoted(segment))));
        }
        Ok(Asked { name, over_tls, port, segment })
    }

    /// The number of the port that is asked for, if it is asked for by number.
    pub fn port_number(&self) -> Option<i64> {
        self.port.parse().ok()
    }

    /// The name of the service's port of this number; a service's only port may have none.
    ///
    /// # Errors
    /// 503 if it has no such port.
    pub fn port_of_service<'s>(&self, service: &'s Value, number: i64) -> Result<&'s str, Status> {
        let mut ports = list(service, &["spec", "ports"]).iter();
        let port = ports.find(|port| port["port"] == number).map(|port| text(port, &["name"]));
        port.ok_or_else(|| {
            Status::service_unavailable(format!("no service port {number} found for service {}", quoted(self.name)))
        })
    }

    /// Where a service can be asked, at the port that is asked for or at this one: first at a place that `random` says, then at others. Only pods
    /// are asked: whether it is one of theirs is still to be found out.
    ///
    /// # Errors
    /// 503 if nothing is behind it.
    pub fn in_endpoints<'e>(
        &self,
        endpoints: &'e Value,
        port: Option<&str>,
        random: usize,
    ) -> Result<Vec<Candidate<'e>>, Status> {
        let subsets = list(endpoints, &["subsets"]);
        if subsets.is_empty() {
            return Err(nothing_behind(self.name));
        }
        let (name, namespace) = (port.unwrap_or(self.port), text(endpoints, &["metadata", "namespace"]));
        let mut found = Vec::new();
        for subset in from(subsets, random) {
            let ports = list(subset, &["ports"]).iter().filter(|port| text(port, &["name"]) == name);
            let ports = ports.filter_map(|port| u16::try_from(port["port"].as_u64()?).ok());
            for (port, address) in
                ports.flat_map(|port| from(list(subset, &["addresses"]), random).map(move |address| (port, address)))
            {
                let target = at(address, &["targetRef"]);
                let pod = text(target, &["name"]);
                if text(target, &["namespace"]) == namespace
                    && !pod.is_empty()
                    && let Ok(ip) = proxyable(text(address, &["ip"]))
                {
                    found.push(Candidate { pod, place: SocketAddr::new(ip, port) });
                }
            }
        }
        Ok(found)
    }

    /// That no pod can be asked.
    pub fn unavailable(&self) -> Status {
        nothing_behind(self.segment)
    }

    /// Where the pod listens: at the port that is asked for, else at the first that it names, else at 80.
    ///
    /// # Errors
    /// 400 if the pod has no address that may be asked, or for a port that is none.
    pub fn in_pod(&self, pod: &Value) -> Result<SocketAddr, Status> {
        let named = list(pod, &["spec", "containers"]).iter().find_map(|container| {
            let first = list(container, &["ports"]).first()?;
            first.get("containerPort").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok())
        });
        let port = self.port()?.or(named).unwrap_or(80);
        Ok(SocketAddr::new(proxyable(text(pod, &["status", "podIP"]))?, port))
    }

    /// Where the node listens: at the port that is asked for, else at its agent's.
    ///
    /// # Errors
    /// 400 as for pods; 503 if no port is asked for and the node's agent has none.
    pub fn on_node(&self, node: &Value) -> Result<SocketAddr, Status> {
        let port = self.port()?.or(agent_port(node)).ok_or_else(|| {
            let name = self.name;
            Status::service_unavailable(format!(
                "the agent of node {name} listens on no port: ask for one, as in nodes/{name}:9100/proxy"
            ))
        })?;
        let internal =
            list(node, &["status", "addresses"]).iter().find(|address| text(address, &["type"]) == "InternalIP");
        Ok(SocketAddr::new(proxyable(internal.map_or("", |address| text(address, &["address"])))?, port))
    }

    /// Whether the node's agent is meant: no port is asked for, or the agent's.
    ///
    /// # Errors
    /// 400 for a port that is none.
    pub fn means_agent(&self, node: &Value) -> Result<bool, Status> {
        Ok(self.port()?.is_none_or(|port| Some(port) == agent_port(node)))
    }

    fn port(&self) -> Result<Option<u16>, Status> {
        if self.port.is_empty() {
            return Ok(None);
        }
        let port = self.port.parse().ok().filter(|port| *port > 0).map(Some);
        port.ok_or_else(|| Status::bad_request(format!("invalid port {}: only numbers lead there", quoted(self.port))))
    }
}

/// All of a list, from the one on that a number says.
fn from(all: &[Value], number: usize) -> impl Iterator<Item = &Value> {
    let first = number.checked_rem(all.len()).unwrap_or_default();
    all[first..].iter().chain(&all[..first])
}

fn nothing_behind(service: &str) -> Status {
    Status::service_unavailable(format!("no endpoints available for service {}", quoted(service)))
}

/// A place behind a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'e> {
    /// Whose place it is said to be.
    pub pod: &'e str,
    /// Where.
    pub place: SocketAddr,
}

impl Candidate<'_> {
    /// Whether the pod has this address: who writes Endpoints may not lead anywhere with the API server's eyes.
    pub fn is_of(&self, pod: &Value) -> bool {
        let mut own = list(pod, &["status", "podIPs"]).iter().map(|entry| text(entry, &["ip"]));
        own.any(|address| address.parse() == Ok(self.place.ip()))
    }
}

fn agent_port(node: &Value) -> Option<u16> {
    let port = at(node, &["status", "daemonEndpoints", "kubeletEndpoint", "Port"]).as_u64();
    port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
}

/// An address that the API server may ask for others: none of its own loopback, and none of a link.
fn proxyable(address: &str) -> Result<IpAddr, Status> {
    let is_local = |address: &IpAddr| match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast(),
    };
    let parsed = address.parse().ok().filter(|address| !is_local(address));
    parsed.ok_or_else(|| Status::bad_request("address not allowed"))
}

/// A path of the proxied server as the client has to ask for it, if a redirection leads to the same server: `prefix` and its path.
pub fn redirected(location: &str, prefix: &str, server: SocketAddr, host: &str) -> Option<String> {
    let path = match location.strip_prefix("http://").or_else(|| location.strip_prefix("https://")) {
        None => Some(location),
        Some(rest) => {
            let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
            (authority == server.to_string() || authority == host).then_some(path)
        }
    };
    path.filter(|path| path.starts_with('/') && !path.starts_with("//")).map(|path| format!("{prefix}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(segment: &str) -> Result<Asked<'_>, String> {
        Asked::parse(segment, "pod").map_err(|status| status.message)
    }

    #[test]
    fn names_and_ports_are_told_apart() {
        for (segment, name, port, over_tls) in [
            ("web", "web", "", false),
            ("web:80", "web", "80", false),
            ("http:web:80", "web", "80", false),
            (":web:80", "web", "80", false),
            ("http:web:", "web", "", false),
            ("https:web:443", "web", "443", true),
        ] {
            assert_eq!(asked(segment), Ok(Asked { name, over_tls, port, segment }), "{segment}");
        }
        assert_eq!(asked("a:b:c").unwrap_err(), "invalid pod request \"a:b:c\"");
        assert_eq!(asked(":80").unwrap_err(), "invalid pod request \":80\"");
        assert_eq!(asked("https:80").map(|asked| asked.name), Ok("https"));
        assert_eq!(asked("ftp:web:80").unwrap_err(), "invalid pod request \"ftp:web:80\"");
    }

    #[test]
    fn a_service_is_asked_at_pods_that_are_behind_it() {
        let pod = |name: &str, namespace: &str, ip: &str| json!({"ip": ip, "targetRef": {"kind": "Pod", "namespace": namespace, "name": name}});
        let endpoints = json!({"metadata": {"namespace": "a"}, "subsets": [
            {"notReadyAddresses": [pod("late", "a", "10.0.0.9")], "ports": [{"name": "http", "port": 8080}]},
            {"addresses": [pod("p", "a", "10.0.0.1"), pod("q", "a", "10.0.0.2"), pod("r", "other", "10.0.0.3"), {"ip": "10.0.0.4"}, pod("s", "a", "127.0.0.1")],
             "ports": [{"name": "http", "port": 8080}, {"name": "more", "port": 9090}]},
        ]});
        let places = |segment: &str, port: Option<&str>, random: usize| {
            let asked = Asked::parse(segment, "service").unwrap();
            let found = asked.in_endpoints(&endpoints, port, random).unwrap();
            found.iter().map(|found| format!("{} {}", found.pod, found.place)).collect::<Vec<_>>()
        };
        assert_eq!(places("web:http", None, 0), ["p 10.0.0.1:8080", "q 10.0.0.2:8080"]);
        assert_eq!(places("web:http", None, 1), ["q 10.0.0.2:8080", "p 10.0.0.1:8080"]);
        assert_eq!(places("web:80", Some("more"), 4), ["p 10.0.0.1:9090", "q 10.0.0.2:9090"]);
        assert_eq!(places("web", None, 0), [""; 0]);
        let asked = Asked::parse("web:80", "service").unwrap();
        assert_eq!(asked.unavailable().message, "no endpoints available for service \"web:80\"");
        let nothing = asked.in_endpoints(&json!({}), None, 0).unwrap_err();
        assert_eq!((nothing.code, nothing.message.as_str()), (503, "no endpoints available for service \"web\""));
        let found = Candidate { pod: "p", place: "10.0.0.1:8080".parse().unwrap() };
        assert!(found.is_of(&json!({"status": {"podIPs": [{"ip": "10.0.0.1"}]}})));
        assert!(!found.is_of(&json!({"status": {"podIPs": [{"ip": "10.0.0.2"}]}})) && !found.is_of(&json!({})));
    }

    #[test]
    fn a_services_port_is_asked_for_by_name_or_by_number() {
        let service = json!({"spec": {"ports": [{"port": 80}, {"port": 81, "name": "more"}]}});
        let name = |segment: &str| {
            let asked = Asked::parse(segment, "service").unwrap();
            let number = asked.port_number()?;
            Some(asked.port_of_service(&service, number).map(str::to_owned).map_err(|status| status.message))
        };
        assert_eq!(name("web:80"), Some(Ok(String::new())));
        assert_eq!(name("web:81"), Some(Ok("more".to_owned())));
        assert_eq!(name("web:8080"), Some(Err("no service port 8080 found for service \"web\"".to_owned())));
        assert_eq!((name("web:more"), name("web")), (None, None));
    }

    #[test]
    fn a_pod_is_asked_at_its_own_address_only() {
        let pod = |address: &str| {
            json!({
                "spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 8080}]}]},
                "status": {"podIP": address}
            })
        };
        let place = |segment: &str, address: &str| {
            asked(segment)
                .unwrap()
                .in_pod(&pod(address))
                .map(|place| place.to_string())
                .map_err(|status| status.message)
        };
        assert_eq!(place("web", "10.0.0.2").unwrap(), "10.0.0.2:8080");
        assert_eq!(place("web:81", "fd00::2").unwrap(), "[fd00::2]:81");
        for address in [
            "",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "0.0.0.0",
            "::1",
            "::ffff:127.0.0.1",
            "fe80::1",
            "224.0.0.1",
        ] {
            assert_eq!(place("web", address).unwrap_err(), "address not allowed", "{address}");
        }
        for port in ["web:http", "web:0", "web:65536"] {
            assert!(place(port, "10.0.0.2").unwrap_err().starts_with("invalid port"), "{port}");
        }
    }

    #[test]
    fn a_node_is_asked_at_a_port_that_is_named() {
        let node = json!({"status": {"addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.1"}]}});
        let place = |segment: &'static str, node: &Value| {
            Asked::parse(segment, "node").unwrap().on_node(node).map_err(|status| status.code)
        };
        assert_eq!(place("n:9100", &node), Ok("10.0.0.1:9100".parse().unwrap()));
        assert_eq!(place("n", &node), Err(503));
        let means_agent = |segment, node: &Value| Asked::parse(segment, "node").unwrap().means_agent(node).unwrap();
        assert!(means_agent("n", &node) && !means_agent("n:10250", &node));
        let mut listening = node.clone();
        listening["status"]["daemonEndpoints"] = json!({"kubeletEndpoint": {"Port": 10250}});
        assert_eq!(place("n", &listening), Ok("10.0.0.1:10250".parse().unwrap()));
        assert!(means_agent("n:10250", &listening) && !means_agent("n:9100", &listening));
    }

    #[test]
    fn redirections_within_the_server_go_through_the_proxy() {
        let server = "10.0.0.2:80".parse().unwrap();
        for (location, expected) in [
            ("/login?a=b", Some("/p/login?a=b")),
            ("http://10.0.0.2:80/x", Some("/p/x")),
            ("http://host", Some("/p/")),
            ("https://10.0.0.2:80/y", Some("/p/y")),
            ("http://elsewhere/x", None),
            ("//elsewhere/x", None),
            ("relative", None),
        ] {
            assert_eq!(redirected(location, "/p", server, "host").as_deref(), expected, "{location}");
        }
    }
}
