//! Pods with user namespaces of their own: root inside is somebody else on the host, and owns what is the pod's. On both low-level runtimes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod world;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use remora_cri::{
    Capability, ContainerConfig, ContainerState, CreateContainerRequest, IDMapping, Int64Value, LinuxContainerConfig,
    LinuxContainerSecurityContext, LinuxSandboxSecurityContext, Mount, NamespaceMode, NamespaceOption,
    PodSandboxConfig, ProfileType, RunPodSandboxRequest, RuntimeService, SecurityProfile, StatusRequest,
    StopContainerRequest, UserNamespace, annotations,
};
use remora_streaming::{ContainerStreams, ExecOptions, SessionEnd};
use tokio::io::AsyncWriteExt;
use world::{Client, World, on};

/// The pod's root on the host.
const BASE: u32 = 5000 << 16;
const LENGTH: u32 = 1 << 16;

/// On the low-level runtimes that can: crun is refused, which has a test of its own below.
fn on_able<F: Future<Output = World>>(name: &str, test: impl Fn(World) -> F) {
    on(&["", "runc"], name, test);
}

fn range(base: u32) -> Vec<IDMapping> {
    vec![IDMapping { host_id: base, container_id: 0, length: LENGTH }]
}

fn own_users() -> UserNamespace {
    UserNamespace { mode: NamespaceMode::Pod.into(), uids: range(BASE), gids: range(BASE) }
}

fn options(pid: NamespaceMode) -> NamespaceOption {
    NamespaceOption { pid: pid.into(), userns_options: Some(own_users()), ..Default::default() }
}

fn pod(world: &World, pid: NamespaceMode) -> PodSandboxConfig {
    let mut config = world.sandbox_config("web");
    let security = LinuxSandboxSecurityContext { namespace_options: Some(options(pid)), ..Default::default() };
    config.linux.get_or_insert_default().security_context = Some(security);
    config
}

async fn sandbox(world: &World, pid: NamespaceMode) -> String {
    pass(world.folder.path());
    world.sandbox_with(pod(world, pid)).await
}

/// As a node's folder is: others may pass.
fn pass(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).unwrap();
}

fn container(world: &World, name: &str, command: &[&str], user: i64) -> ContainerConfig {
    with_options(world, name, command, user, options(NamespaceMode::Container))
}

fn with_options(world: &World, name: &str, command: &[&str], user: i64, options: NamespaceOption) -> ContainerConfig {
    let security = LinuxContainerSecurityContext {
        namespace_options: Some(options),
        run_as_user: Some(Int64Value { value: user }),
        ..Default::default()
    };
    let linux = LinuxContainerConfig { security_context: Some(security), ..Default::default() };
    ContainerConfig { linux: Some(linux), ..world.container(name, command) }
}

fn capable(mut config: ContainerConfig, names: &[&str]) -> ContainerConfig {
    let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    let add_capabilities = names.iter().map(|name| (*name).to_owned()).collect();
    security.capabilities = Some(Capability { add_capabilities, ..Default::default() });
    // Capabilities alone: the default profile lets nobody mount.
    let profile_type = ProfileType::Unconfined as i32;
    security.apparmor = Some(SecurityProfile { profile_type, ..Default::default() });
    config
}

