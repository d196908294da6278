//! What a node offers over the network: the transport's service traits, in terms of its logs.
//!
//! The transport has checked certificate and role before any of these is called.

mod admin;
mod log;
mod promotion;
mod replication;

use std::sync::Arc;

use longshore_format::Name;
use tokio_util::sync::CancellationToken;

use crate::log::Log;
use crate::node::Node;

/// A node as its clients see it.
pub(crate) struct NodeServices {
    node: Node,
    /// Ends what lasts when the agent stops.
    stop: CancellationToken,
}

impl NodeServices {
    pub(crate) fn new(node: Node, stop: CancellationToken) -> Self {
        Self { node, stop }
    }

    fn log(&self, name: &Name) -> Result<Arc<Log>, longshore_transport::Error> {
        Ok(self.node.require(name)?)
    }
}
