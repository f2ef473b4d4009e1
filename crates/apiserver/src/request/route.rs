//! The one enum of all requests, and the route table that leads to it. Pure: it reads the table of kinds and what the
//! request says of itself; whether the object exists is found out by those who act.

use http::Method;
use remora_model::kinds::{self, Verb};
use remora_model::{Kind, ObjectKey, Status};
use remora_rules::patch::PatchType;
use remora_rules::pod::log::{LogOptions, StreamOptions};
use remora_rules::pod::port_forward;

use super::info::{RequestInfo, ResourceInfo};
use super::options::{self, ListOptions, PatchOptions, WatchOptions, WriteOptions};
use super::query::Query;

/// Everything that the API server can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiRequest {
    /// `/healthz`, `/livez`, `/readyz`, and single checks below them.
    Health {
        /// The one check that is asked for; none is all.
        check: Option<String>,
        /// Say which checks there are.
        verbose: bool,
    },
    /// `/version`
    Version,
    /// `/metrics`
    Metrics,
    /// What there is.
    Discovery(Discovery),
    /// What it looks like.
    OpenApi(OpenApi),
    /// GET of a collection.
    List(Collection, ListOptions),
    /// GET of a collection with `watch=true`.
    Watch(Collection, WatchOptions),
    /// POST to a collection.
    Create(Collection, WriteOptions),
    /// DELETE of a collection.
    DeleteCollection(Collection, ListOptions),
    /// GET of an object.
    Get(ObjectKey, Option<u64>),
    /// GET of `…/scale`.
    GetScale(ObjectKey, Option<u64>),
    /// PUT.
    Update(ObjectKey, Part, WriteOptions),
    /// PATCH.
    Patch(ObjectKey, Part, PatchOptions),
    /// DELETE of an object.
    Delete(ObjectKey),
    /// POST to `pods/NAME/binding`.
    Bind(ObjectKey, WriteOptions),
    /// POST to `pods/NAME/eviction`.
    Evict(ObjectKey, WriteOptions),
    /// POST to `serviceaccounts/NAME/token`.
    CreateToken(ObjectKey, WriteOptions),
    /// GET of `pods/NAME/log`.
    Log(ObjectKey, LogOptions),
    /// `pods/NAME/exec` and `pods/NAME/attach`.
    Session(ObjectKey, SessionKind, StreamOptions),
    /// `pods/NAME/portforward`, with the ports that a client over channels wants.
    PortForward(ObjectKey, Vec<u16>),
    /// Any method on `pods/NAME/proxy/…`, `services/NAME/proxy/…` and `nodes/NAME/proxy/…`; the name may have a port.
    Proxy(ObjectKey),
}

/// What an update or patch may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The object itself.
    Whole,
    /// `…/status`
    Status,
    /// `pods/NAME/ephemeralcontainers`
    EphemeralContainers,
    /// `pods/NAME/resize`
    Resize,
    /// `namespaces/NAME/finalize`
    Finalize,
    /// `…/scale`
    Scale,
}

impl Part {
    /// The subresource, empty for the object itself.
    pub fn subresource(self) -> &'static str {
        match self {
            Self::Whole => "",
            Self::Status => "status",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Resize => "resize",
            Self::Finalize => "finalize",
            Self::Scale => "scale",
        }
    }
}

/// A collection: a kind, in one namespace or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// The kind.
    pub kind: &'static Kind,
    /// None is all of them.
    pub namespace: Option<String>,
}

/// Exec or attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// A new process.
    Exec,
    /// The container's first process.
    Attach,
}

/// A discovery document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// `/`: the paths.
    Paths,
    /// `/api`: versions of the core group.
    Core,
    /// `/apis`: the other groups.
    Groups,
    /// `/apis/GROUP`
    Group(String),
    /// `/api/VERSION`, `/apis/GROUP/VERSION`
    Resources(String, String),
}

/// An OpenAPI document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenApi {
    /// `/openapi/v2`
    V2,
    /// `/openapi/v3`
    V3Index,
    /// `/openapi/v3/api/v1`, `/openapi/v3/apis/GROUP/VERSION`
    V3(String, String),
}

