//! What an HTTP answer must be: values that are parsed once, when the check is read.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use regex::bytes::Regex;
use sha2::{Digest as _, Sha256};

use crate::probe::Invalid;

/// Longest body that is searched at once, in bytes.
const SHORT_BODY: usize = 4 * 1024;

/// HTTP statuses from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

impl StatusRange {
    /// 200-299: successful (RFC 9110, section 15.3).
    pub const SUCCESS: Self = Self { first: 200, last: 299 };

    /// Whether a status is one of these.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

/// `200-299`, or `204` alone. Statuses have three digits and begin with 100.
impl FromStr for StatusRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|status| digits && *status >= 100)
        };
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            (_, _) => Err(Invalid::new(format!(
                "{text:?} is no HTTP status and no range of them: write 204 or 200-299"
            ))),
        }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// Ranges as a reason names them.
pub(super) struct Words<'a>(pub(super) &'a [StatusRange]);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            write!(f, "{}{range}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A regular expression over the body's bytes ([`crds::health::body_pattern`]). Two are equal when their texts are.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// The text it was made of.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Searches a body. A long one is searched beside the runtime: the worst pattern takes some tenths of a second for the
    /// longest body, which other tasks (VRRP's among them) must not wait for.
    ///
    /// # Errors
    /// The search itself failed.
    pub(super) async fn matches(&self, body: Vec<u8>) -> Result<bool, String> {
        if body.len() <= SHORT_BODY {
            return Ok(self.0.is_match(&body));
        }
        let pattern = self.0.clone();
        let searching = tokio::task::spawn_blocking(move || pattern.is_match(&body));
        searching.await.map_err(|error| error.to_string())
    }
}

impl FromStr for Pattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        crds::health::body_pattern(text).map(Self).map_err(Invalid::new)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

/// A SHA-256 digest (FIPS 180-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub(super) fn check(self, body: &[u8]) -> Result<(), String> {
        let found = Self::of(body);
        if found == self {
            return Ok(());
        }
        let head = |digest: Self| digest.to_string().chars().take(8).collect::<String>();
        Err(format!("the body's SHA-256 is {}…, not {}…", head(found), head(self)))
    }
}

/// 64 hexadecimal digits, as `sha256sum` prints them.
impl FromStr for Digest {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new(format!("{text:?} is no SHA-256 digest: write 64 hexadecimal digits"));
        let digit = |byte: &u8| {
            char::from(*byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let digits: Option<Vec<u8>> = text.as_bytes().iter().map(digit).collect();
        let digits = digits.filter(|digits| digits.len() == 64).ok_or_else(wrong)?;
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A word of the configuration as a reason repeats it.
pub(super) fn short(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> Result<String, String> {
        let range = text.parse::<StatusRange>();
        range.map(|range| range.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn status_ranges_are_read() {
        assert_eq!(range("200-299"), Ok("200-299".to_owned()));
        assert_eq!(range("204"), Ok("204".to_owned()));
        assert_eq!(range("200-200"), Ok("200".to_owned()));
        let error = "\"299-200\" is no HTTP status and no range of them: write 204 or 200-299";
        assert_eq!(range("299-200"), Err(error.to_owned()));
        for wrong in ["", "-", "20", "2000", "099", "+20", "200-", "200-299-300", " 200"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
        assert!(StatusRange::SUCCESS.contains(200) && StatusRange::SUCCESS.contains(299));
        assert!(!StatusRange::SUCCESS.contains(199) && !StatusRange::SUCCESS.contains(300));
    }

    #[test]
    fn a_pattern_says_what_is_wrong_with_it() {
        let wrong = |text: &str| text.parse::<Pattern>().unwrap_err().to_string();
        assert_eq!(wrong("(ok"), "\"(ok\" is no regular expression: unclosed group");
        let large = "the pattern \"[a-z]{100000}\" is too large: compiled it must fit in 32 KiB";
        assert_eq!(wrong("[a-z]{100000}"), large);
        assert!(wrong("(?=ok)").contains("look-around"));
        for usual in [
            r"^\w+: (ok|fine)$",
            r"(?i)\bhealthy\b",
            r#""status"\s*:\s*"UP""#,
            r"\d+ of \d+ shards",
        ] {
            assert!(usual.parse::<Pattern>().is_ok(), "{usual}");
        }
    }

    #[test]
    fn a_digest_is_what_sha256sum_prints() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.parse(), Ok(Digest::of(b"")));
        assert_eq!(empty.to_uppercase().parse(), Ok(Digest::of(b"")));
        assert!(empty[1..].parse::<Digest>().is_err());
        assert!(format!("{}g", &empty[1..]).parse::<Digest>().is_err());
        let reason = Digest::of(b"").check(b"x");
        assert_eq!(reason, Err("the body's SHA-256 is 2d711642…, not e3b0c442…".to_owned()));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in any::<String>()) {
            let _ = text.parse::<StatusRange>();
            let _ = text.parse::<Digest>();
            let _ = text.parse::<Pattern>();
            let _ = short(&text);
        }

        #[test]
        fn a_digest_reads_what_it_prints(bytes in any::<[u8; 32]>()) {
            prop_assert_eq!(Digest(bytes).to_string().parse(), Ok(Digest(bytes)));
        }
    }
}
