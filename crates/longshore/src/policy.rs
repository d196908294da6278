//! What a log promises while this node writes it: from its settings into the log, and from the log to the acks that count.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_format::Lsn;
use longshore_protocol::{AckPolicy, NodeId, Policy, Quorum, Region, Shortfall};
use longshore_wal::{Role, Wal};

use crate::error::Result;
use crate::event::Event;
use crate::log::Log;
use crate::node::{Node, parse_name};

/// A writer that cannot have its policy.
#[derive(Debug, Default)]
pub(crate) struct Lack {
    /// Since when.
    since: Option<Duration>,
    /// Whether it goes on without.
    pub(crate) degraded: bool,
}

/// Where the first record of the epoch that is written now can end at the earliest. An ack from there on is of this epoch;
/// zero for an epoch that began with the log.
pub(crate) fn floor(wal: &Wal) -> Lsn {
    let history = wal.history();
    let current = history.current().epoch;
    let begins = history.entries().iter().find(|life| life.epoch == current).expect("the current one is among them");
    if current.number == 1 { Lsn::ZERO } else { begins.start.just_after() }
}

/// The newest policy of a log, and where its record ends.
pub(crate) fn newest(wal: &Wal) -> Result<Option<(Lsn, Policy)>> {
    let newest = wal.policies().pop();
    Ok(newest
        .map(|(end, record)| Ok::<_, longshore_protocol::Error>((end, Policy::of_record(&record)?)))
        .transpose()?)
}

impl Log {
    /// Counts as the log's policies say: by the newest, and by the one before until the newest is durable under both.
    pub(crate) fn take_policies(&self) -> Result<()> {
        if self.wal.role() != Role::Writer {
            return Ok(());
        }
        let records = self.wal.policies();
        let last = records.iter().rev().take(2).rev();
        let policies = last.map(|(_, record)| Policy::of_record(record)).collect::<Result<Vec<_>, _>>()?;
        if let Some(newest) = policies.last() {
            let (durability, shortfall) = (newest.durability.clone(), newest.shortfall);
            self.set_policy(AckPolicy { durability, shortfall, timeout: self.policy().timeout });
        }
        self.standing.set_policies(policies, floor(&self.wal));
        self.settle_policies();
        Ok(())
    }

    /// Lets the newest policy hold alone once its record is durable under both.
    pub(crate) fn settle_policies(&self) {
        let mut policies = self.standing.policies();
        if policies.len() < 2 {
            return;
        }
        let Some((end, _)) = self.wal.policies().pop() else { return };
        if end <= self.standing.policies_reached() {
            let newest = policies.pop().expect("there are two");
            self.events.raise(Event::PolicyHolds { log: self.name.clone(), durability: newest.durability.to_string() });
            self.standing.set_policies(vec![newest], floor(&self.wal));
        }
    }

    /// Whether the policy can be had, and what follows when it cannot: goes on without it, or no longer does.
    pub(crate) fn watch_policy(&self, now: Duration) {
        let policy = self.policy();
        let Shortfall::Degrade { after } = policy.shortfall else { return };
        if self.wal.role() != Role::Writer || self.wal.is_fenced() {
            return;
        }
        let within = self.standing.within_reach(&policy.durability);
        let mut lack = crate::lock(&self.lack);
        let since = if within { None } else { Some(lack.since.unwrap_or(now)) };
        lack.since = since;
        let degraded = since.is_some_and(|since| after <= now.saturating_sub(since));
        // Told once it is in the log; a run that is open holds that up for as long as it lasts.
        if degraded != lack.degraded && self.record_degraded(degraded).is_ok() {
            lack.degraded = degraded;
            self.events.raise(Event::Degraded {
                log: self.name.clone(),
                degraded,
                durability: policy.durability.to_string(),
            });
            self.standing.wake();
        }
    }

    fn record_degraded(&self, degraded: bool) -> Result<()> {
        if let Some((_, policy)) = newest(&self.wal)? {
            self.wal.set_policy(&Policy { degraded, ..policy }.to_record())?;
        }
        Ok(())
    }

    /// Whether a wait at the policy is answered by what is durable here.
    pub(crate) fn is_degraded(&self) -> bool {
        crate::lock(&self.lack).degraded
    }
}

