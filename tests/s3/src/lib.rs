//! An S3 server inside a test: one bucket on loopback, over a temporary directory, that checks signatures.
//!
//! What holds: the port is one that the system chose, nothing is left when the server is dropped, and of create-only
//! puts of one object one succeeds, which s3s-fs, that looks first and writes then, does not see to by itself.
//!
//! What it does not do: it keeps no promises about speed, and a put that replaces an object takes no condition.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Method;
use hyper::header::IF_NONE_MATCH;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};

/// The only bucket.
const BUCKET: &str = "landscapes";

/// The access key that is let in.
pub const ACCESS_KEY: &str = "KEYHOLDER0123456789";

/// Its secret, with the characters that some encodings change.
pub const SECRET_KEY: &str = "open/sesame+0123456789/never+told=";

/// A server. It ends when it is dropped.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    dir: TempDir,
    server: JoinHandle<()>,
}

impl S3Server {
    /// Starts one with an empty bucket.
    ///
    /// # Errors
    /// When there is no place or no port for it.
    pub async fn start() -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join(BUCKET))?;
        let files = FileSystem::new(dir.path()).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(accept(listener, builder.build()));
        Ok(Self { address, dir, server })
    }

    /// The URL of a store below `prefix` in the bucket.
    #[must_use]
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// The environment variables that lead a client here and let it in, with those empty that would lead it elsewhere.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ENDPOINT", &format!("http://{}", self.address)),
            ("AWS_ENDPOINT_URL", ""),
            ("AWS_ENDPOINT_URL_S3", ""),
            ("AWS_SESSION_TOKEN", ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// The directory that the bucket's objects lie in, each a file.
    #[must_use]
    pub fn bucket(&self) -> PathBuf {
        self.root().join(BUCKET)
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, service: S3Service) {
    let creations = Arc::new(Mutex::new(()));
    // Dropped with this task, and their tasks with them.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, service.clone(), Arc::clone(&creations)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, service: S3Service, creations: Arc<Mutex<()>>) {
    let handle = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let is_creation = request.method() == Method::PUT && request.headers().contains_key(IF_NONE_MATCH);
        let (service, creations) = (service.clone(), Arc::clone(&creations));
        async move {
            let _creation = if is_creation { Some(creations.lock().await) } else { None };
            Service::call(&service, request).await
        }
    });
    // A client that went away is no concern of the server's.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), handle).await;
}
