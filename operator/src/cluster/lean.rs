//! Objects as watches read them: from the JSON text straight to what is looked at, in bounded memory. Labels alone can make an
//! object of more than a megabyte, which as a tree of values is up to a hundred times as large, and everybody who may write one
//! object of a kind that is watched could send it here.
//!
//! What identifies an object (name, version, Sluicegate's own labels) is always read. Everything else counts against a budget.
//! Of an object that exceeds it only the identity remains, and [`Lean::whole`] says so: it is known to be there, and nothing is
//! concluded from what it holds.

use std::{cell::Cell, collections::BTreeMap, fmt};

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use sluicegate_crds::{CREATED_ANNOTATION, TENANT_LABEL};

use crate::object::{AGENT_LABEL, CONFIG_LABEL, HOME_LABEL, MANAGED_BY_LABEL, REQUESTED_AT_ANNOTATION};

/// Labels that say whose an object is. Their values are at most 63 bytes long.
const OWN_LABELS: [&str; 5] = [MANAGED_BY_LABEL, AGENT_LABEL, TENANT_LABEL, HOME_LABEL, CONFIG_LABEL];
/// Annotation of the bookmark that ends the initial events of a streaming list.
pub(super) const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
/// Annotations whose presence is read of every object.
const OWN_ANNOTATIONS: [&str; 2] = [CREATED_ANNOTATION, INITIAL_EVENTS_END];
/// Fields of `metadata` that are read of every object: short texts and numbers that the API server writes or bounds.
const IDENTITY: [&str; 7] =
    ["name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"];

/// What may be kept of finalizers, in bytes of memory.
const FINALIZERS: usize = 8 * 1024;
/// How deep values are nested that are kept. `serde_json` refuses a text that is nested deeper than 128 as a whole.
const DEPTH: usize = 100;
/// What a value costs in memory beside its text, in bytes: in a list, as an entry of a map, and a map by itself, whose first
/// node has room for eleven entries.
const ITEM: usize = 32;
const ENTRY: usize = 96;
const MAP: usize = 640;

/// What is read of labels or annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    /// All of them.
    All,
    /// Those of this name, beside Sluicegate's own.
    Only(&'static [&'static str]),
}

/// What is read of an object beside its identity.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Its labels.
    pub labels: Texts,
    /// Its annotations.
    pub annotations: Texts,
    /// `metadata.managedFields`, but for entries of the subresource `status`, which is the largest and changes most.
    pub managed_fields: bool,
    /// Fields beside `metadata`; absent: all.
    pub fields: Option<&'static [&'static str]>,
    /// What may be kept of one object, in bytes of memory.
    pub budget: usize,
}

impl Reading {
    /// What is rendered: everything, since what of it is ours has a fingerprint.
    pub const RENDERED: Reading = Reading {
        labels: Texts::All,
        annotations: Texts::All,
        managed_fields: true,
        fields: None,
        budget: 32 * 1024 * 1024,
    };
    /// A Namespace: its metadata, labels included, as policies select by them.
    pub const NAMESPACE: Reading = Reading {
        labels: Texts::All,
        annotations: Texts::Only(&[]),
        managed_fields: true,
        fields: Some(&[]),
        budget: 128 * 1024,
    };
    /// What Flux says of a HelmChart.
    pub const CHART: Reading = Reading {
        labels: Texts::Only(&[]),
        annotations: Texts::Only(&[]),
        managed_fields: false,
        fields: Some(&["status"]),
        budget: 512 * 1024,
    };
    /// A FluxConfig: what teams write into its metadata is not looked at, but for the request to sync.
    pub const CONFIG: Reading = Reading {
        labels: Texts::Only(&[]),
        annotations: Texts::Only(&[REQUESTED_AT_ANNOTATION]),
        managed_fields: false,
        fields: None,
        budget: 2 * 1024 * 1024,
    };
    /// A FluxPolicy, FluxCluster or TenantGuard, which administrators and the operator write; and the answer to a write of a kind of
    /// Sluicegate's own.
    pub const OWN: Reading = Reading { budget: 32 * 1024 * 1024, ..Self::CONFIG };
    /// A FluxCluster: policies select by its labels.
    pub const CLUSTER: Reading = Reading { labels: Texts::All, budget: 256 * 1024, ..Self::CONFIG };
    /// That it is there.
    pub const IDENTITY: Reading = Reading {
        labels: Texts::Only(&[]),
        annotations: Texts::Only(&[]),
        managed_fields: false,
        fields: Some(&[]),
        budget: 1024,
    };
}

