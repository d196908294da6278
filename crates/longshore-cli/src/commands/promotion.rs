//! A log's role of writer moves to the agent that is asked: what that would take, and then doing it.
//!
//! `longshore promote` and `longshore switchover` differ in what they ask for; what is told is told here.

mod json;
mod refused;
mod text;

use longshore_transport::{Client, Promote, Promoted};

use crate::cli::Tls;
use crate::connect::connect;
use crate::failure::Failure;
use crate::{output, runtime};

/// Asks the agent for the plan and tells it; then has it done, unless only the plan was asked for.
pub(super) fn run(tls: &Tls, server: &str, request: &Promote, json: bool) -> Result<(), Failure> {
    runtime::for_commands()?.block_on(async {
        let client = connect(tls, server).await?;
        let plan = client.promote(&Promote { plan: true, ..request.clone() }).await;
        let plan = plan.map_err(|error| refused::planning(error.into(), server))?;
        if !json {
            output::print(&text::plan(request, &plan))?;
        }
        // An agent that writes the log already has nothing to do.
        let outcome = match request.plan || plan.promoted {
            true => Ok(None),
            false => done(&client, server, request, &plan).await.map(Some),
        };
        match (json, outcome) {
            (true, outcome) => {
                output::print_json(json::Document::new(
                    request,
                    &plan,
                    outcome.as_ref().ok().and_then(Option::as_ref),
                ))?;
                outcome.map(drop)
            }
            (false, Ok(Some(done))) => output::print(&text::done(request, &plan, &done)),
            (false, outcome) => outcome.map(drop),
        }
    })
}

async fn done(client: &Client, server: &str, request: &Promote, plan: &Promoted) -> Result<Promoted, Failure> {
    let done = client.promote(request).await;
    done.map_err(|error| refused::promoting(error.into(), server, request, plan))
}

/// The name of the agent that was asked.
fn asked(promoted: &Promoted) -> &str {
    promoted.nodes.first().map_or("the agent", |node| node.node.as_str())
}

/// The policy as it is spelled; a log without one promises what one disk does.
fn policy(promoted: &Promoted) -> &str {
    promoted.policy.as_deref().unwrap_or("local")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longshore_format::Lsn;
    use longshore_protocol::NodeId;
    use longshore_transport::{FenceState, Loss, NodeReport};

    use super::*;

    pub(super) fn request() -> Promote {
        let log = "orders".parse().unwrap();
        Promote::of(log)
    }

    fn node(name: &str, address: &str, end: Option<u64>) -> NodeReport {
        NodeReport {
            node: name.to_owned(),
            address: address.to_owned(),
            problem: end.is_none().then(|| "no answer within 2 s".to_owned()),
            end: end.map(Lsn::new),
            epoch: u64::from(end.is_some()),
            writes: false,
            votes: true,
            fenced: end.is_some(),
            archive: false,
            standing: None,
        }
    }

    /// The plan of a replica that is behind another, while the primary does not answer.
    pub(super) fn promoted() -> Promoted {
        Promoted {
            promoted: false,
            epoch: 2,
            position: Lsn::new(9000),
            nodes: vec![
                node("eu-west", "", Some(8000)),
                node("us-east", "us-east@h:2", Some(9000)),
                node("primary", "primary@h:1", None),
            ],
            policy: Some("replicas:1".to_owned()),
            fence: FenceState::Open(vec![NodeId::new("primary").unwrap()]),
            loss: Some(Loss {
                bytes: 2048,
                records: Some(3),
                time: Some(Duration::from_secs(61)),
                holder: "primary@h:1, as it was last heard".to_owned(),
            }),
            write_pause: None,
            warnings: Vec::new(),
            left_open: None,
        }
    }
}
