//! What every implementation of `cri::RuntimeService` promises, as named checks: for this runtime on real kernels and for fakes.
//!
//! A check uses names of its own, cleans up after itself when it succeeds, and says in one sentence what was not as promised.
//! The image needs `sh` and `sleep`; a fake may understand just the commands that are used here: `sleep N`, `sh -c "exit N"`,
//! and `/no/such/program`.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use remora_cri::{
    Code, ContainerConfig, ContainerEventType, ContainerEvents, ContainerFilter, ContainerMetadata, ContainerState,
    ContainerStateValue, ContainerStatus, ContainerStatusRequest, CreateContainerRequest, Error, ImageSpec,
    LinuxContainerConfig, LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext,
    ListContainersRequest, ListPodSandboxRequest, NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxFilter,
    PodSandboxMetadata, PodSandboxState, PodSandboxStatusRequest, RemoveContainerRequest, RemovePodSandboxRequest,
    RunPodSandboxRequest, RuntimeService, StartContainerRequest, StopContainerRequest, StopPodSandboxRequest,
};

/// A check that waits longer than this for an event has failed.
const HANGS: Duration = Duration::from_secs(30);

/// What the checks run on.
#[derive(Clone)]
pub struct Environment {
    /// The runtime under test.
    pub runtime: Arc<dyn RuntimeService>,
    /// CRI's runtime handler.
    pub handler: String,
    /// An image that is there.
    pub image: String,
    /// Where logs go.
    pub log_directory: PathBuf,
}

/// A check's result: nothing, or what was not as promised.
pub type Outcome = Result<(), String>;

/// A promise in words, and the function that tests it.
pub struct Check {
    /// A sentence.
    pub name: &'static str,
    /// What to run.
    pub run: fn(Environment) -> Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

macro_rules! checks {
    ($($name:literal => $function:ident,)*) => {
        /// All checks.
        pub const CHECKS: &[Check] = &[$(Check { name: $name, run: |environment| Box::pin($function(environment)) },)*];
    };
}

checks! {
    "a sandbox is ready until it is stopped, and gone when it is removed" => sandbox_life,
    "a sandbox's name is taken until the sandbox is removed" => sandbox_name,
    "stopping and removing what is gone succeeds" => gone_is_fine,
    "the status of what is not there is not found" => not_found,
    "sandboxes are listed by id, state and label" => sandbox_lists,
    "a container goes from created to running to exited, and events say so" => container_life,
    "the exit code and its reason are reported" => exit_codes,
    "a container's name is taken until the container is removed" => container_name,
    "a container starts once" => starts_once,
    "a program that is not there fails the start with code 128 and StartError" => start_error,
    "stopping ends a container, and stopping it again does no harm" => stop,
    "a running container can be removed by force" => remove_running,
    "containers are listed by sandbox, state and label" => container_lists,
    "stopping a sandbox ends its containers" => stop_sandbox,
    "removing a sandbox removes its containers" => remove_sandbox,
    "nothing is created in a stopped sandbox" => create_in_stopped,
    "a target must run and be of the same sandbox" => target_must_run,
}

macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => { if !$condition { return Err(format!($($message)*)); } };
}

async fn sandbox_life(env: Environment) -> Outcome {
    let id = env.run_sandbox("life", 0).await?;
    let status = env.sandbox_state(&id).await.map_err(text)?;
    ensure!(status == PodSandboxState::Ready, "after run it is {status:?}");
    env.stop_sandbox(&id).await?;
    let status = env.sandbox_state(&id).await.map_err(text)?;
    ensure!(status == PodSandboxState::Notready, "after stop it is {status:?}");
    env.remove_sandbox(&id).await?;
    expect_code(env.sandbox_state(&id).await, Code::NotFound)
}

async fn sandbox_name(env: Environment) -> Outcome {
    let first = env.run_sandbox("named", 0).await?;
    let again = env.runtime.run_pod_sandbox(env.sandbox_request("named", 0)).await;
    expect_code(again, Code::AlreadyExists)?;
    let next = env.run_sandbox("named", 1).await?;
    env.remove_sandbox(&first).await?;
    let free = env.run_sandbox("named", 0).await?;
    env.remove_sandbox(&free).await?;
    env.remove_sandbox(&next).await
}

