use super::*;
use crate::Shortfall;
use crate::fake::{Fake, Life, epoch, lsn, node};

fn policy(durability: &str, writer: &str) -> Policy {
    let voters = ["a", "b", "c", "p"].map(|name| (node(name), None)).into();
    let durability = durability.parse().unwrap();
    Policy { writer: node(writer), durability, shortfall: Shortfall::Accept, degraded: false, voters }
}

/// A witness whose log has these lives, and a policy as its first record.
fn witness(name: &str, lives: &[Life], durability: &str) -> Witness {
    let fake = Fake::new(lives);
    Witness {
        node: node(name),
        history: fake.history.clone(),
        first: lsn(0),
        end: lsn(lives.iter().map(|life| life.3).sum()),
        accepted: epoch(9, 9),
        writes: false,
        lost: None,
        policies: vec![(lsn(1), policy(durability, "p"))],
        time: 0,
        gave_way: Vec::new(),
        given_up: Vec::new(),
    }
}

fn promotion(witnesses: impl IntoIterator<Item = Witness>) -> Promotion {
    let mut promotion = Promotion::new(node("a"), epoch(9, 9));
    for witness in witnesses {
        assert!(promotion.heard(witness));
    }
    promotion
}

const OLD: &[Life] = &[(1, 1, 1, 20)];

#[test]
fn a_promotion_waits_for_its_fence_then_fetches_then_begins() {
    let longer: &[Life] = &[(1, 1, 1, 25)];
    let mut attempt = promotion([witness("a", OLD, "replicas:2")]);
    let unfenced = ["b", "c", "p"].map(node).into();
    assert_eq!(attempt.step(), Ok(Step::Fence(Fence::Open { unfenced })));
    attempt.heard(witness("b", longer, "replicas:2"));
    assert_eq!(attempt.step(), Ok(Step::Fetch { from: node("b"), to: lsn(25) }), "2 of 3, and b has more");
    attempt.heard(witness("a", longer, "replicas:2"));
    assert_eq!(attempt.step(), Ok(Step::Begin { policies: vec![policy("replicas:2", "p")] }));
}

#[test]
fn a_node_that_accepted_another_epoch_is_not_fenced_by_this_one_f112() {
    let mut attempt = promotion([witness("a", OLD, "replicas:1")]);
    for other in [epoch(9, 8), epoch(8, 9), epoch(10, 9)] {
        assert!(!attempt.heard(Witness { accepted: other, ..witness("b", OLD, "replicas:1") }));
    }
    assert_eq!(attempt.fenced().count(), 1);
}

#[test]
fn of_two_logs_the_later_epoch_counts_before_the_longer_one_f115() {
    let rows: [(&str, &[Life], &[Life], Ordering); 5] = [
        ("longer", &[(1, 1, 1, 20)], &[(1, 1, 1, 21)], Ordering::Less),
        ("equal", &[(1, 1, 1, 20)], &[(1, 1, 1, 20)], Ordering::Equal),
        ("a later epoch, shorter", &[(1, 1, 1, 10), (2, 2, 2, 1)], &[(1, 1, 1, 50)], Ordering::Greater),
        ("two branches", &[(1, 1, 1, 10), (3, 3, 3, 1)], &[(1, 1, 1, 20), (2, 2, 2, 90)], Ordering::Greater),
        ("a later life of one epoch", &[(1, 1, 1, 10)], &[(1, 1, 1, 10), (1, 1, 2, 5)], Ordering::Less),
    ];
    for (what, ours, theirs, expected) in rows {
        let (ours, theirs) = (witness("a", ours, "local"), witness("b", theirs, "local"));
        assert_eq!(order(&ours, &theirs), Ok(expected), "{what}");
        assert_eq!(order(&theirs, &ours), Ok(expected.reverse()), "{what}");
    }
}

#[test]
fn one_epoch_with_two_histories_is_a_dispute_f097_f112() {
    for (ours, theirs) in [((2, 2, 2, 5), (2, 3, 3, 5)), ((1, 1, 7, 5), (1, 1, 8, 5))] {
        let (ours, theirs): (&[Life], &[Life]) = (&[(1, 1, 1, 10), ours], &[(1, 1, 1, 10), theirs]);
        let attempt = promotion([witness("a", ours, "replicas:2"), witness("b", theirs, "replicas:2")]);
        let dispute = attempt.step().unwrap_err();
        assert_eq!(dispute.at, Some(lsn(10)));
    }
}

