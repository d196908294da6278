//! What only an archive still holds goes on under the next writer; one that does not answer holds nobody up.

use std::num::NonZeroU32;
use std::time::Instant;

use longshore::archive::{ArchiveSettings, Store};
use longshore::transport::{NodeReport, Standing};
use longshore::{Durability, Sources};

use super::*;

struct Archive(tempfile::TempDir);

impl Archive {
    fn store(&self) -> Store {
        Store::open(&format!("file://{}", self.0.path().display())).unwrap()
    }

    /// Has `agent` archive what it writes.
    fn of(agent: &Agent) -> Archive {
        let archive = Archive(tempfile::tempdir().unwrap());
        let settings = ArchiveSettings { tail_every: Duration::from_millis(10), ..ArchiveSettings::default() };
        agent.node.archive_into(vec![archive.store()], settings);
        archive
    }
}

fn take_from(agent: &Agent, stores: Vec<Store>) {
    agent.node.take_from(Sources { stores, keys: None, every: Duration::from_secs(1) });
}

fn archives(promoted: &Promoted) -> Vec<&NodeReport> {
    promoted.nodes.iter().filter(|node| node.archive).collect()
}

async fn archived(at: &Primary, payload: &str) -> Lsn {
    let ticket = at.append(&[payload]).unwrap();
    within(ticket.wait(Durability::archived(NonZeroU32::MIN))).await.unwrap();
    ticket.position()
}

