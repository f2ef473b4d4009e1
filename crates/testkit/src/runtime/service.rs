//! The fake's sandboxes and containers.

use std::io::Write;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use remora_cri::{
    CgroupDriver, Code, ContainerEventType, ContainerEvents, ContainerState, ContainerStats, ContainerStatsRequest,
    ContainerStatsResponse, ContainerStatusRequest, ContainerStatusResponse, CreateContainerRequest,
    CreateContainerResponse, Error, ExecSyncRequest, ExecSyncResponse, LinuxContainerResources,
    LinuxRuntimeConfiguration, ListContainerStatsRequest, ListContainerStatsResponse, ListContainersRequest,
    ListContainersResponse, ListPodSandboxRequest, ListPodSandboxResponse, ListPodSandboxStatsRequest,
    ListPodSandboxStatsResponse, NamespaceMode, PodSandbox, PodSandboxState, PodSandboxStatsRequest,
    PodSandboxStatsResponse, PodSandboxStatusRequest, PodSandboxStatusResponse, RemoveContainerRequest,
    RemovePodSandboxRequest, ReopenContainerLogRequest, RunPodSandboxRequest, RunPodSandboxResponse, RuntimeCondition,
    RuntimeConfigResponse, RuntimeFeatures, RuntimeHandler, RuntimeHandlerFeatures, RuntimeService, RuntimeStatus,
    StartContainerRequest, StatusRequest, StatusResponse, StopContainerRequest, StopPodSandboxRequest,
    UpdateContainerResourcesRequest, UpdatePodSandboxResourcesRequest, VersionResponse,
};

use super::FakeRuntime;
use super::state::{Container, Sandbox, State};
use super::stats;
use crate::program::{End, Program, Start};

