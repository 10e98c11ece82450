//! A server in memory: says the input, in pieces, and ends as the input's first byte has it; takes whatever it is told.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Judged;
use crate::probe::stream::{Progress, Stream};
use crate::probe::{Failure, Target};

/// After what was said. The input's first byte says which: its lowest three bits are these in turn, the first four times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
    /// Nothing more comes, and the connection stays.
    Silent,
    /// The same again, for ever.
    Repeats,
}

/// At once, in single bytes, in sevens, or in kilobytes: the next two bits of the first byte.
const PIECES: [usize; 4] = [usize::MAX, 1, 7, 1024];

/// After so many bytes pieces are large: single bytes find nothing more, and take time.
const IN_PIECES: usize = 1024;

/// So often a probe is woken at most.
const MOST_WAKES: usize = 100_000;

/// So long it may wait for another thread.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server's end.
#[derive(Debug)]
pub(in crate::probe) struct Fed {
    bytes: Vec<u8>,
    at: usize,
    piece: usize,
    end: End,
    seen: Rc<Seen>,
}

/// What the server saw of the probe.
#[derive(Debug, Default)]
struct Seen {
    read: Cell<usize>,
    written: Cell<usize>,
    /// Whether the probe waits for what never comes.
    waits: Cell<bool>,
}

/// What the probe is told in place of the deadline's words.
const LATE: &str = "late";

/// Runs a probe against what the input says.
pub(in crate::probe) fn over<F>(input: &[u8], probe: impl FnOnce(Stream<Fed>) -> F) -> Judged
where
    F: Future<Output = Result<(), Failure>>,
{
    let (first, bytes) = input.split_first().unwrap_or((&0, &[]));
    let end = match first & 7 {
        0..=3 => End::Closed,
        4 => End::Reset,
        5 => End::Silent,
        _ if bytes.is_empty() => End::Closed,
        _ => End::Repeats,
    };
    let seen = Rc::new(Seen::default());
    let fed = Fed {
        bytes: bytes.to_vec(),
        at: 0,
        piece: PIECES[usize::from(first >> 3 & 3)],
        end,
        seen: Rc::clone(&seen),
    };
    let outcome = finish(probe(Stream::over(fed, &Progress::default())), &seen);
    Judged {
        verdict: outcome.map_or(Err(LATE.to_owned()), |outcome| {
            outcome.map_err(|failure| failure.to_string())
        }),
        read: seen.read.get(),
        written: seen.written.get(),
    }
}

/// A target for reasons to name.
pub(in crate::probe) fn target() -> Target {
    Target {
        address: [192, 0, 2, 1].into(),
        port: 8080,
        source: None,
        mark: None,
        name: None,
    }
}

struct Woken {
    thread: Thread,
    is: AtomicBool,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Polls a probe to its end, without a runtime's reactor and clock: nothing but the server, itself and a search on another
/// thread can wake it. `None` = it waits for a server that is silent.
fn finish<T>(probe: impl Future<Output = T>, seen: &Seen) -> Option<T> {
    let woken = Arc::new(Woken {
        thread: thread::current(),
        is: AtomicBool::new(false),
    });
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut probe = pin!(probe);
    for _ in 0..MOST_WAKES {
        if let Poll::Ready(outcome) = probe.as_mut().poll(&mut context) {
            return Some(outcome);
        }
        if woken.is.swap(false, Ordering::Acquire) {
            continue;
        }
        if seen.waits.get() {
            return None;
        }
        thread::park_timeout(PATIENCE);
        assert!(woken.is.swap(false, Ordering::Acquire), "it waits for nothing");
    }
    panic!("it does not come to an end");
}

impl AsyncRead for Fed {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.at == self.bytes.len() {
            match self.end {
                End::Closed => return Poll::Ready(Ok(())),
                End::Reset => return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ECONNRESET))),
                End::Silent => {
                    self.seen.waits.set(true);
                    return Poll::Pending;
                }
                End::Repeats => self.at = 0,
            }
        }
        let read = self.seen.read.get();
        let piece = if read < IN_PIECES { self.piece } else { usize::MAX };
        let rest = &self.bytes[self.at..];
        let length = rest.len().min(piece).min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        self.seen.read.set(read + length);
        self.at += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Fed {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.seen.written.set(self.seen.written.get() + bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
