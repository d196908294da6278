//! The sidecar service: append to a node's logs and read them.

use std::time::Duration;

use longshore_format::{LogId, Lsn, Name};
use longshore_protocol::Durability;
use longshore_transport::{
    Append, Appended, Caller, Create, Error, LogService, Positions, Read, RecordBatches, async_trait,
};
use longshore_wal::RecordDraft;

use super::NodeServices;
use crate::applying::Applying;
use crate::read;
use crate::server::blocking;

#[async_trait]
impl LogService for NodeServices {
    async fn create(&self, _caller: &Caller, request: Create) -> Result<LogId, Error> {
        let node = self.node.clone();
        let create = move || node.create(request.log.as_str(), request.content, Some(request.segment_size));
        Ok(blocking("create a log", create).await?.wal.id())
    }

    async fn append(&self, _caller: &Caller, request: Append) -> Result<Appended, Error> {
        self.node.must_write(&request.log)?;
        let log = self.log(&request.log)?;
        // Before anything is appended: no waiting would bring it.
        request.wait.iter().try_for_each(|durability| log.may_be_had(durability))?;
        for draft in &request.records {
            self.node.check_payload(log.wal.content(), &draft.payload)?;
        }
        let drafts: Vec<_> =
            request.records.iter().map(|draft| RecordDraft { kind: draft.kind, payload: &draft.payload }).collect();
        let ticket = log.append(&drafts, request.expect)?;
        if let Some(durability) = &request.wait {
            confirm(&log, ticket.position(), durability, request.timeout).await?;
        }
        Ok(Appended { start: ticket.start(), end: ticket.position() })
    }

    async fn read(&self, _caller: &Caller, request: Read) -> Result<RecordBatches, Error> {
        let log = self.log(&request.log)?;
        Ok(read::serve(log, request, self.stop.clone()).await?)
    }

    async fn wait(
        &self,
        _caller: &Caller,
        log: &Name,
        position: Lsn,
        durability: &Durability,
        timeout: Duration,
    ) -> Result<Lsn, Error> {
        confirm(&*self.log(log)?, position, durability, timeout).await
    }

    async fn positions(&self, _caller: &Caller, log: &Name) -> Result<Positions, Error> {
        Ok(self.log(log)?.positions())
    }

    async fn mark(&self, _caller: &Caller, log: &Name, name: &Name) -> Result<Lsn, Error> {
        self.node.must_write(log)?;
        let (log, name) = (self.log(log)?, name.clone());
        Applying::known(&log).await;
        Ok(blocking("mark a log", move || log.mark(&name)).await?.position())
    }
}

/// Waits for a position, at most `timeout`.
async fn confirm(
    log: &crate::log::Log,
    position: Lsn,
    durability: &Durability,
    timeout: Duration,
) -> Result<Lsn, Error> {
    match tokio::time::timeout(timeout, log.wait(position, durability)).await {
        Ok(reached) => Ok(reached?),
        Err(_) => Err(log.unconfirmed(position, durability, timeout).into()),
    }
}
