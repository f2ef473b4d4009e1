//! Errors and outcomes as API clients see them: `metav1.Status`, with the codes, reasons and words of
//! k8s.io/apimachinery `pkg/api/errors`. `rules` returns them, the API server writes them, streams end with them.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::field::FieldError;
use crate::kinds::Kind;
use crate::text::{aggregate, quoted};

/// The answer of an API that is not an object: mostly an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// `Success` or `Failure`.
    #[serde(default)]
    pub status: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// For programs: `NotFound`, `Invalid`, …
    #[serde(default)]
    pub reason: String,
    /// Which object, which fields.
    #[serde(default)]
    pub details: Option<Box<Details>>,
    /// The HTTP status; 0 where there is none.
    #[serde(default)]
    pub code: u16,
}

/// As Go writes it: type and empty metadata first, what is empty left out.
impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(None)?;
        out.serialize_entry("kind", "Status")?;
        out.serialize_entry("apiVersion", "v1")?;
        out.serialize_entry("metadata", &ListMeta {})?;
        for (name, word) in [("status", &self.status), ("message", &self.message), ("reason", &self.reason)] {
            if !word.is_empty() {
                out.serialize_entry(name, word)?;
            }
        }
        if let Some(details) = &self.details {
            out.serialize_entry("details", details)?;
        }
        if self.code != 0 {
            out.serialize_entry("code", &self.code)?;
        }
        out.end()
    }
}

#[derive(Serialize)]
struct ListMeta {}

/// What the error is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The object's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its API group; empty for core.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its resource (`pods`), or for `Invalid` its kind (`Pod`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its uid, where a deletion answers with a status.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One per wrong field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again, in seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// One reason of an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// `FieldValueInvalid`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The field, if it is about one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

/// A group and a resource or kind, written `pods` or `leases.coordination.k8s.io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qualified<'a> {
    /// API group; empty for core.
    pub group: &'a str,
    /// Resource (`pods`) or kind (`Pod`).
    pub name: &'a str,
}

impl<'a> Qualified<'a> {
    /// Of a group and a name.
    pub const fn new(group: &'a str, name: &'a str) -> Self {
        Self { group, name }
    }

    /// A resource or kind of the core group.
    pub const fn core(name: &'a str) -> Self {
        Self { group: "", name }
    }
}

impl fmt::Display for Qualified<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            "" => out.write_str(self.name),
            group => write!(out, "{}.{group}", self.name),
        }
    }
}

impl Status {
    fn failure(code: u16, reason: &str, message: String, details: Option<Details>) -> Self {
        Self { status: "Failure".to_owned(), message, reason: reason.to_owned(), details: details.map(Box::new), code }
    }

    /// `Success`, as a deletion (with details) or a finished exec (without) answers.
    pub fn success(details: Option<Details>) -> Self {
        Self { status: "Success".to_owned(), ..Self::failure(200, "", String::new(), details) }
    }

    /// Whether this is no error.
    pub fn is_success(&self) -> bool {
        self.status == "Success"
    }

    /// 404 `pods "x" not found`.
    pub fn not_found(resource: Qualified<'_>, name: &str) -> Self {
        let message = format!("{resource} {} not found", quoted(name));
        Self::failure(404, "NotFound", message, Some(details(resource, name)))
    }

    /// 404 of an object of a kind in the table.
    pub fn kind_not_found(kind: &Kind, name: &str) -> Self {
        Self::not_found(kind.resource(), name)
    }

    /// 409 `pods "x" already exists`.
    pub fn already_exists(resource: Qualified<'_>, name: &str) -> Self {
        let message = format!("{resource} {} already exists", quoted(name));
        Self::failure(409, "AlreadyExists", message, Some(details(resource, name)))
    }

    /// 409 when every name generated from `generateName` was taken; the client may try again.
    pub fn generate_name_conflict(resource: Qualified<'_>, name: &str) -> Self {
        let message = format!(
            "{resource} {} already exists, the server was not able to generate a unique name for the object",
            quoted(name)
        );
        let details = Details { retry_after_seconds: 1, ..details(resource, name) };
        Self::failure(409, "AlreadyExists", message, Some(details))
    }

    /// 409 `Operation cannot be fulfilled on pods "x": …`.
    pub fn conflict(resource: Qualified<'_>, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {}: {why}", quoted(name));
        Self::failure(409, "Conflict", message, Some(details(resource, name)))
    }

    /// 409 of an update whose resourceVersion is not the stored one.
    pub fn modified(resource: Qualified<'_>, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 409 of a server-side apply: one cause for each field that another manager has.
    pub fn apply_conflict(message: String, causes: Vec<Cause>) -> Self {
        Self::failure(409, "Conflict", message, Some(Details { causes, ..Details::default() }))
    }

    /// 422 `Pod "x" is invalid: …`: the errors in their order, each message once in the sentence, each error once as a cause.
    pub fn invalid(kind: Qualified<'_>, name: &str, errors: &[FieldError]) -> Self {
        let causes = errors
            .iter()
            .map(|e| Cause { reason: e.kind.reason().to_owned(), message: e.body(), field: e.field.clone() })
            .collect();
        let mut message = format!("{kind} {} is invalid", quoted(name));
        if !errors.is_empty() {
            message += &format!(": {}", aggregate(errors.iter().map(FieldError::to_string)));
        }
        Self::failure(422, "Invalid", message, Some(Details { causes, ..details(kind, name) }))
    }

    /// 400 with the given words.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message.into(), None)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized".to_owned(), None)
    }

