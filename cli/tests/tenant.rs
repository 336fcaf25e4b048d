//! `check --tenant`: a team's own repository, judged by the platform's policies.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which may panic")]

#[path = "data/cli.rs"]
mod cli;

use cli::{Folder, PLATFORM, Ran, SHOP};

/// Checks a repository of team-a with one file.
#[track_caller]
fn check(file: &str, text: &str) -> Ran {
    let folder = Folder::empty();
    folder.write("platform/p.yaml", PLATFORM);
    folder.write(format!("team/{file}"), text);
    check_in(&folder, &[])
}

#[track_caller]
fn check_in(folder: &Folder, more: &[&str]) -> Ran {
    folder.run([&["check", "--tenant", "team-a", "--policies", "platform"], more, &["team"]].concat())
}

/// Refused by the rule, at the place, in the field.
#[track_caller]
fn refused(ran: Ran, rule: &str, place: &str, field: &str) {
    let ran = ran.exits(1).says(&format!("--> team/{place}\n")).says(&format!("= field: {field} of "));
    assert_eq!(ran.rules(), [rule], "{}", ran.all());
    let findings = ran.findings();
    assert!(findings[0].text.contains("= help: "), "{}", findings[0].text);
}

/// A workload with a pod template, and the path to its pod.
fn workloads(containers: &str) -> Vec<(String, &'static str)> {
    [
        ("v1", "Pod", "spec: POD", "spec"),
        ("apps/v1", "Deployment", "spec: {template: {spec: POD}}", "spec.template.spec"),
        ("apps/v1", "StatefulSet", "spec: {template: {spec: POD}}", "spec.template.spec"),
        ("batch/v1", "Job", "spec: {template: {spec: POD}}", "spec.template.spec"),
        (
            "batch/v1",
            "CronJob",
            "spec: {jobTemplate: {spec: {template: {spec: POD}}}}",
            "spec.jobTemplate.spec.template.spec",
        ),
        ("v1", "PodTemplate", "template: {spec: POD}", "template.spec"),
        ("argoproj.io/v1alpha1", "Rollout", "spec: {template: {spec: POD}}", "spec.template.spec"),
        ("example.com/v7", "Unheard", "spec: {a: [{b: {c: POD}}]}", "spec.a[0].b.c"),
    ]
    .into_iter()
    .map(|(version, kind, body, path)| {
        let body = body.replace("POD", containers);
        (format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n{body}\n"), path)
    })
    .collect()
}

#[test]
fn finds_images_in_every_kind_of_workload() {
    for (place, pod) in [
        ("containers[0].image", "{containers: [{name: a, image: evil.example/x}]}"),
        ("initContainers[0].image", "{initContainers: [{name: a, image: evil.example/x}], containers: []}"),
        ("ephemeralContainers[0].image", "{ephemeralContainers: [{name: a, image: evil.example/x}]}"),
        (
            "volumes[0].image.reference",
            "{containers: [], volumes: [{name: a, image: {reference: evil.example/x, pullPolicy: Always}}]}",
        ),
    ] {
        for (text, path) in workloads(pod) {
            let column = text.lines().nth(3).unwrap().find("evil").unwrap() + 1;
            refused(
                check("x.yaml", &text),
                "image-not-allowed",
                &format!("x.yaml:4:{column}"),
                &format!("{path}.{place}"),
            );
        }
    }
}

#[test]
fn a_good_repository_passes() {
    let folder = Folder::empty();
    folder.write("platform/p.yaml", PLATFORM);
    for (number, (text, _)) in
        workloads("{containers: [{name: a, image: registry.example.com/team-a/app:1}]}").iter().enumerate()
    {
        folder.write(format!("team/{number}.yaml"), text);
    }
    folder.write(
        "team/flux.yaml",
        "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: x}\n\
         spec: {interval: 5m, url: https://git.example.com/team-a/lib}\n---\n\
         apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: x}\n\
         spec: {interval: 5m, prune: true, sourceRef: {kind: GitRepository, name: x}}\n",
    );
    folder.write(
        "team/kustomization.yaml",
        "resources: [0.yaml, ../base]\nimages: [{name: app, newName: nginx, newTag: \"1\"}]\n",
    );
    folder.write("team/values.yaml", "image: evil.example/not-a-workload\n");
    folder.write(
        "team/service.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 80}]}\n",
    );
    let ran = check_in(&folder, &["--strict"]).exits(0);
    assert_eq!(ran.rules(), [""; 0]);
    ran.says(" 10 admitted, 0 refused");
}

#[test]
fn a_repository_without_workloads_is_an_error_unless_that_is_fine() {
    let folder = Folder::empty();
    folder.write("platform/p.yaml", PLATFORM);
    folder.write("team/values.yaml", "a: 1\n");
    check_in(&folder, &[])
        .exits(2)
        .says("nothing to check: no workload, no Flux object and no dependency of a chart in team");
    check_in(&folder, &["--allow-empty"]).exits(0);
}

#[test]
fn kustomizations_may_not_rename_images_or_load_from_elsewhere() {
    let head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
    for (text, rule, field) in [
        ("images: [{name: app, newName: evil.example/x}]\n", "image-not-allowed", "images[0].newName"),
        (
            "images: [{name: app, newName: registry.example.com/team-a/x, newTag: latest}]\n",
            "image-tag-denied",
            "images[0].newName",
        ),
        ("resources: [a.yaml, https://evil.example/x.yaml]\n", "flux-object-not-allowed", "resources[1]"),
        ("resources: [\"git@evil.example:x/y\"]\n", "flux-object-not-allowed", "resources[0]"),
        ("resources: [\"github.com/evil/repo//deploy?ref=main\"]\n", "flux-object-not-allowed", "resources[0]"),
        ("components: [\"https://evil.example/x\"]\n", "flux-object-not-allowed", "components[0]"),
        ("bases: [\"ssh://git@evil.example/x\"]\n", "flux-object-not-allowed", "bases[0]"),
    ] {
        // kustomize lets its own file go without version and kind.
        for head in [head, ""] {
            let line = head.lines().count() + 1;
            let ran = check("kustomization.yaml", &format!("{head}{text}"));
            assert!(ran.all().contains(&format!("kustomization.yaml:{line}:")), "{}", ran.all());
            assert_eq!(ran.rules(), [rule], "{text}: {}", ran.all());
            ran.exits(1).says(&format!("= field: {field} of Kustomization"));
        }
    }
}

#[test]
fn flux_objects_may_not_reach_past_the_lists() {
    for (version, kind, spec, rule, field) in [
        ("source", "GitRepository", "{url: https://evil.example/x}", "source-not-allowed", "spec.url"),
        (
            "source",
            "GitRepository",
            "{url: https://git.example.com/team-a/x, recurseSubmodules: true}",
            "flux-object-not-allowed",
            "spec.recurseSubmodules",
        ),
        (
            "source",
            "GitRepository",
            "{url: https://git.example.com/team-a/x, include: [{repository: {name: y}}]}",
            "flux-object-not-allowed",
            "spec.include",
        ),
        (
            "source",
            "GitRepository",
            "{url: https://git.example.com/team-a/x, ref: {name: refs/pull/1/head}}",
            "flux-object-not-allowed",
            "spec.ref.name",
        ),
        (
            "source",
            "GitRepository",
            "{url: https://git.example.com/team-a/x, brandNew: 1}",
            "flux-object-not-allowed",
            "spec.brandNew",
        ),
        ("source", "HelmRepository", "{url: https://charts.example.com/other}", "source-not-allowed", "spec.url"),
        (
            "source",
            "HelmRepository",
            "{url: https://charts.example.com/stable, passCredentials: true}",
            "flux-object-not-allowed",
            "spec.passCredentials",
        ),
        ("source", "OCIRepository", "{url: oci://evil.example/x}", "source-not-allowed", "spec.url"),
        ("source", "Bucket", "{endpoint: evil.example, bucketName: x}", "source-not-allowed", "spec.endpoint"),
        (
            "kustomize",
            "Kustomization",
            "{serviceAccountName: admin}",
            "flux-object-not-allowed",
            "spec.serviceAccountName",
        ),
        (
            "kustomize",
            "Kustomization",
            "{kubeConfig: {secretRef: {name: x}}}",
            "flux-object-not-allowed",
            "spec.kubeConfig",
        ),
        (
            "kustomize",
            "Kustomization",
            "{sourceRef: {kind: GitRepository, name: x, namespace: team-b}}",
            "flux-object-not-allowed",
            "spec.sourceRef.namespace",
        ),
        (
            "kustomize",
            "Kustomization",
            "{postBuild: {substituteFrom: [{kind: Secret, name: x}]}}",
            "flux-object-not-allowed",
            "spec.postBuild.substituteFrom[0].kind",
        ),
        ("helm", "HelmRelease", "{storageNamespace: other}", "flux-object-not-allowed", "spec.storageNamespace"),
        (
            "helm",
            "HelmRelease",
            "{valuesFrom: [{kind: Secret, name: x}]}",
            "flux-object-not-allowed",
            "spec.valuesFrom[0].kind",
        ),
        ("image", "ImageRepository", "{image: evil.example/x}", "image-not-allowed", "spec.image"),
        (
            "notification",
            "Provider",
            "{type: generic, address: https://evil.example}",
            "flux-object-not-allowed",
            "spec.address",
        ),
    ] {
        let text =
            format!("apiVersion: {version}.toolkit.fluxcd.io/v1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n");
        let ran = check("flux.yaml", &text)
            .exits(1)
            .says("--> team/flux.yaml:4:")
            .says(&format!("= field: {field} of {kind} x"));
        assert_eq!(ran.rules(), [rule], "{kind} {spec}");
    }
}

#[test]
fn lists_of_every_kind_are_looked_into() {
    for (list, item, rule, field) in [
        (
            "v1 List",
            "apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: [{image: evil.example/x}]}}}",
            "image-not-allowed",
            "spec.template.spec.containers[0].image of Deployment",
        ),
        (
            "v1 ConfigMapList",
            "apiVersion: v1, kind: Pod, spec: {containers: [{image: evil.example/x}]}",
            "image-not-allowed",
            "spec.containers[0].image of Pod",
        ),
        (
            "v1 PodList",
            "spec: {containers: [{image: evil.example/x}]}",
            "image-not-allowed",
            "spec.containers[0].image of Pod",
        ),
        (
            "source.toolkit.fluxcd.io/v1 GitRepositoryList",
            "spec: {url: https://evil.example/x}",
            "source-not-allowed",
            "spec.url of GitRepository",
        ),
        (
            "v1 List",
            "apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod, spec: {containers: [{image: evil.example/x}]}}]",
            "image-not-allowed",
            "spec.containers[0].image of Pod",
        ),
    ] {
        let (version, kind) = list.split_once(' ').unwrap();
        let ran = check("list.yaml", &format!("apiVersion: {version}\nkind: {kind}\nitems:\n- {{{item}}}\n")).exits(1);
        assert_eq!(ran.rules(), [rule], "{list}: {}", ran.all());
        ran.says(&format!("= field: {field}")).says("--> team/list.yaml:4:");
    }
}

#[test]
fn reads_values_as_generously_as_those_who_deploy_them() {
    for value in ["0644", "yes", "1_000", "1:30", ".inf", "99999999999999999999999999999999", "2024-01-02", "!!str 1"] {
        let text = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: x}}\n\
             spec: {{x: {value}, template: {{spec: {{containers: [{{image: evil.example/x}}]}}}}}}\n"
        );
        let column = text.lines().nth(3).unwrap().find("evil").unwrap() + 1;
        let field = "spec.template.spec.containers[0].image";
        refused(check("x.yaml", &text), "image-not-allowed", &format!("x.yaml:4:{column}"), field);
        check("x.yaml", &text.replace("evil.example/x", "docker.io/library/x:1")).exits(0);
    }
}

