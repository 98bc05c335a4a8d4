//! `relief.catalog.v1.CatalogService`.

use std::sync::Arc;

use relief_api::catalog::v1 as wire;
use relief_api::catalog::v1::catalog_service_server::CatalogService;
use relief_api::convert::catalog::{format_from_wire, storage_to_wire};
use relief_api::convert::surface::split_from_wire;
use relief_api::convert::time::timestamp_from_text;
use relief_api::{ApiError, Violations};
use relief_core::{CheckpointId, DatasetId, Digest, DirectionName, NameError, NetworkId, Split};
use relief_store::{CheckpointRecord, DatasetFormat, DatasetRecord, NetworkRecord, Page, Store};
use tonic::{Request, Response, Status, Streaming};

use crate::assignment::{Match, Report};
use crate::catalog::{self, SplitUpload, Upload};
use crate::grpc::to_the_end;
use crate::leadership::Leadership;

/// Serves the catalog.
#[derive(Debug)]
pub(crate) struct CatalogHandler {
    pub(crate) store: Store,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) max_import_bytes: usize,
}

fn name<T: std::str::FromStr<Err = NameError>>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|error: NameError| ApiError::field("name", error.to_string()))
}

fn page(size: u32, token: String) -> Page {
    Page::new(size, (!token.is_empty()).then_some(token))
}

fn no_header() -> ApiError {
    ApiError::field("part", "the first message has no header; a header comes first and once, then chunks")
}

fn no_chunk() -> ApiError {
    ApiError::field("part", "a message after the first has no chunk; a header comes first and once, then chunks")
}

fn sample_shape([channels, height, width]: [u32; 3]) -> wire::SampleShape {
    wire::SampleShape { channels, height, width }
}

fn network_to_wire(record: &NetworkRecord) -> wire::Network {
    wire::Network {
        name: record.id.to_string(),
        digest: record.digest.to_string(),
        input: Some(sample_shape(record.input_shape)),
        n_classes: record.n_classes,
        n_parameters: record.n_parameters,
        create_time: timestamp_from_text(&record.created),
    }
}

fn checkpoint_to_wire(record: &CheckpointRecord) -> wire::Checkpoint {
    wire::Checkpoint {
        name: record.name.to_string(),
        network: record.network.to_string(),
        digest: record.digest.to_string(),
        n_bytes: record.n_bytes,
        create_time: timestamp_from_text(&record.created),
    }
}

fn report_to_wire(report: Report) -> wire::CheckpointReport {
    let to_wire = |by| match by {
        Match::Name => wire::TensorMatch::Name,
        Match::Prefix => wire::TensorMatch::Prefix,
        Match::Shape => wire::TensorMatch::Shape,
    };
    let applied = report.applied.into_iter().map(|applied| wire::AppliedTensor {
        parameter: applied.parameter,
        tensor: applied.tensor,
        r#match: to_wire(applied.by).into(),
    });
    let skipped =
        report.skipped.into_iter().map(|skipped| wire::SkippedTensor { name: skipped.name, dtype: skipped.dtype });
    wire::CheckpointReport {
        format: report.format.to_owned(),
        key: report.key.unwrap_or_default(),
        applied: applied.collect(),
        unused: report.unused,
        skipped: skipped.collect(),
    }
}

fn dataset_to_wire(record: &DatasetRecord) -> wire::Dataset {
    let n_samples = |split| record.splits.get(&split).map_or(0, |split| split.n_samples);
    wire::Dataset {
        name: record.id.to_string(),
        digest: record.digest.to_string(),
        shape: Some(sample_shape(record.shape)),
        n_classes: record.n_classes,
        mean: record.mean.clone(),
        std: record.std.clone(),
        n_train: n_samples(Split::Train),
        n_test: n_samples(Split::Test),
        storage: storage_to_wire(record.storage).into(),
        create_time: timestamp_from_text(&record.created),
    }
}

