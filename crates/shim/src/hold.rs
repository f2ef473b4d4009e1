//! `remora-shim hold`: keeps a systemd scope alive while nothing else is in it. A scope ends with its last process, and its cgroup goes with it; a
//! container's must be there before it starts, and until its shim has read how it ended. The runtime starts one for each container whose cgroup is
//! systemd's, and has systemd stop the scope, which ends it.

use std::fs;
use std::io::Read;
use std::process::ExitCode;

/// Lives until a signal ends it, once the starter has said (with a byte on standard input) that it is in its scope. A starter that ends before
/// that leaves nobody behind.
pub(crate) fn run() -> ExitCode {
    // Whatever ends the starter's terminal or process group is not meant for us. It fails only for those who lead a session already.
    let _ = rustix::process::setsid();
    spare_from_memory_shortage();
    let mut word = [0];
    if std::io::stdin().read_exact(&mut word).is_err() {
        return ExitCode::FAILURE;
    }
    // There is one of it per container, with the shim.
    match remora_sys::vacate::vacate_and_wait() {
        Ok(never) => match never {},
        Err(error) => {
            crate::note(format_args!("cannot hold the scope: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The pod's shortage is not relieved by the end of what has nothing. Where it may not be said, the kernel may choose it first, to no avail.
fn spare_from_memory_shortage() {
    if let Ok(lowest) = remora_sys::process::possible_oom_score_adj(-1000) {
        let _ = fs::write("/proc/self/oom_score_adj", lowest.to_string());
    }
}
