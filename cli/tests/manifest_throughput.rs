//! How long a document takes, in a release build:
//! `cargo test --release -p sluicegate-cli --test manifest_throughput -- --ignored --nocapture`
#![allow(clippy::unwrap_used, reason = "a measurement may panic")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use sluicegate_cli::manifest::de::decode;
use sluicegate_cli::manifest::files::{Options, collect, for_each_parsed};
use sluicegate_cli::manifest::yaml::{Limits, parse};

const DOCUMENT: &str = "\
apiVersion: sluicegate.dev/v1alpha1
kind: FluxConfig
metadata:
  name: shop
  namespace: team-a
spec:
  source:
    url: https://git.example.com/team-a/shop.git
    ref:
      branch: main
  path: ./deploy
  cluster: prod-eu
  images:
    - registry.example.com/team-a/**
  interval: 5m
  prune: true
";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: ObjectMeta,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    source: Source,
    path: Option<String>,
    cluster: Option<String>,
    images: Vec<String>,
    interval: Option<String>,
    prune: bool,
}

#[derive(Deserialize)]
struct Source {
    url: String,
    r#ref: BTreeMap<String, String>,
}

/// The best of ten rounds: the least disturbed by what else the machine does.
fn best(mut round: impl FnMut()) -> Duration {
    (0..10)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed()
        })
        .min()
        .unwrap()
}

#[test]
#[ignore = "a measurement, for release builds"]
fn measures_documents() {
    const TIMES: u32 = 20_000;
    let limits = Limits::default();
    let events = best(|| {
        for _ in 0..TIMES {
            let parser = granit_parser::Parser::new_from_str(black_box(DOCUMENT));
            black_box(parser.map(Result::unwrap).count());
        }
    });
    let trees = best(|| {
        for _ in 0..TIMES {
            black_box(parse(black_box(DOCUMENT), &limits).unwrap());
        }
    });
    let both = best(|| {
        for _ in 0..TIMES {
            let documents = parse(black_box(DOCUMENT), &limits).unwrap();
            let config = decode::<Config>(documents[0].root()).unwrap();
            assert!(config.unknown.is_empty() && config.value.spec.prune);
            black_box(&config.value.metadata);
            black_box((&config.value.spec.source.url, &config.value.spec.source.r#ref));
            black_box((&config.value.spec.path, &config.value.spec.cluster));
            black_box((&config.value.spec.images, &config.value.spec.interval));
        }
    });
    println!(
        "{} bytes: parser events {:?}, tree {:?}, tree and type {:?}",
        DOCUMENT.len(),
        events / TIMES,
        trees / TIMES,
        both / TIMES
    );
}

#[test]
#[ignore = "a measurement, for release builds"]
fn measures_ten_thousand_files() {
    const FILES: usize = 10_000;
    let folder = tempfile::tempdir().unwrap();
    for number in 0..FILES {
        let team = folder.path().join(format!("team-{}", number % 500));
        std::fs::create_dir_all(&team).unwrap();
        std::fs::write(team.join(format!("app-{number}.yaml")), DOCUMENT).unwrap();
    }
    let paths = [folder.path().to_owned()];
    let mut found = 0;
    let finding = best(|| found = collect(&paths, &Options::default()).unwrap().files.len());
    assert_eq!(found, FILES);
    let set = collect(&paths, &Options::default()).unwrap();
    let limits = Limits::default();
    let bare = best(|| {
        for file in &set.files {
            black_box(std::fs::read(file.path().unwrap()).unwrap());
        }
    });
    let reading = best(|| {
        let results = for_each_parsed(&set.files, &limits, |_, _, documents| {
            decode::<Config>(documents.unwrap()[0].root()).unwrap().value.spec.prune
        });
        assert!(results.iter().all(|result| *result == Ok(true)));
    });
    println!(
        "{FILES} files, {} threads: finding {finding:?}, reading and decoding {reading:?} \
         (reading alone, one thread: {bare:?})",
        rayon::current_num_threads()
    );
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find(|line| line.starts_with("VmHWM"));
        println!("{}", peak.unwrap_or("no peak"));
    }
}