/// A primary is lost with a record that only its archive holds; the two replicas run.
async fn only_archived(cluster: &Cluster) -> (Archive, Lsn, Agent, Agent) {
    let primary = cluster.primary().await;
    let archive = Archive::of(&primary);
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    confirmed(&writer(&primary), "before", "replicas:2").await;
    a.stop().await.unwrap();
    b.stop().await.unwrap();
    let last = archived(&writer(&primary), "only archived").await;
    primary.stop().await.unwrap();
    (archive, last, cluster.replica("a").await, cluster.replica("b").await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_an_archive_holds_is_told_in_the_plan_and_goes_on_in_the_next_epoch() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let (archive, last, a, b) = only_archived(&cluster).await;
    take_from(&a, vec![archive.store()]);

    let plan = cluster.promote("a", |promote| promote.plan = true).await.unwrap();
    assert_eq!(plan.position, last, "{plan:?}");
    assert_eq!((&plan.fence, &plan.loss), (&FenceState::Whole, &None), "an archive has no vote: {plan:?}");
    let rows = archives(&plan);
    assert_eq!(rows.len(), 1, "{plan:?}");
    assert_eq!((rows[0].end, rows[0].votes, rows[0].fenced), (Some(last), false, true), "{plan:?}");
    assert!(end(&a) < Some(last), "a plan changes nothing");

    let promoted = cluster.promote("a", |_| {}).await.unwrap();
    assert_eq!((promoted.position, &promoted.loss), (last, &None), "{promoted:?}");
    let after = confirmed(&writer(&a), "after", "replicas:1").await;
    until("b has it", || end(&b) >= Some(after)).await;
    assert_eq!(cluster.payloads("b").await, ["before", "only archived", "after"]);
    for agent in [b, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_a_branch_that_died_is_never_gone_on_from_however_long_it_is() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let (archive, last, a, b) = only_archived(&cluster).await;
    // Without the archive: what only it holds dies here.
    cluster.promote("a", |_| {}).await.unwrap();
    confirmed(&writer(&a), "after", "replicas:1").await;
    take_from(&b, vec![archive.store()]);
    let plan = cluster.promote("b", |promote| promote.plan = true).await.unwrap();
    let rows = archives(&plan);
    assert_eq!((rows[0].end, rows[0].fenced), (Some(last), false), "{plan:?}");
    assert!(rows[0].problem.as_ref().is_some_and(|problem| problem.contains("branch that died")), "{plan:?}");
    cluster.promote("b", |promote| promote.switchover = true).await.unwrap();
    confirmed(&writer(&b), "at b", "replicas:1").await;
    assert_eq!(cluster.payloads("b").await, ["before", "after", "at b"]);
    for agent in [b, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_of_no_use_is_told_and_holds_nobody_up() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let (archive, last, a, b) = only_archived(&cluster).await;
    // It takes connections, and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = (Store::open(&format!("s3://b?region=r&endpoint=http://{}", silent.local_addr().unwrap())), silent);
    let empty = tempfile::tempdir().unwrap();
    let empty = Store::open(&format!("file://{}", empty.path().display())).unwrap();
    take_from(&a, vec![silent.0.unwrap(), empty, archive.store()]);
    let begun = Instant::now();
    let promoted = cluster.promote("a", |_| {}).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let rows = archives(&promoted);
    assert!(rows[..2].iter().all(|row| row.end.is_none() && row.problem.is_some()), "{promoted:?}");
    assert_eq!((promoted.position, rows[2].end), (last, Some(last)), "{promoted:?}");
    for agent in [b, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_archived_and_cannot_be_had_is_given_up_only_if_that_is_accepted() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let (archive, last, a, b) = only_archived(&cluster).await;
    // The manifest names objects that are gone.
    std::fs::remove_dir_all(archive.0.path().join(LOG).join("tail")).unwrap();
    take_from(&a, vec![archive.store()]);
    assert_eq!(cluster.promote("a", |_| {}).await.unwrap_err(), ErrorKind::Gap);
    let promoted = cluster.promote("a", |promote| promote.accept_loss = true).await.unwrap();
    assert!(promoted.promoted && promoted.position < last, "{promoted:?}");
    for agent in [b, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_knows_of_a_later_epoch_refuses_a_promotion_before_anybody_is_disturbed() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    confirmed(&writer(&primary), "before", "replicas:2").await;
    for agent in [b, primary] {
        agent.stop().await.unwrap();
    }
    cluster.promote("a", |promote| promote.accept_loss = true).await.unwrap();
    let archive = Archive::of(&a);
    archived(&writer(&a), "of the later epoch").await;
    a.stop().await.unwrap();

    // Nobody who runs has heard of that epoch, and the log goes on in the one before.
    let primary = cluster.primary().await;
    let b = cluster.replica("b").await;
    confirmed(&writer(&primary), "of the earlier epoch", "replicas:1").await;
    take_from(&b, vec![archive.store()]);
    let plan = cluster.promote("b", |promote| promote.plan = true).await.unwrap();
    let rows = archives(&plan);
    assert_eq!((rows[0].epoch, rows[0].standing), (2, Some(Standing::Later)), "{plan:?}");
    assert_eq!(cluster.promote("b", |_| {}).await.unwrap_err(), ErrorKind::Fenced);
    confirmed(&writer(&primary), "undisturbed", "replicas:1").await;
    for agent in [b, primary] {
        agent.stop().await.unwrap();
    }
}

/// A node that knows of no policy but the one that came with its copy's beginning: it is told in a plan, and a promotion fences
/// by it.
async fn fences_by_the_policy(cluster: &Cluster, at: &Agent, name: &str) {
    let plan = cluster.promote(name, |promote| promote.plan = true).await.unwrap();
    assert_eq!((plan.policy.as_deref(), &plan.fence), (Some("replicas:1"), &FenceState::Whole), "{plan:?}");
    assert_eq!(plan.nodes.iter().filter(|node| node.votes).count(), 3, "{plan:?}");
    let promoted = cluster.promote(name, |_| {}).await.unwrap();
    assert_eq!((&promoted.fence, &promoted.loss), (&FenceState::Whole, &None), "{promoted:?}");
    confirmed(&writer(at), "under the same policy", "replicas:1").await;
    let promised = status(at).logs[0].reign.policy.clone().unwrap();
    assert_eq!(promised.durability, durability("replicas:1"), "{promised:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_began_with_an_archive_is_promoted_with_a_fence_of_the_policy() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    let archive = Archive::of(&primary);
    let b = cluster.replica("b").await;
    confirmed(&writer(&primary), "before", "replicas:1").await;
    let last = archived(&writer(&primary), "archived").await;
    until("b has it", || end(&b) >= Some(last)).await;

    let begun = Replica::open(cluster.world.dir("a"), &cluster.settings("a")).unwrap();
    let (stores, every) = (vec![archive.store()], Duration::from_secs(1));
    begun.node().take_from(Sources { stores, keys: None, every });
    assert_eq!(within(begun.node().fetch_logs()).await.unwrap(), [LOG.parse().unwrap()]);
    let a = Agent::replica(begun).await;
    primary.stop().await.unwrap();

    fences_by_the_policy(&cluster, &a, "a").await;
    assert_eq!(cluster.payloads("b").await, ["before", "archived", "under the same policy"]);
    for agent in [b, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_began_with_a_trimmed_log_is_promoted_with_a_fence_of_the_policy() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let kept = |settings: &mut longshore::Settings| {
        settings.retention.keep_size = Some(longshore::settings::ByteSize::mib(1));
    };
    let primary = cluster.primary_with(kept).await;
    let log = writer(&primary);
    let begun = log.first();
    // Of each two segments one is trimmed once the other is sealed.
    until("the log is trimmed", || {
        log.append(&["x".repeat(100_000)]).unwrap();
        begun < log.first()
    })
    .await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    let last = confirmed(&log, "after", "replicas:2").await;
    until("both have it", || end(&a) >= Some(last) && end(&b) >= Some(last)).await;
    assert!(begun < status(&a).logs[0].first, "its copy begins behind the policy's record");
    primary.stop().await.unwrap();

    fences_by_the_policy(&cluster, &a, "a").await;
    for agent in [b, a] {
        agent.stop().await.unwrap();
    }
}