#[async_trait]
impl RuntimeService for FakeRuntime {
    async fn version(&self) -> Result<VersionResponse, Error> {
        Ok(VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "remora".to_owned(),
            runtime_version: "0.1.0".to_owned(),
            runtime_api_version: "v1".to_owned(),
        })
    }

    async fn status(&self, _request: StatusRequest) -> Result<StatusResponse, Error> {
        let fine =
            |kind: &str| RuntimeCondition { r#type: kind.to_owned(), status: true, ..RuntimeCondition::default() };
        let status = RuntimeStatus { conditions: vec![fine("RuntimeReady"), fine("NetworkReady")] };
        let user_namespaces = self.lock().user_namespaces;
        let features = RuntimeHandlerFeatures { user_namespaces, ..RuntimeHandlerFeatures::default() };
        let handler = RuntimeHandler { name: String::new(), features: Some(features) };
        let features = Some(RuntimeFeatures { supplemental_groups_policy: true });
        Ok(StatusResponse { status: Some(status), runtime_handlers: vec![handler], features, ..Default::default() })
    }

    async fn runtime_config(&self) -> Result<RuntimeConfigResponse, Error> {
        let cgroup_driver = CgroupDriver::Cgroupfs as i32;
        Ok(RuntimeConfigResponse { linux: Some(LinuxRuntimeConfiguration { cgroup_driver }) })
    }

    async fn run_pod_sandbox(&self, request: RunPodSandboxRequest) -> Result<RunPodSandboxResponse, Error> {
        let config = request.config.ok_or_else(|| Error::new(Code::InvalidArgument, "no sandbox config"))?;
        let created = self.nanoseconds();
        let mut state = self.lock();
        if let Some(why) = state.sandbox_error.clone() {
            return Err(Error::new(Code::Internal, why));
        }
        if state.sandboxes.values().any(|s| s.config.metadata == config.metadata) {
            return Err(Error::new(Code::AlreadyExists, "the sandbox's name is taken"));
        }
        let id = state.id();
        let ip = format!("10.88.0.{}", state.sandboxes.len() + 2);
        state.calls.push("sandbox".to_owned());
        state.sandboxes.insert(id.clone(), Sandbox { config, ready: true, ip, created });
        Ok(RunPodSandboxResponse { pod_sandbox_id: id })
    }

    async fn stop_pod_sandbox(&self, request: StopPodSandboxRequest) -> Result<(), Error> {
        let id = request.pod_sandbox_id;
        let running: Vec<String> = {
            let mut state = self.lock();
            if let Some(sandbox) = state.sandboxes.get_mut(&id) {
                sandbox.ready = false;
                state.calls.push("stop sandbox".to_owned());
            }
            let of_sandbox = state.containers.iter().filter(|(_, c)| c.sandbox == id);
            of_sandbox.map(|(id, _)| id.clone()).collect()
        };
        running.iter().for_each(|id| self.end(id, 137, ""));
        Ok(())
    }

    async fn remove_pod_sandbox(&self, request: RemovePodSandboxRequest) -> Result<(), Error> {
        let mut state = self.lock();
        if state.sandboxes.remove(&request.pod_sandbox_id).is_some() {
            state.containers.retain(|_, c| c.sandbox != request.pod_sandbox_id);
            state.calls.push("remove sandbox".to_owned());
        }
        Ok(())
    }

    async fn pod_sandbox_status(&self, request: PodSandboxStatusRequest) -> Result<PodSandboxStatusResponse, Error> {
        let (state, id) = (self.lock(), request.pod_sandbox_id);
        let sandbox = state.sandboxes.get(&id).ok_or_else(|| Error::not_found("sandbox", &id))?;
        Ok(PodSandboxStatusResponse { status: Some(sandbox.status(&id)), ..PodSandboxStatusResponse::default() })
    }

    async fn list_pod_sandbox(&self, _request: ListPodSandboxRequest) -> Result<ListPodSandboxResponse, Error> {
        let state = self.lock();
        let item = |(id, s): (&String, &Sandbox)| PodSandbox {
            id: id.clone(),
            metadata: s.config.metadata.clone(),
            state: (if s.ready { PodSandboxState::Ready } else { PodSandboxState::Notready }) as i32,
            created_at: s.created,
            labels: s.config.labels.clone(),
            annotations: s.config.annotations.clone(),
            ..PodSandbox::default()
        };
        Ok(ListPodSandboxResponse { items: state.sandboxes.iter().map(item).collect() })
    }

    async fn update_pod_sandbox_resources(&self, request: UpdatePodSandboxResourcesRequest) -> Result<(), Error> {
        let id = request.pod_sandbox_id;
        let mut state = self.lock();
        let sandbox = state.sandboxes.get_mut(&id).ok_or_else(|| Error::not_found("sandbox", &id))?;
        let asked = request.resources.unwrap_or_default();
        let call = format!("resize the pod to {}", in_words(&asked));
        sandbox.config.linux.get_or_insert_default().resources = Some(asked);
        state.calls.push(call);
        Ok(())
    }

    async fn create_container(&self, request: CreateContainerRequest) -> Result<CreateContainerResponse, Error> {
        let config = request.config.ok_or_else(|| Error::new(Code::InvalidArgument, "no container config"))?;
        let name = config.metadata.clone().unwrap_or_default().name;
        let takes = self.lock().programs.get(&name).map_or(Duration::ZERO, |p| p.create_takes);
        tokio::time::sleep(takes).await;
        let created = self.nanoseconds();
        let mut state = self.lock();
        check_create(&state, &request.pod_sandbox_id, &config)?;
        let image = config.image.clone().unwrap_or_default().image;
        let image = state.find_image(&image).map(|i| i.id.clone());
        let image = image.ok_or_else(|| Error::not_found("image", "of the container"))?;
        let id = state.id();
        let container = Container {
            sandbox: request.pod_sandbox_id,
            config,
            image,
            state: ContainerState::Created,
            created,
            started: 0,
            finished: 0,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            refuses_resize: None,
        };
        state.calls.push(format!("create {name}"));
        state.containers.insert(id.clone(), container);
        state.tell(&id, ContainerEventType::Created, created);
        Ok(CreateContainerResponse { container_id: id })
    }

    async fn start_container(&self, request: StartContainerRequest) -> Result<(), Error> {
        let (id, now) = (request.container_id, self.nanoseconds());
        let mut state = self.lock();
        let container = state.containers.get_mut(&id).ok_or_else(|| Error::not_found("container", &id))?;
        if container.state != ContainerState::Created {
            return Err(Error::new(Code::FailedPrecondition, format!("container \"{id}\" is not in created state")));
        }
        let name = container.name().to_owned();
        let program = state.program_of(&id);
        state.calls.push(format!("start {name}"));
        let Some(container) = state.containers.get_mut(&id) else { return Ok(()) };
        if let Start::Fails(why) = &program.start {
            container.end(128, "StartError", now);
            container.message.clone_from(why);
            state.tell(&id, ContainerEventType::Stopped, now);
            return Err(Error::new(Code::Internal, why.clone()));
        }
        container.state = ContainerState::Running;
        container.started = now;
        let sandbox = container.sandbox.clone();
        write_files(&state, &sandbox, &id, &program)?;
        state.tell(&id, ContainerEventType::Started, now);
        drop(state);
        if let Some((after, end)) = program.ends {
            let fake = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                match end {
                    End::Exits(code) => fake.end(&id, code, ""),
                    End::OutOfMemory => fake.end(&id, 137, "OOMKilled"),
                }
            });
        }
        Ok(())
    }

    async fn stop_container(&self, request: StopContainerRequest) -> Result<(), Error> {
        let (id, timeout) = (request.container_id, request.timeout);
        let on_stop = {
            let mut state = self.lock();
            let Some(container) = state.containers.get(&id) else { return Ok(()) };
            if container.state != ContainerState::Running {
                return Ok(());
            }
            let name = container.name().to_owned();
            state.calls.push(format!("stop {name} {timeout}"));
            state.program_of(&id).on_stop
        };
        if let Some(code) = on_stop.filter(|_| timeout > 0) {
            self.end(&id, code, "");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(u64::try_from(timeout).unwrap_or(0))).await;
        self.end(&id, 137, "");
        Ok(())
    }

    async fn remove_container(&self, request: RemoveContainerRequest) -> Result<(), Error> {
        let (id, now) = (request.container_id, self.nanoseconds());
        let mut state = self.lock();
        if state.containers.contains_key(&id) {
            state.tell(&id, ContainerEventType::Deleted, now);
            state.containers.remove(&id);
        }
        Ok(())
    }

    async fn list_containers(&self, _request: ListContainersRequest) -> Result<ListContainersResponse, Error> {
        let state = self.lock();
        let item = |(id, c): (&String, &Container)| remora_cri::Container {
            id: id.clone(),
            pod_sandbox_id: c.sandbox.clone(),
            metadata: c.config.metadata.clone(),
            image: c.config.image.clone(),
            image_ref: c.image.clone(),
            state: c.state as i32,
            created_at: c.created,
            labels: c.config.labels.clone(),
            annotations: c.config.annotations.clone(),
            image_id: c.image.clone(),
        };
        Ok(ListContainersResponse { containers: state.containers.iter().map(item).collect() })
    }

    async fn container_status(&self, request: ContainerStatusRequest) -> Result<ContainerStatusResponse, Error> {
        let id = request.container_id;
        let (status, exits) = {
            let mut state = self.lock();
            let container = state.containers.get(&id).ok_or_else(|| Error::not_found("container", &id))?;
            (container.status(&id), state.exits_once_seen.take_if(|(of, _)| *of == id))
        };
        if let Some((id, code)) = exits {
            self.end(&id, code, "");
        }
        Ok(ContainerStatusResponse { status: Some(status), ..ContainerStatusResponse::default() })
    }

    async fn update_container_resources(&self, request: UpdateContainerResourcesRequest) -> Result<(), Error> {
        let id = request.container_id;
        let mut state = self.lock();
        let container = state.containers.get_mut(&id).ok_or_else(|| Error::not_found("container", &id))?;
        if container.state != ContainerState::Running {
            return Err(Error::new(Code::FailedPrecondition, format!("container \"{id}\" is not running")));
        }
        let asked = request.linux.unwrap_or_default();
        let call = format!("resize {} to {}", container.name(), in_words(&asked));
        if let Some(why) = container.refuses_resize.clone() {
            return Err(Error::new(Code::ResourceExhausted, why));
        }
        container.config.linux.get_or_insert_default().resources = Some(asked);
        state.calls.push(call);
        Ok(())
    }

    async fn reopen_container_log(&self, _request: ReopenContainerLogRequest) -> Result<(), Error> {
        Ok(())
    }

    /// `false` and `test` fail, everything else succeeds.
    async fn exec_sync(&self, request: ExecSyncRequest) -> Result<ExecSyncResponse, Error> {
        let id = request.container_id;
        let state = self.lock();
        let container = state.containers.get(&id).ok_or_else(|| Error::not_found("container", &id))?;
        if container.state != ContainerState::Running {
            return Err(Error::new(Code::FailedPrecondition, format!("container \"{id}\" is not running")));
        }
        let exit_code = i32::from(request.cmd.first().is_some_and(|c| c == "false" || c == "test"));
        Ok(ExecSyncResponse { exit_code, ..ExecSyncResponse::default() })
    }

    async fn container_stats(&self, request: ContainerStatsRequest) -> Result<ContainerStatsResponse, Error> {
        let (now, id) = (self.nanoseconds(), request.container_id);
        let state = self.lock();
        let container = state.containers.get(&id).ok_or_else(|| Error::not_found("container", &id))?;
        Ok(ContainerStatsResponse { stats: Some(stats::of_container(&id, container, now)) })
    }

    async fn list_container_stats(&self, _: ListContainerStatsRequest) -> Result<ListContainerStatsResponse, Error> {
        let now = self.nanoseconds();
        let state = self.lock();
        let with_layer = |(id, container): (&String, &Container)| ContainerStats {
            writable_layer: Some(stats::layer(now)),
            ..stats::of_container(id, container, now)
        };
        Ok(ListContainerStatsResponse { stats: state.running(None).into_iter().map(with_layer).collect() })
    }

    async fn pod_sandbox_stats(&self, request: PodSandboxStatsRequest) -> Result<PodSandboxStatsResponse, Error> {
        let (now, id) = (self.nanoseconds(), request.pod_sandbox_id);
        let state = self.lock();
        let sandbox = state.sandboxes.get(&id).ok_or_else(|| Error::not_found("sandbox", &id))?;
        Ok(PodSandboxStatsResponse { stats: Some(state.of_sandbox(&id, sandbox, now)) })
    }

    async fn list_pod_sandbox_stats(
        &self,
        _: ListPodSandboxStatsRequest,
    ) -> Result<ListPodSandboxStatsResponse, Error> {
        let now = self.nanoseconds();
        let state = self.lock();
        let ready = state.sandboxes.iter().filter(|(_, sandbox)| sandbox.ready);
        Ok(ListPodSandboxStatsResponse { stats: ready.map(|(id, of)| state.of_sandbox(id, of, now)).collect() })
    }

    async fn get_container_events(&self) -> Result<ContainerEvents, Error> {
        let receiver = self.subscribe();
        let stream = futures::stream::unfold(receiver, |mut receiver| async {
            // A subscriber that is too slow loses events, as with a real runtime: the stream ends then.
            receiver.recv().await.ok().map(|event| (Ok(event), receiver))
        });
        Ok(stream.boxed())
    }
}

