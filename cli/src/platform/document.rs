//! One file: its documents as objects.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use sluicegate_crds::{
    API_VERSION, FluxCluster, FluxClusterSpec, FluxConfig, FluxConfigSpec, FluxPolicy, FluxPolicySpec, GROUP,
};
use sluicegate_policy::{Labels, Rule};

use super::{At, Located, Namespace, ReadPolicy};
use crate::{
    manifest::{
        de::{self, DecodeError, DecodeErrorKind, UnknownField},
        path,
        yaml::{self, Document, Kind, Node, YamlError},
    },
    report::{Finding, ObjectId, Severity, Span},
};

/// What one file or several hold.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) configs: Vec<Located<FluxConfig>>,
    pub(super) policies: Vec<Located<ReadPolicy>>,
    pub(super) clusters: Vec<Located<FluxCluster>>,
    pub(super) namespaces: Vec<Located<Namespace>>,
    pub(super) undecoded: Vec<(ObjectId, At)>,
    pub(super) findings: Vec<Finding>,
    /// Other Kubernetes objects.
    pub(super) others: usize,
    /// Documents that are no Kubernetes objects.
    pub(super) foreign: usize,
}

/// Kinds of Sluicegate's group that files hold. `PolicyTest` is read by `sluicegate test` alone.
const KINDS: [&str; 4] = ["FluxConfig", "FluxPolicy", "FluxCluster", "PolicyTest"];

/// Adds what a file holds.
pub(super) fn read(
    loaded: &mut Loaded,
    shown: &str,
    file: u32,
    text: &str,
    documents: Result<Vec<Document<'_>>, YamlError>,
) {
    let mut reader = Reader { shown, file, text, loaded };
    match documents {
        Ok(documents) => {
            for (document, number) in documents.iter().zip(0..) {
                reader.object(document.root(), number, "");
            }
        }
        Err(error) => reader.broken(&error),
    }
}

struct Reader<'r> {
    shown: &'r str,
    file: u32,
    text: &'r str,
    loaded: &'r mut Loaded,
}

