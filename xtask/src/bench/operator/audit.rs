//! What a user wrote, by the API server's audit log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

use super::platform::Named;

/// What was written in a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    /// Successful writes by resource, with the subresource.
    pub(super) by_resource: BTreeMap<String, usize>,
    /// Writes that were refused.
    pub(super) refused: BTreeMap<String, usize>,
    /// Everything that was written.
    pub(super) objects: BTreeSet<Named>,
    /// End of the last write to a rendered object or a FluxConfig.
    pub(super) last: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Reference,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
    #[serde(default)]
    response_status: Status,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reference {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

impl Written {
    /// All writes, refused ones included.
    pub(super) fn count(&self) -> usize {
        self.by_resource.values().chain(self.refused.values()).sum()
    }

    /// Reads the audit log in a folder, those parts of it that were put aside included. Leases are renewed all the time, and
    /// reviews store nothing: neither counts.
    pub(super) fn read(folder: &Path, user: &str, from: Timestamp, to: Timestamp) -> anyhow::Result<Self> {
        let mut files: Vec<_> = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        let is_audit = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("audit") && path.extension().is_some_and(|extension| extension == "log")
        };
        files.retain(|path| is_audit(path));
        let mut written = Self::default();
        for path in files {
            let file = File::open(&path).with_context(|| path.display().to_string())?;
            for line in BufReader::new(file).lines() {
                let line = line?;
                // Most lines need not be parsed.
                if line.contains(user) && WRITES.iter().any(|verb| line.contains(&format!("\"verb\":\"{verb}\""))) {
                    written.add(serde_json::from_str(&line).context("the audit log")?, user, from, to);
                }
            }
        }
        Ok(written)
    }

    fn add(&mut self, entry: Entry, user: &str, from: Timestamp, to: Timestamp) {
        let Entry { verb, user: by, object_ref: object, request_received_timestamp, stage_timestamp, response_status } =
            entry;
        let in_time = from <= request_received_timestamp && request_received_timestamp <= to;
        let counts =
            WRITES.contains(&verb.as_str()) && !object.resource.ends_with("reviews") && object.resource != "leases";
        if !(in_time && counts && by.username == user) {
            return;
        }
        let Reference { resource, subresource, namespace, name } = object;
        let what = if subresource.is_empty() { resource.clone() } else { format!("{resource}/{subresource}") };
        if response_status.code >= 300 {
            *self.refused.entry(format!("{what}: {}", response_status.code)).or_default() += 1;
            return;
        }
        *self.by_resource.entry(what).or_default() += 1;
        // What is told about everything or to people comes after what it tells of.
        if !matches!(resource.as_str(), "events" | "fluxpolicies" | "fluxclusters") {
            self.last = self.last.max(Some(stage_timestamp));
        }
        self.objects.insert((resource, namespace, name));
    }
}

const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

#[cfg(test)]
mod tests {
    use super::*;

    fn line(verb: &str, user: &str, resource: &str, code: u16, second: u8) -> String {
        format!(
            r#"{{"kind":"Event","verb":"{verb}","user":{{"username":"{user}"}},"objectRef":{{"resource":"{resource}","namespace":"n","name":"x"}},"responseStatus":{{"metadata":{{}},"code":{code}}},"requestReceivedTimestamp":"2026-01-01T00:00:{second:02}.000000Z","stageTimestamp":"2026-01-01T00:00:{second:02}.500000Z"}}"#
        )
    }

    #[test]
    fn counts_the_writes_of_one_user_in_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let early = [line("patch", "me", "secrets", 200, 1), line("patch", "me", "secrets", 200, 10)].join("\n");
        fs::write(folder.path().join("audit-2026-01-01T00-00-11.000.log"), early).unwrap();
        let late = [
            line("patch", "me", "secrets", 403, 11),
            line("create", "me", "events", 201, 15),
            line("get", "me", "secrets", 200, 12),
            line("update", "me", "leases", 200, 12),
            line("create", "me", "selfsubjectreviews", 201, 12),
            line("patch", "you", "secrets", 200, 12),
            line("patch", "me", "secrets", 200, 30),
        ];
        fs::write(folder.path().join("audit.log"), late.join("\n")).unwrap();
        fs::write(folder.path().join("etcd.log"), "no JSON").unwrap();
        let at = |second: i8| format!("2026-01-01T00:00:{second:02}Z").parse().unwrap();
        let written = Written::read(folder.path(), "me", at(5), at(20)).unwrap();
        assert_eq!(written.by_resource, BTreeMap::from([("secrets".to_owned(), 1), ("events".to_owned(), 1)]));
        assert_eq!(written.refused, BTreeMap::from([("secrets: 403".to_owned(), 1)]));
        assert_eq!(written.count(), 3);
        assert_eq!(written.last, Some("2026-01-01T00:00:10.5Z".parse().unwrap()));
        assert!(written.objects.contains(&("secrets".to_owned(), "n".to_owned(), "x".to_owned())));
    }
}
