//! The lease as it stands in a store.

use std::fmt::Write as _;

use longshore_format::{Epoch, WriterId};

use super::{Stamp, Ttl};
use crate::{Error, NodeId, Result};

/// What a store holds for one log: who may write, in which epoch, and for how long.
///
/// As text, so that `cat` and the console of a cloud show it:
///
/// ```text
/// longshore lease 1
/// holder eu-west
/// epoch 7 0b54c2b5f0a94d3c8c1a2f6be5a3d901
/// ttl 10000 ms
/// stamp 9f3c20b1a4d5e687 42
/// ```
///
/// The last number of the first line is the version of this form. A holder `-` is nobody: the lease was given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseObject {
    /// Who has it; nobody after it was released.
    pub holder: Option<NodeId>,
    /// The epoch that was begun with it. The next holder's has a higher number.
    pub epoch: Epoch,
    /// How long it is good for from each write on.
    pub ttl: Ttl,
    /// Which write this is.
    pub stamp: Stamp,
}

impl LeaseObject {
    /// The most bytes of one; what is longer is none.
    pub const MAX_LEN: usize = 512;

    /// The greatest number of an epoch that a lease takes part in, so that the next one is always a number.
    pub const MAX_NUMBER: u64 = 1 << 62;

    /// As text.
    pub fn encode(&self) -> String {
        let mut text = String::from(FIRST_LINE);
        let holder = self.holder.as_ref().map_or("-", NodeId::as_str);
        let mut writer = String::with_capacity(32);
        for byte in self.epoch.writer.as_bytes() {
            write!(writer, "{byte:02x}").expect("a string takes all that is written");
        }
        let Epoch { number, .. } = self.epoch;
        let LeaseObject { ttl, stamp, .. } = self;
        write!(text, "holder {holder}\nepoch {number} {writer}\nttl {ttl}\nstamp {stamp}\n")
            .expect("a string takes all that is written");
        text
    }

