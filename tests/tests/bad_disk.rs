//! F-063 on a real kernel: a disk whose sync fails once and then says that all is well.
//!
//! ext4 on a loop device whose image lies on a full tmpfs. The blocks of the active segment are
//! punched out of the image, so that writing them back needs space that is not there. Needs root and
//! loop devices; says so and passes over itself where it cannot have them.

use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_testkit::process::{longshore, must, run_with};

const TEST: &str = "a_disk_that_fails_one_sync_and_then_lies_loses_nothing_acknowledged";

/// An ext4 file system whose image can be made unwritable. Dropping unmounts in order.
struct BadDisk {
    backing: PathBuf,
    mount: PathBuf,
    mounted: Vec<PathBuf>,
}

impl BadDisk {
    fn new(place: &Path) -> Result<BadDisk, String> {
        let (backing, mount) = (place.join("backing"), place.join("disk"));
        for dir in [&backing, &mount] {
            std::fs::create_dir(dir).map_err(|error| error.to_string())?;
        }
        let mut disk = BadDisk { backing, mount, mounted: Vec::new() };
        run("mount", &["-t", "tmpfs", "-o", "size=48m", "longshore-test", &text(&disk.backing)])?;
        disk.mounted.push(disk.backing.clone());
        run("truncate", &["-s", "64m", &disk.image()])?;
        run("mkfs.ext4", &["-q", "-b", "4096", "-E", "nodiscard", "-O", "^has_journal", &disk.image()])?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> String {
        text(&self.backing.join("image"))
    }

    fn mount(&mut self) -> Result<(), String> {
        run("mount", &["-o", "loop,nodiscard", &self.image(), &text(&self.mount)])?;
        self.mounted.push(self.mount.clone());
        Ok(())
    }

    fn unmount(&mut self) {
        if self.mounted.pop_if(|last| *last == self.mount).is_some() {
            run("umount", &[&text(&self.mount)]).unwrap();
        }
    }

    /// Takes away the image's blocks under `file` from its third block on, and the space that new ones
    /// would need. The first two hold what was acknowledged: no disk loses those by failing a write.
    fn fail_writes_to(&self, file: &Path) {
        run("sync", &["-f", &text(&self.mount)]).unwrap();
        let listing = run("filefrag", &["-e", "-b4096", &text(file)]).unwrap();
        let extents: Vec<(u64, u64)> = listing.lines().filter_map(extent).collect();
        assert!(!extents.is_empty(), "no extents in\n{listing}");
        let mut kept = 2;
        for (start, count) in extents {
            let skip = count.min(kept);
            kept -= skip;
            let (offset, length) = ((start + skip) << 12, (count - skip) << 12);
            if length > 0 {
                let (offset, length) = (offset.to_string(), length.to_string());
                run("fallocate", &["--punch-hole", "--offset", &offset, "--length", &length, &self.image()]).unwrap();
            }
        }
        // Fills what is left; dd fails with "no space" on purpose.
        let filler = format!("of={}", text(&self.backing.join("filler")));
        assert!(run("dd", &["if=/dev/zero", &filler, "bs=4k"]).is_err(), "the backing store did not fill up");
    }

    fn heal(&self) {
        std::fs::remove_file(self.backing.join("filler")).unwrap();
    }
}

impl Drop for BadDisk {
    fn drop(&mut self) {
        while let Some(mounted) = self.mounted.pop() {
            drop(run("umount", &[&text(&mounted)]));
        }
    }
}

/// First block on the device and length in blocks, of a line like
/// `   0:        0..     255:       1234..      1489:    256: last,eof`.
fn extent(line: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = line.split(':').collect();
    let start = fields.get(2)?.split("..").next()?.trim().parse().ok()?;
    Some((start, fields.get(3)?.trim().parse().ok()?))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output =
        Command::new(program).args(args).env("LC_ALL", "C").output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

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
    let data = text(&disk.mount.join("data"));
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