/// Why a request leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing was ever here: a bare `404 page not found`, as Go's mux writes it.
    NoPage,
    /// With a Status.
    Status(Box<Status>),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl ApiRequest {
    /// What a request asks for. Headers matter only for the content type of a patch.
    ///
    /// # Errors
    /// If it leads nowhere (404), the resource does not have the verb (405), or its options are wrong (400, 415, 422).
    pub fn route(
        info: &RequestInfo,
        method: &Method,
        query: &Query,
        content_type: Option<&str>,
    ) -> Result<Self, Refusal> {
        match &info.resource {
            Some(resource) => Route { resource, method, query, content_type }.to_resource(&info.verb),
            None => page(&info.path, method, query),
        }
    }
}

/// Paths that are no resources.
fn page(path: &str, method: &Method, query: &Query) -> Result<ApiRequest, Refusal> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let own = |word: &&str| (*word).to_owned();
    let request = match parts.as_slice() {
        ["healthz" | "livez" | "readyz", check @ ..] if check.len() < 2 => {
            ApiRequest::Health { check: check.first().map(own), verbose: query.first("verbose").is_some() }
        }
        ["version"] => ApiRequest::Version,
        ["metrics"] => ApiRequest::Metrics,
        [] => ApiRequest::Discovery(Discovery::Paths),
        ["api"] => ApiRequest::Discovery(Discovery::Core),
        ["apis"] => ApiRequest::Discovery(Discovery::Groups),
        ["apis", group] if has_group(group) => ApiRequest::Discovery(Discovery::Group(own(group))),
        ["api", version] if has_version("", version) => {
            ApiRequest::Discovery(Discovery::Resources(String::new(), own(version)))
        }
        ["apis", group, version] if has_version(group, version) => {
            ApiRequest::Discovery(Discovery::Resources(own(group), own(version)))
        }
        ["openapi", "v2"] => ApiRequest::OpenApi(OpenApi::V2),
        ["openapi", "v3"] => ApiRequest::OpenApi(OpenApi::V3Index),
        ["openapi", "v3", "api", version] if has_version("", version) => {
            ApiRequest::OpenApi(OpenApi::V3(String::new(), own(version)))
        }
        ["openapi", "v3", "apis", group, version] if has_version(group, version) => {
            ApiRequest::OpenApi(OpenApi::V3(own(group), own(version)))
        }
        _ => return Err(Refusal::NoPage),
    };
    match *method {
        Method::GET | Method::HEAD => Ok(request),
        _ => Err(Status::method_not_allowed().into()),
    }
}

fn has_group(group: &str) -> bool {
    !group.is_empty() && kinds::KINDS.iter().any(|k| k.group == group)
}

fn has_version(group: &str, version: &str) -> bool {
    kinds::KINDS.iter().any(|k| k.group == group && k.version == version)
}

/// A request to a resource, on its way.
struct Route<'r> {
    resource: &'r ResourceInfo,
    method: &'r Method,
    query: &'r Query,
    content_type: Option<&'r str>,
}

type Routed = Result<ApiRequest, Refusal>;

