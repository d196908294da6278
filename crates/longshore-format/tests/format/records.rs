//! Records go in and come out the same, in the order runs allow.

use crate::support::{Image, NOON, Owned, SIZE, each_bit_flipped, forge, life};
use longshore_format::{
    Bad, Draft, Fault, Flags, Frames, Kind, LifeFault, Lsn, SegmentSize, Step, payload, payload_crc,
};
use proptest::prelude::*;

#[test]
fn what_was_minted_is_read() {
    let mut image = Image::new();
    let start = image.put(Kind::new(300), Flags::FIRST, NOON, b"one");
    image.durable = start;
    image.put(Kind::USER, Flags::LAST, NOON + 5, b"");
    let (records, rest) = image.read();
    assert_eq!(rest, Step::End);
    let expected = [
        Owned {
            start: Lsn::new(4096),
            end: Lsn::new(4136),
            kind: Kind::new(300),
            flags: Flags::FIRST,
            time: NOON,
            durable: Some(Lsn::ZERO),
            payload: b"one".to_vec(),
        },
        // F-025: an empty payload is a record like any other.
        Owned {
            start: Lsn::new(4136),
            end: Lsn::new(4168),
            kind: Kind::USER,
            flags: Flags::LAST,
            time: NOON + 5,
            durable: Some(Lsn::new(4096)),
            payload: Vec::new(),
        },
    ];
    assert_eq!(records, expected);
}

#[test]
fn a_header_alone_leads_past_a_users_record_and_past_nothing_else() {
    let mut image = Image::new();
    image.put(Kind::new(300), Flags::FIRST, NOON, b"one");
    image.put(Kind::USER, Flags::LAST, NOON, &[7; 5000]);
    let mark = payload::Mark { name: "here".parse().unwrap() };
    let mark = mark.encode();
    image.put(Kind::MARK, Flags::SINGLE, NOON, mark);
    image.incarnate(0x12);
    image.single(b"two");
    image.roll(NOON);
    image.single(b"three");
    let (records, _) = image.read();
    for record in &records {
        let (mut passing, mut reading) = (image.cursor_at(record.start), image.cursor_at(record.start));
        let bytes = image.body_from(record.start);
        let Step::Record(read) = reading.read(bytes) else { panic!("it was read a moment ago") };
        // The header alone, whatever comes behind it.
        let head = passing.pass(&bytes[..32]);
        assert_eq!(head, record.kind.is_user().then(|| read.head()), "{record:?}");
        let at = if record.kind.is_user() { read.end } else { read.start };
        assert_eq!(passing.position(), at);
        if head.is_some() {
            assert_eq!(passing.chain(), reading.chain());
        }
        each_bit_flipped(&bytes[..32], |bit, flipped| {
            assert_eq!(image.cursor_at(record.start).pass(flipped), None, "bit {bit} of {record:?}");
        });
        assert_eq!(image.cursor_at(record.start).pass(&bytes[..31]), None);
    }
}

#[test]
fn time_never_decreases_whatever_the_clock_does() {
    let mut image = Image::new();
    image.put(Kind::USER, Flags::SINGLE, NOON, b"a");
    image.put(Kind::USER, Flags::SINGLE, 7, b"b");
    let times: Vec<_> = image.read().0.iter().map(|record| record.time).collect();
    assert_eq!(times, [NOON, NOON]);
}

#[test]
fn a_promise_out_of_reach_promises_nothing() {
    let size = SegmentSize::MAX;
    let far = Lsn::new(16 << 30);
    let chain = longshore_format::Chain {
        position: size.normalise(far),
        ..longshore_format::Chain::first(crate::support::first_life())
    };
    let mut cursor = longshore_format::Cursor::new(crate::support::LOG, size, chain);
    let mut reader = cursor.clone();
    let draft = Draft {
        kind: Kind::USER,
        flags: Flags::SINGLE,
        time: NOON,
        durable: Lsn::new(4096),
        payload_len: 0,
        payload_crc: payload_crc(b""),
        life: None,
    };
    let minted = cursor.mint(&draft);
    let Step::Record(record) = reader.read(&minted.header) else { panic!("it was just minted") };
    assert_eq!(record.durable, None);
}

