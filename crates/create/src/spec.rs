//! A bundle's `config.json`, adapted to what this machine and libcontainer can do.
//!
//! | in the spec | what would happen | what is done |
//! |---|---|---|
//! | `oomScoreAdj` below our own, without `CAP_SYS_RESOURCE` | the write fails | our own value is kept |
//! | an rlimit above our hard limit, without `CAP_SYS_RESOURCE` | EPERM | our hard limit is kept |
//! | more open files than `fs.nr_open`, for anybody | EPERM | that many |
//! | an rlimit above our hard limit, with a user namespace | libcontainer sets it in there, where nobody may raise one: EPERM | our hard limit is kept |
//! | a cgroup v1 mount with a PID namespace to join | libcontainer looks for its own number there in the host's `/proc`: there is none, or it is another process's | tmpfs and bind mounts, which it would make of it |
//! | `rootfsPropagation: rslave` or `rshared`, as runc has them | libcontainer does not know the words | without the `r`: it means all mounts anyway |
//! | `noNewPrivileges: false` | libcontainer loads the seccomp filter after dropping the right to | the field, which says the default, is left out |

use std::fs;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{PosixRlimitType, Spec};
use remora_sys::cgroup::{Hierarchy, Layout};
use remora_sys::process::{may_raise_limits, possible_oom_score_adj};
use remora_sys::user_namespace::IdMap;
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::error::Error;

/// The controllers of cgroup v1 in whose hierarchies libcontainer makes the container's cgroup, before it mounts anything.
const MANAGED: [&str; 12] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
];

/// The bundle that libcontainer is to use: the given one, or, if something had to be adapted, a folder beside the container's state.
pub(crate) fn adapted_bundle(bundle: &Path, root: &Path, id: &str) -> Result<PathBuf, Error> {
    let path = bundle.join("config.json");
    let wrong = |error: &dyn std::fmt::Display| Error::new(format!("cannot read {}: {error}", path.display()));
    let text = fs::read(&path).map_err(|error| wrong(&error))?;
    let mut config: Value = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
    let unfolded = wants_cgroup_mount_unfolded(&config) && unfold_cgroup_mount(&mut config, &Layout::detect()?);
    if !adapt(&mut config)? && !unfolded {
        return Ok(bundle.to_owned());
    }
    make_root_absolute(&mut config, bundle);
    let folder = adapted_folder(root, id);
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join("config.json"), config.to_string()));
    written.map_err(|error| Error::new(format!("cannot write {}: {error}", folder.display())))?;
    Ok(folder)
}

/// Where an adapted bundle lies; removed with the container.
pub(crate) fn adapted_folder(root: &Path, id: &str) -> PathBuf {
    root.join(format!("{id}.bundle"))
}

/// The spec of a bundle that has been adapted before.
pub(crate) fn load(bundle: &Path) -> Result<Spec, Error> {
    Spec::load(bundle.join("config.json")).map_err(|error| Error::from_chain(&error))
}

fn adapt(config: &mut Value) -> Result<bool, Error> {
    let may_raise = may_raise_limits()? && !has_user_namespace(config);
    let mut changed = name_propagation(config);
    let Some(process) = config.get_mut("process") else { return Ok(changed) };
    if let Some(wanted) = process.get("oomScoreAdj").and_then(Value::as_i64) {
        let possible = i64::from(possible_oom_score_adj(i32::try_from(wanted).unwrap_or_default())?);
        changed |= possible != wanted;
        process["oomScoreAdj"] = possible.into();
    }
    if process.get("noNewPrivileges") == Some(&Value::Bool(false)) {
        process.as_object_mut().map(|process| process.remove("noNewPrivileges"));
        changed = true;
    }
    if let Some(limits) = process.get_mut("rlimits").and_then(Value::as_array_mut) {
        for limit in limits {
            changed |= lower(limit, may_raise);
        }
    }
    Ok(changed)
}

fn name_propagation(config: &mut Value) -> bool {
    let Some(propagation) = config.pointer_mut("/linux/rootfsPropagation") else { return false };
    let known = match propagation.as_str() {
        Some("rslave") => "slave",
        Some("rshared") => "shared",
        _ => return false,
    };
    *propagation = known.into();
    true
}

fn has_user_namespace(config: &Value) -> bool {
    let mut namespaces = config.pointer("/linux/namespaces").and_then(Value::as_array).into_iter().flatten();
    namespaces.any(|namespace| namespace["type"] == "user")
}

