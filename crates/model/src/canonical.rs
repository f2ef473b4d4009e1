//! Brings a JSON object into v1.34's canonical form: what a Kubernetes API server would answer after decoding the object
//! into Go's types and encoding it again. Unknown fields go (and are reported), nulls and empty optionals go, what Go does
//! not omit comes (`resources: {}`, `lastProbeTime: null`), quantities, times and base64 are rewritten.
//!
//! It sets no defaults and judges no values: that is `rules`. Every write of the API server passes through it, after
//! decoding and again after defaulting. It is idempotent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use crate::quantity::Quantity;
use crate::schema::{Field, Shape, Type};
use crate::text::quoted;

/// An object in canonical form.
#[derive(Clone, Debug, PartialEq)]
pub struct Canonical {
    /// The object.
    pub value: Value,
    /// Paths of fields that its type does not have, `spec.containers[0].wibble`: dropped.
    pub unknown: Vec<String>,
}

/// A value of the wrong type, worded as Go's decoder words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// The whole sentence.
    pub message: String,
}

/// Brings an object of the given type into canonical form.
///
/// # Errors
/// If a value has the wrong JSON type, or is no quantity, time or base64 where one must stand.
pub fn canonicalize(of: &Type, value: Value) -> Result<Canonical, DecodeError> {
    let mut walk = Walk { steps: Vec::new(), unknown: Vec::new(), holder: of.go_word() };
    let value = walk.strukt(of, value)?;
    Ok(Canonical { value, unknown: walk.unknown })
}

/// Where the walk is, and what it met.
struct Walk<'v> {
    steps: Vec<Step<'v>>,
    unknown: Vec<String>,
    /// The innermost Go struct, which decoding errors name.
    holder: &'static str,
}

enum Step<'v> {
    Field(&'v str),
    Index(usize),
    Key(String),
}

type Walked = Result<Value, DecodeError>;

