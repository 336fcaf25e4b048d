//! Source URLs: what is accepted is canonical, reads the same for a plain splitter, and matches the
//! patterns that are made from it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_policy::grammar::{Bindings, Scheme, SourceUrl, UrlPattern};

fuzz_target!(|text: &str| {
    let url = match SourceUrl::parse(text) {
        Ok(url) => url,
        Err(error) => {
            assert!(
                error.to_string().is_ascii(),
                "a message shows what cannot be seen"
            );
            if let Some(offered) = error.canonical() {
                assert_ne!(offered, text);
                assert!(SourceUrl::parse(offered).is_ok(), "{offered:?} is offered");
            }
            return;
        }
    };
    assert_eq!(url.as_str(), text);
    assert!(text.len() <= 2048 && text.bytes().all(|b| b.is_ascii_graphic()));
    assert!(!text.contains(['%', '\\', '?', '#', '*', '$', '~', ';', '[']));

    // The naive way to take a URL apart gives the same parts, or there is a gap to slip through.
    let (scheme, rest) = text.split_once("://").unwrap();
    assert_eq!(scheme, url.scheme().as_str());
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, Some(path)),
        None => (rest, None),
    };
    let (user, host_port) = match authority.split_once('@') {
        Some((user, host_port)) => (Some(user), host_port),
        None => (None, authority),
    };
    assert_eq!(user, url.user());
    assert_eq!(user.is_some(), url.scheme() == Scheme::Ssh);
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    assert_eq!(host_port, format!("{}{port}", url.host()));
    assert!(
        url.host()
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
    );
    assert!(
        !url.host().is_empty() && !url.host().starts_with(['.', '-']) && !url.host().ends_with('.')
    );
    let segments: Vec<_> = url.segments().collect();
    assert_eq!(segments.len(), url.segment_count());
    let written = path.map(|p| p.strip_suffix(".git").unwrap_or(p));
    assert_eq!(written.unwrap_or(""), segments.join("/"));
    for segment in &segments {
        assert!(!matches!(*segment, "" | "." | ".." | ".git"));
        assert!(!segment.starts_with('-'));
    }

    let canonical = url.canonical();
    let again = SourceUrl::parse(&canonical).unwrap_or_else(|e| panic!("{canonical:?}: {e}"));
    assert_eq!(again.canonical(), canonical);
    assert!(again.same_source(&url) && url.same_source(&again));

    let bindings = Bindings::default();
    let base = &text[..text.len() - path.map_or(0, |p| p.len() + 1)];
    let beside = if path.is_some() {
        format!("{canonical}x")
    } else {
        format!("{base}/x")
    };
    for (pattern, expected) in [
        (text.to_owned(), true),
        (canonical.clone(), true),
        (format!("{base}/**"), !segments.is_empty()),
        (format!("{base}{}", "/*".repeat(segments.len())), true),
        (format!("{base}{}/*", "/*".repeat(segments.len())), false),
        (format!("{text}/**"), false),
        (beside, false),
    ] {
        // At the bound a longer pattern is refused.
        let Ok(parsed) = UrlPattern::parse(&pattern) else {
            assert!(pattern.len() > 2048, "{pattern:?}");
            continue;
        };
        assert_eq!(parsed.matches(&url, &bindings), expected, "{pattern:?}");
        assert_eq!(parsed.denies(&url, &bindings), expected, "{pattern:?}");
    }
    let everything = UrlPattern::parse("**").unwrap();
    assert_eq!(
        everything.matches(&url, &bindings),
        url.scheme() != Scheme::Http
    );
    assert!(everything.denies(&url, &bindings));
});
