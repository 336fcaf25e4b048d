//! Other tools that can check manifests against a policy, with a policy of the same meaning in their language. It is one text
//! in Rego; only where the object comes from differs.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::corpus::{PLATFORM, Verdicts};
use super::tool::Tool;

const VERDICT: &str = include_str!("policies/verdict.rego");
/// Package of the policy.
const PACKAGE: &str = "sluicegate";

/// A tool to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Opa,
    Conftest,
    Gator,
}

impl Peer {
    pub(super) const ALL: [Self; 3] = [Self::Opa, Self::Conftest, Self::Gator];

    /// Name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Opa => "opa exec",
            Self::Conftest => "conftest",
            Self::Gator => "gator",
        }
    }

    /// The program.
    pub(super) fn tool(self) -> Tool {
        match self {
            Self::Opa => Tool { name: "opa", folder: "opa", module: "github.com/open-policy-agent/opa", command: "" },
            Self::Conftest => Tool {
                name: "conftest",
                folder: "conftest",
                module: "github.com/open-policy-agent/conftest",
                command: "",
            },
            Self::Gator => Tool {
                name: "gator",
                folder: "gatekeeper",
                module: "github.com/open-policy-agent/gatekeeper/v3",
                command: "/cmd/gator",
            },
        }
    }

    /// Writes its policy to the folder `policy`, and returns the arguments with which it checks the folder `tenants`.
    pub(super) fn prepare(self, policy: &Path) -> anyhow::Result<Vec<OsString>> {
        fs::create_dir_all(policy)?;
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        match self {
            Self::Opa | Self::Conftest => {
                fs::write(policy.join("verdict.rego"), rego("input")?)?;
                let decision = format!("{PACKAGE}/deny");
                if self == Self::Opa {
                    add(&["exec", "--decision", &decision, "--bundle"]);
                } else {
                    add(&["test", "--output", "json", "--no-fail", "--namespace", PACKAGE, "--policy"]);
                }
                arguments.push(policy.into());
                arguments.push("tenants".into());
            }
            Self::Gator => {
                let violation = "violation contains {\"msg\": id} if some id in deny\n";
                let text = format!("{}\n{violation}", rego("input.review.object")?);
                fs::write(policy.join("template.json"), template(&text).to_string())?;
                fs::write(policy.join("constraint.json"), constraint().to_string())?;
                add(&["test", "--output", "json", "--filename", "tenants", "--filename"]);
                arguments.push(policy.into());
            }
        }
        Ok(arguments)
    }

    /// Whether this exit code says that the tool has done its work.
    pub(super) fn is_done(self, code: Option<i32>) -> bool {
        // gator has no way to say "violations are no failure".
        code == Some(0) || (self == Self::Gator && code == Some(1))
    }

    /// Reads the verdicts from its output; files that it says nothing about are not in it.
    pub(super) fn verdicts(self, output: &[u8]) -> anyhow::Result<Verdicts> {
        let output: Value = serde_json::from_slice(output).with_context(|| format!("output of {}", self.name()))?;
        let mut verdicts = Verdicts::new();
        let files = if self == Self::Opa { &output["result"] } else { &output };
        for entry in files.as_array().context("the output is no list")? {
            let (file, rules) = self.verdict(entry).with_context(|| format!("output of {}: {entry}", self.name()))?;
            if !rules.is_empty() {
                verdicts.entry(file).or_default().extend(rules);
            }
        }
        Ok(verdicts)
    }

    /// The file and the broken rules of one entry of the output.
    fn verdict(self, entry: &Value) -> Option<(String, Vec<String>)> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match self {
            Self::Opa => Some((text(&entry["path"])?, entry["result"].as_array()?.iter().filter_map(text).collect())),
            Self::Conftest => {
                let failures = entry["failures"].as_array().map_or(&[][..], Vec::as_slice);
                Some((text(&entry["filename"])?, failures.iter().filter_map(|failure| text(&failure["msg"])).collect()))
            }
            Self::Gator => {
                let metadata = &entry["violatingObject"]["metadata"];
                let file = format!("tenants/{}/{}.yaml", metadata["namespace"].as_str()?, metadata["name"].as_str()?);
                Some((file, vec![text(&entry["msg"])?]))
            }
        }
    }
}

/// The policy for a program that has the object at `object`.
fn rego(object: &str) -> anyhow::Result<String> {
    // JSON is Rego. As a constant of the policy it costs less at each query than as data would.
    let settings = serde_json::to_string_pretty(&settings()?)?;
    Ok(format!("package {PACKAGE}\n\nconfig := {object}\n\nsettings := {settings}\n\n{VERDICT}"))
}

/// Policies and clusters in the form that the Rego text wants.
fn settings() -> anyhow::Result<Value> {
    let platform: Value = serde_json::from_str(PLATFORM)?;
    let clusters: Vec<&Value> = items(&platform["clusters"]).map(|cluster| &cluster["metadata"]["name"]).collect();
    let mut policies = Vec::new();
    for policy in items(&platform["policies"]) {
        let spec = &policy["spec"];
        let sources = |kind: &str| -> anyhow::Result<Value> {
            let lists = &spec["sources"][kind];
            Ok(json!({"allow": sorted(&lists["allow"])?, "deny": sorted(&lists["deny"])?}))
        };
        let mut settings = json!({
            "tenants": spec["tenants"]["names"],
            "sources": {"git": sources("git")?, "oci": sources("oci")?},
            "destinations": items(&spec["destinations"]).collect::<Vec<_>>(),
            "defaults": {},
        });
        let given = [
            ("clusters", &spec["clusters"]["names"]),
            ("minInterval", &spec["limits"]["minInterval"]),
            ("defaults", &spec["defaults"]),
        ];
        for (key, value) in given.into_iter().filter(|(_, value)| !value.is_null()) {
            settings[key] = value.clone();
        }
        policies.push(settings);
    }
    Ok(json!({"clusters": clusters, "policies": policies}))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Patterns by what it takes to match them.
fn sorted(patterns: &Value) -> anyhow::Result<Value> {
    let (mut named, mut prefixes, mut globs) = (Vec::new(), Vec::new(), Vec::new());
    for pattern in items(patterns).filter_map(Value::as_str) {
        let prefix = pattern.strip_suffix("**").unwrap_or(pattern);
        match (prefix.contains('*'), prefix.contains("${"), prefix == pattern) {
            (true, false, _) => globs.push(pattern),
            (false, _, false) => prefixes.push(prefix),
            (false, false, true) => named.push(pattern),
            (_, true, _) => bail!("{pattern}: the peers' policy knows no pattern like this"),
        }
    }
    Ok(json!({"named": named, "prefixes": prefixes, "globs": globs}))
}

fn template(rego: &str) -> Value {
    json!({
        "apiVersion": "templates.gatekeeper.sh/v1",
        "kind": "ConstraintTemplate",
        "metadata": {"name": "fluxconfigverdict"},
        "spec": {
            "crd": {"spec": {"names": {"kind": "FluxConfigVerdict"}}},
            "targets": [{
                "target": "admission.k8s.gatekeeper.sh",
                "code": [{"engine": "Rego", "source": {"version": "v1", "rego": rego}}],
            }],
        },
    })
}

fn constraint() -> Value {
    json!({
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": "FluxConfigVerdict",
        "metadata": {"name": "platform"},
        "spec": {"match": {"kinds": [{"apiGroups": ["sluicegate.dev"], "kinds": ["FluxConfig"]}]}},
    })
}
