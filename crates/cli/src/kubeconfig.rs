//! Kubeconfig files as `remora up` writes and merges them. Pure.

use serde_json::{Value, json};

/// What a context of ours needs. Certificates and key are PEM text.
#[derive(Clone)]
pub struct NodeAccess {
    /// The name of context, cluster and user.
    pub name: String,
    /// `https://127.0.0.1:6443`
    pub server: String,
    /// The authority that signed the server's certificate.
    pub ca_pem: String,
    /// The client's certificate.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: String,
}

/// A kubeconfig could not be merged; the file is left as it was.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// It is not YAML.
    #[error("the file is not valid YAML")]
    Yaml(#[source] serde_norway::Error),
    /// It is YAML, but no kubeconfig.
    #[error("{0}")]
    Shape(String),
}

/// A kubeconfig with one context.
pub fn render(access: &NodeAccess, encode: impl Fn(&str) -> String) -> String {
    to_yaml(&fresh(access, encode))
}

/// Adds (or replaces) our context in an existing file and makes it the current one; everything else stays.
///
/// # Errors
/// [`MergeError`] if `existing` is no kubeconfig.
pub fn merge(existing: &str, access: &NodeAccess, encode: impl Fn(&str) -> String) -> Result<String, MergeError> {
    let ours = fresh(access, encode);
    let mut config: Value = serde_norway::from_str(existing).map_err(MergeError::Yaml)?;
    if config.is_null() {
        return Ok(to_yaml(&ours));
    }
    let Some(object) = config.as_object_mut() else {
        return Err(MergeError::Shape("the file is no kubeconfig: not a mapping".to_owned()));
    };
    for list in ["clusters", "users", "contexts"] {
        let entries = object.entry(list).or_insert_with(|| json!([]));
        if entries.is_null() {
            *entries = json!([]);
        }
        let Some(entries) = entries.as_array_mut() else {
            return Err(MergeError::Shape(format!("the file is no kubeconfig: {list} is not a list")));
        };
        entries.retain(|entry| entry["name"] != access.name.as_str());
        entries.extend(ours[list].as_array().cloned().unwrap_or_default());
    }
    object.insert("current-context".to_owned(), ours["current-context"].clone());
    object.entry("apiVersion").or_insert_with(|| json!("v1"));
    object.entry("kind").or_insert_with(|| json!("Config"));
    Ok(to_yaml(&config))
}

fn fresh(access: &NodeAccess, encode: impl Fn(&str) -> String) -> Value {
    let name = &access.name;
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": access.server,
            "certificate-authority-data": encode(&access.ca_pem),
        }}],
        "users": [{"name": name, "user": {
            "client-certificate-data": encode(&access.cert_pem),
            "client-key-data": encode(&access.key_pem),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    })
}

fn to_yaml(value: &Value) -> String {
    serde_norway::to_string(value).expect("JSON values have string keys and are valid YAML")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> NodeAccess {
        NodeAccess {
            name: "remora".into(),
            server: "https://127.0.0.1:6443".into(),
            ca_pem: "CA".into(),
            cert_pem: "CERT".into(),
            key_pem: "KEY".into(),
        }
    }

    fn merged(existing: &str) -> Value {
        serde_norway::from_str(&merge(existing, &access(), |s| s.to_lowercase()).unwrap()).unwrap()
    }

    #[test]
    fn an_empty_file_becomes_ours() {
        let ours: Value = serde_norway::from_str(&render(&access(), |s| s.to_lowercase())).unwrap();
        assert_eq!(merged(""), ours);
        assert_eq!(ours["users"][0]["user"]["client-key-data"], "key");
    }

    #[test]
    fn other_contexts_and_unknown_fields_stay() {
        let got = merged(
            "apiVersion: v1\nkind: Config\nextensions: [{name: x}]\ncurrent-context: prod\nclusters: [{name: prod, cluster: {server: s}}]\n\
             users:\ncontexts: [{name: prod, context: {cluster: prod, user: me}}]\n",
        );
        assert_eq!(got["current-context"], "remora");
        assert_eq!(got["extensions"][0]["name"], "x");
        let names = |list: &str| -> Vec<Value> {
            got[list].as_array().unwrap().iter().map(|entry| entry["name"].clone()).collect()
        };
        assert_eq!(names("clusters"), ["prod", "remora"]);
        assert_eq!(names("users"), ["remora"]);
        assert_eq!(names("contexts"), ["prod", "remora"]);
    }

    #[test]
    fn merging_twice_changes_nothing_more() {
        let once = merge("", &access(), str::to_lowercase).unwrap();
        assert_eq!(merge(&once, &access(), str::to_lowercase).unwrap(), once);
    }

    #[test]
    fn what_is_no_kubeconfig_is_refused() {
        let check = |text: &str, expected: &str| {
            assert_eq!(merge(text, &access(), str::to_lowercase).unwrap_err().to_string(), expected);
        };
        check("- a", "the file is no kubeconfig: not a mapping");
        check("clusters: 7", "the file is no kubeconfig: clusters is not a list");
        check("a: [", "the file is not valid YAML");
    }
}
