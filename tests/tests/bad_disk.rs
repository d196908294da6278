//! F-063 on a real kernel: a disk whose sync fails once and then says that all is well.
//!
//! The blocks of the active segment are punched out of the disk's image, so that writing them back
//! needs space that is not there. Says so and passes over itself where there is no such disk.

use std::path::{Path, PathBuf};

use longshore_testkit::bad_disk::BadDisk;
use longshore_testkit::process::{longshore, must, run_with};

const TEST: &str = "a_disk_that_fails_one_sync_and_then_lies_loses_nothing_acknowledged";

/// The last segment that holds records: the one that the next append goes to.
fn active_segment(log: &Path) -> PathBuf {
    let entries = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let written = entries.filter(|path| path.extension().is_some_and(|ending| ending == "seg"));
    let written = written.filter(|path| std::fs::read(path).is_ok_and(|bytes| bytes.iter().any(|&byte| byte != 0)));
    written.max().expect("the log has a segment")
}

#[test]
fn a_disk_that_fails_one_sync_and_then_lies_loses_nothing_acknowledged() {
    let place = tempfile::tempdir().unwrap();
    let mut disk = match BadDisk::new(place.path()) {
        Ok(disk) => disk,
        Err(why) => return eprintln!("SKIPPED {TEST}: {why}"),
    };
    let data = disk.path().join("data").display().to_string();
    must(longshore(["init", "--data-dir", &data, "--log", "orders", "--segment-size", "1MiB"]), b"");
    let append = |line: &str| run_with(longshore(["append", "--data-dir", &data, "--log", "orders"]), line.as_bytes());
    // One record that ends where a block ends: a write that begins in a good block and fails in the next
    // is a short write to the loop driver, which calls that success.
    let first = "a".repeat(4096 - 32);
    assert!(append(&format!("{first}\n")).status.success());

    disk.fail_writes_to(&active_segment(Path::new(&data).join("orders").as_path()));
    // The second of these meets a kernel that has forgotten the error and still shows the bytes.
    for word in ["first", "second", "third"] {
        let refused = append(&format!("{}\n", word.repeat(4096)));
        assert!(!refused.status.success(), "acknowledged the {word} line, which is on no disk");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("orders"), "does not name the log: {said}");
    }

    disk.heal();
    assert!(append("four\n").status.success());
    disk.unmount();
    disk.mount().unwrap();
    // Lines that were refused may be there (they were appended, nobody was told that they are safe).
    let lines = must(longshore(["read", "--data-dir", &data, "--log", "orders"]), b"");
    let mut lines = lines.lines();
    assert!(lines.next() == Some(first.as_str()), "the first line was acknowledged");
    assert_eq!(lines.next_back(), Some("four"));
    must(longshore(["verify", "--data-dir", &data, "--deep"]), b"");
}
