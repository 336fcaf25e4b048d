//! First step: what the FluxConfigs name is read, the content of Secrets above all.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::{
    cluster::{ApiError, ClusterClient},
    object::{Key, Kind, Object, Owner},
    render::{Absence, Content, Copy, CopySource, DOCKER_CONFIG},
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

/// What of a Secret Flux takes for the credential of a source, of whichever kind.
const CREDENTIAL: [&str; 8] =
    [".dockerconfigjson", "accesskey", "bearerToken", "identity", "identity.pub", "password", "secretkey", "username"];
/// What of a Secret says which server is the right one.
const AUTHORITY: [&str; 3] = ["ca.crt", "caFile", "known_hosts"];

/// Fills copies with the content of their originals. `management` is where FluxConfigs are, `cluster` where the agent is.
pub async fn fill(copies: Vec<Copy>, secrets: &Secrets, management: &ClusterClient, cluster: &ClusterClient) -> Filled {
    let mut filled = Filled { objects: Vec::new(), unknown: Vec::new(), blocked: Vec::new(), polled: false };
    // One original is often copied for several.
    let mut originals: HashMap<(bool, Key), Result<Option<Value>, String>> = HashMap::new();
    for Copy { mut object, from, absence, content } in copies {
        let (name, original) = match from {
            CopySource::Platform { name } => {
                let found = secrets.get(&name);
                (format!("Secret {name} in the operator's namespace"), Ok(found))
            }
            CopySource::Tenant { .. } | CopySource::Beside { .. } => {
                filled.polled = true;
                let (is_beside, key) = match from {
                    CopySource::Tenant { kind, home, name } => (false, Key { kind, namespace: home, name }),
                    CopySource::Beside { kind, name } => {
                        (true, Key { kind, namespace: object.key.namespace.clone(), name })
                    }
                    CopySource::Platform { .. } => continue,
                };
                let place = (is_beside, key);
                if !originals.contains_key(&place) {
                    let client = if is_beside { cluster } else { management };
                    let answer = client.get(&place.1).await.map_err(|error| refused(&error, is_beside, &place.1));
                    originals.insert(place.clone(), answer);
                }
                (place.1.to_string(), originals.get(&place).cloned().unwrap_or(Ok(None)))
            }
        };
        match original {
            Ok(Some(original)) => {
                let put = match &content {
                    Content::Everything => {
                        put(&mut object, &original);
                        Ok(())
                    }
                    Content::Credential { authority } => {
                        let authority = authority.as_ref().and_then(|name| secrets.get(name));
                        put_credential(&mut object, &original, authority.as_ref())
                    }
                };
                if let Err(why) = put {
                    filled.blocked.push((object.owner.clone(), format!("{name} {why}")));
                }
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

/// Why an original cannot be read.
fn refused(error: &ApiError, is_beside: bool, key: &Key) -> String {
    match error {
        ApiError::Refused { code: 403, .. } if is_beside => {
            "the operator may not read it yet; it binds itself in the agent's namespace, and tries again".to_owned()
        }
        ApiError::Refused { code: 403, .. } => format!(
            "the operator may not read it; an administrator allows it: kubectl create rolebinding sluicegate-operator-secrets --namespace {} --clusterrole sluicegate-operator-secrets --serviceaccount <operator's namespace>:sluicegate-operator",
            key.namespace
        ),
        other => other.to_string(),
    }
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

/// Of a team's Secret for a source only the credential is copied. What says which server is the right one comes from the
/// administrators' Secret.
///
/// # Errors
/// Where Flux could do nothing with the copy: it holds a key for SSH, and nobody says which host is the right one.
fn put_credential(object: &mut Object, original: &Value, authority: Option<&Value>) -> Result<(), &'static str> {
    let of = |secret: &Value, keys: &[&str]| -> Map<String, Value> {
        let data = secret["data"].as_object().cloned().unwrap_or_default();
        data.into_iter().filter(|(key, _)| keys.contains(&key.as_str())).collect()
    };
    let mut data = of(original, &CREDENTIAL);
    data.extend(authority.map(|authority| of(authority, &AUTHORITY)).unwrap_or_default());
    let is_docker = original["type"] == DOCKER_CONFIG && data.contains_key(".dockerconfigjson");
    if object.manifest["type"].is_null() {
        object.manifest["type"] = json!(if is_docker { DOCKER_CONFIG } else { "Opaque" });
    }
    let is_complete = !data.contains_key("identity") || data.contains_key("known_hosts");
    if !data.is_empty() {
        object.manifest["data"] = Value::Object(data);
    }
    if is_complete {
        return Ok(());
    }
    Err(
        "has a key for SSH, and nobody says which host is the right one: known_hosts of a team's Secret do not count; an administrator gives a Secret with known_hosts for this URL in spec.credentials of a FluxPolicy",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Owner;

    fn copied(type_: Option<&str>, original: &Value, authority: Option<&Value>) -> (Value, bool) {
        let key = Key { kind: Kind::Secret, namespace: "x".into(), name: "x".into() };
        let manifest = type_.map_or(json!({}), |type_| json!({"type": type_}));
        let mut object = Object { key, owner: Owner::Agent, manifest };
        let is_complete = put_credential(&mut object, original, authority).is_ok();
        (object.manifest, is_complete)
    }

    #[test]
    fn a_team_s_secret_does_not_say_which_server_is_the_right_one() {
        // Everything that Flux reads in a Secret of a source.
        let everything = [
            ".dockerconfigjson",
            "accesskey",
            "address",
            "bearerToken",
            "ca.crt",
            "caFile",
            "certFile",
            "githubAppBaseURL",
            "githubAppID",
            "githubAppInstallationID",
            "githubAppPrivateKey",
            "identity",
            "identity.pub",
            "keyFile",
            "known_hosts",
            "password",
            "secretkey",
            "serviceaccount",
            "tls.crt",
            "tls.key",
            "username",
        ];
        let secret = |keys: &[&str], value: &str| {
            let data: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), json!(value))).collect();
            json!({"type": "Opaque", "data": data})
        };
        let keys = |copied: &Value| copied["data"].as_object().map(|data| data.keys().cloned().collect::<Vec<_>>());
        let (own, is_complete) = copied(None, &secret(&everything, "team"), None);
        assert_eq!(keys(&own), Some(CREDENTIAL.map(str::to_owned).to_vec()));
        assert!(!is_complete, "a key for SSH without known hosts");
        let (both, is_complete) = copied(None, &secret(&everything, "team"), Some(&secret(&everything, "platform")));
        assert!(is_complete);
        for (key, value) in both["data"].as_object().unwrap() {
            let expected = if AUTHORITY.contains(&key.as_str()) { "platform" } else { "team" };
            assert_eq!(value, expected, "{key}");
        }
        assert_eq!(both["data"].as_object().unwrap().len(), CREDENTIAL.len() + AUTHORITY.len());
    }

    #[test]
    fn a_copy_has_a_type_that_its_content_fits() {
        let docker = json!({"type": DOCKER_CONFIG, "data": {".dockerconfigjson": "e30="}});
        assert_eq!(copied(None, &docker, None).0["type"], DOCKER_CONFIG);
        let tls = json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "", "tls.key": ""}});
        assert_eq!(copied(None, &tls, None).0, json!({"type": "Opaque"}));
        assert_eq!(copied(Some(DOCKER_CONFIG), &tls, None).0["type"], DOCKER_CONFIG);
    }
}
