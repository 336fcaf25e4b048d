//! Findings for a person at a terminal, drawn as rustc draws its own.

use std::io;

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};
use rayon::prelude::*;

use super::Sources;
use super::excerpt;
use super::model::{Decider, Finding, Report, Severity, Span, Summary, rule_url};
use super::text::{counted, line, shortened};

/// The excerpts are cut to size before they are drawn, so that the renderer need not.
const UNLIMITED_WIDTH: usize = 10_000;

/// Findings that are drawn in parallel and held until they are written.
const AT_ONCE: usize = 1_000;

/// How to draw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// With ANSI colours.
    pub color: bool,
    /// Findings to show before the rest is only counted; all if absent.
    pub max: Option<usize>,
}

/// Writes the findings, the pages of their rules, and the summary.
///
/// # Errors
///
/// Those of `out`.
pub fn write(report: &Report, sources: &Sources<'_>, options: Options, out: &mut impl io::Write) -> io::Result<()> {
    let findings = report.findings();
    let shown = options.max.unwrap_or(findings.len()).min(findings.len());
    let (shown, rest) = findings.split_at(shown);
    for some in shown.chunks(AT_ONCE) {
        let drawn: Vec<String> = some.par_iter().map(|finding| draw(finding, sources, options.color)).collect();
        for finding in drawn {
            writeln!(out, "{finding}\n")?;
        }
    }
    if !rest.is_empty() {
        let errors = rest.iter().filter(|f| f.severity == Severity::Error);
        let errors = errors.count();
        writeln!(
            out,
            "… and {} that {} not shown ({}, {})\n",
            counted(rest.len(), "more finding", "more findings"),
            if rest.len() == 1 { "is" } else { "are" },
            counted(errors, "error", "errors"),
            counted(rest.len() - errors, "warning", "warnings"),
        )?;
    }
    let mut rules: Vec<&str> = shown.iter().map(|f| f.rule.as_ref()).collect();
    rules.sort_unstable();
    rules.dedup();
    for rule in &rules {
        writeln!(out, "about {}: {}", line(rule), rule_url(rule))?;
    }
    if !rules.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "{}", summary(report.summary()))
}

/// One finding with its excerpts, without a line break at the end.
#[must_use]
pub fn draw(finding: &Finding, sources: &Sources<'_>, color: bool) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut places = Places::new(sources);
    let notes = notes(finding).into_iter().map(|(name, text)| Level::NOTE.with_name(name).message(text));
    let mut groups = vec![
        level
            .primary_title(line(&finding.message))
            .id(line(&finding.rule))
            .element(places.element(&finding.path, finding.span.as_ref(), &finding.label))
            .elements(notes),
    ];
    for related in &finding.related {
        groups.push(Group::with_title(Level::NOTE.secondary_title(line(&related.message))).element(places.element(
            &related.path,
            related.span.as_ref(),
            "",
        )));
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    places.fill_in(&renderer.term_width(UNLIMITED_WIDTH).render(&groups))
}

/// The places that a drawing names.
///
/// The renderer works out columns from the excerpt it is given, in which hidden characters are
/// spelt out and long lines are cut. So it is given [`Places::MARK`] for a path, and what it makes
/// of that is replaced by the place in the file.
struct Places<'a> {
    sources: &'a Sources<'a>,
    named: Vec<String>,
}

impl<'a> Places<'a> {
    /// For private use, so that no text that went through [`line()`] contains it.
    const MARK: char = '\u{e000}';

    fn new(sources: &'a Sources<'a>) -> Self {
        Self { sources, named: Vec::new() }
    }