// F-024
#[test]
fn the_longest_payload_fits_and_one_byte_more_does_not() {
    for size in [SegmentSize::MIN, SegmentSize::new(1 << 20).unwrap(), SegmentSize::DEFAULT] {
        let mut image = Image::of_size(size);
        let longest = vec![0x5a; size.max_payload()];
        assert!(image.cursor.fits(longest.len()));
        assert!(!image.cursor.fits(longest.len() + 1));
        assert!(!image.cursor.fits(usize::MAX));
        image.single(&longest);
        assert_eq!(image.read().0[0].payload, longest);
    }
}

// F-026
#[test]
fn a_segment_can_be_left_with_any_room_and_rolls_without_losing_or_inventing_a_record() {
    // Seven records of 8000 bytes and one that leaves what is asked, beside the 32 for the roll.
    let left = (SIZE.body_end_offset() - 4096) as usize - 7 * 8000 - 32;
    for spare in (0..160).step_by(8) {
        let mut image = Image::new();
        (0..7).for_each(|_| _ = image.single(&[1; 8000 - 32]));
        image.single(&vec![1; left - spare - 32]);
        let in_first = image.chains.len();
        assert_eq!(image.segments.len(), 1, "spare {spare}");
        image.single(&[2; 200]);
        let (records, rest) = image.read();
        assert_eq!(rest, Step::End);
        assert_eq!(records.len(), in_first + 2, "spare {spare}");
        assert_eq!(records[in_first].kind, Kind::ROLL);
        assert_eq!(records[in_first].end, Lsn::new(65_536 + 4096));
        assert_eq!(records[in_first + 1].start, Lsn::new(65_536 + 4096));
    }
}

