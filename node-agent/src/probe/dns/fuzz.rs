//! Any datagram, as the answer to a question of identifier 0x4c56.

use super::*;
use crate::probe::fuzz::{Judged, Parser, target};

const PARSER: Parser = Parser {
    name: "dns",
    words: &[
        b"\x4c\x56\x81\x80",
        b"\x07example\x03com\x00",
        b"\x00\x01\x00\x01",
        // A name that is the question's, itself, and the end.
        b"\xc0\x0c",
        b"\xc0\x00",
        b"\xff\xff",
        b"\x3f",
        // An OPT record, a TSIG, and a type that is none.
        b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00",
        b"\x00\xfa\x00\xff",
        b"\xff\xfe",
    ],
    needs: &[b"\x4c\x56", b"\x00\x01\x00\x01"],
    judge: judge_datagram,
};

fn judge_datagram(bytes: &[u8]) -> Vec<Judged> {
    let bytes = &bytes[..bytes.len().min(LONGEST_ANSWER)];
    let dns = Dns::new("example.com", "A").unwrap();
    let mut question = question(&dns);
    question.metadata.id = 0x4c56;
    let verdict = match judge(&question, bytes) {
        Answer::Strange => Err("strange".to_owned()),
        Answer::Good => Ok(()),
        Answer::Bad(reason) => Err(failure(&dns, &target(), &reason).to_string()),
    };
    vec![Judged::at_once(bytes, verdict)]
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
