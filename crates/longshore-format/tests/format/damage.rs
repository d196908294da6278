//! What a disk can do to records, and how each is noticed.

use longshore_format::{Bad, Chain, Cursor, Draft, Fault, Flags, Incarnation, Kind, LogId, Lsn, Step, payload_crc};
use proptest::prelude::*;

use crate::support::{Image, LOG, NOON, SIZE, each_bit_flipped, first_life};

// F-006, F-007, F-008
#[test]
fn every_single_bit_flip_in_a_record_is_noticed() {
    let mut image = Image::new();
    image.single(b"before");
    let start = image.single(b"eleven byte");
    let good = &image.body_from(start)[..48];
    let cursor = image.cursor_at(start);
    each_bit_flipped(good, |bit, bytes| {
        let step = cursor.clone().read(bytes);
        let expected = match bit / 8 {
            0..32 => Bad { fault: Fault::HeaderChecksum, extent: None },
            32..43 => Bad { fault: Fault::PayloadChecksum, extent: Some(48) },
            _ => Bad { fault: Fault::Padding, extent: Some(48) },
        };
        assert_eq!(step, Step::Bad(expected), "bit {bit}");
    });
}

// F-003
#[test]
fn zeros_are_the_end_and_never_a_record() {
    let mut image = Image::new();
    image.single(b"x");
    let mut end = image.cursor.clone();
    for len in [32, 33, 64, 4096] {
        assert_eq!(end.read(&vec![0; len]), Step::End);
    }
    assert_eq!(end.read(&[0; 31]), Step::Short { need: 32 });
    assert_eq!(end.chain(), image.cursor.chain(), "an end does not move the cursor");
}

// F-004
#[test]
fn a_hole_is_an_end_even_if_later_records_are_whole() {
    let mut image = Image::new();
    image.single(b"kept");
    let hole = image.single(&[7; 1000]);
    image.single(b"after the hole");
    let offset = SIZE.offset_in(hole) as usize;
    image.segments[0][offset..offset + 512].fill(0);
    let (records, rest) = image.read();
    assert_eq!((records.len(), rest), (1, Step::End));
}

// F-022, F-023, F-027, F-028
#[test]
fn a_record_that_was_moved_or_repeated_is_refused() {
    let mut image = Image::new();
    let first = image.single(&[1; 64]);
    let second = image.single(&[2; 64]);
    let third = image.single(&[3; 64]);
    let record = |at| image.body_from(at)[..96].to_vec();
    for (what, from, to) in [("repeated", first, second), ("skipped", third, second), ("swapped", second, third)] {
        let step = image.cursor_at(to).read(&record(from)).is_header_checksum();
        assert!(step, "{what}");
    }
}

// F-015, F-017, F-037, F-038
#[test]
fn a_record_of_another_life_or_log_is_refused_even_if_it_says_the_same() {
    let draft = Draft {
        kind: Kind::USER,
        flags: Flags::SINGLE,
        time: NOON,
        durable: Lsn::ZERO,
        payload_len: 0,
        payload_crc: payload_crc(b""),
        life: None,
    };
    let chain = Chain::first(first_life());
    let here = Cursor::new(LOG, SIZE, chain);
    let mut other_incarnation = chain;
    other_incarnation.life.incarnation = Incarnation::new(0x12);
    let mut other_epoch = chain;
    other_epoch.life.epoch.number = 2;
    let mut other_writer = chain;
    other_writer.life.epoch.writer = longshore_format::WriterId::from_bytes([0xa2; 16]);
    for mut elsewhere in [
        Cursor::new(LOG, SIZE, other_incarnation),
        Cursor::new(LOG, SIZE, other_epoch),
        Cursor::new(LOG, SIZE, other_writer),
        Cursor::new(LogId::from_bytes([9; 16]), SIZE, chain),
    ] {
        let minted = elsewhere.mint(&draft);
        assert!(here.clone().read(&minted.header).is_header_checksum());
    }
}

// F-016: the old record is sound where it is, but it follows a predecessor that is gone.
#[test]
fn a_record_that_outlived_its_predecessor_does_not_link() {
    let mut old = Image::new();
    old.single(b"dropped");
    let survivor = old.single(b"survivor");
    let mut new = Image::new();
    new.single(b"in turn");
    let offset = SIZE.offset_in(survivor) as usize;
    new.segments[0][offset..].copy_from_slice(&old.segments[0][offset..]);
    let (records, rest) = new.read();
    assert_eq!(records.len(), 1);
    assert_eq!(rest, Step::Bad(Bad { fault: Fault::Link, extent: Some(40) }));
}

// F-018
#[test]
fn two_half_records_do_not_join() {
    let mut image = Image::new();
    let first = image.single(&[1; 1000]);
    let second = image.single(&[1; 1000]);
    let mut joined = image.body_from(first)[..500].to_vec();
    joined.extend_from_slice(&image.body_from(second)[500..]);
    let header_only = Step::Bad(Bad { fault: Fault::PayloadChecksum, extent: Some(1032) });
    // Equal payloads: the halves fit, the record is whole.
    assert!(matches!(image.cursor_at(first).read(&joined), Step::Record(_)));
    joined[500..600].copy_from_slice(&image.body_from(second)[..100]);
    assert_eq!(image.cursor_at(first).read(&joined), header_only);
}

#[test]
fn a_record_too_near_the_footer_is_refused_however_sound() {
    // Only a roll may use the last 32 bytes; a cursor of a bigger segment size minted this one.
    let at = Chain { position: Lsn::new(SIZE.body_end_offset() - 32), ..Chain::first(first_life()) };
    let big = longshore_format::SegmentSize::DEFAULT;
    let minted = Cursor::new(LOG, big, at).mint(&Draft {
        kind: Kind::USER,
        flags: Flags::SINGLE,
        time: NOON,
        durable: Lsn::ZERO,
        payload_len: 0,
        payload_crc: payload_crc(b""),
        life: None,
    });
    let step = Cursor::new(LOG, SIZE, at).read(&minted.header);
    assert_eq!(step, Step::Bad(Bad { fault: Fault::Length(32), extent: None }));
}

trait IsBad {
    fn is_header_checksum(&self) -> bool;
}

impl IsBad for Step<'_> {
    fn is_header_checksum(&self) -> bool {
        *self == Step::Bad(Bad { fault: Fault::HeaderChecksum, extent: None })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// F-029 and everything else: whatever happens to one stretch, what is read is a prefix of what
    /// was written.
    #[test]
    fn damage_anywhere_leaves_a_prefix(
        sizes in prop::collection::vec(0usize..700, 1..40),
        at in 0usize..16_000,
        junk in prop::collection::vec(any::<u8>(), 1..1024),
    ) {
        let mut image = Image::new();
        for size in sizes {
            image.single(&vec![size as u8; size]);
        }
        let (whole, _) = image.read();
        let at = 4096 + at;
        image.segments[0][at..at + junk.len()].copy_from_slice(&junk);
        let (records, _) = image.read();
        prop_assert!(records.len() <= whole.len());
        prop_assert_eq!(&records[..], &whole[..records.len()]);
        let untouched = whole.iter().take_while(|record| record.end.get() <= at as u64).count();
        prop_assert!(untouched <= records.len(), "nothing before the damage is lost");
    }
}
