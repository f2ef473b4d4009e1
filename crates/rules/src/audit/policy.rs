//! The policy of an audit log (`audit.k8s.io/v1` Policy): the first rule that matches a request says how much is told of it
//! (k8s.io/apiserver `pkg/audit/policy/checker.go`). What no rule matches is not told.

use remora_model::{FieldError, Path};
use serde::{Deserialize, Serialize};

use super::event::Stage;
use crate::metadata::names::dns_subdomain;
use crate::rbac::{Attributes, Who};

/// How much is told; each level tells what those before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who, what, when, and how it ended.
    Metadata,
    /// The request's body too.
    Request,
    /// The response's body too.
    RequestResponse,
}

/// Rules, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// `audit.k8s.io/v1`
    pub api_version: String,
    /// `Policy`
    pub kind: String,
    /// Means nothing.
    #[serde(default)]
    pub metadata: serde_json::Value,
    /// The first that matches counts.
    #[serde(default)]
    pub rules: Vec<PolicyRule>,
    /// Stages at which nothing is told, whatever the rule.
    #[serde(default)]
    pub omit_stages: Vec<Stage>,
    /// Whether bodies go without their managed fields, where the rule does not say.
    #[serde(default)]
    pub omit_managed_fields: bool,
}

/// One rule. An empty list matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyRule {
    /// How much is told.
    pub level: Level,
    /// Names of users (who they are before they impersonate anybody).
    #[serde(default)]
    pub users: Vec<String>,
    /// One of the user's groups is in it.
    #[serde(default)]
    pub user_groups: Vec<String>,
    /// `get`, `create`, …
    #[serde(default)]
    pub verbs: Vec<String>,
    /// Matches requests for resources only.
    #[serde(default)]
    pub resources: Vec<GroupResources>,
    /// Matches requests for resources only; the empty name is the cluster.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Paths that are no resources; a `*` at the end matches every continuation.
    #[serde(default, rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
    /// Stages at which nothing is told.
    #[serde(default)]
    pub omit_stages: Vec<Stage>,
    /// Whether bodies go without their managed fields.
    #[serde(default)]
    pub omit_managed_fields: Option<bool>,
}

/// Resources of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupResources {
    /// Empty for core.
    #[serde(default)]
    pub group: String,
    /// `pods`, `pods/log`, `pods/*`, `*/status`, `*`; none for all of the group.
    #[serde(default)]
    pub resources: Vec<String>,
    /// Names of objects; none for all.
    #[serde(default)]
    pub resource_names: Vec<String>,
}

/// What is told of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How much.
    pub level: Level,
    /// But at these stages.
    pub omit_stages: Vec<Stage>,
    /// Whether bodies go without their managed fields.
    pub omit_managed_fields: bool,
}

impl Verdict {
    /// Whether anything is told at a stage.
    pub fn tells(&self, stage: Stage) -> bool {
        self.level > Level::None && !self.omit_stages.contains(&stage)
    }
}

/// Reads of these are not told by default: there are many, and they say nothing.
const QUIET_READS: [(&str, &str); 3] = [("", "events"), ("events.k8s.io", "events"), ("coordination.k8s.io", "leases")];
const READS: [&str; 3] = ["get", "list", "watch"];
const HEALTH: [&str; 3] = ["/healthz*", "/livez*", "/readyz*"];

