//! The route and what is around it, for a person and for a program.

use longshore_format::Lsn;
use serde::Serialize;

use super::around::Fact;
use super::chain::{Ask, Hop, Route};
use crate::output::{render as render_table, table};
use crate::quantity::show_duration;

pub(super) fn render(ask: &Ask, route: &Route, facts: &[Fact]) -> String {
    let mut text = match route.position {
        Some(position) => format!("mark {} at {position} of log {}\n\n", ask.mark, ask.log),
        None => format!("no mark in log {}\n\n", ask.log),
    };
    let mut hops = table(&["HOP", "AFTER", "RESULT"]);
    for hop in &route.hops {
        let result = if hop.outcome.is_ok() { "ok" } else { "FAILED" };
        hops.add_row([hop.what.clone(), show_duration(hop.after), result.to_owned()]);
    }
    text += &render_table(&mut hops);
    for (hop, failure) in route.hops.iter().filter_map(|hop| Some((hop, hop.outcome.as_ref().err()?))) {
        text += &format!("{}: {failure}\n", hop.what);
    }
    let mut around = table(&["AROUND", "FOUND"]);
    for fact in facts {
        around.add_row([&fact.what, &fact.found]);
    }
    text += &format!("\n{}", render_table(&mut around));
    for fact in facts {
        if let Some(warning) = &fact.warning {
            text += &format!("warning: {}: {warning}\n", fact.what);
        }
    }
    text
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    log: String,
    mark: String,
    position: Option<u64>,
    ok: bool,
    hops: Vec<Row>,
    /// How far the primary's clock is ahead of this machine's, and by how much that may be wrong.
    clock_ahead_seconds: Option<f64>,
    clock_within_seconds: Option<f64>,
    around: &'a [Fact],
}

#[derive(Serialize)]
struct Row {
    hop: String,
    after_seconds: f64,
    ok: bool,
    kind: Option<&'static str>,
    error: Option<String>,
}

impl<'a> Document<'a> {
    pub(super) fn new(ask: &Ask, route: &Route, facts: &'a [Fact]) -> Document<'a> {
        Document {
            log: ask.log.to_string(),
            mark: ask.mark.to_string(),
            position: route.position.map(Lsn::get),
            ok: route.hops.iter().all(|hop| hop.outcome.is_ok()),
            hops: route.hops.iter().map(Row::from).collect(),
            clock_ahead_seconds: route.clock.map(|clock| clock.ahead as f64 / 1e6),
            clock_within_seconds: route.clock.map(|clock| clock.within.as_secs_f64()),
            around: facts,
        }
    }
}

impl From<&Hop> for Row {
    fn from(hop: &Hop) -> Row {
        let failure = hop.outcome.as_ref().err();
        Row {
            hop: hop.what.clone(),
            after_seconds: hop.after.as_secs_f64(),
            ok: failure.is_none(),
            kind: failure.map(|failure| failure.kind().as_str()),
            error: failure.map(ToString::to_string),
        }
    }
}
