//! A pod that is a file of its node's (upstream: `pkg/kubelet/config/common.go`): read as the API server reads a body, named after the node, and told
//! from others by a hash of what it says. The binary hands [`read`] to the node agent, which knows no rules.
//!
//! The hash is of the file's own words, before defaults: what a later version fills in starts no pod anew.

use std::hash::Hasher;

use fnv::FnvHasher;
use jiff::Timestamp;
use remora_model::canonical::canonicalize;
use remora_model::json::{self, Limits, Parsed};
use remora_model::kinds::core;
use remora_model::schema::type_of;
use serde_json::{Value, json};

use super::admission::push;
use super::references::referenced;
use crate::decode::{self, FieldValidation};
use crate::object::{at, field_mut, list, remove, set, set_default, text};
use crate::strategy::{Ctx, strategy};

/// Where the pod comes from: `file`.
pub const SOURCE_ANNOTATION: &str = "kubernetes.io/config.source";
/// When the node has first seen it.
pub const SEEN_ANNOTATION: &str = "kubernetes.io/config.seen";
/// What tells it from another of the same name.
pub const HASH_ANNOTATION: &str = "kubernetes.io/config.hash";

/// A pod as its node runs it.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticPod {
    /// The pod: complete, with name and UID.
    pub pod: Value,
    /// What of the file was dropped: `unknown field "spec.foo"`.
    pub warnings: Vec<String>,
}

/// Reads the file at this path of this node.
///
/// # Errors
/// It is no pod, not a valid one, or one that names what only the API has. The whole sentence.
pub fn read(bytes: &[u8], path: &str, node: &str, now: Timestamp) -> Result<StaticPod, String> {
    let parsed = parse(bytes)?;
    // A UID of the file's own is one of its words, no more: it names folders, and must be another when anything else is.
    let uid = hash(&parsed.value, path, node)?;
    let decoded = decode::body(core("pods"), parsed, FieldValidation::Warn).map_err(|refused| refused.message)?;
    let mut pod = decoded.object;
    put_in_place(&mut pod, node, &uid, now);
    let rules = strategy(core("pods"), "").ok_or("there are no rules for pods")?;
    let ctx = Ctx { now, uid, suffix: String::new() };
    let mut pod = rules.create(core("pods"), pod, &ctx).map_err(|refused| refused.message)?;
    // Both are of the object in the API.
    ["creationTimestamp", "generation"].iter().for_each(|field| remove(field_mut(&mut pod, "metadata"), field));
    match referenced(&pod) {
        Some(what) => Err(format!("static pods may not reference {what}")),
        None => Ok(StaticPod { pod, warnings: decoded.warnings }),
    }
}

/// JSON is YAML, as upstream has it too.
fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let parsed = json::read(serde_norway::Deserializer::from_slice(bytes), Limits::OBJECT);
    let parsed = parsed.map_err(|error| format!("error converting YAML to JSON: {error}"))?;
    match [["apiVersion"], ["kind"], ["metadata"]].map(|field| at(&parsed.value, &field)) {
        [version, kind, _] if *version != "v1" || *kind != "Pod" => Err("it is no Pod of v1".to_owned()),
        [_, _, metadata] if text(metadata, &["name"]).is_empty() => Err("name is needed for the pod".to_owned()),
        _ => Ok(parsed),
    }
}

/// 32 hexadecimal digits, upstream's form. Nobody gains by two files of one node that have the same.
fn hash(value: &Value, path: &str, node: &str) -> Result<String, String> {
    let of = type_of("Pod").ok_or("no type Pod in the schema")?;
    let said = canonicalize(of, value.clone()).map_err(|error| error.message)?.value;
    let words = format!("{said}host:{node}file:{path}");
    let mut half = FnvHasher::default();
    half.write(words.as_bytes());
    let high = half.finish();
    let mut other = FnvHasher::with_key(high);
    other.write(words.as_bytes());
    Ok(format!("{high:016x}{:016x}", other.finish()))
}

