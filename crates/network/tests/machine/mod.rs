//! A machine for tests: a network namespace that plays the node, and more of them that play sandboxes and the world.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use remora_sys::namespace::{self, Kind, NewNamespaces};

/// Says loudly when a test is skipped; fails when it may not be.
#[expect(clippy::print_stderr, reason = "a skipped test has to be seen")]
pub(crate) fn need_root() -> Option<()> {
    if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        return Some(());
    }
    let message = "SKIPPED: this test makes network namespaces and needs root";
    assert!(std::env::var_os("REMORA_REQUIRE_ROOT").is_none(), "{message}");
    eprintln!("{message}");
    None
}

/// Namespaces pinned in a temporary folder; all gone when this is dropped.
pub(crate) struct Machine {
    folder: tempfile::TempDir,
    pins: RefCell<Vec<PathBuf>>,
}

impl Machine {
    /// Runs a test on a runtime inside a fresh node namespace.
    pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce(Rc<Machine>) -> F + Send) {
        let folder = tempfile::tempdir().unwrap();
        let node = folder.path().join("node");
        make(&node);
        let inside = namespace::run_in(Kind::Net, &node, || {
            let machine = Rc::new(Machine { folder, pins: RefCell::new(vec![node.clone()]) });
            machine.ip(&["link", "set", "lo", "up"]);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(test(machine));
        });
        inside.unwrap();
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new network namespace, or the one of this name.
    pub(crate) fn namespace(&self, name: &str) -> PathBuf {
        let path = self.folder().join(format!("ns-{name}"));
        if !self.pins.borrow().contains(&path) {
            make(&path);
            self.pins.borrow_mut().push(path.clone());
        }
        path
    }

    pub(crate) fn unpin(&self, name: &str) {
        namespace::unpin(&self.namespace(name)).unwrap();
    }

    /// Runs something in a namespace of ours.
    pub(crate) fn inside<T: Send>(&self, name: &str, work: impl FnOnce() -> T + Send) -> T {
        namespace::run_in(Kind::Net, &self.namespace(name), work).unwrap()
    }

    /// A world beyond the node that knows no way back to pods. Returns the node's address there, and the world's.
    pub(crate) fn connect_outside(&self, name: &str) -> (Ipv4Addr, Ipv4Addr) {
        let world = self.namespace(name);
        self.ip(&["link", "add", "uplink", "type", "veth", "peer", "name", "world"]);
        self.ip(&["addr", "add", "203.0.113.1/30", "dev", "uplink"]);
        self.ip(&["link", "set", "uplink", "up"]);
        self.move_interface("world", &world);
        self.inside(name, || {
            run("ip", &["addr", "add", "203.0.113.2/30", "dev", "world"]);
            run("ip", &["link", "set", "world", "up"]);
        });
        (Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2))
    }

    /// `ip link set netns` wants a name below /run/netns or a process; a process that waits inside is simplest.
    fn move_interface(&self, interface: &str, world: &Path) {
        let mut inside = namespace::run_in(Kind::Net, world, || {
            Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap()
        })
        .unwrap();
        self.ip(&["link", "set", interface, "netns", &inside.id().to_string()]);
        drop(inside.stdin.take());
        inside.wait().unwrap();
    }

    pub(crate) fn ip(&self, arguments: &[&str]) -> String {
        run("ip", arguments)
    }

    pub(crate) fn nft_ruleset(&self) -> String {
        run("nft", &["list", "ruleset"])
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for pin in self.pins.borrow().iter() {
            let _ = namespace::unpin(pin);
        }
    }
}

fn make(path: &Path) {
    namespace::create(&NewNamespaces { pins: vec![(Kind::Net, path.to_owned())], hostname: None, sysctls: &[] })
        .unwrap();
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}
