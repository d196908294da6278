//! Files that a replay can make.

use std::path::Path;

use crate::jsonl::JsonLinesFile;
use crate::plan::Plan;
use crate::sink::{Sink, SinkError};

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

    /// A sink that writes to `path`, and resumes there.
    fn sink(&self, path: &Path) -> Box<dyn Sink>;

    /// About how many bytes of disk the plan will take, so that a full disk is known before.
    fn estimated_bytes(&self, plan: &Plan) -> u64;

    /// Everything is applied and the sink is closed: makes `path` complete in itself and checks it.
    /// A failed check is [`Failure::Check`](crate::Failure::Check).
    fn complete(&self, path: &Path) -> Result<(), SinkError>;
}

/// JSON lines: what `jsonl:PATH` means.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonLinesOutput;

impl FileOutput for JsonLinesOutput {
    fn scheme(&self) -> &'static str {
        "jsonl"
    }

    fn sink(&self, path: &Path) -> Box<dyn Sink> {
        Box::new(JsonLinesFile::new(path))
    }

    fn estimated_bytes(&self, plan: &Plan) -> u64 {
        // Four characters for three bytes, and the other fields.
        let payloads = plan.bytes.div_ceil(3).saturating_mul(4);
        payloads.saturating_add(plan.records.saturating_mul(160))
    }

    fn complete(&self, _path: &Path) -> Result<(), SinkError> {
        Ok(())
    }
}
