//! One blocking netlink socket: requests out, answers back by sequence number.
//!
//! Not the async `rtnetlink` crate: a pass is synchronous and ordered, the kernel answers within the send, and several
//! messages in one send with one ACK (40 times faster than one by one) is nothing that its handles can do. Bytes in,
//! bytes out; `ipvs` and `address` say what is in them.

use std::io;
use std::time::Duration;

use ipvs::Errno;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN,
    NetlinkBuffer,
};
use netlink_sys::SocketAddr;
use socket2::SockRef;

use super::KernelError;

/// Length of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;

/// How many messages go in one send. The default receive buffer holds more than 200 refusals; beyond it, answers are lost.
pub(super) const BATCH: usize = 128;

/// The kernel answers before the send returns, and a dump while it is read: what is not here by then never comes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a dump is begun again that a change made inconsistent.
const DUMP_ATTEMPTS: usize = 8;

/// The kernel shrinks its dumps to the buffers that it has seen, and never fills more than this.
const DUMP_BUFFER: usize = 32 * 1024;

/// Asked for, so that a batch that is refused as a whole fits with room to spare; `net.core.rmem_max` bounds it.
const RECEIVE_BUFFER: libc::c_int = 1024 * 1024;

/// A request or an answer, without its netlink header.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// `nlmsg_type`.
    pub(super) kind: u16,
    /// `NLM_F_*` besides those that the socket sets.
    pub(super) flags: u16,
    /// What follows the header.
    pub(super) payload: Vec<u8>,
}

/// The socket. One whose answer was lost is replaced by a new one: a dump that was not read to its end would block the
/// next (EBUSY), and late answers would meet other questions.
#[derive(Debug)]
pub(super) struct Socket {
    protocol: isize,
    socket: Option<netlink_sys::Socket>,
    sequence: u32,
}

/// One message of a datagram.
struct Reply {
    /// Which request of the send it answers.
    request: usize,
    content: Content,
}

enum Content {
    Data(Message),
    /// An ACK, the end of a dump, or a refusal.
    End(Result<(), Errno>),
    Nothing,
}

impl Socket {
    /// A socket for a protocol (`NETLINK_ROUTE`, …), opened when it is needed.
    pub(super) fn new(protocol: isize) -> Self {
        Self {
            protocol,
            socket: None,
            sequence: 0,
        }
    }

    /// Asks for all objects of a kind. A dump that was changed under way (NLM_F_DUMP_INTR) is begun again.
    ///
    /// # Errors
    /// The kernel's refusal; [`KernelError::Unknown`] when it falls silent.
    pub(super) fn dump(&mut self, request: &Message) -> Result<Vec<Message>, KernelError> {
        for _ in 0..DUMP_ATTEMPTS {
            let first = self.send(std::slice::from_ref(request), NLM_F_DUMP)?;
            let entries = self.collect(first)?;
            if entries.iter().all(|entry| entry.flags & NLM_F_DUMP_INTR == 0) {
                return Ok(entries);
            }
        }
        Err(KernelError::Io(format!(
            "{DUMP_ATTEMPTS} dumps were interrupted by changes"
        )))
    }

    /// Sends one request and gives what the kernel says before it acknowledges.
    ///
    /// # Errors
    /// The kernel's refusal; [`KernelError::Unknown`] when it falls silent.
    pub(super) fn ask(&mut self, request: &Message) -> Result<Vec<Message>, KernelError> {
        let first = self.send(std::slice::from_ref(request), NLM_F_ACK)?;
        self.collect(first)
    }

    /// Sends many requests in few sends, with an ACK asked for on the last of each: a refused one answers by itself
    /// with its sequence number, and the ACK says that there is nothing more to come. One result for each request.
    pub(super) fn batch(&mut self, requests: &[Message]) -> Vec<Result<(), KernelError>> {
        let chunks = requests.chunks(BATCH);
        chunks.flat_map(|chunk| self.batch_in_one_send(chunk)).collect()
    }

    fn batch_in_one_send(&mut self, requests: &[Message]) -> Vec<Result<(), KernelError>> {
        let first = match self.send(requests, NLM_F_ACK) {
            Ok(first) => first,
            Err(error) => return vec![Err(error); requests.len()],
        };
        let mut answers = vec![None; requests.len()];
        while matches!(answers.last(), Some(None)) {
            // What was executed without its answer being read is unknown, whatever the reason.
            let Ok(replies) = self.receive(first, requests.len()) else {
                break;
            };
            for Reply { request, content } in replies {
                if let (Content::End(answer), Some(place)) = (content, answers.get_mut(request)) {
                    *place = Some(answer.map_err(|errno| KernelError::Refused { errno }));
                }
            }
        }
        let complete = matches!(answers.last(), Some(Some(_)));
        let silence = if complete { Ok(()) } else { Err(KernelError::Unknown) };
        let answers = answers.into_iter();
        answers
            .map(|answer| answer.unwrap_or_else(|| silence.clone()))
            .collect()
    }

