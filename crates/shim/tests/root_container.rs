//! A container's first process under the shim, on each low-level runtime: start, log, exit, streams, clients.

mod world;

use std::fs;

use remora_shim_protocol::{Failure, FailureKind, Frame, ProcessState, Reply, Report, Request};
use serde_json::json;
use world::{Runtime, World, on_each};

#[test]
fn output_is_logged_and_the_exit_code_recorded() {
    on_each("output", |runtime| {
        let mut running = World::sh(runtime, "echo one; echo two >&2; printf three; exit 7").start();
        let record = running.wait();
        assert_eq!((record.exit_code, record.signal, record.oom_killed), (7, None, false));
        assert!(record.started_at.unwrap() <= record.finished_at);
        running.assert_over();
        assert_eq!(running.exit_record(), record);
        let mut log = running.log();
        log.sort();
        assert_eq!(log, ["stderr F two", "stdout F one", "stdout P three"]);
    });
}

#[test]
fn a_container_that_ends_at_once_is_started_and_ended() {
    on_each("true", |runtime| {
        let (mut running, report) = World::new(runtime, &["/bin/true"]).spawn();
        assert!(matches!(report, Report::Started(_)), "{report:?}");
        running.assert_over();
        assert_eq!(running.exit_record().exit_code, 0);
    });
}

#[test]
fn a_signal_is_sent_and_recorded() {
    on_each("signals", |runtime| {
        let mut running = World::idle(runtime).start();
        assert!(matches!(running.ask(Request::State), Reply::State(ProcessState::Running(_))));
        assert!(matches!(running.ask(Request::Shutdown), Reply::Failed(Failure { kind: FailureKind::Invalid, .. })));
        assert_eq!(running.ask(Request::Signal { signal: 9, all: false }), Reply::Done);
        let record = running.wait();
        assert_eq!((record.exit_code, record.signal, record.oom_killed), (137, Some(9), false));
        running.assert_over();
    });
}

#[test]
fn a_handled_signal_and_signals_to_all_arrive() {
    on_each("handled signals", |runtime| {
        let script = "trap 'echo got it; kill $!; exit 3' TERM; sleep 1000 & echo ready; wait";
        let running = World::sh(runtime, script).start();
        running.attach().until("ready\n");
        assert_eq!(running.ask(Request::Signal { signal: 15, all: false }), Reply::Done);
        assert_eq!(running.wait().exit_code, 3);
        assert_eq!(running.log(), ["stdout F ready", "stdout F got it"]);

        let running = World::idle(runtime).start();
        assert_eq!(running.ask(Request::Signal { signal: 9, all: true }), Reply::Done);
        assert_eq!(running.wait().exit_code, 137);
    });
}

#[test]
fn the_start_record_names_the_process() {
    on_each("start record", |runtime| {
        let running = World::idle(runtime).start();
        let bytes = fs::read(&running.config.start_record).unwrap();
        let record: remora_shim_protocol::StartRecord = remora_shim_protocol::unseal(&bytes).unwrap();
        assert_eq!(remora_sys::process::start_time(record.pid).unwrap(), record.pid_start_time);
        assert_eq!(record.shim_pid, i32::try_from(running.shim.id()).unwrap());
        // remora-create says "started" once the program has been executed, runc a moment before.
        let comm = fs::read_to_string(format!("/proc/{}/comm", record.pid)).unwrap();
        assert!(comm == "tail\n" || runtime == Runtime::Runc, "{comm}");
        assert_eq!(running.ask(Request::State), Reply::State(ProcessState::Running(record)));
    });
}

#[test]
fn a_program_that_cannot_run_is_reported_and_nothing_stays() {
    on_each("failed starts", |runtime| {
        let check = |args: &[&str], kind, about: &str| {
            let (mut running, report) = World::new(runtime, args).spawn();
            let message = format!(
                "OCI runtime create failed: runc create failed: unable to start container process: exec: {about}"
            );
            let failure = Failure { kind, message: message.clone() };
            assert_eq!(report, Report::Failed(failure), "{}", running.notes());
            running.assert_over();
            let on_record = running.exit_record();
            assert_eq!((on_record.exit_code, on_record.started_at, on_record.failure), (128, None, Some(message)));
            assert!(!running.config.start_record.exists());
            assert_eq!(running.log(), [""; 0]);
        };
        check(&["nosuch"], FailureKind::ExecutableNotFound, "\"nosuch\": executable file not found in $PATH");
        let about = "\"/no/such\": stat /no/such: no such file or directory";
        check(&["/no/such"], FailureKind::ExecutableNotFound, about);
        check(&["/etc/plain"], FailureKind::NotExecutable, "\"/etc/plain\": permission denied");
    });
}

