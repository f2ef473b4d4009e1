//! The ceiling of ephemeral containers, as the node asks for it: what runs wild in a debugger is the debugger's end, not its target's.

mod world;

use remora_cri::{ContainerConfig, ContainerState, LinuxContainerResources, RuntimeService, StopContainerRequest};
use world::{World, on_each};

/// What `remora_node` asks for, with smaller numbers.
fn limited(config: ContainerConfig, memory: i64, pids: Option<i64>) -> ContainerConfig {
    let mut config = config;
    config.linux.get_or_insert_default().resources = Some(LinuxContainerResources {
        cpu_shares: 2,
        memory_limit_in_bytes: memory,
        oom_score_adj: 1000,
        unified: pids.map(|limit| ("pids.max".to_owned(), limit.to_string())).into_iter().collect(),
        ..Default::default()
    });
    config
}

async fn pod_with_memory(world: &World, bytes: i64) -> String {
    let mut config = world.sandbox_config("web");
    config.linux.get_or_insert_default().resources =
        Some(LinuxContainerResources { memory_limit_in_bytes: bytes, ..Default::default() });
    world.sandbox_with(config).await
}

/// A process that takes so many bytes, says so, and goes on: tail keeps a last line that does not end.
fn grows(bytes: u32) -> String {
    format!(
        "busybox mkfifo /tmp/line; (busybox head -c {bytes} /dev/zero; echo grown >&2; sleep 1000) > /tmp/line & exec tail < /tmp/line"
    )
}

#[test]
fn a_debugger_that_wants_all_memory_is_killed_and_its_target_lives() {
    on_each("a memory hog", |mut world| async move {
        let sandbox = pod_with_memory(&world, 64 << 20).await;
        let target = world.start(&sandbox, world.container("target", &["sleep", "1000"])).await;
        let hog = world.container("hog", &["sh", "-c", "exec tail /dev/zero"]);
        let hog = world.start(&sandbox, limited(hog, 32 << 20, None)).await;
        let ended = world.ended(&hog).await;
        assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "OOMKilled"));
        assert_eq!(world.exec(&target, &["echo", "alive"]).await, "alive\n");
        world
    });
}

#[test]
fn when_the_pods_own_limit_is_hit_the_debugger_goes_first_although_it_is_the_smaller() {
    on_each("the pod's limit", |mut world| async move {
        let sandbox = pod_with_memory(&world, 48 << 20).await;
        let debugger = world.container("debugger", &["sh", "-c", &grows(16 << 20)]);
        let debugger = world.start(&sandbox, limited(debugger, 48 << 20, None)).await;
        world.until_logged("web", "debugger", "stderr F grown").await;
        let target = world.start(&sandbox, world.container("target", &["sh", "-c", &grows(36 << 20)])).await;
        assert_eq!(world.ended(&debugger).await.exit_code, 137);
        world.until_logged("web", "target", "stderr F grown").await;
        assert_eq!(world.status(&target).await.state(), ContainerState::Running);
        world
    });
}

#[test]
fn a_fork_bomb_in_a_debugger_meets_its_limit_and_its_target_can_still_fork() {
    on_each("a fork bomb", |world| async move {
        let sandbox = world.sandbox("web").await;
        let target = world.start(&sandbox, world.container("target", &["sleep", "1000"])).await;
        // The first shell forks once, when it still can, and then waits for input that never comes.
        let bomb = world.container("bomb", &["sh", "-c", "bomb() { bomb & bomb & wait; }; bomb & read never"]);
        let bomb = ContainerConfig { stdin: true, ..bomb };
        let bomb = world.start(&sandbox, limited(bomb, 0, Some(64))).await;
        // busybox writes its name and the sentence apart, and many shells do so at once.
        let limit_is_met = |line: &str| line.contains("can't fork: Resource temporarily unavailable");
        world.until_log("web", "bomb", limit_is_met).await;
        assert_eq!(world.exec(&target, &["sh", "-c", "echo alive | cat"]).await, "alive\n");
        world.runtime.stop_container(StopContainerRequest { container_id: bomb.clone(), timeout: 0 }).await.unwrap();
        assert_eq!(world.status(&bomb).await.exit_code, 137);
        assert_eq!(world.status(&target).await.state(), ContainerState::Running);
        world
    });
}
