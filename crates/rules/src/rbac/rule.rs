//! One rule: what it allows, whether rules cover other rules, and how a rule is shown (upstream:
//! `pkg/apis/rbac/v1/evaluation_helpers.go`, k8s.io/component-helpers `auth/rbac/validation/policy_comparator.go`).

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::PolicyRule;
use remora_model::text::quoted;

use super::Attributes;

const ALL: &str = "*";

/// The groups that a rule is about.
pub fn groups(rule: &PolicyRule) -> &[String] {
    rule.api_groups.as_deref().unwrap_or_default()
}

/// The resources that a rule is about.
pub fn resources(rule: &PolicyRule) -> &[String] {
    rule.resources.as_deref().unwrap_or_default()
}

/// The names to which a rule is limited; none is no limit.
pub fn names(rule: &PolicyRule) -> &[String] {
    rule.resource_names.as_deref().unwrap_or_default()
}

/// The paths that a rule is about.
pub fn paths(rule: &PolicyRule) -> &[String] {
    rule.non_resource_urls.as_deref().unwrap_or_default()
}

fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|entry| entry == word)
}

fn has_or_all(list: &[String], word: &str) -> bool {
    list.iter().any(|entry| entry == ALL || entry == word)
}

/// Whether a rule allows what is to be done.
pub fn allows(rule: &PolicyRule, what: &Attributes<'_>) -> bool {
    match *what {
        Attributes::Path { verb, path } => {
            has_or_all(&rule.verbs, verb) && paths(rule).iter().any(|of| covers_path(of, path))
        }
        Attributes::Resource { verb, group, resource, subresource, name, .. } => {
            has_or_all(&rule.verbs, verb)
                && has_or_all(groups(rule), group)
                && resources(rule).iter().any(|of| is_meant(of, resource, subresource))
                && (names(rule).is_empty() || has(names(rule), name))
        }
    }
}

/// Whether a rule's word for resources means this one. `*` means subresources too, `*/scale` those of every resource.
fn is_meant(word: &str, resource: &str, subresource: &str) -> bool {
    if word == ALL {
        return true;
    }
    match word.split_once('/') {
        None => word == resource && subresource.is_empty(),
        Some((of, part)) => part == subresource && !part.is_empty() && (of == ALL || of == resource),
    }
}

/// Whether a path of a rule, which may end with `*`, means this one.
fn covers_path(of: &str, path: &str) -> bool {
    of == path || (of.ends_with(ALL) && path.starts_with(of.trim_end_matches(ALL)))
}

/// What `owned` does not cover of `wanted`, in rules of one verb, one group, one resource and at most one name, or one path.
pub fn uncovered(owned: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let atoms = wanted.iter().flat_map(broken_down);
    atoms.filter(|atom| !owned.iter().any(|rule| covers(rule, atom))).collect()
}

fn broken_down(rule: &PolicyRule) -> Vec<PolicyRule> {
    let one = |word: &String| Some(vec![word.clone()]);
    let mut atoms = Vec::new();
    for group in groups(rule) {
        for resource in resources(rule) {
            for verb in &rule.verbs {
                let atom = PolicyRule {
                    api_groups: one(group),
                    resources: one(resource),
                    verbs: vec![verb.clone()],
                    ..PolicyRule::default()
                };
                let named = names(rule).iter().map(|name| PolicyRule { resource_names: one(name), ..atom.clone() });
                atoms.extend(named);
                if names(rule).is_empty() {
                    atoms.push(atom);
                }
            }
        }
    }
    for path in paths(rule) {
        let of_verb = |verb: &String| PolicyRule {
            non_resource_urls: one(path),
            verbs: vec![verb.clone()],
            ..PolicyRule::default()
        };
        atoms.extend(rule.verbs.iter().map(of_verb));
    }
    atoms
}

/// Whether one rule covers an atom.
fn covers(rule: &PolicyRule, atom: &PolicyRule) -> bool {
    let each = |list: &[String], owned: &[String]| list.iter().all(|word| has_or_all(owned, word));
    let resource = |word: &String| {
        let of_all = word.split_once('/').map(|(_, part)| format!("*/{part}"));
        has_or_all(resources(rule), word) || of_all.is_some_and(|word| has(resources(rule), &word))
    };
    each(&atom.verbs, &rule.verbs)
        && each(groups(atom), groups(rule))
        && resources(atom).iter().all(resource)
        && paths(atom).iter().all(|path| paths(rule).iter().any(|of| covers_path(of, path)))
        && (names(rule).is_empty() || (!names(atom).is_empty() && names(atom).iter().all(|n| has(names(rule), n))))
}

/// Rules of one group and one resource, without names, that differ in their verbs only, become one; the others stay.
pub fn compacted(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut compact: Vec<PolicyRule> = Vec::new();
    for rule in rules {
        let is_simple = names(&rule).is_empty() && paths(&rule).is_empty();
        let is_like = |other: &&mut PolicyRule| {
            names(other).is_empty() && groups(other) == groups(&rule) && resources(other) == resources(&rule)
        };
        let is_single = groups(&rule).len() == 1 && resources(&rule).len() == 1;
        match compact.iter_mut().find(is_like).filter(|_| is_simple && is_single) {
            Some(like) => like.verbs.extend(rule.verbs),
            None => compact.push(rule),
        }
    }
    compact
}

