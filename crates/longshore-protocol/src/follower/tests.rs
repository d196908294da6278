use super::*;
use crate::fake::{epoch, lsn, node, secs};
use crate::{Agreed, Frames, Refusal, SessionId, Welcome};
use bytes::Bytes;
use longshore_format::ErrorKind;

const ROOM: Limits = Limits {
    heartbeat: Duration::from_secs(2),
    silence: Duration::from_secs(10),
    answer: Duration::from_secs(10),
    stall: Duration::from_secs(30),
    window: 4000,
    batch: 1000,
};

fn welcome() -> ToReplica {
    ToReplica::Welcome(Welcome {
        session: SessionId(1),
        agreed: Agreed { version: 1, features: Default::default() },
        node: node("primary"),
        epoch: epoch(3, 3),
        durable: lsn(50),
    })
}

fn frames(from: usize, to: usize) -> ToReplica {
    frames_of(epoch(3, 3), lsn(from), 100 * (to - from))
}

fn frames_of(epoch: Epoch, start: Lsn, len: usize) -> ToReplica {
    ToReplica::Frames(Frames { start, epoch, bytes: Bytes::from(vec![0; len]) })
}

/// A follower of a log of ten records, to which frames may be sent.
fn streaming(limits: Limits) -> Follower {
    let mut follower = Follower::new(lsn(10), epoch(3, 3), limits, secs(0));
    follower.on(&welcome(), secs(0)).unwrap();
    let verdict = Verdict::Continue { at: lsn(10) };
    let turn = follower.on(&ToReplica::Verdict(verdict), secs(0)).unwrap();
    assert_eq!(turn, FollowerTurn::Verdict(verdict));
    let own = ack(10, 10, 0);
    let said = follower.say(own, &[], secs(0)).unwrap();
    assert_eq!(said, Some(ToUpstream::Ack { ack: own, relayed: Vec::new() }));
    let said = follower.say(own, &[], secs(0)).unwrap();
    assert_eq!(said, Some(ToUpstream::Credit { total: limits.window }));
    follower
}

fn ack(received: usize, durable: usize, applied: usize) -> Ack {
    Ack::new(lsn(received), lsn(durable), lsn(applied)).unwrap()
}

#[test]
fn frames_fit_only_at_the_end_of_the_log_f090_f092() {
    for (from, to, expected) in [
        (10, 12, Ok(Fit::Append)),
        (8, 10, Ok(Fit::Duplicate)),
        (2, 5, Ok(Fit::Duplicate)),
        (8, 12, Ok(Fit::Overlap { skip: 200 })),
        (9, 11, Ok(Fit::Overlap { skip: 100 })),
        (11, 12, Err(Error::Gap { expected: lsn(10), found: lsn(11) })),
        (1000, 1001, Err(Error::Gap { expected: lsn(10), found: lsn(1000) })),
    ] {
        let mut follower = streaming(ROOM);
        let turn = follower.on(&frames(from, to), secs(0));
        assert_eq!(turn, Ok(FollowerTurn::Frames));
        let fit = follower.fit(lsn(from), 100 * (to - from));
        assert_eq!(fit, expected, "{from}..{to}");
    }
}

#[test]
fn frames_that_cannot_be_are_refused_f098_f099_f100() {
    let limits = Limits { window: 1 << 30, ..ROOM };
    for (start, len) in [(lsn(10), 0), (lsn(10), Limits::MAX_FRAMES + 1), (Lsn::MAX, 1), (Lsn::new(u64::MAX - 99), 100)]
    {
        let mut follower = streaming(limits);
        assert!(follower.on(&frames_of(epoch(3, 3), start, len), secs(0)).is_err());
        assert_eq!(follower.position(), lsn(10));
    }
    let most = frames_of(epoch(3, 3), lsn(10), Limits::MAX_FRAMES);
    assert!(streaming(limits).on(&most, secs(0)).is_ok());
}

#[test]
fn a_writer_of_a_lower_epoch_is_refused_with_the_current_one_f113_f112() {
    let (current, older, other, newer) = (epoch(3, 3), epoch(2, 9), epoch(3, 4), epoch(4, 4));
    let beat = |epoch| ToReplica::Heartbeat { durable: lsn(60), epoch, retain: lsn(0), sent: lsn(0) };
    let send = |epoch| frames_of(epoch, lsn(10), 100);
    for message in [beat, send] {
        let on = |epoch| streaming(ROOM).on(&message(epoch), secs(0));
        assert_eq!(on(older), Err(Error::Fenced { current, found: older }));
        assert_eq!(on(other), Err(Error::TwoWriters { current, found: other }));
        assert!(on(current).is_ok());
        let mut follower = streaming(ROOM);
        follower.on(&message(newer), secs(0)).unwrap();
        assert_eq!(follower.epoch(), newer);
        let error = follower.on(&message(current), secs(0)).unwrap_err();
        assert_eq!(error, Error::Fenced { current: newer, found: current });
        assert_eq!(error.kind(), ErrorKind::Fenced);
    }
}

