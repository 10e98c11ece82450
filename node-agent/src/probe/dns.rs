//! `dns`: a name is resolved, over UDP (RFC 1035; keepalived `DNS_CHECK`).

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::failure::quote;
use super::stream::Progress;
use super::{Failure, Invalid, Target, udp};

/// Longest answer that is read, in bytes. Without EDNS a server sends no more than 512.
const LONGEST_ANSWER: usize = 4096;

/// So many datagrams that are not the answer end the probe.
const MOST_STRANGERS: usize = 64;

/// A question. It passes with an answer without error that holds at least one record, of whatever type (an alias is an
/// answer), also when it was truncated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dns {
    name: Name,
    record_type: RecordType,
}

impl Dns {
    /// A question for the records of a type (`A`, `AAAA`, `SOA`, …) of a name, which is absolute with or without its last
    /// dot.
    ///
    /// # Errors
    /// No name, or no such type.
    pub fn new(name: &str, record_type: &str) -> Result<Self, Invalid> {
        let wrong = |_| Invalid::new(format!("{} is no domain name", quote(name.as_bytes())));
        let mut name = Name::from_ascii(name).map_err(wrong)?;
        name.set_fqdn(true);
        let wrong = |_| Invalid::new(format!("{} is no record type", quote(record_type.as_bytes())));
        let record_type = record_type.parse().map_err(wrong)?;
        Ok(Self { name, record_type })
    }
}

/// What a datagram is.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Not the answer to this question: it is forgotten.
    Strange,
    /// The answer, and it passes.
    Good,
    /// The answer, and what is wrong with it.
    Bad(String),
}

pub(super) async fn probe(dns: &Dns, target: &Target, progress: &Progress) -> Result<(), Failure> {
    let question = question(dns);
    let bytes = question
        .to_vec()
        .map_err(|error| Failure::of_ours(format!("question to {target}: {error}")))?;
    let socket = udp::ask(target, &bytes, progress).await?;
    let mut buffer = [0; LONGEST_ANSWER];
    for _ in 0..MOST_STRANGERS {
        let received = socket.recv(&mut buffer).await;
        let length = received.map_err(|error| udp::failure(target, &error))?;
        match judge(&question, &buffer[..length]) {
            Answer::Strange => {}
            Answer::Good => return Ok(()),
            Answer::Bad(reason) => return Err(failure(dns, target, &reason)),
        }
    }
    let reason = format!("{MOST_STRANGERS} datagrams, and none is the answer");
    Err(failure(dns, target, &reason))
}

fn failure(dns: &Dns, target: &Target, reason: &str) -> Failure {
    let name = dns.name.to_ascii();
    Failure::of_server(format!(
        "{} of {} from {target}: {reason}",
        dns.record_type,
        quote(name.as_bytes())
    ))
}

/// A query with a random identifier.
fn question(dns: &Dns) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(dns.name.clone(), dns.record_type));
    message
}

/// What a datagram is to a question: answers carry its identifier and repeat it (RFC 5452, section 9.1).
fn judge(question: &Message, bytes: &[u8]) -> Answer {
    let ours = field(bytes, 0) == Some(question.metadata.id);
    // The question is one. The decoder believes the count and takes memory for it, megabytes for a datagram of 12 bytes.
    if field(bytes, 4).is_some_and(|questions| questions > 1) {
        return Answer::Strange;
    }
    let Ok(answer) = Message::from_vec(bytes) else {
        return if ours {
            Answer::Bad("the answer is malformed".to_owned())
        } else {
            Answer::Strange
        };
    };
    let is_response = answer.metadata.message_type == MessageType::Response;
    // A server that refuses (FORMERR, REFUSED) need not repeat the question.
    let failed = answer.metadata.response_code != ResponseCode::NoError;
    let repeats = answer.queries == question.queries || (failed && answer.queries.is_empty());
    if !ours || !is_response || !repeats {
        return Answer::Strange;
    }
    match (failed, answer.answers.is_empty()) {
        (true, _) => Answer::Bad(code(answer.metadata.response_code)),
        (false, true) => Answer::Bad("no record in the answer".to_owned()),
        (false, false) => Answer::Good,
    }
}

/// A number of the header (RFC 1035, section 4.1.1), by its place in bytes.
fn field(bytes: &[u8], at: usize) -> Option<u16> {
    let number = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*number))
}

/// The code's mnemonic (IANA, DNS RCODEs).
fn code(code: ResponseCode) -> String {
    let number = u16::from(code);
    let known = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
    let known = known.get(usize::from(number)).copied();
    known.map_or_else(|| format!("RCODE {number}"), str::to_owned)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
