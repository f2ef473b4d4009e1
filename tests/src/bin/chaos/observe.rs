//! Looking: the API, the node's folders, the kernel. No judgement.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use crate::machine::{Machine, all_below, interfaces, shim_id};
use crate::snapshot::{CgroupView, ContainerView, Disk, Ended, Kernel, PodView, SandboxView, Snapshot, State};

/// One look at everything.
pub(crate) async fn look(machine: &Machine, pods: &Api<Pod>) -> Result<Snapshot> {
    let starts = starts(&machine.marks)?;
    let list = pods.list(&ListParams::default().labels("chaos=yes")).await.context("listing pods")?;
    let mut views = BTreeMap::new();
    for pod in list.items {
        let name = pod.metadata.name.clone().unwrap_or_default();
        views.insert(name, view(&serde_json::to_value(pod)?));
    }
    Ok(Snapshot { pods: views, starts, disk: disk(machine)?, kernel: kernel(machine)? })
}

fn starts(marks: &Path) -> Result<BTreeMap<String, u32>> {
    let mut starts = BTreeMap::new();
    for entry in fs::read_dir(marks)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(container) = name.strip_suffix(".starts") {
            let lines = fs::read_to_string(entry.path())?.lines().count();
            starts.insert(container.to_owned(), u32::try_from(lines)?);
        }
    }
    Ok(starts)
}

/// A pod of the API as the checker sees it.
pub(crate) fn view(pod: &Value) -> PodView {
    let list = |path: &str| pod.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses", "/status/ephemeralContainerStatuses"];
    let statuses = statuses.iter().flat_map(|path| list(path));
    PodView {
        uid: text("/metadata/uid"),
        going: pod.pointer("/metadata/deletionTimestamp").is_some(),
        ready: list("/status/conditions").iter().any(|c| c["type"] == "Ready" && c["status"] == "True"),
        phase: text("/status/phase"),
        ephemerals: list("/spec/ephemeralContainers").iter().map(|entry| string(&entry["name"])).collect(),
        containers: statuses.map(|status| (string(&status["name"]), container(&status))).collect(),
    }
}

fn container(status: &Value) -> ContainerView {
    let state = &status["state"];
    let state = match (state.get("waiting"), state.get("running"), state.get("terminated")) {
        (Some(waiting), ..) => State::Waiting(string(&waiting["reason"])),
        (_, Some(_), _) => State::Running,
        (.., Some(terminated)) => State::Ended(ended(terminated)),
        _ => State::Unknown,
    };
    ContainerView {
        id: bare(&status["containerID"]),
        restart_count: status["restartCount"].as_i64().unwrap_or(0),
        state,
        last: status.pointer("/lastState/terminated").map(ended),
    }
}