#[test]
fn a_spec_that_cannot_be_is_reported_with_the_reason() {
    on_each("impossible specs", |runtime| {
        let mut world = World::idle(runtime);
        world.spec["root"]["path"] = "no-such-folder".into();
        let (mut running, report) = world.spawn();
        let Report::Failed(failure) = report else { panic!("{report:?}") };
        assert_eq!(failure.kind, FailureKind::Internal);
        assert!(failure.message.starts_with("OCI runtime create failed: runc create failed: "), "{failure:?}");
        assert!(failure.message.contains("no such file") || failure.message.contains("No such file"), "{failure:?}");
        running.assert_over();
    });
}

#[test]
fn stdin_passes_and_its_end_too() {
    on_each("stdin", |runtime| {
        let mut running = World::new(runtime, &["/bin/cat"]).with_stdin(true).start();
        let mut client = running.attach();
        client.stdin("hello\n");
        client.until("hello\n");
        client.stdin("and bye");
        client.send(&Frame::CloseStdin);
        let (output, record) = client.until_exit();
        assert_eq!((output.as_str(), record.exit_code), ("and bye", 0));
        running.assert_over();
        assert_eq!(running.log(), ["stdout F hello", "stdout P and bye"]);
    });
}

#[test]
fn stdin_stays_open_for_the_next_client_unless_it_is_once() {
    on_each("stdin for several", |runtime| {
        let running = World::new(runtime, &["/bin/cat"]).with_stdin(false).start();
        let mut first = running.attach();
        first.send(&Frame::CloseStdin);
        first.send(&Frame::Hangup);
        assert_eq!(first.next(), None);
        let mut second = running.attach();
        second.stdin("still open\n");
        second.until("still open\n");
        assert_eq!(running.ask(Request::Signal { signal: 9, all: false }), Reply::Done);
        running.wait();

        let running = World::new(runtime, &["/bin/cat"]).with_stdin(true).start();
        running.attach().send(&Frame::Hangup);
        assert_eq!(running.wait().exit_code, 0);
    });
}

#[test]
fn without_stdin_input_is_at_its_end() {
    on_each("no stdin", |runtime| {
        let running = World::new(runtime, &["/bin/cat"]).start();
        assert_eq!(running.wait().exit_code, 0);
    });
}

#[test]
fn a_client_that_comes_back_gets_the_replay_and_two_see_the_same() {
    on_each("attach again", |runtime| {
        let running =
            World::sh(runtime, "echo first; while read line; do echo got $line; done").with_stdin(false).start();
        let mut lost = running.attach();
        lost.until("first\n");
        lost.stdin("a\n");
        lost.until("got a\n");
        drop(lost);
        let mut one = running.attach();
        assert_eq!(one.until("got a\n"), "first\ngot a\n");
        let mut two = running.attach();
        two.until("got a\n");
        two.stdin("b\n");
        assert_eq!(one.until("got b\n"), "got b\n");
        assert_eq!(two.until("got b\n"), "got b\n");
        assert_eq!(running.ask(Request::Signal { signal: 9, all: false }), Reply::Done);
        assert_eq!(one.until_exit().1.exit_code, 137);
        assert_eq!(two.until_exit().1.exit_code, 137);
    });
}

#[test]
fn a_client_that_does_not_read_stalls_neither_container_nor_log() {
    on_each("slow client", |runtime| {
        let lines = 400_000;
        let running = World::sh(runtime, &format!("read go; seq 1 {lines}")).with_stdin(true).start();
        let mut slow = running.attach();
        slow.stdin("go\n");
        assert_eq!(running.wait().exit_code, 0);
        let log = running.log();
        assert_eq!((log.len(), log.last().unwrap().as_str()), (lines, "stdout F 400000"));
    });
}

#[test]
fn memory_kills_are_recorded() {
    on_each("oom", |runtime| {
        let mut world = World::sh(runtime, "tail /dev/zero");
        world.spec["linux"]["resources"] = json!({ "memory": { "limit": 16 << 20 } });
        let running = world.start();
        let record = running.wait();
        assert!(record.oom_killed, "{record:?} {}", running.notes());
        assert_eq!(record.exit_code, 137);
    });
}

/// With the kernel's log as the device: every machine has it, and root may write to it without a further right.
#[test]
fn only_devices_that_were_asked_for_can_be_used() {
    on_each("devices", |runtime| {
        let refused = json!({ "allow": false, "access": "rwm" });
        let allowed = json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "wm" });
        let script = "busybox mknod /tmp/log c 1 11 && echo made; true > /tmp/log; echo $?; \
             echo x > /dev/null; head -c 1 /dev/urandom > /dev/zero; echo $?";
        for (rules, expected) in [(json!([refused]), "1"), (json!([refused, allowed]), "0")] {
            let mut world = World::sh(runtime, script);
            world.spec["linux"]["resources"] = json!({ "devices": rules });
            for set in ["bounding", "effective", "permitted"] {
                let set = &mut world.spec["process"]["capabilities"][set];
                set.as_array_mut().unwrap().push("CAP_MKNOD".into());
            }
            let running = world.start();
            assert_eq!(running.wait().exit_code, 0, "{:?}", running.log());
            let log = running.log();
            let said: Vec<&str> = log.iter().filter_map(|line| line.strip_prefix("stdout F ")).collect();
            assert_eq!(said, ["made", expected, "0"], "{rules}: {log:?}");
        }
    });
}

