//! CRI's two services, as one process offers them to another part of itself.

use async_trait::async_trait;
use remora_cri::{
    ContainerEventType, ContainerEvents, ContainerStatsRequest, ContainerStatsResponse, ContainerStatusRequest,
    ContainerStatusResponse, CreateContainerRequest, CreateContainerResponse, Error as CriError, ExecSyncRequest,
    ExecSyncResponse, ImageFsInfoResponse, ImageService, ImageStatusRequest, ImageStatusResponse,
    LinuxRuntimeConfiguration, ListContainerStatsRequest, ListContainerStatsResponse, ListContainersRequest,
    ListContainersResponse, ListImagesRequest, ListImagesResponse, ListPodSandboxRequest, ListPodSandboxResponse,
    ListPodSandboxStatsRequest, ListPodSandboxStatsResponse, PodSandboxStatsRequest, PodSandboxStatsResponse,
    PodSandboxStatusRequest, PodSandboxStatusResponse, PullImageRequest, PullImageResponse, RemoveContainerRequest,
    RemoveImageRequest, RemovePodSandboxRequest, ReopenContainerLogRequest, RunPodSandboxRequest,
    RunPodSandboxResponse, RuntimeCondition, RuntimeConfigResponse, RuntimeFeatures, RuntimeHandler,
    RuntimeHandlerFeatures, RuntimeService, RuntimeStatus, StartContainerRequest, StatusRequest, StatusResponse,
    StopContainerRequest, StopPodSandboxRequest, UpdateContainerResourcesRequest, UpdatePodSandboxResourcesRequest,
    VersionResponse,
};
use remora_shim_protocol::{Reply, Request};

use crate::container::matches;
use crate::exec::not_running;
use crate::identity;
use crate::sandbox::sandbox_matches;
use crate::task::to_the_end;
use crate::{Error, Runtime, shim};

