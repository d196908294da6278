//! How a log's follower becomes its writer: the first records of a new epoch.
//!
//! Whether it may is decided elsewhere, and by then this node has accepted the epoch, so that a crash at any step leaves it
//! a follower that believes no older writer, or the writer of the new epoch. Never both: the epoch's first record is what
//! makes the difference.

use std::sync::Arc;

use longshore_format::{Control, Epoch, EpochEntry, Flags, FormatError, Kind, Policy, payload, payload_crc};
use longshore_storage::{Directory, Environment};

use crate::append::extent;
use crate::control_file::ControlFile;
use crate::{Error, Recovery, Result, Role, Settings, Wal};

/// The epoch that a node is to write from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// Its number, and the random id of this node as its writer.
    pub epoch: Epoch,
    /// What the log promises in it, and who votes: its records follow the epoch's first, in this order.
    pub policies: Vec<Policy>,
}

impl Promotion {
    /// A number has one writer ever, and numbers only grow.
    pub(crate) fn check(&self, control: &Control) -> Result<()> {
        let (epoch, highest) = (self.epoch, control.highest);
        let begun = control.history.current().epoch.number;
        if epoch.number < highest.number
            || (epoch.number == highest.number && epoch != highest)
            || epoch.number <= begun
        {
            return Err(Error::Fenced { epoch: epoch.to_string(), accepted: highest.to_string() });
        }
        Ok(())
    }
}

impl Wal {
    /// Opens a follower's log as the writer of a new epoch, which begins at its end; an open run is aborted. The epoch's
    /// first record is durable when it returns.
    ///
    /// # Errors
    /// As [`Wal::open`]; [`Error::Fenced`] if this node has accepted a later epoch, or this one from another writer.
    pub fn promote(
        dir: Arc<dyn Directory>,
        env: Arc<dyn Environment>,
        settings: Settings,
        promotion: &Promotion,
    ) -> Result<(Wal, Recovery)> {
        let settings = Settings { role: Role::Writer, ..settings };
        let (wal, mut recovery) = Wal::open_as(dir, env, settings, Some(promotion))?;
        recovery.end = wal.sync_once()?;
        Ok((wal, recovery))
    }

    /// Opens a log in the role that this node has: the writer's if it was promoted last of all that it knows of, the
    /// follower's if somebody else was. For the node that created the log, before any promotion, `settings` say which.
    ///
    /// # Errors
    /// As [`Wal::open`].
    pub fn open_in_role(
        dir: Arc<dyn Directory>,
        env: Arc<dyn Environment>,
        settings: Settings,
    ) -> Result<(Wal, Recovery)> {
        let role = Wal::role_of(&dir)?.unwrap_or(settings.role);
        let follower = Settings { role: Role::Follower, ..settings.clone() };
        if role == Role::Follower {
            return Wal::open(dir, env, follower);
        }
        match Wal::open(Arc::clone(&dir), Arc::clone(&env), Settings { role, ..settings }) {
            // Control was ahead: a promotion stopped before its first record.
            Err(Error::NotTheWriter { .. } | Error::Fenced { .. }) => Wal::open(dir, env, follower),
            opened => opened,
        }
    }

    /// What this node is to a closed log, as its control file says; `None` for a node that only created it.
    fn role_of(dir: &Arc<dyn Directory>) -> Result<Option<Role>> {
        let control = ControlFile::read(dir)?;
        let current = control.history.current().epoch;
        let is_writer = control.writers.contains(&current.writer) && current == control.highest;
        Ok(match is_writer {
            true if current.number == 1 => None,
            true => Some(Role::Writer),
            false => Some(Role::Follower),
        })
    }

    pub(crate) fn begin_epoch(&self, promotion: &Promotion) -> Result<()> {
        let shared = self.shared();
        let incarnation = shared.draw_incarnation()?;
        // The history gains one entry, and is as long as it can be at most.
        let longest = payload::EpochStart { history: self.history() }.encode().len() + EpochEntry::LEN;
        let policies = promotion.policies.iter().map(|policy| Ok((policy.encode()?, policy)));
        let policies = policies.collect::<Result<Vec<_>, FormatError>>().map_err(|_| TOO_LARGE)?;
        let more = policies.iter().map(|(bytes, _)| extent(bytes.len()) as usize).sum();
        let mut appender = self.place_for(longest, more)?;
        let life = EpochEntry { start: appender.position(), epoch: promotion.epoch, incarnation };
        let mut history = appender.history.clone();
        history.push(life).expect("its number is greater, and every life has a record");
        shared.control.change(|control| {
            control.highest = promotion.epoch;
            control.push_writer(promotion.epoch.writer);
        });
        shared.announce_lives(&[life])?;
        let payload = payload::EpochStart { history }.encode();
        appender.mint(shared, Kind::EPOCH_START, Flags::NONE, &payload, payload_crc(&payload), Some(life))?;
        for (bytes, policy) in policies {
            let minted = appender.mint(shared, Kind::POLICY, Flags::NONE, &bytes, payload_crc(&bytes), None)?;
            shared.control.change(|control| control.push_policy(minted.end, policy.clone()));
        }
        appender.publish(shared);
        Ok(())
    }
}

pub(crate) const TOO_LARGE: Error = Error::Invalid("a policy has at most 32 voters and a durability of 1024 bytes");
