//! One file per command: its arguments, whose doc comments are its help text, and what it does.

pub(crate) mod capture;
pub(crate) mod completion;
pub(crate) mod cp;
pub(crate) mod debug;
pub(crate) mod delete;
pub(crate) mod diff;
pub(crate) mod down;
pub(crate) mod dump;
pub(crate) mod exec;
pub(crate) mod export;
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

/// `UID` or `UID:GID`.
pub(crate) fn parse_user(text: &str) -> Result<remora_debug::User, String> {
    let number = |text: &str| text.parse::<u32>().map(i64::from).map_err(|_| "give numbers: UID or UID:GID".to_owned());
    match text.split_once(':') {
        Some((uid, gid)) => Ok(remora_debug::User { uid: number(uid)?, gid: Some(number(gid)?) }),
        None => Ok(remora_debug::User { uid: number(text)?, gid: None }),
    }
}

/// Bytes, or with a power of 1024 as Kubernetes writes it.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u32); 4] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40)];
    let unit = UNITS.into_iter().find_map(|(unit, power)| Some((text.strip_suffix(unit)?, power)));
    let (number, power) = unit.unwrap_or((text, 0));
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << power));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "give bytes, or a number with Ki, Mi, Gi or Ti".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_kubernetes_writes_them() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(parse_size(text).ok(), expected, "{text}");
        check("1024", Some(1024));
        check("2Ki", Some(2048));
        check("1Ti", Some(1 << 40));
        for wrong in ["", "0", "Gi", "1G", "-1", "99999999999Ti"] {
            check(wrong, None);
        }
    }
}
