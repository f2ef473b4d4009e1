//! Service accounts: nothing but metadata is judged. Their tokens are the API server's matter.

use serde_json::Value;

use crate::object::field_mut;

/// Nothing is added.
pub fn prepare(account: &mut Value) {
    field_mut(account, "metadata");
}
