//! A container's life on real kernels: logs, users, targets, stopping, leftovers, memory.

mod world;

use std::fs;
use std::path::Path;

use remora_cri::{
    Code, Int64Value, LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext, NamespaceMode,
    NamespaceOption, ProfileType, RemoveContainerRequest, ReopenContainerLogRequest, RuntimeService, SecurityProfile,
    StartContainerRequest, StopContainerRequest, UpdateContainerResourcesRequest, UpdatePodSandboxResourcesRequest,
};
use remora_runtime::contract::own_processes;
use world::{World, on_each};

fn secured(
    world: &World,
    name: &str,
    command: &[&str],
    mut security: LinuxContainerSecurityContext,
) -> remora_cri::ContainerConfig {
    security.namespace_options.get_or_insert_with(own_processes);
    let linux = LinuxContainerConfig { security_context: Some(security), ..Default::default() };
    remora_cri::ContainerConfig { linux: Some(linux), ..world.container(name, command) }
}

#[test]
fn output_is_logged_and_the_pods_name_is_known() {
    on_each("logs", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let script = "echo out; echo err >&2; hostname; cat /etc/hostname; echo $HOSTNAME; cat /etc/hosts | tail -n 1";
        let id = world.start(&sandbox, world.container("c", &["sh", "-c", script])).await;
        assert_eq!(world.ended(&id).await.exit_code, 0);
        let mut log = world.log("web", "c");
        log.sort();
        assert_eq!(
            log,
            ["stderr F err", "stdout F 10.88.0.2\tweb", "stdout F out", "stdout F web", "stdout F web", "stdout F web"]
        );
        world
    });
}

#[test]
fn a_rotated_log_is_opened_anew() {
    on_each("log rotation", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let script = "echo one; read line; echo two";
        let config = remora_cri::ContainerConfig { stdin: true, ..world.container("c", &["sh", "-c", script]) };
        let id = world.start(&sandbox, config).await;
        let path = world.status(&id).await.log_path;
        let rotated = format!("{path}.1");
        fs::rename(&path, &rotated).unwrap();
        world.runtime.reopen_container_log(ReopenContainerLogRequest { container_id: id.clone() }).await.unwrap();
        assert!(fs::exists(&path).unwrap());
        world.runtime.stop_container(StopContainerRequest { container_id: id.clone(), timeout: 0 }).await.unwrap();
        assert_eq!(world.ended(&id).await.exit_code, 137);
        let refused = world.runtime.reopen_container_log(ReopenContainerLogRequest { container_id: id.clone() }).await;
        assert_eq!(refused.unwrap_err().message, format!("container {id:?} is stopped"));
        world
    });
}

#[test]
fn a_debugger_sees_its_targets_processes_and_files() {
    on_each("a target", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let target = world.start(&sandbox, world.container("target", &["sleep", "1000"])).await;
        let options =
            NamespaceOption { pid: NamespaceMode::Target.into(), target_id: target.clone(), ..Default::default() };
        let security = LinuxContainerSecurityContext { namespace_options: Some(options), ..Default::default() };
        // runc calls a container started a moment before its program is executed: until then process 1 is runc's own.
        let script = "until grep -q sleep /proc/1/cmdline; do :; done; cat /proc/1/cmdline | wc -c; ls /proc/1/root/bin/sleep; ps | cat";
        let config = secured(&world, "debugger", &["sh", "-c", script], security);
        let debugger = world.start(&sandbox, config).await;
        let ended = world.ended(&debugger).await;
        let log = world.log("web", "debugger");
        assert_eq!(ended.exit_code, 0, "{log:?}");
        assert_eq!(log[..2], ["stdout F 11", "stdout F /proc/1/root/bin/sleep"], "{log:?}");
        assert!(log[3].contains("    1 root     sleep 1000"), "{log:?}");
        assert_eq!(world.status(&target).await.state(), remora_cri::ContainerState::Running);
        world
    });
}

