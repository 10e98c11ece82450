//! A TCP connection that reads so much and no more, and knows how far it came.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::Type;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

use super::failure::words;
use super::{Failure, Target, socket};

/// Most bytes that are read from one connection: the longest body, with room for headers, TLS and chunk sizes.
pub(super) const MOST_BYTES: usize = super::http::LONGEST_BODY + 256 * 1024;

/// How far a probe came: what it says when the deadline passes. Shared, because the deadline drops the probe itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

const CONNECTED: u8 = 1;
const ANSWERED: u8 = 2;

impl Progress {
    /// The question could be sent.
    pub(super) fn connected(&self) {
        self.0.store(CONNECTED, Ordering::Relaxed);
    }

    /// Something came back.
    fn answered(&self) {
        self.0.store(ANSWERED, Ordering::Relaxed);
    }

    /// What was missing when the deadline passed.
    pub(super) fn late(&self, target: &Target, timeout: Duration) -> Failure {
        let missing = match self.0.load(Ordering::Relaxed) {
            0 => "no connection to",
            CONNECTED => "no answer of",
            _ => "no complete answer of",
        };
        let millis = timeout.as_millis();
        let limit = match millis % 1000 {
            0 => format!("{} s", millis / 1000),
            _ => format!("{millis} ms"),
        };
        Failure::of_server(format!("{missing} {target} within {limit}"))
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Stream<S = TcpStream> {
    socket: S,
    left: usize,
    progress: Progress,
}

impl<S> Stream<S> {
    /// What is said over a socket that is connected.
    pub(super) fn over(socket: S, progress: &Progress) -> Self {
        progress.connected();
        Self {
            socket,
            left: MOST_BYTES,
            progress: progress.clone(),
        }
    }
}

/// Connects.
///
/// # Errors
/// What the network said.
pub(super) async fn connect(target: &Target, progress: &Progress) -> Result<Stream, Failure> {
    let socket = socket::open(target, Type::STREAM, None)?;
    let connecting = TcpSocket::from_std_stream(socket.into()).connect(target.socket_address());
    let refused = |error| Failure::of_io(format!("connect to {target}"), &error);
    let socket = connecting.await.map_err(refused)?;
    let here = socket.local_addr().map_err(refused)?;
    if here == target.socket_address() {
        // Nobody listens on a port of this node, and the kernel chose just that one as ours: TCP's simultaneous open.
        return Err(refused(io::Error::from_raw_os_error(libc::ECONNREFUSED)));
    }
    // Questions are small, and nothing follows them that could be waited for.
    socket.set_nodelay(true).map_err(refused)?;
    Ok(Stream::over(socket, progress))
}

/// Runs the connection's own future beside the work on it. What ends the connection reaches the work as an error, so only
/// the work's outcome counts. Both are dropped with the caller: no task is left that a silent server could keep. They are
/// polled in this order always, so that the same answer of a server has the same words.
pub(super) async fn beside<T>(connection: impl Future, work: impl Future<Output = T>) -> T {
    let connection = async {
        connection.await;
        pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        outcome = work => outcome,
        never = connection => match never {},
    }
}

/// The words for an error that has the socket's somewhere among its sources, or `None`.
pub(super) fn socket_words(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(words(error));
        }
        next = error.source();
    }
    None
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            let excess = format!("more than {} KiB", MOST_BYTES / 1024);
            return Poll::Ready(Err(io::Error::other(excess)));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buffer);
        let came = buffer.filled().len() - before;
        if came > 0 {
            self.left = self.left.saturating_sub(came);
            self.progress.answered();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
