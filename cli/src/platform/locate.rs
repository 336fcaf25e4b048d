//! From violations to findings: field paths become lines and columns.
//!
//! Places are not kept for ten thousand objects of which a few hundred are wrong. The files of those are parsed once more
//! instead.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use rayon::prelude::*;
use sluicegate_policy::{PolicyField, Severity as RuleSeverity, Violation, verdict::ObjectRef};

use super::{At, Located, Platform, document, judge::policy_name};
use crate::{
    manifest::{
        files::File,
        yaml::{self, Document, Limits, decode_text},
    },
    report::{Decider, Finding, ObjectId, Place, Related, Severity, Span, text::line},
};

/// A violation and where its object stands.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) violation: Violation,
    pub(super) at: At,
    pub(super) object: ObjectId,
}

/// Texts of files, read when somebody asks.
#[derive(Debug)]
pub struct SourceTexts<'p> {
    files: &'p [File],
    /// From this index on the files are sorted by their paths anew.
    context_from: usize,
    /// Texts that were kept, in the order of the files.
    kept: &'p [Option<Box<str>>],
}

impl<'p> SourceTexts<'p> {
    /// The texts of these files, which are sorted by the path that is shown.
    pub fn new(files: &'p [File]) -> Self {
        Self { files, context_from: files.len(), kept: &[] }
    }

    /// The texts of a platform's files, as they were when they were judged.
    pub fn of(platform: &'p Platform) -> Self {
        Self { files: &platform.files, context_from: platform.context_from as usize, kept: &platform.texts }
    }

    /// Text of the file that is shown under this path; `None` where it cannot be read as text.
    pub fn get(&self, shown: &str) -> Option<Arc<str>> {
        let limits = Limits::default();
        let (files, context) = self.files.split_at(self.context_from);
        let at = match find(context, shown) {
            Some(at) => files.len() + at,
            None => find(files, shown)?,
        };
        if let Some(Some(kept)) = self.kept.get(at) {
            return Some((**kept).into());
        }
        let bytes = self.files[at].read(&limits).ok()?;
        match decode_text(&bytes, &limits) {
            Ok(text) => Some(text.into()),
            Err(_) => Some(String::from_utf8_lossy(&bytes).into()),
        }
    }
}

/// The last file that is shown under this path, among files that are sorted by it.
fn find(files: &[File], shown: &str) -> Option<usize> {
    let at = files.partition_point(|file| file.shown() <= shown).checked_sub(1)?;
    (files[at].shown() == shown).then_some(at)
}

