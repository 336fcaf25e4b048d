//! Image references: what is accepted is in the grammar, means the same in each of its forms, and matches
//! the patterns that are made from it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_policy::grammar::{Bindings, ImagePattern, ImageRef};

fuzz_target!(|text: &str| {
    let image = match ImageRef::parse(text) {
        Ok(image) => image,
        Err(error) => {
            assert!(
                error.to_string().is_ascii(),
                "a message shows what cannot be seen"
            );
            if let Some(offered) = error.canonical() {
                assert_ne!(offered, text);
                assert!(ImageRef::parse(offered).is_ok(), "{offered:?} is offered");
            }
            return;
        }
    };
    assert_eq!(image.as_str(), text);
    assert!(text.bytes().all(|b| b.is_ascii_graphic()));
    assert!(!text.contains(['%', '\\', '?', '#', '*', '$', '~', '+']));

    let path: Vec<_> = image.components().collect();
    assert_eq!(path.len(), image.component_count());
    assert!(path.join("/").len() <= 255);
    for component in &path {
        assert!(component.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()));
        assert!(component.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()));
        assert!(!component.contains("..") && !component.contains("___"));
    }
    // With a port it is another registry, as the distribution project has it.
    assert!(image.host() != "index.docker.io" || image.port().is_some());
    assert!(image.host() != "docker.io" || image.port().is_some() || path.len() > 1);
    assert!(image.port() != Some(0));
    assert_eq!(image.effective_tag().is_none(), image.digest().is_some());

    // Each form is read back as the same image.
    let canonical = image.canonical();
    for form in [&canonical, &image.familiar()] {
        let again = ImageRef::parse(form).unwrap_or_else(|e| panic!("{form:?}: {e}"));
        assert_eq!(again.canonical(), canonical);
        assert!(again.components().eq(path.iter().copied()));
        assert_eq!(
            (again.port(), again.tag(), again.digest()),
            (image.port(), image.tag(), image.digest())
        );
        assert!(again.host().eq_ignore_ascii_case(image.host()));
    }

    // A host that is one for its capital letters alone has no pattern: in lowercase it is none.
    let host = image.host_with_port().to_ascii_lowercase();
    let named = host.contains(['.', ':']) || host == "localhost";
    let bindings = Bindings::default();
    if named {
        let exact = format!("{host}/{}", path.join("/"));
        let open = format!("{host}/**");
        let longer = format!("{exact}/**");
        let beside = format!("{exact}x");
        for (pattern, expected) in [
            (&exact, true),
            (&open, true),
            (&longer, false),
            (&beside, false),
        ] {
            let Ok(parsed) = ImagePattern::parse(pattern) else {
                // Only for its length.
                assert!(path.join("/").len() > 251, "{pattern:?}");
                continue;
            };
            assert_eq!(parsed.matches(&image, &bindings), expected, "{pattern:?}");
            assert_eq!(parsed.denies(&image, &bindings), expected, "{pattern:?}");
        }
        if let Some(tag) = image.effective_tag() {
            let pinned = ImagePattern::parse(&format!("{exact}:{tag}"));
            assert!(pinned.is_ok_and(|p| p.matches(&image, &bindings)));
        }
    }
    let everything = ImagePattern::parse("**");
    assert!(everything.is_ok_and(|p| p.matches(&image, &bindings)));
});
