//! A map for a store and just enough of an API server around the rules to play recorded requests.

use std::collections::BTreeMap;

use remora_model::json::{Limits, parse};
use remora_model::kinds::{Kind, Verb, core};
use remora_model::{ObjectKey, Status};
use remora_rules::decode::{self, Decoded, FieldValidation};
use remora_rules::delete::{DeleteOptions, Deletion, decide};
use remora_rules::metadata::place;
use remora_rules::patch::{self, PatchType};
use remora_rules::pod;
use remora_rules::pod::log::{LogOptions, StreamOptions};
use remora_rules::selector::{fields, labels};
use remora_rules::strategy::{Ctx, strategy};
use remora_rules::table;
use serde_json::{Value, json};

const NAMESPACE: &str = "replay-a-1";

/// What is stored, and the revision of the last write.
#[derive(Default)]
pub(crate) struct World {
    objects: BTreeMap<String, (Value, u64)>,
    revision: u64,
}

/// What came of a request: code, answer, the warning header.
type Answer = Result<(u16, Value, Option<String>), Status>;

/// A recorded request, taken apart.
struct Request<'c> {
    case: &'c Value,
    kind: &'static Kind,
    name: String,
    subresource: String,
    query: Vec<(String, String)>,
}

fn ctx() -> Ctx {
    Ctx { now: "2026-01-02T03:04:05Z".parse().unwrap(), uid: "uid-1".to_owned(), suffix: "xxxxx".to_owned() }
}

impl World {
    /// The essence of what the rules answer, in the form of the recordings.
    pub(crate) fn play(&mut self, case: &Value) -> Value {
        let request = Request::read(case);
        let answer = match case["method"].as_str().unwrap() {
            "GET" => self.get(&request),
            "POST" => self.create(&request),
            "PUT" => self.put(&request),
            "PATCH" => self.patch(&request),
            "DELETE" => self.delete(&request),
            other => panic!("{other}"),
        };
        essence(case["compare"].as_str(), answer)
    }

    fn key(&self, request: &Request<'_>) -> String {
        ObjectKey::new(request.kind, Some(NAMESPACE), request.name.as_str()).store_key().unwrap()
    }

    /// The stored object, with its resourceVersion.
    fn find(&self, request: &Request<'_>) -> Result<Value, Status> {
        let missing = || Status::kind_not_found(request.kind, &request.name);
        let (mut object, revision) = self.objects.get(&self.key(request)).cloned().ok_or_else(missing)?;
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        Ok(object)
    }

    fn keep(&mut self, key: String, object: Value) {
        self.revision += 1;
        self.objects.insert(key, (object, self.revision + 100));
    }

    fn get(&self, request: &Request<'_>) -> Answer {
        if request.name.is_empty() {
            return self.list(request);
        }
        if request.subresource == "log" {
            let options = LogOptions::from_query(&request.name, request.pairs())?;
            pod::containers::choose(&self.find(request)?, &options.container)?;
        }
        let object = self.find(request)?;
        if matches!(request.subresource.as_str(), "exec" | "attach") {
            StreamOptions::from_query(request.pairs()).container_of(&object)?;
        }
        Ok((200, object, None))
    }

