//! The tables of URLs, images and patterns in `tests/data`, line by line.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod grammar_cases;

use std::fmt::Write as _;

use grammar_cases::{Case, table};
use sluicegate_policy::grammar::{Bindings, Danger, ImagePattern, ImageRef, NamePattern, SourceUrl, UrlPattern};

const BINDINGS: Bindings<'_> = Bindings { tenant: "team-a", namespace: "shop", cluster: "prod-eu" };

/// What parsing said, in the words of the table.
fn columns(found: Result<String, (String, Option<String>)>) -> Vec<String> {
    match found {
        Ok(canonical) => vec!["ok".to_owned(), canonical],
        Err((reason, canonical)) => [reason].into_iter().chain(canonical).collect(),
    }
}

/// Compares all lines first, so that one run shows all that differ.
fn compare(source: &str, at_least: usize, found: impl Fn(&Case) -> Vec<String>) {
    let cases = table(source);
    assert!(cases.len() >= at_least, "only {} cases", cases.len());
    let mut differences = String::new();
    for case in &cases {
        let found = found(case);
        if found != case.columns {
            let (line, texts) = (case.line, &case.texts);
            let _ = writeln!(differences, "line {line}: {texts:?}\n  table: {:?}\n  found: {found:?}", case.columns);
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

#[test]
fn urls_are_judged_as_the_table_says() {
    compare(include_str!("data/urls.txt"), 150, |case| {
        columns(match SourceUrl::parse(&case.texts[0]) {
            Ok(url) => Ok(url.canonical()),
            Err(e) => Err((format!("{:?}", e.reason()), e.canonical().map(Into::into))),
        })
    });
}

#[test]
fn images_are_judged_as_the_table_says() {
    compare(include_str!("data/images.txt"), 150, |case| {
        columns(match ImageRef::parse(&case.texts[0]) {
            Ok(image) => Ok(image.canonical()),
            Err(e) => Err((format!("{:?}", e.reason()), e.canonical().map(Into::into))),
        })
    });
}

fn yes_or_no(yes: bool) -> Vec<String> {
    vec![if yes { "yes" } else { "no" }.to_owned()]
}

fn pattern_columns(specificity: usize, prefix: &str, dangers: &[Danger]) -> Vec<String> {
    let dangers: Vec<_> = dangers.iter().map(|d| format!("{d:?}")).collect();
    let prefix = if prefix.is_empty() { "-" } else { prefix };
    ["ok", &specificity.to_string(), prefix, &dangers.join(" ")]
        .into_iter()
        .filter(|column| !column.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn url_patterns_match_as_the_table_says() {
    compare(include_str!("data/url_patterns.txt"), 150, |case| {
        let pattern = match UrlPattern::parse(&case.texts[0]) {
            Ok(pattern) => pattern,
            Err(e) => {
                let canonical = e.canonical().map(Into::into);
                return columns(Err((format!("{:?}", e.reason()), canonical)));
            }
        };
        match case.texts.get(1) {
            Some(url) => {
                let url = SourceUrl::parse(url).unwrap();
                yes_or_no(pattern.matches(&url, &BINDINGS))
            }
            None => {
                let dangers: Vec<_> = pattern.dangers().collect();
                pattern_columns(pattern.specificity(), pattern.literal_prefix(), &dangers)
            }
        }
    });
}

#[test]
fn image_patterns_match_as_the_table_says() {
    compare(include_str!("data/image_patterns.txt"), 130, |case| {
        let pattern = match ImagePattern::parse(&case.texts[0]) {
            Ok(pattern) => pattern,
            Err(e) => {
                let canonical = e.canonical().map(Into::into);
                return columns(Err((format!("{:?}", e.reason()), canonical)));
            }
        };
        match case.texts.get(1) {
            Some(image) => {
                let image = ImageRef::parse(image).unwrap();
                yes_or_no(pattern.matches(&image, &BINDINGS))
            }
            None => {
                let dangers: Vec<_> = pattern.dangers().collect();
                pattern_columns(pattern.specificity(), pattern.literal_prefix(), &dangers)
            }
        }
    });
}

#[test]
fn name_patterns_match_as_the_table_says() {
    compare(include_str!("data/name_patterns.txt"), 60, |case| {
        let pattern = match NamePattern::parse(&case.texts[0]) {
            Ok(pattern) => pattern,
            Err(e) => {
                let canonical = e.canonical().map(Into::into);
                return columns(Err((format!("{:?}", e.reason()), canonical)));
            }
        };
        match case.texts.get(1) {
            Some(name) => yes_or_no(pattern.matches(name, &BINDINGS)),
            None => {
                let kind = if pattern.is_literal() {
                    "literal"
                } else if pattern.matches_everything() {
                    "everything"
                } else {
                    "some"
                };
                vec!["ok".to_owned(), kind.to_owned()]
            }
        }
    });
}

/// Values that an attacker would choose for a placeholder.
const HOSTILE: [&str; 8] = ["", "*", "**", "..", "a/b", "A", "a.b", "team-a/"];

#[test]
fn a_placeholder_without_a_label_allows_nothing_and_denies_all_on_the_host() {
    let urls = UrlPattern::parse("https://git.example.com/${tenant}/**").unwrap();
    let images = ImagePattern::parse("registry.example.com/${tenant}/**").unwrap();
    let names = NamePattern::parse("${tenant}*").unwrap();
    for tenant in HOSTILE {
        let bindings = Bindings { tenant, ..BINDINGS };
        for path in ["a/b", "team-a/x", "a/b/c"] {
            let text = format!("https://git.example.com/{path}");
            let url = SourceUrl::parse(&text).unwrap();
            assert!(!urls.matches(&url, &bindings), "{tenant:?} {url}");
            assert!(urls.denies(&url, &bindings), "{tenant:?} {url}");
            let text = format!("registry.example.com/{path}");
            let image = ImageRef::parse(&text).unwrap();
            assert!(!images.matches(&image, &bindings), "{tenant:?} {image}");
            assert!(images.denies(&image, &bindings), "{tenant:?} {image}");
        }
        assert!(!names.matches("a", &bindings), "{tenant:?}");
        assert!(names.denies("a", &bindings), "{tenant:?}");
        let elsewhere = SourceUrl::parse("https://other.example.com/a/b").unwrap();
        assert!(!urls.denies(&elsewhere, &bindings));
    }
}

#[test]
fn two_stars_alone_deny_plain_http_although_they_do_not_allow_it() {
    let any = UrlPattern::parse("**").unwrap();
    let url = SourceUrl::parse("http://git.example.com/a").unwrap();
    assert!(!any.matches(&url, &BINDINGS));
    assert!(any.denies(&url, &BINDINGS));
}

#[test]
fn messages_say_what_was_found_and_how_to_write_it() {
    for (text, message) in [
        (
            "git@git.example.com:team-a/shop.git",
            "this is the scp-like form; a URL begins with ssh://; write ssh://git@git.example.com/team-a/shop.git",
        ),
        ("https://git.example.com/a\u{202e}b", "the URL has U+202E; it is printable ASCII without spaces"),
        ("gopher://x", "unknown scheme `gopher`; there are https, ssh, oci and http"),
        ("https://git.example.com/a/%2e%2e", "the URL has `%`; nothing in it may be percent-encoded"),
    ] {
        assert_eq!(SourceUrl::parse(text).unwrap_err().to_string(), message);
    }
    assert_eq!(
        ImageRef::parse("DOCKER.IO/nginx").unwrap_err().to_string(),
        "Docker Hub is written in lowercase; other spellings are another registry to some nodes; write docker.io/nginx"
    );
    assert_eq!(
        UrlPattern::parse("https://h.example/${team}/**").unwrap_err().to_string(),
        "unknown placeholder `${team}`; there are `${tenant}`, `${namespace}` and `${cluster}`"
    );
}

#[test]
fn messages_never_repeat_a_password() {
    for text in [
        "https://user:hunter2@git.example.com/a",
        "ssh://git:hunter2@git.example.com/a",
        "https://user:hunter2@git.example.com@evil.com/a",
        "https://user:hunter2@GIT.example.com/a/",
    ] {
        let error = SourceUrl::parse(text).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn errors_point_at_the_place() {
    for (text, offset) in [
        ("https://git.example.com/a/../b", 26),
        ("https://git.example.com/a%2f", 25),
        ("https://git.Example.com/a", 12),
        ("https://git.example.com:0/a", 24),
        ("ssh://x:y@git.example.com/a", 6),
    ] {
        assert_eq!(SourceUrl::parse(text).unwrap_err().offset(), offset, "{text}");
    }
    for (text, offset) in
        [("registry.example.com/Team", 21), ("registry.example.com:0/a", 21), ("nginx:a:b", 7), ("nginx@sha256:0", 6)]
    {
        assert_eq!(ImageRef::parse(text).unwrap_err().offset(), offset, "{text}");
    }
    let error = UrlPattern::parse("https://git.example.com/x/${team}").unwrap_err();
    assert_eq!(error.offset(), 26);
}

#[test]
fn familiar_form_is_short_only_where_it_means_the_same() {
    for (text, familiar) in [
        ("docker.io/library/nginx:1", "nginx:1"),
        ("index.docker.io/bitnami/redis", "bitnami/redis"),
        ("docker.io/library/a/b", "library/a/b"),
        ("registry.example.com/a", "registry.example.com/a"),
        ("docker.io/foo.bar/x", "docker.io/foo.bar/x"),
        ("docker.io/localhost/x", "docker.io/localhost/x"),
        ("library/sha256:0", "docker.io/library/sha256:0"),
    ] {
        assert_eq!(ImageRef::parse(text).unwrap().familiar(), familiar, "{text}");
    }
}

#[test]
fn the_tag_that_is_pulled_is_latest_unless_something_else_is_written() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let both = format!("nginx:1@{digest}");
    for (text, tag) in [("nginx", Some("latest")), ("nginx:1", Some("1")), (&both, None)] {
        assert_eq!(ImageRef::parse(text).unwrap().effective_tag(), tag, "{text}");
    }
    let image = ImageRef::parse(&both).unwrap();
    assert_eq!((image.tag(), image.digest()), (Some("1"), Some(&*digest)));
}