/// An object as it was read.
#[derive(Debug)]
pub struct Lean {
    /// What is left of its JSON.
    pub value: Value,
    /// All that was asked for is there. Otherwise it exceeds the budget, and only its identity is.
    pub whole: bool,
}

impl Lean {
    /// One that was not read from a watch: all of it is there.
    pub fn whole(value: Value) -> Self {
        Self { value, whole: true }
    }

    /// A text of its metadata; empty where there is none.
    pub fn text(&self, field: &str) -> &str {
        self.value["metadata"][field].as_str().unwrap_or_default()
    }

    /// Namespace and name.
    pub fn name(&self) -> (String, String) {
        (self.text("namespace").to_owned(), self.text("name").to_owned())
    }

    pub(super) fn ends_initial_events(&self) -> bool {
        self.value["metadata"]["annotations"][INITIAL_EVENTS_END].is_string()
    }
}

/// Labels of a Namespace. One that has too many is nobody's: its only labels name a tenant that cannot be, so that neither a tenant nor
/// a selector is found in what is left of them.
pub fn namespace_labels(namespace: &Lean) -> BTreeMap<String, String> {
    if namespace.whole {
        let labels = namespace.value["metadata"]["labels"].as_object().into_iter().flatten();
        labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    } else {
        [TENANT_LABEL, HOME_LABEL].into_iter().map(|label| (label.to_owned(), TOO_MANY.to_owned())).collect()
    }
}

/// No tenant's name, as it has spaces.
const TOO_MANY: &str = "(the Namespace has too many labels to be read)";

/// What may still be kept of one object.
struct Budget {
    left: Cell<usize>,
    /// `spec.suspend`, which is part of the identity: what Flux does with an object hangs on it.
    suspend: Cell<Option<bool>>,
}

impl Budget {
    fn of(left: usize) -> Self {
        Self { left: Cell::new(left), suspend: Cell::default() }
    }

    fn spend(&self, cost: usize) {
        self.left.set(self.left.get().saturating_sub(cost));
    }

    fn exhaust(&self) {
        self.left.set(0);
    }

    fn is_spent(&self) -> bool {
        self.left.get() == 0
    }
}

/// Reads one object.
pub(super) struct OneObject<'r>(pub(super) &'r Reading);

impl<'de> DeserializeSeed<'de> for OneObject<'_> {
    type Value = Lean;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Lean, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneObject<'_> {
    type Value = Lean;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of Kubernetes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Lean, A::Error> {
        let budget = Budget::of(self.0.budget);
        let (mut identity, mut rest) = (Map::new(), Map::new());
        let mut metadata = Map::new();
        while let Some(field) = map.next_key::<String>()? {
            let seed = Bounded { budget: &budget, depth: 0, within: Within::of(&field) };
            match &*field {
                "metadata" => {
                    let read = map.next_value_seed(Metadata { reading: self.0, budget: &budget })?;
                    identity = read.identity;
                    metadata = read.rest;
                }
                "apiVersion" | "kind" => {
                    rest.insert(field, map.next_value_seed(seed)?);
                }
                _ if self.0.fields.is_some_and(|fields| !fields.contains(&&*field)) => {
                    map.next_value::<IgnoredAny>()?;
                }
                _ => {
                    rest.insert(field, map.next_value_seed(seed)?);
                }
            }
        }
        let whole = !budget.is_spent();
        if whole {
            for (field, value) in metadata {
                match (identity.get_mut(&field).and_then(Value::as_object_mut), value) {
                    // Labels and annotations of which some are in the identity.
                    (Some(own), Value::Object(others)) => own.extend(others),
                    (_, value) => {
                        identity.insert(field, value);
                    }
                }
            }
        } else {
            rest.retain(|field, _| matches!(field.as_str(), "apiVersion" | "kind"));
            if let Some(suspend) = budget.suspend.get() {
                rest.insert(
                    "spec".to_owned(),
                    Value::Object([("suspend".to_owned(), suspend.into())].into_iter().collect()),
                );
            }
        }
        rest.insert("metadata".to_owned(), Value::Object(identity));
        Ok(Lean { value: Value::Object(rest), whole })
    }
}

