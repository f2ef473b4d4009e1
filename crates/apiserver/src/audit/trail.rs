//! What is known of one request, for the audit log. Made when it comes; held by all who work on it: its [`Call`](crate::server::Call), its
//! answer's body, its session. When the last of them is done, so is the request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{HeaderName, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use jiff::Timestamp;
use remora_http::{Body, Connection, User, body};
use remora_model::Status;
use remora_rules::audit::event::{agent, is_long};
use remora_rules::audit::{Event, EventUser, Level, ObjectRef, Stage, Verdict};
use remora_rules::rbac::Decision;
use serde_json::Value;
use uuid::Uuid;

use super::Auditor;
use super::queue::{Entry, Raw};
use crate::auth::authz::{self, Attributes};
use crate::request::RequestInfo;
use crate::request::media::JSON;

/// Clients may name their request, and are told its name.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// One request's way.
pub struct Trail {
    id: HeaderValue,
    auditor: Option<Auditor>,
    received: Timestamp,
    told: Mutex<Told>,
}

/// What fills up on the way. Nothing is told while the level is `None`.
#[derive(Default)]
struct Told {
    event: Event,
    verdict: Verdict,
    is_long: bool,
    ends_at_head: bool,
    is_done: bool,
    request: Option<Raw>,
    response: Option<Raw>,
}

impl Trail {
    /// A request has come.
    pub fn begin(auditor: Option<&Auditor>, headers: &HeaderMap) -> Arc<Self> {
        let given = headers.get(AUDIT_ID).filter(|id| !id.is_empty() && id.to_str().is_ok()).cloned();
        let made = || HeaderValue::from_str(&Uuid::new_v4().to_string()).ok();
        let id = given.or_else(made).unwrap_or(HeaderValue::from_static("unknown"));
        let (auditor, told) = (auditor.cloned(), Mutex::default());
        Arc::new(Self { id, auditor, received: Timestamp::now(), told })
    }

    /// It is known whose the request is, or that nobody can say: how much is told is decided here.
    pub fn judge(&self, parts: &Parts, info: &RequestInfo, connection: &Connection, user: Option<&User>) {
        let Some(auditor) = &self.auditor else { return };
        let what = Attributes::from(info);
        let who = user.map(authz::who);
        let verdict = auditor.policy.judge(who, &what);
        if verdict.level == Level::None {
            return;
        }
        let mut told = self.told();
        told.event = Event {
            level: verdict.level,
            audit_id: self.id.to_str().unwrap_or_default().to_owned(),
            request_uri: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            verb: info.verb.clone(),
            user: user.map(shown).unwrap_or_default(),
            source_ips: sources(&parts.headers, connection),
            user_agent: agent(header(&parts.headers, USER_AGENT)),
            object_ref: object_ref(info),
            request_received_timestamp: self.received,
            ..Event::default()
        };
        told.verdict = verdict;
        told.is_long = is_long(&what);
        told.ends_at_head = user.is_none();
        if user.is_some() {
            self.tell(&told, Stage::RequestReceived, false);
        }
    }

    /// The request is another user's from here on.
    pub fn impersonates(&self, user: &User) {
        self.fill(|told| told.event.impersonated_user = Some(shown(user)));
    }

    /// Whether it may be, and why.
    pub fn decided(&self, decision: &Decision) {
        self.annotate("authorization.k8s.io/decision", if decision.allowed { "allow" } else { "forbid" });
        self.annotate("authorization.k8s.io/reason", &decision.reason);
    }

    /// What somebody on the way has to say of it.
    pub fn annotate(&self, name: &str, text: &str) {
        self.fill(|told| {
            told.event.annotations.insert(name.to_owned(), text.to_owned());
        });
    }

    /// The name of what is made, which the path does not have.
    pub fn names(&self, name: &str) {
        self.fill(|told| {
            if let Some(of) = told.event.object_ref.as_mut().filter(|of| of.name.is_empty()) {
                name.clone_into(&mut of.name);
            }
        });
    }

    /// Whether the body is told.
    pub fn wants_request(&self) -> bool {
        self.told().verdict.level >= Level::Request
    }

    /// The object that was sent, as it was decoded: in canonical form with its kind's defaults, before anything else is done to it.
    pub fn sent(&self, object: &Value) {
        self.fill(|told| {
            if let Some(of) = &mut told.event.object_ref {
                of.complete(object);
            }
            if told.verdict.level >= Level::Request {
                let pieces = vec![object.to_string().into()];
                told.request = Some(Raw { content_type: Some(JSON.to_owned()), pieces });
            }
        });
    }

