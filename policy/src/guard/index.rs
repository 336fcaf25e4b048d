//! Lists of patterns by shape, so that CEL finds the one that matches by a few look-ups, however many there are.

use std::collections::{BTreeMap, btree_map::Entry};

use sluicegate_crds::{PatternIndex, Shape, bounds};

use crate::grammar::{Authority, Bindings, Expanded, ImagePattern, Path, UrlPattern};

/// Places of the parts of a reference.
const AUTHORITY: u32 = 0;
/// The authority with `*.` for the first label of its host.
const WILDCARD: u32 = 1;
/// Images only.
const VERSION: u32 = 2;
/// Where the components of an image's path begin.
const IMAGE_PATH: u32 = 3;
/// Where the segments of a URL's path begin.
const URL_PATH: u32 = 2;

/// A list in the making. The first rule that says something keeps it.
#[derive(Debug, Default)]
pub(super) struct Builder {
    any: Option<String>,
    shapes: BTreeMap<(u32, bool, Vec<u32>), BTreeMap<String, String>>,
    size: usize,
}

impl Builder {
    pub(super) fn allow_image(&mut self, pattern: &ImagePattern, bindings: &Bindings<'_>, rule: impl Fn() -> String) {
        self.add(pattern.expanded(bindings), IMAGE_PATH, false, &rule);
    }

    pub(super) fn deny_image(&mut self, pattern: &ImagePattern, bindings: &Bindings<'_>, rule: impl Fn() -> String) {
        self.add(pattern.expanded(bindings), IMAGE_PATH, true, &rule);
    }

    pub(super) fn allow_url(&mut self, pattern: &UrlPattern, bindings: &Bindings<'_>, rule: impl Fn() -> String) {
        self.add(pattern.expanded(bindings), URL_PATH, false, &rule);
    }

    pub(super) fn deny_url(&mut self, pattern: &UrlPattern, bindings: &Bindings<'_>, rule: impl Fn() -> String) {
        self.add(pattern.expanded(bindings), URL_PATH, true, &rule);
    }

    /// How many shapes there are.
    pub(super) fn shapes(&self) -> usize {
        self.shapes.len()
    }

    /// About how many bytes it is.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The list; `None` where it is larger than a TenantGuard can hold.
    pub(super) fn finish(self) -> Option<PatternIndex> {
        let fits = self.shapes.len() <= bounds::GUARD_SHAPES
            && self.shapes.values().all(|rules| rules.len() <= bounds::GUARD_KEYS);
        let shapes =
            self.shapes.into_iter().map(|((parts, more, keep), rules)| Shape { parts, more, keep, rules }).collect();
        fits.then_some(PatternIndex { any: self.any, shapes })
    }

    fn add(&mut self, pattern: Option<Expanded<'_>>, path: u32, denies: bool, rule: &dyn Fn() -> String) {
        let Some(pattern) = pattern else {
            self.any.get_or_insert_with(|| bounded(rule()));
            return;
        };
        let place = if pattern.authority.one_more { WILDCARD } else { AUTHORITY };
        let (mut keep, mut fixed) = (vec![place], vec![authority(&pattern.authority)]);
        let (parts, more) = match pattern.path {
            Path::Segments { segments, rest } => {
                let mut at = path;
                for segment in segments {
                    if let Some(segment) = segment {
                        keep.push(at);
                        fixed.push(segment);
                    }
                    at += 1;
                }
                (at + u32::from(rest), rest)
            }
            Path::Unbound if denies => (path, true),
            Path::Unbound => return,
        };
        if let Some(tag) = pattern.tag {
            keep.push(VERSION);
            fixed.push(format!(":{tag}"));
        }
        let key = fixed.join("/");
        let rules = self.shapes.entry((parts, more, keep)).or_default();
        if let Entry::Vacant(place) = rules.entry(key) {
            let rule = bounded(rule());
            self.size += place.key().len() + rule.len() + 8;
            place.insert(rule);
        }
    }
}

