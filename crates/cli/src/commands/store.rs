//! `remora store`, and which store a node has: parsed here, carried out by the binary.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::NodeDirs;

/// Where a node keeps its objects. The flags that end as kube-apiserver's do mean what they mean there.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Store")]
pub struct StoreArgs {
    /// The etcd that keeps the objects: etcd://HOST:PORT[,HOST:PORT…][/PREFIX] [default: a file below the data folder].
    #[arg(long, value_name = "URL", env = "REMORA_STORE")]
    pub store: Option<String>,
    /// The authorities (PEM) of etcd's certificate; with them, the connection is TLS.
    #[arg(long, value_name = "FILE", env = "REMORA_ETCD_CAFILE")]
    pub etcd_cafile: Option<PathBuf>,
    /// The certificate (PEM) to show to etcd.
    #[arg(long, value_name = "FILE", env = "REMORA_ETCD_CERTFILE", requires_all = ["etcd_cafile", "etcd_keyfile"])]
    pub etcd_certfile: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE", env = "REMORA_ETCD_KEYFILE", requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,
    /// The user to be, where etcd's authentication is on.
    #[arg(long, value_name = "NAME", env = "REMORA_ETCD_USER", requires = "etcd_password_file")]
    pub etcd_user: Option<String>,
    /// A file that holds the user's password.
    #[arg(long, value_name = "FILE", env = "REMORA_ETCD_PASSWORD_FILE", requires = "etcd_user")]
    pub etcd_password_file: Option<PathBuf>,
}

/// Arguments of `remora store`.
#[derive(Clone, Debug, Args)]
pub struct StoreCommandArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// What can be done with a store.
#[derive(Clone, Debug, Subcommand)]
pub enum StoreCommand {
    /// Write all objects, as they are at one moment, to a file. A node may run meanwhile.
    Snapshot {
        /// The file; it must not be there yet.
        file: PathBuf,
        /// Overwrite the file.
        #[arg(long)]
        force: bool,
        /// Which store is meant.
        #[command(flatten)]
        which: WhichStore,
    },
    /// Fill a store from a snapshot, of whatever store it was taken. No node may use the store meanwhile.
    Restore {
        /// What `snapshot` has written.
        file: PathBuf,
        /// Replace what the store holds.
        #[arg(long)]
        force: bool,
        /// Which store is meant.
        #[command(flatten)]
        which: WhichStore,
    },
}

/// An etcd, if one is named; else that of the node in these folders.
#[derive(Clone, Debug, Args)]
pub struct WhichStore {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub dirs: NodeDirs,
    /// The etcd.
    #[command(flatten)]
    pub store: StoreArgs,
}
