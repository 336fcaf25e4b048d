//! What the engine answers: [`Verdict`], [`Admitted`] with the origin of every field, [`Violation`].
//!
//! [`Admitted`] has private fields and no public constructor: only [`decide`](crate::decide) makes one, so what was not
//! decided cannot be rendered.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc, time::Duration};

use serde_json::{Value, json};
use sluicegate_crds::{
    AgentComponent, AgentResources, Channel, Chart, DecryptionProvider, DeletionPolicy, FluxConfig, FluxConfigSpec,
    ImageUpdates, NotificationSeverity, OidcIdentity, OnViolation, Placement, Reference, ResolvedField, Scheduling,
    SourceKind, VerificationMode, VerificationProvider,
};

use crate::{
    egress::EgressPlan,
    grammar::{ClusterId, NamespaceName, TenantName},
    rule::{Rule, Severity},
};

/// Path of a field in an object, such as `spec.source.url` or `spec.images[2]`.
pub type FieldPath = Cow<'static, str>;

/// A field of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyField {
    /// Name of the FluxPolicy.
    pub policy: Arc<str>,
    /// Path of the field in it.
    pub field: FieldPath,
}

impl fmt::Display for PolicyField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FluxPolicy/{} {}", self.policy, self.field)
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The team set it.
    FluxConfig,
    /// A policy gives it.
    Policy(PolicyField),
    /// Neither; what Sluicegate takes then.
    BuiltIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::FluxConfig => f.write_str("FluxConfig"),
            Origin::Policy(field) => field.fmt(f),
            Origin::BuiltIn => f.write_str("built-in"),
        }
    }
}

/// A value with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
}

impl<T> Field<T> {
    pub(crate) fn config(value: T) -> Self {
        Self { value, origin: Origin::FluxConfig }
    }

    pub(crate) fn built_in(value: T) -> Self {
        Self { value, origin: Origin::BuiltIn }
    }

    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Field<U> {
        Field { value: f(self.value), origin: self.origin }
    }
}

/// An object that a violation points at beside its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Kind, such as `FluxConfig`.
    pub kind: &'static str,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}/{}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// A rule that an object breaks: what was found, where, what is allowed, how to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The field.
    pub field: FieldPath,
    /// The value found, as text; absent where nothing was there.
    pub value: Option<String>,
    /// One sentence: what was found.
    pub message: String,
    /// What would be allowed, one entry a line.
    pub allowed: Vec<String>,
    /// The fields of policies that decided.
    pub decided_by: Vec<PolicyField>,
    /// How to go on, one sentence an entry.
    pub help: Vec<String>,
    /// The text to write instead, where one is known.
    pub suggestion: Option<String>,
    /// Other objects that it is about.
    pub related: Vec<ObjectRef>,
}

impl Violation {
    /// A violation with only its rule, field and message.
    pub fn new(rule: Rule, field: impl Into<FieldPath>, message: impl Into<String>) -> Self {
        Self {
            rule,
            field: field.into(),
            value: None,
            message: message.into(),
            allowed: Vec::new(),
            decided_by: Vec::new(),
            help: Vec::new(),
            suggestion: None,
            related: Vec::new(),
        }
    }

    pub(crate) fn value(mut self, value: impl Into<String>) -> Self {
        self.value = Some(value.into());
        self
    }

    pub(crate) fn allowed(mut self, allowed: Vec<String>) -> Self {
        self.allowed = allowed;
        self
    }

    pub(crate) fn decided_by(mut self, fields: impl IntoIterator<Item = PolicyField>) -> Self {
        self.decided_by.extend(fields);
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    pub(crate) fn suggestion(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    pub(crate) fn related(mut self, related: impl IntoIterator<Item = ObjectRef>) -> Self {
        self.related.extend(related);
        self
    }

    /// Whether it refuses the object.
    pub fn severity(&self) -> Severity {
        self.rule.severity()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.field, self.message, self.rule)
    }
}

/// The engine's answer about one FluxConfig.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Complete and allowed.
    Admitted(Box<Admitted>),
    /// Not allowed; at least one violation.
    Refused(Vec<Violation>),
    /// A fact is missing, so neither can be said; at least one violation that names the fact.
    Undetermined(Vec<Violation>),
}

