//! What the audit log says of a request (`audit.k8s.io/v1`): pure. The API server asks with what it knows of a request, and carries the answers
//! to a file.
//!
//! | question | module |
//! |---|---|
//! | how much is said of this request, and at which stages | [`policy`] |
//! | what is said | [`event`] |

pub mod event;
pub mod policy;

pub use event::{Event, EventUser, ObjectRef, Stage};
pub use policy::{Level, Policy, Verdict};
