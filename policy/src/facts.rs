//! Facts: what the engine has to know beside the object and the policies. Values only; whoever calls brings them, from
//! files or from a cluster's caches.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use foldhash::HashMap;
use sluicegate_crds::{FluxConfig, HOME_LABEL, TENANT_LABEL};

use crate::{
    grammar::{ClusterId, NamespaceName, TenantName},
    placement::{Placement, Placer},
    set::PolicySet,
    verdict::ObjectRef,
};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Who wrote the label [`TENANT_LABEL`] of a Namespace of the management cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LabelWriter {
    /// An administrator wrote it, or there is no such label.
    #[default]
    Administrator,
    /// Sluicegate wrote it on a namespace that somebody else had made.
    Sluicegate,
    /// Sluicegate made the namespace for a tenant's claim, so that no FluxConfig in it is older than that. Somebody may have
    /// taken the label away.
    Creator,
}

/// A Namespace of the management cluster, as the engine needs it. A clone shares the labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// All its labels.
    pub labels: Arc<Labels>,
    /// Who wrote the label [`TENANT_LABEL`].
    pub tenant_label_by: LabelWriter,
}

impl Namespace {
    /// The label of administrators that says whose the FluxConfigs in it are: its name and its value. [`HOME_LABEL`], or
    /// [`TENANT_LABEL`] where an administrator wrote that. What Sluicegate wrote says only what is deployed there.
    pub fn home_label(&self) -> Option<(&'static str, &str)> {
        let tenant = || match self.tenant_label_by {
            LabelWriter::Administrator => self.tenant_label().map(|tenant| (TENANT_LABEL, tenant)),
            LabelWriter::Sluicegate | LabelWriter::Creator => None,
        };
        self.labels.get(HOME_LABEL).map(|home| (HOME_LABEL, home.as_str())).or_else(tenant)
    }

    /// The label that says whose the workloads in it are: the value of [`TENANT_LABEL`].
    pub fn tenant_label(&self) -> Option<&str> {
        self.labels.get(TENANT_LABEL).map(String::as_str)
    }
}

/// As administrators label it, for example in a file.
impl From<Labels> for Namespace {
    fn from(labels: Labels) -> Self {
        Arc::new(labels).into()
    }
}

impl From<Arc<Labels>> for Namespace {
    fn from(labels: Arc<Labels>) -> Self {
        Self { labels, tenant_label_by: LabelWriter::Administrator }
    }
}

/// A FluxCluster, as the engine needs it. A clone shares the labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Whether it is the management cluster, on which FluxConfigs live.
    pub management: bool,
}

impl From<Labels> for Cluster {
    fn from(labels: Labels) -> Self {
        Arc::new(labels).into()
    }
}

impl From<Arc<Labels>> for Cluster {
    fn from(labels: Arc<Labels>) -> Self {
        Self { labels, management: false }
    }
}

/// Namespaces of the management cluster by name. A caller that keeps such a map shares names and labels with the [`Facts`]
/// that are made of it.
pub type NamespacesByName = BTreeMap<Arc<str>, Namespace>;

/// FluxClusters by id, shared in the same way.
pub type ClustersByName = BTreeMap<Arc<str>, Cluster>;

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

/// When the API server created a FluxConfig.
pub fn since(config: &FluxConfig) -> Since {
    config.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second())
}

/// What one FluxConfig adds to the facts; made by [`Declaration::of`], taken by [`Facts::declare`]. A clone shares its texts,
/// so facts are made anew from declarations that were kept in a few milliseconds for ten thousand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration(pub(crate) Arc<Declared>);

/// The texts of a [`Declaration`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) tenant: Option<TenantName>,
    pub(crate) home: Arc<str>,
    name: Arc<str>,
    pub(crate) target: Option<(ClusterId, NamespaceName)>,
    depends_on: Box<[String]>,
    pub(crate) since: Since,
}

impl Declaration {
    /// Reads what a FluxConfig adds to the facts. Namespaces and clusters must be in `facts` already.
    pub fn of(config: &FluxConfig, policies: &PolicySet, facts: &Facts, since: Since) -> Self {
        let mut placed = Placer::new(policies, facts).place(config);
        if let Ok(Placement { cluster, namespace, .. }) = &mut placed.placement {
            namespace.value = facts.target(&cluster.value, namespace.value.clone());
        }
        placed.declaration(since)
    }

    pub(crate) fn new(
        config: &FluxConfig,
        home: Arc<str>,
        tenant: Option<TenantName>,
        target: Option<(ClusterId, NamespaceName)>,
        since: Since,
    ) -> Self {
        Self(Arc::new(Declared {
            tenant,
            home,
            name: config.metadata.name.as_deref().unwrap_or_default().into(),
            target,
            depends_on: config.spec.depends_on.iter().map(|dependency| dependency.name.clone()).collect(),
            since,
        }))
    }

