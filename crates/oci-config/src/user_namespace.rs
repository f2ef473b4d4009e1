//! A pod's user namespace: which ids of the host its ids are.

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};
use remora_cri::{IDMapping, Mount, MountPropagation, NamespaceMode, NamespaceOption};

use crate::{ResolvedUser, SpecError};

/// A range of ids: `length` of them, from `inside` on in the pod and from `outside` on on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first id in the pod.
    pub inside: u32,
    /// What it is on the host.
    pub outside: u32,
    /// How many.
    pub length: u32,
}

impl IdRange {
    /// The host's id for one of the pod's; none outside of the range.
    pub fn to_host(&self, id: u32) -> Option<u32> {
        let above = id.checked_sub(self.inside).filter(|above| *above < self.length)?;
        self.outside.checked_add(above)
    }

    fn to_oci(self) -> LinuxIdMapping {
        let builder = LinuxIdMappingBuilder::default();
        let mapping = builder.container_id(self.inside).host_id(self.outside).size(self.length).build();
        // It fails where a field is missing, and has no more than these.
        mapping.unwrap_or_default()
    }
}

/// The ids of a pod with a user namespace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserNamespace {
    /// Users.
    pub uids: IdRange,
    /// Groups.
    pub gids: IdRange,
}

/// What a sandbox asks for; none is the host's.
///
/// As containerd, one range of users and one of groups. The pod's root must be among them, and the host's must not.
///
/// # Errors
/// [`SpecError::UserNamespace`]: the ranges are none that can be had, or another namespace is the host's: whoever is root in a user namespace
/// only would be nobody there.
pub fn user_namespace(options: &NamespaceOption) -> Result<Option<UserNamespace>, SpecError> {
    let Some(asked) = options.userns_options.as_ref() else { return Ok(None) };
    match asked.mode() {
        NamespaceMode::Node => return Ok(None),
        NamespaceMode::Pod => {}
        NamespaceMode::Container | NamespaceMode::Target => {
            return Err(SpecError::UserNamespace("it belongs to the pod or to the node".to_owned()));
        }
    }
    let modes = [("network", options.network()), ("pid", options.pid()), ("ipc", options.ipc())];
    if let Some((name, _)) = modes.iter().find(|(_, mode)| *mode == NamespaceMode::Node) {
        return Err(SpecError::UserNamespace(format!("the {name} namespace must not be the node's then")));
    }
    Ok(Some(UserNamespace { uids: range("user ids", &asked.uids)?, gids: range("group ids", &asked.gids)? }))
}

fn range(what: &str, asked: &[IDMapping]) -> Result<IdRange, SpecError> {
    let wrong = |why: &str| Err(SpecError::UserNamespace(format!("{what} {why}")));
    let [one] = asked else { return wrong("must be one range") };
    let range = IdRange { inside: one.container_id, outside: one.host_id, length: one.length };
    // 2³²-1 is no id.
    let end = range.outside.checked_add(range.length).filter(|end| *end < u32::MAX);
    match range {
        IdRange { inside, .. } if inside != 0 => wrong("must begin with 0, the pod's root"),
        IdRange { length: 0, .. } => wrong("must be more than none"),
        IdRange { outside: 0, .. } => wrong("must not be the host's from 0 on, its root"),
        _ if end.is_none() => wrong("must end below 4294967295"),
        range => Ok(range),
    }
}

/// Refuses a container that asks for another user namespace than its sandbox has. One that asks for none gets the sandbox's.
pub(crate) fn refuse_another(own: Option<&UserNamespace>, options: &NamespaceOption) -> Result<(), SpecError> {
    let differs = match &options.userns_options {
        None => false,
        // A target's is the pod's.
        Some(_) => {
            user_namespace(&NamespaceOption { pid: NamespaceMode::Container.into(), ..options.clone() })?.as_ref()
                != own
        }
    };
    match differs {
        true => Err(SpecError::UserNamespace("a container has that of its pod".to_owned())),
        false => Ok(()),
    }
}

/// Refuses a user whom the pod does not have.
pub(crate) fn refuse_strangers(own: &UserNamespace, user: &ResolvedUser) -> Result<(), SpecError> {
    let strange = |what, range: &IdRange, id: u32| match range.to_host(id) {
        Some(_) => Ok(()),
        None => Err(SpecError::IdNotMapped { what, id, last: range.length - 1 }),
    };
    strange("user id", &own.uids, user.uid)?;
    strange("group id", &own.gids, user.gid)?;
    user.additional_gids.iter().try_for_each(|gid| strange("group id", &own.gids, *gid))
}

/// Whether the owners of a mount's files are seen through the pod's user namespace.
///
/// # Errors
/// [`SpecError::Mount`]: not with these ranges, or mounts made inside were to be seen outside.
pub fn mount_is_mapped(own: &UserNamespace, mount: &Mount) -> Result<bool, SpecError> {
    let wrong = |why| SpecError::Mount { path: mount.container_path.clone(), why };
    if mount.propagation() == MountPropagation::Bidirectional {
        return Err(wrong("mounts that are made in a user namespace cannot be seen outside (Bidirectional)"));
    }
    if mount.uid_mappings.is_empty() && mount.gid_mappings.is_empty() {
        return Ok(false);
    }
    match (range("user ids", &mount.uid_mappings), range("group ids", &mount.gid_mappings)) {
        (Ok(uids), Ok(gids)) if (UserNamespace { uids, gids }) == *own => Ok(true),
        _ => Err(wrong("its owners can be mapped as its pod's ids are, or not at all")),
    }
}

