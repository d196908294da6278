//! A log of an application's database that is written here, while no database goes into it.
//!
//! Who keeps or relays such a log needs no database. Its writer does: without one no application can write the log, and
//! nothing else would say so.

use std::time::Duration;

use longshore_format::{Content, Name};
use longshore_transport::{Promote, Promoted};
use longshore_wal::Role;
use tokio::time::timeout;

use crate::applying::SinkView;
use crate::log::Log;
use crate::node::Node;

/// What a database may take to come up before a promotion is answered without it.
const COMING_UP: Duration = Duration::from_secs(1);

impl Log {
    /// Why no application can write the log although this node does, if that is so.
    pub(crate) fn uncaptured(&self) -> Option<String> {
        if self.wal.role() == Role::Follower || self.wal.is_fenced() {
            return None;
        }
        self.without_database().or_else(|| self.awaited().map(|sink| is_awaited(&sink)))
    }

    /// Why no application could write the log if this node did, if that is so. Whoever captures it by other means than a sink
    /// offers snapshots of it.
    pub(crate) fn without_database(&self) -> Option<String> {
        let sinks = self.applying.sinks();
        let is_captured = sinks.iter().any(SinkView::is_both_ways) || sinks.is_empty() && self.offered.is_set();
        (self.wal.content() == Content::SqlitePages && !is_captured).then(|| has_none(&self.name))
    }

    /// A database that is to go into the log and does not yet.
    fn awaited(&self) -> Option<SinkView> {
        self.applying.sinks().into_iter().find(|sink| sink.is_both_ways() && !sink.is_captured())
    }

    /// Waits until its database goes into it, or says why it does not.
    async fn settled(&self) {
        loop {
            let stirred = self.standing.listen();
            if self.awaited().is_none_or(|sink| sink.problem.is_some()) {
                return;
            }
            stirred.await;
        }
    }
}

/// What somebody should know who counts on a promotion: whether applications can write there. It waits for a moment where the
/// database is only just coming up.
pub(crate) async fn warned(node: &Node, request: &Promote, promoted: Promoted) -> Promoted {
    let Some(log) = node.get(&request.log) else { return promoted };
    if promoted.promoted {
        let _still_coming_up = timeout(COMING_UP, log.settled()).await;
    }
    let because = |what: String| match log.awaited().and_then(|sink| sink.problem) {
        Some(why) => format!("{what}: {why}"),
        None => format!("{what}; `longshore status` shows when"),
    };
    let warning = log.without_database().or_else(|| log.uncaptured().map(because));
    Promoted { warnings: promoted.warnings.into_iter().chain(warning).collect(), ..promoted }
}

fn has_none(log: &Name) -> String {
    format!(
        "no database is captured into it here: applications cannot write it by SQLite at this node; make it with `longshore \
         replay --from DIR --log {log} --to latest --into sqlite:PATH`, then start the agent with it, a primary with --sqlite \
         PATH --log {log}, a replica with --apply {log}=sqlite:PATH; or move the role to a node that has one"
    )
}

fn is_awaited(sink: &SinkView) -> String {
    format!("{} is not captured: applications cannot write it at this node before it is", sink.label)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longshore_apply::{DatabaseImage, SnapshotError, Snapshotter};

    use super::*;
    use crate::{Node, Settings};

    struct Offered;

    impl Snapshotter for Offered {
        fn begin(&self) -> Result<Box<dyn DatabaseImage>, SnapshotError> {
            Err("nothing to make one of".into())
        }
    }

    #[test]
    fn a_log_of_pages_wants_a_database_or_a_program_that_captures_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::primary(dir.path(), &Settings::default()).unwrap();
        let problem = |name: &str| node.log(name).unwrap().status().problem;
        for content in [Content::Bytes, Content::Sql] {
            node.create_log(content.as_str(), content).unwrap();
            assert_eq!(problem(content.as_str()), None);
        }
        node.create_log("app", Content::SqlitePages).unwrap();
        let told = problem("app").unwrap();
        assert!(told.contains("applications cannot write it by SQLite at this node"), "{told}");
        node.offer_snapshots("app", Arc::new(Offered)).unwrap();
        assert_eq!(problem("app"), None);
        node.close().unwrap();
    }
}
