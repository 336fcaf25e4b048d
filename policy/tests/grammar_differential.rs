//! The image grammar beside that of the distribution project, which containerd, Docker and the kubelet
//! use. Sluicegate must never accept what it refuses, must agree about every part of what both accept, and
//! may refuse more only for the reasons that are listed here.
//!
//! Needs Go: `e2e/modules/reference` is built with it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

#[allow(dead_code, reason = "the columns are for the tests of the tables")]
mod grammar_cases;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use grammar_cases::table;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use sluicegate_policy::grammar::{HostReason, ImageReason, ImageRef, PortReason};

/// How many references are generated.
const GENERATED: usize = 28_000;

/// Builds the Go program and has it read the references.
fn ask(texts: &[String]) -> Vec<Value> {
    let module = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../e2e/modules/reference");
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("reference");
    let build = Command::new("go")
        .args(["build", "-buildvcs=false", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(&module)
        .output()
        .expect("this test needs Go 1.24 or newer on PATH: install it from https://go.dev/dl/");
    assert!(build.status.success(), "go build of e2e/modules/reference: {}", String::from_utf8_lossy(&build.stderr));
    let mut child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines: String = texts.iter().map(|text| serde_json::to_string(text).unwrap() + "\n").collect();
    // In a thread of its own: both pipes are smaller than what goes through them.
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let answers: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), texts.len());
    answers
}

/// References in and around the grammar.
fn reference() -> impl Strategy<Value = String> {
    let digest = prop_oneof![
        4 => "sha256:[0-9a-f]{64}",
        1 => "sha384:[0-9a-f]{96}",
        1 => "sha512:[0-9a-f]{128}",
        1 => "(sha256|sha512|md5|SHA256|sha256[+]b64):[0-9a-fA-F]{30,66}",
    ];
    let host = prop_oneof![
        4 => "[a-z0-9]{1,3}([.][a-z0-9]{1,3}){0,3}",
        2 => "[a-zA-Z0-9_-]{1,3}([.][a-zA-Z0-9_-]{1,3}){0,2}",
        1 => "(docker[.]io|index[.]docker[.]io|DOCKER[.]io|Index[.]docker[.]io|localhost|Localhost|library)",
        1 => "\\[([0-9a-fA-F]{0,4}:){1,7}[0-9a-fA-F]{0,4}\\]",
        1 => "\\[[0-9A-Fa-f:.]{0,6}\\]",
        1 => "([0-9]{1,3}|0x[0-9a-f]{1,2})([.]([0-9]{1,3}|0x[0-9a-f]{1,2})){0,4}",
    ];
    let port = prop_oneof![
        3 => Just(String::new()),
        2 => ":[1-9][0-9]{0,3}",
        1 => ":[0-9a]{0,6}",
        1 => ":(0|00|0443|443|65535|65536|99999)",
    ];
    let component = prop_oneof![
        4 => "[a-z0-9]{1,3}([._-]|__|--)?[a-z0-9]{1,3}",
        1 => "[a-zA-Z0-9._-]{0,5}",
        1 => "(library|sha256|sha512|localhost|docker[.]io|[0-9a-f]{64})",
        1 => "[a-z]{120,130}",
    ];
    let tag = prop_oneof![
        4 => ":[A-Za-z0-9_][A-Za-z0-9_.-]{0,6}",
        1 => ":[A-Za-z0-9_.+:-]{0,4}",
        1 => ":[a-z]{126,130}",
        1 => ":[0-9a-f]{64}",
    ];
    let in_grammar = (
        proptest::option::weighted(0.6, (host, port).prop_map(|(h, p)| h + &p + "/")),
        prop::collection::vec(component, 1..4),
        proptest::option::weighted(0.5, tag),
        proptest::option::weighted(0.3, digest.prop_map(|d| format!("@{d}"))),
    )
        .prop_map(|(host, path, tag, digest)| {
            host.unwrap_or_default() + &path.join("/") + &tag.unwrap_or_default() + &digest.unwrap_or_default()
        });
    let stray = "[ -~\u{0}\t\n\u{e9}\u{131}\u{212a}\u{ff0e}]";
    prop_oneof![
        6 => in_grammar.clone(),
        // One character put in, or cut out.
        2 => (in_grammar.clone(), any::<prop::sample::Index>(), stray).prop_map(|(mut text, at, stray)| {
            text.insert_str(at.index(text.len() + 1), &stray);
            text
        }),
        1 => (in_grammar, any::<prop::sample::Index>()).prop_map(|(mut text, at)| {
            if !text.is_empty() {
                text.remove(at.index(text.len()));
            }
            text
        }),
        1 => "[a-c0A./:@_\\[\\]-]{0,8}",
        1 => "(sha256|sha384|sha512|[0-9a-f]{64})(:[0-9a-f]{0,64})?(@sha256:[0-9a-f]{64})?",
    ]
}

