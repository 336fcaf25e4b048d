//! The guard for a webhook: the verdict on an object in a tenant's namespace, from the policies themselves.
//!
//! What the ValidatingAdmissionPolicies say in CEL from a TenantGuard is said here from the same policies, in the words of
//! `check`. Everything that depends on the namespace alone is worked out once; an object is read as text, and of it only what
//! is looked at.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use sluicegate_crds::AGENT_LABEL;

use super::owned::{PREFIXED, accounts};
use super::{Ward, network, policies::HELM_CONTROLLER, selection};
use crate::{
    compile::CompiledPolicy,
    facts::Facts,
    grammar::{Bindings, ClusterId, ImagePattern, NamespaceName, TenantName},
    image, message,
    set::{PolicySet, Selection},
    source,
    verdict::{FieldPath, Violation},
    workload::{FluxObject, Pods, Reach, new_reaches},
};

/// Users that are Kubernetes itself.
pub(super) const KUBERNETES_USERS: [&str; 3] =
    ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"];
/// Groups that are Kubernetes itself: nodes, and the controllers of kube-system.
pub(super) const KUBERNETES_GROUPS: [&str; 2] = ["system:nodes", "system:serviceaccounts:kube-system"];

/// What is said of a pod that would run as an account of an agent.
pub(super) const AGENT_ACCOUNT: &str = "serviceAccountName: this account is the agent's, and nobody else runs as it";
/// What is said to somebody who enters a pod of an agent.
pub(super) const AGENT_POD: &str = "this pod is the agent's, and nobody enters it";
/// What is said to somebody who evicts or binds pods of an agent, or changes how many there are.
pub(super) const AGENT_OWN: &str = "this is the agent's, and nobody evicts, binds or scales it";

/// What is said of a Flux object that does not say whose it is.
pub(super) fn unlabelled() -> String {
    format!(
        "metadata.labels: without the label {AGENT_LABEL}=<its namespace> a Flux of the platform would take this object, with rights of its own"
    )
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct User<'u> {
    name: &'u str,
    is_kubernetes: bool,
}

impl<'u> User<'u> {
    /// By name and groups.
    pub fn new<'g>(name: &'u str, groups: impl IntoIterator<Item = &'g str>) -> Self {
        let is_kubernetes =
            KUBERNETES_USERS.contains(&name) || groups.into_iter().any(|group| KUBERNETES_GROUPS.contains(&group));
        Self { name, is_kubernetes }
    }
}

/// What the cluster itself says of a namespace, as its TenantGuard has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Residents {
    /// User name of the operator: what it writes the engine has decided.
    pub operator: String,
    /// ServiceAccounts of the agent that lives in the namespace.
    pub accounts: Vec<String>,
    /// Images of that agent, word for word.
    pub images: Vec<String>,
}

/// Why a request is refused. Empty: it is not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refusal {
    /// What policies do not allow.
    pub violations: Vec<Violation>,
    /// What belongs to an agent, one sentence each.
    pub owned: Vec<Cow<'static, str>>,
}

impl Refusal {
    /// Whether there is nothing to refuse.
    pub fn is_empty(&self) -> bool {
        self.violations.is_empty() && self.owned.is_empty()
    }

    /// In words: violations as [`message::refusal`] has them, then the others.
    pub fn text(&self) -> String {
        let mut text = message::refusal(&self.violations);
        for owned in &self.owned {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(owned);
        }
        text
    }
}

/// What a tenant may in a namespace, worked out beforehand.
#[derive(Clone, Debug)]
pub struct Evaluator {
    tenant: TenantName,
    cluster: ClusterId,
    namespace: NamespaceName,
    residents: Residents,
    narrowing: Vec<ImagePattern>,
    /// The policies that apply, or the one no to everything.
    policies: Result<Vec<Arc<CompiledPolicy>>, Box<Violation>>,
}

