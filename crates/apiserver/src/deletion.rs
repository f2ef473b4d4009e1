//! The options of a DELETE, from its body or its query. What they do to an object is decided by `remora_rules::delete`.
//! Called by [`crate::verbs::delete`].

use remora_model::Status;
pub use remora_rules::delete::{DeleteOptions, Deletion, decide, is_released};
use serde_json::Value;

use crate::request::{Query, options};

/// From the query.
///
/// # Errors
/// 400 for what is no number, 422 for what is not known.
pub fn from_query(query: &Query) -> Result<DeleteOptions, Status> {
    let options = DeleteOptions {
        grace: query.integer("gracePeriodSeconds")?,
        propagation: query.given("propagationPolicy").map(str::to_owned),
        orphan: query.optional_flag("orphanDependents"),
        dry_run: options::dry_run(query, "DeleteOptions")?,
        ..DeleteOptions::default()
    };
    options.check()?;
    Ok(options)
}

/// From a body in canonical form; `dryRun` may also stand in the query.
///
/// # Errors
/// 422 for what is not known.
pub fn from_body(body: &Value, query: &Query) -> Result<DeleteOptions, Status> {
    let asked = options::dry_run(query, "DeleteOptions")?;
    let options = DeleteOptions::from_body(body)?;
    Ok(DeleteOptions { dry_run: options.dry_run || asked, ..options })
}
