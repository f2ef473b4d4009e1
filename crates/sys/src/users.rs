//! Users and groups of an image: from `USER`, `runAsUser`, `runAsUserName` to numbers, by the image's own `/etc/passwd` and `/etc/group`.
//!
//! Parsing is pure ([`resolve`]); [`resolve_in_rootfs`] reads the two files. The rules are those of the OCI image spec's `config.User`:
//! a name must be listed; a number need not be, and then its group is 0.

use std::path::Path;

use crate::rootfs::read_inside;

/// A file larger than this is refused: it is the image's, and read into memory.
const MAX_FILE: u64 = 1 << 20;

/// Who a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Groups that list the user as a member, in the file's order, without the primary one.
    pub additional_gids: Vec<u32>,
    /// The user's home folder, if it is listed.
    pub home: Option<String>,
}

/// Why a user cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A name that `/etc/passwd` does not list. The sentence is the one that containerd gives.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    /// A name that `/etc/group` does not list.
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
    /// One of the files.
    #[error("the image's user files cannot be read")]
    Read(#[source] crate::Error),
}

/// Resolves `user[:group]` (names or numbers; empty is root) against the files of a root file system.
///
/// # Errors
/// [`UserError`].
pub fn resolve_in_rootfs(rootfs: &Path, user: &str) -> Result<Identity, UserError> {
    let read = |path| read_inside(rootfs, Path::new(path), MAX_FILE).map_err(UserError::Read);
    resolve(&read("/etc/passwd")?.unwrap_or_default(), &read("/etc/group")?.unwrap_or_default(), user)
}

/// Resolves `user[:group]` against the text of a passwd and a group file. Lines that do not parse are passed over, as libc does.
///
/// # Errors
/// [`UserError::UnknownUser`], [`UserError::UnknownGroup`].
pub fn resolve(passwd: &str, group: &str, user: &str) -> Result<Identity, UserError> {
    let (user, wanted_group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    let entry = find_user(passwd, user);
    let number = user.parse().ok();
    let uid = entry.as_ref().map(|entry| entry.uid).or(number).ok_or_else(|| UserError::UnknownUser(user.into()))?;
    let gid = match wanted_group.filter(|group| !group.is_empty()) {
        Some(wanted) => find_group(group, wanted)?,
        None => entry.as_ref().map_or(0, |entry| entry.gid),
    };
    // With an explicit group, the image's memberships are not asked for: so has it docker, and containerd after it.
    let name = entry.as_ref().map(|entry| entry.name).filter(|_| wanted_group.is_none());
    let additional_gids = name.map(|name| memberships(group, name, gid)).unwrap_or_default();
    Ok(Identity { uid, gid, additional_gids, home: entry.map(|entry| entry.home.to_owned()) })
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// A listed name wins over the same text read as a number.
fn find_user<'a>(passwd: &'a str, wanted: &str) -> Option<PasswdEntry<'a>> {
    let by_name = passwd.lines().filter_map(parse_user).find(|entry| entry.name == wanted);
    let number = wanted.parse::<u32>().ok();
    by_name.or_else(|| passwd.lines().filter_map(parse_user).find(|entry| Some(entry.uid) == number))
}

fn parse_user(line: &str) -> Option<PasswdEntry<'_>> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(PasswdEntry { name, uid, gid, home: fields.nth(1).unwrap_or("") })
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn find_group(group: &str, wanted: &str) -> Result<u32, UserError> {
    let listed = group.lines().filter_map(parse_group).find(|entry| entry.name == wanted).map(|entry| entry.gid);
    listed.or_else(|| wanted.parse().ok()).ok_or_else(|| UserError::UnknownGroup(wanted.into()))
}

fn parse_group(line: &str) -> Option<GroupEntry<'_>> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let gid = fields.nth(1)?.parse().ok()?;
    Some(GroupEntry { name, gid, members: fields.next().unwrap_or("") })
}

fn memberships(group: &str, name: &str, primary: u32) -> Vec<u32> {
    let mut gids = Vec::new();
    for entry in group.lines().filter_map(parse_group) {
        let member = entry.members.split(',').any(|member| member.trim() == name);
        if member && entry.gid != primary && !gids.contains(&entry.gid) {
            gids.push(entry.gid);
        }
    }
    gids
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nweb:x:33:34::/var/www:\n1000:x:7:8::/n:\nplain:x:1000:1000::/home/plain:/bin/sh";
    const GROUP: &str =
        "root:x:0:\nwheel:x:10:root,web\nweb:x:34:web\nusers:x:100: web ,plain\nagain:x:100:plain\nbad:x:y:web";

    #[test]
    fn users_are_resolved_by_the_files_of_the_image() {
        let check = |user: &str, uid, gid, additional: &[u32], home: Option<&str>| {
            let seen = resolve(PASSWD, GROUP, user).unwrap();
            let expected =
                Identity { uid, gid, additional_gids: additional.to_vec(), home: home.map(ToOwned::to_owned) };
            assert_eq!(seen, expected, "{user}");
        };
        check("", 0, 0, &[10], Some("/root"));
        check("0", 0, 0, &[10], Some("/root"));
        check("web", 33, 34, &[10, 100], Some("/var/www"));
        check("33", 33, 34, &[10, 100], Some("/var/www"));
        check("web:root", 33, 0, &[], Some("/var/www"));
        check("web:4711", 33, 4711, &[], Some("/var/www"));
        check("65532", 65532, 0, &[], None);
        check("65532:65532", 65532, 65532, &[], None);
        check(":users", 0, 100, &[], Some("/root"));
        check("1000", 7, 8, &[], Some("/n"));
        check("plain", 1000, 1000, &[100], Some("/home/plain"));
    }

    #[test]
    fn names_that_are_not_listed_are_refused() {
        let check = |user: &str, expected: &str| {
            assert_eq!(resolve(PASSWD, GROUP, user).unwrap_err().to_string(), expected);
        };
        check("nobody", "unable to find user nobody: no matching entries in passwd file");
        check("-1", "unable to find user -1: no matching entries in passwd file");
        check("4294967296", "unable to find user 4294967296: no matching entries in passwd file");
        check("web:none", "unable to find group none: no matching entries in group file");
    }

    #[test]
    fn an_image_without_files_still_has_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let identity = resolve_in_rootfs(folder.path(), "65532").unwrap();
        assert_eq!((identity.uid, identity.gid), (65532, 0));
        assert!(resolve_in_rootfs(folder.path(), "nonroot").is_err());
    }
}
