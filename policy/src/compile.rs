//! One FluxPolicy, compiled: every text parsed once, every error with its place.
//!
//! A policy with any error is not used at all. It is kept as an [`InvalidPolicy`], and every tenant that it selects is
//! denied, since what it would have denied is not known (fail closed).

use std::{sync::Arc, time::Duration};

use sluicegate_crds::{
    Channel, Defaults, Destination, FluxCluster, FluxPolicy, FluxPolicySpec, PatternList, Reference, bounds,
};

use crate::{
    egress::{self, EgressPlan},
    grammar::{
        self, Bindings, ClusterId, ImagePattern, ImageRef, NamePattern, ObjectName, PatternError, Template, UrlPattern,
    },
    reference,
    rule::Rule,
    select::{self, Matcher},
    show,
    verdict::{FieldPath, PolicyField, Violation},
};

/// How patterns are written, for messages.
const URL_EXAMPLE: &str = "https://git.example.com/${tenant}/**";
const NAME_EXAMPLE: &str = "team-a or team-*";

/// Compiled allow and deny lists.
#[derive(Clone, Debug)]
pub(crate) struct Rules<P> {
    pub(crate) allow: Vec<P>,
    pub(crate) deny: Vec<P>,
}

/// A compiled destination.
#[derive(Clone, Debug)]
pub(crate) struct CompiledDestination {
    pub(crate) clusters: Matcher,
    pub(crate) namespaces: Vec<NamePattern>,
    pub(crate) create_namespace: bool,
}

/// A Secret of the platform for the sources that match.
#[derive(Clone, Debug)]
pub(crate) struct SecretFor {
    pub(crate) pattern: UrlPattern,
    pub(crate) secret: Template,
    pub(crate) expose: bool,
}

/// An entry of a list of a policy. The text of the field is made only for those who ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed<'p> {
    pub(crate) policy: &'p CompiledPolicy,
    /// Path of the list, such as `spec.destinations`.
    pub(crate) list: &'static str,
    pub(crate) index: usize,
}

impl Listed<'_> {
    pub(crate) fn field(&self) -> PolicyField {
        self.policy.field(format!("{}[{}]", self.list, self.index))
    }
}

/// A template with the text that it was parsed from; the texts are compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Templated<'p> {
    pub(crate) text: &'p str,
    pub(crate) template: &'p Template,
}

impl PartialEq for Templated<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Durations of a policy, parsed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durations {
    pub(crate) interval: Option<Duration>,
    pub(crate) retry_interval: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) min_interval: Option<Duration>,
    pub(crate) max_ttl: Option<Duration>,
    pub(crate) sleep_after: Option<Duration>,
}

/// A FluxPolicy without errors, ready to be asked.
#[derive(Clone, Debug)]
pub struct CompiledPolicy {
    pub(crate) name: Arc<str>,
    pub(crate) tenants: Matcher,
    /// `None`: every cluster.
    pub(crate) clusters: Option<Matcher>,
    pub(crate) priority: i32,
    pub(crate) git: Rules<UrlPattern>,
    pub(crate) helm: Rules<UrlPattern>,
    pub(crate) oci: Rules<UrlPattern>,
    pub(crate) bucket: Rules<UrlPattern>,
    pub(crate) charts: Rules<NamePattern>,
    pub(crate) images: Rules<ImagePattern>,
    pub(crate) destinations: Vec<CompiledDestination>,
    pub(crate) credentials: Vec<SecretFor>,
    pub(crate) verification_keys: Vec<SecretFor>,
    pub(crate) namespace: Option<Template>,
    pub(crate) path: Option<Template>,
    pub(crate) decryption_key: Option<Template>,
    pub(crate) durations: Durations,
    pub(crate) egress: Option<EgressPlan>,
    /// What needs no parsing is read from here.
    pub(crate) spec: FluxPolicySpec,
}

impl CompiledPolicy {
    /// Name of the FluxPolicy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the policy out of use for a reason that the engine does not see, such as an unknown field in its file. Every
    /// tenant that it selects is then denied.
    pub fn reject(self) -> InvalidPolicy {
        InvalidPolicy { name: self.name, tenants: Some(self.tenants), errors: Vec::new() }
    }

