//! Recorded requests and what is compared of their answers, as `reference/replay.py` does it: one case is a JSON object with `title`,
//! `method`, `path`, and perhaps `body`, `type`, `headers`, `edit` (the body is an object as it is, with some values set), `wait` (what must be
//! true before the next case) and `compare` (`code`, `reason`, `table`; else all). Whoever plays them sends and waits.

use serde_json::{Map, Value, json};

/// A recorded request in one namespace.
#[derive(Clone, Debug)]
pub struct Case {
    value: Value,
}

impl Case {
    /// All cases of a file, in a namespace of this name.
    ///
    /// # Errors
    /// If the file is no list of objects.
    pub fn read(file: &str, namespace: &str) -> Result<Vec<Self>, serde_json::Error> {
        let list: Vec<Value> = serde_json::from_str(&file.replace("{ns}", namespace))?;
        Ok(list.into_iter().map(|value| Self { value }).collect())
    }

    /// What is shown of it.
    pub fn title(&self) -> &str {
        self.text("title")
    }

    /// `GET`
    pub fn method(&self) -> &str {
        self.text("method")
    }

    /// With its query.
    pub fn path(&self) -> &str {
        self.text("path")
    }

    fn text(&self, name: &str) -> &str {
        self.value[name].as_str().unwrap_or_default()
    }

    /// The content type of its body.
    pub fn content_type(&self) -> &str {
        match self.text("type") {
            "strategic" => "application/strategic-merge-patch+json",
            "merge" => "application/merge-patch+json",
            "json-patch" => "application/json-patch+json",
            "apply" => "application/apply-patch+yaml",
            "" | "json" | "table" => "application/json",
            other => other,
        }
    }

    /// What it accepts.
    pub fn accept(&self) -> &str {
        match self.text("type") {
            "table" => "application/json;as=Table;v=v1;g=meta.k8s.io",
            _ => "application/json",
        }
    }

    /// Further headers.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = self.value["headers"].as_object().into_iter().flatten();
        headers.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
    }

    /// The path of the object that its body is made of, if it is.
    pub fn edited(&self) -> Option<&str> {
        self.value["edit"]["of"].as_str()
    }

    /// Its body; `now` is the object that it is made of.
    pub fn body(&self, now: Option<Value>) -> Option<String> {
        let body = match now {
            None => self.value.get("body")?.clone(),
            Some(now) => edit(now, self.value["edit"]["set"].as_array().map_or(&[], Vec::as_slice)),
        };
        Some(match body {
            Value::String(text) => repeated(&text),
            body => repeated(&body.to_string()),
        })
    }

    /// What must be true of the object at a path before the next case: the value at this place is that one.
    pub fn wait(&self) -> Option<(&str, &str, &Value)> {
        let wait = self.value.get("wait")?;
        Some((wait["path"].as_str()?, wait["at"].as_str()?, &wait["is"]))
    }

    /// What is compared of the recorded answer, where that stands beside its request.
    pub fn recorded(&self) -> &Value {
        &self.value["answer"]
    }

    /// What is compared of an answer.
    pub fn essence(&self, code: u16, warning: Option<&str>, body: &Value, namespace: &str) -> Value {
        match self.value["compare"].as_str() {
            Some("code") => return json!({ "code": code }),
            Some("table") => return table(code, body),
            Some("reason") => return json!({"code": code, "reason": body["reason"]}),
            _ => {}
        }
        if body["kind"] != "Status" {
            return tidy(&json!({"code": code, "warning": warning, "object": body}), "", namespace);
        }
        let details = &body["details"];
        let cause =
            |c: &Value| json!({"reason": c["reason"], "field": c["field"], "message": first_line(&c["message"])});
        let causes: Vec<Value> = details["causes"].as_array().into_iter().flatten().map(cause).collect();
        let answer = json!({
            "code": code, "reason": body["reason"], "message": first_line(&body["message"]), "warning": warning,
            "kind": details["kind"], "name": details["name"], "group": details["group"], "causes": causes,
        });
        tidy(&answer, "", namespace)
    }
}

/// Names, types and priorities of a table's columns, and its cells but for ages.
fn table(code: u16, body: &Value) -> Value {
    let columns = body["columnDefinitions"].as_array().map_or(&[][..], Vec::as_slice);
    let shown: Vec<Value> = columns.iter().map(|c| json!([c["name"], c["type"], c["priority"]])).collect();
    let row = |row: &Value| -> Value {
        let cells = row["cells"].as_array().into_iter().flatten();
        cells.zip(columns).filter(|(_, column)| column["name"] != "Age").map(|(cell, _)| cell.clone()).collect()
    };
    let rows: Vec<Value> = body["rows"].as_array().into_iter().flatten().map(row).collect();
    json!({"code": code, "columns": shown, "rows": rows})
}

/// The value at a place such as `status.phase`.
pub fn at<'v>(object: &'v Value, place: &str) -> &'v Value {
    object.pointer(&format!("/{}", place.replace('.', "/"))).unwrap_or(&Value::Null)
}