/// `512 shares, 50000 us, 64 bytes`
fn in_words(resources: &LinuxContainerResources) -> String {
    let LinuxContainerResources { cpu_shares, cpu_quota, memory_limit_in_bytes, .. } = resources;
    format!("{cpu_shares} shares, {cpu_quota} us, {memory_limit_in_bytes} bytes")
}

/// What CRI asks of a create: a ready sandbox, a free name, a target that runs.
fn check_create(state: &State, sandbox: &str, config: &remora_cri::ContainerConfig) -> Result<(), Error> {
    let found = state.sandboxes.get(sandbox).ok_or_else(|| Error::not_found("sandbox", sandbox))?;
    if !found.ready {
        return Err(Error::new(Code::FailedPrecondition, format!("sandbox \"{sandbox}\" is not ready")));
    }
    if state.containers.values().any(|c| c.sandbox == sandbox && c.config.metadata == config.metadata) {
        return Err(Error::new(Code::AlreadyExists, "the container's name is taken"));
    }
    let security = config.linux.as_ref().and_then(|l| l.security_context.as_ref());
    let options = security.and_then(|s| s.namespace_options.as_ref());
    let target = options.filter(|o| o.pid() == NamespaceMode::Target).map(|o| o.target_id.as_str());
    match target.map(|id| (id, state.containers.get(id).map(|c| c.state))) {
        None | Some((_, Some(ContainerState::Running))) => Ok(()),
        Some((id, other)) => {
            let word = other.map_or("CONTAINER_UNKNOWN", |s| {
                if s == ContainerState::Exited { "CONTAINER_EXITED" } else { "CONTAINER_CREATED" }
            });
            let message = format!(
                "failed to generate container \"new\" spec: invalid target container: container \"{id}\" is not running - in state {word}"
            );
            Err(Error::new(Code::InvalidArgument, message))
        }
    }
}

/// What the program prints and leaves behind.
fn write_files(state: &State, sandbox: &str, id: &str, program: &Program) -> Result<(), Error> {
    let (Some(container), Some(sandbox)) = (state.containers.get(id), state.sandboxes.get(sandbox)) else {
        return Ok(());
    };
    let failed = |e: std::io::Error| Error::internal("write a container's files", &e);
    if !program.prints.is_empty() {
        let path = std::path::Path::new(&sandbox.config.log_directory).join(&container.config.log_path);
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        for line in &program.prints {
            writeln!(file, "2026-01-01T00:00:00.000000000Z stdout F {line}").map_err(failed)?;
        }
    }
    let message = container.config.mounts.iter().find(|m| m.container_path == "/dev/termination-log");
    if let (Some(words), Some(mount)) = (&program.last_words, message) {
        std::fs::write(&mount.host_path, words).map_err(failed)?;
    }
    Ok(())
}