async fn gone_is_fine(env: Environment) -> Outcome {
    env.stop_sandbox("nosuch").await?;
    env.remove_sandbox("nosuch").await?;
    env.stop("nosuch", 0).await?;
    env.remove("nosuch").await
}

async fn not_found(env: Environment) -> Outcome {
    expect_code(env.sandbox_state("nosuch").await, Code::NotFound)?;
    expect_code(env.status("nosuch").await, Code::NotFound)?;
    let started = env.runtime.start_container(StartContainerRequest { container_id: "nosuch".into() }).await;
    expect_code(started, Code::NotFound)
}

async fn sandbox_lists(env: Environment) -> Outcome {
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

async fn container_life(env: Environment) -> Outcome {
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

async fn exit_codes(env: Environment) -> Outcome {
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

async fn container_name(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("container-name", 0).await?;
    let first = env.create(&sandbox, "c", &["sleep", "1000"]).await?;
    let again = env.runtime.create_container(env.container_request(&sandbox, "c", &["sleep", "1000"])).await;
    expect_code(again, Code::AlreadyExists)?;
    env.remove(&first).await?;
    env.create(&sandbox, "c", &["sleep", "1000"]).await?;
    env.remove_sandbox(&sandbox).await
}

async fn starts_once(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("starts-once", 0).await?;
    let id = env.create(&sandbox, "c", &["sleep", "1000"]).await?;
    env.start(&id).await.map_err(text)?;
    expect_code(env.start(&id).await, Code::FailedPrecondition)?;
    env.stop(&id, 0).await?;
    expect_code(env.start(&id).await, Code::FailedPrecondition)?;
    env.remove_sandbox(&sandbox).await
}

async fn start_error(env: Environment) -> Outcome {
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

async fn stop(env: Environment) -> Outcome {
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

async fn remove_running(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("remove-running", 0).await?;
    let id = env.create(&sandbox, "c", &["sleep", "1000"]).await?;
    env.start(&id).await.map_err(text)?;
    let (one, two) = tokio::join!(env.remove(&id), env.remove(&id));
    one.and(two)?;
    expect_code(env.status(&id).await, Code::NotFound)?;
    env.remove_sandbox(&sandbox).await
}

async fn container_lists(env: Environment) -> Outcome {
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

async fn stop_sandbox(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("stop-sandbox", 0).await?;
    let id = env.create(&sandbox, "c", &["sleep", "1000"]).await?;
    env.start(&id).await.map_err(text)?;
    let (one, two) = tokio::join!(env.stop_sandbox(&sandbox), env.stop_sandbox(&sandbox));
    one.and(two)?;
    let state = env.status(&id).await.map_err(text)?.state();
    ensure!(state == ContainerState::Exited, "its container is {state:?}");
    env.remove_sandbox(&sandbox).await
}

async fn remove_sandbox(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("remove-sandbox", 0).await?;
    let created = env.create(&sandbox, "created", &["sleep", "1000"]).await?;
    let running = env.create(&sandbox, "running", &["sleep", "1000"]).await?;
    env.start(&running).await.map_err(text)?;
    env.remove_sandbox(&sandbox).await?;
    expect_code(env.status(&created).await, Code::NotFound)?;
    expect_code(env.status(&running).await, Code::NotFound)
}

async fn create_in_stopped(env: Environment) -> Outcome {
    let sandbox = env.run_sandbox("create-in-stopped", 0).await?;
    let early = env.create(&sandbox, "early", &["sleep", "1000"]).await?;
    env.stop_sandbox(&sandbox).await?;
    let late = env.runtime.create_container(env.container_request(&sandbox, "late", &["sleep", "1000"])).await;
    expect_code(late, Code::FailedPrecondition)?;
    expect_code(env.start(&early).await, Code::FailedPrecondition)?;
    env.remove_sandbox(&sandbox).await
}

async fn target_must_run(env: Environment) -> Outcome {
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

impl Environment {
    /// A sandbox config with this name.
    pub fn sandbox_config(&self, name: &str, attempt: u32) -> PodSandboxConfig {
        let metadata =
            PodSandboxMetadata { name: name.into(), uid: format!("uid-{name}"), namespace: "contract".into(), attempt };
        let security_context =
            LinuxSandboxSecurityContext { namespace_options: Some(own_processes()), ..Default::default() };
        PodSandboxConfig {
            metadata: Some(metadata),
            hostname: name.into(),
            log_directory: self.log_directory.join(name).to_string_lossy().into_owned(),
            labels: [("check".to_owned(), name.to_owned())].into(),
            linux: Some(LinuxPodSandboxConfig { security_context: Some(security_context), ..Default::default() }),
            ..Default::default()
        }
    }

    fn sandbox_request(&self, name: &str, attempt: u32) -> RunPodSandboxRequest {
        RunPodSandboxRequest { config: Some(self.sandbox_config(name, attempt)), runtime_handler: self.handler.clone() }
    }

    /// A container config that runs this command.
    pub fn container_config(&self, name: &str, command: &[&str]) -> ContainerConfig {
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.into(), attempt: 0 }),
            image: Some(ImageSpec { image: self.image.clone(), ..Default::default() }),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            log_path: format!("{name}.log"),
            linux: Some(with_namespaces(own_processes())),
            labels: [("check".to_owned(), name.to_owned())].into(),
            ..Default::default()
        }
    }

    fn container_request(&self, sandbox: &str, name: &str, command: &[&str]) -> CreateContainerRequest {
        CreateContainerRequest {
            pod_sandbox_id: sandbox.into(),
            config: Some(self.container_config(name, command)),
            sandbox_config: None,
        }
    }

    async fn run_sandbox(&self, name: &str, attempt: u32) -> Result<String, String> {
        let answer = self.runtime.run_pod_sandbox(self.sandbox_request(name, attempt)).await;
        Ok(answer.map_err(text)?.pod_sandbox_id)
    }

    async fn sandbox_state(&self, id: &str) -> Result<PodSandboxState, Error> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false };
        Ok(self.runtime.pod_sandbox_status(request).await?.status.unwrap_or_default().state())
    }

    async fn stop_sandbox(&self, id: &str) -> Outcome {
        self.runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.into() }).await.map_err(text)
    }

    async fn remove_sandbox(&self, id: &str) -> Outcome {
        self.runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id.into() }).await.map_err(text)
    }

    async fn create(&self, sandbox: &str, name: &str, command: &[&str]) -> Result<String, String> {
        let answer = self.runtime.create_container(self.container_request(sandbox, name, command)).await;
        Ok(answer.map_err(text)?.container_id)
    }

    async fn start(&self, id: &str) -> Result<(), Error> {
        self.runtime.start_container(StartContainerRequest { container_id: id.into() }).await
    }

    async fn stop(&self, id: &str, timeout: i64) -> Outcome {
        let request = StopContainerRequest { container_id: id.into(), timeout };
        self.runtime.stop_container(request).await.map_err(text)
    }

    async fn remove(&self, id: &str) -> Outcome {
        self.runtime.remove_container(RemoveContainerRequest { container_id: id.into() }).await.map_err(text)
    }

    async fn status(&self, id: &str) -> Result<ContainerStatus, Error> {
        let request = ContainerStatusRequest { container_id: id.into(), verbose: false };
        Ok(self.runtime.container_status(request).await?.status.unwrap_or_default())
    }
}

