//! What `manifest::edit` inserts, and what it leaves alone.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which may panic")]

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use sluicegate_cli::manifest::edit::{Addition, EditError, insert_fields};
use sluicegate_cli::manifest::yaml::{Limits, parse};

fn additions(list: &[(&str, Json)]) -> Vec<Addition> {
    list.iter().map(|(path, value)| Addition::new(*path, value.clone())).collect()
}

#[track_caller]
fn inserts(before: &str, list: &[(&str, Json)], after: &str) {
    let list = additions(list);
    let found = insert_fields(before, 0, &list).unwrap_or_else(|error| panic!("{error}: {before}"));
    assert_eq!(found, after);
    assert_eq!(insert_fields(&found, 0, &list).unwrap(), after, "twice");
}

#[track_caller]
fn refuses(before: &str, path: &str, message: &str, underlined: Option<&str>) {
    let error = insert_fields(before, 0, &[Addition::new(path, "x")]).unwrap_err();
    assert_eq!(error.to_string(), message, "{before}");
    let span = error.span().map(|span| &before[span.range()]);
    assert_eq!(span, underlined, "{before}");
}

fn placement() -> Vec<(&'static str, Json)> {
    vec![
        ("spec.source.ref", json!({"branch": "main"})),
        ("spec.path", json!("./")),
        ("spec.cluster", json!("prod-eu")),
        ("spec.namespace", json!("team-a")),
    ]
}

#[test]
fn fills_in_block_style() {
    inserts(
        "\
# a config
apiVersion: sluicegate.dev/v1alpha1
kind: FluxConfig
metadata: {name: shop, namespace: team-a}  # who

spec:
    source:
        # where from
        url: https://git.example.com/shop.git   # the shop
        kind: Git
        # more of the source

    # images come next
    images:
    - a
    # and nothing else

# the end
",
        &placement(),
        "\
# a config
apiVersion: sluicegate.dev/v1alpha1
kind: FluxConfig
metadata: {name: shop, namespace: team-a}  # who

spec:
    source:
        # where from
        url: https://git.example.com/shop.git   # the shop
        ref:
            branch: main
        kind: Git
        # more of the source

    # images come next
    images:
    - a
    path: ./
    cluster: prod-eu
    namespace: team-a
    # and nothing else

# the end
",
    );
}

#[test]
fn fills_in_flow_style() {
    inserts(
        "spec:\n  source: {url: https://git.example.com/shop.git}   # here\n",
        &placement(),
        "spec:\n  source: {url: https://git.example.com/shop.git, ref: {branch: main}}   # here\n  \
         path: ./\n  cluster: prod-eu\n  namespace: team-a\n",
    );
    inserts(
        "spec: {source: {url: x}}",
        &placement(),
        "spec: {source: {url: x, ref: {branch: main}}, path: ./, cluster: prod-eu, \
         namespace: team-a}",
    );
    inserts(
        "spec: {\n  source: {url: x}, # one\n  images: [a] # two\n}\n",
        &[("spec.path", json!("./")), ("spec.wait", json!(true))],
        "spec: {\n  source: {url: x}, # one\n  images: [a], # two\n  path: ./,\n  wait: true\n}\n",
    );
    inserts("spec: {\n  a: 1, # one\n}\n", &[("spec.b", json!(2))], "spec: {\n  a: 1, # one\n  b: 2,\n}\n");
}

#[test]
fn fills_in_json() {
    inserts(
        "{\r\n\t\"spec\": {\r\n\t\t\"source\": {\r\n\t\t\t\"url\": \"x\"\r\n\t\t},\r\n\t\t\"wait\": true\r\n\t}\r\n}",
        &placement(),
        "{\r\n\t\"spec\": {\r\n\t\t\"source\": {\r\n\t\t\t\"url\": \"x\",\r\n\t\t\t\"ref\": {\r\n\t\t\t\t\"branch\": \"main\"\r\n\t\t\t}\r\n\t\t},\r\n\t\t\"wait\": true,\r\n\t\t\"path\": \"./\",\r\n\t\t\"cluster\": \"prod-eu\",\r\n\t\t\"namespace\": \"team-a\"\r\n\t}\r\n}",
    );
    inserts(
        r#"{"spec":{"source":{"url":"x"}}}"#,
        &placement(),
        r#"{"spec":{"source":{"url":"x","ref":{"branch":"main"}},"path":"./","cluster":"prod-eu","namespace":"team-a"}}"#,
    );
    inserts(
        r#"{"spec": {"source": {"url": "x"}, "empty": {}}}"#,
        &[("spec.empty.a", json!({"b": [1, "c"]}))],
        r#"{"spec": {"source": {"url": "x"}, "empty": {"a": {"b": [1, "c"]}}}}"#,
    );
}

