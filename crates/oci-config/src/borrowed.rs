//! A container on another container's root: the request and the image's configuration, turned into those of an ordinary container.
//!
//! ```text
//! /                     the other container's root, as it is (live) or below a layer of one's own (ended)
//! /proc /dev /sys …     the container's own, as always
//! /dev/remora/tools     the image's files: nothing is made in the other root, /dev is a tmpfs of the container's own
//! /dev/remora/…         files about the other container
//! ```
//! `PATH` finds the image's programs first: who asks for `ls` in a debug image means that one, and not whatever a broken or hostile
//! container has under the name. What only the other root has is found behind them.

use std::path::{Path, PathBuf};

use remora_cri::{ContainerConfig, Mount};

use crate::facts::EtcFiles;
use crate::mounts::normal;
use crate::process::{DEFAULT_PATH, Keep, command, put};
use crate::{ImageConfig, SpecError};

/// The folder for what a container on a borrowed root has of its own.
const BORROWED_FILES: &str = "/dev/remora";
/// Where the image's files are.
pub const TOOLS: &str = "/dev/remora/tools";
/// Where every container has file systems for itself, whatever its root.
pub const OWN_FILE_SYSTEMS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Another container's root under a container.
#[derive(Clone, Debug, Default)]
pub struct BorrowedRoot {
    /// The other container runs, and its root is used as it is: nothing may be made in it. Otherwise changes go into a layer of the
    /// borrower's own, and it gets the other's environment too.
    pub live: bool,
    /// The other container's environment, `NAME=value`.
    pub env: Vec<String>,
    /// Where the image's files are mounted on this machine.
    pub tools: PathBuf,
    /// More to be seen, read-only, below `/dev/remora`: name and path on this machine.
    pub files: Vec<(&'static str, PathBuf)>,
}

impl BorrowedRoot {
    /// Request and image as they would have to be for the same container on a root of its own. `program` is what `command`'s first word
    /// has been found to mean.
    ///
    /// # Errors
    /// [`SpecError::NoCommand`], and [`SpecError::CoversTools`] for a mount that would hide the image's files.
    pub fn adapt(
        &self,
        container: &ContainerConfig,
        image: &ImageConfig,
        program: String,
    ) -> Result<(ContainerConfig, ImageConfig), SpecError> {
        let mut words = command(container, image)?;
        words[0] = program;
        let mut adapted = container.clone();
        (adapted.command, adapted.args) = (words, Vec::new());
        adapted.mounts = self.mounts(container)?;
        // The image's own folder and environment belong to the image's root; the folder may not even exist in the other.
        let image = ImageConfig { env: self.environment(image), working_dir: String::new(), ..image.clone() };
        Ok((adapted, image))
    }

    /// Places that must be there already, since making them would change the other container. Only of an adapted request.
    pub fn needed_places(&self, adapted: &ContainerConfig) -> Vec<PathBuf> {
        if !self.live {
            return Vec::new();
        }
        let own = |place: &Path| OWN_FILE_SYSTEMS.iter().any(|own| place.starts_with(own));
        let mounted = adapted.mounts.iter().map(|mount| normal(Path::new(&mount.container_path)));
        let folder = Some(&adapted.working_dir).filter(|folder| !folder.is_empty()).map(PathBuf::from);
        OWN_FILE_SYSTEMS.iter().map(PathBuf::from).chain(mounted.chain(folder).filter(|place| !own(place))).collect()
    }

    fn mounts(&self, container: &ContainerConfig) -> Result<Vec<Mount>, SpecError> {
        let mut mounts = Vec::new();
        for mount in &container.mounts {
            let place = normal(Path::new(&mount.container_path));
            if Path::new(TOOLS).starts_with(&place) || place.starts_with(BORROWED_FILES) {
                return Err(SpecError::CoversTools(mount.container_path.clone()));
            }
            // The sandbox's files are in a live root already.
            if !(self.live && EtcFiles::PLACES.iter().any(|file| place == Path::new(file))) {
                mounts.push(mount.clone());
            }
        }
        mounts.push(bind(TOOLS.to_owned(), &self.tools, false));
        let files = self.files.iter();
        mounts.extend(files.map(|(name, source)| bind(format!("{BORROWED_FILES}/{name}"), source, true)));
        Ok(mounts)
    }

