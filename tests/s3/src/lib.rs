//! An S3 server inside a test: one bucket on loopback, over a temporary directory, that checks signatures.
//!
//! What holds: the port is one that the system chose, nothing is left when the server is dropped, and of create-only
//! puts of one object one succeeds, which s3s-fs, that looks first and writes then, does not see to by itself. It can be
//! stopped and started again at the same address, and made to refuse or to be silent. `relief-test-s3 DIRECTORY ADDRESS`
//! is the same as a process, which can be killed.
//!
//! What it does not do: it keeps no promises about speed, and a put that replaces an object takes no condition.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::IF_NONE_MATCH;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};

/// The only bucket.
const BUCKET: &str = "landscapes";

/// The access key that is let in.
pub const ACCESS_KEY: &str = "KEYHOLDER0123456789";

/// Its secret, with the characters that some encodings change.
pub const SECRET_KEY: &str = "open/sesame+0123456789/never+told=";

/// What becomes of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// They are answered.
    Serve,
    /// Their credentials are refused, whatever they are.
    Refuse,
    /// They are never answered.
    Silent,
    /// They are told to come again later, with 503.
    Unavailable,
}

/// A server. It ends when it is dropped.
pub struct S3Server {
    address: SocketAddr,
    /// Bound and never listened on, which keeps the port while the server is stopped.
    _reservation: TcpSocket,
    dir: TempDir,
    service: S3Service,
    conduct: watch::Sender<Conduct>,
    server: JoinHandle<()>,
}

impl S3Server {
    /// Starts one with an empty bucket.
    ///
    /// # Errors
    /// When there is no place or no port for it.
    pub async fn start() -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let reservation = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let (address, service) = (reservation.local_addr()?, service_over(dir.path())?);
        let conduct = watch::Sender::new(Conduct::Serve);
        let server = serve(address, service.clone(), conduct.subscribe())?;
        Ok(Self { address, _reservation: reservation, dir, service, conduct, server })
    }

    /// Stops it: nobody listens at its address any more, and every connection is cut.
    pub async fn stop(&mut self) {
        self.server.abort();
        // That it was cancelled is known.
        let _ = (&mut self.server).await;
    }

    /// Starts it again after a stop, with what it had.
    ///
    /// # Errors
    /// When it was not stopped.
    pub fn resume(&mut self) -> io::Result<()> {
        self.server = serve(self.address, self.service.clone(), self.conduct.subscribe())?;
        Ok(())
    }

    /// Has every request from now on meet with `conduct`.
    pub fn set_conduct(&self, conduct: Conduct) {
        self.conduct.send_replace(conduct);
    }

    /// The URL of a store below `prefix` in the bucket.
    #[must_use]
    pub fn url(&self, prefix: &str) -> String {
        url(prefix)
    }

    /// The environment variables that lead a client here and let it in, with those empty that would lead it elsewhere.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        variables(self.address)
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
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

impl fmt::Debug for S3Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The URL of a store below `prefix` in the bucket of every server.
#[must_use]
pub fn url(prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}")
}

/// The environment variables that lead a client to the server at `address` and let it in, with those empty that would
/// lead it elsewhere.
#[must_use]
pub fn variables(address: SocketAddr) -> Vec<(String, String)> {
    [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ENDPOINT", &format!("http://{address}")),
        ("AWS_ENDPOINT_URL", ""),
        ("AWS_ENDPOINT_URL_S3", ""),
        ("AWS_SESSION_TOKEN", ""),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Serves the bucket in `dir`, made when it is absent, on `listener` until the end of the process.
///
/// # Errors
/// When the directory cannot be used.
pub async fn serve_directory(dir: &Path, listener: TcpListener) -> io::Result<()> {
    let conduct = watch::Sender::new(Conduct::Serve);
    accept(listener, service_over(dir)?, conduct.subscribe()).await;
    Ok(())
}

fn service_over(dir: &Path) -> io::Result<S3Service> {
    std::fs::create_dir_all(dir.join(BUCKET))?;
    let files = FileSystem::new(dir).map_err(|error| io::Error::other(format!("{error:?}")))?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    Ok(builder.build())
}

/// A socket at `address`, which several may be bound to as long as only one of them listens.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn serve(address: SocketAddr, service: S3Service, conduct: watch::Receiver<Conduct>) -> io::Result<JoinHandle<()>> {
    let listener = bound(address)?.listen(1024)?;
    Ok(tokio::spawn(accept(listener, service, conduct)))
}

async fn accept(listener: TcpListener, service: S3Service, conduct: watch::Receiver<Conduct>) {
    let creations = Arc::new(Mutex::new(()));
    // Dropped with this task, and their tasks with them.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, service.clone(), conduct.clone(), Arc::clone(&creations)));
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, service: S3Service, conduct: watch::Receiver<Conduct>, creations: Arc<Mutex<()>>) {
    let handle = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let is_creation = request.method() == Method::PUT && request.headers().contains_key(IF_NONE_MATCH);
        let (service, conduct, creations) = (service.clone(), *conduct.borrow(), Arc::clone(&creations));
        async move {
            match conduct {
                Conduct::Serve => {}
                Conduct::Refuse => return Ok(refusal(StatusCode::FORBIDDEN, "AccessDenied")),
                Conduct::Unavailable => return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
                Conduct::Silent => std::future::pending().await,
            }
            let _creation = if is_creation { Some(creations.lock().await) } else { None };
            Service::call(&service, request).await
        }
    });
    // A client that went away is no concern of the server's.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), handle).await;
}

fn refusal(status: StatusCode, code: &str) -> hyper::Response<Body> {
    let text = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    let mut response = hyper::Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
