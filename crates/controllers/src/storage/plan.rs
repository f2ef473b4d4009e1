//! Which claim gets which volume, and what both say of it: pure. Each look yields, for each object, the next version of it that is to be written, if it is not as it should be;
//! written one after the other, the looks come to rest. Upstream: `pkg/controller/volume/persistentvolume`, `pv_controller.go`, whose order and annotations these are, since
//! other programs look for them.

use remora_model::kinds;
use remora_model::quantity::Quantity;
use remora_rules::kinds::storage_class::{LOCAL_PROVISIONER, default_of};
use remora_rules::object::{at, field_mut, list, remove, set, text};
use serde_json::{Value, json};

use crate::objects::selector_of;

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// All that is looked at.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) claims: Vec<Value>,
    pub(super) volumes: Vec<Value>,
    pub(super) classes: Vec<Value>,
    /// Names of claims, with their namespaces, that pods use.
    pub(super) used: Vec<(String, String)>,
}

/// Where volumes are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder that they are folders in.
    pub folder: String,
    /// The node that has it.
    pub node: String,
}

/// One thing to write.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Make a volume.
    Create(Value),
    /// This is a volume as it should be.
    Volume(Value),
    /// This is what a volume should say.
    VolumeStatus(Value),
    /// This is a claim as it should be.
    Claim(Value),
    /// This is what a claim should say.
    ClaimStatus(Value),
    /// People are told something of a claim.
    Tell(Tell),
}

impl Step {
    /// What people are told, if that is all.
    pub(super) fn tell(self) -> Option<Tell> {
        match self {
            Self::Tell(tell) => Some(tell),
            _ => None,
        }
    }
}

/// What people are told of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tell {
    pub(super) about: Value,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What is to be written now. No volume is given twice in one plan.
pub(super) fn plan(seen: &Seen, place: &Place) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut given: Vec<&str> = Vec::new();
    for claim in &seen.claims {
        match bound_volume(seen, claim) {
            Some(volume) => steps.extend(complete(claim, volume)),
            None if is_bound(claim) => steps.extend(lose(claim)),
            None => match choose(seen, claim, &given) {
                Choice::Volume(volume) => {
                    given.push(name(volume));
                    steps.push(Step::Volume(give(volume, claim)));
                }
                Choice::Make(class) => steps.push(Step::Create(make(claim, class, place))),
                Choice::Wait(reason, message) => steps.push(Step::Tell(Tell { about: claim.clone(), reason, message })),
            },
        }
    }
    for volume in &seen.volumes {
        steps.extend(take_back(seen, volume).or_else(|| volume_status(seen, volume)));
    }
    steps
}

enum Choice<'s> {
    Volume(&'s Value),
    Make(&'s Value),
    Wait(&'static str, String),
}

/// The volume that has been given to this very claim, which wants no other one by now.
fn bound_volume<'s>(seen: &'s Seen, claim: &Value) -> Option<&'s Value> {
    let uid = text(claim, &["metadata", "uid"]);
    let is_given = |volume: &&Value| text(volume, &["spec", "claimRef", "uid"]) == uid && !uid.is_empty();
    seen.volumes.iter().filter(is_given).find(|volume| !wants_another(claim, volume))
}

/// Its author named another volume after this one was given to it. What a claim names stays.
fn wants_another(claim: &Value, volume: &Value) -> bool {
    let wanted = text(claim, &["spec", "volumeName"]);
    !wanted.is_empty() && wanted != name(volume)
}

/// A volume that was given to a claim that wants another one is free again, if nobody but us gave it.
fn take_back(seen: &Seen, volume: &Value) -> Option<Step> {
    let uid = text(volume, &["spec", "claimRef", "uid"]);
    let is_ours = text(volume, &["metadata", "annotations", BOUND_BY_CONTROLLER]) == "yes";
    let claim = seen.claims.iter().find(|claim| text(claim, &["metadata", "uid"]) == uid && is_ours)?;
    wants_another(claim, volume).then(|| {
        let mut new = volume.clone();
        remove(field_mut(&mut new, "spec"), "claimRef");
        remove(field_mut(field_mut(&mut new, "metadata"), "annotations"), BOUND_BY_CONTROLLER);
        Step::Volume(new)
    })
}

