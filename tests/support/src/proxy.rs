//! A network that can be disturbed: a TCP proxy on loopback between two processes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What becomes of what is sent, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// It arrives.
    Flow,
    /// It arrives later.
    Delay(Duration),
    /// It is lost, without a word to either side.
    Lost,
    /// Of what is answered on each connection only so many bytes more arrive, after which the connection is closed.
    Cut(u64),
    /// What is answered arrives at so many bytes per second.
    Slow(u64),
}

/// How often what happened.
#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    lost_bytes: AtomicU64,
    delayed: AtomicU64,
    resets: AtomicU64,
    cut: AtomicU64,
    slowed: AtomicU64,
}

/// A proxy. It ends when it is dropped, and its connections with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    upstream: watch::Sender<SocketAddr>,
    traffic: watch::Sender<Traffic>,
    resets: watch::Sender<u64>,
    counts: Arc<Counts>,
    server: JoinHandle<()>,
}

/// One direction of a connection.
#[derive(Clone)]
struct Line {
    traffic: watch::Receiver<Traffic>,
    counts: Arc<Counts>,
    is_answer: bool,
}

impl Proxy {
    /// Starts a proxy in front of `upstream`.
    ///
    /// # Errors
    /// When there is no port for it.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (upstream, traffic) = (watch::Sender::new(upstream), watch::Sender::new(Traffic::Flow));
        let (resets, counts) = (watch::Sender::new(0), Arc::<Counts>::default());
        let work = accept(listener, upstream.subscribe(), traffic.subscribe(), resets.subscribe(), Arc::clone(&counts));
        Ok(Self { address, upstream, traffic, resets, counts, server: tokio::spawn(work) })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as an endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Leads new connections elsewhere.
    pub fn lead_to(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
    }

    /// Has everything from now on meet with `traffic`.
    pub fn set_traffic(&self, traffic: Traffic) {
        self.traffic.send_replace(traffic);
    }

    /// Resets every connection that is open.
    pub fn reset(&self) {
        self.resets.send_modify(|n| *n += 1);
    }

    /// Connections that were accepted.
    #[must_use]
    pub fn n_connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Bytes that were lost.
    #[must_use]
    pub fn n_lost_bytes(&self) -> u64 {
        self.counts.lost_bytes.load(Ordering::Relaxed)
    }

    /// Pieces that arrived late.
    #[must_use]
    pub fn n_delayed(&self) -> u64 {
        self.counts.delayed.load(Ordering::Relaxed)
    }

    /// Connections that were reset.
    #[must_use]
    pub fn n_resets(&self) -> u64 {
        self.counts.resets.load(Ordering::Relaxed)
    }

    /// Connections whose answer was cut.
    #[must_use]
    pub fn n_cut(&self) -> u64 {
        self.counts.cut.load(Ordering::Relaxed)
    }

