//! The source: its kind, its URL against the allow and deny lists, its reference, credentials and signatures.

use std::borrow::Cow;

use sluicegate_crds::{FluxConfig, Reference, SourceKind, TenantSecrets, VerificationMode, VerificationProvider};

use crate::{
    compile::{CompiledPolicy, Listed, Rules, SecretFor},
    grammar::{Bindings, ObjectName, Scheme, SourceUrl, UrlPattern},
    placement::Placement,
    reference,
    rule::Rule,
    set::Selection,
    show,
    verdict::{Field, Origin, PolicyField, SecretSource, VerificationPlan, Violation},
    workload::Lacks,
};

/// What the source step finds out. The texts of origins are made only for those who ask.
pub(crate) struct SourceVerdict<'p> {
    pub(crate) kind: Field<SourceKind>,
    pub(crate) allowed_by: Listed<'p>,
    pub(crate) reference: Option<Field<&'p Reference>>,
    pub(crate) credentials: Option<Credentials<'p>>,
    pub(crate) verification: Option<Field<VerificationPlan>>,
}

/// Credentials for a source.
pub(crate) enum Credentials<'p> {
    /// Those of the team.
    Own(SecretSource),
    /// Those that a policy gives.
    Given(Given<'p>),
}

impl Credentials<'_> {
    pub(crate) fn secret(&self) -> Field<SecretSource> {
        match self {
            Self::Own(secret) => Field::config(secret.clone()),
            Self::Given(given) => given.secret(),
        }
    }
}

/// A Secret of the platform that a policy gives.
pub(crate) struct Given<'p> {
    name: Cow<'p, str>,
    expose: bool,
    by: Listed<'p>,
}

impl Given<'_> {
    fn secret(&self) -> Field<SecretSource> {
        Field {
            value: SecretSource::Platform { name: self.name.as_ref().to_owned(), expose: self.expose },
            origin: Origin::Policy(self.by.field()),
        }
    }
}

const URL: &str = "spec.source.url";

/// Reads URL and kind of a source. A violation is added to `found`.
pub(crate) fn read<'c>(
    config: &'c FluxConfig,
    found: &mut Vec<Violation>,
) -> Option<(SourceUrl<'c>, Field<SourceKind>)> {
    let source = &config.spec.source;
    let read = parse(&source.url).and_then(|url| Ok((url, kind(source.kind, &url)?)));
    read.map_err(|violation| found.push(violation)).ok()
}

/// Judges the source. Violations are added to `found`; `None` where there is any that leaves the source undecided.
pub(crate) fn judge<'p>(
    config: &'p FluxConfig,
    (url, kind): &(SourceUrl<'_>, Field<SourceKind>),
    place: &Placement<'p>,
    found: &mut Vec<Violation>,
) -> Option<SourceVerdict<'p>> {
    let before = found.len();
    let bindings = place.bindings();
    let mut note = |violation| found.push(violation);
    let allowed_by = allow(kind.value, url, &place.policies, &bindings).map_err(&mut note).ok();
    let reference = self::reference(config, kind.value, &place.policies).map_err(&mut note).ok();
    let credentials = credentials(config, url, place).map_err(&mut note).ok();
    let verification = verification(config, kind.value, url, place)
        .and_then(|plan| match reference.as_ref() {
            Some(reference) => tag_mode(plan, reference.as_ref()),
            None => Ok(plan),
        })
        .map_err(&mut note)
        .ok();
    if found.len() > before {
        return None;
    }
    Some(SourceVerdict {
        kind: kind.clone(),
        allowed_by: allowed_by?,
        reference: reference?,
        credentials: credentials?,
        verification: verification?,
    })
}

/// Parses a URL.
pub(crate) fn parse(url: &str) -> Result<SourceUrl<'_>, Violation> {
    SourceUrl::parse(url).map_err(|error| {
        let canonical = error.canonical().map(str::to_owned);
        let violation = Violation::new(Rule::InvalidUrl, URL, error.reason().to_string())
            .value(url)
            .allowed(["https://host/path", "ssh://user@host/path", "oci://host/path"].map(str::to_owned).to_vec());
        match &canonical {
            Some(canonical) => violation.help(format!("write {canonical}")),
            None => violation.help("write the URL with nothing in it but scheme, host and path"),
        }
        .suggestion(canonical)
    })
}

