//! Placement: where a FluxConfig goes. It comes first, from the policies that apply on every cluster, because which other
//! policies apply depends on it.

use std::sync::Arc;

use sluicegate_crds::FluxConfig;

use crate::{
    compile::{CompiledDestination, Listed, Templated},
    facts::{Cluster, Declaration, Facts, LabelsOf, Namespace, Since},
    grammar::{Bindings, ClusterId, NamespaceName, TenantName},
    rule::Rule,
    select::Selected,
    set::{PolicySet, Selection},
    show,
    verdict::{Field, Origin, Violation},
};

/// Where a FluxConfig goes.
#[derive(Clone, Debug)]
pub(crate) struct Placement<'p> {
    pub(crate) tenant: TenantName,
    pub(crate) cluster: Field<ClusterId>,
    pub(crate) namespace: Field<NamespaceName>,
    pub(crate) granted: Granted<'p>,
    /// The policies that apply there.
    pub(crate) policies: Selection<'p>,
}

impl Placement<'_> {
    pub(crate) fn bindings(&self) -> Bindings<'_> {
        Bindings {
            tenant: self.tenant.as_str(),
            namespace: self.namespace.value.as_str(),
            cluster: self.cluster.value.as_str(),
        }
    }
}

/// Where FluxConfigs go, one after the other. What the policies say of a namespace of the management cluster is kept until
/// another namespace comes: in files, and in most lists, those of a namespace stand together.
#[derive(Debug)]
pub struct Placer<'p, 'f> {
    policies: &'p PolicySet,
    facts: &'f Facts,
    last: Option<Home<'p>>,
}

/// A FluxConfig and where it goes, or why it goes nowhere; for [`decide_placed`](crate::decide_placed).
#[derive(Clone, Debug)]
pub struct Placed<'p> {
    pub(crate) config: &'p FluxConfig,
    home: Arc<str>,
    tenant: Option<TenantName>,
    pub(crate) placement: Result<Placement<'p>, Vec<Violation>>,
    pub(crate) writer: Option<&'p str>,
}

/// What policies say of a namespace of the management cluster.
#[derive(Debug)]
struct Home<'p> {
    name: Arc<str>,
    tenant: Option<TenantName>,
    selected: Result<Applicable<'p>, Violation>,
}

/// The policies that select a tenant.
#[derive(Debug)]
struct Applicable<'p> {
    all: Selection<'p>,
    everywhere: Selection<'p>,
    on: Vec<OnCluster<'p>>,
}

/// What the policies that select a tenant say of a cluster.
#[derive(Debug)]
struct OnCluster<'p> {
    id: ClusterId,
    policies: Selection<'p>,
    /// Where FluxConfigs go that name no namespace, once one went there.
    default: Option<(Field<NamespaceName>, Granted<'p>)>,
}

impl<'p> Home<'p> {
    fn of(name: &str, policies: &'p PolicySet, facts: &Facts) -> Self {
        let tenant = facts.tenant(name);
        let selected = match &tenant {
            None => Err(bad_tenant(name, facts)),
            Some(tenant) => policies.select(tenant, facts.labels(name)),
        };
        let selected = selected.map(|all| Applicable { everywhere: all.everywhere(), all, on: Vec::new() });
        Self { name: facts.home(name), tenant, selected }
    }
}

impl<'p, 'f> Placer<'p, 'f> {
    /// By these policies. Of the facts it asks for namespaces and clusters alone.
    pub fn new(policies: &'p PolicySet, facts: &'f Facts) -> Self {
        Self { policies, facts, last: None }
    }

    /// Decides where a FluxConfig goes, and whether its tenant may deploy there.
    pub fn place(&mut self, config: &'p FluxConfig) -> Placed<'p> {
        let name = config.metadata.namespace.as_deref().unwrap_or_default();
        let home = match self.last.take() {
            Some(home) if *home.name == *name => home,
            _ => Home::of(name, self.policies, self.facts),
        };
        let home = self.last.insert(home);
        let placement = match (&home.tenant, &mut home.selected) {
            (Some(tenant), Ok(selected)) => place(config, tenant, selected, self.facts),
            (_, Err(violation)) => Err(violation.clone()),
            (None, Ok(_)) => Err(bad_tenant(name, self.facts)),
        };
        Placed {
            config,
            home: Arc::clone(&home.name),
            tenant: home.tenant.clone(),
            placement: placement.map_err(|violation| vec![violation]),
            writer: None,
        }
    }
}

impl<'p> Placed<'p> {
    /// As written by this user, who must be one of those whom policies name. Files have no writer.
    pub fn written_by(self, user: &'p str) -> Self {
        Self { writer: Some(user), ..self }
    }

