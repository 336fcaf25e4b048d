//! Facts: what the engine has to know beside the object and the policies. Values only; whoever calls brings them, from
//! files or from a cluster's caches.

use std::collections::{BTreeMap, HashMap};

use sluicegate_crds::{FluxConfig, TENANT_LABEL};

use crate::{
    grammar::{ClusterId, NamespaceName, TenantName},
    set::PolicySet,
    verdict::ObjectRef,
};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// What is known of the labels of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelsOf<'a> {
    /// These, and no others.
    Known(&'a Labels),
    /// The namespace was not seen, so they are not known.
    Unknown,
}

/// What is done with a namespace that was not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unseen {
    /// Its labels are unknown: a selector over them cannot be answered. This is the case for files.
    #[default]
    Unknown,
    /// It has no labels, since all namespaces were seen. This is the case for a cluster's caches.
    Absent,
}

/// Place of a FluxConfig in time, for "the first keeps": seconds since the epoch of its creation. `None` where files do not
/// tell; then nobody is first.
pub type Since = Option<i64>;

/// The target that a FluxConfig claims, and the FluxConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who claims.
    pub tenant: TenantName,
    /// By which FluxConfig.
    pub config: ObjectRef,
    /// Since when.
    pub since: Since,
}

/// What one FluxConfig adds to the facts; made by [`Declaration::of`], taken by [`Facts::declare`].
#[derive(Clone, Debug)]
pub struct Declaration {
    tenant: Option<TenantName>,
    home: String,
    name: String,
    target: Option<(ClusterId, NamespaceName)>,
    depends_on: Vec<String>,
    since: Since,
}

impl Declaration {
    /// Reads what a FluxConfig adds to the facts. Namespaces and clusters must be in `facts` already.
    pub fn of(config: &FluxConfig, policies: &PolicySet, facts: &Facts, since: Since) -> Self {
        let home = config.metadata.namespace.clone().unwrap_or_default();
        let placement = crate::placement::place(config, policies, facts);
        Self {
            tenant: facts.tenant(&home),
            name: config.metadata.name.clone().unwrap_or_default(),
            target: placement.ok().map(|placement| (placement.cluster.value, placement.namespace.value)),
            depends_on: config.spec.depends_on.iter().map(|dependency| dependency.name.clone()).collect(),
            home,
            since,
        }
    }

    /// The tenant.
    pub fn tenant(&self) -> Option<&TenantName> {
        self.tenant.as_ref()
    }

    /// Cluster and namespace, where they could be told.
    pub fn target(&self) -> Option<&(ClusterId, NamespaceName)> {
        self.target.as_ref()
    }
}

#[derive(Clone, Debug, Default)]
struct Declared {
    depends_on: Vec<String>,
    times: u32,
    since: Since,
}

/// Everything that the engine knows beside the object and the policies.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    unseen: Unseen,
    namespaces: HashMap<String, Labels>,
    clusters: BTreeMap<String, Labels>,
    configs: HashMap<String, BTreeMap<String, Declared>>,
    by_tenant: HashMap<TenantName, Vec<(Since, String, String)>>,
    claims: HashMap<(ClusterId, NamespaceName), Vec<Claim>>,
    writer: Option<String>,
}

impl Facts {
    /// No facts yet.
    pub fn new(unseen: Unseen) -> Self {
        Self { unseen, ..Self::default() }
    }

    /// Adds a Namespace of the management cluster.
    pub fn namespace(&mut self, name: impl Into<String>, labels: Labels) {
        self.namespaces.insert(name.into(), labels);
    }

    /// Adds a FluxCluster.
    pub fn cluster(&mut self, id: impl Into<String>, labels: Labels) {
        self.clusters.insert(id.into(), labels);
    }

    /// Sets who writes the FluxConfig that is judged: the user name of the request.
    pub fn set_writer(&mut self, user: impl Into<String>) {
        self.writer = Some(user.into());
    }

    /// Adds a FluxConfig.
    pub fn declare(&mut self, declaration: Declaration) {
        let Declaration { tenant, home, name, target, depends_on, since } = declaration;
        if let Some(tenant) = &tenant {
            let list = self.by_tenant.entry(tenant.clone()).or_default();
            list.push((since, home.clone(), name.clone()));
        }
        if let (Some(tenant), Some(target)) = (tenant, target) {
            let config = ObjectRef { kind: "FluxConfig", namespace: home.clone(), name: name.clone() };
            // One is what nearly every target has.
            self.claims.entry(target).or_insert_with(|| Vec::with_capacity(1)).push(Claim { tenant, config, since });
        }
        let declared = self.configs.entry(home).or_default().entry(name).or_default();
        declared.depends_on.extend(depends_on);
        declared.times += 1;
        // Of an object that is declared twice neither is admitted, so it matters only that the order of files does not.
        declared.since = if declared.times > 1 { declared.since.min(since) } else { since };
    }

