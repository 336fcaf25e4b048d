//! Generated policies, images, URLs and Flux objects, for suites that hold several judges against each other.
//!
//! The same seed gives the same inputs. Most are near something that a policy allows: one change away from it, since that is
//! where two readers of a text differ.

use fastrand::Rng;
use serde_json::{Value, json};

const HOSTS: [&str; 18] = [
    "docker.io",
    "index.docker.io",
    "registry.example.com",
    "a.registry.example.com",
    "example.com",
    "evil.example.com",
    "ghcr.io",
    "localhost",
    "localhost:5000",
    "registry.example.com:5000",
    "harbor:443",
    "127.0.0.1:5000",
    "[::1]:5000",
    "[2001:db8::1]",
    "xn--bcher-kva.example.com",
    "b\u{fc}cher.example.com",
    "Registry.Example.COM",
    "DOCKER.IO",
];
const SEGMENTS: [&str; 14] = [
    "team-a", "team-b", "library", "app", "nginx", "shop", "x", "a.b", "a__b", "a---b", "Team-A", "..", "sha256",
    "app.git",
];
const SPOILERS: [&str; 30] = [
    "/",
    "//",
    ":",
    "@",
    "%2f",
    "%",
    "?",
    "#",
    "\\",
    " ",
    "\t",
    "\u{202e}",
    "\u{200b}",
    "\u{430}",
    ".",
    "..",
    "-",
    "_",
    "___",
    "A",
    "0",
    ":0",
    ":65536",
    ":0443",
    "~",
    "*",
    "${tenant}",
    ".git",
    "\n",
    "\u{ff0e}",
];

fn pick<'a>(random: &mut Rng, list: &[&'a str]) -> &'a str {
    random.choice(list).copied().unwrap_or_default()
}

fn path(random: &mut Rng, most: usize) -> String {
    let segments: Vec<&str> = (0..random.usize(1..=most)).map(|_| pick(random, &SEGMENTS[..10])).collect();
    segments.join("/")
}

fn spoiled(random: &mut Rng, mut text: String) -> String {
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let at = random.choice(&places).copied().unwrap_or_default();
    match random.u8(0..4) {
        0 if at < text.len() => {
            text.remove(at);
        }
        1 if at < text.len() => {
            let upper = text.remove(at).to_ascii_uppercase();
            text.insert(at, upper);
        }
        _ => text.insert_str(at, pick(random, &SPOILERS)),
    }
    text
}

/// An image reference, well-formed or nearly so.
pub fn image(random: &mut Rng) -> String {
    let host = match random.u8(0..10) {
        0..2 => String::new(),
        2..6 => "registry.example.com/".to_owned(),
        _ => format!("{}/", pick(random, &HOSTS)),
    };
    let path = if random.bool() { format!("team-a/{}", path(random, 3)) } else { path(random, 4) };
    let digest = |random: &mut Rng| {
        let (name, digits) = *random
            .choice(&[("sha256", 64), ("sha512", 128), ("sha384", 96), ("sha256", 63), ("md5", 32)])
            .unwrap_or(&("", 0));
        let hex: String = (0..digits).map(|_| pick(random, &["0", "9", "a", "f"])).collect();
        format!("@{name}:{hex}")
    };
    let version = match random.u8(0..8) {
        0 => String::new(),
        1 => ":latest".to_owned(),
        2 => digest(random),
        3 => format!(":1.0{}", digest(random)),
        4 => format!(":{}", "t".repeat(random.usize(126..131))),
        _ => format!(":{}", pick(random, &["1.0", "stable", "v1", "_x", "1"])),
    };
    let text = match random.u8(0..40) {
        0 => "a".repeat(64),
        1 => format!("sha256:{}", "a".repeat(random.usize(6..65))),
        2 => format!("{host}{}", vec!["abcdefghi"; random.usize(23..28)].join("/")),
        _ => format!("{host}{path}{version}"),
    };
    if random.u8(0..3) == 0 { spoiled(random, text) } else { text }
}

