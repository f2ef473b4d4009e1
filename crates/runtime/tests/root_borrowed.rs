//! Containers on another container's root: a running target's files edited in place, a crashed one's looked at. On both low-level runtimes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod world;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use remora_cri::{
    ContainerConfig, ContainerState, CreateContainerRequest, ImageSpec, Int64Value, KeyValue, LinuxContainerConfig,
    LinuxContainerSecurityContext, Mount, NamespaceMode, NamespaceOption, RemoveContainerRequest, RuntimeService,
    StopContainerRequest, annotations,
};
use remora_runtime::contract::own_processes;
use remora_streaming::{ContainerStreams, SessionEnd};
use tokio::io::AsyncWriteExt;
use world::{Client, World, on_each};

/// A target without a shell, as an ordinary user; `/data` is a volume.
fn target(world: &World, readonly: bool) -> ContainerConfig {
    let volume = world.folder.path().join("volume");
    fs::create_dir_all(&volume).unwrap();
    fs::write(volume.join("file"), "of the volume\n").unwrap();
    let security = LinuxContainerSecurityContext {
        namespace_options: Some(own_processes()),
        run_as_user: Some(Int64Value { value: 65532 }),
        readonly_rootfs: readonly,
        ..Default::default()
    };
    ContainerConfig {
        image: Some(ImageSpec { image: "shell-less".into(), ..Default::default() }),
        mounts: vec![Mount {
            container_path: "/data".into(),
            host_path: volume.to_string_lossy().into_owned(),
            ..Default::default()
        }],
        linux: Some(LinuxContainerConfig { security_context: Some(security), ..Default::default() }),
        ..world.container("target", &["/app/sleep", "1000"])
    }
}

/// A debugger on its target's root, with its processes.
fn debugger(world: &World, target: &str, user: i64, command: &[&str]) -> ContainerConfig {
    let options =
        NamespaceOption { pid: NamespaceMode::Target.into(), target_id: target.to_owned(), ..Default::default() };
    let security = LinuxContainerSecurityContext {
        namespace_options: Some(options),
        run_as_user: Some(Int64Value { value: user }),
        ..Default::default()
    };
    ContainerConfig {
        linux: Some(LinuxContainerConfig { security_context: Some(security), ..Default::default() }),
        annotations: on_root(annotations::ROOT_TARGET, target),
        ..world.container("debugger", command)
    }
}

fn on_root(kind: &str, of: &str) -> BTreeMap<String, String> {
    [(annotations::ROOT, kind), (annotations::ROOT_OF, of)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Everything that a container has changed in its root: path and kind.
fn changes(world: &World, id: &str) -> Vec<(PathBuf, u32)> {
    let upper = world.folder.path().join("root/containers").join(id).join("upper");
    let mut found = Vec::new();
    walk(&upper, &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, found: &mut Vec<(PathBuf, u32)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            walk(&path, found);
        }
        found.push((path, metadata.mode()));
    }
}

async fn mounts_of(world: &World, id: &str) -> String {
    let start = fs::read(world.folder.path().join("root/containers").join(id).join("start.json")).unwrap();
    let start: serde_json::Value = serde_json::from_slice(&start).unwrap();
    fs::read_to_string(format!("/proc/{}/mountinfo", start["record"]["pid"])).unwrap()
}

async fn refusal(world: &World, sandbox: &str, config: ContainerConfig) -> String {
    let request = CreateContainerRequest { pod_sandbox_id: sandbox.into(), config: Some(config), sandbox_config: None };
    world.runtime.create_container(request).await.unwrap_err().message
}

async fn remove(world: &World, id: &str) {
    world.runtime.remove_container(RemoveContainerRequest { container_id: id.into() }).await.unwrap();
}

#[test]
fn the_root_of_a_read_only_target_without_a_shell_is_seen_with_tools_and_nothing_in_it_changes() {
    on_each("a read-only target", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let id = world.start(&sandbox, target(&world, true)).await;
        let before = (changes(&world, &id), mounts_of(&world, &id).await);
        let script = "id -u; cat /app/config /data/file; ls /bin/sh; echo x > /app/config || echo refused; \
                      cat /proc/1/cmdline | tr '\\0' ' '; echo; echo $0; which ls; mount | grep -c ' / '";
        let debugger = world.start(&sandbox, debugger(&world, &id, 65532, &["sh", "-c", script])).await;
        let ended = world.ended(&debugger).await;
        let log = world.log("web", "debugger");
        let out: Vec<&str> = log.iter().filter_map(|line| line.strip_prefix("stdout F ")).collect();
        let tools = "/dev/remora/tools/bin";
        let expected = [
            "65532",
            "mode = fast",
            "of the volume",
            "refused",
            "/app/sleep 1000 ",
            &format!("{tools}/sh"),
            &format!("{tools}/ls"),
            "1",
        ];
        assert_eq!((ended.exit_code, out.as_slice()), (0, expected.as_slice()), "{log:?}");
        assert!(log.iter().any(|line| line.contains("Read-only file system")), "{log:?}");
        assert!(log.iter().any(|line| line.contains("ls: /bin/sh: No such file or directory")), "{log:?}");
        let left = remora_sys::mount::mounts().unwrap().into_iter().map(|mount| mount.target);
        let left: Vec<PathBuf> = left.filter(|at| at.ends_with(format!("{debugger}/rootfs"))).collect();
        assert!(left.is_empty(), "the target's root stays mounted: {left:?}");
        remove(&world, &debugger).await;
        assert_eq!(before, (changes(&world, &id), mounts_of(&world, &id).await));
        assert_eq!(world.status(&id).await.state(), ContainerState::Running);
        world
    });
}

