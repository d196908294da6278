//! SQLite as a longshore sink: statements applied with their position in one transaction.
