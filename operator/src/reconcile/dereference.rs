//! First step: what the FluxConfigs name is read, the content of Secrets above all.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::{
    cluster::ClusterClient,
    object::{Key, Kind, Object, Owner},
    render::{Absence, Copy, CopySource},
    secrets::Secrets,
};

/// The copies with their content, and what is missing.
pub struct Filled {
    /// Copies whose original is there.
    pub objects: Vec<Object>,
    /// Keys of copies whose original could not be read now: what there is of them stays.
    pub unknown: Vec<Key>,
    /// What is in the way.
    pub blocked: Vec<(Owner, String)>,
    /// Some come from where nothing is watched, so they are looked at again.
    pub polled: bool,
}

/// Fills copies with the content of their originals.
pub async fn fill(copies: Vec<Copy>, secrets: &Secrets, management: &ClusterClient) -> Filled {
    let mut filled = Filled { objects: Vec::new(), unknown: Vec::new(), blocked: Vec::new(), polled: false };
    // One original is often copied for several.
    let mut originals: HashMap<Key, Result<Option<Value>, String>> = HashMap::new();
    for Copy { mut object, from, absence } in copies {
        let (name, original) = match from {
            CopySource::Platform { name } => {
                let found = secrets.get(&name);
                (format!("Secret {name} in the operator's namespace"), Ok(found))
            }
            CopySource::Tenant { kind, home, name } => {
                filled.polled = true;
                let key = Key { kind, namespace: home, name };
                if !originals.contains_key(&key) {
                    let answer = management.get(&key).await.map_err(|error| match error {
                        crate::cluster::ApiError::Refused { code: 403, .. } => format!(
                            "the operator may not read it; an administrator allows it: kubectl create rolebinding sluicegate-operator-secrets --namespace {} --clusterrole sluicegate-operator-secrets --serviceaccount <operator's namespace>:sluicegate-operator",
                            key.namespace
                        ),
                        other => other.to_string(),
                    });
                    originals.insert(key.clone(), answer);
                }
                (key.to_string(), originals.get(&key).cloned().unwrap_or(Ok(None)))
            }
        };
        match original {
            Ok(Some(original)) => {
                put(&mut object, &original);
                filled.objects.push(object);
            }
            Ok(None) if absence == Absence::Fine => {}
            Ok(None) if absence == Absence::Empty => filled.objects.push(object),
            Ok(None) => filled.blocked.push((object.owner, format!("{name} does not exist"))),
            Err(why) => {
                filled.unknown.push(object.key);
                filled.blocked.push((object.owner, format!("{name} cannot be read: {why}")));
            }
        }
    }
    filled
}

/// Only data is copied, never labels or annotations.
fn put(object: &mut Object, original: &Value) {
    for field in ["data", "binaryData"] {
        if let Some(data) = original[field].as_object().filter(|data: &&Map<String, Value>| !data.is_empty()) {
            object.manifest[field] = Value::Object(data.clone());
        }
    }
    // The type of a Secret can never change; one of the renderer's choice stands.
    if object.key.kind == Kind::Secret && object.manifest["type"].is_null() {
        object.manifest["type"] = original["type"].clone();
    }
}