impl Route<'_> {
    fn to_resource(&self, verb: &str) -> Routed {
        let asked = self.resource;
        if !has_version(&asked.group, &asked.version) {
            return Err(Refusal::NoPage);
        }
        let nowhere = || Refusal::from(Status::no_such_resource());
        let kind = kinds::by_resource(&asked.group, &asked.version, &asked.resource).ok_or_else(nowhere)?;
        if (asked.rest > 0 && asked.subresource != "proxy") || self.is_in_wrong_scope(kind) {
            return Err(nowhere());
        }
        match asked.subresource.as_str() {
            "" => self.whole(kind, verb),
            // The old `/watch/` paths lead to objects only: who may watch must not get into a session, a log or a proxy there.
            _ if verb == Verb::Watch.as_str() => Err(nowhere()),
            name => match kind.subresource(name) {
                Some(sub) if self.has(sub.verbs) => self.part(kind, name),
                Some(_) => Err(Status::method_not_allowed().into()),
                None => Err(nowhere()),
            },
        }
    }

    /// A cluster-wide kind below a namespace, or an object of a namespaced kind outside of any. A namespace counts as being in itself, so that who
    /// has rights there may look at it; but not other namespaces, nor all of them.
    fn is_in_wrong_scope(&self, kind: &Kind) -> bool {
        let in_namespace = !self.resource.namespace.is_empty();
        match kind.namespaced {
            true => !in_namespace && self.names_object(),
            false => {
                let is_its_own = kind.plural == "namespaces" && self.resource.name == self.resource.namespace;
                in_namespace && !(is_its_own && self.names_object())
            }
        }
    }

    /// Whether the path itself has a name (a field selector may have put one into the info of a collection).
    fn names_object(&self) -> bool {
        !self.resource.name.is_empty() && !self.resource.selected
    }

    fn has(&self, verbs: &[Verb]) -> bool {
        let verb = match *self.method {
            Method::GET | Method::HEAD => Verb::Get,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ => return false,
        };
        verbs.contains(&verb)
    }

    fn collection(&self, kind: &'static Kind) -> Collection {
        let namespace = Some(self.resource.namespace.clone()).filter(|ns| kind.namespaced && !ns.is_empty());
        Collection { kind, namespace }
    }

    fn object(&self, kind: &'static Kind) -> ObjectKey {
        ObjectKey::new(kind, Some(&self.resource.namespace), self.resource.name.clone())
    }

    fn whole(&self, kind: &'static Kind, verb: &str) -> Routed {
        let known = kind.verbs.iter().find(|v| v.as_str() == verb);
        let query = self.query;
        match (known, self.names_object()) {
            (Some(Verb::List), false) => Ok(ApiRequest::List(self.collection(kind), ListOptions::parse(query)?)),
            (Some(Verb::Watch), false) => Ok(ApiRequest::Watch(self.collection(kind), WatchOptions::parse(query)?)),
            // The old `/watch/…/NAME` path.
            (Some(Verb::Watch), true) => {
                let mut options = WatchOptions::parse(query)?;
                options.list.field_selector = format!("metadata.name={}", self.resource.name);
                Ok(ApiRequest::Watch(self.collection(kind), options))
            }
            (Some(Verb::Create), false) if !kind.namespaced || !self.resource.namespace.is_empty() => {
                Ok(ApiRequest::Create(self.collection(kind), WriteOptions::parse(query, "CreateOptions")?))
            }
            (Some(Verb::DeleteCollection), false) => {
                Ok(ApiRequest::DeleteCollection(self.collection(kind), ListOptions::parse(query)?))
            }
            (Some(Verb::Get), true) => {
                Ok(ApiRequest::Get(self.object(kind), options::version(query.given("resourceVersion"))?))
            }
            (Some(Verb::Update), true) => self.update(kind, Part::Whole),
            (Some(Verb::Patch), true) => self.patch(kind, Part::Whole),
            (Some(Verb::Delete), true) => Ok(ApiRequest::Delete(self.object(kind))),
            _ => Err(Status::method_not_allowed().into()),
        }
    }

    fn part(&self, kind: &'static Kind, name: &str) -> Routed {
        let object = self.object(kind);
        let part = match name {
            "status" => Part::Status,
            "ephemeralcontainers" => Part::EphemeralContainers,
            "resize" => Part::Resize,
            "finalize" => Part::Finalize,
            "scale" => Part::Scale,
            "binding" => return Ok(ApiRequest::Bind(object, self.create_options()?)),
            "eviction" => return Ok(ApiRequest::Evict(object, self.create_options()?)),
            "token" => return Ok(ApiRequest::CreateToken(object, self.create_options()?)),
            "log" => {
                let options = LogOptions::from_query(&object.name, self.query.pairs())?;
                return Ok(ApiRequest::Log(object, options));
            }
            "exec" => return Ok(ApiRequest::Session(object, SessionKind::Exec, self.streams())),
            "portforward" => {
                return Ok(ApiRequest::PortForward(object, port_forward::ports_from_query(self.query.pairs())?));
            }
            "attach" => return Ok(ApiRequest::Session(object, SessionKind::Attach, self.streams())),
            "proxy" => return Ok(ApiRequest::Proxy(object)),
            _ => return Err(Status::no_such_resource().into()),
        };
        match *self.method {
            Method::PUT => self.update(kind, part),
            Method::PATCH => self.patch(kind, part),
            _ => {
                let version = options::version(self.query.given("resourceVersion"))?;
                Ok(if part == Part::Scale {
                    ApiRequest::GetScale(object, version)
                } else {
                    ApiRequest::Get(object, version)
                })
            }
        }
    }

    fn streams(&self) -> StreamOptions {
        StreamOptions::from_query(self.query.pairs())
    }

    fn create_options(&self) -> Result<WriteOptions, Status> {
        WriteOptions::parse(self.query, "CreateOptions")
    }

    fn update(&self, kind: &'static Kind, part: Part) -> Routed {
        Ok(ApiRequest::Update(self.object(kind), part, WriteOptions::parse(self.query, "UpdateOptions")?))
    }

    fn patch(&self, kind: &'static Kind, part: Part) -> Routed {
        let patch = PatchType::from_media_type(self.content_type.unwrap_or_default())?;
        Ok(ApiRequest::Patch(self.object(kind), part, PatchOptions::parse(self.query, patch)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &str, uri: &str) -> String {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let (method, query): (Method, _) = (method.parse().unwrap(), Query::parse(query));
        let info = RequestInfo::parse(&method, path, &query);
        match ApiRequest::route(&info, &method, &query, Some("application/merge-patch+json")) {
            Err(Refusal::NoPage) => "no page".to_owned(),
            Err(Refusal::Status(status)) => status.code.to_string(),
            Ok(request) => shown(&request),
        }
    }

    fn shown(request: &ApiRequest) -> String {
        let all = |c: &Collection| format!("{} in {}", c.kind.resource(), c.namespace.as_deref().unwrap_or("all"));
        match request {
            ApiRequest::List(c, _) => format!("list {}", all(c)),
            ApiRequest::Watch(c, o) => format!("watch {} [{}]", all(c), o.list.field_selector),
            ApiRequest::Create(c, _) => format!("create {}", all(c)),
            ApiRequest::DeleteCollection(c, _) => format!("delete all {}", all(c)),
            ApiRequest::Get(o, _) => format!("get {o}"),
            ApiRequest::Update(o, part, _) => format!("update {o} {part:?}"),
            ApiRequest::Patch(o, part, _) => format!("patch {o} {part:?}"),
            ApiRequest::Delete(o) => format!("delete {o}"),
            ApiRequest::Bind(o, _) => format!("bind {o}"),
            ApiRequest::CreateToken(o, _) => format!("token {o}"),
            ApiRequest::Log(o, _) => format!("log {o}"),
            ApiRequest::Session(o, kind, _) => format!("{kind:?} {o}"),
            ApiRequest::PortForward(o, ports) => format!("port-forward {o} {ports:?}"),
            ApiRequest::Proxy(o) => format!("proxy {o}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn every_path_leads_to_its_request() {
        for (method, uri, expected) in [
            ("GET", "/", "Discovery(Paths)"),
            ("GET", "/api", "Discovery(Core)"),
            ("GET", "/api/", "Discovery(Core)"),
            ("GET", "/apis", "Discovery(Groups)"),
            ("GET", "/api/v1", "Discovery(Resources(\"\", \"v1\"))"),
            ("GET", "/api/v2", "no page"),
            ("GET", "/apis/events.k8s.io", "Discovery(Group(\"events.k8s.io\"))"),
            ("GET", "/apis/none", "no page"),
            ("GET", "/apis/events.k8s.io/v1", "Discovery(Resources(\"events.k8s.io\", \"v1\"))"),
            ("GET", "/healthz", "Health { check: None, verbose: false }"),
            ("GET", "/readyz?verbose", "Health { check: None, verbose: true }"),
            ("GET", "/livez/ping", "Health { check: Some(\"ping\"), verbose: false }"),
            ("POST", "/healthz", "405"),
            ("GET", "/version", "Version"),
            ("GET", "/openapi/v2", "OpenApi(V2)"),
            ("GET", "/openapi/v3", "OpenApi(V3Index)"),
            ("GET", "/openapi/v3/api/v1", "OpenApi(V3(\"\", \"v1\"))"),
            ("GET", "/openapi/v3/apis/none/v1", "no page"),
            ("GET", "/wibble", "no page"),
            ("GET", "/apis/nothing.example.com/v1/things", "no page"),
            ("GET", "/api/v1/namespaces/a/wibbles", "404"),
            ("GET", "/api/v1/pods", "list pods in all"),
            ("GET", "/api/v1/namespaces/a/pods", "list pods in a"),
            ("GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx", "list pods in a"),
            ("GET", "/api/v1/namespaces/a/pods?watch=1", "watch pods in a []"),
            ("GET", "/api/v1/watch/namespaces/a/pods/web", "watch pods in a [metadata.name=web]"),
            ("GET", "/api/v1/watch/namespaces/a/pods/web/exec", "404"),
            ("GET", "/api/v1/watch/namespaces/a/pods/web/log", "404"),
            ("GET", "/api/v1/watch/nodes/n/proxy/x", "404"),
            ("POST", "/api/v1/namespaces/a/pods", "create pods in a"),
            ("POST", "/api/v1/pods", "405"),
            ("PUT", "/api/v1/namespaces/a/pods", "405"),
            ("POST", "/api/v1/namespaces/a/pods/web", "405"),
            ("DELETE", "/api/v1/namespaces/a/pods", "delete all pods in a"),
            ("DELETE", "/api/v1/namespaces", "405"),
            ("GET", "/api/v1/namespaces/a/pods/web", "get pods a/web"),
            ("GET", "/api/v1/pods/web", "404"),
            ("PUT", "/api/v1/namespaces/a/pods/web", "update pods a/web Whole"),
            ("PATCH", "/api/v1/namespaces/a/pods/web", "patch pods a/web Whole"),
            ("DELETE", "/api/v1/namespaces/a/pods/web", "delete pods a/web"),
            ("GET", "/api/v1/namespaces/a/pods/web/status", "get pods a/web"),
            ("PATCH", "/api/v1/namespaces/a/pods/web/status", "patch pods a/web Status"),
            ("GET", "/api/v1/namespaces/a/pods/web/ephemeralcontainers", "get pods a/web"),
            ("PUT", "/api/v1/namespaces/a/pods/web/ephemeralcontainers", "update pods a/web EphemeralContainers"),
            ("POST", "/api/v1/namespaces/a/pods/web/ephemeralcontainers", "405"),
            ("GET", "/api/v1/namespaces/a/pods/web/resize", "get pods a/web"),
            ("PUT", "/api/v1/namespaces/a/pods/web/resize", "update pods a/web Resize"),
            ("DELETE", "/api/v1/namespaces/a/pods/web/resize", "405"),
            ("DELETE", "/api/v1/namespaces/a/pods/web/ephemeralcontainers", "405"),
            ("POST", "/api/v1/namespaces/a/pods/web/binding", "bind pods a/web"),
            ("GET", "/api/v1/namespaces/a/pods/web/log", "log pods a/web"),
            ("GET", "/api/v1/namespaces/a/pods/web/exec", "Exec pods a/web"),
            ("POST", "/api/v1/namespaces/a/pods/web/attach", "Attach pods a/web"),
            ("POST", "/api/v1/namespaces/a/pods/web/portforward", "port-forward pods a/web []"),
            (
                "GET",
                "/api/v1/namespaces/a/pods/web/portforward?ports=80,81&ports=82",
                "port-forward pods a/web [80, 81, 82]",
            ),
            ("GET", "/api/v1/namespaces/a/pods/web/portforward?ports=http", "400"),
            ("PUT", "/api/v1/namespaces/a/pods/web/portforward", "405"),
            ("GET", "/api/v1/namespaces/a/pods/web:80/proxy", "proxy pods a/web:80"),
            ("DELETE", "/api/v1/namespaces/a/pods/web/proxy/x/y", "proxy pods a/web"),
            ("GET", "/api/v1/nodes/n:9100/proxy/metrics", "proxy nodes n:9100"),
            ("PUT", "/api/v1/namespaces/a/services/https:web:443/proxy/x", "proxy services a/https:web:443"),
            ("GET", "/api/v1/namespaces/a/configmaps/c/proxy/x", "404"),
            ("GET", "/api/v1/namespaces/a/pods/web/wibble", "404"),
            ("GET", "/api/v1/namespaces/a/pods/web/log/x", "404"),
            ("GET", "/api/v1/nodes/n", "get nodes n"),
            ("GET", "/api/v1/namespaces/a/nodes/n", "404"),
            ("GET", "/api/v1/namespaces/a/namespaces", "404"),
            ("GET", "/api/v1/namespaces/a/namespaces?fieldSelector=metadata.name%3Da", "404"),
            ("GET", "/api/v1/namespaces/a/namespaces/b", "404"),
            ("DELETE", "/api/v1/namespaces/a/namespaces/b", "404"),
            ("PUT", "/api/v1/namespaces/a/namespaces/b/finalize", "404"),
            ("GET", "/api/v1/namespaces/a", "get namespaces a"),
            ("DELETE", "/api/v1/namespaces/a", "delete namespaces a"),
            ("PUT", "/api/v1/namespaces/a/finalize", "update namespaces a Finalize"),
            ("PATCH", "/api/v1/namespaces/a/finalize", "405"),
            ("POST", "/api/v1/namespaces/a/serviceaccounts/d/token", "token serviceaccounts a/d"),
            ("GET", "/apis/coordination.k8s.io/v1/leases", "list leases.coordination.k8s.io in all"),
            (
                "POST",
                "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                "create subjectaccessreviews.authorization.k8s.io in all",
            ),
            ("GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "405"),
        ] {
            assert_eq!(route(method, uri), expected, "{method} {uri}");
        }
    }
}
