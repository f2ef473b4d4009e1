//! What is to be written about what is behind a service. Pure.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use remora_model::{Kind, kinds};
use remora_rules::object::{at, flag, list, set, text};
use serde_json::{Map, Value, json};

use crate::objects::{controller_reference, owners};
use crate::pods::{has_ended, is_ready};

/// Of one slice; upstream's default.
const MOST_ENDPOINTS: usize = 100;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
const SLICE_MANAGED_BY: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");

/// What is to be done to one object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    Create(Value),
    Replace(Value),
    Delete(Value),
}

/// What a namespace has.
pub(super) struct Seen {
    pub(super) services: Vec<Value>,
    pub(super) pods: Vec<Value>,
    /// By the services that they say they are of: who has many services is not to look through all slices for each.
    slices: HashMap<String, Vec<Value>>,
    /// By name.
    endpoints: HashMap<String, Value>,
}

impl Seen {
    pub(super) fn new(services: Vec<Value>, pods: Vec<Value>, slices: Vec<Value>, endpoints: Vec<Value>) -> Self {
        let mut by_service: HashMap<String, Vec<Value>> = HashMap::new();
        for slice in slices {
            by_service.entry(text(&slice, &["metadata", "labels", SERVICE_NAME]).to_owned()).or_default().push(slice);
        }
        let endpoints = endpoints.into_iter().map(|of| (name_of(&of).to_owned(), of)).collect();
        Self { services, pods, slices: by_service, endpoints }
    }

