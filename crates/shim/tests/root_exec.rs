//! Execs under the shim, on each low-level runtime.

mod world;

use std::fs;

use remora_shim_protocol::{AttachRequest, Failure, FailureKind, Frame, ProcessState, Reply, Request, TerminalSize};
use serde_json::json;
use world::{Runtime, World, on_each};

#[test]
fn exit_codes_and_both_streams_arrive() {
    on_each("exec", |runtime| {
        let running = World::idle(runtime).start();
        for code in [0, 1, 42, 255] {
            assert_eq!(running.exec_sh(&format!("exit {code}")).1.exit_code, code);
        }
        let (output, record) = running.exec_sh("echo out; echo err >&2; kill -9 $$");
        assert!(output == "out\nerr\n" || output == "err\nout\n", "{output}");
        assert_eq!((record.exit_code, record.signal), (137, Some(9)));
        assert_eq!(running.log(), [""; 0], "an exec's output is not the container's");
    });
}

#[test]
fn a_program_that_cannot_run_fails_in_the_words_of_runc() {
    on_each("failed execs", |runtime| {
        let running = World::idle(runtime).start();
        let check = |args: &[&str], tty, kind, about: &str| {
            let (mut client, reply) = running.exec("x", args, tty, tty);
            let message =
                format!("OCI runtime exec failed: exec failed: unable to start container process: exec: {about}");
            assert_eq!(reply, Reply::Failed(Failure { kind, message }));
            assert_eq!(client.next(), None);
        };
        for tty in [false, true] {
            let about = "\"nosuch\": executable file not found in $PATH";
            check(&["nosuch"], tty, FailureKind::ExecutableNotFound, about);
            let about = "\"/no/such\": stat /no/such: no such file or directory";
            check(&["/no/such"], tty, FailureKind::ExecutableNotFound, about);
            check(&["/etc/plain"], tty, FailureKind::NotExecutable, "\"/etc/plain\": permission denied");
        }
        assert_eq!(running.exec_sh("true").1.exit_code, 0, "the container goes on");
    });
}

#[test]
fn an_exec_in_a_container_that_has_ended_is_refused() {
    on_each("late exec", |runtime| {
        let running = World::idle(runtime).start();
        // Held open, so that the shim is still there to be asked.
        let mut held = running.connect();
        assert_eq!(running.ask(Request::Signal { signal: 9, all: false }), Reply::Done);
        running.wait();
        let (_, reply) = running.exec("x", &["true"], false, false);
        assert!(matches!(reply, Reply::Failed(Failure { kind: FailureKind::NotRunning, .. })), "{reply:?}");
        held.send(&Frame::Request(Request::State));
        assert!(matches!(held.reply(), Reply::State(ProcessState::Exited(_))));
    });
}

