//! Laws of the verdict, on policies, facts and FluxConfigs put together from a small vocabulary.
//!
//! The vocabulary is chosen so that both verdicts occur often; a law over cases that are all refused proves nothing, so the
//! first test counts them.

// Clippy's leave to unwrap in tests ends at the functions that tests call.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "laws/vocabulary.rs"]
mod vocabulary;

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value, json};
use sluicegate_crds::FluxConfig;
use sluicegate_policy::{
    Answer, Declaration, Facts, Placer, PolicySet, Question, Rule, Verdict, ask, compile, dangerous_grants, decide,
    decide_placed,
    grammar::{Bindings, ImagePattern, SourceUrl, TenantName, UrlPattern},
    verdict::SecretSource,
    violations,
};
use vocabulary::{Case, IMAGE_PATTERNS, IMAGES, URL_PATTERNS, case, images, merge, pick, policy, text};

fn verdict(case: &Case) -> Verdict {
    let set = case.set();
    decide(&case.config, &set, &case.facts(&set))
}

fn admitted(case: &Case) -> bool {
    verdict(case).admitted().is_some()
}

/// What a pod of the case's tenant may pull, on its cluster.
fn pulls(case: &Case, narrowing: &[ImagePattern]) -> Vec<bool> {
    let set = case.set();
    let facts = case.facts(&set);
    let home = case.config.metadata.namespace.as_deref().unwrap();
    let tenant = facts.tenant(home).unwrap();
    let cluster = case.config.spec.cluster.as_deref().unwrap_or("prod-eu");
    IMAGES
        .iter()
        .map(|image| {
            let question = Question::Pull { image, narrowing };
            let answers = ask(question, &tenant, home, Some(cluster), None, &set, &facts);
            matches!(&answers[..], [(_, Answer::Yes(_))])
        })
        .collect()
}