    pub(crate) fn field(&self, field: impl Into<FieldPath>) -> PolicyField {
        PolicyField { policy: Arc::clone(&self.name), field: field.into() }
    }

    pub(crate) fn defaults(&self) -> Option<&Defaults> {
        self.spec.defaults.as_deref()
    }
}

/// A FluxPolicy with errors.
#[derive(Clone, Debug)]
pub struct InvalidPolicy {
    pub(crate) name: Arc<str>,
    /// Whom it selects; `None`: that is not known either, so everybody.
    pub(crate) tenants: Option<Matcher>,
    pub(crate) errors: Vec<Violation>,
}

impl InvalidPolicy {
    /// A policy of which nothing but the name is known, such as one that cannot be decoded. It selects every tenant.
    pub fn unreadable(name: &str) -> Self {
        Self { name: name.into(), tenants: None, errors: Vec::new() }
    }

    /// Name of the FluxPolicy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is wrong with it.
    pub fn errors(&self) -> &[Violation] {
        &self.errors
    }
}

/// Compiles a FluxPolicy.
///
/// # Errors
/// All errors of the policy at once, each with the path of its field.
pub fn compile(policy: &FluxPolicy) -> Result<CompiledPolicy, InvalidPolicy> {
    let name: Arc<str> = policy.metadata.name.as_deref().unwrap_or_default().into();
    let mut compiler = Compiler { errors: Vec::new() };
    if let Err(error) = ObjectName::check(&name) {
        compiler.errors.push(
            Violation::new(Rule::InvalidValue, "metadata.name", show::no_name(&error))
                .value(name.as_ref())
                .help("lowercase letters, digits, - and . are allowed"),
        );
    }
    let tenants = compiler.tenants(&policy.spec);
    let compiled = compiler.policy(policy, Arc::clone(&name), tenants.clone());
    match (compiled, compiler.errors) {
        (Some(compiled), errors) if errors.is_empty() => Ok(compiled),
        (_, errors) => Err(InvalidPolicy { name, tenants, errors }),
    }
}

fn is_tag(tag: &str) -> bool {
    let image = format!("registry.example.com/image:{tag}");
    ImageRef::parse(&image).is_ok_and(|image| image.tag() == Some(tag) && image.digest().is_none())
}

/// Whether images can be named by appending their names: with the host written out, so that no default applies.
fn is_registry(registry: &str) -> bool {
    let image = format!("{registry}/image");
    ImageRef::parse(&image).is_ok_and(|parsed| {
        parsed.tag().is_none() && parsed.digest().is_none() && registry.starts_with(parsed.host_with_port())
    })
}

/// Names of ClusterRoles may be what a segment of a path may be (`ValidatePathSegmentName` of Kubernetes).
fn is_role(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/%".contains(&byte))
}

