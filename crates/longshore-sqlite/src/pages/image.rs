//! A database at one moment as records that stay where they are when a page of it changes.

use super::patch::patch_between;
use super::record::{Commit, Form, RunWriter};
use super::size::PageSize;
use crate::error::Error;

/// The run that is a whole database, record by record, from pages that somebody reads.
///
/// Every record holds the pages of one fixed range. So two databases with a page between them that differs have images with
/// a record between them that differs, which is how a copy that holds most of an image is sent the rest only.
#[derive(Debug)]
pub(crate) struct ImageRun {
    /// `None` once the last record was given.
    writer: Option<RunWriter>,
    commit: Commit,
    /// The page that comes next.
    page: u32,
    zeros: Vec<u8>,
    bytes: Vec<u8>,
}

impl ImageRun {
    /// An image that ends with `commit`, in payloads of at most `longest` bytes.
    pub(crate) fn new(size: PageSize, longest: usize, commit: Commit) -> ImageRun {
        let (zeros, bytes) = (vec![0; size.bytes()], vec![0; size.bytes()]);
        ImageRun { writer: Some(RunWriter::ranges(size, longest)), commit, page: 1, zeros, bytes }
    }

    /// The next payload, of pages that `read` reads; `None` after the last.
    pub(crate) fn next(
        &mut self,
        mut read: impl FnMut(u32, &mut [u8]) -> Result<(), Error>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(writer) = &mut self.writer else { return Ok(None) };
        while self.page <= self.commit.pages {
            read(self.page, &mut self.bytes)?;
            let full = writer.add(self.page, Form::Whole, &patch_between(&self.zeros, &self.bytes));
            self.page += 1;
            if full.is_some() {
                return Ok(full);
            }
        }
        Ok(self.writer.take().map(|writer| writer.finish(self.commit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::{PageRecord, WalPlace};

    const PAGES: u32 = 100;

    fn image(size: u32, longest: usize, pages: u32, page: impl Fn(u32) -> u8) -> Vec<Vec<u8>> {
        let mut run =
            ImageRun::new(PageSize::new(size).unwrap(), longest, Commit { pages, place: WalPlace::default() });
        let mut payloads = Vec::new();
        let read = |number: u32, bytes: &mut [u8]| {
            bytes.fill(page(number));
            Ok(())
        };
        while let Some(payload) = run.next(read).unwrap() {
            assert!(payload.len() <= longest, "{} bytes", payload.len());
            payloads.push(payload);
        }
        assert!(run.next(|_, _| unreachable!("all of it was given")).unwrap().is_none());
        payloads
    }

    #[test]
    fn a_record_holds_a_range_of_pages_whatever_is_in_them() {
        for (size, longest, per_record) in [
            (4096, 256 << 10, 16),
            (4096, 128 << 10, 16),
            (512, 128 << 10, 128),
            (65536, 128 << 10, 1),
            // Of a log of small segments: ranges are cut, and begin where they did.
            (4096, 16 << 10, 3),
        ] {
            let payloads = image(size, longest, PAGES, |page| page as u8);
            let first =
                |payload: &Vec<u8>| PageRecord::decode(payload).unwrap().changes().next().unwrap().unwrap().page;
            let begins: Vec<u32> = payloads.iter().map(first).collect();
            assert_eq!(begins[0], 1);
            for range in (1..=PAGES).step_by(65536 / size as usize) {
                assert!(begins.contains(&range), "{size}: no record begins with page {range}");
            }
            assert!(begins.windows(2).all(|pair| pair[1] - pair[0] <= per_record), "{size}: {begins:?}");
        }
    }

    #[test]
    fn a_page_that_differs_changes_one_record_and_moves_none() {
        let equal = image(4096, 128 << 10, PAGES, |page| page as u8);
        // Zeros take no room in a record, so that the one that differs is of another length, too.
        for other in [0, 200] {
            let differs = image(4096, 128 << 10, PAGES, |page| if page == 40 { other } else { page as u8 });
            assert_eq!(equal.len(), differs.len());
            let places: Vec<usize> = (0..equal.len()).filter(|at| equal[*at] != differs[*at]).collect();
            assert_eq!(places, [(40 - 1) / 16]);
        }
        // A longer one is the same as far as the other goes, but for the record that ends that.
        let longer = image(4096, 128 << 10, PAGES + 50, |page| page as u8);
        let whole = PAGES as usize / 16;
        assert_eq!(equal[..whole], longer[..whole]);
    }
}
