//! What holds while webhooks come and go: nothing that should be refused passes, what should pass passes, and a cluster without
//! any webhook can still do what it must.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::network::NODE_ADDRESS;
use sluicegate_e2e::suite::User;
use sluicegate_e2e::suite::operator::{self};
use sluicegate_e2e::suite::webhook::{CONFIGURATION, Replica, SECRET, install_configurations, install_guard};

use crate::support::{API, Hook, config, minimal, namespace, on_own, path, policy, send, url};
use crate::ward::{Ward, allowing};

/// Requests of which half must pass and half must not, for as long as it runs.
struct Load {
    ending: Arc<AtomicBool>,
    passed: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Vec<Wrong>>>,
    began: Instant,
}

/// A request that was answered as it should not be.
#[derive(Debug)]
struct Wrong {
    after: Duration,
    /// Something forbidden passed; otherwise something allowed was refused.
    passed: bool,
    /// It was answered wrongly again when it was sent again a moment later.
    again: bool,
    message: String,
}

impl Load {
    fn start(hook: &Hook, tenant: &str) -> Load {
        let (ending, passed, refused) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let began = Instant::now();
        let tasks = (0..4).map(|number| {
            let (hook, tenant) = (hook.clone(), tenant.to_owned());
            let (ending, passed, refused) = (ending.clone(), passed.clone(), refused.clone());
            tokio::spawn(async move {
                let mut wrong = Vec::new();
                let spec = |url: String| json!({"source": {"url": url}});
                while !ending.load(Ordering::Relaxed) {
                    let name = format!("load-{number}");
                    let ask = |url: String| hook.dry_run(config(&tenant, &name, spec(url)));
                    if let Ok(answer) = ask(url(&tenant)).await {
                        passed.fetch_add(1, Ordering::Relaxed);
                        if answer.status >= 300 {
                            let (after, message) = (began.elapsed(), answer.message().to_owned());
                            // The API server needs a moment to see that a connection has ended.
                            tokio::time::sleep(Duration::from_millis(100)).await;
                            let again = ask(url(&tenant)).await.map_or(true, |answer| answer.status >= 300);
                            wrong.push(Wrong { after, passed: false, again, message });
                        }
                    }
                    if let Ok(answer) = ask(url("other")).await {
                        refused.fetch_add(1, Ordering::Relaxed);
                        if answer.status < 300 {
                            let after = began.elapsed();
                            wrong.push(Wrong { after, passed: true, again: true, message: String::new() });
                        }
                    }
                }
                wrong
            })
        });
        Load { tasks: tasks.collect(), ending, passed, refused, began }
    }

    /// Ends it when there was enough, and gives what was answered wrongly.
    async fn end(self, what: &str) -> Vec<Wrong> {
        let enough = || self.passed.load(Ordering::Relaxed).min(self.refused.load(Ordering::Relaxed)) > 50;
        while !enough() && self.began.elapsed() < Duration::from_secs(120) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.ending.store(true, Ordering::Relaxed);
        let mut wrong = Vec::new();
        for task in self.tasks {
            wrong.extend(task.await.expect("a task of the load"));
        }
        let (passed, refused) = (self.passed.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed));
        println!("{what}: {passed} that should pass, {refused} that should not, {} answered wrongly", wrong.len());
        for wrong in wrong.iter().take(3) {
            println!("after {:?}: {}", wrong.after, wrong.message);
        }
        assert!(passed.min(refused) > 50, "there was hardly any load");
        wrong
    }
}

/// Two replicas behind the front, the configurations in place, and a tenant.
async fn two(hook: &Hook, arguments: &[&str]) -> Result<(Replica, Replica, String)> {
    let (a, b) = (Replica::new(&hook.cluster, "a", arguments)?, Replica::new(&hook.cluster, "b", arguments)?);
    // At the same time: they agree on one authority.
    let (first, second) = tokio::join!(a.start(), b.start());
    first?;
    second?;
    hook.front.lead_to(&[&a, &b]);
    install_configurations(&hook.cluster, hook.front.address()).await?;
    hook.is_asked().await?;
    let tenant = hook.tenant().await?;
    Ok((a, b, tenant))
}

async fn bundle(hook: &Hook) -> Result<Vec<Value>> {
    let mut bundles = Vec::new();
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let found =
            hook.space.get("admissionregistration.k8s.io/v1", kind, "", CONFIGURATION).await?.expect("it is there");
        bundles.extend(
            found["webhooks"].as_array().into_iter().flatten().map(|hook| hook["clientConfig"]["caBundle"].clone()),
        );
    }
    Ok(bundles)
}

async fn secret(hook: &Hook) -> Result<Value> {
    Ok(hook.space.get("v1", "Secret", operator::NAMESPACE, SECRET).await?.expect("the Secret is there"))
}

