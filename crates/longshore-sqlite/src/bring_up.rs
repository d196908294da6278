//! A host's database after a crash: what the log has beyond it is applied first.

use std::path::Path;

use longshore_apply::{Applier, Source, Step, Target};
use longshore_format::Lsn;

use crate::error::Error;
use crate::sink::SqlSink;

/// Applies to the database at `path` what the log has beyond the position it holds, and returns the
/// position it then holds.
///
/// Call it on every start, after the log is open and before the host uses the database. The log is
/// ahead by what was appended and not committed when the process died; after a restore of the
/// database from an older copy it is ahead by more, and that is applied as well.
pub fn bring_up(source: impl Source, path: impl AsRef<Path>) -> Result<Option<Lsn>, Error> {
    let end = source.end();
    let mut applier = Applier::open(source, SqlSink::beside_host(path), Target::LATEST)?;
    if let Some(held) = applier.held()
        && end < held.lsn
    {
        let sink = applier.sink_name();
        return Err(longshore_apply::Error::SinkAhead { sink, held: held.lsn, end }.into());
    }
    while applier.step()? != Step::Idle {}
    let held = applier.finish()?.held;
    Ok((held != Lsn::ZERO).then_some(held))
}
