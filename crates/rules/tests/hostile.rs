//! Whatever a client sends, the rules answer with a status or an object, and never panic.

use proptest::prelude::*;
use remora_model::json::{Limits, parse};
use remora_model::kinds::core;
use remora_model::quantity::Quantity;
use remora_rules::decode::{self, FieldValidation};
use remora_rules::patch::{self, PatchType};
use remora_rules::selector::{fields, labels};
use remora_rules::strategy::{Ctx, strategy};
use remora_rules::table;
use serde_json::{Value, json};

fn ctx() -> Ctx {
    Ctx { now: jiff::Timestamp::UNIX_EPOCH, uid: "u".to_owned(), suffix: "xxxxx".to_owned() }
}

/// Values at the places where rules look, of any type.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[-a-z0-9A-Z./:@$=, ü]{0,12}".prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "metadata",
        "spec",
        "status",
        "name",
        "containers",
        "initContainers",
        "ephemeralContainers",
        "image",
        "ports",
        "env",
        "volumes",
        "resources",
        "limits",
        "cpu",
        "labels",
        "annotations",
        "finalizers",
        "securityContext",
        "emptyDir",
        "livenessProbe",
        "exec",
        "command",
        "containerPort",
        "valueFrom",
        "fieldRef",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "tolerations",
        "key",
        "operator",
    ]);
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

fn old_pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1, "creationTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["a/b"]},
        "spec": {"containers": [{"name": "c", "image": "x", "resources": {}}], "ephemeralContainers": [{"name": "e", "image": "y", "resources": {}}]},
        "status": {"phase": "Running"},
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_judged(text in ".{0,40}") {
        let _ = labels::Selector::parse(&text);
        let _ = fields::Selector::parse(core("pods"), &text);
        let _ = Quantity::parse(&text).map(Quantity::canonical);
        let _ = parse(text.as_bytes(), Limits::OBJECT);
    }

    #[test]
    fn any_digits_are_a_quantity_that_reads_back(whole in "[0-9]{1,40}", fraction in "[0-9]{0,30}", suffix in "(Ki|Mi|Ei|m|n|k|E|e3|E-7|)") {
        let once = Quantity::parse(&format!("{whole}.{fraction}{suffix}")).unwrap();
        let twice = Quantity::parse(&once.canonical()).unwrap();
        // Beyond, the twenty-fifth digit is rounded.
        if once.value() < 1_000_000_000_000_000 {
            prop_assert_eq!(once, twice);
        }
        // Not the first text: 1953.125Ki is written as 2000000, and that, as it now is no binary one, as 2M. So Go has it.
        let thrice = Quantity::parse(&twice.canonical()).unwrap();
        prop_assert_eq!(twice.canonical(), thrice.canonical());
    }

    #[test]
    fn any_body_is_an_object_or_refused(body in anything()) {
        for plural in ["pods", "configmaps", "secrets", "namespaces", "nodes", "events"] {
            let kind = core(plural);
            let parsed = parse(body.to_string().as_bytes(), Limits::OBJECT).unwrap();
            if let Ok(decoded) = decode::body(kind, parsed, FieldValidation::Warn) {
                table::row(kind, &decoded.object, table::IncludeObject::Object, ctx().now);
                let _ = strategy(kind, "").unwrap().create(kind, decoded.object, &ctx());
            }
        }
    }

    #[test]
    fn any_patch_applies_or_is_refused(patch in anything()) {
        let kind = core("pods");
        for patch_type in [PatchType::Json, PatchType::Merge, PatchType::Strategic] {
            let bytes = patch.to_string();
            let Ok(made) = patch::apply(kind, patch_type, &old_pod(), bytes.as_bytes(), FieldValidation::Warn) else { continue };
            for part in ["", "status", "ephemeralcontainers"] {
                let _ = strategy(kind, part).unwrap().update(kind, &old_pod(), made.object.clone(), &ctx());
            }
        }
    }
}