#[test]
fn debuggers_join_their_target_whatever_numbers_they_get_there() {
    on_each("numbers of processes", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let target = world.start(&sandbox, world.container("target", &["sleep", "1000"])).await;
        // Some of the low numbers are no process's on this machine.
        for number in 0..16 {
            let options =
                NamespaceOption { pid: NamespaceMode::Target.into(), target_id: target.clone(), ..Default::default() };
            let security = LinuxContainerSecurityContext { namespace_options: Some(options), ..Default::default() };
            let name = format!("debugger-{number}");
            let script = "ls /sys/fs/cgroup/memory/memory.limit_in_bytes || ls /sys/fs/cgroup/memory.max";
            let debugger = world.start(&sandbox, secured(&world, &name, &["sh", "-c", script], security)).await;
            assert_eq!(world.ended(&debugger).await.exit_code, 0, "{:?}", world.log("web", &name));
        }
        world
    });
}

#[test]
fn what_a_debugger_leaves_behind_is_killed_with_it() {
    on_each("orphans", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let target = world.start(&sandbox, world.container("target", &["sleep", "1000"])).await;
        let options =
            NamespaceOption { pid: NamespaceMode::Target.into(), target_id: target.clone(), ..Default::default() };
        let security = LinuxContainerSecurityContext { namespace_options: Some(options), ..Default::default() };
        let config = secured(&world, "debugger", &["sh", "-c", "sleep 4242 & exit 5"], security);
        let debugger = world.start(&sandbox, config).await;
        assert_eq!(world.ended(&debugger).await.exit_code, 5);
        let left = world.exec(&target, &["ps"]).await;
        assert!(!left.contains("4242"), "{left}");
        world
    });
}

#[test]
fn the_user_and_the_root_are_as_asked_for() {
    on_each("a user", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let security = LinuxContainerSecurityContext {
            run_as_username: "web".into(),
            supplemental_groups: vec![2000],
            readonly_rootfs: true,
            no_new_privs: true,
            seccomp: Some(SecurityProfile { profile_type: ProfileType::RuntimeDefault.into(), ..Default::default() }),
            ..Default::default()
        };
        let script = "id -u; id -G; echo x > /file || echo refused; cat /proc/self/status | tail -n 60 > /dev/shm/s; \
                      while read -r name value; do case $name in Seccomp:|NoNewPrivs:) echo $value;; esac; done < /dev/shm/s";
        let config = secured(&world, "c", &["sh", "-c", script], security);
        let id = world.start(&sandbox, config).await;
        world.ended(&id).await;
        let stdout: Vec<String> = world.log("web", "c").into_iter().filter(|line| line.starts_with("stdout")).collect();
        let expected = ["stdout F 33", "stdout F 34 50 2000", "stdout F refused", "stdout F 1", "stdout F 2"];
        assert_eq!(stdout, expected);
        let user = world.status(&id).await.user.unwrap().linux.unwrap();
        assert_eq!((user.uid, user.gid, user.supplemental_groups), (33, 34, vec![34, 50, 2000]));
        world
    });
}

#[test]
fn a_working_directory_that_is_not_there_is_made_in_the_root_or_the_volume() {
    on_each("a working directory", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let (open, fixed) = (world.folder.path().join("open"), world.folder.path().join("fixed"));
        [&open, &fixed].iter().for_each(|folder| fs::create_dir(folder).unwrap());
        let mount = |source: &Path, place: &str, readonly| remora_cri::Mount {
            container_path: place.into(),
            host_path: source.to_string_lossy().into_owned(),
            readonly,
            ..Default::default()
        };
        let with = |world: &World, dir: &str, readonly_rootfs| {
            let security = LinuxContainerSecurityContext {
                run_as_user: Some(Int64Value { value: 33 }),
                readonly_rootfs,
                ..Default::default()
            };
            let command = ["sh", "-c", "pwd; busybox stat -c '%u %a' ."];
            let config = secured(world, &dir.replace('/', "-"), &command, security);
            let mounts = vec![mount(&open, "/open", false), mount(&fixed, "/fixed", true)];
            remora_cri::ContainerConfig { working_dir: dir.into(), mounts, ..config }
        };
        for (dir, readonly) in [("/made/for/me", false), ("/made/here", true), ("/open/new/er", false)] {
            let id = world.start(&sandbox, with(&world, dir, readonly)).await;
            assert_eq!(world.ended(&id).await.exit_code, 0, "{dir}");
            let log = world.log("web", &dir.replace('/', "-"));
            assert_eq!(log, [format!("stdout F {dir}"), "stdout F 0 755".to_owned()], "{dir}");
        }
        assert!(open.join("new/er").is_dir());
        // In a volume, the way over an absolute link leads from the container's root.
        std::os::unix::fs::symlink("/open/new", open.join("link")).unwrap();
        let id = world.start(&sandbox, with(&world, "/open/link/er", false)).await;
        assert_eq!(world.ended(&id).await.exit_code, 0);
        let id = world.create(&sandbox, with(&world, "/fixed/new", false)).await;
        assert!(world.runtime.start_container(StartContainerRequest { container_id: id }).await.is_err());
        assert!(!fixed.join("new").exists(), "what is read-only stays as it is");
        world
    });
}

