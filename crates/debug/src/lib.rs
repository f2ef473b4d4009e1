//! What a debug session is, on any cluster: an ephemeral container, planned, added, awaited and attached to.
//!
//! [`plan`](plan()) decides and is pure; [`Session`] carries it out through a `kube::Client`. The command line parses and prints.
//!
//! | to see | look at |
//! |---|---|
//! | what a user can ask for | [`DebugRequest`] |
//! | what is asked of the server, from most to least | [`plan()`] and its [`Rung`]s |
//! | a copy, a node's pod | [`copy()`], [`node_pod`] |
//! | what a refusal means | [`refusal`](refusal()) |
//! | why a session cannot be had | [`stuck`], [`Failure`] |
//! | how files are copied | [`files`] |
//! | what a container has changed | [`changes`] |
//! | packets, memory, threads | [`capture`], [`dump`] |
//! | what others see of a session | [`event`] |
//! | what is told before anything is done | [`Report`] |

#![forbid(unsafe_code)]

pub mod capture;
pub mod changes;
mod choose;
mod copy;
mod custom;
pub mod dump;
pub mod event;
mod failure;
pub mod files;
mod limits;
mod mirror;
mod plan;
mod profile;
mod progress;
mod refusal;
mod report;
mod request;
mod session;
mod sessions;
pub mod transcript;
mod wait;

pub use choose::{
    DEFAULT_IMAGE, Image, ImageChoice, NoImage, Tools, default_container, image, images_of, started, with_tools,
};
pub use copy::{CopyRequest, Keep, PodPlan, copy, node_pod};
pub use failure::{Cause, Failure, duration, stuck};
pub use limits::Limits;
pub use plan::{DebugPlan, Facts, PlanError, Rung, plan};
pub use profile::Profile;
pub use progress::{Progress, Waiting, progress};
pub use refusal::{Refusal, Refuser, refusal};
pub use report::{Report, Right};
pub use request::{DebugRequest, Mirror, Root, TargetChoice, User};
pub use session::{Admitted, Refused, Session, SessionError, Told, Trial, admit};
pub use sessions::{MADE_FOR_A_SESSION, MAKER, SessionRow, age, is_same_shape, sessions};
pub use wait::not_ready;
