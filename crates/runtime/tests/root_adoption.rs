//! What a new daemon makes of what the one before has left: after a close, after `kill -9`, after lost shims and cut-short calls.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod world;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use remora_cri::{
    ContainerConfig, ContainerEventType, ContainerState, CreateContainerRequest, ListContainersRequest,
    PodSandboxState, PodSandboxStatusRequest, RuntimeService, StartContainerRequest, StopPodSandboxRequest,
};
use remora_runtime::contract::event;
use remora_shim_protocol::{seal, unseal};
use remora_streaming::ContainerStreams;
use tokio::io::AsyncWriteExt;
use world::{Client, World, on_each};

#[test]
fn containers_run_on_while_no_daemon_does_and_nothing_of_them_is_lost() {
    on_each("adoption", |world| async move {
        let sandbox = world.sandbox("web").await;
        let loud = "echo one; read line; echo got $line; exit 6";
        let config = ContainerConfig { stdin: true, ..world.container("talks", &["sh", "-c", loud]) };
        let talks = world.start(&sandbox, config).await;
        let waits = world.start(&sandbox, world.container("waits", &["sleep", "1000"])).await;
        let created = world.create(&sandbox, world.container("created", &["sh", "-c", "exit 2"])).await;
        let before = world.status(&waits).await;

        let mut world = world.reopen().await;
        assert_eq!(world.status(&waits).await, before);
        let (mut client, stdio) = Client::new(true, false);
        let runtime = world.runtime.clone();
        let at = talks.clone();
        let session = tokio::spawn(async move { runtime.attach(&at, stdio).await });
        client.until("one\n").await;
        client.stdin.write_all(b"input\n").await.unwrap();
        client.until("got input\n").await;
        assert_eq!(world.ended(&talks).await.exit_code, 6);
        session.await.unwrap().unwrap();
        assert_eq!(world.log("web", "talks"), ["stdout F one", "stdout F got input"]);
        world.runtime.start_container(StartContainerRequest { container_id: created.clone() }).await.unwrap();
        assert_eq!(world.ended(&created).await.exit_code, 2);
        world.restart_refuses_the_name(&sandbox, "waits").await;
        world
    });
}

