//! Requests that nobody should send.

use serde_json::json;
use sluicegate_webhook::decide::Hook;

use super::world::{Ask, snapshot};

#[test]
fn what_is_not_judged_passes_and_says_that_it_should_not_have_come() {
    let ask = Ask::about("", "Secret", "secrets", "CREATE").set("object", json!({"metadata": {"name": "x"}}));
    for hook in [Hook::Complete, Hook::Validate, Hook::TenantLabel] {
        let answer = ask.at(hook, &snapshot());
        assert!(answer.is_allowed() && answer.warnings()[0].contains("secrets"), "{answer:?}");
    }
}

#[test]
fn a_path_that_is_not_served_is_none() {
    for hook in [Hook::Complete, Hook::Validate, Hook::TenantLabel] {
        assert_eq!(Hook::at(hook.path()), Some(hook));
    }
    for path in ["", "/", "/validate/", "//validate", "/Validate", "/validate/x"] {
        assert_eq!(Hook::at(path), None, "{path}");
    }
}
