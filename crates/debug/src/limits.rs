//! An end in time: by variables that Remora's nodes keep, elsewhere by a few lines of `sh` around the tool. Pure.

use std::time::Duration;

use k8s_openapi::api::core::v1::EnvVar;

/// How long a tool container may live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// So long after its start it is ended.
    pub ttl: Option<Duration>,
    /// So long after the last byte to or from it.
    pub idle: Option<Duration>,
}

impl Limits {
    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.ttl.is_none() && self.idle.is_none()
    }

    /// As a node of ours reads them.
    pub(crate) fn variables(&self) -> Vec<EnvVar> {
        let variable = |name: &str, limit: Option<Duration>| {
            limit.map(|limit| EnvVar {
                name: name.to_owned(),
                value: Some(format!("{}s", seconds(limit))),
                value_from: None,
            })
        };
        [variable("REMORA_TTL", self.ttl), variable("REMORA_IDLE_TIMEOUT", self.idle)].into_iter().flatten().collect()
    }

    /// `command` (none: a shell) with a guard beside it, as the command of a container whose image has `sh`, `sleep` and, for an idle
    /// time, `stat`.
    ///
    /// The guard knows the tool by its number, which `exec` keeps. It asks politely first: HUP is what a shell gets when its terminal goes.
    /// The times of a terminal's device move with each byte; the kernel rounds them to eight seconds.
    pub fn wrapped(&self, command: &[String]) -> Vec<String> {
        let ttl = self.ttl.map_or(0, seconds);
        let idle = self.idle.map_or(0, seconds);
        let tool = if command.is_empty() { vec!["sh".to_owned()] } else { command.to_vec() };
        let words = ["sh", "-c", GUARD, "sh"].map(str::to_owned);
        words.into_iter().chain([ttl.to_string(), idle.to_string()]).chain(tool).collect()
    }
}

/// `$1` and `$2` are the limits in seconds, 0 for none; the tool follows. `$$` is written `$$$$`: Kubernetes takes half of them.
const GUARD: &str = "\
tool=$$$$ ttl=$1 idle=$2; shift 2
finish() { kill -HUP $tool; sleep 5; kill -KILL $tool; exit; }
(
  if [ $ttl -gt 0 ]; then (sleep $ttl; finish) & fi
  quiet=0 last=
  while [ $idle -gt 0 ]; do
    sleep 5
    now=$(stat -L -c %X%Y /proc/$tool/fd/0)
    if [ \"$now\" = \"$last\" ]; then quiet=$((quiet + 5)); else quiet=0; fi
    last=$now
    if [ $quiet -ge $idle ]; then finish; fi
  done
) </dev/null >/dev/null 2>&1 &
exec \"$@\"";

/// Rounded up: a limit is never none.
fn seconds(limit: Duration) -> u64 {
    limit.as_secs() + u64::from(limit.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_ours_read_variables() {
        let limits = Limits { ttl: Some(Duration::from_secs(1800)), idle: Some(Duration::from_millis(1500)) };
        let shown: Vec<String> =
            limits.variables().into_iter().map(|v| format!("{}={}", v.name, v.value.unwrap())).collect();
        assert_eq!(shown, ["REMORA_TTL=1800s", "REMORA_IDLE_TIMEOUT=2s"]);
        assert!(Limits::default().variables().is_empty() && Limits::default().is_empty());
    }

    /// The guard is played by this machine's shell, with `$$` as the container would see it.
    fn play(limits: Limits, command: &[&str]) -> Option<i32> {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let words: Vec<String> = limits.wrapped(&command).iter().map(|word| word.replace("$$", "$")).collect();
        let status = std::process::Command::new(&words[0])
            .args(&words[1..])
            .stdin(std::process::Stdio::null())
            .status()
            .unwrap();
        status.code()
    }

    #[test]
    fn elsewhere_a_shell_ends_the_tool_and_passes_its_status_on() {
        let limits = Limits { ttl: Some(Duration::from_secs(1)), idle: None };
        // By HUP, or, where whoever runs this has it ignored (nohup), by KILL: no sleep that has slept.
        assert_eq!(play(limits, &["sleep", "60"]), None);
        let none = Limits { ttl: None, idle: Some(Duration::from_secs(600)) };
        assert_eq!(play(none, &["sh", "-c", "exit 7"]), Some(7));
    }

    #[test]
    fn without_a_command_it_is_a_shell() {
        let words = Limits { ttl: Some(Duration::from_secs(9)), idle: None }.wrapped(&[]);
        assert_eq!(
            (&words[..2], &words[3..]),
            (&["sh".to_owned(), "-c".to_owned()][..], &["sh", "9", "0", "sh"].map(str::to_owned)[..])
        );
    }
}
