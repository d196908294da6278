//! The wal-index as its writer sees it: which page each frame holds, a hash table to find it by, and what is committed.
//!
//! ```text
//! region 0      header ×2 (24 words), checkpoint state (10 words), pages of frames 1 … 4062, hash table
//! region n > 0  pages of the next 4096 frames, hash table
//! ```
//!
//! A hash table has 8192 slots of 16 bits in this machine's order: zero, or a frame of its region, counted from 1. A page's
//! frames are in the slots from its hash on; readers pass over frames after the last that was committed when they began.

use crate::error::Error;
use crate::pages::PageSize;
use crate::shm::{Slot, WalFile};
use crate::wal_format::{INDEX_WORDS, IndexHeader};

/// Words of a region before the page numbers: its header in the first, nothing in others.
const HEAD_WORDS: usize = 34;
/// Words of the checkpoint state.
const BACKFILLED: usize = 24;
const READ_MARKS: usize = 25;
const BACKFILL_ATTEMPTED: usize = 32;
/// Frames of a region, and of the first one.
const FRAMES: usize = 4096;
const FIRST_FRAMES: usize = FRAMES - HEAD_WORDS;
/// Slots of a hash table; two to a word.
const SLOTS: usize = 2 * FRAMES;
/// Where the hash table begins.
const HASH_AT: usize = FRAMES;
const WORDS: usize = FRAMES + SLOTS / 2;

/// Whether both copies of the header are equal and whole.
pub(super) fn is_whole(file: &WalFile) -> Result<bool, Error> {
    // Any size does: one that is not said is not compared.
    let any = PageSize::new(4096).expect("a page size");
    Ok(both(file)?.is_some_and(|words| IndexHeader::decode(&words).or(IndexHeader::decode_of(&words, any)).is_some()))
}

/// The header; `None` if it is not whole.
pub(super) fn read(file: &WalFile, size: PageSize) -> Result<Option<IndexHeader>, Error> {
    Ok(both(file)?.and_then(|words| IndexHeader::decode_of(&words, size)))
}

fn both(file: &WalFile) -> Result<Option<[u32; INDEX_WORDS]>, Error> {
    let (mut first, mut second) = ([0; INDEX_WORDS], [0; INDEX_WORDS]);
    file.load(0, 0, &mut first)?;
    file.barrier();
    file.load(0, INDEX_WORDS, &mut second)?;
    Ok((first == second).then_some(first))
}

/// Makes what was appended count.
pub(super) fn publish(file: &WalFile, header: &IndexHeader) -> Result<(), Error> {
    let words = header.encode();
    // Frames before the header that makes them count, and the second copy before the first, which is read first.
    file.barrier();
    file.store(0, INDEX_WORDS, &words)?;
    file.barrier();
    file.store(0, 0, &words)
}

/// Up to which frame everything is in the database file.
pub(super) fn backfilled(file: &WalFile) -> Result<u32, Error> {
    load(file, 0, BACKFILLED)
}

/// Lets the next frame be the first, with other salts, as SQLite's `walRestartHdr` does; `None` if a frame is not in the
/// database yet, or somebody reads from the `-wal`.
pub(super) fn begin_anew(file: &WalFile, header: &IndexHeader, random: u32) -> Result<Option<IndexHeader>, Error> {
    // A checkpoint of another process that has looked at the header already would copy frames which are no longer there:
    // versions of SQLite before 3.51.3 do not look again.
    if !file.try_lock(Slot::Checkpoint)? {
        return Ok(None);
    }
    let begun = load(file, 0, BACKFILLED).and_then(|backfilled| match backfilled == header.max_frame {
        true => file.without_readers(|| restart(file, header, random)),
        false => Ok(None),
    });
    file.unlock(Slot::Checkpoint)?;
    begun
}

fn restart(file: &WalFile, header: &IndexHeader, random: u32) -> Result<IndexHeader, Error> {
    let salts = [header.salts[0].wrapping_add(1), random];
    let header = IndexHeader { max_frame: 0, salts, ..*header };
    publish(file, &header)?;
    file.store(0, BACKFILLED, &[0])?;
    file.store(0, BACKFILL_ATTEMPTED, &[0])?;
    // The first mark is for those who read the database alone, and always zero.
    file.store(0, READ_MARKS + 1, &[0, u32::MAX, u32::MAX, u32::MAX])?;
    Ok(header)
}

/// The pages of frames 1 to `max_frame`.
pub(crate) fn pages(file: &WalFile, max_frame: u32) -> Result<Vec<u32>, Error> {
    let mut pages = Vec::new();
    while pages.len() < max_frame as usize {
        // A region at a time: a header that names more frames than there are must not make room for them.
        let at = pages.len();
        let place = Place::of(at as u32 + 1);
        pages.resize(at + place.frames_left().min(max_frame as usize - at), 0);
        file.load(place.region, place.page_at(), &mut pages[at..])?;
        if pages[at..].iter().all(|page| *page == 0) {
            return Err(Error::Vfs("its wal-index does not hold the frames that it names"));
        }
    }
    Ok(pages)
}

