//! The findings of one run as plain data, in the order in which every view shows them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

/// Where the documentation of the rules lives: one page a rule id.
const RULES_BASE: &str = "https://sluicegate.dev/rules/";

/// The page that explains `rule`.
#[must_use]
pub fn rule_url(rule: &str) -> String {
    format!("{RULES_BASE}{}", super::text::percent_encode(rule))
}

/// Whether a finding stops the merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The object is refused, or the file cannot be used.
    Error,
    /// Allowed, but somebody should look.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A stretch of one file.
///
/// `start` and `end` are byte offsets into the file's text, `end` excluded. Lines and columns count
/// from 1; a column counts Unicode code points, a byte order mark is not counted, and `end_column`
/// is the column just after the last character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset just after the last byte.
    pub end: usize,
    /// Line of the first character.
    pub line: usize,
    /// Column of the first character.
    pub column: usize,
    /// Line of the end.
    pub end_line: usize,
    /// Column just after the last character.
    pub end_column: usize,
}

impl Span {
    /// The last line that has something of the span on it. `end_line` is one further where the span
    /// ends with a line break.
    #[must_use]
    pub fn last_line(&self) -> usize {
        if self.end_column == 1 && self.end_line > self.line { self.end_line - 1 } else { self.end_line }
    }
}

/// Turns byte ranges of one text into [`Span`]s without reading the text from the start each time.
#[derive(Debug)]
pub struct LineIndex<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineIndex<'a> {
    /// Finds the line starts of `text`: a line ends with LF, which a CR may precede.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// The span of `range`, which is moved back to character boundaries and into the text if it
    /// lies outside.
    #[must_use]
    pub fn span(&self, range: Range<usize>) -> Span {
        let start = self.text.floor_char_boundary(range.start);
        let end = self.text.floor_char_boundary(range.end).max(start);
        let (line, column) = self.line_column(start);
        let (end_line, end_column) = self.line_column(end);
        Span { start, end, line, column, end_line, end_column }
    }

    fn line_column(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at);
        let from = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(from..at).unwrap_or_default();
        let before = match line {
            1 => before.strip_prefix('\u{feff}').unwrap_or(before),
            _ => before,
        };
        (line, before.chars().count() + 1)
    }
}

/// The object that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectId {
    /// `FluxConfig`, `FluxPolicy`, …
    pub kind: String,
    /// Absent for cluster-scoped kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

impl fmt::Display for ObjectId {
    /// `FluxConfig team-a/shop`, `FluxPolicy teams`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The file, relative to the folder that was checked, with `/`.
    pub path: String,
    /// Counted from 1.
    pub line: usize,
}

/// The policy that decided, and where it says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decider {
    /// Name of the FluxPolicy.
    pub policy: String,
    /// Field of the policy, such as `spec.sources.git.deny[0]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Absent where the policy was not read from a file (a live cluster).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// Another place that helps to understand a finding, such as the first of two duplicates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Related {
    /// The file, relative to the folder that was checked, with `/`.
    pub path: String,
    /// Where in the file; absent where it is the whole file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// What is there.
    pub message: String,
}

/// One thing that is wrong, or that somebody should look at.
///
/// Texts may quote what stands in the checked files as it is: the views make it fit for showing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Stable rule id, such as `source-not-allowed`.
    pub rule: Cow<'static, str>,
    /// Whether it stops the merge.
    pub severity: Severity,
    /// Short title of the rule, the same for all its findings.
    pub title: Cow<'static, str>,
    /// One sentence: what was found.
    pub message: String,
    /// The file, relative to the folder that was checked, with `/`.
    pub path: String,
    /// Where in the file; absent where the finding is about the whole file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// Text beside the marked stretch of the excerpt; may be empty.
    pub label: String,
    /// The object, where the file got far enough to have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectId>,
    /// Path of the field, such as `spec.source.url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The value found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What would be allowed instead, as patterns or words.
    pub allowed: Vec<String>,
    /// Who decided.
    pub decided_by: Vec<Decider>,
    /// How to go on, a sentence each.
    pub help: Vec<String>,
    /// The text to write in place of what `span` covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// Other places to look at.
    pub related: Vec<Related>,
}