impl CatalogHandler {
    /// Does what changes the store to its end, when this coordinator leads.
    async fn write<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let term = self.leadership.term().await?;
        to_the_end(async move {
            term.mandate.hold().await?;
            work.await
        })
        .await
    }
}

#[tonic::async_trait]
impl CatalogService for CatalogHandler {
    async fn get_network(
        &self,
        request: Request<wire::GetNetworkRequest>,
    ) -> Result<Response<wire::GetNetworkResponse>, Status> {
        let id: NetworkId = name(&request.get_ref().name)?;
        let record = self.store.get_network(&id).await.map_err(ApiError::from)?;
        Ok(Response::new(wire::GetNetworkResponse { network: Some(network_to_wire(&record)) }))
    }

    async fn list_networks(
        &self,
        request: Request<wire::ListNetworksRequest>,
    ) -> Result<Response<wire::ListNetworksResponse>, Status> {
        let request = request.into_inner();
        let listing =
            self.store.list_networks(&page(request.page_size, request.page_token)).await.map_err(ApiError::from)?;
        Ok(Response::new(wire::ListNetworksResponse {
            networks: listing.items.iter().map(network_to_wire).collect(),
            next_page_token: listing.next.unwrap_or_default(),
        }))
    }

    async fn delete_network(
        &self,
        request: Request<wire::DeleteNetworkRequest>,
    ) -> Result<Response<wire::DeleteNetworkResponse>, Status> {
        // Only the leader changes what is stored; asked first, so that nobody uploads for nothing.
        self.leadership.term().await?;
        let (store, id) = (self.store.clone(), name(&request.get_ref().name)?);
        self.write(async move { catalog::delete_network(&store, &id).await }).await?;
        Ok(Response::new(wire::DeleteNetworkResponse {}))
    }