/// As `PatternIndex` has it: a URL's with scheme and user, an image's as it is written in lowercase.
fn authority(authority: &Authority<'_>) -> String {
    let star = if authority.one_more { "*." } else { "" };
    let host = authority.host;
    match (authority.scheme, authority.port) {
        (Some(scheme), port) => {
            format!("{scheme}|{}|{star}{host}|{}", authority.user.unwrap_or_default(), port.unwrap_or_default())
        }
        (None, Some(port)) => format!("{star}{host}:{port}"),
        (None, None) => format!("{star}{host}"),
    }
}

/// Names and patterns are ASCII.
fn bounded(mut rule: String) -> String {
    rule.truncate(bounds::GUARD_RULE);
    rule
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grammar::{ImageRef, Scheme, SourceUrl};

    const BINDINGS: Bindings<'_> = Bindings { tenant: "team-a", namespace: "shop", cluster: "prod-eu" };

    /// The look-up as CEL does it.
    fn finds(index: &PatternIndex, parts: &[String], any: bool) -> bool {
        (any && index.any.is_some())
            || index.shapes.iter().any(|shape| {
                let fits =
                    if shape.more { parts.len() >= shape.parts as usize } else { parts.len() == shape.parts as usize };
                let key = || shape.keep.iter().map(|at| parts[*at as usize].as_str()).collect::<Vec<_>>().join("/");
                fits && shape.rules.contains_key(&key())
            })
    }

    fn one_more(host: &str) -> String {
        match host.split_once('.') {
            Some((_, rest)) if !host.starts_with('[') => format!("*.{rest}"),
            _ => String::new(),
        }
    }

    fn image_parts(image: &ImageRef<'_>) -> Vec<String> {
        let host = image.host_with_port().to_ascii_lowercase();
        let version = image.effective_tag().map_or("@".to_owned(), |tag| format!(":{tag}"));
        let mut parts = vec![host.clone(), one_more(&host), version];
        parts.extend(image.components().map(str::to_owned));
        parts
    }

    fn url_parts(url: &SourceUrl<'_>) -> Vec<String> {
        let of =
            |host: &str| format!("{}|{}|{host}|{}", url.scheme(), url.user().unwrap_or_default(), url.effective_port());
        let wild = one_more(url.host());
        let wild = if wild.is_empty() { String::new() } else { of(&wild) };
        [of(url.host()), wild].into_iter().chain(url.segments().map(str::to_owned)).collect()
    }

    fn host() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "docker.io",
            "ghcr.io",
            "registry.example.com",
            "Registry.Example.COM",
            "example.com",
            "a.registry.example.com",
            "localhost",
            "localhost:5000",
            "registry.example.com:5000",
            "index.docker.io",
            "[::1]:5000",
            "127.0.0.1:5000",
        ])
    }

    fn path() -> impl Strategy<Value = String> {
        let segment = prop::sample::select(vec!["team-a", "library", "app", "nginx", "shop", "x", "team-b", "prod-eu"]);
        prop::collection::vec(segment, 0..4).prop_map(|segments| segments.join("/"))
    }

    fn pattern_path() -> impl Strategy<Value = String> {
        let segment = prop::sample::select(vec![
            "team-a",
            "library",
            "app",
            "*",
            "${tenant}",
            "${namespace}",
            "x${cluster}",
            "nginx",
            "${tenant}.git",
            "app.git",
        ]);
        let segments = prop::collection::vec(segment, 0..4).prop_map(|segments| segments.join("/"));
        (segments, any::<bool>()).prop_map(|(path, rest)| match (path.is_empty(), rest) {
            (true, true) => "**".to_owned(),
            (false, true) => format!("{path}/**"),
            (_, false) => path,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn an_index_finds_an_image_where_a_pattern_matches(
            image in (host(), path(), prop::sample::select(vec!["", ":latest", ":1", "@", ":1@"])),
            pattern in (prop::sample::select(vec!["docker.io", "*.example.com", "registry.example.com", "*.registry.example.com",
                "registry.example.com:5000", "*.example.com:5000", "localhost:5000", "[::1]:5000"]), pattern_path(),
                prop::sample::select(vec!["", ":latest", ":1"])),
            bound in prop::bool::weighted(0.9),
        ) {
            let version = image.2.replace('@', &format!("@sha256:{}", "a".repeat(64)));
            let text = format!("{}/{}{version}", image.0, image.1);
            let bindings = if bound { BINDINGS } else { Bindings { tenant: "Not a label", ..BINDINGS } };
            let pattern = format!("{}/{}{}", pattern.0, pattern.1, pattern.2);
            let (Ok(image), Ok(pattern)) = (ImageRef::parse(&text), ImagePattern::parse(&pattern)) else { return Ok(()) };
            let (mut allow, mut deny) = (Builder::default(), Builder::default());
            allow.allow_image(&pattern, &bindings, String::new);
            deny.deny_image(&pattern, &bindings, String::new);
            let parts = image_parts(&image);
            prop_assert_eq!(finds(&allow.finish().unwrap(), &parts, true), pattern.matches(&image, &bindings));
            prop_assert_eq!(finds(&deny.finish().unwrap(), &parts, true), pattern.denies(&image, &bindings));
        }

        #[test]
        fn an_index_finds_a_url_where_a_pattern_matches(
            scheme in prop::sample::select(vec!["https://", "http://", "ssh://git@", "ssh://x@", "oci://"]),
            url_host in host(),
            path in path(),
            suffix in prop::sample::select(vec!["", ".git", ".git.git"]),
            pattern in (prop::sample::select(vec!["https://", "http://", "ssh://git@", "oci://"]),
                prop::sample::select(vec!["registry.example.com", "*.example.com", "example.com:443", "registry.example.com:5000", "docker.io"]),
                pattern_path()),
            bound in prop::bool::weighted(0.9),
            everything in prop::bool::weighted(0.05),
        ) {
            let text = format!("{scheme}{url_host}{}{path}{suffix}", if path.is_empty() { "" } else { "/" });
            let bindings = if bound { BINDINGS } else { Bindings { tenant: "Not a label", ..BINDINGS } };
            let slash = if pattern.2.is_empty() { "" } else { "/" };
            let pattern = if everything { "**".to_owned() } else { format!("{}{}{slash}{}", pattern.0, pattern.1, pattern.2) };
            let (Ok(url), Ok(pattern)) = (SourceUrl::parse(&text), UrlPattern::parse(&pattern)) else { return Ok(()) };
            let (mut allow, mut deny) = (Builder::default(), Builder::default());
            allow.allow_url(&pattern, &bindings, String::new);
            deny.deny_url(&pattern, &bindings, String::new);
            let parts = url_parts(&url);
            let plain = url.scheme() == Scheme::Http;
            prop_assert_eq!(finds(&allow.finish().unwrap(), &parts, !plain), pattern.matches(&url, &bindings));
            prop_assert_eq!(finds(&deny.finish().unwrap(), &parts, true), pattern.denies(&url, &bindings));
        }
    }

    #[test]
    fn patterns_of_one_shape_share_it_and_the_first_rule_keeps_its_place() {
        let mut list = Builder::default();
        for (number, pattern) in
            ["registry.example.com/team-a/**", "registry.example.com/team-b/**", "registry.example.com/${tenant}/**"]
                .iter()
                .enumerate()
        {
            list.allow_image(&ImagePattern::parse(pattern).unwrap(), &BINDINGS, || number.to_string());
        }
        let index = list.finish().unwrap();
        assert_eq!(index.shapes.len(), 1);
        let Shape { parts, more, keep, rules } = &index.shapes[0];
        assert_eq!((*parts, *more, keep.as_slice()), (5, true, &[0, 3][..]));
        let expected = [("registry.example.com/team-a", "0"), ("registry.example.com/team-b", "1")];
        assert_eq!(rules.iter().map(|(key, rule)| (key.as_str(), rule.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn more_shapes_than_a_guard_holds_are_no_list() {
        let mut list = Builder::default();
        for length in 1..=bounds::GUARD_SHAPES + 1 {
            let path = vec!["x"; length].join("/");
            list.allow_url(
                &UrlPattern::parse(&format!("https://git.example.com/{path}")).unwrap(),
                &BINDINGS,
                String::new,
            );
        }
        assert_eq!((list.shapes(), list.finish()), (bounds::GUARD_SHAPES + 1, None));
    }
}
