//! The messages of CRI v1 (`runtime.v1`), as prost encodes them.
//!
//! They are data: no behaviour but small constructors. The traits over them are in [`crate::services`].

mod container;
mod image;
mod runtime;
mod sandbox;
mod security;
mod stats;
mod streaming;

pub use container::*;
pub use image::*;
pub use runtime::*;
pub use sandbox::*;
pub use security::*;
pub use stats::*;
pub use streaming::*;