#[test]
fn a_writer_that_accepted_the_epoch_itself_is_fenced_whatever_its_policy_f116() {
    let old = Witness { writes: true, ..witness("p", OLD, "local") };
    let attempt = promotion([witness("a", OLD, "local"), old]);
    assert!(matches!(attempt.step(), Ok(Step::Begin { .. })));
    let without = promotion([witness("a", OLD, "local"), witness("b", OLD, "local"), witness("c", OLD, "local")]);
    let writer = Some(node("p"));
    assert_eq!(without.step(), Ok(Step::Fence(Fence::Unprotected { writer })));
    assert!(matches!(without.step_accepting_loss(), Ok(Step::Begin { .. })));
}

#[test]
fn a_log_that_lost_what_it_acknowledged_is_not_gone_on_from_without_leave() {
    let torn = Witness { lost: Some(lsn(25)), ..witness("a", OLD, "replicas:2") };
    let sound = |lives| [witness("b", lives, "replicas:2"), witness("c", lives, "replicas:2")];
    let attempt = promotion([torn.clone()].into_iter().chain(sound(OLD)));
    assert_eq!(attempt.step(), Ok(Step::Lost { to: lsn(25) }));
    assert!(matches!(attempt.step_accepting_loss(), Ok(Step::Begin { .. })));
    let attempt = promotion([torn].into_iter().chain(sound(&[(1, 1, 1, 30)])));
    assert_eq!(attempt.step(), Ok(Step::Fetch { from: node("b"), to: lsn(30) }), "somebody has it");
}

#[test]
fn the_policy_of_the_best_log_is_the_one_that_counts() {
    let newer: &[Life] = &[(1, 1, 1, 30)];
    let joined = Witness { policies: vec![(lsn(25), policy("replicas:1", "p"))], ..witness("b", newer, "replicas:2") };
    let attempt = promotion([witness("a", OLD, "replicas:2"), joined]);
    let unfenced = ["c", "p"].map(node).into();
    assert_eq!(attempt.step(), Ok(Step::Fence(Fence::Open { unfenced })), "replicas:1 takes all three");
}

#[test]
fn a_policy_of_an_earlier_epoch_does_not_say_who_writes_now() {
    let lives: &[Life] = &[(1, 1, 1, 20), (2, 2, 2, 5)];
    let attempt = promotion([witness("a", lives, "replicas:2"), witness("b", lives, "replicas:2")]);
    let unfenced = ["c", "p"].map(node).into();
    assert_eq!(attempt.step(), Ok(Step::Fence(Fence::Open { unfenced })), "either may be the writer");
    let told = Witness { policies: vec![(lsn(22), policy("replicas:2", "c"))], ..witness("b", lives, "replicas:2") };
    let attempt = promotion([Witness { node: node("a"), ..told.clone() }, told]);
    assert!(matches!(attempt.step(), Ok(Step::Begin { .. })), "c writes, so a and b are two of three");
}

#[test]
fn an_attempt_takes_a_number_above_all_that_were_accepted_f113() {
    assert_eq!(Promotion::next_number([]), 1);
    let accepted = |number| Witness { accepted: epoch(number, 1), ..witness("a", OLD, "local") };
    assert_eq!(Promotion::next_number(&[accepted(3), accepted(7), accepted(5)]), 8);
}

#[test]
fn a_node_that_lost_what_it_acknowledged_is_no_witness_of_what_was_confirmed() {
    let torn = Witness { lost: Some(lsn(21)), ..witness("b", OLD, "replicas:2") };
    let attempt = promotion([witness("a", OLD, "replicas:2"), torn.clone()]);
    let unfenced = ["b", "c", "p"].map(node).into();
    assert_eq!(attempt.step(), Ok(Step::Fence(Fence::Open { unfenced })), "b may have been the one that confirmed");
    let again: &[Life] = &[(1, 1, 1, 21)];
    let attempt = promotion([witness("a", again, "replicas:2"), Witness { end: lsn(21), ..torn }]);
    assert!(matches!(attempt.step(), Ok(Step::Begin { .. })), "it has it again");
}