    /// Pieces of answers that were slowed down.
    #[must_use]
    pub fn n_slowed(&self) -> u64 {
        self.counts.slowed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(
    listener: TcpListener,
    upstream: watch::Receiver<SocketAddr>,
    traffic: watch::Receiver<Traffic>,
    resets: watch::Receiver<u64>,
    counts: Arc<Counts>,
) {
    // Dropped with this task, and their tasks with them.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        counts.connections.fetch_add(1, Ordering::Relaxed);
        let upstream = *upstream.borrow();
        let line = Line { traffic: traffic.clone(), counts: Arc::clone(&counts), is_answer: false };
        let mut resets = resets.clone();
        resets.mark_unchanged();
        connections.spawn(connect(client, upstream, line, resets));
        while connections.try_join_next().is_some() {}
    }
}

/// Passes everything on between a client and a server, until either closes or both are reset.
async fn connect(client: TcpStream, upstream: SocketAddr, line: Line, mut resets: watch::Receiver<u64>) {
    // A client of a server that is not there sees its connection closed.
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answer = Line { is_answer: true, ..line.clone() };
    let counts = Arc::clone(&line.counts);
    let is_reset = {
        let (mut asking, mut answering) = (
            std::pin::pin!(line.pump(&from_client, &to_server)),
            std::pin::pin!(answer.pump(&from_server, &to_client)),
        );
        tokio::select! {
            () = &mut asking => false,
            () = &mut answering => false,
            changed = resets.changed() => changed.is_ok(),
        }
    };
    if is_reset {
        counts.resets.fetch_add(1, Ordering::Relaxed);
        for (read, write) in [(from_client, to_client), (from_server, to_server)] {
            if let Ok(stream) = read.reunite(write) {
                // Closed without waiting, a socket sends RST.
                let _ = stream.set_zero_linger();
            }
        }
    }
}

impl Line {
    async fn pump(mut self, from: &OwnedReadHalf, to: &OwnedWriteHalf) {
        let mut buffer = vec![0; 16 << 10];
        let mut left = None;
        loop {
            if from.readable().await.is_err() {
                return;
            }
            let n_bytes = match from.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(n_bytes) => n_bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => return,
            };
            let traffic = *self.traffic.borrow_and_update();
            let mut piece = &buffer[..n_bytes];
            match traffic {
                Traffic::Flow => left = None,
                Traffic::Delay(delay) => {
                    self.counts.delayed.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(delay).await;
                }
                Traffic::Lost => {
                    self.counts.lost_bytes.fetch_add(n_bytes as u64, Ordering::Relaxed);
                    continue;
                }
                Traffic::Cut(n_bytes) if self.is_answer => {
                    let left: &mut u64 = left.get_or_insert(n_bytes);
                    piece = &piece[..piece.len().min(*left as usize)];
                    *left -= piece.len() as u64;
                    if *left == 0 {
                        self.counts.cut.fetch_add(1, Ordering::Relaxed);
                        let _ = write_all(to, piece).await;
                        return;
                    }
                }
                Traffic::Slow(bytes_per_second) if self.is_answer => {
                    self.counts.slowed.fetch_add(1, Ordering::Relaxed);
                    for part in piece.chunks(256) {
                        let pause = part.len() as f64 / bytes_per_second.max(1) as f64;
                        tokio::time::sleep(Duration::from_secs_f64(pause)).await;
                        if write_all(to, part).await.is_err() {
                            return;
                        }
                    }
                    continue;
                }
                Traffic::Cut(_) | Traffic::Slow(_) => {}
            }
            if write_all(to, piece).await.is_err() {
                return;
            }
        }
    }
}

async fn write_all(to: &OwnedWriteHalf, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(n_bytes) => bytes = &bytes[n_bytes..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::bound::within;

    /// A server that answers every byte with 100 of it, behind a proxy, and a connection to it.
    async fn behind_proxy() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        if stream.write_all(&[byte; 100]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let proxy = Proxy::start(address).await.expect("a proxy");
        let stream = TcpStream::connect(proxy.address()).await.expect("a connection");
        (proxy, stream)
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        stream.write_all(b"x").await?;
        let mut answer = vec![0; 100];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn what_flows_arrives_and_what_is_delayed_arrives_later() {
        let (proxy, mut stream) = behind_proxy().await;
        assert_eq!(ask(&mut stream).await.expect("an answer"), [b'x'; 100]);
        proxy.set_traffic(Traffic::Delay(Duration::from_millis(50)));
        assert_eq!(ask(&mut stream).await.expect("an answer"), [b'x'; 100]);
        assert!(proxy.n_delayed() >= 2);
        proxy.set_traffic(Traffic::Slow(10_000));
        assert_eq!(ask(&mut stream).await.expect("an answer"), [b'x'; 100]);
        assert!(proxy.n_slowed() >= 1);
    }

    #[tokio::test]
    async fn what_is_lost_never_arrives_and_the_connection_stays() {
        let (proxy, mut stream) = behind_proxy().await;
        proxy.set_traffic(Traffic::Lost);
        stream.write_all(b"x").await.expect("sent");
        let silence = tokio::time::timeout(Duration::from_millis(100), stream.read_u8()).await;
        assert!(silence.is_err() && proxy.n_lost_bytes() == 1);
        proxy.set_traffic(Traffic::Flow);
        assert_eq!(ask(&mut stream).await.expect("an answer"), [b'x'; 100]);
    }

    #[tokio::test]
    async fn a_connection_that_is_reset_fails_on_both_sides() {
        let (proxy, mut stream) = behind_proxy().await;
        ask(&mut stream).await.expect("an answer");
        proxy.reset();
        let error = within("a reset", stream.read_u8()).await.expect("in time").expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let mut again = TcpStream::connect(proxy.address()).await.expect("a connection");
        ask(&mut again).await.expect("an answer");
        assert_eq!((proxy.n_resets(), proxy.n_connections()), (1, 2));
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_ends_in_the_middle() {
        let (proxy, mut stream) = behind_proxy().await;
        proxy.set_traffic(Traffic::Cut(30));
        let error = ask(&mut stream).await.expect_err("a part of an answer");
        assert_eq!((error.kind(), proxy.n_cut()), (io::ErrorKind::UnexpectedEof, 1));
    }
}