#[test]
fn both_verdicts_occur_often() {
    let mut runner = TestRunner::deterministic();
    let (mut yes, mut pulled, mut asked, total) = (0, 0, 0, 2000);
    for _ in 0..total {
        let case = case().new_tree(&mut runner).unwrap().current();
        yes += u32::from(admitted(&case));
        let answers = pulls(&case, &[]);
        asked += answers.len();
        pulled += answers.into_iter().filter(|answer| *answer).count();
    }
    assert!((total / 10..total * 9 / 10).contains(&yes), "{yes} of {total} are admitted");
    assert!((asked / 10..asked * 9 / 10).contains(&pulled), "{pulled} of {asked} are allowed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_placer_for_many_decides_as_each_alone(case in case()) {
        let set = case.set();
        let facts = case.facts(&set);
        // With and without what placing keeps from one FluxConfig for the next: cluster and namespace.
        let mut configs = Vec::new();
        for config in case.others.iter().map(|(config, _)| config).chain([&case.config]) {
            for cluster in [None, Some("prod-eu"), Some("dev"), Some("moon")] {
                for namespace in [None, Some("team-a"), Some("shared")] {
                    let mut config = config.clone();
                    config.spec.cluster = cluster.map(str::to_owned);
                    config.spec.namespace = namespace.map(str::to_owned);
                    configs.push(config);
                }
            }
        }
        let mut placer = Placer::new(&set, &facts);
        // There and back, so that each comes after every other.
        for config in configs.iter().chain(configs.iter().rev()) {
            let alone = decide(config, &set, &facts);
            prop_assert_eq!(&violations(placer.place(config), &facts)[..], alone.violations());
            let placed = placer.place(config);
            let (told, alone_told) = (placed.declaration(Some(7)), Declaration::of(config, &set, &facts, Some(7)));
            prop_assert_eq!(told.target(), alone_told.target());
            prop_assert_eq!(told.tenant(), alone_told.tenant());
            prop_assert_eq!(decide_placed(placed, &facts), alone);
        }
    }

    #[test]
    fn completion_is_idempotent_and_changes_no_verdict(case in case()) {
        let set = case.set();
        let facts = case.facts(&set);
        if let Verdict::Admitted(first) = decide(&case.config, &set, &facts) {
            let complete = first.complete(&case.config);
            prop_assert_eq!(first.complete(&complete), complete.clone());
            let Verdict::Admitted(second) = decide(&complete, &set, &facts) else {
                return Err(TestCaseError::fail("refused once complete"));
            };
            prop_assert!(second.additions().is_empty());
            prop_assert_eq!(second.complete(&complete), complete);
            let placed: Vec<&str> = first.additions().iter().map(|addition| addition.field).collect();
            for (before, after) in first.field_origins().iter().zip(second.field_origins()) {
                prop_assert_eq!((before.0, &before.1), (after.0, &after.1));
                prop_assert!(before.2 == after.2 || placed.contains(&before.0), "{}", before.0);
            }
            prop_assert_eq!(first.field_origins().len(), second.field_origins().len());
            for addition in first.additions() {
                let mut at = serde_json::to_value(second.complete(&case.config)).unwrap();
                for key in addition.field.split('.') {
                    at = at[key].take();
                }
                prop_assert_eq!(&at, &addition.value);
            }
        }
    }

    #[test]
    fn what_only_forbids_never_allows_more(
        case in case(), at in any::<usize>(), url in pick(URL_PATTERNS), image in pick(IMAGE_PATTERNS),
    ) {
        // Each is tried: which of them could matter depends on the case.
        let forbid = [
            json!({"sources": {"git": {"deny": [url]}}}),
            json!({"sources": {"oci": {"deny": [url]}, "helm": {"deny": [url]}}}),
            json!({"sources": {"helm": {"charts": {"deny": ["red*"]}}}}),
            json!({"sources": {"requireVerification": true}}),
            json!({"limits": {"fluxConfigs": 1, "minInterval": "5m", "maxTtl": "1d"}}),
            json!({"features": {"helm": false, "decryption": false}}),
            json!({"tenantSecrets": "Deny"}),
        ];
        // What is loose or off in one policy loosens nothing of another; in the same policy it would.
        let without_effect = [
            json!({"limits": {"fluxConfigs": 1000, "minInterval": "1s", "maxTtl": "365d"}}),
            json!({"sources": {"requireVerification": false}, "images": {"requireDigest": false}}),
        ];
        let apart = |spec: &Value, priority: i32| {
            let mut whole = json!({"tenants": {"names": ["*"]}, "priority": priority});
            merge(&mut whole, spec.clone());
            let mut stricter = case.clone();
            stricter.policies.push(("forbids".to_owned(), whole));
            stricter
        };
        let within = |spec: &Value| {
            let mut stricter = case.clone();
            stricter.extend(at % case.policies.len(), spec.clone());
            stricter
        };
        let before = admitted(&case);
        for spec in &forbid {
            for stricter in [within(spec), apart(spec, 1000), apart(spec, -1000)] {
                prop_assert!(before || !admitted(&stricter), "{}", spec);
            }
        }
        for spec in &without_effect {
            prop_assert_eq!(before, admitted(&apart(spec, 1000)), "{}", spec);
            prop_assert_eq!(before, admitted(&apart(spec, -1000)), "{}", spec);
        }
        // What any policy turns off or denies is off or denied.
        let (spec, everything) = (&case.config.spec, json!({"allow": ["**"], "deny": ["**"]}));
        let denied = json!({"sources": {"git": everything, "oci": everything, "helm": everything, "bucket": everything}});
        for (used, off) in [
            (spec.chart.is_some(), json!({"features": {"helm": false}})),
            (spec.decryption.is_some(), json!({"features": {"decryption": false}})),
            (spec.source.secret_ref.is_some(), json!({"tenantSecrets": "Deny"})),
            (true, denied),
        ] {
            for priority in [1000, -1000] {
                prop_assert!(!used || !admitted(&apart(&off, priority)), "{}", off);
            }
        }
        let before = pulls(&case, &[]);
        for rules in [json!({"deny": [image]}), json!({"denyTags": ["1.27"]}), json!({"requireDigest": true})] {
            let spec = json!({ "images": rules });
            for stricter in [within(&spec), apart(&spec, 1000), apart(&spec, -1000)] {
                for (before, after) in before.iter().zip(pulls(&stricter, &[])) {
                    prop_assert!(*before || !after, "{}", spec);
                }
            }
        }
    }

    #[test]
    fn what_is_taken_from_an_allow_list_never_allows_more(case in case(), at in any::<usize>(), nth in any::<usize>()) {
        // Where another tenant may no longer deploy it claims nothing, and that may be the place of this one.
        let case = Case { others: Vec::new(), ..case };
        let mut narrower = case.clone();
        let at = at % case.policies.len();
        narrower.remove_allow(at, nth);
        prop_assert!(admitted(&case) || !admitted(&narrower));
        for (before, after) in pulls(&case, &[]).into_iter().zip(pulls(&narrower, &[])) {
            prop_assert!(before || !after);
        }
    }

    #[test]
    fn narrowing_never_widens(case in case(), narrowing in images()) {
        let narrowing: Vec<ImagePattern> = narrowing.iter().map(|text| ImagePattern::parse(text).unwrap()).collect();
        for (before, after) in pulls(&case, &[]).into_iter().zip(pulls(&case, &narrowing)) {
            prop_assert!(before || !after);
        }
        let one_less = &narrowing[..narrowing.len().saturating_sub(1)];
        if !one_less.is_empty() {
            for (less, more) in pulls(&case, one_less).into_iter().zip(pulls(&case, &narrowing)) {
                prop_assert!(more || !less);
            }
        }
    }

    #[test]
    fn order_is_of_no_importance(case in case().prop_flat_map(|case| {
        let (policies, others) = (Just(case.policies.clone()).prop_shuffle(), Just(case.others.clone()).prop_shuffle());
        (Just(case), policies, others)
    })) {
        let (case, policies, others) = case;
        let shuffled = Case { policies, others, ..case.clone() };
        prop_assert_eq!(verdict(&case), verdict(&shuffled));
        prop_assert_eq!(pulls(&case, &[]), pulls(&shuffled, &[]));
    }

    #[test]
    fn a_malformed_pattern_denies_whom_its_policy_selects_and_nobody_else(
        case in case(), at in any::<usize>(), which in 0..5_usize,
    ) {
        let malformed = [
            json!({"sources": {"git": {"deny": ["https://*/**"]}}}),
            json!({"images": {"allow": ["nginx"]}}),
            json!({"images": {"denyTags": ["*"]}}),
            json!({"defaults": {"interval": "soon"}}),
            json!({"credentials": [{"match": "https://git.example.com/${team}", "secretRef": {"name": "x"}}]}),
        ];
        let mut broken = case.clone();
        let at = at % case.policies.len();
        broken.extend(at, malformed[which].clone());
        let without = Case {
            policies: case.policies.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, spec)| spec.clone()).collect(),
            ..case.clone()
        };
        let facts = case.facts(&case.set());
        // Whether it selects the tenant is asked of the policy as it was.
        let only = PolicySet::compile([&policy("only", &case.policies[at].1)]);
        let selected = !decide(&case.config, &only, &facts).violations().iter().any(|found| found.rule == Rule::NoPolicy);
        prop_assert_eq!((only.invalid().len(), broken.set().invalid().len()), (0, 1));
        if selected {
            let found = verdict(&broken);
            prop_assert!(found.violations().iter().any(|found| found.rule == Rule::InvalidPolicy));
            prop_assert!(pulls(&broken, &[]).iter().all(|answer| !answer));
        } else {
            // The claims of other tenants may go with the policy, so only what is admitted without them is compared.
            let alone = |case: &Case| Case { others: Vec::new(), ..case.clone() };
            prop_assert_eq!(verdict(&alone(&broken)), verdict(&alone(&without)));
        }
    }

    #[test]
    fn a_policy_for_some_clusters_changes_no_verdict_elsewhere(case in case(), spec in vocabulary::spec(true)) {
        let mut scoped = case.clone();
        let mut spec = spec;
        spec["clusters"] = json!({"names": ["elsewhere-*"]});
        scoped.policies.push(("scoped".to_owned(), spec));
        // What nobody selected before is now selected by a policy that places nothing: refused all the same.
        match (verdict(&case), verdict(&scoped)) {
            (Verdict::Admitted(before), Verdict::Admitted(after)) => prop_assert_eq!(before, after),
            (Verdict::Admitted(_), other) | (other, Verdict::Admitted(_)) => {
                return Err(TestCaseError::fail(format!("changed: {other:?}")));
            }
            _ => {}
        }
        // An allow everything of it helps nobody elsewhere either.
        prop_assert_eq!(pulls(&case, &[]), pulls(&scoped, &[]));
    }

    #[test]
    fn credentials_never_go_to_a_url_that_their_pattern_does_not_match(case in case()) {
        let set = case.set();
        let facts = case.facts(&set);
        if let Verdict::Admitted(admitted) = decide(&case.config, &set, &facts) {
            let resolved = admitted.resolved();
            let url = SourceUrl::parse(&resolved.url).unwrap();
            let bindings = Bindings {
                tenant: resolved.tenant.as_str(),
                namespace: resolved.namespace.value.as_str(),
                cluster: resolved.cluster.value.as_str(),
            };
            let matching: Vec<(usize, String)> = case
                .policies
                .iter()
                .filter_map(|(_, spec)| spec["credentials"].as_array())
                .flatten()
                .filter_map(|credential| {
                    let pattern = UrlPattern::parse(credential["match"].as_str().unwrap()).unwrap();
                    let name = credential["secretRef"]["name"].as_str().unwrap();
                    let name = name.replace("${tenant}", bindings.tenant);
                    pattern.matches(&url, &bindings).then(|| (pattern.specificity(), name))
                })
                .collect();
            match resolved.credentials.as_ref().map(|field| &field.value) {
                Some(SecretSource::Platform { name, .. }) => prop_assert!(matching.iter().any(|(_, found)| found == name)),
                Some(SecretSource::Tenant { name, .. }) => {
                    prop_assert_eq!(Some(name), case.config.spec.source.secret_ref.as_ref().map(|secret| &secret.name));
                }
                None => {}
            }
        }
    }

    #[test]
    fn only_what_some_policy_allows_is_admitted(case in case()) {
        if let Verdict::Admitted(admitted) = verdict(&case) {
            let resolved = admitted.resolved();
            let url = SourceUrl::parse(&resolved.url).unwrap();
            let bindings = Bindings {
                tenant: resolved.tenant.as_str(),
                namespace: resolved.namespace.value.as_str(),
                cluster: resolved.cluster.value.as_str(),
            };
            let field = &resolved.source_allowed_by;
            let (_, spec) = case.policies.iter().find(|(name, _)| **name == *field.policy).unwrap();
            let mut at = json!({ "spec": spec });
            for key in field.field.split(['.', '[', ']']).filter(|key| !key.is_empty()) {
                at = match key.parse::<usize>() {
                    Ok(index) => at[index].take(),
                    Err(_) => at[key].take(),
                };
            }
            let pattern = UrlPattern::parse(at.as_str().unwrap()).unwrap();
            prop_assert!(pattern.matches(&url, &bindings));
            prop_assert!(!is_reserved(resolved.namespace.value.as_str()));
            prop_assert_eq!(&*resolved.url, case.config.spec.source.url.as_str());
        }
    }
}

