//! What turns one page into another: the ranges that differ.

use prost::encoding::{decode_varint, encode_varint};

use crate::error::Error;

/// Two ranges with fewer equal bytes in between are one: another range costs about as much.
const WORTH_A_GAP: usize = 4;

/// The patch that turns `base` into `next`, which are equally long.
pub(crate) fn patch_between(base: &[u8], next: &[u8]) -> Vec<u8> {
    debug_assert_eq!(base.len(), next.len(), "a patch is between two images of one page");
    let mut patch = Vec::new();
    let mut written = 0;
    let mut at = 0;
    while let Some(start) = differs(base, next, at) {
        let mut end = agrees(base, next, start + 1);
        while let Some(further) = differs(base, next, end) {
            if further - end >= WORTH_A_GAP {
                break;
            }
            end = agrees(base, next, further + 1);
        }
        encode_varint((start - written) as u64, &mut patch);
        encode_varint((end - start) as u64, &mut patch);
        patch.extend_from_slice(&next[start..end]);
        written = end;
        at = end;
    }
    patch
}

const WORD: usize = size_of::<u64>();

/// The first place from `from` on where the two differ: long equal stretches first, then words, which is what most of a
/// page is.
fn differs(a: &[u8], b: &[u8], from: usize) -> Option<usize> {
    const STRETCH: usize = 64;
    let mut at = from;
    while at + STRETCH <= a.len() && a[at..at + STRETCH] == b[at..at + STRETCH] {
        at += STRETCH;
    }
    while let Some(difference) = difference_at(a, b, at) {
        if difference != 0 {
            return Some(at + difference.trailing_zeros() as usize / 8);
        }
        at += WORD;
    }
    (at..a.len()).find(|at| a[*at] != b[*at])
}

/// The first place from `from` on where the two are equal, or their end.
fn agrees(a: &[u8], b: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(difference) = difference_at(a, b, at) {
        // The lowest byte that is zero, by the borrow that it makes.
        let zeros = difference.wrapping_sub(0x0101_0101_0101_0101) & !difference & 0x8080_8080_8080_8080;
        if zeros != 0 {
            return at + zeros.trailing_zeros() as usize / 8;
        }
        at += WORD;
    }
    (at..a.len()).find(|at| a[*at] == b[*at]).unwrap_or(a.len())
}

/// Eight bytes of both, those that are equal being zero and the first the lowest; `None` near the end.
fn difference_at(a: &[u8], b: &[u8], at: usize) -> Option<u64> {
    let word = |bytes: &[u8]| bytes.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word));
    Some(word(a)? ^ word(b)?)
}

/// A patch as it stands in a record; every range of it lies within the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patch<'a>(&'a [u8]);

impl<'a> Patch<'a> {
    /// Checks a patch of a page of `page_len` bytes whole, before any of it is applied.
    pub(crate) fn check(bytes: &'a [u8], page_len: usize) -> Result<Patch<'a>, Error> {
        let mut rest = bytes;
        let mut at = 0;
        while !rest.is_empty() {
            at = next_range(&mut rest, at, page_len)?.end;
        }
        Ok(Patch(bytes))
    }

    /// Applies it in place.
    pub(crate) fn apply(self, page: &mut [u8]) {
        let mut rest = self.0;
        let mut at = 0;
        while !rest.is_empty() {
            let before = rest;
            let range = next_range(&mut rest, at, page.len()).expect("it was checked");
            let bytes = &before[before.len() - rest.len() - range.len()..][..range.len()];
            at = range.end;
            page[range].copy_from_slice(bytes);
        }
    }
}

/// Takes one range and its bytes off `rest`.
fn next_range(rest: &mut &[u8], at: usize, page_len: usize) -> Result<std::ops::Range<usize>, Error> {
    let damaged = |what| Error::Pages(format!("a patch of a page {what}"));
    let mut varint = || decode_varint(rest).map_err(|_| damaged("ends inside a number"));
    let (skip, len) = (varint()?, varint()?);
    let start = usize::try_from(skip).ok().and_then(|skip| at.checked_add(skip));
    let end = start.and_then(|start| usize::try_from(len).ok().and_then(|len| start.checked_add(len)));
    let (Some(start), Some(end)) = (start, end) else { return Err(damaged("reaches beyond it")) };
    if page_len < end || start == end {
        return Err(damaged("reaches beyond it, or has an empty range"));
    }
    *rest = rest.get(end - start..).ok_or_else(|| damaged("is cut short"))?;
    Ok(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turns(base: &[u8], next: &[u8]) -> usize {
        let patch = patch_between(base, next);
        let mut page = base.to_vec();
        Patch::check(&patch, base.len()).unwrap().apply(&mut page);
        assert_eq!(page, next);
        patch.len()
    }

    #[test]
    fn a_patch_is_about_as_long_as_what_differs() {
        let base = vec![7; 4096];
        let mut next = base.clone();
        assert_eq!(turns(&base, &next), 0);
        next[100..104].copy_from_slice(&[1, 2, 3, 4]);
        next[4095] = 9;
        assert_eq!(turns(&base, &next), 2 + 4 - 1 + 1 + 2 + 1 + 1);
        assert_eq!(turns(&vec![0; 4096], &vec![1; 4096]), 4096 + 3);
    }

    #[test]
    fn a_damaged_patch_is_refused_whole() {
        for bytes in
            [&[0][..], &[0, 0], &[0, 2, 7], &[0xff; 11], &[200, 200, 200, 200, 200, 1, 1, 7], &[4, 1, 7, 0, 1, 7]]
        {
            assert!(Patch::check(bytes, 5).is_err(), "{bytes:?}");
        }
        assert!(Patch::check(&[4, 1, 7], 5).is_ok());
    }

    proptest! {
        #[test]
        fn any_page_turns_into_any_other(pages in proptest::collection::vec((0u8..3, 0u8..3), 1..700)) {
            let (base, next): (Vec<u8>, Vec<u8>) = pages.into_iter().unzip();
            turns(&base, &next);
        }

        #[test]
        fn no_bytes_make_a_patch_reach_beyond_its_page(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(patch) = Patch::check(&bytes, 512) {
                patch.apply(&mut [0; 512]);
            }
        }
    }
}
