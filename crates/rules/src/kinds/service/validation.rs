//! What a service must be, in upstream's order and words (`validateService`, `ValidateServiceUpdate`).

use remora_model::field::FieldErrors;
use remora_model::text::quoted;
use remora_model::{FieldError, Path};
use serde_json::Value;

use super::{is_external, is_headless, needs_health_check, type_of};
use crate::metadata::names;
use crate::metadata::validation::{invalid, validate_labels};
use crate::object::{at, integer, list, text};

const SPEC: Path<'static> = Path::new("spec");
const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

fn one_of(value: &str, known: &[&str], path: &Path<'_>) -> Option<FieldError> {
    (!known.contains(&value)).then(|| FieldError::not_supported(path, value, known))
}

/// A service by itself.
pub fn validate(service: &Value) -> FieldErrors {
    let spec = at(service, &["spec"]);
    let of = type_of(service);
    let mut errors = validate_type(service, of);
    errors.extend(validate_ports(list(spec, &["ports"])));
    errors.extend(validate_labels(at(spec, &["selector"]), &SPEC.child("selector")));
    errors.extend(validate_affinity(spec));
    errors.extend(super::allocation::validate_addresses(service));
    errors.extend(validate_external_addresses(list(spec, &["externalIPs"])));
    errors.extend(one_of(of, &TYPES, &SPEC.child("type")));
    errors.extend(validate_node_ports(list(spec, &["ports"]), of));
    errors.extend(validate_same_ports(list(spec, &["ports"])));
    errors.extend(validate_load_balancer(spec, of));
    errors.extend(validate_policies(service));
    errors
}

fn validate_type(service: &Value, of: &str) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let is_set = |field: &str| match at(service, &["spec", field]) {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    if list(service, &["spec", "ports"]).is_empty() && !is_headless(service) && of != "ExternalName" {
        errors.push(FieldError::required(&SPEC.child("ports"), ""));
    }
    match of {
        "LoadBalancer" | "NodePort" if is_headless(service) => {
            let why = format!("may not be set to 'None' for {of} services");
            errors.push(FieldError::invalid(&SPEC.child("clusterIPs").index(0), "None", why));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"].into_iter().filter(|field| is_set(field)) {
                let why = "may not be set for ExternalName services";
                errors.push(FieldError::forbidden(&SPEC.child(field), why));
            }
            let path = SPEC.child("externalName");
            match text(service, &["spec", "externalName"]) {
                "" => errors.push(FieldError::required(&path, "")),
                name => errors.extend(invalid(&path, name.strip_suffix('.').unwrap_or(name), names::dns_subdomain)),
            }
        }
        _ => {}
    }
    errors
}

fn validate_ports(ports: &[Value]) -> FieldErrors {
    let place = SPEC.child("ports");
    let mut errors = FieldErrors::new();
    for (i, port) in ports.iter().enumerate() {
        let path = place.index(i);
        let name = text(port, &["name"]);
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if !name.is_empty() {
            errors.extend(invalid(&path.child("name"), name, names::dns_label));
            if ports[..i].iter().any(|before| text(before, &["name"]) == name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
        }
        errors.extend(validate_number(at(port, &["port"]), &path.child("port")));
        errors.extend(one_of(text(port, &["protocol"]), &PROTOCOLS, &path.child("protocol")));
        errors.extend(validate_target(at(port, &["targetPort"]), &path.child("targetPort")));
        if let Some(protocol) = at(port, &["appProtocol"]).as_str() {
            errors.extend(invalid(&path.child("appProtocol"), protocol, names::qualified_name));
        }
    }
    errors
}

fn validate_number(number: &Value, path: &Path<'_>) -> FieldErrors {
    let number = number.as_i64().unwrap_or_default();
    names::port_number(number).into_iter().map(|why| FieldError::invalid(path, number, why)).collect()
}

fn validate_target(target: &Value, path: &Path<'_>) -> FieldErrors {
    match target.as_str() {
        Some(name) => invalid(path, name, names::port_name),
        None => validate_number(target, path),
    }
}

fn validate_affinity(spec: &Value) -> FieldErrors {
    let affinity = text(spec, &["sessionAffinity"]);
    let mut errors: FieldErrors =
        one_of(affinity, &["ClientIP", "None"], &SPEC.child("sessionAffinity")).into_iter().collect();
    let config = SPEC.child("sessionAffinityConfig");
    let client = config.child("clientIP");
    let seconds = integer(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]);
    match (affinity, seconds) {
        ("ClientIP", Some(seconds)) if !(1..=86_400).contains(&seconds) => {
            let why = "must be greater than 0 and less than 86400";
            errors.push(FieldError::invalid(&client.child("timeoutSeconds"), seconds, why));
        }
        ("None", _) if !at(spec, &["sessionAffinityConfig"]).is_null() => {
            errors.push(FieldError::forbidden(&config, "must not be set when session affinity is None"));
        }
        _ => {}
    }
    errors
}