impl Evaluator {
    /// Works out what applies. It shares the policies.
    pub fn new(ward: &Ward<'_>, residents: Residents, policies: &PolicySet, facts: &Facts) -> Self {
        Self {
            tenant: ward.tenant.clone(),
            cluster: ward.cluster.clone(),
            namespace: ward.namespace.clone(),
            residents,
            narrowing: ward.narrowing.unwrap_or_default().to_vec(),
            policies: selection(ward, policies, facts).map(|selection| selection.shared().cloned().collect()),
        }
    }

    /// Judges a pod, or an object that makes pods: the images that the old one does not have, and the account.
    pub fn pods(&self, user: &User<'_>, object: &Pods<'_>, old: Option<&Pods<'_>>) -> Refusal {
        let images: BTreeSet<&str> = old.iter().flat_map(|old| &old.images).map(|named| &*named.image).collect();
        let accounts: BTreeSet<&str> = old.iter().flat_map(|old| &old.accounts).map(|account| &**account).collect();
        let mut judge = Judge { evaluator: self, together: None, refusal: Refusal::default() };
        for named in object.images.iter().filter(|named| !images.contains(&*named.image)) {
            judge.image(&named.image, || named.field.clone());
        }
        for account in object.accounts.iter().filter(|account| !accounts.contains(&***account)) {
            judge.account(account, user);
        }
        judge.refusal
    }

    /// Judges a Flux object: sources and fields that differ from the old one's. What the operator writes was decided before.
    ///
    /// # Errors
    /// Where the object cannot be read.
    pub fn flux(
        &self,
        user: &User<'_>,
        kind: &str,
        object: &str,
        old: Option<&str>,
    ) -> Result<Refusal, serde_json::Error> {
        if user.name == self.residents.operator {
            return Ok(Refusal::default());
        }
        let new = FluxObject::read(kind, object)?;
        let old = old.and_then(|old| FluxObject::read(kind, old).ok());
        let mut judge = Judge { evaluator: self, together: None, refusal: Refusal::default() };
        if !self.is_derived(user, kind) {
            for reach in new_reaches(kind, self.namespace.as_str(), &new, old.as_ref()) {
                judge.reach(reach);
            }
        }
        let labelled = new.agent.as_deref() == Some(self.namespace.as_str());
        if !labelled && old.is_none_or(|old| old.agent != new.agent) {
            judge.refusal.owned.push(unlabelled().into());
        }
        Ok(judge.refusal)
    }

    /// Whether the object follows from another, which was judged: helm-controller makes the HelmChart of a HelmRelease.
    fn is_derived(&self, user: &User<'_>, kind: &str) -> bool {
        let controller = user
            .name
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.strip_prefix(self.namespace.as_str()));
        kind == "HelmChart"
            && controller.and_then(|rest| rest.strip_prefix(':')) == Some(HELM_CONTROLLER)
            && self.residents.accounts.iter().any(|account| account == HELM_CONTROLLER)
    }

    /// Judges a NetworkPolicy beside an agent: whether it opens what the old one did not.
    ///
    /// # Errors
    /// Where the object cannot be read.
    pub fn network_policy(
        &self,
        user: &User<'_>,
        object: &str,
        old: Option<&str>,
    ) -> Result<Refusal, serde_json::Error> {
        let opens = !self.residents.accounts.is_empty() && network::opens(object, old)?;
        Ok(self.unless_ours(user, opens, network::OPENS))
    }

    /// Judges entering a pod or a Service: `exec`, `attach`, `port-forward`, `proxy`. The name of what is proxied may have a
    /// scheme in front and a port behind.
    pub fn enter(&self, user: &User<'_>, name: &str) -> Refusal {
        self.unless_ours(user, name.split(':').any(|part| self.is_agents(part, true)), AGENT_POD)
    }

    /// Judges evicting and binding pods, and changing a scale.
    pub fn operate(&self, user: &User<'_>, resource: &str, name: &str) -> Refusal {
        self.unless_ours(user, self.is_agents(name, PREFIXED.contains(&resource)), AGENT_OWN)
    }

    /// Whether a name is an account's of the agent or, of pods and what makes them, begins with one.
    fn is_agents(&self, name: &str, prefixed: bool) -> bool {
        self.residents.accounts.iter().any(|account| {
            let rest = name.strip_prefix(account.as_str());
            rest.is_some_and(|rest| rest.is_empty() || prefixed && rest.starts_with('-'))
        })
    }

    fn unless_ours(&self, user: &User<'_>, is_agents: bool, said: &'static str) -> Refusal {
        let may = !is_agents || user.name == self.residents.operator || user.is_kubernetes;
        Refusal { violations: Vec::new(), owned: if may { Vec::new() } else { vec![said.into()] } }
    }

    fn bindings(&self) -> Bindings<'_> {
        Bindings { tenant: self.tenant.as_str(), namespace: self.namespace.as_str(), cluster: self.cluster.as_str() }
    }
}