#[test]
fn what_a_tag_hides_is_not_passed_over() {
    for (pod, column) in [
        ("{containers: [{image: !!binary ZXZpbC5leGFtcGxlL3g=}]}", 29),
        ("{containers: [{!!binary aW1hZ2U=: evil.example/x}]}", 22),
        ("{x: !anything y, containers: []}", 11),
        ("{x: !!int text, containers: []}", 11),
    ] {
        let ran = check("x.yaml", &format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: x}}\nspec: {pod}\n")).exits(1);
        assert_eq!(ran.rules(), ["invalid-value"], "{pod}: {}", ran.all());
        let (file, line, found) = ran.findings()[0].place().unwrap();
        assert_eq!((file.as_str(), line), ("team/x.yaml", 4));
        assert!(found >= column, "{pod}: {found}");
    }
    // In what is no object anybody may write what he likes.
    let folder = Folder::empty();
    folder.write("platform/p.yaml", PLATFORM);
    folder.write("team/ci.yml", "job: !reference [a, b]\n");
    check_in(&folder, &["--allow-empty"]).exits(0);
}

#[test]
fn what_is_no_yaml_is_not_passed_over() {
    refused_yaml(&check("x.yaml", "a: [\n"));
    refused_yaml(&check("x.yaml", "kind: Pod\nkind: Pod\n"));
}

