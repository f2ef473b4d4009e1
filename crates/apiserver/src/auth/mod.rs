//! Who asks, and may they: authentication (certificates, connectors, service-account tokens, impersonation) and
//! authorization, by what is stored of roles. Called by [`crate::server`] before anything else is looked at.

pub mod authn;
pub mod authz;
mod follow;
pub mod impersonate;
pub mod token;

pub use authz::Authorizer;
pub use token::{TokenError, TokenKey};
