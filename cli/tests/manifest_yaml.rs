//! What `manifest::yaml` reads, refuses and locates.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which may panic")]

use std::time::{Duration, Instant};

use sluicegate_cli::manifest::yaml::{
    Document, Kind, Limits, Nearest, Span, YamlError, YamlErrorKind, decode_text, parse,
};

fn read(text: &str) -> Vec<Document<'_>> {
    parse(text, &Limits::default()).unwrap_or_else(|error| panic!("{text:?}: {error} {error:?}"))
}

fn refused(text: &str) -> YamlError {
    match parse(text, &Limits::default()) {
        Ok(_) => panic!("accepted: {text:?}"),
        Err(error) => error,
    }
}

fn at(span: Span) -> (u32, u32, u32, u32) {
    (span.line, span.column, span.end_line, span.end_column)
}

#[test]
fn knows_the_place_of_every_key_and_value() {
    let text = "\
kind: FluxConfig   # comment
metadata: {name: 'shop', \"labels\": {a.b/c: \"x\"}}
spec:
  source:
    url: https://é.example.com
  images:
    - one
    - >-
      folded
      text

  # comment
  path:
list:
-  a
- b
last: &a !!str 12
alias: *a
";
    let documents = read(text);
    let document = &documents[0];
    for (path, key, value) in [
        ("kind", "kind", "FluxConfig"),
        ("metadata.name", "name", "'shop'"),
        ("metadata.labels", "\"labels\"", "{a.b/c: \"x\"}"),
        ("metadata.labels[\"a.b/c\"]", "a.b/c", "\"x\""),
        ("spec.source.url", "url", "https://é.example.com"),
        ("spec.source", "source", "url: https://é.example.com"),
        ("spec.images", "images", "- one\n    - >-\n      folded\n      text"),
        ("spec.path", "path", ""),
        ("list", "list", "-  a\n- b"),
        ("last", "last", "12"),
        ("alias", "alias", "*a"),
    ] {
        let place = document.locate(path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(&text[place.key.unwrap().range()], key, "{path}");
        assert_eq!(&text[place.value.range()], value, "{path}");
    }
    let item = document.locate("spec.images[1]").unwrap();
    assert_eq!(item.key, None);
    assert_eq!(&text[item.value.range()], "folded\n      text");
    assert_eq!(at(item.value), (9, 7, 10, 11));
    let url = document.locate("spec.source.url").unwrap();
    assert_eq!(at(url.value), (5, 10, 5, 31));
    assert_eq!(at(url.key.unwrap()), (5, 5, 5, 8));
    assert_eq!(at(document.locate("spec.path").unwrap().value), (13, 8, 13, 8));
    assert_eq!(document.find("alias").unwrap().as_str(), Some("12"));
}

#[test]
fn underlines_a_value_on_one_line_and_otherwise_its_key() {
    let text = "a: {b: c}\nd:\n  e: f\n  g: h\ni:\nj:\n  k: l\n";
    let documents = read(text);
    for (path, shown) in [("a", "{b: c}"), ("a.b", "c"), ("d", "d"), ("i", "i"), ("j", "k: l")] {
        let span = documents[0].locate(path).unwrap().highlight();
        assert_eq!(&text[span.range()], shown, "{path}");
    }
}

#[test]
fn points_at_the_nearest_field_that_exists() {
    let text = "spec:\n  source:\n    url: x\n  images: [a]\n";
    let documents = read(text);
    for (path, key, exact) in [
        ("spec.source.url", Some("url"), true),
        ("spec.source.ref.branch", Some("source"), false),
        ("spec.source.url.deeper", Some("url"), false),
        ("spec.images[3]", Some("images"), false),
        ("spec.images.x", Some("images"), false),
        ("metadata.name", None, false),
        ("not a [path", None, false),
        ("", None, true),
    ] {
        let Nearest { place, exact: found } = documents[0].locate_nearest(path);
        assert_eq!(place.key.map(|key| &text[key.range()]), key, "{path}");
        assert_eq!(found, exact, "{path}");
        assert_eq!(documents[0].locate(path).is_some(), exact, "{path}");
    }
}

#[test]
fn passes_over_empty_documents() {
    for (text, count) in [
        ("", 0),
        ("\n\n# only a comment\n", 0),
        ("---\n---\n...\n", 0),
        ("---\na: 1\n---\n# nothing\n---\nb: 2\n...\n", 2),
        ("a: 1\n---\n", 1),
        ("null\n", 1),
        ("{}\n", 1),
    ] {
        assert_eq!(read(text).len(), count, "{text:?}");
    }
}

#[test]
fn reads_json() {
    let text = "{\n\t\"kind\": \"List\",\n\t\"items\": [1, true, null, \"a\\u00e9\", {}]\n}\n";
    let documents = read(text);
    let kinds: Vec<Kind> = documents[0].find("items").unwrap().items().map(|item| item.kind()).collect();
    assert_eq!(kinds, [Kind::Integer, Kind::Bool, Kind::Null, Kind::Text, Kind::Mapping]);
    assert_eq!(documents[0].find("items[3]").unwrap().as_str(), Some("aé"));
    assert_eq!(at(documents[0].locate("items[0]").unwrap().value), (3, 12, 3, 13));
}

#[test]
fn says_what_each_value_is() {
    for (text, kind) in [
        ("a: b", Kind::Text),
        ("a: '1'", Kind::Text),
        ("a: \"\"", Kind::Text),
        ("a: |\n  1\n", Kind::Text),
        ("a: !!str 1", Kind::Text),
        ("a: ! 1", Kind::Text),
        ("a: 1", Kind::Integer),
        ("a: 1.5", Kind::Float),
        ("a: yes", Kind::Disputed),
        ("a: true", Kind::Bool),
        ("a:", Kind::Null),
        ("a: ~", Kind::Null),
        ("a: []", Kind::Sequence),
        ("a: {}", Kind::Mapping),
    ] {
        let documents = read(text);
        let node = documents[0].find("a").unwrap();
        assert_eq!(node.kind(), kind, "{text}");
        assert_eq!(node.is_null(), kind == Kind::Null, "{text}");
        assert_eq!(node.as_str().is_some(), kind == Kind::Text, "{text}");
    }
}

#[test]
fn sees_through_aliases_and_merges() {
    let text = "\
base: &base {a: 1, b: 2}
more: &more {b: 3, c: 4}
one:
  <<: *base
  b: own
two: {<<: [*base, *more], d: 5}
copy: *base
quoted: {'<<': 1}
";
    let documents = read(text);
    let entries = |path: &str| -> Vec<(String, String, bool)> {
        documents[0]
            .find(path)
            .unwrap()
            .entries()
            .map(|entry| {
                let value = entry.value.scalar().unwrap().0.to_owned();
                (entry.name().to_owned(), value, entry.merged)
            })
            .collect()
    };
    let pairs = |list: &[(&str, &str, bool)]| -> Vec<(String, String, bool)> {
        list.iter().map(|(key, value, merged)| ((*key).to_owned(), (*value).to_owned(), *merged)).collect()
    };
    assert_eq!(entries("one"), pairs(&[("b", "own", false), ("a", "1", true)]));
    assert_eq!(entries("two"), pairs(&[("d", "5", false), ("a", "1", true), ("b", "2", true), ("c", "4", true)]));
    assert_eq!(entries("copy"), pairs(&[("a", "1", false), ("b", "2", false)]));
    assert_eq!(entries("quoted"), pairs(&[("<<", "1", false)]));
    assert!(documents[0].find("base").unwrap().is_shared());
    assert!(documents[0].find("copy").unwrap().is_alias());
    assert!(!documents[0].find("one").unwrap().is_shared());
}

#[test]
fn ends_a_mapping_where_its_merge_key_does() {
    let text = "a: &a {x: 1}\nb:\n  c: d\n  <<: *a\n# end\n";
    let place = read(text)[0].locate("b").unwrap();
    assert_eq!(&text[place.value.range()], "c: d\n  <<: *a");
}

#[test]
fn refuses_a_key_that_is_there_twice() {
    for text in [
        "a: 1\nb: 2\na: 3\n",
        "{a: 1, b: 2, 'a': 3}",
        "x:\n  - a: 1\n    \"a\": 2\n",
        "a: &x {b: 1}\nc:\n  <<: *x\n  <<: *x\n",
    ] {
        assert!(matches!(refused(text).kind, YamlErrorKind::DuplicateKey { .. }), "{text}");
    }
    let error = refused("a: 1\nb: 2\na: 3\n");
    assert_eq!(error.to_string(), "`a` is here a second time; it is first on line 1");
    assert_eq!(at(error.span), (3, 1, 3, 2));
    let many: String = (0..40).map(|n| format!("key{n}: 1\n")).collect();
    let error = refused(&(many + "key7: 2\n"));
    assert!(matches!(error.kind, YamlErrorKind::DuplicateKey { first, .. } if first.line == 8), "{error:?}");
    assert_eq!(error.span.line, 41);
}

#[test]
fn refuses_each_broken_text_in_clear_words_and_in_its_place() {
    let tab = "a tab where YAML wants spaces: indent with spaces only";
    let second = "a second `key: value` inside a value: put the text in quotes, or check the \
                  indentation";
    for (text, message, line, column) in [
        ("\u{FEFF}a: 1", "starts with a byte order mark; save it without", 1, 1),
        ("a: 1\nb\0: 2", "contains a NUL character: this is not a text file", 2, 2),
        ("a:\n\tb: 1\n", tab, 2, 1),
        ("a:\n  b: 1\n\tc: 2\n", tab, 3, 1),
        ("a: [b\n", "`[` is never closed", 1, 4),
        ("a: \"b", "this quote is never closed", 1, 4),
        ("a: @b\n", "an unquoted value cannot start with `@`; put it in quotes", 1, 4),
        ("a: b: c\n", second, 1, 5),
        ("a: *nowhere\n", "this alias has no anchor `&nowhere` before it in this document", 1, 4),
        ("a: &x 1\n---\nb: *x\n", "this alias has no anchor `&x` before it in this document", 3, 4),
        ("a: &x [*x]\n", "this alias stands for a value that contains it", 1, 8),
        ("a: &x\n  b: *x\n", "this alias stands for a value that contains it", 2, 6),
        ("? [a, b]\n: c\n", "a key must be a text, and this is a list", 1, 3),
        ("{{a: 1}: 2}", "a key must be a text, and this is a mapping", 1, 2),
        ("a: &x {b: 1}\n*x : 2\n", "a key must be a text, and this is a mapping", 2, 1),
        ("a:\n  <<: b\n", "`<<` merges a mapping or a list of mappings, and this is a scalar", 2, 7),
        ("a: \u{7}\n", "the character '\\u{7}' is not allowed here", 1, 4),
    ] {
        let error = refused(text);
        assert_eq!(error.to_string(), message, "{text:?}");
        assert_eq!((error.span.line, error.span.column), (line, column), "{text:?}");
    }
}

#[test]
fn refuses_bytes_that_are_not_utf8_text() {
    let utf16 = |text: &str, little: bool| -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
    };
    for (bytes, kind, line, column) in [
        (utf16("\u{FEFF}a: 1", true), YamlErrorKind::Utf16, 1, 1),
        (utf16("\u{FEFF}a: 1", false), YamlErrorKind::Utf16, 1, 1),
        (utf16("a: 1", true), YamlErrorKind::Utf16, 1, 1),
        (utf16("a: 1", false), YamlErrorKind::Utf16, 1, 1),
        (b"a: 1\nb: caf\xe9\n".to_vec(), YamlErrorKind::InvalidUtf8 { byte: 0xe9 }, 2, 7),
        (b"\xef\xbb\xbfa: 1".to_vec(), YamlErrorKind::ByteOrderMark, 1, 1),
        (b"ab: 1\n\0\xff".to_vec(), YamlErrorKind::Nul, 2, 1),
        (b"a: \xed\xa0\x80".to_vec(), YamlErrorKind::InvalidUtf8 { byte: 0xed }, 1, 4),
    ] {
        let error = decode_text(&bytes, &Limits::default()).unwrap_err();
        assert_eq!(error.kind, kind, "{bytes:?}");
        assert_eq!((error.span.line, error.span.column), (line, column), "{bytes:?}");
    }
    assert_eq!(decode_text("é".as_bytes(), &Limits::default()), Ok("é"));
    assert_eq!(decode_text(b"", &Limits::default()), Ok(""));
}

/// A bound that only something quadratic, or worse, misses.
fn soon<R>(what: &str, work: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = work();
    assert!(start.elapsed() < Duration::from_secs(20), "{what}");
    result
}

#[test]
fn refuses_alias_bombs() {
    let mut laughs = String::from("l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..10 {
        let before = format!("*l{}", level - 1);
        let row = vec![before; 10].join(", ");
        laughs.push_str(&format!("l{level}: &l{level} [{row}]\n"));
    }
    let error = soon("billion laughs", || refused(&laughs));
    assert!(matches!(error.kind, YamlErrorKind::AliasBomb { .. }), "{error}");
    assert_eq!(error.span.line, 6);

    let mut merges: String = String::from("m0: &m0\n");
    for key in 0..3_000 {
        merges.push_str(&format!("  k{key}: v\n"));
    }
    for level in 1..3_000 {
        merges.push_str(&format!("m{level}: &m{level}\n  <<: *m{}\n", level - 1));
    }
    let error = soon("merge bomb", || refused(&merges));
    assert!(matches!(error.kind, YamlErrorKind::AliasBomb { .. }), "{error}");

    let many: String = (0..50_000).map(|n| format!("a{n}: &a{n} x\nb{n}: *a{n}\n")).collect();
    assert_eq!(soon("many anchors", || read(&many).len()), 1);
}

#[test]
fn counts_depth_through_aliases() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert_eq!(read(&nested(64)).len(), 1);
    assert_eq!(refused(&nested(65)).kind, YamlErrorKind::TooDeep { limit: 64 });
    let text = format!("a: &a {}\nb: {}*a{}\n", nested(40), "[".repeat(40), "]".repeat(40));
    let error = refused(&text);
    assert_eq!(error.kind, YamlErrorKind::TooDeep { limit: 64 });
    assert_eq!(error.span.line, 2);
}

