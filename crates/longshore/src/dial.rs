//! The replica's dialling loop: one upstream at a time, and one task per log that it is followed for.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_format::Name;
use longshore_protocol::Backoff;
use longshore_transport::tls::ClientTls;
use longshore_transport::{Address, Client, ClientSettings, Connector, Http2, LogSummary};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::event::Event;
use crate::lanes::Lanes;
use crate::node::Node;
use crate::pursue::{Outcome, REFUSED_PAUSE, pursue};
use crate::replica::Sinks;
use crate::server::{claimed_identity, tls_files};
use crate::upstream_state::Doing;

/// Follows what the upstreams grant until told to stop.
pub(crate) struct Dialler {
    node: Node,
    connector: Connector,
    upstreams: Vec<Address>,
    wanted: Vec<Name>,
    sinks: Sinks,
    /// Logs about which a person must decide, and why.
    refused: BTreeMap<Name, String>,
    /// The last problem that was told, so that it is not told at every attempt.
    told: Option<String>,
}

impl Dialler {
    pub(crate) fn new(node: Node, sinks: Sinks) -> Result<Self> {
        let settings = node.settings().clone();
        if settings.replica.upstreams.is_empty() {
            let reason = "must name at least one [NAME@]HOST:PORT".to_owned();
            return Err(Error::Settings { key: "replica.upstreams".to_owned(), reason });
        }
        let upstreams = settings.replica.upstreams.iter().map(|text| text.parse());
        let upstreams = upstreams.collect::<Result<Vec<Address>, longshore_transport::Error>>()?;
        let wanted = settings.replica.logs.iter().map(|name| crate::node::parse_name("replica.logs", name));
        let wanted = wanted.collect::<Result<_>>()?;
        let defaults = ClientSettings::default();
        let window = u32::try_from(settings.network.window.0 + settings.network.frame.0).unwrap_or(u32::MAX >> 1);
        let http2 = Http2 {
            stream_window: window,
            connection_window: window,
            keepalive_interval: settings.network.silence,
            keepalive_timeout: settings.network.silence,
            ..defaults.http2
        };
        let client = ClientSettings { http2, connect_deadline: settings.network.handshake, ..defaults };
        let connector = if settings.tls.plaintext {
            Connector::plaintext_on_loopback(claimed_identity(&settings, node.id().as_str())?, client)
        } else {
            Connector::new(ClientTls::load(tls_files(&settings.tls)?)?, client)
        };
        Ok(Self { node, connector, upstreams, wanted, sinks, refused: BTreeMap::new(), told: None })
    }

