//! The calls of the `Admin` service that move the role of a writer.

use tonic::{Request, Response, Status};

use super::admin::Admin;
use crate::{convert, grants::Role, proto};

const PROMOTE: &[Role] = &[Role::Promote];
const SURVEY: &[Role] = &[Role::Promote, Role::Admin, Role::Read];

impl Admin {
    pub(super) async fn survey_call(
        &self,
        request: Request<proto::SurveyRequest>,
    ) -> Result<Response<proto::Witness>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let caller = self.context.authorize(&request, SURVEY, &log)?;
        let since = request.get_ref().since.map(longshore_format::Lsn::new);
        let surveyed = self.promotion.survey(&caller, &log, since).await?;
        Ok(Response::new(convert::promotion::witness_message(surveyed)))
    }

    pub(super) async fn fence_call(
        &self,
        request: Request<proto::FenceRequest>,
    ) -> Result<Response<proto::Witness>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let caller = self.context.authorize(&request, PROMOTE, &log)?;
        let epoch = convert::epoch(request.get_ref().epoch.clone())?;
        let surveyed = self.promotion.fence(&caller, &log, epoch).await?;
        Ok(Response::new(convert::promotion::witness_message(surveyed)))
    }

    pub(super) async fn promote_call(
        &self,
        request: Request<proto::PromoteRequest>,
    ) -> Result<Response<proto::PromoteResponse>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let caller = self.context.authorize(&request, PROMOTE, &log)?;
        let promote = convert::promotion::parse_promote(request.into_inner())?;
        let promoted = self.promotion.promote(&caller, promote).await?;
        Ok(Response::new(convert::promotion::promoted_message(promoted)))
    }
}
