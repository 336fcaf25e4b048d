//! What a FluxConfig becomes: one whole agent a placement, then each kind of source and delivery.

use crate::world::{World, config, show, smallest};

/// Everything for FluxConfigs of one agent.
#[track_caller]
fn whole(name: &str, configs: &str) {
    let (agent, rendered) = World::new().agent(configs);
    let shown = show(&rendered, |_| true);
    let text = format!("# Flux {} at {agent}, for:\n{}\n{shown}", rendered.release, quoted(configs));
    insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "snapshots", omit_expression => true}, {
        insta::assert_snapshot!(name, text);
    });
}

/// What is there for the FluxConfig alone, and who may read the copies.
#[track_caller]
fn delivery(name: &str, of: &str, spec: &str) {
    let configs = config(of, spec);
    let (_, rendered) = World::new().agent(&configs);
    let kinds = ["Deployment", "Service", "NetworkPolicy", "Namespace", "ServiceAccount", "RoleBinding"];
    let shown = show(&rendered, |kind| !kinds.contains(&kind));
    insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "snapshots", omit_expression => true}, {
        insta::assert_snapshot!(name, format!("{}\n{shown}", quoted(&configs)));
    });
}

fn quoted(configs: &str) -> String {
    configs.lines().map(|line| format!("#   {line}\n")).collect()
}

#[test]
fn isolated_has_a_namespace_of_the_tenants_own() {
    whole("placement_isolated", &smallest("shop/app"));
}

#[test]
fn namespace_lives_beside_the_teams_workloads() {
    whole("placement_namespace", &smallest("beside-shop/app"));
}

#[test]
fn pooled_serves_several_tenants() {
    whole("placement_pooled", &(smallest("pool-a/app") + &smallest("pool-b/app")));
}

#[test]
fn git_with_everything() {
    delivery(
        "git_with_everything",
        "shop/app",
        "  source:
    url: ssh://git@git.example.com/shop/app
    ref: {tag: v1.2.3}
  path: ./deploy/prod
  interval: 2m
  retryInterval: 30s
  timeout: 2h
  prune: false
  wait: true
  substitute: {region: eu}
  decryption: {secretRef: {name: age-key}}
  suspend: true",
    );
}

#[test]
fn git_with_signed_commits() {
    delivery(
        "git_with_signed_commits",
        "shop/app",
        "  source:
    url: https://git.example.com/shop/app
    ref: {tag: v1}
    verify: {mode: TagAndHEAD}
    secretRef: {name: own-token}
  deletion: Orphan",
    );
}

#[test]
fn a_team_with_its_agent_beside_it_has_its_credential_copied() {
    delivery(
        "own_secret_beside",
        "beside-shop/app",
        "  source:
    url: https://git.example.com/beside-shop/app
    secretRef: {name: own-token}",
    );
}

#[test]
fn oci_artifact_with_manifests() {
    delivery(
        "oci_artifact",
        "shop/app",
        "  source:
    url: oci://registry.example.com/shop/app
    ref: {semver: 1.x}
    verify: {provider: cosign}",
    );
}

#[test]
fn oci_artifact_that_is_a_chart() {
    delivery(
        "oci_chart",
        "shop/app",
        "  source:
    url: oci://registry.example.com/shop/chart
    ref: {tag: 1.2.3}
  chart:
    values: {replicas: 2}",
    );
}

#[test]
fn bucket_with_manifests() {
    delivery("bucket", "shop/app", "  source: {url: https://s3.example.com/shop, kind: Bucket}");
}

#[test]
fn chart_of_a_helm_repository() {
    delivery(
        "helm_repository",
        "shop/redis",
        "  source: {url: https://charts.example.com/stable, kind: Helm}
  chart:
    name: redis
    version: 20.x
    releaseName: cache
    valuesFiles: [values-prod.yaml]
    values: {architecture: standalone}
    valuesFrom:
      - {kind: ConfigMap, name: sizes}
      - {kind: Secret, name: passwords, valuesKey: redis, targetPath: auth.password, optional: true}",
    );
}

#[test]
fn signed_chart_of_a_helm_repository_in_a_registry() {
    delivery(
        "helm_repository_oci",
        "shop/redis",
        "  source:
    url: oci://registry.example.com/charts
    kind: Helm
    verify: {provider: cosign}
  chart: {name: redis}",
    );
}

#[test]
fn chart_in_a_git_repository() {
    delivery(
        "git_chart",
        "shop/app",
        "  source: {url: https://git.example.com/shop/app}
  path: ./chart
  chart:
    valuesFiles: [chart/values-prod.yaml]",
    );
}

#[test]
fn pools_tell_tenants_apart_by_name() {
    delivery(
        "pooled_with_own_secret",
        "pool-a/app",
        "  source:
    url: https://git.example.com/pool-a/app
    secretRef: {name: own-token}",
    );
}