    /// The body of a patch, or of options: as it came.
    pub fn requested(&self, content_type: Option<&str>, bytes: bytes::Bytes) {
        let raw = Raw { content_type: content_type.map(str::to_owned), pieces: vec![bytes] };
        self.fill(|told| told.request = Some(raw).filter(|raw| !raw.pieces[0].is_empty()));
    }

    /// The head of the answer is ready. Its body holds on to the trail.
    pub fn answered(self: Arc<Self>, mut response: Response<Body>) -> Response<Body> {
        response.headers_mut().insert(AUDIT_ID, self.id.clone());
        let mut told = self.told();
        if told.verdict.level == Level::None {
            drop(told);
            return response;
        }
        let status = response.extensions_mut().remove::<Status>();
        told.event.answered(response.status().as_u16(), status.as_ref());
        if told.ends_at_head {
            let attempted = "Authentication failed, attempted: bearer";
            if let Some(status) = told.event.response_status.as_mut() {
                status["message"] = attempted.into();
            }
        }
        if told.is_long || told.ends_at_head {
            self.tell(&told, Stage::ResponseStarted, false);
        }
        told.is_done = told.ends_at_head;
        let is_told = told.verdict.level == Level::RequestResponse && told.event.object_ref.is_some() && !told.is_long;
        if is_told {
            let content_type = header(response.headers(), http::header::CONTENT_TYPE).to_owned();
            told.response = Some(Raw { content_type: Some(content_type), pieces: Vec::new() });
        }
        drop(told);
        response.map(|body| {
            body::witnessed(body, move |piece| {
                if is_told {
                    self.fill(|told| told.response.iter_mut().for_each(|raw| raw.pieces.push(piece.clone())));
                } else {
                    // It is held until the end all the same.
                    let _held = &self;
                }
            })
        })
    }

    /// The handler panicked: there is no more to come.
    pub fn panicked(&self, status: &Status) {
        self.fill(|told| {
            told.event.answered(status.code, Some(status));
            self.tell(told, Stage::Panic, false);
            told.is_done = true;
        });
    }

    fn fill(&self, fill: impl FnOnce(&mut Told)) {
        if self.auditor.is_some() {
            let mut told = self.told();
            if told.verdict.level > Level::None {
                fill(&mut told);
            }
        }
    }

    /// A panic elsewhere leaves it as it was.
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, told: &Told, stage: Stage, with_response: bool) {
        let Some(auditor) = self.auditor.as_ref().filter(|_| told.verdict.tells(stage)) else { return };
        auditor.queue.tell(Entry {
            event: told.event.at(stage, Timestamp::now()),
            request: told.request.clone(),
            response: told.response.clone().filter(|_| with_response),
            omit_managed_fields: told.verdict.omit_managed_fields,
        });
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let told = std::mem::take(self.told.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !told.is_done {
            self.tell(&told, Stage::ResponseComplete, true);
        }
    }
}

fn shown(user: &User) -> EventUser {
    let User { name, uid, groups, extra } = user.clone();
    EventUser { username: name, uid, groups, extra }
}

fn object_ref(info: &RequestInfo) -> Option<ObjectRef> {
    let of = info.resource.as_ref()?;
    Some(ObjectRef {
        resource: of.resource.clone(),
        namespace: of.namespace.clone(),
        name: of.name.clone(),
        api_group: of.group.clone(),
        api_version: of.version.clone(),
        subresource: of.subresource.clone(),
        ..ObjectRef::default()
    })
}

fn header(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What proxies say of where a request comes from, then the connection's own word, which alone can be believed
/// (k8s.io/apimachinery `pkg/util/net/http.go`, `SourceIPs`).
fn sources(headers: &HeaderMap, connection: &Connection) -> Vec<String> {
    let forwarded = header(headers, HeaderName::from_static("x-forwarded-for"));
    let real = header(headers, HeaderName::from_static("x-real-ip"));
    let said = forwarded.split(',').chain([real]).filter_map(|text| text.trim().parse::<std::net::IpAddr>().ok());
    let mut all: Vec<String> = said.map(|ip| ip.to_string()).collect();
    let peer = connection.address().map(|address| address.ip().to_string());
    if let Some(peer) = peer.filter(|peer| all.last() != Some(peer)) {
        all.push(peer);
    }
    all.dedup();
    all
}