#[test]
fn makes_the_mappings_that_are_missing() {
    for (before, after) in [
        ("a: 1\n", "a: 1\nspec:\n  path: ./\n"),
        ("spec:\n", "spec:\n  path: ./\n"),
        ("spec: # why\n# below\n", "spec: # why\n  path: ./\n# below\n"),
        ("spec: ~\n", "spec: {path: ./}\n"),
        ("spec: null # why\n", "spec: {path: ./} # why\n"),
        ("spec: {}\n", "spec: {path: ./}\n"),
        ("spec: { }\n", "spec: { path: ./ }\n"),
        ("{spec: , a: b}", "{spec: {path: ./} , a: b}"),
        ("{\"spec\": null}", "{\"spec\": {\"path\": \"./\"}}"),
        ("spec:\n  path:\n  a: b\n", "spec:\n  path: ./\n  a: b\n"),
        ("spec:\n  path: # why\n", "spec:\n  path: ./ # why\n"),
        ("spec:\n  path: null\n", "spec:\n  path: ./\n"),
        ("{}", "{spec: {path: ./}}"),
        ("- a: b\n", ""),
    ] {
        if after.is_empty() {
            refuses(before, "spec.path", "`` is a list, so no field can be inserted there", Some(before.trim_end()));
        } else {
            inserts(before, &[("spec.path", json!("./"))], after);
        }
    }
    inserts(
        "a:\n   b: c\n",
        &[("x.w.z", json!("v")), ("x.w.w", json!(1))],
        "a:\n   b: c\nx:\n   w:\n      z: v\n      w: 1\n",
    );
}

#[test]
fn goes_behind_whatever_the_mapping_ends_with() {
    for (before, after) in [
        // The end of the file, without a line break.
        ("a: 1", "a: 1\nk: v"),
        ("a: 1\r\nb: 2", "a: 1\r\nb: 2\r\nk: v"),
        ("a: 1\r\nb: 2\r\n", "a: 1\r\nb: 2\r\nk: v\r\n"),
        ("a: 1\rb: 2\r", "a: 1\rb: 2\rk: v\r"),
        // Blank lines, documents and comments behind it.
        ("a: 1\n\n\n", "a: 1\nk: v\n\n\n"),
        ("a: 1\n---\nb: 2\n", "a: 1\nk: v\n---\nb: 2\n"),
        ("---\na: 1\n...\n", "---\na: 1\nk: v\n...\n"),
        ("a: 1 # c\n# d\n", "a: 1 # c\nk: v\n# d\n"),
        ("a:\n  b: 1\n  # c\n\n  # d\n# e\n", "a:\n  b: 1\n  # c\n\n  # d\nk: v\n# e\n"),
        // Scalars over several lines.
        ("a: |\n  x\n  y\n\n# c\n", "a: |\n  x\n  y\nk: v\n\n# c\n"),
        ("a: |+\n  x\n\n\n# c\n", "a: |+\n  x\n\n\nk: v\n# c\n"),
        ("a: |+\n\n\n", "a: |+\n\n\nk: v\n"),
        ("a: >-\n  x\n\n  y\n", "a: >-\n  x\n\n  y\nk: v\n"),
        ("a:\n  - |+\n    x\n\n", "a:\n  - |+\n    x\n\nk: v\n"),
        ("a: x\n  y\n", "a: x\n  y\nk: v\n"),
        ("a: \"x\n\n  y\" # c\n", "a: \"x\n\n  y\" # c\nk: v\n"),
        // Collections.
        ("a:\n- b\n- c\n", "a:\n- b\n- c\nk: v\n"),
        ("a:\n- b:\n    c: d\n  e:\n", "a:\n- b:\n    c: d\n  e:\nk: v\n"),
        ("a: [\n  b,\n  c ]\n", "a: [\n  b,\n  c ]\nk: v\n"),
        ("a: &a {b: c}\nd: *a\n", "a: &a {b: c}\nd: *a\nk: v\n"),
        ("a: &a {b: c}\nd:\n  x: y\n  <<: *a\n", "a: &a {b: c}\nd:\n  x: y\n  <<: *a\nk: v\n"),
        ("a: &a {b: c}\n<<: *a\n", "a: &a {b: c}\n<<: *a\nk: v\n"),
        // Odd but fair indentation.
        ("  a: 1\n  b: 2\n", "  a: 1\n  b: 2\n  k: v\n"),
        ("a: 1\nb:\n", "a: 1\nb:\nk: v\n"),
        ("é: ü # ö\n", "é: ü # ö\nk: v\n"),
    ] {
        inserts(before, &[("k", json!("v"))], after);
    }
    inserts(
        "list:\n  - a: 1\n    b:\n      c: 2\n  - d: 3\n",
        &[("list[0].k", json!("v")), ("list[1].k", json!({"x": 1}))],
        "list:\n  - a: 1\n    b:\n      c: 2\n    k: v\n  - d: 3\n    k:\n      x: 1\n",
    );
}

