//! Imports.
use std::fmt;
use std::io::Read;
use std::path::PathBuf;

/// Where an import comes from.
pub enum ImportSource {
    /// A tar file (docker-archive or OCI layout, plain, gzip or zstd), or the folder of an OCI layout.
    Path(PathBuf),
    /// The same tar as a stream, such as stdin; read once, front to back, on a blocking thread.
    Stream(Box<dyn Read + Send>),
}

impl fmt::Debug for ImportSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImportSource::Path(path) => f.debug_tuple("Path").field(path).finish(),
            ImportSource::Stream(_) => f.write_str("Stream"),
        }
    }
}
