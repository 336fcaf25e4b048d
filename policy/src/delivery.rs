//! How the source is deployed: path, intervals, decryption, substitution, notifications, bounds of lists.

use std::{borrow::Cow, time::Duration};

use sluicegate_crds::{Channel, Features, FluxConfig, NotificationSeverity, SourceKind, bounds};

use crate::{
    compile::Templated,
    grammar::{self, ImagePattern, ObjectName, RepoPath},
    image,
    placement::Placement,
    rule::Rule,
    set::{self, Selection},
    show, source,
    verdict::{DecryptionPlan, Field, FieldPath, Origin, SecretSource, Subscription, Violation},
};

/// Bounds of lists, the same that the CRD's schema has.
pub(crate) fn bounds(config: &FluxConfig, found: &mut Vec<Violation>) {
    let spec = &config.spec;
    let mut bounded = |field: &'static str, number: usize, most: usize| {
        if number > most {
            found.push(
                Violation::new(Rule::OutOfBounds, field, format!("{number} entries, at most {most} are allowed"))
                    .value(number.to_string())
                    .help("split the FluxConfig in two"),
            );
        }
    };
    bounded("spec.images", spec.images.len(), bounds::CONFIG_IMAGES);
    bounded("spec.dependsOn", spec.depends_on.len(), bounds::ITEMS);
    bounded("spec.substitute", spec.substitute.len(), bounds::ENTRIES);
    bounded("spec.notify", spec.notify.len(), bounds::ITEMS);
    if let Some(chart) = &spec.chart {
        bounded("spec.chart.valuesFrom", chart.values_from.len(), bounds::ITEMS);
        bounded("spec.chart.valuesFiles", chart.values_files.len(), bounds::ITEMS);
    }
    if let Some(updates) = &spec.image_updates {
        bounded("spec.imageUpdates.images", updates.images.len(), bounds::ITEMS);
    }
}

/// A feature that is used must be on: some policy says true and none says false.
pub(crate) fn feature(
    policies: &Selection<'_>,
    name: &'static str,
    used_by: &'static str,
    value: impl Fn(&Features) -> Option<bool>,
) -> Result<(), Violation> {
    let field = match name {
        "helm" => "spec.features.helm",
        "imageUpdates" => "spec.features.imageUpdates",
        _ => "spec.features.decryption",
    };
    let (on, decided) = policies.agreed(field, |policy| value(policy.spec.features.as_ref()?));
    if on {
        return Ok(());
    }
    let message = match &decided {
        Some(decided) => format!("policy {} turns the feature {name} off", decided.policy),
        None => format!("no policy turns the feature {name} on"),
    };
    Err(Violation::new(Rule::FeatureOff, used_by, message)
        .decided_by(decided)
        .help(format!("remove {used_by}"))
        .help(format!("an administrator turns it on with features.{name}: true in a FluxPolicy")))
}

/// Folder in the source; none where the kind has no folders.
pub(crate) fn path<'p>(
    config: &'p FluxConfig,
    kind: SourceKind,
    place: &Placement<'p>,
) -> Result<Option<Field<Cow<'p, str>>>, Violation> {
    const PATH: &str = "spec.path";
    let whole = kind == SourceKind::Helm || (kind == SourceKind::Oci && config.spec.chart.is_some());
    if whole {
        return match &config.spec.path {
            None => Ok(None),
            Some(path) => Err(Violation::new(
                Rule::InvalidPath,
                PATH,
                format!("a chart from {} source has no path", source::one(kind)),
            )
            .value(path.as_str())
            .help("remove path")),
        };
    }
    if let Some(path) = &config.spec.path {
        return match RepoPath::parse(path.as_str()) {
            Ok(_) => Ok(Some(Field::config(Cow::Borrowed(path.as_str())))),
            Err(error) => Err(invalid_path(PATH, path, &error.to_string())),
        };
    }
    let default = place.policies.highest("spec.defaults.path", |policy| {
        Some(Templated { text: policy.defaults()?.path.as_deref()?, template: policy.path.as_ref()? })
    })?;
    let Some(Field { value: Templated { text, template }, origin }) = default else {
        return Ok(Some(Field::built_in(Cow::Borrowed("./"))));
    };
    // A path without placeholders was judged when its policy was compiled.
    let checked = if template.is_literal() {
        Ok(Cow::Borrowed(text))
    } else {
        template.expand(&place.bindings()).map_err(|error| error.to_string()).and_then(|path| {
            RepoPath::parse(&path).map_err(|error| error.to_string())?;
            Ok(path)
        })
    };
    match checked {
        Ok(path) => Ok(Some(Field { value: path, origin })),
        Err(error) => {
            let violation = invalid_path(PATH, text, &format!("the policy's default is no path: {error}"));
            Err(match origin {
                Origin::Policy(field) => violation.decided_by([field]),
                Origin::FluxConfig | Origin::BuiltIn => violation,
            })
        }
    }
}