#[test]
fn edits_the_document_that_is_meant() {
    let text = "a: 1\n---\n# nothing\n---\nb: 2\n";
    let addition = [Addition::new("k", "v")];
    assert_eq!(insert_fields(text, 1, &addition).unwrap(), "a: 1\n---\n# nothing\n---\nb: 2\nk: v\n");
    let error = insert_fields(text, 2, &addition).unwrap_err();
    assert_eq!(error.to_string(), "there is no document number 2: the text has 2");
    assert_eq!(error.span(), None);
}

#[test]
fn quotes_what_some_reader_would_take_for_something_else() {
    for (value, written) in [
        (json!("main"), "main"),
        (json!("yes"), "\"yes\""),
        (json!("1.10"), "\"1.10\""),
        (json!("0123"), "\"0123\""),
        (json!("1:30"), "\"1:30\""),
        (json!("1e3"), "\"1e3\""),
        (json!("2024-01-02"), "\"2024-01-02\""),
        (json!("null"), "\"null\""),
        (json!(""), "\"\""),
        (json!("a b"), "\"a b\""),
        (json!("a: b"), "\"a: b\""),
        (json!("a #b"), "\"a #b\""),
        (json!("*"), "\"*\""),
        (json!("team-*"), "team-*"),
        (json!("é\n\"\\\u{7f}\u{2028}\u{feff}"), "\"é\\n\\\"\\\\\\u007f\\u2028\\ufeff\""),
        (json!(true), "true"),
        (json!(12), "12"),
        (json!(-1.5), "-1.5"),
        (json!([]), "[]"),
        (json!({}), "{}"),
        (json!(["a", {"yes": "no"}]), "[a, {\"yes\": \"no\"}]"),
    ] {
        inserts("a: 1\n", &[("k", value)], &format!("a: 1\nk: {written}\n"));
    }
    inserts("a: 1\n", &[("[\"x/y.z\"]", json!(1))], "a: 1\nx/y.z: 1\n");
    inserts("a: 1\n", &[("yes", json!(1))], "a: 1\n\"yes\": 1\n");
}

#[test]
fn passes_over_what_is_there() {
    for text in [
        "spec: {path: ./}\n",
        "spec:\n  path: './'\n",
        "base: &b {path: ./}\nspec: *b\n",
        "base: &b {path: ./}\nspec:\n  <<: *b\n",
    ] {
        inserts(text, &[("spec.path", json!("./"))], text);
    }
    inserts("a: 1\n", &[("a", json!(null)), ("b", json!(null))], "a: 1\n");
}

#[test]
fn refuses_what_it_cannot_do_safely_and_points_at_the_reason() {
    refuses(
        "base: &b {x: 1}\nspec: *b\n",
        "spec.path",
        "`spec` is written through an alias; write `path` there by hand",
        Some("*b"),
    );
    refuses(
        "spec: &b {x: 1}\nother: *b\n",
        "spec.path",
        "`spec` is what an alias elsewhere stands for; write `path` there by hand",
        Some("{x: 1}"),
    );
    refuses(
        "base: &b {source: {url: x}}\nspec: {<<: *b}\n",
        "spec.source.ref",
        "`spec.source` comes from a merge key; write `source.ref` there by hand",
        Some("{url: x}"),
    );
    refuses("spec: {path: y}\n", "spec.path", "`spec.path` is there already, with another value", Some("y"));
    refuses("spec: text\n", "spec.path", "`spec` is a text, so no field can be inserted there", Some("text"));
    refuses("spec: [a]\n", "spec[3].x", "`spec` is a list, so no field can be inserted there", Some("[a]"));
    refuses("a: 1\n", "a[", "`a[` is not the path of a field that can be inserted", None);
    refuses("a: 1\n", "x.y[0]", "`x.y[0]` is not the path of a field that can be inserted", None);
    refuses("a: 1\n", "x[0].y", "`x[0].y` is not the path of a field that can be inserted", None);
    for text in ["? a\n: b\n", "&x a: b\n", "{a}", "spec: {<<: {a: b}}\n"] {
        let path = if text == "{a}" {
            "a.k"
        } else if text.starts_with("spec") {
            "spec.k"
        } else {
            "k"
        };
        let error = insert_fields(text, 0, &[Addition::new(path, "v")]).unwrap_err();
        assert!(matches!(error, EditError::Unsafe { .. }), "{text}: {error:?}");
    }
    let error = insert_fields("a: [\n", 0, &[Addition::new("k", "v")]).unwrap_err();
    assert!(matches!(error, EditError::Yaml(_)));
}