#[test]
fn a_writable_targets_files_are_edited_in_place_and_nothing_else_is_made_in_it() {
    on_each("editing in place", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let id = world.start(&sandbox, target(&world, false)).await;
        let before = changes(&world, &id);
        let script = "echo 'mode = slow' > /app/config; echo more >> /data/file; echo own > /dev/remora/tools/own; cat /etc/hosts";
        let debugger = world.start(&sandbox, debugger(&world, &id, 0, &["/bin/sh", "-c", script])).await;
        assert_eq!(world.ended(&debugger).await.exit_code, 0, "{:?}", world.log("web", "debugger"));
        assert!(world.log("web", "debugger").contains(&"stdout F 10.88.0.2\tweb".to_owned()));
        assert_eq!(fs::read_to_string(world.folder.path().join("volume/file")).unwrap(), "of the volume\nmore\n");
        let new: Vec<PathBuf> =
            changes(&world, &id).into_iter().filter(|change| !before.contains(change)).map(|(path, _)| path).collect();
        let names: Vec<_> = new.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["app", "config"], "{new:?}");
        assert_eq!(fs::read_to_string(&new[1]).unwrap(), "mode = slow\n");
        world
    });
}

#[test]
fn the_files_of_the_targets_image_are_shown_as_they_were() {
    on_each("the target's image", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let id = world.start(&sandbox, target(&world, false)).await;
        let script = "echo 'mode = slow' > /app/config; cat /dev/remora/image/app/config";
        let mut both = debugger(&world, &id, 0, &["/bin/sh", "-c", script]);
        both.annotations.insert(annotations::IMAGE_OF.to_owned(), id.clone());
        let both = world.start(&sandbox, both).await;
        assert_eq!(world.ended(&both).await.exit_code, 0, "{:?}", world.log("web", "debugger"));
        assert!(world.log("web", "debugger").contains(&"stdout F mode = fast".to_owned()));
        remove(&world, &both).await;

        let script = "cat /dev/remora/image/app/config; echo x > /dev/remora/image/app/config || echo refused; ls /app";
        let mut beside = debugger(&world, &id, 0, &["/bin/sh", "-c", script]);
        beside.annotations = [(annotations::IMAGE_OF.to_owned(), id.clone())].into();
        let beside = world.start(&sandbox, beside).await;
        world.ended(&beside).await;
        let log = world.log("web", "debugger");
        for line in ["stdout F mode = fast", "stdout F refused"] {
            assert!(log.contains(&line.to_owned()), "{line}: {log:?}");
        }
        assert!(log.iter().any(|line| line.contains("ls: /app: No such file or directory")), "{log:?}");
        let left = remora_sys::mount::mounts().unwrap().into_iter().map(|mount| mount.target);
        let left: Vec<PathBuf> = left.filter(|at| at.ends_with(format!("{beside}/image"))).collect();
        assert!(left.is_empty(), "the image stays mounted: {left:?}");
        world
    });
}

