//! One file per command: its arguments, whose doc comments are its help text, and what it does.

pub(crate) mod completion;
pub(crate) mod debug;
pub(crate) mod delete;
pub(crate) mod down;
pub(crate) mod exec;
pub(crate) mod get;
pub(crate) mod image;
pub(crate) mod kubeconfig;
pub(crate) mod logs;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod version;

/// `NAME=VALUE`
pub(crate) fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give NAME=VALUE".to_owned()),
    }
}
