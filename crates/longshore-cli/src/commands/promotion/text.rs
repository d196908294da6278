//! A promotion in words and one table.

use longshore_transport::{FenceState, Loss, NodeReport, Promote, Promoted, Standing};

use super::{asked, policy};
use crate::output::{pairs, render, table};
use crate::quantity::{show_bytes, show_duration};

/// What is known before anything is done.
pub(super) fn plan(request: &Promote, plan: &Promoted) -> String {
    let (asked, log) = (asked(plan), &request.log);
    if plan.promoted {
        let place = format!("in epoch {} from {} on", plan.epoch, plan.position);
        return format!("{asked} writes {log} already, {place}\n{}{}", warnings(plan), left_behind(plan));
    }
    let place = format!("in epoch {} from {} on", plan.epoch, plan.position);
    let mut text = match is_refused(request, plan) {
        true => format!("{asked} would not write {log} {place}: as things are, that is refused\n\n"),
        false => format!("{asked} would write {log} {place}\n\n"),
    };
    text += &nodes(&plan.nodes);
    let mut rows = vec![("policy", policy(plan).to_owned()), ("fence", fence(plan))];
    rows.extend(fetch(plan).map(|fetch| ("fetched", fetch)));
    rows.push(("lost", loss(plan)));
    rows.extend(unheard(plan).map(|unheard| ("silent", unheard)));
    rows.extend(plan.warnings.iter().map(|warning| ("warning", warning.clone())));
    text + "\n" + &pairs(&rows)
}

/// Whether the same request without a plan ends with nothing changed.
fn is_refused(request: &Promote, plan: &Promoted) -> bool {
    let is_later = plan.nodes.iter().any(|node| node.standing == Some(Standing::Later));
    let has_vote = plan.nodes.first().is_none_or(|own| own.votes || plan.nodes.iter().all(|node| !node.votes));
    !request.accept_loss && (plan.fence != FenceState::Whole || !has_vote || is_later)
}

/// What was done, and what is left to do.
pub(super) fn done(request: &Promote, plan: &Promoted, done: &Promoted) -> String {
    let (asked, log) = (asked(done), &request.log);
    let pause = match done.write_pause {
        Some(pause) => format!("; nobody could append for {}", show_duration(pause)),
        None => String::new(),
    };
    let mut text = format!("\n{asked} writes {log} in epoch {} from {} on{pause}\n", done.epoch, done.position);
    if done.loss.is_some() || done.fence != plan.fence {
        text += &pairs(&[("fence", fence(done)), ("lost", loss(done))]);
    }
    text += &warnings(done);
    text += &left_behind(done);
    text += &format!("next: append at {asked}; replicas find it by themselves if it is among their --upstream\n");
    let others = || plan.nodes.iter().skip(1).filter(|node| !node.archive);
    let before = match others().find(|node| node.writes) {
        Some(node) => &node.node,
        // All others answered, and none wrote it: there is no primary that could come back.
        None if others().all(|node| node.end.is_some()) => return text,
        None => "the primary before",
    };
    text + &format!(
        "next: {before} rejoins by itself when it runs with --upstream naming the others; what only it has it keeps aside\n"
    )
}

/// What a transaction that was kept open commits, and where that is found.
fn left_behind(promoted: &Promoted) -> String {
    let Some(node) = &promoted.left_open else { return String::new() };
    format!(
        "left behind: a transaction was under way at {node} for longer than it was waited for; what it commits is in no log\n\
         next: look into the copy that {node} keeps of its database before that is replaced, PATH-longshore-kept-N; \
         `longshore status` at {node} names it\n"
    )
}

fn warnings(promoted: &Promoted) -> String {
    promoted.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect()
}

fn nodes(nodes: &[NodeReport]) -> String {
    let mut rows = table(&["NODE", "ADDRESS", "END", "EPOCH", "ROLE", "VOTES", "ANSWER"]);
    let mut problems = String::new();
    for node in nodes {
        let known = |text: String| if node.end.is_some() { text } else { "-".to_owned() };
        rows.add_row([
            named(node).to_owned(),
            node.address.clone(),
            node.end.map_or("-".to_owned(), |end| end.to_string()),
            known(node.epoch.to_string()),
            known(role(node).to_owned()),
            if node.votes { "yes" } else { "no" }.to_owned(),
            answer(node).to_owned(),
        ]);
        if let Some(problem) = &node.problem {
            problems += &format!("{}: {problem}\n", if node.node.is_empty() { &node.address } else { &node.node });
        }
    }
    render(&mut rows) + &problems
}

fn named(node: &NodeReport) -> &str {
    match (node.node.as_str(), node.archive) {
        ("", true) => "-",
        ("", false) => "?",
        (name, _) => name,
    }
}

fn role(node: &NodeReport) -> &'static str {
    match (node.archive, node.writes) {
        (true, _) => "archive",
        (false, true) => "primary",
        (false, false) => "replica",
    }
}

/// An archive accepts nothing: either the log goes on from what it holds, or it does not.
fn answer(node: &NodeReport) -> &'static str {
    match (node.end, node.fenced, node.archive) {
        (None, ..) => "none",
        (Some(_), true, false) => "accepts",
        (Some(_), false, false) => "refuses",
        (Some(_), true, true) => "fits",
        (Some(_), false, true) => "parted",
    }
}