    pub(super) fn slices_of(&self, service: &Value) -> &[Value] {
        self.slices.get(name_of(service)).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn endpoints_of(&self, service: &Value) -> Option<&Value> {
        self.endpoints.get(name_of(service))
    }

    /// Endpoints that were written here for services that are there no more: those went while nobody looked. What users wrote is theirs.
    pub(super) fn leftovers(&self) -> impl Iterator<Item = &Value> {
        let names: HashSet<&str> = self.services.iter().map(name_of).collect();
        let (key, manager) = MANAGED_BY;
        let is_ours = move |of: &&Value| text(of, &["metadata", "labels", key]) == manager;
        self.endpoints.values().filter(is_ours).filter(move |of| !names.contains(name_of(of)))
    }
}

fn name_of(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

/// Whether what is behind it is found by a selector: else its author writes that down.
pub(super) fn is_selecting(service: &Value) -> bool {
    let selector = at(service, &["spec", "selector"]).as_object();
    text(service, &["spec", "type"]) != "ExternalName" && selector.is_some_and(|selector| !selector.is_empty())
}

/// The pods that it selects and that have not ended, in an order that stays.
pub(super) fn selected<'p>(service: &Value, pods: &'p [Value]) -> Vec<&'p Value> {
    let selector = at(service, &["spec", "selector"]).as_object();
    let is_meant = |pod: &&Value| {
        let labels = at(pod, &["metadata", "labels"]);
        selector.is_some_and(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
    };
    let mut found: Vec<&Value> = pods.iter().filter(is_meant).filter(|pod| !has_ended(pod)).collect();
    let name = |pod: &'p Value| text(pod, &["metadata", "name"]);
    found.sort_by(|a, b| name(a).cmp(name(b)));
    found
}

fn is_headless(service: &Value) -> bool {
    matches!(text(service, &["spec", "clusterIP"]), "" | "None")
}

/// Whether pods count that are not ready, or that go.
fn publishes_all(service: &Value) -> bool {
    flag(service, &["spec", "publishNotReadyAddresses"])
}

fn is_going(pod: &Value) -> bool {
    !at(pod, &["metadata", "deletionTimestamp"]).is_null()
}

/// The pod's addresses of a family (`IPv4`, `IPv6`), as they are usually written.
fn addresses(pod: &Value, family: &str) -> Vec<String> {
    let listed = list(pod, &["status", "podIPs"]).iter().map(|entry| text(entry, &["ip"]));
    let parsed = listed.filter_map(|address| address.parse::<IpAddr>().ok());
    parsed.filter(|address| address.is_ipv6() == (family == "IPv6")).map(|address| address.to_string()).collect()
}

/// Where the service's ports are at this pod, as slices have them. One whose name the pod does not have is left out.
fn ports(service: &Value, pod: &Value) -> Vec<Value> {
    let found = list(service, &["spec", "ports"]).iter().filter_map(|port| {
        let mut out = json!({"name": text(port, &["name"]), "port": port_of(port, pod)?, "protocol": port["protocol"]});
        set(&mut out, "appProtocol", at(port, &["appProtocol"]).clone());
        Some(out)
    });
    found.collect()
}

fn port_of(port: &Value, pod: &Value) -> Option<i64> {
    let name = match at(port, &["targetPort"]) {
        Value::String(name) => name,
        number => return number.as_i64(),
    };
    let is_sidecar = |container: &&Value| text(container, &["restartPolicy"]) == "Always";
    let containers = list(pod, &["spec", "containers"]).iter();
    let all = containers.chain(list(pod, &["spec", "initContainers"]).iter().filter(is_sidecar));
    let mut ports = all.flat_map(|container| list(container, &["ports"]));
    let found = ports.find(|of| text(of, &["name"]) == name && of["protocol"] == port["protocol"]);
    found.and_then(|of| of["containerPort"].as_i64())
}

fn reference(pod: &Value) -> Value {
    let field = |name: &str| at(pod, &["metadata", name]).clone();
    json!({"kind": "Pod", "namespace": field("namespace"), "name": field("name"), "uid": field("uid")})
}

/// What both forms say of a pod besides its addresses and how it is.
fn describe(endpoint: &mut Value, service: &Value, pod: &Value) {
    let node = at(pod, &["spec", "nodeName"]);
    set(endpoint, "nodeName", node.clone());
    set(endpoint, "targetRef", reference(pod));
    let hostname = text(pod, &["spec", "hostname"]);
    if !hostname.is_empty() && text(pod, &["spec", "subdomain"]) == text(service, &["metadata", "name"]) {
        set(endpoint, "hostname", hostname.into());
    }
}

/// The service's labels, but for those that say who wrote this.
fn labels(service: &Value, ours: &[(&str, &str)]) -> Value {
    let mut labels = at(service, &["metadata", "labels"]).as_object().cloned().unwrap_or_else(Map::new);
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), "".into());
    }
    labels.extend(ours.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())));
    Value::Object(labels)
}

/// What is to be done to the service's slices. Endpoints stay in the slice that they are in.
pub(super) fn slices(service: &Value, pods: &[&Value], written: &[Value]) -> Vec<Write> {
    let name = text(service, &["metadata", "name"]);
    let (key, manager) = SLICE_MANAGED_BY;
    let labels = labels(service, &[(SERVICE_NAME, name), SLICE_MANAGED_BY]);
    let is_ours = |slice: &&Value| {
        let label = |key: &str| text(slice, &["metadata", "labels", key]).to_owned();
        label(SERVICE_NAME) == name
            && label(key) == manager
            && !is_going(slice)
            && owners(slice).iter().any(|owner| owner["uid"] == service["metadata"]["uid"])
    };
    let mut left: Vec<&Value> = written.iter().filter(is_ours).collect();
    let mut writes = Vec::new();
    for family in list(service, &["spec", "ipFamilies"]).iter().filter_map(Value::as_str) {
        for (ports, endpoints) in groups(service, pods, family) {
            let is_like = |slice: &&Value| text(slice, &["addressType"]) == family && list(slice, &["ports"]) == ports;
            let (there, others): (Vec<&Value>, Vec<&Value>) = left.into_iter().partition(is_like);
            left = others;
            for (slice, endpoints) in fill(there, endpoints) {
                writes.extend(match slice {
                    None => Some(Write::Create(new_slice(service, &labels, family, &ports, &endpoints))),
                    Some(slice) if endpoints.is_empty() && !is_placeholder(&endpoints, &ports) => {
                        Some(Write::Delete(slice.clone()))
                    }
                    Some(slice) => changed(slice, &labels, "endpoints", &endpoints).map(Write::Replace),
                });
            }
        }
    }
    writes.extend(left.into_iter().map(|slice| Write::Delete(slice.clone())));
    writes
}

