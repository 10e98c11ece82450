//! What holds for every input.

use std::panic::catch_unwind;

use super::{Judged, Parser, memory};
use crate::probe::failure::LONGEST_REASON;
use crate::probe::stream::MOST_BYTES;

/// A probe's last read may go beyond [`MOST_BYTES`] by what its buffer has room for.
const ONE_READ: usize = 64 * 1024;

/// Most memory that judging an input takes, in bytes: a body, its growth, and a protocol's buffers.
const MOST_MEMORY: usize = 2 * 1024 * 1024;

/// Judges an input, twice.
///
/// # Errors
/// Which property does not hold, in words.
pub(super) fn check(parser: &Parser, input: &[u8]) -> Result<Vec<Judged>, String> {
    let Parser {
        name: _,
        words: _,
        needs,
        judge,
    } = parser;
    let once = || {
        let (judged, held) = memory::peak(|| catch_unwind(|| judge(input)));
        let judged = judged.map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            format!("panicked: {}", text.unwrap_or_default())
        })?;
        match held <= MOST_MEMORY {
            true => Ok(judged),
            false => Err(format!("took {held} bytes of memory")),
        }
    };
    let judged = once()?;
    let again = once()?;
    if judged != again {
        return Err(format!("judged {judged:?}, and then {again:?}"));
    }
    judged.iter().try_for_each(|judged| of_one(judged, input, needs))?;
    Ok(judged)
}

fn of_one(judged: &Judged, input: &[u8], needs: &[&[u8]]) -> Result<(), String> {
    let Judged { verdict, read, written } = judged;
    if *read > MOST_BYTES + ONE_READ {
        return Err(format!("read {read} bytes"));
    }
    if *written > MOST_BYTES {
        return Err(format!("wrote {written} bytes"));
    }
    match verdict {
        Ok(()) => match needs.iter().find(|need| !holds(input, need)) {
            Some(need) => Err(format!("passed without {:?}", need.escape_ascii().to_string())),
            None => Ok(()),
        },
        Err(words) if words.chars().count() > LONGEST_REASON => Err(format!("said too much: {words}")),
        Err(words) if words.chars().any(|letter| !is_plain(letter)) => Err(format!("said {words:?}")),
        Err(words) if words.is_empty() => Err("failed without a word".to_owned()),
        Err(_) => Ok(()),
    }
}

/// What reasons are made of: ASCII, and the sign for what was left out. Nothing of a server's stands in them otherwise.
fn is_plain(letter: char) -> bool {
    matches!(letter, ' '..='~' | '…')
}

/// Whether the input, said again and again, holds some bytes.
fn holds(input: &[u8], need: &[u8]) -> bool {
    let bytes = input.get(1..).unwrap_or_default();
    let twice = [input, bytes].concat();
    twice.windows(need.len()).any(|window| window == need)
}
