//! Which address and which ports of the nodes a service gets (upstream: `pkg/registry/core/service/storage/alloc.go`). Pure: who else has what
//! is an argument, and so is the chance by which one is chosen. There is one family of addresses, IPv4.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path, Status, kinds};
use serde_json::{Value, json};

use super::{is_headless, needs_address, needs_health_check, needs_node_ports};
use crate::metadata::names;
use crate::metadata::validation::invalid;
use crate::object::{at, field_mut, integer, items_mut, list, set, text};

const SPEC: Path<'static> = Path::new("spec");
/// Addresses of services: 10.96.0.0/16, as kubeadm's clusters have them. The first is kept for the API server.
const NETWORK: u32 = u32::from_be_bytes([10, 96, 0, 0]);
const ADDRESSES: std::ops::Range<u32> = 2..65_535;
/// The API server's, as an offset.
const API_SERVER: u32 = 1;
const IS_TAKEN: &str = "provided IP is already allocated";
/// Ports of nodes.
const PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

/// The service that stands for the API server; nobody else's may have its address.
pub const API_SERVICE: (&str, &str) = ("default", "kubernetes");

/// The API server's address.
pub fn api_server_address() -> Ipv4Addr {
    Ipv4Addr::from_bits(NETWORK + API_SERVER)
}

fn is_api_service(service: &Value) -> bool {
    let word = |field: &str| text(service, &["metadata", field]);
    (word("namespace"), word("name")) == API_SERVICE
}

/// Whether it has, or is to get, anything that no other may have.
pub fn concerns(service: &Value) -> bool {
    (needs_address(service) && !is_headless(service)) || needs_node_ports(service) || needs_health_check(service)
}

/// What a client has left out of an update: it keeps what it has.
pub fn keep(new: &mut Value, old: &Value) {
    if needs_address(old) && needs_address(new) {
        let spec = field_mut(new, "spec");
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let is_missing = match at(spec, &[field]) {
                Value::Null => true,
                Value::Array(items) => items.is_empty(),
                value => value == "",
            };
            if is_missing {
                set(spec, field, at(old, &["spec", field]).clone());
            }
        }
    }
    if needs_node_ports(old) && needs_node_ports(new) {
        keep_node_ports(new, old);
    }
    if needs_health_check(old) && needs_health_check(new) && health_check(new).is_none() {
        let kept = at(old, &["spec", "healthCheckNodePort"]).clone();
        set(field_mut(new, "spec"), "healthCheckNodePort", kept);
    }
    follow_first_address(new, old);
}

fn keep_node_ports(new: &mut Value, old: &Value) {
    let before = list(old, &["spec", "ports"]);
    let given: Vec<i64> = super::node_ports(new);
    for port in items_mut(field_mut(new, "spec"), "ports") {
        let same = |other: &&Value| text(other, &["name"]) == text(port, &["name"]);
        let kept = before.iter().find(same).and_then(|other| integer(other, &["nodePort"]));
        if let Some(kept) = kept.filter(|kept| *kept != 0 && !given.contains(kept))
            && integer(port, &["nodePort"]).unwrap_or_default() == 0
        {
            set(port, "nodePort", kept.into());
        }
    }
}

/// Old clients know one address only.
fn follow_first_address(new: &mut Value, old: &Value) {
    let of = |service: &Value, field: &str| at(service, &["spec", field]).clone();
    if of(new, "clusterIP") != of(old, "clusterIP") && of(new, "clusterIPs") == of(old, "clusterIPs") {
        let first = match text(new, &["spec", "clusterIP"]) {
            "" => Value::Null,
            address => json!([address]),
        };
        set(field_mut(new, "spec"), "clusterIPs", first);
    }
}

fn health_check(service: &Value) -> Option<i64> {
    integer(service, &["spec", "healthCheckNodePort"]).filter(|port| *port != 0)
}

