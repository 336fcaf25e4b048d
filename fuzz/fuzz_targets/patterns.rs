//! Patterns against values. Input: pattern, value and tenant, a line each. Matching agrees with the obvious
//! matcher, and a tenant that is no DNS label is never let in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_policy::grammar::{
    Bindings, Danger, ImagePattern, ImageRef, NamePattern, SourceUrl, TenantName, UrlPattern,
};

/// Segments against segments, by the definition of the wildcards.
fn path_matches(pattern: &[&str], path: &[&str]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ["**"] => !path.is_empty(),
        ["*", rest @ ..] => !path.is_empty() && path_matches(rest, &path[1..]),
        [own, rest @ ..] => path.first() == Some(own) && path_matches(rest, &path[1..]),
    }
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    match pattern.strip_prefix("*.") {
        Some(suffix) => host.split('.').skip(1).eq(suffix.split('.')),
        None => pattern == host,
    }
}

/// Names against names, by the definition of the star.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    // Whether the first `n` bytes of the name match the pattern so far.
    let mut reached: Vec<bool> = (0..=name.len()).map(|n| n == 0).collect();
    for byte in pattern {
        let mut next = vec![false; reached.len()];
        for n in 0..=name.len() {
            next[n] = match byte {
                b'*' => reached[..=n].contains(&true),
                byte => n > 0 && reached[n - 1] && name[n - 1] == *byte,
            };
        }
        reached = next;
    }
    reached[name.len()]
}

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    let pattern = lines.next().unwrap_or("");
    let value = lines.next().unwrap_or("");
    let tenant = lines.next().unwrap_or("");
    let bindings = Bindings {
        tenant,
        namespace: "shop",
        cluster: "prod-eu",
    };
    let labelled = TenantName::new(tenant).is_ok();
    let uses_tenant = pattern.contains("${tenant}");
    let spelled_out = pattern
        .replace("${tenant}", tenant)
        .replace("${namespace}", "shop")
        .replace("${cluster}", "prod-eu");

    match UrlPattern::parse(pattern) {
        Err(error) => {
            assert!(error.to_string().is_ascii());
            if let Some(offered) = error.canonical() {
                assert!(UrlPattern::parse(offered).is_ok(), "{offered:?} is offered");
            }
        }
        Ok(parsed) => {
            assert_eq!(parsed.as_str(), pattern);
            assert!(pattern.starts_with(parsed.literal_prefix()));
            assert!(!parsed.literal_prefix().contains('*'));
            assert_eq!(parsed.specificity() == 0, pattern == "**");
            assert_eq!(
                pattern == "**",
                parsed.dangers().any(|d| d == Danger::Everything)
            );
            if let Ok(url) = SourceUrl::parse(value) {
                let matched = parsed.matches(&url, &bindings);
                assert!(
                    !matched || parsed.denies(&url, &bindings),
                    "a deny list denies less"
                );
                if uses_tenant && !labelled {
                    assert!(!matched, "{tenant:?} is no label");
                } else if pattern != "**" {
                    let (scheme, rest) = spelled_out.split_once("://").unwrap();
                    let (authority, path) = match rest.split_once('/') {
                        Some((authority, path)) => (authority, path.split('/').collect()),
                        None => (rest, Vec::new()),
                    };
                    let (user, host_port) = match authority.split_once('@') {
                        Some((user, host_port)) => (Some(user), host_port),
                        None => (None, authority),
                    };
                    let (host, port) = match host_port.split_once(':') {
                        Some((host, port)) => (host, port.parse().unwrap()),
                        None => (host_port, url.scheme().default_port()),
                    };
                    let mut path: Vec<&str> = path;
                    if let Some(last) = path.last_mut() {
                        *last = last.strip_suffix(".git").unwrap_or(last);
                    }
                    let expected = scheme == url.scheme().as_str()
                        && user == url.user()
                        && host_matches(host, url.host())
                        && port == url.effective_port()
                        && path_matches(&path, &url.segments().collect::<Vec<_>>());
                    assert_eq!(matched, expected, "{pattern:?} {value:?} {tenant:?}");
                }
            }
        }
    }

    match ImagePattern::parse(pattern) {
        Err(error) => {
            assert!(error.to_string().is_ascii());
            if let Some(offered) = error.canonical() {
                assert!(
                    ImagePattern::parse(offered).is_ok(),
                    "{offered:?} is offered"
                );
            }
        }
        Ok(parsed) => {
            assert_eq!(parsed.as_str(), pattern);
            assert!(pattern.starts_with(parsed.literal_prefix()));
            assert!(!parsed.literal_prefix().contains('*'));
            if let Ok(image) = ImageRef::parse(value) {
                let matched = parsed.matches(&image, &bindings);
                assert!(
                    !matched || parsed.denies(&image, &bindings),
                    "a deny list denies less"
                );
                if uses_tenant && !labelled {
                    assert!(!matched, "{tenant:?} is no label");
                } else if pattern != "**" {
                    let (authority, rest) = spelled_out.split_once('/').unwrap();
                    let (path, tag) = match rest.split_once(':') {
                        Some((path, tag)) => (path, Some(tag)),
                        None => (rest, None),
                    };
                    let expected = host_matches(authority, image.host_with_port())
                        && tag.is_none_or(|tag| image.effective_tag() == Some(tag))
                        && path_matches(
                            &path.split('/').collect::<Vec<_>>(),
                            &image.components().collect::<Vec<_>>(),
                        );
                    assert_eq!(matched, expected, "{pattern:?} {value:?} {tenant:?}");
                }
            }
        }
    }

    match NamePattern::parse(pattern) {
        Err(error) => {
            assert!(error.to_string().is_ascii());
            if let Some(offered) = error.canonical() {
                assert!(
                    NamePattern::parse(offered).is_ok(),
                    "{offered:?} is offered"
                );
            }
        }
        Ok(parsed) => {
            let matched = parsed.matches(value, &bindings);
            let label = TenantName::new(value).is_ok();
            let bound = labelled || !uses_tenant;
            assert_eq!(
                matched,
                label && bound && name_matches(spelled_out.as_bytes(), value.as_bytes()),
                "{pattern:?} {value:?} {tenant:?}"
            );
            assert_eq!(parsed.denies(value, &bindings), matched || !label || !bound);
            if parsed.is_literal() {
                assert_eq!(matched, pattern == value);
            }
            if parsed.matches_everything() {
                assert_eq!(matched, label);
            }
        }
    }
});