#[track_caller]
fn refused_yaml(ran: &Ran) {
    assert_eq!((ran.code, ran.rules()), (1, vec!["invalid-yaml".to_owned()]), "{}", ran.all());
}

#[test]
fn the_images_of_the_teams_flux_configs_narrow() {
    let folder = Folder::empty();
    folder.write("platform/p.yaml", PLATFORM);
    let pod = |image: &str| {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: x}}\nspec: {{containers: [{{image: {image}}}]}}\n")
    };
    folder.write("team/pod.yaml", pod("docker.io/library/nginx:1"));
    check_in(&folder, &[]).exits(0);
    let narrow = SHOP.to_owned() + "  images: [\"registry.example.com/team-a/**\"]\n  cluster: prod-eu\n";
    folder.write("platform/shop.yaml", &narrow);
    let ran = check_in(&folder, &[]).exits(1);
    assert_eq!(ran.rules(), ["image-not-allowed"]);
    check_in(&folder, &["--cluster", "prod-eu"]).exits(1);
    // On the other cluster nobody narrows.
    check_in(&folder, &["--cluster", "prod-us"]).exits(0);
    folder.write("team/pod.yaml", pod("registry.example.com/team-a/x:1"));
    check_in(&folder, &[]).exits(0);
    // A second FluxConfig that does not narrow may be the one that deploys it.
    folder.write("team/pod.yaml", pod("docker.io/library/nginx:1"));
    folder.write("platform/more.yaml", SHOP.replace("name: shop", "name: more"));
    check_in(&folder, &[]).exits(0);
    // Another team's FluxConfigs do not matter.
    folder.write("platform/more.yaml", SHOP.replace("team-a", "team-b"));
    check_in(&folder, &["--cluster", "prod-eu"]).exits(1);
}

