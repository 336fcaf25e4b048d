//! A refusal in words, for whoever has no file to point at: the answer of an admission webhook, a line of a log.
//!
//! The first line says what is wrong, short enough to be read where only one line is shown; what is allowed, who decided and
//! how to go on follow, as `check` has them.

use crate::{
    text::{line, shortened},
    verdict::Violation,
};

/// Violations that are told in full; of the rest only the number is.
const TOLD: usize = 8;
/// Most bytes of a refusal.
const LONGEST: usize = 8 * 1024;

/// A violation as one line: field, what was found, rule.
pub fn sentence(violation: &Violation) -> String {
    line(&violation.to_string()).into_owned()
}

/// What check says below a violation: what is allowed, which field of which policy decided, how to go on.
pub fn notes(violation: &Violation) -> Vec<(&'static str, String)> {
    let mut notes = Vec::new();
    if !violation.allowed.is_empty() {
        notes.push(("allowed", shortened(&violation.allowed)));
    }
    for field in &violation.decided_by {
        notes.push(("decided by", format!("policy {}, {}", line(&field.policy), line(&field.field))));
    }
    for object in &violation.related {
        notes.push(("see", line(&object.to_string()).into_owned()));
    }
    for help in &violation.help {
        notes.push(("help", line(help).into_owned()));
    }
    // Not where a sentence says so already.
    if let Some(suggestion) =
        violation.suggestion.as_ref().filter(|text| !violation.help.iter().any(|help| help.contains(*text)))
    {
        notes.push(("help", format!("write `{}` instead", line(suggestion))));
    }
    notes
}

/// A refusal: each violation with its notes, at most eight kilobytes of them.
pub fn refusal(violations: &[Violation]) -> String {
    let mut text = String::new();
    for (index, violation) in violations.iter().enumerate() {
        let mut told = sentence(violation);
        for (name, note) in notes(violation) {
            told.push_str(&format!("\n  {name}: {note}"));
        }
        let separator = usize::from(!text.is_empty());
        if index == TOLD || text.len() + separator + told.len() > LONGEST {
            let more = violations.len() - index;
            // Of a single violation that is too long the sentence is left, which `line` has bounded.
            text.push_str(&match index {
                0 => sentence(violation),
                _ => format!("\n… and {more} more"),
            });
            break;
        }
        if separator == 1 {
            text.push('\n');
        }
        text.push_str(&told);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rule, verdict::PolicyField};

    fn violation() -> Violation {
        Violation::new(Rule::SourceNotAllowed, "spec.source.url", "no policy allows tenant team-a this source")
            .value("https://evil.example/x")
            .allowed(vec!["https://git.example.com/team-a/**".to_owned()])
            .decided_by([PolicyField { policy: "teams".into(), field: "spec.sources.git.allow".into() }])
            .help("use a repository that is allowed")
    }

    #[test]
    fn says_what_is_wrong_in_the_first_line_and_how_to_go_on_below() {
        assert_eq!(
            refusal(&[violation()]),
            "spec.source.url: no policy allows tenant team-a this source [source-not-allowed]\n  allowed: \
             https://git.example.com/team-a/**\n  decided by: policy teams, spec.sources.git.allow\n  help: use a \
             repository that is allowed"
        );
    }

    #[test]
    fn counts_what_it_does_not_tell() {
        let text = refusal(&vec![violation(); 20]);
        assert!(text.ends_with("\n… and 12 more"), "{text}");
        let long = violation().help("x".repeat(900)).help("y".repeat(900)).help("z".repeat(900));
        let text = refusal(&vec![long; 8]);
        assert!(text.len() <= LONGEST + 40 && text.ends_with(" more"), "{}", text.len());
    }

    #[test]
    fn draws_nothing_that_the_object_brought_along() {
        let evil = Violation::new(Rule::InvalidName, "metadata.name", "x\u{1b}[2J\u{202e}y\nz").help("a\rb");
        assert_eq!(refusal(&[evil]), "metadata.name: x\\u{1b}[2J\\u{202e}y\\nz [invalid-name]\n  help: a\\rb");
    }
}
