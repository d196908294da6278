//! The `Admin` service, as gRPC calls it.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::Context;
use crate::{
    AdminService, PromotionService, async_trait, convert,
    grants::Role,
    proto::{self, admin_server},
};

/// The most bytes a request of this service can honestly need.
const MAX_REQUEST: usize = 16 << 10;

pub(super) fn service(
    context: Context,
    service: Arc<dyn AdminService>,
    promotion: Arc<dyn PromotionService>,
) -> admin_server::AdminServer<Admin> {
    admin_server::AdminServer::new(Admin { context, service, promotion }).max_decoding_message_size(MAX_REQUEST)
}

pub(super) struct Admin {
    pub(super) context: Context,
    service: Arc<dyn AdminService>,
    pub(super) promotion: Arc<dyn PromotionService>,
}

const ADMIN: &[Role] = &[Role::Admin];
const SEE: &[Role] = &[Role::Admin, Role::Read];

#[async_trait]
impl admin_server::Admin for Admin {
    async fn status(&self, request: Request<proto::StatusRequest>) -> Result<Response<proto::StatusResponse>, Status> {
        let (caller, log) = match request.get_ref().log.as_str() {
            "" => (self.context.caller(&request)?, None),
            log => {
                let log = convert::name(log)?;
                (self.context.authorize(&request, SEE, &log)?, Some(log))
            }
        };
        let status = self.service.status(&caller, log.as_ref()).await?;
        Ok(Response::new(convert::admin::status(status)))
    }

    async fn forget(&self, request: Request<proto::ForgetRequest>) -> Result<Response<proto::ForgetResponse>, Status> {
        let forget = convert::admin::parse_forget(request.get_ref())?;
        let caller = self.context.authorize(&request, ADMIN, &forget.log)?;
        let forgotten = self.service.forget(&caller, forget).await?;
        Ok(Response::new(convert::admin::forgotten(forgotten)))
    }

    async fn limits(&self, request: Request<proto::LimitsRequest>) -> Result<Response<proto::LimitsResponse>, Status> {
        let log = convert::name(&request.get_ref().log)?;
        let caller = self.context.authorize(&request, ADMIN, &log)?;
        let change = convert::admin::parse_limits_change(request.get_ref());
        let limits = self.service.limits(&caller, &log, change).await?;
        Ok(Response::new(convert::admin::limits(limits)))
    }

    async fn survey(&self, request: Request<proto::SurveyRequest>) -> Result<Response<proto::Witness>, Status> {
        self.survey_call(request).await
    }

    async fn fence(&self, request: Request<proto::FenceRequest>) -> Result<Response<proto::Witness>, Status> {
        self.fence_call(request).await
    }

    async fn promote(
        &self,
        request: Request<proto::PromoteRequest>,
    ) -> Result<Response<proto::PromoteResponse>, Status> {
        self.promote_call(request).await
    }
}
