//! Which signal asks a container to stop: CRI's, else the image's, else SIGTERM.

use remora_cri::{ContainerConfig, Signal};

const TERM: i32 = 15;

/// The signal's number on Linux.
pub fn stop_signal(container: &ContainerConfig, image_signal: &str) -> i32 {
    match container.stop_signal() {
        Signal::RuntimeDefault => parse(image_signal).unwrap_or(TERM),
        asked => by_name(&format!("{asked:?}")).unwrap_or(TERM),
    }
}

/// `15`, `TERM`, `SIGTERM`, `SIGRTMIN+3`, …
fn parse(text: &str) -> Option<i32> {
    match text.parse::<i32>() {
        Ok(number) => Some(number).filter(|number| (1..=64).contains(number)),
        Err(_) => by_name(text),
    }
}

fn by_name(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |text: &str| text.trim_start_matches(['+', '-']).parse::<i32>().ok().filter(|n| (0..=30).contains(n));
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Some(34 + if rest.is_empty() { 0 } else { offset(rest.trim_start_matches("PLUS"))? });
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return Some(64 - if rest.is_empty() { 0 } else { offset(rest.trim_start_matches("MINUS"))? });
    }
    NUMBERS.iter().find(|(have, _)| *have == name).map(|&(_, number)| number)
}

/// Linux's numbers on x86 and Arm.
const NUMBERS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", TERM),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_comes_before_the_image_and_both_before_term() {
        let check = |asked: Signal, image: &str, expected| {
            let mut container = ContainerConfig::default();
            container.set_stop_signal(asked);
            assert_eq!(stop_signal(&container, image), expected, "{asked:?} {image:?}");
        };
        check(Signal::RuntimeDefault, "", 15);
        check(Signal::RuntimeDefault, "SIGQUIT", 3);
        check(Signal::RuntimeDefault, "usr1", 10);
        check(Signal::RuntimeDefault, "37", 37);
        check(Signal::RuntimeDefault, "99", 15);
        check(Signal::RuntimeDefault, "RTMIN+3", 37);
        check(Signal::RuntimeDefault, "nonsense", 15);
        check(Signal::Sigint, "SIGQUIT", 2);
        check(Signal::Sigrtminplus3, "", 37);
        check(Signal::Sigrtmaxminus2, "", 62);
        check(Signal::Sigrtmax, "", 64);
    }
}