impl Policy {
    /// Where there is no policy file: the metadata of everything but reads of events and leases, nodes' heartbeats and health checks, one line
    /// for each request once it has been answered. Never a body.
    pub fn standard() -> Self {
        let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let resources = |of: &[(&str, &str)]| {
            let resources = |&(group, resource): &(&str, &str)| GroupResources {
                group: group.to_owned(),
                resources: own(&[resource]),
                resource_names: Vec::new(),
            };
            of.iter().map(resources).collect::<Vec<_>>()
        };
        let quiet = PolicyRule { verbs: own(&READS), resources: resources(&QUIET_READS), ..PolicyRule::default() };
        let health = PolicyRule { non_resource_urls: own(&HEALTH), ..PolicyRule::default() };
        let heartbeats = PolicyRule {
            user_groups: own(&["system:nodes"]),
            resources: resources(&[("coordination.k8s.io", "leases")]),
            ..PolicyRule::default()
        };
        let rest = PolicyRule { level: Level::Metadata, ..PolicyRule::default() };
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            rules: vec![quiet, health, heartbeats, rest],
            omit_stages: vec![Stage::RequestReceived],
            ..Self::default()
        }
    }

    /// What is wrong with it (`pkg/apis/audit/validation/validation.go`). Levels and stages were checked when it was read.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut found = Vec::new();
        if self.api_version != API_VERSION {
            found.push(FieldError::not_supported(&Path::new("apiVersion"), self.api_version.as_str(), &[API_VERSION]));
        }
        if self.kind != KIND {
            found.push(FieldError::not_supported(&Path::new("kind"), self.kind.as_str(), &[KIND]));
        }
        let rules = Path::new("rules");
        if self.rules.is_empty() {
            found.push(FieldError::required(&rules, "a policy without rules tells nothing"));
        }
        for (at, rule) in self.rules.iter().enumerate() {
            rule.add_problems(&rules.index(at), &mut found);
        }
        found
    }

    /// What is told of a request: of `what`, by `who`; none if nobody could be found out.
    pub fn judge(&self, who: Option<Who<'_>>, what: &Attributes<'_>) -> Verdict {
        let rule = self.rules.iter().find(|rule| rule.matches(who, what));
        let (level, stages, omit) = match rule {
            Some(rule) => (rule.level, rule.omit_stages.as_slice(), rule.omit_managed_fields),
            None => (Level::None, [].as_slice(), None),
        };
        Verdict {
            level,
            omit_stages: [self.omit_stages.as_slice(), stages].concat(),
            omit_managed_fields: omit.unwrap_or(self.omit_managed_fields),
        }
    }
}

const API_VERSION: &str = "audit.k8s.io/v1";
const KIND: &str = "Policy";

impl PolicyRule {
    fn matches(&self, who: Option<Who<'_>>, what: &Attributes<'_>) -> bool {
        let is_user = |who: Who<'_>| self.users.iter().any(|name| name == who.name);
        let is_member = |who: Who<'_>| self.user_groups.iter().any(|group| who.is_in(group));
        (self.users.is_empty() || who.is_some_and(is_user))
            && (self.user_groups.is_empty() || who.is_some_and(is_member))
            && self.matches_what(what)
    }

    fn matches_what(&self, what: &Attributes<'_>) -> bool {
        let (Attributes::Resource { verb, .. } | Attributes::Path { verb, .. }) = what;
        if !is_among(&self.verbs, verb) {
            return false;
        }
        let wants_resource = !self.namespaces.is_empty() || !self.resources.is_empty();
        match what {
            Attributes::Resource { group, resource, subresource, namespace, name, .. } => {
                let matches = |of: &GroupResources| of.group == *group && of.has(resource, subresource, name);
                (wants_resource || self.non_resource_urls.is_empty())
                    && is_among(&self.namespaces, namespace)
                    && (self.resources.is_empty() || self.resources.iter().any(matches))
            }
            Attributes::Path { path, .. } => {
                let matches = |wanted: &String| match wanted.strip_suffix('*') {
                    Some(start) => path.starts_with(start),
                    None => wanted == path,
                };
                !wants_resource && (self.non_resource_urls.is_empty() || self.non_resource_urls.iter().any(matches))
            }
        }
    }

    fn add_problems(&self, at: &Path<'_>, found: &mut Vec<FieldError>) {
        let urls = at.child("nonResourceURLs");
        for (index, url) in self.non_resource_urls.iter().enumerate() {
            let why = match url.strip_suffix('*').unwrap_or(url) {
                "" if url == "*" => continue,
                start if !start.starts_with('/') => "a path must begin with '/'",
                start if start.contains('*') => "a '*' may be the last character only",
                _ => continue,
            };
            found.push(FieldError::invalid(&urls.index(index), url.as_str(), why));
        }
        let resources = at.child("resources");
        for (index, of) in self.resources.iter().enumerate() {
            let at = resources.index(index);
            if !of.group.is_empty() {
                let wrong = |why| FieldError::invalid(&at.child("group"), of.group.as_str(), why);
                found.extend(dns_subdomain(&of.group).into_iter().map(wrong));
            }
            if !of.resource_names.is_empty() && of.resources.is_empty() {
                let names = of.resource_names.clone();
                let why = "names need at least one resource";
                found.push(FieldError::invalid(&at.child("resourceNames"), names, why));
            }
        }
        let is_about_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if !self.non_resource_urls.is_empty() && is_about_resources {
            let why = "a rule is about resources or about paths, not both";
            found.push(FieldError::invalid(&urls, self.non_resource_urls.clone(), why));
        }
    }
}