/// A tree with the way in which each part of it is written.
#[derive(Debug, Clone)]
enum Tree {
    Scalar(usize),
    List(bool, Vec<Tree>),
    Map(Style, Vec<Tree>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Style {
    Block(usize),
    Flow,
    FlowLines,
    Json,
}

const SCALARS: &[&str] = &[
    "plain",
    "'single # quoted'",
    "\"double: \\\"quoted\\\"\"",
    "12",
    "true",
    "",
    "|\nliteral\n# not a comment",
    ">-\nfolded",
    "|+\nkept\n\n",
    "plain over\nlines",
    "https://a.example/b.git",
];

/// The first of [`SCALARS`] that can only be written in a block.
const BLOCK_ONLY: usize = 5;

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = (0..SCALARS.len()).prop_map(Tree::Scalar);
    leaf.prop_recursive(4, 24, 4, |inner| {
        let style = prop_oneof![
            4 => (1..5usize).prop_map(Style::Block),
            1 => Just(Style::Flow),
            1 => Just(Style::FlowLines),
            1 => Just(Style::Json),
        ];
        let many = prop::collection::vec(inner, 1..4);
        prop_oneof![
            3 => (style, many.clone()).prop_map(|(style, values)| Tree::Map(style, values)),
            1 => (any::<bool>(), many).prop_map(|(flow, values)| Tree::List(flow, values)),
        ]
    })
}

/// Writes trees; `noise` decides where comments and blank lines go.
struct Writer {
    text: String,
    noise: Vec<u8>,
    /// The paths of all mappings.
    mappings: Vec<String>,
}

impl Writer {
    fn noise(&mut self) -> u8 {
        self.noise.rotate_left(1);
        self.noise[0]
    }

    /// The end of a line in a block, with or without a comment, and lines that mean nothing.
    fn end(&mut self, comments: bool, column: usize) {
        let noise = self.noise();
        if comments && noise % 5 == 1 {
            self.text.push_str("  # comment: {");
        }
        self.text.push('\n');
        if comments && noise % 7 == 2 {
            self.text.push_str(&" ".repeat(column));
            self.text.push_str("# line: \"comment\n");
        }
        if comments && noise % 7 == 3 {
            self.text.push('\n');
        }
    }

    /// A value behind `key:` or `-`, in a block whose keys are in `column`.
    fn block(&mut self, tree: &Tree, path: &str, column: usize) {
        match tree {
            Tree::Scalar(index) => {
                let mut lines = SCALARS[*index].split('\n');
                let first = lines.next().unwrap();
                if !first.is_empty() {
                    self.text.push(' ');
                    self.text.push_str(first);
                }
                let mut more = false;
                for line in lines {
                    more = true;
                    self.text.push('\n');
                    if !line.is_empty() {
                        self.text.push_str(&" ".repeat(column + 1));
                        self.text.push_str(line);
                    }
                }
                if more {
                    self.text.push('\n');
                } else {
                    self.end(true, column);
                }
            }
            Tree::Map(Style::Block(width), values) => {
                self.end(true, column + width);
                self.entries(values, path, column + width, *width);
            }
            Tree::List(false, values) => {
                self.end(true, column);
                for (index, value) in values.iter().enumerate() {
                    self.text.push_str(&" ".repeat(column));
                    self.text.push('-');
                    self.block(value, &format!("{path}[{index}]"), column + 1);
                }
            }
            other => {
                self.text.push(' ');
                self.flow(other, path, column, false);
                self.end(true, column);
            }
        }
    }