/// Gives a service what it needs and does not have. `others` are all other services; `chance` is any number.
///
/// # Errors
/// 422 if what it asks for is taken or is not to be had.
pub fn allocate(service: &mut Value, others: &[Value], chance: u64) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    complete_addresses(service);
    if needs_address(service) {
        complete_families(service);
        errors = validate_addresses(service);
        if errors.is_empty() {
            errors.extend(missing_family(service));
        }
    }
    if errors.is_empty() {
        errors.extend(take_address(service, others, chance));
    }
    if errors.is_empty() {
        errors.extend(take_ports(service, others, chance));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => {
            let kind = kinds::core("services");
            Err(Status::invalid(kind.qualified(), text(service, &["metadata", "name"]), &errors))
        }
    }
}

fn complete_addresses(service: &mut Value) {
    let first = text(service, &["spec", "clusterIP"]).to_owned();
    if list(service, &["spec", "clusterIPs"]).is_empty() && !first.is_empty() {
        set(field_mut(service, "spec"), "clusterIPs", json!([first]));
    }
}

fn complete_families(service: &mut Value) {
    let is_free = is_headless(service) && at(service, &["spec", "selector"]).is_null();
    let spec = field_mut(service, "spec");
    // What selects nothing may lead anywhere.
    if is_free && at(spec, &["ipFamilyPolicy"]).is_null() && list(spec, &["ipFamilies"]).is_empty() {
        set(spec, "ipFamilyPolicy", "RequireDualStack".into());
        set(spec, "ipFamilies", json!(["IPv4", "IPv6"]));
    }
    if list(spec, &["ipFamilies"]).is_empty() {
        set(spec, "ipFamilies", json!(["IPv4"]));
    }
    if at(spec, &["ipFamilyPolicy"]).is_null() {
        set(spec, "ipFamilyPolicy", "SingleStack".into());
    }
}

/// One family is all that there is; a service without addresses may name two.
fn missing_family(service: &Value) -> FieldErrors {
    let is_free = is_headless(service) && at(service, &["spec", "selector"]).is_null();
    if is_free {
        return FieldErrors::new();
    }
    let mut errors = FieldErrors::new();
    let policy = text(service, &["spec", "ipFamilyPolicy"]);
    if policy == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid(&SPEC.child("ipFamilyPolicy"), policy, why));
    }
    let place = SPEC.child("ipFamilies");
    for (i, family) in list(service, &["spec", "ipFamilies"]).iter().enumerate().filter(|(_, f)| *f == "IPv6") {
        errors.push(FieldError::invalid(&place.index(i), family.clone(), "not configured on this cluster"));
    }
    errors
}

