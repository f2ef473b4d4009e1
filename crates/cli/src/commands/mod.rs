//! One file per command: its arguments, whose doc comments are its help text, and what it does.

pub(crate) mod completion;
pub(crate) mod cp;
pub(crate) mod debug;
pub(crate) mod delete;
pub(crate) mod down;
pub(crate) mod exec;
pub(crate) mod get;
pub(crate) mod image;
pub(crate) mod kubeconfig;
pub(crate) mod logs;
pub(crate) mod play;
pub(crate) mod port_forward;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod up;
pub(crate) mod version;

/// `NAME=VALUE`
pub(crate) fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give NAME=VALUE".to_owned()),
    }
}

/// A duration as Go writes it.
pub(crate) fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    remora_debug::duration(text).ok_or_else(|| "give a duration above 0, such as 90s, 30m or 1h30m".to_owned())
}
