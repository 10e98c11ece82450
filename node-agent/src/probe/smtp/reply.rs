//! What a mail server says (RFC 5321, section 4.2): `250-first\r\n250 last\r\n`. Bytes in, a value out.

/// Longest reply, in bytes: eight lines of the longest that the standard allows (section 4.5.3.1.5: 512).
pub(super) const LONGEST_REPLY: usize = 8 * LONGEST_LINE;

const LONGEST_LINE: usize = 512;

/// A whole reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// Its code, 200-599.
    pub(super) code: u16,
    /// Its last line, with the code, without the line's end.
    pub(super) line: Vec<u8>,
}

/// What bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A reply, and how many bytes it took.
    Whole(Reply, usize),
    /// The beginning of one.
    Partial,
    /// Nothing that could become one.
    Wrong,
}

/// The first reply in the bytes. Lines may end without a carriage return, as some servers' do.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut taken = 0;
    let mut former = None;
    while let Some(end) = bytes[taken..].iter().position(|byte| *byte == b'\n') {
        let line = &bytes[taken..taken + end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        taken += end + 1;
        let Some((code, is_last)) = head(line).filter(|(code, _)| former.is_none_or(|former| former == *code)) else {
            return Parsed::Wrong;
        };
        former = Some(code);
        if is_last {
            let line = line.to_vec();
            return Parsed::Whole(Reply { code, line }, taken);
        }
    }
    match bytes.len() - taken {
        rest if rest > LONGEST_LINE => Parsed::Wrong,
        _ => Parsed::Partial,
    }
}

/// A line's code, and whether no line follows.
fn head(line: &[u8]) -> Option<(u16, bool)> {
    let (digits, rest) = line.split_first_chunk::<3>()?;
    let in_order = matches!(digits, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9']);
    let is_last = match rest.first() {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    let code = digits
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit.wrapping_sub(b'0')));
    (in_order && line.len() <= LONGEST_LINE).then_some((code, is_last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(code: u16, line: &str, length: usize) -> Parsed {
        let line = line.as_bytes().to_vec();
        Parsed::Whole(Reply { code, line }, length)
    }

    #[test]
    fn replies_of_one_line_and_of_several() {
        assert_eq!(parse(b"220 mx ESMTP\r\n"), whole(220, "220 mx ESMTP", 14));
        assert_eq!(parse(b"250\r\nmore"), whole(250, "250", 5));
        assert_eq!(parse(b"220-mx\r\n220 ready\n221 bye\r\n"), whole(220, "220 ready", 18));
    }

    #[test]
    fn what_is_no_reply() {
        for wrong in [
            "\r\n",
            "22\r\n",
            "120 x\r\n",
            "2x0 y\r\n",
            "HTTP/1.1 400\r\n",
            "220_x\r\n",
            "220-a\r\n250 b\r\n",
        ] {
            assert_eq!(parse(wrong.as_bytes()), Parsed::Wrong, "{wrong:?}");
        }
        assert_eq!(parse(&[b'2'; LONGEST_LINE + 1]), Parsed::Wrong);
        assert_eq!(parse(b"220-a\r\n22"), Parsed::Partial);
        assert_eq!(parse(b""), Parsed::Partial);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            if let Parsed::Whole(reply, length) = parse(&bytes) {
                prop_assert!((200..600).contains(&reply.code));
                prop_assert!(length <= bytes.len());
            }
        }

        #[test]
        fn a_reply_is_read_whole_and_none_of_its_beginnings(
            code in 200u16..600,
            lines in proptest::collection::vec("[ -~]{0,60}", 1..6),
            rest in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let (last, first) = lines.split_last().unwrap();
            let mut bytes: Vec<u8> = first.iter().flat_map(|line| format!("{code}-{line}\r\n").into_bytes()).collect();
            bytes.extend_from_slice(format!("{code} {last}\r\n").as_bytes());
            let length = bytes.len();
            for cut in 0..length {
                prop_assert_eq!(parse(&bytes[..cut]), Parsed::Partial);
            }
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(parse(&bytes), whole(code, &format!("{code} {last}"), length));
        }
    }
}
