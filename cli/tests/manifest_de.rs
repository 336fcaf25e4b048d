//! What `manifest::de` decodes, refuses and notices.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which may panic")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sluicegate_cli::manifest::de::{DecodeError, DecodeErrorKind, Decoded, decode};
use sluicegate_cli::manifest::yaml::{Limits, parse};

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    url: String,
    #[serde(default)]
    prune: bool,
    retries: Option<u8>,
    ratio: Option<f64>,
    #[serde(default)]
    images: Vec<String>,
    kind: Option<SourceKind>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(rename = "ref")]
    reference: Option<Reference>,
    values: Option<serde_json::Value>,
    retry_interval: Option<Interval>,
    nested: Option<Box<Config>>,
    choice: Option<Choice>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
enum SourceKind {
    Git,
    #[serde(rename = "OCI")]
    Oci,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Choice {
    Word,
    Number(u32),
    Pair(u32, u32),
    Fields { a: u32 },
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Reference {
    branch: Option<String>,
    #[serde(alias = "label")]
    tag: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
struct Interval(String);

impl TryFrom<String> for Interval {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.ends_with('m') { Ok(Self(text)) } else { Err(format!("`{text}` is no number of minutes")) }
    }
}

fn try_as<T: DeserializeOwned>(text: &str) -> Result<Decoded<T>, DecodeError> {
    let documents = parse(text, &Limits::default()).unwrap();
    decode(documents[0].root())
}

fn decoded(text: &str) -> Decoded<Config> {
    try_as(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[track_caller]
fn refused(text: &str) -> DecodeError {
    match try_as::<Config>(text) {
        Ok(found) => panic!("accepted: {text:?}: {found:?}"),
        Err(error) => error,
    }
}

#[test]
fn decodes_what_is_written_plainly() {
    let found = decoded(
        "url: https://a\nprune: true\nretries: 3\nratio: 1\nimages: [a, 'b']\nkind: OCI\n\
         labels: {a.b/c: \"1\", 8080: x, true: b}\nref: {branch: main, label: v1}\n\
         values: {a: [1, 2.5, null, text, {b: true}], '': -1}\nretryInterval: 5m\n\
         nested: {url: b}\nchoice: word\n",
    );
    assert_eq!(found.unknown, []);
    let config = found.value;
    assert_eq!(config.url, "https://a");
    assert!(config.prune);
    assert_eq!((config.retries, config.ratio), (Some(3), Some(1.0)));
    assert_eq!(config.images, ["a", "b"]);
    assert_eq!(config.kind, Some(SourceKind::Oci));
    assert_eq!(
        config.labels.into_iter().collect::<Vec<_>>(),
        [("8080", "x"), ("a.b/c", "1"), ("true", "b")].map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    let reference = config.reference.unwrap();
    assert_eq!(reference.tag.as_deref(), Some("v1"));
    assert_eq!(config.values, Some(serde_json::json!({"a": [1, 2.5, null, "text", {"b": true}], "": -1})));
    assert_eq!(config.retry_interval, Some(Interval("5m".to_owned())));
    assert_eq!(config.nested.unwrap().url, "b");
    assert_eq!(config.choice, Some(Choice::Word));
}

#[test]
fn decodes_every_form_of_an_enum() {
    for (text, choice) in [
        ("word", Choice::Word),
        ("{word: }", Choice::Word),
        ("{number: 1}", Choice::Number(1)),
        ("{pair: [1, 2]}", Choice::Pair(1, 2)),
        ("{fields: {a: 1}}", Choice::Fields { a: 1 }),
    ] {
        let found = decoded(&format!("url: a\nchoice: {text}\n"));
        assert_eq!(found.value.choice, Some(choice), "{text}");
    }
    let found = decoded("url: a\nchoice: {fields: {a: 1, aa: 2}}\n");
    assert_eq!(found.unknown[0].path, "choice.fields.aa");
}

#[test]
fn takes_null_for_a_field_that_is_not_there() {
    for text in [
        "url: a\nprune:\nimages: ~\nref: null\nvalues:\n",
        "url: a\n",
        "{\"url\": \"a\", \"prune\": null, \"labels\": null}",
    ] {
        let config = decoded(text).value;
        assert!(!config.prune && config.images.is_empty(), "{text}");
        assert_eq!((config.reference, config.values), (None, None), "{text}");
    }
    let error = refused("url:\nprune: true\n");
    assert_eq!(error.kind(), &DecodeErrorKind::MissingField { field: "url" });
}

#[test]
fn notices_fields_that_the_type_does_not_have() {
    let text = "\
url: a
Prune: true
retry-interval: 5m
ref:
  brnach: main
  tag: v1
nested:
  url: b
  zebra: {x: yes}
metadata.name: x
";
    let found = decoded(text);
    let seen: Vec<(&str, &str, Option<&str>, u32, u32)> = found
        .unknown
        .iter()
        .map(|field| {
            let span = field.span();
            assert_eq!(&text[span.range()], field.name);
            (field.path.as_str(), field.name.as_str(), field.suggestion, span.line, span.column)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("Prune", "Prune", Some("prune"), 2, 1),
            ("retry-interval", "retry-interval", Some("retryInterval"), 3, 1),
            ("ref.brnach", "brnach", Some("branch"), 5, 3),
            ("nested.zebra", "zebra", None, 9, 3),
            ("[\"metadata.name\"]", "metadata.name", None, 10, 1),
        ]
    );
    assert_eq!(found.unknown[2].allowed, ["branch", "label", "tag"]);
    assert_eq!(found.unknown[2].to_string(), "unknown field `ref.brnach`; did you mean `branch`?");
    assert!(!found.value.prune);
}

#[test]
fn refuses_what_is_not_what_it_should_be_and_points_at_it() {
    let quotes =
        |text: &str, kind: &str| format!("`{text}` reads as {kind} here, not as a text; put it in quotes: \"{text}\"");
    let both = |text: &str, old: &str, new: &str, advice: &str| {
        format!("`{text}` is {old} in YAML 1.1, as Kubernetes reads it, and {new} in YAML 1.2; {advice}")
    };
    for (text, message, line, column, shown) in [
        ("url: 12\n", format!("url: {}", quotes("12", "a number")), 1, 6, "12"),
        ("url: 1234567e8\n", format!("url: {}", quotes("1234567e8", "a number")), 1, 6, "1234567e8"),
        ("url: true\n", format!("url: {}", quotes("true", "a boolean")), 1, 6, "true"),
        ("url: yes\n", format!("url: {}", both("yes", "a boolean", "text", "put it in quotes")), 1, 6, "yes"),
        (
            "url: a\nimages: [b, 1:30]\n",
            format!("images[1]: {}", both("1:30", "a number", "text", "put it in quotes")),
            2,
            13,
            "1:30",
        ),
        ("url: a\nimages:\n  - ~\n", format!("images[0]: {}", quotes("~", "nothing")), 3, 5, "~"),
        (
            "url: a\nprune: yes\n",
            format!("prune: {}", both("yes", "a boolean", "text", "write `true` or `false`")),
            2,
            8,
            "yes",
        ),
        (
            "url: a\nprune: True\n",
            "prune: expected `true` in lower case, found a boolean `True`".to_owned(),
            2,
            8,
            "True",
        ),
        (
            "url: a\nprune: \"true\"\n",
            "prune: expected `true` or `false`, found a text `true`".to_owned(),
            2,
            8,
            "\"true\"",
        ),
        (
            "url: a\nretries: 0123\n",
            format!("retries: {}", both("0123", "an octal number", "a decimal number", "write a plain decimal number")),
            2,
            10,
            "0123",
        ),
        ("url: a\nretries: 300\n", "retries: expected u8, found integer `300`".to_owned(), 2, 10, "300"),
        ("url: a\nretries: \"3\"\n", "retries: expected u8, found a text `3`".to_owned(), 2, 10, "\"3\""),
        ("url: a\nimages: b\n", "images: expected a sequence, found a text `b`".to_owned(), 2, 9, "b"),
        ("url: a\nref: [b]\n", "ref: expected struct Reference, found a list".to_owned(), 2, 6, "[b]"),
        ("url: {a: b}\n", "url: expected a string, found a mapping".to_owned(), 1, 6, "{a: b}"),
        (
            "url: a\nkind: git\n",
            "kind: `git` is not one of `Git` and `OCI`; did you mean `Git`?".to_owned(),
            2,
            7,
            "git",
        ),
        ("url: a\nkind: Bucket\n", "kind: `Bucket` is not one of `Git` and `OCI`".to_owned(), 2, 7, "Bucket"),
        ("url: a\nretryInterval: 5\n", format!("retryInterval: {}", quotes("5", "a number")), 2, 16, "5"),
        ("url: a\nretryInterval: 5s\n", "retryInterval: `5s` is no number of minutes".to_owned(), 2, 16, "5s"),
        (
            "url: a\nlabels: {on: x}\n",
            format!("labels.on: {}", both("on", "a boolean", "text", "put it in quotes")),
            2,
            10,
            "on",
        ),
        ("url: a\nlabels: {1.0: x}\n", format!("labels[\"1.0\"]: {}", quotes("1.0", "a number")), 2, 10, "1.0"),
        ("url: a\nlabels: {a.b/c: 1}\n", format!("labels[\"a.b/c\"]: {}", quotes("1", "a number")), 2, 17, "1"),
        (
            "url: a\nvalues: {deep: [no]}\n",
            format!(
                "values.deep[0]: {}",
                both("no", "a boolean", "text", "write `true` or `false`, a plain decimal number, or put it in quotes")
            ),
            2,
            17,
            "no",
        ),
        ("url: !secret a\n", "url: this tag has no meaning here; leave it out".to_owned(), 1, 14, "a"),
        (
            "url: a\nnested:\n  prune: true\n  retries: 1\n",
            "nested: `url` is missing, and it is required".to_owned(),
            2,
            1,
            "nested",
        ),
        ("[]", "expected struct Config, found a list".to_owned(), 1, 1, "[]"),
        (
            "url: a\nchoice: {number: 1, word: }\n",
            "choice: expected one of `word`, `number`, `pair` and `fields`, found a mapping that \
             has not exactly one key"
                .to_owned(),
            2,
            9,
            "{number: 1, word: }",
        ),
        (
            "url: a\nchoice: number\n",
            "choice: expected a mapping with that key and its value, found the word `number` alone".to_owned(),
            2,
            9,
            "number",
        ),
    ] {
        let error = refused(text);
        assert_eq!(error.to_string(), message, "{text}");
        let span = error.span();
        assert_eq!((span.line, span.column), (line, column), "{text}");
        assert_eq!(&text[span.range()], shown, "{text}");
    }
}

#[test]
fn tells_of_the_misspelt_field_beside_the_missing_one() {
    let error = refused("ulr: a\n");
    assert_eq!(error.kind(), &DecodeErrorKind::MissingField { field: "url" });
    assert_eq!(error.unknown()[0].suggestion, Some("url"));
}

#[test]
fn takes_quoted_tagged_and_aliased_texts() {
    for (text, url) in [
        ("url: \"yes\"\n", "yes"),
        ("url: '12'\n", "12"),
        ("url: !!str 12\n", "12"),
        ("url: |-\n  12\n", "12"),
        ("labels: {x: &x \"1\"}\nurl: *x\n", "1"),
        ("<<: {url: merged}\n", "merged"),
        ("url: 2024-01-02\n", "2024-01-02"),
    ] {
        assert_eq!(decoded(text).value.url, url, "{text}");
    }
    let error = refused("labels: {x: &x a}\nurl: b\nprune: *x\n");
    assert_eq!((error.span().line, error.path()), (3, "prune"));
}

#[test]
fn decodes_kubernetes_objects() {
    let pod: Decoded<Pod> = try_as(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {app: shop}\n  \
         creationTimestamp: 2024-01-02T03:04:05Z\n  lables: {a: b}\nspec:\n  containers:\n    \
         - name: a\n      image: b\n      imagee: c\n      resources: {limits: {cpu: 1, memory: 1Gi}}\n      \
         ports: [{containerPort: 80}]\n      livenessProbe: {httpGet: {port: 80}}\n      readinessProbe: \
         {httpGet: {port: http}}\n",
    )
    .unwrap();
    let spec = pod.value.spec.unwrap();
    let limits = spec.containers[0].resources.as_ref().and_then(|resources| resources.limits.as_ref()).unwrap();
    assert_eq!(limits["cpu"].0, "1");
    assert!(pod.value.metadata.creation_timestamp.is_some());
    let unknown: Vec<(&str, Option<&str>)> =
        pod.unknown.iter().map(|field| (field.path.as_str(), field.suggestion)).collect();
    assert_eq!(unknown, [("metadata.lables", Some("labels")), ("spec.containers[0].imagee", Some("image"))]);

    let error =
        try_as::<ConfigMap>("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: 1\n").unwrap_err();
    assert_eq!((error.path(), error.span().line), ("data.a", 5));
    let error = try_as::<Service>("apiVersion: v1\nkind: Pod\nmetadata: {}\n").unwrap_err();
    assert!(error.to_string().contains("Service"), "{error}");
}

#[derive(Debug, Deserialize)]
struct Flat {
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
    either: Option<Either>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Either {
    Text(String),
    Number(u64),
    Fields { a: String },
}

#[test]
fn decodes_through_the_buffers_of_serde() {
    for (text, either) in [
        ("x", Either::Text("x".to_owned())),
        ("1", Either::Number(1)),
        ("{a: b}", Either::Fields { a: "b".to_owned() }),
    ] {
        let found: Decoded<Flat> = try_as(&format!("other: [1]\neither: {text}\n")).unwrap();
        assert_eq!(found.value.either, Some(either));
        assert_eq!(found.value.rest["other"], serde_json::json!([1]));
    }
    let error = try_as::<Flat>("other: [1]\neither: {b: c}\n").unwrap_err();
    assert!(error.to_string().contains("did not match any variant"), "{error}");
    assert_eq!((error.path(), error.span().line), ("either", 2));
}
