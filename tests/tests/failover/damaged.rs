//! A copy that lost what it had acknowledged, because its disk did.

use std::path::Path;

use super::*;

/// Flips a bit of a payload, wherever below `dir` that is.
fn damage(dir: &Path, payload: &str) {
    let mut damaged = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(payload.len()).position(|found| found == payload.as_bytes()) {
            bytes[at] ^= 1;
            std::fs::write(path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1, "one file holds {payload}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_lost_what_it_acknowledged_is_refused_before_anybody_is_disturbed() {
    let cluster = Cluster::new("replicas:2", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    let log = writer(&primary);
    confirmed(&log, "at both", "replicas:2").await;
    b.stop().await.unwrap();
    confirmed(&log, "kept at a", "replicas:1").await;
    confirmed(&log, "lost at a", "replicas:1").await;
    for agent in [primary, a] {
        agent.stop().await.unwrap();
    }
    damage(&cluster.world.dir("a").join(LOG), "lost at a");
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    // b alone keeps the writer from confirming anything, and a has more than b: only what a lost stands in its way.
    assert_eq!(cluster.promote("a", |_| {}).await.unwrap_err(), ErrorKind::Fenced);
    for node in ["a", "b"] {
        let surveyed = cluster.client(node).await.survey(&LOG.parse().unwrap(), None).await.unwrap();
        assert_eq!(surveyed.witness.accepted.number, 1, "{node} was disturbed");
    }
    let promoted = cluster.promote("a", |promote| promote.accept_loss = true).await.unwrap();
    assert_eq!(promoted.fence, FenceState::Whole);
    confirmed(&writer(&a), "after", "replicas:1").await;
    assert_eq!(cluster.payloads("b").await, ["at both", "kept at a", "after"]);
    for agent in [b, a] {
        agent.stop().await.unwrap();
    }
}