impl GroupResources {
    fn has(&self, resource: &str, subresource: &str, name: &str) -> bool {
        let matches = |wanted: &String| match wanted.split_once('/') {
            None => wanted == "*" || (wanted == resource && subresource.is_empty()),
            Some(("*", part)) => !subresource.is_empty() && part == subresource,
            Some((whole, "*")) => whole == resource,
            Some((whole, part)) => whole == resource && part == subresource && !part.is_empty(),
        };
        self.resources.is_empty() || (is_among(&self.resource_names, name) && self.resources.iter().any(matches))
    }
}

fn is_among(wanted: &[String], word: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| wanted == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn policy(rules: Value) -> Policy {
        serde_json::from_value(json!({"apiVersion": API_VERSION, "kind": KIND, "rules": rules})).unwrap()
    }

    /// `get pods/log web in a`, `list nodes`, `get /healthz`, by jane of dev.
    fn level(policy: &Policy, asked: &str) -> Level {
        let groups = ["dev".to_owned()];
        let who = Some(Who { name: "jane", groups: &groups });
        policy.judge(who, &attributes(asked)).level
    }

    fn attributes(asked: &str) -> Attributes<'_> {
        let words: Vec<&str> = asked.split(' ').collect();
        let (verb, rest) = (words[0], words[1]);
        if rest.starts_with('/') {
            return Attributes::Path { verb, path: rest };
        }
        let (resource, subresource) = rest.split_once('/').unwrap_or((rest, ""));
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        let after = |word: &str| words.iter().position(|w| *w == word).and_then(|at| words.get(at + 1)).copied();
        let name = words.get(2).copied().filter(|word| *word != "in").unwrap_or_default();
        Attributes::Resource { verb, group, resource, subresource, namespace: after("in").unwrap_or_default(), name }
    }

    #[test]
    fn a_rule_matches_what_all_its_lists_match() {
        for (rule, asked, expected) in [
            (json!({}), "get pods web in a", true),
            (json!({}), "get /version", true),
            (json!({"users": ["jane"]}), "get /version", true),
            (json!({"users": ["joe"]}), "get /version", false),
            (json!({"userGroups": ["ops", "dev"]}), "get /version", true),
            (json!({"userGroups": ["ops"]}), "get /version", false),
            (json!({"verbs": ["get"]}), "get pods web in a", true),
            (json!({"verbs": ["get"]}), "list pods in a", false),
            (json!({"namespaces": ["a"]}), "list pods in a", true),
            (json!({"namespaces": ["a"]}), "list pods in b", false),
            (json!({"namespaces": [""]}), "list nodes", true),
            (json!({"namespaces": ["a"]}), "get /version", false),
            (json!({"resources": [{}]}), "list pods in a", true),
            (json!({"resources": [{}]}), "list leases.coordination.k8s.io in a", false),
            (json!({"resources": [{}]}), "get /version", false),
            (json!({"resources": [{"resources": ["pods"]}]}), "get pods web in a", true),
            (json!({"resources": [{"resources": ["pods"]}]}), "get pods/log web in a", false),
            (json!({"resources": [{"resources": ["pods/log"]}]}), "get pods/log web in a", true),
            (json!({"resources": [{"resources": ["pods/log"]}]}), "get pods web in a", false),
            (json!({"resources": [{"resources": ["pods/*"]}]}), "get pods web in a", true),
            (json!({"resources": [{"resources": ["pods/*"]}]}), "get pods/log web in a", true),
            (json!({"resources": [{"resources": ["*/status"]}]}), "patch nodes/status n", true),
            (json!({"resources": [{"resources": ["*/status"]}]}), "patch nodes n", false),
            (json!({"resources": [{"resources": ["*"]}]}), "get pods/log web in a", true),
            (json!({"resources": [{"resources": ["pods"], "resourceNames": ["web"]}]}), "get pods web in a", true),
            (json!({"resources": [{"resources": ["pods"], "resourceNames": ["web"]}]}), "get pods db in a", false),
            (json!({"resources": [{"group": "apps"}, {"group": ""}]}), "get pods web in a", true),
            (json!({"nonResourceURLs": ["/version"]}), "get /version", true),
            (json!({"nonResourceURLs": ["/version"]}), "get /versions", false),
            (json!({"nonResourceURLs": ["/api*"]}), "get /apis/g", true),
            (json!({"nonResourceURLs": ["*"]}), "get /version", true),
            (json!({"nonResourceURLs": ["*"]}), "get pods web in a", false),
        ] {
            let mut full = rule.clone();
            full["level"] = "Request".into();
            let expected = if expected { Level::Request } else { Level::None };
            assert_eq!(level(&policy(json!([full])), asked), expected, "{rule} {asked}");
        }
    }

    #[test]
    fn the_first_rule_counts_and_who_is_unknown_has_no_name() {
        let rules = json!([
            {"level": "None", "users": ["jane"], "verbs": ["get"]},
            {"level": "RequestResponse", "userGroups": ["dev"], "omitStages": ["RequestReceived"], "omitManagedFields": true},
            {"level": "Metadata"},
        ]);
        let mut policy = policy(rules);
        policy.omit_stages = vec![Stage::Panic];
        assert_eq!(level(&policy, "get pods web in a"), Level::None);
        assert_eq!(level(&policy, "delete pods web in a"), Level::RequestResponse);
        let groups = ["dev".to_owned()];
        let what = attributes("delete pods web in a");
        let verdict = policy.judge(Some(Who { name: "joe", groups: &groups }), &what);
        assert!(verdict.omit_managed_fields && verdict.tells(Stage::ResponseComplete));
        assert!(!verdict.tells(Stage::RequestReceived) && !verdict.tells(Stage::Panic));
        let unknown = policy.judge(None, &what);
        assert_eq!((unknown.level, unknown.omit_managed_fields), (Level::Metadata, false));
        assert!(!Policy::default().judge(None, &what).tells(Stage::ResponseComplete));
    }

    #[test]
    fn the_standard_policy_tells_everything_but_noise_and_never_a_body() {
        let standard = Policy::standard();
        assert_eq!(standard.problems(), []);
        for (asked, expected) in [
            ("get secrets s in a", Level::Metadata),
            ("create secrets in a", Level::Metadata),
            ("create serviceaccounts/token s in a", Level::Metadata),
            ("list events in a", Level::None),
            ("create events in a", Level::Metadata),
            ("watch events.events.k8s.io", Level::None),
            ("get leases.coordination.k8s.io l in a", Level::None),
            ("update leases.coordination.k8s.io l in a", Level::Metadata),
            ("get /healthz", Level::None),
            ("get /readyz/etcd", Level::None),
            ("get /metrics", Level::Metadata),
        ] {
            assert_eq!(level(&standard, asked), expected, "{asked}");
        }
        let nodes = ["system:nodes".to_owned()];
        let node = Who { name: "system:node:n", groups: &nodes };
        let heartbeat = attributes("update leases.coordination.k8s.io n in kube-node-lease");
        assert_eq!(standard.judge(Some(node), &heartbeat).level, Level::None);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let says = |rules: Value| policy(rules).problems().iter().map(ToString::to_string).collect::<Vec<_>>();
        let url = |url: &str| json!([{"level": "None", "nonResourceURLs": [url]}]);
        for (rules, expected) in [
            (json!([]), "rules: Required value: a policy without rules tells nothing"),
            (url("x"), "rules[0].nonResourceURLs[0]: Invalid value: \"x\": a path must begin with '/'"),
            (url("/a*b"), "rules[0].nonResourceURLs[0]: Invalid value: \"/a*b\": a '*' may be the last character only"),
            (url("/a**"), "rules[0].nonResourceURLs[0]: Invalid value: \"/a**\": a '*' may be the last character only"),
            (
                json!([{"level": "None", "resources": [{"resourceNames": ["a"]}]}]),
                "rules[0].resources[0].resourceNames: Invalid value: [\"a\"]: names need at least one resource",
            ),
            (
                json!([{"level": "None", "namespaces": ["a"], "nonResourceURLs": ["/a"]}]),
                "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: a rule is about resources or about paths, not both",
            ),
        ] {
            assert_eq!(says(rules), [expected]);
        }
        let group = says(json!([{"level": "None", "resources": [{"group": "apps/v1"}]}]));
        assert!(group[0].starts_with("rules[0].resources[0].group: Invalid value: \"apps/v1\""), "{group:?}");
        for wrong in [json!([{}]), json!([{"level": "All"}]), json!([{"level": "None", "user": []}])] {
            let whole = json!({"apiVersion": API_VERSION, "kind": KIND, "rules": wrong});
            assert!(serde_json::from_value::<Policy>(whole).is_err());
        }
        let other = Policy { kind: "Pod".to_owned(), ..policy(json!([{"level": "None"}])) };
        assert_eq!(other.problems().len(), 1);
    }
}
