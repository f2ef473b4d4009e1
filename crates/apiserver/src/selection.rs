//! Which objects of a collection are meant: by namespace, labels and fields. What can be read from keys (names and
//! namespaces) narrows what is read at all; only what is left is looked for in the objects. Called by list, watch and the
//! deletion of collections.

use remora_model::Status;
use remora_rules::selector::{Selectable, fields, labels};
use remora_store::Interval;
use serde_json::Value;

use crate::request::{Collection, ListOptions};

/// What a list or watch selects.
#[derive(Clone, Debug)]
pub struct Selection {
    prefix: String,
    name: Option<String>,
    labels: labels::Selector,
    fields: fields::Selector,
}

impl Selection {
    /// Reads the selectors.
    ///
    /// # Errors
    /// 400 if they are malformed, or a field cannot be selected by; 405 if the kind is not kept at all.
    pub fn parse(what: &Collection, options: &ListOptions) -> Result<Self, Status> {
        let labels = labels::Selector::parse(&options.label_selector)?;
        let fields = fields::Selector::parse(what.kind, &options.field_selector)?;
        let namespace = what.namespace.as_deref().or_else(|| fields.required("metadata.namespace"));
        let prefix = what.kind.store_prefix_in(namespace).ok_or_else(Status::method_not_allowed)?;
        // A name is a part of the key only below a namespace, or for kinds that have none.
        let is_below = namespace.is_some() || !what.kind.namespaced;
        let name = fields.single_name().filter(|_| is_below).map(str::to_owned);
        Ok(Self { prefix, name, labels, fields })
    }

    /// What the keys of all selected objects start with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The keys that must be read.
    pub fn interval(&self) -> Interval {
        match &self.name {
            Some(name) => Interval::key(format!("{}{name}", self.prefix)),
            None => Interval::prefix(self.prefix.clone()),
        }
    }

    /// Whether one object is meant, by its name.
    pub fn is_single(&self) -> bool {
        self.name.is_some()
    }

    /// Whether every object of the interval is selected, so that none must be decoded.
    pub fn is_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object is selected.
    pub fn selects(&self, object: &Value) -> bool {
        self.labels.matches(object.pointer("/metadata/labels").unwrap_or(&Value::Null)) && self.fields.matches(object)
    }

    /// The same by what is kept of it.
    pub fn selects_kept(&self, of: &Selectable) -> bool {
        self.labels.matches_kept(of) && self.fields.matches_kept(of)
    }
}
