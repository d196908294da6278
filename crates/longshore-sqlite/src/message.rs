//! Statements as bytes of records, and back.

use prost::Message as _;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use crate::error::Error;
use crate::proto::{SqlNull, SqlStatement, SqlTransaction, SqlValue, sql_value};
use crate::settings::Semantics;

/// One statement with its parameters, as it stands in a log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<Value>,
    pub(crate) changes: Option<u64>,
}

/// A transaction's statements as payloads of one run: what is appended to a log of content `sql`.
///
/// ```
/// use longshore_sqlite::Batch;
///
/// let mut batch = Batch::new();
/// batch.push("INSERT INTO t VALUES (?1)", vec![7.into()])?;
/// let payloads = batch.into_payloads();
/// assert_eq!(payloads.len(), 1);
/// longshore_sqlite::validate(&payloads[0])?;
/// # Ok::<(), longshore_sqlite::Error>(())
/// ```
///
/// Whoever makes one by hand, instead of by a [`Recorder`](crate::Recorder), answers for it that the
/// statements do what they say wherever they are applied.
#[derive(Debug)]
pub struct Batch {
    payloads: Vec<Vec<u8>>,
    open: SqlTransaction,
    open_len: usize,
    semantics: Semantics,
    max_payload: usize,
}

impl Batch {
    /// An empty batch for any log with segments of at least 1 MiB, applied without foreign keys.
    pub fn new() -> Batch {
        Batch::with(Semantics::default(), MAX_PAYLOAD)
    }

    pub(crate) fn with(semantics: Semantics, max_payload: usize) -> Batch {
        let mut batch =
            Batch { payloads: Vec::new(), open: SqlTransaction::default(), open_len: 0, semantics, max_payload };
        batch.reset();
        batch
    }

    /// Adds a statement.
    pub fn push(&mut self, sql: impl Into<String>, parameters: Vec<Value>) -> Result<(), Error> {
        self.add(Statement { sql: sql.into(), parameters, changes: None })
    }

    /// The payloads, to be appended as one run. None for an empty batch.
    pub fn into_payloads(mut self) -> Vec<Vec<u8>> {
        self.close();
        self.payloads
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.payloads.is_empty() && self.open.statements.is_empty() && self.open.part.is_empty()
    }

    pub(crate) fn add(&mut self, statement: Statement) -> Result<(), Error> {
        let message = statement.into_message();
        let len = message.encoded_len();
        if len > MAX_STATEMENT {
            return Err(Error::TooLarge { len, max: MAX_STATEMENT });
        }
        // Tag and length of a field take at most six bytes below a gibibyte.
        if ROOM + len > self.max_payload {
            self.add_parts(&message.encode_to_vec());
            return Ok(());
        }
        if self.open_len + len + 6 > self.max_payload {
            self.close();
        }
        self.open_len += len + 6;
        self.open.statements.push(message);
        Ok(())
    }

    /// Every part has a record of its own, so that what follows the last one needs no room.
    fn add_parts(&mut self, bytes: &[u8]) {
        self.close();
        let parts = bytes.chunks(self.max_payload - ROOM);
        let last = parts.len() - 1;
        for (n, part) in parts.enumerate() {
            self.open.part = part.to_vec();
            self.open.part_ends = n == last;
            self.close();
        }
    }

    fn close(&mut self) {
        if !self.open.statements.is_empty() || !self.open.part.is_empty() {
            let payload = self.open.encode_to_vec();
            debug_assert!(payload.len() <= self.max_payload);
            self.payloads.push(payload);
        }
        self.reset();
    }

    fn reset(&mut self) {
        let Semantics { foreign_keys, recursive_triggers } = self.semantics;
        self.open = SqlTransaction { foreign_keys, recursive_triggers, ..SqlTransaction::default() };
        self.open_len = ROOM;
    }
}

impl Default for Batch {
    fn default() -> Self {
        Batch::new()
    }
}

/// Checks that a payload is a SQL record, as far as one record alone can tell: what a log of content
/// `sql` should ask of every append.
pub fn validate(payload: &[u8]) -> Result<(), Error> {
    let message = decode(payload)?;
    message.statements.into_iter().try_for_each(|statement| Statement::from_message(statement).map(drop))
}

/// Puts the statements of a run together again.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// Parts of a statement that is not complete yet.
    parts: Vec<u8>,
}

