//! What people have been told of claims and volumes: a look finds the same again and again, and an event is written for what is new. Pure.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use remora_rules::object::text;

use super::plan::Tell;

/// What is still so is told anew after this, if anything is looked at: its event may have been deleted meanwhile, and people look at the last ones.
const AGAIN: SignedDuration = SignedDuration::from_mins(30);

/// Of which object, why and what, and when it was told. **Invariant:** there is nothing in it that the last look has not found.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<(String, &'static str, String), Timestamp>);

impl Told {
    /// Those of a look that people do not know yet.
    pub(super) fn news(&mut self, tells: Vec<Tell>, now: Timestamp) -> Vec<Tell> {
        let mut news = Vec::new();
        let mut known = HashMap::with_capacity(tells.len());
        for tell in tells {
            let key = (text(&tell.about, &["metadata", "uid"]).to_owned(), tell.reason, tell.message.clone());
            let before = self.0.get(&key).copied().filter(|told| now.duration_since(*told) < AGAIN);
            known.insert(key, before.unwrap_or(now));
            if before.is_none() {
                news.push(tell);
            }
        }
        self.0 = known;
        news
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_are_told_what_is_new() {
        let mut told = Told::default();
        let mut check = |minute: i64, tells: &[(&str, &str)], expected: &[&str]| {
            let tell = |(uid, message): &(&str, &str)| Tell {
                about: json!({"metadata": {"uid": uid}}),
                reason: "FailedBinding",
                message: (*message).to_owned(),
            };
            let now = Timestamp::from_second(minute * 60).unwrap();
            let news = told.news(tells.iter().map(tell).collect(), now);
            assert_eq!(news.iter().map(|tell| tell.message.as_str()).collect::<Vec<_>>(), expected, "{minute}");
        };
        check(0, &[("c", "no"), ("d", "none")], &["no", "none"]);
        check(1, &[("c", "no"), ("d", "still none")], &["still none"]);
        check(2, &[("c", "no"), ("e", "no")], &["no"]);
        check(29, &[("c", "no")], &[]);
        check(31, &[("c", "no")], &["no"]);
        check(32, &[], &[]);
        check(33, &[("c", "no")], &["no"]);
    }
}