#[async_trait]
impl RuntimeService for Runtime {
    async fn version(&self) -> Result<VersionResponse, CriError> {
        Ok(VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "remora".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: "v1".to_owned(),
        })
    }

    async fn status(&self, _: StatusRequest) -> Result<StatusResponse, CriError> {
        let network = self.inner.network.status().await;
        let condition = |kind: &str, status, reason: &str, message: &str| RuntimeCondition {
            r#type: kind.to_owned(),
            status,
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        let conditions = vec![
            condition("RuntimeReady", true, "", ""),
            condition("NetworkReady", network.ready, &network.reason, &network.message),
        ];
        let handler =
            |name: &String| RuntimeHandler { name: name.clone(), features: Some(self.handler_features(name)) };
        Ok(StatusResponse {
            status: Some(RuntimeStatus { conditions }),
            info: Default::default(),
            runtime_handlers: self.inner.handlers.keys().map(handler).collect(),
            features: Some(RuntimeFeatures { supplemental_groups_policy: true }),
        })
    }

    async fn runtime_config(&self) -> Result<RuntimeConfigResponse, CriError> {
        let cgroup_driver = self.inner.cgroup_driver as i32;
        Ok(RuntimeConfigResponse { linux: Some(LinuxRuntimeConfiguration { cgroup_driver }) })
    }

    async fn run_pod_sandbox(&self, request: RunPodSandboxRequest) -> Result<RunPodSandboxResponse, CriError> {
        let sandbox = to_the_end(self.inner.clone().run_sandbox(request)).await?;
        Ok(RunPodSandboxResponse { pod_sandbox_id: sandbox.id().to_owned() })
    }

    async fn stop_pod_sandbox(&self, request: StopPodSandboxRequest) -> Result<(), CriError> {
        match gone_is_fine(self.inner.table.sandbox(&request.pod_sandbox_id))? {
            Some(sandbox) => Ok(to_the_end(self.inner.clone().stop_sandbox(sandbox)).await?),
            None => Ok(()),
        }
    }

    async fn remove_pod_sandbox(&self, request: RemovePodSandboxRequest) -> Result<(), CriError> {
        match gone_is_fine(self.inner.table.sandbox(&request.pod_sandbox_id))? {
            Some(sandbox) => Ok(to_the_end(self.inner.clone().remove_sandbox(sandbox)).await?),
            None => Ok(()),
        }
    }

    async fn pod_sandbox_status(&self, request: PodSandboxStatusRequest) -> Result<PodSandboxStatusResponse, CriError> {
        let sandbox = self.inner.table.sandbox(&request.pod_sandbox_id)?;
        let containers = self.inner.table.containers_of(sandbox.id());
        Ok(PodSandboxStatusResponse {
            status: Some(sandbox.status()),
            info: Default::default(),
            containers_statuses: containers.iter().map(|container| container.status()).collect(),
            timestamp: identity::now(),
        })
    }

    async fn list_pod_sandbox(&self, request: ListPodSandboxRequest) -> Result<ListPodSandboxResponse, CriError> {
        let filter = request.filter.unwrap_or_default();
        let all = self.inner.table.sandboxes().into_iter().map(|sandbox| sandbox.summary());
        Ok(ListPodSandboxResponse { items: all.filter(|entry| sandbox_matches(&filter, entry)).collect() })
    }

    async fn update_pod_sandbox_resources(&self, request: UpdatePodSandboxResourcesRequest) -> Result<(), CriError> {
        let sandbox = self.inner.table.sandbox(&request.pod_sandbox_id)?;
        // As everywhere here, the overhead is part of them.
        let asked = request.resources.ok_or(Error::Missing("resources"))?;
        Ok(to_the_end(self.inner.clone().update_sandbox(sandbox, asked)).await?)
    }

    async fn create_container(&self, request: CreateContainerRequest) -> Result<CreateContainerResponse, CriError> {
        let container = to_the_end(self.inner.clone().create_container(request)).await?;
        self.inner.announce(&container, ContainerEventType::Created);
        Ok(CreateContainerResponse { container_id: container.id().to_owned() })
    }

    async fn start_container(&self, request: StartContainerRequest) -> Result<(), CriError> {
        let container = self.inner.table.container(&request.container_id)?;
        Ok(to_the_end(self.inner.clone().start_container(container)).await?)
    }

    async fn stop_container(&self, request: StopContainerRequest) -> Result<(), CriError> {
        match gone_is_fine(self.inner.table.container(&request.container_id))? {
            Some(container) => Ok(to_the_end(self.inner.clone().stop_container(container, request.timeout)).await?),
            None => Ok(()),
        }
    }

    async fn remove_container(&self, request: RemoveContainerRequest) -> Result<(), CriError> {
        match gone_is_fine(self.inner.table.container(&request.container_id))? {
            Some(container) => Ok(to_the_end(self.inner.clone().remove_container(container)).await?),
            None => Ok(()),
        }
    }

    async fn list_containers(&self, request: ListContainersRequest) -> Result<ListContainersResponse, CriError> {
        let filter = request.filter.unwrap_or_default();
        let all = self.inner.table.containers().into_iter().map(|container| container.summary());
        Ok(ListContainersResponse { containers: all.filter(|entry| matches(&filter, entry)).collect() })
    }

    async fn container_status(&self, request: ContainerStatusRequest) -> Result<ContainerStatusResponse, CriError> {
        let container = self.inner.table.container(&request.container_id)?;
        Ok(ContainerStatusResponse { status: Some(container.status()), info: Default::default() })
    }

    async fn update_container_resources(&self, request: UpdateContainerResourcesRequest) -> Result<(), CriError> {
        let container = self.inner.table.container(&request.container_id)?;
        let asked = request.linux.ok_or(Error::Missing("resources"))?;
        Ok(to_the_end(self.inner.clone().update_container(container, asked)).await?)
    }

    async fn reopen_container_log(&self, request: ReopenContainerLogRequest) -> Result<(), CriError> {
        let container = self.inner.table.container(&request.container_id)?;
        if container.running().is_none() {
            return Err(not_running(&container).into());
        }
        match shim::ask(&container.paths.socket(), Request::ReopenLog).await? {
            Reply::Done => Ok(()),
            Reply::Failed(failure) => Err(Error::Shim { id: request.container_id, problem: failure.message }.into()),
            other => {
                let problem = format!("answered with {other:?}");
                Err(Error::Shim { id: request.container_id, problem }.into())
            }
        }
    }

    async fn exec_sync(&self, request: ExecSyncRequest) -> Result<ExecSyncResponse, CriError> {
        if request.cmd.is_empty() {
            return Err(Error::Missing("a command").into());
        }
        let container = self.inner.table.container(&request.container_id)?;
        let done = self.inner.clone().exec_sync(container, request.cmd, request.timeout).await?;
        Ok(ExecSyncResponse { stdout: done.stdout, stderr: done.stderr, exit_code: done.exit_code })
    }

    async fn container_stats(&self, request: ContainerStatsRequest) -> Result<ContainerStatsResponse, CriError> {
        let container = self.inner.table.container(&request.container_id)?;
        Ok(ContainerStatsResponse { stats: Some(self.inner.container_stats(container).await?) })
    }

    async fn list_container_stats(
        &self,
        request: ListContainerStatsRequest,
    ) -> Result<ListContainerStatsResponse, CriError> {
        let stats = self.inner.list_container_stats(request.filter.unwrap_or_default()).await?;
        Ok(ListContainerStatsResponse { stats })
    }

    async fn pod_sandbox_stats(&self, request: PodSandboxStatsRequest) -> Result<PodSandboxStatsResponse, CriError> {
        let sandbox = self.inner.table.sandbox(&request.pod_sandbox_id)?;
        Ok(PodSandboxStatsResponse { stats: Some(self.inner.sandbox_stats(sandbox).await?) })
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: ListPodSandboxStatsRequest,
    ) -> Result<ListPodSandboxStatsResponse, CriError> {
        let stats = self.inner.list_sandbox_stats(request.filter.unwrap_or_default()).await?;
        Ok(ListPodSandboxStatsResponse { stats })
    }

    async fn get_container_events(&self) -> Result<ContainerEvents, CriError> {
        Ok(self.inner.events.subscribe())
    }
}

#[async_trait]
impl ImageService for Runtime {
    async fn list_images(&self, request: ListImagesRequest) -> Result<ListImagesResponse, CriError> {
        self.inner.images.list_images(request).await
    }

    async fn image_status(&self, request: ImageStatusRequest) -> Result<ImageStatusResponse, CriError> {
        self.inner.images.image_status(request).await
    }

    async fn pull_image(&self, request: PullImageRequest) -> Result<PullImageResponse, CriError> {
        self.inner.images.pull_image(request).await
    }

    async fn remove_image(&self, request: RemoveImageRequest) -> Result<(), CriError> {
        self.inner.images.remove_image(request).await
    }

    async fn image_fs_info(&self) -> Result<ImageFsInfoResponse, CriError> {
        self.inner.images.image_fs_info().await
    }
}

impl Runtime {
    fn handler_features(&self, handler: &str) -> RuntimeHandlerFeatures {
        let user_namespaces = self.inner.supports_user_namespaces(handler);
        RuntimeHandlerFeatures { recursive_read_only_mounts: false, user_namespaces }
    }
}

/// CRI: stopping or removing what is gone succeeds.
fn gone_is_fine<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