#[test]
fn a_user_that_the_image_does_not_know_is_refused() {
    on_each("an unknown user", |world| async move {
        let sandbox = world.sandbox("web").await;
        let security = LinuxContainerSecurityContext { run_as_username: "nosuch".into(), ..Default::default() };
        let config = secured(&world, "c", &["true"], security);
        let request =
            remora_cri::CreateContainerRequest { pod_sandbox_id: sandbox, config: Some(config), sandbox_config: None };
        let message = world.runtime.create_container(request).await.unwrap_err().message;
        assert!(message.ends_with("unable to find user nosuch: no matching entries in passwd file"), "{message}");
        world
    });
}

#[test]
fn grace_lets_a_container_end_by_itself() {
    on_each("a stop with grace", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
        let id = world.start(&sandbox, world.container("c", &["sh", "-c", script])).await;
        world.until_logged("web", "c", "stdout F ready").await;
        world.runtime.stop_container(StopContainerRequest { container_id: id.clone(), timeout: 30 }).await.unwrap();
        assert_eq!(world.ended(&id).await.exit_code, 9);
        world
    });
}

#[test]
fn removing_a_container_leaves_its_log_and_nothing_else() {
    on_each("a removal", |world| async move {
        let sandbox = world.sandbox("web").await;
        let id = world.start(&sandbox, world.container("c", &["sleep", "1000"])).await;
        assert!(!world.cgroups(&format!("kubepods/pod-web/{id}")).is_empty());
        let path = world.status(&id).await.log_path;
        world.runtime.remove_container(RemoveContainerRequest { container_id: id.clone() }).await.unwrap();
        assert!(fs::exists(path).unwrap());
        assert!(world.cgroups(&format!("kubepods/pod-web/{id}")).is_empty());
        assert!(world.mounts().iter().all(|mount| !mount.to_string_lossy().contains(&id)), "{:?}", world.mounts());
        world.remove_sandbox(&sandbox).await;
        assert!(world.cgroups("kubepods/pod-web").is_empty(), "{:?}", world.cgroups("kubepods/pod-web"));
        assert!(world.mounts().is_empty(), "{:?}", world.mounts());
        world
    });
}

#[test]
fn a_container_that_takes_too_much_memory_is_reported_as_such() {
    on_each("out of memory", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let resources = LinuxContainerResources { memory_limit_in_bytes: 16 << 20, ..Default::default() };
        let mut config = world.container("c", &["sh", "-c", "cat /dev/zero | tail"]);
        config.linux.get_or_insert_default().resources = Some(resources);
        let id = world.start(&sandbox, config).await;
        let status = world.ended(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"), "{status:?}");
        world
    });
}

#[test]
fn a_debugger_without_limits_counts_against_its_pod() {
    on_each("a pod's limit", |mut world| async move {
        let mut config = world.sandbox_config("web");
        let resources = LinuxContainerResources { memory_limit_in_bytes: 16 << 20, ..Default::default() };
        config.linux.get_or_insert_default().resources = Some(resources);
        let sandbox = world.sandbox_with(config).await;
        let id = world.start(&sandbox, world.container("c", &["sh", "-c", "cat /dev/zero | tail"])).await;
        assert_eq!(world.ended(&id).await.exit_code, 137);
        world
    });
}

