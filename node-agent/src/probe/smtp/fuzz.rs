//! Any banner and replies.

use super::*;
use crate::probe::fuzz::{Judged, Parser, over, target};

const PARSER: Parser = Parser {
    name: "smtp",
    words: &[
        b"\r\n",
        b"\n",
        b"\r",
        b"220 mx ESMTP\r\n",
        b"220-mx\r\n",
        b"250 hello\r\n",
        b"250-SIZE\r\n",
        b"221 bye\r\n",
        b"421 too many\r\n",
        b"554\r\n",
        b"250",
        b"-",
        b"\x1b[2J\xe2\x80\xae",
    ],
    needs: &[b"220", b"250", b"221"],
    judge,
};

fn judge(input: &[u8]) -> Vec<Judged> {
    let smtp = Smtp::new("probe.example").unwrap();
    vec![over(input, async |stream| dialogue(&smtp, &target(), stream).await)]
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