impl Node {
    /// Writes the policy that the settings ask for into a log that this node writes, if it is not what holds already. A log
    /// that has one keeps it where the settings ask for nothing.
    pub(crate) fn declare_policy(&self, log: &Log) -> Result<()> {
        if log.wal.role() != Role::Writer {
            return Ok(());
        }
        let found = newest(&log.wal)?.map(|(_, policy)| policy);
        let Some(wanted) = self.wanted_policy(log, found.as_ref())? else { return Ok(()) };
        if found.as_ref() != Some(&wanted) {
            log.wal.set_policy(&wanted.to_record())?;
        }
        warn_of(log, &wanted, &self.providers(log));
        log.take_policies()
    }

    fn wanted_policy(&self, log: &Log, found: Option<&Policy>) -> Result<Option<Policy>> {
        let ack = &self.settings().ack;
        let asks = ack.durability.quorum != Quorum::Local || !ack.voters.is_empty();
        if !asks {
            let own = |found: &Policy| Policy { writer: self.id().clone(), degraded: false, ..found.clone() };
            return Ok(found.map(own));
        }
        let policy = ack.policy();
        let voters = self.voters(log)?;
        let (durability, shortfall) = (policy.durability, policy.shortfall);
        Ok(Some(Policy { writer: self.id().clone(), durability, shortfall, degraded: false, voters }))
    }

    /// The nodes that count: those that the settings name, else those that the grants let replicate the log, and this one.
    fn voters(&self, log: &Log) -> Result<BTreeMap<NodeId, Option<Region>>> {
        let named = &self.settings().ack.voters;
        let granted = self.access().and_then(|access| access.grants());
        let mut nodes: Vec<NodeId> = Vec::new();
        for name in named {
            nodes.push(parse_name("ack.voters", name)?.into());
        }
        if nodes.is_empty() {
            let Some(grants) = &granted else { return Ok(BTreeMap::new()) };
            nodes.extend(grants.replicas_of(&log.name).map(NodeId::from));
            if !nodes.is_empty() {
                nodes.push(self.id().clone());
            }
        }
        let region = |node: &NodeId| granted.as_ref()?.of(node.as_name())?.region.clone();
        Ok(nodes.into_iter().map(|node| (node.clone(), region(&node))).collect())
    }

    /// Who runs the machines of a log's voters, as the grants say.
    fn providers(&self, log: &Log) -> Vec<Option<String>> {
        let Some(grants) = self.access().and_then(|access| access.grants()) else { return Vec::new() };
        let voters = newest(&log.wal).ok().flatten().map(|(_, policy)| policy.voters).unwrap_or_default();
        voters.keys().map(|node| grants.of(node.as_name()).and_then(|grant| grant.provider.clone())).collect()
    }
}

/// Says what is wrong with a policy that can be seen before it is needed.
fn warn_of(log: &Log, policy: &Policy, providers: &[Option<String>]) {
    let warn = |message: String| log.events.raise(Event::Warning { message });
    let others = policy.voters.iter().filter(|(node, _)| **node != policy.writer);
    let name = &log.name;
    let by_voters = matches!(policy.durability.quorum, Quorum::Replicas(_) | Quorum::Regions { .. });
    if by_voters && policy.voters.is_empty() {
        warn(format!(
            "log {name}: {} has no voters, so no promotion can prove that nothing is lost; name them with --ack-voters",
            policy.durability
        ));
    }
    let regions = |others: &mut dyn Iterator<Item = (&NodeId, &Option<Region>)>| {
        others.filter_map(|(_, region)| region.clone()).collect::<std::collections::BTreeSet<_>>().len()
    };
    let enough = match &policy.durability.quorum {
        Quorum::Replicas(count) => count.get() as usize <= others.clone().count(),
        Quorum::Regions { count, .. } => count.get() as usize <= regions(&mut others.clone()),
        Quorum::Local | Quorum::Archived(_) => true,
    };
    if !policy.voters.is_empty() && !enough {
        warn(format!("log {name}: {} can never be had from its voters; add more, or ask for less", policy.durability));
    }
    if let Some(Some(provider)) = providers.first()
        && 1 < providers.len()
        && providers.iter().all(|other| other.as_ref() == Some(provider))
    {
        let count = providers.len();
        warn(format!(
            "log {name}: all {count} copies are in one provider, {provider}; what stops it stops all of them"
        ));
    }
}
