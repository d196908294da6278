//! What the payloads of a log mean.

use std::fmt;
use std::str::FromStr;

use crate::FormatError;

/// What a log's user records hold. Chosen when the log is created and stored in every segment; a
/// sink that cannot take it refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Content {
    /// Opaque bytes.
    #[default]
    Bytes,
    /// SQL statements with their parameters.
    Sql,
    /// Pages of a SQLite database.
    SqlitePages,
}

impl Content {
    /// The content as settings, JSON and messages spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Content::Bytes => "bytes",
            Content::Sql => "sql",
            Content::SqlitePages => "sqlite-pages",
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Content::Bytes => 0,
            Content::Sql => 1,
            Content::SqlitePages => 2,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Content> {
        match code {
            0 => Some(Content::Bytes),
            1 => Some(Content::Sql),
            2 => Some(Content::SqlitePages),
            _ => None,
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Content {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Content, FormatError> {
        match text {
            "bytes" => Ok(Content::Bytes),
            "sql" => Ok(Content::Sql),
            "sqlite-pages" => Ok(Content::SqlitePages),
            _ => Err(FormatError::Content(crate::error::excerpt(text))),
        }
    }
}
