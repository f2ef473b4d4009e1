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
