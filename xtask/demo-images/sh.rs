//! `/bin/sh` of upstream's images, before Debian's busybox. Upstream's busybox runs its own tools within the shell, so that `env` shows also variables
//! with names that no shell allows; Debian's drops them on the way. So `sh -c env` is the tool itself, and all else is the shell.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let [name, arguments @ ..] = &words[..] else { return ExitCode::FAILURE };
    let mut command = Command::new("/bin/busybox");
    match arguments {
        [flag, script] if flag == "-c" && script == "env" => command.arg0("env"),
        _ => command.arg0(name).args(arguments),
    };
    let error = command.exec();
    eprintln!("{}: cannot run /bin/busybox: {error}", name.to_string_lossy());
    ExitCode::from(126)
}
