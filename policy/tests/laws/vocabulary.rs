//! The vocabulary that the laws are tried on: few words, so that they meet often.

use proptest::{collection::vec, option, prelude::*, sample};
use serde_json::{Map, Value, json};
use sluicegate_crds::{FluxConfig, FluxPolicy};
use sluicegate_policy::{Declaration, Facts, Labels, PolicySet, Since, Unseen};

pub const URLS: &[&str] = &[
    "https://git.example.com/team-a/shop.git",
    "https://git.example.com/team-a/shop",
    "https://git.example.com/team-b/shop",
    "https://git.example.com/team-a/attic/shop",
    "https://github.com/team-a/shop",
    "http://git.example.com/team-a/shop",
    "ssh://git@git.example.com/team-a/shop",
    "oci://registry.example.com/team-a/app",
    "oci://registry.example.com/charts",
    "https://charts.example.com/stable",
    "https://user@git.example.com/team-a/shop",
];
pub const URL_PATTERNS: &[&str] = &[
    "https://git.example.com/${tenant}/**",
    "https://git.example.com/**",
    "https://git.example.com/*/shop",
    "https://git.example.com/${namespace}/*",
    "https://git.example.com/*/attic/**",
    "https://github.com/${tenant}/*",
    "https://*.example.com/**",
    "ssh://git@git.example.com/**",
    "oci://registry.example.com/**",
    "https://charts.example.com/stable",
    "http://git.example.com/**",
    "**",
];
pub const IMAGES: &[&str] = &[
    "nginx:1.27",
    "nginx",
    "docker.io/library/alpine:3.20",
    "registry.example.com/team-a/shop:1",
    "registry.example.com/team-b/shop:1",
    "registry.example.com/team-a/shop@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "ghcr.io/x/y:latest",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
];
pub const IMAGE_PATTERNS: &[&str] = &[
    "registry.example.com/${tenant}/**",
    "registry.example.com/*/shop",
    "docker.io/library/*",
    "docker.io/library/nginx:1.27",
    "docker.io/library/alpine",
    "ghcr.io/**",
    "*.example.com/**",
    "**",
];

pub fn pick(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> + Clone {
    sample::select(words)
}

fn some(words: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    vec(pick(words), 0..=most)
}

/// Patterns that narrow.
pub fn images() -> impl Strategy<Value = Vec<&'static str>> {
    vec(pick(IMAGE_PATTERNS), 1..4)
}

/// Any text: of any characters, or of pieces that mean something.
pub fn text() -> impl Strategy<Value = String> {
    let pieces = pick(&[
        "https://",
        "ssh://",
        "oci://",
        "git@",
        "git.example.com",
        "/",
        "//",
        "..",
        ".",
        "*",
        "**",
        "${tenant}",
        "${",
        "}",
        "$",
        ":",
        "@",
        "sha256:",
        "team-a",
        "A",
        "-",
        "~",
        "%2e",
        "?",
        "#",
        "\\",
        " ",
        "\u{202e}",
        "é",
        "1",
        "9999999999",
        "m",
        "d",
        ".git",
        "latest",
        "[",
        "]",
        "||",
        ">=",
        "x",
    ]);
    prop_oneof![
        2 => vec(pieces, 0..8).prop_map(|pieces| pieces.concat()),
        1 => any::<String>(),
        1 => Just("a".repeat(5000)),
    ]
}

/// One tenant's FluxConfig among others, under some policies.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name and spec.
    pub policies: Vec<(String, Value)>,
    pub config: FluxConfig,
    pub others: Vec<(FluxConfig, Since)>,
    pub gold: bool,
}

