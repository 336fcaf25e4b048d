//! Every test that `docs/threat-model.md` names is there: a page that points at nothing protects nobody.
#![allow(clippy::unwrap_used, reason = "helpers of tests, which may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Whether a file, or any file below a folder, has a test of this name.
fn has(path: &Path, test: &str) -> bool {
    if path.is_dir() {
        return fs::read_dir(path).unwrap().any(|entry| has(&entry.unwrap().path(), test));
    }
    let is_it = |line: &str| {
        let line = line.trim_start();
        line.strip_prefix("async ").unwrap_or(line).starts_with(&format!("fn {test}("))
    };
    fs::read_to_string(path).is_ok_and(|text| text.lines().any(is_it))
}

/// What is wrong with the names in one line; how many tests it names.
fn look(line: &str) -> Result<usize, String> {
    let suites = root().join("e2e/tests");
    let (mut file, mut found) = (PathBuf::new(), 0);
    for name in line.split('`').skip(1).step_by(2) {
        let parts: Vec<&str> = name.split("::").collect();
        let test = match parts.as_slice() {
            ["guard" | "webhook" | "operator", module, rest @ ..] => {
                file = suites.join(parts[0]).join(format!("{module}.rs"));
                if !file.exists() {
                    return Err(format!("there is no {name}"));
                }
                rest.first().copied()
            }
            ["", test] => Some(*test),
            // `crate: suite (test, …)`: names with several words are tests.
            [test] if test.matches('_').count() > 2 => {
                let folders = |name: &str| ["tests", "src"].map(|folder| root().join(name).join(folder));
                let crates = ["cli", "operator", "policy", "webhook"].map(folders).concat();
                if !crates.iter().any(|tests| has(tests, test)) {
                    return Err(format!("no crate has a test {test}"));
                }
                found += 1;
                None
            }
            _ => None,
        };
        if let Some(test) = test {
            if !has(&file, test) {
                return Err(format!("{} has no test {test}", file.display()));
            }
            found += 1;
        }
    }
    Ok(found)
}

#[test]
fn the_threat_model_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let looked: Result<Vec<usize>, String> = text.lines().map(look).collect();
    let found: usize = looked.unwrap().into_iter().sum();
    assert!(found > 40, "{found} tests");
}

#[test]
fn a_name_that_is_no_test_is_found() {
    assert!(look("`guard::pods::what_nobody_wrote`").is_err());
    assert!(look("`guard::nowhere::x`").is_err());
    assert!(look("webhook: `admission` (`a_test_that_nobody_wrote`)").is_err());
}
