//! Promises about what is used.

use remora_cri::{
    Code, ContainerStatsFilter, ContainerStatsRequest, ListContainerStatsRequest, ListPodSandboxStatsRequest,
    PodSandboxStatsFilter, PodSandboxStatsRequest,
};

use super::{Environment, Outcome, expect_code, text};

pub(super) async fn usage(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("usage", 0).await?;
    let id = env.create(&sandbox, "c", &["sleep", "1000"]).await?;
    env.start(&id).await.map_err(text)?;
    let request = ContainerStatsRequest { container_id: id.clone() };
    let one = env.runtime.container_stats(request).await.map_err(text)?.stats.unwrap_or_default();
    let named = one.attributes.clone().unwrap_or_default();
    ensure!(named.id == id && named.metadata.unwrap_or_default().name == "c", "its attributes are {one:?}");
    let cpu = one.cpu.clone().and_then(|cpu| cpu.usage_core_nano_seconds);
    ensure!(cpu.is_some(), "no processor time is told: {one:?}");
    let memory = one.memory.clone().unwrap_or_default();
    let (usage, working_set) = (memory.usage_bytes.unwrap_or_default(), memory.working_set_bytes.unwrap_or_default());
    ensure!(working_set.value > 0 && working_set.value <= usage.value, "memory is {usage:?}, of it {working_set:?}");

    let filter = Some(ContainerStatsFilter { pod_sandbox_id: sandbox.clone(), ..Default::default() });
    let listed = env.runtime.list_container_stats(ListContainerStatsRequest { filter }).await.map_err(text)?.stats;
    let ids: Vec<String> = listed.into_iter().filter_map(|of| Some(of.attributes?.id)).collect();
    ensure!(ids.contains(&id), "the list of its sandbox has {ids:?}");

    let request = PodSandboxStatsRequest { pod_sandbox_id: sandbox.clone() };
    let whole = env.runtime.pod_sandbox_stats(request).await.map_err(text)?.stats.unwrap_or_default();
    let linux = whole.linux.unwrap_or_default();
    ensure!(linux.cpu.is_some() && linux.memory.is_some(), "the sandbox uses {linux:?}");
    ensure!(linux.process.unwrap_or_default().process_count.unwrap_or_default().value > 0, "nothing runs in it");
    ensure!(linux.containers.len() == 1, "its containers are {:?}", linux.containers);
    ensure!(linux.network.is_some(), "nothing is told of its network");
    let filter = Some(PodSandboxStatsFilter { id: sandbox.clone(), ..Default::default() });
    let listed = env.runtime.list_pod_sandbox_stats(ListPodSandboxStatsRequest { filter }).await.map_err(text)?.stats;
    ensure!(listed.iter().any(|of| of.attributes.as_ref().is_some_and(|of| of.id == sandbox)), "it is not listed");
    env.remove_sandbox(&sandbox).await
}

pub(super) async fn of_nothing(env: Environment) -> Outcome {
    let gone = || "0123456789abcdef".to_owned();
    expect_code(env.runtime.container_stats(ContainerStatsRequest { container_id: gone() }).await, Code::NotFound)?;
    let request = PodSandboxStatsRequest { pod_sandbox_id: gone() };
    expect_code(env.runtime.pod_sandbox_stats(request).await, Code::NotFound)
}