    /// Namespace of the FluxConfig on the management cluster.
    pub fn home(&self) -> &Arc<str> {
        &self.0.home
    }

    /// Name of the FluxConfig.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// The tenant.
    pub fn tenant(&self) -> Option<&TenantName> {
        self.0.tenant.as_ref()
    }

    /// Cluster and namespace, where they could be told.
    pub fn target(&self) -> Option<&(ClusterId, NamespaceName)> {
        self.0.target.as_ref()
    }
}

impl Declared {
    pub(crate) fn object(&self) -> ObjectRef {
        ObjectRef { kind: "FluxConfig", namespace: self.home.as_ref().to_owned(), name: self.name.as_ref().to_owned() }
    }
}

/// All declarations of one object: one, but for mistakes.
#[derive(Clone, Debug)]
struct Known {
    first: Arc<Declared>,
    times: u32,
    /// The earliest.
    since: Since,
    /// Where there are several: the names in `dependsOn` of all.
    depends_on: Option<Box<[String]>>,
}

/// A namespace of the management cluster.
#[derive(Clone, Debug)]
struct KnownNamespace {
    seen: Namespace,
    /// Whose the FluxConfigs in it are: by the administrators' label, else by its own name; none where that is no DNS label.
    tenant: Option<TenantName>,
}

/// The FluxConfigs in a namespace of the management cluster.
#[derive(Clone, Debug, Default)]
struct Lodgers {
    configs: BTreeMap<Arc<str>, Known>,
    /// Since when the oldest of them exists, with [`age`].
    since: Option<i64>,
}

/// Claims on namespaces, by tenant and name.
type Claims = HashMap<NamespaceName, Vec<Arc<Declared>>>;

/// Without a time, after those with one.
pub(crate) fn age(since: Since) -> i64 {
    since.unwrap_or(i64::MAX)
}

/// Everything that the engine knows beside the object and the policies. It does not depend on the order in which it was told.
///
/// Keys are names that come from files and objects. They are hashed with a seed of the process; whoever found names that
/// collide all the same would slow down the check of their own merge request.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    unseen: Unseen,
    namespaces: HashMap<Arc<str>, KnownNamespace>,
    clusters: ClustersByName,
    configs: HashMap<Arc<str>, Lodgers>,
    /// By age and name, each object once.
    by_tenant: HashMap<TenantName, Vec<(Since, Arc<Declared>)>>,
    /// On the management cluster, under whichever id.
    claims_here: Claims,
    /// On the other clusters.
    claims: BTreeMap<ClusterId, Claims>,
    /// Namespaces of the other clusters that carry a tenant's label, as far as they were seen: by cluster and name.
    labelled: HashMap<Arc<str>, HashMap<Arc<str>, Arc<str>>>,
}

impl Facts {
    /// No facts yet.
    pub fn new(unseen: Unseen) -> Self {
        Self { unseen, ..Self::default() }
    }

    /// Namespaces of the management cluster and FluxClusters; no FluxConfigs yet.
    pub fn of(unseen: Unseen, namespaces: &NamespacesByName, clusters: ClustersByName) -> Self {
        let mut facts = Self { clusters, ..Self::new(unseen) };
        for (name, namespace) in namespaces {
            facts.namespace(Arc::clone(name), namespace.clone());
        }
        facts
    }

    /// Adds a Namespace of the management cluster, or replaces what was known of it.
    pub fn namespace(&mut self, name: impl Into<Arc<str>>, namespace: impl Into<Namespace>) {
        let (name, seen) = (name.into(), namespace.into());
        let tenant = match seen.home_label() {
            Some((_, tenant)) if *tenant != *name => TenantName::new(tenant),
            Some(_) | None => TenantName::shared(&name),
        };
        self.namespaces.insert(name, KnownNamespace { tenant: tenant.ok(), seen });
    }

    /// Takes a Namespace of the management cluster out.
    pub fn no_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// Adds a FluxCluster. FluxConfigs are declared after it: what they claim on the management cluster is kept together.
    pub fn cluster(&mut self, id: impl Into<Arc<str>>, cluster: impl Into<Cluster>) {
        self.clusters.insert(id.into(), cluster.into());
    }

