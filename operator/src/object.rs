//! Objects as they are applied, and what orders them: kinds, keys, owners, stages.

use std::{collections::BTreeMap, fmt, sync::Arc};

use kube::core::ApiResource;
use serde_json::Value;
use sluicegate_crds::TENANT_LABEL;
/// Labels of what is rendered. Whatever selects an agent's pods selects by [`PART_OF_LABEL`], as the namespace may hold pods of
/// others.
pub use sluicegate_crds::{
    AGENT_LABEL, AGENT_PODS, CONFIG_LABEL, HOME_LABEL, MANAGED_BY_LABEL, MANAGER, PART_OF_LABEL,
};
use sluicegate_policy::verdict::Resolved;

/// All field managers of Sluicegate: that of a suspension is no part of a manifest, and ends with the first apply that does
/// not ask for it.
pub const MANAGERS: [&str; 2] = [MANAGER, SUSPENDER];
/// Field manager of a suspension.
pub const SUSPENDER: &str = "sluicegate-suspend";
/// Annotation by which people ask Flux to reconcile now; that of a FluxConfig is passed on to its objects.
pub const REQUESTED_AT_ANNOTATION: &str = "reconcile.fluxcd.io/requestedAt";
/// Label of an agent's pods with the controller's name.
pub const CONTROLLER_LABEL: &str = "app.kubernetes.io/name";

/// `source.toolkit.fluxcd.io/v1` HelmChart, which helm-controller makes and Sluicegate only reads.
pub fn helm_chart() -> ApiResource {
    ApiResource { kind: "HelmChart".to_owned(), plural: "helmcharts".to_owned(), ..Kind::HelmRepository.api_resource() }
}

/// The FluxConfig that an object's labels name.
pub fn labelled_config(object: &Value) -> Option<ConfigKey> {
    let label = |name: &str| object["metadata"]["labels"][name].as_str();
    Some(ConfigKey::new(label(HOME_LABEL)?, label(CONFIG_LABEL)?))
}

/// When an object is applied; removal goes the other way, and nothing is removed before what stands on it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Namespaces.
    Namespace,
    /// Accounts, roles and their bindings, network policies, quotas.
    Access,
    /// Copies of Secrets and ConfigMaps.
    Credential,
    /// Services and Deployments of an agent.
    Agent,
    /// Flux sources, image and notification objects.
    Source,
    /// Kustomizations and HelmReleases: what deploys the team's objects, and deletes them.
    Delivery,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident => $group:literal $version:literal $name:literal $plural:literal $stage:ident $namespaced:literal;)*) => {
        /// Every kind of object that is rendered. A closed set: the operator's rights and watches are made from it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// API group; empty for the core group.
            pub const fn group(self) -> &'static str { match self { $(Kind::$kind => $group,)* } }
            /// Version that is emitted.
            pub const fn version(self) -> &'static str { match self { $(Kind::$kind => $version,)* } }
            /// Name, as in `kind:`.
            pub const fn name(self) -> &'static str { match self { $(Kind::$kind => $name,)* } }
            /// Name in URLs and RBAC rules.
            pub const fn plural(self) -> &'static str { match self { $(Kind::$kind => $plural,)* } }
            /// When it is applied.
            pub const fn stage(self) -> Stage { match self { $(Kind::$kind => Stage::$stage,)* } }
            /// Whether objects of it live in a namespace.
            pub const fn namespaced(self) -> bool { match self { $(Kind::$kind => $namespaced,)* } }
        }
    };
}

kinds! {
    /// `v1` Namespace.
    Namespace => "" "v1" "Namespace" "namespaces" Namespace false;
    /// `v1` ServiceAccount.
    ServiceAccount => "" "v1" "ServiceAccount" "serviceaccounts" Access true;
    /// `rbac.authorization.k8s.io/v1` RoleBinding. Before Roles: the operator binds itself to what it then gives to a Role.
    RoleBinding => "rbac.authorization.k8s.io" "v1" "RoleBinding" "rolebindings" Access true;
    /// `rbac.authorization.k8s.io/v1` Role.
    Role => "rbac.authorization.k8s.io" "v1" "Role" "roles" Access true;
    /// `networking.k8s.io/v1` NetworkPolicy.
    NetworkPolicy => "networking.k8s.io" "v1" "NetworkPolicy" "networkpolicies" Access true;
    /// `v1` ResourceQuota.
    ResourceQuota => "" "v1" "ResourceQuota" "resourcequotas" Access true;
    /// `v1` Secret.
    Secret => "" "v1" "Secret" "secrets" Credential true;
    /// `v1` ConfigMap.
    ConfigMap => "" "v1" "ConfigMap" "configmaps" Credential true;
    /// `v1` Service.
    Service => "" "v1" "Service" "services" Agent true;
    /// `apps/v1` Deployment.
    Deployment => "apps" "v1" "Deployment" "deployments" Agent true;
    /// `source.toolkit.fluxcd.io/v1` GitRepository.
    GitRepository => "source.toolkit.fluxcd.io" "v1" "GitRepository" "gitrepositories" Source true;
    /// `source.toolkit.fluxcd.io/v1` OCIRepository.
    OciRepository => "source.toolkit.fluxcd.io" "v1" "OCIRepository" "ocirepositories" Source true;
    /// `source.toolkit.fluxcd.io/v1` HelmRepository.
    HelmRepository => "source.toolkit.fluxcd.io" "v1" "HelmRepository" "helmrepositories" Source true;
    /// `source.toolkit.fluxcd.io/v1` Bucket.
    Bucket => "source.toolkit.fluxcd.io" "v1" "Bucket" "buckets" Source true;
    /// `kustomize.toolkit.fluxcd.io/v1` Kustomization.
    Kustomization => "kustomize.toolkit.fluxcd.io" "v1" "Kustomization" "kustomizations" Delivery true;
    /// `helm.toolkit.fluxcd.io/v2` HelmRelease.
    HelmRelease => "helm.toolkit.fluxcd.io" "v2" "HelmRelease" "helmreleases" Delivery true;
}

