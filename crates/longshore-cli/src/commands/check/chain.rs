//! A mark, followed from the primary to wherever its log is copied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore::archive::keys::KeyProvider;
use longshore::archive::{Store, archived_to, read_mark};
use longshore_format::{ErrorKind, Lsn, Name};
use longshore_protocol::{Ack, Durability, NodeId, Stage};
use longshore_transport::{Client, ReplicaStatus, Status};
use tokio::task::spawn_local;

use crate::cli::Tls;
use crate::connect::connect;
use crate::failure::Failure;
use crate::quantity::now;

/// What is followed, and where to.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) server: String,
    pub(super) log: Name,
    pub(super) mark: Name,
    /// Addresses of the stores.
    pub(super) stores: Vec<String>,
    pub(super) keys: Option<Arc<dyn KeyProvider>>,
    /// How far a replica must come.
    pub(super) stage: Stage,
    pub(super) timeout: Duration,
}

/// Where it came.
#[derive(Default)]
pub(super) struct Route {
    /// The mark's position, once it is appended.
    pub(super) position: Option<Lsn>,
    pub(super) hops: Vec<Hop>,
    /// The primary's clock against this one.
    pub(super) clock: Option<Clock>,
    /// What the primary said of itself.
    pub(super) status: Option<Status>,
}

/// One step of the way.
pub(super) struct Hop {
    pub(super) what: String,
    /// Since the mark was asked for; before that, how long the step took.
    pub(super) after: Duration,
    pub(super) outcome: Result<(), Failure>,
}

/// How far a clock is ahead of this one, as a question and its answer tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    /// Microseconds; negative when it is behind.
    pub(super) ahead: i64,
    /// How much that may be wrong by: half of the time that the answer took.
    pub(super) within: Duration,
}

/// Between two questions to a primary, and to a store, which may bill each of them.
const ASK_PRIMARY: Duration = Duration::from_millis(20);
const ASK_STORE: Duration = Duration::from_millis(200);

impl Clock {
    pub(super) fn of(asked: u64, theirs: u64, answered: u64) -> Clock {
        let middle = asked / 2 + answered / 2;
        let ahead = i64::try_from(theirs.abs_diff(middle)).unwrap_or(i64::MAX);
        let within = Duration::from_micros(answered.saturating_sub(asked) / 2);
        Clock { ahead: if theirs < middle { -ahead } else { ahead }, within }
    }
}

impl Route {
    /// Notes a hop; what came of it, if it went well.
    fn hop<T>(&mut self, what: String, since: Instant, outcome: Result<T, Failure>) -> Option<T> {
        let (value, outcome) = match outcome {
            Ok(value) => (Some(value), Ok(())),
            Err(failure) => (None, Err(failure)),
        };
        self.hops.push(Hop { what, after: since.elapsed(), outcome });
        value
    }

    /// The first failure, named by its hop.
    pub(super) fn verdict(self) -> Result<(), Failure> {
        let failed = |hop: &Hop| hop.outcome.is_err();
        let others = self.hops.iter().filter(|hop| failed(hop)).count().saturating_sub(1);
        let Some(first) = self.hops.into_iter().find(failed) else { return Ok(()) };
        let failure = first.outcome.expect_err("it is one that failed").at(&first.what);
        Err(match others {
            0 => failure,
            1 => failure.after("another hop failed, too".to_owned()),
            more => failure.after(format!("{more} other hops failed, too")),
        })
    }
}

/// Appends a mark and follows it everywhere at once, within a `LocalSet`. What fails is a hop of the route.
pub(super) async fn follow(tls: &Tls, ask: &Ask) -> Route {
    let mut route = Route::default();
    let begun = Instant::now();
    let connected = connect(tls, &ask.server).await;
    let Some(client) = route.hop(format!("connected to {}", ask.server), begun, connected) else { return route };
    let (begun, asked) = (Instant::now(), now());
    let status = client.status(Some(&ask.log)).await.map_err(Failure::from);
    let Some(status) = route.hop(format!("status of {}", ask.log), begun, status) else { return route };
    route.clock = Some(Clock::of(asked, status.time_micros, now()));
    let replicas = status.logs.first().map(|log| log.replicas.clone()).unwrap_or_default();
    let primary = status.node.clone();
    route.status = Some(status);

    let marked = Instant::now();
    let position = client.mark(&ask.log, &ask.mark).await.map_err(Failure::from);
    let Some(position) = route.hop(format!("appended at {primary}"), marked, position) else { return route };
    route.position = Some(position);
    let pursuit = Pursuit { ask: ask.clone(), position, marked };
    let stores: Vec<_> =
        ask.stores.iter().cloned().map(|url| spawn_local(pursuit.clone().into_store(client.clone(), url))).collect();
    let through = spawn_local(pursuit.clone().into_replicas(client.clone(), replicas));
    let local = client.wait(&ask.log, position, &Durability::LOCAL, ask.timeout).await;
    route.hop(format!("durable at {primary}"), marked, local.map_err(Failure::from));
    for task in std::iter::once(through).chain(stores) {
        match task.await {
            Ok(hops) => route.hops.extend(hops),
            Err(error) => {
                let failure = Failure::internal(format!("a task ended: {error}"));
                route.hop("followed".to_owned(), marked, Err::<(), _>(failure));
            }
        }
    }
    route
}