    /// What the FluxConfig adds to the facts.
    pub fn declaration(&self, since: Since) -> Declaration {
        let target = self.placement.as_ref().ok();
        let target = target.map(|place| (place.cluster.value.clone(), place.namespace.value.clone()));
        Declaration::new(self.config, Arc::clone(&self.home), self.tenant.clone(), target, since)
    }
}

fn place<'p>(
    config: &'p FluxConfig,
    tenant: &TenantName,
    selected: &mut Applicable<'p>,
    facts: &Facts,
) -> Result<Placement<'p>, Violation> {
    let Applicable { all, everywhere, on } = selected;
    let wanted = cluster(config, everywhere, facts)?;
    let known = match on.iter().position(|known| known.id.as_str() == wanted.value) {
        Some(at) => &mut on[at],
        None => {
            let id = existing(&wanted, everywhere, facts)?;
            let policies = all.on(id.as_str(), facts.cluster_labels(id.as_str()));
            on.push_mut(OnCluster { id, policies, default: None })
        }
    };
    let (namespace, granted) = match (&config.spec.namespace, &known.default) {
        (None, Some(default)) => default.clone(),
        _ => {
            let namespace = namespace(config, everywhere, tenant, &known.id)?;
            let set = (config.spec.cluster.is_some(), config.spec.namespace.is_some());
            let at = (&known.id, facts.cluster_labels(known.id.as_str()));
            let granted = destination(everywhere, tenant, at, &namespace.value, set)?;
            if config.spec.namespace.is_none() {
                known.default = Some((namespace.clone(), granted));
            }
            (namespace, granted)
        }
    };
    Ok(Placement {
        tenant: tenant.clone(),
        cluster: Field { value: known.id.clone(), origin: wanted.origin },
        namespace,
        granted,
        policies: known.policies.clone(),
    })
}

fn bad_tenant(home: &str, facts: &Facts) -> Violation {
    if home.is_empty() {
        return Violation::new(Rule::InvalidName, "metadata.namespace", "metadata.namespace is missing")
            .help("set it to your team's namespace on the management cluster: it says which team this is for");
    }
    if let Some((label, tenant)) = facts.seen(home).and_then(Namespace::home_label) {
        let message = format!("Namespace {home} names its tenant by the label {label}: {tenant:?} is no DNS label");
        return Violation::new(Rule::InvalidName, "metadata.namespace", message).value(home).help(
            "an administrator corrects the label: lowercase letters, digits and -, at most 63, the first and last no -",
        );
    }
    Violation::new(
        Rule::InvalidName,
        "metadata.namespace",
        "the namespace is the tenant's name, and this is no DNS label",
    )
    .value(home)
    .help("lowercase letters, digits and - are allowed, at most 63 characters, and the first and last is no -")
}

/// The cluster that is asked for; whether there is such a one is another question.
fn cluster<'p>(config: &'p FluxConfig, policies: &Selection<'p>, facts: &Facts) -> Result<Field<&'p str>, Violation> {
    match &config.spec.cluster {
        Some(cluster) => Ok(Field::config(cluster.as_str())),
        None => policies.highest("spec.defaults.cluster", |policy| policy.defaults()?.cluster.as_deref())?.ok_or_else(
            || {
                Violation::new(Rule::MissingCluster, "spec.cluster", "no cluster is given, and no policy has a default")
                    .allowed(usable_clusters(policies, facts))
                    .help("add spec.cluster with the id of a cluster")
            },
        ),
    }
}

