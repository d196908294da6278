//! `docs/FAILURES.md` is honest: every entry has a row, and every test that a row names exists.

use std::fs;
use std::path::Path;

/// The entries that concern what is built.
const ENTRIES: u32 = 118;

#[test]
fn every_failure_has_a_row_and_every_test_it_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let table = fs::read_to_string(root.join("docs/FAILURES.md")).unwrap();
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| F-")).collect();
    assert_eq!(rows.len(), ENTRIES as usize);
    for (number, row) in (1..).zip(rows) {
        assert!(row.starts_with(&format!("| F-{number:03} | ")), "out of order: {row}");
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(!shown.is_empty(), "{row}");
        for test in shown.split("<br>").filter(|part| part.starts_with('`')) {
            let words: Vec<_> = test.split('`').filter(|word| !word.trim().is_empty()).collect();
            let [file, name] = words[..] else { panic!("not a file and a test: {test}") };
            let source = fs::read_to_string(root.join(file)).unwrap_or_else(|_| panic!("F-{number:03}: no {file}"));
            assert!(source.contains(&format!("fn {name}")), "F-{number:03}: {file} has no test {name}");
        }
    }
}
