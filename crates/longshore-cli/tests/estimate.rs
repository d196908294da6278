//! `longshore estimate`: what it tells, what it does not know, what it refuses.

mod common;

use std::fs;

use common::run;

const PLAN: &str = "estimate --size 10GiB --rate 1MiB --bandwidth 64MiB --rtt 80ms";
const RANKED: &str = "estimate --size 10GiB --rate 1MiB --from aws:eu-central-1 --candidates";

#[test]
fn the_formula_is_printed_with_its_numbers_and_the_rule() {
    let dir = tempfile::tempdir().unwrap();
    let text = run(dir.path(), PLAN).ok();
    // 10 GiB are 160 × 64 MiB: 160 s over 64 MiB/s, and 160 × 80 ms / 8 = 1.6 s.
    let first = text.lines().next().unwrap();
    assert!(first.contains("= 160 × 67108864 B / 67108864 B/s + 160 × 80 ms / 8 "), "{text}");
    assert!(first.ends_with("= 160.000 s + 1.600 s = 161.600 s"), "{text}");
    assert!(text.lines().nth(1).unwrap().starts_with("bandwidth rules"), "{text}");
    let small = run(dir.path(), &format!("{PLAN} --objects 1000000")).ok();
    assert!(small.lines().nth(1).unwrap().starts_with("round trips rule"), "{small}");
}

#[test]
fn candidates_are_ranked_and_every_price_has_its_page() {
    let dir = tempfile::tempdir().unwrap();
    let text = run(dir.path(), &format!("{RANKED} aws:eu-central-1,hetzner:fsn1,gcp:europe-west1")).ok();
    let rows: Vec<_> = text.lines().skip_while(|line| !line.starts_with("REGION")).skip(1).take(3).collect();
    assert!(rows[0].starts_with("gcp:europe-west1 "), "{text}");
    assert!(rows[1].starts_with("hetzner:fsn1 ") && rows[1].contains("unknown"), "{text}");
    assert!(rows[2].starts_with("aws:eu-central-1 ") && rows[2].ends_with("same provider, same region"), "{text}");
    assert!(text.contains("https://cloud.google.com/storage/pricing"), "{text}");
}

#[test]
fn json_has_null_for_what_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let text = run(dir.path(), &format!("{RANKED} hetzner:fsn1,aws:eu-west-1=25ms --json")).ok();
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["schema"], 1);
    assert_eq!(answer["candidates"][0]["region"], "aws:eu-west-1");
    assert_eq!(answer["candidates"][0]["rtt_seconds"], 0.025);
    assert_eq!(answer["candidates"][0]["storage"]["usd_per_unit"], 0.023);
    assert!(answer["candidates"][1]["rtt_seconds"].is_null());
    assert!(answer["candidates"][1]["usd_per_month"].is_null());
}

#[test]
fn the_users_prices_go_before_the_built_in_ones() {
    let dir = tempfile::tempdir().unwrap();
    let ours = "[aws.eu-west-1]\nstorage = { usd = 0.5, source = \"our contract\", date = \"2026-05\" }\n";
    fs::write(dir.path().join("ours.toml"), ours).unwrap();
    let text = run(dir.path(), &format!("{RANKED} aws:eu-west-1 --prices ours.toml")).ok();
    assert!(text.contains("our contract"), "{text}");
    fs::write(dir.path().join("ours.toml"), ours.replace("storage", "storge")).unwrap();
    let refused = run(dir.path(), &format!("{RANKED} aws:eu-west-1 --prices ours.toml"));
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("the nearest known key is aws.eu-west-1.storage"), "{}", refused.stderr);
}

#[test]
fn what_cannot_be_is_refused_with_what_to_write() {
    let dir = tempfile::tempdir().unwrap();
    for (args, told) in [
        ("--bandwidth 0", "--bandwidth 100MB"),
        ("--ratio 0", "--ratio must be"),
        ("--snapshot-every 0s", "--snapshot-every 1d"),
        ("--from europe", "PROVIDER:REGION"),
        ("--candidates aws:eu-west-1", "--from"),
        ("--from aws:eu-west-1 --candidates aws:eu-west-2=25", "a duration such as"),
    ] {
        let refused = run(dir.path(), &format!("estimate --size 1GiB --rate 1MiB {args}"));
        assert_eq!(refused.code, 2, "{args}");
        assert!(refused.stderr.contains(told), "{args}: {}", refused.stderr);
    }
}
