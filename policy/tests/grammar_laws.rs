//! Laws of the grammars, on generated texts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

#[allow(dead_code, reason = "the columns are for the tests of the tables")]
mod grammar_cases;

use grammar_cases::table;
use proptest::prelude::*;
use sluicegate_policy::grammar::{
    Bindings, ChartName, ClusterId, CommitSha, Digest, GitBranch, GitTag, ImagePattern, ImageRef, NamePattern,
    NamespaceName, ObjectName, RepoPath, SemverRange, SourceUrl, Template, TenantName, UrlPattern, format_duration,
    parse_duration, parse_duration_with_days,
};

const BINDINGS: Bindings<'_> = Bindings { tenant: "team-a", namespace: "shop", cluster: "prod-eu" };

/// URLs in canonical form, or nearly.
fn url() -> impl Strategy<Value = String> {
    (
        prop_oneof!["https://", "http://", "ssh://git@", "oci://"],
        "[a-z0-9]{1,4}(\\.[a-z0-9]{1,4}){1,2}\\.[a-z]{2,3}",
        prop_oneof![
            Just(String::new()),
            (1u16..).prop_map(|port| format!(":{port}")),
            prop_oneof![Just(":443"), Just(":80"), Just(":22")].prop_map(str::to_owned),
        ],
        prop::collection::vec("[A-Za-z0-9_][A-Za-z0-9._-]{0,6}", 0..4),
        prop_oneof![Just(""), Just(".git")],
    )
        .prop_map(|(scheme, host, port, path, git)| {
            let mut text = format!("{scheme}{host}{port}");
            for segment in &path {
                text.push('/');
                text.push_str(segment);
            }
            if !path.is_empty() {
                text.push_str(git);
            }
            text
        })
}

/// URLs from so few parts that two of them are often the same source.
fn near_url() -> impl Strategy<Value = String> {
    "(https|oci)://(git[.])?example[.]com(:443|:80)?(/(a|b|[.]x)){0,3}([.]git)?"
        .prop_filter("a URL", |text| SourceUrl::parse(text).is_ok())
}

/// Images in the grammar.
fn image() -> impl Strategy<Value = String> {
    (
        prop_oneof![
            Just(String::new()),
            Just("docker.io/".to_owned()),
            Just("index.docker.io/".to_owned()),
            Just("localhost/".to_owned()),
            "[a-zA-Z0-9]{1,4}(\\.[a-zA-Z0-9]{1,4}){0,2}\\.[a-zA-Z]{2,3}(:[1-9][0-9]{0,3})?/",
        ],
        prop::collection::vec("[a-z0-9]{1,4}([._]|__|--?)?[a-z0-9]{1,4}", 1..4),
        "(:[A-Za-z0-9_][A-Za-z0-9._-]{0,8})?(@sha256:[0-9a-f]{64})?",
    )
        .prop_map(|(host, path, version)| format!("{host}{}{version}", path.join("/")))
}

/// Texts that are made of what the grammars care about.
fn hostile() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        prop_oneof![
            Just("https://"),
            Just("ssh://"),
            Just("git@"),
            Just("oci://"),
            Just("http:"),
            Just("example.com"),
            Just("docker.io"),
            Just("localhost"),
            Just("[::1]"),
            Just("127.1"),
        ],
        prop_oneof![
            Just("/"),
            Just(":"),
            Just("@"),
            Just("."),
            Just(".."),
            Just("-"),
            Just("_"),
            Just("~"),
            Just("*"),
            Just("**"),
            Just("$"),
            Just("${tenant}"),
            Just("${"),
            Just("}"),
            Just(".git"),
        ],
        prop_oneof![
            Just("a"),
            Just("A"),
            Just("0"),
            Just("443"),
            Just("%2e"),
            Just("?"),
            Just("#"),
            Just("\\"),
            Just("\0"),
            Just("\n"),
            Just("\u{ff0e}"),
            Just("\u{202e}"),
            Just("sha256:"),
            Just("ms"),
        ],
    ];
    prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}

