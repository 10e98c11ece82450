//! Sockets that carry a mark and a source.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::{Failure, Target};

/// A socket towards the target, non-blocking, neither bound to a port nor connected.
///
/// # Errors
/// All of them ours: nothing was sent yet.
pub(super) fn open(target: &Target, kind: Type, protocol: Option<Protocol>) -> Result<Socket, Failure> {
    let failed = |doing: String| move |error| Failure::of_ours(format!("{doing}: {}", super::failure::words(&error)));
    let domain = Domain::for_address(target.socket_address());
    let socket = Socket::new(domain, kind.nonblocking(), protocol).map_err(failed(format!("socket for {target}")))?;
    if kind == Type::STREAM {
        linger_not(&socket).map_err(failed(format!("socket for {target}")))?;
    }
    if let Some(mark) = target.mark {
        socket
            .set_mark(mark)
            .map_err(failed(format!("mark {mark:#x} for {target}")))?;
    }
    if let Some(source) = target.source {
        bind(&socket, source, target).map_err(failed(format!("source {source} for {target}")))?;
    }
    Ok(socket)
}

/// Closing resets the connection instead of ending it, as keepalived's checkers do (`SO_LINGER` 0): no TIME_WAIT holds one
/// of our ports for a minute, IPVS forgets a probe after 10 s instead of 2 minutes, and a body that nobody reads is cut
/// off at once. A server that got the whole question has answered it before, so its log says what it would say anyhow; one
/// that was only connected to sees a reset in place of an end of file.
fn linger_not(socket: &Socket) -> io::Result<()> {
    socket.set_linger(Some(Duration::ZERO))
}

fn bind(socket: &Socket, source: IpAddr, target: &Target) -> io::Result<()> {
    if source.is_ipv4() != target.address.is_ipv4() {
        return Err(io::Error::other("of another family"));
    }
    choose_the_port_at_connect(socket)?;
    socket.bind(&SocketAddr::new(source, 0).into())
}

/// `IP_BIND_ADDRESS_NO_PORT`: a bound socket takes a port when it connects, unique together with the peer only. Without it
/// a source address has 28,000 ports for all real servers together.
fn choose_the_port_at_connect(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "socket2 does not know this socket option")]
    // SAFETY: the kernel reads `length` bytes, the size of `on`, which outlives the call.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        )
    };
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
