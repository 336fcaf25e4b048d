//! One run of `check` over five files with everything that a view can trip over: several lines, no
//! span, CRLF, wide characters, tabs, long lines and lists, repeats, and values that attack whoever
//! shows them.

use std::sync::Arc;
use std::time::Duration;

use sluicegate_cli::report::{
    Checked, Decider, Finding, LineIndex, ObjectId, Outcome, PassedOver, Place, Related, Report, Rule, Severity, Span,
};

pub(crate) const SHOP: &str = "apiVersion: sluicegate.dev/v1alpha1
kind: FluxConfig
metadata: {name: shop, namespace: team-a}
spec:
  source:
    url: https://git.example.com/team-b/shop.git
  interval: 5s
";

/// CRLF, wide characters before the span, a tab, and a second document.
pub(crate) const UNICODE: &str = "\u{feff}apiVersion: sluicegate.dev/v1alpha1\r
kind: FluxConfig\r
metadata: {name: größe, namespace: team-日本} # 🦀🦀\r
spec: {note: \"日本語\t🦀\", path: \"../außen\"}\r
---\r
kind: FluxConfig\r
";

/// What an attacker would write.
pub(crate) const NASTY_VALUE: &str = "\u{1b}[2J\u{1b}]0;pwned\u{7}\u{202e}gro.live\u{2066}\u{200b}\n::error file=a,line=1::boo\n##vso[task.setvariable variable=x]y]]><b>&amp; \u{0}\u{fffe}%0A%25 [text](javascript:alert) `{0}` \u{9b}31m";

pub(crate) const TALL: &str = "apiVersion: sluicegate.dev/v1alpha1
kind: FluxConfig
metadata:
  name: tall
  namespace: team-a
spec:
  source: {url: https://git.example.com/team-a/tall.git}
  images:
    - registry.example.com/team-a/**
    - docker.io/**
    - quay.io/**
";

pub(crate) const POLICY: &str = "apiVersion: sluicegate.dev/v1alpha1
kind: FluxPolicy
metadata: {name: teams}
spec:
  sources:
    git: {allow: [\"https://git.example.com/${tenant}/**\"]}
";

/// The nasty value stands in its file as it is, behind a long comment.
pub(crate) fn nasty() -> String {
    format!("# {}{NASTY_VALUE}{}\n", "x".repeat(300), "y".repeat(300))
}

/// The text of a file of the fixture.
pub(crate) fn sources(path: &str) -> Option<Arc<str>> {
    Some(match path {
        "teams/team-a/shop.yaml" => SHOP.into(),
        "teams/team-日本/a b%#c.yaml" => UNICODE.into(),
        "teams/team-x/nasty.yaml" => nasty().into(),
        "teams/team-a/tall.yaml" => TALL.into(),
        "policies/teams.yaml" => POLICY.into(),
        _ => return None,
    })
}

fn span(source: &str, needle: &str) -> Option<Span> {
    let at = source.find(needle).unwrap();
    Some(LineIndex::new(source).span(at..at + needle.len()))
}

fn object(kind: &str, namespace: &str, name: &str) -> ObjectId {
    ObjectId { kind: kind.into(), namespace: (!namespace.is_empty()).then(|| namespace.into()), name: name.into() }
}

/// The findings, in an order that is not the reports' own.
pub(crate) fn findings() -> Vec<Finding> {
    let shop = object("FluxConfig", "team-a", "shop");
    let decider = Decider {
        policy: "teams".into(),
        field: Some("spec.sources.git.allow".into()),
        place: Some(Place { path: "policies/teams.yaml".into(), line: 6 }),
    };
    vec![
        Finding {
            span: span(SHOP, "5s"),
            label: "shorter than 1m".into(),
            object: Some(shop.clone()),
            field: Some("spec.interval".into()),
            value: Some("5s".into()),
            suggestion: Some("1m".into()),
            ..Finding::new(
                Severity::Warning,
                "interval-too-short",
                "The interval is shorter than the policies' limit",
                "teams/team-a/shop.yaml",
                "an interval of 5s is shorter than the limit of 1m",
            )
        },
        Finding {
            span: span(SHOP, "https://git.example.com/team-b/shop.git"),
            label: "no policy allows this source".into(),
            object: Some(shop),
            field: Some("spec.source.url".into()),
            value: Some("https://git.example.com/team-b/shop.git".into()),
            allowed: std::iter::once("https://git.example.com/team-a/**".to_owned())
                .chain((1..=16).map(|n| format!("https://git{n}.example.com/**")))
                .collect(),
            decided_by: vec![decider.clone()],
            help: vec![
                "name a repository of team-a".into(),
                "or ask an administrator to allow it in the policy teams".into(),
            ],
            suggestion: Some("https://git.example.com/team-a/shop.git".into()),
            related: vec![Related {
                path: "policies/teams.yaml".into(),
                span: span(POLICY, "\"https://git.example.com/${tenant}/**\""),
                message: "what the tenant team-a may sync from".into(),
            }],
            ..Finding::new(
                Severity::Error,
                "source-not-allowed",
                "The source is on no allowlist",
                "teams/team-a/shop.yaml",
                "the tenant team-a may not sync from https://git.example.com/team-b/shop.git",
            )
        },
        Finding {
            span: span(UNICODE, "\"../außen\""),
            label: "leaves the repository – 出る".into(),
            object: Some(object("FluxConfig", "team-日本", "größe")),
            field: Some("spec.path".into()),
            value: Some("../außen".into()),
            ..Finding::new(
                Severity::Error,
                "path-not-canonical",
                "The path is not in canonical form",
                "teams/team-日本/a b%#c.yaml",
                "the path ../außen leaves the repository",
            )
        },
        Finding {
            span: span(&nasty(), NASTY_VALUE),
            label: format!("label {NASTY_VALUE}"),
            object: Some(object(NASTY_VALUE, NASTY_VALUE, NASTY_VALUE)),
            field: Some(NASTY_VALUE.into()),
            value: Some(NASTY_VALUE.into()),
            allowed: vec![NASTY_VALUE.into()],
            decided_by: vec![Decider {
                policy: NASTY_VALUE.into(),
                field: Some(NASTY_VALUE.into()),
                place: Some(Place { path: NASTY_VALUE.into(), line: 1 }),
            }],
            help: vec![NASTY_VALUE.into()],
            suggestion: Some(NASTY_VALUE.into()),
            related: vec![Related {
                path: format!("gone/{NASTY_VALUE}"),
                span: span(SHOP, "5s"),
                message: NASTY_VALUE.into(),
            }],
            ..Finding::new(
                Severity::Error,
                "source-not-allowed",
                "The source is on no allowlist",
                "teams/team-x/nasty.yaml",
                NASTY_VALUE,
            )
        },
        Finding {
            span: span(TALL, "- registry.example.com/team-a/**\n    - docker.io/**\n    - quay.io/**\n"),
            label: "two of these are wider than the policy".into(),
            object: Some(object("FluxConfig", "team-a", "tall")),
            field: Some("spec.images".into()),
            decided_by: vec![Decider { field: None, place: None, ..decider }],
            ..Finding::new(
                Severity::Error,
                "images-wider",
                "A FluxConfig can only narrow the policies' images",
                "teams/team-a/tall.yaml",
                "the images allow more than the policies do",
            )
        },
        unreadable(),
        unreadable(),
    ]
}

/// About a whole file, of no object; it comes twice.
fn unreadable() -> Finding {
    Finding {
        help: vec!["save the file as UTF-8".into()],
        ..Finding::new(
            Severity::Error,
            "file-not-utf8",
            "The file is not UTF-8",
            "teams/team-z/latin1.yaml",
            "the file is not UTF-8",
        )
    }
}

fn checked(path: &str, line: usize, object: ObjectId, outcome: Outcome) -> Checked {
    Checked { object, path: path.into(), line, outcome }
}

/// The run.
pub(crate) fn report() -> Report {
    let config = |namespace, name| object("FluxConfig", namespace, name);
    Report::new(
        findings(),
        vec![
            checked("teams/team-a/tall.yaml", 1, config("team-a", "tall"), Outcome::Refused),
            checked("teams/team-a/shop.yaml", 1, config("team-a", "shop"), Outcome::Refused),
            checked("teams/team-a/good.yaml", 1, config("team-a", "good"), Outcome::Admitted),
            checked("teams/team-日本/a b%#c.yaml", 1, config("team-日本", "größe"), Outcome::Invalid),
            checked("teams/team-日本/a b%#c.yaml", 6, config("team-日本", "later"), Outcome::Undecided),
            checked("teams/team-x/nasty.yaml", 1, object(NASTY_VALUE, NASTY_VALUE, NASTY_VALUE), Outcome::Refused),
            checked("policies/teams.yaml", 1, object("FluxPolicy", "", "teams"), Outcome::Valid),
        ],
    )
    .with_version("0.0.0-example")
    .with_files(7)
    .with_rules(vec![Rule {
        id: "source-not-allowed".into(),
        title: "The source is on no allowlist".into(),
        description: "A FluxConfig may sync only from where a policy of its tenant lets it.".into(),
        severity: Severity::Error,
    }])
    .with_passed_over(vec![
        PassedOver { reason: "files of other kinds".into(), count: 12 },
        PassedOver { reason: "files with templates".into(), count: 0 },
    ])
    .with_elapsed(Duration::from_millis(42))
}

/// Objects of the run that were not judged.
pub(crate) const UNDECIDED: usize = 1;
