//! The catalogue of rules: stable ids, severities and titles.
//!
//! An id never changes its meaning and is never used again for another rule. Each has a page in `docs/rules/`, and the
//! index of those pages is generated from this table.

use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Refused.
    Error,
    /// Admitted, but somebody should look.
    Warning,
}

/// What a rule judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Any file or object.
    Manifest,
    /// A team's FluxConfig.
    FluxConfig,
    /// Images and Flux objects in a team's own repository or namespace.
    Workload,
    /// An administrator's FluxPolicy or FluxCluster.
    Policy,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $id:literal, $severity:ident, $subject:ident, $title:literal;)*) => {
        /// A rule that can be broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[$doc])* $variant,)*
        }

        impl Rule {
            /// All rules, in the order of the catalogue.
            pub const ALL: &[Rule] = &[$(Rule::$variant,)*];

            /// Stable id in kebab-case, such as `source-not-allowed`.
            pub const fn id(self) -> &'static str {
                match self { $(Rule::$variant => $id,)* }
            }

            /// Title: a short sentence that states the rule.
            pub const fn title(self) -> &'static str {
                match self { $(Rule::$variant => $title,)* }
            }

            /// Whether breaking it refuses the object.
            pub const fn severity(self) -> Severity {
                match self { $(Rule::$variant => Severity::$severity,)* }
            }

            /// What it judges.
            pub const fn subject(self) -> Subject {
                match self { $(Rule::$variant => Subject::$subject,)* }
            }

            /// The rule with this id.
            pub fn from_id(id: &str) -> Option<Rule> {
                match id { $($id => Some(Rule::$variant),)* _ => None }
            }
        }
    };
}

