//! The log's policy: records of the log, of which control keeps the newest.
//!
//! Control learns of one before the record is in the log, so that it is never behind; what it knows of records that a crash
//! then cut, the next open forgets.

use longshore_format::{Control, Flags, Kind, Lsn, Policy, payload_crc};

use crate::append::extent;
use crate::promote::TOO_LARGE;
use crate::shared::Shared;
use crate::{Result, Wal};

impl Wal {
    /// The newest policies, oldest first, each with the position that its record ends at. Empty where none was ever set, or
    /// where this copy began with a segment before which nobody knew of any, and none came since.
    pub fn policies(&self) -> Vec<(Lsn, Policy)> {
        self.shared().control.look(|control| control.policies.clone())
    }

    /// Those of [`policies`](Self::policies) that came up to `at`; `None` if what held there is forgotten.
    pub fn policies_at(&self, at: Lsn) -> Option<Vec<(Lsn, Policy)>> {
        self.shared().control.look(|control| Control::policies_at(&control.policies, at).map(<[_]>::to_vec))
    }

    /// Appends policies one behind the other, with nothing between them; returns where the last one ends. When which of them holds
    /// is the caller's to find out.
    ///
    /// # Errors
    /// As [`Wal::mark`], `Invalid` for one that is too large.
    pub fn set_policies(&self, policies: &[Policy]) -> Result<Lsn> {
        let shared = self.shared();
        let payloads = policies.iter().map(Policy::encode).collect::<Result<Vec<_>, _>>().map_err(|_| TOO_LARGE)?;
        let mut appender = shared.lock(&shared.append)?;
        appender.may_mint(shared)?;
        appender.no_run()?;
        appender.admit(shared, payloads.iter().map(|payload| extent(payload.len())).sum())?;
        let mut ends = Vec::with_capacity(policies.len());
        for (payload, policy) in payloads.iter().zip(policies) {
            let minted = appender.mint(shared, Kind::POLICY, Flags::NONE, payload, payload_crc(payload), None)?;
            ends.push((minted.end, policy.clone()));
        }
        shared.announce_policies(&ends)?;
        Ok(appender.publish(shared))
    }
}

impl Shared {
    /// Notes policies in control, durably, before their records count.
    pub(crate) fn announce_policies(&self, policies: &[(Lsn, Policy)]) -> Result<()> {
        if policies.is_empty() {
            return Ok(());
        }
        self.control.change(|control| {
            for (end, policy) in policies {
                control.push_policy(*end, policy.clone());
            }
        });
        self.control.sync().map_err(|error| self.poison(error))
    }
}
