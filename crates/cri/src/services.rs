//! CRI's two services as object-safe traits. Each method is the RPC of the same name; see k8s.io/cri-api v0.34.
//!
//! RPCs that no caller of ours needs yet are absent. Exec and Attach, which answer with a URL on the wire, are carried by
//! `streaming::RemoteCommand` when node and runtime share a process.

use std::pin::Pin;

use async_trait::async_trait;
use futures::Stream;

use crate::{
    ContainerEventResponse, ContainerStatsRequest, ContainerStatsResponse, ContainerStatusRequest,
    ContainerStatusResponse, CreateContainerRequest, CreateContainerResponse, Error, ExecSyncRequest, ExecSyncResponse,
    ImageFsInfoResponse, ImageStatusRequest, ImageStatusResponse, ListContainerStatsRequest,
    ListContainerStatsResponse, ListContainersRequest, ListContainersResponse, ListImagesRequest, ListImagesResponse,
    ListPodSandboxRequest, ListPodSandboxResponse, ListPodSandboxStatsRequest, ListPodSandboxStatsResponse,
    PodSandboxStatsRequest, PodSandboxStatsResponse, PodSandboxStatusRequest, PodSandboxStatusResponse,
    PullImageRequest, PullImageResponse, RemoveContainerRequest, RemoveImageRequest, RemovePodSandboxRequest,
    ReopenContainerLogRequest, RunPodSandboxRequest, RunPodSandboxResponse, RuntimeConfigResponse,
    StartContainerRequest, StatusRequest, StatusResponse, StopContainerRequest, StopPodSandboxRequest,
    UpdateContainerResourcesRequest, UpdatePodSandboxResourcesRequest, VersionResponse,
};

/// The stream of `GetContainerEvents`: container created, started, stopped, deleted. It ends when the runtime goes away.
pub type ContainerEvents = Pin<Box<dyn Stream<Item = Result<ContainerEventResponse, Error>> + Send>>;

/// `runtime.v1.RuntimeService`: sandboxes and containers.
///
/// Stop and remove calls are idempotent: stopping what is stopped, or removing what is gone, succeeds.
#[async_trait]
pub trait RuntimeService: Send + Sync + 'static {
    /// Name and version of the runtime.
    async fn version(&self) -> Result<VersionResponse, Error>;
    /// Whether runtime and network are ready, and which handlers there are.
    async fn status(&self, request: StatusRequest) -> Result<StatusResponse, Error>;
    /// What a kubelet must do as the runtime does: whose cgroups they are. [`Code::Unimplemented`](crate::Code::Unimplemented) for those who are
    /// older than the call (containerd 1.7).
    async fn runtime_config(&self) -> Result<RuntimeConfigResponse, Error>;

    /// Creates and starts a sandbox: namespaces, network, cgroup parent.
    async fn run_pod_sandbox(&self, request: RunPodSandboxRequest) -> Result<RunPodSandboxResponse, Error>;
    /// Ends every container of the sandbox and gives its network back.
    async fn stop_pod_sandbox(&self, request: StopPodSandboxRequest) -> Result<(), Error>;
    /// Removes the sandbox and whatever it still holds, by force.
    async fn remove_pod_sandbox(&self, request: RemovePodSandboxRequest) -> Result<(), Error>;
    /// The state, network and namespaces of one sandbox.
    async fn pod_sandbox_status(&self, request: PodSandboxStatusRequest) -> Result<PodSandboxStatusResponse, Error>;
    /// All sandboxes that the filter lets through.
    async fn list_pod_sandbox(&self, request: ListPodSandboxRequest) -> Result<ListPodSandboxResponse, Error>;
    /// Gives a sandbox, and all that runs in it together, other limits. What is zero in the request stays as it is.
    async fn update_pod_sandbox_resources(&self, request: UpdatePodSandboxResourcesRequest) -> Result<(), Error>;

    /// Prepares a container in a sandbox; nothing of it runs yet.
    async fn create_container(&self, request: CreateContainerRequest) -> Result<CreateContainerResponse, Error>;
    /// Starts a created container. It has been executed when this returns.
    async fn start_container(&self, request: StartContainerRequest) -> Result<(), Error>;
    /// Stop signal, grace period in seconds, then kill.
    async fn stop_container(&self, request: StopContainerRequest) -> Result<(), Error>;
    /// Removes a container, by force if it runs. Its log file stays.
    async fn remove_container(&self, request: RemoveContainerRequest) -> Result<(), Error>;
    /// All containers that the filter lets through.
    async fn list_containers(&self, request: ListContainersRequest) -> Result<ListContainersResponse, Error>;
    /// State, times, exit code, image and mounts of one container.
    async fn container_status(&self, request: ContainerStatusRequest) -> Result<ContainerStatusResponse, Error>;
    /// Gives a running container other limits. What is zero in the request stays as it is.
    async fn update_container_resources(&self, request: UpdateContainerResourcesRequest) -> Result<(), Error>;
    /// Asks for the log file to be opened anew after a rotation.
    async fn reopen_container_log(&self, request: ReopenContainerLogRequest) -> Result<(), Error>;
    /// Runs a command and returns its output, at most 16 MiB of each stream, as CRI asks.
    async fn exec_sync(&self, request: ExecSyncRequest) -> Result<ExecSyncResponse, Error>;

    /// What one container uses, with its writable layer.
    async fn container_stats(&self, request: ContainerStatsRequest) -> Result<ContainerStatsResponse, Error>;
    /// What each running container that the filter lets through uses, with its writable layer.
    async fn list_container_stats(
        &self,
        request: ListContainerStatsRequest,
    ) -> Result<ListContainerStatsResponse, Error>;
    /// What one sandbox and its containers use, without writable layers: those take a walk through their files.
    async fn pod_sandbox_stats(&self, request: PodSandboxStatsRequest) -> Result<PodSandboxStatsResponse, Error>;
    /// Likewise, of each ready sandbox that the filter lets through.
    async fn list_pod_sandbox_stats(
        &self,
        request: ListPodSandboxStatsRequest,
    ) -> Result<ListPodSandboxStatsResponse, Error>;

    /// Container events from now on. Subscribe first, then list: nothing is missed.
    async fn get_container_events(&self) -> Result<ContainerEvents, Error>;
}

/// `runtime.v1.ImageService`: what is on this machine, and how more comes here.
#[async_trait]
pub trait ImageService: Send + Sync + 'static {
    /// Images that the filter lets through.
    async fn list_images(&self, request: ListImagesRequest) -> Result<ListImagesResponse, Error>;
    /// One image, or none in the answer if it is not here.
    async fn image_status(&self, request: ImageStatusRequest) -> Result<ImageStatusResponse, Error>;
    /// Pulls an image; the answer names it by id (`sha256:…` of its config).
    async fn pull_image(&self, request: PullImageRequest) -> Result<PullImageResponse, Error>;
    /// Removes an image and all its names. One that is gone is no error.
    async fn remove_image(&self, request: RemoveImageRequest) -> Result<(), Error>;
    /// Bytes and inodes used by images.
    async fn image_fs_info(&self) -> Result<ImageFsInfoResponse, Error>;
}