pub(crate) fn invalid_path(field: impl Into<FieldPath>, path: &str, error: &str) -> Violation {
    Violation::new(Rule::InvalidPath, field, error.to_owned())
        .value(path)
        .allowed(["./", "./deploy/prod", "deploy/values.yaml"].map(str::to_owned).to_vec())
        .help("write a path that begins at the root of the source and does not leave it")
}

/// Interval, retry interval, timeout, time to live.
#[derive(Debug)]
pub(crate) struct Times {
    pub(crate) interval: Field<Duration>,
    pub(crate) retry_interval: Option<Field<Duration>>,
    pub(crate) timeout: Option<Field<Duration>>,
    pub(crate) ttl: Option<Duration>,
}

/// How often a source is looked at when nobody says.
const INTERVAL: Duration = Duration::from_secs(5 * 60);

pub(crate) fn times(config: &FluxConfig, policies: &Selection<'_>) -> Result<Times, Vec<Violation>> {
    let spec = &config.spec;
    let mut found = Vec::new();
    let mut note = |violation| found.push(violation);
    let interval = duration("spec.interval", spec.interval.as_deref())
        .and_then(|set| {
            or_default(set, || policies.highest("spec.defaults.interval", |policy| policy.durations.interval))
        })
        .map_err(&mut note)
        .ok()
        .flatten()
        .unwrap_or_else(|| Field::built_in(INTERVAL));
    let retry_interval = duration("spec.retryInterval", spec.retry_interval.as_deref())
        .and_then(|set| {
            or_default(set, || {
                policies.highest("spec.defaults.retryInterval", |policy| policy.durations.retry_interval)
            })
        })
        .map_err(&mut note)
        .ok()
        .flatten();
    let timeout = duration("spec.timeout", spec.timeout.as_deref())
        .and_then(|set| {
            or_default(set, || policies.highest("spec.defaults.timeout", |policy| policy.durations.timeout))
        })
        .map_err(&mut note)
        .ok()
        .flatten();
    let shortest = policies.strictest("spec.limits.minInterval", |policy| policy.durations.min_interval, |a, b| a > b);
    if let Some((shortest, field)) = shortest {
        for (name, value) in [("spec.interval", Some(&interval)), ("spec.retryInterval", retry_interval.as_ref())] {
            let Some(value) = value.filter(|value| value.value < shortest) else { continue };
            let shown = grammar::format_duration(value.value);
            let least = grammar::format_duration(shortest);
            let mut violation = Violation::new(
                Rule::IntervalTooShort,
                name,
                format!("{shown} is shorter than {least}, the least that policy {} allows", field.policy),
            )
            .value(shown)
            .allowed(vec![format!("{least} or more")])
            .decided_by([field.clone()])
            .help(format!("write {least}"))
            .suggestion(Some(least));
            if let Origin::Policy(default) = &value.origin {
                violation = violation
                    .decided_by([default.clone()])
                    .help("the value is a policy's default: an administrator mends it");
            }
            note(violation);
        }
    }
    let ttl = match &spec.ttl {
        None => None,
        Some(text) => match grammar::parse_duration_with_days(text) {
            Ok(ttl) if ttl.is_zero() => {
                note(no_time("spec.ttl", text));
                None
            }
            Ok(ttl) => Some(ttl),
            Err(error) => {
                note(
                    Violation::new(Rule::InvalidDuration, "spec.ttl", error.to_string())
                        .value(text.as_str())
                        .help("write hours or days, such as 12h or 3d"),
                );
                None
            }
        },
    };
    let longest = policies.strictest("spec.limits.maxTtl", |policy| policy.durations.max_ttl, |a, b| a < b);
    if let (Some(ttl), Some((longest, field))) = (ttl, longest)
        && ttl > longest
    {
        let most = show::days(longest);
        note(
            Violation::new(
                Rule::TtlTooLong,
                "spec.ttl",
                format!("this is longer than {most}, the most that policy {} allows", field.policy),
            )
            .value(spec.ttl.as_deref().unwrap_or_default())
            .allowed(vec![format!("{most} or less")])
            .decided_by([field])
            .help(format!("write {most} or less")),
        );
    }
    if found.is_empty() { Ok(Times { interval, retry_interval, timeout, ttl }) } else { Err(found) }
}

