//! Names, templates, durations, paths and references of Git.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_policy::grammar::{
    Bindings, ChartName, ClusterId, CommitSha, Digest, GitBranch, GitTag, ImageRef, NamePattern,
    NamespaceName, ObjectName, RepoPath, SemverRange, Template, TenantName, format_duration,
    parse_duration, parse_duration_with_days,
};

/// The pattern of Flux's own fields, `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`.
fn is_flux_duration(mut text: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    if text.is_empty() {
        return false;
    }
    while !text.is_empty() {
        let whole = digits(text);
        text = &text[whole..];
        let fraction = text.strip_prefix('.').map(|rest| (digits(rest), rest));
        if let Some((count, rest)) = fraction {
            if count == 0 {
                return false;
            }
            text = &rest[count..];
        }
        let unit = ["ms", "s", "m", "h"]
            .iter()
            .find_map(|unit| text.strip_prefix(unit));
        match unit {
            Some(rest) if whole > 0 => text = rest,
            _ => return false,
        }
    }
    true
}

fuzz_target!(|text: &str| {
    // Names: a label is a label for everybody, and what is accepted is nothing but one.
    let label = TenantName::new(text);
    assert_eq!(label.is_ok(), ClusterId::new(text).is_ok());
    assert_eq!(label.is_ok(), NamespaceName::new(text).is_ok());
    assert_eq!(label.is_ok(), ChartName::new(text).is_ok());
    assert_eq!(
        label.is_ok(),
        NamePattern::parse(text).is_ok_and(|p| p.is_literal())
    );
    match &label {
        Ok(name) => {
            assert_eq!(name.as_str(), text);
            assert!((1..=63).contains(&text.len()) && !text.contains(['.', '/', '_', '*']));
            assert!(ObjectName::new(text).is_ok());
            assert!(ImageRef::parse(&format!("r.example.com/{text}")).is_ok());
        }
        Err(error) => assert!(error.to_string().is_ascii()),
    }
    if let Ok(name) = ObjectName::new(text) {
        assert!((1..=253).contains(&name.as_str().len()));
        assert!(
            text.split('.')
                .all(|part| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-'))
        );
    }

    // Templates: what is expanded has labels in place of holes, and nothing else has changed.
    if let Ok(template) = Template::parse(text) {
        let bindings = Bindings {
            tenant: "team-a",
            namespace: "shop",
            cluster: "prod-eu",
        };
        let expanded = template.expand(&bindings).unwrap();
        let expected = text
            .replace("${tenant}", "team-a")
            .replace("${namespace}", "shop")
            .replace("${cluster}", "prod-eu");
        assert_eq!(expanded, expected);
        assert!(!expanded.contains('$'));
        assert_eq!(
            template.is_literal(),
            template.expand(&Bindings::default()).is_ok()
        );
    }

    // Durations: exactly Flux's pattern within the bounds, and written as they are read.
    match parse_duration(text) {
        Ok(duration) => {
            assert!(is_flux_duration(text));
            assert_eq!(parse_duration_with_days(text), Ok(duration));
            let written = format_duration(duration);
            assert!(is_flux_duration(&written), "{written:?}");
            assert_eq!(parse_duration(&written), Ok(duration), "{written:?}");
        }
        Err(error) => {
            let bound = text.len() > 64 || error.to_string().contains("292 years");
            assert!(bound || !is_flux_duration(text), "{error}");
        }
    }
    if let Ok(duration) = parse_duration_with_days(text) {
        assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }

    // Paths: joined to a directory they stay below it.
    if let Ok(path) = RepoPath::parse(text) {
        let mut depth = 0_i32;
        for part in std::path::Path::new(text).components() {
            match part {
                std::path::Component::Normal(_) => depth += 1,
                std::path::Component::CurDir => {}
                other => panic!("{other:?}"),
            }
            assert!(depth >= 0);
        }
        assert!(!text.contains(['\\', '\0', '\n']) && !text.starts_with(['/', '~']));
        assert_eq!(RepoPath::parse(path.as_str()), Ok(path));
        if !path.relative().is_empty() {
            let plain = RepoPath::parse(path.relative());
            assert!(plain.is_ok_and(|plain| plain.same_place(&path)));
        }
    }

    // Git: what is accepted can stand on a command line and in a reference.
    assert_eq!(GitBranch::parse(text).is_ok(), GitTag::parse(text).is_ok());
    if GitBranch::parse(text).is_ok() {
        assert!(
            !text.is_empty() && !text.starts_with(['-', '/', '.']) && !text.ends_with(['/', '.'])
        );
        assert!(!text.contains([' ', '~', '^', ':', '?', '*', '[', '\\', '\0', '\x7f']));
        assert!(!text.contains("..") && !text.contains("@{") && !text.contains("//"));
    }
    if CommitSha::parse(text).is_ok() {
        assert!(matches!(text.len(), 40 | 64) && GitTag::parse(text).is_ok());
    }
    if Digest::parse(text).is_ok() {
        assert!(ImageRef::parse(&format!("a@{text}")).is_ok());
        assert!(CommitSha::parse(&text["sha256:".len()..]).is_ok());
    }
    if SemverRange::parse(text).is_ok() {
        assert!(
            text.len() <= 256
                && text
                    .bytes()
                    .any(|b| b.is_ascii_digit() || b"xX*".contains(&b))
        );
        // A range beside one more is a range.
        let either = format!("{text}||1");
        assert!(either.len() > 256 || SemverRange::parse(&either).is_ok());
    }
});
