//! Hostile execs, on each low-level runtime: what the container may not do, an exec in it may not do either, and what it does hurts nobody
//! else. (That the runtime's own binary is out of reach is shown in root_container.rs, that a debugger's orphans die in the runtime's tests.)

mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use remora_shim_protocol::{ProcessState, Reply, Request};
use serde_json::json;
use world::{Runtime, World, on_each};

const UID: u32 = 4711;

#[test]
fn a_system_call_that_the_container_may_not_make_is_refused_to_an_exec() {
    on_each("forbidden call", |runtime| {
        let mut world = World::idle(runtime);
        world.spec["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 },
                         { "names": ["chmod", "fchmodat"], "action": "SCMP_ACT_KILL_PROCESS" }] });
        let running = world.start();
        let (said, record) = running.exec_sh("mkdir /tmp/no 2>&1");
        assert!(record.exit_code == 1 && said.contains("Operation not supported"), "{said}");
        let (said, record) = running.exec_sh("chmod 700 /tmp; echo \"then $?\"");
        assert!(record.exit_code == 0 && said.contains("then 159"), "killed by SIGSYS: {said}");
        assert!(matches!(running.ask(Request::State), Reply::State(ProcessState::Running(_))));
    });
}

#[test]
fn an_exec_that_forks_without_end_is_held_by_the_limit_and_dies_with_the_container() {
    on_each("fork bomb", |runtime| {
        const LIMIT: usize = 40;
        let mut world = World::idle(runtime);
        world.spec["linux"]["resources"]["pids"] = json!({ "limit": LIMIT });
        let mut running = world.start();
        let (mut client, reply) =
            running.exec("bomb", &["/bin/sh", "-c", "bomb() { bomb | bomb & }; bomb; read never"], false, true);
        assert_eq!(reply, Reply::Streaming { tty: false });
        // Whether the first of them goes on or is among those that cannot fork, is chance.
        client.until("can't fork");
        // The host can start processes, and the shim answers.
        assert!(Command::new("true").status().unwrap().success());
        assert!(matches!(running.ask(Request::State), Reply::State(ProcessState::Running(_))));
        let counts = running
            .world
            .cgroups()
            .into_iter()
            .filter_map(|folder| fs::read_to_string(folder.join("pids.current")).ok());
        let counts: Vec<usize> = counts.map(|count| count.trim().parse().unwrap()).collect();
        assert!(!counts.is_empty() && counts.iter().all(|count| *count <= LIMIT), "{counts:?}");
        assert_eq!(running.ask(Request::Signal { signal: 9, all: true }), Reply::Done);
        assert_eq!(running.wait().exit_code, 137);
        drop(client);
        running.assert_over();
    });
}

#[test]
fn a_setuid_program_gives_an_exec_no_more_than_the_container() {
    on_each("setuid", |runtime| {
        for (no_new_privileges, expected) in [(true, i32::try_from(UID & 0xff).unwrap()), (false, 0)] {
            let mut world = unprivileged(runtime);
            world.spec["process"]["noNewPrivileges"] = no_new_privileges.into();
            let program = world.path("rootfs/effective-uid");
            fs::write(&program, effective_uid_program()).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
            let running = world.start();
            let (mut client, reply) = running.exec("setuid", &["/effective-uid"], false, false);
            assert_eq!(reply, Reply::Streaming { tty: false }, "{}", running.notes());
            assert_eq!(client.until_exit().1.exit_code, expected, "no new privileges: {no_new_privileges}");
        }
    });
}

fn unprivileged(runtime: Runtime) -> World {
    let mut world = World::idle(runtime);
    world.spec["process"]["user"] = json!({ "uid": UID, "gid": UID });
    world
}

/// A program that ends with the lowest byte of its effective user id: busybox itself drops what a setuid bit gives it.
fn effective_uid_program() -> Vec<u8> {
    const ADDRESS: u64 = 0x40_0000;
    // geteuid(); exit(that): mov eax, 107; syscall; mov edi, eax; mov eax, 60; syscall
    const CODE: [u8; 16] = [0xb8, 107, 0, 0, 0, 0x0f, 0x05, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + CODE.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // Executable, x86-64, version 1.
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    // Entry; program headers follow this header; no section headers.
    [ADDRESS + HEADERS, 64, 0].iter().for_each(|word| file.extend(word.to_le_bytes()));
    // Flags; sizes and counts of headers.
    file.extend([0; 4]);
    [64u16, 56, 1, 0, 0, 0].iter().for_each(|half| file.extend(half.to_le_bytes()));
    // One segment: loaded, readable and executable, the whole file.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    [0, ADDRESS, ADDRESS, size, size, 0x1000].iter().for_each(|word| file.extend(word.to_le_bytes()));
    file.extend(CODE);
    file
}
