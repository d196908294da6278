//! A replay's plan and its outcome, as text and as JSON.

use std::fmt;

use longshore::{Lsn, ReplayPlan, Replayed};
use serde::Serialize;

use super::continued::Continued;
use crate::output;
use crate::quantity::{rfc3339, show_bytes, show_duration};
use crate::sinks::SinkSpec;

/// What a replay will do.
#[derive(Serialize)]
pub(super) struct Plan {
    log: String,
    content: String,
    target: String,
    output: String,
    resumes_from: Option<u64>,
    snapshot: Option<u64>,
    from: u64,
    stop: u64,
    log_end: u64,
    log_bytes: u64,
    transactions: u64,
    records: u64,
    payload_bytes: u64,
    aborted_transactions: u64,
    first_time: Option<String>,
    last_time: Option<String>,
    next: Option<Next>,
    unfinished_from: Option<u64>,
    /// What is worth a look before it begins.
    warnings: Vec<String>,
    /// Whether what comes next could not be looked at.
    #[serde(skip)]
    is_cut: bool,
    needed_bytes: Option<u64>,
    free_bytes: Option<u64>,
    expected_seconds: Option<f64>,
}

/// The first transaction that is left out.
#[derive(Serialize)]
struct Next {
    start: u64,
    end: u64,
    time: String,
    records: u64,
}

/// What a plan warns of: that what comes after the stop cannot be had, and why; and that the output cannot be made.
pub(super) fn warnings(beyond: Option<&str>, is_unwritable: bool) -> Vec<String> {
    let beyond = beyond.map(|why| format!("what comes after the stop cannot be had: {why}"));
    let unwritable = is_unwritable.then(|| "no file can be made where the output is to be".to_owned());
    beyond.into_iter().chain(unwritable).collect()
}

impl From<&ReplayPlan> for Plan {
    fn from(plan: &ReplayPlan) -> Self {
        let ReplayPlan { log, content, target, output, resumes, snapshot, plan, room, expected, .. } = plan;
        Self {
            log: log.to_string(),
            content: content.to_string(),
            target: target.to_string(),
            output: output.clone(),
            resumes_from: resumes.map(|lsn| lsn.get()),
            snapshot: snapshot.map(|lsn| lsn.get()),
            from: plan.from.get(),
            stop: plan.stop.get(),
            log_end: plan.end.get(),
            log_bytes: plan.log_bytes,
            transactions: plan.runs,
            records: plan.records,
            payload_bytes: plan.bytes,
            aborted_transactions: plan.aborted,
            first_time: plan.first_time.map(rfc3339),
            last_time: plan.last.map(|last| rfc3339(last.time)),
            next: plan.next.as_ref().map(|next| Next {
                start: next.start.get(),
                end: next.end.get(),
                time: rfc3339(next.time),
                records: next.records,
            }),
            unfinished_from: plan.unfinished.map(|lsn| lsn.get()),
            warnings: warnings(plan.beyond.as_deref(), room.is_some_and(|room| !room.writable)),
            is_cut: plan.beyond.is_some(),
            needed_bytes: room.map(|room| room.needed),
            free_bytes: room.map(|room| room.free),
            expected_seconds: expected.map(|time| time.as_secs_f64()),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { log, content, target, output, from, stop, log_bytes, .. } = self;
        let mut rows = vec![("log", format!("{log} ({content}) up to {}", self.log_end))];
        rows.push(("target", format!("{target}, into {output}")));
        if let Some(resumes) = self.resumes_from {
            rows.push(("resumes", format!("at {resumes}, where it was interrupted")));
        }
        if let Some(position) = self.snapshot {
            rows.push(("begins", format!("with the snapshot at {position}")));
        }
        rows.push(("reads", format!("{from} to {stop}, {} of log", show_bytes(*log_bytes))));
        // With a gap before the stop there is no plan.
        rows.push(("gaps", if self.is_cut { "none before the stop" } else { "none" }.to_owned()));
        rows.push(("applies", self.applies_told()));
        if self.aborted_transactions > 0 {
            rows.push(("leaves", format!("{} transactions that never ended", self.aborted_transactions)));
        }
        rows.push((
            "stops at",
            format!("{stop}{}", self.last_time.as_ref().map_or(String::new(), |t| format!(", committed {t}"))),
        ));
        rows.push(("next", self.next_told()));
        if let Some(start) = self.unfinished_from {
            rows.push((
                "unfinished",
                format!("the log ends inside a transaction that began at {start}; it is left out"),
            ));
        }
        if let (Some(needed), Some(free)) = (self.needed_bytes, self.free_bytes) {
            rows.push(("space", format!("about {}, {} free", show_bytes(needed), show_bytes(free))));
        }
        if let Some(seconds) = self.expected_seconds {
            rows.push(("time", format!("about {}", show_duration(std::time::Duration::from_secs_f64(seconds)))));
        }
        rows.extend(self.warnings.iter().map(|warning| ("warning", warning.clone())));
        f.write_str(&output::pairs(&rows))
    }
}

impl Plan {
    fn applies_told(&self) -> String {
        let payload = show_bytes(self.payload_bytes);
        let since = self.first_time.as_ref().map(|first| format!(", from {first} on")).unwrap_or_default();
        format!("{} transactions, {} records, {payload} of payload{since}", self.transactions, self.records)
    }

    fn next_told(&self) -> String {
        match &self.next {
            Some(Next { start, end, time, records }) => {
                format!("left out: {records} records at {start} to {end}, committed {time}")
            }
            None if self.is_cut => "unknown".to_owned(),
            None => "nothing complete is in the log after it".to_owned(),
        }
    }
}

/// What a replay did.
#[derive(Serialize)]
pub(super) struct Done {
    output: String,
    position: Option<u64>,
    time: Option<String>,
    transactions: u64,
    records: u64,
    payload_bytes: u64,
    seconds: f64,
    /// The log that it goes on as, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) continued: Option<Continued>,
}

impl Done {
    pub(super) fn new(sink: &SinkSpec, done: &Replayed) -> Self {
        Self {
            output: sink.to_string(),
            position: done.position.map(|lsn| lsn.get()),
            time: done.time.map(rfc3339),
            transactions: done.runs,
            records: done.records,
            payload_bytes: done.bytes,
            seconds: done.elapsed.as_secs_f64(),
            continued: None,
        }
    }

    pub(super) fn stop(&self) -> Option<Lsn> {
        self.position.map(Lsn::new)
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Done { output, transactions, records, seconds, .. } = self;
        write!(f, "{output}: {transactions} transactions, {records} records in {seconds:.1} s")?;
        if let Some(position) = self.position {
            write!(f, "; it holds everything up to {position}")?;
        }
        if let Some(time) = &self.time {
            write!(f, ", committed {time}")?;
        }
        writeln!(f)
    }
}