/// A reading never panics, and what it offers instead of what it refuses is itself accepted.
fn read_everything(text: &str) {
    if let Err(error) = SourceUrl::parse(text) {
        assert!(!error.to_string().is_empty());
        if let Some(offered) = error.canonical() {
            assert!(SourceUrl::parse(offered).is_ok(), "{text:?} -> {offered:?}");
        }
    }
    if let Err(error) = ImageRef::parse(text) {
        assert!(!error.to_string().is_empty());
        if let Some(offered) = error.canonical() {
            assert!(ImageRef::parse(offered).is_ok(), "{text:?} -> {offered:?}");
        }
    }
    if let Err(error) = UrlPattern::parse(text)
        && let Some(offered) = error.canonical()
    {
        assert!(UrlPattern::parse(offered).is_ok(), "{text:?} -> {offered:?}");
    }
    if let Err(error) = ImagePattern::parse(text)
        && let Some(offered) = error.canonical()
    {
        assert!(ImagePattern::parse(offered).is_ok(), "{text:?} -> {offered:?}");
    }
    if let Err(error) = NamePattern::parse(text)
        && let Some(offered) = error.canonical()
    {
        assert!(NamePattern::parse(offered).is_ok(), "{text:?} -> {offered:?}");
    }
    let labels = [
        TenantName::new(text).is_ok(),
        ClusterId::new(text).is_ok(),
        NamespaceName::new(text).is_ok(),
        ChartName::new(text).is_ok(),
    ];
    // A literal pattern of names is a name, and the other way round.
    let literal = NamePattern::parse(text).is_ok_and(|p| p.is_literal());
    assert_eq!(labels, [literal; 4], "{text:?}");
    if labels[0] {
        assert!(ObjectName::new(text).is_ok(), "{text:?}");
    }
    let _ = (CommitSha::parse(text), Digest::parse(text), SemverRange::parse(text));
    assert_eq!(GitBranch::parse(text).is_ok(), GitTag::parse(text).is_ok());
    if let Ok(path) = RepoPath::parse(text) {
        assert!(path.relative().split('/').all(|s| s != ".."), "{text:?}");
        assert!(!path.relative().starts_with('/'), "{text:?}");
    }
    if let Ok(template) = Template::parse(text) {
        let expanded = template.expand(&BINDINGS).unwrap();
        assert!(!expanded.contains('$'), "{text:?}");
    }
    if let Ok(duration) = parse_duration(text) {
        assert_eq!(parse_duration_with_days(text), Ok(duration));
        assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }
}

/// The patterns that a URL must match: itself, and itself with more and more of the end open.
fn wider_url_patterns(url: &SourceUrl<'_>) -> Vec<String> {
    let text = url.as_str();
    let segments = url.segment_count();
    let mut patterns = vec![text.to_owned(), url.canonical()];
    let mut head = text;
    for _ in 0..segments {
        head = &head[..head.rfind('/').unwrap()];
        patterns.push(format!("{head}/**"));
    }
    if segments > 0 {
        patterns.push(format!("{}/*", &text[..text.rfind('/').unwrap()]));
        patterns.push(head.to_owned() + &"/*".repeat(segments));
    }
    patterns
}

