//! What may be in a log: statements that do the same everywhere.
//!
//! SQLite asks an authorizer about each table, function and pragma that a statement uses while it is
//! prepared, also inside triggers, views and column defaults. A function is allowed by name: whatever
//! is not known to give the same result everywhere is refused, functions of the host included.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization, TransactionOperation};

use crate::position::TABLE;

/// Why a statement may not be in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// The function gives another result elsewhere or at another time, or is not known not to.
    Function(String),
    /// Settings of a connection are not part of a log.
    Pragma(String),
    /// Other files are not part of a log.
    Attach,
    /// Where a transaction begins and ends is the log's to say.
    Transaction,
    /// Temporary tables, views and triggers are gone at the end of a connection.
    Temporary,
    /// A virtual table of this module may be anything.
    Module(String),
    /// The table that holds the applied position.
    Position,
    /// A statement that changes nothing.
    Reading,
    /// A write outside a recorded transaction.
    Unrecorded,
    /// Something that a later SQLite asks about.
    Unknown,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::Function(name) => write!(
                f,
                "{name}() may give another result on a replica; compute it in the program and pass it as a parameter"
            ),
            Denied::Pragma(name) => {
                write!(f, "PRAGMA {name} is a setting, not data; set it on each connection instead")
            }
            Denied::Attach => f.write_str("ATTACH, DETACH and VACUUM reach beyond the log; run them on each database"),
            Denied::Transaction => f.write_str(
                "a transaction begins and ends with its run in the log; use begin and commit of the recorder",
            ),
            Denied::Temporary => f.write_str("temporary objects exist on one connection only; use an ordinary table"),
            Denied::Module(name) => write!(f, "virtual tables of module {name} are not replicated; use fts5 or rtree"),
            Denied::Position => write!(f, "table {TABLE} holds the applied position; leave it alone"),
            Denied::Reading => f.write_str("a statement that only reads has no place in a log; use the reader"),
            Denied::Unrecorded => f.write_str(
                "a write outside a recorded transaction would never reach a replica; use begin of the recorder",
            ),
            Denied::Unknown => f.write_str("this is not known to do the same on a replica"),
        }
    }
}

/// Whose statements are being prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// Our own: positions, transactions, settings.
    #[default]
    Own,
    /// Those that are, or will be, in a log.
    Log,
    /// The host's reads.
    Read,
}

/// The authorizer of one connection, and what it said last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    mode: Mode,
    denied: Option<Denied>,
}

