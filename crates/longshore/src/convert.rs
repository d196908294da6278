//! The library's errors as they cross the wire.

use longshore_format::Lsn;

use crate::error::Error;

impl From<Error> for longshore_transport::Error {
    /// Kind, message and next step stay what they are here; positions become facts.
    fn from(error: Error) -> Self {
        if let Error::Transport(error) = error {
            return error;
        }
        let text = error.to_string();
        // Every message ends with what to try next, after its last semicolon.
        let (message, next_step) = text.rsplit_once("; ").unwrap_or((&text, ""));
        let mut out = Self::new(error.kind(), message, next_step);
        for (name, position) in facts(&error) {
            out = out.fact(name, position);
        }
        out.because(error)
    }
}

fn facts(error: &Error) -> Vec<(&'static str, Lsn)> {
    use longshore_wal::Error as Wal;
    match error {
        Error::Unconfirmed { position, .. } | Error::NotDurable { position, .. } | Error::Closed { position, .. } => {
            vec![("position", *position)]
        }
        Error::Wal(Wal::TooOld { lsn, first }) => vec![("position", *lsn), ("first", *first)],
        Error::Wal(Wal::NotABoundary { lsn, nearest }) => vec![("position", *lsn), ("nearest", *nearest)],
        Error::Wal(Wal::WrongEnd { expected, end }) => vec![("expected", *expected), ("end", *end)],
        Error::Wal(Wal::Beyond { lsn, end }) => vec![("position", *lsn), ("end", *end)],
        Error::Refused { at: Some(at), .. } => vec![("position", *at)],
        _ => Vec::new(),
    }
}
