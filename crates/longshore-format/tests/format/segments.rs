//! Headers, footers and control slots: round trips, and every way to damage them.

use longshore_format::{
    Chain, Control, ControlFault, Digest, Epoch, Footer, FooterFault, FormatError, HeaderFault, Intent, Lsn, Name,
    Policy, SegmentDigest, SegmentHeader, SegmentSize, Shortfall, Slot, Voter, WriterId,
};
use proptest::prelude::*;

use crate::support::{Image, LOG, NOON, SIZE, each_bit_flipped, first_life};

/// A log of two segments, several lives and an open run.
fn two_segments() -> Image {
    let mut image = Image::new();
    image.single(&[1; 16_000]);
    image.incarnate(0x22);
    image.begin_epoch(2, 0xb2);
    (0..3).for_each(|_| _ = image.single(&[2; 16_000]));
    assert_eq!(image.segments.len(), 2);
    image
}

#[test]
fn a_header_comes_back_as_it_was() {
    let image = two_segments();
    for (number, segment) in image.segments.iter().enumerate() {
        let header = SegmentHeader::decode(segment).unwrap();
        assert_eq!(header.base(), Lsn::new(number as u64 * SIZE.get()));
        assert_eq!(header.encode(), &segment[..4096]);
    }
    assert_eq!(SegmentHeader::decode(&image.segments[1]).unwrap().history, image.history);
}

// F-009
#[test]
fn every_single_bit_flip_in_a_header_is_noticed() {
    let segment = &two_segments().segments[1][..4096];
    each_bit_flipped(segment, |bit, bytes| {
        let expected = if bit < 64 { HeaderFault::Magic } else { HeaderFault::Checksum };
        assert_eq!(SegmentHeader::decode(bytes), Err(expected), "bit {bit}");
    });
}