fn wider_image_patterns(image: &ImageRef<'_>) -> Vec<String> {
    let host = image.host_with_port().to_ascii_lowercase();
    let components: Vec<_> = image.components().collect();
    let mut patterns = vec![format!("{host}/{}", components.join("/"))];
    for kept in 0..components.len() {
        let head: String = components[..kept].iter().map(|c| format!("/{c}")).collect();
        patterns.push(format!("{host}{head}/**"));
    }
    if let Some(tag) = image.effective_tag() {
        patterns.push(format!("{}:{tag}", patterns[0]));
    }
    patterns
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_makes_a_grammar_panic(text in any::<String>()) {
        read_everything(&text);
    }

    #[test]
    fn no_hostile_text_makes_a_grammar_panic(text in hostile()) {
        read_everything(&text);
    }

    #[test]
    fn a_url_keeps_its_text_and_its_canonical_form_is_a_fixed_point(text in url()) {
        let Ok(url) = SourceUrl::parse(&text) else { return Ok(()) };
        prop_assert_eq!(url.to_string(), text.as_str());
        let canonical = url.canonical();
        let again = SourceUrl::parse(&canonical).unwrap();
        prop_assert_eq!(again.canonical(), canonical.as_str());
        prop_assert!(url.same_source(&again));
        prop_assert!(url.segments().eq(again.segments()));
        prop_assert_eq!(url.segments().count(), url.segment_count());
    }

    #[test]
    fn urls_are_the_same_source_exactly_if_their_canonical_forms_are(a in near_url(), b in near_url()) {
        let (Ok(a), Ok(b)) = (SourceUrl::parse(&a), SourceUrl::parse(&b)) else { return Ok(()) };
        prop_assert_eq!(a.same_source(&b), a.canonical() == b.canonical());
    }

    #[test]
    fn an_image_keeps_its_text_and_its_canonical_form_is_a_fixed_point(text in image()) {
        let Ok(image) = ImageRef::parse(&text) else { return Ok(()) };
        prop_assert_eq!(image.to_string(), text.as_str());
        for form in [image.canonical(), image.familiar()] {
            let again = ImageRef::parse(&form).unwrap();
            prop_assert_eq!(again.canonical(), image.canonical());
            prop_assert!(again.components().eq(image.components()));
            prop_assert_eq!(again.effective_tag(), image.effective_tag());
        }
        prop_assert_eq!(image.components().count(), image.component_count());
    }

    #[test]
    fn a_url_pattern_matches_what_it_was_made_from_and_wider_ones_do_too(text in url()) {
        let Ok(url) = SourceUrl::parse(&text) else { return Ok(()) };
        for pattern in wider_url_patterns(&url) {
            let pattern = UrlPattern::parse(&pattern).unwrap();
            prop_assert_eq!(pattern.to_string(), pattern.as_str());
            prop_assert!(pattern.matches(&url, &BINDINGS), "{} {}", pattern, url);
            prop_assert!(pattern.denies(&url, &BINDINGS));
        }
    }

    #[test]
    fn a_literal_url_pattern_matches_nothing_but_itself(a in near_url(), b in near_url()) {
        let (Ok(url), Ok(pattern)) = (SourceUrl::parse(&a), UrlPattern::parse(&b)) else {
            return Ok(());
        };
        let same = SourceUrl::parse(&b).is_ok_and(|other| other.same_source(&url));
        prop_assert_eq!(pattern.matches(&url, &BINDINGS), same);
    }

    #[test]
    fn an_image_pattern_matches_what_it_was_made_from_and_wider_ones_do_too(text in image()) {
        let Ok(image) = ImageRef::parse(&text) else { return Ok(()) };
        for pattern in wider_image_patterns(&image) {
            let pattern = ImagePattern::parse(&pattern).unwrap();
            prop_assert!(pattern.matches(&image, &BINDINGS), "{} {}", pattern, image);
            prop_assert!(pattern.denies(&image, &BINDINGS));
        }
    }

    #[test]
    fn two_stars_match_all_that_one_star_and_literals_do(
        text in near_url(), pattern in prop::collection::vec("[*]|[ab]", 1..4),
    ) {
        let Ok(url) = SourceUrl::parse(&text) else { return Ok(()) };
        let head = &text[..text.len() - text.splitn(4, '/').nth(3).map_or(0, |p| p.len() + 1)];
        let narrow = format!("{head}/{}", pattern.join("/"));
        let narrow = UrlPattern::parse(&narrow).unwrap();
        for kept in 0..pattern.len() {
            let open = [&pattern[..kept], &["**".to_owned()]].concat().join("/");
            let wide = UrlPattern::parse(&format!("{head}/{open}")).unwrap();
            prop_assert!(!narrow.matches(&url, &BINDINGS) || wide.matches(&url, &BINDINGS));
        }
    }

    #[test]
    fn a_placeholder_is_as_good_as_its_value(
        tenant in "[a-z]([a-z-]{0,3}[a-z])?", pre in "[a-z_.]{0,2}", post in "[a-z_.]{0,2}", text in "[a-z_.-]{1,8}",
    ) {
        let bindings = Bindings { tenant: &tenant, ..BINDINGS };
        let url = format!("https://git.example.com/{text}/x");
        let Ok(url) = SourceUrl::parse(&url) else { return Ok(()) };
        let hole = UrlPattern::parse(&format!("https://git.example.com/{pre}${{tenant}}{post}/x"));
        let value = UrlPattern::parse(&format!("https://git.example.com/{pre}{tenant}{post}/x"));
        let (Ok(hole), Ok(value)) = (hole, value) else { return Ok(()) };
        prop_assert_eq!(hole.matches(&url, &bindings), value.matches(&url, &bindings));
        let own = format!("https://git.example.com/{pre}{tenant}{post}/x");
        prop_assert!(hole.matches(&SourceUrl::parse(&own).unwrap(), &bindings));
    }

    #[test]
    fn a_name_pattern_agrees_with_the_obvious_matcher(pattern in "[ab*-]{1,6}", name in "[ab-]{1,8}") {
        let Ok(parsed) = NamePattern::parse(&pattern) else { return Ok(()) };
        let label = TenantName::new(name.as_str()).is_ok();
        prop_assert_eq!(
            parsed.matches(&name, &BINDINGS),
            label && glob(pattern.as_bytes(), name.as_bytes()),
        );
    }

    #[test]
    fn a_duration_is_written_as_it_is_read(nanos in 0..i64::MAX as u64) {
        let duration = std::time::Duration::from_nanos(nanos);
        prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }
}

/// The definition of a star, by recursion.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', rest @ ..] => (0..=name.len()).any(|at| glob(rest, &name[at..])),
        [byte, rest @ ..] => name.split_first().is_some_and(|(b, n)| b == byte && glob(rest, n)),
    }
}

#[test]
fn the_tables_keep_the_laws_too() {
    for source in [
        include_str!("data/urls.txt"),
        include_str!("data/images.txt"),
        include_str!("data/url_patterns.txt"),
        include_str!("data/image_patterns.txt"),
        include_str!("data/name_patterns.txt"),
    ] {
        for text in table(source).into_iter().flat_map(|case| case.texts) {
            read_everything(&text);
        }
    }
}
