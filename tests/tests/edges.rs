//! Holds the table of edges (ARCHITECTURE.md): which of our crates may use which, and through which doors third-party
//! crates enter. Arrows point down only.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// What each crate of ours may use of ours. A crate that is not here may not exist.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("archive", &[]),
    ("cri", &[]),
    ("shim-protocol", &[]),
    ("sys", &[]),
    ("http", &[]),
    ("rules", &["model"]),
    ("decide", &["model"]),
    ("oci-config", &["cri"]),
    ("store", &[]),
    ("store-etcd", &["store"]),
    ("streaming", &["http"]),
    ("network", &["sys"]),
    ("images", &["archive", "cri", "sys"]),
    ("apiserver", &["model", "rules", "store", "streaming", "http"]),
    ("node", &["model", "decide", "cri", "streaming", "http", "sys"]),
    ("kubelet-api", &["model", "rules", "streaming", "http"]),
    ("runtime", &["cri", "oci-config", "images", "network", "streaming", "http", "shim-protocol", "sys"]),
    ("shim", &["shim-protocol", "sys"]),
    ("create", &["shim-protocol", "sys"]),
    ("controllers", &["model", "rules"]),
    ("debug", &["model", "streaming"]),
    ("cli", &["model", "archive", "debug"]),
    (
        "remora",
        &[
            "model",
            "cri",
            "rules",
            "decide",
            "oci-config",
            "sys",
            "http",
            "store",
            "store-etcd",
            "images",
            "network",
            "streaming",
            "apiserver",
            "node",
            "kubelet-api",
            "runtime",
            "controllers",
            "debug",
            "cli",
        ],
    ),
    ("testkit", &["model", "cri", "streaming", "decide"]),
];

/// Third-party crates that enter only through these of ours. Development dependencies are free.
const DOORS: &[(&str, &[&str])] = &[
    ("libc", &["sys", "shim", "create"]),
    ("nix", &["sys", "shim", "create"]),
    ("rustix", &["sys", "shim", "create"]),
    ("hyper", &["http", "cli", "images", "remora", "apiserver", "streaming", "store-etcd"]),
    ("tokio-rustls", &["http", "store-etcd"]),
    ("rustls", &["http", "images", "remora", "store-etcd"]),
    ("rcgen", &["http"]),
    ("rusqlite", &["store"]),
    ("tokio-tungstenite", &["streaming"]),
    ("rtnetlink", &["network"]),
    ("zbus", &["runtime"]),
    ("nftables", &["network"]),
    ("oci-client", &["images"]),
    ("tonic", &["cri-grpc", "node", "store-etcd"]),
    ("axum", &["apiserver"]),
    ("kube", &["node", "kubelet-api", "controllers", "debug", "cli", "remora"]),
    ("cap-std", &["cli"]),
    ("libcontainer", &["create"]),
    ("libseccomp", &["create"]),
    ("clap", &["cli", "remora", "shim", "create"]),
    ("anyhow", &["remora"]),
];

/// Crates that must not be anywhere below these of ours, however indirectly.
const NEVER_BELOW: &[(&str, &[&str])] = &[
    ("shim", &["tokio", "libcontainer"]),
    ("create", &["tokio"]),
    ("rules", &["tokio", "hyper", "rustix", "libc"]),
    ("decide", &["tokio", "hyper", "rustix"]),
    ("oci-config", &["tokio", "hyper", "rustix"]),
    ("remora", &["libcontainer"]),
    ("store", &["tonic", "hyper", "tokio-rustls"]),
    ("apiserver", &["tonic"]),
    ("cli", &["rtnetlink", "libcontainer", "rusqlite", "remora-sys"]),
];

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).exec().unwrap()
}

/// `remora-store` → `store`; the binary is itself.
fn short(name: &str) -> &str {
    name.strip_prefix("remora-").unwrap_or(name)
}

fn ours(metadata: &Metadata) -> Vec<&Package> {
    let tools = ["xtask", "remora-tests"];
    metadata.workspace_packages().into_iter().filter(|p| !tools.contains(&p.name.as_str())).collect()
}

fn normal_dependencies(package: &Package) -> impl Iterator<Item = &str> {
    package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal).map(|d| d.name.as_str())
}

#[test]
fn our_crates_use_each_other_only_as_the_table_allows() {
    let metadata = metadata();
    let names: BTreeSet<&str> = ours(&metadata).iter().map(|p| p.name.as_str()).collect();
    let table: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in ours(&metadata) {
        let from = short(&package.name);
        let Some(allowed) = table.get(from) else {
            wrong.push(format!("{from} is not in the table"));
            continue;
        };
        let used = normal_dependencies(package).filter(|name| names.contains(name)).map(short);
        wrong.extend(used.filter(|to| !allowed.contains(to)).map(|to| format!("{from} → {to}")));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn third_party_crates_enter_only_through_their_doors() {
    let metadata = metadata();
    let doors: BTreeMap<&str, &[&str]> = DOORS.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in ours(&metadata) {
        let from = short(&package.name);
        for used in normal_dependencies(package) {
            if doors.get(used).is_some_and(|allowed| !allowed.contains(&from)) {
                wrong.push(format!("{from} → {used}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn what_must_stay_out_of_a_crate_is_nowhere_below_it() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for (from, never) in NEVER_BELOW {
        let below = everything_below(&metadata, from);
        assert!(!below.is_empty(), "{from} is in the workspace");
        wrong.extend(never.iter().filter(|name| below.contains(**name)).map(|name| format!("{from} ⇒ {name}")));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

fn everything_below(metadata: &Metadata, crate_name: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().unwrap();
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let root = metadata.workspace_packages().into_iter().find(|p| short(&p.name) == crate_name).unwrap();
    let mut seen = BTreeSet::new();
    let mut open = vec![&root.id];
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let normal = nodes[id].deps.iter().filter(|d| d.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal));
        open.extend(normal.map(|d| &d.pkg));
    }
    seen.into_iter().map(|id| metadata[id].name.to_string()).collect()
}

/// The client is built for other systems too. `cargo metadata` resolves for each; what needs Linux must not be in the tree.
#[test]
fn the_client_builds_where_there_is_no_linux() {
    const LINUX_ONLY: [&str; 12] = [
        "remora-sys",
        "remora-http",
        "remora-runtime",
        "remora-network",
        "remora-images",
        "remora-streaming",
        "netlink-sys",
        "rtnetlink",
        "libcontainer",
        "libseccomp",
        "procfs",
        "inotify",
    ];
    for system in ["aarch64-apple-darwin", "x86_64-apple-darwin", "x86_64-pc-windows-msvc"] {
        let mut command = MetadataCommand::new();
        command.manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
        let metadata = command.other_options(["--filter-platform".to_owned(), system.to_owned()]).exec().unwrap();
        let below = everything_below(&metadata, "cli");
        assert!(below.contains("kube"), "the tree for {system} is resolved");
        let wrong: Vec<&str> = LINUX_ONLY.into_iter().filter(|name| below.contains(*name)).collect();
        assert_eq!(wrong, Vec::<&str>::new(), "{system}");
    }
}
