//! Dependencies of a Helm chart: source-controller fetches what the files of a chart in a repository name, from wherever they
//! say, before a pod of it exists.

use serde_json::Value;

use crate::{grammar::ChartName, rule::Rule, show, verdict::Violation};

/// Files of a chart that name dependencies. Helm reads `requirements.yaml` and its lock beside a `Chart.yaml` of any version.
pub const CHART_FILES: [&str; 4] = ["Chart.yaml", "Chart.lock", "requirements.yaml", "requirements.lock"];

/// A dependency of a chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// A chart that is in the repository.
    Local,
    /// A chart that is fetched.
    Fetched {
        /// Path of the field with the repository.
        url_field: String,
        /// URL of the repository, as it stands.
        url: String,
        /// Path of the field with the name.
        name_field: String,
        /// Name of the chart.
        name: String,
    },
    /// One that no chart of a team may have, whatever policy allows.
    Refused(Box<Violation>),
}

/// The dependencies that a file of a chart names.
///
/// `depth` is how many folders the chart's is below the root of its repository. A file and its lock are judged each by itself,
/// since Flux follows the lock and `helm dependency update` the chart.
pub fn dependencies(file: &Value, depth: usize) -> Vec<Dependency> {
    let mut found = Vec::new();
    for (list_field, list) in named(file, "dependencies") {
        match list {
            Value::Array(list) => {
                for (index, dependency) in list.iter().enumerate() {
                    found.extend(of_entry(&format!("{list_field}[{index}]"), dependency, depth));
                }
            }
            Value::Null => {}
            _ => found.push(invalid(list_field.to_owned(), None, "this is not a list of dependencies")),
        }
    }
    found
}

/// The entries of an object whose name Helm takes for this one: it decodes as `encoding/json` of Go does, which ignores case
/// and folds the long s and the sign of kelvin.
fn named<'v>(object: &'v Value, name: &str) -> impl Iterator<Item = (&'v str, &'v Value)> {
    let fold = |key: &str| key.replace('ſ', "s").replace('\u{212a}', "k").to_ascii_lowercase();
    object
        .as_object()
        .into_iter()
        .flatten()
        .filter(move |(key, _)| fold(key) == name)
        .map(|(key, value)| (key.as_str(), value))
}

fn of_entry(field: &str, dependency: &Value, depth: usize) -> Vec<Dependency> {
    if dependency.is_null() {
        return Vec::new();
    }
    if !dependency.is_object() {
        return vec![invalid(field.to_owned(), None, "this is not a dependency")];
    }
    let mut found = Vec::new();
    let mut texts = |name: &'static str| {
        let mut texts = Vec::new();
        for (key, value) in named(dependency, name) {
            match value {
                Value::String(text) => texts.push((format!("{field}.{key}"), text.as_str())),
                Value::Null => {}
                _ => found.push(invalid(format!("{field}.{key}"), None, "this is not text")),
            }
        }
        texts
    };
    // Of several spellings Go takes the last in the text, so all of them are judged.
    let (names, repositories) = (texts("name"), texts("repository"));
    if names.is_empty() {
        found.push(invalid(field.to_owned(), None, "this dependency has no name"));
    }
    for (name_field, name) in names {
        if let Err(error) = ChartName::check(name) {
            found.push(invalid(name_field, Some(name), &show::no_name(&error)));
            continue;
        }
        // It is in the folder `charts`.
        if named(dependency, "repository").all(|(_, value)| value.is_null()) {
            found.push(Dependency::Local);
        }
        found.extend(repositories.iter().map(|(url_field, url)| from(url_field, url, &name_field, name, depth)));
    }
    found
}

/// What a repository means, as source-controller reads it.
fn from(url_field: &str, url: &str, name_field: &str, name: &str, depth: usize) -> Dependency {
    if let Some(path) = url.strip_prefix("file://") {
        let Some(why) = leaves(path, depth) else { return Dependency::Local };
        let violation = Violation::new(Rule::InvalidChart, url_field.to_owned(), why)
            .value(url)
            .allowed(vec!["file://../chart, inside the repository".to_owned()])
            .help("move the chart into the repository, or publish it in a repository of charts that is allowed");
        return Dependency::Refused(Box::new(violation));
    }
    if url.is_empty() {
        return Dependency::Local;
    }
    if url.starts_with('@') || url.starts_with("alias:") {
        let message = "an alias means a URL of one person's `helm repo list`, which nobody else knows";
        let violation = Violation::new(Rule::InvalidChart, url_field.to_owned(), message)
            .value(url)
            .allowed(["https://host/path", "oci://host/path"].map(str::to_owned).to_vec())
            .help("write the URL of the repository");
        return Dependency::Refused(Box::new(violation));
    }
    Dependency::Fetched {
        url_field: url_field.to_owned(),
        url: url.to_owned(),
        name_field: name_field.to_owned(),
        name: name.to_owned(),
    }
}

