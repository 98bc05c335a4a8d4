//! Imports, over gRPC and as the command that does the same.

use relief_api::catalog::v1::{
    DatasetFormat, ImportCheckpointHeader, ImportCheckpointRequest, ImportDatasetHeader, ImportDatasetRequest,
    ImportDirectionHeader, ImportDirectionRequest, ImportNetworkHeader, ImportNetworkRequest, Split,
    import_checkpoint_request, import_dataset_request, import_direction_request, import_network_request,
};
use relief_core::Digest;
use relief_test_support::{Client, network_id};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

/// Bytes per message of an import.
const CHUNK: usize = 1 << 20;

/// A file by its name and content, and what is said of it.
pub(super) type FileCase<'a> = (&'a str, Vec<u8>, &'a [&'a str]);

/// What is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Network,
    Checkpoint,
    Direction,
    /// In safetensors.
    Dataset,
}

/// A message of an import.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Header,
    Chunk(Vec<u8>),
    /// A message without a part.
    Nothing,
}

/// The import of one file.
#[derive(Debug, Clone)]
pub(super) struct FileUpload<'a> {
    pub(super) kind: Kind,
    pub(super) name: &'a str,
    /// The network that a checkpoint belongs to.
    pub(super) network: &'a str,
    pub(super) digest: String,
    pub(super) content: &'a [u8],
}

macro_rules! send {
    ($client:expr, $call:ident, $module:ident::$request:ident, $pieces:expr, $header:expr, $chunk:ident) => {{
        let header = $header;
        let message = move |piece| {
            let part = match piece {
                Piece::Header => Some($module::Part::Header(header.clone())),
                Piece::Chunk(bytes) => Some($module::Part::$chunk(bytes.into())),
                Piece::Nothing => None,
            };
            $request { part }
        };
        $client.catalog().$call($pieces.map(message)).await.map(drop)
    }};
}

impl<'a> FileUpload<'a> {
    /// Returns the import of `content` as "refused".
    pub(super) fn of(kind: Kind, content: &'a [u8]) -> Self {
        Self { kind, name: "refused", network: network_id(), digest: Digest::of(content).to_string(), content }
    }

    /// Imports it.
    pub(super) async fn send(&self, client: &Client) -> Result<(), Status> {
        let chunks = self.content.chunks(CHUNK).map(|chunk| Piece::Chunk(chunk.to_vec()));
        let pieces: Vec<Piece> = std::iter::once(Piece::Header).chain(chunks).collect();
        self.send_pieces(client, tokio_stream::iter(pieces)).await
    }

    /// Sends `pieces` as its messages.
    pub(super) async fn send_pieces(
        &self,
        client: &Client,
        pieces: impl Stream<Item = Piece> + Send + 'static,
    ) -> Result<(), Status> {
        let (name, network, digest) = (self.name.to_owned(), self.network.to_owned(), self.digest.clone());
        match self.kind {
            Kind::Network => {
                let header = ImportNetworkHeader { name, digest };
                send!(client, import_network, import_network_request::ImportNetworkRequest, pieces, header, Chunk)
            }
            Kind::Checkpoint => {
                let header = ImportCheckpointHeader { name, network, digest };
                send!(
                    client,
                    import_checkpoint,
                    import_checkpoint_request::ImportCheckpointRequest,
                    pieces,
                    header,
                    Chunk
                )
            }
            Kind::Direction => {
                let header = ImportDirectionHeader { digest };
                send!(client, import_direction, import_direction_request::ImportDirectionRequest, pieces, header, Chunk)
            }
            Kind::Dataset => {
                let format = DatasetFormat::Safetensors.into();
                let header =
                    ImportDatasetHeader { name, inputs_digest: digest, format, ..ImportDatasetHeader::default() };
                send!(client, import_dataset, import_dataset_request::ImportDatasetRequest, pieces, header, InputsChunk)
            }
        }
    }

