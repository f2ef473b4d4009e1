//! A container's whole spec, put together from its parts.

use std::collections::HashMap;

use oci_spec::runtime::{Linux, Process, Root, Spec};
use remora_cri::{ContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext, PodSandboxConfig};

use crate::capabilities::{self, Granted};
use crate::devices::{self, Devices};
use crate::{
    Facts, ImageConfig, SpecError, apparmor, mounts, namespaces, process, resources, seccomp, security, user_namespace,
};

/// The version of the OCI runtime spec that both `runc` 1.1 and libcontainer know.
pub(crate) const OCI_VERSION: &str = "1.0.2";

/// Everything that a container's spec follows from.
#[derive(Clone, Copy, Debug)]
pub struct SpecRequest<'a> {
    /// The sandbox, as it was asked for.
    pub sandbox: &'a PodSandboxConfig,
    /// The container, as it is asked for.
    pub container: &'a ContainerConfig,
    /// What the image says.
    pub image: &'a ImageConfig,
    /// What the runtime found out.
    pub facts: &'a Facts,
}

/// The container's `config.json`.
///
/// Masked and read-only paths are taken from the request as they are: CRI has no default for them (the kubelet sends its own).
/// The image's `VOLUME`s are no mounts: the container's writable layer holds them.
///
/// # Errors
/// [`SpecError`]: the request cannot be carried out on this host, or makes no sense.
pub fn container_spec(request: &SpecRequest<'_>) -> Result<Spec, SpecError> {
    let (security, resources) = parts(request.container);
    let options = security.namespace_options.clone().unwrap_or_default();
    user_namespace::refuse_another(request.facts.user_namespace.as_ref(), &options)?;
    if !request.container.cdi_devices.is_empty() {
        return Err(SpecError::Unsupported("CDI devices"));
    }
    let facts = request.facts;
    if let Some(own) = &facts.user_namespace {
        user_namespace::refuse_strangers(own, &facts.user)?;
    }
    let granted = capabilities::granted(&security, &facts.held_capabilities)?;
    let files = &facts.files;
    let devices = devices::devices(&request.container.devices, security.privileged, facts)?;
    let mut mounts = mounts::mounts(request.container, files, security.privileged, security.readonly_rootfs)?;
    mounts.extend(devices.binds.iter().cloned());
    let mut spec = empty();
    spec.set_root(Some(root(facts, security.readonly_rootfs)));
    spec.set_process(Some(first_process(request, &security, resources.as_ref(), &granted)?));
    spec.set_mounts(Some(mounts));
    spec.set_annotations(Some(annotations(request)));
    spec.set_linux(Some(linux(request, &security, resources.as_ref(), &granted, devices)?));
    Ok(spec)
}

/// A spec without the defaults that the type itself would bring.
pub(crate) fn empty() -> Spec {
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.to_owned());
    spec.set_hostname(None);
    spec.set_hooks(None);
    spec
}

fn parts(container: &ContainerConfig) -> (LinuxContainerSecurityContext, Option<LinuxContainerResources>) {
    let linux = container.linux.clone().unwrap_or_default();
    (linux.security_context.unwrap_or_default(), linux.resources)
}

fn root(facts: &Facts, readonly: bool) -> Root {
    let mut root = Root::default();
    root.set_path(facts.rootfs.clone());
    root.set_readonly(Some(readonly));
    root
}

fn first_process(
    request: &SpecRequest<'_>,
    security: &LinuxContainerSecurityContext,
    resources: Option<&LinuxContainerResources>,
    granted: &Granted,
) -> Result<Process, SpecError> {
    let mut process = process::process(request.container, request.image, granted, request.facts)?;
    process.set_no_new_privileges(Some(security.no_new_privs));
    process.set_apparmor_profile(apparmor::apparmor(security, &request.facts.apparmor)?);
    process.set_oom_score_adj(resources::oom_score_adj(resources, request.facts.oom_score_adj_floor));
    Ok(process)
}

fn linux(
    request: &SpecRequest<'_>,
    security: &LinuxContainerSecurityContext,
    asked: Option<&LinuxContainerResources>,
    granted: &Granted,
    devices: Devices,
) -> Result<Linux, SpecError> {
    let facts = request.facts;
    let (masked, readonly) = security::paths(security);
    let mut linux = Linux::default();
    linux.set_resources(Some(resources::resources(asked, devices.rules, facts)));
    linux.set_cgroups_path(Some(facts.cgroups_path.clone()));
    linux.set_namespaces(Some(namespaces::namespaces(&facts.namespaces, facts.cgroup_version, security.privileged)));
    if let Some((uids, gids)) = user_namespace::to_oci(facts.user_namespace.as_ref()) {
        linux.set_uid_mappings(Some(uids));
        linux.set_gid_mappings(Some(gids));
    }
    linux.set_devices(Some(devices.nodes).filter(|nodes| !nodes.is_empty()));
    linux.set_seccomp(seccomp::seccomp(security, granted, facts.localhost_seccomp.as_deref())?);
    linux.set_rootfs_propagation(mounts::rootfs_propagation(request.container).map(str::to_owned));
    linux.set_masked_paths(Some(masked).filter(|paths| !paths.is_empty()));
    linux.set_readonly_paths(Some(readonly).filter(|paths| !paths.is_empty()));
    Ok(linux)
}

/// What containerd writes too, so that tools which read OCI annotations find their way.
fn annotations(request: &SpecRequest<'_>) -> HashMap<String, String> {
    let sandbox = request.sandbox.metadata.clone().unwrap_or_default();
    let container = request.container.metadata.clone().unwrap_or_default();
    let image = request.container.image.clone().unwrap_or_default();
    let entries = [
        ("container-type", "container".to_owned()),
        ("sandbox-id", request.facts.sandbox_id.clone()),
        ("sandbox-name", sandbox.name),
        ("sandbox-namespace", sandbox.namespace),
        ("sandbox-uid", sandbox.uid),
        ("container-name", container.name),
        ("image-name", image.image),
    ];
    entries.into_iter().map(|(key, value)| (format!("io.kubernetes.cri.{key}"), value)).collect()
}