#[test]
fn says_on_which_clusters() {
    let folder = Folder::empty();
    folder.write("platform/p.yaml", PLATFORM);
    folder.write(
        "platform/us.yaml",
        "apiVersion: sluicegate.dev/v1alpha1\nkind: FluxPolicy\nmetadata: {name: us}\nspec:\n  \
         tenants: {names: [team-a]}\n  clusters: {names: [prod-us]}\n  images: {requireDigest: true}\n",
    );
    folder.write(
        "team/pod.yaml",
        "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: registry.example.com/team-a/x:1}]}\n",
    );
    let ran = check_in(&folder, &[]).exits(1).says("(on prod-us)");
    assert_eq!(ran.rules().len(), 1);
    check_in(&folder, &["--cluster", "prod-eu"]).exits(0);
    check_in(&folder, &["--cluster", "prod-us"]).exits(1).does_not_say("(on prod-us)");
    check_in(&folder, &["--cluster", "prod-xx"]).exits(1).says("[unknown-cluster]");
}

#[test]
fn an_unknown_tenant_may_nothing() {
    let folder = Folder::empty();
    folder.write("platform/p.yaml", PLATFORM);
    folder.write("team/pod.yaml", "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: nginx:1}]}\n");
    let run = |tenant: &str, policies: &str| folder.run(["check", "--tenant", tenant, "--policies", policies, "team"]);
    run("team-a", "platform").exits(0);
    assert_eq!(run("nobody", "platform").exits(1).rules(), ["no-policy"]);
    run("No Body", "platform").exits(2).says("\"No Body\" is no tenant");
    run("team-a", "team").exits(2).says("no FluxPolicy in the files of --policies");
}

#[test]
fn reads_what_a_renderer_prints() {
    let folder = Folder::empty();
    folder.write("platform/p.yaml", PLATFORM);
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{image: evil.example/x}]}\n";
    let args = ["check", "--tenant", "team-a", "--policies", "platform", "-"];
    let ran = folder.run_with(format!("{pod}---\n{pod}"), args).exits(1).says("--> -:4:").says("--> -:9:");
    assert_eq!(ran.rules(), ["image-not-allowed"; 2]);
}

#[test]
fn a_broken_policy_admits_nothing() {
    let folder = Folder::empty();
    folder.write("platform/p.yaml", PLATFORM.replace("denyTags", "denyTag"));
    folder.write("team/pod.yaml", "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: nginx:1}]}\n");
    check_in(&folder, &[]).exits(1).says("error[unknown-field]").says("--> platform/p.yaml:").says("0 admitted");
}

#[test]
fn a_file_that_has_the_name_of_a_lock_and_is_of_no_chart_is_not_read() {
    let folder = Folder::empty();
    folder.write("platform/p.yaml", PLATFORM);
    folder.write("team/requirements.lock", "# of another tool\n-e file:.\n  - [not yaml\n");
    folder.write(
        "team/flux.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: a, image: nginx:1}]}\n",
    );
    check_in(&folder, &[]).exits(0);
}

/// A chart of team-a with dependencies, in the file of that name.
fn chart(file: &str, dependencies: &str) -> Folder {
    let folder = Folder::empty();
    folder.write("platform/p.yaml", PLATFORM);
    folder.write("team/apps/shop/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\n");
    let text = format!("apiVersion: v1\nname: shop\nversion: 1.0.0\ndependencies:\n  - {dependencies}\n");
    folder.write(format!("team/apps/shop/{file}"), text);
    folder
}

