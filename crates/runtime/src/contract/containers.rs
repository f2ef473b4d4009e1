//! Promises about containers.

use remora_cri::{
    Code, ContainerEventType, ContainerFilter, ContainerState, ContainerStateValue, ListContainersRequest,
    NamespaceMode, NamespaceOption,
};

use super::{Environment, Outcome, event, expect_code, text, with_namespaces};

pub(super) async fn container_life(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("container-life", 0).await?;
    let mut events = env.runtime.get_container_events().await.map_err(text)?;
    let id = env.create(&sandbox, "c", &["sh", "-c", "exit 0"]).await?;
    let status = env.status(&id).await.map_err(text)?;
    ensure!(status.state() == ContainerState::Created, "after create it is {:?}", status.state());
    ensure!(status.created_at > 0 && status.started_at == 0 && status.finished_at == 0, "times are {status:?}");
    env.start(&id).await.map_err(text)?;
    event(&mut events, &id, ContainerEventType::Created).await?;
    event(&mut events, &id, ContainerEventType::Started).await?;
    event(&mut events, &id, ContainerEventType::Stopped).await?;
    let status = env.status(&id).await.map_err(text)?;
    ensure!(status.state() == ContainerState::Exited, "after its end it is {:?}", status.state());
    let order = [status.created_at, status.started_at, status.finished_at];
    ensure!(order.is_sorted(), "created, started and finished at {order:?}");
    env.remove(&id).await?;
    event(&mut events, &id, ContainerEventType::Deleted).await?;
    expect_code(env.status(&id).await, Code::NotFound)?;
    env.remove_sandbox(&sandbox).await
}

pub(super) async fn exit_codes(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("exit-codes", 0).await?;
    for (script, code, reason) in [("exit 0", 0, "Completed"), ("exit 3", 3, "Error"), ("exit 127", 127, "Error")] {
        let mut events = env.runtime.get_container_events().await.map_err(text)?;
        let id = env.create(&sandbox, &format!("c{code}"), &["sh", "-c", script]).await?;
        env.start(&id).await.map_err(text)?;
        event(&mut events, &id, ContainerEventType::Stopped).await?;
        let status = env.status(&id).await.map_err(text)?;
        let found = (status.exit_code, status.reason.as_str());
        ensure!(found == (code, reason), "{script:?} gives {found:?}");
    }
    env.remove_sandbox(&sandbox).await
}

pub(super) async fn container_name(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("container-name", 0).await?;
    let first = env.create(&sandbox, "c", &["sleep", "1000"]).await?;
    let again = env.runtime.create_container(env.container_request(&sandbox, "c", &["sleep", "1000"])).await;
    expect_code(again, Code::AlreadyExists)?;
    env.remove(&first).await?;
    env.create(&sandbox, "c", &["sleep", "1000"]).await?;
    env.remove_sandbox(&sandbox).await
}

pub(super) async fn starts_once(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("starts-once", 0).await?;
    let id = env.create(&sandbox, "c", &["sleep", "1000"]).await?;
    env.start(&id).await.map_err(text)?;
    expect_code(env.start(&id).await, Code::FailedPrecondition)?;
    env.stop(&id, 0).await?;
    expect_code(env.start(&id).await, Code::FailedPrecondition)?;
    env.remove_sandbox(&sandbox).await
}

pub(super) async fn start_error(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("start-error", 0).await?;
    let id = env.create(&sandbox, "c", &["/no/such/program"]).await?;
    let error = env.start(&id).await.err().ok_or("the start succeeds")?;
    ensure!(error.message.contains("no such file or directory"), "the error is {:?}", error.message);
    let status = env.status(&id).await.map_err(text)?;
    let found = (status.state(), status.exit_code, status.reason.as_str(), status.started_at);
    ensure!(found == (ContainerState::Exited, 128, "StartError", 0), "the status is {found:?}");
    ensure!(status.message == error.message, "status says {:?}, the error {:?}", status.message, error.message);
    env.remove_sandbox(&sandbox).await
}

pub(super) async fn stop(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("stop", 0).await?;
    let id = env.create(&sandbox, "c", &["sleep", "1000"]).await?;
    env.stop(&id, 1).await?;
    let state = env.status(&id).await.map_err(text)?.state();
    ensure!(state == ContainerState::Created, "stopping what has not started makes it {state:?}");
    env.start(&id).await.map_err(text)?;
    let (one, two) = tokio::join!(env.stop(&id, 0), env.stop(&id, 0));
    one.and(two)?;
    let status = env.status(&id).await.map_err(text)?;
    let found = (status.state(), status.exit_code);
    ensure!(found == (ContainerState::Exited, 137), "after a stop without grace it is {found:?}");
    env.stop(&id, 0).await?;
    env.remove_sandbox(&sandbox).await
}

pub(super) async fn remove_running(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("remove-running", 0).await?;
    let id = env.create(&sandbox, "c", &["sleep", "1000"]).await?;
    env.start(&id).await.map_err(text)?;
    let (one, two) = tokio::join!(env.remove(&id), env.remove(&id));
    one.and(two)?;
    expect_code(env.status(&id).await, Code::NotFound)?;
    env.remove_sandbox(&sandbox).await
}

pub(super) async fn container_lists(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("container-lists", 0).await?;
    let other = env.run_sandbox("container-lists-other", 0).await?;
    let one = env.create(&sandbox, "one", &["sleep", "1000"]).await?;
    let two = env.create(&sandbox, "two", &["sleep", "1000"]).await?;
    let three = env.create(&other, "three", &["sleep", "1000"]).await?;
    env.start(&two).await.map_err(text)?;
    let check = async |filter: ContainerFilter, expected: &[&String]| {
        let listed = env.runtime.list_containers(ListContainersRequest { filter: Some(filter.clone()) }).await;
        let mut ids: Vec<String> = listed.map_err(text)?.containers.into_iter().map(|item| item.id).collect();
        ids.retain(|id| [&one, &two, &three].contains(&id));
        let mut expected: Vec<String> = expected.iter().map(|id| (*id).clone()).collect();
        ids.sort();
        expected.sort();
        ensure!(ids == expected, "{filter:?} lists {ids:?}");
        Ok(())
    };
    check(ContainerFilter::default(), &[&one, &two, &three]).await?;
    check(ContainerFilter { pod_sandbox_id: sandbox.clone(), ..Default::default() }, &[&one, &two]).await?;
    let running = ContainerStateValue { state: ContainerState::Running.into() };
    check(ContainerFilter { state: Some(running), ..Default::default() }, &[&two]).await?;
    let label_selector = [("check".to_owned(), "three".to_owned())].into();
    check(ContainerFilter { label_selector, ..Default::default() }, &[&three]).await?;
    env.remove_sandbox(&sandbox).await?;
    env.remove_sandbox(&other).await
}

pub(super) async fn target_must_run(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("target", 0).await?;
    let target = env.create(&sandbox, "target", &["sleep", "1000"]).await?;
    let mut request = env.container_request(&sandbox, "debugger", &["sleep", "1000"]);
    let options =
        NamespaceOption { pid: NamespaceMode::Target.into(), target_id: target.clone(), ..Default::default() };
    if let Some(config) = &mut request.config {
        config.linux = Some(with_namespaces(options));
    }
    expect_code(env.runtime.create_container(request.clone()).await, Code::FailedPrecondition)?;
    env.start(&target).await.map_err(text)?;
    env.runtime.create_container(request).await.map_err(text)?;
    env.remove_sandbox(&sandbox).await
}
