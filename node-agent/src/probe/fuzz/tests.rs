//! The fuzzer finds what is there to be found.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn planted(judge: fn(&[u8]) -> Vec<Judged>) -> Parser {
    Parser {
        name: "planted",
        words: &[b"MAGIC", b"word"],
        needs: &[],
        judge,
    }
}

/// Hunts from one seed input, for so many inputs; gives what it says, and what it kept.
fn hunted(judge: fn(&[u8]) -> Vec<Judged>) -> (String, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("seed"), b"length=3;abc").unwrap();
    let Broken { path, words } = hunt(&planted(judge), folder.path(), 1, |inputs| inputs < 200_000).unwrap_err();
    (words, fs::read(path).unwrap())
}

#[test]
fn an_index_without_a_check_is_found_and_kept() {
    let (words, input) = hunted(|bytes| {
        let at = bytes.windows(2).position(|pair| pair == b"=9");
        let reads = at.map(|at| bytes[at + 9]);
        vec![Judged::at_once(bytes, reads.map_or(Ok(()), |_| Err("nine".to_owned())))]
    });
    assert!(words.starts_with("panicked: index out of bounds"), "{words}");
    assert!(input.windows(2).any(|pair| pair == b"=9"));
}

#[test]
fn what_takes_a_word_and_a_border_is_found() {
    let (words, input) = hunted(|bytes| {
        let magic = bytes.windows(5).any(|five| five == b"MAGIC");
        let border = bytes.windows(4).any(|four| four == [0xff; 4]);
        vec![Judged::at_once(
            bytes,
            match (magic, border) {
                (true, true) => Err("a\u{1b}[2J".to_owned()),
                (true, false) => Err("magic".to_owned()),
                (false, true) => Err("border".to_owned()),
                (false, false) => Ok(()),
            },
        )]
    });
    assert_eq!(words, "said \"a\\u{1b}[2J\"");
    assert!(input.windows(5).any(|five| five == b"MAGIC"));
}

#[test]
fn memory_and_moods_are_found() {
    let (words, _) = hunted(|bytes| {
        let length = bytes.first().map_or(0, |byte| usize::from(*byte)) << 14;
        drop(std::hint::black_box(Vec::<u8>::with_capacity(length)));
        vec![Judged::at_once(bytes, Ok(()))]
    });
    assert!(
        words.starts_with("took ") && words.ends_with(" bytes of memory"),
        "{words}"
    );
    let (words, _) = hunted(|bytes| {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let mood = CALLS.fetch_add(1, Ordering::Relaxed).to_string();
        vec![Judged::at_once(bytes, Err(mood))]
    });
    assert!(words.starts_with("judged "), "{words}");
}

#[test]
fn the_same_seed_gives_the_same_inputs() {
    let inputs = |seed| {
        let mut random = Random::new(seed);
        let mutated = (0..1000).map(|_| mutate(&mut random, b"length=3;abc", b"HTTP/1.1 200", &[b"word"], 100));
        mutated.collect::<Vec<_>>()
    };
    assert_eq!(inputs(7), inputs(7));
    assert_ne!(inputs(7), inputs(8));
    assert!(inputs(7).iter().all(|input| input.len() <= 100));
    let mut random = Random::new(1);
    for _ in 0..10_000 {
        drop(mutate(&mut random, b"", b"", &[], 10));
    }
}
