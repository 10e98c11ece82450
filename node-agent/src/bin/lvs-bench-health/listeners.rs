//! What is probed: listeners on all addresses that accept and close, in a process of their own.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow};
use socket2::{Domain, Socket, Type};

/// More than come within a moment in which nobody accepts.
const BACKLOG: i32 = 4096;

/// The process, as long as this is held.
#[derive(Debug)]
pub(crate) struct Listeners {
    child: Child,
    /// Its ports.
    pub(crate) ports: Vec<u16>,
}

impl Listeners {
    /// Starts this program again, as the one that listens.
    ///
    /// # Errors
    /// It does not start, or does not say its ports.
    pub(crate) fn start(ports: u32) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--listen", &ports.to_string()]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("no output")?;
        let line = BufReader::new(output).lines().next().context("it said no ports")??;
        let ports = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { child, ports })
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Listens on so many ports, says them, and goes on until the input ends.
///
/// # Errors
/// It cannot listen.
pub(crate) fn listen(ports: u16) -> Result<()> {
    let listeners: Vec<TcpListener> = (0..ports).map(|_| listener()).collect::<Result<_>>()?;
    let ports = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port().to_string()));
    println!("{}", ports.collect::<Result<Vec<_>>>()?.join(" "));
    std::io::stdout().flush()?;
    for listener in listeners {
        // A connection that is gone already when it is accepted is an error of that one alone.
        thread::spawn(move || listener.incoming().for_each(drop));
    }
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

fn listener() -> Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    socket.listen(BACKLOG).map_err(|error| anyhow!("listen: {error}"))?;
    Ok(socket.into())
}
