//! What a request is about, read from its method and path alone: upstream's `RequestInfo`
//! (k8s.io/apiserver `pkg/endpoints/request/requestinfo.go`). Pure. Authorization needs no more than this, so that even a
//! path that leads nowhere is first asked for its rights. Whether the resource exists is [`super::ApiRequest`]'s business.

use http::Method;
use percent_encoding::percent_decode_str;

use super::query::Query;

/// A request as authorization sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; of a path that is no resource,
    /// the HTTP method in lower case.
    pub verb: String,
    /// The whole path, decoded, without query.
    pub path: String,
    /// What the path names, if it names a resource.
    pub resource: Option<ResourceInfo>,
}

/// A path below `/api/VERSION/` or `/apis/GROUP/VERSION/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceInfo {
    /// Empty for core.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// Empty for cluster-wide requests. For a namespace object it is its own name, as upstream has it.
    pub namespace: String,
    /// `pods`.
    pub resource: String,
    /// Empty if the object itself is meant.
    pub subresource: String,
    /// Empty for collections. A list or watch that selects one `metadata.name` has that name.
    pub name: String,
    /// Whether the name comes from a field selector, not from the path.
    pub selected: bool,
    /// How many parts the path has after the subresource: such a path leads nowhere unless it is a proxy.
    pub rest: usize,
}

/// Of a namespace these are parts of the object, not resources inside it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Reads method, path and query (for `watch=true`, and the name that a field selector picks). What the path has in percent signs is read before
    /// it is taken apart, as upstream does: some clients write the colons of names so. Rights and routes see the same.
    pub fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let path = percent_decode_str(path).decode_utf8_lossy();
        let path = path.as_ref();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match split_group(&parts) {
            Some((group, version, rest)) if !rest.is_empty() => {
                let (watched, rest) = match rest {
                    ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
                    rest => (false, rest),
                };
                let mut resource = ResourceInfo::parse(group, version, rest);
                let verb = resource.verb(method, query, watched);
                Self { verb: verb.to_owned(), path: path.to_owned(), resource: Some(resource) }
            }
            _ => Self { verb: method.as_str().to_ascii_lowercase(), path: path.to_owned(), resource: None },
        }
    }
}

/// Group, version and what follows, of a path in the API.
fn split_group<'a, 'p>(parts: &'a [&'p str]) -> Option<(&'p str, &'p str, &'a [&'p str])> {
    match parts {
        ["api", version, rest @ ..] => Some(("", version, rest)),
        ["apis", group, version, rest @ ..] => Some((group, version, rest)),
        _ => None,
    }
}

impl ResourceInfo {
    fn parse(group: &str, version: &str, parts: &[&str]) -> Self {
        let (namespace, parts) = match parts {
            ["namespaces", namespace, sub, ..] if NAMESPACE_SUBRESOURCES.contains(sub) => (*namespace, parts),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            ["namespaces", namespace] => (*namespace, parts),
            _ => ("", parts),
        };
        let part = |at: usize| parts.get(at).copied().unwrap_or_default().to_owned();
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            namespace: namespace.to_owned(),
            resource: part(0),
            name: part(1),
            subresource: part(2),
            selected: false,
            rest: parts.len().saturating_sub(3),
        }
    }

    /// The verb; a list or watch of one name takes that name on, so that rights on a single object suffice for it.
    fn verb(&mut self, method: &Method, query: &Query, watched: bool) -> &'static str {
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if self.name.is_empty() => "deletecollection",
            Method::DELETE => "delete",
            Method::GET | Method::HEAD if watched || (self.name.is_empty() && query.flag("watch")) => "watch",
            Method::GET | Method::HEAD if self.name.is_empty() => "list",
            Method::GET | Method::HEAD => "get",
            _ => "",
        };
        if matches!(verb, "list" | "watch" | "deletecollection") && self.name.is_empty() {
            let selector = query.first("fieldSelector").unwrap_or_default();
            self.name = selected_name(selector).unwrap_or_default().to_owned();
            self.selected = !self.name.is_empty();
        }
        verb
    }
}

