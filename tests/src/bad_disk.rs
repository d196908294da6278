//! A disk on demand that fails to write, or is full: ext4 on a loop device whose image lies on a tmpfs.
//!
//! Needs root and loop devices; whoever asks for one is told why there is none.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An ext4 file system of 64 MiB whose image can be made unwritable. Dropping unmounts in order.
#[derive(Debug)]
pub struct BadDisk {
    backing: PathBuf,
    mount: PathBuf,
    mounted: Vec<PathBuf>,
}

impl BadDisk {
    /// Mounts one below `place`.
    ///
    /// # Errors
    /// Why that cannot be had here.
    pub fn new(place: &Path) -> Result<BadDisk, String> {
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

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Mounts it again: what is read from now on is what was written.
    ///
    /// # Errors
    /// What the command said.
    pub fn mount(&mut self) -> Result<(), String> {
        run("mount", &["-o", "loop,nodiscard", &self.image(), &text(&self.mount)])?;
        self.mounted.push(self.mount.clone());
        Ok(())
    }

    /// Unmounts it; nothing on it may be open.
    pub fn unmount(&mut self) {
        if self.mounted.pop_if(|last| *last == self.mount).is_some() {
            run("umount", &[&text(&self.mount)]).unwrap();
        }
    }

    /// Takes away the image's blocks under `file` from its third block on, and the space that new ones
    /// would need. The first two hold what was acknowledged: no disk loses those by failing a write.
    pub fn fail_writes_to(&self, file: &Path) {
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
        let filler = format!("of={}", text(&self.backing.join(FILLER)));
        assert!(run("dd", &["if=/dev/zero", &filler, "bs=4k"]).is_err(), "the backing store did not fill up");
    }

    /// Leaves no block free on it, until [`empty`](Self::empty): a full disk, which otherwise works.
    pub fn fill(&self) {
        let filler = text(&self.mount.join(FILLER));
        // Allocated and not written: the image has no room for all that the file system thinks it has.
        let (mut offset, mut length) = (0, 16 << 20);
        while 4096 <= length {
            let range = ["--offset", &offset.to_string(), "--length", &length.to_string()].map(str::to_owned);
            match run("fallocate", &[&range[0], &range[1], &range[2], &range[3], &filler]) {
                Ok(_) => offset += length,
                Err(_) => length /= 2,
            }
        }
    }

    /// Undoes [`fill`](Self::fill).
    pub fn empty(&self) {
        std::fs::remove_file(self.mount.join(FILLER)).unwrap();
    }

    /// Gives the space back that [`fail_writes_to`](Self::fail_writes_to) took.
    pub fn heal(&self) {
        std::fs::remove_file(self.backing.join(FILLER)).unwrap();
    }
}

impl Drop for BadDisk {
    fn drop(&mut self) {
        while let Some(mounted) = self.mounted.pop() {
            drop(run("umount", &[&text(&mounted)]));
        }
    }
}

const FILLER: &str = "filler";

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