/// Rules as refusals show them, a line each, sorted.
pub fn described(rules: Vec<PolicyRule>) -> String {
    let lines: BTreeSet<String> = compacted(rules).iter().map(one_line).collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

fn one_line(rule: &PolicyRule) -> String {
    let fields = [
        ("APIGroups", groups(rule)),
        ("Resources", resources(rule)),
        ("NonResourceURLs", paths(rule)),
        ("ResourceNames", names(rule)),
        ("Verbs", &rule.verbs),
    ];
    let shown = fields.into_iter().filter(|(_, words)| !words.is_empty());
    let shown: Vec<String> = shown.map(|(name, words)| format!("{name}:{}", quoted_list(words))).collect();
    format!("{{{}}}", shown.join(", "))
}

/// A list as Go's `%q` writes it.
pub fn quoted_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(" "))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `verbs groups resources [names]`, or `verbs /paths`; words are separated by commas, `core` is the empty group.
    pub(in crate::rbac) fn rule(text: &str) -> PolicyRule {
        let words: Vec<&str> = text.split(' ').collect();
        let list = |word: &str| -> Vec<String> {
            word.split(',').map(|w| if w == "core" { String::new() } else { w.to_owned() }).collect()
        };
        let mut rule = PolicyRule { verbs: list(words[0]), ..PolicyRule::default() };
        if words.len() == 2 {
            rule.non_resource_urls = Some(list(words[1]));
            return rule;
        }
        rule.api_groups = Some(list(words[1]));
        rule.resources = Some(list(words[2]));
        rule.resource_names = words.get(3).map(|word| list(word));
        rule
    }

    fn may(text: &str, verb: &str, path: &str) -> bool {
        let what = match path.split_once(' ') {
            None => Attributes::Path { verb, path },
            Some((resource, name)) => {
                let (group, resource) = resource.rsplit_once(':').unwrap_or(("", resource));
                let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                Attributes::Resource { verb, group, resource, subresource, namespace: "a", name }
            }
        };
        allows(&rule(text), &what)
    }

    #[test]
    fn a_rule_allows_what_its_words_mean() {
        for (rule, verb, path, expected) in [
            ("get core pods", "get", "pods x", true),
            ("get core pods", "get", "pods/log x", false),
            ("get core pods", "list", "pods ", false),
            ("get core pods", "get", "apps:pods x", false),
            ("* core pods", "escalate", "pods x", true),
            ("get * pods", "get", "apps:pods x", true),
            ("get core *", "get", "pods/log x", true),
            ("get core pods/log", "get", "pods/log x", true),
            ("get core pods/log", "get", "pods x", false),
            ("get core */log", "get", "pods/log x", true),
            ("get core */log", "get", "pods x", false),
            ("get core */*", "get", "pods/log x", false),
            ("get core pods/*", "get", "pods/log x", false),
            ("get core pods x,y", "get", "pods y", true),
            ("get core pods x", "get", "pods z", false),
            ("list core pods x", "list", "pods ", false),
            ("get /metrics", "get", "/metrics", true),
            ("get /metrics", "post", "/metrics", false),
            ("get /api/*", "get", "/api/v1", true),
            ("get /api/*", "get", "/api", false),
            ("get /api*", "get", "/apis", true),
            ("get *", "get", "/x", true),
            ("get *", "get", "pods x", false),
            ("get core *", "get", "/x", false),
        ] {
            assert_eq!(may(rule, verb, path), expected, "{rule}: {verb} {path}");
        }
    }

    #[test]
    fn rules_cover_what_they_allow_and_no_more() {
        let check = |owned: &[&str], wanted: &[&str], expected: &str| {
            let rules = |texts: &[&str]| texts.iter().map(|text| rule(text)).collect::<Vec<_>>();
            assert_eq!(described(uncovered(&rules(owned), &rules(wanted))), expected, "{owned:?} {wanted:?}");
        };
        let secrets = r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}"#;
        check(&["get core pods"], &["get core pods"], "");
        check(&["get core pods"], &["get,list core secrets"], secrets);
        check(&["get core secrets", "list core secrets"], &["get,list core secrets"], "");
        check(&["get,list core pods"], &["get,list core pods,secrets"], secrets);
        check(&["* * *", "* *"], &["* * *", "get /x"], "");
        check(&["get core pods"], &["* core pods"], r#"{APIGroups:[""], Resources:["pods"], Verbs:["*"]}"#);
        check(&["get core */log"], &["get core pods/log"], "");
        check(&["get core */log"], &["get core pods"], r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#);
        check(&["get core pods"], &["get core pods x"], "");
        check(&["get core pods x,y"], &["get core pods x"], "");
        let named = r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["z"], Verbs:["get"]}"#;
        check(&["get core pods x"], &["get core pods x,z"], named);
        check(&["get core pods x"], &["get core pods"], r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#);
        check(&["get /api/*"], &["get /api/v1,/x"], r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#);
        check(
            &[],
            &["get core a", "get apps b"],
            concat!(
                r#"{APIGroups:[""], Resources:["a"], Verbs:["get"]}"#,
                "\n",
                r#"{APIGroups:["apps"], Resources:["b"], Verbs:["get"]}"#,
            ),
        );
    }
}
