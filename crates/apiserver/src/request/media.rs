//! Media types: what a client accepts and what it sends. Pure. Protobuf is read but not written: a client that also accepts
//! JSON gets JSON, one that insists gets 406, which names what is spoken.

use remora_model::Status;

/// JSON.
pub const JSON: &str = "application/json";
/// YAML.
pub const YAML: &str = "application/yaml";
/// Kubernetes' protobuf.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What objects are answered in.
const ANSWERED: [&str; 2] = [JSON, YAML];
/// What objects are accepted in.
const TAKEN: [&str; 3] = [JSON, YAML, PROTOBUF];

/// What a client that insists on protobuf has to set.
const HOW_TO_ASK: &str = " (protobuf is read here, but not written: in client-go, leave rest.Config.AcceptContentTypes empty or set it to \
                          \"application/vnd.kubernetes.protobuf,application/json\")";

/// What shape of an object the client wants (`as=` in Accept).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// The object as stored.
    #[default]
    Object,
    /// `meta.k8s.io/v1` Table: rows for people.
    Table,
    /// `PartialObjectMetadata` and its list: metadata only.
    Metadata,
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    #[default]
    Json,
    /// YAML, made from the JSON; never for watches.
    Yaml,
}

/// What a client accepts, as far as we can give it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// What shape.
    pub form: Form,
    /// What encoding.
    pub encoding: Encoding,
}

/// One entry of an Accept header.
struct Clause<'a> {
    media: &'a str,
    params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let params: Vec<_> = parts.filter_map(|p| p.split_once('=')).map(|(k, v)| (k.trim(), v.trim())).collect();
        let quality = params.iter().find(|(k, _)| *k == "q").and_then(|(_, v)| v.parse().ok()).unwrap_or(1.0);
        Self { media, params, quality }
    }

    fn param(&self, name: &str) -> Option<&'a str> {
        self.params.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn encoding(&self) -> Option<Encoding> {
        match self.media {
            JSON | "*/*" | "application/*" => Some(Encoding::Json),
            YAML => Some(Encoding::Yaml),
            _ => None,
        }
    }

    fn form(&self) -> Option<Form> {
        let of_meta = self.param("g") == Some("meta.k8s.io") && matches!(self.param("v"), Some("v1" | "v1beta1"));
        match self.param("as") {
            None => Some(Form::Object),
            Some("Table") if of_meta => Some(Form::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if of_meta => Some(Form::Metadata),
            Some(_) => None,
        }
    }
}

/// The entries of an Accept header, the most wanted first.
fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut all: Vec<_> = accept.split(',').filter(|t| !t.trim().is_empty()).map(Clause::parse).collect();
    all.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    all
}

/// What to answer with.
///
/// # Errors
/// 406 if nothing that the client accepts can be given.
pub fn negotiate(accept: &str) -> Result<Accepted, Status> {
    let wanted = clauses(accept);
    if wanted.is_empty() {
        return Ok(Accepted::default());
    }
    let accepted = |clause: &Clause<'_>| Some(Accepted { encoding: clause.encoding()?, form: clause.form()? });
    wanted.iter().find_map(accepted).ok_or_else(|| {
        let mut refusal = Status::not_acceptable(&ANSWERED);
        if wanted.iter().any(|clause| clause.media == PROTOBUF) {
            refusal.message.push_str(HOW_TO_ASK);
        }
        refusal
    })
}

/// Whether the client asks for aggregated discovery, and in which version (`v2`, `v2beta1`) it wants it first. JSON
/// without `as=` that stands before it asks for the old documents.
pub fn aggregated_discovery(accept: &str) -> Option<&'static str> {
    for clause in clauses(accept).iter().filter(|c| c.encoding().is_some()) {
        match (clause.param("as"), clause.param("v")) {
            (None, _) => return None,
            (Some("APIGroupDiscoveryList"), Some("v2")) => return Some("v2"),
            (Some("APIGroupDiscoveryList"), Some("v2beta1")) => return Some("v2beta1"),
            _ => {}
        }
    }
    None
}

/// How the body of a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyType {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Kubernetes' protobuf.
    Protobuf,
}

/// How a body that holds an object is written.
///
/// # Errors
/// 415 if it is none of these. No content type is taken for JSON, as upstream does.
pub fn body_type(content_type: Option<&str>) -> Result<BodyType, Status> {
    match bare(content_type.unwrap_or(JSON)) {
        JSON | "" => Ok(BodyType::Json),
        YAML => Ok(BodyType::Yaml),
        PROTOBUF => Ok(BodyType::Protobuf),
        _ => Err(Status::unsupported_media_type(&TAKEN)),
    }
}

/// A media type without its parameters.
fn bare(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECTL_GET: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

    #[test]
    fn the_first_thing_that_we_can_give_is_given() {
        let json = |form| Some(Accepted { form, encoding: Encoding::Json });
        for (accept, expected) in [
            ("", json(Form::Object)),
            ("*/*", json(Form::Object)),
            ("application/json, */*", json(Form::Object)),
            (KUBECTL_GET, json(Form::Table)),
            ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", json(Form::Metadata)),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json", json(Form::Metadata)),
            ("application/vnd.kubernetes.protobuf,application/json", json(Form::Object)),
            ("application/vnd.kubernetes.protobuf", None),
            ("application/json;as=Wibble;g=meta.k8s.io;v=v1", None),
            (
                "application/json;q=0.5,application/yaml",
                Some(Accepted { form: Form::Object, encoding: Encoding::Yaml }),
            ),
            ("text/html", None),
        ] {
            assert_eq!(negotiate(accept).ok(), expected, "{accept}");
        }
    }

    #[test]
    fn who_insists_on_protobuf_is_told_what_to_set() {
        assert!(negotiate(PROTOBUF).unwrap_err().message.contains("rest.Config.AcceptContentTypes"));
        assert!(!negotiate("text/html").unwrap_err().message.contains("protobuf"));
    }

    #[test]
    fn aggregated_discovery_is_given_to_those_who_ask_first_for_it() {
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                       application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        for (accept, expected) in [
            (kubectl, Some("v2")),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
                Some("v2beta1"),
            ),
            ("application/json", None),
            ("application/json,application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", None),
            ("", None),
        ] {
            assert_eq!(aggregated_discovery(accept), expected, "{accept}");
        }
    }

    #[test]
    fn bodies_are_told_apart_by_content_type() {
        assert_eq!(body_type(None).unwrap(), BodyType::Json);
        assert_eq!(body_type(Some("application/yaml; charset=utf-8")).unwrap(), BodyType::Yaml);
        assert_eq!(body_type(Some(PROTOBUF)).unwrap(), BodyType::Protobuf);
        assert_eq!(body_type(Some("application/cbor")).unwrap_err().code, 415);
    }
}