fn ended(terminated: &Value) -> Ended {
    let code = terminated["exitCode"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or(-1);
    Ended {
        id: bare(&terminated["containerID"]),
        code,
        reason: string(&terminated["reason"]),
        message: string(&terminated["message"]),
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `remora://ID` → `ID`
fn bare(value: &Value) -> String {
    let text = string(value);
    text.rsplit("://").next().unwrap_or_default().to_owned()
}

/// The runtime's records of one kind, by id.
fn records(machine: &Machine, kind: &str, file: &str) -> Vec<(String, Value)> {
    let folder = machine.data.join("containers").join(kind);
    let read = |id: String| {
        let sealed = fs::read(folder.join(&id).join(file)).unwrap_or_default();
        // A folder without a readable record is listed too: it belongs to nobody.
        (id, remora_shim_protocol::unseal(&sealed).unwrap_or_default())
    };
    names(&folder).into_iter().map(read).collect()
}

/// The sandboxes that there are on the disk at this moment.
pub(crate) fn sandboxes(machine: &Machine) -> Vec<SandboxView> {
    let volatile = machine.run.join("containers/sandboxes");
    let view = |(id, record): (String, Value)| {
        let pinned = volatile.join(&id).join("ns/net").exists();
        sandbox(id, &record, pinned)
    };
    records(machine, "sandboxes", "sandbox.json").into_iter().map(view).collect()
}

fn disk(machine: &Machine) -> Result<Disk> {
    let volatile = machine.run.join("containers");
    let containers = records(machine, "containers", "container.json");
    let addresses = names(&machine.run.join("network/sandboxes")).into_iter();
    let addresses = addresses.filter_map(|name| Some(name.strip_prefix("s-")?.strip_suffix(".json")?.to_owned()));
    Ok(Disk {
        sandboxes: sandboxes(machine),
        containers: containers.into_iter().map(|(id, record)| (id, string(&record["sandboxId"]))).collect(),
        running_sandboxes: names(&volatile.join("sandboxes")),
        running_containers: names(&volatile.join("containers")),
        low_level: names(&volatile.join("runtimes"))
            .iter()
            .flat_map(|h| low_level(&volatile.join("runtimes").join(h)))
            .collect(),
        addresses: addresses.collect(),
        volumes: names(&machine.data.join("node/pods")),
        logs: names(&machine.data.join("logs"))
            .iter()
            .filter_map(|name| Some(name.rsplit('_').next()?.to_owned()))
            .collect(),
    })
}

fn sandbox(id: String, record: &Value, pinned: bool) -> SandboxView {
    let cgroup = plain(&string(&record["cgroupParent"]));
    let pod = cgroup.rsplit('/').next().unwrap_or_default();
    SandboxView {
        id,
        pod: pod.strip_prefix("pod").unwrap_or(pod).to_owned(),
        connected: !record["network"].is_null() && record["stopped"] != true && pinned,
    }
}

/// A cgroup's path as it is where systemd does not make it: `/remora_n.slice/remora_n-kubepods.slice/remora_n-kubepods-podu_1.slice` is
/// `/remora-n/kubepods/podu-1`, and `…/remora_n-ID.scope/container` is `…/ID`.
fn plain(path: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut in_scope = false;
    for part in path.split('/') {
        let last = |name: &str| name.rsplit('-').next().unwrap_or_default().replace('_', "-");
        match (part.strip_suffix(".slice"), part.strip_suffix(".scope")) {
            _ if std::mem::take(&mut in_scope) => {}
            (Some(slice), _) => parts.push(last(slice)),
            (_, Some(scope)) => {
                parts.push(last(scope));
                in_scope = true;
            }
            _ => parts.push(part.to_owned()),
        }
    }
    parts.join("/")
}

/// Containers of which a low-level runtime keeps anything. `remora-create` has a second file for each.
fn low_level(state: &Path) -> BTreeSet<String> {
    names(state).into_iter().map(|name| name.trim_end_matches(".bundle").to_owned()).collect()
}

/// Entries of a folder; none if it is not there.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn kernel(machine: &Machine) -> Result<Kernel> {
    let folder = machine.data.parent().context("the data folder has no parent")?;
    let mounts = remora_sys::mount::mounts_below(folder)?.into_iter().map(|mount| mount.target);
    let mut cgroups = Vec::new();
    for own in machine.cgroups()? {
        for path in all_below(std::slice::from_ref(&own)) {
            let relative = path.strip_prefix(&own)?.display().to_string();
            // One that has just gone holds nothing.
            let processes = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default().lines().count();
            // Who holds a scope is seen with it.
            let processes = if relative.ends_with(".scope/holder") { 0 } else { processes };
            cgroups.push(CgroupView { path: plain(&relative), processes });
        }
    }
    Ok(Kernel {
        mounts: mounts.filter(|target| *target != machine.data).map(|target| target.display().to_string()).collect(),
        shims: machine.shims()?.iter().filter_map(shim_id).collect(),
        creators: machine.creators()?.iter().map(|process| process.command.join(" ")).collect(),
        cgroups,
        interfaces: interfaces()?.into_iter().filter(|name| !name.starts_with("rmr")).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_seen_as_the_folder_that_it_stands_for() {
        let check = |path: &str, expected: &str| assert_eq!(plain(path), expected);
        check("kubepods/podu-1/ID", "kubepods/podu-1/ID");
        let pod = "/remora_n.slice/remora_n-kubepods.slice/remora_n-kubepods-podu_1.slice";
        check(pod, "/remora-n/kubepods/podu-1");
        for (below, expected) in [("", ""), ("/holder", ""), ("/container", ""), ("/container/x", "/x")] {
            check(&format!("{pod}/remora_n-ID.scope{below}"), &format!("/remora-n/kubepods/podu-1/ID{expected}"));
        }
    }
}
