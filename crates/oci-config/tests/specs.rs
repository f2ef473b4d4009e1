//! Snapshots of whole specs: what a reader of `config.json` sees for each kind of container.

use std::collections::BTreeMap;

use remora_cri::{
    Capability, ContainerConfig, ContainerMetadata, Device, HugepageLimit, ImageSpec, Int64Value, KeyValue,
    LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext, Mount, MountPropagation,
    NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata, ProfileType, SecurityProfile,
};
use remora_oci_config::{
    CgroupVersion, EtcFiles, Facts, HostDevice, HostDeviceKind, IdRange, ImageConfig, Join, NamespacePaths,
    PauseRequest, ResolvedUser, SandboxFiles, SpecRequest, UserNamespace, container_spec, exec_process,
    parse_capability_mask, pause_spec,
};
use serde_json::Value;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn sandbox() -> PodSandboxConfig {
    let metadata = PodSandboxMetadata { name: "web".into(), namespace: "demo".into(), uid: "u1".into(), attempt: 0 };
    PodSandboxConfig { metadata: Some(metadata), hostname: "web".into(), ..Default::default() }
}

fn container(security: LinuxContainerSecurityContext) -> ContainerConfig {
    let mount = Mount {
        container_path: "/etc/hosts".into(),
        host_path: "/var/lib/node/u1/etc-hosts".into(),
        ..Default::default()
    };
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: "app".into(), attempt: 0 }),
        image: Some(ImageSpec { image: "docker.io/library/app:1".into(), ..Default::default() }),
        args: words("serve --port 8080"),
        envs: vec![KeyValue { key: "COLOUR".into(), value: "blue".into() }],
        mounts: vec![mount],
        linux: Some(LinuxContainerConfig { security_context: Some(security), ..Default::default() }),
        ..Default::default()
    }
}

/// What a kubelet sends for every container.
fn usual() -> LinuxContainerSecurityContext {
    LinuxContainerSecurityContext {
        masked_paths: words("/proc/kcore /proc/keys"),
        readonly_paths: words("/proc/sys"),
        ..Default::default()
    }
}

fn image() -> ImageConfig {
    ImageConfig {
        entrypoint: words("/app"),
        cmd: words("help"),
        env: words("PATH=/bin LANG=C.UTF-8"),
        working_dir: "/srv".into(),
        ..Default::default()
    }
}

fn facts() -> Facts {
    let pin = |name: &str| Join::Path(format!("/run/remora/ns/{name}").into());
    let devices = [("/dev/fuse", 10, 229), ("/dev/kvm", 10, 232)].map(|(path, major, minor)| HostDevice {
        path: path.into(),
        kind: HostDeviceKind::Char,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    });
    Facts {
        container_id: "c1".into(),
        sandbox_id: "s1".into(),
        rootfs: "/run/remora/c1/rootfs".into(),
        user: ResolvedUser { uid: 0, gid: 0, additional_gids: vec![0] },
        cgroups_path: "/remora/kubepods/podu1/c1".into(),
        cgroup_version: CgroupVersion::V1,
        namespaces: NamespacePaths {
            network: pin("net"),
            ipc: pin("ipc"),
            uts: pin("uts"),
            pid: Join::New,
            user: Join::Host,
        },
        user_namespace: None,
        files: SandboxFiles {
            shm: "/run/remora/s1/shm".into(),
            etc: Some(EtcFiles {
                hosts: "/run/remora/s1/hosts".into(),
                hostname: "/run/remora/s1/hostname".into(),
                resolv_conf: "/run/remora/s1/resolv.conf".into(),
            }),
        },
        hostname: "web".into(),
        held_capabilities: parse_capability_mask("000001fffeffffff")
            .expect("the test's own data is right")
            .into_iter()
            .collect(),
        apparmor: remora_oci_config::AppArmor::Off,
        oom_score_adj_floor: Some(0),
        swap_controller: false,
        hugetlb_controller: false,
        devices: BTreeMap::from([
            ("/dev/fuse".to_owned(), vec![devices[0].clone()]),
            (Facts::ALL_DEVICES.to_owned(), devices.to_vec()),
        ]),
        localhost_seccomp: None,
    }
}

fn spec(container: &ContainerConfig, facts: &Facts) -> Value {
    let (sandbox, image) = (sandbox(), image());
    let spec = container_spec(&SpecRequest { sandbox: &sandbox, container, image: &image, facts })
        .expect("the test's own data is right");
    stable(serde_json::to_value(spec).expect("the test's own data is right"))
}

