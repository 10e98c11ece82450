//! The client.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::clock;
use e2e::endpoint::{Endpoint, Transport};
use e2e::traffic::END;
use socket2::Socket;

use crate::{PATIENCE, own_address, receive, say, send, socket};

/// How often a connection that is kept is used.
const PACE: Duration = Duration::from_millis(250);
/// How long an answer to one that is kept may take: TCP sends again after pauses that double.
const LONG_PATIENCE: Duration = Duration::from_secs(20);
/// How often a sender that never pauses sends.
const BEAT: Duration = Duration::from_millis(100);

/// The endpoints at once, the requests to each one after the other.
pub(crate) fn ask(from: Option<IpAddr>, wanted: &[(Endpoint, u32)]) -> Result<()> {
    thread::scope(|scope| {
        for (endpoint, number) in wanted {
            scope.spawn(move || {
                for _ in 0..*number {
                    let begin = clock::now();
                    let answer = connect(from, endpoint).and_then(|connection| request(&connection));
                    say(&line(endpoint, begin, answer));
                }
            });
        }
    });
    Ok(())
}

/// Keeps what answered, each in use all the time; says each answer, by the connection's number and in milliseconds, and when
/// one does not answer any more.
pub(crate) fn hold(from: Option<IpAddr>, wanted: &[(Endpoint, u32)]) -> Result<()> {
    let mut kept = Vec::new();
    for (endpoint, number) in wanted {
        for _ in 0..*number {
            let begin = clock::now();
            let connection = connect(from, endpoint)?;
            say(&line(endpoint, begin, request(&connection)));
            connection.set_read_timeout(Some(LONG_PATIENCE))?;
            kept.push((endpoint, connection));
        }
    }
    say("holding");
    thread::scope(|scope| {
        for (number, (endpoint, connection)) in kept.iter().enumerate() {
            // One that waits must not keep the others waiting.
            scope.spawn(move || use_up(number, endpoint, connection));
        }
    });
    Ok(())
}

fn use_up(number: usize, endpoint: &Endpoint, connection: &Socket) {
    loop {
        thread::sleep(PACE);
        let begin = clock::now();
        match request(connection) {
            Ok(_) => say(&format!("kept {number} {}", begin.elapsed().as_millis())),
            Err(error) => return say(&format!("lost {}", line(endpoint, begin, Err(error)))),
        }
    }
}

/// Sends from one port all the time, and says who answers, or `-`.
pub(crate) fn stream(from: Option<IpAddr>, endpoint: &Endpoint) -> Result<()> {
    let connection = connect(from, endpoint)?;
    connection.set_read_timeout(Some(BEAT))?;
    loop {
        let begin = clock::now();
        let answer = request(&connection).ok();
        let server = answer.as_deref().and_then(|answer| answer.split(' ').next());
        say(server.unwrap_or("-"));
        thread::sleep(BEAT.saturating_sub(begin.elapsed()));
    }
}

fn connect(from: Option<IpAddr>, endpoint: &Endpoint) -> io::Result<Socket> {
    let Endpoint { transport, at } = *endpoint;
    let connection = socket(transport, at)?;
    let from = match (from, transport) {
        (Some(from), _) => Some(from),
        (None, Transport::Sctp) => Some(own_address(at)?),
        (None, Transport::Tcp | Transport::Udp) => None,
    };
    if let Some(from) = from {
        connection.bind(&SocketAddr::new(from, 0).into())?;
    }
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.connect_timeout(&at.into(), PATIENCE)?;
    Ok(connection)
}

fn request(connection: &Socket) -> io::Result<String> {
    send(connection, "who?")?;
    match receive(connection)? {
        nothing if nothing.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
        answer => Ok(answer),
    }
}

/// The words of `traffic::Answers`: server, the address that it saw, seconds, error.
fn line(endpoint: &Endpoint, begin: Instant, answer: io::Result<String>) -> String {
    let seconds = begin.elapsed().as_secs_f64();
    match answer {
        Ok(answer) => format!("{endpoint} = 200 {answer} {seconds:.6} {END}"),
        Err(error) => format!("{endpoint} = 000   {seconds:.6} {error}{END}"),
    }
}
