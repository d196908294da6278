//! One record as one line of JSON: for files, pipes and programs in any language.
//!
//! ```text
//! {"schema":1,"lsn":4168,"time":"2026-11-22T08:30:00.25Z","kind":256,"first":true,"last":true,"crc":"9f00c1d2","payload":"aGVsbG8="}
//! ```
//!
//! | field | |
//! |---|---|
//! | `schema` | 1; a reader refuses a number it does not know and ignores fields it does not know |
//! | `lsn` | where the record ends: the position to store once the run that it closes is stored |
//! | `time` | RFC 3339 UTC, at most microseconds |
//! | `kind` | 256 and up are the user's |
//! | `first`, `last` | whether the record begins and ends a run; a run counts only once its `last` is there |
//! | `crc` | the record's header checksum in hex: with `lsn` it names one record of one history |
//! | `payload` | base64, standard alphabet, padded |

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use longshore_format::{Flags, Lsn, Record};
use serde::Deserialize;

use crate::target::rfc3339;

/// The number that each line carries. It grows when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// The longest line there can be: the largest payload in base64, and room for the other fields.
pub(crate) const MAX_LINE: usize = (1 << 20) / 3 * 4 + 1024;

/// Appends the line of `record`, with its line feed, to `out`.
pub fn write_line(out: &mut String, record: &Record<'_>) {
    let first = record.flags.contains(Flags::FIRST);
    let last = record.flags.contains(Flags::LAST);
    // Nothing here needs escaping: numbers, hex, a time and base64.
    write!(
        out,
        r#"{{"schema":{SCHEMA},"lsn":{},"time":"{}","kind":{},"first":{first},"last":{last},"crc":"{:08x}","payload":""#,
        record.end,
        rfc3339(record.time),
        record.kind.get(),
        record.header_crc,
    )
    .expect("a String takes everything");
    BASE64.encode_string(record.payload, out);
    out.push_str("\"}\n");
}

/// A line, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where the record ends.
    pub lsn: Lsn,
    /// The time as written.
    pub time: String,
    /// The record's kind.
    pub kind: u16,
    /// Whether it begins a run.
    pub first: bool,
    /// Whether it ends a run.
    pub last: bool,
    /// The record's header checksum.
    pub crc: u32,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Reads one line, with or without its line feed; the error says what is wrong with it.
pub fn parse_line(line: &[u8]) -> Result<Line, String> {
    let fields: Fields<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if fields.schema != SCHEMA {
        return Err(format!("schema {} is unknown here, {SCHEMA} is known", fields.schema));
    }
    Ok(Line {
        lsn: Lsn::new(fields.lsn),
        time: fields.time.to_owned(),
        kind: fields.kind,
        first: fields.first,
        last: fields.last,
        crc: u32::from_str_radix(fields.crc, 16).map_err(|_| "crc is not hex".to_owned())?,
        payload: BASE64.decode(fields.payload).map_err(|error| format!("payload: {error}"))?,
    })
}

#[derive(Deserialize)]
struct Fields<'a> {
    schema: u32,
    lsn: u64,
    time: &'a str,
    kind: u16,
    first: bool,
    last: bool,
    crc: &'a str,
    payload: &'a str,
}