/// Sets have no order of their own in the type, and the default profile would fill pages.
fn stable(mut spec: Value) -> Value {
    for set in spec["process"]["capabilities"].as_object_mut().into_iter().flat_map(|sets| sets.values_mut()) {
        set.as_array_mut().expect("the test's own data is right").sort_by_key(Value::to_string);
    }
    if let Some(rules) = spec.pointer_mut("/linux/seccomp/syscalls") {
        *rules = Value::from(format!("{} rules", rules.as_array().expect("the test's own data is right").len()));
    }
    spec.sort_all_objects();
    spec
}

#[test]
fn a_plain_container() {
    insta::assert_json_snapshot!(spec(&container(usual()), &facts()));
}

#[test]
fn a_container_of_a_user_with_a_read_only_root() {
    let security = LinuxContainerSecurityContext {
        run_as_user: Some(Int64Value { value: 65532 }),
        readonly_rootfs: true,
        no_new_privs: true,
        capabilities: Some(Capability { drop_capabilities: words("ALL"), ..Default::default() }),
        seccomp: Some(SecurityProfile { profile_type: ProfileType::RuntimeDefault.into(), ..Default::default() }),
        ..usual()
    };
    let user = ResolvedUser { uid: 65532, gid: 65532, additional_gids: vec![65532, 2000] };
    insta::assert_json_snapshot!(spec(&container(security), &Facts { user, ..facts() }));
}

#[test]
fn a_privileged_container() {
    let security = LinuxContainerSecurityContext { privileged: true, ..usual() };
    insta::assert_json_snapshot!(spec(&container(security), &facts()));
}

#[test]
fn a_debug_container_in_the_process_namespace_of_its_target() {
    let options = NamespaceOption { pid: NamespaceMode::Target.into(), target_id: "t1".into(), ..Default::default() };
    let security = LinuxContainerSecurityContext {
        namespace_options: Some(options),
        capabilities: Some(Capability { add_capabilities: words("SYS_PTRACE"), ..Default::default() }),
        ..usual()
    };
    let container = ContainerConfig { tty: true, stdin: true, ..container(security) };
    let mut facts = facts();
    facts.namespaces.pid = Join::Path("/proc/4242/ns/pid".into());
    insta::assert_json_snapshot!(spec(&container, &facts));
}

#[test]
fn a_container_in_the_hosts_network() {
    let options = NamespaceOption { network: NamespaceMode::Node.into(), ..Default::default() };
    let security = LinuxContainerSecurityContext { namespace_options: Some(options), ..usual() };
    let mut facts = facts();
    facts.namespaces.network = Join::Host;
    facts.namespaces.uts = Join::Host;
    facts.cgroup_version = CgroupVersion::V2;
    insta::assert_json_snapshot!(spec(&container(security), &facts));
}

#[test]
fn a_container_with_limits_devices_and_shared_mounts() {
    let resources = LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 50_000,
        cpu_shares: 512,
        memory_limit_in_bytes: 64 << 20,
        oom_score_adj: -997,
        cpuset_cpus: "0-1".into(),
        hugepage_limits: vec![HugepageLimit { page_size: "2MB".into(), limit: 0 }],
        ..Default::default()
    };
    let mut container = container(usual());
    container.linux.as_mut().unwrap().resources = Some(resources);
    let fuse = Device { container_path: "/dev/fuse".into(), host_path: "/dev/fuse".into(), permissions: "rw".into() };
    container.devices.push(fuse);
    container.mounts.push(Mount {
        container_path: "/data".into(),
        host_path: "/srv/data".into(),
        readonly: true,
        propagation: MountPropagation::HostToContainer.into(),
        ..Default::default()
    });
    let facts = Facts { swap_controller: true, hugetlb_controller: true, ..facts() };
    insta::assert_json_snapshot!(spec(&container, &facts));
}

/// With a user namespace of its own, pinned like the others.
fn facts_of_own_users() -> Facts {
    let ids = IdRange { inside: 0, outside: 65536, length: 65536 };
    let mut facts = facts();
    facts.namespaces.user = Join::Path("/run/remora/ns/user".into());
    Facts { user_namespace: Some(UserNamespace { uids: ids, gids: ids }), ..facts }
}

#[test]
fn a_container_with_users_of_its_own_and_a_device() {
    let mut container = container(usual());
    container.devices.push(Device {
        container_path: "/dev/f".into(),
        host_path: "/dev/fuse".into(),
        permissions: "rw".into(),
    });
    insta::assert_json_snapshot!(spec(&container, &facts_of_own_users()));
}