/// Why a path from a chart's folder is not one in its repository.
fn leaves(path: &str, depth: usize) -> Option<&'static str> {
    if path.starts_with('/') {
        return Some("this path is absolute, and means another folder on every machine");
    }
    // Flux decodes the path as part of a URL.
    if path.contains(['%', '?', '#', '\\']) || path.contains(char::is_control) {
        return Some("this path has a character that is decoded or taken for the end of it");
    }
    let mut at = depth;
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => match at.checked_sub(1) {
                Some(above) => at = above,
                None => return Some("this path leads out of the repository"),
            },
            _ => at += 1,
        }
    }
    None
}

fn invalid(field: String, value: Option<&str>, message: &str) -> Dependency {
    let mut violation = Violation::new(Rule::InvalidChart, field, message)
        .help("write each dependency with name, version and repository, as `helm dependency` reads it");
    violation.value = value.map(str::to_owned);
    Dependency::Refused(Box::new(violation))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `field: what` of each.
    fn found(file: Value) -> Vec<String> {
        dependencies(&file, 1)
            .into_iter()
            .map(|dependency| match dependency {
                Dependency::Local => "local".to_owned(),
                Dependency::Fetched { url_field, url, name, .. } => format!("{url_field}: {name} from {url}"),
                Dependency::Refused(violation) => format!("{}: {}", violation.field, violation.rule.id()),
            })
            .collect()
    }

    fn one(dependency: Value) -> Vec<String> {
        found(json!({"apiVersion": "v2", "name": "x", "dependencies": [dependency]}))
    }

    #[test]
    fn finds_what_is_fetched_and_nothing_else() {
        let fetched = |url: &str| vec![format!("dependencies[0].repository: redis from {url}")];
        for url in [
            "https://charts.example.com/stable",
            "http://x",
            "oci://registry.example.com/charts",
            "s3://x",
            " ",
            "FILE://x",
        ] {
            assert_eq!(one(json!({"name": "redis", "version": "1.x", "repository": url})), fetched(url));
        }
        for local in [
            json!({"name": "redis"}),
            json!({"name": "redis", "repository": ""}),
            json!({"name": "a", "repository": null}),
        ] {
            assert_eq!(one(local), ["local"]);
        }
        assert_eq!(one(json!(null)), [""; 0]);
        assert_eq!(found(json!({"name": "x"})), [""; 0]);
        assert_eq!(found(json!({"dependencies": null})), [""; 0]);
    }

    #[test]
    fn local_charts_stay_in_the_repository() {
        let of = |path: &str| one(json!({"name": "a", "repository": format!("file://{path}")}));
        for inside in ["../common", "./charts/a", "charts/a", "..", "../a/../b", ""] {
            assert_eq!(of(inside), ["local"], "{inside}");
        }
        for outside in
            ["../..", "../../x", "../a/../../x", "/x", "..%2f..%2fx", "%2e%2e/%2e%2e/x", "a\\..", "../x?y", "x#y"]
        {
            assert_eq!(of(outside), ["dependencies[0].repository: invalid-chart"], "{outside}");
        }
    }

    #[test]
    fn every_spelling_that_helm_reads_is_judged() {
        for (list, name, repository) in [
            ("Dependencies", "name", "repository"),
            ("DEPENDENCIES", "Name", "Repository"),
            ("dependencieſ", "NAME", "repoſitory"),
        ] {
            let file = json!({list: [{name: "redis", repository: "https://evil.example"}]});
            assert_eq!(found(file), [format!("{list}[0].{repository}: redis from https://evil.example")]);
        }
        let twice = json!({"name": "redis", "repository": "https://a.example", "Repository": "https://b.example"});
        assert_eq!(one(twice).len(), 2);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for alias in ["@stable", "alias:stable"] {
            assert_eq!(one(json!({"name": "a", "repository": alias})), ["dependencies[0].repository: invalid-chart"]);
        }
        assert_eq!(one(json!({"repository": "https://x.example"})), ["dependencies[0]: invalid-chart"]);
        assert_eq!(one(json!({"name": "../x"})), ["dependencies[0].name: invalid-chart"]);
        assert_eq!(
            one(json!({"name": "x", "repository": ["https://x.example"]})),
            ["dependencies[0].repository: invalid-chart"]
        );
        assert_eq!(one(json!("redis")), ["dependencies[0]: invalid-chart"]);
        assert_eq!(found(json!({"dependencies": {"name": "x"}})), ["dependencies: invalid-chart"]);
    }
}
