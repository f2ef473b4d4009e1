//! The cgroup driver `systemd`: what is a unit, and what stays as it was when systemd looks at its units again. Everything else about containers is
//! in the other suites, which run on this driver too, in a machine whose process 1 is systemd: `cargo xtask vm test --systemd`.

mod world;

use std::process::Command;

use remora_cri::{
    ContainerConfig, ContainerState, LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext,
    NamespaceMode, NamespaceOption, RemoveContainerRequest, RuntimeService,
};
use remora_runtime::contract::own_processes;
use world::{World, driver, on_each, said, systemctl};

/// Runs a test where systemd makes the cgroups; elsewhere says that it is skipped.
fn on_each_with_systemd<F: Future<Output = World>>(name: &str, test: impl Fn(World) -> F) {
    match driver() {
        remora_cri::CgroupDriver::Systemd => on_each(name, test),
        remora_cri::CgroupDriver::Cgroupfs => skip(name),
    }
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn skip(name: &str) {
    eprintln!("SKIPPED: {name} needs a machine with systemd: cargo xtask vm test --systemd");
}

fn resources(memory: i64, quota: i64, pids: &str) -> LinuxContainerResources {
    LinuxContainerResources {
        cpu_shares: 512,
        cpu_quota: quota,
        cpu_period: 100_000,
        memory_limit_in_bytes: memory,
        unified: [("pids.max".to_owned(), pids.to_owned())].into(),
        ..Default::default()
    }
}

impl World {
    async fn limited_sandbox(&self) -> String {
        let mut config = self.sandbox_config("web");
        config.linux.get_or_insert_default().resources = Some(resources(64 << 20, 50_000, "200"));
        self.sandbox_with(config).await
    }

    fn limited_container(&self, name: &str, command: &[&str]) -> ContainerConfig {
        let security = LinuxContainerSecurityContext { namespace_options: Some(own_processes()), ..Default::default() };
        let linux = LinuxContainerConfig {
            security_context: Some(security),
            resources: Some(resources(32 << 20, 20_000, "100")),
        };
        ContainerConfig { linux: Some(linux), ..self.container(name, command) }
    }

    /// What the kernel holds the pod and one of its containers to.
    fn limits(&self, id: &str) -> Vec<String> {
        let files = ["cpu.max", "memory.max", "pids.max", "cpu.weight"];
        let cgroups = ["kubepods/pod-web".to_owned(), format!("kubepods/pod-web/{id}")];
        let all = cgroups.iter().flat_map(|cgroup| files.map(|file| self.cgroup_value(cgroup, &[file])));
        all.collect()
    }
}

/// A container's weight is reckoned as the pod's is.
const LIMITS: [&str; 8] = ["50000 100000", "67108864", "200", "20", "20000 100000", "33554432", "100", "20"];

#[test]
fn pods_and_containers_are_units_and_their_limits_stay() {
    on_each_with_systemd("units", |world| async move {
        let sandbox = world.limited_sandbox().await;
        let id = world.start(&sandbox, world.limited_container("c", &["sleep", "1000"])).await;
        let root = world.unit_root();
        let pod = format!("{root}-kubepods-pod_web.slice");
        let container = format!("{root}-{id}.scope");
        let active = world.units();
        for unit in [&format!("{root}.slice"), &format!("{root}-kubepods.slice"), &pod, &container] {
            assert!(active.contains(unit), "{unit} is not among {active:?}");
        }
        let shown = systemctl(&["show", "-p", "Delegate,Slice,TasksMax", &container]);
        for line in ["Delegate=yes", &format!("Slice={pod}"), "TasksMax=infinity"] {
            assert!(shown.lines().any(|shown| shown == line), "{line} is not in {shown}");
        }
        let status = systemctl(&["status", "--no-pager", "--full", &container]);
        assert!(status.contains("sleep 1000"), "{status}");

        let limits = world.limits(&id);
        assert_eq!(limits, LIMITS);
        systemctl(&["daemon-reload"]);
        assert_eq!(world.limits(&id), limits, "after a daemon-reload");
        // A change of the pod's unit makes systemd write all of the unit's files.
        systemctl(&["set-property", "--runtime", &pod, "IOWeight=200"]);
        assert_eq!(world.limits(&id), limits, "after a change of the unit");
        systemctl(&["daemon-reexec"]);
        assert_eq!(world.limits(&id), limits, "after a daemon-reexec");
        assert_eq!(world.status(&id).await.state(), ContainerState::Running);

        // A systemd that was executed anew goes on, and so does a new daemon.
        let world = world.reopen().await;
        assert_eq!(world.status(&id).await.state(), ContainerState::Running);
        let second = world.start(&sandbox, world.limited_container("d", &["sleep", "1000"])).await;
        assert!(world.exec(&second, &["cat", "/proc/self/cgroup"]).await.contains("0::/"));
        for id in [&id, &second] {
            world.runtime.remove_container(RemoveContainerRequest { container_id: id.clone() }).await.unwrap();
        }
        let left = world.units();
        assert!(!left.iter().any(|unit| unit.ends_with(".scope")), "{left:?}");
        assert!(left.contains(&pod));
        world.remove_sandbox(&sandbox).await;
        assert!(!world.units().contains(&pod), "{:?}", world.units());
        world
    });
}

#[test]
fn the_next_attempt_at_a_pod_has_its_slice() {
    on_each_with_systemd("a second attempt", |world| async move {
        let first = world.limited_sandbox().await;
        let mut config = world.sandbox_config("web");
        config.metadata.get_or_insert_default().attempt = 1;
        config.linux.get_or_insert_default().resources = Some(resources(48 << 20, 50_000, "300"));
        let second = world.sandbox_with(config).await;
        assert_eq!(world.cgroup_value("kubepods/pod-web", &["memory.max"]), "50331648");
        world.remove_sandbox(&first).await;
        let id = world.start(&second, world.limited_container("c", &["sleep", "1000"])).await;
        assert_eq!(world.cgroup_value("kubepods/pod-web", &["pids.max"]), "300");
        assert_eq!(world.status(&id).await.state(), ContainerState::Running);
        world.remove_sandbox(&second).await;
        world
    });
}

#[test]
fn what_systemd_drops_while_it_executes_itself_anew_is_asked_again() {
    const TIMES: usize = 5;
    on_each_with_systemd("asked again", |world| async move {
        let anew = tokio::task::spawn_blocking(|| (0..TIMES).for_each(|_| drop(systemctl(&["daemon-reexec"]))));
        let mut pods = 0;
        while pods == 0 || !anew.is_finished() {
            let sandbox = world.limited_sandbox().await;
            let id = world.start(&sandbox, world.limited_container("c", &["sleep", "1000"])).await;
            assert_eq!(world.limits(&id), LIMITS);
            world.remove_sandbox(&sandbox).await;
            pods += 1;
        }
        anew.await.unwrap();
        world
    });
}

/// Leaves a process in the scope where this is run, as a daemon that was killed would.
const HOLD: &str = r#"folder=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/holder
mkdir "$folder" && echo $$ > "$folder/cgroup.procs" && { sleep 1000 > /dev/null 2>&1 & }"#;

#[test]
fn a_pause_process_has_a_unit_and_units_that_nobody_knows_go() {
    on_each_with_systemd("leftover units", |world| async move {
        let mut config = world.sandbox_config("web");
        let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.namespace_options = Some(NamespaceOption { pid: NamespaceMode::Pod as i32, ..Default::default() });
        let sandbox = world.sandbox_with(config).await;
        let root = world.unit_root();
        let pause = format!("{root}-{sandbox}.scope");
        assert!(world.units().contains(&pause));
        let (pod, gone) = (format!("{root}-kubepods-pod_web.slice"), format!("{root}-kubepods-pod_gone.slice"));
        let leftovers = [(format!("{root}-inpod.scope"), &pod), (format!("{root}-alone.scope"), &gone)];
        let units = leftovers.clone();
        let world = world.reopen_after(async move {
            for (unit, slice) in units {
                let mut run = Command::new("systemd-run");
                run.args(["--scope", "--unit", &unit, "--slice", slice, "-p", "Delegate=yes", "sh", "-c", HOLD]);
                // It goes on in the background, and is in its place when this returns.
                said(&mut run);
            }
        });
        let world = world.await;
        let left = world.units();
        assert!(!left.iter().any(|unit| leftovers.iter().any(|(name, _)| name == unit) || *unit == gone), "{left:?}");
        assert!(left.contains(&pause) && left.contains(&pod), "{left:?}");
        world.remove_sandbox(&sandbox).await;
        world
    });
}