#[test]
fn what_changed_is_acked_at_once_and_only_once() {
    let mut follower = streaming(ROOM);
    let none = [];
    let own = ack(10, 10, 0);
    assert_eq!(follower.say(own, &none, secs(0)).unwrap(), None);
    for own in [ack(12, 10, 0), ack(12, 12, 0), ack(12, 12, 12)] {
        let said = follower.say(own, &none, secs(0)).unwrap();
        assert_eq!(said, Some(ToUpstream::Ack { ack: own, relayed: Vec::new() }));
        assert_eq!(follower.say(own, &none, secs(0)).unwrap(), None);
    }
}

#[test]
fn the_acks_of_nodes_below_are_passed_on_when_they_change() {
    let mut follower = streaming(ROOM);
    let own = ack(10, 10, 0);
    let silent = NodeAck { node: node("silent"), ack: Ack::NONE };
    assert_eq!(follower.say(own, std::slice::from_ref(&silent), secs(0)).unwrap(), None);
    for moved in [ack(5, 5, 5), ack(9, 9, 5)] {
        let below = [silent.clone(), NodeAck { node: node("below"), ack: moved }];
        let relayed = vec![NodeAck { node: node("below"), ack: moved }];
        let said = follower.say(own, &below, secs(0)).unwrap();
        assert_eq!(said, Some(ToUpstream::Ack { ack: own, relayed }));
        assert_eq!(follower.say(own, &below, secs(0)).unwrap(), None);
    }
}

#[test]
fn credit_comes_back_by_quarters_of_the_window_as_room_does() {
    let mut follower = streaming(ROOM);
    let none = [];
    let mut granted = 4000;
    for record in 10..60 {
        follower.on(&frames(record, record + 1), secs(0)).unwrap();
        assert_eq!(follower.fit(lsn(record), 100), Ok(Fit::Append));
        follower.on_stored(lsn(record + 1), 100);
        // Positions do not matter here: the ack is the same each time.
        if let Some(said) = follower.say(ack(10, 10, 0), &none, secs(0)).unwrap() {
            let stored = 100 * (record as u64 + 1 - 10);
            assert_eq!(said, ToUpstream::Credit { total: stored + 4000 });
            assert_eq!(stored + 4000 - granted, 1000);
            granted = stored + 4000;
        }
    }
    assert_eq!(granted, 9000);
}

#[test]
fn an_upstream_that_ignores_credit_is_refused() {
    let mut follower = streaming(ROOM);
    let long = frames_of(epoch(3, 3), lsn(10), Limits::MAX_FRAMES);
    follower.on(&long, secs(0)).expect("one long record may overdraw");
    assert!(matches!(follower.on(&long, secs(0)), Err(Error::OverCredit { .. })));
}

#[test]
fn nothing_is_acked_or_granted_before_the_verdict_to_continue() {
    let mut follower = Follower::new(lsn(10), epoch(3, 3), ROOM, secs(0));
    let none = [];
    let quiet = |follower: &mut Follower| follower.say(ack(10, 10, 0), &none, secs(1)).unwrap();
    assert_eq!(quiet(&mut follower), None);
    follower.on(&welcome(), secs(0)).unwrap();
    assert_eq!(quiet(&mut follower), None);
    follower.on(&ToReplica::Verdict(Verdict::Wait { end: lsn(5) }), secs(0)).unwrap();
    assert_eq!(quiet(&mut follower), None);
    assert!(!follower.is_streaming());
    let verdict = ToReplica::Verdict(Verdict::Continue { at: lsn(10) });
    follower.on(&verdict, secs(0)).unwrap();
    assert!(quiet(&mut follower).is_some() && follower.is_streaming());
}

#[test]
fn a_verdict_to_continue_elsewhere_is_a_gap_f094() {
    let mut follower = Follower::new(lsn(10), epoch(3, 3), ROOM, secs(0));
    follower.on(&welcome(), secs(0)).unwrap();
    let elsewhere = ToReplica::Verdict(Verdict::Continue { at: lsn(12) });
    let gap = Error::Gap { expected: lsn(10), found: lsn(12) };
    assert_eq!(follower.on(&elsewhere, secs(0)), Err(gap));
}