/// Who a container's user is outside: another one, if its ids are mapped.
pub(crate) fn host_user(spec: &Spec, user: u32) -> u32 {
    let mappings = spec.linux().as_ref().and_then(|linux| linux.uid_mappings().as_ref()).into_iter().flatten();
    let mut maps = mappings.map(|mapping| IdMap {
        inside: mapping.container_id(),
        outside: mapping.host_id(),
        length: mapping.size(),
    });
    maps.find_map(|map| map.to_outside(user)).unwrap_or(user)
}

/// Whether a PID namespace is joined, so that libcontainer could not make a cgroup mount of v1.
fn wants_cgroup_mount_unfolded(config: &Value) -> bool {
    let mut namespaces = config.pointer("/linux/namespaces").and_then(Value::as_array).into_iter().flatten();
    namespaces.any(|namespace| namespace["type"] == "pid" && namespace.get("path").is_some())
}

/// Whether there was such a mount on a machine with v1, in place of which there are others now.
fn unfold_cgroup_mount(config: &mut Value, layout: &Layout) -> bool {
    let Layout::Legacy { hierarchies, .. } = layout else { return false };
    let cgroup = config.pointer("/linux/cgroupsPath").and_then(Value::as_str).map(|path| path.trim_start_matches('/'));
    let Some(cgroup) = cgroup.map(str::to_owned) else { return false };
    let Some(mounts) = config.get_mut("mounts").and_then(Value::as_array_mut) else { return false };
    let Some(at) = mounts.iter().position(|mount| mount["type"] == "cgroup") else { return false };
    let (place, options) = (mounts[at]["destination"].clone(), mounts[at]["options"].clone());
    let place = place.as_str().unwrap_or_default();
    let tmpfs = json!({
        "destination": place, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "nodev", "mode=755"],
    });
    let managed = |hierarchy: &&Hierarchy| hierarchy.controllers.iter().any(|name| MANAGED.contains(&name.as_str()));
    let binds = hierarchies.iter().filter(managed).filter_map(|hierarchy| {
        let name = hierarchy.mount.file_name()?.to_str()?;
        let options = options.as_array().into_iter().flatten().cloned().chain([json!("bind")]).collect::<Vec<_>>();
        Some(json!({
            "destination": format!("{place}/{name}"), "type": "bind",
            "source": hierarchy.mount.join(&cgroup), "options": options,
        }))
    });
    let instead: Vec<Value> = [tmpfs].into_iter().chain(binds).collect();
    mounts.splice(at..=at, instead);
    true
}

fn lower(limit: &mut Value, may_raise: bool) -> bool {
    let kind = limit.get("type").cloned().and_then(|kind| serde_json::from_value::<PosixRlimitType>(kind).ok());
    let Some(highest) = kind.and_then(|kind| highest(kind, may_raise)) else { return false };
    let mut changed = false;
    for field in ["soft", "hard"] {
        if limit.get(field).and_then(Value::as_u64).is_some_and(|wanted| wanted > highest) {
            limit[field] = highest.into();
            changed = true;
        }
    }
    changed
}

/// What we could give; `None` for any number.
fn highest(kind: PosixRlimitType, may_raise: bool) -> Option<u64> {
    match kind {
        _ if !may_raise => getrlimit(resource(kind)).maximum,
        PosixRlimitType::RlimitNofile => fs::read_to_string("/proc/sys/fs/nr_open").ok()?.trim().parse().ok(),
        _ => None,
    }
}

/// The kernel's number of an rlimit.
pub(crate) fn resource(kind: PosixRlimitType) -> Resource {
    use PosixRlimitType as Kind;
    match kind {
        Kind::RlimitCpu => Resource::Cpu,
        Kind::RlimitFsize => Resource::Fsize,
        Kind::RlimitData => Resource::Data,
        Kind::RlimitStack => Resource::Stack,
        Kind::RlimitCore => Resource::Core,
        Kind::RlimitRss => Resource::Rss,
        Kind::RlimitNproc => Resource::Nproc,
        Kind::RlimitNofile => Resource::Nofile,
        Kind::RlimitMemlock => Resource::Memlock,
        Kind::RlimitAs => Resource::As,
        Kind::RlimitLocks => Resource::Locks,
        Kind::RlimitSigpending => Resource::Sigpending,
        Kind::RlimitMsgqueue => Resource::Msgqueue,
        Kind::RlimitNice => Resource::Nice,
        Kind::RlimitRtprio => Resource::Rtprio,
        Kind::RlimitRttime => Resource::Rttime,
    }
}