/// In a target's PID namespace the orphans of a debugger would go to the target's first process.
#[test]
fn what_is_left_in_the_cgroup_of_one_that_joined_a_target_is_killed() {
    on_each("leftovers", |runtime| {
        let target = World::idle(runtime).start();
        let Reply::State(ProcessState::Running(record)) = target.ask(Request::State) else { panic!("not running") };
        let mut world = World::sh(runtime, "(sleep 1000 & sleep 1001 &) ; ps; exit 5");
        let namespaces = world.spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces[0]["path"] = format!("/proc/{}/ns/pid", record.pid).into();
        let mut debugger = world.start();
        assert_eq!(debugger.wait().exit_code, 5);
        assert!(
            debugger.log().iter().any(|line| line.contains("1 root") && line.contains("tail -f")),
            "{:?}",
            debugger.log()
        );
        debugger.assert_over();
        let (seen, _) = target.exec_sh("ps");
        // Dead, but for the target to wait for.
        assert!(!seen.contains("sleep 100"), "{seen}");
        assert!(matches!(target.ask(Request::State), Reply::State(ProcessState::Running(_))));
    });
}

#[test]
fn output_of_a_background_process_is_complete_when_the_container_ends() {
    on_each("background output", |runtime| {
        let mut running = World::sh(runtime, "(trap '' HUP; while :; do echo tick; done) & echo main; exit 0").start();
        assert_eq!(running.wait().exit_code, 0);
        assert!(running.log().contains(&"stdout F main".to_owned()));
        running.assert_over();
    });
}

#[test]
fn a_rotated_log_is_opened_anew() {
    on_each("rotation", |runtime| {
        let running = World::sh(runtime, "while read line; do echo $line; done").with_stdin(false).start();
        let mut client = running.attach();
        client.stdin("old\n");
        client.until("old\n");
        fs::rename(running.world.path("0.log"), running.world.path("0.log.1")).unwrap();
        assert_eq!(running.ask(Request::ReopenLog), Reply::Done);
        client.stdin("new\n");
        client.until("new\n");
        assert_eq!(running.log(), ["stdout F new"]);
    });
}

#[test]
fn a_process_may_open_its_standard_streams_again_as_its_user() {
    on_each("reopen", |runtime| {
        let mut world = World::sh(runtime, "echo out > /dev/stdout; echo err > /dev/stderr");
        world.spec["process"]["user"] = json!({ "uid": 4711, "gid": 4711 });
        world.spec["process"]["capabilities"] = json!({});
        let running = world.start();
        assert_eq!(running.wait().exit_code, 0, "{:?}", running.log());
        let mut log = running.log();
        log.sort();
        assert_eq!(log, ["stderr F err", "stdout F out"]);
    });
}

#[test]
fn what_this_machine_cannot_give_is_lowered() {
    // The others fail on such a spec: the adapting is remora-create's own.
    on_each("adapted", |runtime| {
        if runtime != Runtime::Create {
            return;
        }
        let mut world = World::sh(runtime, "cat /proc/self/oom_score_adj; grep NoNewPrivs /proc/self/status");
        world.spec["process"]["oomScoreAdj"] = (-999).into();
        world.spec["process"]["noNewPrivileges"] = false.into();
        world.spec["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 1u64 << 30, "hard": 1u64 << 30 }]);
        let mut running = world.start();
        assert_eq!(running.wait().exit_code, 0);
        assert_eq!(running.log().len(), 2);
        running.assert_over();
    });
}

#[test]
fn the_host_has_no_way_from_the_container_to_its_binary() {
    on_each("own binary", |runtime| {
        // As in runc's CVE-2019-5736: the program to run is the runtime itself, whose binary is then written to.
        let (mut running, report) = World::new(runtime, &["/proc/self/exe", "state", "x"]).spawn();
        running.assert_over();
        if let Report::Started(_) = report {
            assert_ne!(running.exit_record().exit_code, 0);
        }
        // And a process of the container that writes to whatever comes in, before, while and after it executes its program.
        let script = "while :; do for exe in /proc/[0-9]*/exe; do echo x >> $exe; done; done 2>/dev/null";
        let before = fs::read(&running.config.runtime.path).unwrap();
        let target = World::sh(runtime, script).start();
        for _ in 0..10 {
            target.exec("self", &["/proc/self/exe"], false, false);
            target.exec_sh("true");
        }
        assert!(before == fs::read(&running.config.runtime.path).unwrap());
    });
}
