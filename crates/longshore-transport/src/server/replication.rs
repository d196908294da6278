//! The `Replication` service, as gRPC calls it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context as Task, Poll, ready},
};

use longshore_format::{ErrorKind, Lsn};
use longshore_protocol::{Name, ToReplica};
use tokio::{sync::oneshot, time::timeout};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::{Context, Reply};
use crate::{
    Channel, Error, ReplicationService, Result, SnapshotOutline, SnapshotPlace, async_trait,
    channel::Outgoing,
    convert,
    grants::Role,
    leash::Leashed,
    proto::{self, replication_server},
};

/// The most bytes a request of this service can honestly need: a `Hello` with a full history.
const MAX_REQUEST: usize = 128 << 10;

pub(super) fn service(
    context: Context,
    service: Arc<dyn ReplicationService>,
) -> replication_server::ReplicationServer<Replication> {
    replication_server::ReplicationServer::new(Replication { context, service }).max_decoding_message_size(MAX_REQUEST)
}

pub(super) struct Replication {
    context: Context,
    service: Arc<dyn ReplicationService>,
}

const REPLICATE: &[Role] = &[Role::Replicate];
/// Comparing and repairing is also for operators and readers.
const INSPECT: &[Role] = &[Role::Replicate, Role::Read, Role::Admin];

#[async_trait]
impl replication_server::Replication for Replication {
    type LogsStream = Reply<proto::LogSummary>;
    type StreamStream = Reply<proto::ToReplica>;
    type SegmentsStream = Reply<proto::Segment>;
    type FetchSegmentStream = Reply<proto::SegmentChunk>;
    type SnapshotStream = Reply<proto::SnapshotChunk>;
    type SnapshotRangesStream = Reply<proto::SnapshotRangesChunk>;

    async fn logs(&self, request: Request<proto::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let caller = self.context.caller(&request)?;
        let logs = self.service.logs(&caller).await?;
        Ok(Response::new(each(logs, convert::segment::log_summary)))
    }

