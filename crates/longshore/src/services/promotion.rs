//! Moving the role of a writer to this node, or away from it.

use longshore_format::{Epoch, Lsn, Name};
use longshore_transport::{Caller, Error, Promote, Promoted, PromotionService, Surveyed, async_trait};

use super::NodeServices;
use crate::promotion;

#[async_trait]
impl PromotionService for NodeServices {
    async fn survey(&self, _caller: &Caller, log: &Name, since: Option<Lsn>) -> Result<Surveyed, Error> {
        Ok(promotion::survey(&self.node, &self.log(log)?, since).await?)
    }

    async fn fence(&self, _caller: &Caller, log: &Name, epoch: Epoch) -> Result<Surveyed, Error> {
        Ok(promotion::fence(&self.node, &self.log(log)?, epoch).await?)
    }

    async fn promote(&self, _caller: &Caller, request: Promote) -> Result<Promoted, Error> {
        Ok(promotion::promote(&self.node, &request).await?)
    }
}
