//! Manifests, indexes and archive lists: parsed with limits, and the choice of a platform. Pure.
//!
//! Source: OCI image spec 1.1 "Image Manifest", "Image Index", "Image Layout"; Docker's "Image Manifest V2 Schema 2"; the
//! `manifest.json` of `docker save`.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use crate::Digest;

/// What registries accept and containerd reads: 4 MiB.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// Configs carry histories; real ones are some 10 KiB.
pub const MAX_CONFIG: u64 = 8 << 20;
/// About as many fit into overlayfs' options (see `remora_sys::mount::overlay`); Docker makes at most 127.
const MAX_LAYERS: usize = 200;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Points at content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its bytes.
    pub digest: Digest,
    /// How many.
    pub size: u64,
    /// Which machines it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Names, for the entries of a layout's index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A kind of machine, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`
    pub architecture: String,
    /// `linux`
    pub os: String,
    /// `v8`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A manifest of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2
    pub schema_version: u32,
    /// Its own type; older ones leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The config: its digest is the image's id.
    pub config: Descriptor,
    /// Layers, bottom first.
    pub layers: Vec<Descriptor>,
}

/// A list of manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2
    pub schema_version: u32,
    /// Its own type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
}

/// What a registry answers for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several, to choose from.
    Index(Index),
}

/// One image of a docker-archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ArchiveImage {
    /// The config's file.
    pub config: String,
    /// Its names.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// The layers' files, bottom first.
    pub layers: Vec<String>,
}

/// A document that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// No JSON, or not of the form.
    #[error("{what} is malformed: {problem}")]
    Malformed {
        /// Which document.
        what: &'static str,
        /// What the parser said.
        problem: String,
    },
    /// Larger than [`MAX_MANIFEST`] or [`MAX_CONFIG`].
    #[error("{what} of {size} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Which document.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Docker's schema 1, an artifact, or something new.
    #[error("media type {media_type:?} is no image")]
    MediaType {
        /// What it says it is.
        media_type: String,
    },
    /// An index without an image for this machine. containerd's words.
    #[error("no match for platform in manifest: {platform}: not found")]
    NoPlatform {
        /// What this machine is.
        platform: String,
    },
    /// As many layers as DiffIDs there must be, and not too many.
    #[error("{layers} layers in the manifest, {diff_ids} in the config")]
    Layers {
        /// In the manifest.
        layers: usize,
        /// In the config.
        diff_ids: usize,
    },
}

impl Document {
    /// Parses what a registry or layout has. `media_type` is what it was announced as; the document's own word counts more.
    ///
    /// # Errors
    /// [`ManifestError::TooLarge`], [`ManifestError::Malformed`], [`ManifestError::MediaType`].
    pub fn parse(bytes: &[u8], media_type: &str) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            media_type: Option<String>,
            #[serde(default)]
            config: Option<serde::de::IgnoredAny>,
            #[serde(default)]
            manifests: Option<serde::de::IgnoredAny>,
        }
        limit("manifest", bytes, MAX_MANIFEST)?;
        let shape: Shape = parse("manifest", bytes)?;
        let media_type = shape.media_type.as_deref().unwrap_or(media_type);
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        match (media_type, shape.config.is_some(), shape.manifests.is_some()) {
            // A document that is both could be taken for one by us and for the other by a scanner (CVE-2021-41190).
            (_, true, true) => {
                Err(ManifestError::Malformed { what: "manifest", problem: "both a manifest and an index".into() })
            }
            (OCI_INDEX | DOCKER_INDEX, _, true) => parse("index", bytes).map(Document::Index),
            (OCI_MANIFEST | DOCKER_MANIFEST, true, _) => checked(parse("manifest", bytes)?).map(Document::Manifest),
            (other, ..) => Err(ManifestError::MediaType { media_type: other.chars().take(200).collect() }),
        }
    }
}

fn checked(manifest: Manifest) -> Result<Manifest, ManifestError> {
    if manifest.layers.len() > MAX_LAYERS {
        return Err(ManifestError::Layers { layers: manifest.layers.len(), diff_ids: 0 });
    }
    limit_size("config", manifest.config.size, MAX_CONFIG)?;
    Ok(manifest)
}

