//! What the host and the guest's init say to each other.
//!
//! One TCP connection carries one request and its reply, so that requests run side by side and
//! a broken one takes nothing else with it. A message is one line of JSON (the head) followed by
//! as many raw bytes (the payload) as the head says: files and outputs need no encoding.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The port on which the guest's init listens, on the guest's own side.
pub const PORT: u16 = 7000;

/// A program to start in the guest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Launch {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Added to a small fixed environment.
    pub env: BTreeMap<String, String>,
    /// The network namespace that it runs in; none is the guest's first one.
    pub netns: Option<String>,
    /// Its working folder.
    pub cwd: Option<String>,
    /// When not empty: it gets a mount namespace of its own, changed in this order.
    pub mounts: Vec<Mount>,
}

/// A change in the private mount namespace of a program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Mount {
    /// `from` also appears at `to`; both are made when they do not exist.
    Bind {
        /// What is shown.
        from: String,
        /// Where it is shown.
        to: String,
    },
    /// `path` becomes a mount of its own that cannot be written.
    ReadOnly {
        /// The folder.
        path: String,
    },
}

/// The head of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Does nothing; tells that init answers.
    Hello,
    /// Runs a program to its end; the payload is its standard input.
    Run {
        /// What to run.
        launch: Launch,
        /// After this time it and its children are killed.
        timeout_milliseconds: u64,
    },
    /// Starts a program that goes on.
    Spawn {
        /// What to run.
        launch: Launch,
        /// The file that takes its standard output and standard error.
        log: String,
        /// Each line of output begins with the guest's clock in milliseconds.
        stamped: bool,
    },
    /// Sends a signal to a program that `Spawn` started.
    Signal {
        /// What `Spawn` answered.
        pid: u32,
        /// The number of the signal.
        signal: i32,
        /// The whole session that the program leads, not the program alone.
        group: bool,
    },
    /// Waits for the end of a program that `Spawn` started.
    Wait {
        /// What `Spawn` answered.
        pid: u32,
        /// Gives up after this time; the reply has no status then.
        timeout_milliseconds: u64,
    },
    /// Writes the payload to a file, making its folders.
    Write {
        /// The file.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// Reads a file from `offset` on; a file that does not exist is empty.
    Read {
        /// The file.
        path: String,
        /// The first byte wanted.
        offset: u64,
    },
    /// Ends the guest.
    PowerOff,
}

/// The head of a reply; the payload is standard output followed by standard error, or the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reply {
    /// Why the request could not be carried out.
    pub error: Option<String>,
    /// What `Spawn` started.
    pub pid: u32,
    /// Exit code, or 128 + signal; none while it runs.
    pub status: Option<i32>,
    /// The part of the payload that is standard output.
    pub stdout_bytes: usize,
    /// How long it took inside the guest.
    pub took_milliseconds: u64,
    /// The guest's clock (since its boot) when the reply was made.
    pub clock_milliseconds: u64,
}

#[derive(Serialize, Deserialize)]
struct Framed<T> {
    head: T,
    payload: usize,
}

/// Writes one message.
///
/// # Errors
/// When the other side is gone.
pub fn send<T: Serialize>(to: &mut impl Write, head: &T, payload: &[u8]) -> io::Result<()> {
    let framed = Framed {
        head,
        payload: payload.len(),
    };
    let mut bytes = serde_json::to_vec(&framed)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(payload);
    to.write_all(&bytes)?;
    to.flush()
}

/// Reads one message.
///
/// # Errors
/// When the other side is gone, or says something else.
pub fn receive<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<(T, Vec<u8>)> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let framed: Framed<T> = serde_json::from_str(&line)?;
    let mut payload = Vec::with_capacity(framed.payload);
    from.take(framed.payload as u64).read_to_end(&mut payload)?;
    if payload.len() < framed.payload {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((framed.head, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_with_its_payload() {
        let mut wire = Vec::new();
        send(&mut wire, &Request::Hello, b"a\nb").expect("to memory");
        send(&mut wire, &Request::PowerOff, b"").expect("to memory");
        let mut from = wire.as_slice();
        let (head, payload) = receive::<Request>(&mut from).expect("first");
        assert!(matches!(head, Request::Hello));
        assert_eq!(payload, b"a\nb");
        let (head, payload) = receive::<Request>(&mut from).expect("second");
        assert!(matches!(head, Request::PowerOff));
        assert!(payload.is_empty());
        assert!(receive::<Request>(&mut from).is_err());
    }
}
