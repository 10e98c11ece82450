//! Any body, as the message of an answer.

use super::*;
use crate::probe::fuzz::{Judged, Parser};

const PARSER: Parser = Parser {
    name: "grpc-message",
    words: &[
        b"\x00\x00\x00\x00",
        b"\x08\x01",
        b"\x08\x02",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x80",
        b"\x12\x01",
        b"\x19",
        b"\x25",
        b"\x0b",
    ],
    needs: &[],
    judge,
};

fn judge(body: &[u8]) -> Vec<Judged> {
    let verdict = match serving(body) {
        Ok(Status::Serving) => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(reason) => Err(reason.to_owned()),
    };
    vec![Judged::at_once(body, verdict)]
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