fn is_bound(claim: &Value) -> bool {
    text(claim, &["metadata", "annotations", BIND_COMPLETED]) == "yes"
}

/// The claim says which volume it has, then that it has it.
fn complete(claim: &Value, volume: &Value) -> Option<Step> {
    if text(claim, &["spec", "volumeName"]) != name(volume) || !is_bound(claim) {
        let mut new = claim.clone();
        let by_us = text(claim, &["spec", "volumeName"]).is_empty();
        set(field_mut(&mut new, "spec"), "volumeName", name(volume).into());
        let annotations = field_mut(field_mut(&mut new, "metadata"), "annotations");
        set(annotations, BIND_COMPLETED, "yes".into());
        if by_us {
            set(annotations, BOUND_BY_CONTROLLER, "yes".into());
        }
        return Some(Step::Claim(new));
    }
    let status = json!({
        "phase": "Bound",
        "accessModes": at(volume, &["spec", "accessModes"]),
        "capacity": at(volume, &["spec", "capacity"]),
    });
    let mut new = claim.clone();
    for field in ["phase", "accessModes", "capacity"] {
        set(field_mut(&mut new, "status"), field, status[field].clone());
    }
    (new != *claim).then_some(Step::ClaimStatus(new))
}

/// Its volume is gone for good.
fn lose(claim: &Value) -> Option<Step> {
    let mut new = claim.clone();
    set(&mut new, "status", json!({"phase": "Lost"}));
    (text(claim, &["status", "phase"]) != "Lost").then_some(Step::ClaimStatus(new))
}

fn choose<'s>(seen: &'s Seen, claim: &Value, given: &[&str]) -> Choice<'s> {
    let free = |volume: &&Value| !given.contains(&name(volume)) && is_free_for(volume, claim);
    let wanted = text(claim, &["spec", "volumeName"]);
    if !wanted.is_empty() {
        let found = seen.volumes.iter().filter(free).find(|volume| name(volume) == wanted);
        return match found.map(|volume| (volume, mismatch(volume, claim))) {
            None => {
                let message = format!("volume {wanted:?} does not exist or is bound to another claim");
                Choice::Wait("FailedBinding", message)
            }
            Some((_, Some(why))) => {
                Choice::Wait("VolumeMismatch", format!("Cannot bind to requested volume {wanted:?}: {why}"))
            }
            Some((volume, None)) => Choice::Volume(volume),
        };
    }
    let class = class_of(seen, claim);
    let (namespace, claimed) = (text(claim, &["metadata", "namespace"]), name(claim));
    let waits = class.is_some_and(|class| text(class, &["volumeBindingMode"]) == "WaitForFirstConsumer");
    if waits
        && !seen.used.iter().any(|(in_namespace, used)| (in_namespace.as_str(), used.as_str()) == (namespace, claimed))
    {
        let message = "waiting for first consumer to be created before binding";
        return Choice::Wait("WaitForFirstConsumer", message.to_owned());
    }
    let fitting = seen.volumes.iter().filter(free).filter(|volume| fits(volume, claim));
    // One that was kept for it, else the smallest.
    let best = fitting.min_by_key(|volume| (at(volume, &["spec", "claimRef"]).is_null(), capacity(volume)));
    match (best, class) {
        (Some(volume), _) => Choice::Volume(volume),
        (None, Some(class)) if text(class, &["provisioner"]) == LOCAL_PROVISIONER => made_here(claim, class),
        (None, Some(class)) => Choice::Wait("ExternalProvisioning", waiting_for(class)),
        (None, None) if text(claim, &["spec", "storageClassName"]).is_empty() => {
            let message = "no persistent volumes available for this claim and no storage class is set";
            Choice::Wait("FailedBinding", message.to_owned())
        }
        (None, None) => {
            let message =
                format!("storageclass.storage.k8s.io {:?} not found", text(claim, &["spec", "storageClassName"]));
            Choice::Wait("ProvisioningFailed", message)
        }
    }
}

