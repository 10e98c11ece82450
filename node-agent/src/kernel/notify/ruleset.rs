//! Word from nftables that somebody committed a transaction: whether it touched our table, and whether it made or deleted
//! a chain that other people's firewalls begin with. Other people's rules and elements, of which some write many a second,
//! are read past.

use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use socket2::SockRef;

use crate::kernel::nft::{
    NFNL_SUBSYS_NFTABLES, NFPROTO_INET, NFT_MSG_DELCHAIN, NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWGEN,
    NFTA_CHAIN_HOOK, NFTA_GEN_ID, NFTA_TABLE, attributes, number, text,
};
use crate::kernel::socket::HEADER;
use crate::ruleset::TABLE;

/// `NFNLGRP_NFTABLES` is group 7 (include/uapi/linux/netfilter/nfnetlink.h).
const GROUPS: u32 = 1 << 6;

/// What was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Our table was touched.
    pub ours: bool,
    /// Base chains of others may have come or gone.
    pub firewalls: bool,
    /// The number of the last of the transactions. `None` when notifications were lost: then everything may have changed.
    pub generation: Option<u32>,
}

/// A subscription, in the network namespace in which it was opened.
#[derive(Debug)]
pub struct RulesetNotifications {
    socket: Socket,
    /// What of the running transaction was heard already.
    open: Committed,
}

impl RulesetNotifications {
    /// Subscribes.
    ///
    /// # Errors
    /// The system has no socket for us.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        let open = Committed::default();
        Ok(Self { socket, open })
    }

    /// Waits until something of concern was committed, at most `timeout` (not zero), and takes what came with it. `None`
    /// when there was nothing, which is also the answer to a signal.
    ///
    /// # Errors
    /// The socket failed.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<Option<Committed>> {
        SockRef::from(&self.socket).set_read_timeout(Some(timeout))?;
        let mut said = None;
        let mut flags = 0;
        while let Some(bytes) = self.receive(flags, &mut said)? {
            for message in messages(&bytes) {
                self.hear(message, &mut said);
            }
            flags = libc::MSG_DONTWAIT;
        }
        Ok(said)
    }

    fn hear(&mut self, message: &[u8], said: &mut Option<Committed>) {
        let Some(kind) = message.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]])) else {
            return;
        };
        if kind >> 8 != NFNL_SUBSYS_NFTABLES {
            return;
        }
        let payload = message.get(HEADER..).unwrap_or_default();
        let attributes = attributes(payload);
        let kind = kind & 0xff;
        if kind == NFT_MSG_NEWGEN {
            let Committed {
                ours,
                firewalls,
                generation: _,
            } = std::mem::take(&mut self.open);
            if ours || firewalls {
                let said = said.get_or_insert_with(Committed::default);
                said.ours |= ours;
                said.firewalls |= firewalls;
                said.generation = number(&attributes, NFTA_GEN_ID);
            }
            return;
        }
        let is_ours =
            payload.first() == Some(&NFPROTO_INET) && text(&attributes, NFTA_TABLE).is_some_and(|table| table == TABLE);
        self.open.ours |= is_ours;
        // Of a chain that goes, newer kernels do not say whether it was a base chain.
        let is_base = || attributes.iter().any(|(kind, _)| *kind == NFTA_CHAIN_HOOK);
        self.open.firewalls |= !is_ours
            && (matches!(kind, NFT_MSG_DELTABLE | NFT_MSG_DELCHAIN) || (kind == NFT_MSG_NEWCHAIN && is_base()));
    }

    /// One datagram; `None` when there is none.
    fn receive(&self, flags: libc::c_int, said: &mut Option<Committed>) -> io::Result<Option<Vec<u8>>> {
        let length = match self
            .socket
            .recv_from(&mut Vec::new(), flags | libc::MSG_PEEK | libc::MSG_TRUNC)
        {
            Ok((length, _)) => length,
            Err(error) => match error.raw_os_error() {
                // Lost for want of memory: anything may have changed.
                Some(libc::ENOBUFS) => {
                    *said = Some(Committed {
                        ours: true,
                        firewalls: true,
                        generation: None,
                    });
                    return Ok(Some(Vec::new()));
                }
                Some(libc::EAGAIN | libc::EINTR) => return Ok(None),
                _ => return Err(error),
            },
        };
        let mut bytes = Vec::with_capacity(length);
        let (_, sender) = self.socket.recv_from(&mut bytes, flags)?;
        // Only the kernel has port number 0; any process may send to our port.
        Ok(Some(if sender.port_number() == 0 { bytes } else { Vec::new() }))
    }
}

/// The messages of a datagram, each with its header.
fn messages(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = rest.first_chunk().map(|length| u32::from_ne_bytes(*length))?;
        let length = usize::try_from(length).ok().filter(|length| *length >= HEADER)?;
        let message = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}