impl Guard {
    /// Stands guard over every statement of `connection`, in the place of any authorizer it had.
    pub(crate) fn install(connection: &mut Connection) -> rusqlite::Result<Guard> {
        let guard = Guard::default();
        let state = guard.clone();
        connection.authorizer(Some(move |context: AuthContext<'_>| state.decide(&context)))?;
        Ok(guard)
    }

    /// Does `work` with the rules of `mode`, and says what was denied if anything was.
    pub(crate) fn within<T>(&self, mode: Mode, work: impl FnOnce() -> T) -> (T, Option<Denied>) {
        let before = {
            let mut state = self.state();
            state.denied = None;
            std::mem::replace(&mut state.mode, mode)
        };
        let result = work();
        let mut state = self.state();
        state.mode = before;
        (result, state.denied.take())
    }

    /// Does `work` of our own, which nothing is denied to.
    pub(crate) fn own<T>(&self, work: impl FnOnce() -> T) -> T {
        self.within(Mode::Own, work).0
    }

    /// The rules from here on.
    pub(crate) fn set(&self, mode: Mode) {
        self.state().mode = mode;
    }

    fn decide(&self, context: &AuthContext<'_>) -> Authorization {
        let mut state = self.state();
        let denied = match state.mode {
            Mode::Own => None,
            Mode::Log => denied_in_log(context),
            Mode::Read => denied_as_read(context),
        };
        match denied {
            None => Authorization::Allow,
            Some(denied) => {
                state.denied.get_or_insert(denied);
                Authorization::Deny
            }
        }
    }

    /// Plain facts, whole at any moment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn denied_in_log(context: &AuthContext<'_>) -> Option<Denied> {
    use AuthAction as A;
    match context.action {
        // ALTER TABLE looks for temporary objects that refer to the table.
        A::Read { table_name, .. } | A::Update { table_name, .. } if TEMP_SCHEMA.contains(&table_name) => None,
        _ if context.database_name == Some("temp") => Some(Denied::Temporary),
        A::Function { function_name } if is_pure(function_name) => None,
        A::Function { function_name } => Some(Denied::Function(function_name.to_owned())),
        // Full-text search asks for it itself.
        A::Pragma { pragma_name: "data_version", pragma_value: None } => None,
        A::Pragma { pragma_name, .. } => Some(Denied::Pragma(pragma_name.to_owned())),
        A::Attach { .. } | A::Detach { .. } => Some(Denied::Attach),
        A::Transaction { .. } | A::Savepoint { .. } => Some(Denied::Transaction),
        A::CreateTempIndex { .. }
        | A::CreateTempTable { .. }
        | A::CreateTempTrigger { .. }
        | A::CreateTempView { .. }
        | A::DropTempIndex { .. }
        | A::DropTempTable { .. }
        | A::DropTempTrigger { .. }
        | A::DropTempView { .. } => Some(Denied::Temporary),
        A::CreateVtable { module_name, .. } if !MODULES.contains(&module_name) => {
            Some(Denied::Module(module_name.to_owned()))
        }
        A::Insert { table_name }
        | A::Delete { table_name }
        | A::Update { table_name, .. }
        | A::DropTable { table_name }
        | A::AlterTable { table_name, .. }
        | A::CreateTable { table_name }
        | A::CreateTrigger { table_name, .. }
        | A::CreateIndex { table_name, .. }
            if table_name.eq_ignore_ascii_case(TABLE) =>
        {
            Some(Denied::Position)
        }
        // What it holds differs between a primary and its replicas.
        A::Read { table_name, .. } if table_name.eq_ignore_ascii_case(TABLE) => Some(Denied::Position),
        A::Unknown { .. } => Some(Denied::Unknown),
        _ => None,
    }
}

/// A host's reads may use anything; writes belong into a recorded transaction. Its own savepoints
/// would undo what is recorded.
fn denied_as_read(context: &AuthContext<'_>) -> Option<Denied> {
    use AuthAction as A;
    match context.action {
        A::Select | A::Read { .. } | A::Function { .. } | A::Recursive => None,
        A::Pragma { pragma_value: None, .. } => None,
        A::Pragma { pragma_name, .. } if READING_PRAGMAS.contains(&pragma_name) => None,
        A::Pragma { pragma_name, .. } => Some(Denied::Pragma(pragma_name.to_owned())),
        A::Attach { .. } | A::Detach { .. } => Some(Denied::Attach),
        A::Transaction { operation: TransactionOperation::Unknown } => Some(Denied::Unknown),
        A::Transaction { .. } | A::Savepoint { .. } => Some(Denied::Transaction),
        _ => Some(Denied::Unrecorded),
    }
}

/// Functions whose result depends on their arguments alone, on every build of SQLite. Dates are not
/// here because of `'now'` and `'localtime'`, nor mathematics, which is not in every build and differs
/// in the last bit between C libraries. ALTER TABLE uses functions of its own that SQL cannot call.
fn is_pure(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    PURE.contains(&lower.as_str()) || lower.starts_with("sqlite_rename_") || ALTER.contains(&lower.as_str())
}

const TEMP_SCHEMA: [&str; 2] = ["sqlite_temp_master", "sqlite_temp_schema"];

const ALTER: [&str; 4] = ["sqlite_drop_column", "sqlite_drop_constraint", "sqlite_add_constraint", "sqlite_fail"];

#[rustfmt::skip]
const PURE: &[&str] = &[
    // Core.
    "abs", "char", "coalesce", "concat", "concat_ws", "format", "glob", "hex", "if", "ifnull", "iif", "instr",
    "length", "like", "likelihood", "likely", "lower", "ltrim", "max", "min", "nullif", "octet_length", "printf",
    "quote", "replace", "round", "rtrim", "sign", "soundex", "substr", "substring", "trim", "typeof", "unhex",
    "unicode", "unlikely", "unistr", "unistr_quote", "upper", "zeroblob", "raise", "match",
    // Aggregates and windows.
    "avg", "count", "group_concat", "string_agg", "sum", "total", "row_number", "rank", "dense_rank",
    "percent_rank", "cume_dist", "ntile", "lag", "lead", "first_value", "last_value", "nth_value",
    // JSON.
    "json", "json_array", "json_array_length", "json_error_position", "json_extract", "->", "->>", "json_insert",
    "json_object", "json_patch", "json_pretty", "json_remove", "json_replace", "json_set", "json_type",
    "json_valid", "json_quote", "json_group_array", "json_group_object", "json_each", "json_tree", "subtype",
];

/// Virtual tables that keep all they know in ordinary tables.
const MODULES: [&str; 2] = ["fts5", "rtree"];

/// Pragmas that take an argument and change nothing.
const READING_PRAGMAS: [&str; 9] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "integrity_check",
];
