//! A program as a process of its own.

use std::env;
use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpSocket;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;

use crate::bound::within;
use crate::client::Client;
use crate::program::Program;

/// Settings of the caller that would change what a program does.
const FOREIGN: [&str; 6] = ["RELIEF_", "OTEL_", "RUST_LOG", "AWS_", "GOOGLE_", "AZURE_"];

/// The start of a program that sees none of the caller's settings.
pub(crate) fn command(program: Program) -> anyhow::Result<Command> {
    Ok(command_of(program.path()?))
}

fn command_of(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(path);
    for (variable, _) in env::vars_os() {
        if variable.to_str().is_some_and(|variable| FOREIGN.iter().any(|prefix| variable.starts_with(prefix))) {
            command.env_remove(variable);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A process to be started.
#[derive(Debug, Clone)]
pub struct Launch {
    program: Program,
    arguments: Vec<OsString>,
    variables: Vec<(String, String)>,
    survives_full_disks: bool,
}

/// A process that has been started, and its log. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Child,
    address: SocketAddr,
    log: watch::Receiver<Vec<String>>,
}

/// A free port of loopback that nobody answers on, kept for a process that is started later.
#[derive(Debug)]
pub struct Reservation {
    address: SocketAddr,
    /// Bound, which keeps the port from being chosen for somebody else, but never listened on, which lets a listener
    /// that reuses the address have it.
    _socket: TcpSocket,
}

impl Reservation {
    /// Returns a port that is free now.
    ///
    /// # Errors
    /// When the system has none.
    pub fn new() -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(Self { address: socket.local_addr()?, _socket: socket })
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as an endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Launch {
    /// Returns the start of `program` without arguments.
    #[must_use]
    pub fn new(program: Program) -> Self {
        Self { program, arguments: Vec::new(), variables: Vec::new(), survives_full_disks: false }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has the process told of a write beyond its limit as of one on a full disk (see [`Process::limit_files`]); the system
    /// would end it otherwise.
    #[must_use]
    pub fn surviving_full_disks(mut self) -> Self {
        self.survives_full_disks = true;
        self
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut command = match self.survives_full_disks {
            true => {
                let mut shell = command_of("sh");
                shell.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]).arg(self.program.path()?);
                shell
            }
            false => command(self.program)?,
        };
        command.args(&self.arguments).env("RELIEF_LOG_FORMAT", "json").envs(self.variables.clone());
        command.stderr(Stdio::piped());
        Ok(command)
    }

    /// Starts the process, which is to end by itself, and returns how it ended and its log.
    ///
    /// # Errors
    /// When it cannot be built or started, or does not end in time.
    pub async fn ended(self) -> anyhow::Result<(ExitStatus, String)> {
        let output = within(&format!("{} ends", self.program.name()), self.command()?.output()).await??;
        Ok((output.status, String::from_utf8(output.stderr)?))
    }

    /// Starts the process and waits until each of its services says SERVING.
    ///
    /// # Errors
    /// When it cannot be built or started, ends, or is not ready in time.
    pub async fn start(self) -> anyhow::Result<Process> {
        let (name, services) = (self.program.name(), self.program.services());
        let process = self.listening().await?;
        for service in services {
            process.client()?.until_serving(service).await.with_context(|| format!("{name} is not ready"))?;
        }
        Ok(process)
    }

    /// Starts the process and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be built or started, ends, or does not listen in time.
    pub async fn listening(self) -> anyhow::Result<Process> {
        let name = self.program.name();
        let mut command = self.command()?;
        let mut child = command.stdout(Stdio::null()).spawn().with_context(|| format!("{name} does not start"))?;
        let stderr = child.stderr.take().context("standard error is a pipe")?;
        let (sender, log) = watch::channel(Vec::new());
        tokio::spawn(collect(stderr, sender));

        // Until it is known, the address is that of nobody; the process is whole from here on, so that its log is shown.
        let mut process = Process { program: self.program, child, address: ([0, 0, 0, 0], 0).into(), log };
        process.address = process.logged(&format!("{name} listens"), listening_address).await?;
        Ok(process)
    }
}

impl Process {
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

    /// Returns a client of it.
    ///
    /// # Errors
    /// Never, in a process that listens.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::new(&self.endpoint())
    }

    /// Whether a line of the log so far has `words` in it.
    #[must_use]
    pub fn has_logged(&self, words: &str) -> bool {
        self.log.borrow().iter().any(|line| line.contains(words))
    }

    /// Waits for a line of the log that `read` takes something from, and returns that.
    ///
    /// # Errors
    /// When the process ends without such a line, or writes none in time.
    pub async fn logged<T>(&self, what: &str, read: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        let mut log = self.log.clone();
        let name = self.program.name();
        within(what, async {
            loop {
                if let Some(found) = log.borrow_and_update().iter().find_map(|line| read(line)) {
                    return Ok(found);
                }
                if log.changed().await.is_err() {
                    // The last lines may have come with the end.
                    let found = log.borrow().iter().find_map(|line| read(line));
                    return found.with_context(|| format!("{name} ended first ({what})"));
                }
            }
        })
        .await?
    }

    /// Ends it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When it has ended already.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let name = self.program.name();
        ensure!(self.child.try_wait()?.is_none(), "{name} had ended before it was killed");
        self.child.start_kill()?;
        within(&format!("{name} is gone"), self.child.wait()).await??;
        Ok(())
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        self.signal("TERM")
    }

    /// Stops it with SIGSTOP, as if its machine had been suspended.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on with SIGCONT.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn go_on(&mut self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    fn signal(&mut self, signal: &str) -> anyhow::Result<()> {
        let name = self.program.name();
        let Some(id) = self.id() else { bail!("{name} had ended before it was sent SIG{signal}") };
        // The shell has the call that the standard library lacks.
        let status = std::process::Command::new("sh").args(["-c", &format!("kill -{signal} {id}")]).status()?;
        ensure!(status.success(), "{name} cannot be sent a signal");
        Ok(())
    }

    /// The number of the process, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Has it write no file of more bytes, as on a disk that is full; none for no limit.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn limit_files(&self, most: Option<u64>) -> anyhow::Result<()> {
        let id = self.id().context("it has ended")?;
        let soft = most.map_or_else(|| "unlimited".to_owned(), |most| most.to_string());
        let mut prlimit = std::process::Command::new("prlimit");
        let status = prlimit.arg(format!("--pid={id}")).arg(format!("--fsize={soft}:unlimited")).status()?;
        ensure!(status.success(), "the files of {id} cannot be limited");
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(within(&format!("{} ends", self.program.name()), self.child.wait()).await??)
    }
}