#[test]
fn only_a_voter_begins_an_epoch_f112() {
    let outsider = |witnesses: &[&str]| {
        let mut attempt = Promotion::new(node("z"), epoch(9, 9));
        witnesses.iter().for_each(|name| assert!(attempt.heard(witness(name, OLD, "replicas:1"))));
        attempt
    };
    let voters = ["a", "b", "c", "p"].map(node).into();
    assert_eq!(outsider(&["z", "a", "b", "c", "p"]).step(), Ok(Step::NoVote { voters }));
    assert!(matches!(outsider(&["z", "a"]).step_accepting_loss(), Ok(Step::Begin { .. })));
}

#[test]
fn what_comes_to_nothing_even_if_all_accept_is_known_before_they_are_asked() {
    let said = |names: &[&str]| -> Vec<Witness> {
        names.iter().map(|name| Witness { accepted: epoch(3, 3), ..witness(name, OLD, "replicas:1") }).collect()
    };
    let step = |own, names| Promotion::new(node(own), epoch(9, 9)).supposing(&said(names)).step();
    assert!(matches!(step("a", &["a", "b", "c"]), Ok(Step::Begin { .. })));
    let unfenced = ["c", "p"].map(node).into();
    assert_eq!(step("a", &["a", "b"]), Ok(Step::Fence(Fence::Open { unfenced })), "who is silent accepts nothing");
    assert!(matches!(step("z", &["z", "a", "b", "c", "p"]), Ok(Step::NoVote { .. })));
}

#[test]
fn while_a_change_is_under_way_a_promotion_fences_and_goes_on_under_both_policies() {
    let (old, mut new) = (policy("replicas:3", "p"), policy("replicas:2", "p"));
    new.voters = ["a", "b", "c"].map(|name| (node(name), None)).into();
    let changing = |name| Witness {
        policies: vec![(lsn(1), old.clone()), (lsn(2), new.clone())],
        ..witness(name, OLD, "replicas:3")
    };
    let attempt = promotion([changing("a")]);
    assert_eq!(attempt.step(), Ok(Step::Fence(Fence::Open { unfenced: ["b", "c", "p"].map(node).into() })));
    let attempt = promotion([changing("a"), changing("b")]);
    assert_eq!(attempt.step(), Ok(Step::Begin { policies: vec![old.clone(), new.clone()] }));
    // The other way round it is the old one that is not fenced.
    let swapped = |name| Witness {
        policies: vec![(lsn(1), policy("replicas:1", "p")), (lsn(2), old.clone())],
        ..witness(name, OLD, "replicas:3")
    };
    let attempt = promotion([swapped("a"), swapped("b")]);
    assert_eq!(attempt.step(), Ok(Step::Fence(Fence::Open { unfenced: ["c", "p"].map(node).into() })));
}

#[test]
fn an_archive_goes_on_only_where_its_history_is_the_copys() {
    use Beside::{Beyond, Dead, Later, Unrelated, Within};
    let at = lsn(20);
    // A copy's lives, an archive's, and how it stands to the copy.
    let rows: [(&str, &[Life], &[Life], Beside); 11] = [
        ("the same", OLD, OLD, Within),
        ("less of it", OLD, &[(1, 1, 1, 15)], Within),
        ("more of it", OLD, &[(1, 1, 1, 25)], Beyond { to: lsn(25) }),
        ("a later epoch that went on from here", OLD, &[(1, 1, 1, 20), (2, 2, 2, 3)], Beyond { to: lsn(23) }),
        ("a later epoch that began before", &[(1, 1, 1, 30)], &[(1, 1, 1, 20), (2, 2, 2, 1)], Later { at }),
        ("what was before the epoch of here", &[(1, 1, 1, 20), (2, 2, 2, 5)], OLD, Within),
        ("more of what died then", &[(1, 1, 1, 20), (2, 2, 2, 5)], &[(1, 1, 1, 90)], Dead { at }),
        ("an earlier branch", &[(1, 1, 1, 20), (3, 3, 3, 5)], &[(1, 1, 1, 20), (2, 2, 2, 9)], Dead { at }),
        ("a later branch", &[(1, 1, 1, 20), (2, 2, 2, 9)], &[(1, 1, 1, 20), (3, 3, 3, 5)], Later { at }),
        (
            "another branch of the same number",
            &[(1, 1, 1, 20), (2, 2, 2, 9)],
            &[(1, 1, 1, 20), (2, 3, 3, 5)],
            Later { at },
        ),
        ("another life altogether", OLD, &[(1, 7, 7, 99)], Unrelated),
    ];
    for (case, copy, archive, expected) in rows {
        let archive = witness("archive", archive, "replicas:1");
        let archive = Archived { history: archive.history, end: archive.end };
        assert_eq!(archive.beside(&witness("a", copy, "replicas:1")), expected, "{case}");
    }
}

