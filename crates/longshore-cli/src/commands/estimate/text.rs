//! The answer for a person: the formula, then tables, then where the prices are from.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_archive::estimate::{Assessment, Item, Rpo};

use super::Estimated;
use crate::output::{render as finish, table};
use crate::quantity::{show_bytes, show_duration, show_rate};

pub(super) fn render(estimated: &Estimated) -> String {
    let mut text = format!("{}\n{}\n\n{}", estimated.transfer, estimated.transfer.rule(), objectives(estimated));
    if let Some(from) = estimated.from.as_ref().filter(|_| !estimated.ranked.is_empty()) {
        let ranked = &estimated.ranked;
        text.push_str(&format!("\nCopies of what is at {from}, the best first by cost, RTT, RPO and shared fate:\n"));
        text.push_str(&places(ranked));
        text.push_str(ABOUT_PLACES);
        text.push_str(&format!("\nAn archive there, US dollars per month and per restore:\n{}", costs(ranked)));
        text.push_str(&sources(ranked));
    }
    text
}

const ABOUT_PLACES: &str = "\
A round trip that was not given is estimated from the distance. What is unknown counts as the worst, and
a place in the primary's own city comes last whatever it costs.
";

const ABOUT_PRICES: &str = "\
List prices of the first tier. A year alone: commonly known in that year, not compared with the page.
";

fn objectives(estimated: &Estimated) -> String {
    let workload = &estimated.plan.workload;
    let recovery = &estimated.recovery;
    let mut table = table(&["WHAT", "REPLICA", "ARCHIVE"]);
    table
        .add_row(["steady-state bandwidth", &show_rate(workload.link_rate()), &show_rate(workload.archive_rate())])
        .add_row(["RPO", &rpo(estimated.replica_rpo), &rpo(estimated.archive_rpo)])
        .add_row(["RTO, longest", "", &time(recovery.total())])
        .add_row(["  detect and decide", "", &time(recovery.detect)])
        .add_row(["  fetch snapshot and log", "", &time(recovery.fetch.total())])
        .add_row(["  apply the log", "", &time(recovery.apply)])
        .add_row(["kept", "", &bytes(workload.stored_bytes())]);
    finish(&mut table)
}

fn places(ranked: &[Assessment]) -> String {
    let mut table = table(&["REGION", "USD/MONTH", "RTT", "RPO REPLICA", "RPO ARCHIVE", "RTO ARCHIVE", "SHARED FATE"]);
    for one in ranked {
        table.add_row([
            one.region.to_string(),
            usd(one.monthly.usd()),
            one.rtt.map_or_else(unknown, time),
            one.replica_rpo.map_or_else(unknown, rpo),
            one.archive_rpo.map_or_else(unknown, rpo),
            one.recovery.map_or_else(unknown, |recovery| time(recovery.total())),
            one.fate.to_string(),
        ]);
    }
    finish(&mut table)
}

fn costs(ranked: &[Assessment]) -> String {
    let mut table = table(&["REGION", "STORAGE", "REQUESTS", "EGRESS", "MONTH", "ONE RESTORE"]);
    for one in ranked {
        table.add_row([
            one.region.to_string(),
            usd(one.monthly.storage.usd()),
            usd(one.monthly.requests.usd()),
            usd(one.monthly.egress.usd()),
            usd(one.monthly.usd()),
            usd(one.restore.usd()),
        ]);
    }
    finish(&mut table)
}

/// Every page a price came from, each date with what is from then.
fn sources(ranked: &[Assessment]) -> String {
    let mut used: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    let prices = ranked.iter().flat_map(items).filter_map(|(name, item)| Some((name, item.price.as_ref()?)));
    for (name, price) in prices {
        let names = used.entry((&price.source, &price.date)).or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if used.is_empty() {
        return "\nNo price is known for these; give your own with --prices FILE.\n".to_owned();
    }
    let mut table = table(&["PRICES OF", "FROM", "FOR"]);
    for ((source, date), names) in used {
        table.add_row([date, source, &names.join(", ")]);
    }
    format!("\n{}{ABOUT_PRICES}", finish(&mut table))
}

/// A candidate's items by name.
fn items(one: &Assessment) -> [(&'static str, &Item); 5] {
    [
        ("storage", &one.monthly.storage),
        ("put requests", &one.monthly.requests),
        ("egress", &one.monthly.egress),
        ("get requests", &one.restore.requests),
        ("egress of a restore", &one.restore.egress),
    ]
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn usd(usd: Option<f64>) -> String {
    usd.map_or_else(unknown, |usd| format!("{usd:.2}"))
}

fn rpo(rpo: Rpo) -> String {
    match rpo {
        Rpo::Within(within) => time(within),
        Rpo::Growing => "grows: the link is too narrow".to_owned(),
    }
}

fn time(duration: Duration) -> String {
    if duration > A_LIFETIME { "never".to_owned() } else { show_duration(duration) }
}

/// Longer than this is not told as a time.
const A_LIFETIME: Duration = Duration::from_secs(100 * 365 * 86_400);

fn bytes(bytes: f64) -> String {
    // A float that does not fit becomes the greatest integer.
    show_bytes(bytes as u64)
}
