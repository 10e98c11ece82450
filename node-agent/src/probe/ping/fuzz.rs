//! Any packet, as a reply to an echo of the bytes 0x30 and on.

use super::*;
use crate::probe::fuzz::{Judged, Parser};

const PARSER: Parser = Parser {
    name: "ping",
    words: &[
        b"0123456789:;<=>?@ABC",
        b"\x45\x00",
        b"\x4f",
        b"\x44",
        b"\x00\x00",
        b"\x81\x00\x00\x00",
        b"\x08\x00",
    ],
    needs: &[b"0123456789:;<=>?@ABC"],
    judge,
};

fn judge(packet: &[u8]) -> Vec<Judged> {
    let packet = &packet[..packet.len().min(LONGEST_PACKET)];
    let echo = Echo::new(*b"0123456789:;<=>?@ABC");
    let of_family = |family| match is_reply(family, packet, &echo) {
        true => Ok(()),
        false => Err("strange".to_owned()),
    };
    let families = [Family::V4, Family::V6].map(of_family);
    families.map(|verdict| Judged::at_once(packet, verdict)).to_vec()
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
