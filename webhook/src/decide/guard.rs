//! Tenants' namespaces, where this webhook is the guard of the cluster that it runs on (`FluxCluster.spec.guard: Webhook`):
//! pods and what makes them, Flux objects, and what belongs to an agent. With any other guard nothing is refused here, and
//! nothing is looked at.

use std::{borrow::Cow, sync::LazyLock};

use serde::de::Error as _;
use sluicegate_policy::{
    guard::{Answers, EXEMPT, Evaluator, User, hooks, is_flux, is_network_policy},
    text,
    workload::Pods,
};

use super::unreadable;
use crate::{
    review::{Answer, Object, Operation, Request},
    snapshot::{Snapshot, Standing},
};

/// Policies whose conditions the API server has found to hold, and what is said then.
static REFUSALS: LazyLock<Vec<(&'static str, String)>> = LazyLock::new(|| {
    let mut refusals: Vec<(&str, String)> = hooks()
        .into_iter()
        .filter_map(|hook| match hook.answers {
            Answers::Refuses(said) => Some((hook.policy, said)),
            Answers::Judges => None,
        })
        .collect();
    refusals.dedup();
    refusals
});

/// The policy of that name, if it is one that refuses.
pub(super) fn refused_by(policy: &str) -> Option<&'static str> {
    REFUSALS.iter().map(|(known, _)| *known).find(|known| *known == policy)
}

/// What the API server sends to be refused.
pub(super) fn refuse(policy: &str, snapshot: &Snapshot) -> Answer {
    if !snapshot.guarded.enforces() {
        return Answer::allowed();
    }
    match REFUSALS.iter().find(|(known, _)| *known == policy) {
        Some((_, said)) => Answer::denied(said.as_str()),
        None => Answer::denied("this belongs to Sluicegate"),
    }
}

/// What is run, fetched or entered.
pub(super) fn judge(request: &Request<'_>, snapshot: &Snapshot) -> Answer {
    // Whoever deletes gets no more than there was; what must stay is refused elsewhere.
    if !snapshot.guarded.enforces() || request.namespace.is_empty() || request.operation == Operation::Delete {
        return Answer::allowed();
    }
    let namespace = &*request.namespace;
    match snapshot.guarded.standing(namespace) {
        Standing::Judged(evaluator) => answer(request, evaluator),
        Standing::Closed(why) => Answer::denied(why),
        // The API server asks about namespaces with the label. Rules that are too wide must not stop a cluster; a namespace that
        // nobody has heard of yet is one that was made a moment ago.
        Standing::Free if EXEMPT.contains(&namespace) || snapshot.namespaces.contains_key(namespace) => {
            Answer::allowed()
        }
        Standing::Free => Answer::denied(format!(
            "namespace {} is not known yet, so nothing is allowed in it\n  help: that takes a second at most; try again",
            text::line(namespace)
        )),
    }
}

fn answer(request: &Request<'_>, evaluator: &Evaluator) -> Answer {
    let user = User::new(&request.user_info.username, request.user_info.groups());
    let judged = match (&*request.resource.resource, &*request.sub_resource, request.operation) {
        (_, _, Operation::Connect) => Ok(evaluator.enter(&user, &request.name)),
        ("bindings", "", _) | ("pods", "binding" | "eviction", _) | (_, "scale", _) => {
            Ok(evaluator.operate(&user, &request.resource.resource, &request.name))
        }
        _ => {
            let Some(object) = &request.object else {
                return unreadable("the request has no object");
            };
            let old = request.old_object.as_ref();
            if is_network_policy(&request.resource.group, &request.resource.resource) {
                let Some(text) = object.text() else {
                    return unreadable("the object was read for its pods");
                };
                evaluator.network_policy(&user, text, old.and_then(Object::text))
            } else if is_flux(&request.resource.group) {
                let Some(text) = object.text() else {
                    return unreadable("the object was read for its pods");
                };
                evaluator.flux(&user, &request.kind.kind, text, old.and_then(Object::text))
            } else {
                // What cannot be read any more counts as if it had not been there: then everything is new.
                let old = old.and_then(|old| pods(old).ok());
                pods(object).map(|object| evaluator.pods(&user, &object, old.as_deref()))
            }
        }
    };
    match judged {
        Ok(refusal) if refusal.is_empty() => Answer::allowed(),
        Ok(refusal) => Answer::denied(refusal.text()),
        Err(error) => unreadable(&error.to_string()),
    }
}

/// What the pods of an object name; they are read now if nobody did before.
fn pods<'o>(object: &'o Object<'_>) -> Result<Cow<'o, Pods<'o>>, serde_json::Error> {
    match object {
        Object::Pods(pods) => Ok(Cow::Borrowed(pods)),
        Object::Text(text) => Pods::read(text.get()).map(Cow::Owned),
        Object::Config(_) => Err(serde_json::Error::custom("the object was read as a FluxConfig")),
    }
}
