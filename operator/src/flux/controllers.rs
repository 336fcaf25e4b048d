//! The controllers of Flux: what each is called, how it is started, what it asks of the API server.
//!
//! The rules are what the controllers were seen to ask for when everything that Sluicegate uses was run, and no more; an
//! agent with them logs one forbidden request, the harmless `HEAD /livez/ping` of a start.

use sluicegate_crds::AgentComponent;

use crate::rights::{Rule, rule};

/// A controller of Flux.
#[derive(Debug)]
pub struct Controller {
    /// Which.
    pub component: AgentComponent,
    /// Its name: of the image, the Deployment, the ServiceAccount, and in its Lease.
    pub name: &'static str,
    /// Arguments beside those that all have.
    pub args: &'static [&'static str],
    /// It takes no references to other namespaces, and can be told so.
    pub refuses_cross_namespace_refs: bool,
    /// It would list all Secrets and ConfigMaps to watch those that are marked, and can be told not to.
    pub watches_config: bool,
    /// It applies with the rights of a tenant's reconciler.
    pub impersonates: bool,
    /// Serves artifacts at port 9090.
    pub serves_artifacts: bool,
    /// Fetches artifacts from those who serve them.
    pub fetches_artifacts: bool,
    /// Reaches out: to repositories, registries, receivers of notifications.
    pub reaches_out: bool,
    /// It is ready only as the leader, as it serves only then.
    pub ready_by_serving: bool,
    /// Ports of its own beside those that all have: name and number.
    pub ports: &'static [(&'static str, u16)],
    /// Services: name, and the port behind port 80.
    pub services: &'static [(&'static str, &'static str)],
    /// It keeps files in `/data`.
    pub data: bool,
    /// Time that it has to stop, in seconds: it finishes what it has begun.
    pub grace: u32,
    /// What it may do in its namespace, the rules that all have left out.
    rules: fn() -> Vec<Rule>,
}

/// Metrics.
pub const METRICS_PORT: u16 = 8080;
/// Probes.
pub const HEALTH_PORT: u16 = 9440;
/// Artifacts of source-controller, events of notification-controller.
pub const HTTP_PORT: u16 = 9090;

const SOURCE: &str = "source.toolkit.fluxcd.io";
const KUSTOMIZE: &str = "kustomize.toolkit.fluxcd.io";
const HELM: &str = "helm.toolkit.fluxcd.io";
const NOTIFICATION: &str = "notification.toolkit.fluxcd.io";
const IMAGE: &str = "image.toolkit.fluxcd.io";
const EXTENSIONS: &str = "source.extensions.fluxcd.io";

/// What all have unless they say otherwise.
const PLAIN: Controller = Controller {
    component: AgentComponent::Source,
    name: "",
    args: &[],
    refuses_cross_namespace_refs: true,
    watches_config: false,
    impersonates: false,
    serves_artifacts: false,
    fetches_artifacts: false,
    reaches_out: false,
    ready_by_serving: false,
    ports: &[],
    services: &[],
    data: false,
    grace: 10,
    rules: Vec::new,
};