/// The header with these bytes changed, and the checksum made to hold.
fn patched(at: usize, bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
    let mut header = two_segments().segments[1][..4096].to_vec();
    header[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32fast::hash(&header[..4092]);
    header[4092..].copy_from_slice(&crc.to_le_bytes());
    SegmentHeader::decode(&header)
}

#[test]
fn a_header_that_is_whole_but_impossible_is_refused() {
    // F-021
    assert_eq!(patched(8, &[2, 0]), Err(HeaderFault::NewerVersion(2)));
    assert_eq!(patched(8, &[0, 0]), Err(HeaderFault::Field("version")));
    assert_eq!(patched(10, &[9]), Err(HeaderFault::Field("content")));
    assert_eq!(patched(11, &[65]), Err(HeaderFault::Field("history")));
    assert_eq!(patched(11, &[2]), Err(HeaderFault::Field("history")));
    assert_eq!(patched(11, &[0]), Err(HeaderFault::Field("history")));
    assert_eq!(patched(12, &[1, 0, 1, 0]), Err(HeaderFault::Field("segment size")));
    assert_eq!(patched(32, &[1]), Err(HeaderFault::Field("base")));
    // F-035: the base of another segment, or of none.
    assert_eq!(patched(32, &[0; 8]), Err(HeaderFault::Field("chain")));
    assert_eq!(patched(32, &[0xff; 8]), Err(HeaderFault::Field("base")));
    assert_eq!(patched(40, &[8]), Err(HeaderFault::Field("chain")));
    assert_eq!(patched(56 + 39, &[7]), Err(HeaderFault::Field("history")));
    assert_eq!(patched(108, &[1]), Err(HeaderFault::Field("chain")));
    assert_eq!(patched(4000, &[1]), Err(HeaderFault::Field("reserved part")));
}

#[test]
fn a_header_that_is_not_there_says_so() {
    assert_eq!(SegmentHeader::decode(&[0; 4096]), Err(HeaderFault::Empty));
    assert_eq!(SegmentHeader::decode(&[0; 4095]), Err(HeaderFault::Short));
    assert_eq!(SegmentHeader::decode(&[]), Err(HeaderFault::Short));
    assert_eq!(SegmentHeader::decode(&[7; 4096]), Err(HeaderFault::Magic));
}

#[test]
fn a_footer_comes_back_as_it_was() {
    let image = two_segments();
    let footer = image.footer(0, Digest::from_bytes([5; 32]));
    let bytes = footer.encode(SIZE).unwrap();
    assert_eq!(bytes.len() as u64, SIZE.footer_len());
    assert_eq!(Footer::decode(&bytes, Lsn::ZERO, SIZE), Ok(footer.clone()));
    // Its last bytes alone give all but the index.
    let trailer = &bytes[bytes.len() - Footer::TRAILER_LEN..];
    let without_index = Footer { index: None, ..footer };
    assert_eq!(Footer::decode(trailer, Lsn::ZERO, SIZE), Ok(without_index));
}

#[test]
fn the_index_has_an_entry_for_each_64_kib_and_every_one_can_be_gone_on_from() {
    let size = SegmentSize::new(1 << 20).unwrap();
    let mut image = Image::of_size(size);
    while image.segments.len() == 1 {
        image.single(&[9; 3_000]);
    }
    let footer = image.footer(0, Digest::NONE);
    let index = footer.index.clone().unwrap();
    let bytes = footer.encode(size).unwrap();
    assert_eq!(index.len(), 15, "1 MiB in pieces of 64 KiB, but for the first");
    assert_eq!(Footer::decode(&bytes, Lsn::ZERO, size).unwrap().index.as_ref(), Some(&index));
    for (number, entry) in index.iter().enumerate() {
        let offset = size.offset_in(entry.position);
        assert_eq!(offset / (64 << 10), number as u64 + 1);
        // F-012
        let header = image.body_from(entry.position).first_chunk().unwrap();
        assert!(entry.fits(LOG, header));
        let stale = Chain { link: entry.link ^ 1, ..*entry };
        assert!(!stale.fits(LOG, header));
    }
}

// F-010, F-011
#[test]
fn every_single_bit_flip_in_a_footer_is_noticed_and_one_in_the_index_costs_only_the_index() {
    let size = SegmentSize::new(256 << 10).unwrap();
    let mut image = Image::of_size(size);
    while image.segments.len() == 1 {
        image.single(&[9; 10_000]);
    }
    let footer = image.footer(0, Digest::NONE);
    let bytes = footer.encode(size).unwrap();
    let index_area = bytes.len() - Footer::TRAILER_LEN;
    each_bit_flipped(&bytes, |bit, flipped| {
        let decoded = Footer::decode(flipped, Lsn::ZERO, size);
        let expected = match bit / 8 < index_area {
            true => Ok(Footer { index: None, ..footer.clone() }),
            false => Err(FooterFault::Checksum),
        };
        assert_eq!(decoded, expected, "bit {bit}");
    });
}

#[test]
fn a_footer_of_another_segment_or_none_is_refused() {
    let bytes = two_segments().footer(0, Digest::NONE).encode(SIZE).unwrap();
    let elsewhere = Footer::decode(&bytes, Lsn::new(SIZE.get()), SIZE);
    assert_eq!(elsewhere, Err(FooterFault::Field("base")));
    assert_eq!(Footer::decode(&[0; 4096], Lsn::ZERO, SIZE), Err(FooterFault::Missing));
    assert_eq!(Footer::decode(&bytes[bytes.len() - 127..], Lsn::ZERO, SIZE), Err(FooterFault::Short));
    let crowded = Footer { index: Some(vec![Chain::first(first_life()); 2]), ..two_segments().footer(0, Digest::NONE) };
    assert!(matches!(crowded.encode(SIZE), Err(FormatError::TooMany { limit: 0, got: 2, .. })));
}

#[test]
fn the_digest_covers_header_and_body_however_it_is_fed() {
    let image = two_segments();
    let before_footer = &image.segments[0][..SIZE.body_end_offset() as usize];
    let whole = SegmentDigest::of(before_footer);
    assert_eq!(image.footer(0, Digest::NONE).digest, whole);
    let end = SIZE.offset_in(image.footer(0, Digest::NONE).last) as usize + 32;
    for piece in [1, 1000, 4096, end] {
        let mut digest = SegmentDigest::new();
        before_footer[..end].chunks(piece).for_each(|bytes| digest.update(bytes));
        assert_eq!(digest.finish(SIZE), whole, "in pieces of {piece}, zeros left out");
    }
}

fn policy(voters: usize) -> Policy {
    let name = |index: usize| Name::new(&format!("{index:02}{}", "x".repeat(61))).unwrap();
    let voter = |index| Voter { node: name(index), region: Some(name(index)) };
    Policy {
        writer: name(0),
        durability: "d".repeat(1024),
        shortfall: Shortfall::Fail,
        degraded: false,
        voters: (0..voters).map(voter).collect(),
    }
}

fn control() -> Control {
    let image = two_segments();
    Control {
        log: LOG,
        content: longshore_format::Content::SqlitePages,
        size: SIZE,
        writers: vec![WriterId::from_bytes([0xa1; 16]), WriterId::from_bytes([0xb2; 16])],
        history: image.history,
        highest: Epoch { number: 7, writer: WriterId::from_bytes([0xc3; 16]) },
        before: Some(Digest::from_bytes([0xdd; 32])),
        durable: Lsn::new(70_000),
        clean: Some(Lsn::new(70_016)),
        lost: Some(Lsn::new(70_024)),
        slots: vec![
            Slot {
                name: Name::new("eu-west").unwrap(),
                durable: Lsn::new(69_632),
                applied: Lsn::new(4096),
                seen: NOON,
                lost: false,
            },
            Slot {
                name: Name::new(&"x".repeat(63)).unwrap(),
                durable: Lsn::ZERO,
                applied: Lsn::ZERO,
                seen: 0,
                lost: true,
            },
        ],
        policies: vec![(Lsn::new(69_000), policy(32))],
        shown: Some(Lsn::new(69_400)),
        intent: Some(Intent::Truncate { at: Lsn::new(69_700), time: NOON }),
    }
}

#[test]
fn a_control_slot_comes_back_as_it_was() {
    let full = control();
    let bare = Control {
        before: None,
        clean: None,
        lost: None,
        slots: Vec::new(),
        writers: Vec::new(),
        policies: Vec::new(),
        shown: None,
        intent: None,
        ..control()
    };
    let shown = Control { shown: Some(Lsn::new(7)), ..bare.clone() };
    let with_policies = Control { shown: None, ..full.clone() };
    for control in [full, bare, shown, with_policies] {
        let mut bytes = control.encode_slot(42).unwrap();
        assert_eq!(Control::decode_slot(&bytes), Ok((42, control.clone())));
        // What an older, longer version left behind it does not matter.
        bytes.resize(Control::SLOT_LEN, 0xee);
        assert_eq!(Control::decode_slot(&bytes), Ok((42, control)));
    }
}

// F-047
#[test]
fn every_single_bit_flip_and_every_cut_of_a_control_slot_is_noticed() {
    let bytes = control().encode_slot(42).unwrap();
    each_bit_flipped(&bytes, |bit, flipped| {
        let expected = if bit < 64 { ControlFault::Magic } else { ControlFault::Checksum };
        assert_eq!(Control::decode_slot(flipped), Err(expected), "bit {bit}");
    });
    for cut in 8..bytes.len() {
        assert_eq!(Control::decode_slot(&bytes[..cut]), Err(ControlFault::Checksum), "cut at {cut}");
    }
    assert_eq!(Control::decode_slot(&[]), Err(ControlFault::Empty));
    assert_eq!(Control::decode_slot(&[0; 100]), Err(ControlFault::Empty));
}

#[test]
fn the_largest_control_fits_its_slot_and_one_more_is_refused() {
    let mut control = control();
    let longest = control.slots[1].clone();
    control.slots = vec![longest; Control::SLOTS_LIMIT];
    control.policies = vec![(Lsn::new(1), policy(32)); Control::POLICIES_LIMIT];
    control.writers = vec![WriterId::default(); Control::WRITERS_LIMIT];
    let bytes = control.encode_slot(1).unwrap();
    assert!(bytes.len() + 4096 < Control::SLOT_LEN);
    control.slots.push(control.slots[0].clone());
    assert!(matches!(control.encode_slot(1), Err(FormatError::TooMany { limit: 256, got: 257, .. })));
}

#[test]
fn the_newest_good_slot_counts() {
    let old = Control { durable: Lsn::new(1), ..control() }.encode_slot(8).unwrap();
    let new = Control { durable: Lsn::new(2), ..control() }.encode_slot(9).unwrap();
    let torn = &new[..new.len() - 1];
    let pick = |slots| Control::newest(slots).map(|(slot, sequence, control)| (slot, sequence, control.durable.get()));
    assert_eq!(pick([&old, &new]), Ok((1, 9, 2)));
    assert_eq!(pick([&new, &old]), Ok((0, 9, 2)));
    assert_eq!(pick([torn, &old]), Ok((1, 8, 1)));
    assert_eq!(pick([&old, &[]]), Ok((0, 8, 1)));
    assert_eq!(pick([torn, &[]]), Err(ControlFault::Checksum));
    assert_eq!(pick([&[], &[]]), Err(ControlFault::Empty));
    let mut newer = new.clone();
    newer[8] = Control::VERSION as u8 + 1;
    let end = newer.len() - 4;
    let crc = crc32fast::hash(&newer[..end]);
    newer[end..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(pick([&old, &newer]), Err(ControlFault::NewerVersion(Control::VERSION + 1)), "F-021");
}

#[test]
fn positions_segments_and_file_names_agree() {
    for size in [SegmentSize::MIN, SegmentSize::DEFAULT, SegmentSize::MAX] {
        let base = Lsn::new(3 * size.get());
        let body_end = Lsn::new(base.get() + size.body_end_offset());
        let next = Lsn::new(4 * size.get() + 4096);
        assert_eq!(size.first_in(base), Lsn::new(base.get() + 4096));
        for (lsn, expected) in [
            (base, size.first_in(base)),
            (size.first_in(base), size.first_in(base)),
            (Lsn::new(body_end.get() - 8), Lsn::new(body_end.get() - 8)),
            (body_end, next),
            (Lsn::new(4 * size.get() - 1), next),
            (Lsn::new(4 * size.get()), next),
            (next, next),
        ] {
            assert_eq!(size.normalise(lsn), expected, "{lsn} in segments of {size}");
        }
        let name = size.file_name(Lsn::new(base.get() + 77));
        assert_eq!(size.parse_file_name(&name), Some(base));
        assert_eq!(size.footer_len() % 4096, 0);
        assert!(size.next_base(Lsn::MAX).is_none());
        assert_eq!(size.normalise(Lsn::MAX), Lsn::MAX);
    }
    // F-044
    for foreign in [
        "",
        ".seg",
        "0.seg",
        "00000000000000000001.seg",
        "00000000000000065536.seg.tmp",
        "+0000000000000065536.seg",
        "000000000000000655360.seg",
        "99999999999999999999.seg",
        "0000000000000006553x.seg",
        ".DS_Store",
    ] {
        assert_eq!(SIZE.parse_file_name(foreign), None, "{foreign:?}");
    }
}

#[test]
fn only_powers_of_two_in_range_are_segment_sizes() {
    for good in [64 << 10, 1 << 20, 64 << 20, 1 << 30] {
        assert_eq!(SegmentSize::new(good).map(SegmentSize::get), Ok(good));
    }
    for bad in [0, 1, 32 << 10, 65_537, 3 << 20, 2 << 30, 1 << 32, u64::MAX] {
        assert_eq!(SegmentSize::new(bad), Err(FormatError::SegmentSize(bad)));
    }
}

#[test]
fn a_position_has_one_spelling() {
    assert_eq!("4096".parse(), Ok(Lsn::new(4096)));
    assert_eq!(Lsn::MAX.to_string().parse(), Ok(Lsn::MAX));
    for bad in ["", "+1", "-1", "1 ", "0x10", "18446744073709551616", "one"] {
        assert!(bad.parse::<Lsn>().is_err(), "{bad:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_decode_to_nothing_and_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..6000), sound in any::<bool>()) {
        if sound && bytes.len() >= 4096 {
            // Past magic and checksum, into the fields.
            bytes[..8].copy_from_slice(b"LONGSHOR");
            bytes[8..10].copy_from_slice(&[1, 0]);
            let crc = crc32fast::hash(&bytes[..4092]);
            bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
        }
        prop_assert!(SegmentHeader::decode(&bytes).is_err());
        prop_assert!(Footer::decode(&bytes, Lsn::ZERO, SIZE).is_err());
        prop_assert!(Control::decode_slot(&bytes).is_err());
    }

    /// A control payload whose checksum holds but whose fields are anything.
    #[test]
    fn a_sound_control_slot_of_nonsense_never_panics(payload in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut bytes = b"LONGCTRL\x01\0\0\0".to_vec();
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&[1; 8]);
        bytes.extend_from_slice(&payload);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        prop_assert!(matches!(Control::decode_slot(&bytes), Err(ControlFault::Field(_))));
    }
}
