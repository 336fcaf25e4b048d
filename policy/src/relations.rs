//! What one FluxConfig means to the others: one tenant a target, no more FluxConfigs than allowed, dependencies that exist.

use foldhash::HashSet;
use sluicegate_crds::FluxConfig;

use crate::{
    facts::Facts,
    placement::Placement,
    rule::Rule,
    show, tenancy,
    verdict::{ObjectRef, Violation},
};

/// Judges a FluxConfig beside the others. Violations are added to `found`.
pub(crate) fn judge(config: &FluxConfig, place: &Placement<'_>, facts: &Facts, found: &mut Vec<Violation>) {
    let home = config.metadata.namespace.as_deref().unwrap_or_default();
    let name = config.metadata.name.as_deref().unwrap_or_default();
    if facts.times(home, name) > 1 {
        found.push(
            Violation::new(
                Rule::DuplicateObject,
                "metadata.name",
                format!("FluxConfig {home}/{name} is declared {} times", facts.times(home, name)),
            )
            .value(name)
            .related([object(home, name)])
            .help("rename or remove all but one"),
        );
    }
    tenancy::judge(place, facts, home, name, found);
    number(place, facts, home, name, found);
    if !config.spec.depends_on.is_empty() {
        dependencies(config, facts, home, name, found);
    }
}

fn object(home: &str, name: &str) -> ObjectRef {
    ObjectRef { kind: "FluxConfig", namespace: home.to_owned(), name: name.to_owned() }
}

fn number(place: &Placement<'_>, facts: &Facts, home: &str, name: &str, found: &mut Vec<Violation>) {
    let limit = place.policies.strictest(
        "spec.limits.fluxConfigs",
        |policy| policy.spec.limits.as_ref()?.flux_configs,
        |a, b| a < b,
    );
    let Some((most, field)) = limit else { return };
    let Some((rank, number)) = facts.beyond(most as usize, &place.tenant, home, name) else { return };
    found.push(
        Violation::new(
            Rule::TooManyFluxConfigs,
            "metadata.name",
            format!(
                "this is FluxConfig {} of {number} that tenant {} has, counted by age, and policy {} allows {most}",
                rank + 1,
                place.tenant,
                field.policy
            ),
        )
        .value(name)
        .allowed(vec![format!("{most} or fewer")])
        .decided_by([field])
        .help("remove FluxConfigs that are not needed, or ask an administrator for a higher limit"),
    );
}

fn dependencies(config: &FluxConfig, facts: &Facts, home: &str, name: &str, found: &mut Vec<Violation>) {
    let mut dead = HashSet::default();
    for (index, dependency) in config.spec.depends_on.iter().enumerate() {
        let field = || format!("spec.dependsOn[{index}].name");
        if dependency.name == name {
            found.push(
                Violation::new(Rule::DependencyCycle, field(), "a FluxConfig cannot depend on itself")
                    .value(name)
                    .help("remove the dependency"),
            );
        } else if facts.depends_on(home, &dependency.name).is_none() {
            let others: Vec<&str> = facts.names(home).filter(|other| *other != name).collect();
            let closest = show::closest(&dependency.name, others.iter().copied()).map(str::to_owned);
            let violation = Violation::new(
                Rule::UnknownDependency,
                field(),
                format!("there is no FluxConfig {home}/{}", dependency.name),
            )
            .value(dependency.name.as_str())
            .allowed(others.iter().map(|other| (*other).to_owned()).collect());
            found.push(
                match &closest {
                    Some(closest) => violation.help(format!("did you mean {closest}?")),
                    None => violation.help("name a FluxConfig of the same namespace, or remove the dependency"),
                }
                .suggestion(closest),
            );
        } else if let Some(cycle) = cycle(facts, home, name, &dependency.name, &mut dead) {
            found.push(
                Violation::new(
                    Rule::DependencyCycle,
                    field(),
                    format!("the dependencies lead back here: {}", cycle.join(" -> ")),
                )
                .value(dependency.name.as_str())
                .related(cycle.iter().skip(1).take(cycle.len().saturating_sub(2)).map(|other| object(home, other)))
                .help("remove one dependency of the cycle"),
            );
        }
    }
}

/// The way from `start` over `next` back to `start`, if there is one. `dead` are those from which no way leads back; each
/// is looked at once, however many ways lead to it.
fn cycle<'f>(
    facts: &'f Facts,
    home: &str,
    start: &'f str,
    next: &'f str,
    dead: &mut HashSet<&'f str>,
) -> Option<Vec<&'f str>> {
    let after = |name: &str| facts.depends_on(home, name).unwrap_or_default().iter();
    let mut way = vec![start, next];
    let mut open = vec![after(next)];
    dead.insert(next);
    while let Some(dependencies) = open.last_mut() {
        match dependencies.next() {
            Some(found) if found == start => {
                // From these a way does lead back.
                way.iter().for_each(|name| _ = dead.remove(name));
                way.push(start);
                return Some(way);
            }
            Some(found) if dead.insert(found) => {
                way.push(found);
                open.push(after(found));
            }
            Some(_) => {}
            None => {
                way.pop();
                open.pop();
            }
        }
    }
    None
}
