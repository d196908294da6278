//! Who makes a call.

use std::{net::SocketAddr, sync::Arc};

use longshore_format::ErrorKind;
use longshore_protocol::{Name, NodeId, Region};

use crate::{
    Error, Result,
    grants::{Grants, Role},
};

/// The identity behind a call, and what was granted to it when the call began.
///
/// A long call is ended when its caller loses the grant it stands on, so that nobody needs to ask twice.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(crate) identity: Name,
    pub(crate) address: SocketAddr,
    /// `None` on a plaintext agent without grants, where loopback is trusted with everything.
    pub(crate) grants: Option<Arc<Grants>>,
}

impl Caller {
    /// A caller who may do everything: a program talking to itself, or a test.
    ///
    /// ```
    /// use longshore_format::Name;
    /// use longshore_transport::{Caller, grants::Role};
    ///
    /// let caller = Caller::trusted(Name::new("test")?);
    /// assert!(caller.may(Role::Admin, &Name::new("orders")?));
    /// # Ok::<(), longshore_format::FormatError>(())
    /// ```
    pub fn trusted(identity: Name) -> Caller {
        Caller { identity, address: SocketAddr::from(([127, 0, 0, 1], 0)), grants: None }
    }

    /// The identity in its certificate.
    pub fn identity(&self) -> &Name {
        &self.identity
    }

    /// The identity as the name of a node.
    pub fn node(&self) -> NodeId {
        self.identity.clone().into()
    }

    /// Where it calls from.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its region, from the grants.
    pub fn region(&self) -> Option<Region> {
        self.grants.as_ref()?.of(&self.identity)?.region.clone()
    }

    /// Its provider, from the grants.
    pub fn provider(&self) -> Option<String> {
        self.grants.as_ref()?.of(&self.identity)?.provider.clone()
    }

    /// Whether it has a role for a log.
    pub fn may(&self, role: Role, log: &Name) -> bool {
        self.grants.as_ref().is_none_or(|grants| grants.allows(&self.identity, role, log))
    }

    /// Fails, with the line to add, unless it has one of these roles for a log.
    pub(crate) fn require(&self, roles: &[Role], log: &Name) -> Result<()> {
        match roles.iter().any(|role| self.may(*role, log)) {
            true => Ok(()),
            false => Err(self.denied(roles[0], log.as_str())),
        }
    }

    fn denied(&self, role: Role, log: &str) -> Error {
        let identity = &self.identity;
        let line = self.grants.as_ref().map(|grants| grants.line_to_add(identity, role, log)).unwrap_or_default();
        Error::new(
            ErrorKind::Denied,
            format!("{identity} does not have the role {role} for log {log}"),
            format!("write under [{identity}] in the agent's grants.toml: {line}"),
        )
        .fact("identity", identity)
        .fact("role", role)
        .fact("log", log)
        .fact("grant", line)
    }
}
