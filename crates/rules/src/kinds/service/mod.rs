//! Services as objects: defaults, and what of them belongs to which type of service (upstream: `SetDefaults_Service`,
//! `pkg/registry/core/service`). What they must be is in [`validation`], which addresses and ports they get in [`allocation`].

pub mod allocation;
pub mod validation;

use serde_json::{Value, json};

use crate::object::{at, copy_field, field_mut, items_mut, list, remove, set, set_default, text};
use crate::strategy::Ctx;

const HOURS_3: i64 = 10_800;

fn type_of(service: &Value) -> &str {
    text(service, &["spec", "type"])
}

/// Whether it has an address in the cluster, be it `None`.
fn needs_address(service: &Value) -> bool {
    matches!(type_of(service), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// Whether it has ports on every node.
fn needs_node_ports(service: &Value) -> bool {
    let balances = type_of(service) == "LoadBalancer";
    type_of(service) == "NodePort"
        || (balances && at(service, &["spec", "allocateLoadBalancerNodePorts"]).as_bool() != Some(false))
}

/// Whether somebody asks each node how it is.
fn needs_health_check(service: &Value) -> bool {
    type_of(service) == "LoadBalancer" && text(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

fn is_external(service: &Value) -> bool {
    match type_of(service) {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !list(service, &["spec", "externalIPs"]).is_empty(),
        _ => false,
    }
}

/// Whether it has no address of its own, but those of its pods.
fn is_headless(service: &Value) -> bool {
    match list(service, &["spec", "clusterIPs"]) {
        [only] => only == "None",
        [] => text(service, &["spec", "clusterIP"]) == "None",
        _ => false,
    }
}

/// TCP, the same port at the pods, inside of the cluster, no affinity.
pub fn set_defaults(service: &mut Value) {
    let spec = field_mut(service, "spec");
    set_default(spec, "sessionAffinity", "None");
    match text(spec, &["sessionAffinity"]) {
        "None" => remove(spec, "sessionAffinityConfig"),
        "ClientIP" => {
            let config = field_mut(field_mut(spec, "sessionAffinityConfig"), "clientIP");
            set_default(config, "timeoutSeconds", HOURS_3);
        }
        _ => {}
    }
    set_default(spec, "type", "ClusterIP");
    for port in items_mut(spec, "ports") {
        set_default(port, "protocol", "TCP");
        let is_given = match at(port, &["targetPort"]) {
            Value::String(name) => !name.is_empty(),
            number => number.as_i64().unwrap_or_default() != 0,
        };
        if !is_given {
            copy_port(port);
        }
    }
    let (is_external, has_address) = (is_external(service), needs_address(service));
    let balances = type_of(service) == "LoadBalancer";
    let spec = field_mut(service, "spec");
    if is_external {
        set_default(spec, "externalTrafficPolicy", "Cluster");
    }
    if has_address {
        set_default(spec, "internalTrafficPolicy", "Cluster");
    }
    if balances {
        set_default(spec, "allocateLoadBalancerNodePorts", true);
        let status = field_mut(field_mut(service, "status"), "loadBalancer");
        for ingress in items_mut(status, "ingress").filter(|ingress| !text(ingress, &["ip"]).is_empty()) {
            set_default(ingress, "ipMode", "VIP");
        }
    }
}

fn copy_port(port: &mut Value) {
    let number = at(port, &["port"]).clone();
    set(port, "targetPort", number);
}

/// No load balancer is there yet.
pub fn prepare_create(service: &mut Value) {
    set(service, "status", json!({"loadBalancer": {}}));
}

/// The status stays, and what belongs to another type goes, unless it was changed: then it is judged.
pub fn prepare_update(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "status");
    drop_what_no_longer_applies(new, old);
}

fn drop_what_no_longer_applies(new: &mut Value, old: &Value) {
    let had = |of: fn(&Value) -> bool, new: &Value| of(old) && !of(new);
    let is_same = |new: &Value, field: &str| at(new, &["spec", field]) == at(old, &["spec", field]);
    let mut gone: Vec<&str> = Vec::new();
    if had(needs_address, new) {
        if is_same(new, "clusterIP") && is_same(new, "clusterIPs") {
            gone.extend(["clusterIP", "clusterIPs"]);
        }
        gone.extend(
            ["ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"].into_iter().filter(|field| is_same(new, field)),
        );
    }
    if had(needs_health_check, new) && is_same(new, "healthCheckNodePort") {
        gone.push("healthCheckNodePort");
    }
    if had(|service| type_of(service) == "LoadBalancer", new) {
        let own = ["allocateLoadBalancerNodePorts", "loadBalancerClass"];
        gone.extend(own.into_iter().filter(|field| is_same(new, field)));
    }
    if had(is_external, new) && is_same(new, "externalTrafficPolicy") {
        gone.push("externalTrafficPolicy");
    }
    let ports_go = had(needs_node_ports, new) && node_ports(new) == node_ports(old);
    let spec = field_mut(new, "spec");
    gone.into_iter().for_each(|field| remove(spec, field));
    if ports_go {
        items_mut(spec, "ports").for_each(|port| remove(port, "nodePort"));
    }
    if type_of(new) != "LoadBalancer" {
        set(new, "status", json!({"loadBalancer": {}}));
    }
}

fn node_ports(service: &Value) -> Vec<i64> {
    let ports = list(service, &["spec", "ports"]).iter();
    ports.filter_map(|port| at(port, &["nodePort"]).as_i64()).filter(|port| *port != 0).collect()
}

/// Nothing but the status is taken.
pub fn prepare_status(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "spec");
}
