//! Collects what is rendered: objects by stage and key, copies, and who reads what.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use sluicegate_crds::{AgentComponent, Placement};
use sluicegate_policy::verdict::SecretSource;

use super::{Absence, AgentId, Content, Copy, CopySource, Item, Rendered, names};
use crate::{
    flux::releases::Release,
    object::{Key, Kind, Object, Owner, Stage},
};

/// What a registry's credentials must be for `OCIRepository.spec.secretRef`.
pub(crate) const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";

pub(super) struct Output<'a> {
    pub(super) agent: &'a AgentId,
    objects: BTreeMap<(Stage, Key), Object>,
    copies: BTreeMap<Key, Copy>,
    reads: BTreeMap<AgentComponent, BTreeSet<(Kind, String)>>,
}

impl<'a> Output<'a> {
    pub(super) fn new(agent: &'a AgentId) -> Self {
        Self { agent, objects: BTreeMap::new(), copies: BTreeMap::new(), reads: BTreeMap::new() }
    }

    /// Adds an object to the agent's namespace; `fields` are those beside `apiVersion`, `kind` and `metadata`.
    pub(super) fn add(&mut self, kind: Kind, name: impl Into<String>, owner: &Owner, fields: Value) {
        self.add_to(&self.agent.namespace.clone(), kind, name, owner, fields);
    }

    /// Adds an object to a namespace; for a Namespace that is empty.
    pub(super) fn add_to(
        &mut self,
        namespace: &str,
        kind: Kind,
        name: impl Into<String>,
        owner: &Owner,
        fields: Value,
    ) {
        let key = Key { kind, namespace: namespace.to_owned(), name: name.into() };
        let object = self.object(key, owner, fields);
        self.objects.insert((kind.stage(), object.key.clone()), object);
    }

    fn object(&self, key: Key, owner: &Owner, fields: Value) -> Object {
        let labels: Map<String, Value> = owner
            .labels(&self.agent.namespace)
            .into_iter()
            .map(|(label, value)| (label.to_owned(), Value::String(value)))
            .collect();
        let mut metadata = json!({"labels": labels, "name": key.name});
        if key.kind.namespaced() {
            metadata["namespace"] = json!(key.namespace);
        }
        let mut manifest = json!({"apiVersion": key.kind.api_version(), "kind": key.kind.name(), "metadata": metadata});
        if let (Some(whole), Value::Object(fields)) = (manifest.as_object_mut(), fields) {
            for (name, value) in fields {
                match whole.get_mut(&name).and_then(Value::as_object_mut) {
                    // `metadata` adds to what is there.
                    Some(there) => merge(there, value),
                    None => {
                        whole.insert(name, value);
                    }
                }
            }
        }
        Object { key, owner: owner.clone(), manifest }
    }

    /// Name in the agent's namespace of a Secret that a controller reads there for a FluxConfig.
    pub(super) fn secret(
        &mut self,
        item: &Item<'_>,
        secret: &SecretSource,
        reader: AgentComponent,
        type_: Option<&str>,
        absence: Absence,
    ) -> String {
        match secret {
            SecretSource::Platform { name, .. } => {
                let from = CopySource::Platform { name: name.clone() };
                // It may be for many tenants, and goes with the last FluxConfig that needs it.
                self.copy(Kind::Secret, names::platform_copy(name), &Owner::Agent, from, type_, absence, reader)
            }
            SecretSource::Tenant { name, .. } => self.team(item, Kind::Secret, name, reader, type_, absence),
        }
    }

    /// Name in the agent's namespace of the Secret with which source-controller asks for a source. A Secret of the team is
    /// copied wherever it is: what it says of the server does not count.
    pub(super) fn credential(&mut self, item: &Item<'_>, secret: &SecretSource, type_: Option<&str>) -> String {
        let SecretSource::Tenant { name, authority } = secret else {
            return self.secret(item, secret, AgentComponent::Source, type_, Absence::Wrong);
        };
        let from = if item.resolved.terms.standing.agent.placement.value == Placement::Namespace {
            CopySource::Beside { kind: Kind::Secret, name: name.clone() }
        } else {
            CopySource::Tenant { kind: Kind::Secret, home: item.resolved.home.to_string(), name: name.clone() }
        };
        let copied = names::credential_copy(&item.name, name);
        let key = self.copy(Kind::Secret, copied, &item.owner, from, type_, Absence::Wrong, AgentComponent::Source);
        let place = Key { kind: Kind::Secret, namespace: self.agent.namespace.clone(), name: key.clone() };
        if let Some(copy) = self.copies.get_mut(&place) {
            copy.content = Content::Credential { authority: authority.clone() };
        }
        key
    }

    /// The same of a Secret or ConfigMap of the team.
    pub(super) fn team(
        &mut self,
        item: &Item<'_>,
        kind: Kind,
        name: &str,
        reader: AgentComponent,
        type_: Option<&str>,
        absence: Absence,
    ) -> String {
        if item.resolved.terms.standing.agent.placement.value == Placement::Namespace {
            // It is there already: the team's own namespace is the agent's.
            self.reads.entry(reader).or_default().insert((kind, name.to_owned()));
            return name.to_owned();
        }
        let from = CopySource::Tenant { kind, home: item.resolved.home.to_string(), name: name.to_owned() };
        self.copy(kind, names::team_copy(&item.name, name), &item.owner, from, type_, absence, reader)
    }

    #[allow(clippy::too_many_arguments, reason = "each is another thing that a copy is")]
    fn copy(
        &mut self,
        kind: Kind,
        name: String,
        owner: &Owner,
        from: CopySource,
        type_: Option<&str>,
        absence: Absence,
        reader: AgentComponent,
    ) -> String {
        self.reads.entry(reader).or_default().insert((kind, name.clone()));
        let key = Key { kind, namespace: self.agent.namespace.clone(), name: name.clone() };
        let known = self.copies.get(&key);
        let absence = known.map_or(absence, |known| absence.max(known.absence));
        let known_type = known.and_then(|known| known.object.manifest.get("type")?.as_str()).map(str::to_owned);
        let fields = match type_.map(str::to_owned).or(known_type) {
            Some(type_) => json!({"type": type_}),
            None => json!({}),
        };
        let object = self.object(key.clone(), owner, fields);
        self.copies.insert(key, Copy { object, from, absence, content: Content::Everything });
        name
    }

    /// What each controller reads by name.
    pub(super) fn reads(&self) -> &BTreeMap<AgentComponent, BTreeSet<(Kind, String)>> {
        &self.reads
    }

    pub(super) fn finish(self, release: &'static Release) -> Rendered {
        Rendered { objects: self.objects.into_values().collect(), copies: self.copies.into_values().collect(), release }
    }
}

fn merge(into: &mut Map<String, Value>, from: Value) {
    let Value::Object(from) = from else { return };
    for (name, value) in from {
        match into.get_mut(&name).and_then(Value::as_object_mut) {
            Some(there) => merge(there, value),
            None => {
                into.insert(name, value);
            }
        }
    }
}

/// An object of fields of which those that are `None` are left out.
pub(super) fn fields<const N: usize>(list: [(&str, Option<Value>); N]) -> Value {
    list.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into()
}
