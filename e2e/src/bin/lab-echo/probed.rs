//! Servers for health checks: of each kind one that passes and one that fails, in the ways of real ones. They speak just as
//! much of a protocol as a probe hears.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::endpoint::Transport;
use socket2::Socket;

use crate::{say, socket};

/// One server: what it does, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probed {
    kind: Kind,
    at: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its queue of connections is full, and nobody takes one out.
    Deaf,
    /// HTTP: 200, and `ok` in the body.
    Ok,
    /// HTTP: 200, and something else in the body.
    Other,
    /// HTTP: 500.
    Broken,
    /// HTTP: a byte of the body now and then, for ever.
    Drip,
    /// HTTP: a body without end, a megabyte in a second.
    Endless,
    /// The connection is reset when something was asked.
    Reset,
    /// A mail server.
    Smtp,
    /// A mail server that takes nobody.
    SmtpRefuses,
    /// The health service: SERVING.
    Grpc,
    /// The health service: NOT_SERVING.
    GrpcNotServing,
    /// A datagram comes back as it is.
    Echo,
    /// A name server that knows every name.
    Dns,
    /// A name server that knows none.
    DnsNothing,
}

const KINDS: [(&str, Kind); 14] = [
    ("deaf", Kind::Deaf),
    ("ok", Kind::Ok),
    ("other", Kind::Other),
    ("broken", Kind::Broken),
    ("drip", Kind::Drip),
    ("endless", Kind::Endless),
    ("reset", Kind::Reset),
    ("smtp", Kind::Smtp),
    ("smtp-refuses", Kind::SmtpRefuses),
    ("grpc", Kind::Grpc),
    ("grpc-not-serving", Kind::GrpcNotServing),
    ("echo", Kind::Echo),
    ("dns", Kind::Dns),
    ("dns-nothing", Kind::DnsNothing),
];

impl Kind {
    fn is_of_datagrams(self) -> bool {
        matches!(self, Self::Echo | Self::Dns | Self::DnsNothing)
    }
}

/// `KIND=ADDRESS:PORT`.
impl FromStr for Probed {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Self> {
        let (name, at) = word.split_once('=').context("KIND=ADDRESS:PORT")?;
        let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == name) else {
            bail!("{name} is no kind of server");
        };
        Ok(Self {
            kind: *kind,
            at: at.parse()?,
        })
    }
}

/// Serves until it is ended.
pub(crate) fn serve(all: &[Probed]) -> Result<()> {
    let bound = all.iter().map(|probed| Ok((probed, bind(probed)?)));
    let bound = bound.collect::<Result<Vec<_>>>()?;
    say("lab-echo: ready");
    thread::scope(|scope| {
        for (probed, socket) in bound {
            scope.spawn(move || {
                if probed.kind == Kind::Deaf {
                    fill(probed.at);
                } else if probed.kind.is_of_datagrams() {
                    datagrams(probed.kind, &UdpSocket::from(socket));
                } else {
                    connections(probed.kind, &socket);
                }
            });
        }
    });
    Ok(())
}

