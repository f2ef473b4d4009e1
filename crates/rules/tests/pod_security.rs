//! Every check of the Pod Security Standards, with its versions: what kube-apiserver v1.34.4 said of each of these pods
//! (`data/pod_security.json`, one line for each pod and policy; `null` where it said nothing).

use remora_rules::pod_security::checks::Violations;
use remora_rules::pod_security::policy::Policy;
use serde_json::{Value, json};

#[test]
fn every_check_says_what_kubernetes_said() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/pod_security.json")).unwrap();
    let mut failed = Vec::new();
    for case in &cases {
        let (level, version) = case["policy"].as_str().unwrap().split_once(':').unwrap();
        let labels =
            json!({"pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/enforce-version": version});
        let rule = Policy::of(&labels).0.enforce;
        let violations = Violations::of(rule, &case["pod"]);
        let says = if violations.is_empty() { Value::Null } else { violations.details().into() };
        if says != case["says"] {
            failed.push(format!("{} {}\n  want {}\n  got  {says}", case["title"], case["policy"], case["says"]));
        }
    }
    assert!(failed.is_empty(), "{} of {} differ:\n{}", failed.len(), cases.len(), failed.join("\n"));
    assert_eq!(cases.len(), 98);
}