/// A folder of the node is what we make, and no device.
fn made_here<'s>(claim: &Value, class: &'s Value) -> Choice<'s> {
    if text(claim, &["spec", "volumeMode"]) != "Block" {
        return Choice::Make(class);
    }
    let message = format!(
        "failed to provision volume with StorageClass {:?}: {LOCAL_PROVISIONER} does not support block volume provisioning",
        name(class)
    );
    Choice::Wait("ProvisioningFailed", message)
}

fn waiting_for(class: &Value) -> String {
    format!(
        "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.",
        text(class, &["provisioner"])
    )
}

/// A claim that names no class at all has the default one, if there is one by now.
fn class_of<'s>(seen: &'s Seen, claim: &Value) -> Option<&'s Value> {
    match at(claim, &["spec", "storageClassName"]).as_str() {
        None => default_of(&seen.classes),
        Some(wanted) => seen.classes.iter().find(|class| name(class) == wanted),
    }
}

/// Nobody has it, or it is kept for this claim.
fn is_free_for(volume: &Value, claim: &Value) -> bool {
    let kept_for = at(volume, &["spec", "claimRef"]);
    let is_ours = || {
        let same = |field: &str| text(kept_for, &[field]) == text(claim, &["metadata", field]);
        same("namespace") && same("name") && text(kept_for, &["uid"]).is_empty()
    };
    at(volume, &["metadata", "deletionTimestamp"]).is_null() && (kept_for.is_null() || is_ours())
}

/// Whether it is what the claim asks for.
fn fits(volume: &Value, claim: &Value) -> bool {
    let is_selected = || {
        at(claim, &["spec", "selector"]).is_null()
            || selector_of(claim).is_some_and(|selector| selector.matches(at(volume, &["metadata", "labels"])))
    };
    lack(volume, claim).is_none() && is_selected()
}

/// Why a claim cannot have the very volume that it names. One that an administrator keeps for it, it has whatever it is like; and who names one need not select it.
fn mismatch(volume: &Value, claim: &Value) -> Option<&'static str> {
    lack(volume, claim).filter(|_| at(volume, &["spec", "claimRef"]).is_null())
}

/// What a volume lacks of what a claim asks for, in the words of upstream's `checkVolumeSatisfyClaim`.
fn lack(volume: &Value, claim: &Value) -> Option<&'static str> {
    let differs = |field: &str| text(volume, &["spec", field]) != text(claim, &["spec", field]);
    let modes = list(volume, &["spec", "accessModes"]);
    if capacity(volume) < amount(text(claim, &["spec", "resources", "requests", "storage"])) {
        Some("requested PV is too small")
    } else if differs("storageClassName") {
        Some("storageClassName does not match")
    } else if differs("volumeMode") {
        Some("incompatible volumeMode")
    } else if !list(claim, &["spec", "accessModes"]).iter().all(|mode| modes.contains(mode)) {
        Some("incompatible accessMode")
    } else {
        None
    }
}

fn capacity(volume: &Value) -> i64 {
    amount(text(volume, &["spec", "capacity", "storage"]))
}

fn amount(text: &str) -> i64 {
    Quantity::parse(text).map(Quantity::value).unwrap_or_default()
}

/// The volume with its new claim.
fn give(volume: &Value, claim: &Value) -> Value {
    let mut new = volume.clone();
    let was_kept = !at(volume, &["spec", "claimRef"]).is_null();
    set(field_mut(&mut new, "spec"), "claimRef", reference(claim));
    if !was_kept {
        set(field_mut(field_mut(&mut new, "metadata"), "annotations"), BOUND_BY_CONTROLLER, "yes".into());
    }
    new
}

fn reference(claim: &Value) -> Value {
    let of = |field: &str| text(claim, &["metadata", field]);
    json!({
        "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": of("namespace"), "name": of("name"),
        "uid": of("uid"), "resourceVersion": of("resourceVersion"),
    })
}