#[test]
fn an_exit_while_no_daemon_runs_is_known_afterwards() {
    on_each("an exit unseen", |world| async move {
        let sandbox = world.sandbox("web").await;
        let fifo = world.folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let mut config = world.container("c", &["sh", "-c", "cat /fifo; exit 11"]);
        let mount = remora_cri::Mount {
            container_path: "/fifo".into(),
            host_path: fifo.to_string_lossy().into_owned(),
            ..Default::default()
        };
        config.mounts.push(mount);
        let id = world.start(&sandbox, config).await;
        let exit_record = world.folder.path().join("root/containers").join(&id).join("exit.json");
        let world = world
            .reopen_after(async move {
                fs::write(&fifo, "go\n").unwrap();
                while !exit_record.exists() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        let status = world.status(&id).await;
        assert_eq!((status.state(), status.exit_code, status.reason.as_str()), (ContainerState::Exited, 11, "Error"));
        assert_eq!(world.log("web", "c"), ["stdout F go"]);
        world
    });
}

#[test]
fn a_container_whose_shim_is_killed_is_ended_and_says_so() {
    on_each("a lost shim", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let id = world.start(&sandbox, world.container("seen", &["sleep", "1000"])).await;
        world.kill_shim(&id);
        let status = world.ended(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"), "{status:?}");
        assert!(status.message.starts_with("the container's shim is gone"), "{status:?}");

        let id = world.start(&sandbox, world.container("unseen", &["sleep", "1000"])).await;
        let shim = world.shim_of(&id);
        let world = world.reopen_after(async move { world::kill(shim) }).await;
        let status = world.status(&id).await;
        assert_eq!((status.state(), status.exit_code), (ContainerState::Exited, 137), "{status:?}");
        let world = world.reopen().await;
        assert_eq!(world.status(&id).await, status);
        world
    });
}

#[test]
fn after_a_reboot_everything_has_ended() {
    on_each("a reboot", |world| async move {
        let sandbox = world.sandbox("web").await;
        let id = world.start(&sandbox, world.container("c", &["sleep", "1000"])).await;
        let started = world.status(&id).await.started_at;
        let folder = world.folder.path().to_owned();
        let stop = remora_cri::StopContainerRequest { container_id: id.clone(), timeout: 0 };
        world.runtime.stop_container(stop).await.unwrap();
        let (of_container, of_sandbox) =
            (folder.join("root/containers").join(&id), folder.join("root/sandboxes").join(&sandbox));
        let world = world
            .reopen_after(async move {
                // As a machine does that loses its power: no exit record, an empty /run, another boot.
                fs::remove_file(of_container.join("exit.json")).unwrap();
                for record in [of_container.join("container.json"), of_sandbox.join("sandbox.json")] {
                    let mut json: serde_json::Value = unseal(&fs::read(&record).unwrap()).unwrap();
                    json["boot"] = "another boot".into();
                    fs::write(record, seal(&json).unwrap()).unwrap();
                }
                remora_sys::mount::unmount_below(&folder.join("run")).unwrap();
                fs::remove_dir_all(folder.join("run")).unwrap();
            })
            .await;
        let status = world.status(&id).await;
        let seen = (status.state(), status.exit_code, status.reason.as_str(), status.started_at);
        assert_eq!(seen, (ContainerState::Exited, 255, "Unknown", started));
        assert_eq!(status.message, "the machine was started anew");
        assert_eq!(world.sandbox_state(&sandbox).await, PodSandboxState::Notready);
        let again = world.reopen().await;
        assert_eq!(again.status(&id).await, status);
        again.remove_sandbox(&sandbox).await;
        again
    });
}

#[test]
fn what_cut_short_calls_have_left_is_removed() {
    on_each("leftovers", |world| async move {
        let folder = world.folder.path().to_owned();
        let cgroup = world.cgroup_root.clone();
        let sandbox = world.sandbox("web").await;
        let world = world
            .reopen_after(async move {
                let (dead, run) = (folder.join("root/containers/dead"), folder.join("run/containers/dead"));
                fs::create_dir_all(dead.join("upper")).unwrap();
                fs::create_dir_all(run.join("rootfs")).unwrap();
                remora_sys::mount::tmpfs(&run.join("rootfs"), None, 0o755).unwrap();
                fs::create_dir_all(folder.join("run/sandboxes/dead/shm")).unwrap();
                remora_sys::mount::tmpfs(&folder.join("run/sandboxes/dead/shm"), None, 0o755).unwrap();
                let layout = remora_sys::cgroup::Layout::detect().unwrap();
                layout.create(&std::path::Path::new("/").join(cgroup).join("kubepods/pod-dead")).unwrap();
            })
            .await;
        assert!(world.mounts().iter().all(|mount| !mount.to_string_lossy().contains("dead")), "{:?}", world.mounts());
        assert!(!world.folder.path().join("root/containers/dead").exists());
        assert!(world.cgroups("kubepods/pod-dead").is_empty());
        assert!(!world.cgroups("kubepods/pod-web").is_empty());
        assert_eq!(world.sandbox_state(&sandbox).await, PodSandboxState::Ready);
        world
    });
}

#[test]
fn a_damaged_record_ends_no_container() {
    on_each("damaged records", |world| async move {
        let sandbox = world.sandbox("web").await;
        let runs = world.start(&sandbox, world.container("runs", &["sleep", "1000"])).await;
        let mut world = world;
        let ended = world.start(&sandbox, world.container("ended", &["sh", "-c", "exit 9"])).await;
        world.ended(&ended).await;
        let before = [world.status(&runs).await, world.status(&ended).await];
        let root = world.folder.path().join("root");
        let files = [
            format!("containers/{runs}/container.json"),
            format!("containers/{runs}/start.json"),
            format!("containers/{ended}/exit.json"),
            format!("sandboxes/{sandbox}/sandbox.json"),
        ];
        let damaged = files.clone().map(|file| root.join(file));
        let world = world
            .reopen_after(async move {
                for file in damaged {
                    let mut bytes = fs::read(&file).unwrap();
                    // One bit, in the middle: it still may be JSON.
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    fs::write(file, bytes).unwrap();
                }
            })
            .await;
        assert_eq!([world.status(&runs).await, world.status(&ended).await], before);
        assert_eq!(world.sandbox_state(&sandbox).await, PodSandboxState::Ready);
        for file in files {
            let (_, name) = file.split_once('/').unwrap();
            assert!(root.join("damaged").join(name.replace('/', ".")).exists(), "{file} is not kept");
        }
        world
    });
}

#[test]
fn a_container_of_which_nothing_is_known_any_more_goes_and_the_others_stay() {
    on_each("damaged copies", |world| async move {
        let sandbox = world.sandbox("web").await;
        let lost = world.start(&sandbox, world.container("lost", &["sleep", "1000"])).await;
        let stays = world.start(&sandbox, world.container("stays", &["sleep", "1000"])).await;
        let folder = world.folder.path().to_owned();
        let of = lost.clone();
        let world = world
            .reopen_after(async move {
                fs::write(folder.join("root/containers").join(&of).join("container.json"), "").unwrap();
                fs::write(folder.join("run/containers").join(&of).join("copy-container.json"), "").unwrap();
            })
            .await;
        let listed = world.runtime.list_containers(ListContainersRequest::default()).await.unwrap().containers;
        assert_eq!(listed.into_iter().map(|container| container.id).collect::<Vec<_>>(), [stays]);
        assert!(world.cgroups(&format!("kubepods/pod-web/{lost}")).is_empty());
        assert!(world.mounts().iter().all(|mount| !mount.to_string_lossy().contains(&lost)), "{:?}", world.mounts());
        assert!(world.folder.path().join(format!("root/damaged/{lost}.container.json")).exists());
        // Its name is free: whoever knows from elsewhere that it may start again can start it.
        world.start(&sandbox, world.container("lost", &["sleep", "1000"])).await;
        world
    });
}

#[test]
fn a_start_that_was_cut_short_together_with_its_shim_is_never_tried_again() {
    on_each("a lost start", |world| async move {
        let sandbox = world.sandbox("web").await;
        let id = world.create(&sandbox, world.container("c", &["sleep", "1000"])).await;
        let socket = world.run().join("containers").join(&id).join("shim.sock");
        let world = world
            .reopen_after(async move {
                // As a shim leaves it that is killed after it has begun and before the start is on record.
                drop(remora_sys::socket::listen(&socket).unwrap());
            })
            .await;
        let status = world.status(&id).await;
        assert_eq!(
            (status.state(), status.exit_code, status.reason.as_str()),
            (ContainerState::Exited, 255, "Unknown")
        );
        let start = world.runtime.start_container(StartContainerRequest { container_id: id }).await;
        assert_eq!(start.unwrap_err().code, remora_cri::Code::FailedPrecondition);
        world
    });
}

#[test]
fn an_exit_that_a_full_disk_could_not_take_is_known_afterwards() {
    on_each("an exit on a full disk", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let id = world.start(&sandbox, world.container("c", &["sh", "-c", "exit 13"])).await;
        world.ended(&id).await;
        let before = world.status(&id).await;
        let record = world.folder.path().join("root/containers").join(&id).join("exit.json");
        let lost = record.clone();
        let world = world.reopen_after(async move { fs::remove_file(lost).unwrap() }).await;
        assert_eq!(world.status(&id).await, before);
        assert!(record.exists(), "what the disk could not take then it has now");
        world
    });
}

#[test]
fn a_stop_that_a_full_disk_could_not_take_gives_the_address_back_for_good() {
    on_each("a stop on a full disk", |world| async move {
        let sandbox = world.sandbox("web").await;
        let record = world.folder.path().join("root/sandboxes").join(&sandbox).join("sandbox.json");
        let unstopped = fs::read(&record).unwrap();
        let request = || StopPodSandboxRequest { pod_sandbox_id: sandbox.clone() };
        world.runtime.stop_pod_sandbox(request()).await.unwrap();
        let stopped = fs::read(&record).unwrap();
        let lost = record.clone();
        let world = world.reopen_after(async move { fs::write(lost, unstopped).unwrap() }).await;
        assert_eq!(world.attached(), [""; 0]);
        assert_eq!(world.sandbox_state(&sandbox).await, PodSandboxState::Notready);
        world.runtime.stop_pod_sandbox(request()).await.unwrap();
        assert_eq!(fs::read(&record).unwrap(), stopped, "what the disk could not take then it has now");
        world.remove_sandbox(&sandbox).await;
        world
    });
}

#[test]
fn a_sandbox_that_has_lost_the_shim_of_its_pause_process_ends_and_says_so() {
    on_each("a lost pause", |mut world| async move {
        let mut config = world.sandbox_config("shared");
        let linux = config.linux.get_or_insert_default();
        let options = linux.security_context.get_or_insert_default().namespace_options.get_or_insert_default();
        options.pid = remora_cri::NamespaceMode::Pod.into();
        let sandbox = world.sandbox_with(config).await;
        let start = world.folder.path().join("root/sandboxes").join(&sandbox).join("pause/start.json");
        let record: remora_shim_protocol::StartRecord = unseal(&fs::read(start).unwrap()).unwrap();
        world::kill(record.shim_pid);
        event(&mut world.events, &sandbox, ContainerEventType::Stopped).await.unwrap();
        assert_eq!(world.sandbox_state(&sandbox).await, PodSandboxState::Notready);
        // The process itself has gone with its shim; whoever is its parent now may not have waited for it yet.
        let process = remora_sys::process::PidFd::open_same(record.pid, record.pid_start_time).unwrap();
        assert!(process.is_none_or(|process| process.has_ended()));
        world.remove_sandbox(&sandbox).await;
        world
    });
}

#[test]
fn a_second_daemon_is_refused() {
    on_each("a second daemon", |world| async move {
        let second = world.open_again().await;
        let expected =
            format!("runtime folder {} is in use by another process", world.folder.path().join("root").display());
        assert_eq!(second.err().map(|error| error.to_string()), Some(expected));
        world
    });
}

/// Not a test of its own: the daemon that [`a_killed_daemon_loses_nothing`] kills.
#[test]
fn hosted() {
    let Some(folder) = std::env::var_os("REMORA_HOSTED") else { return };
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    tokio.block_on(async {
        let world = World::open_in(folder.into()).await;
        let sandbox = world.sandbox("web").await;
        let script = "echo before; read line; echo after; exit 12";
        let config = ContainerConfig { stdin: true, ..world.container("c", &["sh", "-c", script]) };
        let id = world.start(&sandbox, config).await;
        println!("\nready {id}");
        std::future::pending::<()>().await;
    });
}

#[test]
fn a_killed_daemon_loses_nothing() {
    on_each("a killed daemon", |world| async move {
        let mut daemon = Command::new(std::env::current_exe().unwrap());
        daemon.args(["--exact", "hosted", "--nocapture", "--test-threads=1"]);
        daemon.env("REMORA_HOSTED", world.folder.path()).env("REMORA_HANDLER", &world.handler);
        daemon.env("REMORA_CGROUP", &world.cgroup_root).stdout(Stdio::piped());
        let world = world.close_for(async move {
            let mut daemon = daemon.spawn().unwrap();
            let mut lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
            let ready = lines.find_map(|line| line.unwrap().strip_prefix("ready ").map(str::to_owned)).unwrap();
            daemon.kill().unwrap();
            daemon.wait().unwrap();
            ready
        });
        let (mut world, id) = world.await;
        assert_eq!(world.status(&id).await.state(), ContainerState::Running);
        let (mut client, stdio) = Client::new(true, false);
        let (runtime, at) = (world.runtime.clone(), id.clone());
        let session = tokio::spawn(async move { runtime.attach(&at, stdio).await });
        client.until("before\n").await;
        client.stdin.write_all(b"x\n").await.unwrap();
        client.until("after\n").await;
        session.await.unwrap().unwrap();
        assert_eq!(world.ended(&id).await.exit_code, 12);
        assert_eq!(world.log("web", "c"), ["stdout F before", "stdout F after"]);
        world
    });
}

impl World {
    async fn restart_refuses_the_name(&self, sandbox: &str, name: &str) {
        let config = Some(self.container(name, &["true"]));
        let request = CreateContainerRequest { pod_sandbox_id: sandbox.into(), config, sandbox_config: None };
        let refused = self.runtime.create_container(request).await.unwrap_err();
        assert_eq!(refused.code, remora_cri::Code::AlreadyExists);
        let listed = self.runtime.list_containers(ListContainersRequest::default()).await.unwrap();
        assert_eq!(listed.containers.len(), 3);
    }

    async fn sandbox_state(&self, id: &str) -> PodSandboxState {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false };
        self.runtime.pod_sandbox_status(request).await.unwrap().status.unwrap().state()
    }

    /// The shim's pid, from its start record.
    fn shim_of(&self, id: &str) -> i32 {
        let path = self.folder.path().join("root/containers").join(id).join("start.json");
        let record: remora_shim_protocol::StartRecord = unseal(&fs::read(path).unwrap()).unwrap();
        record.shim_pid
    }

    fn kill_shim(&self, id: &str) {
        world::kill(self.shim_of(id));
    }
}
