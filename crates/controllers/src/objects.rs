//! Objects as JSON, whatever their kind: the few calls that the controllers of workloads make. One way for all kinds, since code for each type of
//! each kind would cost more memory than what it does.
//!
//! Reads go to the API server, not to a cache: what a look sees includes all that earlier looks have written, so that nobody needs to expect
//! what is yet to be seen.

use std::time::Duration;

use http::{Method, Request};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::Client;
use kube::core::{DynamicObject, PartialObjectMeta};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use remora_model::{Kind, kinds};
use remora_rules::metadata::names;
use remora_rules::object::{at, list, text};
use remora_rules::selector::labels::Selector;
use serde::Deserialize;
use serde_json::Value;

use crate::per_object::answered;

/// The longest that a call may take: no answer of the API takes longer, but a watch would never end.
const LONGEST: Duration = Duration::from_secs(60);

/// Letters of a name that stand for themselves in a path, besides those of the alphabet.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Which of the objects of a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// Empty for what is in none.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    /// Of an object.
    pub(crate) fn of(object: &Value) -> Self {
        let word = |field: &str| text(object, &["metadata", field]).to_owned();
        Self { namespace: word("namespace"), name: word("name") }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.namespace.as_str() {
            "" => out.write_str(&self.name),
            namespace => write!(out, "{namespace}/{}", self.name),
        }
    }
}

/// How an object is patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchKind {
    /// RFC 7386.
    Merge,
    /// Kubernetes' merge by keys of lists.
    Strategic,
}

/// The objects that a client may see.
#[derive(Clone)]
pub(crate) struct Objects {
    client: Client,
}