/// A folder with a file, both of the host's root.
fn volume(world: &World, name: &str) -> PathBuf {
    let folder = world.folder.path().join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file"), "of the volume\n").unwrap();
    fs::set_permissions(folder.join("file"), fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

fn mapped(source: &Path, place: &str) -> Mount {
    Mount { uid_mappings: range(BASE), gid_mappings: range(BASE), ..plain(source, place) }
}

fn plain(source: &Path, place: &str) -> Mount {
    Mount { container_path: place.into(), host_path: source.to_string_lossy().into_owned(), ..Default::default() }
}

/// What a container has written to its standard output.
fn out(world: &World, name: &str) -> Vec<String> {
    let log = world.log("web", name);
    log.iter().filter_map(|line| line.strip_prefix("stdout F ")).map(str::to_owned).collect()
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

fn pid_of(world: &World, id: &str) -> i64 {
    let start = fs::read(world.folder.path().join("root/containers").join(id).join("start.json")).unwrap();
    let start: serde_json::Value = serde_json::from_slice(&start).unwrap();
    start["record"]["pid"].as_i64().unwrap()
}

async fn refusal(world: &World, sandbox: &str, config: ContainerConfig) -> String {
    let request = CreateContainerRequest { pod_sandbox_id: sandbox.into(), config: Some(config), sandbox_config: None };
    world.runtime.create_container(request).await.unwrap_err().message
}

#[test]
fn root_is_another_on_the_host_and_owns_what_is_the_pods() {
    on_able("owners", |mut world| async move {
        let sandbox = sandbox(&world, NamespaceMode::Container).await;
        let data = volume(&world, "data");
        let script = "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; \
             for f in / /bin/busybox /etc/hosts /etc/hostname /etc/resolv.conf /dev/shm /data /data/file; do \
             busybox stat -c '%n %u:%g' $f; done; echo x > /new; echo y > /data/new; echo z > /dev/shm/new; \
             echo '10.0.0.1 x' >> /etc/hosts && echo written; cat /data/file; hostname; sleep 1000";
        let mut config = container(&world, "c", &["sh", "-c", script], 0);
        config.mounts.push(mapped(&data, "/data"));
        let id = world.start(&sandbox, config).await;
        world.until_logged("web", "c", "stdout F web").await;
        let map = format!(" 0 {BASE} {LENGTH}");
        let owned =
            ["/", "/bin/busybox", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/shm", "/data", "/data/file"];
        let owned = owned.map(|name| format!("{name} 0:0"));
        let mut expected = vec!["0".to_owned(), "0".to_owned(), map.clone(), map];
        expected.extend(owned);
        expected.extend(["written", "of the volume", "web"].map(str::to_owned));
        assert_eq!(out(&world, "c"), expected, "{:?}", world.log("web", "c"));

        let status = fs::read_to_string(format!("/proc/{}/status", pid_of(&world, &id))).unwrap();
        assert!(status.contains(&format!("Uid:\t{BASE}\t{BASE}\t{BASE}\t{BASE}\n")), "{status}");
        let upper = world.folder.path().join("root/containers").join(&id).join("upper");
        assert_eq!(owner(&upper.join("new")), (BASE, BASE));
        // Volumes keep the pod's own ids, whatever range the pod has today; the image store is as it was.
        assert_eq!(owner(&data.join("new")), (0, 0));
        assert_eq!(owner(&world.folder.path().join("images/busybox/bin/busybox")), (0, 0));
        world.runtime.stop_container(StopContainerRequest { container_id: id.clone(), timeout: 0 }).await.unwrap();
        assert_eq!(world.ended(&id).await.exit_code, 137);
        world
    });
}

#[test]
fn the_pods_root_is_root_of_the_pod_and_nobody_on_the_host() {
    on_able("powers", |mut world| async move {
        let sandbox = sandbox(&world, NamespaceMode::Container).await;
        let host = volume(&world, "host");
        let script = "cat /host/file || echo unread; echo x > /host/file || echo unwritten; \
             busybox chown 0 /host/file || echo kept; busybox stat -c %u /host/file; \
             echo 1 > /proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward; \
             echo 5 > /proc/sys/kernel/panic || echo not the host; \
             cat /proc/sys/net/ipv4/ping_group_range | tr '\\t' ' '; \
             mount -t tmpfs none /tmp && echo mounted; hostname other && hostname; \
             busybox mknod /tmp/null c 1 3 || echo no node; echo a > /dev/null && echo null; \
             cat /proc/1/comm > /dev/null && ls /sys/class/net | tr '\\n' ' '; echo";
        let mut config = capable(container(&world, "c", &["sh", "-c", script], 0), &["SYS_ADMIN", "NET_ADMIN"]);
        config.mounts.push(plain(&host, "/host"));
        let id = world.start(&sandbox, config).await;
        world.ended(&id).await;
        let expected = [
            "unread",
            "unwritten",
            "kept",
            "65534",
            "1",
            "not the host",
            "0 65535",
            "mounted",
            "other",
            "no node",
            "null",
        ];
        let found = out(&world, "c");
        assert_eq!(found[..expected.len()], expected, "{:?}", world.log("web", "c"));
        assert!(found.last().unwrap().contains("lo"), "{found:?}");
        assert_eq!(fs::read_to_string(host.join("file")).unwrap(), "of the volume\n");
        world
    });
}

#[test]
fn a_setuid_program_makes_the_pods_root_and_never_the_hosts() {
    on_able("setuid", |mut world| async move {
        let sandbox = sandbox(&world, NamespaceMode::Container).await;
        let (own, host) = (volume(&world, "own"), volume(&world, "host"));
        for folder in [&own, &host] {
            fs::copy("/usr/bin/id", folder.join("id")).unwrap();
            fs::set_permissions(folder.join("id"), fs::Permissions::from_mode(0o4755)).unwrap();
        }
        let script = "busybox cp /own/id /bin/suid; busybox chmod 4755 /bin/suid; \
             busybox su web -c '/own/id -u; /bin/suid -u; /bin/suid -ru; /host/id -u'";
        let mut config = container(&world, "c", &["sh", "-c", script], 0);
        config.mounts = vec![mapped(&own, "/own"), plain(&host, "/host")];
        // For a program that is linked dynamically.
        config
            .mounts
            .extend(["/lib", "/lib64"].map(|place| Mount { readonly: true, ..plain(Path::new(place), place) }));
        let id = world.start(&sandbox, config).await;
        world.ended(&id).await;
        assert_eq!(out(&world, "c"), ["0", "0", "33", "33"], "{:?}", world.log("web", "c"));
        world
    });
}

/// Which user namespace, with which ids.
const WHO: &str = "busybox readlink /proc/self/ns/user; cat /proc/self/uid_map /proc/self/gid_map";

#[test]
fn execs_and_debuggers_have_the_same_users_as_their_target_also_after_a_restart() {
    on_able("the same users", |world| async move {
        let sandbox = sandbox(&world, NamespaceMode::Container).await;
        let first = format!("{WHO}; echo end; sleep 1000");
        let target = world.start(&sandbox, container(&world, "target", &["sh", "-c", &first], 33)).await;
        world.until_logged("web", "target", "stdout F end").await;
        let users: Vec<String> = out(&world, "target").into_iter().filter(|line| line != "end").collect();
        assert_ne!(users[0], fs::read_link("/proc/self/ns/user").unwrap().display().to_string());
        let as_exec = |world: World, target: String, users: Vec<String>| async move {
            let said = world.exec(&target, &["sh", "-c", &format!("{WHO}; id -u")]).await;
            assert_eq!(said, format!("{}\n33\n", users.join("\n")));
            world
        };
        let world = as_exec(world, target.clone(), users.clone()).await;
        let mut world = as_exec(world.reopen().await, target.clone(), users.clone()).await;

        let options = NamespaceOption { target_id: target.clone(), ..options(NamespaceMode::Target) };
        let script = format!("{WHO}; cat /proc/1/cmdline | tr '\\0\\n' '  '; echo; id -u");
        let debugger =
            world.start(&sandbox, with_options(&world, "debugger", &["sh", "-c", &script], 0, options)).await;
        world.ended(&debugger).await;
        let said = out(&world, "debugger");
        assert_eq!(said[..3], users, "{:?}", world.log("web", "debugger"));
        assert!(said[3].contains("sleep 1000") && said[4] == "0", "{said:?}");
        assert_eq!(world.status(&target).await.state(), ContainerState::Running);
        world
    });
}

#[test]
fn terminals_and_pipes_belong_to_the_pods_user() {
    on_able("streams", |mut world| async move {
        let sandbox = sandbox(&world, NamespaceMode::Container).await;
        // Opened again by name: that takes the owner's right.
        let again = container(&world, "pipes", &["sh", "-c", "echo again > /dev/stdout"], 33);
        let again = world.start(&sandbox, again).await;
        assert_eq!(world.ended(&again).await.exit_code, 0, "{:?}", world.log("web", "pipes"));
        assert_eq!(out(&world, "pipes"), ["again"]);

        let config = container(&world, "shell", &["sh"], 33);
        let id = world.start(&sandbox, ContainerConfig { tty: true, stdin: true, ..config }).await;
        let of_terminal = b"busybox stat -c 'is %u' $(busybox tty); echo again > /dev/stdout; exit 4\n";
        let (mut client, stdio) = Client::new(true, true);
        let (runtime, at) = (world.runtime.clone(), id.clone());
        let exec = ExecOptions { command: vec!["sh".into()], tty: true };
        let session = tokio::spawn(async move { runtime.exec(&at, exec, stdio).await });
        client.stdin.write_all(of_terminal).await.unwrap();
        client.until("is 33\r\n").await;
        client.until("again\r\n").await;
        assert_eq!(session.await.unwrap().unwrap(), SessionEnd::Exited(4));
        let piped = ExecOptions { command: vec!["sh".into(), "-c".into(), "cat > /dev/stdout".into()], tty: false };
        let (mut client, stdio) = Client::new(true, false);
        client.stdin.write_all(b"through\n").await.unwrap();
        client.end_input().await;
        assert_eq!(world.runtime.exec(&id, piped, stdio).await.unwrap(), SessionEnd::Exited(0));
        assert_eq!(client.stdout().await, "through\n");

        let (mut client, stdio) = Client::new(true, true);
        let (runtime, at) = (world.runtime.clone(), id.clone());
        let session = tokio::spawn(async move { runtime.attach(&at, stdio).await });
        client.stdin.write_all(of_terminal).await.unwrap();
        client.until("is 33\r\n").await;
        assert_eq!(session.await.unwrap().unwrap(), SessionEnd::Exited(4));
        world
    });
}

#[test]
fn a_pod_with_users_of_its_own_can_share_its_processes() {
    on_able("shared processes of own users", |mut world| async move {
        let sandbox = sandbox(&world, NamespaceMode::Pod).await;
        let of_pod = |name, command: &[&str]| with_options(&world, name, command, 0, options(NamespaceMode::Pod));
        let (one, two) =
            (of_pod("one", &["sleep", "4242"]), of_pod("two", &["sh", "-c", "ps; busybox readlink /proc/1/ns/user"]));
        world.start(&sandbox, one).await;
        let two = world.start(&sandbox, capable(two, &["SYS_PTRACE"])).await;
        world.ended(&two).await;
        let log = world.log("web", "two").join("\n");
        assert!(log.contains("    1 65535") && log.contains("pause"), "{log}");
        assert!(log.contains("sleep 4242"), "{log}");
        let world = world.reopen().await;
        world.remove_sandbox(&sandbox).await;
        world
    });
}

/// Major and minor number of the kernel.
fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn volumes_in_memory_are_mapped_where_the_kernel_can_and_else_refused() {
    on_able("memory", |mut world| async move {
        let sandbox = sandbox(&world, NamespaceMode::Container).await;
        let memory = volume(&world, "memory");
        remora_sys::mount::tmpfs(&memory, Some(1 << 20), 0o755).unwrap();
        fs::write(memory.join("token"), "secret\n").unwrap();
        fs::set_permissions(memory.join("token"), fs::Permissions::from_mode(0o600)).unwrap();
        let script = "cat /memory/token; echo y > /memory/new; busybox stat -c %u /memory/new";
        let mut config = container(&world, "c", &["sh", "-c", script], 0);
        config.mounts = vec![mapped(&memory, "/memory")];
        // tmpfs: Linux 6.3.
        if kernel() >= (6, 3) {
            let id = world.start(&sandbox, config).await;
            world.ended(&id).await;
            assert_eq!(out(&world, "c"), ["secret", "0"], "{:?}", world.log("web", "c"));
            assert_eq!(owner(&memory.join("new")), (0, 0));
        } else {
            let said = refusal(&world, &sandbox, config).await;
            assert!(said.ends_with("file system tmpfs does not support idmapped mounts on this kernel"), "{said}");
        }
        remora_sys::mount::unmount_below(&memory).unwrap();
        world
    });
}

#[test]
fn read_only_files_are_mapped_and_what_cannot_be_is_told() {
    on_able("volumes", |mut world| async move {
        let sandbox = sandbox(&world, NamespaceMode::Container).await;
        let data = volume(&world, "data");
        let script = "cat /one; echo x > /one || echo read-only";
        let mut config = container(&world, "c", &["sh", "-c", script], 0);
        config.mounts = vec![Mount { readonly: true, ..mapped(&data.join("file"), "/one") }];
        let id = world.start(&sandbox, config).await;
        world.ended(&id).await;
        assert_eq!(out(&world, "c"), ["of the volume", "read-only"], "{:?}", world.log("web", "c"));

        for (name, dir) in [("root", "/made/for/me"), ("in", "/data/made/for/me")] {
            let config = container(&world, name, &["sh", "-c", "busybox stat -c '%u %g' ."], 33);
            let mounts = vec![mapped(&data, "/data")];
            let id = world.start(&sandbox, ContainerConfig { working_dir: dir.into(), mounts, ..config }).await;
            assert_eq!(world.ended(&id).await.exit_code, 0, "{:?}", world.status(&id).await);
            assert_eq!(out(&world, name), ["0 0"], "{dir} is the pod's root's");
        }
        assert_eq!(owner(&data.join("made/for/me")), (0, 0));

        let asked = |mount: Mount| ContainerConfig { mounts: vec![mount], ..container(&world, "d", &["true"], 0) };
        let said = refusal(&world, &sandbox, asked(mapped(Path::new("/proc/sys"), "/data"))).await;
        assert_eq!(
            said,
            "cannot mount /proc/sys for a pod with a user namespace (hostUsers: false): file system proc does not support idmapped mounts on this kernel"
        );
        let both = Mount { propagation: remora_cri::MountPropagation::Bidirectional.into(), ..mapped(&data, "/data") };
        let said = refusal(&world, &sandbox, asked(both)).await;
        assert!(said.contains("cannot be seen outside (Bidirectional)"), "{said}");
        let other = Mount { uid_mappings: range(BASE + LENGTH), ..mapped(&data, "/data") };
        let said = refusal(&world, &sandbox, asked(other)).await;
        assert!(said.contains("its owners can be mapped as its pod's ids are, or not at all"), "{said}");
        world
    });
}

#[test]
fn what_is_mounted_on_a_volume_later_is_seen_where_that_is_asked_for() {
    on_able("propagation", |world| async move {
        let sandbox = sandbox(&world, NamespaceMode::Container).await;
        let data = volume(&world, "data");
        remora_sys::mount::bind(&data, &data).unwrap();
        remora_sys::mount::set_propagation(&data, remora_sys::mount::Propagation::Shared).unwrap();
        fs::create_dir(data.join("later")).unwrap();
        let mut config = container(&world, "c", &["sleep", "1000"], 0);
        let propagation = remora_cri::MountPropagation::HostToContainer.into();
        config.mounts = vec![Mount { propagation, ..mapped(&data, "/data") }];
        let id = world.start(&sandbox, config).await;
        remora_sys::mount::tmpfs(&data.join("later"), None, 0o755).unwrap();
        fs::write(data.join("later/seen"), "").unwrap();
        assert_eq!(world.exec(&id, &["ls", "/data/later"]).await, "seen\n");
        remora_sys::mount::unmount_below(&data).unwrap();
        world
    });
}

fn on_root(kind: &str, of: &str) -> BTreeMap<String, String> {
    let pairs = [(annotations::ROOT, kind), (annotations::ROOT_OF, of)];
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[test]
fn a_targets_root_is_borrowed_in_its_user_namespace_too() {
    on_able("a borrowed root of own users", |mut world| async move {
        let sandbox = sandbox(&world, NamespaceMode::Container).await;
        let data = volume(&world, "data");
        let mut config = container(&world, "target", &["sleep", "1000"], 0);
        config.mounts.push(mapped(&data, "/data"));
        let id = world.start(&sandbox, config).await;
        let options = NamespaceOption { target_id: id.clone(), ..options(NamespaceMode::Target) };
        let script = "cat /data/file; echo edited > /etc/edited; busybox stat -c %u /etc/edited /data /dev/remora/tools/bin; echo $0";
        let config = with_options(&world, "debugger", &["sh", "-c", script], 0, options);
        let config = ContainerConfig { annotations: on_root(annotations::ROOT_TARGET, &id), ..config };
        let debugger = world.start(&sandbox, config).await;
        world.ended(&debugger).await;
        let expected = ["of the volume", "0", "0", "0", "/dev/remora/tools/bin/sh"];
        assert_eq!(out(&world, "debugger"), expected, "{:?}", world.log("web", "debugger"));
        assert_eq!(world.exec(&id, &["cat", "/etc/edited"]).await, "edited\n");

        let crash = container(&world, "app", &["sh", "-c", "echo evidence > /tmp/dump; exit 3"], 0);
        let app = world.start(&sandbox, crash).await;
        assert_eq!(world.ended(&app).await.exit_code, 3);
        let script =
            "cat /tmp/dump; busybox stat -c %u /tmp/dump /bin/busybox; cat /dev/remora/crashed.json | grep -c exitCode";
        let config = container(&world, "coroner", &["sh", "-c", script], 0);
        let config = ContainerConfig { annotations: on_root(annotations::ROOT_CRASHED, &app), ..config };
        let coroner = world.start(&sandbox, config).await;
        world.ended(&coroner).await;
        assert_eq!(out(&world, "coroner"), ["evidence", "0", "0", "1"], "{:?}", world.log("web", "coroner"));
        world
    });
}

#[test]
fn devices_of_the_host_are_bound() {
    on_able("devices", |mut world| async move {
        let sandbox = sandbox(&world, NamespaceMode::Container).await;
        let mut config = container(
            &world,
            "c",
            &["sh", "-c", "echo x > /dev/nothing && busybox stat -c '%t:%T %u' /dev/nothing"],
            0,
        );
        let (host_path, container_path) = ("/dev/null".to_owned(), "/dev/nothing".to_owned());
        config.devices.push(remora_cri::Device { host_path, container_path, permissions: "rw".into() });
        let id = world.start(&sandbox, config).await;
        world.ended(&id).await;
        assert_eq!(out(&world, "c"), ["1:3 65534"], "{:?}", world.log("web", "c"));
        // One that only a privileged container has; machines differ in what they have.
        let names = ["loop0", "vda", "kmsg"];
        let device = names.into_iter().find(|name| Path::new("/dev").join(name).exists()).unwrap();
        let script =
            format!("ls /dev/null /dev/{device} && echo x > /dev/null && mount -t tmpfs none /tmp && echo mounted");
        let mut config = container(&world, "all", &["sh", "-c", &script], 0);
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
        let id = world.start(&sandbox, config).await;
        world.ended(&id).await;
        assert!(out(&world, "all").contains(&"mounted".to_owned()), "{:?}", world.log("web", "all"));
        world
    });
}

#[test]
fn what_cannot_be_is_refused_in_a_sentence() {
    on_able("refused users", |world| async move {
        let config = pod(&world, NamespaceMode::Container);
        fs::create_dir_all(&config.log_directory).unwrap();
        let refused = async |config: PodSandboxConfig, handler: &str| {
            let request = RunPodSandboxRequest { config: Some(config), runtime_handler: handler.into() };
            world.runtime.run_pod_sandbox(request).await.unwrap_err().message
        };
        fs::set_permissions(world.folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let said = refused(config.clone(), &world.handler).await;
        assert_eq!(
            said,
            format!(
                "a pod with a user namespace (hostUsers: false) cannot come to its files: {} must be passable for others (chmod o+x)",
                world.folder.path().display()
            )
        );
        pass(world.folder.path());
        let said = refused(config.clone(), "crun").await;
        assert_eq!(said, "runtime handler \"crun\" does not support user namespaces (hostUsers: false)");
        let mut network = config.clone();
        let linux = network.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        linux.namespace_options.as_mut().unwrap().network = NamespaceMode::Node.into();
        let said = refused(network, &world.handler).await;
        assert!(said.contains("the network namespace must not be the node's then"), "{said}");

        let sandbox = world.sandbox_with(config).await;
        let said = refusal(&world, &sandbox, container(&world, "c", &["true"], 65536)).await;
        assert!(
            said.ends_with("user id 65536 is not in the pod's user namespace (hostUsers: false): it has 0 to 65535"),
            "{said}"
        );
        let other = UserNamespace { uids: range(BASE + LENGTH), ..own_users() };
        let other = NamespaceOption { userns_options: Some(other), ..options(NamespaceMode::Container) };
        let said = refusal(&world, &sandbox, with_options(&world, "c", &["true"], 0, other)).await;
        assert!(said.ends_with("a container has that of its pod"), "{said}");

        let handlers = world.runtime.status(StatusRequest { verbose: false }).await.unwrap().runtime_handlers;
        let able: Vec<String> =
            handlers.into_iter().filter(|h| h.features.as_ref().unwrap().user_namespaces).map(|h| h.name).collect();
        assert_eq!(able, ["", "runc"]);
        world
    });
}

#[test]
fn other_pods_have_the_hosts_users_and_their_folders_are_closed() {
    on_able("the host's users", |world| async move {
        let other = world.sandbox("other").await;
        let config = world.container("c", &["sleep", "1000"]);
        let id = world.start(&other, config).await;
        // As an earlier version has left them.
        let folder = world.run().join("containers").join(&id);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        sandbox(&world, NamespaceMode::Container).await;
        let map = world.exec(&id, &["sh", "-c", "cat /proc/self/uid_map | tr -s ' '"]).await;
        assert_eq!(map, " 0 0 4294967295\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&world.run().join("sandboxes").join(&other)), 0o700);
        assert_eq!(mode(&world.run().join("runtimes")), 0o700);
        assert_eq!(mode(&world.run().join("containers")), 0o711);
        world
    });
}
