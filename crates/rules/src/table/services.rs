//! The cells of services and of what is behind them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{age, name, or};
use crate::object::{at, integer, list, text};

/// Of the addresses of a load balancer, as many letters as a terminal has room for.
const BALANCER_WIDTH: usize = 16;
/// Of endpoints.
const SHOWN: usize = 3;

pub(super) fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let address = list(object, &["spec", "clusterIPs"]).first().and_then(Value::as_str).unwrap_or("<none>");
    let ports: Vec<String> = list(object, &["spec", "ports"]).iter().map(port).collect();
    let labels = at(object, &["spec", "selector"]).as_object();
    let selector: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    vec![
        name(object),
        text(object, &["spec", "type"]).into(),
        address.into(),
        external_address(object).into(),
        or(&ports.join(","), "<none>").into(),
        age(object, now),
        or(&selector.join(","), "<none>").into(),
    ]
}

fn port(port: &Value) -> String {
    let (number, protocol) = (integer(port, &["port"]).unwrap_or_default(), text(port, &["protocol"]));
    match integer(port, &["nodePort"]).filter(|node| *node > 0) {
        Some(node) => format!("{number}:{node}/{protocol}"),
        None => format!("{number}/{protocol}"),
    }
}

fn external_address(service: &Value) -> String {
    let given: Vec<&str> = list(service, &["spec", "externalIPs"]).iter().filter_map(Value::as_str).collect();
    match text(service, &["spec", "type"]) {
        "ClusterIP" | "NodePort" => or(&given.join(","), "<none>").to_owned(),
        "LoadBalancer" => {
            let balancers = balancers(service);
            let all: Vec<&str> = [balancers.as_str()].into_iter().filter(|b| !b.is_empty()).chain(given).collect();
            or(&all.join(","), "<pending>").to_owned()
        }
        "ExternalName" => text(service, &["spec", "externalName"]).to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn balancers(service: &Value) -> String {
    let ingress = list(service, &["status", "loadBalancer", "ingress"]).iter();
    let all: BTreeSet<&str> = ingress.map(|one| or(text(one, &["ip"]), text(one, &["hostname"]))).collect();
    let shown = all.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(",");
    if shown.chars().count() <= BALANCER_WIDTH {
        return shown;
    }
    shown.chars().take(BALANCER_WIDTH - 3).chain("...".chars()).collect()
}

/// The first ones, and how many more there are.
fn some(all: &[String], instead: &str) -> String {
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    match all.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} + {more} more..."),
        _ => or(&shown, instead).to_owned(),
    }
}

pub(super) fn endpoints(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in list(object, &["subsets"]) {
        let addresses = || list(subset, &["addresses"]).iter().map(|address| text(address, &["ip"]));
        let ports = list(subset, &["ports"]);
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            let number = integer(port, &["port"]).unwrap_or_default();
            all.extend(addresses().map(|address| with_port(address, number)));
        }
    }
    vec![name(object), some(&all, "<none>").into(), age(object, now)]
}

fn with_port(address: &str, port: i64) -> String {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => format!("[{address}]:{port}"),
        _ => format!("{address}:{port}"),
    }
}

pub(super) fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let port = |port: &Value| match (integer(port, &["port"]), at(port, &["name"]).as_str()) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => "*".to_owned(),
    };
    let ports: Vec<String> = list(object, &["ports"]).iter().map(port).collect();
    let addresses = list(object, &["endpoints"]).iter().flat_map(|endpoint| list(endpoint, &["addresses"]));
    let addresses: Vec<String> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
    vec![
        name(object),
        text(object, &["addressType"]).into(),
        some(&ports, "<unset>").into(),
        some(&addresses, "<unset>").into(),
        age(object, now),
    ]
}
