//! What goes to stdout: JSON documents with a schema number, and aligned tables.

use std::ffi::OsString;
use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

/// The version of every JSON document this binary prints. It grows when a field changes meaning
/// or goes away; new fields do not change it.
pub(crate) const SCHEMA: u32 = 1;

/// A document: the schema number first, then the facts.
#[derive(Serialize)]
pub(crate) struct Document<T> {
    schema: u32,
    #[serde(flatten)]
    facts: T,
}

impl<T: Serialize> Document<T> {
    pub(crate) fn new(facts: T) -> Self {
        Self { schema: SCHEMA, facts }
    }
}

/// Prints one JSON document on one line.
pub(crate) fn print_json(facts: impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string(&Document::new(facts))
        .map_err(|error| Failure::internal(format!("cannot write the answer as JSON: {error}")))?;
    text.push('\n');
    print(&text)
}

/// Prints text; a reader that has gone away is an ordinary end.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// As [`print`], for what is not text.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::output(&error)),
    }
}

/// Says a line on stderr. Where that is closed or full nobody is listening: that ends nothing.
pub(crate) fn tell(text: &str) {
    let _unheard = writeln!(io::stderr(), "{text}");
}

/// Whether the command line asks for JSON, known before it is parsed so that a usage error has
/// the form the caller expects.
pub(crate) fn wants_json(args: impl IntoIterator<Item = OsString>) -> bool {
    args.into_iter().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--json")
}

/// A table without borders: columns aligned, two spaces between them.
pub(crate) fn table(header: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(header.iter().copied());
    table
}

/// What is said of one thing: a name and a text a line, aligned.
pub(crate) fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, text)| format!("{name:width$}  {text}\n")).collect()
}

/// A finished table as text, without the blanks a terminal does not need.
pub(crate) fn render(table: &mut comfy_table::Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_asked_for_by_a_flag_and_not_by_a_positional() {
        let args = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(wants_json(args(&["longshore", "status", "--json"])));
        assert!(!wants_json(args(&["longshore", "status"])));
        assert!(!wants_json(args(&["longshore", "mark", "--", "--json"])));
    }

    #[test]
    fn tables_are_aligned_and_carry_no_trailing_blanks() {
        let mut table = table(&["NAME", "LAG"]);
        table.add_row(["eu-west", "0 B"]).add_row(["us", "1 KiB"]);
        assert_eq!(render(&mut table), "NAME     LAG\neu-west  0 B\nus       1 KiB\n");
    }
}
