//! Who asks, and may they: authentication (certificates, connectors, service-account tokens, impersonation) and
//! authorization. Called by [`crate::server`] before anything else is looked at.

pub mod authn;
pub mod authz;
pub mod impersonate;
pub mod token;

pub use authn::Authenticated;
pub use authz::{Attributes, Decision};
pub use token::{TokenError, TokenKey};
