//! Every rule has its page, and every page its rule.

use std::{fs, path::Path};

use sluicegate_policy::rule::{Rule, Severity};

#[test]
fn every_rule_has_a_page_with_an_example_and_how_it_is_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules");
    for rule in Rule::ALL {
        let page = fs::read_to_string(folder.join(format!("{rule}.md"))).unwrap_or_default();
        assert_eq!(page.lines().next(), Some(format!("# {rule}").as_str()), "docs/rules/{rule}.md");
        let example = match rule.severity() {
            Severity::Error => "## Refused",
            Severity::Warning => "## Found",
        };
        for heading in [example, "## Mended"] {
            assert!(page.lines().any(|line| line.starts_with(heading)), "docs/rules/{rule}.md has no {heading}");
        }
    }
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stem = name.trim_end_matches(".md");
        assert!(stem == "README" || Rule::from_id(stem).is_some(), "docs/rules/{name} is the page of no rule");
    }
}