impl Verdict {
    /// The admitted configuration.
    pub fn admitted(&self) -> Option<&Admitted> {
        match self {
            Verdict::Admitted(admitted) => Some(admitted),
            Verdict::Refused(_) | Verdict::Undetermined(_) => None,
        }
    }

    /// Why it is not admitted; empty when it is.
    pub fn violations(&self) -> &[Violation] {
        match self {
            Verdict::Admitted(_) => &[],
            Verdict::Refused(violations) | Verdict::Undetermined(violations) => violations,
        }
    }
}

/// A Secret and in whose hands it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The administrators', in the operator's namespace.
    Platform {
        /// Name of the Secret.
        name: String,
        /// May be copied to where the team can read it.
        expose: bool,
    },
    /// The team's own, where its Flux objects live.
    Tenant {
        /// Name of the Secret.
        name: String,
        /// For a source: the administrators' Secret that policy gives for the same URL. What it says of the server
        /// (certificate authorities, known hosts) counts; what the team's says does not.
        authority: Option<String>,
    },
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretSource::Platform { name, .. } => write!(f, "{name} (platform)"),
            SecretSource::Tenant { name, .. } => write!(f, "{name} (team)"),
        }
    }
}

/// Signatures that the agent checks.
#[derive(Clone, Debug, PartialEq)]
pub enum VerificationPlan {
    /// Signed Git objects.
    Git {
        /// Which objects.
        mode: VerificationMode,
        /// Public keys.
        keys: SecretSource,
    },
    /// Signed OCI artifacts.
    Oci {
        /// The tool.
        provider: VerificationProvider,
        /// Public keys; none for keyless cosign.
        keys: Option<SecretSource>,
        /// Who may have signed, for keyless cosign.
        identities: Vec<OidcIdentity>,
    },
}

/// A chosen channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// The channel, as policy offers it.
    pub channel: Channel,
    /// What is sent.
    pub severity: NotificationSeverity,
}

/// How SOPS files are decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecryptionPlan {
    /// The tool.
    pub provider: DecryptionProvider,
    /// The private keys.
    pub keys: SecretSource,
}

/// The agent that serves a FluxConfig.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentPlan {
    /// Where it lives.
    pub placement: Field<Placement>,
    /// Number of pools on the cluster, at least 1; it counts with placement Pooled only.
    pub pools: Field<u32>,
    /// Flux release or range; the cluster's when absent.
    pub version: Option<Field<String>>,
    /// Controllers; those that are needed when absent.
    pub components: Option<Field<Vec<AgentComponent>>>,
    /// Resources of each controller.
    pub resources: Option<Field<AgentResources>>,
    /// Registry and folder of its images.
    pub image_registry: Field<String>,
    /// Objects that a controller reconciles at the same time.
    pub concurrency: Option<Field<u32>>,
    /// Where its pods may run.
    pub scheduling: Option<Field<Scheduling>>,
    /// Idle time after which it is scaled to zero.
    pub sleep_after: Option<Field<Duration>>,
    /// Where its controllers may connect to; anywhere but link-local addresses when absent.
    pub egress: Option<Field<EgressPlan>>,
}

/// What no FluxConfig has a say in.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Kustomizations may load bases from other repositories.
    pub remote_bases: bool,
    /// Hard limits of the target namespace's ResourceQuota: quantities by resource name.
    pub quota: Option<Field<BTreeMap<String, String>>>,
    /// ClusterRole of the reconciler.
    pub role: Field<String>,
    /// What happens when a policy change forbids it.
    pub on_violation: Field<OnViolation>,
    /// The agent.
    pub agent: AgentPlan,
}