/// Who may still acknowledge, and with whom.
pub(super) fn fence(promoted: &Promoted) -> String {
    let policy = policy(promoted);
    match &promoted.fence {
        FenceState::Whole => format!("whole: the writer before can confirm nothing more at {policy}"),
        FenceState::Open(unfenced) => {
            let nodes: Vec<&str> = unfenced.iter().map(|node| node.as_str()).collect();
            format!("open: the writer before may still confirm at {policy} with {}", nodes.join(", "))
        }
        FenceState::Unprotected => {
            format!(
                "none: {policy} needs no replica, or none after a while, so nothing but the writer itself can keep it from confirming"
            )
        }
    }
}

/// What this node would first get from another.
fn fetch(plan: &Promoted) -> Option<String> {
    let own = plan.nodes.first()?.end?;
    let bytes = plan.position.since(own);
    let holder = plan.nodes.iter().skip(1).find(|node| node.end == Some(plan.position)).filter(|_| 0 < bytes)?;
    let holder = if holder.archive { &holder.address } else { &holder.node };
    Some(format!("{} that {holder} has and this copy lacks", show_bytes(bytes)))
}

/// What may be with voters that do not answer.
fn unheard(plan: &Promoted) -> Option<String> {
    let silent = |node: &&NodeReport| node.votes && node.end.is_none();
    let silent: Vec<&str> = plan.nodes.iter().filter(silent).map(named).collect();
    if silent.is_empty() {
        return None;
    }
    let (names, policy) = (silent.join(", "), policy(plan));
    Some(match plan.fence {
        FenceState::Whole => format!("what {names} may have beyond that; nothing that was confirmed at {policy} is"),
        _ => format!("what {names} may have beyond that, also of what was confirmed at {policy}"),
    })
}

fn loss(promoted: &Promoted) -> String {
    let Some(Loss { bytes, records, time, holder }) = &promoted.loss else {
        return "nothing that is known of".to_owned();
    };
    let records = match records {
        None => "an unknown number of records".to_owned(),
        Some(1) => "1 record".to_owned(),
        Some(records) => format!("{records} records"),
    };
    let time = time.map_or("an unknown time".to_owned(), show_duration);
    format!("{records}, {} of log, {time} of it; held by {holder}", show_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longshore_format::Lsn;

    use super::super::tests::{promoted, request};
    use super::*;

    #[test]
    fn a_plan_says_who_holds_what_and_who_may_still_confirm() {
        let text = plan(&request(), &promoted());
        for told in [
            "eu-west would not write orders in epoch 2 from 9000 on: as things are, that is refused",
            "NODE     ADDRESS      END   EPOCH  ROLE     VOTES  ANSWER",
            "eu-west               8000  1      replica  yes    accepts",
            "us-east  us-east@h:2  9000  1      replica  yes    accepts",
            "primary  primary@h:1  -     -      -        yes    none",
            "primary: no answer within 2 s",
            "fence    open: the writer before may still confirm at replicas:1 with primary",
            "fetched  1000 B that us-east has and this copy lacks",
            "lost     3 records, 2.0 KiB of log, 1m1s of it; held by primary@h:1, as it was last heard",
            "silent   what primary may have beyond that, also of what was confirmed at replicas:1",
        ] {
            assert!(text.contains(told), "{told}\n{text}");
        }
        assert!(text.lines().all(|line| line.len() <= 110), "{text}");
    }

    #[test]
    fn an_archive_of_another_epoch_of_the_same_number_refuses_as_the_promotion_does() {
        let fenced = Promoted { fence: FenceState::Whole, ..promoted() };
        let with = |standing| {
            let own = &fenced.nodes[0];
            let archive = NodeReport { archive: true, votes: false, fenced: false, standing, ..own.clone() };
            let nodes = fenced.nodes.iter().cloned().chain([archive]).collect();
            plan(&request(), &Promoted { nodes, ..fenced.clone() })
        };
        assert!(with(Some(Standing::Later)).contains("as things are, that is refused"));
        for standing in [None, Some(Standing::Fits), Some(Standing::Dead), Some(Standing::Unrelated)] {
            assert!(with(standing).contains("eu-west would write orders in epoch 2"), "{standing:?}");
        }
    }

    #[test]
    fn local_is_told_to_be_unprotected() {
        let plain = Promoted { policy: None, fence: FenceState::Unprotected, loss: None, ..promoted() };
        let text = plan(&request(), &plain);
        assert!(text.contains("fence    none: local needs no replica"), "{text}");
        assert!(text.contains("lost     nothing that is known of"), "{text}");
    }

    #[test]
    fn what_was_done_says_since_when_and_how_long_nobody_could_append() {
        let pause = Some(Duration::from_millis(35));
        let now = Promoted { promoted: true, position: Lsn::new(9000), loss: None, write_pause: pause, ..promoted() };
        let text = done(&request(), &promoted(), &now);
        assert!(text.contains("eu-west writes orders in epoch 2 from 9000 on; nobody could append for 35ms"), "{text}");
        assert!(text.contains("next: the primary before rejoins by itself"), "{text}");
        let alone = Promoted { nodes: promoted().nodes[..2].to_vec(), ..promoted() };
        assert!(!done(&request(), &alone, &now).contains("rejoins by itself"), "there was none");
        assert!(plan(&request(), &now).contains("writes orders already"));
    }

    #[test]
    fn a_transaction_that_was_under_way_is_told_with_where_it_is_found() {
        let now = Promoted { promoted: true, loss: None, ..promoted() };
        assert!(!done(&request(), &promoted(), &now).contains("left behind"));
        let left = Promoted { left_open: Some("primary".to_owned()), ..now };
        let text = done(&request(), &promoted(), &left);
        assert!(text.contains("left behind: a transaction was under way at primary"), "{text}");
        assert!(text.contains("the copy that primary keeps of its database"), "{text}");
    }
}
