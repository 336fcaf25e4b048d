//! Plain words for what Flux says in riddles.

/// What a message of Flux means to the one who reads it, where that is not plain from the message. One line, without a full
/// stop; the message itself is always shown beside it.
pub fn hint(message: &str) -> Option<&'static str> {
    HINTS.iter().find(|(parts, _)| parts.iter().all(|part| message.contains(part))).map(|(_, hint)| *hint)
}

/// Parts that must all occur in a message, and its meaning. The first that fits counts, so special ones come first.
const HINTS: &[(&[&str], &str)] = &[
    (
        &["failed to get server groups: unknown"],
        "the agent may not act as the tenant's reconciler: its account, or the right to impersonate it, is missing",
    ),
    (
        &["secrets", "is forbidden", "-controller\" cannot get resource"],
        "this names a Secret that the agent is not allowed to read",
    ),
    (
        &["query", "secrets is forbidden", "cannot list resource"],
        "the reconciler may not keep Helm's release records in the target namespace: the tenant's role lacks rights on Secrets",
    ),
    (
        &["Failed to purge the release", "is forbidden"],
        "the chart's objects are gone, but the reconciler may not delete Helm's release record: the tenant's role lacks rights \
         on Secrets",
    ),
    (
        &["health check failed", "is forbidden", "cannot list"],
        "the reconciler may not look at the health of what it deployed: the tenant's role lacks the right to list it",
    ),
    (
        &["namespaces \"", "\" is forbidden"],
        "the source holds a Namespace; tenants deploy to the namespaces they were given",
    ),
    (
        &["is forbidden", "at the cluster scope"],
        "the source holds an object for the whole cluster, or one without a namespace; tenants deploy to their namespaces only",
    ),
    (
        &["is forbidden: User \"system:serviceaccount:", "in the namespace"],
        "the tenant's role does not allow this object in that namespace",
    ),
    (
        &["cross-namespace references have been blocked"],
        "Flux objects may refer only to objects in their own namespace",
    ),
    (
        &["failed to get secret", "not found"],
        "the Secret with the credentials for this source does not exist where the agent looks for it",
    ),
    (&["failed to get secret", "forbidden"], "the agent may not read the Secret with the credentials for this source"),
    (
        &["authentication required"],
        "the server wants credentials for this URL, and got none or wrong ones; it may also say so of what does not exist",
    ),
    (&["unable to authenticate"], "the server refuses the credentials for this URL"),
    (&["knownhosts:"], "the server's SSH host key is not the one that the credentials name"),
    (&["x509:"], "the server's TLS certificate is not trusted"),
    (&["couldn't find remote ref"], "the repository has no such branch or tag: look at spec.source.ref"),
    (
        &["no match found for semver"],
        "no tag of the repository is in the range of versions: look at spec.source.ref.semver",
    ),
    (&["repository not found"], "there is no repository at this URL, or the credentials do not show it"),
    (&["kustomization path not found"], "the source has no such folder at this revision: look at spec.path"),
    (&["invalid chart reference"], "the repository has no chart of that name and version: look at spec.chart"),
    (&["fs-security-constraint"], "a file of the source refers to something outside of the source"),
    (
        &["no matches for kind"],
        "the cluster does not know this kind in this version: its CustomResourceDefinition is missing or another",
    ),
    (
        &["timeout waiting for:"],
        "what was deployed did not become healthy in time: look at these objects' pods and events",
    ),
    (&["connect: connection refused"], "nothing answers at this address"),
    (&["server misbehaving"], "the host name cannot be resolved"),
    (&["no such host"], "the host name cannot be resolved"),
    (&["i/o timeout"], "the server does not answer"),
];

#[cfg(test)]
mod tests {
    use super::{HINTS, hint};

    #[test]
    fn says_what_a_refused_impersonation_is() {
        let text = "Service/ns/app-svc dry-run failed (Forbidden): failed to get server groups: unknown";
        assert!(hint(text).unwrap().contains("act as the tenant's reconciler"));
    }

    #[test]
    fn tells_the_agents_own_rights_from_the_tenants() {
        let agent = r#"substitute from 'Secret/x' error: secrets "x" is forbidden: User "system:serviceaccount:a:kustomize-controller" cannot get resource "secrets" in API group "" in the namespace "a""#;
        let tenant = r#"ConfigMap/b/c dry-run failed (Forbidden): configmaps "c" is forbidden: User "system:serviceaccount:a:reconciler" cannot patch resource "configmaps" in API group "" in the namespace "b""#;
        assert!(hint(agent).unwrap().contains("Secret that the agent"));
        assert!(hint(tenant).unwrap().contains("tenant's role"));
    }

    #[test]
    fn leaves_plain_messages_alone() {
        assert_eq!(hint("dependency 'ns/x' is not ready"), None);
        assert_eq!(hint("stored artifact for revision 'main@sha1:0123'"), None);
        assert_eq!(hint(""), None);
    }

    #[test]
    fn every_hint_can_be_reached() {
        for (parts, text) in HINTS {
            let message = parts.join(" … ");
            assert_eq!(hint(&message), Some(*text), "shadowed: {message}");
        }
    }
}
