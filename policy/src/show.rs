//! Texts for people.

use std::time::Duration;

use crate::grammar::{Bindings, NameError, format_duration};

/// A pattern as the reader of a message needs it: placeholders that have a value are filled in.
pub(crate) fn expanded(pattern: &str, bindings: &Bindings<'_>) -> String {
    let mut text = pattern.to_owned();
    for (placeholder, value) in
        [("${tenant}", bindings.tenant), ("${namespace}", bindings.namespace), ("${cluster}", bindings.cluster)]
    {
        if !value.is_empty() && text.contains(placeholder) {
            text = text.replace(placeholder, value);
        }
    }
    text
}

/// What is wrong with a name, as a sentence.
pub(crate) fn no_name(error: &NameError) -> String {
    format!("this is no {}: {}", error.kind(), error.reason())
}

/// A duration in days where it is a number of them.
pub(crate) fn days(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = duration.as_secs();
    if seconds >= DAY && seconds.is_multiple_of(DAY) && duration.subsec_nanos() == 0 {
        format!("{}d", seconds / DAY)
    } else {
        format_duration(duration)
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn joined(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// The candidate that was probably meant: closest by edit distance, and close enough.
pub fn closest<'c>(found: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(found, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(found.len()) / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}
