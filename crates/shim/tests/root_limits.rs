//! Time limits under the shim, on remora-create and on runc, with nobody else to keep them. That traffic puts an idle time-out off is tested
//! where time is an argument: in `limits.rs`.

mod world;

use remora_shim_protocol::{Expired, TimeLimit, TimeLimits};
use world::{World, on_each};

const TERM: i32 = 15;
const USR1: i32 = 10;

fn ttl(stop_signal: i32, grace_ms: u64) -> Option<TimeLimits> {
    Some(TimeLimits { ttl_ms: Some(1), stop_signal, grace_ms, ..TimeLimits::default() })
}

#[test]
fn a_container_whose_time_is_up_is_asked_to_end() {
    on_each("a ttl", |runtime| {
        let script = "trap 'echo asked; exit 3' USR1; echo ready; while :; do sleep 0.01; done";
        let mut world = World::sh(runtime, script);
        world.limits =
            Some(TimeLimits { ttl_ms: Some(3000), stop_signal: USR1, grace_ms: u64::MAX, ..Default::default() });
        let mut running = world.start();
        let record = running.wait();
        let expired = Some(Expired { limit: TimeLimit::Ttl, after_ms: 3000 });
        assert_eq!((record.exit_code, record.expired), (3, expired));
        assert_eq!(running.log(), ["stdout F ready", "stdout F asked"]);
        running.assert_over();
        assert_eq!(running.exit_record(), record);
    });
}

#[test]
fn one_that_does_not_listen_is_killed_after_the_grace() {
    on_each("a ttl and a kill", |runtime| {
        // Process 1 of a PID namespace gets no signal that it has no handler for.
        let mut world = World::idle(runtime);
        world.limits = ttl(TERM, 1);
        let record = world.start().wait();
        assert_eq!((record.exit_code, record.signal), (137, Some(9)));
        assert_eq!(record.expired, Some(Expired { limit: TimeLimit::Ttl, after_ms: 1 }));
    });
}

#[test]
fn one_that_nobody_talks_to_is_ended_whatever_it_writes() {
    on_each("an idle time-out", |runtime| {
        let mut world = World::sh(runtime, "while :; do echo talking to myself; sleep 0.05; done");
        let idle_timeout_ms = Some(300);
        world.limits = Some(TimeLimits { idle_timeout_ms, stop_signal: TERM, grace_ms: 1, ..TimeLimits::default() });
        let record = world.start().wait();
        assert_eq!(record.expired, Some(Expired { limit: TimeLimit::IdleTimeout, after_ms: 300 }));
    });
}

#[test]
fn an_attached_client_that_is_silent_is_told_of_the_end() {
    on_each("an idle client", |runtime| {
        let mut world = World::idle(runtime).with_tty();
        let idle_timeout_ms = Some(1000);
        world.limits = Some(TimeLimits { idle_timeout_ms, stop_signal: TERM, grace_ms: 1, ..TimeLimits::default() });
        let running = world.start();
        let (_, record) = running.attach().until_exit();
        assert_eq!(record.expired, Some(Expired { limit: TimeLimit::IdleTimeout, after_ms: 1000 }));
    });
}