/// `metadata`, in two parts.
#[derive(Default)]
struct ReadMetadata {
    identity: Map<String, Value>,
    rest: Map<String, Value>,
}

struct Metadata<'a> {
    reading: &'a Reading,
    budget: &'a Budget,
}

impl<'de> DeserializeSeed<'de> for Metadata<'_> {
    type Value = ReadMetadata;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<ReadMetadata, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata<'_> {
    type Value = ReadMetadata;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ReadMetadata, A::Error> {
        let mut read = ReadMetadata::default();
        while let Some(field) = map.next_key::<String>()? {
            let Metadata { reading, budget } = self;
            match &*field {
                name if IDENTITY.contains(&name) => {
                    read.identity.insert(field, map.next_value()?);
                }
                "labels" => {
                    let seed = TextMap { own: &OWN_LABELS, wanted: reading.labels, budget };
                    let (own, others) = map.next_value_seed(seed)?;
                    read.identity.insert(field.clone(), Value::Object(own));
                    read.rest.insert(field, Value::Object(others));
                }
                "annotations" => {
                    let seed = TextMap { own: &OWN_ANNOTATIONS, wanted: reading.annotations, budget };
                    let (own, others) = map.next_value_seed(seed)?;
                    read.identity.insert(field.clone(), Value::Object(own));
                    read.rest.insert(field, Value::Object(others));
                }
                "managedFields" if reading.managed_fields && !budget.is_spent() => {
                    let mut entries = map.next_value_seed(Bounded { budget, depth: 0, within: Within::Other })?;
                    if let Value::Array(entries) = &mut entries {
                        entries.retain(|entry| entry["subresource"] != "status");
                    }
                    read.rest.insert(field, entries);
                }
                "finalizers" => {
                    // With a budget of their own: whether an object may go hangs on them.
                    let own = Budget::of(FINALIZERS);
                    let seed = Bounded { budget: &own, depth: 0, within: Within::Other };
                    let finalizers = map.next_value_seed(seed)?;
                    if own.is_spent() {
                        budget.exhaust();
                    } else {
                        read.identity.insert(field, finalizers);
                    }
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(read)
    }
}

/// Labels or annotations: Sluicegate's own, and the others that are wanted.
struct TextMap<'a> {
    own: &'static [&'static str],
    wanted: Texts,
    budget: &'a Budget,
}

type Pairs = (Map<String, Value>, Map<String, Value>);

impl<'de> DeserializeSeed<'de> for TextMap<'_> {
    type Value = Pairs;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Pairs, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextMap<'_> {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_unit<E>(self) -> Result<Pairs, E> {
        Ok(Pairs::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let (mut own, mut others) = Pairs::default();
        while let Some(name) = map.next_key::<String>()? {
            let wanted = match self.wanted {
                Texts::All => true,
                Texts::Only(names) => names.contains(&&*name),
            };
            if self.own.contains(&&*name) {
                own.insert(name, map.next_value()?);
            } else if wanted && !self.budget.is_spent() {
                self.budget.spend(ENTRY + name.len());
                let seed = Bounded { budget: self.budget, depth: 0, within: Within::Other };
                others.insert(name, map.next_value_seed(seed)?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok((own, others))
    }
}

/// Where in an object a value is, as far as something is read otherwise there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Spec,
    Status,
    /// `status.inventory` of a Kustomization, which lists all that it deployed.
    Inventory,
    /// A list of which only the number of items is read.
    Counted,
    Other,
}

impl Within {
    fn of(field: &str) -> Self {
        match field {
            "spec" => Within::Spec,
            "status" => Within::Status,
            _ => Within::Other,
        }
    }

    fn field(self, field: &str) -> Self {
        match (self, field) {
            (Within::Status, "inventory") => Within::Inventory,
            (Within::Inventory, "entries") => Within::Counted,
            _ => Within::Other,
        }
    }
}

/// Any value, while the budget lasts.
struct Bounded<'b> {
    budget: &'b Budget,
    depth: usize,
    within: Within,
}