#[test]
fn messages_out_of_turn_are_refused() {
    let proved = ToReplica::Proved { base: lsn(0), end: lsn(5) };
    let verdict = ToReplica::Verdict(Verdict::Continue { at: lsn(10) });
    let probe = ToReplica::Probe { at: lsn(5) };
    for early in [frames(10, 11), proved, verdict.clone(), probe] {
        let mut follower = Follower::new(lsn(10), epoch(3, 3), ROOM, secs(0));
        assert!(matches!(follower.on(&early, secs(0)), Err(Error::OutOfTurn { .. })));
    }
    for late in [welcome(), verdict] {
        assert!(matches!(streaming(ROOM).on(&late, secs(0)), Err(Error::OutOfTurn { .. })));
    }
}

#[test]
fn a_silent_upstream_is_given_up_and_a_heartbeat_says_we_live_f086_f087() {
    let mut follower = streaming(ROOM);
    let (own, none) = (ack(10, 10, 0), []);
    assert_eq!(follower.deadline(), secs(2));
    assert_eq!(follower.say(own, &none, secs(2)).unwrap(), Some(ToUpstream::Heartbeat));
    follower.on(&frames(9, 10), secs(5)).unwrap();
    assert!(follower.say(own, &none, secs(14)).is_ok());
    let silent = Err(Error::Silent { heard: secs(10) });
    assert_eq!(follower.say(own, &none, secs(15)), silent);
}

#[test]
fn frames_that_were_sent_and_never_come_end_the_stream_f089() {
    let mut follower = streaming(ROOM);
    let (own, limit) = (ack(10, 10, 0), secs(30));
    let beat = |follower: &mut Follower, at, sent| {
        let (durable, retain, sent) = (lsn(60), lsn(0), lsn(sent));
        let message = ToReplica::Heartbeat { durable, epoch: epoch(3, 3), retain, sent };
        follower.on(&message, secs(at)).unwrap();
        follower.say(own, &[], secs(at))
    };
    for at in (0..3600).step_by(5) {
        beat(&mut follower, at, 10).expect("nothing was sent");
    }
    for at in (3600..3630).step_by(5) {
        beat(&mut follower, at, 11).expect("a heartbeat may overtake frames, for a while");
    }
    follower.on(&frames(10, 11), secs(3629)).unwrap();
    for at in (3630..3700).step_by(5) {
        beat(&mut follower, at, 12).expect("frames wait here for room");
    }
    follower.on_stored(lsn(11), 100);
    beat(&mut follower, 3700, 12).unwrap();
    beat(&mut follower, 3725, 12).unwrap();
    let lost = Error::Stalled { what: "deliver the frames it sent", waited: limit };
    assert_eq!(beat(&mut follower, 3730, 12), Err(lost));
}

#[test]
fn what_the_upstream_says_of_itself_is_passed_on_as_it_came() {
    let mut follower = Follower::new(lsn(10), epoch(3, 3), ROOM, secs(0));
    let beat = ToReplica::Heartbeat { durable: lsn(60), epoch: epoch(3, 3), retain: lsn(2), sent: lsn(0) };
    let heard = FollowerTurn::Heard { durable: lsn(60), retain: lsn(2) };
    assert_eq!(follower.on(&beat, secs(0)), Ok(heard), "before the welcome, too");
    assert_eq!(follower.on(&welcome(), secs(0)), Ok(FollowerTurn::Welcomed { durable: lsn(50) }));
    let mut follower = streaming(ROOM);
    assert_eq!(follower.on(&beat, secs(3)), Ok(heard));
    let proved = ToReplica::Proved { base: lsn(0), end: lsn(5) };
    assert_eq!(follower.on(&proved, secs(3)), Ok(FollowerTurn::Proved { to: lsn(5) }));
    let refusal = Refusal::new(ErrorKind::Denied, "x".repeat(5000), None);
    assert_eq!(refusal.text.len(), Refusal::MAX_TEXT);
    let error = follower.on(&ToReplica::Refused(refusal), secs(3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[test]
fn nothing_is_acknowledged_to_an_upstream_of_an_earlier_epoch_f113() {
    let mut follower = streaming(ROOM);
    follower.on(&frames(10, 12), secs(1)).unwrap();
    follower.on_stored(lsn(12), 200);
    follower.note_accepted(epoch(4, 4));
    let below = NodeAck { node: node("below"), ack: ack(12, 12, 0) };
    let late = follower.say(ack(12, 12, 0), std::slice::from_ref(&below), secs(1)).unwrap();
    assert_eq!(late, None, "whoever asked for epoch 4 may have been told that the log ends at 10 here");
    assert!(matches!(follower.on(&frames(12, 13), secs(1)), Err(Error::Fenced { .. })));
    // The upstream hears of it, too, and then speaks in it.
    follower.on(&frames_of(epoch(4, 4), lsn(12), 100), secs(2)).unwrap();
    let said = follower.say(ack(12, 12, 0), std::slice::from_ref(&below), secs(2)).unwrap();
    assert_eq!(said, Some(ToUpstream::Ack { ack: ack(12, 12, 0), relayed: vec![below] }));
}
