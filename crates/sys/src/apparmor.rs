//! AppArmor, as far as a runtime needs it: whether it is on, which profiles the kernel has, and giving it one more.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::error::failed;

/// Where the kernel says what it has loaded. Part of securityfs.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";

/// Whether the kernel has AppArmor, it is on, and its profiles are this system's to choose: inside a container they are another's.
pub fn is_enabled() -> bool {
    let is_on = fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"));
    // As systemd marks what it runs in containers, and container engines too.
    let in_container = std::env::var_os("container").is_some_and(|kind| !kind.is_empty());
    is_on && !in_container && Path::new(PROFILES).exists()
}

/// The compiler of profiles, if it is installed (Debian's package `apparmor`).
pub fn parser() -> Option<PathBuf> {
    let places = ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"].map(PathBuf::from);
    places.into_iter().find(|path| path.is_file())
}

/// Names of the profiles that the kernel has.
///
/// # Errors
/// It does not say.
pub fn loaded_profiles() -> Result<BTreeSet<String>> {
    fs::read_to_string(PROFILES).map(|text| names(&text)).map_err(failed("read", PROFILES))
}

/// Lines such as `docker-default (enforce)`.
fn names(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| Some(line.rsplit_once(" (")?.0.to_owned())).collect()
}

/// The profile that this process is under; none if it is under none.
pub fn own_profile() -> Option<String> {
    let text = fs::read_to_string("/proc/self/attr/apparmor/current")
        .or_else(|_| fs::read_to_string("/proc/self/attr/current"));
    let text = text.ok()?;
    let name = text.trim().rsplit_once(" (").map_or(text.trim(), |(name, _)| name);
    (!name.is_empty() && name != "unconfined").then(|| name.to_owned())
}

/// Has the kernel load profiles, or replace those of the same names. It may take a second.
///
/// # Errors
/// The parser cannot be started, or refuses them, in its own words.
pub fn load(parser: &Path, text: &str) -> Result<()> {
    let wrong = |error: io::Error| failed("load an AppArmor profile with", parser.display())(error);
    let mut command = Command::new(parser);
    command.args(["--replace", "--skip-cache"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(wrong)?;
    // One that ends early says why; the broken pipe does not.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().map_err(wrong)?;
    match output.status.success() {
        true => written.map_err(wrong),
        false => Err(wrong(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_named_before_their_mode() {
        let text = "docker-default (enforce)\n/usr/sbin/cups (x) (complain)\n";
        assert_eq!(names(text), ["/usr/sbin/cups (x)".to_owned(), "docker-default".to_owned()].into());
        assert_eq!(names(""), BTreeSet::new());
    }
}