/// What is wrong with a FluxCluster; empty when nothing is.
pub fn check_cluster(cluster: &FluxCluster) -> Vec<Violation> {
    let mut errors = Vec::new();
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    if let Err(error) = ClusterId::check(name) {
        errors.push(
            Violation::new(Rule::InvalidName, "metadata.name", show::no_name(&error))
                .value(name)
                .help("the name is the id that teams write to spec.cluster: a DNS label"),
        );
    }
    let connection = &cluster.spec.connection;
    if connection.in_cluster.is_some() == connection.kubeconfig.is_some() {
        let found = if connection.in_cluster.is_some() { "both are set" } else { "neither is set" };
        errors.push(
            Violation::new(
                Rule::InvalidConnection,
                "spec.connection",
                format!("exactly one of inCluster, kubeconfig is needed, {found}"),
            )
            .allowed(vec!["inCluster: {}".to_owned(), "kubeconfig: {secretRef: {name: …}}".to_owned()])
            .help("use inCluster for the cluster that the operator runs on, kubeconfig for any other"),
        );
    }
    if let Some(kubeconfig) = &connection.kubeconfig
        && let Err(error) = ObjectName::check(&kubeconfig.secret_ref.name)
    {
        errors.push(no_secret("spec.connection.kubeconfig.secretRef.name", &kubeconfig.secret_ref.name, &error));
    }
    if let Some(flux) = &cluster.spec.flux {
        if let Some(version) = &flux.version
            && let Err(error) = grammar::SemverRange::parse(version.as_str())
        {
            errors.push(
                Violation::new(Rule::InvalidValue, "spec.flux.version", error.to_string())
                    .value(version.as_str())
                    .help("write a Flux release or a range, such as 2.9.3 or 2.9.x"),
            );
        }
        if flux.crds == Some(sluicegate_crds::CrdManagement::Managed) && flux.artifact.is_none() {
            errors.push(
                Violation::new(Rule::MissingField, "spec.flux", "crds: Managed needs artifact")
                    .help("set artifact to the OCI repository with the releases' manifests"),
            );
        }
        if let Some(artifact) = &flux.artifact
            && let Some(why) = match grammar::SourceUrl::parse(artifact) {
                Err(error) => Some(error.reason().to_string()),
                Ok(url) if url.scheme() != grammar::Scheme::Oci => Some("the artifact is no OCI repository".to_owned()),
                Ok(_) => None,
            }
        {
            errors.push(
                Violation::new(Rule::InvalidUrl, "spec.flux.artifact", why)
                    .value(artifact.as_str())
                    .help("write it as in oci://ghcr.io/fluxcd/flux-manifests; the tag is the release"),
            );
        }
        if let Some(secret) = &flux.artifact_secret_ref
            && let Err(error) = ObjectName::check(&secret.name)
        {
            errors.push(no_secret("spec.flux.artifactSecretRef.name", &secret.name, &error));
        }
    }
    errors
}

/// A name that no Secret can have.
fn no_secret(field: &'static str, name: &str, error: &grammar::NameError) -> Violation {
    Violation::new(Rule::InvalidValue, field, show::no_name(error))
        .value(name)
        .help("write the name of a Secret in the operator's namespace")
}

struct Compiler {
    errors: Vec<Violation>,
}

impl Compiler {
    fn error(&mut self, rule: Rule, field: impl Into<FieldPath>, value: &str, message: impl ToString, help: &str) {
        self.errors.push(Violation::new(rule, field, message.to_string()).value(value).help(help));
    }

    fn pattern_error(&mut self, field: String, value: &str, error: &PatternError, example: &str) {
        let canonical = error.canonical().map(str::to_owned);
        let violation = Violation::new(Rule::InvalidPattern, field, error.reason().to_string()).value(value);
        self.errors.push(
            match &canonical {
                Some(canonical) => violation.help(format!("write {canonical}")),
                None => violation.help(format!("write it as in {example}")),
            }
            .suggestion(canonical),
        );
    }

    fn bounded(&mut self, field: &str, found: usize, most: usize) {
        if found > most {
            self.errors.push(
                Violation::new(
                    Rule::OutOfBounds,
                    field.to_owned(),
                    format!("{found} entries, at most {most} are allowed"),
                )
                .help("split the policy in two: all policies that select a tenant apply together"),
            );
        }
    }