/// All controllers, in the order of [`AgentComponent`].
pub const CONTROLLERS: [Controller; 7] = [
    Controller {
        component: AgentComponent::Source,
        name: "source-controller",
        args: &["--storage-path=/data", "--storage-adv-addr=source-controller.$(RUNTIME_NAMESPACE).svc.cluster.local."],
        refuses_cross_namespace_refs: false,
        serves_artifacts: true,
        reaches_out: true,
        ready_by_serving: true,
        ports: &[("http", HTTP_PORT)],
        services: &[("source-controller", "http")],
        data: true,
        rules: || {
            let kinds = ["buckets", "gitrepositories", "helmcharts", "helmrepositories", "ocirepositories"];
            vec![rule(SOURCE, &kinds, &["list", "watch", "patch"]), rule(SOURCE, &kinds, &["patch"]).of_status()]
        },
        ..PLAIN
    },
    Controller {
        component: AgentComponent::Kustomize,
        name: "kustomize-controller",
        watches_config: true,
        impersonates: true,
        fetches_artifacts: true,
        grace: 60,
        rules: || {
            vec![
                // Dependencies are read past the cache.
                rule(KUSTOMIZE, &["kustomizations"], &["get", "list", "watch", "patch"]),
                rule(KUSTOMIZE, &["kustomizations/status"], &["patch"]),
                rule(SOURCE, &["buckets", "gitrepositories", "ocirepositories"], &["list", "watch"]),
                // Asked for when a Kustomization is deleted; without it the deletion waits forever.
                rule("", &["serviceaccounts"], &["list", "watch"]),
            ]
        },
        ..PLAIN
    },
    Controller {
        component: AgentComponent::Helm,
        name: "helm-controller",
        watches_config: true,
        impersonates: true,
        fetches_artifacts: true,
        grace: 600,
        rules: || {
            vec![
                rule(HELM, &["helmreleases"], &["get", "list", "watch", "patch"]),
                rule(HELM, &["helmreleases/status"], &["patch"]),
                rule(SOURCE, &["helmcharts"], &["get", "list", "watch", "create", "patch", "delete"]),
                rule(SOURCE, &["ocirepositories"], &["list", "watch"]),
                // As for kustomize-controller.
                rule("", &["serviceaccounts"], &["list", "watch"]),
            ]
        },
        ..PLAIN
    },
    Controller {
        component: AgentComponent::Notification,
        name: "notification-controller",
        watches_config: true,
        reaches_out: true,
        ports: &[("http", HTTP_PORT), ("http-webhook", 9292)],
        services: &[("notification-controller", "http"), ("webhook-receiver", "http-webhook")],
        rules: || {
            vec![
                rule(NOTIFICATION, &["alerts", "providers", "receivers"], &["list", "watch", "patch"]),
                rule(NOTIFICATION, &["receivers/status"], &["patch"]),
            ]
        },
        ..PLAIN
    },
    Controller {
        component: AgentComponent::ImageReflector,
        name: "image-reflector-controller",
        reaches_out: true,
        data: true,
        rules: || {
            let kinds = ["imagepolicies", "imagerepositories"];
            vec![rule(IMAGE, &kinds, &["list", "watch", "patch"]), rule(IMAGE, &kinds, &["patch"]).of_status()]
        },
        ..PLAIN
    },
    Controller {
        component: AgentComponent::ImageAutomation,
        name: "image-automation-controller",
        reaches_out: true,
        rules: || {
            vec![
                rule(IMAGE, &["imageupdateautomations"], &["list", "watch", "patch"]),
                rule(IMAGE, &["imageupdateautomations/status"], &["patch"]),
                rule(IMAGE, &["imagepolicies"], &["list", "watch"]),
                rule(SOURCE, &["gitrepositories"], &["get", "list", "watch"]),
            ]
        },
        ..PLAIN
    },
    Controller {
        component: AgentComponent::SourceWatcher,
        name: "source-watcher",
        args: &["--storage-path=/data", "--storage-adv-addr=source-watcher.$(RUNTIME_NAMESPACE).svc.cluster.local."],
        serves_artifacts: true,
        fetches_artifacts: true,
        ready_by_serving: true,
        ports: &[("http", HTTP_PORT)],
        services: &[("source-watcher", "http")],
        data: true,
        rules: || {
            vec![
                rule(EXTENSIONS, &["artifactgenerators"], &["list", "watch", "patch"]),
                rule(EXTENSIONS, &["artifactgenerators/status"], &["patch"]),
                rule(SOURCE, &["externalartifacts"], &["get", "list", "watch", "create", "patch", "delete"]),
                rule(SOURCE, &["externalartifacts/status"], &["patch"]),
                rule(
                    SOURCE,
                    &["buckets", "gitrepositories", "helmcharts", "ocirepositories"],
                    &["get", "list", "watch"],
                ),
            ]
        },
        ..PLAIN
    },
];

impl Controller {
    /// The controller of a component.
    pub fn of(component: AgentComponent) -> &'static Controller {
        const ALL: &[Controller] = &CONTROLLERS;
        // Sorted as the components are, all of them there: see the test.
        &ALL[component as usize]
    }

    /// Its Lease: whoever holds it is what reconciles. An agent's health is judged by it.
    pub fn lease(&self) -> String {
        format!("{}-leader-election", self.name)
    }

    /// The fixed ClusterRole with its rights, bound in its namespace only.
    pub fn role(&self) -> String {
        format!("sluicegate-{}", self.name)
    }

    /// What it may do in its namespace. Secrets are not among it: a Role beside it names single ones.
    pub fn rules(&self) -> Vec<Rule> {
        let mut rules = vec![
            rule("coordination.k8s.io", &["leases"], &["create"]),
            rule("coordination.k8s.io", &["leases"], &["get", "update"]).named([self.lease()]),
            rule("", &["events"], &["create", "patch"]),
        ];
        rules.extend((self.rules)());
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_finds_its_controller() {
        for controller in &CONTROLLERS {
            assert_eq!(Controller::of(controller.component).name, controller.name);
        }
    }

    #[test]
    fn no_controller_may_read_secrets() {
        for controller in &CONTROLLERS {
            for rule in controller.rules() {
                assert!(
                    !rule.resources.iter().any(|resource| resource == "secrets" || resource == "configmaps"),
                    "{}",
                    controller.name
                );
            }
        }
    }
}