const CHART_FILES: [&str; 4] = ["Chart.yaml", "Chart.lock", "requirements.yaml", "requirements.lock"];

#[test]
fn dependencies_of_charts_are_judged_in_every_file_that_names_them() {
    for file in CHART_FILES {
        for (dependency, rule, field) in [
            (
                "{name: redis, version: 1.x, repository: https://evil.example/charts}",
                "source-not-allowed",
                "repository",
            ),
            ("{name: mysql, version: 1.x, repository: https://charts.example.com/stable}", "chart-not-allowed", "name"),
            ("{name: redis, repository: http://charts.example.com/stable}", "source-not-allowed", "repository"),
            ("{name: redis, repository: https://u:p@charts.example.com/stable}", "invalid-url", "repository"),
            ("{name: redis, repository: https://charts.example.com/stable/}", "invalid-url", "repository"),
            ("{name: redis, repository: https://Charts.example.com/stable}", "invalid-url", "repository"),
            ("{name: redis, repository: oci://evil.example/charts}", "source-not-allowed", "repository"),
            ("{name: redis, repository: s3://charts.example.com/stable}", "invalid-url", "repository"),
            ("{name: redis, repository: \"@stable\"}", "invalid-chart", "repository"),
            ("{name: redis, repository: alias:stable}", "invalid-chart", "repository"),
            ("{name: redis, repository: file:///etc}", "invalid-chart", "repository"),
            ("{name: redis, repository: \"file://../../../../x\"}", "invalid-chart", "repository"),
            ("{name: redis, Repository: https://evil.example/charts}", "source-not-allowed", "Repository"),
        ] {
            let ran = check_in(&chart(file, dependency), &[]);
            let column = format!("  - {dependency}").find(&format!("{field}: ")).unwrap() + field.len() + 3;
            refused(ran, rule, &format!("apps/shop/{file}:5:{column}"), &format!("dependencies[0].{field}"));
        }
    }
}

#[test]
fn an_umbrella_chart_of_allowed_charts_passes() {
    let folder = chart("Chart.yaml", "{name: redis, version: 1.x, repository: https://charts.example.com/stable}");
    folder.write("team/apps/shop/Chart.lock", "dependencies:\n- name: redis\n  repository: https://charts.example.com/stable\n  version: 1.2.3\ndigest: sha256:0\ngenerated: \"2026-01-01T00:00:00Z\"\n");
    folder.write("team/apps/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\ndependencies:\n- {name: common, version: 1.x, repository: file://../common}\n- {name: packed, version: 1.x}\n");
    folder.write("team/apps/common/Chart.yaml", "apiVersion: v2\nname: common\nversion: 1.0.0\n");
    folder.write("team/apps/web/charts/packed-1.0.0.tgz", "");
    let ran = check_in(&folder, &["--strict"]).exits(0).says("checked 3 Charts in 4 files: 3 admitted, 0 refused");
    assert_eq!(ran.rules(), [""; 0]);
    ran.says("passed over: 1 packed chart");
}

#[test]
fn a_lock_that_says_something_else_than_its_chart_is_judged_too() {
    let folder = chart("Chart.yaml", "{name: redis, version: 1.x, repository: https://charts.example.com/stable}");
    folder.write(
        "team/apps/shop/Chart.lock",
        "dependencies:\n- name: redis\n  repository: https://evil.example/charts\n  version: 1.2.3\n",
    );
    refused(check_in(&folder, &[]), "source-not-allowed", "apps/shop/Chart.lock:3:15", "dependencies[0].repository");
    // Named by itself, a lock is read whatever folder it is in.
    let lock = ["check", "--tenant", "team-a", "--policies", "platform", "team/apps/shop/Chart.lock"];
    folder.run(lock).exits(1).says("source-not-allowed");
    // A tag hides a value.
    folder.write(
        "team/apps/shop/Chart.lock",
        "dependencies:\n- name: redis\n  repository: !!binary aHR0cHM6Ly9ldmlsLmV4YW1wbGUvY2hhcnRz\n",
    );
    check_in(&folder, &[]).exits(1).says("this tag makes another value");
}

#[test]
fn a_chart_by_path_stays_in_its_repository() {
    let folder = chart("Chart.yaml", "{name: a, repository: \"file://../../../common\"}");
    // The current folder is the repository where there is no checkout.
    check_in(&folder, &[]).exits(0);
    std::fs::create_dir(folder.path("team/.git")).unwrap();
    check_in(&folder, &[]).exits(1).says("leads out of the repository");
}
