//! The records of one run, written and read.

use longshore_format::Kind;
use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

use super::hash::PageHash;
use super::patch::Patch;
use super::size::PageSize;
use crate::error::Error;

/// The kind of every record of a log of content `sqlite-pages`.
pub(crate) const KIND: Kind = Kind::USER;

/// Records are at most so long: of longer ones a reader's buffer would not hold two, and would read each a second time. Of one
/// length wherever an image is made: two that are compared must be cut alike.
pub(crate) const LONGEST_PAYLOAD: usize = 128 << 10;
const VERSION: u8 = 1;
const HEAD_LEN: usize = 28;
/// As much as the largest page; a whole number of pages of any size.
const RANGE: usize = 64 << 10;
const COMMIT: u8 = 1;
const IMAGE: u8 = 2;

/// Where the `-wal` of the captured database stood at the end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct WalPlace {
    /// Of the `-wal`'s header: another pair after each reset.
    pub(crate) salts: [u32; 2],
    /// The transaction's last frame, counted from 1; zero in an empty `-wal`.
    pub(crate) frame: u32,
    /// That frame's running checksum.
    pub(crate) checksum: [u32; 2],
}

/// What a run's last record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commit {
    /// How many pages the database has from now on, at least one.
    pub(crate) pages: u32,
    pub(crate) place: WalPlace,
}

/// A page that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change<'a> {
    /// Counted from 1.
    pub(crate) page: u32,
    pub(crate) form: Form,
    pub(crate) patch: Patch<'a>,
}

/// What a patch is to be applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A page of zeros: the page stands in the patch whole.
    Whole,
    /// The page as it was.
    Delta {
        /// The page as it was.
        base: PageHash,
        /// What comes of it.
        result: PageHash,
    },
}

impl Form {
    fn encoded_len(self) -> usize {
        match self {
            Form::Whole => 1,
            Form::Delta { .. } => 1 + 8 + 8,
        }
    }

    fn encode(self, into: &mut Vec<u8>) {
        match self {
            Form::Whole => into.push(0),
            Form::Delta { base, result } => {
                into.push(1);
                into.extend_from_slice(&base.0.to_le_bytes());
                into.extend_from_slice(&result.0.to_le_bytes());
            }
        }
    }
}

/// Fills payloads with the changes of one run. Payloads come out whenever one is full, and the last at the end.
#[derive(Debug)]
pub(crate) struct RunWriter {
    payload: Vec<u8>,
    max_payload: usize,
    /// Pages of the ranges of which a payload holds one, if it does.
    range: Option<u32>,
    /// The version, flags and page size that every payload begins with.
    head: [u8; 4],
}

impl RunWriter {
    /// A run that changes pages.
    pub(crate) fn changes(size: PageSize, max_payload: usize) -> RunWriter {
        RunWriter::new(size, max_payload, 0)
    }

    /// A run that is the whole database: pages that it does not name are not there.
    pub(crate) fn image(size: PageSize, max_payload: usize) -> RunWriter {
        RunWriter::new(size, max_payload, IMAGE)
    }

    /// The same, in payloads that each hold pages of one fixed range of [`RANGE`] bytes of the database.
    pub(crate) fn ranges(size: PageSize, max_payload: usize) -> RunWriter {
        RunWriter { range: Some((RANGE / size.bytes()) as u32), ..RunWriter::image(size, max_payload) }
    }

    fn new(size: PageSize, max_payload: usize, flags: u8) -> RunWriter {
        let head = [VERSION, flags, size.log2(), 0];
        RunWriter { payload: begun(head), max_payload, range: None, head }
    }

    /// The largest page whose change fits into a payload, with everything around it.
    pub(crate) fn fits(size: PageSize, max_payload: usize) -> bool {
        HEAD_LEN + 4 + 17 + 2 * 4 + size.bytes() + 8 <= max_payload
    }

    /// Adds a change; returns a payload that is full and comes before it.
    pub(crate) fn add(&mut self, page: u32, form: Form, patch: &[u8]) -> Option<Vec<u8>> {
        let len = 4 + form.encoded_len() + encoded_len_varint(patch.len() as u64) + patch.len();
        let passes = self.range.is_some_and(|range| page.saturating_sub(1).is_multiple_of(range))
            && HEAD_LEN < self.payload.len();
        let full = (passes || self.payload.len() + len > self.max_payload)
            .then(|| std::mem::replace(&mut self.payload, begun(self.head)));
        self.payload.extend_from_slice(&page.to_le_bytes());
        form.encode(&mut self.payload);
        encode_varint(patch.len() as u64, &mut self.payload);
        self.payload.extend_from_slice(patch);
        full
    }

    /// The run's last payload.
    pub(crate) fn finish(mut self, commit: Commit) -> Vec<u8> {
        let Commit { pages, place: WalPlace { salts, frame, checksum } } = commit;
        self.payload[1] |= COMMIT;
        let words = [pages, salts[0], salts[1], frame, checksum[0], checksum[1]];
        for (at, word) in self.payload[4..HEAD_LEN].chunks_exact_mut(4).zip(words) {
            at.copy_from_slice(&word.to_le_bytes());
        }
        self.payload
    }
}

fn begun(head: [u8; 4]) -> Vec<u8> {
    let mut payload = vec![0; HEAD_LEN];
    payload[..4].copy_from_slice(&head);
    payload
}

/// A record's payload, of which the head was checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageRecord<'a> {
    pub(crate) size: PageSize,
    /// The run is the whole database.
    pub(crate) is_image: bool,
    /// In the run's last record.
    pub(crate) commit: Option<Commit>,
    changes: &'a [u8],
}

