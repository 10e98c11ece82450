//! Why a probe failed, in words for people.

use std::fmt;
use std::io;

/// Longest reason, in characters: it stands in a status and in a log line.
pub(super) const LONGEST_REASON: usize = 200;

/// Longest quotation of what a server or a user wrote, in characters.
const LONGEST_QUOTE: usize = 40;

/// Why a probe did not pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    reason: String,
    ours: bool,
}

impl Failure {
    /// What the real server did, or did not do.
    pub(super) fn of_server(reason: impl fmt::Display) -> Self {
        Self::new(&reason.to_string(), false)
    }

    /// Why it was not asked.
    pub(super) fn of_ours(reason: impl fmt::Display) -> Self {
        Self::new(&reason.to_string(), true)
    }

    /// A socket call that failed, with whose fault that is.
    pub(super) fn of_io(doing: impl fmt::Display, error: &io::Error) -> Self {
        Self::new(&format!("{doing}: {}", words(error)), is_ours(error))
    }

    fn new(reason: &str, ours: bool) -> Self {
        let reason = shorten(reason.chars().map(printable), LONGEST_REASON);
        Self { reason, ours }
    }

    /// With the way that it went, before the reason.
    #[must_use]
    pub fn by(self, way: impl fmt::Display) -> Self {
        Self::new(&format!("{way}: {}", self.reason), self.ours)
    }

    /// Whether the question could not even be asked (no descriptor, no such source address, no permission, a value
    /// that cannot be sent): this says nothing about the real server, and all of them would share the verdict.
    pub fn is_ours(&self) -> bool {
        self.ours
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Failure {}

/// A value that no probe can be made of; says which, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    pub(super) fn new(reason: impl fmt::Display) -> Self {
        Self(shorten(reason.to_string().chars().map(printable), LONGEST_REASON))
    }
}

/// What a server said, in quotation marks: the first [`LONGEST_QUOTE`] characters, ASCII only. Neither a terminal nor a
/// log nor a reader can be told anything by the rest.
pub(super) fn quote(bytes: &[u8]) -> String {
    let ascii = bytes.iter().map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '?',
    });
    format!("\"{}\"", shorten(ascii, LONGEST_QUOTE))
}

/// The words for a socket's error, without its number.
pub(super) fn words(error: &io::Error) -> String {
    let known = match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "connection refused",
        Some(libc::ECONNRESET) => "connection reset",
        Some(libc::ECONNABORTED) => "connection aborted",
        Some(libc::EPIPE) => "connection closed",
        Some(libc::EHOSTUNREACH) => "no route to host",
        Some(libc::ENETUNREACH) => "network unreachable",
        Some(libc::ENETDOWN) => "network down",
        Some(libc::ETIMEDOUT) => "the kernel gave up waiting",
        Some(libc::EADDRNOTAVAIL) => "no such address or no free port on this node",
        Some(libc::EMFILE | libc::ENFILE) => "no file descriptor left on this node",
        Some(libc::EACCES | libc::EPERM) => "not permitted on this node",
        // The second is how `h2` says it.
        Some(_) | None if [io::ErrorKind::UnexpectedEof, io::ErrorKind::BrokenPipe].contains(&error.kind()) => {
            "connection closed"
        }
        Some(libc::EINVAL) => "not from this source address",
        Some(_) | None => return without_number(&error.to_string()),
    };
    known.to_owned()
}

/// The standard library puts the error's number behind its words.
fn without_number(text: &str) -> String {
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_owned()
}

/// A local shortage, not an answer. A firewall of this node (EPERM) is none: what it drops, clients' packets meet as well.
fn is_ours(error: &io::Error) -> bool {
    let ours = [
        libc::EADDRNOTAVAIL,
        libc::EINVAL,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EAGAIN,
    ];
    error.raw_os_error().is_some_and(|code| ours.contains(&code))
}

fn shorten(mut characters: impl Iterator<Item = char>, most: usize) -> String {
    let mut text: String = characters.by_ref().take(most).collect();
    if characters.next().is_some() {
        text.pop();
        text.push('…');
    }
    text
}

fn printable(character: char) -> char {
    // Bidirectional marks and line separators are no control characters and turn a line around all the same.
    let turns =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    if character.is_control() || turns {
        '?'
    } else {
        character
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_quotation_is_short_and_plain() {
        assert_eq!(quote(b"554 go away\x1b[2J\r\n"), "\"554 go away?[2J??\"");
        let long = quote(&[b'x'; 100]);
        assert_eq!(long, format!("\"{}…\"", "x".repeat(LONGEST_QUOTE - 1)));
        assert_eq!(
            quote(&[b'x'; LONGEST_QUOTE]),
            format!("\"{}\"", "x".repeat(LONGEST_QUOTE))
        );
    }

    #[test]
    fn a_shortage_of_ours_is_told_from_an_answer() {
        let of = |code| Failure::of_io("connect", &io::Error::from_raw_os_error(code));
        assert!(of(libc::EMFILE).is_ours());
        assert!(of(libc::EADDRNOTAVAIL).is_ours());
        assert!(!of(libc::ECONNREFUSED).is_ours());
        assert_eq!(of(libc::ECONNREFUSED).to_string(), "connect: connection refused");
        assert_eq!(of(libc::EPROTO).to_string(), "connect: Protocol error");
        assert!(!of(libc::EPERM).is_ours());
    }

    proptest! {
        #[test]
        fn a_reason_is_bounded_and_without_control_characters(text in any::<String>(), more in "\\PC{0,400}") {
            let reason = Failure::of_server(format!("{text}{more}")).to_string();
            prop_assert!(reason.chars().count() <= LONGEST_REASON);
            prop_assert!(!reason.chars().any(char::is_control));
        }

        #[test]
        fn a_quotation_is_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let quoted = quote(&bytes);
            prop_assert!(quoted.chars().count() <= LONGEST_QUOTE + 2);
            prop_assert!(quoted.chars().all(|character| character == '…' || (' '..='~').contains(&character)));
        }
    }
}
