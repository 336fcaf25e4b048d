//! The Sluicegate engine. Pure: no Kubernetes client, no async, no clock, no environment, no I/O.
//!
//! The one function to read first is [`decide`]: a FluxConfig, the policies, the facts, and out comes a [`Verdict`].
//! Command line, webhook and operator ask it, so they cannot disagree.
//!
//! Calls go one way: [`grammar`] (texts) <- `compile` (one policy, with [`egress`]) <- `set` (all policies) <- the steps (`placement`,
//! `source`, `delivery`, `chart`, `automation`, `image`, `effective`, `tenancy`, `relations`) <- [`decide`] and [`ask`]. What it says
//! is in [`verdict`] and [`rule`], and in which words in [`message`].

mod automation;
mod chart;
mod compile;
mod concern;
mod decide;
mod delivery;
mod effective;
pub mod egress;
mod facts;
mod fields;
pub mod flux_object;
pub mod grammar;
mod grants;
pub mod guard;
mod image;
pub mod message;
mod placement;
mod query;
mod reference;
mod relations;
pub mod rule;
mod select;
mod set;
mod show;
mod source;
mod tenancy;
pub mod text;
pub mod verdict;
pub mod workload;

pub use compile::{CompiledPolicy, InvalidPolicy, check_cluster, compile};
pub use concern::{Concern, concern};
pub use decide::{additions, decide, decide_placed, violations};
pub use facts::{
    Cluster, ClustersByName, Declaration, Facts, LabelWriter, Labels, LabelsOf, Namespace, NamespacesByName, Since,
    Unseen, since,
};
pub use grants::dangerous_grants;
pub use placement::{Placed, Placer};
pub use query::{Answer, NAME as DEPENDENCY_NAME, Question, REPOSITORY as DEPENDENCY_REPOSITORY, ask};
pub use rule::{Rule, Severity};
pub use set::PolicySet;
pub use show::closest;
pub use verdict::{Admitted, Origin, PolicyField, Verdict, Violation};
