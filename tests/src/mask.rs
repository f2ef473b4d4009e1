//! Makes outputs of two runs comparable: what differs from run to run becomes a word. Pure.

/// Masks `kubectl describe pod` and `kubectl get pod -o yaml`.
pub fn mask(text: &str, names: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (name, word) in names {
        text = replace_name(&text, name, word);
    }
    let lines: Vec<String> = text.lines().map(|line| mask_line(line).trim_end().to_owned()).collect();
    lines.join("\n").trim_end().to_owned()
}

/// Only where it stands for itself: a node that is called `vm` has no part in `kube-api-access-sqvms`.
fn replace_name(text: &str, name: &str, word: &str) -> String {
    let mut pieces = text.split(name).peekable();
    let mut masked = String::new();
    while let Some(piece) = pieces.next() {
        masked.push_str(piece);
        if let Some(next) = pieces.peek() {
            let goes_on = masked.ends_with(char::is_alphanumeric) || next.starts_with(char::is_alphanumeric);
            masked.push_str(if goes_on { name } else { word });
        }
    }
    masked
}

fn mask_line(line: &str) -> String {
    let line = mask_words(line);
    for (key, word) in [("Start Time:", "TIME"), ("Started:", "TIME"), ("Finished:", "TIME")] {
        if let Some(at) = line.find(key) {
            return format!("{}{key} {word}", &line[..at]);
        }
    }
    mask_age(&line)
}

/// Word by word; the space between columns shrinks to one where a word was masked, since its width differs.
fn mask_words(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let words: Vec<String> = line.split_whitespace().map(mask_word).collect();
    format!("{}{}", &line[..indent], words.join(" "))
}

fn mask_word(word: &str) -> String {
    let bare = word.trim_matches(|c: char| "\"',".contains(c));
    let masked = if let Some((_, id)) = bare.split_once("://").filter(|(_, id)| is_hex(id, 64)) {
        let _ = id;
        "RUNTIME://ID".to_owned()
    } else if bare.rsplit_once("sha256:").is_some_and(|(_, digest)| is_hex(digest, 64)) {
        "sha256:ID".to_owned()
    } else if is_uuid(bare) {
        "UID".to_owned()
    } else if is_time(bare) {
        "TIME".to_owned()
    } else if is_address(bare) {
        "ADDRESS".to_owned()
    } else if let Some(stem) = generated(bare) {
        format!("{stem}XXXXX")
    } else {
        return word.to_owned();
    };
    word.replace(bare, &masked).replace('"', "")
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.chars().all(|c| c.is_ascii_hexdigit())
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

fn is_time(text: &str) -> bool {
    text.len() == 20 && text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T')
}

fn is_address(text: &str) -> bool {
    text.split('/').next_back().is_some_and(|last| last.parse::<std::net::Ipv4Addr>().is_ok())
}

/// `kube-api-access-x7k2p` and `debugger-x7k2p`, with what follows, such as a colon.
fn generated(word: &str) -> Option<&'static str> {
    ["kube-api-access-", "debugger-"]
        .into_iter()
        .find(|stem| word.starts_with(stem) && word.trim_end_matches(':').len() == stem.len() + 5)
}

/// In the events of `describe`, the third column is an age.
fn mask_age(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let event = line.starts_with("  ") && matches!(line.split_whitespace().next(), Some("Normal" | "Warning"));
    if !event {
        return line.to_owned();
    }
    let is_age = |word: &str| word.ends_with(['s', 'm']) && word.starts_with(|c: char| c.is_ascii_digit());
    words.into_iter().map(|word| if is_age(word) { "AGE" } else { word }).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        assert_eq!(mask(line, &[("anchor", "NODE")]), expected);
    }

    #[test]
    fn what_differs_from_run_to_run_becomes_a_word() {
        let id = "0123456789abcdef".repeat(4);
        check(&format!("    Container ID:   containerd://{id}"), "    Container ID: RUNTIME://ID");
        check(&format!("    imageID: docker.io/library/busybox@sha256:{id}"), "    imageID: sha256:ID");
        check("Node:             anchor/10.88.0.1", "Node: ADDRESS");
        check("  creationTimestamp: \"2026-11-23T15:41:32Z\"", "  creationTimestamp: TIME");
        check("Start Time:       Mon, 23 Nov 2026 15:41:32 +0000", "Start Time: TIME");
        check("  debugger-kg5wp:", "  debugger-XXXXX");
        check(
            "  Normal  Pulled     3s    kubelet            Container image",
            "  Normal Pulled AGE kubelet Container image",
        );
        check("    Command:", "    Command:");
        check("assigned default/eph to anchor", "assigned default/eph to NODE");
        check("anchor, anchors, re-anchor/anchor", "NODE, anchors, re-NODE/NODE");
    }
}
