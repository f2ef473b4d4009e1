//! What a port-forward asks for: core/v1 `PodPortForwardOptions`.

use remora_model::Status;

/// The ports among the decoded query parameters of a request: `ports=80,81&ports=82`. Clients over SPDY name none there.
///
/// # Errors
/// 400 for one that is none. Source of the words: apimachinery's `Convert_Slice_string_To_Slice_int32`, and the kubelet's
/// `NewV4Options` for 0.
pub fn ports_from_query<'q>(query: impl IntoIterator<Item = (&'q str, &'q str)>) -> Result<Vec<u16>, Status> {
    let lists = query.into_iter().filter(|(name, _)| *name == "ports").map(|(_, value)| value);
    lists.flat_map(|list| list.split(',')).map(port).collect()
}

fn port(text: &str) -> Result<u16, Status> {
    let quoted = remora_model::text::quoted(text);
    match text.parse::<u16>() {
        Ok(0) => Err(Status::bad_request(format!("port {quoted} must be > 0"))),
        Ok(port) => Ok(port),
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(Status::bad_request(format!("strconv.ParseUint: parsing {quoted}: value out of range")))
        }
        Err(_) => Err(Status::bad_request(format!("strconv.ParseUint: parsing {quoted}: invalid syntax"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_and_judged() {
        let check = |query: &[(&str, &str)], expected: Result<&[u16], &str>| {
            let got = ports_from_query(query.iter().copied()).map_err(|status| status.message);
            assert_eq!(got.as_deref().map_err(String::as_str), expected, "{query:?}");
        };
        check(&[], Ok(&[]));
        check(&[("port", "80")], Ok(&[]));
        check(&[("ports", "80,81"), ("ports", "65535")], Ok(&[80, 81, 65535]));
        check(&[("ports", "0")], Err("port \"0\" must be > 0"));
        check(&[("ports", "65536")], Err("strconv.ParseUint: parsing \"65536\": value out of range"));
        check(&[("ports", "http")], Err("strconv.ParseUint: parsing \"http\": invalid syntax"));
        check(&[("ports", "")], Err("strconv.ParseUint: parsing \"\": invalid syntax"));
    }
}
