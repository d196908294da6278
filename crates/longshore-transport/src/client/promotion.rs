//! The calls that move the role of a writer.

use std::time::Duration;

use longshore_format::{Epoch, Lsn};
use longshore_protocol::Name;

use super::Client;
use crate::{Promote, Promoted, Result, Surveyed, convert, proto};

/// A promotion may have to fetch what others hold.
const PROMOTION: Duration = Duration::from_secs(3600);

impl Client {
    /// What the agent's copy of a log is; with `since`, how many of the user's records lie behind that position.
    pub async fn survey(&self, log: &Name, since: Option<Lsn>) -> Result<Surveyed> {
        let request = proto::SurveyRequest { log: log.to_string(), since: since.map(Lsn::get) };
        convert::promotion::parse_witness(self.answer(self.admin().survey(request)).await?)
    }

    /// Makes the agent accept an epoch, durably.
    ///
    /// # Errors
    /// `Fenced` when it accepted a later one before, or this one of another writer. Without an answer it may have accepted it.
    pub async fn fence(&self, log: &Name, epoch: Epoch) -> Result<Surveyed> {
        let request = proto::FenceRequest { log: log.to_string(), epoch: Some(convert::epoch_message(&epoch)) };
        convert::promotion::parse_witness(self.answer(self.admin().fence(request)).await?)
    }

    /// Makes the agent the log's writer, or has it say what that would take.
    ///
    /// # Errors
    /// `Fenced` when that is refused. Without an answer ask again: a promotion can be run again after anything.
    pub async fn promote(&self, promote: &Promote) -> Result<Promoted> {
        let request = convert::promotion::promote_message(promote);
        convert::promotion::parse_promoted(self.answer_within(PROMOTION, self.admin().promote(request)).await?)
    }
}
