//! Who a container's first process runs as: the request, the image's `USER`, and the image's user database.

use remora_cri::{ContainerConfig, LinuxContainerSecurityContext, SupplementalGroupsPolicy};

use crate::{ImageConfig, SpecError};

/// The user in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// All groups, the primary one first; no duplicates.
    pub additional_gids: Vec<u32>,
}

/// A user and groups as the image's `/etc/passwd` and `/etc/group` list them (`sys::users` reads those).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedUser {
    /// User id.
    pub uid: u32,
    /// The group asked for, else the user's primary one, else 0.
    pub gid: u32,
    /// Groups that list the user as a member.
    pub member_of: Vec<u32>,
}

/// Who is asked for, before the user database is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserQuery {
    /// Name or number; empty is root.
    pub user: String,
    /// Name or number; none is the user's primary group.
    pub group: Option<String>,
    /// Added to the groups.
    pub supplemental: Vec<u32>,
    /// Whether the groups that the image gives the user count (`supplementalGroupsPolicy: Merge`).
    pub merge: bool,
}

/// Who the request means: `runAsUserName`, else `runAsUser`, else the image's user.
///
/// # Errors
/// [`SpecError::GroupWithoutUser`] and [`SpecError::IdOutOfRange`].
pub fn user_query(container: &ContainerConfig, image: &ImageConfig) -> Result<UserQuery, SpecError> {
    let default = LinuxContainerSecurityContext::default();
    let security = container.linux.as_ref().and_then(|linux| linux.security_context.as_ref()).unwrap_or(&default);
    let supplemental = security.supplemental_groups.iter().map(|&gid| id("group id", gid)).collect::<Result<_, _>>()?;
    let merge = security.supplemental_groups_policy() == SupplementalGroupsPolicy::Merge;
    let asked = match (&security.run_as_username, &security.run_as_user) {
        (name, _) if !name.is_empty() => Some(name.clone()),
        (_, Some(uid)) => Some(id("user id", uid.value)?.to_string()),
        (_, None) => None,
    };
    let asked_group = security.run_as_group.as_ref().map(|gid| gid.value);
    let (user, group) = match (asked, asked_group) {
        (Some(user), Some(gid)) => (user, Some(id("group id", gid)?.to_string())),
        (Some(user), None) => (user, None),
        (None, Some(gid)) => return Err(SpecError::GroupWithoutUser(gid)),
        (None, None) => match image.user.split_once(':') {
            Some((user, group)) => (user.to_owned(), Some(group.to_owned()).filter(|group| !group.is_empty())),
            None => (image.user.clone(), None),
        },
    };
    Ok(UserQuery { user, group, supplemental, merge })
}

/// The user's groups in order: the primary one, those that the image gives it (policy `Merge`), those that the request adds.
pub fn resolve_user(query: &UserQuery, listed: &ListedUser) -> ResolvedUser {
    let member_of = if query.merge { listed.member_of.as_slice() } else { &[] };
    let mut additional_gids = vec![listed.gid];
    for group in member_of.iter().chain(&query.supplemental) {
        if !additional_gids.contains(group) {
            additional_gids.push(*group);
        }
    }
    ResolvedUser { uid: listed.uid, gid: listed.gid, additional_gids }
}

fn id(what: &'static str, id: i64) -> Result<u32, SpecError> {
    // 2³²-1 is "no change" for setuid and its like.
    u32::try_from(id).ok().filter(|&id| id != u32::MAX).ok_or(SpecError::IdOutOfRange { what, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_the_primary_the_images_and_the_requests_without_duplicates() {
        let check = |merge, supplemental: &[u32], expected: &[u32]| {
            let query = UserQuery { user: "web".into(), group: None, supplemental: supplemental.into(), merge };
            let listed = ListedUser { uid: 33, gid: 44, member_of: vec![50, 51] };
            assert_eq!(resolve_user(&query, &listed).additional_gids, expected);
        };
        check(true, &[], &[44, 50, 51]);
        check(true, &[51, 44, 7], &[44, 50, 51, 7]);
        check(false, &[7], &[44, 7]);
    }

    #[test]
    fn the_request_comes_before_the_image_and_a_name_before_a_number() {
        use remora_cri::{Int64Value, LinuxContainerConfig};
        let check = |name: &str, uid: Option<i64>, gid: Option<i64>, expected: Result<(&str, Option<&str>), &str>| {
            let security_context = LinuxContainerSecurityContext {
                run_as_username: name.into(),
                run_as_user: uid.map(|value| Int64Value { value }),
                run_as_group: gid.map(|value| Int64Value { value }),
                ..Default::default()
            };
            let linux = LinuxContainerConfig { security_context: Some(security_context), ..Default::default() };
            let container = ContainerConfig { linux: Some(linux), ..Default::default() };
            let image = ImageConfig { user: "img:grp".into(), ..Default::default() };
            let found = user_query(&container, &image).map(|q| (q.user, q.group)).map_err(|e| e.to_string());
            let expected = expected.map(|(u, g)| (u.to_owned(), g.map(str::to_owned))).map_err(str::to_owned);
            assert_eq!(found, expected);
        };
        check("", None, None, Ok(("img", Some("grp"))));
        check("", Some(5), None, Ok(("5", None)));
        check("n", Some(5), Some(6), Ok(("n", Some("6"))));
        check("", None, Some(6), Err("user group \"6\" is specified without user"));
        check("", Some(-1), None, Err("user id -1 is out of range"));
        check("", Some(4_294_967_295), None, Err("user id 4294967295 is out of range"));
    }
}