pub fn policy(name: &str, spec: &Value) -> FluxPolicy {
    let object = json!({
        "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxPolicy", "metadata": {"name": name}, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn config(home: &str, name: &str, spec: Value) -> FluxConfig {
    let object = json!({
        "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxConfig", "metadata": {"name": name, "namespace": home},
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

impl Case {
    pub fn compiled(&self) -> Vec<FluxPolicy> {
        self.policies.iter().map(|(name, spec)| policy(name, spec)).collect()
    }

    pub fn set(&self) -> PolicySet {
        PolicySet::compile(&self.compiled())
    }

    pub fn facts(&self, set: &PolicySet) -> Facts {
        let mut facts = Facts::new(Unseen::Absent);
        for (id, environment) in [("prod-eu", "production"), ("prod-us", "production"), ("dev", "development")] {
            facts.cluster(id, Labels::from([("env".to_owned(), environment.to_owned())]));
        }
        let plan = if self.gold { "gold" } else { "basic" };
        facts.namespace("team-a", Labels::from([("plan".to_owned(), plan.to_owned())]));
        let places = facts.clone();
        for (config, since) in &self.others {
            facts.declare(Declaration::of(config, set, &places, *since));
        }
        facts.declare(Declaration::of(&self.config, set, &places, Some(50)));
        facts
    }

    /// Adds to a policy: lists grow, values are replaced.
    pub fn extend(&mut self, at: usize, more: Value) {
        merge(&mut self.policies[at].1, more);
    }

    /// Takes one entry from one of a policy's allow lists or its destinations, if there is any.
    pub fn remove_allow(&mut self, at: usize, nth: usize) {
        let spec = &mut self.policies[at].1;
        let lists = [
            "/sources/git/allow",
            "/sources/helm/allow",
            "/sources/helm/charts/allow",
            "/sources/oci/allow",
            "/images/allow",
            "/destinations",
        ];
        let full: Vec<&str> = lists
            .into_iter()
            .filter(|list| spec.pointer(list).and_then(Value::as_array).is_some_and(|list| !list.is_empty()))
            .collect();
        if let Some(list) = full.get(nth % full.len().max(1))
            && let Some(list) = spec.pointer_mut(list).and_then(Value::as_array_mut)
        {
            list.remove(nth % list.len());
        }
    }
}

/// Objects are united, lists appended, all else replaced.
pub fn merge(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(base), Value::Array(more)) => base.extend(more),
        (base, more) => *base = more,
    }
}

fn object(fields: Vec<(&str, Option<Value>)>) -> Value {
    Value::Object(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect::<Map<_, _>>())
}

fn maybe(words: &'static [&'static str]) -> impl Strategy<Value = Option<Value>> {
    option::weighted(0.3, pick(words).prop_map(|word| json!(word)))
}

fn defaults(scoped: bool) -> impl Strategy<Value = Value> {
    let place = (maybe(&["prod-eu", "dev"]), maybe(&["${tenant}", "${tenant}-x"]));
    let reference = option::weighted(
        0.3,
        sample::select(vec![json!({"branch": "main"}), json!({"tag": "v1"}), json!({"semver": "1.x"})]),
    );
    let rest = (reference, maybe(&["./", "./${cluster}"]), maybe(&["1m", "10m"]), option::weighted(0.2, any::<bool>()));
    (place, rest).prop_map(move |((cluster, namespace), (reference, path, interval, prune))| {
        object(vec![
            ("cluster", cluster.filter(|_| !scoped)),
            ("namespace", namespace.filter(|_| !scoped)),
            ("ref", reference),
            ("path", path),
            ("interval", interval),
            ("prune", prune.map(|prune| json!(prune))),
        ])
    })
}

/// A policy; `scoped`: without what only policies for every cluster may say.
pub fn spec(scoped: bool) -> impl Strategy<Value = Value> {
    let tenants = sample::select(vec![
        json!({"names": ["team-*"]}),
        json!({"names": ["team-a"]}),
        json!({"names": ["*"]}),
        json!({"names": ["team-b", "team-c"]}),
        json!({"selector": {"matchLabels": {"plan": "gold"}}}),
    ]);
    let sources = (
        (some(URL_PATTERNS, 4), some(&["https://git.example.com/*/attic/**", "https://github.com/**"], 1)),
        some(URL_PATTERNS, 2),
        (some(URL_PATTERNS, 2), some(&["redis", "*"], 2)),
        option::weighted(0.03, any::<bool>()),
    )
        .prop_map(|((git, deny), oci, (helm, charts), signed)| {
            json!({
                "git": {"allow": git, "deny": deny}, "oci": {"allow": oci},
                "helm": {"allow": helm, "charts": {"allow": charts}}, "requireVerification": signed.unwrap_or(false),
                "verificationKeys": [{"match": "https://git.example.com/**", "secretRef": {"name": "keys"}}],
            })
        });
    let images = (some(IMAGE_PATTERNS, 3), option::weighted(0.2, pick(IMAGE_PATTERNS)), option::weighted(0.1, any::<bool>()))
        .prop_map(|(allow, deny, digest)| {
            json!({"allow": allow, "deny": deny.into_iter().collect::<Vec<_>>(), "requireDigest": digest.unwrap_or(false)})
        });
    let destinations = vec(
        (pick(&["prod-*", "*", "dev"]), pick(&["${tenant}", "${tenant}-*", "*", "shared"]), any::<bool>()).prop_map(
            |(cluster, namespace, create)| {
                json!({"clusters": [cluster], "namespaces": ["${tenant}", namespace], "createNamespace": create})
            },
        ),
        0..3,
    );
    let credentials = vec(
        (pick(URL_PATTERNS), pick(&["one", "of-${tenant}"]))
            .prop_map(|(pattern, name)| json!({"match": pattern, "secretRef": {"name": name}})),
        0..2,
    );
    let features =
        (option::weighted(0.6, any::<bool>()), option::weighted(0.3, any::<bool>())).prop_map(|(helm, decryption)| {
            object(vec![("helm", helm.map(|on| json!(on))), ("decryption", decryption.map(|on| json!(on)))])
        });
    let limits = (option::weighted(0.1, 1..4_u32), maybe(&["1m"]), maybe(&["7d"])).prop_map(|(most, interval, ttl)| {
        object(vec![("fluxConfigs", most.map(|most| json!(most))), ("minInterval", interval), ("maxTtl", ttl)])
    });
    let secrets = maybe(&["Allow", "Deny"]);
    let clusters = option::weighted(0.25, pick(&["prod-*", "dev", "*"]).prop_map(|name| json!({"names": [name]})));
    (
        tenants,
        sources,
        images,
        destinations,
        credentials,
        (features, limits, secrets),
        defaults(false),
        (-2..3_i32, clusters),
    )
        .prop_map(
            move |(
                tenants,
                sources,
                images,
                destinations,
                credentials,
                (features, limits, secrets),
                defaults,
                (priority, clusters),
            )| {
                let some_clusters = scoped || clusters.as_ref().is_some_and(|clusters| clusters["names"][0] != "*");
                let mut spec = object(vec![
                    ("tenants", Some(tenants)),
                    ("priority", Some(json!(priority))),
                    ("clusters", clusters),
                    ("sources", Some(sources)),
                    ("images", Some(images)),
                    ("destinations", (!some_clusters).then(|| json!(destinations))),
                    ("credentials", Some(json!(credentials))),
                    ("features", Some(features)),
                    ("limits", Some(limits)),
                    ("tenantSecrets", secrets),
                    ("defaults", Some(defaults)),
                ]);
                if some_clusters && let Some(defaults) = spec["defaults"].as_object_mut() {
                    defaults.remove("cluster");
                    defaults.remove("namespace");
                }
                spec
            },
        )
}

/// What every case has: so that a tenant is selected and placed.
fn base() -> Value {
    json!({
        "tenants": {"names": ["team-*"]},
        "priority": 10,
        "sources": {
            "git": {"allow": ["https://git.example.com/${tenant}/**"], "deny": ["https://git.example.com/*/attic/**"]},
            "helm": {"allow": ["https://charts.example.com/stable"], "charts": {"allow": ["redis"]}},
        },
        "destinations": [{"clusters": ["prod-*"], "namespaces": ["${tenant}"]}],
        "images": {"allow": ["registry.example.com/${tenant}/**"]},
        "features": {"helm": true, "decryption": true},
        "limits": {"minInterval": "30s", "maxTtl": "7d", "fluxConfigs": 3},
        "defaults": {
            "cluster": "prod-eu", "namespace": "${tenant}", "ref": {"branch": "main"},
            "decryption": {"provider": "sops", "secretRef": {"name": "sops-${tenant}"}},
        },
    })
}

fn spec_of_config() -> impl Strategy<Value = Value> {
    let url = prop_oneof![3 => Just(URLS[0]), 1 => Just("https://charts.example.com/stable"), 2 => pick(URLS)];
    let reference = option::weighted(0.3, sample::select(vec![json!({"branch": "dev"}), json!({"tag": "v1"})]));
    let place =
        (maybe(&["prod-eu", "prod-us", "dev", "gone"]), maybe(&["team-a", "team-a-x", "shared", "kube-system"]));
    let rest =
        (maybe(&["./x", "../x"]), maybe(&["5m", "10s"]), maybe(&["1d", "30d"]), option::weighted(0.15, images()));
    let extras = (
        option::weighted(0.1, Just(json!({"name": "mine"}))),
        option::weighted(0.3, Just(json!({"provider": "sops"}))),
    );
    (url, reference, place, rest, extras).prop_map(
        |(url, reference, (cluster, namespace), (path, interval, ttl, images), (secret, decryption))| {
            let helm = url.contains("charts");
            object(vec![
                (
                    "source",
                    Some(object(vec![
                        ("url", Some(json!(url))),
                        ("kind", helm.then(|| json!("Helm"))),
                        ("ref", reference.filter(|_| !helm)),
                        ("secretRef", secret),
                    ])),
                ),
                ("chart", helm.then(|| json!({"name": "redis"}))),
                ("cluster", cluster),
                ("namespace", namespace),
                ("path", path.filter(|_| !helm)),
                ("interval", interval),
                ("ttl", ttl),
                ("images", images.map(|images| json!(images))),
                ("decryption", decryption),
            ])
        },
    )
}

/// A FluxConfig in which every field is set.
pub fn full_config() -> impl Strategy<Value = Value> {
    Just(json!({
        "source": {
            "url": "https://git.example.com/team-a/shop", "ref": {"branch": "main"}, "secretRef": {"name": "mine"},
            "verify": {"secretRef": {"name": "keys"}, "matchOidcIdentity": [{"issuer": "i", "subject": "s"}]},
        },
        "path": "./", "cluster": "prod-eu", "namespace": "team-a", "images": ["**"],
        "interval": "5m", "retryInterval": "1m", "timeout": "1m", "ttl": "1d",
        "dependsOn": [{"name": "base"}], "substitute": {"name": "value"},
        "chart": {
            "name": "redis", "version": "1.x", "releaseName": "redis", "valuesFiles": ["x.yaml"],
            "valuesFrom": [{"kind": "Secret", "name": "values"}],
        },
        "decryption": {"provider": "sops", "secretRef": {"name": "sops"}},
        "imageUpdates": {"branch": "main", "path": "./", "images": [
            {"name": "x", "image": "ghcr.io/x/y", "policy": {"semver": {"range": "1.x"}}, "filterTags": {"pattern": ".*"}},
        ]},
        "notify": [{"channel": "ops"}],
    }))
    .prop_flat_map(|full| {
        // Without some of the fields that are not free texts but must be one of a few.
        (Just(full), any::<u32>()).prop_map(|(mut full, drop)| {
            let keys: Vec<String> = full.as_object().unwrap().keys().filter(|key| *key != "source").cloned().collect();
            for (index, key) in keys.into_iter().enumerate() {
                if drop >> index & 1 == 1 || ["decryption", "chart"].contains(&key.as_str()) && drop >> 20 & 1 == 1 {
                    full.as_object_mut().unwrap().remove(&key);
                }
            }
            full
        })
    })
}

pub fn case() -> impl Strategy<Value = Case> {
    let others = vec(
        (
            pick(&["team-a", "team-b"]),
            pick(&["other", "more", "older"]),
            maybe(&["shared", "team-a"]),
            option::weighted(0.8, 0..100_i64),
        )
            .prop_map(|(home, name, namespace, since)| {
                let source = json!({"url": "https://git.example.com/team-a/shop"});
                (config(home, name, object(vec![("source", Some(source)), ("namespace", namespace)])), since)
            }),
        0..3,
    );
    (vec(spec(false), 1..4), spec_of_config(), others, any::<bool>()).prop_map(|(specs, spec, others, gold)| Case {
        policies: std::iter::once(("base".to_owned(), base()))
            .chain(specs.into_iter().enumerate().map(|(index, spec)| (format!("p{index}"), spec)))
            .collect(),
        config: config("team-a", "shop", spec),
        others,
        gold,
    })
}