/// What FluxConfigs that the same policies judge mostly have in common: what teams seldom set, and hardly ever each to a value
/// of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The operator may create the target namespace.
    pub create_namespace: Field<bool>,
    /// The target is the tenant's own home, which the operator takes as it is.
    pub own_home: bool,
    /// Kind of source.
    pub kind: Field<SourceKind>,
    /// How often the source is looked at.
    pub interval: Field<Duration>,
    /// How soon a failed sync is tried again.
    pub retry_interval: Option<Field<Duration>>,
    /// How long one sync may take.
    pub timeout: Option<Field<Duration>>,
    /// Delete what disappears from the source.
    pub prune: Field<bool>,
    /// Wait for health.
    pub wait: Field<bool>,
    /// Channels.
    pub notify: Box<[Subscription]>,
    /// Time to live.
    pub ttl: Option<Duration>,
    /// What becomes of deployed objects at the end.
    pub deletion: Field<DeletionPolicy>,
    /// Syncing is stopped.
    pub suspend: bool,
    /// What policies alone decide.
    pub standing: Arc<Standing>,
}

/// The effective configuration of an admitted FluxConfig.
///
/// An operator keeps ten thousand of them. What many of them say in the same way is behind an [`Arc`], so that [`Common`] can
/// let them share it; what is rare is boxed.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The tenant.
    pub tenant: TenantName,
    /// Namespace of the FluxConfig on the management cluster.
    pub home: Arc<str>,
    /// Name of the FluxConfig.
    pub name: Arc<str>,
    /// Target cluster.
    pub cluster: Field<ClusterId>,
    /// Target namespace.
    pub namespace: Field<NamespaceName>,
    /// URL of the source, byte for byte as it was matched.
    pub url: Box<str>,
    /// Policy field that allows the source.
    pub source_allowed_by: Arc<PolicyField>,
    /// What of the source is synced; none for Helm repositories and buckets.
    pub reference: Option<Arc<Field<Reference>>>,
    /// Folder in the source; none for Helm repositories and for charts that are OCI artifacts.
    pub path: Option<Field<Box<str>>>,
    /// The chart, if one is deployed.
    pub chart: Option<Box<Chart>>,
    /// Credentials for the source; none: anonymous.
    pub credentials: Option<Arc<Field<SecretSource>>>,
    /// Signatures that are checked.
    pub verification: Option<Arc<Field<VerificationPlan>>>,
    /// Names of FluxConfigs that come first.
    pub depends_on: Box<[String]>,
    /// Values to substitute.
    pub substitute: BTreeMap<String, String>,
    /// SOPS.
    pub decryption: Option<Arc<Field<DecryptionPlan>>>,
    /// Image automation.
    pub image_updates: Option<Box<ImageUpdates>>,
    /// Patterns with which the team narrows the allowed images; empty: no narrowing.
    pub images: Box<[String]>,
    /// The rest, which is seldom its own.
    pub terms: Arc<Terms>,
}

/// A FluxConfig that the engine admitted. Only [`decide`](crate::decide) makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    resolved: Resolved,
    additions: Box<[Addition]>,
}

/// What admitted FluxConfigs have in common, for those who keep many that the same policies judge.
///
/// Of each part it keeps at most [`Common::MOST`] different values and looks through them one after the other: what a team
/// sets can make a part distinct, and a list without a bound would cost every verdict more and more. Where all of them are
/// in use, a further value stays with its FluxConfig alone; that costs memory and nothing else.
#[derive(Debug, Default)]
pub struct Common {
    terms: Vec<Arc<Terms>>,
    standings: Vec<Arc<Standing>>,
    sources: Vec<Arc<PolicyField>>,
    references: Vec<Arc<Field<Reference>>>,
    credentials: Vec<Arc<Field<SecretSource>>>,
    verifications: Vec<Arc<Field<VerificationPlan>>>,
    decryptions: Vec<Arc<Field<DecryptionPlan>>>,
}

impl Common {
    /// Number of different values that are kept of each part.
    pub const MOST: usize = 64;
}

/// Takes one of `known` in place of `value`, where one is equal; else adds it to them while there is room.
fn share<T: PartialEq>(value: &mut Arc<T>, known: &mut Vec<Arc<T>>) {
    if let Some(same) = known.iter().find(|known| **known == *value) {
        *value = Arc::clone(same);
        return;
    }
    if known.len() >= Common::MOST {
        // What nobody else has is a leftover.
        known.retain(|known| Arc::strong_count(known) > 1);
    }
    if known.len() < Common::MOST {
        known.push(Arc::clone(value));
    }
}

