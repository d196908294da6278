//! What kind of file system holds the bytes, and what "durable" means on it (F-053, F-058).

use std::fmt;

/// The kind of file system under a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Medium {
    /// A local file system that keeps what `fdatasync` promised.
    Disk,
    /// Memory: nothing survives a power cut.
    Memory,
    /// The writable layer of a container: it goes when the container goes.
    Overlay,
    /// Served by another program on this machine, or by a hypervisor (9p, virtiofs, FUSE): its sync may promise more
    /// than it does.
    Passthrough,
    /// Copies on write, so that allocated space is no promise: a full disk can kill a process that stores into a map.
    CopyOnWrite,
    /// Over the network: locks may not hold between machines.
    Network,
}

/// What to say about a [`Medium`] before a log is kept on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Works, but a promise is weaker than elsewhere; say so once.
    Warn(&'static str),
    /// Two owners could not be told apart: refuse unless the operator insists.
    Refuse(&'static str),
}

impl Medium {
    /// What is to be said about keeping a log here; `None` if nothing is.
    pub fn concern(self) -> Option<Concern> {
        match self {
            Medium::Disk => None,
            Medium::Memory => Some(Concern::Warn(
                "the directory is in memory: nothing here survives a restart; mount a disk for a log that must",
            )),
            Medium::Overlay => Some(Concern::Warn(
                "the directory is in a container's own layer and goes with it; mount a volume for the data",
            )),
            Medium::Passthrough => Some(Concern::Warn(
                "the directory is served by another program, whose sync may promise more than it does; use a local disk",
            )),
            Medium::CopyOnWrite => Some(Concern::Warn(
                "the file system copies on write, so that reserved space is no promise; keep free space or use ext4 or xfs",
            )),
            Medium::Network => Some(Concern::Refuse(
                "the directory is on a network file system, whose locks may not keep a second agent out; use a local disk",
            )),
        }
    }

    /// Tells the kind from the magic number that `statfs` gives.
    pub(crate) fn from_magic(magic: u64) -> Medium {
        match magic {
            0x0102_1994 | 0x8584_58f6 => Medium::Memory, // tmpfs, ramfs
            0x794c_7630 => Medium::Overlay,              // overlayfs
            0x0102_1997 | 0x6573_5546 | 0x6a65_6a63 | 0x786f_4256 => Medium::Passthrough, // 9p, fuse, virtiofs, vboxsf
            0x9123_683e | 0x2fc1_2fc1 | 0xca45_1a4e => Medium::CopyOnWrite, // btrfs, zfs, bcachefs
            0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x517b | 0x00c3_6400 | 0x0bd0_0bd0 | 0x4750_4653 | 0x0161_1970 => {
                Medium::Network // nfs, cifs, smb2, smb, ceph, lustre, gpfs, gfs2
            }
            _ => Medium::Disk,
        }
    }
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Medium::Disk => "disk",
            Medium::Memory => "memory",
            Medium::Overlay => "overlay",
            Medium::Passthrough => "passthrough",
            Medium::CopyOnWrite => "copy-on-write",
            Medium::Network => "network",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f_058_memory_and_overlay_are_warned_about_and_f_053_network_is_refused() {
        let check = |magic: u64, medium: Medium| assert_eq!(Medium::from_magic(magic), medium, "magic {magic:#x}");
        check(0xef53, Medium::Disk);
        check(0x5846_5342, Medium::Disk);
        check(0x0102_1994, Medium::Memory);
        check(0x794c_7630, Medium::Overlay);
        check(0x6573_5546, Medium::Passthrough);
        check(0x6969, Medium::Network);
        assert!(Medium::Disk.concern().is_none());
        assert!(matches!(Medium::Memory.concern(), Some(Concern::Warn(_))));
        assert!(matches!(Medium::Network.concern(), Some(Concern::Refuse(_))));
    }
}