/// The kind of a source: what the FluxConfig says, or what the scheme says; both must go together.
pub(crate) fn kind(set: Option<SourceKind>, url: &SourceUrl<'_>) -> Result<Field<SourceKind>, Violation> {
    let scheme = url.scheme();
    let by_scheme = if scheme == Scheme::Oci { SourceKind::Oci } else { SourceKind::Git };
    let kind = set.unwrap_or(by_scheme);
    let (schemes, fits): (&str, bool) = match kind {
        SourceKind::Git => ("https:// and ssh://", scheme != Scheme::Oci),
        SourceKind::Oci => ("oci://", scheme == Scheme::Oci),
        SourceKind::Helm => ("https:// and oci://", scheme != Scheme::Ssh),
        SourceKind::Bucket => ("https://", matches!(scheme, Scheme::Https | Scheme::Http)),
    };
    if !fits {
        return Err(Violation::new(
            Rule::SourceKindMismatch,
            URL,
            format!("{} source has no {scheme}:// URL", one(kind)),
        )
        .value(url.as_str())
        .allowed(vec![schemes.to_owned()])
        .help("change spec.source.kind or the URL; without a kind the scheme decides"));
    }
    // Patterns compare Git URLs without `.git`, because servers do. To any other server `x.git` is another thing than `x`.
    if kind != SourceKind::Git && url.as_str().ends_with(".git") {
        return Err(Violation::new(
            Rule::SourceKindMismatch,
            URL,
            format!("the URL of {} source does not end in .git", one(kind)),
        )
        .value(url.as_str())
        .allowed(vec!["https://host/path.git with kind Git".to_owned()])
        .help("change spec.source.kind or the URL; without a kind the scheme decides"));
    }
    if kind == SourceKind::Bucket && url.segments().count() != 1 {
        return Err(Violation::new(
            Rule::SourceKindMismatch,
            URL,
            "a bucket is named by the endpoint and one path segment, the bucket's name",
        )
        .value(url.as_str())
        .allowed(vec!["https://endpoint/bucket".to_owned()])
        .help("a folder in the bucket goes to spec.path"));
    }
    Ok(if set.is_some() { Field::config(kind) } else { Field::built_in(kind) })
}

/// A kind with its article, for messages.
pub(crate) fn one(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Git => "a Git",
        SourceKind::Oci => "an OCI",
        SourceKind::Helm => "a Helm",
        SourceKind::Bucket => "a Bucket",
    }
}

/// Name of a kind as it stands in a manifest.
pub(crate) fn name(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Git => "Git",
        SourceKind::Oci => "OCI",
        SourceKind::Helm => "Helm",
        SourceKind::Bucket => "Bucket",
    }
}

fn rules(policy: &CompiledPolicy, kind: SourceKind) -> &Rules<UrlPattern> {
    match kind {
        SourceKind::Git => &policy.git,
        SourceKind::Oci => &policy.oci,
        SourceKind::Helm => &policy.helm,
        SourceKind::Bucket => &policy.bucket,
    }
}

/// Paths of the lists that allow and that deny a kind.
fn lists(kind: SourceKind) -> (&'static str, &'static str) {
    match kind {
        SourceKind::Git => ("spec.sources.git.allow", "spec.sources.git.deny"),
        SourceKind::Oci => ("spec.sources.oci.allow", "spec.sources.oci.deny"),
        SourceKind::Helm => ("spec.sources.helm.allow", "spec.sources.helm.deny"),
        SourceKind::Bucket => ("spec.sources.bucket.allow", "spec.sources.bucket.deny"),
    }
}