const FILTER: &str = r#"{ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
    "syscalls": [{ "names": ["uname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }] }"#;

/// What init and an exec'd process must have in common.
const SHOW: &str = "cat /proc/self/status | grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups|SigIgn|SigBlk)'; \
    for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done; cat /proc/self/cgroup; ulimit -Hn; \
    cat /proc/self/oom_score_adj; pwd; env | grep -vE '^(SHLVL|OLDPWD|PWD|_)=' | grep -v '^HOSTNAME='; echo end";

#[test]
fn an_exec_has_everything_that_the_first_process_has() {
    on_each("same as init", |runtime| {
        for no_new_privileges in [true, false] {
            for uid in [0, 4711] {
                let mut world = World::sh(runtime, &format!("{SHOW}; read wait")).with_stdin(false);
                world.spec["linux"]["seccomp"] = serde_json::from_str(FILTER).unwrap();
                if no_new_privileges {
                    world.spec["process"]["noNewPrivileges"] = true.into();
                }
                world.spec["process"]["user"] =
                    json!({ "uid": uid, "gid": 12, "additionalGids": [34, 56], "umask": 18 });
                world.spec["process"]["cwd"] = "/tmp".into();
                world.spec["process"]["oomScoreAdj"] = 777.into();
                let limits = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
                world.spec["process"]["rlimits"] = limits;
                let running = world.start();
                let mut first = running.attach().until("end\n");
                if runtime == Runtime::Crun {
                    // crun 1.8 gives an exec the score of whoever started it.
                    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
                    first = first.replace("\n777\n", &format!("\n{own}"));
                }
                let (second, record) = running.exec_sh(SHOW);
                assert_eq!(record.exit_code, 0);
                assert_eq!(sorted(&first), sorted(&second), "{first}\n---\n{second}");
                assert!(second.contains("Seccomp:\t2"), "{second}");
                let expected = if no_new_privileges { "NoNewPrivs:\t1" } else { "NoNewPrivs:\t0" };
                assert!(second.contains(expected), "{second}");
                assert!(second.contains(&running.world.id), "its cgroups:\n{second}");
                assert!(second.contains("SigIgn:\t0000000000000000"), "{second}");
            }
        }
    });
}

/// The environment's order is nobody's promise.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn input_passes_and_its_end_too() {
    on_each("exec stdin", |runtime| {
        let running = World::idle(runtime).start();
        let (mut client, _) = running.exec("cat", &["cat"], false, true);
        client.stdin("hello\n");
        client.until("hello\n");
        client.send(&Frame::CloseStdin);
        assert_eq!(client.until_exit().1.exit_code, 0);
        let (mut client, _) = running.exec("none", &["cat"], false, false);
        assert_eq!(client.until_exit().1.exit_code, 0);
    });
}

#[test]
fn more_input_and_output_than_any_buffer_holds_passes_whole() {
    on_each("much", |runtime| {
        let running = World::idle(runtime).start();
        let (mut client, _) =
            running.exec("cat", &["/bin/sh", "-c", "cat > /tmp/much; seq 1 500000; cat /tmp/much"], false, true);
        let much = "0123456789abcde\n".repeat(200_000);
        client.stdin(&much);
        client.send(&Frame::CloseStdin);
        let (output, record) = client.until_exit();
        assert_eq!(record.exit_code, 0);
        assert!(output.starts_with("1\n2\n") && output.ends_with(&much) && output.contains("\n500000\n0123"));
    });
}

#[test]
fn a_grandchild_in_the_background_does_not_keep_an_exec() {
    on_each("background", |runtime| {
        let running = World::idle(runtime).start();
        let (output, record) = running.exec_sh("sleep 1000 & echo done");
        assert_eq!((output.as_str(), record.exit_code), ("done\n", 0));
        // Its writes go on and on, and still the exec ends.
        let (output, _) = running.exec_sh("(trap '' PIPE; while :; do echo noise; done) & echo done");
        assert!(output.contains("done\n"));
    });
}

#[test]
fn an_exec_is_found_by_its_id_again_signalled_and_ended() {
    on_each("exec again", |runtime| {
        let running = World::idle(runtime).start();
        let (mut lost, _) =
            running.exec("e1", &["/bin/sh", "-c", "echo begun; read line; echo got $line; sleep 1000"], false, true);
        lost.until("begun\n");
        let (_, reply) = running.exec("e1", &["true"], false, false);
        assert!(matches!(reply, Reply::Failed(Failure { kind: FailureKind::Invalid, .. })));
        drop(lost);
        let mut again = running.connect();
        let attach = |id: &str| {
            let request = AttachRequest { exec_id: Some(id.to_owned()), stdin: true, stdout: true, stderr: true };
            Frame::Request(Request::Attach(request))
        };
        again.send(&attach("e1"));
        assert_eq!(again.reply(), Reply::Streaming { tty: false });
        again.until("begun\n");
        again.stdin("x\n");
        again.until("got x\n");
        assert_eq!(running.ask(Request::SignalExec { exec_id: "e1".into(), signal: 15 }), Reply::Done);
        assert_eq!(again.until_exit().1.exit_code, 143);
        let mut late = running.connect();
        late.send(&attach("e1"));
        assert!(matches!(late.reply(), Reply::Failed(Failure { kind: FailureKind::NotFound, .. })));
    });
}

#[test]
fn the_terminal_of_an_exec_has_its_size_and_hangs_up_with_its_client() {
    on_each("exec terminal", |runtime| {
        let running = World::idle(runtime).start();
        // A shell that reads can see the end of its terminal before the signal, and end; one that waits cannot.
        let script =
            "stty size; tty; trap 'touch /tmp/hung; exit' HUP; echo ready; read line; stty size; sleep 1000 & wait";
        let (mut client, reply) = running.exec("t", &["/bin/sh", "-c", script], true, true);
        assert_eq!(reply, Reply::Streaming { tty: true });
        let seen = client.until("ready\r\n");
        assert!(seen.starts_with("30 100\r\n/dev/pts/"), "{seen:?}");
        client.send(&Frame::Resize(TerminalSize { width: 120, height: 40 }));
        client.stdin("\n");
        client.until("40 120\r\n");
        client.send(&Frame::Hangup);
        assert_eq!(client.next(), None);
        running.until_file("rootfs/tmp/hung");
    });
}

#[test]
fn execs_die_with_their_container() {
    on_each("execs end", |runtime| {
        let mut running = World::idle(runtime).start();
        let (mut client, _) = running.exec("long", &["sleep", "1000"], false, false);
        assert_eq!(running.ask(Request::Signal { signal: 9, all: false }), Reply::Done);
        assert_eq!(client.until_exit().1.exit_code, 137);
        running.assert_over();
    });
}

#[test]
fn many_execs_at_once_end_each_with_its_own_code() {
    on_each("many execs", |runtime| {
        let running = World::idle(runtime).start();
        let mut clients: Vec<_> = (0..12)
            .map(|code| {
                let mut client = running.connect();
                let mut process = running.world.spec["process"].clone();
                process["args"] = json!(["/bin/sh", "-c", format!("exit {code}")]);
                let request = remora_shim_protocol::ExecRequest {
                    id: format!("e{code}"),
                    process: process.to_string(),
                    tty: false,
                    stdin: false,
                    size: None,
                };
                client.send(&Frame::Request(Request::Exec(request)));
                client
            })
            .collect();
        for (code, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.reply(), Reply::Streaming { tty: false });
            assert_eq!(client.until_exit().1.exit_code, i32::try_from(code).unwrap());
        }
    });
}

#[test]
fn a_terminal_whose_client_has_vanished_is_taken_up_by_the_same_words() {
    on_each("take up", |runtime| {
        let running = World::idle(runtime).start();
        let ask = |id: &str, args: &[&str]| running.exec(id, args, true, true);
        let (mut client, _) = ask("first", &["/bin/sh"]);
        client.stdin("v=kept; echo set-$v\n");
        client.until("set-kept");
        // While somebody sits before it, it is nobody else's.
        let (mut other, _) = ask("second", &["/bin/sh"]);
        other.stdin("echo has-$v-\n");
        other.until("has--");
        other.send(&Frame::Hangup);
        drop(client);
        let (mut stranger, _) = ask("third", &["/bin/sh", "-i"]);
        stranger.stdin("echo has-$v-\n");
        stranger.until("has--");
        // The rest of the process may stand in another order: it is the container's own.
        let mut process = running.world.spec["process"].clone();
        process["args"] = json!(["/bin/sh"]);
        process["env"].as_array_mut().unwrap().reverse();
        let (mut again, reply) = running.exec_process("fourth", &process, true, true);
        assert_eq!(reply, Reply::Streaming { tty: true });
        again.until("set-kept");
        again.stdin("echo still-$v; exit 5\n");
        again.until("still-kept");
        assert_eq!(again.until_exit().1.exit_code, 5);
        // Ended by its user, it is gone.
        let (mut fresh, _) = ask("fifth", &["/bin/sh"]);
        fresh.stdin("echo has-$v-\n");
        fresh.until("has--");
    });
}
