//! Imports whose messages are not what they should be, are too large, or do not all come.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use relief_api::surface::v1::{GetSurfaceRequest, GetSurfaceResponse};
use relief_api::training::v1::ListRunsRequest;
use relief_test_support::{CommandLine, Sandbox, contents, within};
use tokio::io::{AsyncReadExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use super::guard::{Guarded, Wrong};
use super::upload::{FileUpload, Kind, Piece};

const KINDS: [Kind; 4] = [Kind::Network, Kind::Checkpoint, Kind::Direction, Kind::Dataset];

/// The most bytes of a file that the coordinator here takes.
const MAX_FILE: usize = 3_000_000;

async fn guarded() -> anyhow::Result<Guarded> {
    let sandbox = Sandbox::new()?;
    let launch = sandbox.launch_coordinator(&[]).arg("--max-import-bytes").arg(MAX_FILE.to_string());
    Guarded::start(sandbox, launch, async |_| Ok(())).await
}

impl Kind {
    fn chunk(self) -> &'static str {
        if self == Self::Dataset { "inputs_chunk" } else { "chunk" }
    }

    fn digest(self) -> &'static str {
        if self == Self::Dataset { "header.inputs_digest" } else { "header.digest" }
    }
}

#[tokio::test]
async fn messages_that_make_no_import_are_refused() -> anyhow::Result<()> {
    let guarded = guarded().await?;
    let chunk = |n_bytes: usize| Piece::Chunk(vec![7; n_bytes]);
    let header = || Piece::Header;
    for kind in KINDS {
        let (part, once) = (|words| Wrong::field("part", words), &["header comes first", "once"]);
        let digest = |words| Wrong::field(kind.digest(), words);
        for (what, pieces, wrong) in [
            ("no message", vec![], part(once)),
            ("no header", vec![chunk(10)], part(once)),
            ("an empty first message", vec![Piece::Nothing, header()], part(once)),
            ("an empty message", vec![header(), Piece::Nothing], part(once)),
            ("two headers", vec![header(), chunk(5), header()], part(once)),
            ("no content", vec![header()], digest(&["0 bytes received", "send the file again"])),
            ("half of the content", vec![header(), chunk(5)], digest(&["5 bytes received", "send the file again"])),
            ("more than the content", vec![header(), chunk(10), chunk(1)], digest(&["11 bytes received"])),
            ("a big chunk", vec![header(), chunk((2 << 20) + 1)], Wrong::field(kind.chunk(), &["2097153", "2097152"])),
            ("a big file", vec![header(), chunk(2 << 20), chunk(1 << 20)], Wrong::field(kind.chunk(), &["3000000"])),
            ("a big message", vec![header(), chunk(64 << 20)], Wrong::field("request", &["67108864"])),
        ] {
            let content = [7; 10];
            let upload = FileUpload::of(kind, &content);
            let sent = upload.send_pieces(&guarded.client, tokio_stream::iter(pieces));
            guarded.call(&format!("{kind:?}: {what}"), sent, &wrong).await;
        }
        let content = vec![7; MAX_FILE + 1];
        let path = guarded.file("big", &content)?;
        let upload = FileUpload::of(kind, &content);
        guarded.command_of_file(&upload.arguments(&path), &path, &Wrong::content("", &["3000000"])).await;
    }
    let long = GetSurfaceRequest { name: "a".repeat(5 << 20) };
    let wrong = Wrong::field("request", &["over the limit of 4194304"]);
    guarded.call("a long name", guarded.client.surfaces().get_surface(long), &wrong).await;

    // A message of another call, which is none of this one.
    let mut grpc = tonic::client::Grpc::new(guarded.client.channel());
    within("a connection", grpc.ready()).await??;
    let codec = ProstCodec::<ListRunsRequest, GetSurfaceResponse>::default();
    let path = PathAndQuery::from_static("/relief.surface.v1.SurfaceService/GetSurface");
    let other = ListRunsRequest { page_size: 7, ..ListRunsRequest::default() };
    let wrong = Wrong::field("request", &["not a message of this call"]);
    guarded.call("another message", grpc.unary(Request::new(other), path, codec), &wrong).await;
    guarded.end().await.map(drop)
}

/// A way to a server on which everything comes to a halt after so many bytes.
struct Gate {
    endpoint: String,
    halt: oneshot::Receiver<()>,
    passing: JoinHandle<anyhow::Result<()>>,
}

impl Gate {
    async fn before(server: SocketAddr, n_bytes: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (halted, halt) = oneshot::channel();
        let passing = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await?;
            let mut server = TcpStream::connect(server).await?;
            let (client_reads, mut client_writes) = client.split();
            let (mut server_reads, mut server_writes) = server.split();
            let there = async {
                copy(&mut client_reads.take(n_bytes), &mut server_writes).await?;
                // Whoever waits for it may have given up.
                let _ = halted.send(());
                std::future::pending().await
            };
            tokio::select! {
                ended = there => ended,
                back = copy(&mut server_reads, &mut client_writes) => back.map(drop).map_err(anyhow::Error::from),
            }
        });
        Ok(Self { endpoint, halt, passing })
    }

    /// Cuts both connections.
    async fn cut(self) {
        self.passing.abort();
        // That it was cancelled is known.
        let _ = self.passing.await;
    }
}

#[tokio::test]
async fn imports_that_are_cut_off_leave_nothing_behind() -> anyhow::Result<()> {
    let guarded = guarded().await?;
    let content = vec![7; MAX_FILE];
    for kind in KINDS {
        let upload = FileUpload::of(kind, &content);

        // A client that hangs up.
        let (sender, receiver) = mpsc::channel(1);
        let halfway = async {
            for piece in [Piece::Header, Piece::Chunk(vec![7; 10_000]), Piece::Chunk(vec![7; 10_000])] {
                sender.send(piece).await?;
            }
            // The last one is taken out of the channel, so those before it are on their way.
            within("a place in the channel", sender.reserve()).await?.map(drop)?;
            anyhow::Ok(())
        };
        tokio::select! {
            answer = upload.send_pieces(&guarded.client, ReceiverStream::new(receiver)) => bail!("{kind:?}: {answer:?}"),
            sent = halfway => sent?,
        }

        // A command that is killed.
        let gate = Gate::before(guarded.address(), 200_000).await?;
        let Gate { endpoint, .. } = &gate;
        let relief = CommandLine::with([("RELIEF_ENDPOINT", endpoint.clone())]);
        let path = guarded.file("half", &content)?;
        let mut command = relief.start(&upload.arguments(&path))?;
        let mut gate = gate;
        within("the middle of an import", &mut gate.halt).await?.with_context(|| format!("{kind:?} ended early"))?;
        command.start_kill()?;
        within("the end of the command", command.wait()).await??;
        gate.cut().await;
    }
    // The end of the server waits for its calls.
    let sandbox = guarded.end().await?;
    let before = contents(&sandbox.store())?;
    let coordinator = sandbox.launch_coordinator(&[]).start().await?;
    assert!(contents(&sandbox.store())? == before, "the store has changed with the next start");
    drop(coordinator);
    Ok(())
}
