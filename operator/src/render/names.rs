//! Names of what is rendered. Two different things never get the same name, whatever teams and tenants are called:
//!
//! - parts are joined by `--`, and where a part has that in itself the name ends in a hash of all parts;
//! - a name that is too long is cut and ends in that hash;
//! - a name that looks as if it ended in a hash gets one.

use sha2::{Digest, Sha256};
use sluicegate_crds::Placement;
use sluicegate_policy::verdict::Resolved;

use super::AgentId;

/// ServiceAccount that the controllers impersonate for the only tenant of an agent.
pub(crate) const RECONCILER: &str = sluicegate_policy::workload::RECONCILER;
/// ServiceAccount that nobody has created and nobody has given a right: what Flux takes for an object that names none.
pub(crate) const NOBODY: &str = "sluicegate-nobody";
/// Longest DNS label, and longest value of a label.
const LABEL: usize = 63;
/// Longest name of a release: Helm keeps ten characters of a label for itself.
const RELEASE: usize = 53;
/// Longest name of a Secret.
const OBJECT: usize = 253;
/// Hexadecimal digits of a hash in a name.
const HASH: usize = 10;

/// Hash of a text, for names.
pub(crate) fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(HASH / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// `text`, and a hash of `all` behind it where it is too long, could be taken for one with a hash, or must have one.
fn bounded(text: &str, all: &str, longest: usize, must: bool) -> String {
    let hashed = text
        .rsplit_once('-')
        .is_some_and(|(_, end)| end.len() == HASH && end.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    if text.len() <= longest && !hashed && !must {
        return text.to_owned();
    }
    let kept = text.get(..text.len().min(longest - HASH - 1)).unwrap_or_default().trim_end_matches(['-', '.']);
    format!("{kept}-{}", hash(all))
}

fn joined(parts: &[&str], longest: usize) -> String {
    // `/` is in no part.
    bounded(&parts.join("--"), &parts.join("/"), longest, parts.iter().any(|part| part.contains("--")))
}

/// Namespace of a tenant's own agent.
pub(super) fn isolated(tenant: &str) -> String {
    // `sluicegate-system` is the operator's.
    bounded(&format!("sluicegate-{tenant}"), tenant, LABEL, tenant == "system")
}

/// Namespace of the pool that serves a tenant, by rendezvous hashing: adding a tenant moves no other, and another number
/// of pools moves only those whose pool is new or gone.
pub(super) fn pooled(tenant: &str, pools: u32) -> String {
    let weight = |pool: &u32| <[u8; 32]>::from(Sha256::digest(format!("{pool}/{tenant}").as_bytes()));
    format!("{POOL}{}", (1..=pools.max(1)).max_by_key(weight).unwrap_or(1))
}

/// Namespaces of pools begin with this, and no tenant's own does: no tenant's name begins with `-`.
const POOL: &str = "sluicegate--pool-";

/// Whether a namespace has the name of an agent with a namespace of its own, for this tenant where one is named.
pub(crate) fn may_serve(namespace: &str, tenant: Option<&str>) -> bool {
    let pool = namespace.strip_prefix(POOL).is_some_and(|number| number.parse::<u32>().is_ok());
    pool || match tenant {
        Some(tenant) => namespace == isolated(tenant),
        None => namespace.starts_with("sluicegate-") && namespace != sluicegate_crds::SYSTEM_NAMESPACE,
    }
}

/// ServiceAccount that the controllers of an agent impersonate for a tenant.
pub(super) fn reconciler(placement: Placement, tenant: &str) -> String {
    match placement {
        Placement::Namespace | Placement::Isolated => RECONCILER.to_owned(),
        Placement::Pooled => bounded(&format!("reconciler-{tenant}"), tenant, LABEL, false),
    }
}

/// RoleBinding of a tenant's reconciler in a target namespace. The role is part of the name, since a binding cannot be
/// given another role.
pub(super) fn binding(agent: &AgentId, tenant: &str, role: &str) -> String {
    format!("sluicegate-{tenant}-{}", hash(&format!("{}/{tenant}/{role}", agent.namespace)))
}

/// Name of the objects of the FluxConfig `home/name` in its agent's namespace.
pub(super) fn config(resolved: &Resolved, name: &str) -> String {
    let (tenant, home) = (resolved.tenant.as_str(), &*resolved.home);
    match (resolved.terms.standing.agent.placement.value, home == tenant) {
        (Placement::Pooled, true) => joined(&[tenant, name], LABEL),
        (Placement::Pooled, false) => joined(&[tenant, home, name], LABEL),
        (Placement::Namespace | Placement::Isolated, true) => joined(&[name], LABEL),
        (Placement::Namespace | Placement::Isolated, false) => joined(&[home, name], LABEL),
    }
}

/// Name of a Helm release where the FluxConfig gives none.
pub(super) fn release(resolved: &Resolved) -> String {
    let (home, name) = (&*resolved.home, &*resolved.name);
    if home == resolved.tenant.as_str() { joined(&[name], RELEASE) } else { joined(&[home, name], RELEASE) }
}

/// Copy of a Secret of the platform. It has no `--` in it but before a hash.
pub(super) fn platform_copy(name: &str) -> String {
    bounded(&format!("sluicegate-{name}"), name, OBJECT, name.contains("--"))
}

/// Copy of a team's Secret or ConfigMap for one FluxConfig. It always has `--` in it.
pub(super) fn team_copy(config: &str, name: &str) -> String {
    bounded(
        &format!("{config}--{name}"),
        &format!("{config}/{name}"),
        OBJECT,
        config.contains("--") || name.contains("--"),
    )
}

/// Copy of a team's Secret with which the source of one FluxConfig is fetched; it has another content than
/// [`team_copy`], so it always has a hash.
pub(super) fn credential_copy(config: &str, name: &str) -> String {
    bounded(&format!("{config}--{name}--source"), &format!("{config}/{name}/source"), OBJECT, true)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;

    #[test]
    fn agent_namespaces_are_labels_and_never_the_operators() {
        assert_eq!(isolated("shop"), "sluicegate-shop");
        let (system, long) = (isolated("system"), isolated(&"a".repeat(63)));
        assert!(system.starts_with("sluicegate-system-") && long.len() == 63, "{system} {long}");
        // What looks like a shortened name is not taken for one.
        let copy = long.strip_prefix("sluicegate-").unwrap();
        assert_ne!(isolated(copy), long);
    }

    #[test]
    fn parts_that_read_the_same_get_different_names() {
        let cases: [&[&str]; 8] =
            [&["a", "b", "c"], &["a--b", "c"], &["a", "b--c"], &["a--b--c"], &["a", "b"], &["a--b"], &["a"], &["a-b"]];
        let names: HashSet<String> = cases.iter().map(|parts| joined(parts, LABEL)).collect();
        assert_eq!(names.len(), cases.len(), "{names:?}");
        assert_eq!(joined(&["a", "b"], LABEL), "a--b");
        let long = ["x".repeat(60), "y".repeat(60)];
        let name = joined(&[&long[0], &long[1]], LABEL);
        assert_eq!(name.len(), 63);
        assert_ne!(joined(&[&name], LABEL), name);
    }

    #[test]
    fn copies_of_teams_and_platform_never_meet() {
        let copies = [
            platform_copy("git"),
            platform_copy("app--git"),
            team_copy("sluicegate-app", "git"),
            team_copy("app", "git"),
            team_copy("a--b", "c"),
            team_copy("a", "b--c"),
        ];
        assert_eq!(copies.iter().collect::<HashSet<_>>().len(), copies.len(), "{copies:?}");
        assert_eq!(copies[0], "sluicegate-git");
        assert_eq!(copies[3], "app--git");
    }

    #[test]
    fn another_number_of_pools_moves_few_tenants() {
        let tenants: Vec<String> = (0..1000).map(|number| format!("team-{number}")).collect();
        let pools = |number| tenants.iter().map(move |tenant| pooled(tenant, number)).collect::<Vec<_>>();
        let (four, five) = (pools(4), pools(5));
        let mut sizes: BTreeMap<&String, usize> = BTreeMap::new();
        four.iter().for_each(|pool| *sizes.entry(pool).or_default() += 1);
        assert_eq!(sizes.len(), 4);
        assert!(sizes.values().all(|size| (200..300).contains(size)), "{sizes:?}");
        let moved: Vec<_> = four.iter().zip(&five).filter(|(before, after)| before != after).collect();
        assert!((150..250).contains(&moved.len()), "{}", moved.len());
        assert!(moved.iter().all(|(_, after)| *after == "sluicegate--pool-5"));
        assert_eq!(pooled("anybody", 1), "sluicegate--pool-1");
        assert_eq!(pooled("anybody", 0), "sluicegate--pool-1");
    }
}
