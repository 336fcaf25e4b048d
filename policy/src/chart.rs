//! Helm: the chart of a release, and where its values come from.

use sluicegate_crds::{FluxConfig, SourceKind, ValuesKind};

use crate::{
    delivery,
    grammar::{Bindings, ChartName, NamespaceName, ObjectName, RepoPath, SemverRange, SourceUrl},
    placement::Placement,
    rule::Rule,
    set::Selection,
    show, source,
    verdict::Violation,
};

const CHART: &str = "spec.chart";
const NAME: &str = "spec.chart.name";

/// Judges the chart. Violations are added to `found`.
pub(crate) fn judge(
    config: &FluxConfig,
    url: &SourceUrl<'_>,
    kind: SourceKind,
    place: &Placement<'_>,
    found: &mut Vec<Violation>,
) {
    let Some(chart) = config.spec.chart.as_deref() else {
        if kind == SourceKind::Helm {
            found.push(
                Violation::new(Rule::InvalidChart, "spec", "a Helm source needs a chart, and none is given")
                    .help("add spec.chart.name with the name of a chart in the repository"),
            );
        }
        return;
    };
    if let Err(violation) = delivery::feature(&place.policies, "helm", CHART, |features| features.helm) {
        found.push(violation);
        return;
    }
    match (kind, &chart.name) {
        (SourceKind::Helm, None) => found.push(
            Violation::new(Rule::InvalidChart, CHART, "the chart has no name, and a Helm repository holds many")
                .help("add spec.chart.name"),
        ),
        (SourceKind::Helm, Some(name)) => {
            found.extend(allow(name, url, &place.policies, &place.bindings()).err());
        }
        (SourceKind::Git | SourceKind::Oci | SourceKind::Bucket, None) => {}
        (SourceKind::Git | SourceKind::Oci | SourceKind::Bucket, Some(name)) => {
            let help = if kind == SourceKind::Oci {
                "remove name: the source's URL is the chart"
            } else {
                "remove name, and write the folder of the chart to spec.path"
            };
            found.push(
                Violation::new(
                    Rule::InvalidChart,
                    NAME,
                    format!("a chart from {} source has no name", source::one(kind)),
                )
                .value(name.as_str())
                .help(help),
            );
        }
    }
    if let Some(version) = &chart.version {
        if kind != SourceKind::Helm {
            found.push(
                Violation::new(
                    Rule::InvalidChart,
                    "spec.chart.version",
                    format!("the version of a chart from {} source is that of the source", source::one(kind)),
                )
                .value(version.as_str())
                .help("remove version, and use spec.source.ref"),
            );
        } else if let Err(error) = SemverRange::parse(version.as_str()) {
            found.push(
                Violation::new(Rule::InvalidChart, "spec.chart.version", error.to_string())
                    .value(version.as_str())
                    .help("write a version or a range, such as 1.2.3 or 1.2.x"),
            );
        }
    }
    if let Some(name) = &chart.release_name
        && let Err(message) = release_name(name)
    {
        found.push(
            Violation::new(Rule::InvalidName, "spec.chart.releaseName", message)
                .value(name.as_str())
                .help("lowercase letters, digits and - are allowed, at most 53, and the first and last is no -"),
        );
    }
    if kind == SourceKind::Oci && !chart.values_files.is_empty() {
        // Flux takes such a chart as it is (`HelmRelease.spec.chartRef` knows no files of values).
        found.push(
            Violation::new(
                Rule::InvalidChart,
                "spec.chart.valuesFiles",
                "a chart from an OCI source is taken as it is, without other files of values",
            )
            .help("write the values to spec.chart.values")
            .help("or name the registry as a Helm source and the chart by spec.chart.name"),
        );
    }
    values(config, place, found);
}

/// Helm keeps ten characters of the 63 of a label for itself.
const LONGEST_RELEASE: usize = 53;

fn release_name(name: &str) -> Result<(), String> {
    match NamespaceName::check(name) {
        Ok(()) if name.len() > LONGEST_RELEASE => Err(format!("a release has at most {LONGEST_RELEASE} characters")),
        Ok(()) => Ok(()),
        Err(error) => Err(error.reason().to_string()),
    }
}

fn values(config: &FluxConfig, place: &Placement<'_>, found: &mut Vec<Violation>) {
    let Some(chart) = config.spec.chart.as_deref() else { return };
    for (index, reference) in chart.values_from.iter().enumerate() {
        let field = format!("spec.chart.valuesFrom[{index}].name");
        match reference.kind {
            ValuesKind::Secret => found.extend(source::tenant_secret(&place.policies, field, &reference.name).err()),
            ValuesKind::ConfigMap => {
                if let Err(error) = ObjectName::check(&reference.name) {
                    found.push(
                        Violation::new(Rule::InvalidName, field, show::no_name(&error))
                            .value(reference.name.as_str())
                            .help("write the name of a ConfigMap: lowercase letters, digits, - and ."),
                    );
                }
            }
        }
    }
    for (index, file) in chart.values_files.iter().enumerate() {
        if let Err(error) = RepoPath::parse(file.as_str()) {
            found.push(delivery::invalid_path(format!("spec.chart.valuesFiles[{index}]"), file, &error.to_string()));
        }
    }
}

/// Whether the policies allow a chart: no deny matches, and some policy allows both the chart and its repository.
pub(crate) fn allow(
    name: &str,
    url: &SourceUrl<'_>,
    policies: &Selection<'_>,
    bindings: &Bindings<'_>,
) -> Result<(), Violation> {
    if let Err(error) = ChartName::check(name) {
        return Err(Violation::new(Rule::InvalidChart, NAME, show::no_name(&error))
            .value(name)
            .help("write the name of a chart in the repository"));
    }
    for policy in policies.iter() {
        if let Some(index) = policy.charts.deny.iter().position(|pattern| pattern.denies(name, bindings)) {
            return Err(Violation::new(Rule::ChartDenied, NAME, format!("policy {} denies this chart", policy.name))
                .value(name)
                .decided_by([policy.field(format!("spec.sources.helm.charts.deny[{index}]"))])
                .help("a deny wins over every allow: use another chart, or ask an administrator"));
        }
    }
    let mut allowed = Vec::new();
    let mut decided_by = Vec::new();
    let mut repository_allowed = false;
    for policy in
        policies.iter().filter(|policy| policy.helm.allow.iter().any(|pattern| pattern.matches(url, bindings)))
    {
        repository_allowed = true;
        if policy.charts.allow.iter().any(|pattern| pattern.matches(name, bindings)) {
            return Ok(());
        }
        decided_by.push(policy.field("spec.sources.helm.charts.allow"));
        allowed.extend(policy.charts.allow.iter().map(|pattern| show::expanded(pattern.as_str(), bindings)));
    }
    if !repository_allowed {
        // The repository's own violation says it all.
        return Ok(());
    }
    let violation =
        Violation::new(Rule::ChartNotAllowed, NAME, format!("no policy allows chart {name} from this repository"))
            .value(name)
            .decided_by(decided_by);
    if allowed.is_empty() {
        return Err(violation.help("the policies that allow the repository allow no chart in it: an administrator adds charts.allow, where \"*\" says every chart"));
    }
    let closest = show::closest(name, allowed.iter().map(String::as_str)).map(str::to_owned);
    let violation = violation
        .allowed(source::unique(allowed))
        .help("use a chart that is allowed, or ask an administrator to allow this one");
    Err(match &closest {
        Some(closest) => violation.help(format!("did you mean {closest}?")),
        None => violation,
    }
    .suggestion(closest))
}