impl Reader<'_> {
    fn broken(&mut self, error: &YamlError) {
        let mut finding = self.finding(Rule::InvalidYaml, format!("the file {}", error.kind), Some(error.span));
        finding.help.push("mend the file; a file that cannot be read could hold anything".to_owned());
        if matches!(
            error.kind,
            yaml::YamlErrorKind::Syntax(_)
                | yaml::YamlErrorKind::DuplicateKey { .. }
                | yaml::YamlErrorKind::UnknownAnchor { .. }
        ) {
            finding.message = error.kind.to_string();
        }
        if let yaml::YamlErrorKind::DuplicateKey { first, .. } = error.kind {
            finding.related.push(crate::report::Related {
                path: self.shown.to_owned(),
                span: Some(span(first)),
                message: "it is first here".to_owned(),
            });
        }
        self.loaded.findings.push(finding);
    }

    fn object(&mut self, node: Node<'_>, document: u32, base: &str) {
        if node.kind() != Kind::Mapping {
            self.loaded.foreign += 1;
            return;
        }
        // A tag could say another kind than is written, or that a key is `kind`.
        let names_kind = |name: &str| matches!(name, "apiVersion" | "kind");
        let tagged = node.entries().find_map(|entry| match (entry.key.tag_fits(), entry.value.tag_fits()) {
            (false, _) => Some(entry.key.span()),
            (true, false) if names_kind(entry.name()) => Some(entry.value.span()),
            (true, _) => None,
        });
        if let Some(place) = tagged {
            let message = "this tag makes another value of what is written here".to_owned();
            let mut finding = self.finding(Rule::UnknownKind, message, Some(place));
            finding.help.push("write it as plain text, without a tag".to_owned());
            self.loaded.findings.push(finding);
            return;
        }
        let text = |field: &str| node.get(field).and_then(|value| value.scalar()).map(|(text, _)| text);
        let (api_version, kind) = (text("apiVersion").unwrap_or_default(), text("kind").unwrap_or_default());
        let (group, _) = api_version.split_once('/').unwrap_or(("", api_version));
        if group == GROUP {
            if api_version != API_VERSION || !KINDS.contains(&kind) {
                self.unknown_kind(node, api_version, kind);
                return;
            }
        } else if KINDS.contains(&kind) && (group.is_empty() || sluicegate_policy::closest(group, [GROUP]).is_some()) {
            // A slip of the pen would otherwise take a FluxConfig out of sight.
            self.unknown_kind(node, api_version, kind);
            return;
        }
        let at = || At { file: self.file, document, base: base.into(), line: node.span().line };
        match (group, kind) {
            (GROUP, "FluxConfig") => {
                let at = at();
                match self.decode::<FluxConfigSpec>(node, kind) {
                    Some((metadata, spec, flawed)) => {
                        let object = FluxConfig { metadata, spec, status: None };
                        self.loaded.configs.push(Located { object: Box::new(object), at, flawed });
                    }
                    None => self.loaded.undecoded.push((id(node, kind), at)),
                }
            }
            (GROUP, "FluxCluster") => {
                let at = at();
                match self.decode::<FluxClusterSpec>(node, kind) {
                    Some((metadata, spec, flawed)) => {
                        let object = FluxCluster { metadata, spec, status: None };
                        self.loaded.clusters.push(Located { object: Box::new(object), at, flawed });
                    }
                    None => self.loaded.undecoded.push((id(node, kind), at)),
                }
            }
            (GROUP, "FluxPolicy") => {
                let at = at();
                let before = self.loaded.findings.len();
                let (object, flawed) = match self.decode::<FluxPolicySpec>(node, kind) {
                    // With an unknown field there it is not certain whom the policy selects: then it is everybody.
                    Some((metadata, _, true)) if self.selects_unclearly(before) => {
                        (ReadPolicy::Unreadable(metadata.name.unwrap_or_default()), true)
                    }
                    Some((metadata, spec, flawed)) => {
                        (ReadPolicy::Decoded(Box::new(FluxPolicy { metadata, spec, status: None })), flawed)
                    }
                    None => (ReadPolicy::Unreadable(id(node, kind).name), true),
                };
                self.loaded.policies.push(Located { object: Box::new(object), at, flawed });
            }
            (GROUP, _) => {}
            ("", "Namespace") if api_version == "v1" => {
                let at = at();
                match de::decode::<NamespaceObject>(node) {
                    Ok(decoded) => {
                        let NamespaceObject { metadata: Metadata { name, labels } } = decoded.value;
                        let object = Box::new(Namespace { name, labels });
                        self.loaded.namespaces.push(Located { object, at, flawed: false });
                    }
                    Err(error) => self.undecodable(&error, node, kind),
                }
            }
            // Whatever is called `List` or not: kubectl and Flux take every object with a list `items` for one.
            _ if !kind.is_empty() && node.get("items").is_some_and(|items| items.kind() == Kind::Sequence) => {
                for (number, item) in node.get("items").into_iter().flat_map(Node::items).enumerate() {
                    let mut base = base.to_owned();
                    path::push_key(&mut base, "items");
                    path::push_index(&mut base, number);
                    self.object(item, document, &base);
                }
            }
            _ if !api_version.is_empty() && !kind.is_empty() => self.loaded.others += 1,
            _ => self.loaded.foreign += 1,
        }
    }

    fn selects_unclearly(&self, before: usize) -> bool {
        self.loaded.findings[before..]
            .iter()
            .filter_map(|finding| finding.field.as_deref())
            .any(|field| field.starts_with("spec.tenants"))
    }

    fn decode<S: DeserializeOwned>(&mut self, node: Node<'_>, kind: &str) -> Option<(ObjectMeta, S, bool)> {
        match de::decode::<Manifest<S>>(node) {
            Ok(decoded) => {
                let flawed = !decoded.unknown.is_empty();
                for unknown in &decoded.unknown {
                    self.unknown_field(unknown, node, kind);
                }
                let Manifest { metadata, spec, .. } = decoded.value;
                Some((metadata, spec, flawed))
            }
            Err(error) => {
                self.undecodable(&error, node, kind);
                None
            }
        }
    }

    fn undecodable(&mut self, error: &DecodeError, node: Node<'_>, kind: &str) {
        for unknown in error.unknown() {
            self.unknown_field(unknown, node, kind);
        }
        let mut field = error.path().to_owned();
        let rule = match error.kind() {
            DecodeErrorKind::MissingField { field: name } => {
                path::push_key(&mut field, name);
                Rule::MissingField
            }
            _ => Rule::InvalidValue,
        };
        let mut finding = self.finding(rule, error.kind().to_string(), Some(error.span()));
        finding.object = Some(id(node, kind));
        finding.value = self.text.get(error.span().range()).filter(|_| rule == Rule::InvalidValue).map(str::to_owned);
        finding.help.push(match error.kind() {
            DecodeErrorKind::MissingField { field: name } => format!("add {name}"),
            DecodeErrorKind::UnknownVariant { suggestion: Some(suggestion), .. } => {
                finding.suggestion = Some(suggestion.clone());
                format!("write {suggestion}")
            }
            DecodeErrorKind::UnknownVariant { allowed, .. } => {
                finding.allowed.clone_from(allowed);
                "write one of the words that are allowed".to_owned()
            }
            _ => format!("`sluicegate schema {}` shows what is allowed here", kind.to_lowercase()),
        });
        finding.field = Some(field);
        self.loaded.findings.push(finding);
    }

    fn unknown_field(&mut self, unknown: &UnknownField, node: Node<'_>, kind: &str) {
        let mut finding =
            self.finding(Rule::UnknownField, format!("there is no field {}", unknown.path), Some(unknown.span()));
        finding.object = Some(id(node, kind));
        finding.field = Some(unknown.path.clone());
        finding.value = Some(unknown.name.clone());
        finding.allowed = unknown.allowed.iter().map(|name| (*name).to_owned()).collect();
        finding.allowed.sort_unstable();
        match unknown.suggestion {
            Some(suggestion) => {
                finding.label = format!("did you mean {suggestion}?");
                finding.suggestion = Some(suggestion.to_owned());
                finding.help.push(format!("write {suggestion}"));
            }
            None => finding.help.push("remove it, or write a field that is allowed".to_owned()),
        }
        self.loaded.findings.push(finding);
    }

    fn unknown_kind(&mut self, node: Node<'_>, api_version: &str, kind: &str) {
        let wrong_version = api_version != API_VERSION;
        let field = if wrong_version { "apiVersion" } else { "kind" };
        let place = node.entry(field).map_or_else(|| node.span().at_start(), |entry| entry.place().highlight());
        let message = if api_version.is_empty() {
            format!("this {kind} does not say its apiVersion")
        } else if wrong_version {
            format!("{kind} is not of {api_version:?}")
        } else {
            format!("{API_VERSION} has no kind {kind:?}")
        };
        let mut finding = self.finding(Rule::UnknownKind, message, Some(place));
        finding.field = Some(field.to_owned());
        finding.object = Some(id(node, kind));
        finding.allowed = KINDS.iter().map(|kind| format!("{API_VERSION} {kind}")).collect();
        let suggestion = if wrong_version { Some(API_VERSION) } else { sluicegate_policy::closest(kind, KINDS) };
        match suggestion {
            Some(suggestion) => finding.help.push(format!("write {suggestion}")),
            None => finding.help.push("write a version and kind that are allowed".to_owned()),
        }
        finding.suggestion = suggestion.map(str::to_owned);
        self.loaded.findings.push(finding);
    }

    fn finding(&self, rule: Rule, message: String, at: Option<yaml::Span>) -> Finding {
        let mut finding = Finding::new(Severity::Error, rule.id(), rule.title(), self.shown, message);
        finding.span = at.map(span);
        finding
    }
}