    fn list(&self, request: &Request<'_>) -> Answer {
        labels::Selector::parse(request.parameter("labelSelector"))?;
        let selector = fields::Selector::parse(request.kind, request.parameter("fieldSelector"))?;
        let prefix = request.kind.store_prefix_in(Some(NAMESPACE)).unwrap();
        let all = self.objects.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, (object, _))| object);
        let items: Vec<&Value> = all.filter(|object| selector.matches(object)).collect();
        if request.case["type"] == "table" {
            let now = ctx().now;
            let rows = items.iter().map(|o| table::row(request.kind, o, table::IncludeObject::Metadata, now)).collect();
            return Ok((200, table::table(request.kind, rows, json!({})), None));
        }
        let kind = request.kind.list_kind();
        Ok((200, json!({"kind": kind, "apiVersion": "v1", "metadata": {}, "items": items}), None))
    }

    fn create(&mut self, request: &Request<'_>) -> Answer {
        request.allow(Verb::Create)?;
        let mut decoded = request.decode(request.body())?;
        place::set_namespace(request.kind, &mut decoded.object, Some(NAMESPACE))?;
        if request.kind == core("pods") {
            pod::admission::admit(&mut decoded.object, Some(&json!({})), "xxxxx")?;
            pod::priority::admit(&mut decoded.object, &[])?;
        }
        let rules = strategy(request.kind, "").unwrap();
        let object = rules.create(request.kind, decoded.object, &ctx())?;
        let name = object["metadata"]["name"].as_str().unwrap();
        let key = ObjectKey::new(request.kind, Some(NAMESPACE), name).store_key().unwrap();
        if self.objects.contains_key(&key) {
            return Err(Status::already_exists(request.kind.resource(), name));
        }
        self.keep(key, object.clone());
        Ok((201, object, warning(&decoded.warnings)))
    }

    fn put(&mut self, request: &Request<'_>) -> Answer {
        request.allow(Verb::Update)?;
        let now = self.find(request)?;
        let body = edited(now.clone(), &request.case["edit"]["set"]);
        let decoded = request.decode(body)?;
        self.update(request, now, decoded)
    }

    fn patch(&mut self, request: &Request<'_>) -> Answer {
        request.allow(Verb::Patch)?;
        let media_type = match request.case["type"].as_str().unwrap() {
            "strategic" => "application/strategic-merge-patch+json",
            "merge" => "application/merge-patch+json",
            "json-patch" => "application/json-patch+json",
            "apply" => "application/apply-patch+yaml",
            other => other,
        };
        let patch_type = PatchType::from_media_type(media_type)?;
        patch::check_options(patch_type, request.parameter("fieldManager"), None)?;
        let now = self.find(request)?;
        let body = request.body();
        let bytes = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let validation = FieldValidation::from_query(request.parameter("fieldValidation"))?;
        let decoded = patch::apply(request.kind, patch_type, &now, bytes.as_bytes(), validation)?;
        self.update(request, now, decoded)
    }

    fn update(&mut self, request: &Request<'_>, mut now: Value, decoded: Decoded) -> Answer {
        let Decoded { mut object, warnings } = decoded;
        place::set_name(&mut object, &request.name)?;
        place::set_namespace(request.kind, &mut object, Some(NAMESPACE))?;
        let wanted = place::take_resource_version(&mut object);
        let stored = place::take_resource_version(&mut now);
        if !wanted.is_empty() && wanted != stored {
            return Err(Status::modified(request.kind.resource(), &request.name));
        }
        let rules = strategy(request.kind, &request.subresource).ok_or_else(Status::method_not_allowed)?;
        let new = rules.update(request.kind, &now, object, &ctx())?;
        if new != now && request.parameter("dryRun").is_empty() {
            self.keep(self.key(request), new.clone());
        }
        Ok((200, new, warning(&warnings)))
    }

    fn delete(&mut self, request: &Request<'_>) -> Answer {
        request.allow(Verb::Delete)?;
        let options = DeleteOptions::from_body(&request.body())?;
        let grace = request.parameter("gracePeriodSeconds").parse().ok().or(options.grace);
        let options = DeleteOptions { grace, ..options };
        let object = self.find(request)?;
        let version = object["metadata"]["resourceVersion"].as_str().unwrap();
        if decide(request.kind, &object, version, &options, ctx().now)? == Deletion::Now {
            self.objects.remove(&self.key(request));
        }
        Ok((200, object, None))
    }
}