    fn collect(&mut self, first: u32) -> Result<Vec<Message>, KernelError> {
        let mut entries = Vec::new();
        loop {
            for Reply { request: _, content } in self.receive(first, 1)? {
                match content {
                    Content::Data(message) => entries.push(message),
                    Content::End(Ok(())) => return Ok(entries),
                    Content::End(Err(errno)) => return Err(KernelError::Refused { errno }),
                    Content::Nothing => {}
                }
            }
        }
    }

    /// Sends all in one datagram; `last` are flags of the last message. Returns the first sequence number.
    fn send(&mut self, requests: &[Message], last: u16) -> Result<u32, KernelError> {
        let first = self.sequence.wrapping_add(1);
        let lengths = requests
            .iter()
            .map(|request| HEADER + request.payload.len().next_multiple_of(4));
        let mut bytes = Vec::with_capacity(lengths.sum());
        for (index, request) in requests.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            let last = if index + 1 == requests.len() { last } else { 0 };
            write(&mut bytes, request, NLM_F_REQUEST | last, self.sequence);
        }
        let kernel = SocketAddr::new(0, 0);
        let sent = self.open()?.send_to(&bytes, &kernel, 0);
        sent.map_err(|error| KernelError::Io(format!("netlink send: {error}")))?;
        Ok(first)
    }

    /// Waits for one datagram, and gives what in it answers the `count` requests from sequence number `first`.
    fn receive(&mut self, first: u32, count: usize) -> Result<Vec<Reply>, KernelError> {
        let received = self.receive_datagram();
        if received.is_err() {
            self.socket = None;
        }
        let bytes = received?;
        let mut replies = Vec::new();
        let mut rest = bytes.as_slice();
        while rest.len() >= HEADER {
            let message = NetlinkBuffer::new_checked(rest).map_err(|error| KernelError::Io(error.to_string()))?;
            let request = usize::try_from(message.sequence_number().wrapping_sub(first)).unwrap_or(usize::MAX);
            if request < count {
                let content = content(&message);
                replies.push(Reply { request, content });
            }
            let length = usize::try_from(message.length()).unwrap_or(usize::MAX);
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(replies)
    }

    fn receive_datagram(&mut self) -> Result<Vec<u8>, KernelError> {
        let socket = self.open()?;
        loop {
            match receive_whole(socket) {
                // Only the kernel has port number 0; any process may send to our port.
                Ok((bytes, sender)) if sender.port_number() == 0 => return Ok(bytes),
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::ENOBUFS) => return Err(KernelError::Unknown),
                    _ => return Err(KernelError::Io(format!("netlink receive: {error}"))),
                },
            }
        }
    }

    fn open(&mut self) -> Result<&netlink_sys::Socket, KernelError> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => open(self.protocol).map_err(|error| KernelError::Io(format!("netlink socket: {error}")))?,
        };
        Ok(self.socket.insert(socket))
    }
}

fn open(protocol: isize) -> io::Result<netlink_sys::Socket> {
    let mut socket = netlink_sys::Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
    SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(socket)
}

/// Looks at the datagram's length first: a link with many virtual functions is longer than any buffer one would guess.
fn receive_whole(socket: &netlink_sys::Socket) -> io::Result<(Vec<u8>, SocketAddr)> {
    let (length, _) = socket.recv_from(&mut Vec::new(), libc::MSG_PEEK | libc::MSG_TRUNC)?;
    let mut bytes = Vec::with_capacity(length.max(DUMP_BUFFER));
    let (_, sender) = socket.recv_from(&mut bytes, 0)?;
    Ok((bytes, sender))
}

fn write(bytes: &mut Vec<u8>, request: &Message, flags: u16, sequence: u32) {
    let Message {
        kind,
        flags: further,
        payload,
    } = request;
    let start = bytes.len();
    let length = HEADER + payload.len();
    bytes.resize(start + length.next_multiple_of(4), 0);
    let mut message = NetlinkBuffer::new(&mut bytes[start..]);
    message.set_length(u32::try_from(length).unwrap_or(u32::MAX));
    message.set_message_type(*kind);
    message.set_flags(flags | further);
    message.set_sequence_number(sequence);
    bytes[start + HEADER..start + length].copy_from_slice(payload);
}

fn content(message: &NetlinkBuffer<&[u8]>) -> Content {
    match message.message_type() {
        NLMSG_ERROR | NLMSG_DONE => Content::End(code(message.payload())),
        NLMSG_NOOP | NLMSG_OVERRUN => Content::Nothing,
        kind => Content::Data(Message {
            kind,
            flags: message.flags(),
            payload: message.payload().to_vec(),
        }),
    }
}

/// The error number at the head of NLMSG_ERROR and NLMSG_DONE: negative, or 0.
fn code(payload: &[u8]) -> Result<(), Errno> {
    match payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) {
        None | Some(0) => Ok(()),
        Some(code) => Err(Errno(code.saturating_neg())),
    }
}

#[cfg(test)]
mod tests;
