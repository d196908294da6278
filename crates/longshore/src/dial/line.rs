//! One upstream: connected to for as long as it answers, with one task per log that is followed through it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_format::{ErrorKind, Name};
use longshore_protocol::{Backoff, NodeId};
use longshore_transport::{Address, LogSummary};
use longshore_wal::Role;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::heard::Heard;
use super::pauses::Pauses;
use super::search::{SEARCH, SEARCH_FIRST, Search};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::lanes::Lanes;
use crate::pursue::{Outcome, REFUSED_PAUSE, pursue};
use crate::server::blocking;
use crate::upstream_state::Doing;

/// The dialling of one upstream.
pub(super) struct Line {
    shared: Arc<Shared>,
    place: usize,
    address: Address,
    /// Logs about which a person must decide, and why.
    refused: BTreeMap<Name, String>,
    /// The last problem that was told, so that it is not told at every attempt.
    told: Option<String>,
    /// When upstreams are asked again who leads to a writer.
    search: Search,
}

impl Line {
    pub(super) fn new(shared: Arc<Shared>, place: usize, address: Address) -> Self {
        Self { shared, place, address, refused: BTreeMap::new(), told: None, search: Search::default() }
    }

    /// Dials, follows, pauses, and dials again until told to stop.
    ///
    /// # Errors
    /// When this is the only upstream, and a person must decide about every log that is wanted: the first one's reason.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let settings = self.shared.node.settings().replica.clone();
        let mut backoff = Backoff::new(settings.backoff_min, settings.backoff_max);
        loop {
            let begun = Instant::now();
            let ended = tokio::select! {
                ended = self.use_upstream(&stop) => ended,
                () = stop.cancelled() => return Ok(()),
            };
            match ended {
                Ok(()) => return Ok(()),
                Err(Ended::Finally(error)) => return Err(error),
                Err(Ended::Lost(error)) => self.tell(&error),
            }
            if settings.backoff_max < begun.elapsed() {
                backoff.reset();
            }
            let pause = backoff.pause(crate::random(&**self.shared.node.environment()));
            // An upstream that was gone for long may be the one that is promoted now.
            let mut accepted = self.shared.node.accepted().subscribe();
            tokio::select! {
                () = sleep(pause) => {}
                _ = accepted.changed() => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Connects and follows until the connection for live tails is lost.
    async fn use_upstream(&mut self, stop: &CancellationToken) -> Result<(), Ended> {
        let lanes = Lanes::connect(&self.shared.connector, &self.address).await;
        let lanes = Arc::new(lanes.map_err(|error| Ended::Lost(error.into()))?);
        let mut following = Following::new(Arc::clone(&self.shared), self.place);
        let mut freed = self.shared.taken.freed();
        let mut accepted = self.shared.node.accepted().subscribe();
        let mut heard = Heard::new(&accepted.borrow_and_update());
        let mut look_at = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(look_at) => look_at = Instant::now() + self.discover(&lanes, &mut following).await?,
                _ = freed.changed() => look_at = look_at.min(Instant::now() + SEARCH / 10),
                _ = accepted.changed() => {
                    for log in heard.news(&accepted.borrow_and_update()) {
                        self.search.told(&log, Instant::now());
                        following.forgive(&log, self.refused.contains_key(&log));
                    }
                    look_at = look_at.min(Instant::now() + SEARCH_FIRST);
                }
                Some(ended) = following.tasks.join_next() => {
                    let Ok((name, outcome)) = ended else { continue };
                    let lasted = following.ended(&name);
                    look_at = look_at.min(self.after(name, outcome, lasted, &mut following)?);
                }
                () = stop.cancelled() => return Ok(()),
            }
            if lanes.live().is_closed() {
                let why = format!("the connection to {} was lost", self.address);
                let error = longshore_transport::Error::new(ErrorKind::Unavailable, why, "it is made again");
                return Err(Ended::Lost(error.into()));
            }
        }
    }

