//! Images against the allow and deny lists.

use crate::{
    grammar::{Bindings, ImagePattern, ImageRef},
    rule::Rule,
    set::Selection,
    show, source,
    verdict::{FieldPath, PolicyField, Violation},
};

/// Parses an image reference.
pub(crate) fn parse<'i>(image: &'i str, field: &FieldPath) -> Result<ImageRef<'i>, Violation> {
    ImageRef::parse(image).map_err(|error| {
        let canonical = error.canonical().map(str::to_owned);
        let violation = Violation::new(Rule::InvalidImage, field.clone(), error.reason().to_string()).value(image);
        match &canonical {
            Some(canonical) => violation.help(format!("write {canonical}")),
            None => violation
                .allowed(vec![
                    "registry.example.com/team/app:1.2.3".to_owned(),
                    "registry.example.com/team/app@sha256:…".to_owned(),
                ])
                .help("write registry, repository, and a tag or digest"),
        }
        .suggestion(canonical)
    })
}

/// Whether the policies allow a pod to run an image: no deny matches, the tag is not denied, there is a digest where one is
/// asked for, some allow matches, and so does one of the patterns with which the team narrows, if there are any.
pub(crate) fn allow(
    image: &ImageRef<'_>,
    text: &str,
    policies: &Selection<'_>,
    narrowing: &[ImagePattern],
    bindings: &Bindings<'_>,
    field: &FieldPath,
) -> Result<PolicyField, Violation> {
    let allowed_by = repository(image, text, policies, bindings, field)?;
    let digest = image.digest().is_some();
    if !digest {
        let tag = image.tag().unwrap_or("latest");
        for policy in policies.iter() {
            let tags = policy.spec.images.as_ref().map_or(&[][..], |images| &images.deny_tags);
            if let Some(index) = tags.iter().position(|denied| denied == tag) {
                let message = match image.tag() {
                    Some(_) => format!("policy {} denies the tag {tag}", policy.name),
                    None => format!("without tag and digest this is {tag}, a tag that policy {} denies", policy.name),
                };
                return Err(Violation::new(Rule::ImageTagDenied, field.clone(), message)
                    .value(text)
                    .decided_by([policy.field(format!("spec.images.denyTags[{index}]"))])
                    .help("name a version, or better a digest"));
            }
        }
        if let Some(asked) = policies.asked("spec.images.requireDigest", |policy| {
            policy.spec.images.as_ref().and_then(|images| images.require_digest) == Some(true)
        }) {
            return Err(Violation::new(
                Rule::ImageDigestRequired,
                field.clone(),
                "policy asks for a digest, and the image is named without",
            )
            .value(text)
            .allowed(vec![format!("{text}@sha256:<64 hexadecimal digits>")])
            .decided_by([asked])
            .help("add the digest; registries and `docker buildx imagetools inspect` show it"));
        }
    }
    if !narrowing.is_empty() && !narrowing.iter().any(|pattern| pattern.matches(image, bindings)) {
        return Err(Violation::new(
            Rule::ImageNotAllowed,
            field.clone(),
            "policy allows this image, but the team's own FluxConfig narrows the list to others",
        )
        .value(text)
        .allowed(narrowing.iter().map(|pattern| show::expanded(pattern.as_str(), bindings)).collect())
        .help("add it to spec.images of the FluxConfig"));
    }
    Ok(allowed_by)
}

/// Whether the policies allow a repository, whatever tag or digest is asked for.
pub(crate) fn repository(
    image: &ImageRef<'_>,
    text: &str,
    policies: &Selection<'_>,
    bindings: &Bindings<'_>,
    field: &FieldPath,
) -> Result<PolicyField, Violation> {
    for policy in policies.iter() {
        let mut deny = policy.images.deny.iter().enumerate();
        if let Some((index, pattern)) = deny.find(|(_, pattern)| pattern.denies(image, bindings)) {
            return Err(Violation::new(Rule::ImageDenied, field.clone(), denied(&policy.name, pattern))
                .value(text)
                .decided_by([policy.field(format!("spec.images.deny[{index}]"))])
                .help("a deny wins over every allow: use another image, or ask an administrator"));
        }
    }
    for policy in policies.iter() {
        if let Some(index) = policy.images.allow.iter().position(|pattern| pattern.matches(image, bindings)) {
            return Ok(policy.field(format!("spec.images.allow[{index}]")));
        }
    }
    Err(not_allowed(text, policies, bindings, field, format!("no policy allows tenant {} this image", bindings.tenant)))
}

/// What is said of an image that a policy denies.
pub(crate) fn denied(policy: &str, pattern: &ImagePattern) -> String {
    format!("policy {policy} denies images that match {}", pattern.as_str())
}

/// Whether a pattern with which a team narrows has anything in common with what is allowed. One that has not is a mistake:
/// it would allow nothing.
pub(crate) fn narrows(
    pattern: &ImagePattern,
    policies: &Selection<'_>,
    bindings: &Bindings<'_>,
    field: &FieldPath,
) -> Result<(), Violation> {
    let common = policies.iter().flat_map(|policy| &policy.images.allow).any(|allow| allow.overlaps(pattern, bindings));
    if common {
        return Ok(());
    }
    let message = format!("no policy allows tenant {} any image that matches this", bindings.tenant);
    Err(not_allowed(pattern.as_str(), policies, bindings, field, message))
}

fn not_allowed(
    text: &str,
    policies: &Selection<'_>,
    bindings: &Bindings<'_>,
    field: &FieldPath,
    message: String,
) -> Violation {
    let mut allowed = Vec::new();
    let mut decided_by = Vec::new();
    for policy in policies.iter().filter(|policy| !policy.images.allow.is_empty()) {
        decided_by.push(policy.field("spec.images.allow"));
        allowed.extend(policy.images.allow.iter().map(|pattern| show::expanded(pattern.as_str(), bindings)));
    }
    let violation = Violation::new(Rule::ImageNotAllowed, field.clone(), message).value(text).decided_by(decided_by);
    if allowed.is_empty() {
        return violation
            .help("no policy allows images for this tenant at all: an administrator adds them to spec.images.allow");
    }
    violation
        .allowed(source::unique(allowed))
        .help("use an image that is allowed, or ask an administrator to allow this one")
}