    /// `--> path:line:column` and the excerpt, as far as they are known.
    fn element<'e>(&mut self, path: &str, span: Option<&Span>, label: &'e str) -> Element<'e> {
        self.named.push(match span {
            Some(span) => format!("{}:{}:{}", line(path), span.line, span.column),
            None => line(path).into_owned(),
        });
        let excerpt = span.and_then(|span| excerpt::cut(&(self.sources)(path)?, span));
        let Some(excerpt) = excerpt else {
            return Origin::path(Self::MARK.to_string()).into();
        };
        let annotation = AnnotationKind::Primary.span(excerpt.marked);
        let annotation = match label {
            "" => annotation,
            label => annotation.label(line(label)),
        };
        Snippet::source(excerpt.text)
            .line_start(excerpt.first_line)
            .path(Self::MARK.to_string())
            .annotation(annotation)
            .into()
    }

    fn fill_in(self, drawn: &str) -> String {
        let mut parts = drawn.split(Self::MARK);
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for (part, place) in parts.zip(self.named) {
            filled.push_str(&place);
            filled.push_str(part.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit()));
        }
        filled
    }
}

/// What stands below the excerpt: a name and a text each.
fn notes(finding: &Finding) -> Vec<(&'static str, String)> {
    let mut notes = Vec::new();
    let object = finding.object.as_ref().map(ToString::to_string);
    match (&finding.field, object) {
        (Some(field), Some(object)) => {
            notes.push(("field", format!("{} of {}", line(field), line(&object))));
        }
        (Some(field), None) => notes.push(("field", line(field).into_owned())),
        (None, Some(object)) => notes.push(("object", line(&object).into_owned())),
        (None, None) => {}
    }
    if !finding.allowed.is_empty() {
        notes.push(("allowed", shortened(&finding.allowed)));
    }
    for decider in &finding.decided_by {
        notes.push(("decided by", decided_by(decider)));
    }
    for help in &finding.help {
        notes.push(("help", line(help).into_owned()));
    }
    // Not where a sentence says so already.
    if let Some(suggestion) =
        finding.suggestion.as_ref().filter(|text| !finding.help.iter().any(|help| help.contains(*text)))
    {
        notes.push(("help", format!("write `{}` instead", line(suggestion))));
    }
    notes
}

fn decided_by(decider: &Decider) -> String {
    let mut text = format!("policy {}", line(&decider.policy));
    if let Some(field) = &decider.field {
        text.push_str(", ");
        text.push_str(&line(field));
    }
    if let Some(place) = &decider.place {
        text.push_str(&format!(" ({}:{})", line(&place.path), place.line));
    }
    text
}

/// `checked 15 FluxConfigs, 4 policies in 21 files: 14 admitted, 1 refused; 1 error (0.04 s)`.
#[must_use]
pub fn summary(summary: &Summary) -> String {
    let objects: Vec<String> = summary
        .objects
        .iter()
        .map(|kind| match kind.kind.as_str() {
            "FluxPolicy" => counted(kind.count, "policy", "policies"),
            "FluxCluster" => counted(kind.count, "cluster", "clusters"),
            other => counted(kind.count, &line(other), &format!("{}s", line(other))),
        })
        .collect();
    let objects = match objects.as_slice() {
        [] => "nothing".to_owned(),
        some => some.join(", "),
    };
    let some = |count: usize, name: &str| (count > 0).then(|| format!("{count} {name}"));
    let outcomes: Vec<String> = [
        Some(format!("{} admitted", summary.admitted)),
        Some(format!("{} refused", summary.refused)),
        some(summary.invalid, "invalid"),
        some(summary.undecided, "undecided"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let found: Vec<String> = [
        (summary.errors > 0).then(|| counted(summary.errors, "error", "errors")),
        (summary.warnings > 0).then(|| counted(summary.warnings, "warning", "warnings")),
    ]
    .into_iter()
    .flatten()
    .collect();

    let mut text =
        format!("checked {objects} in {}: {}", counted(summary.files, "file", "files"), outcomes.join(", "),);
    if !found.is_empty() {
        text.push_str("; ");
        text.push_str(&found.join(", "));
    }
    if let Some(seconds) = summary.elapsed_seconds {
        text.push_str(&format!(" ({seconds:.2} s)"));
    }
    let passed_over: Vec<String> =
        summary.passed_over.iter().map(|entry| format!("{} {}", entry.count, line(&entry.reason))).collect();
    if !passed_over.is_empty() {
        text.push_str("\npassed over: ");
        text.push_str(&passed_over.join(", "));
    }
    text
}
