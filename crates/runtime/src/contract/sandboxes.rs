//! Promises about sandboxes.

use remora_cri::{
    Code, ContainerState, ListPodSandboxRequest, PodSandboxFilter, PodSandboxState, StartContainerRequest,
};

use super::{Environment, Outcome, expect_code, text};

pub(super) async fn sandbox_life(env: Environment) -> Outcome {
    let id = env.run_sandbox("life", 0).await?;
    let status = env.sandbox_state(&id).await.map_err(text)?;
    ensure!(status == PodSandboxState::Ready, "after run it is {status:?}");
    env.stop_sandbox(&id).await?;
    let status = env.sandbox_state(&id).await.map_err(text)?;
    ensure!(status == PodSandboxState::Notready, "after stop it is {status:?}");
    env.remove_sandbox(&id).await?;
    expect_code(env.sandbox_state(&id).await, Code::NotFound)
}

pub(super) async fn sandbox_name(env: Environment) -> Outcome {
    let first = env.run_sandbox("named", 0).await?;
    let again = env.runtime.run_pod_sandbox(env.sandbox_request("named", 0)).await;
    expect_code(again, Code::AlreadyExists)?;
    let next = env.run_sandbox("named", 1).await?;
    env.remove_sandbox(&first).await?;
    let free = env.run_sandbox("named", 0).await?;
    env.remove_sandbox(&free).await?;
    env.remove_sandbox(&next).await
}

pub(super) async fn gone_is_fine(env: Environment) -> Outcome {
    env.stop_sandbox("nosuch").await?;
    env.remove_sandbox("nosuch").await?;
    env.stop("nosuch", 0).await?;
    env.remove("nosuch").await
}

pub(super) async fn not_found(env: Environment) -> Outcome {
    expect_code(env.sandbox_state("nosuch").await, Code::NotFound)?;
    expect_code(env.status("nosuch").await, Code::NotFound)?;
    let started = env.runtime.start_container(StartContainerRequest { container_id: "nosuch".into() }).await;
    expect_code(started, Code::NotFound)
}

pub(super) async fn sandbox_lists(env: Environment) -> Outcome {
    let (one, two) = (env.run_sandbox("list-1", 0).await?, env.run_sandbox("list-2", 0).await?);
    env.stop_sandbox(&two).await?;
    let check = async |filter: PodSandboxFilter, expected: &[&String]| {
        let listed = env.runtime.list_pod_sandbox(ListPodSandboxRequest { filter: Some(filter.clone()) }).await;
        let mut ids: Vec<String> = listed.map_err(text)?.items.into_iter().map(|item| item.id).collect();
        ids.retain(|id| [&one, &two].contains(&id));
        let mut expected: Vec<String> = expected.iter().map(|id| (*id).clone()).collect();
        ids.sort();
        expected.sort();
        ensure!(ids == expected, "{filter:?} lists {ids:?}");
        Ok(())
    };
    check(PodSandboxFilter::default(), &[&one, &two]).await?;
    check(PodSandboxFilter { id: one.clone(), ..Default::default() }, &[&one]).await?;
    let ready = remora_cri::PodSandboxStateValue { state: PodSandboxState::Ready.into() };
    check(PodSandboxFilter { state: Some(ready), ..Default::default() }, &[&one]).await?;
    let label_selector = [("check".to_owned(), "list-2".to_owned())].into();
    check(PodSandboxFilter { label_selector, ..Default::default() }, &[&two]).await?;
    env.remove_sandbox(&one).await?;
    env.remove_sandbox(&two).await
}

pub(super) async fn stop_sandbox(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("stop-sandbox", 0).await?;
    let id = env.create(&sandbox, "c", &["sleep", "1000"]).await?;
    env.start(&id).await.map_err(text)?;
    let (one, two) = tokio::join!(env.stop_sandbox(&sandbox), env.stop_sandbox(&sandbox));
    one.and(two)?;
    let state = env.status(&id).await.map_err(text)?.state();
    ensure!(state == ContainerState::Exited, "its container is {state:?}");
    env.remove_sandbox(&sandbox).await
}

pub(super) async fn remove_sandbox(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("remove-sandbox", 0).await?;
    let created = env.create(&sandbox, "created", &["sleep", "1000"]).await?;
    let running = env.create(&sandbox, "running", &["sleep", "1000"]).await?;
    env.start(&running).await.map_err(text)?;
    env.remove_sandbox(&sandbox).await?;
    expect_code(env.status(&created).await, Code::NotFound)?;
    expect_code(env.status(&running).await, Code::NotFound)
}

pub(super) async fn create_in_stopped(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("create-in-stopped", 0).await?;
    let early = env.create(&sandbox, "early", &["sleep", "1000"]).await?;
    env.stop_sandbox(&sandbox).await?;
    let late = env.runtime.create_container(env.container_request(&sandbox, "late", &["sleep", "1000"])).await;
    expect_code(late, Code::FailedPrecondition)?;
    expect_code(env.start(&early).await, Code::FailedPrecondition)?;
    env.remove_sandbox(&sandbox).await
}
