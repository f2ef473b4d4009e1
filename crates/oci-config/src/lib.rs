//! From CRI to OCI: what a kubelet asks for, what the image says and what the host is, as one `config.json`.
//!
//! ```text
//! PodSandboxConfig + ContainerConfig (cri) ─┐
//! ImageConfig (from the image)              ├─▶ container_spec ─▶ oci_spec::runtime::Spec
//! Facts (resolved by the runtime)           ┘
//! ```
//!
//! The runtime is the only caller. It looks up everything that needs IO (users, devices, namespaces' paths, profiles) and
//! hands it over as [`Facts`].
//!
//! **Invariant:** nothing here reads a file, the clock or the environment: the same input gives the same spec.

#![forbid(unsafe_code)]

mod apparmor;
mod borrowed;
mod capabilities;
mod devices;
mod error;
mod facts;
mod mounts;
mod namespaces;
mod pause;
mod pod_cgroup;
mod process;
mod resources;
mod seccomp;
mod seccomp_table;
mod security;
mod spec;
mod stop_signal;
mod sysctl;
mod user;
mod user_namespace;

pub use apparmor::{AppArmor, AskedAppArmor, DEFAULT_APPARMOR, default_apparmor};
pub use borrowed::{BorrowedRoot, OWN_FILE_SYSTEMS, TOOLS, search_path};
pub use capabilities::{capability_names, parse_capability_mask};
pub use error::SpecError;
pub use facts::{
    CgroupVersion, EtcFiles, Facts, HostDevice, HostDeviceKind, ImageConfig, Join, NamespacePaths, SandboxFiles,
};
pub use pause::{PauseRequest, pause_spec};
pub use pod_cgroup::{
    CgroupFile, class_cgroup_files, container_cgroup_files, pod_cgroup_files, unit_properties, updated,
};
pub use process::{DEFAULT_PATH, command, exec_process};
pub use seccomp::{localhost_seccomp_path, unconfined_seccomp};
pub use spec::{SpecRequest, container_spec};
pub use stop_signal::stop_signal;
pub use sysctl::sandbox_sysctls;
pub use user::{ListedUser, ResolvedUser, UserQuery, resolve_user, user_query};
pub use user_namespace::{IdRange, UserNamespace, mount_is_mapped, user_namespace};