#[test]
fn every_order_of_flags_is_either_read_or_refused_as_the_rules_say() {
    const F: Flags = Flags::FIRST;
    const L: Flags = Flags::LAST;
    const N: Flags = Flags::NONE;
    const S: Flags = Flags::SINGLE;
    let later = |flags: Flags| (Kind::new(77), Flags::IGNORABLE | flags);
    let user = |flags| (Kind::USER, flags);
    let log = |kind| (kind, N);
    type Row = (&'static str, Vec<(Kind, Flags)>, Option<Fault>);
    let rows: Vec<Row> = vec![
        ("a run", vec![user(F), user(N), user(L)], None),
        ("singles", vec![user(S), user(S)], None),
        ("first inside a run", vec![user(F), user(F)], Some(Fault::RunOrder)),
        ("a single inside a run", vec![user(F), user(S)], Some(Fault::RunOrder)),
        ("a continuation outside one", vec![user(N)], Some(Fault::RunOrder)),
        ("an end outside one", vec![user(S), user(L)], Some(Fault::RunOrder)),
        ("a mark", vec![(Kind::MARK, S), user(S)], None),
        ("a mark inside a run", vec![user(F), (Kind::MARK, S)], Some(Fault::RunOrder)),
        ("a mark that is no run", vec![(Kind::MARK, N)], Some(Fault::Flags(0))),
        ("an abort", vec![user(F), log(Kind::ABORT), user(S)], None),
        ("an abort of nothing", vec![log(Kind::ABORT)], Some(Fault::RunOrder)),
        ("an abort with flags", vec![user(F), (Kind::ABORT, L)], Some(Fault::Flags(2))),
        ("after an abort the run is closed", vec![user(F), log(Kind::ABORT), user(L)], Some(Fault::RunOrder)),
        ("a roll with flags", vec![(Kind::ROLL, S)], Some(Fault::Flags(3))),
        ("no kind", vec![log(Kind::new(0))], Some(Fault::UnknownKind(0))),
        // F-020
        ("an unknown kind", vec![log(Kind::new(77))], Some(Fault::UnknownKind(77))),
        ("an unknown kind with run flags", vec![(Kind::new(77), S)], Some(Fault::UnknownKind(77))),
        ("a policy", vec![user(S), log(Kind::POLICY), user(S)], None),
        ("a policy inside a run", vec![user(F), log(Kind::POLICY)], Some(Fault::RunOrder)),
        ("a policy with flags", vec![(Kind::POLICY, S)], Some(Fault::Flags(3))),
        ("an ignorable one", vec![later(N), later(S), user(S)], None),
        ("an ignorable one inside a run", vec![user(F), later(N)], Some(Fault::RunOrder)),
        ("half an ignorable run", vec![later(F)], Some(Fault::Flags(5))),
        ("an ignorable user kind", vec![(Kind::USER, S | Flags::IGNORABLE)], Some(Fault::Flags(7))),
        ("a flag without meaning", vec![(Kind::USER, Flags::from_bits(8 | 3))], Some(Fault::Flags(11))),
    ];
    for (what, records, expected) in rows {
        let mut cursor = Image::new().cursor;
        let mut found = None;
        for (kind, flags) in records {
            assert_eq!(found, None, "{what}: only the last record of a row is bad");
            found = read_forged(&mut cursor, kind, flags, NOON, 0);
        }
        assert_eq!(found, expected, "{what}");
        if let Some(fault) = found {
            assert!(!fault.can_be_torn(), "{what}: no crash writes this");
        }
    }
}

/// Reads a record that is sound in itself, whether or not it may stand here.
fn read_forged(
    cursor: &mut longshore_format::Cursor,
    kind: Kind,
    flags: Flags,
    time: u64,
    distance: u32,
) -> Option<Fault> {
    let mut scratch = Image::new();
    scratch.cursor = cursor.clone();
    let mut header = [0; 32];
    header[..4].copy_from_slice(&32u32.to_le_bytes());
    // The payload is empty: its masked checksum is what any empty payload has here.
    let position = cursor.position();
    let empty = cursor.clone().mint(&Draft {
        kind: if cursor.chain().run.is_some() { Kind::ABORT } else { Kind::MARK },
        flags: if cursor.chain().run.is_some() { Flags::NONE } else { Flags::SINGLE },
        time,
        durable: position,
        payload_len: 0,
        payload_crc: payload_crc(b""),
        life: None,
    });
    header[8..16].copy_from_slice(&empty.header[8..16]);
    header[16..18].copy_from_slice(&kind.get().to_le_bytes());
    header[18..20].copy_from_slice(&flags.bits().to_le_bytes());
    header[20..24].copy_from_slice(&distance.to_le_bytes());
    header[24..].copy_from_slice(&time.to_le_bytes());
    forge(cursor, &mut header);
    match cursor.read(&header) {
        Step::Record(_) => None,
        Step::Bad(bad) => Some(bad.fault),
        other => panic!("neither good nor bad: {other:?}"),
    }
}

#[test]
fn a_sound_record_from_the_past_or_with_an_impossible_promise_is_refused() {
    let mut image = Image::new();
    image.single(b"a");
    let time = read_forged(&mut image.cursor.clone(), Kind::USER, Flags::SINGLE, NOON - 1, 0);
    assert_eq!(time, Some(Fault::TimeBackwards { previous: NOON, time: NOON - 1 }));
    let distance = read_forged(&mut image.cursor.clone(), Kind::USER, Flags::SINGLE, NOON, 1 << 20);
    assert_eq!(distance, Some(Fault::Distance(1 << 20)));
}

// F-006, F-013, F-014: even a header whose checksum holds cannot say any length.
#[test]
fn a_sound_header_with_an_impossible_length_is_refused_and_its_length_not_believed() {
    let mut image = Image::new();
    let start = image.single(b"payload");
    let cursor = image.cursor_at(start);
    let body = image.body_from(start).to_vec();
    for length in [0, 1, 31, 65_536, 16_384 + 33, u32::MAX - 7, u32::MAX, 1 << 31] {
        let mut bytes = body.clone();
        bytes[..4].copy_from_slice(&u32::to_le_bytes(length));
        let mut cursor = cursor.clone();
        let unsound = cursor.read(&bytes);
        assert_eq!(unsound, Step::Bad(Bad { fault: Fault::HeaderChecksum, extent: None }));
        forge(&cursor, &mut bytes[..32]);
        let sound = cursor.read(&bytes);
        assert_eq!(sound, Step::Bad(Bad { fault: Fault::Length(length), extent: None }), "{length}");
    }
}

#[test]
fn a_roll_keeps_a_run_open_into_the_next_segment() {
    let mut image = Image::new();
    let first = image.put(Kind::USER, Flags::FIRST, NOON, &[1; 9_000]);
    for _ in 0..6 {
        image.put(Kind::USER, Flags::NONE, NOON, &[2; 9_000]);
    }
    assert_eq!(image.segments.len(), 2);
    assert_eq!(image.cursor.chain().run, Some(first));
    image.put(Kind::USER, Flags::LAST, NOON, b"");
    assert_eq!(image.cursor.chain().run, None);
    assert_eq!(image.read().1, Step::End);
}

#[test]
fn lives_change_the_seed_from_the_next_record_on() {
    let mut image = Image::new();
    image.put(Kind::USER, Flags::FIRST, NOON, b"will be aborted");
    image.incarnate(0x22);
    assert_eq!(image.cursor.chain().run, None, "an incarnation closes the run as aborted");
    image.single(b"second life");
    image.begin_epoch(2, 0xb2);
    image.single(b"third life");
    let (records, rest) = image.read();
    assert_eq!((records.len(), rest), (5, Step::End));
    assert_eq!(image.history.entries().len(), 3);
    let kinds: Vec<_> = records.iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [Kind::USER, Kind::INCARNATION, Kind::USER, Kind::EPOCH_START, Kind::USER]);
    let start = payload::EpochStart::decode(&records[3].payload).unwrap();
    assert_eq!(start.history, image.history);
}

