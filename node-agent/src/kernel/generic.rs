//! What all families of generic netlink share: the header, and the family's number.

use ::ipvs::Errno;
use netlink_packet_core::{Emitable, NlasIterator};
use netlink_packet_generic::constants::{CTRL_ATTR_FAMILY_ID, GENL_ID_CTRL};
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader};

use netlink_sys::protocols::NETLINK_GENERIC;

use super::KernelError;
use super::socket::{Message, Socket};

/// Talks to one family, in the network namespace in which it was made. The family's number is this boot's; a module that
/// is unloaded and loaded again has another one, so what may have gone to a void number is sent once more.
#[derive(Debug)]
pub(super) struct GenericSocket {
    socket: Socket,
    name: &'static str,
    number: Option<u16>,
    /// What to say when the kernel has no such family.
    absent: KernelError,
}

impl GenericSocket {
    /// A socket that is opened when it is needed.
    pub(super) fn new(name: &'static str, absent: KernelError) -> Self {
        Self {
            socket: Socket::new(NETLINK_GENERIC),
            name,
            number: None,
            absent,
        }
    }

    /// One request, sent by `Socket::ask` or `Socket::dump`.
    pub(super) fn ask<F: GenlFamily + Emitable>(
        &mut self,
        message: &F,
        by: fn(&mut Socket, &Message) -> Result<Vec<Message>, KernelError>,
    ) -> Result<Vec<Message>, KernelError> {
        let number = self.number()?;
        let answer = by(&mut self.socket, &request(number, message));
        if !answer.as_ref().is_err_and(may_be_another_family) {
            return answer;
        }
        match self.resolve()? {
            now if now == number => answer,
            now => by(&mut self.socket, &request(now, message)),
        }
    }

    /// Sends requests, in order and in few sends. One result for each, as the kernel said it.
    pub(super) fn batch<F: GenlFamily + Emitable>(&mut self, messages: &[F]) -> Vec<Result<(), KernelError>> {
        match self.number() {
            Ok(number) => self.send(number, messages, &requests(number, messages)),
            Err(error) => vec![Err(error); messages.len()],
        }
    }

    /// As [`GenericSocket::batch`], of requests that were made before, by [`requests`] with this number.
    pub(super) fn send<F: GenlFamily + Emitable>(
        &mut self,
        number: u16,
        messages: &[F],
        requests: &[Message],
    ) -> Vec<Result<(), KernelError>> {
        let mut results = self.socket.batch(requests);
        let doubtful = |result: &Result<(), KernelError>| result.as_ref().is_err_and(may_be_another_family);
        if !results.iter().any(doubtful) {
            return results;
        }
        let again = match self.resolve() {
            Ok(now) if now == number => return results,
            other => other,
        };
        for (message, result) in messages.iter().zip(&mut results) {
            if doubtful(result) {
                *result = match &again {
                    Ok(now) => self.socket.batch(&[request(*now, message)]).remove(0),
                    Err(error) => Err(error.clone()),
                };
            }
        }
        results
    }

    /// The family's number in this boot.
    pub(super) fn number(&mut self) -> Result<u16, KernelError> {
        match self.number {
            Some(number) => Ok(number),
            None => self.resolve(),
        }
    }

    /// Asks `nlctrl`. The look-up loads the module where that is allowed.
    fn resolve(&mut self) -> Result<u16, KernelError> {
        self.number = family(&mut self.socket, self.name)?;
        self.number.ok_or_else(|| self.absent.clone())
    }
}

/// Asks `nlctrl` for a family's number; `None` when there is no such family.
fn family(socket: &mut Socket, name: &str) -> Result<Option<u16>, KernelError> {
    let question = GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName(name.to_owned())],
    };
    let answer = socket.ask(&request(GENL_ID_CTRL, &question));
    if answer.as_ref().err() == Some(&KernelError::Refused { errno: Errno::ENOENT }) {
        return Ok(None);
    }
    let number = answer?.iter().find_map(|reply| family_id(&reply.payload));
    let number = number.ok_or_else(|| KernelError::Io(format!("nlctrl named no number for the family {name}")))?;
    Ok(Some(number))
}

/// Requests to the family of this number, as they are sent.
pub(super) fn requests<F: GenlFamily + Emitable>(family: u16, messages: &[F]) -> Vec<Message> {
    messages.iter().map(|message| request(family, message)).collect()
}

/// A request to the family of this number.
fn request<F: GenlFamily + Emitable>(family: u16, message: &F) -> Message {
    let header = GenlHeader {
        cmd: message.command(),
        version: message.version(),
    };
    let mut payload = vec![0; header.buffer_len() + message.buffer_len()];
    let (head, body) = payload.split_at_mut(header.buffer_len());
    header.emit(head);
    message.emit(body);
    Message {
        kind: family,
        flags: 0,
        payload,
    }
}

/// Whether the number that we hold for a family may be void (ENOENT), or another family's by now.
fn may_be_another_family(error: &KernelError) -> bool {
    matches!(
        error,
        KernelError::Refused {
            errno: Errno::ENOENT | Errno::EINVAL | Errno::EOPNOTSUPP
        }
    )
}

/// Attribute by attribute: the crate's own decoder refuses the whole message for one that it does not know.
fn family_id(payload: &[u8]) -> Option<u16> {
    let attributes = NlasIterator::new(payload.get(4..)?);
    let id = attributes
        .flatten()
        .find(|attribute| attribute.kind() == CTRL_ATTR_FAMILY_ID)?;
    id.value().first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}
