//! What a user asks for, in words of the domain. The command line fills it in, [`plan`](crate::plan()) reads it.

use k8s_openapi::api::core::v1::EnvVar;
use serde_json::Value;

use crate::{Limits, Profile};

/// What the user asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DebugRequest {
    /// The tool container's image; none leaves the choice to the plan.
    pub image: Option<String>,
    /// Its name; none is `debugger-` and five random characters.
    pub name: Option<String>,
    /// The container whose processes it shall see.
    pub target: TargetChoice,
    /// What to run instead of the image's own entrypoint (with `as_arguments`: its arguments).
    pub command: Vec<String>,
    /// `command` holds arguments for the image's entrypoint.
    pub as_arguments: bool,
    /// Keep standard input open.
    pub stdin: bool,
    /// A terminal.
    pub tty: bool,
    /// Attach once it runs.
    pub attach: bool,
    /// Environment variables.
    pub env: Vec<EnvVar>,
    /// `Always`, `IfNotPresent` or `Never`; none leaves it to the server's default.
    pub image_pull_policy: Option<String>,
    /// What the container may do; none is the most that the cluster admits.
    pub profile: Option<Profile>,
    /// What it shall share with its target.
    pub mirror: Mirror,
    /// Whom it shall run as, whatever the target's user.
    pub user: Option<User>,
    /// Its working directory, whatever the target's.
    pub working_dir: Option<String>,
    /// Whose files are `/`.
    pub root: Root,
    /// How long it may live.
    pub limits: Limits,
    /// A partial container that is laid over the entry.
    pub custom: Option<Value>,
}

/// Which container is the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TargetChoice {
    /// The one that tools mean when none is named.
    #[default]
    Default,
    /// This one.
    Named(String),
    /// None: the tool container has its own processes.
    None,
}

impl TargetChoice {
    /// If one was named.
    pub fn name(&self) -> Option<&str> {
        match self {
            TargetChoice::Named(name) => Some(name),
            TargetChoice::Default | TargetChoice::None => None,
        }
    }
}

/// What a tool container takes over from its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// User, group and SELinux label.
    pub user: bool,
    /// Environment variables.
    pub env: bool,
    /// The working directory.
    pub working_dir: bool,
    /// Volume mounts.
    pub volumes: bool,
}

impl Mirror {
    /// Nothing.
    pub const NONE: Mirror = Mirror { user: false, env: false, working_dir: false, volumes: false };
}

impl Default for Mirror {
    fn default() -> Self {
        Mirror { user: true, env: true, working_dir: true, volumes: true }
    }
}

/// A user and, if it matters, a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: i64,
    /// The group's.
    pub gid: Option<i64>,
}

/// Whose files are the tool container's `/`. Anything but the image's works on Remora's own nodes only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Root {
    /// The target's where that is known to work, else the image's.
    #[default]
    Auto,
    /// The image's.
    Image,
    /// The target's.
    Target,
    /// Those that the target's last ended instance has left.
    Crashed,
}
