//! A real server and a client for TCP, UDP and SCTP. The real server answers every request with its own name and the
//! address that it saw; the client says who answered what.
//!
//! ```text
//! lab-echo serve NAME ENDPOINT…              answers, for ever
//! lab-echo probed KIND=ADDRESS:PORT…         servers for health checks, such as pass and such as fail, for ever
//! lab-echo ask [--from ADDRESS] ENDPOINT=N…  N requests to each endpoint, each of a new connection; endpoints at once
//! lab-echo hold [--from ADDRESS] ENDPOINT=N  N connections, one after the other, kept open and used until it ends
//! lab-echo stream [--from ADDRESS] ENDPOINT  requests of one connection all the time, and who answers
//! ```

mod client;
mod probed;
mod server;

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::endpoint::{Endpoint, Transport};
use socket2::{Domain, Protocol, Socket, Type};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-echo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<()> {
    let (task, rest) = words.split_first().context("serve, probed, ask, hold or stream")?;
    if task == "serve" {
        let (name, endpoints) = rest.split_first().context("a name")?;
        let endpoints = endpoints.iter().map(|word| word.parse()).collect::<Result<Vec<_>>>()?;
        return server::serve(name, &endpoints);
    }
    if task == "probed" {
        let servers = rest.iter().map(|word| word.parse()).collect::<Result<Vec<_>>>()?;
        return probed::serve(&servers);
    }
    let (from, rest) = match rest {
        [flag, address, rest @ ..] if flag == "--from" => (Some(address.parse()?), rest),
        _ => (None, rest),
    };
    if task == "stream" {
        return client::stream(from, &rest.first().context("an endpoint")?.parse()?);
    }
    let wanted = rest.iter().map(|word| wanted(word)).collect::<Result<Vec<_>>>()?;
    match task.as_str() {
        "ask" => client::ask(from, &wanted),
        "hold" => client::hold(from, &wanted),
        other => bail!("{other} is none of serve, probed, ask, hold and stream"),
    }
}

/// `ENDPOINT=N`.
fn wanted(word: &str) -> Result<(Endpoint, u32)> {
    let (endpoint, number) = word.split_once('=').context("ENDPOINT=N")?;
    Ok((endpoint.parse()?, number.parse()?))
}

/// A socket of the protocol, of the address's family.
fn socket(transport: Transport, at: SocketAddr) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        Transport::Sctp => (Type::STREAM, Protocol::SCTP),
    };
    Socket::new(Domain::for_address(at), kind, Some(protocol))
}

/// The text of a connection's next message; nothing when the other side is done.
fn receive(mut from: &Socket) -> io::Result<String> {
    let mut buffer = [0; 512];
    let length = from.read(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).trim().to_owned())
}

fn send(mut to: &Socket, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())
}

/// One line at once, whatever other threads say.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Nobody may be listening any more.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(4);

/// The address from which packets to `at` leave. SCTP names every address of a socket that is bound to none, and the
/// other side would use them all.
fn own_address(at: SocketAddr) -> io::Result<IpAddr> {
    let probe = socket(Transport::Udp, at)?;
    probe.connect(&at.into())?;
    let own = probe.local_addr()?.as_socket();
    own.map(|own| own.ip()).ok_or(io::ErrorKind::AddrNotAvailable.into())
}
