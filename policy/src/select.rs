//! Selecting by names and labels.

use sluicegate_crds::{Requirement, Selector, SelectorOperator};

use crate::{
    facts::{Labels, LabelsOf},
    grammar::{Bindings, NamePattern, PatternError},
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

    /// The literal names, if names are all that is asked for and none has a wildcard.
    pub(crate) fn literals(&self) -> Option<impl Iterator<Item = &str>> {
        let names = self.names.as_ref()?;
        names.iter().all(NamePattern::is_literal).then(|| names.iter().map(NamePattern::as_str))
    }
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
