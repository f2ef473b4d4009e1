//! Objects as JSON, whatever their kind: the few calls that the controllers of workloads make. One way for all kinds, since code for each type of
//! each kind would cost more memory than what it does.
//!
//! Reads go to the API server, not to a cache: what a look sees includes all that earlier looks have written, so that nobody needs to expect
//! what is yet to be seen.

use http::{Method, Request};
use kube::Api;
use kube::Client;
use kube::core::{DynamicObject, PartialObjectMeta};
use remora_model::Kind;
use remora_rules::object::{list, text};
use serde_json::Value;

use crate::per_object::answered;

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
        unless_gone(self.send(Method::GET, &path(kind, key), None).await)
    }

    /// All of a kind in a namespace, each with its kind and version, which lists leave out.
    pub(crate) async fn list(&self, kind: &Kind, namespace: &str) -> Called<Vec<Value>> {
        let path = collection(kind, namespace);
        let mut listed = self.send(Method::GET, &path, None).await?;
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
        let mut at = path(kind, &Key::of(object));
        if !part.is_empty() {
            at = format!("{at}/{part}");
        }
        self.send(Method::PUT, &at, Some(body("application/json", object))).await
    }

    /// Patches an object; none if it is not there any more.
    pub(crate) async fn patch(&self, kind: &Kind, key: &Key, how: PatchKind, patch: &Value) -> Called<Option<Value>> {
        let content_type = match how {
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
        };
        unless_gone(self.send(Method::PATCH, &path(kind, key), Some(body(content_type, patch))).await)
    }

    /// Deletes an object. That it is not there any more is fine.
    pub(crate) async fn delete(&self, kind: &Kind, key: &Key, options: &Value) -> Called<()> {
        let options = Some(body("application/json", options));
        unless_gone(self.send(Method::DELETE, &path(kind, key), options).await).map(drop)
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
        self.client.request(request).await
    }
}

fn body(content_type: &'static str, value: &Value) -> (&'static str, Vec<u8>) {
    (content_type, value.to_string().into_bytes())
}

/// `/apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL`. Names are those of objects: none has a letter that a path could not.
fn collection(kind: &Kind, namespace: &str) -> String {
    let root = if kind.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", kind.api_version()) };
    match namespace {
        "" => format!("{root}/{}", kind.plural),
        namespace => format!("{root}/namespaces/{namespace}/{}", kind.plural),
    }
}

fn path(kind: &Kind, key: &Key) -> String {
    format!("{}/{}", collection(kind, &key.namespace), key.name)
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
    use remora_model::kinds;
    use serde_json::json;

    #[test]
    fn paths_are_those_of_the_api() {
        let key = |namespace: &str, name: &str| Key { namespace: namespace.to_owned(), name: name.to_owned() };
        assert_eq!(path(kinds::core("pods"), &key("a", "web")), "/api/v1/namespaces/a/pods/web");
        assert_eq!(path(kinds::core("nodes"), &key("", "n")), "/api/v1/nodes/n");
        let sets = kinds::v1("apps", "replicasets");
        assert_eq!(path(sets, &key("a", "web")), "/apis/apps/v1/namespaces/a/replicasets/web");
    }

    #[test]
    fn one_owner_controls() {
        let pod = json!({"metadata": {"ownerReferences": [{"uid": "1"}, {"uid": "2", "controller": true}]}});
        assert_eq!(controller_of(&pod).unwrap()["uid"], "2");
        assert_eq!(controller_of(&json!({})), None);
    }
}
