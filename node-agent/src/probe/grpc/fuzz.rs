//! Any frames of HTTP/2, as what a server says from the beginning of a connection.

use super::*;
use crate::probe::fuzz::{Judged, Parser, over, target};

const PARSER: Parser = Parser {
    name: "grpc",
    words: &[
        // SETTINGS, its acknowledgement, PING, GOAWAY, RST_STREAM, WINDOW_UPDATE, PUSH_PROMISE, CONTINUATION.
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"\x00\x00\x00\x04\x01\x00\x00\x00\x00",
        b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678",
        b"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02",
        b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08",
        b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\xff\xff",
        b"\x00\x00\x05\x05\x04\x00\x00\x00\x01\x00\x00\x00\x02\x88",
        b"\x00\x00\x01\x09\x04\x00\x00\x00\x01\x88",
        // HEADERS with the status alone, trailers with grpc-status 0, the message SERVING.
        b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88",
        b"\x00\x00\x0f\x01\x05\x00\x00\x00\x01\x00\x0bgrpc-status\x010",
        b"\x00\x00\x07\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x02\x08\x01",
        // Fields, a new size of the table, and an index without an entry.
        b"\x00\x0bgrpc-status\x025",
        b"\x40\x01a\x01b",
        b"\x3f\xe1\x1f",
        b"\xff\x80\x01",
        b"\x00\x00\x00\x01",
    ],
    needs: &[],
    judge,
};

fn judge(input: &[u8]) -> Vec<Judged> {
    let call = Call::of(&target());
    let head = head(&target()).unwrap();
    let body = Bytes::from(request(""));
    vec![over(input, async |stream| call.exchange(stream, head, body).await)]
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
