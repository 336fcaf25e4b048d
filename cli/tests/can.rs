//! `sluicegate can`: yes, no, or cannot tell, about the value as it is, byte for byte.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which may panic")]

#[path = "data/cli.rs"]
mod cli;

use cli::{Folder, PLATFORM, REFUSED, Ran};

const ALLOWED: &str = "https://git.example.com/team-a/shop";

/// `can team-a sync VALUE`.
fn sync(value: &str) -> Ran {
    Folder::with_platform().run(["can", "team-a", "sync", value])
}

fn sync_lines(lines: impl Into<Vec<u8>>) -> Ran {
    Folder::with_platform().run_with(lines, ["can", "team-a", "sync", "-"])
}

/// The answers, a word a line.
fn words(ran: &Ran) -> Vec<&str> {
    ran.stdout.lines().filter(|line| !line.starts_with(' ')).map(|line| line.split(' ').next().unwrap()).collect()
}

#[test]
fn answers_yes_with_the_line_of_the_policy_that_says_so() {
    let ran = sync(ALLOWED).exits(0);
    let line = PLATFORM.lines().position(|line| line.contains("git:")).unwrap() + 1;
    let row =
        |cluster| format!("  on {cluster}: allowed by policy teams spec.sources.git.allow[0] (platform.yaml:{line})\n");
    assert_eq!(ran.stdout, format!("yes\n{}{}", row("prod-eu"), row("prod-us")));
    assert_eq!(ran.stderr, "");
}

#[test]
fn answers_no_with_the_rule_and_what_is_allowed() {
    let ran = sync("https://git.example.com/team-b/shop").exits(1);
    assert_eq!(words(&ran), ["no"]);
    ran.says("[source-not-allowed]").says("allowed: https://git.example.com/team-a/**").says("(platform.yaml:");
}

#[test]
fn each_question_has_its_own_lists() {
    let folder = Folder::with_platform();
    for (question, value, code) in [
        ("pull", "registry.example.com/team-a/app:1", 0),
        ("pull", "docker.io/library/nginx:1", 0),
        ("pull", "nginx:1", 0),
        ("pull", "registry.example.com/team-b/app:1", 1),
        ("pull", "registry.example.com/team-a/app:latest", 1),
        ("pull", "registry.example.com/team-a/app", 1),
        ("deploy-to", "prod-eu/team-a", 0),
        ("deploy-to", "team-a-review", 0),
        ("deploy-to", "prod-eu/team-b", 1),
        ("deploy-to", "prod-xx/team-a", 1),
        ("deploy-to", "prod-eu/", 1),
        ("deploy-to", "prod-eu/team-a/x", 1),
        ("deploy-to", "/", 1),
        ("sync", "https://charts.example.com/stable", 1),
    ] {
        let ran = folder.run(["can", "team-a", question, value]).exits(code);
        assert_eq!(words(&ran), [if code == 0 { "yes" } else { "no" }], "{value}");
    }
    folder.run(["can", "team-a", "sync", "--kind", "helm", "https://charts.example.com/stable"]).exits(0);
}

#[test]
fn takes_values_as_they_are() {
    for value in [
        "https://git.example.com/team-a/shop ",
        " https://git.example.com/team-a/shop",
        "https://git.example.com/team-a/shop\t",
        "https://git.example.com/team-a/shop\r",
        "https://git.example.com/team-a/shop\n",
        "https://git.example.com/team-a/shop/",
        "HTTPS://git.example.com/team-a/shop",
        "https://git.example.com:443@evil.example/team-a/shop",
        "https://git.example.com/team-a/../team-b/shop",
        "",
    ] {
        let ran = sync(value).exits(1);
        assert_eq!(words(&ran), ["no"], "{value:?}");
    }
}

#[test]
fn a_value_that_looks_like_a_flag_is_a_value() {
    for value in ["--upload-pack=x", "-x", "--policies=elsewhere", "--quiet", "--help"] {
        if value == "--help" || value == "--quiet" || value == "--policies=elsewhere" {
            // Names of real flags need the two dashes that end flags everywhere.
            let ran = Folder::with_platform().run(["can", "team-a", "sync", "--", value]).exits(1);
            assert_eq!(words(&ran), ["no"], "{value}");
            continue;
        }
        let ran = sync(value).exits(1);
        assert_eq!(words(&ran), ["no"], "{value}");
    }
}

#[test]
fn answers_many_values_one_a_line() {
    let ran = sync_lines(format!("{ALLOWED}\nhttps://git.example.com/team-b/shop\n\n{ALLOWED}")).exits(1);
    assert_eq!(words(&ran), ["yes", "no", "yes"]);
    assert!(ran.stdout.starts_with(&format!("yes {ALLOWED}\n  on prod-eu: ")), "{}", ran.stdout);
    sync_lines(format!("{ALLOWED}\n{ALLOWED}\n")).exits(0);
}

