//! The real server.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::thread;

use anyhow::{Context, Result};
use e2e::endpoint::{Endpoint, Transport};
use socket2::{SockAddr, Socket};

use crate::{receive, say, send, socket};

/// Answers on all endpoints until it is ended.
pub(crate) fn serve(name: &str, endpoints: &[Endpoint]) -> Result<()> {
    let bound = endpoints.iter().map(|endpoint| Ok((endpoint, bind(endpoint)?)));
    let bound = bound.collect::<Result<Vec<_>>>()?;
    say("lab-echo: ready");
    thread::scope(|scope| {
        for (endpoint, socket) in bound {
            match endpoint.transport {
                Transport::Tcp | Transport::Sctp => scope.spawn(move || connections(name, &socket)),
                Transport::Udp => scope.spawn(move || datagrams(name, &socket)),
            };
        }
    });
    Ok(())
}

/// Bound to the address itself, which may come later: a reply from another one would be nobody's.
fn bind(endpoint: &Endpoint) -> Result<Socket> {
    let Endpoint { transport, at } = *endpoint;
    let bound = socket(transport, at)?;
    let context = || format!("cannot listen on {endpoint}");
    bound.set_reuse_address(true)?;
    match at {
        SocketAddr::V4(_) => bound.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            bound.set_only_v6(true)?;
            bound.set_freebind_v6(true)?;
        }
    }
    bound.bind(&at.into()).with_context(context)?;
    if transport != Transport::Udp {
        bound.listen(128).with_context(context)?;
    }
    Ok(bound)
}

fn answer(name: &str, peer: &SockAddr) -> String {
    let peer = peer.as_socket().map(|peer| peer.ip().to_string());
    format!("{name} {}", peer.unwrap_or_default())
}

fn connections(name: &str, listening: &Socket) {
    loop {
        let Ok((connection, peer)) = listening.accept() else {
            continue;
        };
        let answer = answer(name, &peer);
        thread::spawn(move || {
            // Each request is a message; the end of them is an empty one.
            while receive(&connection).is_ok_and(|request| !request.is_empty()) {
                if send(&connection, &answer).is_err() {
                    return;
                }
            }
        });
    }
}

fn datagrams(name: &str, socket: &Socket) {
    let mut buffer = [MaybeUninit::uninit(); 512];
    loop {
        // An error is that of an earlier answer, which nobody took.
        if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            drop(socket.send_to(answer(name, &peer).as_bytes(), &peer));
        }
    }
}
