//! FluxConfigs: completed, and judged by the engine as `check` and the operator do.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use sluicegate_crds::{FluxConfig, FluxConfigSpec};
use sluicegate_policy::{Placer, Rule, Violation, additions, message, violations};

use super::{read, unreadable};
use crate::{
    review::{Answer, Manifest, Object, Operation, PatchOperation, Request},
    snapshot::Snapshot,
};

/// What the API server appends to `generateName`: five characters.
const GENERATED: &str = "xxxxx";
/// Most characters of `generateName` that it keeps, for the name to remain a DNS label.
const GENERATE_FROM: usize = 58;

/// Fills in the placement fields. What cannot be admitted is left as it is: the API server's schema and [`validate`] come
/// after, and say why.
pub(super) fn complete(mut request: Request<'_>, snapshot: &Snapshot) -> Answer {
    let (Ok(object), true) = (manifest(request.object.take()), writes(&request)) else {
        return Answer::allowed();
    };
    if object.metadata.deletion_timestamp.is_some() {
        return Answer::allowed();
    }
    let mut config = config(&request, object);
    // They never change, so whoever writes the minimal file again (`kubectl replace`) means the place where it is, and not
    // what has become the default since.
    let mut patch = Vec::new();
    if let Ok(old) = manifest(request.old_object.take()) {
        for (field, new, old) in [
            ("spec.cluster", &mut config.spec.cluster, old.spec.cluster),
            ("spec.namespace", &mut config.spec.namespace, old.spec.namespace),
        ] {
            if let (None, Some(old)) = (&new, old) {
                patch.push(PatchOperation::add(field, json!(old)));
                *new = Some(old);
            }
        }
    }
    let placed = Placer::new(&snapshot.policies, &snapshot.facts).place(&config);
    let additions = additions(placed, &snapshot.facts).into_iter();
    patch.extend(additions.map(|addition| PatchOperation::add(addition.field, addition.value)));
    Answer::patched(patch)
}

/// Whether the engine admits it. Of an update of the spec counts what is new, and an update of anything else is not judged.
pub(super) fn validate(mut request: Request<'_>, snapshot: &Snapshot) -> Answer {
    if !writes(&request) {
        // Whoever deletes gets no more than there was. Who may is for RBAC to say.
        return Answer::allowed();
    }
    let object = match manifest(request.object.take()) {
        Ok(object) => object,
        Err(error) => return unreadable(&error),
    };
    // What cannot be read any more counts as if it had not been there: then everything is new.
    let old = manifest(request.old_object.take()).ok();
    if old.as_ref().is_some_and(|old| old.spec == object.spec) {
        return Answer::allowed();
    }
    let config = config(&request, object);
    let found = judge(&config, Some(&request.user_info.username), snapshot);
    if found.is_empty() {
        return Answer::allowed();
    }
    // Without the user: who writes is new each time.
    let before = old.map(|old| judge(&self::config(&request, old), None, snapshot)).unwrap_or_default();
    let (new, known): (Vec<Violation>, Vec<Violation>) =
        found.into_iter().partition(|violation| !can_wait(violation) && !before.contains(violation));
    if !new.is_empty() {
        return Answer::denied(message::refusal(&new));
    }
    known.iter().fold(Answer::allowed(), |answer, violation| {
        answer.warn(format!("not admitted: {}", message::sentence(violation)))
    })
}

/// The object, as it was read with the request or as its text says.
fn manifest(object: Option<Object<'_>>) -> Result<Box<Manifest<FluxConfigSpec>>, String> {
    match object {
        Some(Object::Config(read)) => Ok(read),
        object => read(object.as_ref()).map(Box::new),
    }
}

fn writes(request: &Request<'_>) -> bool {
    matches!(request.operation, Operation::Create | Operation::Update)
}

fn judge(config: &FluxConfig, user: Option<&str>, snapshot: &Snapshot) -> Vec<Violation> {
    let placed = Placer::new(&snapshot.policies, &snapshot.facts).place(config);
    let placed = match user {
        Some(user) => placed.written_by(user),
        None => placed,
    };
    violations(placed, &snapshot.facts)
}

/// What one commit may bring in two objects, of which one has to be first. Flux asks about all objects of a commit before it
/// writes the first, so a refusal would be for ever. The operator waits for the other.
fn can_wait(violation: &Violation) -> bool {
    violation.rule == Rule::UnknownDependency
}

fn config(request: &Request<'_>, object: Box<Manifest<FluxConfigSpec>>) -> FluxConfig {
    let Manifest { metadata, spec } = *object;
    let name = match (&*request.name, metadata.name.as_str(), metadata.generate_name.as_str()) {
        ("", "", "") => String::new(),
        // Any name will do: the API server makes one later, and asks again with it.
        ("", "", base) => format!("{}{GENERATED}", base.chars().take(GENERATE_FROM).collect::<String>()),
        ("", name, _) | (name, ..) => name.to_owned(),
    };
    let namespace = Some(request.namespace.to_string());
    FluxConfig { metadata: ObjectMeta { name: Some(name), namespace, ..ObjectMeta::default() }, spec, status: None }
}