/// Why a call was not made, or its answer not taken. What the answer was is not told: it may be a secret.
#[derive(Debug, thiserror::Error)]
enum Misled {
    #[error("no {kind} can have the name \"{name}\"")]
    NoName { kind: &'static str, name: String },
    #[error("the API has answered with another object than the {kind} {key} that was asked for")]
    Another { kind: &'static str, key: Key },
    #[error("the API has not answered in {LONGEST:?}")]
    Late,
}

impl From<Misled> for kube::Error {
    fn from(error: Misled) -> Self {
        Self::Service(Box::new(error))
    }
}

/// What a call comes to.
pub(crate) type Called<T> = Result<T, kube::Error>;

impl Objects {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// A way to watch the metadata of a kind's objects.
    pub(crate) fn api(&self, kind: &Kind) -> Api<PartialObjectMeta<DynamicObject>> {
        let resource = crate::namespace::resource_of(kind);
        Api::all_with(self.client.clone(), &resource)
    }

    /// The object; none if it is not there.
    pub(crate) async fn get(&self, kind: &Kind, key: &Key) -> Called<Option<Value>> {
        let found = unless_gone(self.send(Method::GET, &path(kind, key)?, None).await)?;
        match found {
            Some(other) if text(&other, &["kind"]) != kind.kind || Key::of(&other) != *key => {
                Err(Misled::Another { kind: kind.kind, key: key.clone() }.into())
            }
            found => Ok(found),
        }
    }

    /// All of a kind in a namespace, each with its kind and version, which lists leave out.
    pub(crate) async fn list(&self, kind: &Kind, namespace: &str) -> Called<Vec<Value>> {
        self.list_at(kind, &collection(kind, namespace)).await
    }

    /// The pods of all namespaces that are bound to this node.
    pub(crate) async fn pods_on(&self, node: &str) -> Called<Vec<Value>> {
        let (pods, node) = (kinds::core("pods"), utf8_percent_encode(node, PLAIN));
        self.list_at(pods, &format!("{}?fieldSelector=spec.nodeName%3D{node}", collection(pods, ""))).await
    }

    async fn list_at(&self, kind: &Kind, path: &str) -> Called<Vec<Value>> {
        let mut listed = self.send(Method::GET, path, None).await?;
        let Some(Value::Array(mut items)) = listed.get_mut("items").map(Value::take) else { return Ok(Vec::new()) };
        for item in &mut items {
            item["kind"] = kind.kind.into();
            item["apiVersion"] = kind.api_version().into();
        }
        Ok(items)
    }

    /// Makes an object.
    pub(crate) async fn create(&self, kind: &Kind, namespace: &str, object: &Value) -> Called<Value> {
        self.send(Method::POST, &collection(kind, namespace), Some(body("application/json", object))).await
    }

    /// Replaces an object, or the part of it that is named, as it was read: 409 if it has changed since.
    pub(crate) async fn replace(&self, kind: &Kind, part: &str, object: &Value) -> Called<Value> {
        let at = path_of_part(kind, &Key::of(object), part)?;
        self.send(Method::PUT, &at, Some(body("application/json", object))).await
    }

    /// Patches an object; none if it is not there any more.
    pub(crate) async fn patch(&self, kind: &Kind, key: &Key, how: PatchKind, patch: &Value) -> Called<Option<Value>> {
        self.patch_part(kind, key, "", how, patch).await
    }

    /// As [`patch`](Self::patch), the part of it that is named.
    pub(crate) async fn patch_part(
        &self,
        kind: &Kind,
        key: &Key,
        part: &str,
        how: PatchKind,
        patch: &Value,
    ) -> Called<Option<Value>> {
        let content_type = match how {
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
        };
        unless_gone(self.send(Method::PATCH, &path_of_part(kind, key, part)?, Some(body(content_type, patch))).await)
    }

    /// Deletes an object. That it is not there any more is fine.
    pub(crate) async fn delete(&self, kind: &Kind, key: &Key, options: &Value) -> Called<()> {
        let options = Some(body("application/json", options));
        unless_gone(self.send(Method::DELETE, &path(kind, key)?, options).await).map(drop)
    }

    /// Makes these an owner's own, each by the patch that `adoption` says of owner and object; whether all are. None is taken by an owner that goes by now, since they would go
    /// with it; and one may be gone, be another of its name, or have become somebody else's.
    pub(crate) async fn take(
        &self,
        (owner_kind, owner): (&Kind, &Value),
        kind: &Kind,
        all: &[Value],
        adoption: fn(&Value, &Value) -> Value,
    ) -> Called<bool> {
        if all.is_empty() {
            return Ok(true);
        }
        let now = self.get(owner_kind, &Key::of(owner)).await?;
        let is_same = |now: &Value| at(now, &["metadata", "uid"]) == at(owner, &["metadata", "uid"]);
        if !now.is_some_and(|now| is_same(&now) && at(&now, &["metadata", "deletionTimestamp"]).is_null()) {
            return Ok(false);
        }
        for object in all {
            let patch = adoption(owner, object);
            match self.patch(kind, &Key::of(object), PatchKind::Strategic, &patch).await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(false),
                Err(error) if answered(&error, 409) || answered(&error, 422) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn send(&self, method: Method, path: &str, body: Option<(&'static str, Vec<u8>)>) -> Called<Value> {
        let mut request = Request::builder().method(method).uri(path);
        let bytes = match body {
            Some((content_type, bytes)) => {
                request = request.header(http::header::CONTENT_TYPE, content_type);
                bytes
            }
            None => Vec::new(),
        };
        let request = request.body(bytes).map_err(kube::Error::HttpError)?;
        let answered = tokio::time::timeout(LONGEST, self.client.request(request)).await;
        answered.unwrap_or_else(|_| Err(Misled::Late.into()))
    }
}

fn body(content_type: &'static str, value: &Value) -> (&'static str, Vec<u8>) {
    (content_type, value.to_string().into_bytes())
}

/// `/apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL`. Namespaces are those of objects that are there: their names are labels.
fn collection(kind: &Kind, namespace: &str) -> String {
    let root = if kind.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", kind.api_version()) };
    match namespace {
        "" => format!("{root}/{}", kind.plural),
        namespace => format!("{root}/namespaces/{namespace}/{}", kind.plural),
    }
}

/// The path of one object, and of nothing else: names may come from a reference, in which its author may write what they like. **Invariant:** the
/// last part is one segment, which is not empty, so that a call for one object never becomes one for a collection, a subresource or another object.
fn path(kind: &Kind, key: &Key) -> Result<String, Misled> {
    if !is_name(&key.name) {
        return Err(Misled::NoName { kind: kind.kind, name: key.name.clone() });
    }
    Ok(format!("{}/{}", collection(kind, &key.namespace), utf8_percent_encode(&key.name, PLAIN)))
}

/// The path of a part of an object, or of all of it where none is named.
fn path_of_part(kind: &Kind, key: &Key, part: &str) -> Result<String, Misled> {
    let path = path(kind, key)?;
    Ok(if part.is_empty() { path } else { format!("{path}/{part}") })
}

/// Whether an object of any kind could have this name. Of the kinds here, roles have the freest names: any segment of a path.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && names::path_segment(name).is_empty()
}

/// What a workload selects. One that says nothing, or nothing that can be read, selects nothing, not everything.
pub(crate) fn selector_of(workload: &Value) -> Option<Selector> {
    let selector = LabelSelector::deserialize(at(workload, &["spec", "selector"])).ok()?;
    Selector::of(&selector)
}

fn unless_gone(answer: Called<Value>) -> Called<Option<Value>> {
    match answer {
        Err(error) if answered(&error, 404) => Ok(None),
        answer => answer.map(Some),
    }
}

/// What has changed since it was read, or is gone, is left alone: its watch brings us to it again.
pub(crate) fn unless_changed<T>(answer: Called<T>) -> Called<()> {
    match answer {
        Err(error) if answered(&error, 409) || answered(&error, 404) => Ok(()),
        answer => answer.map(drop),
    }
}

/// What the API has said, or why it could not be asked.
pub(crate) fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Whether a new object was refused since its namespace goes: then there is nothing more to do in it.
pub(crate) fn namespace_goes(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// An object's owners.
pub(crate) fn owners(object: &Value) -> &[Value] {
    list(object, &["metadata", "ownerReferences"])
}

/// The one of an object's owners that controls it.
pub(crate) fn controller_of(object: &Value) -> Option<&Value> {
    owners(object).iter().find(|owner| owner["controller"] == true)
}

/// A reference that says that this object controls what has it.
pub(crate) fn controller_reference(kind: &Kind, object: &Value) -> Value {
    serde_json::json!({
        "apiVersion": kind.api_version(), "kind": kind.kind, "name": object["metadata"]["name"], "uid": object["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted;
    use serde_json::json;

    #[test]
    fn paths_are_those_of_the_api() {
        let key = |namespace: &str, name: &str| Key { namespace: namespace.to_owned(), name: name.to_owned() };
        let check = |kind, key: Key, expected: &str| assert_eq!(path(kind, &key).unwrap(), expected);
        check(kinds::core("pods"), key("a", "web"), "/api/v1/namespaces/a/pods/web");
        check(kinds::core("nodes"), key("", "n"), "/api/v1/nodes/n");
        check(kinds::v1("apps", "replicasets"), key("a", "web"), "/apis/apps/v1/namespaces/a/replicasets/web");
        let roles = kinds::v1("rbac.authorization.k8s.io", "clusterroles");
        let at = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
        check(roles, key("", "system:node"), &format!("{at}/system:node"));
        check(roles, key("", "who? #1 é"), &format!("{at}/who%3F%20%231%20%C3%A9"));
    }

    #[test]
    fn no_name_leads_to_another_path() {
        let key = |name: &str| Key { namespace: "a".to_owned(), name: name.to_owned() };
        let pods = kinds::core("pods");
        for name in ["", ".", "..", "kube-system/secrets?watch=true", "mine:80/proxy/x", "%2e%2e", "x%2Fstatus"] {
            assert!(path(pods, &key(name)).is_err(), "{name}");
        }
        for name in ["?limit=1", "x?watch=true", "x#y"] {
            let uri: http::Uri = path(pods, &key(name)).unwrap().parse().unwrap();
            assert_eq!((uri.query(), uri.path().matches('/').count()), (None, 6), "{name}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_the_object_that_was_asked_for() {
        let key = Key { namespace: "a".to_owned(), name: "web".to_owned() };
        let pods = kinds::core("pods");
        let get = async |answer: Value| {
            let (client, _) = scripted::client(move |_, _| (200, answer.clone()));
            Objects::new(client).get(pods, &key).await
        };
        let right = json!({"kind": "Pod", "metadata": {"namespace": "a", "name": "web"}});
        assert_eq!(get(right.clone()).await.unwrap(), Some(right));
        for wrong in [
            json!({"kind": "PodList", "metadata": {}, "items": [{"data": "hidden"}]}),
            json!({"kind": "Secret", "metadata": {"namespace": "a", "name": "web"}, "data": "hidden"}),
            json!({"kind": "Pod", "metadata": {"namespace": "b", "name": "web"}, "data": "hidden"}),
            json!({"kind": "Pod", "metadata": {"namespace": "a", "name": "other"}, "data": "hidden"}),
        ] {
            let error = get(wrong).await.unwrap_err();
            assert!(!format!("{error:?} {error}").contains("hidden"), "{error:?}");
        }
    }

    #[test]
    fn no_selector_selects_nothing() {
        assert!(selector_of(&json!({"spec": {"selector": {"matchLabels": {"app": "web"}}}})).is_some());
        for none in
            [json!({}), json!({"items": []}), json!({"spec": {"selector": null}}), json!({"spec": {"selector": []}})]
        {
            assert_eq!(selector_of(&none), None, "{none}");
        }
    }

    #[test]
    fn one_owner_controls() {
        let pod = json!({"metadata": {"ownerReferences": [{"uid": "1"}, {"uid": "2", "controller": true}]}});
        assert_eq!(controller_of(&pod).unwrap()["uid"], "2");
        assert_eq!(controller_of(&json!({})), None);
    }
}
