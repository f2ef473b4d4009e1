//! `remora-shim hold`, as the runtime starts it.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use remora_sys::process::PidFd;

fn hold() -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remora-shim"));
    command.arg("hold").stdin(Stdio::piped()).spawn().expect("the shim of this build starts")
}

#[test]
fn a_holder_that_nobody_has_placed_ends() {
    let mut holder = hold();
    drop(holder.stdin.take());
    assert_eq!(holder.wait().unwrap().code(), Some(1));
}

#[test]
fn a_holder_stays_when_its_starter_is_gone_and_ends_when_asked() {
    const TERM: i32 = 15;
    let mut holder = hold();
    let mut stdin = holder.stdin.take().unwrap();
    stdin.write_all(b"!").unwrap();
    drop(stdin);
    let handle = PidFd::open(i32::try_from(holder.id()).unwrap()).unwrap().unwrap();
    assert!(!handle.has_ended());
    handle.send_signal(TERM).unwrap();
    // Had the end of its input ended it, it would be by a code.
    assert_eq!(holder.wait().unwrap().signal(), Some(TERM));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_holder_keeps_next_to_no_memory() {
    const MOST_KIB: u64 = 40;
    const PAUSE: &str = "34 ";
    let mut holder = hold();
    holder.stdin.as_mut().unwrap().write_all(b"!").unwrap();
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", holder.id())).unwrap();
    let begun = std::time::Instant::now();
    while !read("syscall").starts_with(PAUSE) && begun.elapsed() < std::time::Duration::from_secs(30) {}
    let (does, memory) = (read("syscall"), read("smaps_rollup"));
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(does.starts_with(PAUSE), "it does something else: {does}");
    // Not its dirty pages: those of a program that was just linked are dirty too.
    let of_its_own = memory.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    let kib: u64 = of_its_own.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib <= MOST_KIB, "it keeps {kib} KiB: {memory}");
}
