//! Reads tar archives of strangers as they stream by: layers of images, and files that are copied out of containers.
//!
//! [`EntryReader`] walks over entries with limits on what each may claim. What an entry may do to a folder is its user's to judge: nothing
//! here opens a file.

#![forbid(unsafe_code)]

mod pax;
mod reader;

pub use reader::{EntryReader, Header, TarError, Type};