/// The slice that says that there is nothing.
fn is_placeholder(endpoints: &[Value], ports: &[Value]) -> bool {
    endpoints.is_empty() && ports.is_empty()
}

/// The endpoints of a family, by their ports; if there are none at all, nothing that has no ports.
fn groups(service: &Value, pods: &[&Value], family: &str) -> Vec<(Vec<Value>, Vec<Value>)> {
    let mut groups: Vec<(Vec<Value>, Vec<Value>)> = Vec::new();
    for pod in pods {
        let addresses = addresses(pod, family);
        if addresses.is_empty() {
            continue;
        }
        let (serving, terminating) = (is_ready(pod), is_going(pod));
        let ready = publishes_all(service) || (serving && !terminating);
        let conditions = json!({"ready": ready, "serving": serving, "terminating": terminating});
        let mut endpoint = json!({"addresses": addresses, "conditions": conditions});
        describe(&mut endpoint, service, pod);
        let ports = ports(service, pod);
        match groups.iter_mut().find(|(of, _)| *of == ports) {
            Some((_, endpoints)) => endpoints.push(endpoint),
            None => groups.push((ports, vec![endpoint])),
        }
    }
    if groups.is_empty() {
        groups.push(Default::default());
    }
    groups
}

/// Which slice has which endpoints: those that are there keep what they have and take what comes, the rest go to new ones.
fn fill(there: Vec<&Value>, mut wanted: Vec<Value>) -> Vec<(Option<&Value>, Vec<Value>)> {
    let uid = |endpoint: &Value| text(endpoint, &["targetRef", "uid"]).to_owned();
    let mut filled: Vec<(Option<&Value>, Vec<Value>)> = Vec::new();
    for slice in there {
        let mut kept = Vec::new();
        for old in list(slice, &["endpoints"]) {
            if let Some(at) = wanted.iter().position(|endpoint| uid(endpoint) == uid(old)) {
                kept.push(wanted.remove(at));
            }
        }
        filled.push((Some(slice), kept));
    }
    for (_, endpoints) in &mut filled {
        let room = MOST_ENDPOINTS.saturating_sub(endpoints.len()).min(wanted.len());
        endpoints.extend(wanted.drain(..room));
    }
    filled.extend(wanted.chunks(MOST_ENDPOINTS).map(|endpoints| (None, endpoints.to_vec())));
    if filled.is_empty() {
        filled.push((None, Vec::new()));
    }
    filled
}

fn new_slice(service: &Value, labels: &Value, family: &str, ports: &[Value], endpoints: &[Value]) -> Value {
    let kind = kinds::v1("discovery.k8s.io", "endpointslices");
    json!({
        "kind": kind.kind, "apiVersion": kind.api_version(),
        "metadata": {
            "generateName": format!("{}-", text(service, &["metadata", "name"])),
            "namespace": at(service, &["metadata", "namespace"]),
            "labels": labels,
            "ownerReferences": [controller_reference(kinds::core("services"), service)],
        },
        "addressType": family, "ports": ports, "endpoints": endpoints,
    })
}

/// The object with these labels and entries, if it has others.
fn changed(object: &Value, labels: &Value, field: &str, entries: &[Value]) -> Option<Value> {
    if at(object, &["metadata", "labels"]) == labels && list(object, &[field]) == entries {
        return None;
    }
    let mut new = object.clone();
    set(&mut new["metadata"], "labels", labels.clone());
    set(&mut new, field, entries.into());
    Some(new)
}

