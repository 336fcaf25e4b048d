//! Image automation: which images are watched, and which branch is pushed to.

use sluicegate_crds::{FluxConfig, ImagePolicy, Reference, SourceKind};

use crate::{
    delivery,
    grammar::{GitBranch, NamespaceName, RepoPath, SemverRange},
    image,
    placement::Placement,
    rule::Rule,
    source::SourceVerdict,
    verdict::{FieldPath, Violation},
};

const UPDATES: &str = "spec.imageUpdates";

/// Judges image automation. Violations are added to `found`.
pub(crate) fn judge(
    config: &FluxConfig,
    source: &SourceVerdict<'_>,
    place: &Placement<'_>,
    found: &mut Vec<Violation>,
) {
    let Some(updates) = config.spec.image_updates.as_deref() else { return };
    if let Err(violation) =
        delivery::feature(&place.policies, "imageUpdates", UPDATES, |features| features.image_updates)
    {
        found.push(violation);
        return;
    }
    if source.kind.value != SourceKind::Git {
        found.push(
            Violation::new(
                Rule::SourceKindMismatch,
                UPDATES,
                "image updates are committed, and only Git sources take commits",
            )
            .help("remove imageUpdates, or use a Git source"),
        );
        return;
    }
    match &updates.branch {
        Some(branch) => {
            if let Err(error) = GitBranch::parse(branch.as_str()) {
                found.push(
                    Violation::new(Rule::InvalidRef, "spec.imageUpdates.branch", error.to_string())
                        .value(branch.as_str())
                        .help("write the name of a branch"),
                );
            }
        }
        None => {
            if let Some(Reference { branch: None, .. }) = source.reference.as_ref().map(|reference| reference.value) {
                found.push(
                    Violation::new(
                        Rule::InvalidRef,
                        UPDATES,
                        "no branch to push to: the source is not synced from a branch",
                    )
                    .help("add spec.imageUpdates.branch"),
                );
            }
        }
    }
    if let Some(path) = &updates.path
        && let Err(error) = RepoPath::parse(path.as_str())
    {
        found.push(delivery::invalid_path("spec.imageUpdates.path", path, &error.to_string()));
    }
    let bindings = place.bindings();
    if updates.images.is_empty() {
        found.push(
            Violation::new(Rule::MissingField, "spec.imageUpdates.images", "no images are given")
                .help("add the images to keep up to date, or remove imageUpdates"),
        );
    }
    for (index, update) in updates.images.iter().enumerate() {
        let field: FieldPath = format!("spec.imageUpdates.images[{index}].image").into();
        let judged = image::parse(&update.image, &field).and_then(|parsed| {
            if parsed.tag().is_some() || parsed.digest().is_some() {
                return Err(Violation::new(
                    Rule::InvalidImage,
                    field.clone(),
                    "the image has a tag or digest, and that is what is to be found out",
                )
                .value(update.image.as_str())
                .help("write registry and repository only"));
            }
            image::repository(&parsed, &update.image, &place.policies, &bindings, &field)
        });
        found.extend(judged.err());
        found.extend(policy(&update.policy, index).err());
        if let Err(error) = NamespaceName::check(&update.name) {
            found.push(
                Violation::new(
                    Rule::InvalidName,
                    format!("spec.imageUpdates.images[{index}].name"),
                    error.reason().to_string(),
                )
                .value(update.name.as_str())
                .help("lowercase letters, digits and - are allowed, at most 63, and the first and last is no -"),
            );
        }
        if updates.images[..index].iter().any(|earlier| earlier.name == update.name) {
            found.push(
                Violation::new(
                    Rule::InvalidValue,
                    format!("spec.imageUpdates.images[{index}].name"),
                    "this name is taken by an earlier image",
                )
                .value(update.name.as_str())
                .help("give each image a name of its own"),
            );
        }
    }
}

fn policy(policy: &ImagePolicy, index: usize) -> Result<(), Violation> {
    let field = format!("spec.imageUpdates.images[{index}].policy");
    let ImagePolicy { semver, alphabetical, numerical } = policy;
    let set = usize::from(semver.is_some()) + usize::from(alphabetical.is_some()) + usize::from(numerical.is_some());
    if set != 1 {
        return Err(Violation::new(
            Rule::InvalidValue,
            field,
            format!("exactly one of semver, alphabetical, numerical is needed, {set} are set"),
        )
        .allowed(
            ["semver: {range: …}", "alphabetical: {order: asc}", "numerical: {order: asc}"].map(str::to_owned).to_vec(),
        )
        .help("set exactly one"));
    }
    if let Some(semver) = semver
        && let Err(error) = SemverRange::parse(semver.range.as_str())
    {
        return Err(Violation::new(Rule::InvalidRef, format!("{field}.semver.range"), error.to_string())
            .value(semver.range.as_str())
            .help("write a range of versions, such as 1.x or >=1.2.0 <2.0.0"));
    }
    Ok(())
}
