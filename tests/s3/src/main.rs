//! `relief-test-s3 DIRECTORY ADDRESS`: the server as a process, over a directory that outlives it.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpSocket;

#[tokio::main]
async fn main() -> io::Result<()> {
    let usage = || io::Error::new(io::ErrorKind::InvalidInput, "usage: relief-test-s3 DIRECTORY ADDRESS");
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or_else(usage)?);
    let address: SocketAddr = arguments.next().and_then(|text| text.parse().ok()).ok_or_else(usage)?;
    let socket = TcpSocket::new_v4()?;
    // The port of one that was killed is taken again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(1024)?;
    // As the services tell it.
    let address = listener.local_addr()?;
    writeln!(io::stderr(), r#"{{"fields":{{"message":"listening","address":"{address}"}}}}"#)?;
    relief_test_s3::serve_directory(&dir, listener).await
}