fn validate_external_addresses(addresses: &[Value]) -> FieldErrors {
    let place = SPEC.child("externalIPs");
    let mut errors = FieldErrors::new();
    for (i, address) in addresses.iter().enumerate() {
        let (path, address) = (place.index(i), address.as_str().unwrap_or_default());
        let wrong = invalid(&path, address, names::ip);
        errors.extend(if wrong.is_empty() { invalid(&path, address, names::endpoint_ip) } else { wrong });
    }
    errors
}

fn validate_node_ports(ports: &[Value], of: &str) -> FieldErrors {
    let place = SPEC.child("ports");
    let number = |port: &Value| integer(port, &["nodePort"]).filter(|number| *number != 0);
    let mut errors = FieldErrors::new();
    for (i, _) in ports.iter().enumerate().filter(|(_, port)| of == "ClusterIP" && number(port).is_some()) {
        let why = "may not be used when `type` is 'ClusterIP'";
        errors.push(FieldError::forbidden(&place.index(i).child("nodePort"), why));
    }
    for (i, port) in ports.iter().enumerate() {
        let Some(wanted) = number(port) else { continue };
        let same = |other: &Value| number(other) == Some(wanted) && at(other, &["protocol"]) == at(port, &["protocol"]);
        if ports[..i].iter().any(same) {
            errors.push(FieldError::duplicate(&place.index(i).child("nodePort"), wanted));
        }
    }
    errors
}

/// Upstream shows its own struct, whose fields have no JSON names.
fn validate_same_ports(ports: &[Value]) -> FieldErrors {
    let place = SPEC.child("ports");
    let mut errors = FieldErrors::new();
    for (i, port) in ports.iter().enumerate() {
        let key = |port: &Value| (text(port, &["protocol"]).to_owned(), integer(port, &["port"]).unwrap_or_default());
        let (protocol, number) = key(port);
        if ports[..i].iter().any(|other| key(other) == key(port)) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}",
                quoted(&protocol)
            );
            errors.push(FieldError { value: shown, ..FieldError::duplicate(&place.index(i), number) });
        }
    }
    errors
}

