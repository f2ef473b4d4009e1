//! One event of an audit log (`audit.k8s.io/v1` Event), as kube-apiserver writes it (k8s.io/apiserver `pkg/audit/request.go`).
//!
//! ```text
//! RequestReceived ─▶ ResponseStarted (long answers only) ─▶ ResponseComplete
//!        └──────────────────┴─▶ Panic
//! ```

use std::collections::BTreeMap;

use jiff::Timestamp;
use remora_model::Status;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::policy::Level;
use crate::object::text;
use crate::rbac::Attributes;
use crate::time;

/// Bytes of a user agent that are told (upstream: `maxUserAgentLength`).
const MAX_AGENT: usize = 1024;
/// Verbs and subresources of requests whose answer takes as long as somebody listens.
const LONG_VERBS: [&str; 1] = ["watch"];
const LONG_SUBRESOURCES: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// How far a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It is known whose it is; nothing was done yet.
    #[default]
    RequestReceived,
    /// The head of a long answer has been sent.
    ResponseStarted,
    /// Nothing more will be sent.
    ResponseComplete,
    /// The handler panicked.
    Panic,
}

/// One event. Fields in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// How much is told.
    pub level: Level,
    /// The request's; all its events have the same.
    #[serde(rename = "auditID")]
    pub audit_id: String,
    /// How far it is.
    pub stage: Stage,
    /// Path and query as they came.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// `get`, `create`, …; of a path that is no resource, the method in lower case.
    pub verb: String,
    /// Who was authenticated.
    pub user: EventUser,
    /// Whom they acted as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonated_user: Option<EventUser>,
    /// Where it came from: what proxies say, then the peer. Empty for parts of this process.
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
    /// The client, as it calls itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_ref: Option<ObjectRef>,
    /// How it was answered; none if the client went before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_status: Option<Value>,
    /// From [`Level::Request`] on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_object: Option<Value>,
    /// At [`Level::RequestResponse`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_object: Option<Value>,
    /// When it came.
    #[serde(serialize_with = "micros")]
    pub request_received_timestamp: Timestamp,
    /// When this stage was reached.
    #[serde(serialize_with = "micros")]
    pub stage_timestamp: Timestamp,
    /// What authorization and admission say.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// `authentication.k8s.io/v1` UserInfo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EventUser {
    /// The name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Of service accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// All groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// More that an authenticator knows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// `pods`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Empty outside of any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Empty for collections.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// That of the object which was sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Empty for core.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    /// `v1`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// That of the object which was sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// `exec`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

impl ObjectRef {
    /// Takes from the object that was sent what the path does not say.
    pub fn complete(&mut self, object: &Value) {
        let of = |field: &str| text(object, &["metadata", field]);
        for (field, said) in [
            (&mut self.namespace, of("namespace")),
            (&mut self.name, of("name")),
            (&mut self.uid, of("uid")),
            (&mut self.resource_version, of("resourceVersion")),
        ] {
            if field.is_empty() {
                said.clone_into(field);
            }
        }
    }
}

fn micros<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time::micros(*at))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'e> {
    kind: &'static str,
    api_version: &'static str,
    #[serde(flatten)]
    event: &'e Event,
}

impl Event {
    /// The same request at a stage.
    pub fn at(&self, stage: Stage, now: Timestamp) -> Self {
        Self { stage, stage_timestamp: now, ..self.clone() }
    }

    /// What was answered: the status of a refusal with its words, of everything else the code alone.
    pub fn answered(&mut self, code: u16, status: Option<&Status>) {
        self.response_status = Some(match status {
            None => json!({"metadata": {}, "code": code}),
            Some(status) => {
                let mut told = serde_json::to_value(status).unwrap_or_default();
                if let Some(fields) = told.as_object_mut() {
                    // As upstream, where the event has a Status without a type of its own.
                    fields.remove("kind");
                    fields.remove("apiVersion");
                    fields.insert("code".to_owned(), code.into());
                }
                told
            }
        });
    }

    /// Its line in the log, with the newline.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn line(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = serde_json::to_vec(&Line { kind: "Event", api_version: "audit.k8s.io/v1", event: self })?;
        line.push(b'\n');
        Ok(line)
    }
}

/// Whether a request is answered for as long as somebody listens: it has a [`Stage::ResponseStarted`] of its own.
pub fn is_long(what: &Attributes<'_>) -> bool {
    match what {
        Attributes::Resource { verb, subresource, .. } => {
            LONG_VERBS.contains(verb) || LONG_SUBRESOURCES.contains(subresource)
        }
        Attributes::Path { .. } => false,
    }
}