/// An object that is being judged.
struct Judge<'e> {
    evaluator: &'e Evaluator,
    /// The policies, once something is asked of them.
    together: Option<Selection<'e>>,
    refusal: Refusal,
}

impl<'e> Judge<'e> {
    fn policies(&mut self) -> Result<Selection<'e>, &'e Violation> {
        match &self.evaluator.policies {
            Ok(policies) => Ok(self.together.get_or_insert_with(|| Selection::new(policies.iter())).clone()),
            Err(refusal) => Err(refusal),
        }
    }

    /// The no to everything is said once.
    fn refuse(&mut self, violation: &Violation) {
        if !self.refusal.violations.contains(violation) {
            self.refusal.violations.push(violation.clone());
        }
    }

    fn image(&mut self, image: &str, field: impl FnOnce() -> String) {
        if self.evaluator.residents.images.iter().any(|known| known == image) {
            return;
        }
        let policies = match self.policies() {
            Ok(policies) => policies,
            Err(refusal) => return self.refuse(refusal),
        };
        let any: FieldPath = "image".into();
        let (bindings, narrowing) = (self.evaluator.bindings(), &self.evaluator.narrowing);
        let judged = image::parse(image, &any)
            .and_then(|parsed| image::allow(&parsed, image, &policies, narrowing, &bindings, &any));
        if let Err(mut violation) = judged {
            violation.field = field().into();
            self.refusal.violations.push(violation);
        }
    }

    fn account(&mut self, account: &str, user: &User<'_>) {
        let may = user.name == self.evaluator.residents.operator || user.is_kubernetes;
        if !may && accounts().any(|known| known == account) && self.refusal.owned.is_empty() {
            self.refusal.owned.push(AGENT_ACCOUNT.into());
        }
    }

    fn reach(&mut self, reach: Reach) {
        match reach {
            Reach::Forbidden(violation) => self.refusal.violations.push(*violation),
            Reach::Image { field, image } => self.image(&image, || field),
            Reach::Bare { field, lacks } => {
                let policies = match self.policies() {
                    Ok(policies) => policies,
                    Err(refusal) => return self.refuse(refusal),
                };
                if let Err(mut violation) = source::bare(lacks, &policies) {
                    violation.field = field.into();
                    self.refusal.violations.push(violation);
                }
            }
            Reach::Source { field, url, kind } => {
                let policies = match self.policies() {
                    Ok(policies) => policies,
                    Err(refusal) => return self.refuse(refusal),
                };
                let bindings = self.evaluator.bindings();
                let judged = source::parse(&url).and_then(|url| {
                    source::allow(source::kind(Some(kind), &url)?.value, &url, &policies, &bindings).map(drop)
                });
                if let Err(mut violation) = judged {
                    violation.field = field.into();
                    self.refusal.violations.push(violation);
                }
            }
        }
    }
}
