//! What a page is, in eight bytes.

/// A hash of a page's content: the first 64 bits of its BLAKE3 hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PageHash(pub(crate) u64);

/// Bytes of page 1 that SQLite itself changes whenever it writes the page, also on a replica: the change counter, and what
/// it stood at when which version of SQLite wrote last.
const OWN_OF_EACH_COPY: [std::ops::Range<usize>; 2] = [24..28, 92..100];

/// The hash of page `page`, in which equal databases are equal: what legitimately differs on page 1 counts as zeros.
pub(crate) fn page_hash(page: u32, bytes: &[u8]) -> PageHash {
    let hash = match page {
        1 => {
            let mut hasher = blake3::Hasher::new();
            let mut at = 0;
            for own in OWN_OF_EACH_COPY {
                hasher.update(&bytes[at..own.start]);
                hasher.update(&[0; 8][..own.len()]);
                at = own.end;
            }
            hasher.update(&bytes[at..]).finalize()
        }
        _ => blake3::hash(bytes),
    };
    let first = hash.as_bytes().first_chunk().expect("a hash is 32 bytes");
    PageHash(u64::from_le_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqlite_changes_by_itself_on_page_1_does_not_count() {
        let mut page = vec![7; 512];
        let before = page_hash(1, &page);
        let elsewhere = page_hash(2, &page);
        page[24..28].fill(1);
        page[92..100].fill(2);
        assert_eq!(page_hash(1, &page), before);
        assert_ne!(page_hash(2, &page), elsewhere);
        for at in [0, 23, 28, 91, 100, 511] {
            let mut other = page.clone();
            other[at] ^= 1;
            assert_ne!(page_hash(1, &other), before, "byte {at}");
        }
    }
}
