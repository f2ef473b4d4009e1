//! A shim that was started before its container could be, on each low-level runtime.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::fs;
use std::io::Read;

use remora_shim_protocol::Report;
use remora_sys::process::PidFd;
use world::{Runtime, World, on_each};

/// The children of a process, once there are that many.
fn children(of: u32, count: usize) -> Vec<i32> {
    let path = format!("/proc/{of}/task/{of}/children");
    loop {
        let text = fs::read_to_string(&path).unwrap();
        let children: Vec<i32> = text.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        if children.len() == count {
            return children;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_container_starts_as_if_nobody_had_waited() {
    on_each("ahead", |runtime| {
        let world = World::sh(runtime, "read -r line; echo \"$line\"; pwd; exit 3").with_stdin(true);
        let (running, report) = world.spawn_ahead(|shim| {
            // Only our own creator knows how to wait.
            children(shim, usize::from(runtime == Runtime::Create));
        });
        assert!(matches!(report, Report::Started(_)), "{report:?}\n{}", running.notes());
        let mut client = running.attach();
        client.stdin("hello\n");
        assert_eq!(running.wait().exit_code, 3);
        assert_eq!(running.log(), ["stdout F hello", "stdout F /"]);
        assert!(running.notes().is_empty(), "{}", running.notes());
    });
}

#[test]
fn a_terminal_is_there_too() {
    on_each("ahead with a terminal", |runtime| {
        let (running, report) = World::sh(runtime, "tty; echo ready; read -r line").with_tty().spawn_ahead(|_| {});
        assert!(matches!(report, Report::Started(_)), "{report:?}\n{}", running.notes());
        running.attach().until("ready");
    });
}

#[test]
fn an_order_that_does_not_come_leaves_nothing() {
    on_each("no order", |runtime| {
        let world = World::idle(runtime);
        let before = fs::read_dir(world.folder.path()).unwrap().count();
        let (mut shim, order, mut report) = world.wait_ahead();
        let creators = children(shim.id(), usize::from(runtime == Runtime::Create));
        let creators: Vec<PidFd> = creators.into_iter().map(|pid| PidFd::open(pid).unwrap().unwrap()).collect();
        drop(order);
        assert!(shim.wait().unwrap().success());
        creators.iter().for_each(|creator| creator.wait_ended().unwrap());
        let mut said = String::new();
        report.read_to_string(&mut said).unwrap();
        assert_eq!((said.as_str(), fs::read_dir(world.folder.path()).unwrap().count()), ("", before));
        assert!(world.cgroups().iter().all(|cgroup| !cgroup.exists()));
    });
}

#[test]
fn a_creator_that_has_died_meanwhile_is_replaced() {
    const KILL: i32 = 9;
    on_each("a killed creator", |runtime| {
        if runtime != Runtime::Create {
            return;
        }
        let (running, report) = World::sh(runtime, "echo there").spawn_ahead(|shim| {
            for pid in children(shim, 1) {
                let creator = PidFd::open(pid).unwrap().unwrap();
                creator.send_signal(KILL).unwrap();
                creator.wait_ended().unwrap();
            }
        });
        assert!(matches!(report, Report::Started(_)), "{report:?}\n{}", running.notes());
        running.wait();
        assert_eq!(running.log(), ["stdout F there"]);
    });
}
