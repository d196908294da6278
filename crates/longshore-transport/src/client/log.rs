//! The calls of a program that appends and reads.

use std::time::Duration;

use longshore_format::{LogId, Lsn};
use longshore_protocol::{Durability, Name};
use tokio_stream::StreamExt;

use super::Client;
use crate::{Append, Appended, Create, Positions, Read, RecordBatches, Result, convert, proto};

impl Client {
    /// Creates a log.
    pub async fn create(&self, request: Create) -> Result<LogId> {
        let answer = self.answer(self.log().create(convert::log::create_message(request))).await?;
        convert::log_id(&answer.log_id)
    }

    /// Appends a batch as one run, and waits if asked to.
    ///
    /// When the answer is lost the batch may have been appended: try again with `expect` only.
    pub async fn append(&self, request: Append) -> Result<Appended> {
        let limit = self.call_deadline + request.wait.as_ref().map_or(Duration::ZERO, |_| request.timeout);
        let request = convert::log::append_message(request)?;
        let answer = self.answer_within(limit, self.log().append(request)).await?;
        Ok(Appended { start: Lsn::new(answer.start), end: Lsn::new(answer.end) })
    }

    /// Reads records in order. Empty batches are signs of life.
    pub async fn read(&self, request: Read) -> Result<RecordBatches> {
        let answer = self.answer(self.log().read(convert::log::read_message(request))).await?;
        let client = self.clone();
        Ok(Box::pin(
            answer.map(move |batch| batch.map_err(|status| client.failed(status)).and_then(convert::log::parse_batch)),
        ))
    }

    /// Waits until a position is as safe as asked, for at most `timeout`. Returns what is.
    pub async fn wait(&self, log: &Name, position: Lsn, durability: &Durability, timeout: Duration) -> Result<Lsn> {
        let request = proto::WaitRequest {
            log: log.to_string(),
            position: position.get(),
            wait: durability.to_string(),
            timeout_millis: convert::millis(timeout),
        };
        let answer = self.answer_within(self.call_deadline + timeout, self.log().wait(request)).await?;
        Ok(Lsn::new(answer.position))
    }

    /// Where a log and its replicas are.
    pub async fn positions(&self, log: &Name) -> Result<Positions> {
        let request = proto::PositionsRequest { log: log.to_string() };
        convert::log::parse_positions(self.answer(self.log().positions(request)).await?)
    }

    /// Writes a named point into a log.
    pub async fn mark(&self, log: &Name, name: &Name) -> Result<Lsn> {
        let request = proto::MarkRequest { log: log.to_string(), name: name.to_string() };
        Ok(Lsn::new(self.answer(self.log().mark(request)).await?.position))
    }
}