fn bind(probed: &Probed) -> Result<Socket> {
    let Probed { kind, at } = *probed;
    let transport = if kind.is_of_datagrams() {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    let bound = socket(transport, at)?;
    bound.set_reuse_address(true)?;
    bound
        .bind(&at.into())
        .with_context(|| format!("cannot listen on {at}"))?;
    if !kind.is_of_datagrams() {
        bound.listen(if kind == Kind::Deaf { 0 } else { 128 })?;
    }
    Ok(bound)
}

/// Fills the queue of a listener that nobody accepts from, and holds it full: SYNs are dropped then (`tcp_conn_request`). A
/// backlog of 0 has room for one.
fn fill(at: SocketAddr) {
    let waiting = TcpStream::connect(at);
    say(&format!("{at} is full: {}", waiting.is_ok()));
    while waiting.is_ok() {
        thread::park();
    }
}

fn connections(kind: Kind, listening: &Socket) {
    loop {
        if let Ok((connection, _)) = listening.accept() {
            // A client that goes away is what probes do.
            thread::spawn(move || drop(converse(kind, &connection)));
        }
    }
}

fn converse(kind: Kind, connection: &Socket) -> io::Result<()> {
    match kind {
        Kind::Ok => page(connection, "200 OK", b"ok\n"),
        Kind::Other => page(connection, "200 OK", b"on fire\n"),
        Kind::Broken => page(connection, "500 Internal Server Error", b"ok\n"),
        Kind::Drip => flood(connection, b"o", Duration::from_millis(200)),
        // No faster, or it takes the emulated processor from everybody.
        Kind::Endless => flood(connection, &[b'o'; 16 * 1024], Duration::from_millis(10)),
        Kind::Reset => {
            read_to(connection, b"\r\n\r\n")?;
            connection.set_linger(Some(Duration::ZERO))
        }
        Kind::Smtp => mail(connection, "220 ready"),
        Kind::SmtpRefuses => mail(connection, "554 no mail today"),
        Kind::Grpc => health(connection, 1),
        Kind::GrpcNotServing => health(connection, 2),
        // Not of connections.
        Kind::Deaf | Kind::Echo | Kind::Dns | Kind::DnsNothing => Ok(()),
    }
}

/// Reads until something, at most a few KiB.
fn read_to(mut connection: &Socket, end: &[u8]) -> io::Result<()> {
    let mut read = Vec::new();
    let mut buffer = [0; 1024];
    while read.len() < 16 * 1024 && !read.windows(end.len()).any(|window| window == end) {
        match connection.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => read.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(())
}

fn page(mut connection: &Socket, status: &str, body: &[u8]) -> io::Result<()> {
    read_to(connection, b"\r\n\r\n")?;
    let length = body.len();
    write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    connection.write_all(body)?;
    connection.shutdown(Shutdown::Write)
}

fn flood(mut connection: &Socket, again: &[u8], pause: Duration) -> io::Result<()> {
    read_to(connection, b"\r\n\r\n")?;
    connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    loop {
        connection.write_all(again)?;
        thread::sleep(pause);
    }
}

/// RFC 5321: a banner, and an answer to HELO and to QUIT.
fn mail(mut connection: &Socket, banner: &str) -> io::Result<()> {
    write!(connection, "{banner}\r\n")?;
    for answer in ["250 pleased to meet you", "221 bye"] {
        read_to(connection, b"\r\n")?;
        write!(connection, "{answer}\r\n")?;
    }
    Ok(())
}

/// `grpc.health.v1`: whatever is asked, this is the status. HTTP/2 (RFC 9113) as far as one call needs it; header fields are
/// one index of the static table and literals (RFC 7541).
fn health(mut connection: &Socket, status: u8) -> io::Result<()> {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    const ACK: u8 = 1;
    let mut preface = [0; 24];
    connection.read_exact(&mut preface)?;
    connection.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    let stream = loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        io::copy(&mut connection.take(length.into()), &mut io::sink())?;
        match kind {
            SETTINGS if flags & ACK == 0 => connection.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
            DATA if flags & END_STREAM != 0 => break u32::from_be_bytes(stream),
            _ => {}
        }
    };
    let head = [&[0x88][..], &literal("content-type", "application/grpc")].concat();
    // Not compressed, two bytes long: field 1 of HealthCheckResponse.
    let message = [0, 0, 0, 0, 2, 0x08, status];
    let frames = [
        frame(HEADERS, END_HEADERS, stream, &head),
        frame(DATA, 0, stream, &message),
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &literal("grpc-status", "0")),
    ];
    connection.write_all(&frames.concat())?;
    // Until the client is done: what is unread when it closes would be answered with a reset.
    io::copy(&mut &*connection, &mut io::sink()).map(drop)
}

/// A frame of less than 256 bytes.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
    let head = [&[0, 0, length, kind, flags][..], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// A literal header field that is not indexed, of short words.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let word = |text: &str| [&[u8::try_from(text.len()).unwrap_or(127)], text.as_bytes()].concat();
    [&[0][..], &word(name), &word(value)].concat()
}

fn datagrams(kind: Kind, socket: &UdpSocket) {
    let mut buffer = [0; 512];
    loop {
        // An error is that of an earlier answer, which nobody took.
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let question = &buffer[..length];
        let answer = match kind == Kind::Echo {
            true => Some(question.to_owned()),
            false => name(question, kind == Kind::Dns),
        };
        if let Some(answer) = answer {
            drop(socket.send_to(&answer, peer));
        }
    }
}

/// RFC 1035: the question comes back, with an address or with NXDOMAIN. The head's counts are of one question and of what is
/// answered; EDNS and the like are not repeated.
fn name(question: &[u8], known: bool) -> Option<Vec<u8>> {
    let (head, rest) = question.split_at_checked(12)?;
    let end = rest.iter().position(|byte| *byte == 0)? + 1 + 4;
    let asked = rest.get(..end)?;
    let code = if known { 0 } else { 3 };
    let head = [
        head[0],
        head[1],
        0x81,
        0x80 | code,
        0,
        1,
        0,
        u8::from(known),
        0,
        0,
        0,
        0,
    ];
    // Its name by a pointer to the question's, A, IN, a minute, 192.0.2.1.
    let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1];
    let record = if known { &record[..] } else { &[] };
    Some([&head, asked, record].concat())
}