/// Whether the policies allow a source: no deny matches, and some allow does.
pub(crate) fn allow<'p>(
    kind: SourceKind,
    url: &SourceUrl<'_>,
    policies: &Selection<'p>,
    bindings: &Bindings<'_>,
) -> Result<Listed<'p>, Violation> {
    let (allow, deny) = lists(kind);
    for policy in policies.iter() {
        let rules = rules(policy, kind);
        if let Some((index, pattern)) = rules.deny.iter().enumerate().find(|(_, pattern)| pattern.denies(url, bindings))
        {
            return Err(Violation::new(Rule::SourceDenied, URL, denied(&policy.name, kind, pattern))
                .value(url.as_str())
                .decided_by([Listed { policy, list: deny, index }.field()])
                .help("a deny wins over every allow: use another source, or ask an administrator"));
        }
    }
    for policy in policies.iter() {
        if let Some(index) = matching(&rules(policy, kind).allow, url, bindings) {
            return Ok(Listed { policy, list: allow, index });
        }
    }
    let mut allowed = Vec::new();
    let mut decided_by = Vec::new();
    for policy in policies.iter() {
        let rules = rules(policy, kind);
        if !rules.allow.is_empty() {
            decided_by.push(policy.field(allow));
            allowed.extend(rules.allow.iter().map(|pattern| show::expanded(pattern.as_str(), bindings)));
        }
    }
    let violation = Violation::new(
        Rule::SourceNotAllowed,
        URL,
        format!("no policy allows tenant {} this {} source", bindings.tenant, name(kind)),
    )
    .value(url.as_str())
    .decided_by(decided_by);
    Err(if allowed.is_empty() {
        violation
            .help(format!("no policy allows {} sources for this tenant at all: an administrator adds them", name(kind)))
    } else {
        let violation = violation.allowed(unique(allowed));
        match plain_http(url, policies, kind, bindings) {
            Some(https) => violation
                .help(format!("plain http is allowed only where an entry says so: write {https}"))
                .suggestion(Some(https)),
            None => violation.help("use a source that is allowed, or ask an administrator to allow this one"),
        }
    })
}

/// What is said of a source that a policy denies.
pub(crate) fn denied(policy: &str, kind: SourceKind, pattern: &UrlPattern) -> String {
    format!("policy {policy} denies {} sources that match {}", name(kind), pattern.as_str())
}

/// The https spelling of an http URL, if that one is allowed.
fn plain_http(
    url: &SourceUrl<'_>,
    policies: &Selection<'_>,
    kind: SourceKind,
    bindings: &Bindings<'_>,
) -> Option<String> {
    let https = format!("https://{}", url.as_str().strip_prefix("http://")?);
    let parsed = SourceUrl::parse(&https).ok()?;
    policies.iter().any(|policy| matching(&rules(policy, kind).allow, &parsed, bindings).is_some()).then_some(https)
}

/// What is said of a Flux object that names an artifact without a digest.
pub(crate) const NO_DIGEST: &str = "policy asks for a digest, and the artifact is named without";
/// What is said of a Flux object whose signatures nobody checks with keys of the platform.
pub(crate) const NO_SIGNATURE: &str =
    "policy asks for signatures by keys that it gives, and only a FluxConfig brings these keys";

/// Whether some policy asks for a digest of every OCI artifact.
pub(crate) fn requires_digest(policy: &CompiledPolicy) -> bool {
    policy.spec.sources.as_ref().and_then(|sources| sources.oci.as_ref()?.require_digest) == Some(true)
}

/// Whether some policy asks for signatures.
pub(crate) fn requires_verification(policy: &CompiledPolicy) -> bool {
    policy.spec.sources.as_ref().and_then(|sources| sources.require_verification) == Some(true)
}

/// Whether policies let a Flux object that a team writes be without a digest or a signature.
pub(crate) fn bare(lacks: Lacks, policies: &Selection<'_>) -> Result<(), Violation> {
    let (asked, rule, message, help) = match lacks {
        Lacks::Digest => (
            policies.asked("spec.sources.oci.requireDigest", requires_digest),
            Rule::SourceDigestRequired,
            NO_DIGEST,
            "set spec.ref.digest; `flux pull artifact` and registries show it",
        ),
        Lacks::Signature => (
            policies.asked("spec.sources.requireVerification", requires_verification),
            Rule::VerificationRequired,
            NO_SIGNATURE,
            "deploy it with a FluxConfig instead of this object",
        ),
    };
    match asked {
        Some(asked) => Err(Violation::new(rule, URL, message).decided_by([asked]).help(help)),
        None => Ok(()),
    }
}

fn matching(allow: &[UrlPattern], url: &SourceUrl<'_>, bindings: &Bindings<'_>) -> Option<usize> {
    allow.iter().position(|pattern| pattern.matches(url, bindings))
}

/// In order, without repeats.
pub(crate) fn unique(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts.dedup();
    texts
}

