//! What would be done and why, as `remora debug --plan` shows it: lines for people, an object for programs. Pure.

use serde_json::{Value, json};

use crate::choose::ImageChoice;
use crate::{DebugPlan, Refused, Rung};

/// Everything that is known before anything is created.
#[derive(Debug)]
pub struct Report<'a> {
    /// `namespace/name` of the pod.
    pub pod: String,
    /// Its node, with what is known of it in brackets.
    pub node: Option<String>,
    /// Why nothing starts there now.
    pub obstacle: Option<String>,
    /// The namespace's labels for Pod Security, such as `enforce=baseline`; none if they may not be read.
    pub pod_security: Option<Vec<String>>,
    /// What the user may do; none if the server does not say.
    pub rights: Vec<Right>,
    /// The plan.
    pub plan: &'a DebugPlan,
    /// Profiles that a dry run refused, in the plan's order.
    pub refused: Vec<Refused>,
    /// The first that it admitted.
    pub admitted: Option<Rung>,
    /// Commands that a dry run admits instead.
    pub offers: Vec<String>,
}

/// One thing that a session needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// Such as `patch`.
    pub verb: &'static str,
    /// Such as `pods/ephemeralcontainers`.
    pub resource: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// The server's answer; none if it gave none.
    pub allowed: Option<bool>,
}

impl Report<'_> {
    /// For people. What is created follows as YAML: that is the caller's.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = |name: &str, text: &str| lines.push(format!("{name:<11}{text}").trim_end().to_owned());
        let node = self.node.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
        line("Pod", &format!("{}{node}", self.pod));
        if let Some(obstacle) = &self.obstacle {
            line("", obstacle);
        }
        line("Target", self.plan.target.as_deref().unwrap_or("none"));
        line("Image", &format!("{} ({})", self.plan.image.name, choice(self.plan.image.choice)));
        let levels = match &self.pod_security {
            None => "not known (you may not read the namespace)".to_owned(),
            Some(levels) if levels.is_empty() => "nothing is enforced by labels".to_owned(),
            Some(levels) => levels.join(", "),
        };
        line("Namespace", &format!("Pod Security: {levels}"));
        for (i, right) in self.rights.iter().enumerate() {
            line(if i == 0 { "You may" } else { "" }, &right.line());
        }
        for (i, text) in self.profiles().iter().enumerate() {
            line(if i == 0 { "Profiles" } else { "" }, text);
        }
        for (i, offer) in self.offers.iter().enumerate() {
            line(if i == 0 { "Instead" } else { "" }, offer);
        }
        lines
    }

    /// Each rung, and what became of it.
    fn profiles(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for refused in &self.refused {
            lines.push(format!("{}: {}", refused.name, refused.refusal));
            if !refused.refusal.remedy.is_empty() {
                lines.push(format!("  to change that: {}", refused.refusal.remedy));
            }
        }
        if let Some(rung) = &self.admitted {
            lines.push(format!("{}: admitted, this one is used", rung.name));
            lines.extend(rung.notices.iter().map(|notice| format!("  {notice}")));
        }
        let tried = self.refused.len() + usize::from(self.admitted.is_some());
        lines.extend(self.plan.rungs.iter().skip(tried).map(|rung| format!("{}: not tried", rung.name)));
        lines
    }

    /// For programs.
    pub fn object(&self) -> Value {
        let refused = self.refused.iter().map(|refused| {
            json!({"profile": refused.name, "state": "refused", "why": refused.refusal.to_string(), "remedy": refused.refusal.remedy})
        });
        let admitted = self
            .admitted
            .iter()
            .map(|rung| json!({"profile": rung.name, "state": "admitted", "notices": rung.notices}));
        let rights = self
            .rights
            .iter()
            .map(|right| json!({"verb": right.verb, "resource": right.resource, "allowed": right.allowed}));
        json!({
            "pod": self.pod,
            "node": self.node,
            "obstacle": self.obstacle,
            "target": self.plan.target,
            "image": {"name": self.plan.image.name, "choice": choice(self.plan.image.choice)},
            "podSecurity": self.pod_security,
            "rights": rights.collect::<Vec<_>>(),
            "profiles": refused.chain(admitted).collect::<Vec<_>>(),
            "create": self.admitted.as_ref().map(|rung| &rung.entry),
            "offers": self.offers,
        })
    }
}

impl Right {
    fn line(&self) -> String {
        let answer = match self.allowed {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not known",
        };
        format!("{} {}, {}: {answer}", self.verb, self.resource, self.purpose)
    }
}

fn choice(choice: ImageChoice) -> &'static str {
    match choice {
        ImageChoice::Named => "as you named it",
        ImageChoice::OnNode => "the node has it already",
        ImageChoice::Default => "the default",
    }
}