/// What is to be done to the service's Endpoints.
pub(super) fn endpoints(service: &Value, pods: &[&Value], written: Option<&Value>) -> Option<Write> {
    let kind: &Kind = kinds::core("endpoints");
    let labels = labels(service, &[MANAGED_BY]);
    let subsets = subsets(service, pods);
    let Some(written) = written else {
        let metadata = json!({"name": service["metadata"]["name"], "namespace": service["metadata"]["namespace"], "labels": labels});
        let new =
            json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata, "subsets": subsets});
        return Some(Write::Create(new));
    };
    changed(written, &labels, "subsets", &subsets).map(Write::Replace)
}

/// An address of Endpoints, and whether it is ready.
type Address = (Value, bool);

/// Ports that the same addresses offer stand together.
fn subsets(service: &Value, pods: &[&Value]) -> Vec<Value> {
    let mut by_port: Vec<(Option<Value>, Vec<Address>)> = Vec::new();
    for pod in pods {
        let Some(address) = address(service, pod) else { continue };
        let is_portless = list(service, &["spec", "ports"]).is_empty() && is_headless(service);
        let named = ports(service, pod).into_iter().map(|mut port| {
            if text(&port, &["name"]).is_empty() {
                set(&mut port, "name", Value::Null);
            }
            Some(port)
        });
        for port in named.chain(is_portless.then_some(None)) {
            match by_port.iter_mut().find(|(of, _)| *of == port) {
                Some((_, addresses)) => addresses.push(address.clone()),
                None => by_port.push((port, vec![address.clone()])),
            }
        }
    }
    let mut by_addresses: Vec<(Vec<Address>, Vec<Value>)> = Vec::new();
    for (port, addresses) in by_port {
        match by_addresses.iter_mut().find(|(of, _)| *of == addresses) {
            Some((_, ports)) => ports.extend(port),
            None => by_addresses.push((addresses, port.into_iter().collect())),
        }
    }
    by_addresses.into_iter().map(|(addresses, ports)| subset(addresses, ports)).collect()
}

fn subset(mut addresses: Vec<Address>, ports: Vec<Value>) -> Value {
    addresses.sort_by_key(|(address, _)| text(address, &["ip"]).to_owned());
    let of = |wanted: bool| -> Vec<Value> {
        addresses.iter().filter(|(_, ready)| *ready == wanted).map(|(address, _)| address.clone()).collect()
    };
    let mut out = json!({});
    for (field, entries) in [("addresses", of(true)), ("notReadyAddresses", of(false)), ("ports", ports)] {
        if !entries.is_empty() {
            set(&mut out, field, entries.into());
        }
    }
    out
}

