//! The operations: which paths there are, with which methods and parameters. Pure. kubectl looks here whether a kind's
//! PATCH takes `fieldValidation` and `dryRun`; generators of clients want the rest.

use remora_model::Kind;
use remora_model::kinds::{Subresource, Verb};
use serde_json::{Map, Value, json};

use super::Dialect;
use super::schemas::{definition_name, reference};

const READ: &[(&str, &str)] = &[("resourceVersion", "string")];
const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: &[(&str, &str)] = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// The paths of these kinds.
pub(super) fn of(dialect: Dialect, kinds: &[&'static Kind]) -> Map<String, Value> {
    let mut paths = Map::new();
    for kind in kinds {
        let writer = Writer { dialect, kind };
        let root = match kind.group {
            "" => format!("/api/{}", kind.version),
            group => format!("/apis/{group}/{}", kind.version),
        };
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{root}{scope}/{}", kind.plural);
        let object = format!("{collection}/{{name}}");
        for sub in kind.subresources {
            paths.insert(format!("{object}/{}", sub.name), writer.subresource(sub));
        }
        if kind.namespaced && kind.verbs.contains(&Verb::List) {
            paths.insert(format!("{root}/{}", kind.plural), writer.everywhere());
        }
        paths.insert(collection, writer.collection());
        if kind.verbs.contains(&Verb::Get) {
            paths.insert(object, writer.object());
        }
    }
    paths
}

struct Writer {
    dialect: Dialect,
    kind: &'static Kind,
}

impl Writer {
    fn everywhere(&self) -> Value {
        json!({"get": self.operation("list", "get", "ForAllNamespaces", LIST)})
    }

    fn collection(&self) -> Value {
        let mut item = Map::new();
        self.add(&mut item, Verb::List, "get", "list", LIST);
        self.add(&mut item, Verb::Create, "post", "post", WRITE);
        self.add(&mut item, Verb::DeleteCollection, "delete", "deletecollection", LIST);
        item.insert("parameters".into(), self.path_parameters(false));
        item.into()
    }

    fn object(&self) -> Value {
        let mut item = Map::new();
        self.add(&mut item, Verb::Get, "get", "get", READ);
        self.add(&mut item, Verb::Update, "put", "put", WRITE);
        self.add(&mut item, Verb::Patch, "patch", "patch", PATCH);
        self.add(&mut item, Verb::Delete, "delete", "delete", DELETE);
        item.insert("parameters".into(), self.path_parameters(true));
        item.into()
    }

    fn subresource(&self, sub: &Subresource) -> Value {
        let mut item = Map::new();
        for verb in sub.verbs {
            let (method, action, parameters) = match verb {
                Verb::Get if sub.kind.ends_with("Options") => ("get", "connect", READ),
                Verb::Get => ("get", "get", READ),
                Verb::Create if sub.kind.ends_with("Options") => ("post", "connect", READ),
                Verb::Create => ("post", "post", WRITE),
                Verb::Update if sub.kind.ends_with("Options") => ("put", "connect", READ),
                Verb::Patch if sub.kind.ends_with("Options") => ("patch", "connect", READ),
                Verb::Delete if sub.kind.ends_with("Options") => ("delete", "connect", READ),
                Verb::Update => ("put", "put", WRITE),
                Verb::Patch => ("patch", "patch", PATCH),
                _ => continue,
            };
            let mut operation = self.operation(action, method, sub.name, parameters);
            let (group, version) =
                if sub.version.is_empty() { (self.kind.group, self.kind.version) } else { (sub.group, sub.version) };
            operation["x-kubernetes-group-version-kind"] =
                json!({"group": group, "kind": sub.kind, "version": version});
            item.insert(method.into(), operation);
        }
        item.insert("parameters".into(), self.path_parameters(true));
        item.into()
    }

    fn add(&self, item: &mut Map<String, Value>, verb: Verb, method: &str, action: &str, parameters: &[(&str, &str)]) {
        if self.kind.verbs.contains(&verb) {
            item.insert(method.to_owned(), self.operation(action, method, "", parameters));
        }
    }

    fn operation(&self, action: &str, method: &str, suffix: &str, parameters: &[(&str, &str)]) -> Value {
        let kind = self.kind;
        let parameters: Vec<Value> = parameters.iter().map(|(name, of)| self.parameter(name, "query", of)).collect();
        json!({
            "operationId": format!("{action}{}{}{}{suffix}{method}", kind.group.replace('.', ""), kind.version, kind.kind),
            "tags": [if kind.group.is_empty() { "core_v1".to_owned() } else { kind.group.replace('.', "_") }],
            "parameters": parameters,
            "responses": {"200": self.response()},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": kind.group, "kind": kind.kind, "version": kind.version},
        })
    }

    fn parameter(&self, name: &str, place: &str, of: &str) -> Value {
        let mut parameter = json!({"name": name, "in": place, "required": place == "path"});
        match self.dialect {
            Dialect::V2 => parameter["type"] = of.into(),
            Dialect::V3 => parameter["schema"] = json!({"type": of}),
        }
        parameter
    }

    fn path_parameters(&self, has_name: bool) -> Value {
        let namespace = self.kind.namespaced.then(|| self.parameter("namespace", "path", "string"));
        let name = has_name.then(|| self.parameter("name", "path", "string"));
        namespace.into_iter().chain(name).collect()
    }

    fn response(&self) -> Value {
        let name = definition_name(self.kind).unwrap_or_default();
        let schema = json!({"$ref": reference(self.dialect, &name)});
        match self.dialect {
            Dialect::V2 => json!({"description": "OK", "schema": schema}),
            Dialect::V3 => json!({"description": "OK", "content": {"application/json": {"schema": schema}}}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::kinds;

    #[test]
    fn the_patch_of_a_kind_says_that_it_takes_field_validation_and_dry_run() {
        let paths = of(Dialect::V3, &[kinds::core("pods")]);
        let patch = &paths["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        let names: Vec<&str> =
            patch["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
        assert!(names.contains(&"fieldValidation") && names.contains(&"dryRun"));
        assert_eq!(patch["x-kubernetes-group-version-kind"], json!({"group": "", "kind": "Pod", "version": "v1"}));
        assert!(paths.contains_key("/api/v1/namespaces/{namespace}/pods/{name}/ephemeralcontainers"));
    }
}
