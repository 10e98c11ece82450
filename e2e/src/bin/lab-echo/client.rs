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

/// Keeps what answered, and says it when one does not any more.
pub(crate) fn hold(from: Option<IpAddr>, wanted: &[(Endpoint, u32)]) -> Result<()> {
    let mut kept = Vec::new();
    for (endpoint, number) in wanted {
        for _ in 0..*number {
            let begin = clock::now();
            let connection = connect(from, endpoint)?;
            say(&line(endpoint, begin, request(&connection)));
            kept.push((endpoint, connection));
        }
    }
    say("holding");
    while !kept.is_empty() {
        thread::sleep(PACE);
        kept.retain(|(endpoint, connection)| {
            let begin = clock::now();
            let answer = request(connection);
            let lives = answer.is_ok();
            if !lives {
                say(&format!("lost {}", line(endpoint, begin, answer)));
            }
            lives
        });
    }
    Ok(())
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