    /// Dials, follows, pauses, and dials again until told to stop.
    ///
    /// # Errors
    /// When a person must decide about every log that is wanted: the first one's reason.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let settings = self.node.settings().replica.clone();
        let mut backoff = Backoff::new(settings.backoff_min, settings.backoff_max);
        let mut next = 0;
        loop {
            let address = self.upstreams[next % self.upstreams.len()].clone();
            next += 1;
            let begun = Instant::now();
            let ended = tokio::select! {
                ended = self.use_upstream(&address, &stop) => ended,
                () = stop.cancelled() => return Ok(()),
            };
            match ended {
                Ok(()) => return Ok(()),
                Err(Ended::Finally(error)) => return Err(error),
                Err(Ended::Lost(error)) => self.tell(&address, &error),
            }
            if settings.backoff_max < begun.elapsed() {
                backoff.reset();
            }
            // Another upstream may be better at once; after a round of all, pause.
            if next % self.upstreams.len() == 0 || backoff.attempts() == 0 {
                let pause = backoff.pause(crate::random(&**self.node.environment()));
                tokio::select! {
                    () = sleep(pause) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
        }
    }

    /// Connects to one upstream and follows its logs until the connection for live tails is lost.
    async fn use_upstream(&mut self, address: &Address, stop: &CancellationToken) -> Result<(), Ended> {
        let lanes = Lanes::connect(&self.connector, address).await.map_err(|error| Ended::Lost(error.into()))?;
        let lanes = Arc::new(lanes);
        let mut following = Following::default();
        let mut look_at = Instant::now();
        let every = self.node.settings().replica.discover_every;
        loop {
            tokio::select! {
                () = sleep_until(look_at) => {
                    self.discover(&lanes, &mut following).await?;
                    look_at = Instant::now() + every;
                }
                Some(ended) = following.tasks.join_next() => {
                    let Ok((name, outcome)) = ended else { continue };
                    following.running.remove(&name);
                    look_at = look_at.min(self.after(lanes.live(), name, outcome, &mut following)?);
                    if lanes.live().is_closed() {
                        let why = format!("the connection to {address} was lost");
                        let error = longshore_transport::Error::new(longshore_format::ErrorKind::Unavailable, why, "it is made again");
                        return Err(Ended::Lost(error.into()));
                    }
                }
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Asks what there is, and begins to follow what is not followed yet.
    async fn discover(&mut self, lanes: &Arc<Lanes>, following: &mut Following) -> Result<(), Ended> {
        let offered = lanes.live().logs().await.map_err(|error| Ended::Lost(error.into()))?;
        let wanted = |log: &LogSummary| self.wanted.is_empty() || self.wanted.contains(&log.name);
        let now = Instant::now();
        for log in offered.iter().filter(|log| wanted(log)) {
            let paused = following.paused.get(&log.name).is_some_and(|until| now < *until);
            if paused || !following.running.insert(log.name.clone()) {
                continue;
            }
            let (node, lanes, sinks, log) = (self.node.clone(), Arc::clone(lanes), self.sinks.clone(), log.clone());
            following.tasks.spawn(async move {
                let outcome = pursue(&node, &lanes, &log, &sinks).await;
                (log.name, outcome)
            });
        }
        let missing = self.wanted.iter().find(|name| !offered.iter().any(|log| log.name == **name));
        if let Some(missing) = missing {
            let client = lanes.live();
            let why = format!("{} offers no log {missing} to this identity", client.address());
            let error = longshore_transport::Error::new(
                longshore_format::ErrorKind::NotFound,
                why,
                "create it there, or grant the role replicate for it",
            );
            self.tell(client.address(), &error.into());
        }
        Ok(())
    }

    /// What to do after following a log ended; when to look for logs to follow again.
    fn after(
        &mut self,
        client: &Client,
        name: Name,
        outcome: Outcome,
        following: &mut Following,
    ) -> Result<Instant, Ended> {
        let replica = &self.node.settings().replica;
        let (error, pause, doing) = match outcome {
            Outcome::Again => {
                following.paused.remove(&name);
                following.backoffs.remove(&name);
                return Ok(Instant::now());
            }
            Outcome::Later(error) => {
                let backoff = following.backoffs.entry(name.clone());
                let backoff = backoff.or_insert_with(|| Backoff::new(replica.backoff_min, replica.backoff_max));
                (error, backoff.pause(crate::random(&**self.node.environment())), Doing::Pausing)
            }
            Outcome::Refused(error) => (error, REFUSED_PAUSE, Doing::Refused),
        };
        let until = Instant::now() + pause;
        following.paused.insert(name.clone(), until);
        let (reason, upstream) = (error.to_string(), client.address().to_string());
        if let Some(log) = self.node.get(&name) {
            log.upstream.set(&upstream, doing, Some(reason.clone()));
        }
        let before = match doing {
            Doing::Refused => self.refused.insert(name.clone(), reason.clone()),
            _ => self.refused.remove(&name),
        };
        if before.as_ref() != Some(&reason) {
            self.node.events().raise(Event::NotFollowing { log: Some(name), upstream, reason });
        }
        let none_left =
            following.running.is_empty() && following.paused.keys().all(|log| self.refused.contains_key(log));
        if none_left { Err(Ended::Finally(error)) } else { Ok(until) }
    }

    fn tell(&mut self, address: &Address, error: &Error) {
        let reason = error.to_string();
        if self.told.as_ref() == Some(&reason) {
            return;
        }
        let upstream = address.to_string();
        for log in self.node.logs() {
            log.upstream.set(&upstream, Doing::Pausing, Some(reason.clone()));
        }
        self.told = Some(reason.clone());
        self.node.events().raise(Event::NotFollowing { log: None, upstream, reason });
    }
}

/// The logs that are followed of one upstream.
#[derive(Default)]
struct Following {
    tasks: JoinSet<(Name, Outcome)>,
    running: std::collections::BTreeSet<Name>,
    paused: BTreeMap<Name, Instant>,
    backoffs: BTreeMap<Name, Backoff>,
}

/// Why an upstream is no longer used.
enum Ended {
    /// Try again, here or elsewhere.
    Lost(Error),
    /// There is nothing left to follow.
    Finally(Error),
}