    /// Asks what there is, and begins to follow what is to be followed through this upstream. Answers when to ask again.
    async fn discover(&mut self, lanes: &Arc<Lanes>, following: &mut Following) -> Result<Duration, Ended> {
        let offered = lanes.live().logs().await.map_err(|error| Ended::Lost(error.into()))?;
        let wanted = |log: &&LogSummary| self.shared.wanted.is_empty() || self.shared.wanted.contains(&log.name);
        // A log that is followed through nobody may be missing from the list while it changes hands there.
        let every = self.shared.node.settings().replica.discover_every;
        let (now, searched) = (Instant::now(), self.searched());
        let mut again = self.search.pause(&searched, now).map_or(every, |pause| every.min(pause));
        for log in offered.iter().filter(wanted) {
            let route = self.route(lanes, log).await;
            self.shared.taken.note(&log.name, self.place, route.is_rooted, route.is_open);
            if let Some(known) = self.shared.node.get(&log.name).filter(|_| following.running.contains_key(&log.name)) {
                known.upstream.came_by(route.path.clone());
            }
            let is_paused = following.pauses.is_paused(&log.name, now);
            if is_paused || following.running.contains_key(&log.name) || !route.is_open {
                let searching = route.is_wanted && !self.shared.taken.is_taken(&log.name);
                again = if searching { again.min(SEARCH) } else { again };
                continue;
            }
            match self.shared.taken.take(&log.name, self.place, route.is_rooted) {
                Some(leave) => following.begin(lanes, log, route.path, leave),
                // Its upstream was asked to leave it, or keeps it.
                None => again = if route.is_rooted { again } else { again.min(4 * SEARCH) },
            }
        }
        self.tell_missing(lanes, &offered);
        Ok(again)
    }

    /// The logs here that are to be followed, and are not.
    fn searched(&self) -> Vec<Name> {
        let (wanted, taken) = (&self.shared.wanted, &self.shared.taken);
        let logs = self.shared.node.logs().into_iter().filter(|log| {
            let is_wanted = wanted.is_empty() || wanted.contains(&log.name);
            let follows = log.wal.role() == Role::Follower || log.wal.is_fenced();
            is_wanted && follows && !taken.is_taken(&log.name)
        });
        logs.map(|log| log.name.clone()).collect()
    }

    /// Whether a log is to be followed through this upstream.
    async fn route(&self, lanes: &Lanes, offered: &LogSummary) -> Route {
        let node = &self.shared.node;
        let mut path = offered.path.clone();
        if offered.accepted.is_none() {
            // An agent of an earlier version does not say; it is what this node was told to follow.
            path = vec![lanes.live().server().cloned().map_or_else(|| node.id().clone(), NodeId::from)];
        }
        let is_rooted = !path.is_empty();
        let is_ring = offered.accepted.is_some() && path.contains(node.id());
        let Some(log) = node.get(&offered.name) else {
            let is_open = !is_ring && (is_rooted || self.shared.upstreams == 1);
            return Route { path, is_rooted, is_open, is_wanted: true };
        };
        let is_claimed = log.claim.is_taken();
        if log.wal.role() == Role::Follower {
            let is_open = !is_claimed && !is_ring && (is_rooted || self.shared.upstreams == 1);
            return Route { path, is_rooted, is_open, is_wanted: true };
        }
        // This node writes it, unless somebody writes a later epoch by now.
        let accepted = offered.accepted.filter(|accepted| log.wal.accepted_epoch().number < accepted.number);
        if let Some(epoch) = accepted.filter(|_| offered.writes && !is_claimed) {
            let (node, log) = (node.clone(), Arc::clone(&log));
            let stepped_down = blocking("step down", move || node.accept_epoch(&log, epoch)).await;
            if let Err(error) = stepped_down {
                tracing::error!(log = %offered.name, %error, "cannot step down");
            }
        }
        let is_wanted = log.wal.is_fenced();
        Route { is_open: is_wanted && is_rooted && !is_ring && !is_claimed, path, is_rooted, is_wanted }
    }

    /// What to do after following a log ended, which `lasted` so long; when to look for logs to follow again.
    fn after(
        &mut self,
        name: Name,
        outcome: Outcome,
        lasted: Duration,
        following: &mut Following,
    ) -> Result<Instant, Ended> {
        let node = &self.shared.node;
        let (error, pause, doing) = match outcome {
            Outcome::Again => {
                following.pauses.end(&name);
                return Ok(Instant::now());
            }
            Outcome::Later(error) => {
                let random = crate::random(&**node.environment());
                (error, following.pauses.next(&name, lasted, random), Doing::Pausing)
            }
            Outcome::Refused(error) => (error, REFUSED_PAUSE, Doing::Refused),
        };
        let until = Instant::now() + pause;
        following.pauses.wait(&name, until);
        let (reason, upstream) = (error.to_string(), self.address.to_string());
        if let Some(log) = node.get(&name).filter(|_| !self.shared.taken.is_taken(&name)) {
            log.upstream.set(&upstream, doing, Some(reason.clone()));
        }
        let before = match doing {
            Doing::Refused => self.refused.insert(name.clone(), reason.clone()),
            _ => self.refused.remove(&name),
        };
        if before.as_ref() != Some(&reason) {
            node.events().raise(Event::NotFollowing { log: Some(name), upstream, reason });
        }
        let none_left =
            following.running.is_empty() && following.pauses.logs().all(|log| self.refused.contains_key(log));
        let is_over = none_left && self.shared.upstreams == 1;
        if is_over { Err(Ended::Finally(error)) } else { Ok(until) }
    }