#[test]
fn limits_of_pod_and_container_are_the_kernels_and_seen_from_inside() {
    on_each("limits", |world| async move {
        let limits = |megabytes: i64| LinuxContainerResources {
            memory_limit_in_bytes: megabytes << 20,
            cpu_quota: 1000 * megabytes,
            cpu_period: 100_000,
            ..Default::default()
        };
        let mut config = world.sandbox_config("web");
        config.linux.get_or_insert_default().resources = Some(limits(64));
        let sandbox = world.sandbox_with(config).await;
        let mut config = world.container("c", &["sleep", "1000"]);
        config.linux.get_or_insert_default().resources = Some(limits(32));
        let id = world.start(&sandbox, config).await;
        for (below, memory, processor) in [
            ("kubepods/pod-web".to_owned(), "67108864", ["64000 100000", "64000"]),
            (format!("kubepods/pod-web/{id}"), "33554432", ["32000 100000", "32000"]),
        ] {
            assert_eq!(world.cgroup_value(&below, &["memory.max", "memory.limit_in_bytes"]), memory, "{below}");
            let found = world.cgroup_value(&below, &["cpu.max", "cpu.cfs_quota_us"]);
            assert!(processor.contains(&found.as_str()), "{below}: {found}");
        }
        let inside = "cd /sys/fs/cgroup; cat memory.max 2>/dev/null || cat memory/memory.limit_in_bytes";
        assert_eq!(world.exec(&id, &["sh", "-c", inside]).await, "33554432\n");
        // Nothing of the host's tree is seen from a cgroup namespace, which containers have on v2.
        let own = world.exec(&id, &["cat", "/proc/self/cgroup"]).await;
        assert!(own == "0::/\n" || own.lines().count() > 1, "{own}");
        world
    });
}

#[test]
fn limits_change_while_a_container_runs_and_are_still_known_to_the_next_daemon() {
    on_each("other limits", |world| async move {
        let limits = |megabytes: i64| LinuxContainerResources {
            memory_limit_in_bytes: megabytes << 20,
            cpu_quota: 1000 * megabytes,
            cpu_period: 100_000,
            cpu_shares: 1024 * megabytes / 64,
            ..Default::default()
        };
        let mut config = world.sandbox_config("web");
        config.linux.get_or_insert_default().resources = Some(limits(64));
        let sandbox = world.sandbox_with(config).await;
        let mut config = world.container("c", &["sleep", "1000"]);
        config.linux.get_or_insert_default().resources = Some(limits(32));
        let id = world.start(&sandbox, config).await;
        let pod = |linux| UpdatePodSandboxResourcesRequest {
            pod_sandbox_id: sandbox.clone(),
            resources: Some(linux),
            ..Default::default()
        };
        let container = |linux| UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux: Some(linux),
            ..Default::default()
        };
        let check = |world: &World, below: &str, megabytes: i64| {
            let memory = world.cgroup_value(below, &["memory.max", "memory.limit_in_bytes"]);
            assert_eq!(memory, (megabytes << 20).to_string(), "{below}");
            let quota = world.cgroup_value(below, &["cpu.max", "cpu.cfs_quota_us"]);
            assert_eq!(quota.split(' ').next(), Some((1000 * megabytes).to_string().as_str()), "{below}");
        };
        let of_container = format!("kubepods/pod-web/{id}");
        // Up: the pod first. Down: the container first.
        world.runtime.update_pod_sandbox_resources(pod(limits(128))).await.unwrap();
        world.runtime.update_container_resources(container(limits(96))).await.unwrap();
        check(&world, "kubepods/pod-web", 128);
        check(&world, &of_container, 96);
        world.runtime.update_container_resources(container(limits(16))).await.unwrap();
        world.runtime.update_pod_sandbox_resources(pod(limits(16))).await.unwrap();
        check(&world, "kubepods/pod-web", 16);
        check(&world, &of_container, 16);
        // What is zero stays as it is.
        let only_shares = LinuxContainerResources { cpu_shares: 512, ..Default::default() };
        world.runtime.update_container_resources(container(only_shares)).await.unwrap();
        check(&world, &of_container, 16);

        let world = world.reopen().await;
        let status = world.status(&id).await;
        assert_eq!(status.state(), remora_cri::ContainerState::Running);
        let expected = LinuxContainerResources { cpu_shares: 512, ..limits(16) };
        assert_eq!(status.resources.unwrap().linux, Some(expected));
        let tiny = LinuxContainerResources { memory_limit_in_bytes: 4096, ..Default::default() };
        let refused = world.runtime.update_container_resources(container(tiny.clone())).await.unwrap_err();
        assert_eq!(refused.code, Code::ResourceExhausted);
        let words = "attempting to set container \"c\" memory limit (4096) below current usage (";
        assert!(refused.message.starts_with(words), "{}", refused.message);
        let refused = world.runtime.update_pod_sandbox_resources(pod(tiny)).await.unwrap_err();
        let words = "attempting to set pod memory limit (4096) below current usage (";
        assert!(refused.message.starts_with(words), "{}", refused.message);
        world.runtime.stop_container(StopContainerRequest { container_id: id.clone(), timeout: 0 }).await.unwrap();
        let refused = world.runtime.update_container_resources(container(limits(16))).await.unwrap_err();
        assert_eq!(refused.message, format!("container {id:?} is stopped"));
        world
    });
}

