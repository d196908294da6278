//! Records on stdin and stdout: one a line, framed by their length, or as JSON.

use std::io::{self, BufRead, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::ValueEnum;
use longshore_format::{Content, Flags, Kind, Lsn};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::output::SCHEMA;
use crate::quantity::rfc3339;

/// The longest record that is read from stdin. The log says what it takes; this keeps a wrong
/// `--format` from being read into memory first.
const LONGEST: usize = 16 << 20;

/// How records stand on stdin and stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One a line; a line feed inside a record is not told from one between two
    Raw,
    /// A u32 little-endian length before each: in and out is the identity
    Framed,
    /// One JSON object a line, the payload in base64
    Json,
}

/// A record to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) kind: Kind,
    pub(crate) payload: Vec<u8>,
}

/// Why a payload cannot be appended by hand to a log of some content: no sink could take it, with the record already on every
/// node.
pub(crate) fn check_payload(content: Content, payload: &[u8]) -> Result<(), String> {
    match content {
        Content::Sql => longshore_sqlite::validate(payload).map_err(|error| error.to_string()),
        Content::SqlitePages => {
            Err("a log of sqlite-pages is written by `longshore primary --sqlite` alone; append to another log"
                .to_owned())
        }
        _ => Ok(()),
    }
}

/// A record to be printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) start: Lsn,
    pub(crate) end: Lsn,
    pub(crate) kind: Kind,
    pub(crate) flags: Flags,
    pub(crate) time: u64,
    pub(crate) payload: &'a [u8],
}

/// One JSON line, out.
#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    start: u64,
    lsn: u64,
    time: String,
    kind: u16,
    first: bool,
    last: bool,
    payload: &'a str,
}

/// One JSON line, in: what `read` prints and no more than a payload are both taken.
#[derive(Deserialize)]
struct GivenLine {
    schema: Option<u32>,
    kind: Option<u16>,
    payload: String,
}

impl Format {
    /// Prints one record.
    pub(crate) fn write(self, out: &mut impl Write, record: &View<'_>) -> io::Result<()> {
        match self {
            Format::Raw => {
                out.write_all(record.payload)?;
                out.write_all(b"\n")
            }
            Format::Framed => {
                let len = u32::try_from(record.payload.len()).expect("a record is at most 1 MiB");
                out.write_all(&len.to_le_bytes())?;
                out.write_all(record.payload)
            }
            Format::Json => {
                let line = Line {
                    schema: SCHEMA,
                    start: record.start.get(),
                    lsn: record.end.get(),
                    time: rfc3339(record.time),
                    kind: record.kind.get(),
                    first: record.flags.contains(Flags::FIRST),
                    last: record.flags.contains(Flags::LAST),
                    payload: &BASE64.encode(record.payload),
                };
                serde_json::to_writer(&mut *out, &line)?;
                out.write_all(b"\n")
            }
        }
    }

    /// Reads the next record; `None` at the end. `number` counts from one, for messages.
    pub(crate) fn read(self, input: &mut impl BufRead, number: u64) -> Result<Option<Input>, Failure> {
        match self {
            Format::Raw => Ok(line(input, number)?.map(user)),
            Format::Framed => framed(input, number),
            Format::Json => json(input, number),
        }
    }
}

fn user(payload: Vec<u8>) -> Input {
    Input { kind: Kind::USER, payload }
}

/// A line without its line feed. The last one need not have one.
fn line(input: &mut impl BufRead, number: u64) -> Result<Option<Vec<u8>>, Failure> {
    let mut text = Vec::new();
    let read = input.take(LONGEST as u64 + 1).read_until(b'\n', &mut text).map_err(|error| stdin(&error))?;
    if read == 0 {
        return Ok(None);
    }
    if text.last() == Some(&b'\n') {
        text.pop();
    } else if text.len() > LONGEST {
        return Err(Failure::invalid(format!("record {number} on stdin is longer than 16 MiB"))
            .next("end records with a line feed, or choose another --format"));
    }
    Ok(Some(text))
}

