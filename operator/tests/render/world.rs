//! Policies and FluxConfigs as people write them, judged by the real engine and rendered.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr};

use serde::de::DeserializeOwned;
use serde_json::Value;
use sluicegate_crds::{FluxConfig, FluxPolicy};
use sluicegate_operator::render::{Account, AgentId, CopySource, Member, Pause, RenderError, Rendered, Site, render};
use sluicegate_policy::{Admitted, Declaration, Facts, Labels, PolicySet, Unseen, Verdict, decide};

pub struct World {
    policies: Vec<FluxPolicy>,
    facts: Facts,
    pub site: Site,
}

impl World {
    /// The platform of `platform.yaml`, and the cluster `prod`.
    pub fn new() -> Self {
        let mut facts = Facts::new(Unseen::Absent);
        facts.cluster("prod", Labels::new());
        Self {
            policies: documents(include_str!("platform.yaml")),
            facts,
            site: Site {
                flux_version: None,
                api_servers: ["10.96.0.1:443", "192.0.2.10:6443"]
                    .map(|text| text.parse::<SocketAddr>().unwrap())
                    .to_vec(),
                operator: Account::ServiceAccount {
                    namespace: "sluicegate-system".to_owned(),
                    name: "sluicegate-operator".to_owned(),
                },
            },
        }
    }

    /// With one more policy, of a higher priority.
    pub fn policy(mut self, spec: &str) -> Self {
        let name = format!("extra-{}", self.policies.len());
        let text = format!(
            "apiVersion: sluicegate.dev/v1alpha1\nkind: FluxPolicy\nmetadata: {{name: {name}}}\nspec:\n  priority: 10\n{spec}"
        );
        self.policies.extend(documents(&text));
        self
    }

    /// With a namespace that a label gives to a tenant.
    pub fn home(mut self, namespace: &str, tenant: &str) -> Self {
        let labels = Labels::from([(sluicegate_crds::TENANT_LABEL.to_owned(), tenant.to_owned())]);
        self.facts.namespace(namespace, labels);
        self
    }

    /// What the engine makes of FluxConfigs; all must be admitted.
    #[track_caller]
    pub fn admit(&self, configs: &str) -> Vec<Admitted> {
        let configs: Vec<FluxConfig> = documents(configs);
        let policies = PolicySet::compile(&self.policies);
        let mut facts = self.facts.clone();
        for config in &configs {
            facts.declare(Declaration::of(config, &policies, &self.facts, None));
        }
        configs
            .iter()
            .map(|config| match decide(config, &policies, &facts) {
                Verdict::Admitted(admitted) => *admitted,
                other => {
                    let said: Vec<String> = other.violations().iter().map(ToString::to_string).collect();
                    panic!("should be admitted:\n{}", said.join("\n"));
                }
            })
            .collect()
    }

    /// All agents of these FluxConfigs.
    #[track_caller]
    pub fn agents(&self, configs: &str) -> BTreeMap<AgentId, Rendered> {
        self.try_agents(&self.admit(configs)).map(|agent| agent.unwrap_or_else(|error| panic!("{error:?}"))).collect()
    }

    fn try_agents<'a>(
        &'a self,
        admitted: &'a [Admitted],
    ) -> impl Iterator<Item = Result<(AgentId, Rendered), RenderError>> + 'a {
        let mut agents: BTreeMap<AgentId, Vec<Member<'_>>> = BTreeMap::new();
        for admitted in admitted {
            let member = Member { admitted, pause: Pause::Nothing };
            agents.entry(AgentId::of(admitted.resolved())).or_default().push(member);
        }
        agents.into_iter().map(|(agent, members)| {
            let rendered = render(&agent, &members, &self.site)?;
            Ok((agent, rendered))
        })
    }

    /// The only agent of these FluxConfigs.
    #[track_caller]
    pub fn agent(&self, configs: &str) -> (AgentId, Rendered) {
        let agents = self.agents(configs);
        assert_eq!(agents.len(), 1, "{:?}", agents.keys());
        agents.into_iter().next().unwrap()
    }

    /// Why the only agent of these FluxConfigs cannot be rendered.
    #[track_caller]
    pub fn refuses(&self, configs: &str) -> String {
        let admitted = self.admit(configs);
        let error =
            self.try_agents(&admitted).find_map(Result::err).unwrap_or_else(|| panic!("should not be rendered"));
        let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        format!("{error}{source}")
    }
}

/// `team/name`, with a body of the spec in YAML, indented by two spaces.
pub fn config(of: &str, spec: &str) -> String {
    let (home, name) = of.split_once('/').unwrap();
    format!(
        "---\napiVersion: sluicegate.dev/v1alpha1\nkind: FluxConfig\nmetadata: {{name: {name}, namespace: {home}}}\nspec:\n{spec}\n"
    )
}

/// The smallest valid FluxConfig.
pub fn smallest(of: &str) -> String {
    let (home, name) = of.split_once('/').unwrap();
    config(of, &format!("  source: {{url: https://git.example.com/{home}/{name}}}"))
}

fn documents<T: DeserializeOwned>(text: &str) -> Vec<T> {
    text.split("---\n")
        .filter(|document| !document.trim().is_empty())
        .map(|document| serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}\n{document}")))
        .collect()
}

pub fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap()
}

/// Everything, in the order in which it is applied; the copies where they come in between.
pub fn show(rendered: &Rendered, wanted: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let mut stage = None;
    let objects = rendered.objects.iter().map(|object| (object, None));
    let copies = rendered.copies.iter().map(|copy| (&copy.object, Some(copy)));
    let mut all: Vec<_> = objects.chain(copies).collect();
    all.sort_by(|(a, _), (b, _)| (a.key.kind.stage(), &a.key).cmp(&(b.key.kind.stage(), &b.key)));
    for (object, copy) in all {
        if !wanted(object.key.kind.name()) {
            continue;
        }
        if stage != Some(object.key.kind.stage()) {
            stage = Some(object.key.kind.stage());
            writeln!(text, "# {:?}", object.key.kind.stage()).unwrap();
        }
        text.push_str("---\n");
        match copy.map(|copy| &copy.from) {
            None => {}
            Some(CopySource::Platform { name }) => writeln!(text, "# a copy of the platform's {name}").unwrap(),
            Some(CopySource::Tenant { home, name, .. }) => {
                writeln!(text, "# a copy of the team's {home}/{name}").unwrap();
            }
            Some(CopySource::Beside { name, .. }) => writeln!(text, "# a copy of {name} beside it").unwrap(),
        }
        text.push_str(&yaml(&object.manifest));
    }
    text
}