    /// Takes note of the label [`TENANT_LABEL`] of a namespace on a cluster that is not the management cluster; `None`: it has
    /// none. A claim of another tenant on a namespace with the label is void.
    pub fn tenant_label(&mut self, cluster: &str, namespace: &str, tenant: Option<&str>) {
        match tenant {
            Some(tenant) => {
                let labelled = match self.labelled.get_mut(cluster) {
                    Some(labelled) => labelled,
                    None => self.labelled.entry(cluster.into()).or_default(),
                };
                // Mostly a tenant's name is that of a namespace, or known already.
                let known = self.by_tenant.get_key_value(tenant).map(|(known, _)| known.text());
                labelled.insert(namespace.into(), known.unwrap_or_else(|| tenant.into()));
            }
            None => {
                if let Some(labelled) = self.labelled.get_mut(cluster) {
                    labelled.remove(namespace);
                }
            }
        }
    }

    /// The labels that [`tenant_label`](Self::tenant_label) took note of on a cluster: namespace and tenant.
    pub fn tenant_labels(&self, cluster: &str) -> impl Iterator<Item = (&str, &str)> {
        self.labelled.get(cluster).into_iter().flatten().map(|(namespace, tenant)| (&**namespace, &**tenant))
    }

    /// Forgets the labels of all namespaces on a cluster.
    pub fn no_tenant_labels(&mut self, cluster: &str) {
        self.labelled.remove(cluster);
    }

    /// Takes over what other facts know of labels on other clusters than the management cluster.
    #[must_use]
    pub fn with_tenant_labels_of(self, other: Facts) -> Self {
        Self { labelled: other.labelled, ..self }
    }

    /// Adds a FluxConfig.
    pub fn declare(&mut self, declaration: Declaration) {
        let Declaration(declared) = declaration;
        if let (Some(tenant), Some((cluster, namespace))) = (&declared.tenant, &declared.target) {
            let targets = match self.is_management(cluster.as_str()) {
                true => &mut self.claims_here,
                false => match self.claims.get_mut(cluster) {
                    Some(targets) => targets,
                    None => self.claims.entry(cluster.clone()).or_default(),
                },
            };
            let claims = match targets.get_mut(namespace) {
                Some(claims) => claims,
                // One is what nearly every target has.
                None => targets.entry(namespace.clone()).or_insert_with(|| Vec::with_capacity(1)),
            };
            let before = |claim: &Arc<Declared>| {
                (claim.tenant.as_ref(), &claim.home, &claim.name) < (Some(tenant), &declared.home, &declared.name)
            };
            let at = claims.partition_point(before);
            claims.insert(at, Arc::clone(&declared));
        }
        let lodgers = match self.configs.get_mut(&declared.home) {
            Some(lodgers) => lodgers,
            None => self.configs.entry(Arc::clone(&declared.home)).or_default(),
        };
        let mut since = declared.since;
        lodgers.since = Some(lodgers.since.map_or(age(since), |known| known.min(age(since))));
        match lodgers.configs.entry(Arc::clone(&declared.name)) {
            Entry::Vacant(free) => {
                free.insert(Known { first: Arc::clone(&declared), times: 1, since, depends_on: None });
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                // Of an object that is declared twice neither is admitted, so it matters only that the order of files does not.
                let before = known.depends_on.take().unwrap_or_else(|| known.first.depends_on.clone());
                let mut depends_on = Vec::from(before);
                depends_on.extend(declared.depends_on.iter().cloned());
                depends_on.sort_unstable();
                known.depends_on = Some(depends_on.into());
                known.times += 1;
                since = if age(since) < age(known.since) { since } else { known.since };
                known.since = since;
                let earlier = declared.tenant.as_ref().and_then(|tenant| self.by_tenant.get_mut(tenant));
                if let Some(list) = earlier {
                    list.retain(|(_, other)| (&other.home, &other.name) != (&declared.home, &declared.name));
                }
            }
        }
        let Some(tenant) = &declared.tenant else { return };
        let list = match self.by_tenant.get_mut(tenant) {
            Some(list) => list,
            None => self.by_tenant.entry(tenant.clone()).or_default(),
        };
        let key = (age(since), &*declared.home, &*declared.name);
        // They mostly come in order.
        let after = |(since, other): &(Since, Arc<Declared>)| (age(*since), &*other.home, &*other.name) < key;
        let at = if list.last().is_none_or(after) { list.len() } else { list.partition_point(after) };
        list.insert(at, (since, Arc::clone(&declared)));
    }

    /// Name of the tenant whose the FluxConfigs in a namespace of the management cluster are: the value of the administrators'
    /// label ([`Namespace::home_label`]), or its own name. `None` where that is no DNS label.
    pub fn tenant(&self, namespace: &str) -> Option<TenantName> {
        match self.namespaces.get(namespace) {
            Some(known) => known.tenant.clone(),
            None => TenantName::new(namespace).ok(),
        }
    }