fn reference<'p>(
    config: &'p FluxConfig,
    kind: SourceKind,
    policies: &Selection<'p>,
) -> Result<Option<Field<&'p Reference>>, Violation> {
    const REF: &str = "spec.source.ref";
    let known = reference::fields_of(kind);
    let found = match &config.spec.source.reference {
        Some(found) => {
            if let Err((field, value, message)) = reference::check_shape(found) {
                let path = if field.is_empty() { REF.to_owned() } else { format!("{REF}.{field}") };
                return Err(Violation::new(Rule::InvalidRef, path, message)
                    .value(value)
                    .allowed(known.iter().map(|field| (*field).to_owned()).collect())
                    .help("set exactly one of them, well-formed"));
            }
            if !reference::fits(found, kind) {
                let violation = Violation::new(
                    Rule::InvalidRef,
                    REF,
                    format!(
                        "{} source does not have {}",
                        one(kind),
                        reference::parts(found).map(|(field, _)| field).next().unwrap_or("ref")
                    ),
                )
                .value(
                    reference::parts(found)
                        .map(|(field, text)| format!("{field}: {text}"))
                        .collect::<Vec<_>>()
                        .join(", "),
                );
                return Err(match kind {
                    SourceKind::Helm => violation.help("remove ref; the version of a chart is spec.chart.version"),
                    SourceKind::Bucket => violation.help("remove ref; a bucket has no versions"),
                    SourceKind::Git | SourceKind::Oci => violation
                        .allowed(known.iter().map(|field| (*field).to_owned()).collect())
                        .help("use a field that is allowed"),
                });
            }
            Some(Field::config(found))
        }
        None if known.is_empty() => None,
        None => {
            let Some(default) = default_reference(policies, kind)? else {
                return Err(Violation::new(
                    Rule::MissingRef,
                    REF,
                    format!(
                        "what of the source is synced is not given, and no policy has a default for {} sources",
                        name(kind)
                    ),
                )
                .allowed(known.iter().map(|field| (*field).to_owned()).collect())
                .help("add spec.source.ref with exactly one of them"));
            };
            Some(default)
        }
    };
    if kind == SourceKind::Oci
        && let Some(asked) = policies.asked("spec.sources.oci.requireDigest", requires_digest)
        && found.as_ref().is_none_or(|reference| reference.value.digest.is_none())
    {
        return Err(Violation::new(Rule::SourceDigestRequired, REF, NO_DIGEST)
            .allowed(vec!["digest: sha256:<64 hexadecimal digits>".to_owned()])
            .decided_by([asked])
            .help("set spec.source.ref.digest; `flux pull artifact` and registries show it"));
    }
    Ok(found)
}

/// The default of `ref`. It is for the kinds that know its field, so a policy for Git and one for OCI can stand side by side.
pub(crate) fn default_reference<'p>(
    policies: &Selection<'p>,
    kind: SourceKind,
) -> Result<Option<Field<&'p Reference>>, Violation> {
    policies.highest("spec.defaults.ref", |policy| {
        policy.defaults()?.reference.as_ref().filter(|reference| reference::fits(reference, kind))
    })
}

/// Whether teams may name Secrets of their own; the field that decided, if any did.
pub(crate) fn tenant_secrets(policies: &Selection<'_>) -> (bool, Option<PolicyField>) {
    policies.agreed("spec.tenantSecrets", |policy| Some(policy.spec.tenant_secrets? == TenantSecrets::Allow))
}

/// A Secret that the team names, if it may.
pub(crate) fn tenant_secret(policies: &Selection<'_>, field: String, name: &str) -> Result<SecretSource, Violation> {
    if let Err(error) = ObjectName::check(name) {
        return Err(Violation::new(Rule::InvalidName, field, show::no_name(&error))
            .value(name)
            .help("write the name of a Secret: lowercase letters, digits, - and ."));
    }
    match tenant_secrets(policies) {
        (true, _) => Ok(SecretSource::Tenant { name: name.to_owned(), authority: None }),
        (false, decided) => Err(Violation::new(
            Rule::TenantSecretNotAllowed,
            field,
            "policy does not let teams bring Secrets of their own",
        )
        .value(name)
        .decided_by(decided)
        .help("remove the reference: the platform's own credentials are used where policy has them")),
    }
}

