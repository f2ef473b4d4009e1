//! Server-side apply under random configurations: what KEP-555 promises of every order of applies.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

use proptest::prelude::*;
use remora_model::kinds::core;
use remora_rules::decode;
use remora_rules::managed::apply::{Onto, apply};
use remora_rules::managed::set::Set;
use remora_rules::managed::{Resets, Writer, differs_in_times_only, update};
use serde_json::{Map, Value, json};

fn writer(name: &str) -> Writer<'_> {
    let now = "2026-01-02T03:04:05Z".parse().unwrap();
    Writer { kind: core("pods"), subresource: "", resets: Resets(&[&["status"]]), name, now }
}

fn applied(name: &str, live: Option<&Value>, config: &Value, force: bool) -> Result<Value, u16> {
    let made = apply(&writer(name), Onto { live, force }, config).map_err(|status| status.code)?;
    let mut made = decode::applied(core("pods"), made).map_err(|status| status.code)?;
    made["metadata"]["uid"] = "u".into();
    Ok(made)
}

/// Labels, finalizers and containers out of a few, so that configurations often meet. `value` is what is in them.
fn config(value: &'static str) -> impl Strategy<Value = Value> {
    let names = |least| prop::sample::subsequence(vec!["a", "b", "c", "d"], least..=4).prop_shuffle();
    (names(0), names(0), names(1), any::<bool>()).prop_map(move |(labels, finalizers, containers, has_env)| {
        let labels: Map<String, Value> = labels.iter().map(|name| ((*name).to_owned(), value.into())).collect();
        let finalizers: Vec<String> = finalizers.iter().map(|name| format!("x.io/{name}")).collect();
        let container = |name: &&str| {
            let mut container = json!({"name": name, "image": value, "command": [value]});
            if has_env {
                container["env"] = json!([{"name": "E", "value": value}]);
            }
            container
        };
        let mut config = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "finalizers": finalizers},
            "spec": {"containers": containers.iter().map(container).collect::<Vec<_>>()},
        });
        // Kubernetes drops an empty map when it stores it, but not from what its manager has: applied again, it is an addition.
        if !labels.is_empty() {
            config["metadata"]["labels"] = labels.into();
        }
        config
    })
}

/// Lists in one order, empty ones and managers left out: what orders of applies must agree on.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept =
                members.iter().filter(|(name, _)| *name != "managedFields").map(|(name, v)| (name.clone(), sorted(v)));
            let is_empty = |v: &Value| v.is_null() || *v == json!([]) || *v == json!({});
            kept.filter(|(_, v)| !is_empty(v)).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(sorted).collect();
            items.sort_by_key(ToString::to_string);
            items.into()
        }
        other => other.clone(),
    }
}

fn fields(object: &Value, manager: &str) -> Option<Set> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    let entry = entries.iter().find(|entry| entry["manager"] == manager)?;
    Some(Set::decode(&entry["fieldsV1"]).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_twice_changes_nothing(first in config("1"), other in config("1"), again in config("2")) {
        let live = applied("b", Some(&applied("a", None, &first, false).unwrap()), &other, false).unwrap();
        let once = applied("a", Some(&live), &again, true).unwrap();
        let twice = applied("a", Some(&once), &again, false).unwrap();
        prop_assert!(once == twice || differs_in_times_only(&once, &twice), "{once}\n{twice}");
    }

    #[test]
    fn nobody_conflicts_with_oneself(first in config("1"), second in config("2")) {
        let live = applied("a", None, &first, false).unwrap();
        let made = applied("a", Some(&live), &second, false).unwrap();
        prop_assert_eq!(sorted(&made), sorted(&applied("a", None, &second, false).unwrap()), "nothing of the first is left");
    }

    #[test]
    fn equal_values_do_not_conflict_and_the_order_of_managers_does_not_matter(a in config("1"), b in config("1")) {
        let made = |first: (&str, &Value), second: (&str, &Value)| {
            let live = applied(first.0, None, first.1, false).unwrap();
            applied(second.0, Some(&live), second.1, false).unwrap()
        };
        let (ab, ba) = (made(("a", &a), ("b", &b)), made(("b", &b), ("a", &a)));
        prop_assert_eq!(sorted(&ab), sorted(&ba));
        for manager in ["a", "b"] {
            prop_assert_eq!(fields(&ab, manager), fields(&ba, manager));
        }
    }

    #[test]
    fn what_one_gives_up_is_what_the_other_does_not_have(a in config("1"), b in config("1")) {
        let both = applied("b", Some(&applied("a", None, &a, false).unwrap()), &b, false).unwrap();
        let nothing = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}});
        let left = applied("a", Some(&both), &nothing, false).unwrap();
        prop_assert_eq!(sorted(&left), sorted(&applied("b", None, &b, false).unwrap()));
        prop_assert_eq!(fields(&left, "a"), None);
    }

    #[test]
    fn other_values_conflict_unless_forced_and_then_are_taken(a in config("1"), b in config("2")) {
        let live = applied("a", None, &a, false).unwrap();
        let forced = applied("b", Some(&live), &b, true).unwrap();
        let (before, after, own) = (fields(&live, "a"), fields(&forced, "a"), fields(&forced, "b"));
        let lost = before != after;
        prop_assert_eq!(applied("b", Some(&live), &b, false).is_err(), lost);
        prop_assert_eq!(own, fields(&applied("b", None, &b, false).unwrap(), "b"));
        prop_assert!(applied("b", Some(&forced), &b, false).is_ok());
    }

    #[test]
    fn an_updater_takes_what_it_changes_and_nothing_else(a in config("1"), b in config("2")) {
        let live = applied("a", None, &a, false).unwrap();
        let mut same = live.clone();
        update::update(&writer("b"), &live, &mut same);
        prop_assert_eq!(&same, &live);
        let mut changed = b;
        changed["metadata"]["uid"] = "u".into();
        update::update(&writer("b"), &live, &mut changed);
        let (kept, taken) = (fields(&changed, "a").unwrap_or_default(), fields(&changed, "b").unwrap_or_default());
        let leaves = |set: &Set| set.paths().into_iter().filter(|path| path.ends_with("image") || path.contains("labels."));
        let kept: Vec<String> = leaves(&kept).collect();
        prop_assert!(leaves(&taken).all(|path| !kept.contains(&path)));
    }

    #[test]
    fn sets_survive_their_written_form(a in config("1")) {
        let live = applied("a", None, &a, false).unwrap();
        if let Some(set) = fields(&live, "a") {
            prop_assert_eq!(Set::decode(&set.encode()), Some(set));
        }
    }

    #[test]
    fn no_fields_make_it_panic(text in "\\PC{0,12}", depth in 0usize..9) {
        let mut fields = json!({ text.clone(): {} });
        for step in ["f:a", "k:{\"name\":1}", "v:[1]", "i:7", "."].iter().cycle().take(depth) {
            fields = json!({ *step: fields });
        }
        let mut live = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "uid": "u"}, "spec": {"containers": []}});
        live["metadata"]["managedFields"] = json!([{
            "manager": text, "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields,
        }]);
        let config = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}});
        let _applied_or_refused = applied(&text, Some(&live), &config, false);
    }
}