/// Turns violations into findings, in parallel by file.
pub(super) fn findings(platform: &Platform, found: Vec<Found>) -> Vec<Finding> {
    let fields = found.iter().flat_map(|found| found.violation.decided_by.iter());
    let deciders = policy_fields(platform, fields);
    let objects = objects(platform, &found);
    let mut by_file: BTreeMap<u32, Vec<Found>> = BTreeMap::new();
    for found in found {
        by_file.entry(found.at.file).or_default().push(found);
    }
    by_file
        .into_par_iter()
        .flat_map_iter(|(file, found)| {
            let spans = with_documents(platform, file, |documents| {
                found.iter().map(|found| field_span(documents, &found.at, &found.violation.field)).collect::<Vec<_>>()
            })
            .unwrap_or_else(|| vec![None; found.len()]);
            found
                .into_iter()
                .zip(spans)
                .map(|(found, span)| finding(platform, found, span, &deciders, &objects))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn finding(
    platform: &Platform,
    found: Found,
    span: Option<Span>,
    deciders: &HashMap<PolicyField, Place>,
    objects: &Objects<'_>,
) -> Finding {
    let Found { violation, at, object } = found;
    let Violation { rule, field, value, message, allowed, decided_by, help, suggestion, related } = violation;
    let severity = match rule.severity() {
        RuleSeverity::Error => Severity::Error,
        RuleSeverity::Warning => Severity::Warning,
    };
    let mut finding = Finding::new(severity, rule.id(), rule.title(), platform.shown(&at), message);
    finding.span = span;
    finding.object = Some(object);
    finding.field = Some(field.into_owned());
    finding.value = value;
    finding.allowed = allowed;
    finding.decided_by = decided_by
        .into_iter()
        .map(|decider| Decider {
            place: deciders.get(&decider).cloned(),
            policy: decider.policy.to_string(),
            field: Some(decider.field.into_owned()),
        })
        .collect();
    finding.help = help;
    finding.suggestion = suggestion;
    finding.related = related.iter().filter_map(|object| object_place(platform, objects, object, &at)).collect();
    finding
}

/// The place of a field, or of what is there of the way to it.
fn field_span(documents: &[Document<'_>], at: &At, field: &str) -> Option<Span> {
    let document = documents.get(at.document as usize)?;
    let path = match (&*at.base, field) {
        (base, "") => base.to_owned(),
        ("", field) => field.to_owned(),
        (base, field) => format!("{base}.{field}"),
    };
    Some(document::span(document.locate_nearest(&path).place.highlight()))
}

/// The places of fields of policies.
pub fn policy_fields<'f>(
    platform: &Platform,
    fields: impl Iterator<Item = &'f PolicyField>,
) -> HashMap<PolicyField, Place> {
    let mut wanted: Vec<&PolicyField> = fields.collect();
    wanted.sort_unstable();
    wanted.dedup();
    let at: HashMap<&str, &At> =
        platform.policies.iter().map(|policy| (policy_name(&policy.object), &policy.at)).collect();
    let mut by_file: BTreeMap<u32, Vec<(&PolicyField, &At)>> = BTreeMap::new();
    for field in wanted {
        if let Some(at) = at.get(&*field.policy) {
            by_file.entry(at.file).or_default().push((field, at));
        }
    }
    let mut places = HashMap::new();
    for (file, fields) in by_file {
        with_documents(platform, file, |documents| {
            for (field, at) in &fields {
                if let Some(span) = field_span(documents, at, &field.field) {
                    places.insert((*field).clone(), Place { path: platform.shown(at).to_owned(), line: span.line });
                }
            }
        });
    }
    places
}

/// `policies/teams.yaml:12` for a field of a policy, where it was read from a file.
pub fn located_policy_field(field: &PolicyField, places: &HashMap<PolicyField, Place>) -> String {
    let located = match places.get(field) {
        Some(place) => format!("policy {} {} ({}:{})", field.policy, field.field, place.path, place.line),
        None => format!("policy {} {}", field.policy, field.field),
    };
    line(&located).into_owned()
}

/// Where objects stand that findings point at, by what they are called; several places for one that is declared several
/// times. Each file is read once, however many findings point into it.
type Objects<'p> = HashMap<ObjectRef, Vec<(&'p At, Option<Span>)>>;

fn objects<'p>(platform: &'p Platform, found: &[Found]) -> Objects<'p> {
    let wanted: HashSet<&ObjectRef> = found.iter().flat_map(|found| &found.violation.related).collect();
    if wanted.is_empty() {
        return Objects::new();
    }
    let configs = platform.configs.iter().map(|Located { object, at, .. }| {
        let metadata = &object.metadata;
        (
            "FluxConfig",
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
            at,
        )
    });
    let policies = platform.policies.iter().map(|policy| ("FluxPolicy", "", policy_name(&policy.object), &policy.at));
    let clusters = platform
        .clusters
        .iter()
        .map(|cluster| ("FluxCluster", "", cluster.object.metadata.name.as_deref().unwrap_or_default(), &cluster.at));
    let mut by_file: BTreeMap<u32, Vec<(ObjectRef, &At)>> = BTreeMap::new();
    for (kind, namespace, name, at) in configs.chain(policies).chain(clusters) {
        let object = ObjectRef { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        if wanted.contains(&object) {
            by_file.entry(at.file).or_default().push((object, at));
        }
    }
    let mut objects = Objects::new();
    for (file, list) in by_file {
        let spans = with_documents(platform, file, |documents| {
            list.iter().map(|(_, at)| field_span(documents, at, "metadata.name")).collect::<Vec<_>>()
        });
        let spans = spans.unwrap_or_else(|| vec![None; list.len()]);
        for ((object, at), span) in list.into_iter().zip(spans) {
            objects.entry(object).or_default().push((at, span));
        }
    }
    objects
}

fn object_place(platform: &Platform, objects: &Objects<'_>, object: &ObjectRef, not: &At) -> Option<Related> {
    let (at, span) = objects.get(object)?.iter().find(|(at, _)| **at != *not)?;
    Some(Related { path: platform.shown(at).to_owned(), span: *span, message: format!("{object} is here") })
}

/// Parses a file once more, and reads it where its text was not kept; `None` where that fails this time.
pub(super) fn with_documents<T>(platform: &Platform, file: u32, work: impl FnOnce(&[Document<'_>]) -> T) -> Option<T> {
    let limits = Limits::default();
    if let Some(Some(text)) = platform.texts.get(file as usize) {
        return Some(work(&yaml::parse_decoded(text, &limits).ok()?));
    }
    let bytes = platform.files.get(file as usize)?.read(&limits).ok()?;
    let text = decode_text(&bytes, &limits).ok()?;
    let documents = yaml::parse_decoded(text, &limits).ok()?;
    Some(work(&documents))
}
