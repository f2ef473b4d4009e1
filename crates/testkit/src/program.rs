//! What a fake container does when it is started.

use std::time::Duration;

/// A container's behaviour: chosen by its name in the pod, else read off its command.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// How starting ends.
    pub start: Start,
    /// Ends by itself after this time, in this way.
    pub ends: Option<(Duration, End)>,
    /// The exit code after a stop signal; none ignores the signal, so that the kill must come (137).
    pub on_stop: Option<i32>,
    /// Lines on standard output, written when it starts.
    pub prints: Vec<String>,
    /// What it leaves at its termination message path, written when it starts.
    pub last_words: Option<String>,
    /// How long creating takes.
    pub create_takes: Duration,
}

/// How a start ends.
#[derive(Clone, Debug, Default)]
pub enum Start {
    /// It runs.
    #[default]
    Runs,
    /// The runtime refuses with these words; the container has ended with 128.
    Fails(String),
}

/// How a program ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Exits(i32),
    /// Killed by the kernel for memory.
    OutOfMemory,
}

impl Program {
    /// Runs until it is stopped, and obeys the signal.
    pub fn runs() -> Self {
        Self { on_stop: Some(0), ..Self::default() }
    }

    /// Ends by itself.
    pub fn exits(after: Duration, code: i32) -> Self {
        Self { ends: Some((after, End::Exits(code))), ..Self::runs() }
    }

    /// Runs until it is killed.
    pub fn ignores_signals() -> Self {
        Self::default()
    }

    /// Cannot be started.
    pub fn cannot_start(why: &str) -> Self {
        Self { start: Start::Fails(why.to_owned()), ..Self::default() }
    }

    /// What a container's command does. Shell scripts of `sleep N`, `exit N`, `echo`, `true`, `false` are understood;
    /// `tail /dev/zero` takes all memory; a path below `/no` is not there, one below `/etc` cannot be executed.
    pub fn of_command(command: &[String]) -> Self {
        match command {
            [shell, option, script] if shell == "sh" && option == "-c" => Self::of_script(script),
            [program, ..] if program.starts_with("/no/") => {
                let why = "no such file or directory";
                Self::cannot_start(&format!("failed to create containerd task: exec: {program:?}: {why}"))
            }
            [program, ..] if program.starts_with("/etc/") => {
                Self::cannot_start(&format!("failed to create containerd task: exec: {program:?}: permission denied"))
            }
            _ => Self::runs(),
        }
    }

    /// A shell is process 1 here: it ignores the stop signal.
    fn of_script(script: &str) -> Self {
        let mut program = Self::ignores_signals();
        let mut after = Duration::ZERO;
        let mut code = 0;
        for step in script.split(';').map(str::trim) {
            let mut words = step.split_whitespace();
            match (words.next(), words.next()) {
                (Some("sleep"), Some(seconds)) => {
                    after += Duration::from_secs(seconds.parse().unwrap_or(0));
                    code = 0;
                }
                (Some("exit"), Some(with)) => {
                    code = with.parse().unwrap_or(0);
                    break;
                }
                (Some("echo"), _) => program.echo(step.trim_start_matches("echo").trim()),
                (Some("false" | "kill"), _) => code = 1,
                (Some("tail"), Some("/dev/zero")) => {
                    program.ends = Some((after, End::OutOfMemory));
                    return program;
                }
                _ => code = 0,
            }
        }
        program.ends = Some((after, End::Exits(code)));
        program
    }

    fn echo(&mut self, text: &str) {
        match text.split_once('>') {
            Some((words, to)) if to.trim() == "/dev/termination-log" => {
                self.last_words = Some(format!("{}\n", words.trim()));
            }
            Some((words, _)) => self.prints.push(words.trim().to_owned()),
            None => self.prints.push(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_understood() {
        for (script, seconds, end) in [
            ("sleep 3", 3, End::Exits(0)),
            ("sleep 1; exit 2", 1, End::Exits(2)),
            ("echo oops >&2; exit 3", 0, End::Exits(3)),
            ("true", 0, End::Exits(0)),
            ("tail /dev/zero", 0, End::OutOfMemory),
        ] {
            let command = ["sh", "-c", script].map(str::to_owned);
            let program = Program::of_command(&command);
            assert_eq!(program.ends, Some((Duration::from_secs(seconds), end)), "{script}");
        }
    }
}