fn credentials<'p>(
    config: &FluxConfig,
    url: &SourceUrl<'_>,
    place: &Placement<'p>,
) -> Result<Option<Credentials<'p>>, Violation> {
    if let Some(secret) = &config.spec.source.secret_ref {
        let field = "spec.source.secretRef.name".to_owned();
        let mut own = tenant_secret(&place.policies, field, &secret.name)?;
        if let SecretSource::Tenant { authority, .. } = &mut own {
            // Where policies contradict each other none of them is taken.
            let given = most_specific(place, url, "spec.credentials", |policy| &policy.credentials).ok().flatten();
            *authority = given.map(|given| given.name.into_owned());
        }
        return Ok(Some(Credentials::Own(own)));
    }
    Ok(most_specific(place, url, "spec.credentials", |policy| &policy.credentials)?.map(Credentials::Given))
}

/// A Secret whose pattern matches.
struct Match<'p> {
    specificity: usize,
    listed: Listed<'p>,
    secret: &'p SecretFor,
}

/// The Secret of the most specific match.
fn most_specific<'p>(
    place: &Placement<'p>,
    url: &SourceUrl<'_>,
    list: &'static str,
    secrets: impl Fn(&'p CompiledPolicy) -> &'p [SecretFor],
) -> Result<Option<Given<'p>>, Violation> {
    let bindings = place.bindings();
    let mut best: Option<Match<'_>> = None;
    // Another match, as specific as the best, that gives another Secret.
    let mut rival: Option<Match<'_>> = None;
    for policy in place.policies.iter() {
        for (index, secret) in secrets(policy).iter().enumerate() {
            if !secret.pattern.matches(url, &bindings) {
                continue;
            }
            let listed = Listed { policy, list, index };
            let found = Match { specificity: secret.pattern.specificity(), listed, secret };
            match &best {
                Some(best) if best.specificity > found.specificity => {}
                Some(best) if best.specificity == found.specificity => {
                    if rival.is_none()
                        && (best.secret.secret.as_str(), best.secret.expose) != (secret.secret.as_str(), secret.expose)
                    {
                        rival = Some(found);
                    }
                }
                _ => (best, rival) = (Some(found), None),
            }
        }
    }
    let Some(best) = best else { return Ok(None) };
    if let Some(rival) = rival {
        return Err(Violation::new(
            Rule::CredentialConflict,
            URL,
            format!(
                "{} of policy {} and {} of policy {} match equally well and give different Secrets",
                best.secret.pattern.as_str(),
                best.listed.policy.name,
                rival.secret.pattern.as_str(),
                rival.listed.policy.name
            ),
        )
        .value(url.as_str())
        .decided_by([best.listed.field(), rival.listed.field()])
        .help("an administrator makes one of them more specific, or the same"));
    }
    let Match { listed: by, secret: SecretFor { secret, expose, .. }, .. } = best;
    // A name without placeholders was judged when its policy was compiled.
    let name = if secret.is_literal() {
        Ok(Cow::Borrowed(secret.as_str()))
    } else {
        secret.expand(&bindings).map_err(|error| error.to_string()).and_then(|name| {
            ObjectName::check(&name).map_err(|error| show::no_name(&error))?;
            Ok(name)
        })
    };
    match name {
        Ok(name) => Ok(Some(Given { name, expose: *expose, by })),
        Err(error) => {
            Err(Violation::new(Rule::InvalidValue, URL, format!("the policy's Secret has no valid name: {error}"))
                .value(secret.as_str())
                .decided_by([by.field()])
                .help("an administrator corrects secretRef.name in the policy"))
        }
    }
}

/// Signed tags can be checked only where a tag is synced; of anything else Flux says so in every sync.
fn tag_mode(
    plan: Option<Field<VerificationPlan>>,
    reference: Option<&Field<&Reference>>,
) -> Result<Option<Field<VerificationPlan>>, Violation> {
    let Some(VerificationPlan::Git { mode: mode @ (VerificationMode::Tag | VerificationMode::TagAndHead), .. }) =
        plan.as_ref().map(|plan| &plan.value)
    else {
        return Ok(plan);
    };
    match reference.map(|reference| &reference.value) {
        Some(Reference { tag: None, semver: None, .. }) | None => Err(Violation::new(
            Rule::InvalidVerification,
            "spec.source.verify.mode",
            "a signed tag is asked for, and what is synced is no tag",
        )
        .value(if *mode == VerificationMode::Tag { "Tag" } else { "TagAndHEAD" })
        .allowed(vec!["HEAD".to_owned()])
        .help("sync a tag (spec.source.ref.tag or semver), or let the commit be signed: mode: HEAD")),
        Some(_) => Ok(plan),
    }
}

