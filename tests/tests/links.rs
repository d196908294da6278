//! F-084 … F-087: the link between real agents cut, stalled and half open, behind a proxy on loopback.

use std::time::Instant;

use longshore_testkit::process::{PATIENCE, Running, must, until};
use longshore_testkit::proxy::{Link, Proxy};
use longshore_testkit::sim_rng::Rng;
use longshore_testkit::site::{Site, ZERO};

/// A primary, and a replica that reaches it through a proxy only.
struct Pair {
    site: Site,
    primary: Running,
    replica: Running,
    proxy: Proxy,
    server: String,
    _place: tempfile::TempDir,
}

impl Pair {
    fn start() -> Pair {
        let place = tempfile::tempdir().unwrap();
        let site = Site::new(place.path());
        let mut primary = site.primary(ZERO);
        let listening = primary.listening();
        let proxy = Proxy::start(listening);
        let replica = site.replica("eu-west", &format!("primary@{}", proxy.address()), &[]);
        Pair { site, primary, replica, proxy, server: format!("primary@{listening}"), _place: place }
    }

    /// Heals the link, and proves that the replica then holds exactly what the primary holds.
    fn finish(self, appended: u64) {
        self.proxy.set(Link::Open);
        assert!(self.site.append(&self.server, appended + 1..=appended + 1, "replicas:1"), "no catch-up after healing");
        assert_eq!(self.site.numbers(&self.server), (1..=appended + 1).collect::<Vec<_>>());
        assert!(self.replica.terminate().success());
        self.site.prove_equal("eu-west", &self.server);
        assert!(self.primary.terminate().success());
    }
}

#[test]
fn a_stream_cut_after_any_byte_resumes_without_gap_or_repeat() {
    let seed = 7;
    println!("seed {seed}");
    let (mut random, pair, mut appended) = (Rng::new(seed), Pair::start(), 0);
    for _ in 0..40 {
        // From inside the TLS handshake to far into the frames.
        let reach = 1 << random.within(1..18);
        pair.proxy.cut_after(random.below(reach));
        pair.proxy.reset();
        assert!(pair.site.append(&pair.server, appended + 1..=appended + 500, "local"));
        appended += 500;
    }
    pair.finish(appended);
}

#[test]
fn a_partition_is_seen_and_healed_and_no_wait_lies_meanwhile() {
    for link in [Link::Stalled, Link::Upward, Link::Downward] {
        let pair = Pair::start();
        assert!(pair.site.append(&pair.server, 1..=10, "replicas:1"));
        pair.proxy.set(link);
        let refused =
            pair.site.command("append", &["--server", &pair.server, "--wait", "replicas:1", "--wait-timeout", "1s"]);
        let refused = longshore_testkit::process::run_with(refused, b"11\n");
        // With the acks alone lost (F-086) the bytes may be there, but nobody may say so.
        assert_eq!(refused.status.code(), Some(12), "{link:?}: {}", String::from_utf8_lossy(&refused.stderr));
        pair.finish(11);
    }
}

#[test]
fn the_lag_of_a_replica_that_is_away_stays_visible() {
    let pair = Pair::start();
    assert!(pair.site.append(&pair.server, 1..=10, "replicas:1"));
    pair.proxy.set(Link::Stalled);
    pair.proxy.reset();
    assert!(pair.site.append(&pair.server, 11..=500, "local"));
    until("the replica to be shown as away", Instant::now() + PATIENCE, || {
        let shown = must(pair.site.status_json(&pair.server), b"");
        let status: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let text = status.to_string();
        (text.contains("\"connected\":false") && text.contains("eu-west")).then_some(())
    });
    pair.finish(500);
}
