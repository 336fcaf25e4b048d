//! Selecting by names and labels.

use sluicegate_crds::{Requirement, Selector, SelectorOperator, bounds};

use crate::{
    facts::{Labels, LabelsOf},
    grammar::{Bindings, NamePattern, ObjectName, PatternError},
};

/// Whether something is selected; `Undetermined` where labels would have to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selected {
    Yes,
    No,
    Undetermined,
}

/// Compiled name patterns and a label selector.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    names: Option<Vec<NamePattern>>,
    selector: Option<Selector>,
}

impl Matcher {
    /// Compiles the names; errors carry the index of the name.
    pub(crate) fn new(names: &[String], selector: Option<&Selector>) -> Result<Self, Vec<(usize, PatternError)>> {
        let mut errors = Vec::new();
        let mut patterns = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            match NamePattern::parse(name) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => errors.push((index, error)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        // No names and a selector: the selector alone decides. Neither: nothing is selected.
        let names = (!patterns.is_empty() || selector.is_none()).then_some(patterns);
        Ok(Self { names, selector: selector.cloned() })
    }

    pub(crate) fn selects(&self, name: &str, labels: LabelsOf<'_>, bindings: &Bindings<'_>) -> Selected {
        if let Some(names) = &self.names
            && !names.iter().any(|pattern| pattern.matches(name, bindings))
        {
            return Selected::No;
        }
        match (&self.selector, labels) {
            (None, _) => Selected::Yes,
            (Some(selector), LabelsOf::Known(labels)) if matches(selector, labels) => Selected::Yes,
            (Some(_), LabelsOf::Known(_)) => Selected::No,
            // An empty selector matches whatever the labels are.
            (Some(selector), LabelsOf::Unknown) if *selector == Selector::default() => Selected::Yes,
            (Some(_), LabelsOf::Unknown) => Selected::Undetermined,
        }
    }

    /// The names, if there are any and none has a wildcard: nothing of another name is selected.
    pub(crate) fn literals(&self) -> Option<impl Iterator<Item = &str>> {
        let names = self.names.as_ref()?;
        names.iter().all(NamePattern::is_literal).then(|| names.iter().map(NamePattern::as_str))
    }
}

/// What is wrong with a selector: the path of the field in it, the text, and why. Such a selector would silently select
/// nothing, and with it would go whatever its policy denies.
pub(crate) fn faults(selector: &Selector) -> Vec<(String, String, String)> {
    let mut faults = Vec::new();
    for (key, value) in &selector.match_labels {
        let field = format!("matchLabels[{key:?}]");
        if !is_label_key(key) {
            faults.push((field, key.clone(), "this is no label key".to_owned()));
        } else if !is_label_value(value) {
            faults.push((field, value.clone(), "no label can have this value".to_owned()));
        }
    }
    for (index, Requirement { key, operator, values }) in selector.match_expressions.iter().enumerate() {
        let field = |name: &str| format!("matchExpressions[{index}].{name}");
        if !is_label_key(key) {
            faults.push((field("key"), key.clone(), "this is no label key".to_owned()));
        }
        let takes_values = matches!(operator, SelectorOperator::In | SelectorOperator::NotIn);
        if takes_values == values.is_empty() {
            let message = format!("{operator:?} {}", if takes_values { "needs values" } else { "takes no values" });
            faults.push((field("values"), values.join(", "), message));
        }
        if let Some(value) = values.iter().find(|value| !is_label_value(value)) {
            faults.push((field("values"), value.clone(), "no label can have this value".to_owned()));
        }
    }
    faults
}

/// `[prefix/]name`: the prefix a DNS subdomain, the name a value that is not empty.
fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(|prefix| ObjectName::check(prefix).is_ok()) && !name.is_empty() && is_label_value(name)
}

/// At most 63 letters, digits, `-`, `_` and `.`, a letter or digit at both ends; or nothing.
fn is_label_value(value: &str) -> bool {
    let alphanumeric = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= bounds::LABEL
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
}

/// Whether labels satisfy a selector, as `metav1.LabelSelector` does it.
pub(crate) fn matches(selector: &Selector, labels: &Labels) -> bool {
    selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().all(|requirement| holds(requirement, labels))
}

fn holds(requirement: &Requirement, labels: &Labels) -> bool {
    let value = labels.get(&requirement.key);
    match requirement.operator {
        SelectorOperator::In => value.is_some_and(|value| requirement.values.contains(value)),
        SelectorOperator::NotIn => value.is_none_or(|value| !requirement.values.contains(value)),
        SelectorOperator::Exists => value.is_some(),
        SelectorOperator::DoesNotExist => value.is_none(),
    }
}