#[test]
fn a_rolling_update_under_load_is_not_seen() {
    on_own("rolling", async |hook| {
        let (a, b, tenant) = two(&hook, &["--linger", "1"]).await?;
        let load = Load::start(&hook, &tenant);
        for round in 0..2 {
            for (old, other) in [(&a, &b), (&b, &a)] {
                // A new pod is ready before an old one goes; here one of two goes at a time.
                hook.front.lead_to(&[other]);
                let took = old.stop()?;
                assert!(took < Duration::from_secs(15), "round {round}: {took:?}");
                old.start().await?;
                hook.front.lead_to(&[&a, &b]);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        let wrong = load.end("rolling update").await;
        assert!(wrong.is_empty(), "{wrong:#?}");
        Ok(())
    });
}

#[test]
fn certificates_and_authorities_change_under_load_and_nobody_sees_it() {
    on_own("rotation", async |hook| {
        // A certificate lives for 20 s and an authority for 45 s, so both are renewed several times.
        let lives = ["--certificate-age", "20", "--authority-age", "45", "--authority-settles", "2"];
        let (a, b, tenant) = two(&hook, &lives).await?;
        let (first, first_bundle) = (secret(&hook).await?, bundle(&hook).await?);
        let load = Load::start(&hook, &tenant);
        while load.began.elapsed() < Duration::from_secs(75) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let wrong = load.end("rotation").await;
        assert!(wrong.is_empty(), "{wrong:#?}\n{}\n{}", a.log_tail("", 20), b.log_tail("", 20));
        let last = secret(&hook).await?;
        for key in ["ca.key", "ca.crt", "tls.crt", "tls.key"] {
            assert_ne!(first["data"][key], last["data"][key], "{key} has not changed");
        }
        assert_ne!(first_bundle, bundle(&hook).await?);
        Ok(())
    });
}

#[test]
fn replicas_that_crash_lose_what_they_were_answering_and_nothing_else() {
    on_own("crash", async |hook| {
        let (a, b, tenant) = two(&hook, &[]).await?;
        let load = Load::start(&hook, &tenant);
        let mut crashes = Vec::new();
        for _ in 0..2 {
            for (replica, other) in [(&a, &b), (&b, &a)] {
                tokio::time::sleep(Duration::from_secs(2)).await;
                assert!(other.is_ready().await);
                crashes.push(load.began.elapsed());
                replica.kill()?;
                tokio::time::sleep(Duration::from_secs(2)).await;
                replica.start().await?;
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let wrong = load.end("crashes").await;
        assert!(wrong.iter().all(|wrong| !wrong.passed), "something forbidden passed: {wrong:#?}");
        // What was being answered at that moment is lost with the process, and refused: whoever asks again is answered.
        assert!(wrong.iter().all(|wrong| !wrong.again), "refused twice: {wrong:#?}");
        for wrong in &wrong {
            let crash = crashes.iter().rfind(|crash| **crash <= wrong.after).expect("nothing is lost before a crash");
            assert!(wrong.after < *crash + Duration::from_secs(2), "lost long after a crash at {crash:?}: {wrong:?}");
        }
        assert!(wrong.len() <= 4 * crashes.len(), "more is lost than was going on: {wrong:#?}");
        Ok(())
    });
}

/// Writes certificate and key into the files of a replica, which looks at them every ten seconds.
fn put(folder: &Path, name: &str, certificate: &str, key: &str) {
    for (ending, text) in [("crt", certificate), ("key", key)] {
        // As a whole, as kubelets do.
        let new = folder.join(format!("{name}.{ending}.new"));
        std::fs::write(&new, text).expect("a file is written");
        std::fs::rename(new, folder.join(format!("{name}.{ending}"))).expect("a file is put in place");
    }
}

#[test]
fn files_of_an_administrator_are_replaced_under_load_and_nobody_sees_it() {
    on_own("files", async |hook| {
        let authority = hook.cluster.authority()?;
        let issue = || authority.server("sluicegate-webhook", &[NODE_ADDRESS]);
        let folder = tempfile::tempdir().expect("a folder");
        let replica = |name: &str| {
            let first = issue()?;
            put(folder.path(), name, &first.certificate, &first.key);
            let file = |ending: &str| folder.path().join(format!("{name}.{ending}")).display().to_string();
            Replica::new(&hook.cluster, name, &["--certificate-file", &file("crt"), "--key-file", &file("key")])
        };
        let (a, b) = (replica("a")?, replica("b")?);
        a.start().await?;
        b.start().await?;
        hook.front.lead_to(&[&a, &b]);
        install_configurations(&hook.cluster, hook.front.address()).await?;
        trust(&hook, &authority.certificate).await?;
        hook.is_asked().await?;
        let tenant = hook.tenant().await?;
        let load = Load::start(&hook, &tenant);
        for (name, replica) in [("a", &a), ("b", &b)] {
            let next = issue()?;
            put(folder.path(), name, &next.certificate, &next.key);
            let taken = || async { Ok((!replica.log_tail("serving a new certificate", 1).is_empty()).then_some(())) };
            hook.space.wait("the new certificate to be served", 30, taken).await?;
        }
        // A pair that does not fit is not taken, and what stood stays.
        let (one, other) = (issue()?, issue()?);
        put(folder.path(), "a", &one.certificate, &other.key);
        let kept = || async { Ok((!a.log_tail("the certificate stays as it is", 1).is_empty()).then_some(())) };
        hook.space.wait("the pair to be looked at", 30, kept).await?;
        let wrong = load.end("files").await;
        assert!(wrong.is_empty(), "{wrong:#?}");
        Ok(())
    });
}

/// Says whom the API server is to trust.
async fn trust(hook: &Hook, certificate: &str) -> Result<()> {
    let bundle = STANDARD.encode(certificate);
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let found = hook.space.get("admissionregistration.k8s.io/v1", kind, "", CONFIGURATION).await?;
        let mut object = found.expect("it is there");
        for webhook in object["webhooks"].as_array_mut().into_iter().flatten() {
            webhook["clientConfig"]["caBundle"] = json!(bundle);
        }
        hook.patch(&object, json!({"webhooks": object["webhooks"]})).await?.accepted();
    }
    Ok(())
}

#[test]
fn somebody_else_at_the_webhooks_address_is_not_believed() {
    on_own("foreign", async |hook| {
        let (a, b, tenant) = two(&hook, &[]).await?;
        // It has a certificate of an authority that the cluster trusts for other things, and allows everything.
        let socket = hook.cluster.listen(0)?;
        let address = socket.local_addr().expect("an address").to_string();
        let asked = Arc::<AtomicU64>::default();
        let count = asked.clone();
        let foreign = hook.cluster.authority()?.server("sluicegate-webhook", &[NODE_ADDRESS])?;
        sluicegate_e2e::suite::http::serve(socket, &foreign, move |body| {
            count.fetch_add(1, Ordering::Relaxed);
            let review: Value = serde_json::from_slice(body).unwrap_or_default();
            let response = json!({"uid": review["request"]["uid"], "allowed": true});
            let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
            answer.to_string().into_bytes()
        })?;
        install_configurations(&hook.cluster, &address).await?;
        let forbidden = config(&tenant, "x", json!({"source": {"url": url("other")}}));
        hook.space
            .wait("the API server to ask at the other address", 30, || async {
                let answer = hook.dry_run(forbidden.clone()).await?;
                assert!(answer.status >= 400, "something forbidden passed: {}", answer.object);
                Ok(answer.message().contains("x509").then_some(()))
            })
            .await?;
        for object in [forbidden, minimal(&tenant)] {
            hook.dry_run(object).await?.unanswered();
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0, "the API server has told it what is written");
        assert!(a.is_ready().await && b.is_ready().await);
        Ok(())
    });
}

#[test]
fn trust_that_somebody_removes_is_put_back_and_so_is_the_secret() {
    on_own("trust", async |hook| {
        let (_a, _b, tenant) = two(&hook, &[]).await?;
        let (before, bundle_before) = (secret(&hook).await?, bundle(&hook).await?);
        assert!(bundle_before.iter().all(Value::is_string), "{bundle_before:?}");
        // As by an administrator who replaces the configurations by those of a release.
        for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
            hook.space.delete("admissionregistration.k8s.io/v1", kind, "", CONFIGURATION).await?;
        }
        install_configurations(&hook.cluster, hook.front.address()).await?;
        hook.is_asked().await?;
        hook.space
            .wait("the API server to trust both again", 30, || async {
                Ok((bundle(&hook).await? == bundle_before).then_some(()))
            })
            .await?;
        hook.space.delete("v1", "Secret", operator::NAMESPACE, SECRET).await?;
        hook.space
            .wait("a new Secret", 30, || async {
                let found = hook.space.get("v1", "Secret", operator::NAMESPACE, SECRET).await?;
                Ok(found.filter(|found| found["data"]["ca.crt"] != before["data"]["ca.crt"]).map(|_| ()))
            })
            .await?;
        hook.space
            .wait("the API server to trust it", 30, || async {
                let asked = hook.dry_run(config(&tenant, "x", json!({"source": {"url": url("other")}}))).await?;
                Ok(asked.message().contains("[source-not-allowed]").then_some(()))
            })
            .await
    });
}

#[test]
fn without_a_webhook_the_cluster_does_what_it_must_and_nothing_forbidden() {
    on_own("away", async |hook| {
        let (a, b, tenant) = two(&hook, &[]).await?;
        hook.apply(minimal(&tenant)).await?.accepted();
        hook.front.lead_to(&[]);
        a.kill()?;
        b.kill()?;
        // Who may write is found out by the webhook alone.
        hook.dry_run(config(&tenant, "other", json!({"source": {"url": url(&tenant)}}))).await?.unanswered();
        // The operator completes, and removes finalizers.
        let operator = operator_of(&hook).await?;
        let fills = json!({"apiVersion": API, "kind": "FluxConfig", "metadata": {"name": "shop", "namespace": tenant},
            "spec": {"source": {"url": url(&tenant)}, "interval": "7m"}});
        hook.apply_by(&operator.client, fills).await?.accepted();
        hook.patch(&minimal(&tenant), json!({"metadata": {"labels": {"a": "b"}}})).await?.accepted();
        hook.delete(&minimal(&tenant)).await?.accepted();
        // A grant can be withdrawn, and a policy be mended.
        hook.apply(policy(&tenant, &tenant)).await?.accepted();
        hook.delete(&policy(&tenant, &tenant)).await?.accepted();
        // Namespaces come and go, and so does everything that a cluster starts from.
        let name = format!("{}-plain", hook.space.prefix());
        hook.apply(namespace(&name, json!({"team": "x"}))).await?.accepted();
        hook.delete(&namespace(&name, json!({}))).await?.accepted();
        for place in ["kube-system", operator::NAMESPACE] {
            let object =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe", "namespace": place}});
            hook.apply(object).await?.accepted();
            hook.patch(&namespace(place, json!({})), json!({"metadata": {"labels": {"x": "y"}}})).await?.accepted();
        }
        // Whose a namespace is can be said by an administrator, and by nobody else.
        let given = format!("{}-given", hook.space.prefix());
        let labels = json!({"sluicegate.dev/tenant": "team-a"});
        hook.apply(namespace(&given, labels.clone())).await?.accepted();
        let rules = json!([{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["*"]}]);
        let bob = hook.user("bob", rules).await?;
        let other = format!("{}-taken", hook.space.prefix());
        hook.apply_by(&bob.client, namespace(&other, labels)).await?.unanswered();
        hook.delete(&namespace(&given, json!({}))).await?.accepted();
        Ok(())
    });
}

#[test]
fn without_the_webhook_as_its_guard_tenants_get_nothing_new_and_what_runs_goes_on() {
    on_own("unguarded", async |hook| {
        let (a, b, _) = two(&hook, &[]).await?;
        install_guard(&hook.cluster, hook.front.address()).await?;
        let policy = json!({
            "images": {"allow": ["registry.example.com/**"]}, "sources": {"git": {"allow": ["https://git.example.com/**"]}},
        });
        let ward = Ward::new(&hook, "team", &[allowing(policy)]).await?;
        let running = ward.judge.pod("registry.example.com/x:1");
        hook.create(running.clone()).await?.accepted();
        hook.front.lead_to(&[]);
        a.kill()?;
        b.kill()?;
        let client = hook.space.client();
        let source = json!({"interval": "1m", "url": "https://git.example.com/x"});
        let source = ward.judge.flux("source.toolkit.fluxcd.io/v1", "GitRepository", source);
        for object in [ward.judge.pod("registry.example.com/x:2"), ward.judge.pod("evil.example/x:1"), source] {
            let mut object = object;
            object["metadata"]["name"] = json!("new");
            hook.tries(&client, &object).await?.unanswered();
        }
        let image = json!({"spec": {"containers": [{"name": "x", "image": "registry.example.com/x:2"}]}});
        let (method, kind) = (http::Method::PATCH, "application/strategic-merge-patch+json");
        send(&client, method, &path(&running).1, kind, image).await?.unanswered();
        // What changes nothing that is judged, and what goes.
        hook.patch(&running, json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["example.com/x"]}}))
            .await?
            .accepted();
        hook.patch(&running, json!({"metadata": {"finalizers": null}})).await?.accepted();
        hook.delete(&running).await?.accepted();
        // Nobody else is touched by it.
        let mut elsewhere = running;
        for place in ["kube-system", "default"] {
            elsewhere["metadata"] = json!({"name": "new", "namespace": place});
            hook.tries(&client, &elsewhere).await?.accepted();
        }
        Ok(())
    });
}

/// A client that the API server takes for the operator. Its rights are those of its roles.
async fn operator_of(hook: &Hook) -> Result<User> {
    let text = hook.cluster.kubeconfig_for(operator::USER, Some("system:serviceaccounts"))?;
    let failed = |why: String| Error::Service { what: "the operator's kubeconfig".to_owned(), why };
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&text).map_err(|error| failed(error.to_string()))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
        .await
        .map_err(|error| failed(error.to_string()))?;
    let client = kube::Client::try_from(config).map_err(|error| failed(error.to_string()))?;
    Ok(User { name: operator::USER.to_owned(), kubeconfig: text, client })
}