/// Addresses and families by themselves.
pub fn validate_addresses(service: &Value) -> FieldErrors {
    if super::type_of(service) == "ExternalName" {
        return FieldErrors::new();
    }
    let spec = at(service, &["spec"]);
    let place = SPEC.child("clusterIPs");
    let addresses = list(spec, &["clusterIPs"]);
    let mut errors = FieldErrors::new();
    let shown = || at(spec, &["clusterIPs"]).clone();
    match (text(spec, &["clusterIP"]), addresses.first()) {
        ("", Some(_)) => {
            errors.push(FieldError::invalid(&place, shown(), "must be empty when `clusterIP` is not specified"));
        }
        (first, Some(other)) if other != first => {
            errors.push(FieldError::invalid(&place, shown(), "first value must match `clusterIP`"));
        }
        _ => {}
    }
    let families = list(spec, &["ipFamilies"]);
    for (i, family) in families.iter().enumerate() {
        let path = SPEC.child("ipFamilies");
        let word = family.as_str().unwrap_or_default();
        if !["IPv4", "IPv6"].contains(&word) {
            errors.push(FieldError::not_supported(&path.index(i), word, &["IPv4", "IPv6"]));
        }
        if families[..i].contains(family) {
            errors.push(FieldError::duplicate(&path.index(i), word));
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if let Some(policy) = at(spec, &["ipFamilyPolicy"]).as_str().filter(|policy| !policies.contains(policy)) {
        errors.push(FieldError::not_supported(&SPEC.child("ipFamilyPolicy"), policy, &policies));
    }
    for (i, address) in addresses.iter().enumerate() {
        match address.as_str().unwrap_or_default() {
            "None" if i == 0 && addresses.len() == 1 => {}
            "None" if i == 0 => {
                errors.push(FieldError::invalid(&place, shown(), "'None' must be the first and only value"));
            }
            address => errors.extend(invalid(&place.index(i), address, names::ip)),
        }
    }
    if addresses.len() > 2 {
        errors.push(FieldError::invalid(&place, shown(), "may only hold up to 2 values"));
    }
    if errors.is_empty() && addresses.len() == 2 {
        let is_v4 = |address: &Value| address.as_str().is_some_and(|text| text.parse::<Ipv4Addr>().is_ok());
        if is_v4(&addresses[0]) == is_v4(&addresses[1]) {
            errors.push(FieldError::invalid(&place, shown(), "may specify no more than one IP for each IP family"));
        }
    }
    errors
}

fn take_address(service: &mut Value, others: &[Value], chance: u64) -> FieldErrors {
    if !needs_address(service) || is_headless(service) {
        return FieldErrors::new();
    }
    let taken: BTreeSet<&str> =
        others.iter().flat_map(|other| list(other, &["spec", "clusterIPs"])).filter_map(Value::as_str).collect();
    let path = SPEC.child("clusterIPs");
    let refuse = |shown: Value, why: String| vec![FieldError::invalid(&path, shown, why)];
    let wanted = list(service, &["spec", "clusterIPs"]).first().and_then(Value::as_str);
    if let Some(wanted) = wanted {
        let refused = refused_address(wanted, &taken, is_api_service(service));
        let shown = || at(service, &["spec", "clusterIPs"]).clone();
        return refused
            .map(|why| refuse(shown(), format!("failed to allocate IP {wanted}: {why}")))
            .unwrap_or_default();
    }
    let address = |offset: u32| Ipv4Addr::from_bits(NETWORK + offset).to_string();
    match pick(u64::from(ADDRESSES.end - ADDRESSES.start), chance, |offset| {
        let offset = ADDRESSES.start + u32::try_from(offset).unwrap_or_default();
        Some(address(offset)).filter(|address| !taken.contains(address.as_str()))
    }) {
        Some(found) => {
            let spec = field_mut(service, "spec");
            set(spec, "clusterIP", found.clone().into());
            set(spec, "clusterIPs", json!([found]));
            FieldErrors::new()
        }
        None => refuse(Value::Null, "failed to allocate a serviceIP: range is full".to_owned()),
    }
}

/// Why a service cannot have the address that it asks for. The network itself and its broadcast are nobody's.
fn refused_address(wanted: &str, taken: &BTreeSet<&str>, is_api_service: bool) -> Option<String> {
    let address = wanted.parse().ok().filter(|address: &Ipv4Addr| address.to_bits() >> 16 == NETWORK >> 16);
    let Some(address) = address else {
        return Some("the provided network does not match the current range".to_owned());
    };
    match address.to_bits() - NETWORK {
        0 | 65_535 => {
            let range = "The range of valid IPs is 10.96.0.0/16";
            Some(format!("the provided IP ({wanted}) is not in the valid range. {range}"))
        }
        API_SERVER => (!is_api_service).then(|| IS_TAKEN.to_owned()),
        _ => taken.contains(wanted).then(|| IS_TAKEN.to_owned()),
    }
}

/// The first that fits, from a place that chance names.
fn pick<T>(count: u64, chance: u64, fits: impl Fn(u64) -> Option<T>) -> Option<T> {
    let start = chance % count;
    (0..count).find_map(|step| fits((start + step) % count))
}

fn take_ports(service: &mut Value, others: &[Value], chance: u64) -> FieldErrors {
    let (on_nodes, is_checked) = (needs_node_ports(service), needs_health_check(service));
    if !on_nodes && !is_checked {
        return FieldErrors::new();
    }
    // One that several protocols share counts once for each.
    let of = |other: &Value| -> Vec<i64> { super::node_ports(other).into_iter().chain(health_check(other)).collect() };
    let taken: BTreeSet<i64> = others.iter().flat_map(of).collect();
    let errors = refused_ports(service, &taken);
    if !errors.is_empty() {
        return errors;
    }
    let mut own: BTreeSet<i64> = of(service).into_iter().collect();
    let mut next = || {
        let count = u64::try_from(PORTS.end() - PORTS.start() + 1).unwrap_or_default();
        let found = pick(count, chance, |step| {
            let port = PORTS.start() + i64::try_from(step).unwrap_or_default();
            (!taken.contains(&port) && !own.contains(&port)).then_some(port)
        })?;
        own.insert(found);
        Some(found)
    };
    let needs_check = is_checked && health_check(service).is_none();
    let (place, spec) = (SPEC.child("ports"), field_mut(service, "spec"));
    let unset = |port: &&mut Value| on_nodes && integer(port, &["nodePort"]).unwrap_or_default() == 0;
    for port in items_mut(spec, "ports").filter(unset) {
        match next() {
            Some(found) => set(port, "nodePort", found.into()),
            None => return vec![FieldError::internal(&place, "failed to allocate a nodePort: range is full")],
        }
    }
    if needs_check {
        match next() {
            Some(found) => set(spec, "healthCheckNodePort", found.into()),
            None => {
                let why = "failed to allocate a HealthCheck NodePort: range is full";
                return vec![FieldError::internal(&SPEC.child("healthCheckNodePort"), why)];
            }
        }
    }
    FieldErrors::new()
}

/// Ports that are asked for and not to be had; that of health checks is one of them, also where the service has no others on nodes.
fn refused_ports(service: &Value, taken: &BTreeSet<i64>) -> FieldErrors {
    let refuse = |path: &Path<'_>, wanted: i64| {
        let why = match (PORTS.contains(&wanted), taken.contains(&wanted)) {
            (false, _) => "provided port is not in the valid range. The range of valid ports is 30000-32767",
            (true, true) => "provided port is already allocated",
            (true, false) => return None,
        };
        Some(FieldError::invalid(path, wanted, why))
    };
    let (place, ports) = (SPEC.child("ports"), list(service, &["spec", "ports"]));
    let given = |port: &Value| integer(port, &["nodePort"]).filter(|wanted| *wanted != 0);
    let own = super::node_ports(service);
    let of_ports =
        ports.iter().enumerate().filter_map(|(i, port)| refuse(&place.index(i).child("nodePort"), given(port)?));
    let check = health_check(service).filter(|_| needs_health_check(service));
    let path = SPEC.child("healthCheckNodePort");
    let of_check = check.and_then(|wanted| match own.contains(&wanted) {
        true => Some(FieldError::invalid(&path, wanted, "provided port is already allocated")),
        false => refuse(&path, wanted),
    });
    of_ports.chain(of_check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "s"}, "spec": spec})
    }

    fn check(spec: Value, others: &[Value], field: &str, expected: Value) {
        let mut made = service(spec);
        allocate(&mut made, others, 3).unwrap();
        assert_eq!(*made.pointer(field).unwrap_or(&Value::Null), expected, "{made}");
    }

    #[test]
    fn each_service_gets_what_nobody_else_has() {
        let first = service(json!({"type": "ClusterIP", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"]}));
        check(json!({"type": "ClusterIP"}), &[], "/spec/clusterIP", json!("10.96.0.5"));
        check(json!({"type": "ClusterIP"}), std::slice::from_ref(&first), "/spec/clusterIPs", json!(["10.96.0.6"]));
        check(
            json!({"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}}),
            &[],
            "/spec/clusterIPs",
            json!(["None"]),
        );
        check(json!({"type": "ExternalName"}), &[], "/spec/clusterIP", Value::Null);
        let ports = json!([{"port": 1, "nodePort": 30_003}, {"port": 2}]);
        check(json!({"type": "NodePort", "ports": ports}), &[], "/spec/ports/1/nodePort", json!(30_004));
        let local = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 1}]});
        check(local, &[], "/spec/healthCheckNodePort", json!(30_004));
    }

    fn refuses(spec: Value, others: &[Value], expected: &str) {
        let status = allocate(&mut service(spec), others, 3).unwrap_err();
        assert!(status.message.contains(expected), "{}", status.message);
    }

    #[test]
    fn the_port_of_health_checks_is_a_port_like_others() {
        let local = |port: i64| {
            let ports = json!([{"port": 1, "nodePort": 30_009}]);
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port, "ports": ports})
        };
        let other = service(json!({"type": "NodePort", "ports": [{"nodePort": 30_005}]}));
        let others = std::slice::from_ref(&other);
        refuses(
            local(80),
            others,
            "spec.healthCheckNodePort: Invalid value: 80: provided port is not in the valid range",
        );
        refuses(
            local(30_005),
            others,
            "spec.healthCheckNodePort: Invalid value: 30005: provided port is already allocated",
        );
        refuses(
            local(30_009),
            others,
            "spec.healthCheckNodePort: Invalid value: 30009: provided port is already allocated",
        );
        check(local(30_006), others, "/spec/healthCheckNodePort", json!(30_006));
        let mut without = local(0);
        without["allocateLoadBalancerNodePorts"] = false.into();
        without["ports"] = json!([{"port": 1}]);
        assert!(concerns(&service(without.clone())));
        check(without.clone(), others, "/spec/healthCheckNodePort", json!(30_003));
        check(without.clone(), others, "/spec/ports/0/nodePort", Value::Null);
        without["healthCheckNodePort"] = 80.into();
        refuses(without, others, "spec.healthCheckNodePort: Invalid value: 80");
    }

    #[test]
    fn an_address_that_is_asked_for_is_one_that_services_have() {
        let spec =
            |addresses: &[&str]| json!({"type": "ClusterIP", "clusterIP": addresses[0], "clusterIPs": addresses});
        for (addresses, expected) in [
            (
                &["10.96.0.0"][..],
                "the provided IP (10.96.0.0) is not in the valid range. The range of valid IPs is 10.96.0.0/16",
            ),
            (&["10.96.255.255"], "failed to allocate IP 10.96.255.255: the provided IP"),
            (&["10.96.0.1"], "failed to allocate IP 10.96.0.1: provided IP is already allocated"),
            (&["10.97.0.2"], "the provided network does not match the current range"),
            (&["10.96.0.5", "10.96.0.6"], "may specify no more than one IP for each IP family"),
            (&["10.96.0.5", "10.96.0.5"], "may specify no more than one IP for each IP family"),
        ] {
            refuses(spec(addresses), &[], expected);
        }
        let mut api = json!({"metadata": {"namespace": "default", "name": "kubernetes"}, "spec": spec(&["10.96.0.1"])});
        allocate(&mut api, &[], 3).unwrap();
        assert_eq!(api["spec"]["clusterIP"], api_server_address().to_string());
        check(spec(&["10.96.255.254"]), &[], "/spec/clusterIP", json!("10.96.255.254"));
    }

    #[test]
    fn an_update_keeps_what_it_leaves_out() {
        let old = service(json!({
            "type": "NodePort", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "a", "nodePort": 30_001}],
        }));
        let mut new = service(json!({"type": "NodePort", "ports": [{"name": "a"}, {"name": "b"}]}));
        keep(&mut new, &old);
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.96.0.5"]));
        assert_eq!(new["spec"]["ports"], json!([{"name": "a", "nodePort": 30_001}, {"name": "b"}]));
    }

    #[test]
    fn a_range_that_is_full_has_nothing_left() {
        assert_eq!(pick(3, 2, |at| (at == 1).then_some(at)), Some(1));
        assert_eq!(pick(3, 2, |_| None::<u64>), None);
    }
}