    fn entries(&mut self, values: &[Tree], path: &str, column: usize, _: usize) {
        self.mappings.push(path.to_owned());
        for (index, value) in values.iter().enumerate() {
            self.text.push_str(&" ".repeat(column));
            let key = format!("k{index}");
            self.text.push_str(&key);
            self.text.push(':');
            let path = if path.is_empty() { key } else { format!("{path}.{key}") };
            self.block(value, &path, column);
        }
    }

    fn flow(&mut self, tree: &Tree, path: &str, column: usize, json: bool) {
        match tree {
            Tree::Scalar(index) if json => {
                let text = format!("\"{}\"", index % BLOCK_ONLY);
                self.text.push_str(&text);
            }
            Tree::Scalar(index) => self.text.push_str(SCALARS[index % BLOCK_ONLY]),
            Tree::List(_, values) => {
                self.text.push('[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        self.text.push_str(", ");
                    }
                    self.flow(value, &format!("{path}[{index}]"), column, json);
                }
                self.text.push(']');
            }
            Tree::Map(style, values) => {
                self.mappings.push(path.to_owned());
                let json = json || *style == Style::Json;
                let lines = *style == Style::FlowLines;
                self.text.push('{');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        self.text.push(',');
                        self.text.push_str(if lines { "" } else { " " });
                    }
                    if lines {
                        self.end(!json, column + 2);
                        self.text.push_str(&" ".repeat(column + 2));
                    }
                    let key = format!("k{index}");
                    if json {
                        self.text.push_str(&format!("\"{key}\": "));
                    } else {
                        self.text.push_str(&format!("{key}: "));
                    }
                    let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                    self.flow(value, &path, column + 2, json);
                }
                if lines {
                    self.end(!json, column + 2);
                    self.text.push_str(&" ".repeat(column + 1));
                }
                self.text.push('}');
            }
        }
    }
}

/// Whether `before` is `after` without at most two stretches.
fn survives(before: &str, after: &str) -> bool {
    let common = |a: &mut dyn Iterator<Item = (u8, u8)>| a.take_while(|(x, y)| x == y).count();
    let start = common(&mut before.bytes().zip(after.bytes()));
    let end = common(&mut before.bytes().rev().zip(after.bytes().rev()));
    if start + end >= before.len() {
        return true;
    }
    let middle = &before.as_bytes()[start..before.len() - end];
    after.as_bytes()[start..after.len() - end].windows(middle.len()).any(|window| window == middle)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn leaves_every_other_byte_as_it_was(
        values in prop::collection::vec(tree(), 1..4),
        root_flow in prop::option::weighted(0.2, Just(Style::FlowLines)),
        noise in prop::collection::vec(any::<u8>(), 1..40),
        crlf in any::<bool>(),
        final_break in any::<bool>(),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0..4usize), 1..5),
    ) {
        let mut writer = Writer { text: String::new(), noise, mappings: Vec::new() };
        match root_flow {
            Some(style) => {
                writer.flow(&Tree::Map(style, values), "", 0, false);
                writer.text.push('\n');
            }
            None => writer.entries(&values, "", 0, 2),
        }
        let Writer { mut text, mappings, .. } = writer;
        if crlf {
            text = text.replace('\n', "\r\n");
        }
        if !final_break {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
        prop_assert!(parse(&text, &Limits::default()).is_ok(), "{}", text);
        let mut list = Vec::new();
        let mut current = text.clone();
        for (number, (pick, kind)) in picks.iter().enumerate() {
            let at = pick.get(&mappings);
            let name = format!("new{number}");
            let path = if at.is_empty() { name } else { format!("{at}.{name}") };
            let value = [json!("x"), json!("yes"), json!({"branch": "main"}), json!([1, "a"])]
                [*kind].clone();
            let addition = Addition { path, value };
            let next = insert_fields(&current, 0, std::slice::from_ref(&addition));
            prop_assert!(next.is_ok(), "{:?}\n{}", next, current);
            let next = next.unwrap();
            prop_assert!(survives(&current, &next), "{}\n{}", current, next);
            prop_assert_eq!(next.ends_with('\n'), current.ends_with('\n'));
            if current.contains("\r\n") {
                prop_assert!(!next.replace("\r\n", "").contains('\n'));
            }
            current = next;
            list.push(addition);
        }
        prop_assert_eq!(&insert_fields(&text, 0, &list).unwrap(), &current);
        prop_assert_eq!(&insert_fields(&current, 0, &list).unwrap(), &current);
    }
}
