//! Selectors of lists and watches: by labels and by fields.

pub mod fields;
pub mod labels;
