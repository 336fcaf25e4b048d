//! Every view of `check`'s findings over one fixture: what it looks like (snapshots), what its
//! readers require of it (schemas), and what an attacker must not be able to do with it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, too

#[path = "data/report/fixture.rs"]
mod fixture;

use sluicegate_cli::report::{Report, human};

fn human(report: &Report, options: human::Options) -> String {
    let mut out = Vec::new();
    human::write(report, &fixture::sources, options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn human_view() {
    insta::assert_snapshot!(human(&fixture::report(), human::Options::default()));
}