impl Finding {
    /// A finding about the whole of `path`, to which what is known is then added.
    pub fn new(
        severity: Severity,
        rule: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            rule: rule.into(),
            severity,
            title: title.into(),
            message: message.into(),
            path: path.into(),
            span: None,
            label: String::new(),
            object: None,
            field: None,
            value: None,
            allowed: Vec::new(),
            decided_by: Vec::new(),
            help: Vec::new(),
            suggestion: None,
            related: Vec::new(),
        }
    }

    /// Line and column to name, where there is a span.
    #[must_use]
    pub fn line_column(&self) -> Option<(usize, usize)> {
        self.span.map(|span| (span.line, span.column))
    }

    fn order(&self) -> impl Ord + '_ {
        (
            self.path.as_str(),
            self.line_column(),
            self.rule.as_ref(),
            self.object.as_ref(),
            self.field.as_deref(),
            self.value.as_deref(),
            self.message.as_str(),
        )
    }
}

/// What came out for one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// A FluxConfig that the policies allow.
    Admitted,
    /// A FluxConfig that the policies forbid.
    Refused,
    /// An object that is not judged by policies (a policy, a cluster) and is well formed.
    Valid,
    /// An object that does not have the form of its kind.
    Invalid,
    /// Not judged, because something that the verdict depends on is itself invalid.
    Undecided,
}

/// One object that was looked at, whatever came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// The object.
    pub object: ObjectId,
    /// Its file, relative to the folder that was checked, with `/`.
    pub path: String,
    /// Line on which the object starts, counted from 1.
    pub line: usize,
    /// What came out.
    pub outcome: Outcome,
}

/// Files or objects that were not checked, and why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PassedOver {
    /// What they are, in the plural, such as `files with templates`.
    pub reason: Cow<'static, str>,
    /// How many.
    pub count: usize,
}

/// How many objects of one kind were checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KindCount {
    /// The kind.
    pub kind: String,
    /// How many.
    pub count: usize,
}

/// The counts of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Files read.
    pub files: usize,
    /// Objects by kind: FluxConfig, FluxPolicy, FluxCluster, then others by name.
    pub objects: Vec<KindCount>,
    /// FluxConfigs that the policies allow.
    pub admitted: usize,
    /// FluxConfigs that the policies forbid.
    pub refused: usize,
    /// Objects that do not have the form of their kind.
    pub invalid: usize,
    /// Objects that could not be judged.
    pub undecided: usize,
    /// Findings that stop the merge.
    pub errors: usize,
    /// Findings that do not.
    pub warnings: usize,
    /// What was not checked.
    pub passed_over: Vec<PassedOver>,
    /// Wall-clock seconds, where they were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_seconds: Option<f64>,
}

/// A rule as its page describes it, for the forms that carry a catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable id.
    pub id: Cow<'static, str>,
    /// Short title.
    pub title: Cow<'static, str>,
    /// A few sentences.
    pub description: Cow<'static, str>,
    /// What its findings usually are.
    pub severity: Severity,
}

/// All that one run found.
#[derive(Clone, Debug)]
pub struct Report {
    version: Cow<'static, str>,
    findings: Vec<Finding>,
    checked: Vec<Checked>,
    rules: Vec<Rule>,
    summary: Summary,
}

impl Report {
    /// Sorts findings and objects by place and counts them.
    #[must_use]
    pub fn new(mut findings: Vec<Finding>, mut checked: Vec<Checked>) -> Self {
        findings.sort_by(|a, b| a.order().cmp(&b.order()));
        checked.sort_by(|a, b| (&a.path, a.line, &a.object).cmp(&(&b.path, b.line, &b.object)));
        let summary = count(&findings, &checked);
        Self { version: env!("CARGO_PKG_VERSION").into(), findings, checked, rules: Vec::new(), summary }
    }

    /// Adds the catalogue of rules; rules that findings name and the catalogue lacks are described
    /// by the findings' titles.
    #[must_use]
    pub fn with_rules(mut self, rules: Vec<Rule>) -> Self {
        self.rules = rules;
        self
    }

    /// Says how many files were read.
    #[must_use]
    pub fn with_files(mut self, files: usize) -> Self {
        self.summary.files = files;
        self
    }

    /// Says what was not checked; counts of nothing are dropped.
    #[must_use]
    pub fn with_passed_over(mut self, passed_over: Vec<PassedOver>) -> Self {
        self.summary.passed_over = passed_over;
        self.summary.passed_over.retain(|entry| entry.count > 0);
        self
    }

    /// Says how long the run took.
    #[must_use]
    pub fn with_elapsed(mut self, elapsed: Duration) -> Self {
        self.summary.elapsed_seconds = Some(elapsed.as_secs_f64());
        self
    }

    /// Names another version of the tool than this build's, so that published examples stay equal
    /// from release to release.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<Cow<'static, str>>) -> Self {
        self.version = version.into();
        self
    }

    /// Findings by path, line, column and rule.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Objects by path and line.
    #[must_use]
    pub fn checked(&self) -> &[Checked] {
        &self.checked
    }

    /// The catalogue that was handed in.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The counts.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Version of sluicegate.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether anything stops the merge.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.summary.errors > 0
    }
}