/// The name in a field selector that asks for exactly one.
fn selected_name(selector: &str) -> Option<&str> {
    selector.split(',').find_map(|term| {
        let value = term.strip_prefix("metadata.name=")?;
        Some(value.strip_prefix('=').unwrap_or(value)).filter(|name| !name.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, uri: &str) -> String {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let info = RequestInfo::parse(&method.parse().unwrap(), path, &Query::parse(query));
        match info.resource {
            None => format!("{} {}", info.verb, info.path),
            Some(r) => format!(
                "{} {}/{} ns={} {}/{} sub={} rest={}",
                info.verb, r.group, r.version, r.namespace, r.resource, r.name, r.subresource, r.rest
            ),
        }
    }

    #[test]
    fn paths_say_what_a_request_is_about() {
        for (method, uri, expected) in [
            ("GET", "/", "get /"),
            ("GET", "/api", "get /api"),
            ("GET", "/api/v1", "get /api/v1"),
            ("GET", "/apis/g/v1", "get /apis/g/v1"),
            ("POST", "/healthz", "post /healthz"),
            ("GET", "/api/v1/pods", "list /v1 ns= pods/ sub= rest=0"),
            ("GET", "/api/v1/pods?watch=true", "watch /v1 ns= pods/ sub= rest=0"),
            ("GET", "/api/v1/pods?watch=0", "list /v1 ns= pods/ sub= rest=0"),
            ("GET", "/api/v1/watch/namespaces/a/pods", "watch /v1 ns=a pods/ sub= rest=0"),
            ("GET", "/api/v1/namespaces/a/pods/web", "get /v1 ns=a pods/web sub= rest=0"),
            ("GET", "/api/v1/namespaces/a/pods/web?watch=1", "get /v1 ns=a pods/web sub= rest=0"),
            ("GET", "/api/v1/namespaces/a/pods/web/log", "get /v1 ns=a pods/web sub=log rest=0"),
            ("GET", "/api/v1/namespaces/a/pods/web/proxy/x/y", "get /v1 ns=a pods/web sub=proxy rest=2"),
            ("GET", "/api/v1/namespaces/a/pods/web%3A80/proxy", "get /v1 ns=a pods/web:80 sub=proxy rest=0"),
            ("GET", "/api/v1/namespaces/a%2Fsecrets/s", "get /v1 ns=a secrets/s sub= rest=0"),
            ("GET", "/api/v1/nodes/%zz%FF", "get /v1 ns= nodes/%zz\u{fffd} sub= rest=0"),
            ("GET", "/%76ersion", "get /version"),
            ("POST", "/api/v1/namespaces/a/pods/web/exec", "create /v1 ns=a pods/web sub=exec rest=0"),
            ("PATCH", "/api/v1/namespaces/a/pods/web/status", "patch /v1 ns=a pods/web sub=status rest=0"),
            ("GET", "/api/v1/namespaces", "list /v1 ns= namespaces/ sub= rest=0"),
            ("GET", "/api/v1/namespaces/a", "get /v1 ns=a namespaces/a sub= rest=0"),
            ("PUT", "/api/v1/namespaces/a/status", "update /v1 ns=a namespaces/a sub=status rest=0"),
            ("PUT", "/api/v1/namespaces/a/finalize", "update /v1 ns=a namespaces/a sub=finalize rest=0"),
            ("DELETE", "/api/v1/namespaces/a/pods", "deletecollection /v1 ns=a pods/ sub= rest=0"),
            ("DELETE", "/api/v1/namespaces/a/pods/p", "delete /v1 ns=a pods/p sub= rest=0"),
            (
                "GET",
                "/apis/coordination.k8s.io/v1/namespaces/n/leases/l",
                "get coordination.k8s.io/v1 ns=n leases/l sub= rest=0",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dweb",
                "list /v1 ns=a pods/web sub= rest=0",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3D%3Dweb&watch",
                "watch /v1 ns=a pods/web sub= rest=0",
            ),
        ] {
            assert_eq!(read(method, uri), expected, "{method} {uri}");
        }
    }
}
