//! PAX records: what an extension header says about the entry after it. Pure. Format: POSIX.1-2001, `pax`.

use crate::reader::{Header, TarError, id};

/// `LENGTH KEY=VALUE\n`, again and again. Values may hold any byte.
pub(crate) fn parse(mut bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, TarError> {
    let wrong = || TarError::Header("PAX record".into());
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let length = std::str::from_utf8(&bytes[..space]).ok().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
        let record: &[u8] = bytes.get(space + 1..length).ok_or_else(wrong)?;
        let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        let key = std::str::from_utf8(&record[..equals]).map_err(|_| wrong())?;
        records.push((key.to_owned(), record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Ok(records)
}

pub(crate) fn apply(header: &mut Header, records: Vec<(String, Vec<u8>)>) -> Result<(), TarError> {
    for (key, value) in records {
        let text = || std::str::from_utf8(&value).map_err(|_| TarError::Header(format!("PAX {key}")));
        let number = || text()?.parse::<u64>().map_err(|_| TarError::Header(format!("PAX {key}")));
        match key.as_str() {
            "path" => header.path = value,
            "linkpath" => header.link = value,
            "size" => header.stored = number()?,
            "uid" => header.uid = id(number()?)?,
            "gid" => header.gid = id(number()?)?,
            "mtime" => header.modified = time(text()?).ok_or_else(|| TarError::Header("PAX mtime".into()))?,
            sparse if sparse.starts_with("GNU.sparse.") => {
                return Err(TarError::Unsupported("GNU's PAX format of sparse files".into()));
            }
            other => {
                if let Some(name) = other.strip_prefix("SCHILY.xattr.") {
                    header.xattrs.push((name.to_owned(), value));
                }
            }
        }
    }
    Ok(())
}

/// `123.456` or `-0.5` in whole seconds and nanoseconds, rounded down.
fn time(text: &str) -> Option<(i64, u32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_negative = seconds.starts_with('-');
    let seconds: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    match (is_negative, digits.parse::<u32>().ok()?) {
        (true, nanoseconds @ 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        (_, nanoseconds) => Some((seconds, nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_down() {
        for (text, expected) in [
            ("12", Some((12, 0))),
            ("12.5", Some((12, 500_000_000))),
            ("12.1234567899", Some((12, 123_456_789))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-0.5", Some((-1, 500_000_000))),
            ("-3", Some((-3, 0))),
            ("x", None),
            ("1.x", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
    }
}