    /// From text.
    ///
    /// # Errors
    /// [`Error::NoLease`] says what is wrong with it. Nobody overwrites what is no lease.
    pub fn decode(bytes: &[u8]) -> Result<LeaseObject> {
        let no = |why| Error::NoLease { why };
        if LeaseObject::MAX_LEN < bytes.len() {
            return Err(no("it is longer than one"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| no("it is not text"))?;
        let Some(rest) = text.strip_prefix(FIRST_LINE) else {
            return Err(no(match text.starts_with("longshore lease ") {
                true => "it is of a version that is not known here",
                false => "it does not begin like one",
            }));
        };
        let read = fields(rest).ok_or_else(|| no("a line is missing or malformed"))??;
        // One spelling for each: what could be read in two ways would be one write in two forms.
        match read.encode() == text {
            true => Ok(read),
            false => Err(no("a line is missing or malformed")),
        }
    }
}

const FIRST_LINE: &str = "longshore lease 1\n";

/// The lines after the first; `None` if one is not there or not a number.
fn fields(text: &str) -> Option<Result<LeaseObject>> {
    let mut lines = text.lines();
    let mut line = |name| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let (holder, epoch, ttl, stamp) = (line("holder")?, line("epoch")?, line("ttl")?, line("stamp")?);
    let holder = match holder {
        "-" => None,
        name => Some(NodeId::new(name).ok()?),
    };
    let (number, writer) = epoch.split_once(' ')?;
    let epoch = Epoch { number: number.parse().ok()?, writer: writer_id(writer)? };
    let (life, count) = stamp.split_once(' ')?;
    let stamp = Stamp { life: u64::from_str_radix(life, 16).ok()?, count: count.parse().ok()? };
    let millis: u64 = ttl.strip_suffix(" ms")?.parse().ok()?;
    if LeaseObject::MAX_NUMBER < epoch.number {
        return Some(Err(Error::NoLease { why: "the number of its epoch is too great" }));
    }
    Some(Ttl::from_millis(millis).map(|ttl| LeaseObject { holder, epoch, ttl, stamp }))
}

fn writer_id(text: &str) -> Option<WriterId> {
    let all = u128::from_str_radix(text, 16).ok()?;
    Some(WriterId::from_bytes(all.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fake::{epoch, node};

    fn lease() -> LeaseObject {
        LeaseObject {
            holder: Some(node("eu-west")),
            epoch: epoch(7, 0xab),
            ttl: Ttl::DEFAULT,
            stamp: Stamp { life: 0x9f3c, count: 42 },
        }
    }

    #[test]
    fn what_is_written_is_read_and_stays_as_it_is_for_ever() {
        let text = lease().encode();
        let written = "longshore lease 1\nholder eu-west\nepoch 7 abababababababababababababababab\nttl 10000 ms\n\
            stamp 0000000000009f3c 42\n";
        assert_eq!(text, written);
        let free = LeaseObject { holder: None, ..lease() };
        let far = LeaseObject {
            holder: Some(node(&"x".repeat(63))),
            epoch: epoch(LeaseObject::MAX_NUMBER, 0),
            ttl: Ttl::new(Ttl::MOST).unwrap(),
            stamp: Stamp { life: u64::MAX, count: u64::MAX },
        };
        for lease in [lease(), free, far] {
            let text = lease.encode();
            assert!(text.len() <= LeaseObject::MAX_LEN);
            assert_eq!(LeaseObject::decode(text.as_bytes()).unwrap(), lease);
        }
    }

    #[test]
    fn what_is_no_lease_is_refused_and_named() {
        let good = lease().encode();
        let with = |from: &str, to: &str| {
            assert!(good.contains(from), "{from}");
            good.replace(from, to).into_bytes()
        };
        let malformed = "a line is missing or malformed";
        for (bytes, why) in [
            (vec![], "does not begin like one"),
            (b"<?xml version='1.0'?>".to_vec(), "does not begin like one"),
            (with("lease 1", "lease 2"), "a version that is not known here"),
            (vec![b'x'; 513], "longer than one"),
            (vec![b'x'; 1 << 24], "longer than one"),
            (vec![0xff; 40], "not text"),
            (with("eu-west", "EU"), malformed),
            (with("eu-west", ""), malformed),
            (with("epoch 7", "epoch 07"), malformed),
            (with("epoch 7", "epoch +7"), malformed),
            (with("epoch 7", "epoch -7"), malformed),
            (with("epoch 7", "epoch 18446744073709551616"), malformed),
            (with("epoch 7", "epoch 18446744073709551615"), "too great"),
            (with("ababab", "ABABAB"), malformed),
            (with("ababab", "abab"), malformed),
            (with("ababab", "abababab"), malformed),
            (with("10000", "0"), "500 ms to 1 h"),
            (with("10000", "18446744073709551615"), "500 ms to 1 h"),
            (with(" ms", ""), malformed),
            (with("0000000000009f3c", "9f3c"), malformed),
            (with(" 42", ""), malformed),
            (with("42\n", "42"), malformed),
            (with("42\n", "42\n\n"), malformed),
            (with("42\n", "42\nmore 1\n"), malformed),
            (with("\n", "\r\n"), "a version that is not known here"),
        ] {
            let error = LeaseObject::decode(&bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{:?}: {error}", String::from_utf8_lossy(&bytes[..bytes.len().min(200)]));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_read_is_what_was_written(at in 0..200usize, bytes in prop::collection::vec(any::<u8>(), 0..9)) {
            let mut text = lease().encode().into_bytes();
            let at = at.min(text.len());
            let end = (at + bytes.len()).min(text.len());
            text.splice(at..end, bytes.iter().copied());
            if let Ok(lease) = LeaseObject::decode(&text) {
                prop_assert_eq!(lease.encode().into_bytes(), text);
            }
            let _no_panic = LeaseObject::decode(&bytes);
        }
    }
}