/// A user agent, cut where upstream cuts it.
pub fn agent(text: &str) -> String {
    match text.char_indices().find(|(at, letter)| at + letter.len_utf8() > MAX_AGENT) {
        Some((end, _)) => format!("{}...TRUNCATED", &text[..end]),
        None => text.to_owned(),
    }
}

/// An object, a list or a table without its managed fields.
pub fn without_managed_fields(mut object: Value) -> Value {
    strip(&mut object);
    let items = object.get_mut("items").and_then(Value::as_array_mut);
    items.into_iter().flatten().for_each(strip);
    let rows = object.get_mut("rows").and_then(Value::as_array_mut);
    rows.into_iter().flatten().filter_map(|row| row.get_mut("object")).for_each(strip);
    object
}

fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::status::Qualified;

    #[test]
    fn an_event_is_written_as_upstream_writes_it() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let mut event = Event {
            level: Level::Metadata,
            audit_id: "a-1".to_owned(),
            request_uri: "/api/v1/namespaces/a/pods?x=y".to_owned(),
            verb: "create".to_owned(),
            user: EventUser { username: "jane".to_owned(), groups: vec!["dev".to_owned()], ..EventUser::default() },
            source_ips: vec!["127.0.0.1".to_owned()],
            user_agent: "kubectl".to_owned(),
            object_ref: Some(ObjectRef {
                resource: "pods".to_owned(),
                namespace: "a".to_owned(),
                api_version: "v1".to_owned(),
                ..ObjectRef::default()
            }),
            request_received_timestamp: at("2026-01-02T03:04:05Z"),
            ..Event::default()
        };
        event.answered(201, None);
        event.annotations.insert("authorization.k8s.io/decision".to_owned(), "allow".to_owned());
        let done = event.at(Stage::ResponseComplete, at("2026-01-02T03:04:05.25Z"));
        let expected = concat!(
            r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a-1","stage":"ResponseComplete","#,
            r#""requestURI":"/api/v1/namespaces/a/pods?x=y","verb":"create","user":{"username":"jane","groups":["dev"]},"#,
            r#""sourceIPs":["127.0.0.1"],"userAgent":"kubectl","objectRef":{"resource":"pods","namespace":"a","apiVersion":"v1"},"#,
            r#""responseStatus":{"code":201,"metadata":{}},"requestReceivedTimestamp":"2026-01-02T03:04:05.000000Z","#,
            r#""stageTimestamp":"2026-01-02T03:04:05.250000Z","annotations":{"authorization.k8s.io/decision":"allow"}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(done.line().unwrap()).unwrap(), expected);
    }

    #[test]
    fn a_refusal_is_told_in_its_words() {
        let mut event = Event::default();
        event.answered(403, Some(&Status::forbidden(Qualified::core("pods"), "web", "no")));
        let told = event.response_status.unwrap();
        assert_eq!((told["code"].as_u64(), told["reason"].as_str()), (Some(403), Some("Forbidden")));
        assert_eq!(told["message"], "pods \"web\" is forbidden: no");
        assert!(told.get("kind").is_none());
    }

    #[test]
    fn managed_fields_go_from_objects_lists_and_tables() {
        let object = || json!({"metadata": {"name": "a", "managedFields": [1]}});
        let left = json!({"metadata": {"name": "a"}});
        assert_eq!(without_managed_fields(object()), left);
        assert_eq!(without_managed_fields(json!({"items": [object()]})), json!({"items": [left]}));
        assert_eq!(
            without_managed_fields(json!({"rows": [{"object": object()}]})),
            json!({"rows": [{"object": left}]})
        );
        assert_eq!(without_managed_fields(json!([1])), json!([1]));
    }

    #[test]
    fn agents_are_cut_and_long_answers_known() {
        assert_eq!(agent("kubectl"), "kubectl");
        assert_eq!(agent(&"x".repeat(1024)).len(), 1024);
        assert_eq!(agent(&"é".repeat(513)), format!("{}...TRUNCATED", "é".repeat(512)));
        let of = |verb, subresource| Attributes::Resource {
            verb,
            group: "",
            resource: "pods",
            subresource,
            namespace: "a",
            name: "",
        };
        assert!(is_long(&of("watch", "")) && is_long(&of("get", "exec")) && is_long(&of("get", "log")));
        assert!(!is_long(&of("list", "")) && !is_long(&Attributes::Path { verb: "watch", path: "/" }));
    }
}