fn validate_load_balancer(spec: &Value, of: &str) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let balances = of == "LoadBalancer";
    let only = "may only be used when `type` is 'LoadBalancer'";
    let place = SPEC.child("LoadBalancerSourceRanges");
    let ranges = list(spec, &["loadBalancerSourceRanges"]);
    if !ranges.is_empty() && !balances {
        errors.push(FieldError::forbidden(&place, only));
    }
    for (i, range) in ranges.iter().enumerate() {
        let range = range.as_str().unwrap_or_default().trim();
        if !is_cidr(range) {
            errors.push(FieldError::invalid(&place.index(i), range, CIDR));
        }
    }
    if !at(spec, &["allocateLoadBalancerNodePorts"]).is_null() && !balances {
        errors.push(FieldError::forbidden(&SPEC.child("allocateLoadBalancerNodePorts"), only));
    }
    match at(spec, &["loadBalancerClass"]).as_str() {
        Some(class) if balances => {
            errors.extend(invalid(&SPEC.child("loadBalancerClass"), class, names::qualified_name));
        }
        Some(_) => errors.push(FieldError::forbidden(&SPEC.child("loadBalancerClass"), only)),
        None => {}
    }
    errors
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match address.parse::<std::net::IpAddr>() {
        Ok(address) if address.is_ipv4() => 32,
        Ok(_) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn validate_policies(service: &Value) -> FieldErrors {
    let spec = at(service, &["spec"]);
    let mut errors = FieldErrors::new();
    let path = SPEC.child("externalTrafficPolicy");
    match (is_external(service), text(spec, &["externalTrafficPolicy"])) {
        (true, "") => errors.push(FieldError::required(&path, "")),
        (true, policy) => errors.extend(one_of(policy, &POLICIES, &path)),
        (false, "") => {}
        (false, policy) => {
            errors.push(FieldError::invalid(&path, policy, "may only be set for externally-accessible services"));
        }
    }
    let checked = integer(spec, &["healthCheckNodePort"]).unwrap_or_default();
    if checked != 0 && !needs_health_check(service) {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid(&SPEC.child("healthCheckNodePort"), checked, why));
    }
    if let Some(policy) = at(spec, &["internalTrafficPolicy"]).as_str() {
        errors.extend(one_of(policy, &POLICIES, &SPEC.child("internalTrafficPolicy")));
    }
    if let Some(wish) = at(spec, &["trafficDistribution"]).as_str() {
        let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        errors.extend(one_of(wish, &known, &SPEC.child("trafficDistribution")));
    }
    errors
}

/// Its address stays, as long as it needs one.
pub fn validate_update(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let is_named = [new, old].iter().any(|service| type_of(service) == "ExternalName");
    let addresses = |service| list(service, &["spec", "clusterIPs"]);
    let is_moved = addresses(new).first() != addresses(old).first() && !addresses(old).is_empty();
    if !is_named && is_moved {
        let shown = at(new, &["spec", "clusterIPs"]).clone();
        let why =
            if addresses(new).is_empty() { "primary clusterIP can not be unset" } else { "may not change once set" };
        errors.push(FieldError::invalid(&SPEC.child("clusterIPs").index(0), shown, why));
    }
    let class = |service| at(service, &["spec", "loadBalancerClass"]);
    if type_of(new) == "LoadBalancer" && type_of(old) == "LoadBalancer" && class(new) != class(old) {
        let path = SPEC.child("loadBalancerClass");
        errors.push(FieldError::invalid(&path, class(new).clone(), "may not change once set"));
    }
    let [checked, before] = [new, old].map(|service| integer(service, &["spec", "healthCheckNodePort"]));
    if needs_health_check(new) && needs_health_check(old) && checked != before {
        errors.push(FieldError::forbidden(&SPEC.child("healthCheckNodePort"), "field is immutable"));
    }
    errors.extend(validate(new));
    errors
}

/// Only a load balancer has one.
pub fn validate_status(new: &Value, _: &Value) -> FieldErrors {
    let status = Path::new("status");
    let balancer = status.child("loadBalancer");
    let path = balancer.child("ingress");
    let ingress = list(new, &["status", "loadBalancer", "ingress"]);
    if type_of(new) != "LoadBalancer" && !ingress.is_empty() {
        return vec![FieldError::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'")];
    }
    let mut errors = FieldErrors::new();
    for (i, one) in ingress.iter().enumerate() {
        let place = path.index(i);
        let (address, name, mode) = (text(one, &["ip"]), text(one, &["hostname"]), at(one, &["ipMode"]).as_str());
        if !address.is_empty() {
            errors.extend(invalid(&place.child("ip"), address, names::ip));
        }
        match mode {
            Some(_) if address.is_empty() => {
                errors.push(FieldError::forbidden(&place.child("ipMode"), "may not be specified when `ip` is not set"));
            }
            Some(mode) => errors.extend(one_of(mode, &["Proxy", "VIP"], &place.child("ipMode"))),
            None => {}
        }
        if !name.is_empty() {
            errors.extend(invalid(&place.child("hostname"), name, names::dns_subdomain));
        }
    }
    errors
}