impl Index {
    /// Parses `index.json` of a layout.
    ///
    /// # Errors
    /// As [`Document::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        limit("index.json", bytes, MAX_MANIFEST)?;
        parse("index.json", bytes)
    }

    /// The manifest for a machine: the best variant that it can run, of those for its system and architecture. Entries
    /// without a platform fit when nothing else does.
    ///
    /// # Errors
    /// [`ManifestError::NoPlatform`].
    pub fn choose(&self, machine: &Platform) -> Result<&Descriptor, ManifestError> {
        let is_image = |entry: &&Descriptor| {
            matches!(entry.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST | OCI_INDEX | DOCKER_INDEX)
        };
        let ranked = self.manifests.iter().filter(is_image).filter_map(|entry| Some((rank(entry, machine)?, entry)));
        // `max_by_key` takes the last of equals; the first is the rule.
        let best = ranked.rev().max_by_key(|(rank, _)| *rank);
        best.map(|(_, entry)| entry).ok_or_else(|| ManifestError::NoPlatform { platform: machine.to_string() })
    }
}

/// How well an entry fits: none if it cannot run.
fn rank(entry: &Descriptor, machine: &Platform) -> Option<u32> {
    let Some(platform) = &entry.platform else { return Some(0) };
    if platform.os != machine.os || platform.architecture != machine.architecture {
        return None;
    }
    match (variant(platform), variant(machine)) {
        (Some(theirs), Some(ours)) if theirs <= ours => Some(1 + theirs),
        (Some(_), Some(_)) => None,
        (None, _) => Some(1),
        (Some(theirs), None) => Some(1 + theirs),
    }
}

/// `v7` is 7. amd64's levels count from 1, and arm64's first one is 8.
fn variant(platform: &Platform) -> Option<u32> {
    platform.variant.as_deref()?.strip_prefix('v')?.parse().ok().filter(|level| *level < 100)
}

impl Platform {
    /// The machine that this program was built for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8".to_owned())),
            "arm" => ("arm", Some("v7".to_owned())),
            other => (other, None),
        };
        Platform { architecture: architecture.into(), os: "linux".into(), variant }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// Parses an image's config and checks its layers against the manifest's. Returns it with its DiffIDs.
///
/// # Errors
/// [`ManifestError::Malformed`], [`ManifestError::Layers`].
pub fn parse_config(bytes: &[u8], layers: usize) -> Result<(ImageConfiguration, Vec<Digest>), ManifestError> {
    limit("config", bytes, MAX_CONFIG)?;
    let config: ImageConfiguration = parse("config", bytes)?;
    let diff_ids: Result<Vec<Digest>, _> = config.rootfs().diff_ids().iter().map(|text| text.parse()).collect();
    let diff_ids = diff_ids.map_err(|error| ManifestError::Malformed { what: "config", problem: error.to_string() })?;
    match diff_ids.len() == layers && layers <= MAX_LAYERS {
        true => Ok((config, diff_ids)),
        false => Err(ManifestError::Layers { layers, diff_ids: diff_ids.len() }),
    }
}

/// Parses the `manifest.json` of a docker-archive.
///
/// # Errors
/// [`ManifestError::Malformed`], [`ManifestError::TooLarge`].
pub fn parse_archive(bytes: &[u8]) -> Result<Vec<ArchiveImage>, ManifestError> {
    limit("manifest.json", bytes, MAX_MANIFEST)?;
    parse("manifest.json", bytes)
}

fn limit(what: &'static str, bytes: &[u8], limit: u64) -> Result<(), ManifestError> {
    limit_size(what, bytes.len() as u64, limit)
}

fn limit_size(what: &'static str, size: u64, limit: u64) -> Result<(), ManifestError> {
    match size > limit {
        true => Err(ManifestError::TooLarge { what, size, limit }),
        false => Ok(()),
    }
}

