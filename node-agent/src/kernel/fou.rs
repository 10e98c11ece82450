//! UDP ports on which GUE packets are unwrapped, over the generic netlink family `fou` (include/uapi/linux/fou.h). It has
//! no notifications: what somebody else deletes is found by reading.

use std::collections::BTreeMap;

use ::ipvs::{Errno, Family};
use netlink_packet_core::{DefaultNla, Emitable, NlasIterator};
use netlink_packet_generic::GenlFamily;

use super::generic::GenericSocket;
use super::socket::Socket;
use super::{KernelError, missing};
use crate::tunnel::{GuePort, Receiver};

const FOU_CMD_ADD: u8 = 1;
const FOU_CMD_DEL: u8 = 2;
const FOU_CMD_GET: u8 = 3;

const FOU_ATTR_PORT: u16 = 1;
const FOU_ATTR_AF: u16 = 2;
const FOU_ATTR_TYPE: u16 = 4;
const FOU_ATTR_LOCAL_V4: u16 = 6;
const FOU_ATTR_LOCAL_V6: u16 = 7;
const FOU_ATTR_PEER_V4: u16 = 8;
const FOU_ATTR_PEER_V6: u16 = 9;
const FOU_ATTR_PEER_PORT: u16 = 10;
const FOU_ATTR_IFINDEX: u16 = 11;

const FOU_ENCAP_GUE: u8 = 2;

/// Length of `struct genlmsghdr`.
const HEADER: usize = 4;

const EADDRINUSE: Errno = Errno(libc::EADDRINUSE);
const EALREADY: Errno = Errno(libc::EALREADY);

/// The UDP ports of the network namespace in which it was made.
#[derive(Debug)]
pub(super) struct FouSocket {
    socket: GenericSocket,
}

impl FouSocket {
    pub(super) fn new() -> Self {
        Self {
            socket: GenericSocket::new(FouMessage::family_name(), missing(GuePort::MODULE)),
        }
    }

    /// Every port. A look loads the module.
    pub(super) fn ports(&mut self) -> Result<BTreeMap<GuePort, Receiver>, KernelError> {
        let replies = self.socket.ask(&FouMessage::new(FOU_CMD_GET), Socket::dump)?;
        let mut ports = BTreeMap::new();
        for (port, receiver) in replies.iter().filter_map(|reply| read(&reply.payload)) {
            // A port may be there once for each address that it is bound to: one that takes all is the one that counts.
            let known = ports.entry(port).or_insert(receiver);
            if receiver == Receiver::Gue {
                *known = receiver;
            }
        }
        Ok(ports)
    }

    /// `ip fou add … gue`. One that is there already is done; the kernel's word for that is the one for a port that any
    /// program has.
    pub(super) fn add(&mut self, port: GuePort) -> Result<(), KernelError> {
        let answer = self.socket.ask(&FouMessage::of_port(FOU_CMD_ADD, port), Socket::ask);
        match answer {
            Err(KernelError::Refused {
                errno: EADDRINUSE | EALREADY,
            }) if self.ports()?.get(&port) == Some(&Receiver::Gue) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// `ip fou del`. The kernel's word for a port that is not there is EINVAL.
    pub(super) fn delete(&mut self, port: GuePort) -> Result<(), KernelError> {
        match self.socket.ask(&FouMessage::of_port(FOU_CMD_DEL, port), Socket::ask) {
            Err(KernelError::Refused { errno: Errno::EINVAL }) if !self.ports()?.contains_key(&port) => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

/// A request: command and attributes.
#[derive(Debug)]
struct FouMessage {
    command: u8,
    attributes: Vec<DefaultNla>,
}

impl FouMessage {
    fn new(command: u8) -> Self {
        Self {
            command,
            attributes: Vec::new(),
        }
    }

    fn of_port(command: u8, port: GuePort) -> Self {
        let GuePort { family, port } = port;
        let family = match family {
            Family::Ipv4 => libc::AF_INET,
            Family::Ipv6 => libc::AF_INET6,
        };
        Self {
            command,
            attributes: vec![
                DefaultNla::new(FOU_ATTR_PORT, port.to_be_bytes().to_vec()),
                DefaultNla::new(FOU_ATTR_AF, u8::try_from(family).into_iter().collect()),
                DefaultNla::new(FOU_ATTR_TYPE, vec![FOU_ENCAP_GUE]),
            ],
        }
    }
}

impl GenlFamily for FouMessage {
    fn family_name() -> &'static str {
        "fou"
    }

    fn command(&self) -> u8 {
        self.command
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for FouMessage {
    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

/// `None` for a port of neither IPv4 nor IPv6.
fn read(payload: &[u8]) -> Option<(GuePort, Receiver)> {
    let (mut port, mut family, mut type_, mut bound) = (None, None, 0, false);
    for attribute in NlasIterator::new(payload.get(HEADER..)?).flatten() {
        let value = attribute.value();
        match attribute.kind() {
            FOU_ATTR_PORT => port = value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)),
            FOU_ATTR_AF => family = value.first().and_then(|number| family_of(*number)),
            FOU_ATTR_TYPE => type_ = value.first().copied().unwrap_or_default(),
            FOU_ATTR_LOCAL_V4 | FOU_ATTR_LOCAL_V6 | FOU_ATTR_PEER_V4 | FOU_ATTR_PEER_V6 | FOU_ATTR_PEER_PORT
            | FOU_ATTR_IFINDEX => bound |= value.iter().any(|byte| *byte != 0),
            _ => {}
        }
    }
    let receiver = match (type_, bound) {
        (FOU_ENCAP_GUE, false) => Receiver::Gue,
        _ => Receiver::Other,
    };
    let (family, port) = (family?, port?);
    Some((GuePort { family, port }, receiver))
}

fn family_of(number: u8) -> Option<Family> {
    match i32::from(number) {
        libc::AF_INET => Some(Family::Ipv4),
        libc::AF_INET6 => Some(Family::Ipv6),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