impl Assembler {
    /// The semantics and complete statements of the next record.
    pub(crate) fn take(&mut self, payload: &[u8]) -> Result<(Semantics, Vec<Statement>), Error> {
        let message = decode(payload)?;
        let semantics =
            Semantics { foreign_keys: message.foreign_keys, recursive_triggers: message.recursive_triggers };
        if !self.parts.is_empty() && !message.statements.is_empty() {
            return Err(Error::Message("a statement stands between the parts of another".into()));
        }
        let mut statements =
            message.statements.into_iter().map(Statement::from_message).collect::<Result<Vec<_>, _>>()?;
        if self.parts.len() + message.part.len() > MAX_STATEMENT {
            let len = self.parts.len() + message.part.len();
            return Err(Error::TooLarge { len, max: MAX_STATEMENT });
        }
        self.parts.extend_from_slice(&message.part);
        if message.part_ends {
            let parts = std::mem::take(&mut self.parts);
            check_parameters(&parts)?;
            let statement = SqlStatement::decode(&parts[..]).map_err(not_a_message)?;
            statements.push(Statement::from_message(statement)?);
        }
        Ok((semantics, statements))
    }

    /// The run ends: so must its last statement.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        match std::mem::take(&mut self.parts).is_empty() {
            true => Ok(()),
            false => Err(Error::Message("the run ends inside a statement".into())),
        }
    }
}

impl Statement {
    fn into_message(self) -> SqlStatement {
        let parameters = self.parameters.into_iter().map(|value| SqlValue { value: Some(to_value(value)) });
        SqlStatement { sql: self.sql, parameters: parameters.collect(), changes: self.changes }
    }

    fn from_message(message: SqlStatement) -> Result<Statement, Error> {
        if message.sql.trim().is_empty() || message.sql.contains('\0') {
            return Err(Error::Message("a statement is empty or holds a zero byte".into()));
        }
        let parameters = message.parameters.into_iter().map(|value| from_value(value.value)).collect();
        Ok(Statement { sql: message.sql, parameters, changes: message.changes })
    }
}

/// The value of a parameter as SQLite would store it.
pub(crate) fn owned(value: &ToSqlOutput<'_>) -> Result<Value, Error> {
    let unusual = || Error::Message("a parameter of an unusual kind; pass a number, text, blob or null".into());
    match value {
        ToSqlOutput::Owned(value) => Ok(value.clone()),
        ToSqlOutput::Borrowed(value) => Ok(match *value {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(integer) => Value::Integer(integer),
            ValueRef::Real(real) => Value::Real(real),
            ValueRef::Text(text) => {
                let text = std::str::from_utf8(text).map_err(|_| Error::Message("text that is not UTF-8".into()))?;
                Value::Text(text.to_owned())
            }
            ValueRef::Blob(blob) => Value::Blob(blob.to_vec()),
        }),
        _ => Err(unusual()),
    }
}

fn to_value(value: Value) -> sql_value::Value {
    match value {
        Value::Null => sql_value::Value::Null(SqlNull {}),
        Value::Integer(integer) => sql_value::Value::Integer(integer),
        Value::Real(real) => sql_value::Value::Real(real),
        Value::Text(text) => sql_value::Value::Text(text),
        Value::Blob(blob) => sql_value::Value::Blob(blob),
    }
}

fn from_value(value: Option<sql_value::Value>) -> Value {
    match value {
        None | Some(sql_value::Value::Null(_)) => Value::Null,
        Some(sql_value::Value::Integer(integer)) => Value::Integer(integer),
        Some(sql_value::Value::Real(real)) => Value::Real(real),
        Some(sql_value::Value::Text(text)) => Value::Text(text),
        Some(sql_value::Value::Blob(blob)) => Value::Blob(blob),
    }
}

fn decode(payload: &[u8]) -> Result<SqlTransaction, Error> {
    SqlTransaction::decode(payload).map_err(not_a_message)
}

fn not_a_message(error: prost::DecodeError) -> Error {
    Error::Message(error.to_string())
}

/// Two bytes of a message can become a parameter of forty in memory, so the parameters of a large
/// statement are counted before it is decoded.
fn check_parameters(mut bytes: &[u8]) -> Result<(), Error> {
    let mut parameters = 0;
    while !bytes.is_empty() {
        let (tag, wire) = decode_key(&mut bytes).map_err(not_a_message)?;
        parameters += usize::from(tag == 2);
        if parameters > MAX_PARAMETERS {
            return Err(Error::Message(format!("more than {MAX_PARAMETERS} parameters")));
        }
        skip_field(wire, tag, &mut bytes, DecodeContext::default()).map_err(not_a_message)?;
    }
    Ok(())
}

/// What every log takes that settings allow: a quarter of the smallest segment.
pub(crate) const MAX_PAYLOAD: usize = 256 << 10;
/// What a record holds besides statements: two flags, a part's tag and length, the end of parts.
const ROOM: usize = 16;
/// The largest statement with its parameters: it is in memory once as bytes and once as values.
pub(crate) const MAX_STATEMENT: usize = 64 << 20;
/// SQLite's own limit.
const MAX_PARAMETERS: usize = 32_766;