/// The id of a cluster that exists.
fn existing(found: &Field<&str>, policies: &Selection<'_>, facts: &Facts) -> Result<ClusterId, Violation> {
    let Some((known, _)) = facts.clusters().get_key_value(found.value) else {
        let usable = usable_clusters(policies, facts);
        let closest = show::closest(found.value, usable.iter().map(String::as_str)).map(str::to_owned);
        let violation =
            Violation::new(Rule::UnknownCluster, "spec.cluster", format!("there is no cluster {:?}", found.value))
                .value(found.value)
                .allowed(usable);
        if let Origin::Policy(field) = &found.origin {
            return Err(violation
                .decided_by([field.clone()])
                .help("the name is a policy's default: an administrator corrects it or adds the FluxCluster")
                .help("until then, name another cluster in spec.cluster"));
        }
        return Err(match &closest {
            Some(closest) => violation.help(format!("did you mean {closest}?")),
            None => violation.help("write the id of a FluxCluster that exists"),
        }
        .suggestion(closest));
    };
    match ClusterId::shared(known) {
        Ok(id) => Ok(id),
        Err(error) => Err(Violation::new(Rule::InvalidName, "spec.cluster", show::no_name(&error))
            .value(found.value)
            .help("no cluster can have this name: write the id of a FluxCluster")),
    }
}

fn namespace(
    config: &FluxConfig,
    policies: &Selection<'_>,
    tenant: &TenantName,
    cluster: &ClusterId,
) -> Result<Field<NamespaceName>, Violation> {
    if let Some(namespace) = &config.spec.namespace {
        return match NamespaceName::new(namespace.as_str()) {
            Ok(name) => Ok(Field::config(name)),
            Err(error) => Err(Violation::new(Rule::InvalidName, "spec.namespace", show::no_name(&error))
                .value(namespace.as_str())
                .help("no namespace can have this name: write the name of the namespace to deploy to")),
        };
    }
    default(policies, tenant, cluster)
}

fn default(
    policies: &Selection<'_>,
    tenant: &TenantName,
    cluster: &ClusterId,
) -> Result<Field<NamespaceName>, Violation> {
    let bindings = Bindings { tenant: tenant.as_str(), cluster: cluster.as_str(), namespace: "" };
    let default = policies.highest("spec.defaults.namespace", |policy| {
        Some(Templated { text: policy.defaults()?.namespace.as_deref()?, template: policy.namespace.as_ref()? })
    })?;
    let Some(default) = default else {
        return Err(Violation::new(
            Rule::MissingNamespace,
            "spec.namespace",
            "no target namespace is given, and no policy has a default",
        )
        .allowed(allowed_destinations(policies, &bindings))
        .help("add spec.namespace with the namespace to deploy to"));
    };
    let origin = default.origin;
    let expanded = default.value.template.expand(&bindings).map_err(|error| error.to_string());
    match expanded.and_then(|text| NamespaceName::new(text).map_err(|error| show::no_name(&error))) {
        Ok(name) => Ok(Field { value: name, origin }),
        Err(error) => {
            let mut violation = Violation::new(
                Rule::InvalidName,
                "spec.namespace",
                format!("the policy's default {:?} gives no namespace: {error}", default.value.text),
            )
            .help("add spec.namespace with the namespace to deploy to");
            if let Origin::Policy(field) = origin {
                violation = violation.decided_by([field]);
            }
            Err(violation)
        }
    }
}

/// A destination that some policy allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted<'p> {
    pub(crate) allowed_by: Listed<'p>,
    create: Option<Listed<'p>>,
}

impl Granted<'_> {
    /// Whether the operator creates the namespace.
    pub(crate) fn create_namespace(&self) -> Field<bool> {
        match &self.create {
            Some(listed) => Field { value: true, origin: Origin::Policy(listed.field()) },
            None => Field::built_in(false),
        }
    }
}

/// The namespace that a FluxConfig goes to when it does not say; `None` where policies have no good default.
pub(crate) fn default_namespace(
    policies: &Selection<'_>,
    tenant: &TenantName,
    cluster: &ClusterId,
) -> Option<NamespaceName> {
    default(policies, tenant, cluster).ok().map(|field| field.value)
}

/// Whether some policy gives a destination on a cluster.
pub(crate) fn usable(policies: &Selection<'_>, cluster: &str, labels: LabelsOf<'_>) -> bool {
    let selects = |destination: &CompiledDestination| {
        destination.clusters.selects(cluster, labels, &Bindings::default()) == Selected::Yes
    };
    policies.iter().flat_map(|policy| &policy.destinations).any(selects)
}

/// Clusters on which some policy gives a destination.
fn usable_clusters(policies: &Selection<'_>, facts: &Facts) -> Vec<String> {
    let usable = |(id, cluster): &(&Arc<str>, &Cluster)| usable(policies, id, LabelsOf::Known(&cluster.labels));
    facts.clusters().iter().filter(usable).map(|(id, _)| id.to_string()).collect()
}