#[test]
fn users_whom_the_pod_does_not_have_are_refused() {
    let check = |user: ResolvedUser, expected: &str| {
        let (sandbox, image, container) = (sandbox(), image(), container(usual()));
        let facts = Facts { user, ..facts_of_own_users() };
        let request = SpecRequest { sandbox: &sandbox, container: &container, image: &image, facts: &facts };
        assert_eq!(container_spec(&request).unwrap_err().to_string(), expected);
    };
    let of = |uid, gid, other| ResolvedUser { uid, gid, additional_gids: vec![gid, other] };
    let sentence = |who| format!("{who} is not in the pod's user namespace (hostUsers: false): it has 0 to 65535");
    check(of(65536, 0, 0), &sentence("user id 65536"));
    check(of(0, 70000, 0), &sentence("group id 70000"));
    check(of(0, 0, 80000), &sentence("group id 80000"));
}

#[test]
fn a_pause_process_with_users_of_its_own() {
    let facts = facts_of_own_users();
    let request = PauseRequest {
        rootfs: "/run/remora/s1/pause/rootfs".into(),
        program: "/run/remora/s1/pause/program".into(),
        libraries: Vec::new(),
        args: words("pause"),
        cgroups_path: "/remora/kubepods/podu1/s1".into(),
        cgroup_version: CgroupVersion::V1,
        namespaces: facts.namespaces,
        user_namespace: facts.user_namespace,
    };
    insta::assert_json_snapshot!(stable(serde_json::to_value(pause_spec(&request)).unwrap()));
}

#[test]
fn a_pause_process() {
    let request = PauseRequest {
        rootfs: "/run/remora/s1/pause/rootfs".into(),
        program: "/usr/lib/remora/remora-shim".into(),
        libraries: vec!["/lib64".into()],
        args: words("pause"),
        cgroups_path: "/remora/kubepods/podu1/s1".into(),
        cgroup_version: CgroupVersion::V1,
        namespaces: facts().namespaces,
        user_namespace: None,
    };
    insta::assert_json_snapshot!(stable(serde_json::to_value(pause_spec(&request)).unwrap()));
}

#[test]
fn an_exec_keeps_all_of_the_first_process_but_its_arguments_and_terminal() {
    let (sandbox, image, facts, container) = (sandbox(), image(), facts(), container(usual()));
    let request = SpecRequest { sandbox: &sandbox, container: &container, image: &image, facts: &facts };
    let spec = container_spec(&request).unwrap();
    let first = spec.process().as_ref().unwrap();
    let exec = exec_process(first, &words("sh -c id"), true);
    assert_eq!(exec.args().as_deref(), Some(words("sh -c id").as_slice()));
    assert_eq!(exec.terminal(), Some(true));
    assert_eq!(exec.cwd(), first.cwd());
    assert_eq!(exec.capabilities(), first.capabilities());
    assert!(exec.env().as_ref().unwrap().contains(&"TERM=xterm".to_owned()));
}

#[test]
fn what_cannot_be_done_is_refused_with_a_sentence() {
    let check = |change: fn(&mut ContainerConfig, &mut LinuxContainerSecurityContext), expected: &str| {
        let mut security = usual();
        let mut container = container(usual());
        change(&mut container, &mut security);
        container.linux.as_mut().unwrap().security_context = Some(security);
        let (sandbox, image, facts) = (sandbox(), image(), facts());
        let request = SpecRequest { sandbox: &sandbox, container: &container, image: &image, facts: &facts };
        assert_eq!(container_spec(&request).unwrap_err().to_string(), expected);
    };
    check(
        |_, security| {
            let pod = remora_cri::UserNamespace { mode: NamespaceMode::Pod.into(), ..Default::default() };
            let options = NamespaceOption { userns_options: Some(pod), ..Default::default() };
            security.namespace_options = Some(options);
        },
        "invalid user namespace (hostUsers: false): user ids must be one range",
    );
    check(
        |_, security| {
            let localhost = ProfileType::Localhost.into();
            security.apparmor = Some(SecurityProfile { profile_type: localhost, localhost_ref: "p".into() });
        },
        "apparmor is not supported by this host",
    );
    check(
        |container, _| container.devices = vec![Device { host_path: "/dev/none".into(), ..Default::default() }],
        "device \"/dev/none\" was not found on this host",
    );
    check(|container, _| container.working_dir = "srv".into(), "working directory \"srv\" is not an absolute path");
}