fn duration(field: &'static str, text: Option<&str>) -> Result<Option<Field<Duration>>, Violation> {
    let Some(text) = text else { return Ok(None) };
    match grammar::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err(no_time(field, text)),
        Ok(duration) => Ok(Some(Field::config(duration))),
        Err(error) => Err(Violation::new(Rule::InvalidDuration, field, error.to_string())
            .value(text)
            .help("write hours, minutes, seconds or milliseconds, such as 1h30m or 90s")),
    }
}

/// To Flux an interval of zero means never again, and a timeout of zero fails every sync.
fn no_time(field: &'static str, text: &str) -> Violation {
    Violation::new(Rule::InvalidDuration, field, "no time at all")
        .value(text)
        .help("write a duration that is longer than 0s, or remove the field")
}

fn or_default(
    set: Option<Field<Duration>>,
    default: impl FnOnce() -> Result<Option<Field<Duration>>, Violation>,
) -> Result<Option<Field<Duration>>, Violation> {
    match set {
        Some(set) => Ok(Some(set)),
        None => default(),
    }
}

/// What kustomize-controller does with manifests is not done with charts.
fn not_for_charts(field: &'static str, what: &str) -> Violation {
    Violation::new(
        Rule::SourceKindMismatch,
        field,
        format!("{what} is for manifests, and this FluxConfig deploys a chart"),
    )
    .help(format!("remove {what}"))
}

/// SOPS: the team's key where it may bring one, else the policy's.
pub(crate) fn decryption(
    config: &FluxConfig,
    place: &Placement<'_>,
) -> Result<Option<Field<DecryptionPlan>>, Violation> {
    const DECRYPTION: &str = "spec.decryption";
    let policies = &place.policies;
    let on = || feature(policies, "decryption", DECRYPTION, |features| features.decryption);
    let wanted = config.spec.decryption.as_ref();
    if config.spec.chart.is_some() {
        // helm-controller has no decryption (HelmRelease.spec knows no such field); a policy's key is no use to it.
        return match wanted {
            None => Ok(None),
            Some(_) => {
                Err(not_for_charts(DECRYPTION, "decryption")
                    .help("put secret values into a Secret that the chart names"))
            }
        };
    }
    if let Some(secret) = wanted.and_then(|decryption| decryption.secret_ref.as_ref()) {
        on()?;
        let keys = source::tenant_secret(policies, format!("{DECRYPTION}.secretRef.name"), &secret.name)?;
        return Ok(wanted.map(|decryption| Field::config(DecryptionPlan { provider: decryption.provider, keys })));
    }
    let default = policies.highest("spec.defaults.decryption", |policy| {
        let decryption = policy.defaults()?.decryption.as_ref()?;
        let text = decryption.secret_ref.as_ref()?.name.as_str();
        Some((decryption.provider, Templated { text, template: policy.decryption_key.as_ref()? }))
    })?;
    match (wanted, default) {
        (None, None) => Ok(None),
        // A default is an offer: where the feature is off it is not taken.
        (None, Some(_)) if on().is_err() => Ok(None),
        (Some(_), None) => {
            on()?;
            Err(Violation::new(
                Rule::MissingDecryptionKey,
                DECRYPTION,
                "no key to decrypt with: no policy has one for this tenant",
            )
            .help("an administrator sets defaults.decryption.secretRef in a FluxPolicy"))
        }
        (wanted, Some(Field { value: (provider, Templated { template, .. }), origin })) => {
            on()?;
            let name = template
                .expand(&place.bindings())
                .map_err(|error| error.to_string())
                .and_then(|name| ObjectName::new(name).map_err(|error| show::no_name(&error)))
                .map_err(|error| {
                    Violation::new(
                        Rule::MissingDecryptionKey,
                        DECRYPTION,
                        format!("the policy's key has no valid name: {error}"),
                    )
                    .value(template.as_str())
                    .help("an administrator corrects defaults.decryption.secretRef.name in the policy")
                })?;
            let provider = wanted.map_or(provider, |wanted| wanted.provider);
            // A key of the team's own opens nothing but the team's own secrets; a key of several teams is not to be read.
            let own = template.as_str().contains("${tenant}");
            let keys = SecretSource::Platform { name: name.as_str().to_owned(), expose: own };
            Ok(Some(Field { value: DecryptionPlan { provider, keys }, origin }))
        }
    }
}

