//! The `Log` service, as gRPC calls it.

use std::sync::Arc;

use longshore_format::Lsn;
use longshore_protocol::Durability;
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status};

use super::{Context, Reply};
use crate::{
    LogService, async_trait, convert,
    grants::Role,
    leash::Leashed,
    proto::{self, log_server},
};

/// The most bytes of a request: an append's batch and what is around it (F-099).
pub(crate) const MAX_REQUEST: usize = 2 << 20;

pub(super) fn service(context: Context, service: Arc<dyn LogService>) -> log_server::LogServer<Log> {
    log_server::LogServer::new(Log { context, service }).max_decoding_message_size(MAX_REQUEST)
}

pub(super) struct Log {
    context: Context,
    service: Arc<dyn LogService>,
}

const APPEND: &[Role] = &[Role::Append];
const READ: &[Role] = &[Role::Read];
const EITHER: &[Role] = &[Role::Append, Role::Read, Role::Admin];
const CREATE: &[Role] = &[Role::Admin];

#[async_trait]
impl log_server::Log for Log {
    type ReadStream = Reply<proto::ReadResponse>;

    async fn create(&self, request: Request<proto::CreateRequest>) -> Result<Response<proto::CreateResponse>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let caller = self.context.authorize(&request, CREATE, &log)?;
        let create = convert::log::parse_create(request.into_inner(), log)?;
        let id = self.service.create(&caller, create).await?;
        Ok(Response::new(proto::CreateResponse { log_id: id.as_bytes().to_vec() }))
    }

    async fn append(&self, request: Request<proto::AppendRequest>) -> Result<Response<proto::AppendResponse>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let caller = self.context.authorize(&request, APPEND, &log)?;
        let append = convert::log::parse_append(request.into_inner(), log)?;
        let appended = self.service.append(&caller, append).await?;
        Ok(Response::new(proto::AppendResponse { start: appended.start.get(), end: appended.end.get() }))
    }

    async fn read(&self, request: Request<proto::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let (caller, leash, registration) = self.context.watch(&request, READ, &log)?;
        let read = convert::log::parse_read(request.into_inner(), log);
        let batches = self.service.read(&caller, read).await?;
        let batches = batches.map(|batch| Ok(convert::log::batch(batch?)));
        Ok(Response::new(Box::pin(Leashed::new(batches, leash, registration))))
    }

    async fn wait(&self, request: Request<proto::WaitRequest>) -> Result<Response<proto::WaitResponse>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let caller = self.context.authorize(&request, EITHER, &log)?;
        let request = request.into_inner();
        let (durability, timeout) = convert::log::parse_wait(&request.wait, request.timeout_millis)?;
        let position = Lsn::new(request.position);
        let position =
            self.service.wait(&caller, &log, position, &durability.unwrap_or(Durability::LOCAL), timeout).await?;
        Ok(Response::new(proto::WaitResponse { position: position.get() }))
    }

    async fn positions(
        &self,
        request: Request<proto::PositionsRequest>,
    ) -> Result<Response<proto::PositionsResponse>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let caller = self.context.authorize(&request, EITHER, &log)?;
        let positions = self.service.positions(&caller, &log).await?;
        Ok(Response::new(convert::log::positions(positions)))
    }

    async fn mark(&self, request: Request<proto::MarkRequest>) -> Result<Response<proto::MarkResponse>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let name = convert::name(&request.get_ref().name)?;
        let caller = self.context.authorize(&request, APPEND, &log)?;
        let position = self.service.mark(&caller, &log, &name).await?;
        Ok(Response::new(proto::MarkResponse { position: position.get() }))
    }
}
