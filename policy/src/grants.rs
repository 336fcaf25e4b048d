//! Dangerous grants: what a policy may say, but somebody should look at.

use crate::{
    compile::CompiledPolicy,
    grammar::Danger,
    rule::Rule,
    verdict::{FieldPath, Violation},
};

/// ClusterRoles that reach beyond a namespace, or let their holder give out more than it has, wherever they are bound.
const POWERFUL_ROLES: [&str; 2] = ["cluster-admin", "admin"];

/// Warnings about a policy: `**`, plain http, whole hosts, every namespace, exposed credentials, powerful roles.
pub fn dangerous_grants(policy: &CompiledPolicy) -> Vec<Violation> {
    let mut found = Vec::new();
    let CompiledPolicy { git, helm, oci, bucket, images, credentials, verification_keys, destinations, spec, .. } =
        policy;
    for (field, list) in [
        ("spec.sources.git.allow", &git.allow),
        ("spec.sources.helm.allow", &helm.allow),
        ("spec.sources.oci.allow", &oci.allow),
        ("spec.sources.bucket.allow", &bucket.allow),
    ] {
        for (index, pattern) in list.iter().enumerate() {
            found.extend(
                pattern.dangers().map(|danger| warn(danger, format!("{field}[{index}]").into(), pattern.as_str())),
            );
        }
    }
    for (index, pattern) in images.allow.iter().enumerate() {
        found.extend(
            pattern
                .dangers()
                .map(|danger| warn(danger, format!("spec.images.allow[{index}]").into(), pattern.as_str())),
        );
    }
    for (list, secrets) in [("spec.credentials", credentials), ("spec.sources.verificationKeys", verification_keys)] {
        for (index, secret) in secrets.iter().enumerate() {
            // A whole host is what a credential is usually for; everything, or in clear text, is not.
            let dangers = secret.pattern.dangers().filter(|danger| *danger != Danger::WholeHost);
            found.extend(
                dangers.map(|danger| warn(danger, format!("{list}[{index}].match").into(), secret.pattern.as_str())),
            );
            if secret.expose {
                found.push(
                    Violation::new(
                        Rule::ExposesCredential,
                        format!("{list}[{index}].expose"),
                        format!("teams can read the Secret {}", secret.secret.as_str()),
                    )
                    .value("true")
                    .help("leave expose out and use agents with placement Isolated, or give each team a credential of its own with ${tenant}"),
                );
            }
        }
    }
    for (index, destination) in destinations.iter().enumerate() {
        for (number, pattern) in destination.namespaces.iter().enumerate() {
            if pattern.matches_everything() {
                found.push(
                    Violation::new(
                        Rule::GrantsEveryNamespace,
                        format!("spec.destinations[{index}].namespaces[{number}]"),
                        "tenants may deploy to every namespace that is not the platform's",
                    )
                    .value(pattern.as_str())
                    .help("name namespaces by tenant, such as \"${tenant}\" and \"${tenant}-*\""),
                );
            }
        }
    }
    if let Some(role) = &spec.role
        && POWERFUL_ROLES.contains(&role.as_str())
    {
        found.push(
            Violation::new(
                Rule::PowerfulRole,
                "spec.role",
                format!("the ClusterRole {role} reaches beyond what a tenant deploys"),
            )
            .value(role.as_str())
            .help(
                "use sluicegate-tenant, or a role without rights on roles, bindings, quotas and cluster-wide objects",
            ),
        );
    }
    found
}

fn warn(danger: Danger, field: FieldPath, pattern: &str) -> Violation {
    let (rule, message, help) = match danger {
        Danger::Everything => (Rule::GrantsEverything, "this allows everything", "name hosts and paths"),
        Danger::PlainHttp => {
            (Rule::GrantsPlainHttp, "plain http: whoever is on the way can read and change what is synced", "use https")
        }
        Danger::WholeHost => (
            Rule::GrantsWholeHost,
            "this allows all of a host, other people's repositories included",
            "add path segments, such as ${tenant}",
        ),
    };
    Violation::new(rule, field, message).value(pattern).help(help)
}