impl<'c> Request<'c> {
    fn read(case: &'c Value) -> Self {
        let (path, query) = {
            let path = case["path"].as_str().unwrap();
            path.split_once('?').unwrap_or((path, ""))
        };
        let mut parts = path.strip_prefix("/api/v1/namespaces/{ns}/").unwrap_or_else(|| panic!("{path}")).split('/');
        let mut next = || parts.next().unwrap_or_default().to_owned();
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        Self {
            kind: core(&next()),
            name: next(),
            subresource: next(),
            query: query.map(|(k, v)| (k.to_owned(), unescaped(v))).collect(),
            case,
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.query.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    fn parameter(&self, name: &str) -> &str {
        self.pairs().find(|(k, _)| *k == name).map_or("", |(_, v)| v)
    }

    fn body(&self) -> Value {
        self.case.get("body").cloned().unwrap_or_default()
    }

    fn decode(&self, body: Value) -> Result<Decoded, Status> {
        let parsed = parse(body.to_string().as_bytes(), Limits::OBJECT).unwrap();
        decode::body(self.kind, parsed, FieldValidation::from_query(self.parameter("fieldValidation"))?)
    }

    fn allow(&self, verb: Verb) -> Result<(), Status> {
        let verbs = match self.subresource.as_str() {
            "" => self.kind.verbs,
            name => self.kind.subresource(name).map_or(&[][..], |s| s.verbs),
        };
        if verbs.contains(&verb) { Ok(()) } else { Err(Status::method_not_allowed()) }
    }
}

fn unescaped(text: &str) -> String {
    text.replace("%3D", "=").replace("%20", " ")
}

fn warning(warnings: &[String]) -> Option<String> {
    warnings.first().map(|w| format!("299 - {}", json!(w)))
}

/// `replay.py`'s edits: a path ending in `+` appends, `$reverse` reverses.
fn edited(mut object: Value, edits: &Value) -> Value {
    for edit in edits.as_array().unwrap() {
        let (path, value) = (edit[0].as_str().unwrap(), &edit[1]);
        let pointer = format!("/{}", path.trim_end_matches('+').replace('.', "/"));
        if path.ends_with('+') {
            object.pointer_mut(&pointer).unwrap().as_array_mut().unwrap().push(value.clone());
        } else if value == "$reverse" {
            object.pointer_mut(&pointer).unwrap().as_array_mut().unwrap().reverse();
        } else if let Some(slot) = object.pointer_mut(&pointer) {
            *slot = value.clone();
        } else {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap()[name] = value.clone();
        }
    }
    object
}

/// As `replay.py` compares.
fn essence(compare: Option<&str>, answer: Answer) -> Value {
    let status = match answer {
        Ok((code, object, warning)) => {
            return match compare {
                Some("code") => json!({ "code": code }),
                _ => json!({"code": code, "warning": warning, "object": tidy(object, "")}),
            };
        }
        Err(status) => status,
    };
    match compare {
        Some("code") => json!({"code": status.code}),
        Some("reason") => json!({"code": status.code, "reason": status.reason}),
        _ => {
            let details = status.details.clone().unwrap_or_default();
            let word = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
            let causes: Vec<Value> = details
                .causes
                .iter()
                .map(|c| json!({"reason": word(&c.reason), "field": word(&c.field), "message": first_line(&c.message)}))
                .collect();
            let answer = json!({
                "code": status.code, "reason": word(&status.reason), "message": first_line(&status.message), "warning": null,
                "kind": word(&details.kind), "name": word(&details.name), "group": word(&details.group), "causes": causes,
            });
            tidy(answer, "")
        }
    }
}

fn first_line(message: &str) -> String {
    let end = ["\n@@", "\n  "].iter().filter_map(|mark| message.find(mark)).min().unwrap_or(message.len());
    message[..end].trim_end_matches('\n').to_owned()
}

/// Removes what differs from run to run.
fn tidy(value: Value, key: &str) -> Value {
    const OF_METADATA: [&str; 7] = [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
        "selfLink",
        "deletionTimestamp",
        "description",
    ];
    const ANYWHERE: [&str; 3] = ["nodeName", "lastTransitionTime", "startTime"];
    match value {
        Value::Object(map) => {
            let volatile = key == "metadata" || key == "columnDefinitions";
            let kept = map.into_iter().filter(|(name, value)| {
                let varies = volatile && OF_METADATA.contains(&name.as_str()) || ANYWHERE.contains(&name.as_str());
                let written_by_the_node = name == "status" && value.get("phase").is_some();
                !(varies || written_by_the_node)
            });
            Value::Object(
                kept.map(|(name, value)| {
                    let tidied = tidy(value, &name);
                    (name, tidied)
                })
                .collect(),
            )
        }
        Value::Array(items) => {
            let key = if key == "columnDefinitions" { key } else { "" };
            items.into_iter().map(|item| tidy(item, key)).collect()
        }
        Value::String(text) => text
            .replace("kube-api-access-xxxxx", "kube-api-access-XXXXX")
            .replace(NAMESPACE, "NS")
            .replace("uid-1", "UID")
            .into(),
        other => other,
    }
}
