//! The process of a container: program, arguments, environment, folder. And of an exec in it.

use std::path::PathBuf;

use oci_spec::runtime::{Process, User};
use remora_cri::ContainerConfig;

use crate::capabilities::Granted;
use crate::{Facts, ImageConfig, ResolvedUser, SpecError};

/// Where programs are looked for when neither image nor container says.
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) fn process(
    container: &ContainerConfig,
    image: &ImageConfig,
    granted: &Granted,
    facts: &Facts,
) -> Result<Process, SpecError> {
    let mut process = bare(command(container, image)?, &facts.user);
    process.set_terminal(Some(container.tty));
    process.set_env(Some(environment(container, image, &facts.hostname)));
    process.set_cwd(working_dir(container, image)?);
    process.set_capabilities(Some(granted.to_oci()));
    Ok(process)
}

/// The process of an exec: as the container's first process, but for its arguments and terminal.
pub fn exec_process(first: &Process, command: &[String], tty: bool) -> Process {
    let mut process = first.clone();
    process.set_args(Some(command.to_vec()));
    process.set_terminal(Some(tty));
    if let (true, Some(env)) = (tty, process.env_mut()) {
        put(env, "TERM=xterm", Keep::Old);
    }
    process
}

/// A process without privileges and without any of the defaults that the type itself would bring.
pub(crate) fn bare(args: Vec<String>, user: &ResolvedUser) -> Process {
    let mut process = Process::default();
    process.set_terminal(Some(false));
    process.set_user(oci_user(user));
    process.set_args(Some(args));
    process.set_env(Some(Vec::new()));
    process.set_cwd(PathBuf::from("/"));
    process.set_capabilities(None);
    process.set_rlimits(None);
    process.set_no_new_privileges(Some(false));
    process.set_oom_score_adj(None);
    process
}

fn oci_user(user: &ResolvedUser) -> User {
    let mut oci = User::default();
    oci.set_uid(user.uid);
    oci.set_gid(user.gid);
    oci.set_additional_gids(Some(user.additional_gids.clone()));
    oci
}

/// Program and arguments: the container's command replaces the image's entrypoint, and with it the image's arguments.
///
/// # Errors
/// [`SpecError::NoCommand`]: neither says what to run.
pub fn command(container: &ContainerConfig, image: &ImageConfig) -> Result<Vec<String>, SpecError> {
    let (command, args) = match (container.command.is_empty(), container.args.is_empty()) {
        (false, _) => (&container.command, &container.args),
        (true, false) => (&image.entrypoint, &container.args),
        (true, true) => (&image.entrypoint, &image.cmd),
    };
    match command.iter().chain(args).cloned().collect::<Vec<_>>() {
        all if all.is_empty() => Err(SpecError::NoCommand),
        all => Ok(all),
    }
}

fn working_dir(container: &ContainerConfig, image: &ImageConfig) -> Result<PathBuf, SpecError> {
    let asked = [&container.working_dir, &image.working_dir].into_iter().find(|dir| !dir.is_empty());
    let dir = asked.map_or("/", String::as_str);
    match dir.starts_with('/') {
        true => Ok(PathBuf::from(dir)),
        false => Err(SpecError::RelativePath { what: "working directory", path: dir.to_owned() }),
    }
}

fn environment(container: &ContainerConfig, image: &ImageConfig, hostname: &str) -> Vec<String> {
    let mut env = vec![DEFAULT_PATH.to_owned()];
    if container.tty {
        put(&mut env, "TERM=xterm", Keep::New);
    }
    put(&mut env, &format!("HOSTNAME={hostname}"), Keep::New);
    image.env.iter().for_each(|variable| put(&mut env, variable, Keep::New));
    let own = container.envs.iter().map(|variable| format!("{}={}", variable.key, variable.value));
    own.for_each(|variable| put(&mut env, &variable, Keep::New));
    env
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Keep {
    Old,
    New,
}

/// Sets a variable in place, so that each name is there once.
pub(crate) fn put(env: &mut Vec<String>, variable: &str, keep: Keep) {
    let name = |variable: &str| variable.split('=').next().unwrap_or(variable).to_owned();
    match env.iter_mut().find(|have| name(have) == name(variable)) {
        Some(_) if keep == Keep::Old => {}
        Some(have) => *have = variable.to_owned(),
        None => env.push(variable.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_cri::KeyValue;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn command_and_args_replace_entrypoint_and_cmd_as_kubernetes_says() {
        let check = |command, args_, expected: Result<&str, &str>| {
            let container = ContainerConfig { command: words(command), args: words(args_), ..Default::default() };
            let image = ImageConfig { entrypoint: words("/entry -e"), cmd: words("default cmd"), ..Default::default() };
            let found = super::command(&container, &image).map(|args| args.join(" ")).map_err(|e| e.to_string());
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned));
        };
        check("", "", Ok("/entry -e default cmd"));
        check("/run", "", Ok("/run"));
        check("", "x y", Ok("/entry -e x y"));
        check("/run", "x y", Ok("/run x y"));
        let nothing = command(&ContainerConfig::default(), &ImageConfig::default());
        assert_eq!(nothing.unwrap_err().to_string(), "no command specified");
    }

    #[test]
    fn each_variable_is_there_once_and_the_container_has_the_last_word() {
        let env = |key: &str, value: &str| KeyValue { key: key.into(), value: value.into() };
        let container = ContainerConfig { tty: true, envs: vec![env("A", "c"), env("B", "")], ..Default::default() };
        let image = ImageConfig { env: words("PATH=/bin A=i C=i TERM=vt100"), ..Default::default() };
        assert_eq!(
            environment(&container, &image, "web"),
            ["PATH=/bin", "TERM=vt100", "HOSTNAME=web", "A=c", "C=i", "B="]
        );
    }
}