impl Drop for Process {
    #[allow(clippy::print_stderr, reason = "the test runner shows it when the test has failed")]
    fn drop(&mut self) {
        for line in self.log.borrow().iter() {
            eprintln!("{} {}: {line}", self.program.name(), self.address.port());
        }
    }
}

async fn collect(stderr: ChildStderr, log: watch::Sender<Vec<String>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.send_modify(|log| log.push(line));
    }
}

/// The address in the line that says where a program listens: a service's log, or the note of `relief up`.
fn listening_address(line: &str) -> Option<SocketAddr> {
    if let Some((_, rest)) = line.split_once("listens on http://") {
        return rest.split_whitespace().next()?.parse().ok();
    }
    let event: Value = serde_json::from_str(line).ok()?;
    let fields = event.get("fields")?;
    (fields.get("message")? == "listening").then(|| fields.get("address")?.as_str()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_listening_line_are_read() {
        let address: SocketAddr = "127.0.0.1:4242".parse().expect("an address");
        let log = r#"{"level":"INFO","fields":{"message":"listening","address":"127.0.0.1:4242"}}"#;
        let note = "relief listens on http://127.0.0.1:4242 and keeps its data in /d";
        for line in [log, note] {
            assert_eq!(listening_address(line), Some(address));
        }
        assert_eq!(listening_address(r#"{"fields":{"message":"surface accepted"}}"#), None);
    }

    #[tokio::test]
    async fn a_reserved_port_goes_to_a_listener_and_to_nobody_else() {
        let reservation = Reservation::new().expect("a port");
        assert!(tokio::net::TcpStream::connect(reservation.address()).await.is_err());
        let listener = tokio::net::TcpListener::bind(reservation.address()).await.expect("the reserved port");
        assert_eq!(listener.local_addr().expect("an address"), reservation.address());
    }
}
