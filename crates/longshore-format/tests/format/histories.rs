//! What two histories prove about two logs.

use longshore_format::{EpochHistory, Fork, HistoryFault, Lsn};
use proptest::prelude::*;

use crate::support::{first_life, life};

fn history(lives: &[(u64, u64, u8, u64)]) -> EpochHistory {
    let entries = lives.iter().map(|&(start, number, writer, inc)| life(start, number, writer, inc));
    EpochHistory::from_entries(entries.collect()).unwrap()
}

#[test]
fn histories_compare_as_their_newest_common_life_says() {
    let a = (4096, 1, 1, 1);
    let b = (9_000, 1, 1, 2);
    let c = (20_000, 2, 2, 3);
    let at = Lsn::new;
    let rows = [
        ("the same", vec![a, b], vec![a, b], Fork::Same),
        ("one more there", vec![a], vec![a, b], Fork::Behind { at: at(9_000) }),
        ("two more there", vec![a], vec![a, b, c], Fork::Behind { at: at(9_000) }),
        ("one more here", vec![a, b, c], vec![a, b], Fork::Ahead { at: at(20_000) }),
        ("two promotions", vec![a, b], vec![a, c], Fork::Forked { at: at(9_000) }),
        ("the same, mirrored", vec![a, c], vec![a, b], Fork::Forked { at: at(9_000) }),
        // F-112: one number, two writers.
        ("one number twice", vec![a, (9_000, 2, 7, 1)], vec![a, (9_000, 2, 8, 1)], Fork::Forked { at: at(9_000) }),
        // F-118: at the very first record.
        ("at the start", vec![a, (4096, 1, 1, 5)], vec![a, (4096, 1, 1, 6)], Fork::Forked { at: at(4096) }),
        ("another log", vec![a, b], vec![(4096, 1, 9, 9)], Fork::Unrelated),
        ("the oldest forgotten here", vec![b, c], vec![a, b, c], Fork::Same),
        ("the oldest forgotten there", vec![a, b], vec![b, c], Fork::Behind { at: at(20_000) }),
    ];
    for (what, ours, theirs, expected) in rows {
        assert_eq!(history(&ours).fork(&history(&theirs)), expected, "{what}");
    }
}

#[test]
fn only_a_later_life_can_follow() {
    let mut history = EpochHistory::new(first_life());
    history.push(life(9_000, 3, 3, 3)).unwrap();
    let start = HistoryFault::Start { newest: Lsn::new(9_000), start: Lsn::new(9_000) };
    assert_eq!(history.push(life(9_000, 4, 4, 4)), Err(start));
    assert_eq!(history.push(life(9_100, 3, 3, 3)), Err(HistoryFault::Repeated));
    let lower = HistoryFault::Epoch { newest: 3, number: 2 };
    assert_eq!(history.push(life(9_100, 2, 3, 4)), Err(lower));
    let other_writer = HistoryFault::Epoch { newest: 3, number: 3 };
    assert_eq!(history.push(life(9_100, 3, 4, 4)), Err(other_writer));
    history.push(life(9_100, 3, 3, 4)).unwrap();
    assert_eq!(history.entries().len(), 3);
}

#[test]
fn a_log_whose_first_record_begins_a_life_has_two_lives_from_there() {
    let mut history = EpochHistory::new(first_life());
    history.push(life(4096, 1, 0xa1, 0x12)).unwrap();
    assert_eq!(history.at(Lsn::new(4096)), Some(&life(4096, 1, 0xa1, 0x12)));
}

#[test]
fn a_position_belongs_to_the_life_that_last_started() {
    let history = history(&[(4096, 1, 1, 1), (9_000, 2, 2, 2)]);
    let number = |lsn| history.at(Lsn::new(lsn)).map(|entry| entry.epoch.number);
    assert_eq!(number(4095), None);
    assert_eq!(number(4096), Some(1));
    assert_eq!(number(8_999), Some(1));
    assert_eq!(number(9_000), Some(2));
    assert_eq!(number(u64::MAX), Some(2));
}

#[test]
fn a_cut_forgets_the_lives_that_start_at_or_after_it() {
    let history = history(&[(4096, 1, 1, 1), (9_000, 2, 2, 2)]);
    let left = |end| history.before(Lsn::new(end)).map(|kept| kept.entries().len());
    assert_eq!(left(9_001), Some(2));
    assert_eq!(left(9_000), Some(1));
    assert_eq!(left(4096), None);
}

#[test]
fn malformed_histories_are_refused() {
    let good = history(&[(4096, 1, 1, 1), (9_000, 2, 2, 2)]).encode();
    assert_eq!(EpochHistory::decode(&[]), Err(HistoryFault::Length));
    assert_eq!(EpochHistory::decode(&[0]), Err(HistoryFault::Length));
    for cut in 0..good.len() {
        assert_eq!(EpochHistory::decode(&good[..cut]), Err(HistoryFault::Length), "cut at {cut}");
    }
    let mut long = good.clone();
    long.push(0);
    assert_eq!(EpochHistory::decode(&long), Err(HistoryFault::Length));
    let mut many = vec![65];
    many.resize(1 + 65 * 40, 1);
    assert_eq!(EpochHistory::decode(&many), Err(HistoryFault::Length));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// However many lives were forgotten, as long as one is shared the answer is the one that whole
    /// histories would give.
    #[test]
    fn forgetting_does_not_change_the_answer(common in 1u64..150, ours in 0u64..30, theirs in 0u64..30) {
        let grow = |history: &mut EpochHistory, lives: u64, writer: u8| {
            for _ in 0..lives {
                let last = *history.current();
                let next = life(last.start.get() + 100, last.epoch.number + 1, writer, 1);
                history.push(next).unwrap();
            }
        };
        let mut here = EpochHistory::new(first_life());
        grow(&mut here, common - 1, 1);
        let part = Lsn::new(here.current().start.get() + 100);
        let mut there = here.clone();
        grow(&mut here, ours, 2);
        grow(&mut there, theirs, 3);
        let expected = match (ours, theirs) {
            (0, 0) => Fork::Same,
            (0, _) => Fork::Behind { at: part },
            (_, 0) => Fork::Ahead { at: part },
            _ => Fork::Forked { at: part },
        };
        prop_assert_eq!(here.fork(&there), expected);
        prop_assert!(here.entries().len() <= EpochHistory::LIMIT);
        prop_assert_eq!(EpochHistory::decode(&here.encode()), Ok(here));
    }
}
