//! What to try next when a role does not move: the kind alone does not know.

use longshore_format::ErrorKind;
use longshore_transport::{FenceState, Promote, Promoted};

use crate::failure::Failure;

/// The plan could not be had.
pub(super) fn planning(failure: Failure, server: &str) -> Failure {
    match failure.kind() {
        ErrorKind::NotFound => failure.next(format!("`longshore status --server {server}` lists the logs that it has")),
        _ => failure,
    }
}

/// The promotion was refused, or broke off.
pub(super) fn promoting(failure: Failure, server: &str, request: &Promote, plan: &Promoted) -> Failure {
    let again = again(server, request);
    let next = match failure.kind() {
        ErrorKind::Fenced => fenced(&again, request, plan),
        ErrorKind::Busy => format!("wait for it, then run `{again}` again"),
        ErrorKind::Unavailable if request.switchover => {
            format!("bring the primary back and run `{again}` again; without it: `longshore promote`")
        }
        ErrorKind::Unavailable => {
            format!("run `{again}` again: whatever was done by then is kept, and it goes on from there")
        }
        ErrorKind::Diverged => {
            "nothing was changed; `longshore dump` on both shows their lives, and an operator decides which of them goes on"
                .to_owned()
        }
        _ => return failure,
    };
    failure.next(next)
}

fn fenced(again: &str, request: &Promote, plan: &Promoted) -> String {
    if request.switchover {
        return format!(
            "reach every node that votes, name those that are not known here with --peer, and run `{again}` again"
        );
    }
    match &plan.fence {
        FenceState::Whole if request.to.is_some() => {
            format!(
                "leave --to away, or run `{again} --accept-loss`: what lies behind it is then set aside, not deleted"
            )
        }
        FenceState::Whole => format!("run `{again}` again; it begins where the last attempt stopped"),
        FenceState::Open(unfenced) => {
            let nodes: Vec<&str> = unfenced.iter().map(|node| node.as_str()).collect();
            format!(
                "start or reach {} (--peer NAME@HOST:PORT says where one is) and run `{again}` again; if they are gone for \
                 good, or what they still confirm may be lost: `{again} --accept-loss`",
                nodes.join(", ")
            )
        }
        FenceState::Unprotected => format!(
            "make the primary reachable (--peer NAME@HOST:PORT) and run `{again}` again; if it is gone for good, or stopped \
             for good: `{again} --accept-loss`"
        ),
    }
}

/// The same command, as it is typed.
fn again(server: &str, request: &Promote) -> String {
    let verb = if request.switchover { "switchover" } else { "promote" };
    let mut text = format!("longshore {verb} --server {server} --log {}", request.log);
    for peer in &request.peers {
        text += &format!(" --peer {peer}");
    }
    if let Some(to) = request.to {
        text += &format!(" --to {to}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::{promoted, request};
    use super::*;

    fn next(request: &Promote, plan: &Promoted) -> String {
        promoting(Failure::new(ErrorKind::Fenced, "refused"), "eu-west@h:3", request, plan).hint().to_owned()
    }

    #[test]
    fn a_refusal_names_the_nodes_to_reach_and_the_command_to_run() {
        let told = next(&request(), &promoted());
        assert!(told.starts_with("start or reach primary"), "{told}");
        assert!(told.ends_with("`longshore promote --server eu-west@h:3 --log orders --accept-loss`"), "{told}");
        let told = next(&request(), &Promoted { fence: FenceState::Unprotected, ..promoted() });
        assert!(told.contains("stopped for good: `longshore promote"), "{told}");
        let told = next(&Promote { switchover: true, ..request() }, &promoted());
        assert!(told.contains("`longshore switchover --server eu-west@h:3 --log orders`"), "{told}");
    }
}
