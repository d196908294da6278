//! An agent's calling side: one connection, with a method for each call.

mod address;
mod admin;
mod connect;
pub(crate) mod http;
mod log;
mod promotion;
mod replication;

pub use address::Address;
pub use connect::Connector;
pub use replication::ReplicaEnd;

use std::time::Duration;

use longshore_format::ErrorKind;
use longshore_protocol::Name;
use tokio::time::timeout;
use tonic::{Response, Status};

use crate::{Error, Result, proto};
use http::Http;

/// The most bytes of an answer: a batch of records or a message of frames, with what is around it (F-099).
const MAX_ANSWER: usize = 2 << 20;

/// A connection to an agent. Clones share it.
///
/// It never connects by itself again: when it is lost, every call fails with
/// [`ErrorKind::Unavailable`], and who owns it decides when to try anew. It ends when the last clone and
/// the last stream of it are dropped.
#[derive(Clone)]
pub struct Client {
    http: Http,
    address: Address,
    server: Option<Name>,
    origin: tonic::codegen::http::Uri,
    call_deadline: Duration,
}

macro_rules! stub {
    ($name:ident, $module:ident, $client:ident) => {
        fn $name(&self) -> proto::$module::$client<Http> {
            proto::$module::$client::with_origin(self.http.clone(), self.origin.clone())
                .max_decoding_message_size(MAX_ANSWER)
        }
    };
}

impl Client {
    stub!(replication, replication_client, ReplicationClient);
    stub!(log, log_client, LogClient);
    stub!(admin, admin_client, AdminClient);

    /// Where the agent is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The identity in the agent's certificate; `None` in plaintext.
    pub fn server(&self) -> Option<&Name> {
        self.server.as_ref()
    }

    /// Whether the connection is known to be lost.
    pub fn is_closed(&self) -> bool {
        self.http.is_closed()
    }

    /// Whether the agent says that it serves.
    pub async fn healthy(&self) -> Result<bool> {
        let mut health =
            tonic_health::pb::health_client::HealthClient::with_origin(self.http.clone(), self.origin.clone());
        let request = tonic_health::pb::HealthCheckRequest::default();
        let answer = self.answer(health.check(request)).await?;
        Ok(answer.status() == tonic_health::pb::health_check_response::ServingStatus::Serving)
    }

    /// Waits for an answer that nothing but the network keeps back.
    async fn answer<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
        self.answer_within(self.call_deadline, call).await
    }

    /// Waits for an answer that may take `limit` by itself.
    async fn answer_within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T> {
        match timeout(limit, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(status)),
            Err(_) => Err(self.silent(limit)),
        }
    }

    /// A call that failed, at the other end or on the way.
    fn failed(&self, status: Status) -> Error {
        let on_the_way = std::error::Error::source(&status).is_some() && status.details().is_empty();
        if !on_the_way {
            return status.into();
        }
        let message = format!("the connection to {} was lost: {}", self.address, root_cause(&status));
        Error::new(ErrorKind::Unavailable, message, "connect again").because(status)
    }

    fn silent(&self, limit: Duration) -> Error {
        let message = format!("{} did not answer within {limit:?}", self.address);
        Error::new(
            ErrorKind::Unavailable,
            message,
            "check the agent's load and the network, and that both ends speak TLS or neither; try again",
        )
    }
}

pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
