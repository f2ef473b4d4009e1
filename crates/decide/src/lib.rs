//! What a node does next with a pod, and what it reports of it: decisions without any IO.
//!
//! Three questions, each a pure function of arguments:
//!
//! - [`next`]: which part of its life is the pod in? ([`PodLife`]; [`life_events`] reads what has happened off the world)
//! - [`plan`]: which actions bring the world closer to the wish? Done and observed again, the plan becomes empty.
//! - [`status`]: what does the API say about the pod?
//!
//! The node agent asks them on every wake, in this order; it observes before and executes after. Kinds of containers
//! differ by a row of data, [`KindRules`], and nowhere else.
//!
//! **Invariant:** no clock, no file, no network, no randomness: what is needed is an argument.

#![forbid(unsafe_code)]

mod action;
mod back_off;
mod features;
mod image_name;
mod kinds;
mod life;
mod mirror;
mod note;
mod observed;
mod plan;
mod qos;
mod resize;
mod service_links;
mod spec;
mod status;
mod storage;
#[cfg(test)]
mod tests;
pub mod usage;
mod volume_affinity;

pub use action::{Action, Plan, StopReason, Subject, Target};
pub use back_off::{BackOff, go_duration};
pub use features::{FeatureError, Features, Root, features};
pub use image_name::{InvalidImageName, full_name, with_default_tag};
pub use kinds::{KindRules, Restarts, Starts, rules_of};
pub use life::{LifeEvent, PodLife, TerminationCause, life_events, next, told_of_end};
pub use mirror::{MirrorAction, is_mirror, mirror_action, mirror_of, seen_in};
pub use note::{Happening, Note, NoteType, notes};
pub use observed::{
    Attempt, AttemptState, Exit, ImageProblem, ImageState, Observed, ProbeResults, Sandbox, StartFailure, StartProblem,
    Track, Volumes,
};
pub use plan::plan;
pub use qos::{QosClass, qos_class};
pub use resize::{
    Actuated, Amounts, Ask, Claim, InProgress, Need, Pending, Resize, ResizeStep, Resources, Verdict, pod_amounts,
    resources_of, verdict, with_resources,
};
pub use service_links::{LinkedPort, LinkedService, service_links};
pub use spec::{ContainerSpec, Desired, PullPolicy, RestartPolicy, container_hash, containers, restart_policy};
pub use status::status;
pub use storage::{Measured, Size, limited_volumes};
pub use volume_affinity::allows_node;

/// The time of a decision; read once per look, so that all of it agrees.
pub type Now = jiff::Timestamp;