/// Spelled out in no policy of the vocabulary, so never a target.
fn is_reserved(namespace: &str) -> bool {
    ["kube-", "sluicegate", "flux-system"].iter().any(|start| namespace.starts_with(start))
}

/// Puts a text into every place of an object that holds one, or into some.
fn scribble(value: &mut Value, texts: &mut impl Iterator<Item = Option<String>>) {
    match value {
        Value::String(found) => {
            if let Some(Some(text)) = texts.next() {
                *found = text;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| scribble(item, texts)),
        Value::Object(fields) => fields.values_mut().for_each(|field| scribble(field, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_in_any_field_makes_it_panic(
        case in case(), mut spec in vocabulary::full_config(), texts in proptest::collection::vec(text(), 1..80), mut policies in
        proptest::collection::vec(vocabulary::spec(false), 1..3), some in any::<bool>(),
    ) {
        let mut texts = texts.into_iter().map(|text| (!some || text.len() % 2 == 0).then_some(text)).cycle();
        scribble(&mut spec, &mut texts);
        for spec in &mut policies {
            scribble(spec, &mut texts);
        }
        // Fields of a closed set (kinds, providers) may refuse the text: then it never comes to the engine.
        let home = texts.next().flatten().unwrap_or_else(|| "team-a".to_owned());
        let whole = json!({
            "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxConfig",
            "metadata": {"name": texts.next().flatten(), "namespace": home}, "spec": spec,
        });
        let policies: Vec<_> = policies.iter().enumerate().filter_map(|(index, spec)| {
            serde_json::from_value(json!({
                "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxPolicy",
                "metadata": {"name": format!("p{index}")}, "spec": spec,
            })).ok()
        }).collect();
        let set = PolicySet::compile(policies.iter().chain(case.compiled().iter()));
        for policy in set.policies() {
            dangerous_grants(policy);
        }
        for policy in &policies {
            if let Err(invalid) = compile(policy) {
                prop_assert!(invalid.errors().iter().all(|found| !found.message.is_empty() && !found.help.is_empty()));
            }
        }
        let mut facts = case.facts(&set);
        facts.cluster(texts.next().flatten().unwrap_or_default(), sluicegate_policy::Labels::new());
        let user = texts.next().flatten().unwrap_or_default();
        let configs = [serde_json::from_value::<FluxConfig>(whole), Ok(case.config.clone())];
        for config in configs.into_iter().flatten() {
            facts.declare(Declaration::of(&config, &set, &facts, None));
            violations(Placer::new(&set, &facts).place(&config).written_by(&user), &facts);
            match decide(&config, &set, &facts) {
                Verdict::Admitted(admitted) => {
                    admitted.fields();
                    prop_assert!(decide(&admitted.complete(&config), &set, &facts).admitted().is_some());
                }
                Verdict::Refused(found) | Verdict::Undetermined(found) => {
                    prop_assert!(!found.is_empty());
                    for violation in found {
                        prop_assert!(!violation.message.is_empty() && !violation.help.is_empty(), "{:?}", violation);
                    }
                }
            }
        }
        set.conflicts(&facts);
        let text = texts.next().flatten().unwrap_or_default();
        let tenant = TenantName::new("team-a").unwrap();
        for question in [
            Question::Sync { url: &text, kind: None },
            Question::Pull { image: &text, narrowing: &[] },
            Question::DeployTo { namespace: &text },
        ] {
            for place in [None, Some(text.as_str())] {
                ask(question, &tenant, &text, place, place, &set, &Facts::default());
                ask(question, &tenant, "team-a", place, place, &set, &facts);
            }
        }
    }
}

#[test]
fn merge_is_a_merge() {
    let mut base = json!({"a": {"b": [1]}, "c": 1});
    merge(&mut base, json!({"a": {"b": [2]}, "d": 3}));
    assert_eq!(base, json!({"a": {"b": [1, 2]}, "c": 1, "d": 3}));
}
