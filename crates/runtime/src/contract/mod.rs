//! What every implementation of `cri::RuntimeService` promises, as named checks: for this runtime on real kernels and for fakes.
//!
//! A check uses names of its own, cleans up after itself when it succeeds, and says in one sentence what was not as promised.
//! The image needs `sh` and `sleep`; a fake may understand just the commands that are used here: `sleep N`, `sh -c "exit N"`,
//! and `/no/such/program`.

/// Ends a check with a sentence unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => { if !$condition { return Err(format!($($message)*)); } };
}

mod containers;
mod sandboxes;
mod stats;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use remora_cri::{
    Code, ContainerConfig, ContainerEventType, ContainerEvents, ContainerMetadata, ContainerStatus,
    ContainerStatusRequest, CreateContainerRequest, Error, ImageSpec, LinuxContainerConfig,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption,
    PodSandboxConfig, PodSandboxMetadata, PodSandboxState, PodSandboxStatusRequest, RemoveContainerRequest,
    RemovePodSandboxRequest, RunPodSandboxRequest, RuntimeService, StartContainerRequest, StopContainerRequest,
    StopPodSandboxRequest,
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

/// An entry of [`CHECKS`].
macro_rules! check {
    ($name:literal, $function:path) => {
        Check { name: $name, run: |environment| Box::pin($function(environment)) }
    };
}

/// All checks.
pub const CHECKS: &[Check] = &[
    check!("a sandbox is ready until it is stopped, and gone when it is removed", sandboxes::sandbox_life),
    check!("a sandbox's name is taken until the sandbox is removed", sandboxes::sandbox_name),
    check!("stopping and removing what is gone succeeds", sandboxes::gone_is_fine),
    check!("the status of what is not there is not found", sandboxes::not_found),
    check!("sandboxes are listed by id, state and label", sandboxes::sandbox_lists),
    check!("a container goes from created to running to exited, and events say so", containers::container_life),
    check!("the exit code and its reason are reported", containers::exit_codes),
    check!("a container's name is taken until the container is removed", containers::container_name),
    check!("a container starts once", containers::starts_once),
    check!("a program that is not there fails the start with code 128 and StartError", containers::start_error),
    check!("stopping ends a container, and stopping it again does no harm", containers::stop),
    check!("a running container can be removed by force", containers::remove_running),
    check!("containers are listed by sandbox, state and label", containers::container_lists),
    check!("stopping a sandbox ends its containers", sandboxes::stop_sandbox),
    check!("removing a sandbox removes its containers", sandboxes::remove_sandbox),
    check!("nothing is created in a stopped sandbox", sandboxes::create_in_stopped),
    check!("a target must run and be of the same sandbox", containers::target_must_run),
    check!("what a running container and its sandbox use is told", stats::usage),
    check!("the stats of what is not there are not found", stats::of_nothing),
];

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