/// A FluxConfig from its document, for callers that know that it is one.
///
/// # Errors
/// The first value that is not what a FluxConfig has there.
pub fn decode_config(node: Node<'_>) -> Result<de::Decoded<FluxConfig>, DecodeError> {
    let de::Decoded { value: Manifest { metadata, spec, .. }, unknown } = de::decode::<Manifest<FluxConfigSpec>>(node)?;
    Ok(de::Decoded { value: FluxConfig { metadata, spec, status: None }, unknown })
}

/// The name of an object, as far as it can be read.
fn id(node: Node<'_>, kind: &str) -> ObjectId {
    let metadata = node.get("metadata");
    let text = |field: &str| metadata.and_then(|metadata| metadata.get(field)?.as_str()).map(str::to_owned);
    ObjectId { kind: kind.to_owned(), namespace: text("namespace"), name: text("name").unwrap_or_default() }
}

/// A place of the parser as a place of the reports.
pub(crate) fn span(span: yaml::Span) -> Span {
    let yaml::Span { start, end, line, column, end_line, end_column } = span;
    Span {
        start: start as usize,
        end: end as usize,
        line: line as usize,
        column: column as usize,
        end_line: end_line as usize,
        end_column: end_column as usize,
    }
}

/// An object of Sluicegate's as it stands in a file. A status is what the operator says, not the file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<S> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(default)]
    metadata: ObjectMeta,
    spec: S,
    #[serde(rename = "status", default)]
    _status: IgnoredAny,
}

#[derive(Deserialize)]
struct NamespaceObject {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    labels: Labels,
}