#[test]
fn a_writer_that_had_given_way_to_somebody_else_cannot_answer_for_who_writes_now() {
    let (theirs, later) = (epoch(2, 2), epoch(3, 3));
    let nobodys = Epoch { writer: WriterId::NOBODY, ..theirs };
    // What p had accepted when it was asked; what it had accepted before it was fenced; what another gave up; what is whole.
    for (survey, before, given_up, whole) in [
        (epoch(1, 1), &[][..], &[][..], true),
        (theirs, &[], &[], false),
        (epoch(1, 1), &[theirs], &[], false),
        (theirs, &[theirs], &[theirs], true),
        (theirs, &[theirs, later], &[theirs], false),
        (theirs, &[theirs, later], &[later], false),
        (theirs, &[theirs, later], &[theirs, later], true),
        (nobodys, &[nobodys], &[], true),
        // This attempt, asked before.
        (epoch(9, 9), &[], &[], true),
        // It started again meanwhile, and knows no more whether it gave way to anybody before.
        (epoch(9, 9), &[epoch(9, 9)], &[], false),
    ] {
        for durability in ["archived:1", "local"] {
            let writes = Witness { writes: true, ..witness("p", OLD, durability) };
            let mut attempt = Promotion::new(node("a"), epoch(9, 9));
            attempt.surveyed(&Witness { accepted: survey, ..writes.clone() });
            let own = Witness { given_up: given_up.to_vec(), ..witness("a", OLD, durability) };
            for heard in [own, Witness { gave_way: before.to_vec(), ..writes }] {
                assert!(attempt.heard(heard));
            }
            let step = attempt.step();
            let begins = matches!(step, Ok(Step::Begin { .. }));
            assert_eq!(begins, whole, "{durability}: {survey:?}, then {before:?}, given up {given_up:?}: {step:?}");
            let unprotected = Ok(Step::Fence(Fence::Unprotected { writer: None }));
            assert!(begins || step == unprotected, "{step:?}");
        }
    }
    let mut attempt = Promotion::new(node("a"), epoch(9, 9));
    let writes = Witness { writes: true, gave_way: vec![theirs], ..witness("p", OLD, "local") };
    attempt.heard(witness("a", OLD, "local"));
    attempt.heard(writes);
    attempt.is_void(theirs);
    assert!(matches!(attempt.step(), Ok(Step::Begin { .. })), "whoever was to begin it says that it will not");
}

#[test]
fn where_voters_are_needed_it_does_not_matter_whom_the_writer_gave_way_to() {
    for (durability, shortfall, whole) in [
        ("replicas:3", Shortfall::Accept, true),
        ("replicas:3", Shortfall::Degrade { after: Default::default() }, false),
    ] {
        let of = |name| {
            let policies = vec![(lsn(1), Policy { shortfall, ..policy(durability, "p") })];
            Witness { writes: name == "p", policies, ..witness(name, OLD, durability) }
        };
        let mut attempt = Promotion::new(node("a"), epoch(9, 9));
        attempt.surveyed(&Witness { accepted: epoch(2, 2), ..of("p") });
        for name in ["a", "p"] {
            attempt.heard(of(name));
        }
        assert_eq!(matches!(attempt.step(), Ok(Step::Begin { .. })), whole, "{shortfall:?}: {:?}", attempt.step());
    }
}