/// Waits for an event of one container; those of others are passed over.
pub async fn event(events: &mut ContainerEvents, id: &str, kind: ContainerEventType) -> Outcome {
    let found = async {
        while let Some(event) = events.next().await {
            let event = event.map_err(text)?;
            if event.container_id == id && event.container_event_type() == kind {
                return Ok(());
            }
        }
        Err("the events ended".to_owned())
    };
    let waited = tokio::time::timeout(HANGS, found).await;
    waited.unwrap_or_else(|_| Err(format!("no event {kind:?} came")))
}

/// What a kubelet sends for an ordinary pod. CRI's default would be processes shared by the pod.
pub fn own_processes() -> NamespaceOption {
    NamespaceOption { pid: NamespaceMode::Container.into(), ..Default::default() }
}

fn with_namespaces(options: NamespaceOption) -> LinuxContainerConfig {
    let security = LinuxContainerSecurityContext { namespace_options: Some(options), ..Default::default() };
    LinuxContainerConfig { security_context: Some(security), ..Default::default() }
}

fn expect_code<T>(result: Result<T, Error>, code: Code) -> Outcome {
    match result {
        Ok(_) => Err(format!("it succeeds, where {code:?} was expected")),
        Err(error) if error.code == code => Ok(()),
        Err(error) => Err(format!("it fails with {:?} ({}), where {code:?} was expected", error.code, error.message)),
    }
}

fn text(error: Error) -> String {
    error.message
}
