//! The tour: real processes on loopback, a crash, a cut link, a recovery, and the proofs.
//!
//! ```text
//!   demo (this process) ─ certificates, proxy, live view, proofs
//!    ├─ order-entry application on its orders.db, with nothing of longshore in it
//!    ├─ longshore primary --sqlite orders.db ─ its log ────────────────────────┐ mutual TLS
//!    ├─ longshore replica eu-west ─ its log ─ its orders.db  ◀─────────────────┤
//!    └─ longshore replica us-east ─ its log ─ its orders.db  ◀── proxy (stalls)┘
//! ```

pub(crate) mod app;
mod journal;
mod proofs;
mod proxy;
mod report;
mod site;
mod story;
mod view;

pub(crate) use story::{Options, tell};
