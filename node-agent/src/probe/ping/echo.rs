//! Echo request and reply as bytes (RFC 792, RFC 4443 section 4).

/// How many random bytes make an echo: identifier, sequence number and payload, so that no answer fits two probes, of
/// whatever program.
pub(super) const RANDOM: usize = 4 + 16;

/// Length of type, code and checksum.
const HEADER: usize = 4;

/// Which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// ICMP. A raw socket gives the IPv4 header too, and answers before their checksum was verified.
    V4,
    /// ICMPv6. The kernel takes its header off, and writes and verifies the checksum (RFC 3542, section 3.1).
    V6,
}

/// One echo: what comes back as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Echo([u8; RANDOM]);

impl Echo {
    pub(super) fn new(random: [u8; RANDOM]) -> Self {
        Self(random)
    }
}

/// The request, from its type.
pub(super) fn request(family: Family, echo: &Echo) -> Vec<u8> {
    match family {
        Family::V4 => {
            let mut packet = packet(8, echo);
            let checksum = checksum(&packet);
            packet[2..HEADER].copy_from_slice(&checksum.to_be_bytes());
            packet
        }
        Family::V6 => packet(128, echo),
    }
}

/// Whether what a raw socket gave is the reply to this echo.
pub(super) fn is_reply(family: Family, bytes: &[u8], echo: &Echo) -> bool {
    let (message, reply) = match family {
        Family::V4 => (without_header(bytes), 0),
        Family::V6 => (Some(bytes), 129),
    };
    let Some((header, rest)) = message.and_then(|message| message.split_first_chunk::<HEADER>()) else {
        return false;
    };
    let [kind, code, ..] = *header;
    let is_whole = family == Family::V6 || message.is_some_and(|message| checksum(message) == 0);
    kind == reply && code == 0 && rest == echo.0 && is_whole
}

fn packet(kind: u8, echo: &Echo) -> Vec<u8> {
    let mut packet = vec![kind, 0, 0, 0];
    packet.extend_from_slice(&echo.0);
    packet
}

/// What follows the IPv4 header, whose length is counted in words of four bytes (RFC 791, section 3.1).
fn without_header(bytes: &[u8]) -> Option<&[u8]> {
    let first = bytes.first()?;
    let length = usize::from(first & 0x0f) * 4;
    let is_header = first >> 4 == 4 && length >= 20;
    is_header.then(|| bytes.get(length..)).flatten()
}

/// The internet checksum (RFC 1071): 0 over a message that holds its own.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u16::from_be_bytes([high, low]),
        [high] => u16::from_be_bytes([high, 0]),
        _ => 0,
    });
    !words.fold(0, |sum: u16, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The reply to a request, as a kernel makes it, without the IP header.
    fn reply(family: Family, request: &[u8]) -> Vec<u8> {
        let mut reply = request.to_vec();
        reply[2..4].fill(0);
        match family {
            Family::V4 => {
                reply[0] = 0;
                let checksum = checksum(&reply);
                reply[2..4].copy_from_slice(&checksum.to_be_bytes());
                let mut packet = vec![0; 20];
                packet[0] = 0x45;
                packet.extend_from_slice(&reply);
                packet
            }
            Family::V6 => {
                reply[0] = 129;
                reply
            }
        }
    }

    #[test]
    fn a_checksum_is_that_of_the_standard() {
        // RFC 1071, section 3.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff]), 0x00ff);
    }

    #[test]
    fn a_request_of_our_own_is_no_reply() {
        let echo = Echo([7; RANDOM]);
        let mut looped = vec![0x45; 20];
        looped.extend(request(Family::V4, &echo));
        assert!(!is_reply(Family::V4, &looped, &echo));
        assert!(!is_reply(Family::V6, &request(Family::V6, &echo), &echo));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), random in any::<[u8; RANDOM]>()) {
            let _ = is_reply(Family::V4, &bytes, &Echo(random));
            let _ = is_reply(Family::V6, &bytes, &Echo(random));
        }

        #[test]
        fn a_reply_fits_its_own_echo_whole_and_no_other(random in any::<[u8; RANDOM]>(), at in 0usize..44, bit in 0u8..8) {
            let echo = Echo(random);
            for family in [Family::V4, Family::V6] {
                let whole = reply(family, &request(family, &echo));
                prop_assert!(is_reply(family, &whole, &echo));
                for cut in 0..whole.len() {
                    prop_assert!(!is_reply(family, &whole[..cut], &echo));
                }
                let mut other = random;
                other[at % RANDOM] ^= 1 << bit;
                prop_assert!(!is_reply(family, &whole, &Echo(other)));
            }
            // One bit of the message, checksum included, is enough. (The IP header is the kernel's to check.)
            let mut damaged = reply(Family::V4, &request(Family::V4, &echo));
            damaged[20 + at % 24] ^= 1 << bit;
            prop_assert!(!is_reply(Family::V4, &damaged, &echo));
        }
    }
}