    fn tell_missing(&mut self, lanes: &Lanes, offered: &[LogSummary]) {
        let missing = self.shared.wanted.iter().find(|name| !offered.iter().any(|log| log.name == **name));
        let Some(missing) = missing.filter(|_| self.shared.upstreams == 1) else { return };
        let why = format!("{} offers no log {missing} to this identity", lanes.live().address());
        let next = "create it there, or grant the role replicate for it";
        self.tell(&longshore_transport::Error::new(ErrorKind::NotFound, why, next).into());
    }

    fn tell(&mut self, error: &Error) {
        let reason = error.to_string();
        if self.told.as_ref() == Some(&reason) {
            return;
        }
        let upstream = self.address.to_string();
        let node = &self.shared.node;
        let idle =
            |log: &Arc<crate::log::Log>| log.wal.role() == Role::Follower && !self.shared.taken.is_taken(&log.name);
        for log in node.logs().iter().filter(|log| idle(log)) {
            log.upstream.set(&upstream, Doing::Pausing, Some(reason.clone()));
        }
        self.told = Some(reason.clone());
        node.events().raise(Event::NotFollowing { log: None, upstream, reason });
    }
}

/// How a log would come here through an upstream.
struct Route {
    /// The nodes it comes through, the upstream first and the writer last.
    path: Vec<NodeId>,
    /// Whether there are any.
    is_rooted: bool,
    /// Whether it may be followed that way.
    is_open: bool,
    /// Whether it is to be followed at all.
    is_wanted: bool,
}

/// The logs that are followed through one upstream. Dropped, it leaves them to others.
struct Following {
    shared: Arc<Shared>,
    place: usize,
    tasks: JoinSet<(Name, Outcome)>,
    /// Since when.
    running: BTreeMap<Name, Instant>,
    pauses: Pauses,
}

impl Following {
    fn new(shared: Arc<Shared>, place: usize) -> Self {
        let replica = &shared.node.settings().replica;
        let pauses = Pauses::new(replica.backoff_min, replica.backoff_max);
        Self { shared, place, tasks: JoinSet::new(), running: BTreeMap::new(), pauses }
    }

    fn begin(&mut self, lanes: &Arc<Lanes>, log: &LogSummary, path: Vec<NodeId>, leave: CancellationToken) {
        self.running.insert(log.name.clone(), Instant::now());
        let (shared, place, lanes, log) = (Arc::clone(&self.shared), self.place, Arc::clone(lanes), log.clone());
        self.tasks.spawn(async move {
            let outcome = tokio::select! {
                outcome = pursue(&shared.node, &lanes, &log, path) => outcome,
                () = leave.cancelled() => Outcome::Again,
            };
            // At once: this upstream may be waited for, in vain, before its end is looked at.
            shared.give_up(&log.name, place);
            (log.name, outcome)
        });
    }

    /// A log is no longer followed; for how long it was.
    fn ended(&mut self, log: &Name) -> Duration {
        let begun = self.running.remove(log);
        self.shared.give_up(log, self.place);
        begun.map_or(Duration::ZERO, |begun| begun.elapsed())
    }

    /// Waits no longer with a log whose writer may be another by now, unless a person must look at it.
    fn forgive(&mut self, log: &Name, is_refused: bool) {
        match is_refused {
            true => self.pauses.reset(log),
            false => self.pauses.end(log),
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        for (log, _) in std::mem::take(&mut self.running) {
            self.shared.give_up(&log, self.place);
        }
    }
}

/// Why an upstream is no longer used.
enum Ended {
    /// Try again.
    Lost(Error),
    /// There is nothing left to follow.
    Finally(Error),
}