/// A placement field that completion writes into the spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Addition {
    /// Path of the field, such as `spec.source.ref`.
    pub field: &'static str,
    /// Its value.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// The placement of an admitted FluxConfig, value and origin each, to fill the blanks of its spec from.
pub(crate) struct Blanks<'p> {
    pub(crate) reference: Option<(&'p Reference, &'p Origin)>,
    pub(crate) path: Option<(&'p str, &'p Origin)>,
    pub(crate) cluster: (&'p str, &'p Origin),
    pub(crate) namespace: (&'p str, &'p Origin),
}

impl Blanks<'_> {
    /// What the spec lacks, in the order in which it is written.
    pub(crate) fn additions(&self, spec: &FluxConfigSpec) -> Vec<Addition> {
        let mut additions = Vec::new();
        let mut add = |field, value, origin: &Origin| additions.push(Addition { field, value, origin: origin.clone() });
        if let (None, Some((reference, origin))) = (&spec.source.reference, self.reference) {
            add("spec.source.ref", json!(reference), origin);
        }
        if let (None, Some((path, origin))) = (&spec.path, self.path) {
            add("spec.path", json!(path), origin);
        }
        if spec.cluster.is_none() {
            add("spec.cluster", json!(self.cluster.0), self.cluster.1);
        }
        if spec.namespace.is_none() {
            add("spec.namespace", json!(self.namespace.0), self.namespace.1);
        }
        additions
    }
}

impl Admitted {
    pub(crate) fn new(resolved: Resolved, additions: Vec<Addition>) -> Self {
        Self { resolved, additions: additions.into() }
    }

    /// Takes from what others have in common with it what says the same, and adds to it what is new.
    pub fn share(&mut self, common: &mut Common) {
        let Resolved { source_allowed_by, reference, credentials, verification, decryption, terms, .. } =
            &mut self.resolved;
        // Nobody else has the terms of a verdict that was just reached.
        if let Some(terms) = Arc::get_mut(terms) {
            share(&mut terms.standing, &mut common.standings);
        }
        share(terms, &mut common.terms);
        share(source_allowed_by, &mut common.sources);
        reference.iter_mut().for_each(|reference| share(reference, &mut common.references));
        credentials.iter_mut().for_each(|credentials| share(credentials, &mut common.credentials));
        verification.iter_mut().for_each(|verification| share(verification, &mut common.verifications));
        decryption.iter_mut().for_each(|decryption| share(decryption, &mut common.decryptions));
    }

    /// The effective configuration.
    pub fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    /// The placement fields that the spec lacks, in the order in which they are written. Empty for a complete FluxConfig.
    pub fn additions(&self) -> &[Addition] {
        &self.additions
    }

    /// The FluxConfig with its blanks filled: what completion writes.
    pub fn complete(&self, config: &FluxConfig) -> FluxConfig {
        let mut complete = config.clone();
        let spec = &mut complete.spec;
        let resolved = &self.resolved;
        if spec.source.reference.is_none() {
            spec.source.reference = resolved.reference.as_ref().map(|reference| reference.value.clone());
        }
        if spec.path.is_none() {
            spec.path = resolved.path.as_ref().map(|path| path.value.to_string());
        }
        spec.cluster.get_or_insert_with(|| resolved.cluster.value.as_str().to_owned());
        spec.namespace.get_or_insert_with(|| resolved.namespace.value.as_str().to_owned());
        complete
    }

    /// Effective values with their origins, in the order of the documentation: the view that `explain` and
    /// `status.resolved` show.
    pub fn fields(&self) -> Vec<ResolvedField> {
        self.field_origins()
            .into_iter()
            .map(|(field, value, origin)| ResolvedField { field: field.to_owned(), value, origin: origin.to_string() })
            .collect()
    }

    /// As [`Admitted::fields`], with the origins as values.
    pub fn field_origins(&self) -> Vec<(&'static str, String, Origin)> {
        crate::fields::list(&self.resolved)
    }
}