rules! {
    /// The text is not YAML or JSON that can be read safely.
    InvalidYaml = "invalid-yaml", Error, Manifest, "Files are well-formed YAML or JSON";
    /// A file that cannot be read at all.
    UnreadableFile = "unreadable-file", Error, Manifest, "Files can be read";
    /// A field that the kind does not have.
    UnknownField = "unknown-field", Error, Manifest, "Fields are known";
    /// A field of the wrong type, or with a value that the kind does not have.
    InvalidValue = "invalid-value", Error, Manifest, "Values have the type and form that their field asks for";
    /// A required field is not there.
    MissingField = "missing-field", Error, Manifest, "Required fields are present";
    /// More items than a list may have, or a longer text than a field may hold.
    OutOfBounds = "out-of-bounds", Error, Manifest, "Lists and texts stay within their bounds";
    /// Two documents declare the same object.
    DuplicateObject = "duplicate-object", Error, Manifest, "An object is declared once";
    /// An `apiVersion` of Sluicegate's group that does not exist, or an unknown kind in it.
    UnknownKind = "unknown-kind", Error, Manifest, "Sluicegate objects have a known version and kind";
    /// A selector needs labels that the files do not give.
    UndeterminedSelector = "undetermined-selector", Error, Manifest, "Selectors can be answered from the files";

    /// `metadata.name` or `metadata.namespace` is missing or no DNS label.
    InvalidName = "invalid-name", Error, FluxConfig, "Names are DNS labels";
    /// No policy selects the tenant.
    NoPolicy = "no-policy", Error, FluxConfig, "Every tenant is selected by a policy";
    /// A policy that selects the tenant is invalid, so nothing is allowed.
    InvalidPolicy = "invalid-policy", Error, FluxConfig, "Tenants with an invalid policy are denied";
    /// Policies of equal priority give different defaults.
    PolicyConflict = "policy-conflict", Error, Policy, "Policies of equal priority agree";
    /// The user may not write FluxConfigs.
    WriterNotAllowed = "writer-not-allowed", Error, FluxConfig, "FluxConfigs are written by those whom policy names";
    /// Neither the FluxConfig nor a policy says which cluster.
    MissingCluster = "missing-cluster", Error, FluxConfig, "A FluxConfig has a cluster";
    /// No FluxCluster has this id.
    UnknownCluster = "unknown-cluster", Error, FluxConfig, "The cluster exists";
    /// Neither the FluxConfig nor a policy says which namespace.
    MissingNamespace = "missing-namespace", Error, FluxConfig, "A FluxConfig has a target namespace";
    /// No policy lets the tenant deploy there.
    DestinationNotAllowed = "destination-not-allowed", Error, FluxConfig, "The destination is allowed";
    /// A namespace of the platform, which no wildcard reaches.
    ReservedNamespace = "reserved-namespace", Error, FluxConfig, "Namespaces of the platform are not targets";
    /// Another tenant deploys there.
    TargetClaimed = "target-claimed", Error, FluxConfig, "A namespace on a cluster belongs to one tenant";
    /// The target is another tenant's home on the management cluster.
    NamespaceIsAHome = "namespace-is-a-home", Error, FluxConfig, "The home of another tenant is not a target";
    /// The FluxConfig lives in another tenant's target.
    HomeIsATarget = "home-is-a-target", Error, FluxConfig, "No FluxConfig lives in another tenant's target";
    /// The URL is not in canonical form.
    InvalidUrl = "invalid-url", Error, FluxConfig, "Source URLs are in canonical form";
    /// Kind and URL scheme, or kind and another field, do not go together.
    SourceKindMismatch = "source-kind-mismatch", Error, FluxConfig, "Source kind, URL and fields go together";
    /// No policy allows this source.
    SourceNotAllowed = "source-not-allowed", Error, FluxConfig, "The source is allowed";
    /// A policy denies this source.
    SourceDenied = "source-denied", Error, FluxConfig, "The source is not denied";
    /// Chart fields that do not fit the source.
    InvalidChart = "invalid-chart", Error, FluxConfig, "The chart is named as its source asks for";
    /// No policy allows this chart.
    ChartNotAllowed = "chart-not-allowed", Error, FluxConfig, "The chart is allowed";
    /// A policy denies this chart.
    ChartDenied = "chart-denied", Error, FluxConfig, "The chart is not denied";
    /// Neither the FluxConfig nor a policy says what of the source is synced.
    MissingRef = "missing-ref", Error, FluxConfig, "A source has a reference";
    /// The reference is malformed, or not for this kind of source.
    InvalidRef = "invalid-ref", Error, FluxConfig, "References are well-formed and fit their source";
    /// The path leaves the source or is malformed.
    InvalidPath = "invalid-path", Error, FluxConfig, "Paths stay inside the source";
    /// Policy asks for signatures, and none can be checked.
    VerificationRequired = "verification-required", Error, FluxConfig, "Sources are verified where policy asks for it";
    /// Verification that does not fit the source, or has no keys.
    InvalidVerification = "invalid-verification", Error, FluxConfig, "Verification fits its source and has keys";
    /// Policy asks for digests.
    SourceDigestRequired = "source-digest-required", Error, FluxConfig, "Artifacts are named by digest where policy asks for it";
    /// The FluxConfig names a Secret of its own.
    TenantSecretNotAllowed = "tenant-secret-not-allowed", Error, FluxConfig, "Teams bring Secrets only where policy lets them";
    /// Two policies give different Secrets for the same match.
    CredentialConflict = "credential-conflict", Error, Policy, "One Secret is the most specific";
    /// The agent lives where the team could read a Secret that is not for its eyes.
    CredentialNotExposed = "credential-not-exposed", Error, FluxConfig, "Credentials go only where policy lets them be read";
    /// A feature that is off.
    FeatureOff = "feature-off", Error, FluxConfig, "Features are used where policy turns them on";
    /// Nobody gives a key to decrypt with.
    MissingDecryptionKey = "missing-decryption-key", Error, FluxConfig, "Decryption has a key";
    /// Not a duration.
    InvalidDuration = "invalid-duration", Error, FluxConfig, "Durations are well-formed";
    /// The interval is shorter than policy allows.
    IntervalTooShort = "interval-too-short", Error, FluxConfig, "Intervals are not shorter than policy allows";
    /// The time to live is longer than policy allows.
    TtlTooLong = "ttl-too-long", Error, FluxConfig, "The time to live is not longer than policy allows";
    /// The tenant has more FluxConfigs than policy allows.
    TooManyFluxConfigs = "too-many-flux-configs", Error, FluxConfig, "A tenant has no more FluxConfigs than policy allows";
    /// No such channel.
    UnknownChannel = "unknown-channel", Error, FluxConfig, "Channels are those that policy offers";
    /// `dependsOn` names a FluxConfig that does not exist.
    UnknownDependency = "unknown-dependency", Error, FluxConfig, "Dependencies exist";
    /// `dependsOn` leads back to where it started.
    DependencyCycle = "dependency-cycle", Error, FluxConfig, "Dependencies have no cycle";
    /// A name that cannot be substituted.
    InvalidSubstitution = "invalid-substitution", Error, FluxConfig, "Substituted names are variable names";

    /// Not an image reference, or one that nodes may read in two ways.
    InvalidImage = "invalid-image", Error, Workload, "Image references are in canonical form";
    /// No policy allows this image.
    ImageNotAllowed = "image-not-allowed", Error, Workload, "The image is allowed";
    /// A policy denies this image.
    ImageDenied = "image-denied", Error, Workload, "The image is not denied";
    /// A tag that policy denies.
    ImageTagDenied = "image-tag-denied", Error, Workload, "The tag is not denied";
    /// Policy asks for digests.
    ImageDigestRequired = "image-digest-required", Error, Workload, "Images are named by digest where policy asks for it";
    /// A Flux object that reaches outside of what policy allows.
    FluxObjectNotAllowed = "flux-object-not-allowed", Error, Workload, "Flux objects of a team stay within policy";

    /// A pattern that is malformed.
    InvalidPattern = "invalid-pattern", Error, Policy, "Patterns are well-formed";
    /// A policy for some clusters decides where FluxConfigs go.
    PolicyScope = "policy-scope", Error, Policy, "Policies for some clusters do not decide placement";
    /// A connection that is not exactly one.
    InvalidConnection = "invalid-connection", Error, Policy, "A cluster is reached in exactly one way";
    /// `**`: everything is allowed.
    GrantsEverything = "grants-everything", Warning, Policy, "Policies do not allow everything";
    /// `http://`: neither secret nor authentic.
    GrantsPlainHttp = "grants-plain-http", Warning, Policy, "Policies do not allow plain HTTP";
    /// All of a host.
    GrantsWholeHost = "grants-whole-host", Warning, Policy, "Policies do not allow whole hosts";
    /// Every namespace.
    GrantsEveryNamespace = "grants-every-namespace", Warning, Policy, "Destinations are not open to every namespace";
    /// A credential that teams can read.
    ExposesCredential = "exposes-credential", Warning, Policy, "Credentials stay where teams cannot read them";
    /// A role that reaches further than a namespace.
    PowerfulRole = "powerful-role", Warning, Policy, "Reconcilers have roles that stay in a namespace";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_kebab_case_and_found_again() {
        for (index, rule) in Rule::ALL.iter().enumerate() {
            assert_eq!(Rule::from_id(rule.id()), Some(*rule));
            assert!(rule.id().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{rule}");
            assert!(!Rule::ALL[..index].iter().any(|earlier| earlier.id() == rule.id()), "{rule} twice");
        }
    }
}
