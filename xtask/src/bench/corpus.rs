//! A platform repository to check: policies, clusters, tenants with their Namespaces, and any number of FluxConfigs, each in
//! its own file. 5 % of them are wrong, in a way that is known beforehand.
//!
//! The same size always gives the same bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

/// Policies and clusters, as objects in one JSON document: what the repository holds, and the data of the peers.
pub(super) const PLATFORM: &str = include_str!("policies/platform.json");

/// FluxConfigs of one tenant.
pub(super) const PER_TENANT: usize = 20;
/// One of so many FluxConfigs is wrong.
const ONE_IN: usize = 20;
const SEED: u64 = 0x5106_9a7e;

pub(super) const APPS: [&str; PER_TENANT] = [
    "accounts",
    "basket",
    "billing",
    "catalog",
    "checkout",
    "delivery",
    "exports",
    "gateway",
    "identity",
    "invoices",
    "ledger",
    "mailer",
    "metrics",
    "orders",
    "pricing",
    "reports",
    "returns",
    "search",
    "stock",
    "storefront",
];

/// Rule ids by file, for every FluxConfig; empty where it is admitted. Paths are relative to the repository, with `/`.
pub(super) type Verdicts = BTreeMap<String, Vec<String>>;

/// Ways in which a FluxConfig is wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    OtherTeam,
    DeniedPath,
    PlainHttp,
    UnknownCluster,
    ForeignNamespace,
    ShortInterval,
}

impl Fault {
    const ALL: [Self; 6] = [
        Self::OtherTeam,
        Self::DeniedPath,
        Self::PlainHttp,
        Self::UnknownCluster,
        Self::ForeignNamespace,
        Self::ShortInterval,
    ];

    /// The one rule that it breaks.
    fn rule(self) -> &'static str {
        match self {
            Self::OtherTeam | Self::PlainHttp => "source-not-allowed",
            Self::DeniedPath => "source-denied",
            Self::UnknownCluster => "unknown-cluster",
            Self::ForeignNamespace => "destination-not-allowed",
            Self::ShortInterval => "interval-too-short",
        }
    }
}

/// Writes a repository with so many FluxConfigs to the folder `root`, and returns what is to be found in it.
pub(super) fn write(root: &Path, configs: usize) -> anyhow::Result<Verdicts> {
    write_platform(root)?;
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut verdicts = Verdicts::new();
    let mut wrong = 0;
    let mut folder = String::new();
    for index in 0..configs {
        let app = index % PER_TENANT;
        let tenant = tenant(index / PER_TENANT);
        if app == 0 {
            folder = format!("tenants/{tenant}");
            fs::create_dir_all(root.join(&folder))?;
            put(root, &format!("{folder}/namespace.yaml"), &namespace(&tenant))?;
        }
        if index % ONE_IN == 0 {
            wrong = index + random.usize(..ONE_IN);
        }
        let mut config = Config::draw(&tenant, app, &mut random);
        let mut rules = Vec::new();
        if index == wrong {
            let fault = Fault::ALL[(index / ONE_IN) % Fault::ALL.len()];
            config.spoil(fault, &self::tenant(index / PER_TENANT + 1));
            rules.push(fault.rule().to_owned());
        }
        let path = format!("{folder}/{}.yaml", APPS[app]);
        put(root, &path, &config.to_string())?;
        verdicts.insert(path, rules);
    }
    Ok(verdicts)
}

fn write_platform(root: &Path) -> anyhow::Result<()> {
    let platform: BTreeMap<String, Vec<Value>> = serde_json::from_str(PLATFORM)?;
    for (folder, objects) in platform {
        fs::create_dir_all(root.join(&folder))?;
        for object in objects {
            let name = object["metadata"]["name"].as_str().context("an object of the platform has no name")?;
            put(root, &format!("{folder}/{name}.json"), &serde_json::to_string_pretty(&object)?)?;
        }
    }
    Ok(())
}

fn put(root: &Path, path: &str, text: &str) -> anyhow::Result<()> {
    fs::write(root.join(path), text).with_context(|| path.to_owned())
}

/// Four of five tenants are teams, the fifth does data science, under another policy.
fn tenant(index: usize) -> String {
    let kind = if index % 5 == 4 { "data" } else { "team" };
    format!("{kind}-{index:05}")
}

fn namespace(tenant: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {tenant}\n  labels:\n    example.com/tier: tenant\n")
}

/// A FluxConfig; written as YAML by [`fmt::Display`].
struct Config {
    tenant: String,
    app: &'static str,
    url: String,
    tag: Option<String>,
    branch: bool,
    path: Option<&'static str>,
    cluster: Option<&'static str>,
    namespace: Option<String>,
    interval: Option<&'static str>,
    labelled: bool,
    depends_on: Option<&'static str>,
    operational: bool,
}