/// For the spec: users, groups.
pub(crate) fn to_oci(own: Option<&UserNamespace>) -> Option<(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>)> {
    own.map(|own| (vec![own.uids.to_oci()], vec![own.gids.to_oci()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_cri::UserNamespace as Asked;

    fn line(container_id: u32, host_id: u32, length: u32) -> IDMapping {
        IDMapping { container_id, host_id, length }
    }

    fn asked(uids: &[IDMapping], gids: &[IDMapping]) -> NamespaceOption {
        let asked = Asked { mode: NamespaceMode::Pod.into(), uids: uids.into(), gids: gids.into() };
        NamespaceOption { pid: NamespaceMode::Container.into(), userns_options: Some(asked), ..Default::default() }
    }

    const OWN: IdRange = IdRange { inside: 0, outside: 65536, length: 65536 };

    #[test]
    fn ids_of_the_pod_are_ids_of_the_host_further_up() {
        assert_eq!(OWN.to_host(0), Some(65536));
        assert_eq!(OWN.to_host(65535), Some(131_071));
        assert_eq!(OWN.to_host(65536), None);
    }

    #[test]
    fn a_pod_has_one_range_that_holds_its_root_and_not_the_hosts() {
        let check = |uids: &[IDMapping], gids: &[IDMapping], expected: Result<IdRange, &str>| {
            let found = user_namespace(&asked(uids, gids)).map(|found| found.unwrap().uids).map_err(|e| e.to_string());
            let expected = expected.map_err(|why| format!("invalid user namespace (hostUsers: false): {why}"));
            assert_eq!(found, expected);
        };
        let good = line(0, 65536, 65536);
        check(std::slice::from_ref(&good), std::slice::from_ref(&good), Ok(OWN));
        check(&[], std::slice::from_ref(&good), Err("user ids must be one range"));
        check(&[good.clone(), line(65536, 131_072, 1)], &[], Err("user ids must be one range"));
        check(std::slice::from_ref(&good), &[line(1, 65536, 1)], Err("group ids must begin with 0, the pod's root"));
        check(&[line(0, 65536, 0)], &[], Err("user ids must be more than none"));
        check(&[line(0, 0, 65536)], &[], Err("user ids must not be the host's from 0 on, its root"));
        check(&[line(0, u32::MAX - 1, 1)], &[], Err("user ids must end below 4294967295"));
        let host_network = NamespaceOption {
            network: NamespaceMode::Node.into(),
            ..asked(std::slice::from_ref(&good), std::slice::from_ref(&good))
        };
        let error = user_namespace(&host_network).unwrap_err().to_string();
        assert!(error.ends_with("the network namespace must not be the node's then"), "{error}");
        let of_node = Asked { mode: NamespaceMode::Node.into(), ..Default::default() };
        let of_node = NamespaceOption { userns_options: Some(of_node), ..Default::default() };
        assert_eq!(user_namespace(&of_node).unwrap(), None);
        assert_eq!(user_namespace(&NamespaceOption::default()).unwrap(), None);
    }

    #[test]
    fn a_container_has_its_pods_or_says_nothing() {
        let own = UserNamespace { uids: OWN, gids: OWN };
        let same = asked(&[line(0, 65536, 65536)], &[line(0, 65536, 65536)]);
        let other = asked(&[line(0, 131_072, 65536)], &[line(0, 131_072, 65536)]);
        let check = |own, options: &NamespaceOption, fine| assert_eq!(refuse_another(own, options).is_ok(), fine);
        check(Some(&own), &same, true);
        check(Some(&own), &NamespaceOption::default(), true);
        check(Some(&own), &other, false);
        check(None, &same, false);
        check(None, &NamespaceOption::default(), true);
    }

    #[test]
    fn a_mount_is_mapped_as_its_pod_is_or_not_at_all() {
        let own = UserNamespace { uids: OWN, gids: OWN };
        let check = |mappings: &[IDMapping], propagation: MountPropagation, expected: Result<bool, ()>| {
            let mount = Mount {
                uid_mappings: mappings.into(),
                gid_mappings: mappings.into(),
                propagation: propagation.into(),
                ..Default::default()
            };
            assert_eq!(mount_is_mapped(&own, &mount).map_err(drop), expected);
        };
        check(&[line(0, 65536, 65536)], MountPropagation::Private, Ok(true));
        check(&[line(0, 65536, 65536)], MountPropagation::HostToContainer, Ok(true));
        check(&[], MountPropagation::Private, Ok(false));
        check(&[line(0, 131_072, 65536)], MountPropagation::Private, Err(()));
        check(&[], MountPropagation::Bidirectional, Err(()));
    }
}