/// A URL of a source, well-formed or nearly so.
pub fn url(random: &mut Rng) -> String {
    let scheme = match random.u8(0..3) {
        0 => pick(random, &["http://", "ssh://git@", "ssh://", "oci://", "https://user@", "HTTPS://"]),
        1 => pick(random, &["https://", "oci://", "ssh://git@", "https://"]),
        _ => "https://",
    };
    let odd = ["git.example.com:8443", "x.git.example.com", "git.example.com.", "1.2.3", "0x7f.1", "git"];
    let host = match random.u8(0..6) {
        0 => pick(random, &HOSTS),
        1 => pick(random, &odd),
        2 => "registry.example.com",
        3 => "git.example.com:443",
        _ => "git.example.com",
    };
    let mut path = if random.bool() { format!("/team-a/{}", path(random, 3)) } else { format!("/{}", path(random, 3)) };
    if random.u8(0..12) == 0 {
        path.clear();
    }
    let end = pick(random, &["", "", "", ".git", ".git", ".git.git", "/", "/.git"]);
    let text = match random.u8(0..60) {
        0 => format!("{scheme}{host}/{}", "a".repeat(random.usize(1990..2040))),
        _ => format!("{scheme}{host}{path}{end}"),
    };
    if random.u8(0..3) == 0 { spoiled(random, text) } else { text }
}

fn pattern_path(random: &mut Rng) -> String {
    let segments = ["team-a", "library", "app", "*", "${tenant}", "${namespace}", "${cluster}", "x", "nginx", "shop"];
    let path: Vec<&str> = (0..random.usize(0..4)).map(|_| pick(random, &segments)).collect();
    match (path.is_empty(), random.bool()) {
        (true, _) => "**".to_owned(),
        (false, true) => format!("{}/**", path.join("/")),
        (false, false) => path.join("/"),
    }
}

fn image_pattern(random: &mut Rng) -> String {
    if random.u8(0..40) == 0 {
        return "**".to_owned();
    }
    let host = pick(
        random,
        &[
            "docker.io",
            "registry.example.com",
            "registry.example.com",
            "*.example.com",
            "*.registry.example.com",
            "registry.example.com:5000",
            "localhost:5000",
            "[::1]:5000",
            "ghcr.io",
            "127.0.0.1:5000",
        ],
    );
    let path = match pattern_path(random) {
        path if host == "docker.io" && !path.contains('/') && path != "**" => format!("library/{path}"),
        path => path,
    };
    format!("{host}/{path}{}", pick(random, &["", "", "", ":latest", ":1.0"]))
}

fn url_pattern(random: &mut Rng, oci: bool) -> String {
    if random.u8(0..40) == 0 {
        return "**".to_owned();
    }
    let scheme =
        if oci { "oci://" } else { pick(random, &["https://", "https://", "https://", "http://", "ssh://git@"]) };
    let host = pick(
        random,
        &[
            "git.example.com",
            "git.example.com",
            "registry.example.com",
            "*.example.com",
            "git.example.com:8443",
            "docker.io",
            "localhost:5000",
        ],
    );
    format!("{scheme}{host}/{}", pattern_path(random))
}

/// The spec of a FluxPolicy for these tenants; it may deploy everywhere.
pub fn policy(random: &mut Rng, tenants: &[&str]) -> Value {
    fn list(random: &mut Rng, most: usize, one: impl Fn(&mut Rng) -> String) -> Vec<String> {
        (0..random.usize(0..=most)).map(|_| one(random)).collect()
    }
    let mut images = json!({
        "allow": list(random, 8, image_pattern), "deny": list(random, 2, image_pattern),
        "denyTags": list(random, 1, |_| "latest".to_owned()), "requireDigest": random.u8(0..8) == 0,
    });
    if random.u8(0..6) == 0 {
        images["deny"] = json!([]);
        images["allow"] = json!(["**"]);
    }
    let mut urls = |oci: bool| json!({"allow": list(random, 12, |random| url_pattern(random, oci)), "deny": list(random, 2, |random| url_pattern(random, oci))});
    let mut sources = json!({"git": urls(false), "helm": urls(false), "oci": urls(true), "bucket": urls(false)});
    sources["oci"]["requireDigest"] = json!(random.u8(0..3) == 0);
    sources["requireVerification"] = json!(random.u8(0..16) == 0);
    json!({
        "tenants": {"names": tenants},
        "sources": sources,
        "images": images,
        "destinations": [{"clusters": ["*"], "namespaces": ["*"]}],
    })
}

/// Apiversion and kind of a Flux source.
pub const SOURCE_KINDS: [(&str, &str); 4] = [
    ("source.toolkit.fluxcd.io/v1", "GitRepository"),
    ("source.toolkit.fluxcd.io/v1", "OCIRepository"),
    ("source.toolkit.fluxcd.io/v1", "HelmRepository"),
    ("source.toolkit.fluxcd.io/v1", "Bucket"),
];

