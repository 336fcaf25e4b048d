//! Flux releases and the image tags of their controllers, as the manifests of each release name them.

use std::fmt;

use sluicegate_crds::AgentComponent;
use sluicegate_policy::grammar::{SemverError, SemverRange};

use super::ranges;

/// A release of Flux.
#[derive(Debug, PartialEq, Eq)]
pub struct Release {
    /// Version, such as `2.9.4`.
    pub version: &'static str,
    /// Tags in the order of [`COMPONENTS`].
    tags: [&'static str; COMPONENTS.len()],
}

/// Controllers in the order of the table.
const COMPONENTS: [AgentComponent; 7] = [
    AgentComponent::Source,
    AgentComponent::Kustomize,
    AgentComponent::Helm,
    AgentComponent::Notification,
    AgentComponent::ImageReflector,
    AgentComponent::ImageAutomation,
    AgentComponent::SourceWatcher,
];

/// All releases that can be deployed, the oldest first.
#[rustfmt::skip]
pub const RELEASES: &[Release] = &[
    //                            source    kustomize helm      notific.  reflector automat.  watcher
    Release { version: "2.7.5", tags: ["v1.7.4", "v1.7.3", "v1.4.5", "v1.7.5", "v1.0.4", "v1.0.4", "v2.0.3"] },
    Release { version: "2.8.8", tags: ["v1.8.5", "v1.8.5", "v1.5.5", "v1.8.4", "v1.1.2", "v1.1.4", "v2.1.1"] },
    Release { version: "2.9.0", tags: ["v1.9.1", "v1.9.1", "v1.6.1", "v1.9.1", "v1.2.1", "v1.2.1", "v2.2.1"] },
    Release { version: "2.9.1", tags: ["v1.9.2", "v1.9.2", "v1.6.2", "v1.9.2", "v1.2.2", "v1.2.2", "v2.2.2"] },
    Release { version: "2.9.2", tags: ["v1.9.3", "v1.9.3", "v1.6.2", "v1.9.2", "v1.2.3", "v1.2.3", "v2.2.2"] },
    Release { version: "2.9.3", tags: ["v1.9.3", "v1.9.4", "v1.6.3", "v1.9.2", "v1.2.3", "v1.2.3", "v2.2.2"] },
    Release { version: "2.9.4", tags: ["v1.9.4", "v1.9.4", "v1.6.3", "v1.9.3", "v1.2.4", "v1.2.4", "v2.2.3"] },
];

impl Release {
    /// Tag of a controller's image in this release.
    pub fn tag(&self, component: AgentComponent) -> &'static str {
        // The table has a column for each: see the test.
        COMPONENTS.iter().zip(self.tags).find(|(column, _)| **column == component).map_or("", |(_, tag)| tag)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.version)
    }
}

/// Why a range names no release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// It is no range.
    #[error("{range:?} is no version and no range of versions")]
    Malformed {
        /// The text.
        range: String,
        /// What is wrong with it.
        source: SemverError,
    },
    /// No release that is known is in it.
    #[error("{range:?} matches none of the Flux releases that are known: {}", known())]
    NoMatch {
        /// The range.
        range: String,
    },
}

fn known() -> String {
    RELEASES.iter().map(|release| release.version).collect::<Vec<_>>().join(", ")
}

/// The newest release in a range, in the notation that Flux itself uses: `2.9.3`, `2.9.x`, `>=2.8 <2.10`.
///
/// # Errors
/// No release is in it.
pub fn resolve(range: &str) -> Result<&'static Release, ReleaseError> {
    SemverRange::parse(range).map_err(|source| ReleaseError::Malformed { range: range.to_owned(), source })?;
    RELEASES
        .iter()
        .rev()
        .find(|release| ranges::numbers(release.version).is_some_and(|version| ranges::admits(range, version)))
        .ok_or_else(|| ReleaseError::NoMatch { range: range.to_owned() })
}

/// The release of exactly this version.
pub fn exact(version: &str) -> Option<&'static Release> {
    RELEASES.iter().find(|release| release.version == version)
}

/// The newest release that is known: what an agent gets when nobody says.
pub fn newest() -> &'static Release {
    const NEWEST: &Release = &RELEASES[RELEASES.len() - 1];
    NEWEST
}

/// Place of a release in time, for comparing.
pub(crate) fn age(release: &Release) -> usize {
    RELEASES.iter().position(|known| known == release).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_means_its_newest_release() {
        for (range, version) in [
            ("2.9.3", "2.9.3"),
            ("2.9.x", "2.9.4"),
            ("2.x", "2.9.4"),
            ("2.7 - 2.8", "2.8.8"),
            ("~2.7.1", "2.7.5"),
            (">=2.8 <2.9.2", "2.9.1"),
            ("2.7.x || 2.8.x", "2.8.8"),
        ] {
            assert_eq!(resolve(range).unwrap().version, version, "{range}");
        }
    }

    #[test]
    fn what_matches_nothing_names_the_releases_that_there_are() {
        let error = resolve("3.x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"3.x\" matches none of the Flux releases that are known: 2.7.5, 2.8.8, 2.9.0, 2.9.1, 2.9.2, 2.9.3, 2.9.4"
        );
        assert!(matches!(resolve("newest"), Err(ReleaseError::Malformed { .. })));
    }

    #[test]
    fn the_table_is_sorted_and_whole() {
        let versions: Vec<_> = RELEASES.iter().map(|release| ranges::numbers(release.version).unwrap()).collect();
        assert!(versions.is_sorted());
        assert_eq!(newest().version, "2.9.4");
        for release in RELEASES {
            for component in COMPONENTS {
                assert!(ranges::numbers(release.tag(component)).is_some(), "{release} {component:?}");
            }
        }
    }
}