    /// 403 `pods "x" is forbidden: why`; without a name `pods is forbidden: why`.
    pub fn forbidden(resource: Qualified<'_>, name: &str, why: &str) -> Self {
        let message = match name {
            "" => format!("{resource} is forbidden: {why}"),
            name => format!("{resource} {} is forbidden: {why}", quoted(name)),
        };
        Self::failure(403, "Forbidden", message, Some(details(resource, name)))
    }

    /// 404 of a path that leads to no resource.
    pub fn no_such_resource() -> Self {
        let message = "the server could not find the requested resource".to_owned();
        Self::failure(404, "NotFound", message, Some(Details::default()))
    }

    /// 405 of a verb that the resource does not have.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource".to_owned();
        Self::failure(405, "MethodNotAllowed", message, Some(Details::default()))
    }

    /// 406: none of the media types that the client accepts.
    pub fn not_acceptable(served: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", served.join(", "));
        Self::failure(406, "NotAcceptable", message, None)
    }

    /// 410: a continue token or revision that is compacted.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message.into(), None)
    }

    /// 410 of a watch that starts before the oldest revision still known.
    pub fn too_old(wanted: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {wanted} ({oldest})"))
    }

    /// 410 `Gone`.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::failure(410, "Gone", message.into(), None)
    }

    /// 413: a body over the limit, in bytes.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::failure(413, "RequestEntityTooLarge", message, None)
    }

    /// 415: a body of none of the media types that the request may have.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {list}");
        Self::failure(415, "UnsupportedMediaType", message, None)
    }

    /// 422 of a patch that does not apply; upstream says no more.
    pub fn rejected() -> Self {
        let message = "the server rejected our request due to an error in our request".to_owned();
        Self::failure(422, "Invalid", message, Some(Details::default()))
    }

    /// 429, to be tried again after so many seconds.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let details = Details { retry_after_seconds, ..Details::default() };
        Self::failure(429, "TooManyRequests", message.into(), Some(details))
    }

    /// 500 `Internal error occurred: why`.
    pub fn internal(why: impl fmt::Display) -> Self {
        let cause = Cause { message: why.to_string(), ..Cause::default() };
        let details = Details { causes: vec![cause], ..Details::default() };
        Self::failure(500, "InternalError", format!("Internal error occurred: {why}"), Some(details))
    }

    /// 500 with the error's own words and no reason: what an error without a status of its own becomes.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::failure(500, "", message.into(), None)
    }

    /// 503 `ServiceUnavailable`.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message.into(), None)
    }

    /// 504 `Timeout: why`.
    pub fn timeout(why: &str, retry_after_seconds: u32) -> Self {
        let details = Details { retry_after_seconds, ..Details::default() };
        Self::failure(504, "Timeout", format!("Timeout: {why}"), Some(details))
    }

    /// 504 of a read at a revision that is not there yet, worded and caused as upstream's watch cache does.
    pub fn too_large_resource_version(wanted: u64, current: u64) -> Self {
        let mut status = Self::timeout(&format!("Too large resource version: {wanted}, current: {current}"), 1);
        if let Some(details) = &mut status.details {
            let message = "Too large resource version".to_owned();
            details.causes.push(Cause { reason: "ResourceVersionTooLarge".to_owned(), message, field: String::new() });
        }
        status
    }

    /// An exec or attach whose command ended with a code other than 0: the last message of the stream.
    pub fn non_zero_exit(code: i32) -> Self {
        let message = format!("command terminated with non-zero exit code: exit status {code}");
        let cause = Cause { reason: "ExitCode".to_owned(), message: code.to_string(), field: String::new() };
        let details = Details { causes: vec![cause], ..Details::default() };
        Self::failure(0, "NonZeroExitCode", message, Some(details))
    }
}

fn details(what: Qualified<'_>, name: &str) -> Details {
    Details { name: name.to_owned(), group: what.group.to_owned(), kind: what.name.to_owned(), ..Details::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;

    fn check(status: &Status, code: u16, reason: &str, message: &str) {
        assert_eq!((status.code, status.reason.as_str(), status.message.as_str()), (code, reason, message));
    }

    #[test]
    fn statuses_say_what_the_recordings_say() {
        let pods = Qualified::core("pods");
        check(&Status::not_found(pods, "nope"), 404, "NotFound", "pods \"nope\" not found");
        check(&Status::already_exists(pods, "plain"), 409, "AlreadyExists", "pods \"plain\" already exists");
        check(&Status::forbidden(pods, "", "no"), 403, "Forbidden", "pods is forbidden: no");
        let lease = Qualified::new("coordination.k8s.io", "leases");
        check(&Status::not_found(lease, "x"), 404, "NotFound", "leases.coordination.k8s.io \"x\" not found");
    }

    #[test]
    fn equal_messages_are_said_once_but_caused_each_time() {
        let error = FieldError::required(&Path::new("a"), "");
        let status = Status::invalid(Qualified::core("Pod"), "p", &[error.clone(), error]);
        assert_eq!(status.message, "Pod \"p\" is invalid: a: Required value");
        assert_eq!(status.details.unwrap().causes.len(), 2);
    }

    #[test]
    fn several_messages_stand_in_brackets() {
        let errors = [FieldError::required(&Path::new("a"), ""), FieldError::required(&Path::new("b"), "")];
        let status = Status::invalid(Qualified::core("Pod"), "p", &errors);
        assert_eq!(status.message, "Pod \"p\" is invalid: [a: Required value, b: Required value]");
    }

    #[test]
    fn a_status_is_written_in_the_order_that_go_writes() {
        let text = serde_json::to_string(&Status::not_found(Qualified::core("pods"), "x")).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"x\" not found","reason":"NotFound","details":{"name":"x","kind":"pods"},"code":404}"#
        );
    }
}
