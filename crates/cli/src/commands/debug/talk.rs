//! What is said while a session begins: on standard error, one line each, nothing with `--quiet`.

use remora_debug::Refused;

use crate::output::print_note;

/// Whether to talk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Talk {
    pub(super) quiet: bool,
    pub(super) verbose: bool,
}

impl Talk {
    pub(super) fn note(self, line: &str) {
        if !self.quiet {
            print_note(line);
        }
    }

    /// Why a session is not in the pod's events, if it is not. Nobody misses them who does not look for them.
    pub(super) fn untold(self, why: Option<String>) {
        if let Some(why) = why.filter(|_| self.verbose) {
            print_note(format_args!("No event of this session is written: {why}"));
        }
    }

    /// Why it is not more.
    pub(super) fn refusals(self, refused: &[Refused], admitted: &str) {
        if let Some(line) = less(refused, admitted) {
            self.note(&line);
        }
    }
}

/// One line for all: the last refusal is the one that kept the next best away.
pub(super) fn less(refused: &[Refused], admitted: &str) -> Option<String> {
    let last = refused.last()?;
    let names: Vec<&str> = refused.iter().map(|refused| refused.name.as_str()).collect();
    let remedy = if last.refusal.remedy.is_empty() {
        String::new()
    } else {
        format!(" To change that: {}", last.refusal.remedy)
    };
    Some(format!("Profile {}: {} {}.{remedy}", admitted, names.join(" and "), last.refusal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_debug::{Refusal, Refuser};

    #[test]
    fn one_line_tells_why_it_is_not_more() {
        let refused = |name: &str| Refused {
            name: name.to_owned(),
            refusal: Refusal {
                by: Refuser::PodSecurity("restricted:latest".into()),
                why: "seccompProfile".into(),
                remedy: "kubectl label namespace x".into(),
            },
        };
        assert_eq!(less(&[], "general"), None);
        let line = less(&[refused("general"), refused("baseline")], "restricted");
        let expected = "Profile restricted: general and baseline refused by Pod Security level restricted:latest: seccompProfile. \
                        To change that: kubectl label namespace x";
        assert_eq!(line.as_deref(), Some(expected));
    }
}
