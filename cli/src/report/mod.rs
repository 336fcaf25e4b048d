//! What `sluicegate check` says, and the forms in which it says it.
//!
//! [`model`] holds the findings as plain data; every other module is one view of that data and adds
//! no judgement of its own. Nothing here decides whether a file is right: that is the engine's, and
//! nothing here reads files: the callers hand in the text that excerpts are cut from ([`Sources`]).
//!
//! Every view shows text that somebody else wrote, often an attacker of the reviewer's terminal or
//! of the CI system that reads the log, so each of them passes through [`text`] on its way out.

pub mod color;
pub mod fingerprint;
pub mod github;
pub mod gitlab;
pub mod human;
pub mod json;
pub mod junit;
pub mod model;
pub mod sarif;
pub mod spec;
pub use sluicegate_policy::text;

mod excerpt;
pub(crate) mod json_text;

pub use color::{ColorChoice, use_color};
pub use model::{
    Checked, Decider, Finding, KindCount, LineIndex, ObjectId, Outcome, PassedOver, Place, Related, Report, Rule,
    Severity, Span, Summary, rule_url,
};
pub use spec::{Format, ReportSpec, SpecError, Target, WriteError, check_targets};

/// The text of a checked file, by the path that findings name; `None` where it cannot be had (any
/// more), in which case a finding is shown without an excerpt.
pub type Sources<'a> = dyn Fn(&str) -> Option<std::sync::Arc<str>> + Sync + 'a;
