//! Images: what a pod may run, and how a FluxConfig narrows it.

use serde_json::json;
use sluicegate_policy::{
    Answer, Question, Rule, ask,
    grammar::{ImagePattern, TenantName},
};

use crate::world::{SHA256, World, assert_readable};

fn pull(world: &World, image: &str, narrowing: &[&str]) -> Result<(), Rule> {
    let narrowing: Vec<ImagePattern> = narrowing.iter().map(|text| ImagePattern::parse(text).unwrap()).collect();
    let question = Question::Pull { image, narrowing: &narrowing };
    let tenant = TenantName::new("team-a").unwrap();
    let answers = ask(question, &tenant, "team-a", Some("prod-eu"), None, &world.set(), &world.facts);
    match &answers[0].1 {
        Answer::Yes(_) => Ok(()),
        Answer::No(violation) | Answer::Unknown(violation) => {
            assert_readable(violation);
            Err(violation.rule)
        }
    }
}

#[test]
fn pulls_what_is_allowed() {
    let world = World::new();
    for image in [
        "registry.example.com/team-a/shop:1.2.3",
        "registry.example.com/team-a/deep/er/shop:1",
        "nginx:1.27",
        "docker.io/library/nginx:1.27",
        "index.docker.io/library/nginx:1.27",
        "library/nginx:1.27",
    ] {
        assert_eq!(pull(&world, image, &[]), Ok(()), "{image}");
    }
    assert_eq!(pull(&world, &format!("nginx@{SHA256}"), &[]), Ok(()));
}

#[test]
fn rejects_what_is_not_allowed_denied_or_no_image() {
    let world = World::new();
    for (image, rule) in [
        ("registry.example.com/team-b/shop:1", Rule::ImageNotAllowed),
        ("registry.example.com:5000/team-a/shop:1", Rule::ImageNotAllowed),
        ("nginxinc/nginx:1", Rule::ImageNotAllowed),
        ("ghcr.io/library/nginx:1", Rule::ImageNotAllowed),
        ("alpine:3.20", Rule::ImageDenied),
        ("docker.io/library/alpine:3.20", Rule::ImageDenied),
        ("nginx:latest", Rule::ImageTagDenied),
        ("nginx", Rule::ImageTagDenied),
        ("", Rule::InvalidImage),
        ("nginx:", Rule::InvalidImage),
        ("https://registry.example.com/team-a/shop", Rule::InvalidImage),
        ("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", Rule::InvalidImage),
    ] {
        assert_eq!(pull(&world, image, &[]), Err(rule), "{image}");
    }
}

#[test]
fn beside_a_digest_the_tag_decides_nothing() {
    assert_eq!(pull(&World::new(), &format!("nginx:latest@{SHA256}"), &[]), Ok(()));
    let pinned = World::new().with(json!({"images": {"allow": ["docker.io/library/nginx:1.27"]}}));
    assert_eq!(pull(&pinned, "nginx:1.27", &[]), Ok(()));
    assert_eq!(pull(&pinned, "nginx:1.28", &[]), Err(Rule::ImageNotAllowed));
    assert_eq!(pull(&pinned, &format!("nginx:1.27@{SHA256}"), &[]), Err(Rule::ImageNotAllowed));
}

#[test]
fn asks_for_digests_where_any_policy_does() {
    let world = World::new().policy("strict", json!({"images": {"requireDigest": true}}));
    assert_eq!(pull(&world, "nginx:1.27", &[]), Err(Rule::ImageDigestRequired));
    assert_eq!(pull(&world, &format!("nginx:1.27@{SHA256}"), &[]), Ok(()));
    let relaxed = world.policy("relaxed", json!({"priority": 1000, "images": {"requireDigest": false}}));
    assert_eq!(pull(&relaxed, "nginx:1.27", &[]), Err(Rule::ImageDigestRequired));
}

#[test]
fn a_team_narrows_and_never_widens() {
    let world = World::new();
    let narrowing = ["registry.example.com/team-a/shop", "ghcr.io/**"];
    assert_eq!(pull(&world, "registry.example.com/team-a/shop:1", &narrowing), Ok(()));
    assert_eq!(pull(&world, "registry.example.com/team-a/other:1", &narrowing), Err(Rule::ImageNotAllowed));
    assert_eq!(pull(&world, "ghcr.io/x/y:1", &narrowing), Err(Rule::ImageNotAllowed));
    assert_eq!(pull(&world, "nginx:1", &["**"]), Ok(()));
}

#[test]
fn a_fluxconfig_narrows_with_patterns_that_can_match() {
    let world = World::new();
    for pattern in ["registry.example.com/team-a/shop", "registry.example.com/**", "docker.io/library/nginx:1.27", "**"]
    {
        world.accepts(json!({ "images": [pattern] }));
    }
    let found = world.rejects(json!({"images": ["docker.io/library/*", "ghcr.io/**"]}), Rule::ImageNotAllowed);
    assert_eq!((&*found.field, found.value.as_deref()), ("spec.images[1]", Some("ghcr.io/**")));
    assert_eq!(found.allowed, ["docker.io/library/*", "registry.example.com/team-a/**"]);
    let found = world.rejects(json!({"images": ["nginx"]}), Rule::InvalidPattern);
    assert_eq!(found.suggestion.as_deref(), Some("docker.io/library/nginx"));
    world.rejects(json!({"images": ["registry.example.com/team-*/x"]}), Rule::InvalidPattern);
    let without = World::new().with(json!({"images": {"allow": []}}));
    assert!(without.rejects(json!({"images": ["docker.io/library/*"]}), Rule::ImageNotAllowed).allowed.is_empty());
}