fn verification(
    config: &FluxConfig,
    kind: SourceKind,
    url: &SourceUrl<'_>,
    place: &Placement<'_>,
) -> Result<Option<Field<VerificationPlan>>, Violation> {
    const VERIFY: &str = "spec.source.verify";
    let required = place.policies.asked("spec.sources.requireVerification", requires_verification);
    let wanted = config.spec.source.verify.as_deref();
    if wanted.is_none() && required.is_none() {
        return Ok(None);
    }
    let signed = match kind {
        SourceKind::Git | SourceKind::Oci => true,
        SourceKind::Helm => url.scheme() == Scheme::Oci,
        SourceKind::Bucket => false,
    };
    if !signed {
        let violation = if let Some(required) = required {
            Violation::new(
                Rule::VerificationRequired,
                URL,
                format!("policy asks for signatures, and Flux cannot check any on {} source of this scheme", one(kind)),
            )
            .value(url.as_str())
            .decided_by([required])
        } else {
            Violation::new(
                Rule::InvalidVerification,
                VERIFY,
                format!("Flux cannot check signatures on {} source of this scheme", one(kind)),
            )
        };
        return Err(violation
            .allowed(["Git", "OCI", "Helm over oci://"].map(str::to_owned).to_vec())
            .help("use a source whose signatures can be checked"));
    }
    let git = kind == SourceKind::Git;
    if let Some(wanted) = wanted {
        let wrong = if git {
            wanted
                .provider
                .map(|_| "provider")
                .or((!wanted.match_oidc_identity.is_empty()).then_some("matchOidcIdentity"))
        } else {
            wanted.mode.map(|_| "mode")
        };
        if let Some(wrong) = wrong {
            return Err(Violation::new(
                Rule::InvalidVerification,
                format!("{VERIFY}.{wrong}"),
                format!("{wrong} is not for {} sources", name(kind)),
            )
            .allowed(vec![if git { "mode: HEAD | Tag | TagAndHEAD" } else { "provider: cosign | notation" }.to_owned()])
            .help(format!("remove {wrong}")));
        }
    }
    let own = wanted.and_then(|verify| verify.secret_ref.as_ref());
    let keys = match own {
        Some(secret) => {
            // Where policy asks for signatures, a key that the team brings proves nothing.
            if let Some(required) = required {
                return Err(Violation::new(
                    Rule::VerificationRequired,
                    format!("{VERIFY}.secretRef"),
                    "policy asks for signatures by keys that it gives, and these are keys of the team",
                )
                .value(secret.name.as_str())
                .decided_by([required])
                .help("remove secretRef: the policy's keys are used"));
            }
            Some(tenant_secret(&place.policies, format!("{VERIFY}.secretRef.name"), &secret.name).map(Field::config)?)
        }
        None => most_specific(place, url, "spec.sources.verificationKeys", |policy| &policy.verification_keys)?
            .map(|given| given.secret()),
    };
    let keyless = wanted.is_some_and(|verify| !verify.match_oidc_identity.is_empty());
    let origin = match (wanted, &required) {
        (Some(_), _) | (None, None) => Origin::FluxConfig,
        (None, Some(required)) => Origin::Policy(required.clone()),
    };
    let plan = match (git, keys) {
        (true, Some(keys)) => VerificationPlan::Git {
            mode: wanted.and_then(|verify| verify.mode).unwrap_or(VerificationMode::Head),
            keys: keys.value,
        },
        (false, keys) if keys.is_some() || (keyless && required.is_none()) => VerificationPlan::Oci {
            provider: wanted.and_then(|verify| verify.provider).unwrap_or(VerificationProvider::Cosign),
            keys: keys.map(|keys| keys.value),
            identities: wanted.map(|verify| verify.match_oidc_identity.clone()).unwrap_or_default(),
        },
        (_, _) => {
            let violation = match required {
                Some(required) => Violation::new(
                    Rule::VerificationRequired,
                    URL,
                    "policy asks for signatures, and no policy has keys for this source",
                )
                .decided_by([required]),
                None => Violation::new(
                    Rule::InvalidVerification,
                    VERIFY,
                    "no policy has keys for this source, and none are named",
                ),
            };
            return Err(violation
                .value(url.as_str())
                .help("an administrator adds the public keys to spec.sources.verificationKeys of a FluxPolicy"));
        }
    };
    Ok(Some(Field { value: plan, origin }))
}
