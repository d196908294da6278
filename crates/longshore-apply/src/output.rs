//! Files that a replay can make.

use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_format::Content;

use crate::jsonl::JsonLinesFile;
use crate::plan::Plan;
use crate::sink::{Failure, Held, Sink, SinkError};
use crate::tail;

/// A kind of file that a replay can restore into, through a [`Partial`](crate::Partial).
///
/// ```
/// use longshore_apply::{FileOutput, JsonLinesOutput};
///
/// assert_eq!(JsonLinesOutput.scheme(), "jsonl");
/// assert_eq!(JsonLinesOutput.sink("out.jsonl".as_ref()).name(), "jsonl:out.jsonl");
/// ```
pub trait FileOutput: Send + Sync {
    /// What stands before the colon: `jsonl` in `jsonl:PATH`.
    fn scheme(&self) -> &'static str;

    /// Refuses a content that its sink cannot take, so that a plan already says so.
    fn check_content(&self, content: Content) -> Result<(), SinkError>;

    /// Whether its sink can begin with a snapshot of a log of this content instead of the log's first record.
    fn takes_snapshot(&self, _content: Content) -> bool {
        false
    }

    /// Whether a part of a log makes something of its own, as lines do and a database does not.
    fn takes_parts(&self) -> bool {
        false
    }

    /// Files that whoever opens the one at `path` takes for a part of it: what another file of that name has left of these would
    /// be read as if it were this one's.
    fn parts_beside(&self, path: &Path) -> Vec<PathBuf> {
        let _none = path;
        Vec::new()
    }

    /// A sink that writes to `path`, and resumes there.
    fn sink(&self, path: &Path) -> Box<dyn Sink>;

    /// What is in the file at `path`, without changing it; `None` if there is no file, or nothing of a
    /// log in it.
    fn held(&self, path: &Path) -> Result<Option<Held>, SinkError>;

    /// About how fast it takes records, for a plan: measured by longshore-sqlite's tests/measure.rs on a
    /// small, busy machine, so rather too slow than too fast.
    fn rate(&self) -> Rate;

    /// About how many bytes of disk the plan will take, so that a full disk is known before, where nothing says how long the
    /// file will be.
    fn estimated_bytes(&self, plan: &Plan) -> u64;

    /// How long the file will be, if the payload of the last record that is applied says so. A log may hold many times as much
    /// of a file that is written again and again, and little of one that is mostly zeros.
    fn told_len(&self, content: Content, payload: &[u8]) -> Option<u64> {
        let _nothing_said = (content, payload);
        None
    }

    /// About how many bytes of disk applying takes beside such a file.
    fn beside(&self, _plan: &Plan) -> u64 {
        0
    }

    /// Everything is applied and the sink is closed: makes `path` complete in itself and checks it.
    /// A failed check is [`Failure::Check`] and says what was found.
    fn complete(&self, path: &Path, check: Check) -> Result<(), SinkError>;
}

/// How much of a restored file is looked at before it gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// Nothing: the log was checked when it was read, and the disk is trusted.
    None,
    /// Whether the file is whole in itself; its time is a small part of the restore's. The default.
    #[default]
    Quick,
    /// Everything that the file can be asked: that its indices agree with its tables, that references
    /// lead somewhere.
    Full,
}

/// About how fast something takes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Records a second, when they are small.
    pub records: u64,
    /// Payload bytes a second, when they are large.
    pub bytes: u64,
}

impl Rate {
    /// How long what a plan says will take, its reading included.
    pub fn time_for(&self, plan: &Plan) -> Duration {
        let seconds = |amount: u64, rate: u64| amount as f64 / rate.max(1) as f64;
        // The log is read twice, at a gigabyte a second and more.
        let reading = seconds(plan.log_bytes, 500 << 20);
        Duration::from_secs_f64(reading + seconds(plan.records, self.records) + seconds(plan.bytes, self.bytes))
    }
}

/// JSON lines: what `jsonl:PATH` means.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonLinesOutput;

impl FileOutput for JsonLinesOutput {
    fn scheme(&self) -> &'static str {
        "jsonl"
    }

    fn check_content(&self, _content: Content) -> Result<(), SinkError> {
        Ok(())
    }

    fn takes_parts(&self) -> bool {
        true
    }

    fn sink(&self, path: &Path) -> Box<dyn Sink> {
        Box::new(JsonLinesFile::new(path))
    }

    fn held(&self, path: &Path) -> Result<Option<Held>, SinkError> {
        JsonLinesFile::new(path).held()
    }

    fn rate(&self) -> Rate {
        Rate { records: 200_000, bytes: 200 << 20 }
    }

    fn estimated_bytes(&self, plan: &Plan) -> u64 {
        // Four characters for three bytes, and the other fields.
        let payloads = plan.bytes.div_ceil(3).saturating_mul(4);
        payloads.saturating_add(plan.records.saturating_mul(160))
    }

    fn complete(&self, path: &Path, check: Check) -> Result<(), SinkError> {
        let sound = match check {
            Check::None => return Ok(()),
            Check::Quick => tail::is_sound(path, tail::Extent::End),
            Check::Full => tail::is_sound(path, tail::Extent::All),
        };
        sound.map_err(|error| SinkError::new(Failure::Check, format!("{}: {error}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = concat!(
        r#"{"schema":1,"lsn":4136,"time":"2026-11-22T08:30:00Z","kind":256,"first":true,"last":true,"crc":"1","#,
        r#""payload":"YQ=="}"#,
        "\n"
    );

    #[test]
    fn a_file_that_is_cut_or_changed_fails_its_check() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        let looks = |text: &str| {
            std::fs::write(&path, text).unwrap();
            [Check::None, Check::Quick, Check::Full].map(|check| JsonLinesOutput.complete(&path, check).is_ok())
        };
        let second = RUN.replace("4136", "4176");
        assert_eq!(looks(&(RUN.to_owned() + &second)), [true, true, true]);
        assert_eq!(looks(&(second.clone() + RUN)), [true, false, false]);
        assert_eq!(looks(&(RUN.to_owned() + &second[..40])), [true, false, false]);
        let error = JsonLinesOutput.complete(&path, Check::Quick).unwrap_err();
        assert_eq!(error.failure(), Failure::Check);
        assert!(error.to_string().contains(&format!("no record at byte {}", RUN.len())), "{error}");
    }
}