impl Kind {
    /// Kinds whose objects are copied to agents.
    pub const COPIED: [Kind; 2] = [Kind::Secret, Kind::ConfigMap];

    /// `apiVersion` as it stands in a manifest.
    pub fn api_version(self) -> String {
        if self.group().is_empty() { self.version().to_owned() } else { format!("{}/{}", self.group(), self.version()) }
    }

    /// For kube's dynamic API.
    pub fn api_resource(self) -> ApiResource {
        ApiResource {
            group: self.group().to_owned(),
            version: self.version().to_owned(),
            api_version: self.api_version(),
            kind: self.name().to_owned(),
            plural: self.plural().to_owned(),
        }
    }

    /// Whether Flux reconciles it.
    pub const fn is_flux(self) -> bool {
        matches!(self.stage(), Stage::Source | Stage::Delivery)
    }

    /// Whether it is one of [`COPIED`](Self::COPIED).
    pub fn is_copied(self) -> bool {
        Self::COPIED.contains(&self)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for Namespaces.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}/{}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// Which FluxConfig. There is one in every index of what is and should be, so that clones share their texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigKey {
    /// Its namespace on the management cluster.
    pub home: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ConfigKey {
    /// Of this name, in this namespace of the management cluster.
    pub fn new(home: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { home: home.into(), name: name.into() }
    }

    /// Of what was decided about it.
    pub fn of(resolved: &Resolved) -> Self {
        Self::new(resolved.home.clone(), resolved.name.clone())
    }
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.home, self.name)
    }
}

/// For whom an object is there. It goes when the last FluxConfig goes that needs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The agent: for all that it serves.
    Agent,
    /// A tenant in the agent: for all of its FluxConfigs there.
    Tenant(String),
    /// One FluxConfig.
    Config {
        /// Its tenant.
        tenant: String,
        /// The FluxConfig.
        config: ConfigKey,
    },
}

impl Owner {
    /// The labels of what it owns in an agent, [`MANAGED_BY_LABEL`] and [`AGENT_LABEL`] included.
    pub fn labels(&self, agent_namespace: &str) -> BTreeMap<&'static str, String> {
        let mut labels =
            BTreeMap::from([(MANAGED_BY_LABEL, MANAGER.to_owned()), (AGENT_LABEL, agent_namespace.to_owned())]);
        match self {
            Owner::Agent => {}
            Owner::Tenant(tenant) => {
                labels.insert(TENANT_LABEL, tenant.clone());
            }
            Owner::Config { tenant, config } => {
                labels.insert(TENANT_LABEL, tenant.clone());
                labels.insert(HOME_LABEL, config.home.to_string());
                labels.insert(CONFIG_LABEL, config.name.to_string());
            }
        }
        labels
    }

    /// The FluxConfig that owns it, if one does.
    pub fn config(&self) -> Option<&ConfigKey> {
        match self {
            Owner::Config { config, .. } => Some(config),
            Owner::Agent | Owner::Tenant(_) => None,
        }
    }

    /// Whether what `self` owns is part of what `other` owns: a FluxConfig is in its tenant, a tenant in its agent.
    pub fn within(&self, other: &Owner) -> bool {
        match (self, other) {
            (_, Owner::Agent) => true,
            (Owner::Tenant(tenant) | Owner::Config { tenant, .. }, Owner::Tenant(other)) => tenant == other,
            (Owner::Config { config, .. }, Owner::Config { config: other, .. }) => config == other,
            (Owner::Agent, Owner::Tenant(_) | Owner::Config { .. }) | (Owner::Tenant(_), Owner::Config { .. }) => false,
        }
    }
}

/// An object as it is applied: the fields that Sluicegate owns, and nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Which.
    pub key: Key,
    /// For whom. Its labels say the same.
    pub owner: Owner,
    /// The manifest, labels included, in the form in which the API server stores it: no nulls, no empty lists or maps that
    /// mean the same as their absence, quantities in canonical form.
    pub manifest: Value,
}