#[test]
fn a_qos_class_weighs_what_its_pods_have_asked_for() {
    on_each("QoS classes", |world| async move {
        let start = async |name: &str, class: &str, cpu_shares| {
            let mut config = world.sandbox_config(name);
            let linux = config.linux.get_or_insert_default();
            linux.resources = Some(LinuxContainerResources { cpu_shares, ..Default::default() });
            linux.cgroup_parent = linux.cgroup_parent.replace("kubepods/", &format!("kubepods/{class}/"));
            world.sandbox_with(config).await
        };
        let check = |class: &str, v1: &str, v2: &str| {
            let weight = world.cgroup_value(&format!("kubepods/{class}"), &["cpu.weight", "cpu.shares"]);
            assert!([v1, v2].contains(&weight.as_str()), "{class}: {weight}");
        };
        let first = start("one", "burstable", 512).await;
        check("burstable", "512", "20");
        start("two", "burstable", 1024).await;
        check("burstable", "1536", "59");
        start("three", "besteffort", 2).await;
        start("four", "besteffort", 2).await;
        check("besteffort", "2", "1");
        world.remove_sandbox(&first).await;
        check("burstable", "1024", "39");
        world
    });
}

#[test]
fn a_privileged_container_may_mount() {
    on_each("privileged", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let security = LinuxContainerSecurityContext { privileged: true, ..Default::default() };
        let command = ["sh", "-c", "mount -t tmpfs none /tmp && echo mounted; ls /dev/loop0 /dev/null"];
        let id = world.start(&sandbox, secured(&world, "c", &command, security)).await;
        world.ended(&id).await;
        assert!(world.log("web", "c").contains(&"stdout F mounted".to_owned()), "{:?}", world.log("web", "c"));
        world
    });
}

#[test]
fn a_pod_that_shares_its_processes_has_a_pause_process() {
    on_each("shared processes", |mut world| async move {
        let mut config = world.sandbox_config("web");
        let options = NamespaceOption { pid: NamespaceMode::Pod.into(), ..Default::default() };
        let security =
            remora_cri::LinuxSandboxSecurityContext { namespace_options: Some(options.clone()), ..Default::default() };
        config.linux.get_or_insert_default().security_context = Some(security);
        let sandbox = world.sandbox_with(config).await;
        let of_pod =
            || LinuxContainerSecurityContext { namespace_options: Some(options.clone()), ..Default::default() };
        let config = secured(&world, "one", &["sleep", "4242"], of_pod());
        world.start(&sandbox, config).await;
        let config = secured(&world, "two", &["ps"], of_pod());
        let two = world.start(&sandbox, config).await;
        world.ended(&two).await;
        let log = world.log("web", "two").join("\n");
        assert!(log.contains("    1 65535") && log.contains("pause"), "{log}");
        assert!(log.contains("sleep 4242"), "{log}");
        let world = world.reopen().await;
        world.remove_sandbox(&sandbox).await;
        world
    });
}

