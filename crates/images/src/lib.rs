//! Container images: references, pulling, importing, pushing, building, the content store and the layers that containers
//! stand on.
//!
//! [`ImageStore`] is the door; it is also CRI's `ImageService`. The runtime leases an image's layers for each container
//! ([`ImageStore::lease`]) and mounts them as overlayfs' lower folders. The command line shows [`Progress`].
//!
//! **Invariant:** nothing here mounts, runs or knows containers. Bytes from registries and archives are parsed by pure code
//! ([`reference`], [`manifest`], `layer::entry`) with limits on size, depth and count.

#![forbid(unsafe_code)]

mod build;
mod digest;
mod error;
mod image;
mod import;
mod layer;
pub mod manifest;
mod progress;
mod pull;
mod push;
pub mod reference;
mod registries;
mod service;
mod store;

pub use build::{BuiltImage, FileEntry, FileKind, build_image};
pub use digest::{Digest, InvalidDigest};
pub use error::{Error, FetchError};
pub use image::{Image, LayerLease, Usage};
pub use import::ImportSource;
pub use layer::{LayerError, Limits};
pub use oci_spec::image::ImageConfiguration;
pub use progress::{LayerProgress, LayerState, Progress};
pub use pull::{Credentials, Pull, ResolveError, TransferError};
pub use push::push_image;
pub use reference::Reference;
pub use registries::{Mirror, Registries, RegistryHost};
pub use store::{ImageStore, StoreConfig};
