//! Word from rtnetlink that links, addresses or routes have changed. What changed is not told: the next read shows it.

use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use socket2::SockRef;

use super::socket::HEADER;

mod ruleset;
pub use ruleset::{Committed, RulesetNotifications};

/// `RTMGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV6_IFADDR`, `_IPV6_ROUTE` (include/uapi/linux/rtnetlink.h).
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
/// Where `struct rtmsg` has its table, behind the netlink header; tables beyond 255 show as `RT_TABLE_COMPAT`.
const ROUTE_TABLE: usize = HEADER + 4;
const RT_TABLE_MAIN: u8 = 254;

/// A subscription, in the network namespace in which it was opened. What happens from then on is not missed: a reader
/// who subscribes first and reads then sees every change.
#[derive(Debug)]
pub struct Notifications {
    socket: Socket,
}

impl Notifications {
    /// Subscribes.
    ///
    /// # Errors
    /// The system has no socket for us.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        Ok(Self { socket })
    }

    /// Waits until something changed, at most `timeout` (not zero), and takes what came with it, so that a burst is one change.
    /// False when nothing changed, which is also the answer to a signal.
    ///
    /// # Errors
    /// The socket failed. Notifications that were lost for want of memory (ENOBUFS) are a change, not an error.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        SockRef::from(&self.socket).set_read_timeout(Some(timeout))?;
        let Some(mut changed) = self.receive(0)? else {
            return Ok(false);
        };
        while let Some(more) = self.receive(libc::MSG_DONTWAIT)? {
            changed |= more;
        }
        Ok(changed)
    }

    /// One datagram: whether it matters; `None` when there is none.
    fn receive(&self, flags: libc::c_int) -> io::Result<Option<bool>> {
        // The kernel sends one notification a datagram; of a long one, its head is enough.
        let mut bytes = Vec::with_capacity(256);
        match self.socket.recv_from(&mut bytes, flags) {
            Ok((_, sender)) => Ok(Some(sender.port_number() == 0 && matters(&bytes))),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOBUFS) => Ok(Some(true)),
                Some(libc::EAGAIN | libc::EINTR) => Ok(None),
                _ => Err(error),
            },
        }
    }
}

/// Routes of other tables than main do not: each address brings one of table local along.
fn matters(notification: &[u8]) -> bool {
    let kind = notification
        .get(4..6)
        .map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    match kind {
        Some(RTM_NEWROUTE | RTM_DELROUTE) => notification.get(ROUTE_TABLE) == Some(&RT_TABLE_MAIN),
        Some(_) => true,
        None => false,
    }
}