    /// Parses each text of a list; an error is noted and the entry left out, which is fine since the policy is then not used.
    fn list<P>(
        &mut self,
        field: &str,
        texts: &[String],
        example: &str,
        parse: impl Fn(&str) -> Result<P, PatternError>,
    ) -> Vec<P> {
        self.bounded(field, texts.len(), bounds::PATTERNS);
        let mut parsed = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            match parse(text) {
                Ok(pattern) => parsed.push(pattern),
                Err(error) => self.pattern_error(format!("{field}[{index}]"), text, &error, example),
            }
        }
        parsed
    }

    fn rules<P>(
        &mut self,
        field: &str,
        allow: &[String],
        deny: &[String],
        example: &str,
        parse: impl Fn(&str) -> Result<P, PatternError>,
    ) -> Rules<P> {
        Rules {
            allow: self.list(&format!("{field}.allow"), allow, example, &parse),
            deny: self.list(&format!("{field}.deny"), deny, example, &parse),
        }
    }

    fn pattern_list<P>(
        &mut self,
        field: &str,
        list: Option<&PatternList>,
        example: &str,
        parse: impl Fn(&str) -> Result<P, PatternError>,
    ) -> Rules<P> {
        let (allow, deny) = list.map_or((&[][..], &[][..]), |list| (&list.allow, &list.deny));
        self.rules(field, allow, deny, example, parse)
    }

    fn matcher(
        &mut self,
        (names_field, selector_field): (&str, &str),
        parent: &str,
        names: &[String],
        selector: Option<&sluicegate_crds::Selector>,
    ) -> Option<Matcher> {
        self.bounded(names_field, names.len(), bounds::PATTERNS);
        if names.is_empty() && selector.is_none() {
            self.errors.push(
                Violation::new(
                    Rule::MissingField,
                    parent.to_owned(),
                    "nothing is selected: neither names nor labels are given",
                )
                .help(format!("set {names_field} (\"*\" says every) or {selector_field}")),
            );
            return None;
        }
        let before = self.errors.len();
        for (index, name) in names.iter().enumerate() {
            if name.contains("${") {
                self.error(
                    Rule::InvalidPattern,
                    format!("{names_field}[{index}]"),
                    name,
                    "placeholders have no value here",
                    "use `*`, which stands for any run of characters",
                );
            }
        }
        for (field, text, message) in selector.map(select::faults).unwrap_or_default() {
            let help = "such a selector selects nothing, and with it would go what this policy denies: correct it";
            self.error(Rule::InvalidValue, format!("{selector_field}.{field}"), &text, message, help);
        }
        match Matcher::new(names, selector) {
            Ok(matcher) if self.errors.len() == before => Some(matcher),
            Ok(_) => None,
            Err(errors) => {
                for (index, error) in errors {
                    self.pattern_error(format!("{names_field}[{index}]"), &names[index], &error, NAME_EXAMPLE);
                }
                None
            }
        }
    }

    fn tenants(&mut self, spec: &FluxPolicySpec) -> Option<Matcher> {
        self.matcher(
            ("spec.tenants.names", "spec.tenants.selector"),
            "spec.tenants",
            &spec.tenants.names,
            spec.tenants.selector.as_ref(),
        )
    }

    /// A template, judged by what it gives with a name of one letter in each placeholder.
    fn template(
        &mut self,
        field: &str,
        text: Option<&str>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<Template> {
        const SAMPLE: Bindings<'static> = Bindings { tenant: "x", namespace: "x", cluster: "x" };
        let text = text?;
        match Template::parse(text) {
            Ok(template) => {
                let expanded = template.expand(&SAMPLE).map_err(|error| error.to_string());
                if let Err(message) = expanded.and_then(|text| check(&text)) {
                    self.error(Rule::InvalidValue, field.to_owned(), text, message, "correct the text");
                }
                Some(template)
            }
            Err(error) => {
                let help = "write a name, with ${tenant} where the tenant's stands";
                self.error(Rule::InvalidPattern, field.to_owned(), text, error, help);
                None
            }
        }
    }

    fn secret_name(&mut self, field: &str, text: Option<&str>) -> Option<Template> {
        self.template(field, text, |name| ObjectName::check(name).map_err(|error| show::no_name(&error)))
    }

    fn duration(&mut self, field: &'static str, text: Option<&str>, days: bool) -> Option<Duration> {
        let text = text?;
        let parsed = if days { grammar::parse_duration_with_days(text) } else { grammar::parse_duration(text) };
        let help = if days { "write it as in 12h or 7d" } else { "write it as in 90s, 5m or 1h30m" };
        match parsed {
            Ok(duration) if duration.is_zero() => {
                self.error(Rule::InvalidDuration, field, text, "no time at all", help);
                None
            }
            Ok(duration) => Some(duration),
            Err(error) => {
                self.error(Rule::InvalidDuration, field, text, error, help);
                None
            }
        }
    }

    fn secret_for(&mut self, field: &str, pattern: &str, secret: &str, expose: bool) -> Option<SecretFor> {
        let secret = self.secret_name(&format!("{field}.secretRef.name"), Some(secret));
        match UrlPattern::parse(pattern) {
            Ok(pattern) => Some(SecretFor { pattern, secret: secret?, expose }),
            Err(error) => {
                self.pattern_error(format!("{field}.match"), pattern, &error, URL_EXAMPLE);
                None
            }
        }
    }

    fn destination(&mut self, index: usize, destination: &Destination) -> Option<CompiledDestination> {
        let field = format!("spec.destinations[{index}]");
        let clusters = self.matcher(
            (&format!("{field}.clusters"), &format!("{field}.clusterSelector")),
            &field,
            &destination.clusters,
            destination.cluster_selector.as_ref(),
        );
        if destination.namespaces.is_empty() {
            self.errors.push(
                Violation::new(Rule::MissingField, format!("{field}.namespaces"), "no namespaces are given")
                    .help("name the namespaces that tenants may deploy to, such as \"${tenant}\""),
            );
        }
        let namespaces = self.list(
            &format!("{field}.namespaces"),
            &destination.namespaces,
            "\"${tenant}\" or \"${tenant}-*\"",
            NamePattern::parse,
        );
        for (index, namespace) in destination.namespaces.iter().enumerate() {
            if namespace.contains("${namespace}") {
                let message = "`${namespace}` stands for the namespace itself, so this allows every namespace";
                let help = "name namespaces by tenant, such as \"${tenant}-*\"; \"*\" says every namespace out loud";
                self.error(Rule::InvalidPattern, format!("{field}.namespaces[{index}]"), namespace, message, help);
            }
        }
        Some(CompiledDestination {
            clusters: clusters?,
            namespaces,
            create_namespace: destination.create_namespace.unwrap_or(false),
        })
    }

    /// A policy for some clusters only cannot decide where a FluxConfig goes: that is decided before the cluster is known.
    fn scope(&mut self, spec: &FluxPolicySpec) {
        let mut refuse = |present: bool, field: &'static str| {
            if present {
                self.errors.push(
                    Violation::new(
                        Rule::PolicyScope,
                        field,
                        format!("where a FluxConfig goes is decided before its cluster is known, so a policy with clusters cannot set {field}"),
                    )
                    .help("move it to a policy without spec.clusters"),
                );
            }
        };
        refuse(!spec.destinations.is_empty(), "spec.destinations");
        let defaults = spec.defaults.as_deref();
        refuse(defaults.is_some_and(|defaults| defaults.cluster.is_some()), "spec.defaults.cluster");
        refuse(defaults.is_some_and(|defaults| defaults.namespace.is_some()), "spec.defaults.namespace");
    }

    fn defaults(&mut self, defaults: Option<&Defaults>) {
        let Some(defaults) = defaults else { return };
        if let Some(cluster) = &defaults.cluster
            && let Err(error) = ClusterId::check(cluster)
        {
            self.error(
                Rule::InvalidValue,
                "spec.defaults.cluster",
                cluster,
                show::no_name(&error),
                "write the id of a FluxCluster",
            );
        }
        if let Some(namespace) = &defaults.namespace
            && namespace.contains("${namespace}")
        {
            self.error(
                Rule::InvalidPattern,
                "spec.defaults.namespace",
                namespace,
                "`${namespace}` cannot stand for itself",
                "use ${tenant} or ${cluster}",
            );
        }
        if let Some(found) = &defaults.reference {
            self.reference(found);
        }
        if defaults.decryption.as_ref().is_some_and(|decryption| decryption.secret_ref.is_none()) {
            self.errors.push(
                Violation::new(
                    Rule::MissingField,
                    "spec.defaults.decryption.secretRef",
                    "a default for decryption names no key",
                )
                .help("set secretRef.name to a Secret with the private keys, such as sops-${tenant}"),
            );
        }
    }

    fn reference(&mut self, found: &Reference) {
        if let Err((field, value, message)) = reference::check_shape(found) {
            let field =
                if field.is_empty() { "spec.defaults.ref".to_owned() } else { format!("spec.defaults.ref.{field}") };
            let help = "set exactly one of branch, tag, semver, commit, digest, well-formed";
            self.error(Rule::InvalidRef, field, &value, message, help);
        }
    }

    fn channels(&mut self, channels: &[Channel]) {
        self.bounded("spec.channels", channels.len(), bounds::ITEMS);
        for (index, channel) in channels.iter().enumerate() {
            let field = format!("spec.channels[{index}]");
            if channels[..index].iter().any(|earlier| earlier.name == channel.name) {
                self.error(
                    Rule::InvalidValue,
                    format!("{field}.name"),
                    &channel.name,
                    "this name is taken by an earlier channel",
                    "give each channel a name of its own",
                );
            }
            if channel.address.is_none() && channel.secret_ref.is_none() {
                self.errors.push(
                    Violation::new(Rule::MissingField, field.clone(), "a channel needs address or secretRef")
                        .help("set address, or secretRef to a Secret that holds it"),
                );
            }
            self.template(&format!("{field}.channel"), channel.channel.as_deref(), |_| Ok(()));
            self.secret_name(
                &format!("{field}.secretRef.name"),
                channel.secret_ref.as_ref().map(|secret| secret.name.as_str()),
            );
        }
    }

    fn policy(&mut self, policy: &FluxPolicy, name: Arc<str>, tenants: Option<Matcher>) -> Option<CompiledPolicy> {
        let spec = &policy.spec;
        let every_cluster = spec
            .clusters
            .as_ref()
            .is_none_or(|clusters| clusters.selector.is_none() && clusters.names.iter().any(|name| name == "*"));
        let scope = spec.clusters.as_ref().map(|clusters| {
            self.matcher(
                ("spec.clusters.names", "spec.clusters.selector"),
                "spec.clusters",
                &clusters.names,
                clusters.selector.as_ref(),
            )
        });
        if !every_cluster {
            self.scope(spec);
        }
        let sources = spec.sources.as_ref();
        let git =
            self.pattern_list("spec.sources.git", sources.and_then(|s| s.git.as_ref()), URL_EXAMPLE, UrlPattern::parse);
        let bucket = self.pattern_list(
            "spec.sources.bucket",
            sources.and_then(|s| s.bucket.as_ref()),
            "https://s3.example.com/${tenant}",
            UrlPattern::parse,
        );
        let helm_sources = sources.and_then(|s| s.helm.as_ref());
        let (allow, deny) = helm_sources.map_or((&[][..], &[][..]), |helm| (&helm.allow, &helm.deny));
        let helm = self.rules("spec.sources.helm", allow, deny, "https://charts.example.com/stable", UrlPattern::parse);
        let charts = self.pattern_list(
            "spec.sources.helm.charts",
            helm_sources.and_then(|helm| helm.charts.as_ref()),
            "redis or nginx-*",
            NamePattern::parse,
        );
        let oci_sources = sources.and_then(|s| s.oci.as_ref());
        let (allow, deny) = oci_sources.map_or((&[][..], &[][..]), |oci| (&oci.allow, &oci.deny));
        let oci =
            self.rules("spec.sources.oci", allow, deny, "oci://registry.example.com/${tenant}/**", UrlPattern::parse);
        let (allow, deny) = spec.images.as_ref().map_or((&[][..], &[][..]), |images| (&images.allow, &images.deny));
        let images = self.rules("spec.images", allow, deny, "registry.example.com/${tenant}/**", ImagePattern::parse);
        for (index, tag) in spec.images.iter().flat_map(|images| &images.deny_tags).enumerate() {
            if !is_tag(tag) {
                self.error(
                    Rule::InvalidPattern,
                    format!("spec.images.denyTags[{index}]"),
                    tag,
                    "no image can have this tag, so nothing would be denied",
                    "write a tag in full, such as latest; there are no wildcards",
                );
            }
        }
        self.bounded("spec.destinations", spec.destinations.len(), bounds::ITEMS);
        let destinations = spec
            .destinations
            .iter()
            .enumerate()
            .filter_map(|(index, destination)| self.destination(index, destination))
            .collect();
        self.bounded("spec.credentials", spec.credentials.len(), bounds::PATTERNS);
        let credentials = spec
            .credentials
            .iter()
            .enumerate()
            .filter_map(|(index, credential)| {
                let field = format!("spec.credentials[{index}]");
                self.secret_for(
                    &field,
                    &credential.pattern,
                    &credential.secret_ref.name,
                    credential.expose.unwrap_or(false),
                )
            })
            .collect();
        let keys = sources.map_or(&[][..], |sources| &sources.verification_keys);
        self.bounded("spec.sources.verificationKeys", keys.len(), bounds::PATTERNS);
        let verification_keys = keys
            .iter()
            .enumerate()
            .filter_map(|(index, key)| {
                let field = format!("spec.sources.verificationKeys[{index}]");
                self.secret_for(&field, &key.pattern, &key.secret_ref.name, false)
            })
            .collect();
        self.channels(&spec.channels);
        let defaults = spec.defaults.as_deref();
        self.defaults(defaults);
        let namespace =
            self.template("spec.defaults.namespace", defaults.and_then(|d| d.namespace.as_deref()), |name| {
                grammar::NamespaceName::check(name).map_err(|error| show::no_name(&error))
            });
        let path = self.template("spec.defaults.path", defaults.and_then(|d| d.path.as_deref()), |path| {
            grammar::RepoPath::parse(path).map(drop).map_err(|error| error.to_string())
        });
        let decryption_key = self.secret_name(
            "spec.defaults.decryption.secretRef.name",
            defaults.and_then(|d| Some(d.decryption.as_ref()?.secret_ref.as_ref()?.name.as_str())),
        );
        let limits = spec.limits.as_ref();
        let durations = Durations {
            interval: self.duration("spec.defaults.interval", defaults.and_then(|d| d.interval.as_deref()), false),
            retry_interval: self.duration(
                "spec.defaults.retryInterval",
                defaults.and_then(|d| d.retry_interval.as_deref()),
                false,
            ),
            timeout: self.duration("spec.defaults.timeout", defaults.and_then(|d| d.timeout.as_deref()), false),
            min_interval: self.duration(
                "spec.limits.minInterval",
                limits.and_then(|l| l.min_interval.as_deref()),
                false,
            ),
            max_ttl: self.duration("spec.limits.maxTtl", limits.and_then(|l| l.max_ttl.as_deref()), true),
            sleep_after: self.duration(
                "spec.agent.sleepAfter",
                spec.agent.as_deref().and_then(|a| a.sleep_after.as_deref()),
                false,
            ),
        };
        if let Some(version) = spec.agent.as_deref().and_then(|agent| agent.version.as_deref())
            && let Err(error) = grammar::SemverRange::parse(version)
        {
            let help = "write a Flux release or a range, such as 2.9.3 or 2.9.x";
            self.error(Rule::InvalidValue, "spec.agent.version", version, error, help);
        }
        if let Some(registry) = spec.agent.as_deref().and_then(|agent| agent.image_registry.as_deref())
            && !is_registry(registry)
        {
            let message = "this is no registry with a folder";
            let help = "write host and folder, such as ghcr.io/fluxcd";
            self.error(Rule::InvalidValue, "spec.agent.imageRegistry", registry, message, help);
        }
        let egress = spec.agent.as_deref().and_then(|agent| agent.egress.as_ref());
        let egress = egress.map(|egress| egress::compile(egress, &mut self.errors));
        if let Some(role) = &spec.role
            && !is_role(role)
        {
            let message = "this is no name of a ClusterRole";
            self.error(Rule::InvalidValue, "spec.role", role, message, "write the name of a ClusterRole in full");
        }
        let clusters = match scope {
            None => None,
            Some(matcher) => Some(matcher?).filter(|_| !every_cluster),
        };
        Some(CompiledPolicy {
            name,
            tenants: tenants?,
            clusters,
            priority: spec.priority.unwrap_or(0),
            git,
            helm,
            oci,
            bucket,
            charts,
            images,
            destinations,
            credentials,
            verification_keys,
            namespace,
            path,
            decryption_key,
            durations,
            egress,
            spec: spec.clone(),
        })
    }
}