#[test]
fn an_epoch_that_does_not_continue_the_life_before_is_refused() {
    let check = |lives: Vec<_>, expected| {
        let cursor = Image::new().cursor;
        let history = longshore_format::EpochHistory::from_entries(lives).unwrap();
        let payload = payload::EpochStart { history }.encode();
        let honest = Draft {
            kind: Kind::USER,
            flags: Flags::SINGLE,
            time: NOON,
            durable: Lsn::ZERO,
            payload_len: payload.len(),
            payload_crc: payload_crc(&payload),
            life: None,
        };
        let mut bytes = cursor.clone().mint(&honest).header.to_vec();
        bytes[16..20].copy_from_slice(&[3, 0, 0, 0]);
        forge(&cursor, &mut bytes);
        bytes.extend_from_slice(&payload);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let extent = Some(bytes.len() as u64);
        let fault = Fault::Life(expected);
        assert_eq!(cursor.clone().read(&bytes), Step::Bad(Bad { fault, extent }));
    };
    let before = life(100, 1, 0xa1, 0x10);
    let ours = crate::support::first_life();
    check(vec![life(4096, 2, 0xb2, 2)], LifeFault::Linkage);
    check(vec![before, life(4096, 2, 0xb2, 2)], LifeFault::Linkage);
    check(vec![before, ours], LifeFault::Linkage);
    check(vec![before, ours, life(5000, 2, 0xb2, 2)], LifeFault::Linkage);
}

#[test]
fn bytes_that_stop_early_ask_for_what_is_missing() {
    let mut image = Image::new();
    let start = image.single(&[3; 100]);
    let body = image.body_from(start);
    // F-001, F-002: at every cut.
    for cut in 0..136 {
        let need = if cut < 32 { 32 } else { 136 };
        assert_eq!(image.cursor_at(start).read(&body[..cut]), Step::Short { need }, "cut at {cut}");
    }
    assert!(matches!(image.cursor_at(start).read(&body[..136]), Step::Record(_)));
}

#[test]
#[should_panic(expected = "keeps the order of runs")]
fn minting_out_of_order_is_a_bug() {
    Image::new().put(Kind::USER, Flags::LAST, NOON, b"");
}

