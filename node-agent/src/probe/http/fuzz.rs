//! Any answer, to three requests: of which the status counts, the body's text, and a HEAD.

use std::sync::LazyLock;

use super::*;
use crate::probe::fuzz::{Judged, Parser, over, target};

const PARSER: Parser = Parser {
    name: "http",
    words: &[
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 204 \r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/2 200\r\n",
        b"Content-Length: 2\r\n",
        b"Content-Length: 18446744073709551615\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Connection: keep-alive\r\n",
        b"Trailer: x\r\n",
        b"2\r\nok\r\n0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"7fffffff;name=value\r\n",
        b"0\r\nx: y\r\n\r\n",
        b"ok",
        b"\x1b[2J\xe2\x80\xae",
        b": ",
        b"\x00",
    ],
    needs: &[b"HTTP/1.", b" 2"],
    judge,
};

/// A pattern takes longer to compile than an answer to be judged.
static BODY: LazyLock<Http> = LazyLock::new(|| Http {
    body_pattern: Some("(?i)ok".parse().unwrap()),
    ..Http::default()
});

fn judge(input: &[u8]) -> Vec<Judged> {
    // A long body is searched on a thread of a runtime.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let status = Http::default();
    let digest = Http {
        method: "HEAD".to_owned(),
        body_sha256: Some(Digest::of(b"")),
        ..Http::default()
    };
    let ask = |http: &Http, input: &[u8]| {
        let target = target();
        let request = request(http, &target, 80).unwrap();
        over(input, |stream| exchange(http, &target, request, stream))
    };
    // Silence while a search runs would be taken for a silence that is waited for: the server closes instead.
    let mut closing = input.to_vec();
    if let Some(first) = closing.first_mut().filter(|first| **first & 7 == 5) {
        *first &= !7;
    }
    vec![ask(&status, input), ask(&BODY, &closing), ask(&digest, input)]
}

#[test]
fn the_corpus_holds() {
    PARSER.replay();
}

#[test]
#[ignore = "takes its time: cargo xtask test --class fuzz"]
fn its_mutations_hold() {
    PARSER.hunt();
}