    fn environment(&self, image: &ImageConfig) -> Vec<String> {
        let mut env = image.env.clone();
        let others = self.env.iter().filter(|_| !self.live);
        others.for_each(|variable| put(&mut env, variable, Keep::New));
        let tools = search_path(&image.env).map(|folder| format!("{TOOLS}{folder}"));
        let others = search_path(&self.env).map(str::to_owned);
        let path: Vec<String> = tools.chain(others).collect();
        put(&mut env, &format!("PATH={}", path.join(":")), Keep::New);
        env
    }
}

/// The folders of `PATH`; relative ones mean nothing in another root.
pub fn search_path(env: &[String]) -> impl Iterator<Item = &str> {
    let found = env.iter().rev().find(|variable| variable.starts_with("PATH="));
    let text = found.map_or(DEFAULT_PATH, String::as_str).trim_start_matches("PATH=");
    text.split(':').filter(|folder| folder.starts_with('/'))
}

fn bind(container_path: String, source: &Path, readonly: bool) -> Mount {
    let host_path = source.to_string_lossy().into_owned();
    Mount { container_path, host_path, readonly, ..Mount::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_cri::KeyValue;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn root(live: bool) -> BorrowedRoot {
        let files = vec![("crashed.json", "/run/c/crashed.json".into())];
        let files = if live { Vec::new() } else { files };
        BorrowedRoot { live, env: words("PATH=/app/bin:/bin A=other LANG=C"), tools: "/run/c/tools".into(), files }
    }

    fn image() -> ImageConfig {
        ImageConfig {
            cmd: words("sh -l"),
            env: words("PATH=/bin:sbin:/usr/bin A=image T=1"),
            working_dir: "/srv".into(),
            ..Default::default()
        }
    }

    fn at(places: &[&str]) -> ContainerConfig {
        let mounts = places.iter().map(|place| bind((*place).to_owned(), Path::new("/v"), false)).collect();
        ContainerConfig { mounts, ..Default::default() }
    }

    #[test]
    fn the_images_programs_are_found_first_and_an_ended_container_leaves_its_environment() {
        let check = |live, expected: &str| {
            let envs = vec![KeyValue { key: "A".into(), value: "own".into() }];
            let asked = ContainerConfig { envs: envs.clone(), ..Default::default() };
            let (container, image) = root(live).adapt(&asked, &image(), "/dev/remora/tools/bin/sh".into()).unwrap();
            assert_eq!(image.env.join(" "), expected);
            assert_eq!((container.envs, image.working_dir.as_str()), (envs, ""));
            assert_eq!(container.command.join(" "), "/dev/remora/tools/bin/sh -l");
        };
        let path = "PATH=/dev/remora/tools/bin:/dev/remora/tools/usr/bin:/app/bin:/bin";
        check(true, &format!("{path} A=image T=1"));
        check(false, &format!("{path} A=other T=1 LANG=C"));
    }

    #[test]
    fn mounts_keep_their_places_but_nothing_hides_the_tools() {
        let check = |live, asked: &[&str], expected: Result<&str, &str>| {
            let found = root(live).mounts(&at(asked)).map_err(|error| error.to_string());
            let places = found.map(|all| all.into_iter().map(|m| m.container_path).collect::<Vec<_>>().join(" "));
            assert_eq!(places, expected.map(str::to_owned).map_err(str::to_owned), "{asked:?}");
        };
        check(true, &["/etc/hosts", "/etc//resolv.conf", "/data"], Ok("/data /dev/remora/tools"));
        check(false, &["/etc/hosts"], Ok("/etc/hosts /dev/remora/tools /dev/remora/crashed.json"));
        for place in ["/dev", "/", "/dev/remora", "/dev/remora/tools/bin", "/dev/../dev/remora"] {
            let sentence = format!(
                "nothing can be mounted on {place:?} here: the image's own files are below /dev/remora, its root is another container's"
            );
            check(true, &[place], Err(&sentence));
        }
    }

    #[test]
    fn only_what_is_no_file_system_of_ones_own_must_be_there_already() {
        let check = |live, expected: &str| {
            let asked = ContainerConfig { working_dir: "/work".into(), ..at(&["/data/x/", "/dev/t", "/sys/kernel"]) };
            let places = root(live).needed_places(&asked);
            let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
            assert_eq!(places.join(" "), expected);
        };
        check(true, "/dev /proc /sys /data/x /work");
        check(false, "");
    }

    #[test]
    fn a_path_that_is_not_set_is_the_usual_one() {
        assert_eq!(search_path(&[]).collect::<Vec<_>>().join(":"), DEFAULT_PATH.trim_start_matches("PATH="));
        assert_eq!(search_path(&words("PATH=")).count(), 0);
    }
}
