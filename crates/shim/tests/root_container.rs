//! A container's first process under the shim, on remora-create and on runc: start, log, exit, streams.

mod world;

use remora_shim_protocol::{Frame, ProcessState, Reply, Report, Request, TerminalSize};
use world::{World, on_both};

#[test]
fn output_is_logged_and_the_exit_code_recorded() {
    on_both("output", |runtime| {
        let mut running = World::sh(runtime, "echo one; echo two >&2; printf three; exit 7").start();
        let record = running.wait();
        assert_eq!((record.exit_code, record.signal, record.oom_killed), (7, None, false));
        assert!(record.started_at.unwrap() <= record.finished_at);
        running.assert_over();
        assert_eq!(running.exit_record(), record);
        let mut log = running.log();
        log.sort();
        assert_eq!(log, ["stderr F two", "stdout F one", "stdout F three"]);
    });
}
