//! `smtp`: banner, HELO, QUIT (RFC 5321; keepalived `SMTP_CHECK`). No mail is begun.

mod reply;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use self::reply::{LONGEST_REPLY, Parsed, Reply, parse};
use super::failure::quote;
use super::stream::{Progress, connect};
use super::{Failure, Invalid, Target};

/// Who greets. HELO and not EHLO: every server takes it, and nothing is asked of its extensions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Smtp {
    helo: String,
}

impl Smtp {
    /// A greeting with a name (`helo_name`): a domain or an address literal, of at most 255 characters.
    ///
    /// # Errors
    /// The name is empty, too long, or would be more than one word of one line.
    pub fn new(helo: &str) -> Result<Self, Invalid> {
        let printable = helo.bytes().all(|byte| byte.is_ascii_graphic());
        match printable && (1..=255).contains(&helo.len()) {
            true => Ok(Self { helo: helo.to_owned() }),
            false => Err(Invalid::new(format!("{} is no name for HELO", quote(helo.as_bytes())))),
        }
    }
}

/// The dialogue.
struct Dialogue<'a, S> {
    stream: S,
    target: &'a Target,
    /// What was read and not yet looked at.
    pending: Vec<u8>,
}

pub(super) async fn probe(smtp: &Smtp, target: &Target, progress: &Progress) -> Result<(), Failure> {
    dialogue(smtp, target, connect(target, progress).await?).await
}

async fn dialogue<S>(smtp: &Smtp, target: &Target, stream: S) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut dialogue = Dialogue {
        stream,
        target,
        pending: Vec::new(),
    };
    dialogue.expect("banner", 220).await?;
    dialogue.say(&format!("HELO {}\r\n", smtp.helo)).await?;
    dialogue.expect("HELO", 250).await?;
    // Said, and waited for, so that the server does not log a client that vanished.
    dialogue.say("QUIT\r\n").await?;
    dialogue.expect("QUIT", 221).await
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<'_, S> {
    async fn say(&mut self, line: &str) -> Result<(), Failure> {
        let said = self.stream.write_all(line.as_bytes()).await;
        said.map_err(|error| Failure::of_io(format!("SMTP with {}", self.target), &error))
    }

    async fn expect(&mut self, what: &str, expected: u16) -> Result<(), Failure> {
        let Reply { code, line } = self.reply(what).await?;
        if code == expected {
            return Ok(());
        }
        Err(self.failure(what, &format!("{}, not {expected}", quote(&line))))
    }

    /// Reads one reply; what follows it is kept.
    async fn reply(&mut self, what: &str) -> Result<Reply, Failure> {
        loop {
            match parse(&self.pending) {
                Parsed::Whole(reply, length) => {
                    self.pending.drain(..length);
                    return Ok(reply);
                }
                Parsed::Wrong => return Err(self.failure(what, &format!("{} is no SMTP", quote(&self.pending)))),
                Parsed::Partial if self.pending.len() >= LONGEST_REPLY => {
                    return Err(self.failure(what, &format!("the reply is longer than {} KiB", LONGEST_REPLY / 1024)));
                }
                Parsed::Partial => self.read(what).await?,
            }
        }
    }

    async fn read(&mut self, what: &str) -> Result<(), Failure> {
        let mut buffer = [0; 1024];
        match self.stream.read(&mut buffer).await {
            Ok(0) => Err(self.failure(what, "connection closed")),
            Ok(length) => {
                self.pending.extend_from_slice(&buffer[..length]);
                Ok(())
            }
            Err(error) => Err(Failure::of_io(format!("SMTP {what} of {}", self.target), &error)),
        }
    }

    fn failure(&self, what: &str, reason: &str) -> Failure {
        Failure::of_server(format!("SMTP {what} of {}: {reason}", self.target))
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