impl Walk<'_> {
    fn strukt(&mut self, of: &Type, value: Value) -> Walked {
        let mut given = match value {
            Value::Object(map) => map,
            Value::Null => Map::new(),
            other => return Err(self.mismatch(&other, &format!("v1.{}", of.go_word()))),
        };
        let outer = std::mem::replace(&mut self.holder, of.go_word());
        let mut out = Map::new();
        for field in &of.fields {
            self.field(field, given.remove(field.name), &mut out)?;
        }
        for name in given.keys() {
            self.unknown.push(join(&self.path(), name));
        }
        self.holder = outer;
        Ok(Value::Object(out))
    }

    fn field(&mut self, field: &Field, given: Option<Value>, out: &mut Map<String, Value>) -> Result<(), DecodeError> {
        let given = given.filter(|v| !v.is_null());
        let value = match given {
            Some(value) => {
                self.steps.push(Step::Field(field.name));
                let value = self.shape(&field.shape, value)?;
                self.steps.pop();
                if !field.pointer && field.omit_empty && is_empty(&field.shape, &value) {
                    return Ok(());
                }
                value
            }
            None if omitted_when_unset(field) => return Ok(()),
            None if field.pointer => Value::Null,
            None => zero(&field.shape),
        };
        out.insert(field.name.to_owned(), value);
        Ok(())
    }

    fn shape(&mut self, shape: &Shape, value: Value) -> Walked {
        match (shape, value) {
            (Shape::Struct(_), value) => match shape.as_struct() {
                Some(of) => self.strukt(of, value),
                None => Ok(value),
            },
            (Shape::Any, value) => Ok(value),
            (_, Value::Null) => Ok(zero(shape)),
            (Shape::List(of), Value::Array(items)) => self.list(of, items),
            (Shape::Map(of), Value::Object(map)) => self.map(of, map),
            (Shape::Text, value @ Value::String(_)) | (Shape::Bool, value @ Value::Bool(_)) => Ok(value),
            (Shape::Int32, Value::Number(n)) => self.integer(n, i64::from(i32::MIN), i64::from(i32::MAX), "int32"),
            (Shape::Int64, Value::Number(n)) => self.integer(n, i64::MIN, i64::MAX, "int64"),
            (Shape::IntOrText, Value::Number(n)) => self.integer(n, i64::from(i32::MIN), i64::from(i32::MAX), "int32"),
            (Shape::IntOrText, value @ Value::String(_)) => Ok(value),
            (Shape::Quantity, Value::String(text)) => quantity(&text),
            (Shape::Quantity, Value::Number(n)) => quantity(&n.to_string()),
            (Shape::Time, Value::String(text)) => time(&text, "%Y-%m-%dT%H:%M:%SZ"),
            (Shape::MicroTime, Value::String(text)) => time(&text, "%Y-%m-%dT%H:%M:%S%.6fZ"),
            (Shape::Bytes, Value::String(text)) => bytes(&text),
            (shape, value) => Err(self.mismatch(&value, &shape.go_name())),
        }
    }

    fn list(&mut self, of: &Shape, items: Vec<Value>) -> Walked {
        let mut out = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            self.steps.push(Step::Index(at));
            out.push(self.shape(of, item)?);
            self.steps.pop();
        }
        Ok(Value::Array(out))
    }

    fn map(&mut self, of: &Shape, map: Map<String, Value>) -> Walked {
        let mut out = Map::new();
        for (key, value) in map {
            self.steps.push(Step::Key(key.clone()));
            let value = self.shape(of, value)?;
            self.steps.pop();
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }

    fn integer(&self, n: Number, min: i64, max: i64, go: &str) -> Walked {
        match n.as_i64() {
            Some(i) if (min..=max).contains(&i) => Ok(i.into()),
            _ => Err(self.mismatch_of(&format!("number {n}"), go)),
        }
    }

    fn mismatch(&self, value: &Value, go: &str) -> DecodeError {
        let what = match value {
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            Value::Null => "null",
        };
        self.mismatch_of(what, go)
    }

    /// Go names the innermost struct, then the fields from the outside without the indexes.
    fn mismatch_of(&self, what: &str, go: &str) -> DecodeError {
        let fields: Vec<&str> =
            self.steps.iter().filter_map(|s| if let Step::Field(f) = s { Some(*f) } else { None }).collect();
        let message = if fields.is_empty() {
            format!("json: cannot unmarshal {what} into Go value of type {go}")
        } else {
            let place = format!("{}.{}", self.holder, fields.join("."));
            format!("json: cannot unmarshal {what} into Go struct field {place} of type {go}")
        };
        DecodeError { message }
    }

    fn path(&self) -> String {
        self.steps.iter().fold(String::new(), |path, step| match step {
            Step::Field(name) => join(&path, name),
            Step::Key(key) => join(&path, key),
            Step::Index(at) => format!("{path}[{at}]"),
        })
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Whether Go leaves the field out when nothing was given. Structs are never "empty" to it.
fn omitted_when_unset(field: &Field) -> bool {
    let is_struct =
        matches!(field.shape, Shape::Struct(_) | Shape::Time | Shape::MicroTime | Shape::Quantity | Shape::IntOrText);
    if is_struct && !field.pointer { field.omit_zero } else { field.omit_empty }
}

fn is_empty(shape: &Shape, value: &Value) -> bool {
    match (shape, value) {
        (Shape::Text | Shape::Bytes, Value::String(text)) => text.is_empty(),
        (Shape::Bool, Value::Bool(set)) => !set,
        (Shape::Int32 | Shape::Int64, Value::Number(n)) => n.as_i64() == Some(0),
        (Shape::List(_), Value::Array(items)) => items.is_empty(),
        (Shape::Map(_), Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

/// What Go writes for a value that was never set and is not left out.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Text => "".into(),
        Shape::Bool => false.into(),
        Shape::Int32 | Shape::Int64 | Shape::IntOrText => 0.into(),
        Shape::Quantity => "0".into(),
        Shape::Struct(_) => shape.as_struct().map_or(Value::Null, zero_struct),
        Shape::Bytes | Shape::Time | Shape::MicroTime | Shape::Any | Shape::List(_) | Shape::Map(_) => Value::Null,
    }
}

fn zero_struct(of: &'static Type) -> Value {
    let unset = of.fields.iter().filter(|f| !omitted_when_unset(f));
    Value::Object(unset.map(|f| (f.name.to_owned(), if f.pointer { Value::Null } else { zero(&f.shape) })).collect())
}

fn quantity(text: &str) -> Walked {
    let parsed = Quantity::parse(text.trim()).map_err(|e| DecodeError { message: e.to_string() })?;
    Ok(parsed.canonical().into())
}

fn time(text: &str, format: &str) -> Walked {
    let bad = || DecodeError {
        message: format!(
            "parsing time {} as {}: cannot parse {} as \"2006\"",
            quoted(text),
            quoted("2006-01-02T15:04:05Z07:00"),
            quoted(text)
        ),
    };
    // RFC 3339 only: jiff also reads other ISO 8601 forms.
    let separated = text.len() >= 20 && text.as_bytes()[10] == b'T';
    let at: Timestamp = text.parse().ok().filter(|_| separated).ok_or_else(bad)?;
    jiff::fmt::strtime::format(format, at).map(Value::String).map_err(|_| bad())
}

fn bytes(text: &str) -> Walked {
    // Go's decoder skips line breaks.
    let bare: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&bare) {
        Ok(decoded) => Ok(STANDARD.encode(decoded).into()),
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => {
            Err(DecodeError { message: format!("illegal base64 data at input byte {at}") })
        }
        Err(_) => Err(DecodeError { message: format!("illegal base64 data at input byte {}", bare.len()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::type_of;
    use proptest::prelude::*;
    use serde_json::json;

    fn canonical(name: &str, value: Value) -> Canonical {
        canonicalize(type_of(name).unwrap(), value).unwrap()
    }

    fn check(name: &str, given: Value, expected: Value) {
        assert_eq!(canonical(name, given).value, expected);
    }

    #[test]
    fn empty_optionals_go_and_what_go_does_not_omit_comes() {
        check(
            "Container",
            json!({"name": "c", "stdin": false, "tty": true, "workingDir": "", "command": [], "image": null, "env": [{"name": "A", "value": ""}]}),
            json!({"name": "c", "tty": true, "resources": {}, "env": [{"name": "A"}]}),
        );
        check(
            "PodCondition",
            json!({"type": "Ready", "status": "True"}),
            json!({"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": null}),
        );
        check(
            "ContainerStatus",
            json!({"name": "c", "started": false}),
            json!({"name": "c", "started": false, "state": {}, "lastState": {}, "ready": false, "restartCount": 0, "image": "", "imageID": ""}),
        );
    }

    #[test]
    fn pointers_keep_their_zero_values() {
        check(
            "SecurityContext",
            json!({"runAsUser": 0, "privileged": false, "capabilities": {}, "procMount": ""}),
            json!({"runAsUser": 0, "privileged": false, "capabilities": {}, "procMount": ""}),
        );
        check(
            "Volume",
            json!({"name": "v", "emptyDir": {"medium": "", "sizeLimit": "1024Mi"}}),
            json!({"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}),
        );
    }

    #[test]
    fn whole_objects_have_their_structs() {
        check("Pod", json!({}), json!({"metadata": {}, "spec": {"containers": null}, "status": {}}));
        check(
            "Event",
            json!({"metadata": {"name": "e"}}),
            json!({"metadata": {"name": "e"}, "involvedObject": {}, "source": {}, "firstTimestamp": null, "lastTimestamp": null, "eventTime": null, "reportingComponent": "", "reportingInstance": ""}),
        );
        let node = canonical("Node", json!({})).value;
        assert_eq!(node["status"]["daemonEndpoints"], json!({"kubeletEndpoint": {"Port": 0}}));
        assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "");
    }

    #[test]
    fn unknown_fields_are_dropped_and_named() {
        let given = json!({"spec": {"containers": [{"name": "c", "wibble": 1}], "foo": {}}, "Kind": "x", "metadata": {"labels": {"any": "y"}}});
        let canonical = canonical("Pod", given);
        assert_eq!(canonical.unknown, ["spec.containers[0].wibble", "spec.foo", "Kind"]);
    }

    #[test]
    fn wrong_types_are_refused_in_gos_words() {
        for (given, expected) in [
            (
                json!({"spec": {"containers": [{"ports": [{"containerPort": "x"}]}]}}),
                "json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
            ),
            (json!({"spec": 1}), "json: cannot unmarshal number into Go struct field Pod.spec of type v1.PodSpec"),
            (
                json!({"spec": {"containers": {}}}),
                "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (json!([]), "json: cannot unmarshal array into Go value of type v1.Pod"),
            (
                json!({"spec": {"activeDeadlineSeconds": 1.5}}),
                "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.activeDeadlineSeconds of type int64",
            ),
            (
                json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "12Zi"}}}]}}),
                "unable to parse quantity's suffix",
            ),
        ] {
            assert_eq!(canonicalize(type_of("Pod").unwrap(), given).unwrap_err().message, expected);
        }
    }

    #[test]
    fn times_and_bytes_are_rewritten() {
        check(
            "LeaseSpec",
            json!({"renewTime": "2026-01-02T03:04:05.123456789+01:00"}),
            json!({"renewTime": "2026-01-02T02:04:05.123456Z"}),
        );
        check(
            "ContainerStateRunning",
            json!({"startedAt": "2026-01-02T03:04:05.9Z"}),
            json!({"startedAt": "2026-01-02T03:04:05Z"}),
        );
        assert!(time("2026-01-02 03:04:05Z", "%Y").is_err());
        assert_eq!(bytes("MQ==\n").unwrap(), "MQ==");
        assert_eq!(bytes("M!").unwrap_err().message, "illegal base64 data at input byte 1");
    }

    /// A value that the shape may hold, nulls and zero values included.
    fn value_of(shape: &'static Shape, depth: u32) -> BoxedStrategy<Value> {
        match shape {
            Shape::Text => prop_oneof![Just(json!("")), Just(json!("x")), Just(Value::Null)].boxed(),
            Shape::Bool => prop_oneof![Just(json!(true)), Just(json!(false)), Just(Value::Null)].boxed(),
            Shape::Int32 | Shape::Int64 | Shape::IntOrText => (0..3).prop_map(Value::from).boxed(),
            Shape::Quantity => prop_oneof![Just("1000m"), Just("1024Mi"), Just("0")].prop_map(Value::from).boxed(),
            Shape::Time | Shape::MicroTime => Just(json!("2026-01-02T03:04:05.12+02:00")).boxed(),
            Shape::Bytes => Just(json!("MQ==")).boxed(),
            Shape::Any => Just(json!({"any": [1]})).boxed(),
            Shape::List(of) => prop::collection::vec(value_of(of, depth), 0..2).prop_map(Value::from).boxed(),
            Shape::Map(of) => value_of(of, depth).prop_map(|v| json!({ "k": v })).boxed(),
            Shape::Struct(_) if depth == 0 => Just(json!({})).boxed(),
            Shape::Struct(_) => struct_of(shape.as_struct().unwrap(), depth - 1),
        }
    }

    fn struct_of(of: &'static Type, depth: u32) -> BoxedStrategy<Value> {
        let fields = of.fields.iter().collect::<Vec<_>>();
        let picked = prop::sample::subsequence(fields.clone(), 0..=fields.len().min(6));
        picked
            .prop_flat_map(move |fields| {
                fields
                    .into_iter()
                    .map(|f| value_of(&f.shape, depth).prop_map(|v| (f.name.to_owned(), v)))
                    .collect::<Vec<_>>()
            })
            .prop_map(|entries| Value::Object(entries.into_iter().collect()))
            .boxed()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn canonical_form_is_its_own_canonical_form(pod in struct_of(type_of("Pod").unwrap(), 4)) {
            let once = canonical("Pod", pod);
            let twice = canonical("Pod", once.value.clone());
            prop_assert!(twice.unknown.is_empty());
            prop_assert_eq!(once.value, twice.value);
        }
    }
}