#[derive(Clone, Debug)]
enum Op {
    Single(Vec<u8>),
    Run(Vec<Vec<u8>>),
    Abort(Vec<u8>),
    Incarnation(u64),
    Epoch(u8),
    Mark,
}

fn op() -> impl Strategy<Value = Op> {
    let payload = || prop::collection::vec(any::<u8>(), 0..3000);
    prop_oneof![
        6 => payload().prop_map(Op::Single),
        3 => prop::collection::vec(payload(), 2..6).prop_map(Op::Run),
        1 => payload().prop_map(Op::Abort),
        1 => any::<u64>().prop_map(Op::Incarnation),
        1 => any::<u8>().prop_map(Op::Epoch),
        1 => Just(Op::Mark),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_log_reads_back_and_goes_on_from_every_boundary(ops in prop::collection::vec(op(), 1..60)) {
        let mut image = Image::new();
        let mut payloads = Vec::new();
        for op in ops {
            match op {
                Op::Single(payload) => {
                    image.single(&payload);
                    payloads.push(payload);
                }
                Op::Run(run) => {
                    let last = run.len() - 1;
                    for (i, payload) in run.into_iter().enumerate() {
                        let flags = if i == 0 { Flags::FIRST } else if i == last { Flags::LAST } else { Flags::NONE };
                        image.put(Kind::USER, flags, NOON, &payload);
                        payloads.push(payload);
                    }
                }
                Op::Abort(payload) => {
                    image.put(Kind::USER, Flags::FIRST, NOON, &payload);
                    image.put(Kind::ABORT, Flags::NONE, NOON, b"");
                    payloads.push(payload);
                }
                Op::Incarnation(number) => {
                    if number != image.cursor.chain().life.incarnation.get() && image.cursor.fits(8) {
                        image.incarnate(number);
                    }
                }
                Op::Epoch(writer) => {
                    if image.cursor.fits(2600) {
                        let number = image.cursor.chain().life.epoch.number + 1;
                        image.begin_epoch(number, writer);
                    }
                }
                Op::Mark => {
                    image.put(Kind::MARK, Flags::SINGLE, NOON, b"a-mark");
                }
            }
        }
        let (records, rest) = image.read();
        prop_assert_eq!(rest, Step::End);
        let user = records.iter().filter(|r| r.kind.is_user()).map(|r| r.payload.clone());
        prop_assert_eq!(user.collect::<Vec<_>>(), payloads);
        prop_assert_eq!(records.len(), image.chains.len());

        // Every chain, through its bytes, is enough to go on from; and unchecked frames agree.
        for (chain, expected) in image.chains.iter().zip(&records) {
            let again = longshore_format::Chain::decode(&chain.encode(), SIZE).unwrap();
            let mut cursor = longshore_format::Cursor::new(crate::support::LOG, SIZE, again);
            let bytes = image.body_from(chain.position);
            prop_assert!(again.fits(crate::support::LOG, bytes.first_chunk().unwrap()));
            let Step::Record(record) = cursor.read(bytes) else { panic!("a boundary is a boundary") };
            prop_assert_eq!(&Owned::from(record), expected);
            let frame = Frames::new(chain.position, SIZE, bytes).next();
            prop_assert_eq!(frame, Some(record));
        }
    }

    #[test]
    fn random_bytes_are_never_a_record_and_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..4096),
        position in any::<u64>(),
    ) {
        // F-029, F-100
        let chain = longshore_format::Chain { position: Lsn::new(position), ..*Image::new().cursor.chain() };
        let mut cursor = longshore_format::Cursor::new(crate::support::LOG, SIZE, chain);
        prop_assert!(!matches!(cursor.read(&bytes), Step::Record(_)));
        prop_assert!(Frames::new(Lsn::new(position), SIZE, &bytes).count() <= bytes.len() / 32);
        let lives = [chain.life];
        let found = longshore_format::Resync::new(crate::support::LOG, SIZE, &lives, Lsn::new(position), &bytes);
        prop_assert_eq!(found.count(), 0);
    }
}