impl Bounded<'_> {
    fn inner(&self, within: Within) -> Self {
        Bounded { budget: self.budget, depth: self.depth + 1, within }
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.depth > DEPTH {
            self.budget.exhaust();
            IgnoredAny.visit(deserializer)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

/// Passes over a value whatever it is nested like.
trait PassOver {
    fn visit<'de, D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error>;
}

impl PassOver for IgnoredAny {
    fn visit<'de, D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_ignored_any(self).map(|_| Value::Null)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        self.budget.spend(value.len());
        Ok(Value::String(if self.budget.is_spent() { String::new() } else { value.to_owned() }))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        self.budget.spend(value.len());
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            self.budget.spend(ITEM);
            if self.budget.is_spent() {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Value::Null);
            }
            let item = if self.within == Within::Counted {
                items.next_element::<IgnoredAny>()?.map(|_| Value::Null)
            } else {
                items.next_element_seed(self.inner(Within::Other))?
            };
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        self.budget.spend(MAP);
        let mut map = Map::new();
        while let Some(field) = fields.next_key::<String>()? {
            self.budget.spend(ENTRY + field.len());
            if self.within == Within::Spec && field == "suspend" {
                let budget = Budget::of(ITEM);
                let suspend = fields.next_value_seed(Bounded { budget: &budget, depth: 0, within: Within::Other })?;
                self.budget.suspend.set(suspend.as_bool());
                map.insert(field, suspend);
                continue;
            }
            if self.budget.is_spent() {
                fields.next_value::<IgnoredAny>()?;
                map.clear();
                continue;
            }
            let value = fields.next_value_seed(self.inner(self.within.field(&field)))?;
            map.insert(field, value);
        }
        Ok(Value::Object(map))
    }
}

/// What an API server says in one line of a watch.
pub(super) enum Event {
    Saw(Lean),
    Lost(Lean),
    Bookmark(Lean),
    Error(Status),
}

/// Reads one line of a watch.
pub(super) struct OneEvent<'r>(pub(super) &'r Reading);

impl<'de> DeserializeSeed<'de> for OneEvent<'_> {
    type Value = Event;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Event, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneEvent<'_> {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event of a watch, its type before its object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        let mut kind: Option<String> = None;
        let mut event = None;
        while let Some(field) = map.next_key::<String>()? {
            match (&*field, kind.as_deref()) {
                ("type", _) => kind = Some(map.next_value()?),
                ("object", Some("ADDED" | "MODIFIED")) => {
                    event = Some(Event::Saw(map.next_value_seed(OneObject(self.0))?));
                }
                ("object", Some("DELETED")) => event = Some(Event::Lost(map.next_value_seed(OneObject(self.0))?)),
                ("object", Some("BOOKMARK")) => {
                    event = Some(Event::Bookmark(map.next_value_seed(OneObject(self.0))?));
                }
                ("object", Some("ERROR")) => {
                    event = Some(Event::Error(map.next_value()?));
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        event.ok_or_else(|| A::Error::custom("no event"))
    }
}

/// An API server's refusal.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) code: u16,
    pub(super) reason: String,
    pub(super) message: String,
}

/// What a page of a list says of the list.
#[derive(Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PageEnd {
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) next: String,
}

/// Reads one page of a list, and tells each object as it comes.
pub(super) struct OnePage<'r, F>(pub(super) &'r Reading, pub(super) F);

impl<'de, F: FnMut(Lean)> DeserializeSeed<'de> for OnePage<'_, F> {
    type Value = PageEnd;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<PageEnd, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Lean)> Visitor<'de> for OnePage<'_, F> {
    type Value = PageEnd;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<PageEnd, A::Error> {
        let mut end = PageEnd::default();
        while let Some(field) = map.next_key::<String>()? {
            match &*field {
                "metadata" => end = map.next_value()?,
                "items" => map.next_value_seed(Items(self.0, &mut self.1))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(end)
    }
}

struct Items<'r, 'f, F>(&'r Reading, &'f mut F);

impl<'de, F: FnMut(Lean)> DeserializeSeed<'de> for Items<'_, '_, F> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(Lean)> Visitor<'de> for Items<'_, '_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the items of a list")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(object) = items.next_element_seed(OneObject(self.0))? {
            (self.1)(object);
        }
        Ok(())
    }
}

/// Reads a text by a seed.
pub(super) fn read<'de, S: DeserializeSeed<'de>>(text: &'de [u8], seed: S) -> Result<S::Value, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    seed.deserialize(&mut deserializer).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
