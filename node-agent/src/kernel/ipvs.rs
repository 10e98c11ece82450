//! IPVS over generic netlink, and the one socket option that is faster than it.

use std::sync::mpsc;
use std::thread;

use ::ipvs::message::{DestinationReply, ServiceReply};
use ::ipvs::{Errno, Family, IpvsMessage, ServiceKey, Timeouts};
use netlink_packet_core::ParseableParametrized;
use netlink_packet_generic::{GenlFamily, GenlHeader};

use super::KernelError;
use super::answer;
use super::generic::{GenericSocket, requests};
use super::socket::{BATCH, Message, Socket};

mod count;
pub(super) use count::service_count;

/// Talks to IPVS of the network namespace in which it was made.
#[derive(Debug)]
pub struct IpvsSocket {
    socket: GenericSocket,
}

impl Default for IpvsSocket {
    fn default() -> Self {
        Self::new()
    }
}

impl IpvsSocket {
    /// A socket that is opened when it is needed. The first use loads the module `ip_vs` where that is allowed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            socket: GenericSocket::new(IpvsMessage::family_name(), KernelError::ModuleMissing),
        }
    }

    /// The dump of GET_SERVICE, in the kernel's order.
    ///
    /// # Errors
    /// [`KernelError::ModuleMissing`], the kernel's refusal, or a message that does not decode.
    pub fn services(&mut self) -> Result<Vec<ServiceReply>, KernelError> {
        let replies = self.read(&IpvsMessage::dump_services(), Socket::dump)?;
        replies.iter().map(|reply| reply.service().map_err(undecoded)).collect()
    }

    /// GET_SERVICE of one key; `None` when the kernel answers ESRCH.
    ///
    /// # Errors
    /// As [`IpvsSocket::services`].
    pub fn service(&mut self, key: &ServiceKey) -> Result<Option<ServiceReply>, KernelError> {
        match self.read(&IpvsMessage::get_service(key), Socket::ask) {
            Ok(replies) => replies
                .first()
                .map(|reply| reply.service().map_err(undecoded))
                .transpose(),
            Err(KernelError::Refused { errno: Errno::ESRCH }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The dump of GET_DEST for one service, in the kernel's order; empty if there is no such service.
    ///
    /// # Errors
    /// As [`IpvsSocket::services`].
    pub fn destinations(&mut self, key: &ServiceKey) -> Result<Vec<DestinationReply>, KernelError> {
        let family: Family = key.family();
        let replies = self.read(&IpvsMessage::dump_destinations(key), Socket::dump)?;
        let destinations = replies.iter().map(|reply| reply.destination(family).map_err(undecoded));
        destinations.collect()
    }

    /// The reply to GET_CONFIG.
    ///
    /// # Errors
    /// As [`IpvsSocket::services`].
    pub fn timeouts(&mut self) -> Result<Timeouts, KernelError> {
        let replies = self.read(&IpvsMessage::get_config(), Socket::ask)?;
        let reply = replies.first().map(|reply| reply.timeouts().map_err(undecoded));
        reply.unwrap_or_else(|| Err(KernelError::Io("GET_CONFIG was not answered".to_owned())))
    }

    /// Sends changes, in order and in few sends. One result for each: a deletion of what is gone is done.
    pub fn apply(&mut self, changes: &[&::ipvs::Change]) -> Vec<Result<(), KernelError>> {
        let results = match self.socket.number() {
            Ok(number) => self.send(number, changes),
            Err(error) => vec![Err(error); changes.len()],
        };
        let results = results.into_iter().zip(changes);
        results
            .map(|(result, change)| match result {
                Err(KernelError::Refused { errno }) => answer::of_ipvs(change, Err(errno)),
                other => other,
            })
            .collect()
    }

    /// The kernel executes while it is sent to, which takes as long as the making of the messages: where there are several
    /// sends, the next one is made meanwhile, by another processor. One at a time: sixty thousand messages at once are memory
    /// that was never touched before, and cost more than the kernel's part.
    fn send(&mut self, number: u16, changes: &[&::ipvs::Change]) -> Vec<Result<(), KernelError>> {
        let make = move |chunk: &[&::ipvs::Change]| {
            let messages: Vec<_> = chunk.iter().map(|change| IpvsMessage::from(*change)).collect();
            let requests = requests(number, &messages);
            (messages, requests)
        };
        let mut results = Vec::with_capacity(changes.len());
        let mut take = |(messages, requests): (Vec<IpvsMessage>, Vec<Message>)| {
            results.extend(self.socket.send(number, &messages, &requests));
        };
        let chunks = changes.chunks(BATCH);
        thread::scope(|scope| {
            let (give, made) = mpsc::sync_channel(1);
            let ahead = chunks.clone();
            // Nobody takes any more only when this panics.
            let making = move || ahead.map(make).all(|next| give.send(next).is_ok());
            let maker = thread::Builder::new().name("ipvs-messages".to_owned());
            let spawned = (chunks.len() > 1).then(|| maker.spawn_scoped(scope, making));
            match spawned {
                Some(Ok(_)) => made.into_iter().for_each(&mut take),
                // One send, or no room for a thread.
                None | Some(Err(_)) => chunks.map(make).for_each(&mut take),
            }
        });
        results
    }

    /// Sends requests, in order and in few sends. One result for each, as the kernel said it.
    pub fn execute(&mut self, messages: &[IpvsMessage]) -> Vec<Result<(), KernelError>> {
        self.socket.batch(messages)
    }

    fn read(
        &mut self,
        message: &IpvsMessage,
        by: fn(&mut Socket, &Message) -> Result<Vec<Message>, KernelError>,
    ) -> Result<Vec<IpvsMessage>, KernelError> {
        let replies = self.socket.ask(message, by)?;
        replies.iter().map(|reply| decode(&reply.payload)).collect()
    }
}

fn decode(payload: &[u8]) -> Result<IpvsMessage, KernelError> {
    let [cmd, version, _, _, attributes @ ..] = payload else {
        return Err(KernelError::Io("an IPVS message without a header".to_owned()));
    };
    let header = GenlHeader {
        cmd: *cmd,
        version: *version,
    };
    IpvsMessage::parse_with_param(attributes, header).map_err(|error| KernelError::Io(error.to_string()))
}

fn undecoded(error: ::ipvs::message::ReplyError) -> KernelError {
    KernelError::Io(error.to_string())
}
