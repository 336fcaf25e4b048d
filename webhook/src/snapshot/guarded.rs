//! The namespaces of tenants on the cluster that the webhook runs on: what each may run and fetch, worked out beforehand.

use std::{collections::BTreeMap, sync::Arc};

use foldhash::{HashMap, HashMapExt as _};
use sluicegate_crds::{GuardMode, TENANT_LABEL};
use sluicegate_policy::{
    Facts, NamespacesByName, Placer, PolicySet,
    grammar::{ClusterId, ImagePattern, NamespaceName, TenantName},
    guard::{EXEMPT, Evaluator, Residents, Ward},
    violations,
};

use super::Configs;

/// What TenantGuards say of the agents in their namespaces, by namespace.
pub type ResidentsOf = BTreeMap<String, Residents>;

/// Tenants' namespaces here. Empty where the webhook is not this cluster's guard.
#[derive(Debug, Default)]
pub struct Guarded {
    enforces: bool,
    wards: HashMap<Arc<str>, Result<Evaluator, String>>,
}

/// What is known of a namespace.
#[derive(Clone, Copy, Debug)]
pub enum Standing<'s> {
    /// It is a tenant's: what it may.
    Judged(&'s Evaluator),
    /// It is a tenant's, and cannot be judged, for this reason.
    Closed(&'s str),
    /// It is no tenant's.
    Free,
}

impl Guarded {
    /// Works out what every namespace with a tenant's label may. `here` are the FluxClusters that say that they are the cluster
    /// that the webhook runs on; of several the first by name counts.
    pub fn new(
        here: &BTreeMap<String, GuardMode>,
        policies: &PolicySet,
        facts: &Facts,
        namespaces: &NamespacesByName,
        configs: &Configs,
        residents: &ResidentsOf,
    ) -> Self {
        let of_webhook = here.iter().find(|(_, mode)| **mode == GuardMode::Webhook);
        let Some(cluster) = of_webhook.and_then(|(id, _)| ClusterId::new(id).ok()) else { return Self::default() };
        let mut builder = Builder {
            cluster: &cluster,
            policies,
            facts,
            configs,
            homes: facts.homes_by_tenant(),
            placer: Placer::new(policies, facts),
        };
        let mut wards = HashMap::new();
        for (namespace, seen) in namespaces {
            if let Some(tenant) = seen.tenant_label().filter(|_| !EXEMPT.contains(&&**namespace)) {
                wards.insert(namespace.clone(), builder.ward(tenant, namespace, residents.get(&**namespace)));
            }
        }
        Self { enforces: true, wards }
    }

    /// Whether the webhook is the guard of the cluster that it runs on.
    pub fn enforces(&self) -> bool {
        self.enforces
    }

    /// What a namespace may.
    pub fn standing(&self, namespace: &str) -> Standing<'_> {
        match self.wards.get(namespace) {
            Some(Ok(evaluator)) => Standing::Judged(evaluator),
            Some(Err(why)) => Standing::Closed(why),
            None => Standing::Free,
        }
    }
}

struct Builder<'b> {
    cluster: &'b ClusterId,
    policies: &'b PolicySet,
    facts: &'b Facts,
    configs: &'b Configs,
    homes: BTreeMap<&'b str, &'b str>,
    placer: Placer<'b, 'b>,
}

impl Builder<'_> {
    fn ward(&mut self, label: &str, namespace: &str, residents: Option<&Residents>) -> Result<Evaluator, String> {
        let tenant = TenantName::new(label).map_err(|error| {
            format!(
                "metadata.labels[{TENANT_LABEL}] of namespace {namespace} is no name for a tenant: {}",
                error.reason()
            )
        })?;
        let name = NamespaceName::new(namespace).map_err(|error| error.reason().to_string())?;
        let residents = residents.ok_or_else(|| {
            format!(
                "namespace {namespace} has no TenantGuard yet, so nothing is allowed in it\n  help: the operator writes it \
                 within seconds; try again"
            )
        })?;
        let default = self.homes.get(label).copied();
        let keys = self.facts.deploying(&tenant, self.cluster, &name);
        let known = keys.filter_map(|(home, name)| self.configs.get(&(home.to_owned(), name.to_owned())));
        let mut configs: Vec<_> = known.collect();
        // Most tenants have one home and do not narrow; then it does not matter which of their FluxConfigs are admitted.
        let plain = |home: Option<&str>| home == default;
        if configs.iter().any(|config| !config.spec.images.is_empty() || !plain(config.metadata.namespace.as_deref())) {
            configs.retain(|config| violations(self.placer.place(config), self.facts).is_empty());
        }
        let mut homes: Vec<&str> = configs.iter().filter_map(|config| config.metadata.namespace.as_deref()).collect();
        if homes.is_empty() {
            homes.extend(default);
        }
        homes.sort_unstable();
        homes.dedup();
        let narrows = !configs.is_empty() && configs.iter().all(|config| !config.spec.images.is_empty());
        let patterns: Vec<ImagePattern> = configs
            .iter()
            .flat_map(|config| &config.spec.images)
            .filter_map(|pattern| ImagePattern::parse(pattern).ok())
            .collect();
        let ward = Ward {
            tenant: &tenant,
            homes: &homes,
            cluster: self.cluster,
            namespace: &name,
            narrowing: narrows.then_some(&patterns[..]),
        };
        Ok(Evaluator::new(&ward, residents.clone(), self.policies, self.facts))
    }
}
