//! From a question and a snapshot to the answer. Pure but for the time that it may take.
//!
//! A file a kind; `guard` is everything in tenants' namespaces. What is allowed is the engine's to say ([`sluicegate_policy`]); here is only what admission adds: what a
//! request changes, and therefore what of the verdict counts. Of an update counts what is new: a policy that shrinks must not
//! block finalizers, labels, or a team that takes one step in the right direction.

mod flux_cluster;
mod flux_config;
mod flux_policy;
mod guard;
mod impact;
mod namespace;

use std::{borrow::Cow, time::Instant};

use serde::{Deserialize, de::DeserializeOwned};
use sluicegate_crds::GROUP;
use sluicegate_policy::{Labels, guard::reserved_name, text};

use crate::{
    review::{Answer, FLUX_CONFIGS, Object, Operation, Reading, Request},
    snapshot::Snapshot,
};

/// What the paths of [`Hook::Refuse`] begin with.
const REFUSE: &str = "/refuse/";

/// What the API server wants of an object: by the path that it asks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `/complete`: fill in the blanks.
    Complete,
    /// `/validate`: say whether it is allowed.
    Validate,
    /// `/guard`: judge what is run, fetched or entered in a tenant's namespace.
    Guard,
    /// `/refuse/<policy of the guard>`: refuse what belongs to Sluicegate. The API server has found out in match conditions that
    /// it is, and that whoever asks is nobody who may.
    Refuse(&'static str),
    /// `/tenant-label`: refuse. The webhook configuration sends here who may not change the labels of a Namespace that name
    /// a tenant; the API server's own authorizer has found that out.
    TenantLabel,
    /// `/namespace-name`: refuse. The API server has found out that a new Namespace has a name that is kept for agents, and that
    /// the user may not administer.
    NamespaceName,
}

impl Hook {
    /// The hook that is served at a path.
    pub fn at(path: &str) -> Option<Hook> {
        match path {
            "/complete" => Some(Hook::Complete),
            "/validate" => Some(Hook::Validate),
            "/guard" => Some(Hook::Guard),
            "/tenant-label" => Some(Hook::TenantLabel),
            "/namespace-name" => Some(Hook::NamespaceName),
            path => guard::refused_by(path.strip_prefix(REFUSE)?).map(Hook::Refuse),
        }
    }

    /// What is wanted of the objects.
    pub fn reading(self) -> Reading {
        match self {
            Hook::Guard => Reading::Pods,
            Hook::Complete | Hook::Validate => Reading::Configs,
            Hook::Refuse(_) | Hook::TenantLabel | Hook::NamespaceName => Reading::Texts,
        }
    }

    /// Where it is served.
    pub fn path(self) -> Cow<'static, str> {
        match self {
            Hook::Complete => "/complete".into(),
            Hook::Validate => "/validate".into(),
            Hook::Guard => "/guard".into(),
            Hook::Refuse(policy) => format!("{REFUSE}{policy}").into(),
            Hook::TenantLabel => "/tenant-label".into(),
            Hook::NamespaceName => "/namespace-name".into(),
        }
    }
}

/// Until when an answer must be there. What is said beside the verdict is left out when it is over.
#[derive(Clone, Copy, Debug)]
pub struct Budget(Instant);

impl Budget {
    /// Until then.
    pub fn until(end: Instant) -> Self {
        Self(end)
    }

    fn is_spent(self) -> bool {
        Instant::now() >= self.0
    }
}

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    FluxConfig,
    FluxPolicy,
    FluxCluster,
    Namespace,
}

impl Kind {
    fn of(request: &Request<'_>) -> Option<Kind> {
        match (&*request.resource.group, &*request.resource.resource) {
            (GROUP, FLUX_CONFIGS) => Some(Kind::FluxConfig),
            (GROUP, "fluxpolicies") => Some(Kind::FluxPolicy),
            (GROUP, "fluxclusters") => Some(Kind::FluxCluster),
            ("", "namespaces") => Some(Kind::Namespace),
            _ => None,
        }
    }
}

/// Whether an answer may take long enough to keep a thread from other requests: everything that asks about all FluxConfigs.
pub fn is_long(hook: Hook, request: &Request<'_>) -> bool {
    hook == Hook::Validate && !matches!(Kind::of(request), Some(Kind::FluxConfig) | None)
}

/// Answers a question.
pub fn decide(hook: Hook, request: Request<'_>, snapshot: &Snapshot, budget: Budget) -> Answer {
    match hook {
        Hook::Guard => return guard::judge(&request, snapshot),
        Hook::Refuse(policy) => return guard::refuse(policy, snapshot),
        Hook::Complete | Hook::Validate | Hook::TenantLabel | Hook::NamespaceName => {}
    }
    let Some(kind) = Kind::of(&request) else {
        // Somebody's rules are too wide. The cluster must not stand still for it, nor must it go unseen.
        return Answer::allowed().warn(format!(
            "sluicegate was asked about {}.{}, which it does not judge: the rules of its webhook configuration are too wide",
            request.resource.resource, request.resource.group
        ));
    };
    // No spec changes there; the labels of Namespaces do. Connections change no object.
    let is_judged = request.sub_resource.is_empty() || hook == Hook::TenantLabel;
    if !is_judged || request.operation == Operation::Connect {
        return Answer::allowed();
    }
    match (hook, kind) {
        (Hook::Complete, Kind::FluxConfig) => flux_config::complete(request, snapshot),
        (Hook::Complete, Kind::FluxPolicy | Kind::FluxCluster | Kind::Namespace) => Answer::allowed(),
        (Hook::Validate, Kind::FluxConfig) => flux_config::validate(request, snapshot),
        (Hook::Validate, Kind::FluxPolicy) => flux_policy::validate(&request, snapshot, budget),
        (Hook::Validate, Kind::FluxCluster) => flux_cluster::validate(&request, snapshot, budget),
        (Hook::Validate, Kind::Namespace) => namespace::validate(&request, snapshot, budget),
        (Hook::TenantLabel, Kind::Namespace) => namespace::refuse(&request),
        (Hook::NamespaceName, Kind::Namespace) => Answer::denied(reserved_name()),
        // The first two were answered above.
        (Hook::Guard | Hook::Refuse(_), _)
        | (Hook::TenantLabel | Hook::NamespaceName, Kind::FluxConfig | Kind::FluxPolicy | Kind::FluxCluster) => {
            Answer::allowed()
        }
    }
}

/// Metadata of an object whose labels count.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Labelled {
    name: String,
    labels: Option<Labels>,
}

fn read<T: DeserializeOwned>(object: Option<&Object<'_>>) -> Result<T, String> {
    let object = object.and_then(Object::text).ok_or_else(|| "the request has no object".to_owned())?;
    serde_json::from_str(object).map_err(|error| error.to_string())
}

/// A refusal of what passed the API server's schema and is not understood all the same: kind and program are of different
/// versions.
fn unreadable(error: &str) -> Answer {
    Answer::denied(format!("this version of Sluicegate cannot read it: {}", text::line(error)))
}