#[test]
fn spaces_tabs_and_carriage_returns_of_a_line_are_part_of_the_value() {
    for line in [
        format!(" {ALLOWED}"),
        format!("{ALLOWED} "),
        format!("{ALLOWED}\t"),
        format!("{ALLOWED}\r"),
        format!("{ALLOWED}\0"),
        format!("\u{feff}{ALLOWED}"),
        " ".to_owned(),
        "-".to_owned(),
    ] {
        let ran = sync_lines(format!("{ALLOWED}\n{line}\n")).exits(1);
        assert_eq!(words(&ran), ["yes", "no"], "{line:?}");
        // What cannot be seen is spelt out.
        assert!(!ran.stdout.contains(['\r', '\t', '\0', '\u{feff}']), "{}", ran.stdout);
    }
    sync_lines(format!("{ALLOWED}\r\n")).exits(1).says(r"\r").says("U+000D");
}

#[test]
fn what_follows_in_a_line_that_is_too_long_is_no_value_of_its_own() {
    for length in [65_535, 65_536, 65_537, 131_072] {
        let ran = sync_lines(format!("{}{ALLOWED}\n{ALLOWED}\n", "a".repeat(length))).exits(1);
        assert_eq!(words(&ran), ["no", "yes"], "{length}");
    }
}

#[test]
fn no_value_at_all_is_no_yes() {
    for nothing in ["", "\n", "\n\n"] {
        let ran = sync_lines(nothing).exits(2).says("there is no value on the standard input");
        assert_eq!(ran.stdout, "");
    }
}

#[cfg(unix)]
#[test]
fn bytes_that_are_not_utf_8_are_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    let value = [ALLOWED.as_bytes(), b"\xff"].concat();
    let folder = Folder::with_platform();
    let args = ["can", "team-a", "sync"].map(OsStr::new).into_iter().chain([OsStr::from_bytes(&value)]);
    let ran = folder.run(args).exits(1);
    assert_eq!(words(&ran), ["no"]);
    let ran = sync_lines([&value[..], b"\n"].concat()).exits(1);
    assert_eq!(words(&ran), ["no"]);
}

#[test]
fn one_cluster_that_says_no_is_a_no_unless_another_is_named() {
    let folder = Folder::with_platform();
    folder.write(
        "us.yaml",
        "apiVersion: sluicegate.dev/v1alpha1\nkind: FluxPolicy\nmetadata: {name: us}\nspec:\n  \
         tenants: {names: [team-a]}\n  clusters: {names: [prod-us]}\n  images: {requireDigest: true}\n",
    );
    let image = "registry.example.com/team-a/app:1";
    let ran = folder.run(["can", "team-a", "pull", image]).exits(1).says("  on prod-eu: allowed by policy teams");
    assert_eq!(words(&ran), ["no"]);
    let ran = ran.says("  on prod-us: ").says("(us.yaml:");
    assert_eq!(ran.stdout.matches("  on ").count(), 2);
    let ran = folder.run(["can", "team-a", "pull", image, "--cluster", "prod-eu"]).exits(0).does_not_say("prod-us");
    assert_eq!(words(&ran), ["yes"]);
    folder.run(["can", "team-a", "pull", image, "--cluster", "prod-us"]).exits(1).does_not_say("prod-eu");
}

#[test]
fn unknown_clusters_and_tenants_are_no() {
    let folder = Folder::with_platform();
    let ask = |args: &[&str]| folder.run([&["can"], args].concat());
    let ran = ask(&["team-a", "sync", ALLOWED, "--cluster", "prod-xx"]).exits(1).says("[unknown-cluster]");
    ran.says("allowed: prod-eu, prod-us");
    let ran = ask(&["nobody", "sync", ALLOWED]).exits(1).says("[no-policy]").says("no policy selects tenant nobody");
    ran.does_not_say("on *").says("on any cluster: ");
    ask(&["Team A", "sync", ALLOWED]).exits(2).says("\"Team A\" is no tenant");
    let place = ["team-a", "deploy-to", "prod-eu/team-a", "--cluster", "prod-us"];
    ask(&place).exits(2).says("two clusters are named");
}

#[test]
fn does_not_answer_from_files_that_it_cannot_read() {
    let folder = Folder::empty();
    let args = ["can", "team-a", "sync", ALLOWED];
    folder.run(args).exits(2).says("no FluxPolicy in the files; name the platform repository with --policies");
    folder.write("p.yaml", PLATFORM);
    folder.run(args).exits(0);
    folder.write("broken.yaml", "a: [\n");
    let ran = folder.run(args).exits(2).says("error[invalid-yaml]: broken.yaml:");
    assert_eq!(ran.stdout, "");
    // Whatever is wrong with a team's FluxConfig changes no answer.
    folder.write("broken.yaml", REFUSED.replace("source:", "sauce:"));
    folder.run(args).exits(0);
}

#[test]
fn quietly_the_exit_code_is_the_answer() {
    let folder = Folder::with_platform();
    for (value, code) in [(ALLOWED, 0), ("https://evil.example/x", 1)] {
        let ran = folder.run(["can", "team-a", "sync", "--quiet", value]).exits(code);
        assert_eq!(ran.all(), "");
    }
}
