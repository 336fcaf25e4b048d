//! References of a source: shape and grammar, the same for a FluxConfig's `ref` and a policy's default.

use sluicegate_crds::{Reference, SourceKind};

use crate::grammar::{CommitSha, Digest, GitBranch, GitTag, SemverRange};

/// The field of a reference that is set, and its text.
pub(crate) fn parts(reference: &Reference) -> impl Iterator<Item = (&'static str, &str)> {
    let Reference { branch, tag, semver, commit, digest } = reference;
    [("branch", branch), ("tag", tag), ("semver", semver), ("commit", commit), ("digest", digest)]
        .into_iter()
        .filter_map(|(field, text)| Some((field, text.as_deref()?)))
}

/// Checks that exactly one field is set and well-formed.
///
/// # Errors
/// The field (empty: the reference itself), its text, and what is wrong.
pub(crate) fn check_shape(reference: &Reference) -> Result<(), (&'static str, String, String)> {
    let mut set = parts(reference);
    let Some((field, text)) = set.next() else {
        return Err(("", String::new(), "one of branch, tag, semver, commit, digest is needed".to_owned()));
    };
    if set.next().is_some() {
        let names: Vec<&str> = parts(reference).map(|(field, _)| field).collect();
        return Err((
            "",
            names.join(", "),
            format!("exactly one of branch, tag, semver, commit, digest is allowed, found {}", names.join(" and ")),
        ));
    }
    let error = match field {
        "branch" => GitBranch::parse(text).err().map(|error| error.to_string()),
        "tag" => GitTag::parse(text).err().map(|error| error.to_string()),
        "semver" => SemverRange::parse(text).err().map(|error| error.to_string()),
        "commit" => CommitSha::parse(text).err().map(|error| error.to_string()),
        _ => Digest::parse(text).err().map(|error| error.to_string()),
    };
    match error {
        Some(error) => Err((field, text.to_owned(), error)),
        None => Ok(()),
    }
}

/// Fields of a reference that a kind of source knows (`GitRepository.spec.ref`, `OCIRepository.spec.ref`).
pub(crate) fn fields_of(kind: SourceKind) -> &'static [&'static str] {
    match kind {
        SourceKind::Git => &["branch", "tag", "semver", "commit"],
        SourceKind::Oci => &["tag", "semver", "digest"],
        SourceKind::Helm | SourceKind::Bucket => &[],
    }
}

/// Whether a reference is for a kind of source.
pub(crate) fn fits(reference: &Reference, kind: SourceKind) -> bool {
    parts(reference).all(|(field, _)| fields_of(kind).contains(&field))
}