#[test]
fn the_hosts_network_and_processes_are_the_hosts() {
    on_each("the host's namespaces", |mut world| async move {
        let mut config = world.sandbox_config("web");
        let node = NamespaceMode::Node.into();
        let options = NamespaceOption { network: node, pid: node, ipc: node, ..Default::default() };
        let security =
            remora_cri::LinuxSandboxSecurityContext { namespace_options: Some(options.clone()), ..Default::default() };
        config.linux.get_or_insert_default().security_context = Some(security);
        let sandbox = world.sandbox_with(config).await;
        let security = LinuxContainerSecurityContext {
            namespace_options: Some(options),
            run_as_user: Some(Int64Value { value: 0 }),
            ..Default::default()
        };
        let command = ["sh", "-c", "for n in net pid ipc uts; do ls -l /proc/self/ns/$n; done"];
        let id = world.start(&sandbox, secured(&world, "c", &command, security)).await;
        world.ended(&id).await;
        let log = world.log("web", "c").join("\n");
        for name in ["net", "pid", "ipc", "uts"] {
            let own = fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string();
            assert!(log.contains(&own), "{own} is not in {log}");
        }
        world
    });
}

#[test]
fn a_target_that_has_ended_meanwhile_fails_the_start_with_a_clear_sentence() {
    on_each("a target that ended", |world| async move {
        let sandbox = world.sandbox("web").await;
        let target = world.start(&sandbox, world.container("target", &["sleep", "1000"])).await;
        let options =
            NamespaceOption { pid: NamespaceMode::Target.into(), target_id: target.clone(), ..Default::default() };
        let security = LinuxContainerSecurityContext { namespace_options: Some(options), ..Default::default() };
        let id = world.create(&sandbox, secured(&world, "debugger", &["true"], security)).await;
        world.runtime.stop_container(StopContainerRequest { container_id: target.clone(), timeout: 0 }).await.unwrap();
        let start = StartContainerRequest { container_id: id.clone() };
        let refused = world.runtime.start_container(start).await.unwrap_err();
        let expected = format!("invalid target container: container {target:?} is not running: it is stopped");
        assert_eq!(refused.message, expected);
        let status = world.status(&id).await;
        assert_eq!((status.exit_code, status.reason, status.message), (128, "StartError".to_owned(), expected));
        world
    });
}

/// The processes that wait for a container's start.
fn waiting_for(id: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let waits = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(id) && line.split('\0').any(|word| word == "ahead" || word == "await")
    };
    pids.filter(waits).collect()
}

#[test]
fn what_waits_for_a_start_may_die_and_goes_with_the_container() {
    on_each("waiting shims", |world| async move {
        let sandbox = world.sandbox("web").await;
        let killed = world.create(&sandbox, world.container("killed", &["sleep", "1000"])).await;
        assert!(!waiting_for(&killed).is_empty());
        waiting_for(&killed).into_iter().for_each(world::kill);
        let start = StartContainerRequest { container_id: killed.clone() };
        world.runtime.start_container(start).await.unwrap();
        assert_eq!(world.exec(&killed, &["echo", "there"]).await, "there\n");

        let removed = world.create(&sandbox, world.container("removed", &["sleep", "1000"])).await;
        let waiting = waiting_for(&removed).into_iter();
        let waiting: Vec<_> = waiting.map(|pid| remora_sys::process::PidFd::open(pid).unwrap()).collect();
        let remove = RemoveContainerRequest { container_id: removed };
        world.runtime.remove_container(remove).await.unwrap();
        let ended = waiting.into_iter().flatten().try_for_each(|process| process.wait_ended());
        ended.unwrap();
        world
    });
}