/// A mark that is on its way.
#[derive(Clone)]
struct Pursuit {
    ask: Ask,
    position: Lsn,
    marked: Instant,
}

impl Pursuit {
    fn late(&self) -> bool {
        self.ask.timeout <= self.marked.elapsed()
    }

    fn hop(&self, what: String, outcome: Result<(), Failure>) -> Hop {
        Hop { what, after: self.marked.elapsed(), outcome }
    }

    /// Asks the primary how far each of its replicas is, until all have come as far as they must.
    async fn into_replicas(self, client: Client, replicas: Vec<ReplicaStatus>) -> Vec<Hop> {
        let mut waiting: BTreeMap<NodeId, Vec<Hop>> =
            replicas.iter().map(|replica| (replica.name.clone(), Vec::new())).collect();
        let wanted: Vec<Stage> = STAGES.into_iter().filter(|stage| *stage <= self.ask.stage).collect();
        while waiting.values().any(|hops| hops.len() < wanted.len() && hops.iter().all(|hop| hop.outcome.is_ok())) {
            let positions = client.positions(&self.ask.log).await;
            let late = self.late();
            for (replica, hops) in &mut waiting {
                while let Some(stage) = wanted.get(hops.len())
                    && hops.iter().all(|hop| hop.outcome.is_ok())
                {
                    let outcome = match &positions {
                        Err(error) => Some(Err(error.clone().into())),
                        Ok(positions) => {
                            let known = positions.replicas.iter().find(|known| known.replica == *replica);
                            self.judge(*stage, known.map(|known| (known.ack, known.connected)), late)
                        }
                    };
                    let Some(outcome) = outcome else { break };
                    hops.push(self.hop(format!("{stage} at {replica}"), outcome));
                }
            }
            if !late {
                tokio::time::sleep(ASK_PRIMARY).await;
            }
        }
        waiting.into_values().flatten().collect()
    }

    /// Whether a replica has come as far as a stage; `None` while it may still.
    fn judge(&self, stage: Stage, known: Option<(Ack, bool)>, late: bool) -> Option<Result<(), Failure>> {
        let Some((ack, connected)) = known else {
            let gone = Failure::new(ErrorKind::NotFound, "the primary does not know it any more");
            return Some(Err(gone.next("somebody forgot it meanwhile; run the check again")));
        };
        let at = ack.at(stage);
        if self.position <= at {
            return Some(Ok(()));
        }
        if !late {
            return None;
        }
        let unconfirmed = |text: String| Failure::new(ErrorKind::Unconfirmed, text);
        Some(Err(match (connected, stage, at) {
            (false, ..) => unconfirmed(format!("it is away, and was at {at} of {}", self.position))
                .next("start it again; `longshore forget` drops one that is gone for good"),
            (true, Stage::Applied, Lsn::ZERO) => unconfirmed("nothing is applied there".to_owned())
                .next("its own status shows what stops its sink; --stage durable if it only keeps the log"),
            (true, ..) => unconfirmed(format!("it is at {at}, and the mark at {}", self.position))
                .next("`longshore status` shows its lag; ask again with a longer --timeout"),
        }))
    }

    /// Asks a store until the mark is archived there, then reads it back.
    async fn into_store(self, client: Client, url: String) -> Vec<Hop> {
        let store = match Store::open(&url) {
            Ok(store) => store,
            Err(error) => return vec![self.hop("archive opened".to_owned(), Err(error.into()))],
        };
        let archived = match self.until_archived(&store).await {
            Err(failure) => Err(self.explained(failure, &client, store.label()).await),
            archived => archived,
        };
        let mut hops = vec![self.hop(format!("archived in {}", store.label()), archived)];
        if hops[0].outcome.is_ok() {
            let read = self.read_back(&store).await;
            hops.push(self.hop(format!("read back from {}", store.label()), read));
        }
        hops
    }

    async fn until_archived(&self, store: &Store) -> Result<(), Failure> {
        let Ask { log, keys, .. } = &self.ask;
        loop {
            let end = match archived_to(store, log, keys.as_deref()).await {
                Ok(Some(end)) if self.position <= end => return Ok(()),
                Err(error) if self.late() || !error.is_passing() => return Err(error.into()),
                Ok(end) => end,
                Err(_) => None,
            };
            if self.late() {
                let position = self.position;
                let (kind, text) = match end {
                    Some(end) => {
                        (ErrorKind::Unconfirmed, format!("it is archived to {end}, and the mark is at {position}"))
                    }
                    None => (ErrorKind::NotFound, format!("log {log} is not archived there")),
                };
                return Err(Failure::new(kind, text).next(
                    "`longshore status` shows which stores the agent archives into, and why one does not go on",
                ));
            }
            tokio::time::sleep(ASK_STORE).await;
        }
    }