/// Why Sluicegate refuses a reference that the distribution project accepts; `None` where it must not.
/// Each is checked on the text and the project's reading, not on our word.
fn deliberate(text: &str, reason: ImageReason, theirs: &Value) -> Option<&'static str> {
    let domain = theirs["domain"].as_str().unwrap();
    let first = text.split('/').next().unwrap();
    let port = domain.rsplit_once(':').map_or("", |(_, port)| port);
    let (kind, holds) = match reason {
        ImageReason::BareDigest => (
            "a digest without a name",
            !text.contains('/') && ["sha256:", "sha384:", "sha512:"].iter().any(|a| text.starts_with(a)),
        ),
        // The project falls back to a name without any host.
        ImageReason::Host(HostReason::BadCharacter('_')) => {
            ("a first component that looks like a host and is none", domain.is_empty() && first.contains('_'))
        }
        ImageReason::HubSpelling => (
            "Docker Hub in another case",
            domain != domain.to_lowercase()
                && domain.to_lowercase().trim_start_matches("index.").starts_with("docker.io"),
        ),
        ImageReason::Port(PortReason::TooLarge) => {
            ("a port above 65535", port.parse::<u128>().is_ok_and(|p| p > 65_535))
        }
        ImageReason::Port(PortReason::Zero) => ("port 0", port.bytes().all(|b| b == b'0') && !port.is_empty()),
        ImageReason::Port(PortReason::LeadingZero) => {
            ("a port with leading zeros", port.starts_with('0') && !port.trim_start_matches('0').is_empty())
        }
        ImageReason::Host(HostReason::UnusualAddress) => {
            let host = domain.split(':').next().unwrap();
            let last = host.rsplit('.').next().unwrap();
            let number = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X");
            ("an IPv4 address in an unusual spelling", number && host.parse::<std::net::Ipv4Addr>().is_err())
        }
        ImageReason::Host(HostReason::NotIpv6 | HostReason::Ipv6Spelling) => {
            let inner = domain.trim_start_matches('[').split(']').next().unwrap();
            let address = inner.parse::<std::net::Ipv6Addr>().map(|a| a.to_string());
            (
                "brackets around something that is no IPv6 address in canonical form",
                domain.starts_with('[') && address != Ok(inner.to_lowercase()),
            )
        }
        _ => return None,
    };
    holds.then_some(kind)
}

/// All reasons for refusing more, so that none of them can go untested.
const DELIBERATE: [&str; 8] = [
    "Docker Hub in another case",
    "a digest without a name",
    "a first component that looks like a host and is none",
    "a port above 65535",
    "a port with leading zeros",
    "an IPv4 address in an unusual spelling",
    "brackets around something that is no IPv6 address in canonical form",
    "port 0",
];

/// What differs between two readings of the same text that both accept.
fn difference(ours: &ImageRef<'_>, theirs: &Value) -> Option<String> {
    let path: Vec<_> = ours.components().collect();
    let canonical = theirs["canonical"].as_str().unwrap();
    let domain = theirs["domain"].as_str().unwrap();
    // Where lowercase leaves the host a host, ours has it in lowercase.
    let lower = domain.to_lowercase();
    let canonical = if lower.contains(['.', ':']) || lower == "localhost" {
        canonical.replacen(domain, &lower, 1)
    } else {
        canonical.to_owned()
    };
    let familiar = theirs["familiar"].as_str().unwrap();
    let parts = [
        ("domain", ours.host_with_port().to_owned(), domain.to_owned()),
        ("path", path.join("/"), theirs["path"].as_str().unwrap().to_owned()),
        ("tag", ours.tag().unwrap_or("").to_owned(), theirs["tag"].as_str().unwrap().to_owned()),
        ("digest", ours.digest().unwrap_or("").to_owned(), theirs["digest"].as_str().unwrap().to_owned()),
        ("canonical", ours.canonical(), canonical.clone()),
    ];
    if let Some((part, ours, theirs)) = parts.into_iter().find(|(_, ours, theirs)| ours != theirs) {
        return Some(format!("{part}: ours {ours:?}, theirs {theirs:?}"));
    }
    // The project's short form of `docker.io/foo.bar/x` is `foo.bar/x`, which it reads as another image;
    // ours stays long where the short one would not be read back.
    let back = ImageRef::parse(familiar).is_ok_and(|again| again.canonical() == canonical);
    let ours = ours.familiar();
    let expected = if back && domain == "docker.io" { familiar } else { &canonical };
    (ours != expected).then(|| format!("familiar: ours {ours:?}, expected {expected:?}"))
}

#[test]
fn agrees_with_the_distribution_project_but_for_listed_reasons() {
    let mut runner = TestRunner::deterministic();
    let strategy = reference();
    let mut texts: BTreeSet<String> = table(include_str!("data/images.txt"))
        .into_iter()
        .chain(table(include_str!("data/image_patterns.txt")))
        .flat_map(|case| case.texts)
        .collect();
    let cases = texts.len();
    texts.extend((0..GENERATED).map(|_| strategy.new_tree(&mut runner).unwrap().current()));
    assert!(texts.len() - cases >= 20_000, "only {} generated", texts.len() - cases);
    let texts: Vec<String> = texts.into_iter().collect();

    let mut both = 0;
    let mut neither = 0;
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (text, theirs) in texts.iter().zip(ask(&texts)) {
        let accepted = theirs.get("error").is_none();
        match (ImageRef::parse(text), accepted) {
            (Ok(ours), true) => {
                both += 1;
                if let Some(difference) = difference(&ours, &theirs) {
                    wrong.push(format!("{text:?}: {difference}"));
                }
            }
            (Ok(_), false) => wrong.push(format!("{text:?}: ours accepts, theirs: {}", theirs["error"])),
            (Err(ours), true) => match deliberate(text, *ours.reason(), &theirs) {
                Some(kind) => *refused.entry(kind).or_default() += 1,
                None => wrong.push(format!("{text:?}: theirs accepts, ours: {:?}", ours.reason())),
            },
            (Err(_), false) => neither += 1,
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
    println!("{both} accepted by both, {neither} by neither, refused by us alone: {refused:#?}");
    assert!(both > 5_000 && neither > 5_000, "{both} {neither}");
    assert_eq!(refused.keys().copied().collect::<Vec<_>>(), DELIBERATE);
}
