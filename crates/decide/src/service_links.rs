//! What the containers of a pod are told of services, as variables (upstream: `pkg/kubelet/envvars`): where they are, in Kubernetes' words and in
//! those that Docker's links had.

/// What is told of a service. One without an address is told of by nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedService {
    /// Its name.
    pub name: String,
    /// Its address in the cluster.
    pub address: String,
    /// Its ports; the first stands for the service.
    pub ports: Vec<LinkedPort>,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedPort {
    /// Empty if it is the only one.
    pub name: String,
    /// Its number.
    pub port: i64,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// Variables that say where these services are, sorted by name; where two services come to the same name, the later one has it.
pub fn service_links(services: &[LinkedService]) -> Vec<(String, String)> {
    let all = services.iter().filter(|service| !service.ports.is_empty()).flat_map(variables);
    let by_name: std::collections::BTreeMap<String, String> = all.collect();
    by_name.into_iter().collect()
}

fn variables(service: &LinkedService) -> Vec<(String, String)> {
    let LinkedService { name, address, ports } = service;
    let name = variable(name);
    let mut all = vec![(format!("{name}_SERVICE_HOST"), address.clone())];
    for (i, LinkedPort { name: port_name, port, protocol }) in ports.iter().enumerate() {
        let transport = protocol.to_lowercase();
        let url = format!("{transport}://{}:{port}", in_url(address));
        if i == 0 {
            all.push((format!("{name}_SERVICE_PORT"), port.to_string()));
            all.push((format!("{name}_PORT"), url.clone()));
        }
        if !port_name.is_empty() {
            all.push((format!("{name}_SERVICE_PORT_{}", variable(port_name)), port.to_string()));
        }
        let prefix = format!("{name}_PORT_{port}_{}", protocol.to_uppercase());
        all.push((format!("{prefix}_PROTO"), transport));
        all.push((format!("{prefix}_PORT"), port.to_string()));
        all.push((format!("{prefix}_ADDR"), address.clone()));
        all.push((prefix, url));
    }
    all
}

/// A name as variables have it.
fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

fn in_url(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, address: &str, ports: &[(&str, i64, &str)]) -> LinkedService {
        let port = |(name, port, protocol): &(&str, i64, &str)| LinkedPort {
            name: (*name).to_owned(),
            port: *port,
            protocol: (*protocol).to_owned(),
        };
        LinkedService { name: name.to_owned(), address: address.to_owned(), ports: ports.iter().map(port).collect() }
    }

    fn check(services: &[LinkedService], expected: &[(&str, &str)]) {
        let owned: Vec<(String, String)> = expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(service_links(services), owned);
    }

    #[test]
    fn a_service_is_told_of_in_both_ways() {
        check(
            &[service("my-web", "10.96.0.7", &[("", 8765, "TCP")])],
            &[
                ("MY_WEB_PORT", "tcp://10.96.0.7:8765"),
                ("MY_WEB_PORT_8765_TCP", "tcp://10.96.0.7:8765"),
                ("MY_WEB_PORT_8765_TCP_ADDR", "10.96.0.7"),
                ("MY_WEB_PORT_8765_TCP_PORT", "8765"),
                ("MY_WEB_PORT_8765_TCP_PROTO", "tcp"),
                ("MY_WEB_SERVICE_HOST", "10.96.0.7"),
                ("MY_WEB_SERVICE_PORT", "8765"),
            ],
        );
    }

    #[test]
    fn ports_have_names_and_the_first_stands_for_all() {
        let told = service_links(&[service("dns", "10.96.0.9", &[("dns-udp", 53, "UDP"), ("tcp", 54, "TCP")])]);
        let value = |name: &str| told.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(value("DNS_SERVICE_PORT"), Some("53"));
        assert_eq!(value("DNS_SERVICE_PORT_DNS_UDP"), Some("53"));
        assert_eq!(value("DNS_SERVICE_PORT_TCP"), Some("54"));
        assert_eq!(value("DNS_PORT"), Some("udp://10.96.0.9:53"));
        assert_eq!(value("DNS_PORT_54_TCP"), Some("tcp://10.96.0.9:54"));
    }

    #[test]
    fn what_has_no_ports_is_not_told_of_and_ipv6_has_brackets() {
        check(&[service("a", "10.96.0.9", &[])], &[]);
        let told = service_links(&[service("a", "fd00::1", &[("", 1, "TCP")])]);
        assert_eq!(told[0], ("A_PORT".to_owned(), "tcp://[fd00::1]:1".to_owned()));
    }
}