#[test]
fn a_container_stays_while_its_image_is_shown() {
    on_each("a shown image", |world| async move {
        let sandbox = world.sandbox("web").await;
        let id = world.start(&sandbox, target(&world, false)).await;
        let shown = ContainerConfig {
            annotations: [(annotations::IMAGE_OF.to_owned(), id.clone())].into(),
            ..world.container("debugger", &["sleep", "1000"])
        };
        let debugger = world.start(&sandbox, shown).await;
        let used = world.runtime.remove_container(RemoveContainerRequest { container_id: id.clone() }).await;
        assert!(used.unwrap_err().message.contains(&debugger));
        world.runtime.stop_container(StopContainerRequest { container_id: debugger, timeout: 0 }).await.unwrap();
        remove(&world, &id).await;
        world
    });
}

#[test]
fn a_read_only_root_of_the_debuggers_own_is_read_only_for_it_alone() {
    on_each("a read-only debugger", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let id = world.start(&sandbox, target(&world, false)).await;
        let before = mounts_of(&world, &id).await;
        let mut config = debugger(&world, &id, 0, &["sh", "-c", "echo x > /app/config || echo refused"]);
        let linux = config.linux.as_mut().unwrap();
        linux.security_context.as_mut().unwrap().readonly_rootfs = true;
        let debugger = world.start(&sandbox, config).await;
        world.ended(&debugger).await;
        assert!(world.log("web", "debugger").contains(&"stdout F refused".to_owned()));
        assert_eq!(mounts_of(&world, &id).await, before);
        world
    });
}

#[test]
fn a_terminal_and_execs_are_on_the_targets_root_too() {
    on_each("a terminal on a target's root", |world| async move {
        let sandbox = world.sandbox("web").await;
        let id = world.start(&sandbox, target(&world, true)).await;
        let config = debugger(&world, &id, 0, &[]);
        let debugger = world.start(&sandbox, ContainerConfig { tty: true, stdin: true, ..config }).await;
        assert_eq!(world.exec(&debugger, &["cat", "/app/config"]).await, "mode = fast\n");
        let (mut client, stdio) = Client::new(true, true);
        let (runtime, at) = (world.runtime.clone(), debugger.clone());
        let session = tokio::spawn(async move { runtime.attach(&at, stdio).await });
        client.stdin.write_all(b"cat /app/config\n").await.unwrap();
        client.until("mode = fast").await;
        client.stdin.write_all(b"exit 4\n").await.unwrap();
        assert_eq!(session.await.unwrap().unwrap(), SessionEnd::Exited(4));
        world
    });
}

#[test]
fn what_would_have_to_be_made_in_the_target_is_refused() {
    on_each("refusals", |world| async move {
        let sandbox = world.sandbox("web").await;
        let id = world.start(&sandbox, target(&world, false)).await;
        let volume = world.folder.path().join("volume").to_string_lossy().into_owned();
        let mounted = |place: &str| {
            let mount = Mount { container_path: place.into(), host_path: volume.clone(), ..Default::default() };
            ContainerConfig { mounts: vec![mount], ..debugger(&world, &id, 0, &["true"]) }
        };
        let said = refusal(&world, &sandbox, mounted("/new")).await;
        assert_eq!(
            said,
            "cannot use another container's root: /new is not in the target's root, and nothing may be made there: use a place that is, or one below /dev"
        );
        let said = refusal(&world, &sandbox, mounted("/dev")).await;
        assert!(said.contains("nothing can be mounted on \"/dev\" here"), "{said}");
        let folder = ContainerConfig { working_dir: "/new".into(), ..debugger(&world, &id, 0, &["true"]) };
        assert!(refusal(&world, &sandbox, folder).await.contains("/new is not in the target's root"));
        let dynamic = debugger(&world, &id, 0, &["dynamic"]);
        let said = refusal(&world, &sandbox, dynamic).await;
        assert!(
            said.contains("the image's /bin/dynamic needs /lib/ld-none.so, which the target's root does not have"),
            "{said}"
        );
        let request = StopContainerRequest { container_id: id.clone(), timeout: 0 };
        world.runtime.stop_container(request).await.unwrap();
        let said = refusal(&world, &sandbox, debugger(&world, &id, 0, &["true"])).await;
        assert_eq!(said, format!("invalid target container: container {id:?} is not running: it is stopped"));
        world
    });
}