fn framed(input: &mut impl BufRead, number: u64) -> Result<Option<Input>, Failure> {
    let mut len = [0; 4];
    let got = fill(input, &mut len)?;
    if got == 0 {
        return Ok(None);
    }
    let len = u32::from_le_bytes(len) as usize;
    if got < 4 || len > LONGEST {
        return Err(Failure::invalid(format!("record {number} on stdin has no length, or one past 16 MiB"))
            .next("write a u32 little-endian length before each record, or choose another --format"));
    }
    // Grows with what arrives: a length alone allocates nothing.
    let mut payload = Vec::new();
    input.take(len as u64).read_to_end(&mut payload).map_err(|error| stdin(&error))?;
    if payload.len() < len {
        let got = payload.len();
        return Err(Failure::invalid(format!("record {number} on stdin ends after {got} of {len} bytes"))
            .next("give whole records; nothing of this one was appended"));
    }
    Ok(Some(user(payload)))
}

fn json(input: &mut impl BufRead, number: u64) -> Result<Option<Input>, Failure> {
    let refuse = |what: String| {
        Failure::invalid(format!("record {number} on stdin {what}"))
            .next("write one object a line, as {\"payload\":\"aGVsbG8=\"}")
    };
    let Some(text) = line(input, number)? else {
        return Ok(None);
    };
    let given: GivenLine =
        serde_json::from_slice(&text).map_err(|error| refuse(format!("is not a JSON record: {error}")))?;
    if let Some(schema) = given.schema.filter(|schema| *schema != SCHEMA) {
        return Err(refuse(format!("has schema {schema}, and {SCHEMA} is known here")));
    }
    let payload = BASE64.decode(given.payload).map_err(|error| refuse(format!("is not base64: {error}")))?;
    let kind = given.kind.map_or(Kind::USER, Kind::new);
    if !kind.is_user() {
        return Err(refuse(format!("has kind {}, and the user's begin at 256", kind.get())));
    }
    Ok(Some(Input { kind, payload }))
}

/// Reads until `buffer` is full or the input ends: how much there was.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Failure> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(read) => got += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(stdin(&error)),
        }
    }
    Ok(got)
}

fn stdin(error: &io::Error) -> Failure {
    Failure::new(longshore_format::ErrorKind::Preflight, format!("cannot read stdin: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(format: Format, mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        let mut records = Vec::new();
        while let Some(input) = format.read(&mut bytes, records.len() as u64 + 1)? {
            records.push(input.payload);
        }
        Ok(records)
    }

    fn write_all(format: Format, payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for payload in payloads {
            let view = View {
                start: Lsn::new(4096),
                end: Lsn::new(4136),
                kind: Kind::USER,
                flags: Flags::FIRST | Flags::LAST,
                time: 1_500_000,
                payload,
            };
            format.write(&mut out, &view).unwrap();
        }
        out
    }

    #[test]
    fn framed_and_json_in_and_out_are_the_identity() {
        let payloads = vec![b"one".to_vec(), Vec::new(), b"a\nb\0\xff".to_vec(), vec![7; 70_000]];
        for format in [Format::Framed, Format::Json] {
            assert_eq!(read_all(format, &write_all(format, &payloads)).unwrap(), payloads, "{format:?}");
        }
    }

    #[test]
    fn raw_is_one_record_a_line_and_the_last_needs_no_line_feed() {
        for (text, expected) in
            [("", vec![]), ("a\nb\n", vec!["a", "b"]), ("a\n\nb", vec!["a", "", "b"]), ("\n", vec![""])]
        {
            let expected: Vec<_> = expected.into_iter().map(|text| text.as_bytes().to_vec()).collect();
            assert_eq!(read_all(Format::Raw, text.as_bytes()).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_refused_by_its_number() {
        for (format, bytes, told) in [
            (Format::Framed, &b"\x01\0\0\0a\x05\0\0\0ab"[..], "record 2 on stdin ends after 2 of 5"),
            (Format::Framed, b"\x01\0", "record 1 on stdin has no length"),
            (Format::Framed, b"\xff\xff\xff\xff", "past 16 MiB"),
            (Format::Json, b"{\"payload\":\"YQ==\"}\nhello\n", "record 2 on stdin is not a JSON record"),
            (Format::Json, b"{\"payload\":\"!\"}\n", "record 1 on stdin is not base64"),
            (Format::Json, b"{\"schema\":9,\"payload\":\"\"}\n", "has schema 9"),
            (Format::Json, b"{\"kind\":3,\"payload\":\"\"}\n", "has kind 3"),
        ] {
            let failure = read_all(format, bytes).unwrap_err();
            assert!(failure.message().contains(told), "{}", failure.message());
        }
    }
}
