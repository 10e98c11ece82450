//! From a seed and known inputs to new ones. Pure.

/// Numbers that look random and are not: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`; 0 when that is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let place = (u128::from(self.next()) * end as u128) >> 64;
        usize::try_from(place).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A place in so many bytes and a length from there, mostly a short one.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let begin = self.below(length);
        let most = match self.below(4) {
            0 => length,
            _ => 16,
        };
        begin..(begin + self.below(most + 1)).min(length)
    }
}

/// At the borders of what fields hold.
const INTEGERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// A new input of one to eight changes to an old one, at most `longest` bytes long.
pub(super) fn mutate(random: &mut Random, from: &[u8], other: &[u8], words: &[&[u8]], longest: usize) -> Vec<u8> {
    let mut bytes = from.to_vec();
    for _ in 0..1 << random.below(4) {
        change(random, &mut bytes, other, words);
        bytes.truncate(longest);
    }
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    match random.below(10) {
        0 => set(random, bytes, |random, byte| byte ^ (1 << random.below(8))),
        1 => set(random, bytes, |random, _| random.byte()),
        2 => set(random, bytes, |random, byte| match random.below(2) {
            0 => byte.wrapping_add(1),
            _ => byte.wrapping_sub(1),
        }),
        3 => {
            let integer = integer(random);
            overwrite(random, bytes, &integer);
        }
        4 => {
            let digits = INTEGERS[random.below(INTEGERS.len())].to_string();
            replace_number(random, bytes, digits.as_bytes());
        }
        5 => drop(bytes.drain(random.range(bytes.len()))),
        6 => bytes.truncate(random.below(bytes.len() + 1)),
        7 => splice(random, bytes, other),
        8 => repeat(random, bytes),
        _ => {
            let word = words.get(random.below(words.len())).copied().unwrap_or_default();
            match random.below(2) {
                0 => overwrite(random, bytes, word),
                _ => insert(random, bytes, word),
            }
        }
    }
}

fn set(random: &mut Random, bytes: &mut [u8], value: impl FnOnce(&mut Random, u8) -> u8) {
    let at = random.below(bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value(random, *byte);
    }
}

/// One of [`INTEGERS`], in one to eight bytes of either order.
fn integer(random: &mut Random) -> Vec<u8> {
    let value = INTEGERS[random.below(INTEGERS.len())];
    let length = 1 << random.below(4);
    match random.below(2) {
        0 => value.to_le_bytes()[..length].to_vec(),
        _ => value.to_be_bytes()[8 - length..].to_vec(),
    }
}

fn overwrite(random: &mut Random, bytes: &mut Vec<u8>, word: &[u8]) {
    let begin = random.below(bytes.len());
    let end = (begin + word.len()).min(bytes.len());
    drop(bytes.splice(begin..end, word.iter().copied()));
}

fn insert(random: &mut Random, bytes: &mut Vec<u8>, word: &[u8]) {
    let at = random.below(bytes.len() + 1);
    drop(bytes.splice(at..at, word.iter().copied()));
}

/// Puts digits in place of a number that is written in digits.
fn replace_number(random: &mut Random, bytes: &mut Vec<u8>, digits: &[u8]) {
    let from = random.below(bytes.len());
    let Some(begin) = bytes[from..].iter().position(u8::is_ascii_digit) else {
        return;
    };
    let begin = from + begin;
    let length = bytes[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    drop(bytes.splice(begin..begin + length, digits.iter().copied()));
}

/// A part of another input, in place of a part or between two.
fn splice(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let part = &other[random.range(other.len())];
    let place = match random.below(2) {
        0 => random.range(bytes.len()),
        _ => {
            let at = random.below(bytes.len() + 1);
            at..at
        }
    };
    drop(bytes.splice(place, part.iter().copied()));
}

/// The same part again, a few times or very often.
fn repeat(random: &mut Random, bytes: &mut Vec<u8>) {
    let part = bytes[random.range(bytes.len())].to_vec();
    let most = if random.below(8) == 0 { 2000 } else { 8 };
    let times = 1 + random.below(most);
    let at = random.below(bytes.len() + 1);
    drop(bytes.splice(at..at, part.repeat(times)));
}