impl<'a> PageRecord<'a> {
    /// Reads a payload's head.
    pub(crate) fn decode(payload: &'a [u8]) -> Result<PageRecord<'a>, Error> {
        let Some((head, changes)) = payload.split_first_chunk::<HEAD_LEN>() else {
            return Err(damaged("it is shorter than its head"));
        };
        if head[0] != VERSION {
            return Err(Error::Pages(format!("it is of version {}, this program reads {VERSION}", head[0])));
        }
        if head[1] & !(COMMIT | IMAGE) != 0 || head[3] != 0 {
            return Err(damaged("its flags are not known"));
        }
        let size = PageSize::from_log2(head[2])?;
        let word = |at: usize| u32::from_le_bytes(*head[4 * at..].first_chunk().expect("the head is 28 bytes"));
        let place = WalPlace { salts: [word(2), word(3)], frame: word(4), checksum: [word(5), word(6)] };
        let commit = (head[1] & COMMIT != 0).then_some(Commit { pages: word(1), place });
        match commit {
            Some(Commit { pages: 0, .. }) => return Err(damaged("it leaves no page")),
            None if head[4..] != [0; 24] => return Err(damaged("it says where it ends and is not the last")),
            _ => {}
        }
        Ok(PageRecord { size, is_image: head[1] & IMAGE != 0, commit, changes })
    }

    /// Its changes, each checked as it is reached.
    pub(crate) fn changes(self) -> impl Iterator<Item = Result<Change<'a>, Error>> {
        let (mut rest, mut before, page_len) = (self.changes, 0, self.size.bytes());
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let change = next_change(&mut rest, page_len).and_then(|change| match before < change.page {
                true => Ok(change),
                false => Err(damaged("its pages do not ascend")),
            });
            match &change {
                Ok(change) => before = change.page,
                // Nothing after it can be believed.
                Err(_) => rest = &[],
            }
            Some(change)
        })
    }
}

fn next_change<'a>(rest: &mut &'a [u8], page_len: usize) -> Result<Change<'a>, Error> {
    let page = u32::from_le_bytes(take(rest)?);
    let form = match take::<1>(rest)? {
        [0] => Form::Whole,
        [1] => Form::Delta {
            base: PageHash(u64::from_le_bytes(take(rest)?)),
            result: PageHash(u64::from_le_bytes(take(rest)?)),
        },
        _ => return Err(damaged("a change has a form that is not known")),
    };
    let len = decode_varint(rest).map_err(|_| damaged("it ends inside a number"))?;
    let len = usize::try_from(len).ok().filter(|len| *len <= rest.len());
    let (patch, after) = rest.split_at(len.ok_or_else(|| damaged("a patch is cut short"))?);
    *rest = after;
    Ok(Change { page, form, patch: Patch::check(patch, page_len)? })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (taken, after) = rest.split_first_chunk().ok_or_else(|| damaged("it is cut short"))?;
    *rest = after;
    Ok(*taken)
}

fn damaged(what: &str) -> Error {
    Error::Pages(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::patch_between;
    use proptest::prelude::*;

    const SIZE: u32 = 512;

    fn write(pages: &[(u32, Form, Vec<u8>)], max_payload: usize, commit: Commit) -> Vec<Vec<u8>> {
        let mut run = RunWriter::changes(PageSize::new(SIZE).unwrap(), max_payload);
        let mut payloads = Vec::new();
        for (page, form, patch) in pages {
            payloads.extend(run.add(*page, *form, patch));
        }
        payloads.push(run.finish(commit));
        payloads
    }

    fn commit() -> Commit {
        Commit { pages: 9, place: WalPlace { salts: [1, 2], frame: 3, checksum: [4, 5] } }
    }

    #[test]
    fn what_was_written_is_read() {
        let whole = patch_between(&[0; 512], &[7; 512]);
        let delta = Form::Delta { base: PageHash(1), result: PageHash(u64::MAX) };
        let pages = [(1, Form::Whole, whole.clone()), (4, delta, vec![0, 1, 9]), (9, Form::Whole, whole)];
        for max in [700, 4096] {
            let payloads = write(&pages, max, commit());
            assert!(payloads.iter().all(|payload| payload.len() <= max));
            assert_eq!(payloads.len(), if max == 700 { 2 } else { 1 });
            let mut read = Vec::new();
            for (index, payload) in payloads.iter().enumerate() {
                let record = PageRecord::decode(payload).unwrap();
                assert_eq!(record.commit, (index + 1 == payloads.len()).then_some(commit()));
                read.extend(record.changes().map(Result::unwrap));
            }
            let read: Vec<_> = read.iter().map(|change| (change.page, change.form)).collect();
            assert_eq!(read, pages.iter().map(|(page, form, _)| (*page, *form)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn pages_that_do_not_ascend_are_refused() {
        for pages in [[1, 1], [2, 1], [0, 1]] {
            let pages = pages.map(|page| (page, Form::Whole, Vec::new()));
            let payload = write(&pages, 4096, commit()).remove(0);
            assert!(PageRecord::decode(&payload).unwrap().changes().any(|change| change.is_err()), "{pages:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_more_than_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), honest: bool) {
            if honest && bytes.len() > 4 {
                bytes[..4].copy_from_slice(&[VERSION, COMMIT, 9, 0]);
            }
            if let Ok(record) = PageRecord::decode(&bytes) {
                let _ = record.changes().count();
            }
        }
    }
}
