//! The replication protocol, the sidecar API and the admin API over gRPC and TLS.
//!
//! This crate keeps tonic, hyper, rustls and prost out of every other one. It moves messages and says who
//! may send them; it decides nothing about replication. What it offers:
//!
//! * [`Server`] takes implementations of [`ReplicationService`], [`LogService`] and [`AdminService`] in
//!   plain types and serves them, with health and reflection, until told to stop.
//! * [`Client`] is one connection to an agent, with a method for each call.
//! * [`tls`] reads certificates and reloads them while connections stay; [`grants`] says which identity
//!   may do what to which log; a supervisor ends every stream whose identity lost either.
//! * [`certs`] makes a development CA.
//! * [`etcd`] reads and changes one key of an etcd, for a lease.
//!
//! The wire contract is `proto/longshore/v1/*.proto`. Everything that arrives is checked once, here, and
//! turned into types that cannot be wrong; what does not fit ends the call with
//! [`ErrorKind::Invalid`](longshore_format::ErrorKind::Invalid) before anything of it is kept.

#![forbid(unsafe_code)]

mod access;
mod caller;
pub mod certs;
mod channel;
mod client;
mod codec;
mod convert;
mod error;
pub mod etcd;
pub mod grants;
mod leash;
mod proto;
mod server;
mod services;
mod settings;
mod status;
pub mod tls;
mod watched;

pub use access::Access;
pub use caller::Caller;
pub use channel::{Channel, Sender};
pub use client::{Address, Client, Connector, ReplicaEnd};
pub use error::{Error, Fact, Result};
pub use server::{Server, Services};
pub use services::*;
pub use settings::{ClientSettings, Http2, ServerSettings};
pub use tonic::async_trait;

/// A boxed stream of results.
pub type BoxStream<T> = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<T>> + Send>>;

/// What this crate's locks guard is whole after every line, so a panic elsewhere takes nothing down with it.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
