//! The administrators' Secrets: those in the operator's own namespace, the only ones that it may list.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

#[derive(Default)]
struct Inner {
    secrets: HashMap<String, Arc<Value>>,
    users: HashMap<String, BTreeSet<(String, Arc<str>)>>,
}

/// The Secrets and who uses them. Their content is in no log and in no debug output.
#[derive(Default)]
pub struct Secrets(Mutex<Inner>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.inner().secrets.len())
    }
}

impl Secrets {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The content of one.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.inner().secrets.get(name).map(|secret| (**secret).clone())
    }

    /// A value in one, decoded.
    pub fn text(&self, name: &str, key: &str) -> Option<String> {
        use base64::Engine as _;
        let secret = self.inner().secrets.get(name).cloned()?;
        let decoded = base64::engine::general_purpose::STANDARD.decode(secret["data"][key].as_str()?).ok()?;
        String::from_utf8(decoded).ok()
    }

    /// Takes note of one; gives the (cluster, agent)s that use it, if its content is another than before.
    pub fn saw(&self, secret: &Value) -> Vec<(String, Arc<str>)> {
        let name = secret["metadata"]["name"].as_str().unwrap_or_default();
        let kept = Arc::new(json!({"data": secret["data"], "type": secret["type"]}));
        let mut inner = self.inner();
        let before = inner.secrets.insert(name.to_owned(), kept.clone());
        if before.as_ref() == Some(&kept) { Vec::new() } else { inner.users_of(name) }
    }

    /// One is gone.
    pub fn lost(&self, name: &str) -> Vec<(String, Arc<str>)> {
        let mut inner = self.inner();
        if inner.secrets.remove(name).is_none() { Vec::new() } else { inner.users_of(name) }
    }

    /// Names of all.
    pub fn names(&self) -> Vec<String> {
        self.inner().secrets.keys().cloned().collect()
    }

    /// Puts down which Secrets an agent uses.
    pub fn uses(&self, cluster: &str, agent: &Arc<str>, names: impl IntoIterator<Item = String>) {
        let user = (cluster.to_owned(), agent.clone());
        let mut inner = self.inner();
        let names: BTreeSet<String> = names.into_iter().collect();
        inner.users.retain(|name, users| {
            if !names.contains(name) {
                users.remove(&user);
            }
            !users.is_empty()
        });
        for name in names {
            inner.users.entry(name).or_default().insert(user.clone());
        }
    }
}

impl Inner {
    fn users_of(&self, name: &str) -> Vec<(String, Arc<str>)> {
        self.users.get(name).into_iter().flatten().cloned().collect()
    }
}
