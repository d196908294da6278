//! The calls of an operator.

use longshore_protocol::Name;

use super::Client;
use crate::{Forget, Forgotten, Limits, LimitsChange, Result, Status, convert, proto};

impl Client {
    /// What the agent holds and how its replicas do: one log, or all that this identity may see.
    pub async fn status(&self, log: Option<&Name>) -> Result<Status> {
        let request = proto::StatusRequest { log: log.map(Name::to_string).unwrap_or_default() };
        convert::admin::parse_status(self.answer(self.admin().status(request)).await?)
    }

    /// Drops a replica's slot, or says what that would free.
    pub async fn forget(&self, request: &Forget) -> Result<Forgotten> {
        let request = convert::admin::forget_message(request);
        Ok(convert::admin::parse_forgotten(self.answer(self.admin().forget(request)).await?))
    }

    /// Changes what a log retains, as far as asked, and returns what holds then.
    pub async fn limits(&self, log: &Name, change: LimitsChange) -> Result<Limits> {
        let request = convert::admin::limits_message(log, change);
        Ok(convert::admin::parse_limits(self.answer(self.admin().limits(request)).await?))
    }
}