/// `$repeat:x:9` stands for nine `x`.
fn repeated(text: &str) -> String {
    let mut parts = text.split("$repeat:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (letter, rest) = part.split_at(part.chars().next().map_or(0, char::len_utf8));
        let digits = rest.trim_start_matches(':');
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        out.push_str(&letter.repeat(digits[..end].parse().unwrap_or_default()));
        out.push_str(&digits[end..]);
    }
    out
}

/// Each edit is a place and a value: a place that ends in `+` is a list that gets it, null removes, `$reverse` turns a list around.
fn edit(mut object: Value, edits: &[Value]) -> Value {
    for edit in edits {
        let (place, value) = (edit[0].as_str().unwrap_or_default(), &edit[1]);
        let pointer = format!("/{}", place.trim_end_matches('+').replace('.', "/"));
        if place.ends_with('+') {
            if let Some(list) = object.pointer_mut(&pointer).and_then(Value::as_array_mut) {
                list.push(value.clone());
            }
            continue;
        }
        if value == "$reverse" {
            object.pointer_mut(&pointer).and_then(Value::as_array_mut).into_iter().for_each(|list| list.reverse());
            continue;
        }
        let (parent, last) = pointer.rsplit_once('/').unwrap_or_default();
        match (object.pointer_mut(parent), value.is_null()) {
            (Some(Value::Object(members)), true) => drop(members.remove(last)),
            (Some(Value::Object(members)), false) => drop(members.insert(last.to_owned(), value.clone())),
            (Some(Value::Array(items)), _) => {
                if let Some(slot) = last.parse().ok().and_then(|at: usize| items.get_mut(at)) {
                    *slot = value.clone();
                }
            }
            _ => {}
        }
    }
    object
}

/// A message's contract: up to the dump of a diff, if it has one.
fn first_line(message: &Value) -> Value {
    let Some(text) = message.as_str() else { return Value::Null };
    let end = ["\n@@", "\n  "].iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
    text[..end].trim_end_matches('\n').into()
}

const VOLATILE: [&str; 6] =
    ["uid", "resourceVersion", "creationTimestamp", "managedFields", "selfLink", "deletionTimestamp"];

/// Without what differs from run to run.
fn tidy(value: &Value, key: &str, namespace: &str) -> Value {
    match value {
        Value::Object(map) => {
            let is_volatile = |name: &str, v: &Value| {
                (key == "columnDefinitions" && name == "description")
                    || (key == "metadata" && VOLATILE.contains(&name))
                    || (name == "status" && v.get("phase").is_some())
                    || ["nodeName", "lastTransitionTime", "startTime"].contains(&name)
            };
            let kept = map.iter().filter(|(name, v)| !is_volatile(name, v));
            Value::Object(kept.map(|(name, v)| (name.clone(), tidy(v, name, namespace))).collect::<Map<_, _>>())
        }
        Value::Array(items) => {
            let key = if key == "columnDefinitions" { key } else { "" };
            items.iter().map(|v| tidy(v, key, namespace)).collect()
        }
        Value::String(text) => mask(text, namespace).into(),
        other => other.clone(),
    }
}

fn mask(text: &str, namespace: &str) -> String {
    let mut text = text.replace(namespace, "NS");
    if let Some(at) = text.find("kube-api-access-") {
        let suffix = at + "kube-api-access-".len();
        text.replace_range(suffix..(suffix + 5).min(text.len()), "XXXXX");
    }
    let is_uid = |word: &&str| word.len() == 36 && word.chars().filter(|c| *c == '-').count() == 4;
    let is_between = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    let uids: Vec<String> = text.split(is_between).filter(is_uid).map(str::to_owned).collect();
    uids.iter().fold(text, |text, uid| text.replace(uid, "UID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(value: Value) -> Case {
        Case { value }
    }

    #[test]
    fn bodies_are_edited_and_repeated() {
        let edits =
            json!([["spec.a", 1], ["spec.b", null], ["spec.l+", "z"], ["spec.l", "$reverse"], ["spec.l.0", "y"]]);
        let case = case(json!({"edit": {"of": "/x", "set": edits}}));
        let made = case.body(Some(json!({"spec": {"b": 2, "l": ["x"]}}))).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&made).unwrap(), json!({"spec": {"a": 1, "l": ["y", "x"]}}));
        let long = Case { value: json!({"body": {"a": "$repeat:x:4!"}}) };
        assert_eq!(long.body(None).unwrap(), r#"{"a":"xxxx!"}"#);
    }

    #[test]
    fn what_differs_from_run_to_run_is_not_compared() {
        let body = json!({
            "metadata": {"uid": "1", "name": "ns-1"}, "spec": {"nodeName": "n", "v": "kube-api-access-abcde"},
            "said": "UID: 11111111-2222-3333-4444-555555555555, of ns-1",
        });
        let essence = case(json!({})).essence(200, None, &body, "ns-1");
        let expected =
            json!({"metadata": {"name": "NS"}, "spec": {"v": "kube-api-access-XXXXX"}, "said": "UID: UID, of NS"});
        assert_eq!(essence["object"], expected);
        assert_eq!(case(json!({"compare": "code"})).essence(200, None, &body, "ns-1"), json!({"code": 200}));
    }
}
