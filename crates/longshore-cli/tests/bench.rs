//! The measurements run, at their smallest.

mod common;

use common::run;

#[test]
fn bench_archive_measures_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(dir.path(), "bench archive --scale 0.001 --runs 1 --json");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 9, "{report}");
    for row in rows {
        assert!(0.0 < row["ours"].as_f64().unwrap() && row["demand"].is_string(), "{row}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
}
