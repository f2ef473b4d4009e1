//! Time limits as CRI shows them: the reason and the words of an end, whoever is there to see it.

mod world;

use std::path::Path;

use remora_cri::{ContainerConfig, ContainerState, annotations};
use world::{World, on_each};

fn limited(world: &World, annotation: &str, command: &[&str]) -> ContainerConfig {
    ContainerConfig {
        annotations: [(annotation.to_owned(), "1500".to_owned())].into(),
        ..world.container("debugger", command)
    }
}

async fn until_file(path: &Path) {
    let appears = async {
        while !path.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(world::HANGS, appears).await.unwrap_or_else(|_| panic!("{} did not come", path.display()));
}

#[test]
fn a_ttl_passes_while_no_daemon_is_there() {
    on_each("a ttl", |world| async move {
        let sandbox = world.sandbox("web").await;
        let target = world.start(&sandbox, world.container("target", &["sleep", "1000"])).await;
        let script = "trap 'exit 3' TERM; while :; do sleep 0.02; done";
        let id = world.start(&sandbox, limited(&world, annotations::TTL, &["sh", "-c", script])).await;
        let exit = world.folder.path().join("root/containers").join(&id).join("exit.json");
        let world = world.reopen_after(async move { until_file(&exit).await }).await;
        let status = world.status(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (3, "DeadlineExceeded"));
        assert_eq!(status.message, "ended by REMORA_TTL after 1s500ms");
        assert_eq!(world.status(&target).await.state(), ContainerState::Running);
        world
    });
}

#[test]
fn a_container_that_nobody_talks_to_ends() {
    on_each("an idle time-out", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let script = "trap 'exit 0' TERM; while :; do echo unheard; sleep 0.02; done";
        let id = world.start(&sandbox, limited(&world, annotations::IDLE_TIMEOUT, &["sh", "-c", script])).await;
        let status = world.ended(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (0, "DeadlineExceeded"));
        assert_eq!(status.message, "ended by REMORA_IDLE_TIMEOUT after 1s500ms");
        world
    });
}