impl Config {
    /// A good one: half of them minimal, the others more or less complete.
    fn draw(tenant: &str, app: usize, random: &mut fastrand::Rng) -> Self {
        let name = APPS[app];
        let fullness = random.u8(..10);
        let (some, all) = (fullness >= 5, fullness >= 8);
        let cluster = ["dev", "prod-eu", "prod-us"][random.usize(..3)];
        let group = if tenant.starts_with("data-") { "data/" } else { "" };
        let mut config = Self {
            tenant: tenant.to_owned(),
            app: name,
            url: format!("https://git.example.com/{group}{tenant}/{name}.git"),
            tag: None,
            branch: all,
            path: some.then_some("./deploy/overlays/live"),
            cluster: some.then_some(cluster),
            namespace: all.then(|| format!("{tenant}-{name}")),
            interval: some.then(|| ["5m", "10m", "1h"][random.usize(..3)]),
            labelled: all,
            depends_on: (some && app > 0).then(|| APPS[app.saturating_sub(1)]),
            operational: all,
        };
        match random.u8(..10) {
            0 => {
                config.url = format!("oci://registry.example.com/{group}{tenant}/{name}");
                config.tag = Some(format!("v{}.{}.{}", random.u8(..9), random.u8(..30), random.u8(..30)));
                config.branch = false;
            }
            1 => config.url = "https://git.example.com/platform/base-manifests".to_owned(),
            _ => {}
        }
        config
    }

    /// Makes it wrong in one way.
    fn spoil(&mut self, fault: Fault, other: &str) {
        let group = if self.tenant.starts_with("data-") { "data/" } else { "" };
        let (tenant, app) = (&self.tenant, self.app);
        let git = |rest: &str| format!("https://git.example.com/{group}{rest}/{app}.git");
        let url = match fault {
            Fault::OtherTeam => git(other),
            Fault::DeniedPath if group.is_empty() => git(&format!("{tenant}/attic")),
            Fault::DeniedPath => git(&format!("{tenant}/raw")),
            Fault::PlainHttp => git(tenant).replacen("https", "http", 1),
            Fault::UnknownCluster => {
                self.cluster = Some("prod-moon");
                return;
            }
            Fault::ForeignNamespace => {
                self.namespace = Some(other.to_owned());
                return;
            }
            Fault::ShortInterval => {
                self.interval = Some("10s");
                return;
            }
        };
        self.url = url;
        self.tag = None;
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, app, url, .. } = self;
        writeln!(f, "# {app}: deployed by {tenant}, on call by its rota.")?;
        f.write_str("apiVersion: sluicegate.dev/v1alpha1\nkind: FluxConfig\n")?;
        writeln!(f, "metadata:\n  name: {app}\n  namespace: {tenant}")?;
        if self.labelled {
            writeln!(f, "  labels:\n    example.com/app: {app}")?;
        }
        writeln!(f, "spec:\n  source:\n    url: {url}")?;
        match &self.tag {
            Some(tag) => writeln!(f, "    ref:\n      tag: {tag}")?,
            None if self.branch => f.write_str("    ref:\n      branch: main\n")?,
            None => {}
        }
        let namespace = self.namespace.as_deref();
        for (key, value) in
            [("path", self.path), ("cluster", self.cluster), ("namespace", namespace), ("interval", self.interval)]
        {
            if let Some(value) = value {
                writeln!(f, "  {key}: {value}")?;
            }
        }
        if self.operational {
            f.write_str("  timeout: 3m\n  prune: true\n")?;
        }
        if let Some(name) = self.depends_on {
            write!(f, "  dependsOn:\n    - name: {name}\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_twenty_is_wrong_and_every_way_occurs() {
        let folder = tempfile::tempdir().unwrap();
        let verdicts = write(folder.path(), 240).unwrap();
        assert_eq!(verdicts.len(), 240);
        let broken: Vec<&str> = verdicts.values().flatten().map(String::as_str).collect();
        assert_eq!(broken.len(), 12);
        for fault in Fault::ALL {
            assert!(broken.contains(&fault.rule()), "{fault:?}");
        }
    }

    #[test]
    fn the_same_size_gives_the_same_bytes() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let verdicts = write(one.path(), 60).unwrap();
        assert_eq!(verdicts, write(two.path(), 60).unwrap());
        for path in verdicts.keys() {
            assert_eq!(fs::read(one.path().join(path)).unwrap(), fs::read(two.path().join(path)).unwrap(), "{path}");
        }
    }

    #[test]
    fn files_have_the_size_of_real_ones() {
        let folder = tempfile::tempdir().unwrap();
        for path in write(folder.path(), 200).unwrap().keys() {
            let size = fs::metadata(folder.path().join(path)).unwrap().len();
            assert!((200..=480).contains(&size), "{path}: {size} bytes");
        }
    }
}