/// That no policy gives a destination on a cluster.
pub(crate) fn not_usable(policies: &Selection<'_>, tenant: &TenantName, cluster: &str, facts: &Facts) -> Violation {
    Violation::new(
        Rule::DestinationNotAllowed,
        "spec.cluster",
        format!("tenant {tenant} may not deploy to cluster {cluster}"),
    )
    .value(cluster)
    .allowed(usable_clusters(policies, facts))
    .help("choose a cluster that is allowed, or ask an administrator to add one to spec.destinations of a policy")
}

/// Whether a tenant may deploy to a namespace on a cluster.
///
/// `set` says whether the FluxConfig itself names cluster and namespace, for the place of the violation.
pub(crate) fn destination<'p>(
    policies: &Selection<'p>,
    tenant: &TenantName,
    (cluster, labels): (&ClusterId, LabelsOf<'_>),
    namespace: &NamespaceName,
    set: (bool, bool),
) -> Result<Granted<'p>, Violation> {
    let bindings = Bindings { tenant: tenant.as_str(), namespace: namespace.as_str(), cluster: cluster.as_str() };
    let reserved = reserved(namespace.as_str());
    let (mut allowed_at, mut create, mut cluster_allowed, mut only_wildcard) = (None, None, false, false);
    for policy in policies.iter() {
        for (index, destination) in policy.destinations.iter().enumerate() {
            if destination.clusters.selects(cluster.as_str(), labels, &Bindings::default()) != Selected::Yes {
                continue;
            }
            cluster_allowed = true;
            let mut matching =
                destination.namespaces.iter().filter(|pattern| pattern.matches(namespace.as_str(), &bindings));
            let matched = if reserved {
                let literal = matching.clone().any(|pattern| pattern.as_str() == namespace.as_str());
                only_wildcard |= !literal && matching.next().is_some();
                literal
            } else {
                matching.next().is_some()
            };
            if matched {
                let listed = Listed { policy, list: "spec.destinations", index };
                allowed_at.get_or_insert(listed);
                if destination.create_namespace {
                    create.get_or_insert(listed);
                }
            }
        }
    }
    if let Some(allowed_by) = allowed_at {
        return Ok(Granted { allowed_by, create });
    }
    if only_wildcard {
        return Err(Violation::new(
            Rule::ReservedNamespace,
            "spec.namespace",
            format!("{namespace} is a namespace of the platform; a wildcard does not reach it"),
        )
        .value(namespace.as_str())
        .help("choose another namespace")
        .help("if a team really maintains it, an administrator names it in full in spec.destinations"));
    }
    let allowed = allowed_destinations(policies, &bindings);
    let (rule_field, value) = if cluster_allowed || !set.0 {
        ("spec.namespace", namespace.as_str())
    } else {
        ("spec.cluster", cluster.as_str())
    };
    let violation = Violation::new(
        Rule::DestinationNotAllowed,
        rule_field,
        format!("tenant {tenant} may not deploy to namespace {namespace} on cluster {cluster}"),
    )
    .value(value);
    Err(if allowed.is_empty() {
        violation.help("no policy gives this tenant a destination: an administrator adds one to spec.destinations")
    } else {
        violation.allowed(allowed).help(if cluster_allowed {
            "choose a namespace that is allowed on this cluster, or ask an administrator to allow this one"
        } else {
            "choose a cluster that is allowed, or ask an administrator to allow this one"
        })
    })
}

fn allowed_destinations(policies: &Selection<'_>, bindings: &Bindings<'_>) -> Vec<String> {
    let mut allowed = Vec::new();
    for policy in policies.iter() {
        for destination in &policy.spec.destinations {
            let clusters = match (&*destination.clusters, &destination.cluster_selector) {
                ([], _) => "clusters selected by labels".to_owned(),
                (names, None) => names.join(", "),
                (names, Some(_)) => format!("{} (and selected by labels)", names.join(", ")),
            };
            for namespace in &destination.namespaces {
                allowed.push(format!("namespace {} on {clusters}", show::expanded(namespace, bindings)));
            }
        }
    }
    allowed.sort_unstable();
    allowed.dedup();
    allowed
}

/// Namespaces that hold the platform itself: a wildcard in a policy does not reach them, only their full name does.
pub(crate) fn reserved(namespace: &str) -> bool {
    namespace.starts_with("kube-") || namespace.starts_with("sluicegate") || namespace == "flux-system"
}
