//! Which ids of the host pods get, each a block of its own. Pure.
//!
//! Source: kubernetes `pkg/kubelet/userns/userns_manager.go`, `pkg/kubelet/kubelet_getters.go` (`getKubeletMappings`), KEP-127.

use std::ops::Range;

/// How many ids a pod has.
pub(super) const LENGTH: u32 = 1 << 16;
/// Whose line of `/etc/subuid` and `/etc/subgid` says which ids pods may have.
const OWNER: &str = "kubelet";

/// The blocks that pods may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    first: u32,
    count: u32,
}

/// Why the machine's files do not say which ids pods may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RangeError {
    #[error("mismatched subuids and subgids for user {OWNER:?}")]
    Mismatch,
    #[error("there must be one line for user {OWNER:?} in /etc/subuid and /etc/subgid, there are more")]
    Lines,
    #[error("line {0:?} for user {OWNER:?} is no range of ids")]
    NoRange(String),
    #[error("{OWNER} user assigned ID {0} must be a multiple of {LENGTH}, and not 0")]
    First(u32),
    #[error("{OWNER} user assigned IDs length {0} is not a multiple of {LENGTH}")]
    Length(u32),
    #[error("{OWNER} user assigned IDs are not enough to support {pods} pods")]
    TooFew { pods: u32 },
}

impl Blocks {
    /// As both files say, else from the second block on, one for each pod.
    pub(super) fn configured(subuid: &str, subgid: &str, pods: u32) -> Result<Self, RangeError> {
        let (users, groups) = (own_line(subuid)?, own_line(subgid)?);
        let (first, length) = match (users, groups) {
            (None, None) => return Ok(Blocks { first: LENGTH, count: pods }),
            (users, groups) if users != groups => return Err(RangeError::Mismatch),
            (Some(line), _) => range_of(line).ok_or_else(|| RangeError::NoRange(line.to_owned()))?,
            (None, Some(_)) => return Err(RangeError::Mismatch),
        };
        match () {
            () if first == 0 || !first.is_multiple_of(LENGTH) => Err(RangeError::First(first)),
            () if !length.is_multiple_of(LENGTH) => Err(RangeError::Length(length)),
            () if length / LENGTH < pods => Err(RangeError::TooFew { pods }),
            () => Ok(Blocks { first, count: pods }),
        }
    }

    /// The first id of the lowest block in which nobody has an id.
    pub(super) fn free(self, taken: &[Range<u32>]) -> Option<u32> {
        let starts = (0..self.count).map_while(|number| self.first.checked_add(number.checked_mul(LENGTH)?));
        let mut whole = starts.filter_map(|start| Some((start, start.checked_add(LENGTH)?)));
        let is_free = |start: u32, end: u32| taken.iter().all(|ids| ids.end <= start || end <= ids.start);
        whole.find(|(start, end)| is_free(*start, *end)).map(|(start, _)| start)
    }
}

/// Ids that others have: users and groups, and what they may hand on to containers of their own.
pub(super) fn of_others(passwd: &str, group: &str, subuid: &str, subgid: &str) -> Vec<Range<u32>> {
    // Both files have the id as their third field.
    let listed = passwd.lines().chain(group.lines());
    let listed = listed.filter_map(|line| line.split(':').nth(2)?.trim().parse::<u32>().ok());
    let alone = listed.filter_map(|id| Some(id..id.checked_add(1)?));
    let handed = subuid.lines().chain(subgid.lines()).filter(|line| owner(line) != OWNER);
    let handed = handed.filter_map(|line| {
        let (first, length) = range_of(line)?;
        Some(first..first.saturating_add(length))
    });
    alone.chain(handed).collect()
}

/// The host's ids in a process's `uid_map` or `gid_map`: of a user namespace of somebody's. The host's own has all ids.
pub(super) fn of_process(map: &str) -> impl Iterator<Item = Range<u32>> {
    let lines = map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u32>().ok());
        let (_, outside, length) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(outside..outside.saturating_add(length))
    });
    lines.filter(|ids| *ids != (0..u32::MAX))
}

fn owner(line: &str) -> &str {
    line.split(':').next().unwrap_or_default().trim()
}