fn parse<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, ManifestError> {
    serde_json::from_slice(bytes).map_err(|error| ManifestError::Malformed { what, problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn descriptor(media_type: &str, content: &str) -> serde_json::Value {
        json!({"mediaType": media_type, "digest": Digest::of(content.as_bytes()), "size": content.len()})
    }

    fn manifest() -> serde_json::Value {
        json!({"schemaVersion": 2, "config": descriptor(OCI_CONFIG, "c"), "layers": [descriptor(OCI_LAYER_GZIP, "l")]})
    }

    fn index(platforms: &[(&str, &str, Option<&str>)]) -> Index {
        let entry = |(os, architecture, variant): &(&str, &str, Option<&str>)| {
            let mut entry = descriptor(OCI_MANIFEST, &format!("{os}/{architecture}/{variant:?}"));
            entry["platform"] = json!({"os": os, "architecture": architecture, "variant": variant});
            entry
        };
        let manifests: Vec<_> = platforms.iter().map(entry).collect();
        Index::parse(json!({"schemaVersion": 2, "manifests": manifests}).to_string().as_bytes()).unwrap()
    }

    fn choose(machine: (&str, Option<&str>), platforms: &[(&str, &str, Option<&str>)]) -> Option<usize> {
        let machine =
            Platform { os: "linux".into(), architecture: machine.0.into(), variant: machine.1.map(str::to_owned) };
        let index = index(platforms);
        let chosen = index.choose(&machine).ok()?;
        index.manifests.iter().position(|entry| entry == chosen)
    }

    #[test]
    fn the_best_variant_that_runs_here_is_chosen() {
        let amd64 = ("amd64", None);
        assert_eq!(choose(amd64, &[("linux", "arm64", None), ("linux", "amd64", None)]), Some(1));
        assert_eq!(choose(amd64, &[("windows", "amd64", None)]), None);
        assert_eq!(choose(amd64, &[("linux", "amd64", None), ("linux", "amd64", None)]), Some(0));
        assert_eq!(choose(amd64, &[]), None);
        let arms = [("linux", "arm", Some("v6")), ("linux", "arm", Some("v7")), ("linux", "arm", Some("v8"))];
        assert_eq!(choose(("arm", Some("v7")), &arms), Some(1));
        assert_eq!(choose(("arm", Some("v5")), &arms), None);
        assert_eq!(choose(("arm64", Some("v8")), &[("linux", "arm64", None)]), Some(0));
        assert_eq!(choose(("arm64", Some("v8")), &[("linux", "arm64", None), ("linux", "arm64", Some("v8"))]), Some(1));
    }

    #[test]
    fn an_index_without_a_fitting_image_says_so_in_containerds_words() {
        let machine = Platform { os: "linux".into(), architecture: "arm".into(), variant: Some("v7".into()) };
        let error = index(&[]).choose(&machine).unwrap_err().to_string();
        assert_eq!(error, "no match for platform in manifest: linux/arm/v7: not found");
    }

    #[test]
    fn a_documents_own_type_counts_more_than_the_announced_one() {
        let parse =
            |value: serde_json::Value, announced: &str| Document::parse(value.to_string().as_bytes(), announced);
        assert!(matches!(parse(manifest(), OCI_MANIFEST), Ok(Document::Manifest(_))));
        assert!(matches!(parse(manifest(), &format!("{DOCKER_MANIFEST}; charset=utf-8")), Ok(Document::Manifest(_))));
        let mut own = manifest();
        own["mediaType"] = json!(DOCKER_MANIFEST);
        assert!(matches!(parse(own, "application/json"), Ok(Document::Manifest(_))));
        let list = json!({"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": []});
        assert!(matches!(parse(list, ""), Ok(Document::Index(_))));
    }

    #[test]
    fn documents_that_are_no_image_or_two_things_at_once_are_refused() {
        let check = |value: serde_json::Value, announced: &str, expected: &str| {
            let error = Document::parse(value.to_string().as_bytes(), announced).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let mut both = manifest();
        both["manifests"] = json!([]);
        check(both, OCI_MANIFEST, "both a manifest and an index");
        check(json!({"schemaVersion": 1}), "application/vnd.docker.distribution.manifest.v1+prettyjws", "is no image");
        check(manifest(), "", "is no image");
        check(json!({"schemaVersion": 2, "config": {}}), OCI_MANIFEST, "malformed");
        let mut huge = manifest();
        huge["config"]["size"] = json!(1u64 << 40);
        check(huge, OCI_MANIFEST, "config of 1099511627776 bytes is larger");
        let mut many = manifest();
        many["layers"] = json!(vec![descriptor(OCI_LAYER_GZIP, "l"); 201]);
        check(many, OCI_MANIFEST, "201 layers");
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Document::parse(deep.as_bytes(), OCI_MANIFEST).is_err());
    }

    #[test]
    fn a_config_has_as_many_diff_ids_as_the_manifest_has_layers() {
        let id = Digest::of(b"x");
        let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [id]}});
        let bytes = config.to_string();
        assert_eq!(parse_config(bytes.as_bytes(), 1).unwrap().1, [id]);
        let error = parse_config(bytes.as_bytes(), 2).unwrap_err().to_string();
        assert_eq!(error, "2 layers in the manifest, 1 in the config");
        assert!(parse_config(bytes.replace(&id.to_string(), "md5:1").as_bytes(), 1).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            let _ = Document::parse(&bytes, OCI_MANIFEST);
            let _ = parse_config(&bytes, 1);
            let _ = parse_archive(&bytes);
        }
    }
}
