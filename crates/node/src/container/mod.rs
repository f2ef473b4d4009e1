//! One container: from the pod's spec to CRI's configuration.

mod env;
mod expand;
mod features;
mod fields;
pub(crate) mod image;
mod mounts;
mod resources;
mod security;
pub(crate) mod services;
pub(crate) mod termination_message;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};
use remora_cri::{ContainerConfig, ContainerMetadata, ImageSpec, KeyValue, LinuxContainerConfig, annotations, labels};
use remora_decide::{FeatureError, Target, container_hash, containers};
use remora_model::ContainerKind;

pub(crate) use fields::{FieldError, resource as resource_field, value as field_value};
pub(crate) use resources::{of_pod as resources_of_pod, of_running as resources_of_running, pod_resources};
pub(crate) use security::of_sandbox as sandbox_security;

use crate::config::LogLimits;
use crate::context::{Context, id_of};
use crate::users::{self, UsersError};
use crate::volumes::VolumeError;

/// What a plan says about a start.
#[derive(Clone, Debug)]
pub(crate) struct StartOrder {
    pub(crate) container: String,
    pub(crate) sandbox: String,
    pub(crate) image_ref: String,
    pub(crate) restart_count: u32,
    pub(crate) target: Option<Target>,
    pub(crate) sandbox_ips: Vec<String>,
}

/// Why a container's configuration cannot be made. The words are shown in the container's status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("container {0:?} is not in the pod")]
    NoSuchContainer(String),
    #[error("unable to find target container {0}")]
    UnknownTarget(String),
    #[error("container {0} has not ended yet: there is no crashed instance to look at")]
    NothingEnded(String),
    #[error(transparent)]
    Feature(#[from] FeatureError),
    #[error(transparent)]
    Env(#[from] env::EnvError),
    #[error(transparent)]
    Security(#[from] security::SecurityError),
    #[error(transparent)]
    Mount(#[from] mounts::MountError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error("cannot ask for image {image:?}: {source}")]
    Image {
        image: String,
        #[source]
        source: remora_cri::Error,
    },
    #[error("cannot make {path}: {source}")]
    Folder {
        path: String,
        #[source]
        source: std::io::Error,
    },
}

/// A container of a pod with its kind; ephemeral ones in the form of the others.
pub(crate) fn find(pod: &Pod, name: &str) -> Option<(ContainerKind, Container)> {
    let spec = pod.spec.as_ref()?;
    let init = spec.init_containers.iter().flatten().map(|c| (ContainerKind::of_init(c.restart_policy.as_deref()), c));
    let ordinary = spec.containers.iter().map(|c| (ContainerKind::Container, c));
    let found = init.chain(ordinary).find(|(_, c)| c.name == name).map(|(kind, c)| (kind, c.clone()));
    found.or_else(|| {
        let mut ephemeral = spec.ephemeral_containers.iter().flatten();
        ephemeral.find(|c| c.name == name).map(|c| (ContainerKind::Ephemeral, of_ephemeral(c)))
    })
}

/// CRI's configuration of a container's next start. Makes its log folder and its termination message file.
pub(crate) async fn config(context: &Context, pod: &Pod, order: &StartOrder) -> Result<ContainerConfig, ConfigError> {
    let missing = || ConfigError::NoSuchContainer(order.container.clone());
    let (kind, container) = find(pod, &order.container).ok_or_else(missing)?;
    if let Some(Target { container, id: None, .. }) = &order.target {
        return Err(ConfigError::UnknownTarget(container.clone()));
    }
    let image = image::status(context, &order.image_ref).await;
    let image = image.map_err(|source| ConfigError::Image { image: order.image_ref.clone(), source })?;
    security::verify_not_root(pod, &container, image.as_ref())?;
    let spec = containers(pod).find(|c| c.name == order.container).ok_or_else(missing)?;
    let wishes = features::wishes(&spec, order.target.as_ref())?;
    let envs = env::variables(context, pod, &container, &order.sandbox_ips).await?;
    let users = users::of_pod(context, pod)?;
    let log_path = make_log_folder(context, pod, order)?;
    let expand = |text: &String| expand::expand(text, |name| lookup(&envs, name));
    Ok(ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: order.restart_count }),
        image: Some(ImageSpec {
            image: order.image_ref.clone(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..ImageSpec::default()
        }),
        command: container.command.iter().flatten().map(expand).collect(),
        args: container.args.iter().flatten().map(expand).collect(),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        mounts: mounts::mapped(mounts::mounts(context, pod, &container, order, &envs)?, users.as_ref()),
        envs: envs.into_iter().map(|(key, value)| KeyValue { key, value }).collect(),
        labels: container_labels(pod, &container),
        annotations: wishes
            .annotations
            .into_iter()
            .chain(log_limit(context))
            .chain(notes(pod, &container, order.restart_count, container_hash(&spec)))
            .collect(),
        log_path,
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(LinuxContainerConfig {
            resources: Some(resources::of_container(pod, kind, &container, context.config.debug_limits)),
            security_context: Some(security::of_container(context, pod, &container, wishes.joins.as_deref(), users)),
        }),
        ..ContainerConfig::default()
    })
}

fn lookup(envs: &[(String, String)], name: &str) -> Option<String> {
    envs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

fn make_log_folder(context: &Context, pod: &Pod, order: &StartOrder) -> Result<String, ConfigError> {
    let folder = context.log_folder(pod).join(&order.container);
    std::fs::create_dir_all(&folder)
        .map_err(|source| ConfigError::Folder { path: folder.display().to_string(), source })?;
    Ok(log_path(&order.container, order.restart_count))
}

/// A container's log, below its pod's log folder.
pub(crate) fn log_path(container: &str, restart_count: u32) -> String {
    format!("{container}/{restart_count}.log")
}

/// What the runtime is asked to keep of the log.
fn log_limit(context: &Context) -> Option<(String, String)> {
    let LogLimits { bytes, files } = context.config.log_limits;
    let limit = bytes.map(|bytes| format!("{bytes} {files}"))?;
    Some((annotations::LOG_LIMIT.to_owned(), limit))
}

fn container_labels(pod: &Pod, container: &Container) -> BTreeMap<String, String> {
    let id = id_of(pod);
    let pairs = [
        (labels::POD_NAME, id.name),
        (labels::POD_NAMESPACE, id.namespace),
        (labels::POD_UID, id.uid),
        (labels::CONTAINER_NAME, &container.name),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn notes(pod: &Pod, container: &Container, restart_count: u32, hash: String) -> BTreeMap<String, String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let grace = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
    let pairs = [
        (labels::CONTAINER_HASH, hash),
        (labels::CONTAINER_RESTART_COUNT, restart_count.to_string()),
        (labels::TERMINATION_MESSAGE_PATH, text(&container.termination_message_path)),
        (labels::TERMINATION_MESSAGE_POLICY, text(&container.termination_message_policy)),
        (labels::POD_TERMINATION_GRACE_PERIOD, grace.to_string()),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn of_ephemeral(c: &EphemeralContainer) -> Container {
    let c = c.clone();
    Container {
        name: c.name,
        image: c.image,
        command: c.command,
        args: c.args,
        working_dir: c.working_dir,
        env: c.env,
        env_from: c.env_from,
        volume_mounts: c.volume_mounts,
        volume_devices: c.volume_devices,
        termination_message_path: c.termination_message_path,
        termination_message_policy: c.termination_message_policy,
        image_pull_policy: c.image_pull_policy,
        security_context: c.security_context,
        stdin: c.stdin,
        stdin_once: c.stdin_once,
        tty: c.tty,
        ..Container::default()
    }
}
