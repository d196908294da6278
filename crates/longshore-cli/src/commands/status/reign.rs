//! Who writes a log and what it promises, as text.

use longshore_protocol::{NodeId, Policy, Region, Shortfall};
use longshore_transport::{LeaseHolder, LeaseStatus, LogStatus};

use crate::quantity::show_duration;

/// A line or two below a log's positions.
pub(super) fn render(log: &LogStatus) -> String {
    let reign = &log.reign;
    let mut text = match &reign.policy {
        Some(policy) => format!("  promises {}\n", promise(policy)),
        None => "  promises local: a promotion protects nothing of it\n".to_owned(),
    };
    // The record of that is in every copy, and holds for whoever writes.
    if let Some(policy) = reign.policy.as_ref().filter(|policy| policy.degraded && log.writer) {
        text +=
            &format!("  DEGRADED: {} cannot be had, and what is durable here alone is confirmed\n", policy.durability);
    }
    if reign.fenced {
        let accepted = reign.accepted;
        text += &format!(
            "  FENCED: this agent accepted epoch {accepted} and appends nothing more; with --upstream naming the other \
             nodes it follows whoever was promoted\n"
        );
    }
    if !reign.path.is_empty() {
        let path: Vec<&str> = reign.path.iter().map(NodeId::as_str).collect();
        text += &format!("  comes through {}\n", path.join(", then "));
    }
    text + &reign.lease.as_ref().map(lease).unwrap_or_default()
}

/// Who holds the lease, and why nobody here does.
fn lease(lease: &LeaseStatus) -> String {
    let mut text = match (&lease.holder, lease.valid) {
        (LeaseHolder::Node(node), Some(valid)) => {
            format!("  lease held by {node} for epoch {}, good for {}\n", lease.epoch, show_duration(valid))
        }
        (LeaseHolder::Node(node), None) => format!("  lease held by {node} for epoch {}\n", lease.epoch),
        (LeaseHolder::Nobody, _) => "  lease free: nobody holds it\n".to_owned(),
        (LeaseHolder::Unknown, _) => "  lease UNKNOWN: its store has not said lately who holds it\n".to_owned(),
    };
    if let Some(trouble) = &lease.trouble {
        text += &format!("    {trouble}\n");
    }
    text
}

/// A policy in words: what is waited for, whose copies count, and what happens when it cannot be had.
fn promise(policy: &Policy) -> String {
    let voter = |(node, region): (&NodeId, &Option<Region>)| match region {
        Some(region) if region.as_str() != node.as_str() => format!("{node} in {region}"),
        _ => node.to_string(),
    };
    let voters: Vec<String> = policy.voters.iter().map(voter).collect();
    let voters = match voters.is_empty() {
        true => "without voters".to_owned(),
        false => format!("of {}", voters.join(", ")),
    };
    let shortfall = match policy.shortfall {
        Shortfall::Accept => "waits end as unconfirmed".to_owned(),
        Shortfall::Refuse => "appends are refused".to_owned(),
        Shortfall::Degrade { after } => format!("it degrades after {}", show_duration(after)),
    };
    format!("{} {voters}; without them {shortfall}", policy.durability)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longshore_transport::ReignStatus;

    use super::super::tests::log;
    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    #[test]
    fn a_policy_is_told_with_voters_and_with_what_happens_without_them() {
        let policy = Policy {
            writer: node("primary"),
            durability: "replicas:1".parse().unwrap(),
            shortfall: Shortfall::Degrade { after: Duration::from_secs(10) },
            degraded: true,
            voters: [(node("a"), Some(Region::new("eu").unwrap())), (node("primary"), None)].into(),
        };
        let path = vec![node("b"), node("primary")];
        let reign = ReignStatus { policy: Some(policy), fenced: false, accepted: 2, path, lease: None };
        let text = render(&LogStatus { reign, ..log() });
        assert_eq!(
            text,
            "  promises replicas:1 of a in eu, primary; without them it degrades after 10s\n  \
             DEGRADED: replicas:1 cannot be had, and what is durable here alone is confirmed\n  \
             comes through b, then primary\n"
        );
    }

    #[test]
    fn a_replica_does_not_show_as_degraded_what_its_writer_is() {
        let degraded = Policy {
            writer: node("primary"),
            durability: "replicas:1".parse().unwrap(),
            shortfall: Shortfall::Degrade { after: Duration::from_secs(10) },
            degraded: true,
            voters: [(node("a"), None)].into(),
        };
        let reign = ReignStatus { policy: Some(degraded), ..ReignStatus::default() };
        for writer in [true, false] {
            let text = render(&LogStatus { reign: reign.clone(), writer, ..log() });
            assert_eq!(text.contains("DEGRADED"), writer, "{text}");
        }
    }

    #[test]
    fn a_lease_is_told_with_who_holds_it_or_why_nobody_does() {
        let (a, second) = (|| LeaseHolder::Node(node("a")), Duration::from_secs(1));
        for (holder, epoch, valid, trouble, told) in [
            (a(), 3, Some(second), None, "  lease held by a for epoch 3, good for 1s\n"),
            (a(), 3, None, None, "  lease held by a for epoch 3\n"),
            (LeaseHolder::Nobody, 0, None, Some("no vote"), "  lease free: nobody holds it\n    no vote\n"),
            (
                LeaseHolder::Unknown,
                0,
                None,
                Some("access denied"),
                "  lease UNKNOWN: its store has not said lately who holds it\n    access denied\n",
            ),
        ] {
            let lease = LeaseStatus { holder, epoch, valid, trouble: trouble.map(str::to_owned) };
            let reign = ReignStatus { lease: Some(lease), ..ReignStatus::default() };
            let text = render(&LogStatus { reign, ..log() });
            assert!(text.ends_with(told), "{text}");
        }
    }

    #[test]
    fn a_fenced_writer_and_a_log_without_a_policy_say_so() {
        let reign = ReignStatus { fenced: true, accepted: 3, ..ReignStatus::default() };
        let text = render(&LogStatus { reign, ..log() });
        assert!(text.contains("promises local: a promotion protects nothing"), "{text}");
        assert!(text.contains("FENCED: this agent accepted epoch 3"), "{text}");
    }
}