/// A Flux source with a URL.
pub fn source(random: &mut Rng, url: &str) -> Value {
    let fitting = if url.starts_with("oci") { 1 } else { [0, 0, 2, 3][random.usize(0..4)] };
    let (api, kind) = SOURCE_KINDS[if random.u8(0..4) == 0 { random.usize(0..4) } else { fitting }];
    let spec = match (kind, url.split_once("://").map(|(_, rest)| rest.split_once('/').unwrap_or((rest, "")))) {
        ("Bucket", place) => {
            let (endpoint, bucket) = place.unwrap_or((url, ""));
            json!({"interval": "1m", "endpoint": endpoint, "bucketName": bucket})
        }
        ("OCIRepository", _) if random.bool() => {
            json!({"interval": "1m", "url": url, "ref": {"digest": format!("sha256:{}", "a".repeat(64))}})
        }
        _ => json!({"interval": "1m", "url": url}),
    };
    json!({"apiVersion": api, "kind": kind, "spec": spec})
}

/// Apiversion and kind, a harmless spec, and fields with their values.
type Reaching<'r> = (&'r str, &'r str, Value, &'r [(&'r str, &'r [Value])]);

/// A Flux object with one or two fields that reach somewhere.
pub fn reaching(random: &mut Rng, namespace: &str) -> Value {
    let kinds: [Reaching<'_>; 7] = [
        (
            "source.toolkit.fluxcd.io/v1",
            "GitRepository",
            json!({"interval": "1m", "url": "https://git.example.com/team-a/x"}),
            &[
                ("/recurseSubmodules", &[json!(true), json!(false)]),
                ("/include", &[json!([]), json!([{"repository": {"name": "x"}}])]),
                ("/proxySecretRef", &[json!({"name": "x"})]),
                ("/provider", &[json!("generic"), json!("github"), json!("azure")]),
                ("/ignore", &[json!("/*"), json!("")]),
            ],
        ),
        (
            "source.toolkit.fluxcd.io/v1",
            "OCIRepository",
            json!({"interval": "1m", "url": "oci://registry.example.com/team-a/x"}),
            &[
                ("/insecure", &[json!(true), json!(false)]),
                ("/certSecretRef", &[json!({"name": "x"})]),
                ("/serviceAccountName", &[json!("x")]),
                ("/provider", &[json!("generic"), json!("aws")]),
            ],
        ),
        (
            "source.toolkit.fluxcd.io/v1",
            "HelmRepository",
            json!({"interval": "1m", "url": "https://charts.example.com/x"}),
            &[
                ("/passCredentials", &[json!(true), json!(false)]),
                ("/insecure", &[json!(true)]),
                ("/certSecretRef", &[json!({"name": "x"})]),
            ],
        ),
        (
            "source.toolkit.fluxcd.io/v1",
            "Bucket",
            json!({"interval": "1m", "endpoint": "s3.example.com", "bucketName": "team-a"}),
            &[
                ("/insecure", &[json!(true), json!(false)]),
                ("/provider", &[json!("generic"), json!("gcp")]),
                ("/ignore", &[json!("x")]),
            ],
        ),
        (
            "kustomize.toolkit.fluxcd.io/v1",
            "Kustomization",
            json!({"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "x"}}),
            &[
                ("/serviceAccountName", &[json!("sluicegate-reconciler"), json!("default")]),
                ("/targetNamespace", &[json!(namespace), json!("kube-system")]),
                ("/kubeConfig", &[json!({"secretRef": {"name": "x"}})]),
                (
                    "/decryption",
                    &[
                        json!({"provider": "sops", "secretRef": {"name": "sluicegate-sops"}}),
                        json!({"provider": "sops", "secretRef": {"name": "own"}}),
                        json!({"provider": "sops"}),
                    ],
                ),
                (
                    "/postBuild",
                    &[
                        json!({"substituteFrom": [{"kind": "Secret", "name": "x"}]}),
                        json!({"substituteFrom": [{"kind": "ConfigMap", "name": "x"}]}),
                        json!({}),
                    ],
                ),
                (
                    "/sourceRef",
                    &[
                        json!({"kind": "GitRepository", "name": "x", "namespace": "other"}),
                        json!({"kind": "GitRepository", "name": "x", "namespace": namespace}),
                    ],
                ),
            ],
        ),
        (
            "helm.toolkit.fluxcd.io/v2",
            "HelmRelease",
            json!({"interval": "1m", "chartRef": {"kind": "OCIRepository", "name": "x"}}),
            &[
                ("/serviceAccountName", &[json!("sluicegate-reconciler"), json!("default")]),
                ("/targetNamespace", &[json!(namespace), json!("kube-system")]),
                ("/storageNamespace", &[json!(namespace), json!("kube-system")]),
                (
                    "/valuesFrom",
                    &[json!([{"kind": "Secret", "name": "x"}]), json!([{"kind": "ConfigMap", "name": "x"}]), json!([])],
                ),
                ("/chartRef", &[json!({"kind": "OCIRepository", "name": "x", "namespace": "other"})]),
            ],
        ),
        (
            "notification.toolkit.fluxcd.io/v1beta3",
            "Provider",
            json!({"type": "slack"}),
            &[
                ("/address", &[json!("https://hooks.example.com/x")]),
                ("/secretRef", &[json!({"name": "x"})]),
                ("/channel", &[json!("x")]),
            ],
        ),
    ];
    let (api, kind, mut spec, fields) = kinds[random.usize(0..kinds.len())].clone();
    for _ in 0..random.usize(0..=2) {
        let (path, values) = fields[random.usize(0..fields.len())];
        spec[&path[1..]] = values[random.usize(0..values.len())].clone();
    }
    json!({"apiVersion": api, "kind": kind, "spec": spec})
}

/// The spec of a FluxConfig for this namespace, with some of what it may say, and some that it may not.
pub fn flux_config(random: &mut Rng, namespace: &str) -> Value {
    let own = format!("{namespace}-x");
    let fields: [(&str, &[Value]); 7] = [
        ("/source/kind", &[json!("Git"), json!("OCI"), json!("Helm"), json!("Bucket")]),
        (
            "/source/ref",
            &[
                json!({"branch": "main"}),
                json!({"tag": "v1"}),
                json!({"semver": "1.x"}),
                json!({"branch": "a b"}),
                json!({"branch": "main", "tag": "v1"}),
                json!({"commit": "a".repeat(40)}),
            ],
        ),
        ("/path", &[json!("./"), json!("./deploy"), json!("../x"), json!("/x"), json!("a/../b")]),
        ("/cluster", &[json!("local"), json!("local"), json!("other")]),
        ("/namespace", &[json!(namespace), json!(own), json!("kube-system"), json!("other")]),
        ("/images", &[json!(["registry.example.com/team-a/**"]), json!(["**"]), json!(["*x"])]),
        ("/chart", &[json!({"name": "redis"}), json!({})]),
    ];
    let mut spec = json!({"source": {"url": url(random)}});
    for (field, values) in fields {
        if random.u8(0..4) > 0 {
            continue;
        }
        let value = values[random.usize(0..values.len())].clone();
        match field.strip_prefix("/source/") {
            Some(field) => spec["source"][field] = value,
            None => spec[&field[1..]] = value,
        }
    }
    spec
}

/// The texts of a table of cases (`policy/tests/data`): the first column, its abbreviations spelled out.
pub fn table(source: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for line in source.lines().filter(|line| line.starts_with('"')) {
        let mut values = serde_json::Deserializer::from_str(line).into_iter::<String>();
        if let Some(Ok(text)) = values.next() {
            texts.push(spelled_out(&text));
        }
    }
    texts
}

fn spelled_out(text: &str) -> String {
    let hex = |digits: usize| "0123456789abcdef".chars().cycle().take(digits).collect::<String>();
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let known = after.split_once('}').and_then(|(name, end)| {
            let value = match name {
                "sha" => hex(64),
                "96" => hex(96),
                "128" => hex(128),
                _ => {
                    let (repeated, times) = name.rsplit_once('*')?;
                    repeated.repeat(times.parse().ok()?)
                }
            };
            Some((value, end))
        });
        match known {
            Some((value, end)) => {
                out.push_str(&value);
                rest = end;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let all = |seed| {
            let mut random = Rng::with_seed(seed);
            (image(&mut random), url(&mut random), policy(&mut random, &["team-a"]), reaching(&mut random, "team-a"))
        };
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
    }

    #[test]
    fn tables_are_spelled_out() {
        let texts = table("# x\n\"a{b*3}{sha}\"  ok  x\n\"${tenant}\"  no\nnot a case\n");
        assert_eq!(texts, [format!("abbb{}", "0123456789abcdef".repeat(4)), "${tenant}".to_owned()]);
    }
}