    /// To be called after the last [`Facts::declare`]: puts what was declared in an order that does not depend on the order
    /// of declaration.
    pub fn seal(&mut self) {
        for list in self.by_tenant.values_mut() {
            // Without a time, after those with one.
            list.sort_unstable_by(|a, b| {
                (a.0.unwrap_or(i64::MAX), &a.1, &a.2).cmp(&(b.0.unwrap_or(i64::MAX), &b.1, &b.2))
            });
            list.dedup_by(|a, b| a.1 == b.1 && a.2 == b.2);
        }
        for declared in self.configs.values_mut().flat_map(BTreeMap::values_mut).filter(|declared| declared.times > 1) {
            declared.depends_on.sort_unstable();
        }
        for list in self.claims.values_mut() {
            list.sort_unstable_by(|a, b| (&a.tenant, &a.config).cmp(&(&b.tenant, &b.config)));
        }
    }

    /// Name of the tenant that a namespace of the management cluster belongs to: the value of its label
    /// `sluicegate.dev/tenant`, or its own name. `None` where that is no DNS label.
    pub fn tenant(&self, namespace: &str) -> Option<TenantName> {
        let name = self.namespaces.get(namespace).and_then(|labels| labels.get(TENANT_LABEL));
        TenantName::new(name.map_or(namespace, String::as_str)).ok()
    }

    /// Labels of a namespace of the management cluster.
    pub fn labels(&self, namespace: &str) -> LabelsOf<'_> {
        static NONE: Labels = Labels::new();
        match (self.namespaces.get(namespace), self.unseen) {
            (Some(labels), _) => LabelsOf::Known(labels),
            (None, Unseen::Absent) => LabelsOf::Known(&NONE),
            (None, Unseen::Unknown) => LabelsOf::Unknown,
        }
    }

    /// A namespace of the management cluster that belongs to this tenant: the one of that name unless a label gives it to
    /// somebody else, or one that a label gives to it.
    pub fn home_of(&self, tenant: &TenantName) -> Option<&str> {
        let labelled =
            |(_, labels): &(&String, &Labels)| labels.get(TENANT_LABEL).is_some_and(|label| label == tenant.as_str());
        let mut homes: Vec<&str> = self.namespaces.iter().filter(labelled).map(|(name, _)| name.as_str()).collect();
        if let Some((name, labels)) = self.namespaces.get_key_value(tenant.as_str())
            && !labels.contains_key(TENANT_LABEL)
        {
            homes.push(name);
        }
        homes.into_iter().min()
    }

    /// All FluxClusters, by id.
    pub fn clusters(&self) -> &BTreeMap<String, Labels> {
        &self.clusters
    }

    /// Who writes.
    pub fn writer(&self) -> Option<&str> {
        self.writer.as_deref()
    }

    /// Tenants that have a FluxConfig.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantName> {
        self.by_tenant.keys()
    }

    /// Namespaces of the management cluster that were seen, or that hold a FluxConfig.
    pub fn homes(&self) -> impl Iterator<Item = &str> {
        let unseen = self.configs.keys().filter(|home| !self.namespaces.contains_key(*home));
        self.namespaces.keys().chain(unseen).map(String::as_str)
    }

    /// Who claims a target.
    pub(crate) fn claims(&self, target: &(ClusterId, NamespaceName)) -> &[Claim] {
        self.claims.get(target).map_or(&[], Vec::as_slice)
    }

    /// The names in `dependsOn` of a FluxConfig; `None` where there is no such FluxConfig.
    pub(crate) fn depends_on(&self, home: &str, name: &str) -> Option<&[String]> {
        self.configs.get(home)?.get(name).map(|declared| declared.depends_on.as_slice())
    }

    /// Names of the FluxConfigs in a namespace.
    pub(crate) fn names(&self, home: &str) -> impl Iterator<Item = &str> {
        self.configs.get(home).into_iter().flat_map(|configs| configs.keys().map(String::as_str))
    }

    /// How often an object was declared.
    pub fn times(&self, home: &str, name: &str) -> u32 {
        self.configs.get(home).and_then(|configs| configs.get(name)).map_or(0, |declared| declared.times)
    }

    /// Since when a FluxConfig exists.
    pub(crate) fn since(&self, home: &str, name: &str) -> Since {
        self.configs.get(home).and_then(|configs| configs.get(name)).and_then(|declared| declared.since)
    }

    /// Which of a tenant's FluxConfigs, counted from 0, this one is (the oldest first, then by name), and how many there
    /// are with it. One that was not declared comes as one that was just created.
    pub(crate) fn rank(&self, tenant: &TenantName, home: &str, name: &str) -> (usize, usize) {
        let list = self.by_tenant.get(tenant).map_or(&[][..], Vec::as_slice);
        let since = self.since(home, name).unwrap_or(i64::MAX);
        let key = (since, home, name);
        let rank = list.partition_point(|(s, h, n)| (s.unwrap_or(i64::MAX), h.as_str(), n.as_str()) < key);
        (rank, list.len() + usize::from(self.times(home, name) == 0))
    }
}
