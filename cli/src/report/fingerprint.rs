//! Names for findings that stay the same from run to run, so that a CI system can tell old findings
//! from new ones.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::model::{Finding, Report};

/// A fingerprint for each finding, in the order of [`Report::findings`]; no two are equal.
///
/// It is made of the rule, the object (the file, where there is no object), the field and the value,
/// and for repeats of all these their ordinal. Neither lines nor messages are in it: a finding keeps
/// its fingerprint when text above it is added or when a message is worded better.
#[must_use]
pub fn fingerprints(report: &Report) -> Vec<String> {
    let mut seen: HashMap<[u8; 32], u64> = HashMap::new();
    report
        .findings()
        .iter()
        .map(|finding| {
            let identity = identity(finding);
            let ordinal = seen.entry(identity).or_default();
            let mut hash = Sha256::new();
            hash.update(identity);
            hash.update(ordinal.to_be_bytes());
            *ordinal += 1;
            hex(&hash.finalize()[..16])
        })
        .collect()
}

fn identity(finding: &Finding) -> [u8; 32] {
    let object = finding.object.as_ref();
    let parts = [
        Some(finding.rule.as_ref()),
        object.map(|object| object.kind.as_str()),
        object.and_then(|object| object.namespace.as_deref()),
        object.map_or(Some(finding.path.as_str()), |object| Some(&object.name)),
        finding.field.as_deref(),
        finding.value.as_deref(),
    ];
    let mut hash = Sha256::new();
    for part in parts {
        // Lengths keep ("ab", "c") and ("a", "bc") apart, the flag None and "".
        hash.update([u8::from(part.is_some())]);
        let part = part.unwrap_or_default();
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}