    /// Adds what the agent says of a store into which a mark did not come.
    async fn explained(&self, failure: Failure, client: &Client, label: &str) -> Failure {
        let Ok(status) = client.status(Some(&self.ask.log)).await else { return failure };
        let stores = status.logs.iter().flat_map(|log| &log.stores);
        match stores.filter(|store| store.store == label).map(|store| &store.trouble).next() {
            None => failure.after(format!("{} does not archive there", status.node)),
            Some(Some(trouble)) => failure.after(format!("{} says of it: {trouble}", status.node)),
            Some(None) => failure,
        }
    }

    async fn read_back(&self, store: &Store) -> Result<(), Failure> {
        let Ask { log, keys, mark, .. } = &self.ask;
        let (position, found) = (self.position, read_mark(store, log, keys.as_deref(), self.position).await?);
        if found.as_ref() == Some(mark) {
            return Ok(());
        }
        let found = found.map_or("no mark".to_owned(), |found| format!("mark {found}"));
        let text = format!("what ends at {position} there is {found}, not {mark}");
        Err(Failure::new(ErrorKind::Corrupt, text)
            .next("look whose archive it is: `longshore archive ls` and `archive verify`"))
    }
}

const STAGES: [Stage; 3] = [Stage::Received, Stage::Durable, Stage::Applied];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_as_far_ahead_as_the_middle_of_the_answer_says() {
        let millis = Duration::from_millis;
        for (asked, theirs, answered, ahead, within) in [
            (1_000_000, 1_010_000, 1_020_000, 0, millis(10)),
            (1_000_000, 1_510_000, 1_020_000, 500_000, millis(10)),
            (1_000_000, 10_000, 1_020_000, -1_000_000, millis(10)),
            (0, u64::MAX, 0, i64::MAX, millis(0)),
            // This machine's clock was set back meanwhile.
            (2_000_000, 2_000_000, 1_000_000, 500_000, millis(0)),
        ] {
            assert_eq!(Clock::of(asked, theirs, answered), Clock { ahead, within });
        }
    }

    #[test]
    fn a_replica_is_judged_by_how_far_it_is_and_whether_it_is_there() {
        let lsn = Lsn::new;
        let ask = Ask {
            server: "primary@h:1".to_owned(),
            log: "orders".parse().unwrap(),
            mark: "check-1".parse().unwrap(),
            stores: Vec::new(),
            keys: None,
            stage: Stage::Applied,
            timeout: Duration::ZERO,
        };
        let pursuit = Pursuit { ask, position: lsn(100), marked: Instant::now() };
        let ack = Ack::new(lsn(120), lsn(100), lsn(90)).unwrap();
        let judge = |stage, known, late| match pursuit.judge(stage, known, late) {
            None => "not yet".to_owned(),
            Some(Ok(())) => "ok".to_owned(),
            Some(Err(failure)) => failure.to_string(),
        };
        let kept = Ack::new(lsn(100), lsn(100), lsn(0)).unwrap();
        for (stage, known, late, expected) in [
            (Stage::Received, Some((ack, true)), true, "ok"),
            (Stage::Durable, Some((ack, false)), true, "ok"),
            (Stage::Applied, Some((ack, true)), false, "not yet"),
            (Stage::Applied, Some((ack, true)), true, "it is at 90, and the mark at 100"),
            (Stage::Applied, Some((ack, false)), true, "it is away, and was at 90 of 100"),
            (Stage::Applied, Some((kept, true)), true, "nothing is applied there"),
            (Stage::Received, None, false, "the primary does not know it any more"),
        ] {
            assert_eq!(judge(stage, known, late), expected);
        }
    }

    #[test]
    fn the_verdict_is_the_first_failure_and_names_its_hop() {
        let hop = |what: &str, outcome| Hop { what: what.to_owned(), after: Duration::ZERO, outcome };
        let failed = |kind| Err(Failure::new(kind, "why"));
        let hops = vec![hop("a", Ok(())), hop("b", failed(ErrorKind::Corrupt)), hop("c", failed(ErrorKind::Denied))];
        let failure = Route { hops, ..Route::default() }.verdict().unwrap_err();
        assert_eq!(
            (failure.kind(), failure.to_string().as_str()),
            (ErrorKind::Corrupt, "b: why; another hop failed, too")
        );
        assert!(Route { hops: vec![hop("a", Ok(()))], ..Route::default() }.verdict().is_ok());
    }
}