/// The pod's address of the service's first family; none of a pod that goes, unless the service shows all.
fn address(service: &Value, pod: &Value) -> Option<Address> {
    if is_going(pod) && !publishes_all(service) {
        return None;
    }
    let family = list(service, &["spec", "ipFamilies"]).first().and_then(Value::as_str)?;
    let mut address = json!({"ip": addresses(pod, family).into_iter().next()?});
    describe(&mut address, service, pod);
    Some((address, publishes_all(service) || is_ready(pod)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(ports: Value) -> Value {
        json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "s", "labels": {"team": "x"}},
            "spec": {
                "selector": {"app": "web"}, "ports": ports, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "type": "ClusterIP",
            },
        })
    }

    fn pod(name: &str, address: &str, is_ready: bool) -> Value {
        let status = if is_ready { "True" } else { "False" };
        json!({
            "metadata": {"name": name, "namespace": "a", "uid": name, "labels": {"app": "web", "more": "x"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}]},
            "status": {"podIPs": [{"ip": address}], "conditions": [{"type": "Ready", "status": status}]},
        })
    }

    fn http() -> Value {
        json!([{"name": "", "port": 80, "targetPort": "http", "protocol": "TCP"}])
    }

    /// What the API would keep of a slice that was made.
    fn kept(write: &Write, name: &str) -> Value {
        let Write::Create(made) = write else { panic!("{write:?} makes nothing") };
        let mut kept = made.clone();
        kept["metadata"]["name"] = name.into();
        kept
    }

    #[test]
    fn pods_are_selected_by_all_labels_until_they_have_ended() {
        let mut ended = pod("c", "10.0.0.3", true);
        ended["status"]["phase"] = "Failed".into();
        let mut other = pod("d", "10.0.0.4", true);
        other["metadata"]["labels"] = json!({"more": "x"});
        let pods = [pod("b", "10.0.0.2", true), ended, other, pod("a", "10.0.0.1", true)];
        let names: Vec<&str> =
            selected(&service(http()), &pods).iter().map(|pod| text(pod, &["metadata", "name"])).collect();
        assert_eq!(names, ["a", "b"]);
        let mut external = service(http());
        external["spec"]["type"] = "ExternalName".into();
        assert!(is_selecting(&service(http())) && !is_selecting(&external) && !is_selecting(&json!({"spec": {}})));
    }

    #[test]
    fn endpoints_tell_ready_pods_from_others_and_have_the_pods_own_ports() {
        let (a, b) = (pod("a", "10.0.0.1", true), pod("b", "10.0.0.2", false));
        let Some(Write::Create(made)) = endpoints(&service(http()), &[&a, &b], None) else { panic!("nothing is made") };
        let address = |name: &str, ip: &str| json!({"ip": ip, "nodeName": "n", "targetRef": {"kind": "Pod", "namespace": "a", "name": name, "uid": name}});
        let expected = json!([{
            "addresses": [address("a", "10.0.0.1")], "notReadyAddresses": [address("b", "10.0.0.2")],
            "ports": [{"port": 8080, "protocol": "TCP"}],
        }]);
        assert_eq!(made["subsets"], expected);
        assert_eq!(
            made["metadata"]["labels"],
            json!({"team": "x", "endpoints.kubernetes.io/managed-by": "endpoint-controller"})
        );
        assert_eq!(endpoints(&service(http()), &[&a, &b], Some(&made)), None);
        let Some(Write::Replace(now)) = endpoints(&service(http()), &[&a], Some(&made)) else { panic!("no change") };
        assert_eq!(now["subsets"][0].get("notReadyAddresses"), None);
    }

    #[test]
    fn ports_that_the_same_pods_offer_stand_together() {
        let (a, mut b) = (pod("a", "10.0.0.1", true), pod("b", "10.0.0.2", true));
        b["spec"]["containers"][0]["ports"] = json!([]);
        let ports = json!([
            {"name": "x", "port": 1, "targetPort": 11, "protocol": "TCP"},
            {"name": "h", "port": 80, "targetPort": "http", "protocol": "TCP"},
            {"name": "y", "port": 2, "targetPort": 12, "protocol": "TCP"},
        ]);
        let subsets = subsets(&service(ports), &[&a, &b]);
        let shown = |subset: &Value| {
            let names = |field: &str, of: &str| -> Vec<String> {
                list(subset, &[field]).iter().map(|entry| text(entry, &[of]).to_owned()).collect()
            };
            (names("addresses", "ip").join(" "), names("ports", "name").join(" "))
        };
        let shown: Vec<_> = subsets.iter().map(shown).collect();
        assert_eq!(
            shown,
            [("10.0.0.1 10.0.0.2".to_owned(), "x y".to_owned()), ("10.0.0.1".to_owned(), "h".to_owned())]
        );
    }

    #[test]
    fn a_slice_says_of_each_pod_how_it_is_and_is_kept_while_that_is_so() {
        let (a, mut b) = (pod("a", "10.0.0.1", true), pod("b", "10.0.0.2", true));
        b["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z".into();
        let made = slices(&service(http()), &[&a, &b], &[]);
        let slice = kept(&made[0], "web-1");
        assert_eq!((made.len(), &slice["addressType"]), (1, &json!("IPv4")));
        assert_eq!(slice["ports"], json!([{"name": "", "port": 8080, "protocol": "TCP"}]));
        assert_eq!(slice["endpoints"][1]["conditions"], json!({"ready": false, "serving": true, "terminating": true}));
        assert_eq!(slices(&service(http()), &[&a, &b], std::slice::from_ref(&slice)), []);
        let c = pod("c", "10.0.0.3", false);
        let [Write::Replace(now)] = &slices(&service(http()), &[&c, &a], &[slice])[..] else { panic!("no change") };
        let names: Vec<&str> =
            list(now, &["endpoints"]).iter().map(|endpoint| text(endpoint, &["targetRef", "name"])).collect();
        assert_eq!(names, ["a", "c"]);
    }

    #[test]
    fn where_there_is_nothing_one_slice_says_so() {
        let made = slices(&service(http()), &[], &[]);
        let empty = kept(&made[0], "web-1");
        assert_eq!((&empty["ports"], &empty["endpoints"]), (&json!([]), &json!([])));
        assert_eq!(slices(&service(http()), &[], std::slice::from_ref(&empty)), []);
        let a = pod("a", "10.0.0.1", true);
        let full = slices(&service(http()), &[&a], std::slice::from_ref(&empty));
        let [Write::Create(_), Write::Delete(gone)] = &full[..] else { panic!("{full:?}") };
        assert_eq!(gone, &empty);
        let back = slices(&service(http()), &[], &[kept(&full[0], "web-2")]);
        assert!(matches!(&back[..], [Write::Create(_), Write::Delete(_)]), "{back:?}");
    }

    #[test]
    fn many_endpoints_fill_several_slices_and_what_others_wrote_is_left() {
        let pods: Vec<Value> = (0..250).map(|n| pod(&format!("p{n:03}"), &format!("10.0.1.{n}"), true)).collect();
        let all: Vec<&Value> = pods.iter().collect();
        let made = slices(&service(http()), &all, &[]);
        let mut written: Vec<Value> =
            made.iter().enumerate().map(|(n, write)| kept(write, &format!("web-{n}"))).collect();
        let counts: Vec<usize> = written.iter().map(|slice| list(slice, &["endpoints"]).len()).collect();
        assert_eq!(counts, [100, 100, 50]);
        let mut foreign = written[0].clone();
        foreign["metadata"]["labels"][SLICE_MANAGED_BY.0] = "me".into();
        let mut of_another = written[0].clone();
        of_another["metadata"]["ownerReferences"][0]["uid"] = "before".into();
        written.extend([foreign, of_another]);
        assert_eq!(slices(&service(http()), &all, &written), []);
        // One that has gone leaves room in its slice alone.
        let [Write::Replace(now)] = &slices(&service(http()), &all[1..], &written)[..] else { panic!("no change") };
        assert_eq!((&now["metadata"]["name"], list(now, &["endpoints"]).len()), (&json!("web-0"), 99));
    }

    #[test]
    fn a_headless_service_may_have_no_ports_and_show_all() {
        let mut headless = service(json!([]));
        headless["spec"]["clusterIP"] = "None".into();
        headless["spec"]["publishNotReadyAddresses"] = true.into();
        let mut a = pod("a", "10.0.0.1", false);
        a["spec"]["hostname"] = "one".into();
        a["spec"]["subdomain"] = "web".into();
        let Some(Write::Create(made)) = endpoints(&headless, &[&a], None) else { panic!("nothing is made") };
        assert_eq!(
            (&made["subsets"][0]["addresses"][0]["hostname"], made["subsets"][0].get("ports")),
            (&json!("one"), None)
        );
        assert_eq!(made["metadata"]["labels"][HEADLESS], "");
        let slice = kept(&slices(&headless, &[&a], &[])[0], "web-1");
        assert_eq!(slice["endpoints"][0]["conditions"], json!({"ready": true, "serving": false, "terminating": false}));
    }
}