    async fn import_network(
        &self,
        request: Request<Streaming<wire::ImportNetworkRequest>>,
    ) -> Result<Response<wire::ImportNetworkResponse>, Status> {
        // Only the leader changes what is stored; asked first, so that nobody uploads for nothing.
        self.leadership.term().await?;
        use wire::import_network_request::Part;
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = parts.message().await?.and_then(|message| message.part) else {
            return Err(no_header().into());
        };
        let mut wrong = Violations::default();
        let id: Option<NetworkId> = wrong.check("header.name", header.name.parse());
        let digest = wrong.check("header.digest", header.digest.parse());
        let (id, digest) = wrong.finish(id.zip(digest))?;
        let mut upload = Upload::new(("chunk", "header.digest"), digest, self.max_import_bytes);
        while let Some(message) = parts.message().await? {
            let Some(Part::Chunk(chunk)) = message.part else { return Err(no_chunk().into()) };
            upload.push(&chunk)?;
        }
        let (store, content) = (self.store.clone(), upload.finish()?);
        let imported = self.write(async move { catalog::import_network(&store, &id, &content).await });
        let (network, checkpoint, notes) = imported.await?;
        Ok(Response::new(wire::ImportNetworkResponse {
            network: Some(network_to_wire(&network)),
            checkpoint: checkpoint.as_ref().map(checkpoint_to_wire),
            notes,
        }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<wire::GetCheckpointRequest>,
    ) -> Result<Response<wire::GetCheckpointResponse>, Status> {
        let id: CheckpointId = name(&request.get_ref().name)?;
        let record = self.store.get_checkpoint(&id).await.map_err(ApiError::from)?;
        Ok(Response::new(wire::GetCheckpointResponse { checkpoint: Some(checkpoint_to_wire(&record)) }))
    }

    async fn list_checkpoints(
        &self,
        request: Request<wire::ListCheckpointsRequest>,
    ) -> Result<Response<wire::ListCheckpointsResponse>, Status> {
        let request = request.into_inner();
        let listing =
            self.store.list_checkpoints(&page(request.page_size, request.page_token)).await.map_err(ApiError::from)?;
        Ok(Response::new(wire::ListCheckpointsResponse {
            checkpoints: listing.items.iter().map(checkpoint_to_wire).collect(),
            next_page_token: listing.next.unwrap_or_default(),
        }))
    }

    async fn delete_checkpoint(
        &self,
        request: Request<wire::DeleteCheckpointRequest>,
    ) -> Result<Response<wire::DeleteCheckpointResponse>, Status> {
        // Only the leader changes what is stored; asked first, so that nobody uploads for nothing.
        self.leadership.term().await?;
        let id: CheckpointId = name(&request.get_ref().name)?;
        let store = self.store.clone();
        self.write(async move { Ok(store.delete_checkpoint(&id).await?) }).await?;
        Ok(Response::new(wire::DeleteCheckpointResponse {}))
    }

    async fn import_checkpoint(
        &self,
        request: Request<Streaming<wire::ImportCheckpointRequest>>,
    ) -> Result<Response<wire::ImportCheckpointResponse>, Status> {
        // Only the leader changes what is stored; asked first, so that nobody uploads for nothing.
        self.leadership.term().await?;
        use wire::import_checkpoint_request::Part;
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = parts.message().await?.and_then(|message| message.part) else {
            return Err(no_header().into());
        };
        let mut wrong = Violations::default();
        let id: Option<CheckpointId> = wrong.check("header.name", header.name.parse());
        let network: Option<NetworkId> = wrong.check("header.network", header.network.parse());
        let digest = wrong.check("header.digest", header.digest.parse());
        let ((id, network), digest) = wrong.finish(id.zip(network).zip(digest))?;
        let mut upload = Upload::new(("chunk", "header.digest"), digest, self.max_import_bytes);
        while let Some(message) = parts.message().await? {
            let Some(Part::Chunk(chunk)) = message.part else { return Err(no_chunk().into()) };
            upload.push(&chunk)?;
        }
        let (store, content) = (self.store.clone(), upload.finish()?);
        let imported = self.write(async move { catalog::import_checkpoint(&store, &id, &network, content).await });
        let (record, report) = imported.await?;
        let skipped = report.skipped.iter().map(|skipped| skipped.name.clone());
        Ok(Response::new(wire::ImportCheckpointResponse {
            checkpoint: Some(checkpoint_to_wire(&record)),
            unused_tensors: report.unused.iter().cloned().chain(skipped).collect(),
            report: Some(report_to_wire(report)),
        }))
    }

    async fn import_direction(
        &self,
        request: Request<Streaming<wire::ImportDirectionRequest>>,
    ) -> Result<Response<wire::ImportDirectionResponse>, Status> {
        // Only the leader changes what is stored; asked first, so that nobody uploads for nothing.
        self.leadership.term().await?;
        use wire::import_direction_request::Part;
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = parts.message().await?.and_then(|message| message.part) else {
            return Err(no_header().into());
        };
        let mut wrong = Violations::default();
        let digest = wrong.check("header.digest", header.digest.parse());
        let digest = wrong.finish(digest)?;
        let mut upload = Upload::new(("chunk", "header.digest"), digest, self.max_import_bytes);
        while let Some(message) = parts.message().await? {
            let Some(Part::Chunk(chunk)) = message.part else { return Err(no_chunk().into()) };
            upload.push(&chunk)?;
        }
        let (store, content) = (self.store.clone(), upload.finish()?);
        let record = self.write(async move { Ok(store.import_direction(content).await?) }).await?;
        let direction = wire::Direction {
            name: DirectionName(record.digest).to_string(),
            n_bytes: record.n_bytes,
            n_tensors: record.n_tensors,
        };
        Ok(Response::new(wire::ImportDirectionResponse { direction: Some(direction) }))
    }

    async fn get_dataset(
        &self,
        request: Request<wire::GetDatasetRequest>,
    ) -> Result<Response<wire::GetDatasetResponse>, Status> {
        let id: DatasetId = name(&request.get_ref().name)?;
        let record = self.store.get_dataset(&id).await.map_err(ApiError::from)?;
        Ok(Response::new(wire::GetDatasetResponse { dataset: Some(dataset_to_wire(&record)) }))
    }

    async fn list_datasets(
        &self,
        request: Request<wire::ListDatasetsRequest>,
    ) -> Result<Response<wire::ListDatasetsResponse>, Status> {
        let request = request.into_inner();
        let listing =
            self.store.list_datasets(&page(request.page_size, request.page_token)).await.map_err(ApiError::from)?;
        Ok(Response::new(wire::ListDatasetsResponse {
            datasets: listing.items.iter().map(dataset_to_wire).collect(),
            next_page_token: listing.next.unwrap_or_default(),
        }))
    }

    async fn delete_dataset(
        &self,
        request: Request<wire::DeleteDatasetRequest>,
    ) -> Result<Response<wire::DeleteDatasetResponse>, Status> {
        // Only the leader changes what is stored; asked first, so that nobody uploads for nothing.
        self.leadership.term().await?;
        let id: DatasetId = name(&request.get_ref().name)?;
        let store = self.store.clone();
        self.write(async move { Ok(store.delete_dataset(&id).await?) }).await?;
        Ok(Response::new(wire::DeleteDatasetResponse {}))
    }

    async fn import_dataset(
        &self,
        request: Request<Streaming<wire::ImportDatasetRequest>>,
    ) -> Result<Response<wire::ImportDatasetResponse>, Status> {
        // Only the leader changes what is stored; asked first, so that nobody uploads for nothing.
        self.leadership.term().await?;
        use wire::import_dataset_request::Part;
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = parts.message().await?.and_then(|message| message.part) else {
            return Err(no_header().into());
        };
        let mut wrong = Violations::default();
        let id: Option<DatasetId> = wrong.check("header.name", header.name.parse());
        let split = wrong.check("header.split", split_from_wire(header.split));
        let inputs_digest = wrong.check("header.inputs_digest", header.inputs_digest.parse());
        let format = wrong.check("header.format", format_from_wire(header.format));
        let targets_digest = match header.targets_digest.as_str() {
            // That of no bytes: a format with inputs and targets in one file.
            "" if format != Some(DatasetFormat::Idx) => Some(Digest::of(b"")),
            digest => wrong.check("header.targets_digest", digest.parse()),
        };
        let checked = wrong.finish(id.zip(split).zip(format).zip(inputs_digest.zip(targets_digest)))?;
        let (((id, split), format), (inputs_digest, targets_digest)) = checked;
        let mut inputs = Upload::new(("inputs_chunk", "header.inputs_digest"), inputs_digest, self.max_import_bytes);
        let mut targets =
            Upload::new(("targets_chunk", "header.targets_digest"), targets_digest, self.max_import_bytes);
        while let Some(message) = parts.message().await? {
            match message.part {
                Some(Part::InputsChunk(chunk)) => inputs.push(&chunk)?,
                Some(Part::TargetsChunk(chunk)) => targets.push(&chunk)?,
                Some(Part::Header(_)) | None => return Err(no_chunk().into()),
            }
        }
        let upload = SplitUpload {
            split,
            format,
            inputs: inputs.finish()?,
            targets: targets.finish()?,
            mean: (!header.mean.is_empty()).then_some(header.mean),
            std: (!header.std.is_empty()).then_some(header.std),
            n_classes: (header.n_classes > 0).then_some(header.n_classes),
        };
        let store = self.store.clone();
        let record = self.write(async move { catalog::import_dataset(&store, &id, upload).await }).await?;
        Ok(Response::new(wire::ImportDatasetResponse { dataset: Some(dataset_to_wire(&record)) }))
    }
}