/// A folder of the node, which the node agent makes when a pod comes.
fn make(claim: &Value, class: &Value, place: &Place) -> Value {
    let kind = kinds::core("persistentvolumes");
    let name = format!("pvc-{}", text(claim, &["metadata", "uid"]));
    let path = format!("{}/{name}", place.folder);
    let here =
        json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [place.node]}]});
    let mut volume = json!({
        "kind": kind.kind, "apiVersion": kind.api_version(),
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: LOCAL_PROVISIONER}},
        "spec": {
            "accessModes": at(claim, &["spec", "accessModes"]),
            "capacity": {"storage": text(claim, &["spec", "resources", "requests", "storage"])},
            "claimRef": reference(claim),
            "hostPath": {"path": path, "type": "DirectoryOrCreate"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [here]}},
            "persistentVolumeReclaimPolicy": text(class, &["reclaimPolicy"]),
            "storageClassName": text(class, &["metadata", "name"]),
            "volumeMode": "Filesystem",
        },
    });
    remove(field_mut(field_mut(&mut volume, "spec"), "claimRef"), "resourceVersion");
    volume
}

/// What a volume says of itself.
fn volume_status(seen: &Seen, volume: &Value) -> Option<Step> {
    let claim = at(volume, &["spec", "claimRef"]);
    let uid = text(claim, &["uid"]);
    let is_there = || seen.claims.iter().any(|other| text(other, &["metadata", "uid"]) == uid);
    let phase = match uid {
        "" => "Available",
        _ if is_there() => "Bound",
        _ => "Released",
    };
    let mut new = volume.clone();
    set(field_mut(&mut new, "status"), "phase", phase.into());
    (text(volume, &["status", "phase"]) != phase).then_some(Step::VolumeStatus(new))
}

fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { folder: "/data/volumes".to_owned(), node: "n".to_owned() }
    }

    fn claim(name: &str, spec: Value) -> Value {
        let mut whole = json!({
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "", "volumeMode": "Filesystem",
        });
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let metadata = json!({"name": name, "namespace": "a", "uid": format!("uid-{name}")});
        json!({"metadata": metadata, "spec": whole, "status": {"phase": "Pending"}})
    }

    fn volume(name: &str, size: &str, spec: Value) -> Value {
        let mut whole = json!({
            "accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": size}, "hostPath": {"path": "/srv"},
            "volumeMode": "Filesystem",
        });
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        json!({"metadata": {"name": name}, "spec": whole, "status": {"phase": "Pending"}})
    }

    fn class(mode: &str, provisioner: &str) -> Value {
        json!({"metadata": {"name": "local"}, "provisioner": provisioner, "reclaimPolicy": "Retain", "volumeBindingMode": mode})
    }

    /// Looks and writes until nothing is left to write; what people were told last.
    fn settle(seen: &mut Seen) -> Option<String> {
        for _ in 0..20 {
            let steps = plan(seen, &place());
            if let [] | [Step::Tell(_)] = steps.as_slice() {
                let Some(Step::Tell(Tell { reason, message, .. })) = steps.into_iter().next() else { return None };
                return Some(format!("{reason}: {message}"));
            }
            for step in steps {
                let put = |all: &mut Vec<Value>, new: Value| {
                    let key = |of: &Value| ["namespace", "name"].map(|f| text(of, &["metadata", f]).to_owned());
                    match all.iter_mut().find(|old| key(old) == key(&new)) {
                        Some(old) => *old = new,
                        None => all.push(new),
                    }
                };
                match step {
                    Step::Create(new) | Step::Volume(new) | Step::VolumeStatus(new) => put(&mut seen.volumes, new),
                    Step::Claim(new) | Step::ClaimStatus(new) => put(&mut seen.claims, new),
                    Step::Tell(_) => {}
                }
            }
        }
        panic!("never at rest: {seen:?}");
    }

    /// Claim and volume, as both say, or that there is none.
    fn bound(seen: &Seen, of: &str) -> Option<String> {
        let claim = seen.claims.iter().find(|claim| name(claim) == of)?;
        if text(claim, &["status", "phase"]) != "Bound" {
            return None;
        }
        let volume = seen.volumes.iter().find(|volume| name(volume) == text(claim, &["spec", "volumeName"]))?;
        assert_eq!(text(volume, &["spec", "claimRef", "uid"]), text(claim, &["metadata", "uid"]));
        assert_eq!(text(volume, &["status", "phase"]), "Bound");
        assert_eq!(at(claim, &["status", "capacity"]), at(volume, &["spec", "capacity"]));
        Some(name(volume).to_owned())
    }

    #[test]
    fn a_claim_gets_the_smallest_volume_that_fits() {
        let check = |spec: Value, volumes: Vec<Value>, expected: Option<&str>| {
            let mut seen = Seen { claims: vec![claim("c", spec.clone())], volumes, ..Seen::default() };
            settle(&mut seen);
            assert_eq!(bound(&seen, "c").as_deref(), expected, "{spec}");
        };
        let some = || {
            vec![volume("large", "9Gi", json!({})), volume("small", "2Gi", json!({})), volume("tiny", "1Mi", json!({}))]
        };
        check(json!({}), some(), Some("small"));
        check(json!({"accessModes": ["ReadWriteMany"]}), some(), None);
        check(json!({"volumeMode": "Block"}), some(), None);
        check(json!({"storageClassName": "other"}), some(), None);
        check(json!({"volumeName": "large"}), some(), Some("large"));
        check(json!({"volumeName": "gone"}), some(), None);
        check(json!({"selector": {"matchLabels": {"a": "b"}}}), some(), None);
        let mut labelled = some();
        labelled[0]["metadata"]["labels"] = json!({"a": "b"});
        check(json!({"selector": {"matchLabels": {"a": "b"}}}), labelled, Some("large"));
        let kept = |name: &str| volume("kept", "9Gi", json!({"claimRef": {"namespace": "a", "name": name}}));
        check(json!({}), [some(), vec![kept("c")]].concat(), Some("kept"));
        check(json!({}), vec![kept("d")], None);
    }

    #[test]
    fn a_volume_that_is_named_must_be_what_the_claim_asks_for() {
        let check = |spec: Value, reserved: bool, expected: Option<&str>| {
            let mut spec = spec;
            spec["volumeName"] = "v".into();
            let mut volume = volume("v", "2Gi", json!({"storageClassName": ""}));
            if reserved {
                volume["spec"]["claimRef"] = json!({"namespace": "a", "name": "c"});
            }
            let mut seen = Seen { claims: vec![claim("c", spec.clone())], volumes: vec![volume], ..Seen::default() };
            let told = settle(&mut seen);
            let expected = expected.map(|why| format!("VolumeMismatch: Cannot bind to requested volume \"v\": {why}"));
            assert_eq!((told, bound(&seen, "c").is_some()), (expected.clone(), expected.is_none()), "{spec}");
        };
        check(json!({}), false, None);
        check(json!({"selector": {"matchLabels": {"a": "b"}}}), false, None);
        let large = json!({"resources": {"requests": {"storage": "3Gi"}}});
        check(large.clone(), false, Some("requested PV is too small"));
        check(large, true, None);
        check(json!({"storageClassName": "other"}), false, Some("storageClassName does not match"));
        check(json!({"volumeMode": "Block"}), false, Some("incompatible volumeMode"));
        check(json!({"accessModes": ["ReadWriteMany"]}), false, Some("incompatible accessMode"));
    }

    #[test]
    fn a_claim_that_names_another_volume_meanwhile_gets_that_one() {
        let volumes = vec![volume("one", "1Gi", json!({})), volume("two", "2Gi", json!({}))];
        let mut seen = Seen { claims: vec![claim("c", json!({}))], volumes, ..Seen::default() };
        let Some(Step::Volume(given)) = plan(&seen, &place()).into_iter().next() else { panic!("none is given") };
        assert_eq!(name(&given), "one");
        seen.volumes[0] = given;
        seen.claims[0]["spec"]["volumeName"] = "two".into();
        assert_eq!(settle(&mut seen), None);
        assert_eq!(bound(&seen, "c").as_deref(), Some("two"));
        assert_eq!(seen.volumes[0]["status"]["phase"], "Available", "{:?}", seen.volumes[0]);
    }

    #[test]
    fn no_device_is_made() {
        let claims = vec![claim("c", json!({"storageClassName": "local", "volumeMode": "Block"}))];
        let mut seen = Seen { claims, classes: vec![class("Immediate", LOCAL_PROVISIONER)], ..Seen::default() };
        let expected = "ProvisioningFailed: failed to provision volume with StorageClass \"local\": remora.dev/local-path does not support block volume provisioning";
        assert_eq!(settle(&mut seen).as_deref(), Some(expected));
        assert_eq!(seen.volumes, [Value::Null; 0]);
    }

    #[test]
    fn no_volume_is_given_twice() {
        let volumes = vec![volume("one", "1Gi", json!({})), volume("two", "1Gi", json!({}))];
        let claims = ["c", "d", "e"].map(|name| claim(name, json!({}))).to_vec();
        let mut seen = Seen { claims, volumes, ..Seen::default() };
        let told = settle(&mut seen);
        let got: Vec<_> = ["c", "d", "e"].iter().map(|name| bound(&seen, name)).collect();
        assert_eq!(got, [Some("one".to_owned()), Some("two".to_owned()), None]);
        let expected = "FailedBinding: no persistent volumes available for this claim and no storage class is set";
        assert_eq!(told.as_deref(), Some(expected));
    }

    #[test]
    fn a_volume_is_made_when_a_pod_wants_it() {
        let claims = vec![claim("c", json!({"storageClassName": "local"}))];
        let classes = vec![class("WaitForFirstConsumer", LOCAL_PROVISIONER)];
        let mut seen = Seen { claims, classes, ..Seen::default() };
        let waits = "WaitForFirstConsumer: waiting for first consumer to be created before binding";
        assert_eq!(settle(&mut seen).as_deref(), Some(waits));
        seen.used.push(("b".to_owned(), "c".to_owned()));
        assert_eq!(settle(&mut seen).as_deref(), Some(waits), "that is another namespace's");
        seen.used.push(("a".to_owned(), "c".to_owned()));
        assert_eq!(settle(&mut seen), None);
        assert_eq!(bound(&seen, "c").as_deref(), Some("pvc-uid-c"));
        let spec = &seen.volumes[0]["spec"];
        assert_eq!(spec["hostPath"], json!({"path": "/data/volumes/pvc-uid-c", "type": "DirectoryOrCreate"}));
        assert_eq!(spec["persistentVolumeReclaimPolicy"], "Retain");
    }

    #[test]
    fn what_others_make_is_waited_for_and_told_of() {
        let claims = vec![claim("c", json!({"storageClassName": "local"}))];
        let mut seen = Seen { claims, classes: vec![class("Immediate", "example.com/x")], ..Seen::default() };
        let told = settle(&mut seen).unwrap();
        assert!(told.starts_with("ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'example.com/x'"), "{told}");
        seen.classes.clear();
        assert_eq!(
            settle(&mut seen).as_deref(),
            Some("ProvisioningFailed: storageclass.storage.k8s.io \"local\" not found")
        );
    }

    #[test]
    fn what_a_claim_had_is_released_and_given_to_no_other() {
        let mut seen = Seen {
            claims: vec![claim("c", json!({}))],
            volumes: vec![volume("v", "1Gi", json!({}))],
            ..Seen::default()
        };
        settle(&mut seen);
        seen.claims[0] = claim("d", json!({}));
        settle(&mut seen);
        assert_eq!(text(&seen.volumes[0], &["status", "phase"]), "Released");
        assert_eq!(bound(&seen, "d"), None);
        // And a claim whose volume goes is lost.
        let mut seen = Seen {
            claims: vec![claim("c", json!({}))],
            volumes: vec![volume("v", "1Gi", json!({}))],
            ..Seen::default()
        };
        settle(&mut seen);
        seen.volumes.clear();
        settle(&mut seen);
        assert_eq!(text(&seen.claims[0], &["status", "phase"]), "Lost");
    }
}