    /// The command that imports it from `file`.
    pub(super) fn arguments<'b>(&'b self, file: &'b str) -> Vec<&'b str> {
        let Self { name, network, .. } = *self;
        match self.kind {
            Kind::Network => vec!["network", "import", name, file],
            Kind::Checkpoint => vec!["checkpoint", "import", "--network", network, name, file],
            Kind::Direction => vec![
                "surface",
                "create",
                "--network=lenet5",
                "--checkpoint=initial",
                "--dataset=fashion",
                "--x=-1:1:3",
                "--x-direction",
                file,
            ],
            Kind::Dataset => vec!["dataset", "import", name, "--format=safetensors", file],
        }
    }
}

/// The import of a split of a dataset.
#[derive(Debug, Clone, Default)]
pub(super) struct DatasetUpload {
    pub(super) format: DatasetFormat,
    pub(super) split: Split,
    pub(super) inputs: Vec<u8>,
    pub(super) targets: Vec<u8>,
    pub(super) mean: Vec<f64>,
    pub(super) std: Vec<f64>,
    pub(super) n_classes: u32,
}

impl DatasetUpload {
    /// Returns the import of a training split in one file.
    pub(super) fn of(format: DatasetFormat, inputs: Vec<u8>) -> Self {
        Self { format, split: Split::Train, inputs, ..Self::default() }
    }

    /// Returns the import of a training split of images and labels of 10 classes.
    pub(super) fn of_idx(inputs: Vec<u8>, targets: Vec<u8>) -> Self {
        Self { targets, n_classes: 10, ..Self::of(DatasetFormat::Idx, inputs) }
    }

    /// The first message, with `name`.
    pub(super) fn header(&self, name: &str) -> ImportDatasetHeader {
        let is_apart = self.format == DatasetFormat::Idx || !self.targets.is_empty();
        ImportDatasetHeader {
            name: name.to_owned(),
            split: self.split.into(),
            inputs_digest: Digest::of(&self.inputs).to_string(),
            targets_digest: if is_apart { Digest::of(&self.targets).to_string() } else { String::new() },
            mean: self.mean.clone(),
            std: self.std.clone(),
            n_classes: self.n_classes,
            format: self.format.into(),
        }
    }

    /// Imports it as `name`.
    pub(super) async fn send(&self, client: &Client, name: &str) -> Result<(), Status> {
        self.send_with(client, self.header(name)).await
    }

    /// Imports it under another header.
    pub(super) async fn send_with(&self, client: &Client, header: ImportDatasetHeader) -> Result<(), Status> {
        use import_dataset_request::Part;
        let inputs = self.inputs.chunks(CHUNK).map(|chunk| Part::InputsChunk(chunk.to_vec().into()));
        let targets = self.targets.chunks(CHUNK).map(|chunk| Part::TargetsChunk(chunk.to_vec().into()));
        let parts = std::iter::once(Part::Header(header)).chain(inputs).chain(targets);
        let messages: Vec<_> = parts.map(|part| ImportDatasetRequest { part: Some(part) }).collect();
        client.catalog().import_dataset(tokio_stream::iter(messages)).await.map(drop)
    }

    /// The command that imports it as `name` from `files`.
    pub(super) fn arguments(&self, name: &str, files: &[String]) -> Vec<String> {
        let format = match self.format {
            DatasetFormat::Unspecified | DatasetFormat::Idx => "idx",
            DatasetFormat::Cifar10 => "cifar10",
            DatasetFormat::Cifar100 => "cifar100",
            DatasetFormat::Safetensors => "safetensors",
            DatasetFormat::Npz => "npz",
        };
        let numbers = |numbers: &[f64]| numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
        let mut arguments = ["dataset", "import", name, "--format", format].map(str::to_owned).to_vec();
        arguments.extend_from_slice(files);
        if self.split == Split::Test {
            arguments.push("--split=test".to_owned());
        }
        for (flag, values) in [("mean", &self.mean), ("std", &self.std)] {
            if !values.is_empty() {
                arguments.push(format!("--{flag}={}", numbers(values)));
            }
        }
        if self.n_classes > 0 {
            arguments.push(format!("--classes={}", self.n_classes));
        }
        arguments
    }
}
