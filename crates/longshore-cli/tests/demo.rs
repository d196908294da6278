//! The tour, as a user runs it.

mod common;

use common::run;

#[test]
fn the_demo_proves_itself() {
    let dir = tempfile::tempdir().unwrap();
    let begun = std::time::Instant::now();
    let report = run(dir.path(), "demo --json").json();
    assert!(report["proofs"].as_array().unwrap().iter().all(|proof| proof["holds"] == true), "{report}");
    assert!(begun.elapsed().as_secs() < 60, "the demo took {:?}", begun.elapsed());
}

#[test]
fn the_demo_fails_when_a_replicated_record_is_corrupted() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(dir.path(), "demo --break --json");
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    let report: serde_json::Value = serde_json::from_str(ran.stdout.trim()).unwrap();
    let failed: Vec<_> = report["proofs"].as_array().unwrap().iter().filter(|proof| proof["holds"] == false).collect();
    assert_eq!(failed.len(), 1, "{report}");
    assert!(failed[0]["what"].as_str().unwrap().contains("us-east"));
}

#[test]
fn a_lost_region_comes_back_and_the_demo_proves_it() {
    let dir = tempfile::tempdir().unwrap();
    let begun = std::time::Instant::now();
    let report = run(dir.path(), "demo --failover --json").json();
    assert!(report["proofs"].as_array().unwrap().iter().all(|proof| proof["holds"] == true), "{report}");
    assert!(begun.elapsed().as_secs() < 60, "the demo took {:?}", begun.elapsed());
}

#[test]
fn the_demo_of_a_lost_region_fails_when_what_was_acknowledged_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(dir.path(), "demo --failover --break --json");
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    let report: serde_json::Value = serde_json::from_str(ran.stdout.trim()).unwrap();
    let failed: Vec<_> = report["proofs"].as_array().unwrap().iter().filter(|proof| proof["holds"] == false).collect();
    assert!(failed.iter().any(|proof| proof["what"].as_str().unwrap().starts_with("every acknowledged")), "{report}");
}