#[test]
fn a_target_that_ends_takes_its_debugger_along_and_leaves_nothing_mounted() {
    on_each("a target that ends", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let id = world.start(&sandbox, target(&world, false)).await;
        let debugger = world.start(&sandbox, debugger(&world, &id, 0, &["sleep", "1000"])).await;
        let request = StopContainerRequest { container_id: id.clone(), timeout: 0 };
        world.runtime.stop_container(request).await.unwrap();
        assert_eq!(world.ended(&debugger).await.exit_code, 137);
        remove(&world, &id).await;
        remove(&world, &debugger).await;
        assert!(
            world.mounts().iter().all(|mount| !mount.to_string_lossy().contains(&debugger)),
            "{:?}",
            world.mounts()
        );
        assert!(fs::exists(world.folder.path().join("volume/file")).unwrap(), "removing went into the volume");
        world
    });
}

fn crashed(world: &World, of: &str, command: &[&str]) -> ContainerConfig {
    ContainerConfig { annotations: on_root(annotations::ROOT_CRASHED, of), ..world.container("coroner", command) }
}

#[test]
fn a_crashed_container_is_looked_at_and_stays_as_it_was() {
    on_each("a crashed container", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let script = "echo evidence > /tmp/dump; echo changed > /etc/group; busybox rm /etc/passwd; exit 3";
        let envs = vec![
            KeyValue { key: "MODE".into(), value: "fast".into() },
            KeyValue { key: "OWN".into(), value: "crashed".into() },
        ];
        let config = ContainerConfig { envs, ..world.container("app", &["sh", "-c", script]) };
        let id = world.start(&sandbox, config).await;
        assert_eq!(world.ended(&id).await.exit_code, 3);
        let before = changes(&world, &id);
        let script = "cat /tmp/dump /etc/group; ls /etc/passwd || echo gone; echo $MODE $OWN; cat /dev/remora/crashed.json; \
                      echo; echo mine > /tmp/dump; echo x > /dev/remora/crashed.json || echo kept; echo $$";
        let envs = vec![KeyValue { key: "OWN".into(), value: "coroner".into() }];
        let config = ContainerConfig { envs, ..crashed(&world, &id, &["sh", "-c", script]) };
        let coroner = world.start(&sandbox, config).await;
        world.ended(&coroner).await;
        let log = world.log("web", "coroner");
        let out: Vec<&str> = log.iter().filter_map(|line| line.strip_prefix("stdout F ")).collect();
        assert_eq!(out[..4], ["evidence", "changed", "gone", "fast coroner"], "{log:?}");
        let report: serde_json::Value = serde_json::from_str(out[4]).unwrap();
        assert_eq!((&report["container"], &report["exitCode"]), (&"app".into(), &3.into()), "{report}");
        assert_eq!(out[5..], ["kept", "1"], "{log:?}");
        assert_eq!(changes(&world, &id), before);
        world
    });
}

#[test]
fn what_a_container_stands_on_is_not_removed_before_it_ends() {
    on_each("a root in use", |world| async move {
        let mut world = world;
        let sandbox = world.sandbox("web").await;
        let id =
            world.start(&sandbox, world.container("app", &["sh", "-c", "echo evidence > /tmp/dump; exit 3"])).await;
        world.ended(&id).await;
        let coroner = world.start(&sandbox, crashed(&world, &id, &["sleep", "1000"])).await;
        let mut world = world.reopen().await;
        let refused = world.runtime.remove_container(RemoveContainerRequest { container_id: id.clone() }).await;
        let expected = format!("container {id:?} cannot be removed: container {coroner:?} stands on its root");
        assert_eq!(refused.unwrap_err().message, expected);
        assert_eq!(world.exec(&coroner, &["cat", "/tmp/dump"]).await, "evidence\n");
        let request = StopContainerRequest { container_id: coroner.clone(), timeout: 0 };
        world.runtime.stop_container(request).await.unwrap();
        world.ended(&coroner).await;
        remove(&world, &id).await;
        world
    });
}

#[test]
fn a_container_that_has_not_ended_has_not_crashed() {
    on_each("no crash", |world| async move {
        let sandbox = world.sandbox("web").await;
        let id = world.start(&sandbox, world.container("app", &["sleep", "1000"])).await;
        let said = refusal(&world, &sandbox, crashed(&world, &id, &["true"])).await;
        assert_eq!(said, format!("cannot use another container's root: container {id:?} is running, not stopped"));
        world
    });
}