fn own_line(text: &str) -> Result<Option<&str>, RangeError> {
    let mut lines = text.lines().filter(|line| owner(line) == OWNER);
    match (lines.next(), lines.next()) {
        (_, Some(_)) => Err(RangeError::Lines),
        (line, None) => Ok(line.map(str::trim)),
    }
}

/// `name:first:length`
fn range_of(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split(':').skip(1).map(|text| text.trim().parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one range is what is meant")]
mod tests {
    use super::*;

    #[test]
    fn pods_have_the_second_block_and_those_above_unless_the_machine_says_otherwise() {
        let check = |subuid: &str, subgid: &str, expected: Result<(u32, u32), &str>| {
            let found = Blocks::configured(subuid, subgid, 110).map(|blocks| (blocks.first, blocks.count));
            assert_eq!(found.map_err(|e| e.to_string()), expected.map_err(str::to_owned), "{subuid}");
        };
        let both = |text: &str, expected| check(text, text, expected);
        both("", Ok((65536, 110)));
        both("bob:100000:65536\n", Ok((65536, 110)));
        both("bob:100000:65536\nkubelet:131072:7208960\n", Ok((131_072, 110)));
        check("kubelet:131072:7208960", "", Err("mismatched subuids and subgids for user \"kubelet\""));
        check("", "kubelet:131072:7208960", Err("mismatched subuids and subgids for user \"kubelet\""));
        both("kubelet:65537:7208960", Err("kubelet user assigned ID 65537 must be a multiple of 65536, and not 0"));
        both("kubelet:0:7208960", Err("kubelet user assigned ID 0 must be a multiple of 65536, and not 0"));
        both("kubelet:65536:7", Err("kubelet user assigned IDs length 7 is not a multiple of 65536"));
        both("kubelet:65536:65536", Err("kubelet user assigned IDs are not enough to support 110 pods"));
        both("kubelet:65536", Err("line \"kubelet:65536\" for user \"kubelet\" is no range of ids"));
        let twice = "kubelet:65536:7208960\nkubelet:65536:7208960";
        both(twice, Err("there must be one line for user \"kubelet\" in /etc/subuid and /etc/subgid, there are more"));
    }

    #[test]
    fn the_lowest_block_is_given_in_which_nobody_has_an_id() {
        let blocks = Blocks { first: LENGTH, count: 4 };
        let check = |taken: &[Range<u32>], expected: Option<u32>| assert_eq!(blocks.free(taken), expected, "{taken:?}");
        let block = |number: u32| number * LENGTH..(number + 1) * LENGTH;
        check(&[], Some(LENGTH));
        check(&[0..LENGTH], Some(LENGTH));
        check(&[block(1), block(2)], Some(3 * LENGTH));
        check(&[block(2)], Some(LENGTH));
        check(&[100_000..165_536], Some(3 * LENGTH));
        check(&[LENGTH..LENGTH + 1], Some(2 * LENGTH));
        check(&[LENGTH - 1..LENGTH], Some(LENGTH));
        check(&[0..u32::MAX], None);
        check(&[block(1), block(2), block(3), block(4)], None);
        assert_eq!(Blocks { first: u32::MAX - LENGTH, count: 3 }.free(&[]), Some(u32::MAX - LENGTH));
    }

    #[test]
    fn what_other_user_namespaces_have_is_read_from_their_processes() {
        let check = |map: &str, expected: &[Range<u32>]| assert_eq!(of_process(map).collect::<Vec<_>>(), expected);
        check("         0          0 4294967295\n", &[]);
        check("         0      65536      65536\n", &[65536..131_072]);
        check("0 1000 1\n1 100000 65536\n", &[1000..1001, 100_000..165_536]);
        check("", &[]);
        check("a b c\n", &[]);
    }

    #[test]
    fn users_groups_and_what_they_may_hand_on_are_others() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbig:x:70000:70001::/:\nbroken\n";
        let found =
            of_others(passwd, "g:x:80000:\n", "big:100000:65536\nkubelet:65536:65536\n", "big:200000:10\nx:y:z\n");
        assert_eq!(found, [0..1, 70000..70001, 80000..80001, 100_000..165_536, 200_000..200_010]);
    }
}