fn make_root_absolute(config: &mut Value, bundle: &Path) {
    if let Some(path) = config.pointer_mut("/root/path")
        && let Some(relative) = path.as_str()
    {
        *path = bundle.join(relative).display().to_string().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_is_changed() {
        let check = |mut config: Value, expected: Value| {
            let changed = config != expected;
            assert_eq!(adapt(&mut config).unwrap(), changed, "{expected}");
            assert_eq!(config, expected);
        };
        check(json!({}), json!({}));
        check(json!({ "process": { "noNewPrivileges": false } }), json!({ "process": {} }));
        let propagation = |word: &str| json!({ "linux": { "rootfsPropagation": word } });
        check(propagation("rslave"), propagation("slave"));
        check(propagation("rshared"), propagation("shared"));
        check(propagation("private"), propagation("private"));
        check(json!({ "process": { "noNewPrivileges": true } }), json!({ "process": { "noNewPrivileges": true } }));
        let low = json!({ "process": { "oomScoreAdj": 1000, "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 8, "hard": 9 }] } });
        check(low.clone(), low);
    }

    #[test]
    fn a_cgroup_mount_is_unfolded_where_a_pid_namespace_is_joined() {
        let hierarchy = |name: &str, mount: &str| Hierarchy { controllers: vec![name.into()], mount: mount.into() };
        let hierarchies = vec![hierarchy("memory", "/cg/memory"), hierarchy("name=systemd", "/cg/systemd")];
        let legacy = Layout::Legacy { hierarchies, unified: None };
        let spec = |path: &str| {
            json!({
                "mounts": [{ "destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"] }, { "destination": "/data" }],
                "linux": { "cgroupsPath": "/pod/c", "namespaces": [{ "type": "mount" }, { "type": "pid", path: "/ns" }] },
            })
        };
        let mut joined = spec("path");
        assert!(wants_cgroup_mount_unfolded(&joined) && unfold_cgroup_mount(&mut joined, &legacy));
        let mounts = joined["mounts"].as_array().unwrap();
        let places: Vec<_> = mounts.iter().map(|mount| mount["destination"].as_str().unwrap()).collect();
        assert_eq!(places, ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/data"]);
        assert_eq!((&mounts[1]["source"], &mounts[1]["options"]), (&json!("/cg/memory/pod/c"), &json!(["ro", "bind"])));
        assert!(!wants_cgroup_mount_unfolded(&spec("of its own")));
        assert!(!unfold_cgroup_mount(&mut spec("path"), &Layout::Unified("/cg".into())));
    }

    #[test]
    fn a_user_of_a_user_namespace_is_another_one_outside() {
        let check = |linux: Value, user, expected| {
            let spec = serde_json::from_value(json!({ "ociVersion": "1.0.2", "linux": linux })).unwrap();
            assert_eq!(host_user(&spec, user), expected, "{linux}");
        };
        let mapped = json!({ "uidMappings": [{ "containerID": 0, "hostID": 65536, "size": 65536 }] });
        check(mapped.clone(), 33, 65569);
        check(mapped, 65536, 65536);
        check(json!({}), 33, 33);
    }

    #[test]
    fn nobody_raises_a_limit_in_a_user_namespace() {
        let own = getrlimit(Resource::Memlock).maximum;
        let mut config = json!({
            "process": { "rlimits": [{ "type": "RLIMIT_MEMLOCK", "soft": u64::MAX, "hard": u64::MAX }] },
            "linux": { "namespaces": [{ "type": "user", "path": "/ns" }] },
        });
        assert_eq!(adapt(&mut config).unwrap(), own.is_some());
        assert_eq!(config["process"]["rlimits"][0]["hard"], own.unwrap_or(u64::MAX));
    }

    #[test]
    fn a_relative_root_stays_in_its_bundle() {
        let mut config = json!({ "root": { "path": "rootfs" } });
        make_root_absolute(&mut config, Path::new("/b"));
        assert_eq!(config, json!({ "root": { "path": "/b/rootfs" } }));
    }

    #[test]
    fn no_config_makes_it_panic() {
        let corpus = [
            r#"{"process":{"oomScoreAdj":-999,"noNewPrivileges":false,"rlimits":[{"type":"RLIMIT_NOFILE","soft":1,"hard":2}]}}"#,
            r#"{"process":{"rlimits":[{"type":7,"soft":-1}]},"root":{"path":"rootfs"}}"#,
            r#"{"process":[],"root":3}"#,
        ];
        bolero::check!().with_type::<(u8, Vec<(u16, u8)>)>().for_each(|(which, changes)| {
            let mut text = corpus[usize::from(*which) % corpus.len()].as_bytes().to_vec();
            for (at, byte) in changes {
                let at = usize::from(*at) % text.len();
                text[at] = *byte;
            }
            let Ok(mut config) = serde_json::from_slice::<Value>(&text) else { return };
            // Refused or adapted: either way it returns.
            let _ = adapt(&mut config);
            make_root_absolute(&mut config, Path::new("/b"));
        });
    }
}