/// Names of values to substitute are variable names of Flux (`Kustomization.spec.postBuild.substitute`).
pub(crate) fn substitute(config: &FluxConfig, found: &mut Vec<Violation>) {
    if config.spec.chart.is_some() && !config.spec.substitute.is_empty() {
        found.push(not_for_charts("spec.substitute", "substitute").help("write the values to spec.chart.values"));
    }
    for (name, value) in &config.spec.substitute {
        let mut bytes = name.bytes();
        let good = bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !good {
            found.push(
                Violation::new(
                    Rule::InvalidSubstitution,
                    format!("spec.substitute[{name:?}]"),
                    "this is no variable name",
                )
                .value(name.as_str())
                .allowed(vec!["letters, digits and _, the first no digit".to_owned()])
                .help("rename the variable here and in the manifests"),
            );
        }
        if value.len() > bounds::TEXT {
            found.push(
                Violation::new(
                    Rule::OutOfBounds,
                    format!("spec.substitute[{name:?}]"),
                    format!("{} bytes, at most {} are allowed", value.len(), bounds::TEXT),
                )
                .help("put long texts into a file in the source"),
            );
        }
    }
}

/// Channels that policy offers.
pub(crate) fn notify(config: &FluxConfig, policies: &Selection<'_>) -> Result<Vec<Subscription>, Vec<Violation>> {
    let mut found = Vec::new();
    let mut chosen = Vec::with_capacity(config.spec.notify.len());
    for (index, wanted) in config.spec.notify.iter().enumerate() {
        let offered = policies.highest("spec.channels", |policy| {
            policy.spec.channels.iter().find(|channel| channel.name == wanted.channel)
        });
        match offered {
            Ok(Some(channel)) => {
                let severity = wanted.severity.unwrap_or(NotificationSeverity::Error);
                chosen.push(Subscription { channel: Channel::clone(channel.value), severity });
            }
            Ok(None) => found.push(unknown_channel(index, &wanted.channel, policies)),
            Err(conflict) => found.push(conflict),
        }
    }
    if found.is_empty() { Ok(chosen) } else { Err(found) }
}

fn unknown_channel(index: usize, wanted: &str, policies: &Selection<'_>) -> Violation {
    let names: Vec<&str> =
        policies.iter().flat_map(|policy| &policy.spec.channels).map(|channel| channel.name.as_str()).collect();
    let closest = show::closest(wanted, names.iter().copied()).map(str::to_owned);
    let violation = Violation::new(
        Rule::UnknownChannel,
        format!("spec.notify[{index}].channel"),
        format!("policy offers no channel {wanted:?}"),
    )
    .value(wanted)
    .allowed(source::unique(names.iter().map(|name| (*name).to_owned()).collect()));
    match &closest {
        Some(closest) => violation.help(format!("did you mean {closest}?")),
        None => violation.help("choose a channel that policy offers, or ask an administrator for one"),
    }
    .suggestion(closest)
}

/// The team's own image patterns: well-formed, and with something in common with what policy allows.
pub(crate) fn images(config: &FluxConfig, place: &Placement<'_>, found: &mut Vec<Violation>) {
    let bindings = place.bindings();
    for (index, text) in config.spec.images.iter().enumerate() {
        let field: FieldPath = format!("spec.images[{index}]").into();
        match ImagePattern::parse(text) {
            Err(error) => found.push(
                Violation::new(Rule::InvalidPattern, field, error.reason().to_string())
                    .value(text.as_str())
                    .suggestion(error.canonical().map(str::to_owned))
                    .allowed(
                        [
                            "registry.example.com/team/app",
                            "registry.example.com/team/*",
                            "registry.example.com/team/**",
                        ]
                        .map(str::to_owned)
                        .to_vec(),
                    )
                    .help("write registry and repository; * stands for one segment, ** for one or more at the end"),
            ),
            Ok(pattern) => {
                if let Err(violation) = image::narrows(&pattern, &place.policies, &bindings, &field) {
                    found.push(violation);
                }
            }
        }
    }
}

/// Conflicts between the defaults of policies: those fields that are read here.
pub(crate) fn conflicts(policies: &Selection<'_>) -> impl Iterator<Item = Violation> {
    [
        policies.highest("spec.defaults.path", |policy| policy.defaults()?.path.as_deref()).err(),
        policies.highest("spec.defaults.interval", |policy| policy.durations.interval).err(),
        policies.highest("spec.defaults.retryInterval", |policy| policy.durations.retry_interval).err(),
        policies.highest("spec.defaults.timeout", |policy| policy.durations.timeout).err(),
        policies.highest("spec.defaults.decryption", |policy| policy.defaults()?.decryption.as_ref()).err(),
        channel_conflict(policies),
    ]
    .into_iter()
    .flatten()
}

fn channel_conflict(policies: &Selection<'_>) -> Option<Violation> {
    let all: Vec<_> =
        policies.iter().flat_map(|policy| policy.spec.channels.iter().map(move |channel| (policy, channel))).collect();
    for (index, (policy, channel)) in all.iter().enumerate() {
        for (earlier, other) in &all[..index] {
            if other.name == channel.name && earlier.priority == policy.priority && other != channel {
                return Some(set::conflict("spec.channels", earlier, policy));
            }
        }
    }
    None
}
