//! What can be done with objects: one file per verb. Each asks `rules` what is allowed and the store to keep it.

pub mod create;
pub mod delete;
pub mod delete_collection;
pub mod get;
pub mod list;
pub mod patch;
pub mod review;
pub mod scale;
pub mod token;
pub mod update;
pub mod watch;
pub mod write;
