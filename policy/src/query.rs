//! Questions about a tenant without a FluxConfig: may it sync this, pull that, deploy there?

use sluicegate_crds::SourceKind;

use crate::{
    chart,
    facts::{Facts, LabelsOf},
    grammar::{Bindings, ClusterId, ImagePattern, NamespaceName, TenantName},
    image, placement,
    rule::Rule,
    set::{PolicySet, Selection},
    show, source,
    verdict::{FieldPath, PolicyField, Violation},
    workload::Lacks,
};

/// Field of a dependency that [`Question::Chart`] finds fault with.
pub const REPOSITORY: &str = "repository";
/// As [`REPOSITORY`].
pub const NAME: &str = "name";

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub enum Question<'q> {
    /// May an agent of the tenant sync from this URL?
    Sync {
        /// The URL, as it stands.
        url: &'q str,
        /// Kind of source; by the URL's scheme when absent.
        kind: Option<SourceKind>,
    },
    /// May a chart of the tenant depend on this one?
    Chart {
        /// URL of the repository, as it stands.
        url: &'q str,
        /// Name of the chart.
        name: &'q str,
    },
    /// May a pod of the tenant run this image?
    Pull {
        /// The image reference, as it stands.
        image: &'q str,
        /// Patterns with which the team narrows; empty: no narrowing.
        narrowing: &'q [ImagePattern],
    },
    /// May a Flux object that the tenant writes be without this?
    Bare {
        /// What it lacks.
        lacks: Lacks,
    },
    /// May the tenant deploy to this namespace?
    DeployTo {
        /// The namespace.
        namespace: &'q str,
    },
}

/// The answer for one cluster.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Yes, by this field of a policy.
    Yes(PolicyField),
    /// No.
    No(Box<Violation>),
    /// It cannot be told, since a fact is missing.
    Unknown(Box<Violation>),
}

fn answer(result: Result<PolicyField, Violation>) -> Answer {
    match result {
        Ok(field) => Answer::Yes(field),
        Err(violation) if violation.rule == Rule::UndeterminedSelector => Answer::Unknown(Box::new(violation)),
        Err(violation) => Answer::No(Box::new(violation)),
    }
}

/// Answers for each of the named cluster, or of all clusters that the tenant may deploy to.
///
/// `home` is the tenant's namespace on the management cluster: its labels decide which policies apply. `namespace` is the
/// target namespace that `${namespace}` stands for; the policies' default when absent. Where the tenant may not deploy, the
/// answer is no, whatever the question.
///
/// An empty list says that the tenant may not use any cluster that is known.
pub fn ask(
    question: Question<'_>,
    tenant: &TenantName,
    home: &str,
    cluster: Option<&str>,
    namespace: Option<&str>,
    policies: &PolicySet,
    facts: &Facts,
) -> Vec<(String, Answer)> {
    let selection = match policies.select(tenant, facts.labels(home)) {
        Ok(selection) => selection,
        Err(violation) => {
            return vec![(cluster.unwrap_or("*").to_owned(), answer(Err(violation)))];
        }
    };
    let everywhere = selection.everywhere();
    let clusters: Vec<&str> = match cluster {
        Some(wanted) => match facts.clusters().get_key_value(wanted) {
            Some((id, _)) => vec![&**id],
            None => {
                let violation =
                    Violation::new(Rule::UnknownCluster, "spec.cluster", format!("there is no cluster {wanted:?}"))
                        .value(wanted)
                        .allowed(facts.clusters().keys().map(ToString::to_string).collect())
                        .help("write the id of a FluxCluster that exists");
                return vec![(wanted.to_owned(), Answer::No(Box::new(violation)))];
            }
        },
        None => facts
            .clusters()
            .iter()
            .filter(|(id, cluster)| placement::usable(&everywhere, id, LabelsOf::Known(&cluster.labels)))
            .map(|(id, _)| &**id)
            .collect(),
    };
    clusters
        .into_iter()
        .map(|id| {
            let labels = facts.cluster_labels(id);
            let place = Place { tenant, id, labels, namespace };
            let answered = if placement::usable(&everywhere, id, labels) {
                one(question, &place, &everywhere, &selection.on(id, labels))
            } else {
                Err(placement::not_usable(&everywhere, tenant, id, facts))
            };
            (id.to_owned(), answer(answered))
        })
        .collect()
}

struct Place<'q> {
    tenant: &'q TenantName,
    id: &'q str,
    labels: LabelsOf<'q>,
    namespace: Option<&'q str>,
}

fn one(
    question: Question<'_>,
    place: &Place<'_>,
    everywhere: &Selection<'_>,
    policies: &Selection<'_>,
) -> Result<PolicyField, Violation> {
    let cluster =
        ClusterId::new(place.id).map_err(|error| bad_name("spec.cluster", place.id, &show::no_name(&error)))?;
    let allowed = |namespace: &str| {
        let namespace = NamespaceName::new(namespace)
            .map_err(|error| bad_name("spec.namespace", namespace, &show::no_name(&error)))?;
        placement::destination(everywhere, place.tenant, (&cluster, place.labels), &namespace, (true, true))
    };
    let namespace = match place.namespace {
        Some(namespace) => {
            allowed(namespace)?;
            namespace.to_owned()
        }
        None => placement::default_namespace(everywhere, place.tenant, &cluster)
            .map(|namespace| namespace.to_string())
            .unwrap_or_default(),
    };
    let bindings = Bindings { tenant: place.tenant.as_str(), namespace: &namespace, cluster: place.id };
    match question {
        Question::Sync { url, kind } => {
            let url = source::parse(url)?;
            let kind = source::kind(kind, &url)?;
            source::allow(kind.value, &url, policies, &bindings).map(|listed| listed.field())
        }
        Question::Chart { url, name } => {
            let of = |field: &'static str| move |violation: Violation| Violation { field: field.into(), ..violation };
            let url = source::parse(url).map_err(of(REPOSITORY))?;
            source::kind(Some(SourceKind::Helm), &url).map_err(of(REPOSITORY))?;
            let listed = source::allow(SourceKind::Helm, &url, policies, &bindings).map_err(of(REPOSITORY))?;
            chart::allow(name, &url, policies, &bindings).map_err(of(NAME))?;
            Ok(listed.field())
        }
        Question::Pull { image, narrowing } => {
            let field: FieldPath = "image".into();
            let parsed = image::parse(image, &field)?;
            image::allow(&parsed, image, policies, narrowing, &bindings, &field)
        }
        Question::Bare { lacks } => {
            source::bare(lacks, policies)?;
            let first = everywhere.iter().next().map(|policy| policy.field("spec.sources"));
            first.ok_or_else(|| Violation::new(Rule::NoPolicy, "spec", "no policy applies"))
        }
        Question::DeployTo { namespace } => Ok(allowed(namespace)?.allowed_by.field()),
    }
}

fn bad_name(field: &'static str, value: &str, error: &str) -> Violation {
    Violation::new(Rule::InvalidName, field, error.to_owned())
        .value(value)
        .help("lowercase letters, digits and - are allowed, at most 63 characters, and the first and last is no -")
}