    async fn describe(
        &self,
        request: Request<proto::DescribeRequest>,
    ) -> Result<Response<proto::LogDescription>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let caller = self.context.authorize(&request, INSPECT, &log)?;
        let description = self.service.describe(&caller, &log).await?;
        Ok(Response::new(convert::segment::log_description(description)))
    }

    async fn stream(
        &self,
        mut request: Request<Streaming<proto::ToUpstream>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let first = timeout(self.context.first_message_deadline, request.get_mut().message());
        let first = first.await.map_err(|_| no_first_message())??.ok_or_else(no_first_message)?;
        let (log, hello) = convert::hello::parse_open(first)?;
        let (caller, leash, registration) = self.context.watch(&request, REPLICATE, &log)?;
        if caller.identity().as_str() != hello.node.as_str() {
            return Err(other_name(caller.identity(), hello.node.as_str()).into());
        }

        let first = tokio_stream::once(Ok(longshore_protocol::ToUpstream::Hello(Box::new(hello))));
        let rest = request.into_inner().map(|message| convert::replication::parse_to_upstream(message?));
        let incoming = Leashed::new(first.chain(rest), Arc::clone(&leash), ());
        let (channel, outgoing) = Channel::new(Box::pin(incoming));
        let (ended, outcome) = oneshot::channel();
        let service = Arc::clone(&self.service);
        self.context.tasks.spawn(async move {
            let _ = ended.send(service.stream(caller, log, channel).await);
        });
        let replies = Leashed::new(Replies { outgoing, outcome: Some(outcome) }, leash, registration);
        Ok(Response::new(Box::pin(replies)))
    }

    async fn segments(
        &self,
        request: Request<proto::SegmentsRequest>,
    ) -> Result<Response<Self::SegmentsStream>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let caller = self.context.authorize(&request, INSPECT, &log)?;
        let segments = self.service.segments(&caller, &log).await?;
        Ok(Response::new(each(segments, convert::segment::segment)))
    }

    async fn fetch_segment(
        &self,
        request: Request<proto::FetchSegmentRequest>,
    ) -> Result<Response<Self::FetchSegmentStream>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let (caller, leash, registration) = self.context.watch(&request, INSPECT, &log)?;
        let base = Lsn::new(request.get_ref().base);
        let file = self.service.fetch_segment(&caller, &log, base).await?;
        let chunks = convert::segment::chunks(file);
        Ok(Response::new(Box::pin(Leashed::new(chunks, leash, registration))))
    }

    async fn snapshot(
        &self,
        request: Request<proto::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let (caller, leash, registration) = self.context.watch(&request, REPLICATE, &log)?;
        let proto::SnapshotRequest { position, offset, .. } = *request.get_ref();
        let snapshot = self.service.snapshot(&caller, &log, place(position, offset)).await?;
        let chunks = convert::segment::snapshot_chunks(snapshot);
        Ok(Response::new(Box::pin(Leashed::new(chunks, leash, registration))))
    }

    async fn snapshot_outline(
        &self,
        request: Request<proto::SnapshotOutlineRequest>,
    ) -> Result<Response<proto::SnapshotOutline>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let caller = self.context.authorize(&request, REPLICATE, &log)?;
        let proto::SnapshotOutlineRequest { position, offset, most, .. } = *request.get_ref();
        let most = match most {
            0 => SnapshotOutline::MOST,
            most => SnapshotOutline::MOST.min(most as usize),
        };
        let outline = self.service.snapshot_outline(&caller, &log, place(position, offset), most).await?;
        Ok(Response::new(convert::outline::outline(outline)))
    }

    async fn snapshot_ranges(
        &self,
        request: Request<proto::SnapshotRangesRequest>,
    ) -> Result<Response<Self::SnapshotRangesStream>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let (caller, leash, registration) = self.context.watch(&request, REPLICATE, &log)?;
        let position = Lsn::new(request.get_ref().position);
        let ranges = convert::outline::parse_ranges(request.get_ref())?;
        let chunks = self.service.snapshot_ranges(&caller, &log, position, ranges).await?;
        Ok(Response::new(Box::pin(Leashed::new(convert::outline::range_chunks(chunks), leash, registration))))
    }
}

/// How far a snapshot was received, where position zero means that none was begun.
fn place(position: u64, offset: u64) -> Option<SnapshotPlace> {
    let position = Lsn::new(position);
    (position != Lsn::ZERO).then_some(SnapshotPlace { position, offset })
}

/// What the service sends, and at the end how it ended.
struct Replies {
    outgoing: Outgoing<ToReplica>,
    outcome: Option<oneshot::Receiver<Result<()>>>,
}

impl Stream for Replies {
    type Item = Result<proto::ToReplica, Status>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        while let Some(message) = ready!(Pin::new(&mut self.outgoing).poll_next(task)) {
            if let Some(message) = convert::replication::to_replica_message(message) {
                return Poll::Ready(Some(Ok(message)));
            }
        }
        let Some(outcome) = &mut self.outcome else {
            return Poll::Ready(None);
        };
        let outcome = ready!(Pin::new(outcome).poll(task));
        self.outcome = None;
        Poll::Ready(match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(error.into())),
            Err(_) => Some(Err(Error::new(ErrorKind::Internal, "the stream's task panicked", "report a bug").into())),
        })
    }
}

/// A stream of a list.
fn each<T, U: Send + 'static>(items: Vec<T>, convert: fn(T) -> U) -> Reply<U>
where
    T: Send + 'static,
{
    Box::pin(tokio_stream::iter(items.into_iter().map(move |item| Ok(convert(item)))))
}

fn no_first_message() -> Error {
    Error::new(ErrorKind::Invalid, "the stream did not open with a message within the deadline", "connect again")
}

/// A replica that takes itself for somebody else (F-124).
fn other_name(identity: &Name, claimed: &str) -> Error {
    let error = Error::new(
        ErrorKind::Denied,
        format!("the certificate is of {identity}, the message says {claimed}"),
        "start the replica with the identity of its certificate",
    );
    tracing::warn!(target: "longshore::audit", %identity, "refused: {error}");
    error
}
