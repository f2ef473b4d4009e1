//! Container logs: the files that the runtime writes, as people want to read them.

mod files;
mod line;
mod reader;
mod tail;

pub(crate) use files::remove;
pub(crate) use reader::{Ending, LogFile, read};
pub(crate) use tail::last_lines;
