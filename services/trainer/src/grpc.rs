//! The service as gRPC sees it: messages in, messages out.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use relief_api::convert::training::spec_from_wire;
use relief_api::training::v1::training_service_server::TrainingService;
use relief_api::training::v1::{
    CancelRunRequest, CancelRunResponse, CreateRunRequest, CreateRunResponse, GetRunRequest, GetRunResponse,
    ListRunsRequest, ListRunsResponse, WatchRunRequest, WatchRunResponse,
};
use relief_api::{ApiError, Violations};
use relief_core::RunId;
use tonic::{Request, Response, Status};

use crate::listing::RunPage;
use crate::trainer::Trainer;
use crate::wire;

/// `relief.training.v1.TrainingService`.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    trainer: Arc<Trainer>,
}

impl Service {
    pub(crate) fn new(trainer: Arc<Trainer>) -> Self {
        Self { trainer }
    }
}

fn run_id(field: &str, text: &str) -> Result<RunId, ApiError> {
    let mut wrong = Violations::default();
    let id = wrong.check(field, text.parse());
    wrong.finish(id)
}

#[tonic::async_trait]
impl TrainingService for Service {
    async fn create_run(&self, request: Request<CreateRunRequest>) -> Result<Response<CreateRunResponse>, Status> {
        let CreateRunRequest { spec, run_id: id } = request.into_inner();
        let spec = spec_from_wire(spec)?;
        let id = if id.is_empty() { None } else { Some(run_id("run_id", &id)?) };
        let view = self.trainer.create(id, spec).await?;
        Ok(Response::new(CreateRunResponse { run: Some(wire::run(&view, &[])) }))
    }

    async fn get_run(&self, request: Request<GetRunRequest>) -> Result<Response<GetRunResponse>, Status> {
        let id = run_id("name", &request.into_inner().name)?;
        let (view, snapshots) = self.trainer.get(&id).await?;
        Ok(Response::new(GetRunResponse { run: Some(wire::run(&view, &snapshots)) }))
    }

    async fn list_runs(&self, request: Request<ListRunsRequest>) -> Result<Response<ListRunsResponse>, Status> {
        let ListRunsRequest { page_size, page_token } = request.into_inner();
        let (views, next) = self.trainer.list(&RunPage::new(page_size, &page_token)?).await?;
        let runs = views.iter().map(|view| wire::run(view, &[])).collect();
        Ok(Response::new(ListRunsResponse { runs, next_page_token: next.unwrap_or_default() }))
    }

    type WatchRunStream = Pin<Box<dyn Stream<Item = Result<WatchRunResponse, Status>> + Send>>;

    async fn watch_run(&self, request: Request<WatchRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let WatchRunRequest { name, after_revision } = request.into_inner();
        let watcher = self.trainer.watch(&run_id("name", &name)?, after_revision).await?;
        let messages = watcher.into_stream().map(|change| match change {
            Ok(view) => Ok(WatchRunResponse { run: Some(wire::run(&view, &[])) }),
            Err(error) => Err(error.into()),
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn cancel_run(&self, request: Request<CancelRunRequest>) -> Result<Response<CancelRunResponse>, Status> {
        let id = run_id("name", &request.into_inner().name)?;
        let view = self.trainer.cancel(&id).await?;
        Ok(Response::new(CancelRunResponse { run: Some(wire::run(&view, &[])) }))
    }
}
