//! How pods reach the API server by the address of its service. Pure.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

/// Where connections to the service go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRoute {
    /// As pods know it.
    pub service: SocketAddrV4,
    /// Where it is.
    pub listens: Listens,
}

/// Where an API server can be reached by pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listens {
    /// On every address of the machine, at this port.
    Everywhere(u16),
    /// There.
    At(SocketAddrV4),
}

impl ApiRoute {
    /// The route to an API server that listens here; none if pods cannot reach it: a loopback is the machine's own.
    pub fn to(service: SocketAddrV4, listens: SocketAddr) -> Option<Self> {
        let listens = match (listens.ip(), listens) {
            (ip, _) if ip.is_unspecified() => Listens::Everywhere(listens.port()),
            (IpAddr::V4(ip), SocketAddr::V4(address)) if !ip.is_loopback() => Listens::At(address),
            _ => return None,
        };
        Some(Self { service, listens })
    }

    /// nftables' rule for what comes from this interface.
    pub(crate) fn rule(&self, interface: &str) -> String {
        let verdict = match self.listens {
            // To the address of the interface by which it has come: the gateway's.
            Listens::Everywhere(port) => format!("redirect to :{port}"),
            Listens::At(address) => format!("dnat to {address}"),
        };
        let (address, port) = (self.service.ip(), self.service.port());
        format!("iifname \"{interface}\" ip daddr {address} tcp dport {port} counter {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_reach_what_listens_on_more_than_loopback() {
        let check = |listens: &str, expected: Option<&str>| {
            let route = ApiRoute::to("10.96.0.1:443".parse().unwrap(), listens.parse().unwrap());
            let rule = route.map(|route| route.rule("br0"));
            let head = "iifname \"br0\" ip daddr 10.96.0.1 tcp dport 443 counter";
            assert_eq!(rule, expected.map(|verdict| format!("{head} {verdict}")), "{listens}");
        };
        check("127.0.0.1:6443", None);
        check("[::1]:6443", None);
        check("0.0.0.0:6443", Some("redirect to :6443"));
        check("[::]:7443", Some("redirect to :7443"));
        check("192.168.1.5:6443", Some("dnat to 192.168.1.5:6443"));
        check("[fd00::1]:6443", None);
    }
}