/// Enters the frames after `max_frame`, which hold `pages`.
pub(super) fn append(file: &WalFile, max_frame: u32, pages: &[u32]) -> Result<(), Error> {
    for (frame, page) in (max_frame + 1..).zip(pages) {
        let place = Place::of(frame);
        if place.index == 1 {
            let first = place.page_at();
            file.store(place.region, first, &[0; WORDS][first..])?;
        } else if load(file, place.region, place.page_at())? != 0 {
            // A writer died before its commit. Only the first frame can find what it left.
            clean(file, max_frame)?;
        }
        enter(file, place, *page)?;
    }
    Ok(())
}

fn enter(file: &WalFile, place: Place, page: u32) -> Result<(), Error> {
    let mut slot = (page.wrapping_mul(383)) as usize % SLOTS;
    let (mut word, mut halves);
    loop {
        word = load(file, place.region, HASH_AT + slot / 2)?;
        halves = halves_of(word);
        if halves[slot % 2] == 0 {
            break;
        }
        slot = (slot + 1) % SLOTS;
    }
    halves[slot % 2] = place.index;
    file.store(place.region, place.page_at(), &[page])?;
    file.store(place.region, HASH_AT + slot / 2, &[word_of(halves)])
}

/// Removes what lies beyond `max_frame` in its region.
fn clean(file: &WalFile, max_frame: u32) -> Result<(), Error> {
    let place = Place::of(max_frame);
    let mut words = [0; WORDS];
    let first = Place { index: 1, ..place }.page_at();
    file.load(place.region, first, &mut words[first..])?;
    for word in &mut words[HASH_AT..] {
        *word = word_of(halves_of(*word).map(|index| if index <= place.index { index } else { 0 }));
    }
    words[place.page_at() + 1..HASH_AT].fill(0);
    // Hash first: whoever finds a slot looks at its page.
    file.store(place.region, HASH_AT, &words[HASH_AT..])?;
    file.store(place.region, first, &words[first..HASH_AT])
}

fn load(file: &WalFile, region: usize, at: usize) -> Result<u32, Error> {
    let mut word = [0];
    file.load(region, at, &mut word)?;
    Ok(word[0])
}

/// The two slots that share a word.
fn halves_of(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_ne_bytes();
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])]
}

fn word_of(halves: [u16; 2]) -> u32 {
    let ([a, b], [c, d]) = (halves[0].to_ne_bytes(), halves[1].to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// Where a frame is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    region: usize,
    /// In its region, counted from 1.
    index: u16,
}

impl Place {
    fn of(frame: u32) -> Place {
        let at = frame as usize - 1 + HEAD_WORDS;
        let (region, at) = (at / FRAMES, at % FRAMES);
        let before = if region == 0 { HEAD_WORDS } else { 0 };
        Place { region, index: (at - before + 1) as u16 }
    }

    /// The word of its page number.
    fn page_at(self) -> usize {
        let before = if self.region == 0 { HEAD_WORDS } else { 0 };
        before + usize::from(self.index) - 1
    }

    /// Frames from this one to the end of its region.
    fn frames_left(self) -> usize {
        let all = if self.region == 0 { FIRST_FRAMES } else { FRAMES };
        all - usize::from(self.index) + 1
    }
}

/// As SQLite checks it with SQLITE_ENABLE_EXPENSIVE_ASSERT: as many slots as frames, and every frame to be found.
#[cfg(test)]
pub(super) fn check(file: &WalFile, max_frame: u32) {
    for region in 0..=Place::of(max_frame).region {
        let mut words = [0; WORDS];
        file.load(region, 0, &mut words).unwrap();
        let slots: Vec<u16> = words[HASH_AT..].iter().flat_map(|word| halves_of(*word)).collect();
        let frames: Vec<Place> = (1..=max_frame).map(Place::of).filter(|place| place.region == region).collect();
        assert_eq!(slots.iter().filter(|slot| **slot != 0).count(), frames.len(), "region {region}");
        for place in frames {
            let mut slot = words[place.page_at()].wrapping_mul(383) as usize % SLOTS;
            while slots[slot] != place.index {
                assert_ne!(slots[slot], 0, "{place:?} is not found");
                slot = (slot + 1) % SLOTS;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_region_holds_4062_frames_and_others_4096() {
        for (frame, region, index, page_at, left) in [
            (1, 0, 1, 34, 4062),
            (4062, 0, 4062, 4095, 1),
            (4063, 1, 1, 0, 4096),
            (8158, 1, 4096, 4095, 1),
            (8159, 2, 1, 0, 4096),
        ] {
            let place = Place::of(frame);
            assert_eq!(place, Place { region, index }, "{frame}");
            assert_eq!((place.page_at(), place.frames_left()), (page_at, left), "{frame}");
        }
    }
}