    /// Labels of a namespace of the management cluster.
    pub fn labels(&self, namespace: &str) -> LabelsOf<'_> {
        static NONE: Labels = Labels::new();
        match (self.namespaces.get(namespace), self.unseen) {
            (Some(known), _) => LabelsOf::Known(&known.seen.labels),
            (None, Unseen::Absent) => LabelsOf::Known(&NONE),
            (None, Unseen::Unknown) => LabelsOf::Unknown,
        }
    }

    /// A namespace of the management cluster that is a home of this tenant, or could be: one that a label gives to it, or the
    /// one of its name unless a label gives that to somebody else.
    pub fn home_of(&self, tenant: &TenantName) -> Option<&str> {
        let labelled = |(_, known): &(&Arc<str>, &KnownNamespace)| {
            known.seen.home_label().is_some_and(|(_, home)| home == tenant.as_str())
        };
        let mut homes: Vec<&str> = self.namespaces.iter().filter(labelled).map(|(name, _)| &**name).collect();
        if let Some((name, known)) = self.namespaces.get_key_value(tenant.as_str())
            && known.tenant.as_ref() == Some(tenant)
            && known.seen.tenant_label().is_none_or(|label| label == tenant.as_str())
        {
            homes.push(name);
        }
        homes.into_iter().min()
    }

    /// [`home_of`](Self::home_of) for every tenant that has one, found in one go.
    pub fn homes_by_tenant(&self) -> BTreeMap<&str, &str> {
        let mut homes: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, known) in &self.namespaces {
            let tenant = match (known.seen.home_label(), known.seen.tenant_label()) {
                (Some((_, home)), _) => home,
                (None, Some(other)) if *other != **name => continue,
                (None, _) => name,
            };
            let home = homes.entry(tenant).or_insert(name);
            *home = (*home).min(name);
        }
        homes
    }

    /// The FluxConfigs of a tenant that deploy to a namespace, or would: namespace and name of each.
    pub fn deploying<'f>(
        &'f self,
        tenant: &'f TenantName,
        cluster: &ClusterId,
        namespace: &NamespaceName,
    ) -> impl Iterator<Item = (&'f str, &'f str)> {
        let of_tenant = move |claim: &&Arc<Declared>| claim.tenant.as_ref() == Some(tenant);
        self.claims(cluster.as_str(), namespace.as_str())
            .iter()
            .filter(of_tenant)
            .map(|claim| (&*claim.home, &*claim.name))
    }

    /// Labels of a FluxCluster.
    pub fn cluster_labels(&self, id: &str) -> LabelsOf<'_> {
        self.clusters.get(id).map_or(LabelsOf::Unknown, |cluster| LabelsOf::Known(&cluster.labels))
    }

    /// All FluxClusters, by id.
    pub fn clusters(&self) -> &ClustersByName {
        &self.clusters
    }

    /// Whether a FluxCluster is the management cluster.
    pub fn is_management(&self, id: &str) -> bool {
        self.clusters.get(id).is_some_and(|cluster| cluster.management)
    }

    /// The FluxConfigs of a tenant: namespace and name of each.
    pub fn configs_of(&self, tenant: &TenantName) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.by_tenant.get(tenant).into_iter().flatten().map(|(_, declared)| (&declared.home, &declared.name))
    }

    /// The FluxConfigs that claim a namespace on a cluster, of all tenants: namespace and name of each.
    pub fn claiming(&self, cluster: &str, namespace: &str) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.claims(cluster, namespace).iter().map(|declared| (&declared.home, &declared.name))
    }

    /// The tenants of the FluxConfigs that claim a namespace on a cluster, each as often as it has one there.
    pub fn claimants(&self, cluster: &str, namespace: &str) -> impl Iterator<Item = &TenantName> {
        self.claims(cluster, namespace).iter().filter_map(|declared| declared.tenant.as_ref())
    }

    /// The FluxConfigs that live in a namespace of the management cluster: namespace and name of each.
    pub fn living_in(&self, namespace: &str) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        let (home, lodgers) = self.configs.get_key_value(namespace).unzip();
        home.into_iter().flat_map(move |home| {
            lodgers.into_iter().flat_map(move |found| found.configs.keys().map(move |name| (home, name)))
        })
    }

    /// The FluxConfigs that claim a namespace of the management cluster, of all tenants: namespace and name of each.
    pub fn claiming_here(&self, namespace: &str) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.claims_here(namespace).iter().map(|declared| (&declared.home, &declared.name))
    }

    /// Tenants that have a FluxConfig.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantName> {
        self.by_tenant.keys()
    }

    /// Namespaces of the management cluster that were seen, or that hold a FluxConfig.
    pub fn homes(&self) -> impl Iterator<Item = &str> {
        let homes = self.configs.keys().map(|home| &**home);
        let unseen = homes.filter(|home| !self.namespaces.contains_key(*home));
        self.namespaces.keys().map(|name| &**name).chain(unseen)
    }

    /// The name of a namespace of the management cluster, shared with these facts where they have it.
    pub(crate) fn home(&self, name: &str) -> Arc<str> {
        self.namespaces.get_key_value(name).map_or_else(|| name.into(), |(known, _)| Arc::clone(known))
    }

    /// Namespace and name of a FluxConfig, shared with its declaration where it has one.
    pub(crate) fn name(&self, home: &str, name: &str) -> (Arc<str>, Arc<str>) {
        match self.known(home, name) {
            Some(Known { first, .. }) => (Arc::clone(&first.home), Arc::clone(&first.name)),
            None => (self.home(home), name.into()),
        }
    }

    /// The same target namespace, shared with the declarations that go there.
    pub(crate) fn target(&self, cluster: &ClusterId, namespace: NamespaceName) -> NamespaceName {
        let known = self.targets(cluster.as_str()).and_then(|targets| targets.get_key_value(&namespace));
        known.map_or(namespace, |(known, _)| known.clone())
    }

    fn targets(&self, cluster: &str) -> Option<&Claims> {
        if self.is_management(cluster) { Some(&self.claims_here) } else { self.claims.get(cluster) }
    }

    /// The FluxConfigs that claim a namespace on a cluster.
    pub(crate) fn claims(&self, cluster: &str, namespace: &str) -> &[Arc<Declared>] {
        self.targets(cluster).and_then(|targets| targets.get(namespace)).map_or(&[], Vec::as_slice)
    }

    /// The FluxConfigs that claim a namespace of the management cluster.
    pub(crate) fn claims_here(&self, namespace: &str) -> &[Arc<Declared>] {
        self.claims_here.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// The tenant's label of a namespace on a cluster that is not the management cluster.
    pub fn tenant_label_of(&self, cluster: &str, namespace: &str) -> Option<&str> {
        self.labelled.get(cluster)?.get(namespace).map(|tenant| &**tenant)
    }

    /// A namespace of the management cluster, where it was seen.
    pub(crate) fn seen(&self, namespace: &str) -> Option<&Namespace> {
        self.namespaces.get(namespace).map(|known| &known.seen)
    }

    /// The age of the oldest FluxConfig in a namespace of the management cluster, as [`age`] has it; `None` where there is none.
    pub(crate) fn lived_in_since(&self, namespace: &str) -> Option<i64> {
        self.configs.get(namespace)?.since
    }

    fn known(&self, home: &str, name: &str) -> Option<&Known> {
        self.configs.get(home)?.configs.get(name)
    }

    /// The names in `dependsOn` of a FluxConfig; `None` where there is no such FluxConfig.
    pub(crate) fn depends_on(&self, home: &str, name: &str) -> Option<&[String]> {
        let known = self.known(home, name)?;
        Some(known.depends_on.as_deref().unwrap_or(&known.first.depends_on))
    }

    /// Names of the FluxConfigs in a namespace.
    pub(crate) fn names(&self, home: &str) -> impl Iterator<Item = &str> {
        self.configs.get(home).into_iter().flat_map(|lodgers| lodgers.configs.keys().map(|name| &**name))
    }

    /// How often an object was declared.
    pub fn times(&self, home: &str, name: &str) -> u32 {
        self.known(home, name).map_or(0, |known| known.times)
    }

    /// Since when a FluxConfig exists.
    pub(crate) fn since(&self, home: &str, name: &str) -> Since {
        self.known(home, name)?.since
    }

    /// Which of a tenant's FluxConfigs, counted from 0, this one is (the oldest first, then by name), and how many there
    /// are with it; `None` where it is among the first `most`. One that was not declared comes as one that was just created.
    pub(crate) fn beyond(&self, most: usize, tenant: &TenantName, home: &str, name: &str) -> Option<(usize, usize)> {
        let list = self.by_tenant.get(tenant).map_or(&[][..], Vec::as_slice);
        // Nearly every tenant has fewer than it may have.
        if list.len() < most {
            return None;
        }
        let known = self.known(home, name);
        let key = (age(known.and_then(|known| known.since)), home, name);
        let rank = list.partition_point(|(since, other)| (age(*since), &*other.home, &*other.name) < key);
        (rank >= most).then(|| (rank, list.len() + usize::from(known.is_none())))
    }
}
