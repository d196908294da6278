//! How a stream opens: who the replica is, what it speaks, what it holds.

use std::collections::BTreeSet;

use longshore_format::{EpochEntry, EpochHistory, Incarnation, Lsn};
use longshore_protocol::{Feature, Hello, Holding, Name, Offer, VersionRange};
use proto::to_upstream;

use super::{content, epoch, epoch_message, log_id, name, node, required, segment_size, segment_size_field};
use crate::{Error, Result, proto};

/// The first message of a stream.
pub(crate) fn open_message(log: &Name, hello: Hello) -> proto::ToUpstream {
    let open = proto::Open {
        log: log.to_string(),
        node: hello.node.to_string(),
        offer: Some(offer_message(&hello.offer)),
        holding: Some(holding_message(&hello.holding)),
    };
    proto::ToUpstream { message: Some(to_upstream::Message::Open(open)) }
}

/// The log and the `Hello` of the first message of a stream.
pub(crate) fn parse_open(message: proto::ToUpstream) -> Result<(Name, Hello)> {
    let Some(to_upstream::Message::Open(open)) = message.message else {
        return Err(Error::malformed("a stream begins with open"));
    };
    let hello = Hello {
        node: node(&open.node)?,
        offer: parse_offer(required(open.offer, "the offer")?)?,
        holding: parse_holding(required(open.holding, "the holding")?)?,
    };
    Ok((name(&open.log)?, hello))
}

fn offer_message(offer: &Offer) -> proto::Offer {
    proto::Offer {
        oldest_version: offer.versions.min(),
        newest_version: offer.versions.max(),
        features: features_message(&offer.features),
        required_features: features_message(&offer.required),
        program: offer.program.clone(),
    }
}

fn parse_offer(offer: proto::Offer) -> Result<Offer> {
    if offer.program.len() > Offer::MAX_PROGRAM {
        return Err(Error::malformed("the program's name is too long"));
    }
    Ok(Offer {
        versions: VersionRange::new(offer.oldest_version, offer.newest_version).map_err(Error::malformed)?,
        features: parse_features(offer.features)?,
        required: parse_features(offer.required_features)?,
        program: offer.program,
    })
}

pub(super) fn features_message(features: &BTreeSet<Feature>) -> Vec<String> {
    features.iter().map(Feature::to_string).collect()
}

pub(super) fn parse_features(features: Vec<String>) -> Result<BTreeSet<Feature>> {
    if features.len() > Offer::MAX_FEATURES {
        return Err(Error::malformed(format!("{} features", features.len())));
    }
    features.iter().map(|feature| Feature::new(feature).map_err(Error::malformed)).collect()
}

fn holding_message(holding: &Holding) -> proto::Holding {
    proto::Holding {
        log_id: holding.log.as_bytes().to_vec(),
        content: holding.content.to_string(),
        segment_size: segment_size_field(holding.segment_size),
        history: Some(history_message(&holding.history)),
        first: holding.first.get(),
        end: holding.end.get(),
        last_crc: holding.last_crc,
        lost: holding.lost.map(Lsn::get),
        applied: holding.applied.map(Lsn::get),
    }
}

fn parse_holding(holding: proto::Holding) -> Result<Holding> {
    if holding.end < holding.first {
        return Err(Error::malformed("a log that ends before it begins"));
    }
    Ok(Holding {
        log: log_id(&holding.log_id)?,
        content: content(&holding.content)?,
        segment_size: segment_size(holding.segment_size)?,
        history: parse_history(required(holding.history, "the history")?)?,
        first: Lsn::new(holding.first),
        end: Lsn::new(holding.end),
        last_crc: holding.last_crc,
        lost: holding.lost.map(Lsn::new),
        applied: holding.applied.map(Lsn::new),
    })
}

pub(super) fn history_message(history: &EpochHistory) -> proto::EpochHistory {
    let entry = |entry: &EpochEntry| proto::EpochEntry {
        start: entry.start.get(),
        epoch: Some(epoch_message(&entry.epoch)),
        incarnation: entry.incarnation.get(),
    };
    proto::EpochHistory { entries: history.entries().iter().map(entry).collect() }
}

pub(super) fn parse_history(history: proto::EpochHistory) -> Result<EpochHistory> {
    if history.entries.len() > EpochHistory::LIMIT {
        return Err(Error::malformed(format!("a history of {} lives", history.entries.len())));
    }
    let entry = |entry: proto::EpochEntry| {
        Ok(EpochEntry {
            start: Lsn::new(entry.start),
            epoch: epoch(entry.epoch)?,
            incarnation: Incarnation::new(entry.incarnation),
        })
    };
    let entries = history.entries.into_iter().map(entry).collect::<Result<_>>()?;
    EpochHistory::from_entries(entries).map_err(Error::malformed)
}