fn count(findings: &[Finding], checked: &[Checked]) -> Summary {
    let mut kinds: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    for checked in checked {
        let kind = checked.object.kind.as_str();
        *kinds.entry((rank(kind), kind)).or_default() += 1;
    }
    let outcomes = |outcome| checked.iter().filter(|c| c.outcome == outcome).count();
    let severities = |severity| findings.iter().filter(|f| f.severity == severity).count();
    Summary {
        files: 0,
        objects: kinds.into_iter().map(|((_, kind), count)| KindCount { kind: kind.to_owned(), count }).collect(),
        admitted: outcomes(Outcome::Admitted),
        refused: outcomes(Outcome::Refused),
        invalid: outcomes(Outcome::Invalid),
        undecided: outcomes(Outcome::Undecided),
        errors: severities(Severity::Error),
        warnings: severities(Severity::Warning),
        passed_over: Vec::new(),
        elapsed_seconds: None,
    }
}

/// What a team writes comes first, then what administrators write, then the rest.
fn rank(kind: &str) -> usize {
    const ORDER: [&str; 3] = ["FluxConfig", "FluxPolicy", "FluxCluster"];
    ORDER.iter().position(|known| *known == kind).unwrap_or(ORDER.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str, needle: &str) -> (usize, usize, usize, usize) {
        let at = text.find(needle).unwrap();
        let span = LineIndex::new(text).span(at..at + needle.len());
        assert_eq!(&text[span.start..span.end], needle);
        (span.line, span.column, span.end_line, span.end_column)
    }

    #[test]
    fn columns_count_characters_from_one_and_lines_end_with_lf_or_crlf() {
        assert_eq!(places("a: x", "x"), (1, 4, 1, 5));
        assert_eq!(places("日本: 🦀\r\né: x\r\n", "🦀"), (1, 5, 1, 6));
        assert_eq!(places("日本: 🦀\r\né: x\r\n", "x"), (2, 4, 2, 5));
        assert_eq!(places("a\nbc\nd", "c\nd"), (2, 2, 3, 2));
        assert_eq!(places("a\n", "a\n"), (1, 1, 2, 1));
        assert_eq!(places("", ""), (1, 1, 1, 1));
    }

    #[test]
    fn a_byte_order_mark_is_no_column() {
        assert_eq!(places("\u{feff}a: x", "x"), (1, 4, 1, 5));
        assert_eq!(places("b\n\u{feff}a: x", "x"), (2, 5, 2, 6));
    }

    #[test]
    fn a_range_beyond_the_text_or_inside_a_character_is_moved_back() {
        let index = LineIndex::new("aé");
        assert_eq!(index.span(2..99), index.span(1..3));
        assert_eq!(index.span(50..99), index.span(3..3));
        assert_eq!(index.span(Range { start: 3, end: 1 }), index.span(3..3));
    }

    #[test]
    fn the_last_line_is_one_with_something_of_the_span_on_it() {
        let index = LineIndex::new("a\nb\n\nc");
        let last = |range| index.span(range).last_line();
        assert_eq!(last(0..1), 1);
        assert_eq!(last(0..2), 1);
        assert_eq!(last(0..3), 2);
        assert_eq!(last(2..2), 2);
    }

    #[test]
    fn counts_by_kind_in_the_order_people_think_of_them_and_drops_nothings() {
        let checked = |kind: &str, outcome| Checked {
            object: ObjectId { kind: kind.into(), namespace: None, name: "x".into() },
            path: "x.yaml".into(),
            line: 1,
            outcome,
        };
        let passed_over = |count| PassedOver { reason: "files".into(), count };
        let report = Report::new(
            Vec::new(),
            vec![
                checked("Deployment", Outcome::Valid),
                checked("FluxCluster", Outcome::Valid),
                checked("FluxConfig", Outcome::Undecided),
                checked("FluxPolicy", Outcome::Invalid),
                checked("FluxConfig", Outcome::Admitted),
            ],
        )
        .with_passed_over(vec![passed_over(0), passed_over(2)]);
        let summary = report.summary();
        let kinds: Vec<_> = summary.objects.iter().map(|k| (k.kind.as_str(), k.count)).collect();
        assert_eq!(kinds, [("FluxConfig", 2), ("FluxPolicy", 1), ("FluxCluster", 1), ("Deployment", 1)]);
        assert_eq!(summary.passed_over, [passed_over(2)]);
        assert_eq!((summary.admitted, summary.invalid, summary.undecided), (1, 1, 1));
        assert!(!report.has_errors());
    }
}