/// What the node says of a pod of its own: where it runs and what it is called there, and that no trouble of the node's drives it away.
fn put_in_place(pod: &mut Value, node: &str, uid: &str, now: Timestamp) {
    let metadata = field_mut(pod, "metadata");
    let name = format!("{}-{}", text(metadata, &["name"]), node.to_lowercase());
    set(metadata, "name", name.into());
    set_default(metadata, "namespace", "default");
    let annotations = field_mut(metadata, "annotations");
    for (key, value) in [(SOURCE_ANNOTATION, "file"), (HASH_ANNOTATION, uid), (SEEN_ANNOTATION, &now.to_string())] {
        set(annotations, key, value.into());
    }
    let spec = field_mut(pod, "spec");
    set(spec, "nodeName", node.into());
    let stays = json!({"operator": "Exists", "effect": "NoExecute"});
    if !list(spec, &["tolerations"]).contains(&stays) {
        push(spec, "tolerations", stays);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {a: b}}\nspec: {containers: [{name: c, image: busybox}]}\n";

    fn read_it(text: &str) -> Result<StaticPod, String> {
        read(text.as_bytes(), "/etc/pods/web.yaml", "anchor", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_file_becomes_a_pod_of_its_node() {
        let StaticPod { pod, warnings } = read_it(YAML).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        let uid = text(&pod, &["metadata", "uid"]);
        assert_eq!(uid.len(), 32);
        assert_eq!(
            pod["metadata"],
            json!({
                "name": "web-anchor", "namespace": "default", "uid": uid, "labels": {"a": "b"},
                "annotations": {SOURCE_ANNOTATION: "file", HASH_ANNOTATION: uid, SEEN_ANNOTATION: "1970-01-01T00:00:00Z"},
            })
        );
        assert_eq!(pod["spec"]["nodeName"], "anchor");
        assert_eq!(pod["spec"]["tolerations"], json!([{"operator": "Exists", "effect": "NoExecute"}]));
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(pod["status"]["phase"], "Pending");
    }

    #[test]
    fn the_hash_is_of_what_a_file_says_and_where_it_is() {
        let uid = |text: &str, path: &str, node: &str| {
            let read = read(text.as_bytes(), path, node, Timestamp::UNIX_EPOCH).unwrap();
            read.pod["metadata"]["uid"].as_str().unwrap().to_owned()
        };
        let first = uid(YAML, "/a", "n");
        let json = r#"{"kind":"Pod","apiVersion":"v1","spec":{"containers":[{"image":"busybox","name":"c"}]},"metadata":{"labels":{"a":"b"},"name":"web"}}"#;
        assert_eq!(first, uid(json, "/a", "n"), "the same words in JSON");
        assert_eq!(first, uid(&format!("# a comment\n{YAML}"), "/a", "n"));
        for (text, path, node) in
            [(YAML.replace("busybox", "nginx"), "/a", "n"), (YAML.to_owned(), "/b", "n"), (YAML.to_owned(), "/a", "m")]
        {
            assert_ne!(first, uid(&text, path, node));
        }
    }

    #[test]
    fn a_uid_of_the_files_own_is_one_of_its_words() {
        let uid = |given: &str, image: &str, path: &str| {
            let text = YAML.replace("name: web", &format!("name: web, uid: '{given}'")).replace("busybox", image);
            let pod = read(text.as_bytes(), path, "n", Timestamp::UNIX_EPOCH).unwrap().pod;
            assert_eq!(pod["metadata"]["uid"], pod["metadata"]["annotations"][HASH_ANNOTATION]);
            pod["metadata"]["uid"].as_str().unwrap().to_owned()
        };
        let all = [
            ("mine", "busybox", "/a"),
            ("mine", "nginx", "/a"),
            ("mine", "busybox", "/b"),
            ("../a_b", "busybox", "/a"),
        ]
        .map(|(given, image, path)| uid(given, image, path));
        assert!(all.iter().all(|uid| uid.len() == 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit())), "{all:?}");
        assert_eq!(std::collections::BTreeSet::from(all.clone()).len(), all.len(), "{all:?}");
    }

    #[test]
    fn what_is_no_pod_or_needs_the_api_is_refused() {
        let check = |from: &str, to: &str, expected: &str| {
            let why = read_it(&YAML.replace(from, to)).unwrap_err();
            assert!(why.contains(expected), "{why}");
        };
        check("kind: Pod", "kind: Service", "it is no Pod of v1");
        check("apiVersion: v1\n", "", "it is no Pod of v1");
        check("name: web", "generateName: web", "name is needed for the pod");
        check("name: web", "name: We_b", "metadata.name: Invalid value: \"We_b-anchor\"");
        check("image: busybox", "images: busybox", "spec.containers[0].image: Required value");
        check("image: busybox", "image: [1]", "cannot unmarshal array");
        check("spec: {", "spec: {serviceAccountName: x, ", "static pods may not reference serviceaccounts");
        check(
            "spec: {",
            "spec: {volumes: [{name: v, configMap: {name: x}}], ",
            "static pods may not reference configmaps",
        );
        check("kind: Pod", "kind: {", "error converting YAML to JSON");
    }

    #[test]
    fn what_a_pod_does_not_have_is_told() {
        let read = read_it(&YAML.replace("spec: {", "spec: {replicas: 3, ")).unwrap();
        assert_eq!(read.warnings, ["unknown field \"spec.replicas\""]);
    }
}
