//! Scripts of events, and what the queue wants done after each.

use serde_json::{Value, json};

use super::*;

/// Plays events, one per line, against one queue; each must have the effects beside it.
fn check(script: &[(&str, &[&str])]) {
    let mut queue = Queue::default();
    for (number, (event, expected)) in script.iter().enumerate() {
        let effects: Vec<String> = queue.step(parse(event)).iter().map(told).collect();
        assert_eq!(effects, *expected, "line {number}: {event}");
    }
}

/// `pod NAME UID [SELECTOR]`, `node NAME [LABEL]`, and so on.
fn parse(event: &str) -> Event {
    let words: Vec<&str> = event.split(' ').collect();
    let key = |name: &str| PodKey { namespace: "ns".into(), name: name.into() };
    let pods = |seen| Event::Pod(Box::new(seen));
    let nodes = |seen| Event::Node(Box::new(seen));
    match words[..] {
        ["pods", "begin"] => pods(Seen::ListBegins),
        ["pods", "end"] => pods(Seen::ListEnds),
        ["pod", name, uid] => pods(Seen::Is(pod(name, uid, json!({})))),
        ["pod", name, uid, label] => pods(Seen::Is(pod(name, uid, json!({ label: "" })))),
        ["gone", name] => pods(Seen::IsGone(pod(name, "", json!({})))),
        ["nodes", "begin"] => nodes(Seen::ListBegins),
        ["nodes", "end"] => nodes(Seen::ListEnds),
        ["node", name] => nodes(Seen::Is(node(name, json!({})))),
        ["node", name, label] => nodes(Seen::Is(node(name, json!({ label: "" })))),
        ["node-gone", name] => nodes(Seen::IsGone(node(name, json!({})))),
        ["settled", name] => Event::Done(key(name), Outcome::Settled),
        ["told", name] => Event::Done(key(name), Outcome::Told),
        ["failed", name] => Event::Done(key(name), Outcome::Failed),
        ["rested", name] => Event::Rested(key(name)),
        _ => panic!("{event}"),
    }
}

fn pod(name: &str, uid: &str, selector: Value) -> Pod {
    let metadata = json!({"name": name, "namespace": "ns", "uid": uid});
    serde_json::from_value(json!({"metadata": metadata, "spec": {"nodeSelector": selector}})).unwrap()
}

fn node(name: &str, labels: Value) -> Node {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
}

fn told(effect: &Effect) -> String {
    let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
    match effect {
        Effect::Bind { key, pod, node } => format!("bind {} {} to {node}", key.name, uid(pod)),
        Effect::Refuse { key, pod, .. } => format!("refuse {} {}", key.name, uid(pod)),
        Effect::Rest { key, pause } => format!("rest {} {}", key.name, pause.as_millis()),
    }
}

#[test]
fn a_pod_is_bound_as_soon_as_it_is_seen_and_the_nodes_are_known() {
    check(&[
        ("pods begin", &[]),
        ("pod a 1", &[]),
        ("pods end", &[]),
        ("nodes begin", &[]),
        ("node n", &[]),
        ("nodes end", &["bind a 1 to n"]),
        ("pod b 2", &["bind b 2 to n"]),
        ("gone a", &[]),
        ("settled a", &[]),
        ("settled b", &[]),
        ("gone b", &[]),
        ("node other", &[]),
    ]);
}

#[test]
fn a_settled_pod_is_left_alone_until_another_takes_its_name() {
    check(&[
        ("node n", &[]),
        ("nodes end", &[]),
        ("pod a 1", &["bind a 1 to n"]),
        ("settled a", &[]),
        ("pod a 1", &[]),
        ("node n more", &[]),
        ("pod a 2", &["bind a 2 to n"]),
    ]);
}

#[test]
fn a_pod_that_is_listed_again_without_a_node_is_bound_again() {
    check(&[
        ("node n", &[]),
        ("nodes end", &[]),
        ("pod a 1", &["bind a 1 to n"]),
        ("settled a", &[]),
        ("pods begin", &[]),
        ("pod a 1", &["bind a 1 to n"]),
        ("pods end", &[]),
    ]);
}

#[test]
fn a_new_pod_of_the_same_name_waits_for_the_call_for_the_old_one() {
    check(&[
        ("node n", &[]),
        ("nodes end", &[]),
        ("pod a 1", &["bind a 1 to n"]),
        ("gone a", &[]),
        ("pod a 2", &[]),
        ("settled a", &["bind a 2 to n"]),
    ]);
}

#[test]
fn what_was_refused_is_looked_at_again_when_nodes_change_and_told_once() {
    check(&[
        ("nodes end", &[]),
        ("pod a 1 disk", &["refuse a 1"]),
        ("pod a 1 disk", &[]),
        ("told a", &["refuse a 1"]),
        ("told a", &[]),
        ("node n", &["refuse a 1"]),
        ("node n disk", &[]),
        ("told a", &["bind a 1 to n"]),
        ("settled a", &[]),
        ("node n disk", &[]),
    ]);
}

#[test]
fn failures_are_followed_by_growing_pauses() {
    check(&[
        ("node n", &[]),
        ("nodes end", &[]),
        ("pod a 1", &["bind a 1 to n"]),
        ("failed a", &["rest a 20"]),
        ("pod a 1", &[]),
        ("rested a", &["bind a 1 to n"]),
        ("failed a", &["rest a 40"]),
        ("rested a", &["bind a 1 to n"]),
        ("settled a", &[]),
    ]);
}

#[test]
fn a_pod_that_goes_during_its_pause_is_forgotten() {
    check(&[
        ("node n", &[]),
        ("nodes end", &[]),
        ("pod a 1", &["bind a 1 to n"]),
        ("failed a", &["rest a 20"]),
        ("gone a", &[]),
        ("rested a", &[]),
        ("node m", &[]),
    ]);
}

#[test]
fn nodes_that_a_list_leaves_out_are_gone() {
    check(&[
        ("nodes begin", &[]),
        ("node n", &[]),
        ("nodes end", &[]),
        ("nodes begin", &[]),
        ("nodes end", &[]),
        ("pod a 1", &["refuse a 1"]),
        ("told a", &[]),
        ("node n", &["bind a 1 to n"]),
        ("node-gone n", &[]),
    ]);
}

#[test]
fn pods_that_a_list_leaves_out_are_gone() {
    check(&[
        ("nodes end", &[]),
        ("pod a 1", &["refuse a 1"]),
        ("pod b 1", &["refuse b 1"]),
        ("told a", &[]),
        ("pods begin", &[]),
        ("pods end", &[]),
        ("told b", &[]),
        ("node n", &[]),
    ]);
}