#[test]
fn refuses_deep_nesting_without_a_deep_stack() {
    for (what, text) in [
        ("brackets", "[".repeat(100_000)),
        ("closed brackets", "[".repeat(100_000) + &"]".repeat(100_000)),
        ("braces", "{a: ".repeat(100_000)),
        ("dashes", "- ".repeat(100_000)),
        ("questions", "? ".repeat(100_000)),
        // 5,500 levels are what 16 MiB of indentation allow.
        ("indentation", (0..5_500).map(|level| format!("{}a:\n", " ".repeat(level))).collect()),
    ] {
        assert!(text.len() < 16 << 20);
        let error = soon(what, || refused(&text));
        assert_eq!(error.kind, YamlErrorKind::TooDeep { limit: 64 }, "{what}");
    }
    let wide = "- - - -\n".repeat(100_000);
    assert_eq!(soon("wide", || read(&wide).len()), 1);
}

#[test]
fn refuses_texts_that_are_too_large() {
    let text = "# ".to_owned() + &"x".repeat(20 << 20);
    let error = soon("20 MiB", || refused(&text));
    assert_eq!(error.kind, YamlErrorKind::TooLarge { limit: 16 << 20 });
    let items = "[".to_owned() + &"1,".repeat(1_100_000) + "]";
    let error = soon("many items", || refused(&items));
    assert_eq!(error.kind, YamlErrorKind::TooManyNodes { limit: 1_000_000 });
}

#[test]
fn gives_places_inside_the_text_for_every_combination_of_yaml_pieces() {
    let pieces = [
        "a", ":", ": ", "- ", "\n", "  ", "[", "]", "{", "}", ",", "'", "\"", "#", " #", "&x ", "*x", "|", ">", "\n  ",
        "? ", "---", "...\n", "!", "!!str ", "%", "\t", "é", "\r\n", "<<", "~", "|+\n", "\u{2028}",
    ];
    let mut texts = vec![String::new()];
    for _ in 0..3 {
        texts = texts.iter().flat_map(|text| pieces.iter().map(move |piece| format!("{text}{piece}"))).collect();
        for text in &texts {
            match parse(text, &Limits::default()) {
                Ok(documents) => {
                    for document in &documents {
                        let span = document.root().span();
                        assert!(text.get(span.range()).is_some(), "{text:?} {span:?}");
                        assert!((span.line, span.column) <= (span.end_line, span.end_column));
                    }
                }
                Err(error) => {
                    assert!(text.get(error.span.range()).is_some(), "{text:?} {error:?}");
                    assert!(error.span.line >= 1 && error.span.column >= 1);
                }
            }
        }
    }
}
