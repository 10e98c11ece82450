//! The two messages of `grpc.health.v1.Health/Check` in protobuf, each behind gRPC's prefix of five bytes: whether it is
//! compressed, and its length. Bytes in, values out.

use std::fmt;

/// What a server says of a service (`HealthCheckResponse.ServingStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// 0, or nothing said.
    Unknown,
    /// 1.
    Serving,
    /// 2.
    NotServing,
    /// 3; of `Watch` only, by the protocol.
    ServiceUnknown,
    /// A number that the protocol does not know.
    Other(u64),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("UNKNOWN"),
            Self::Serving => f.write_str("SERVING"),
            Self::NotServing => f.write_str("NOT_SERVING"),
            Self::ServiceUnknown => f.write_str("SERVICE_UNKNOWN"),
            Self::Other(number) => write!(f, "status {number}"),
        }
    }
}

/// `HealthCheckRequest { service = 1 }`. An empty name is the default and is not written.
pub(super) fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | LENGTH_DELIMITED);
        write_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.append(&mut message);
    bytes
}

/// The status in an answer's body, which is one message.
///
/// # Errors
/// What is wrong with the body.
pub(super) fn serving(bytes: &[u8]) -> Result<Status, &'static str> {
    let (prefix, message) = bytes.split_first_chunk::<5>().ok_or("the answer holds no message")?;
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err("the message is compressed, which was not asked for");
    }
    if usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err("the message is not as long as it says");
    }
    status(message).ok_or("the message is malformed")
}

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED_32: u8 = 5;

/// `HealthCheckResponse { status = 1 }`; of a field that comes twice the last counts, and unknown ones are skipped, as
/// protobuf has it.
fn status(message: &[u8]) -> Option<Status> {
    let mut status = 0;
    let mut rest = message;
    while !rest.is_empty() {
        let (tag, after) = varint(rest)?;
        let kind = u8::try_from(tag & 7).ok()?;
        rest = match (tag >> 3, kind) {
            (0, _) => return None,
            (1, VARINT) => {
                let (value, after) = varint(after)?;
                status = value;
                after
            }
            (_, VARINT) => varint(after)?.1,
            (_, FIXED_64) => after.get(8..)?,
            (_, LENGTH_DELIMITED) => {
                let (length, after) = varint(after)?;
                after.get(usize::try_from(length).ok()?..)?
            }
            (_, FIXED_32) => after.get(4..)?,
            // Groups are of another age.
            (_, _) => return None,
        };
    }
    Some(match status {
        0 => Status::Unknown,
        1 => Status::Serving,
        2 => Status::NotServing,
        3 => Status::ServiceUnknown,
        number => Status::Other(number),
    })
}

/// A number in sevens of bits, lowest first, of at most ten bytes; and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

fn write_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(message);
        bytes
    }

    #[test]
    fn requests_are_what_protoc_writes() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(request(&"x".repeat(300))[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 2]);
    }

    #[test]
    fn statuses_are_read() {
        assert_eq!(serving(&framed(&[])), Ok(Status::Unknown));
        assert_eq!(serving(&framed(&[8, 1])), Ok(Status::Serving));
        assert_eq!(serving(&framed(&[8, 2])), Ok(Status::NotServing));
        assert_eq!(serving(&framed(&[8, 3])), Ok(Status::ServiceUnknown));
        assert_eq!(serving(&framed(&[8, 0x81, 0])), Ok(Status::Serving));
        let unknown_fields = [
            0x12, 1, 9, 0x19, 0, 0, 0, 0, 0, 0, 0, 0, 0x25, 0, 0, 0, 0, 0x28, 7, 8, 2, 8, 1,
        ];
        assert_eq!(serving(&framed(&unknown_fields)), Ok(Status::Serving));
    }

    #[test]
    fn what_is_no_answer() {
        assert_eq!(serving(&[]), Err("the answer holds no message"));
        assert_eq!(
            serving(&[1, 0, 0, 0, 0]),
            Err("the message is compressed, which was not asked for")
        );
        assert_eq!(
            serving(&[0, 0, 0, 0, 3, 8, 1]),
            Err("the message is not as long as it says")
        );
        for wrong in [&[8][..], &[8, 0x80], &[0, 1], &[0x12, 9, 1], &[0x0b], &[0xff; 11]] {
            assert_eq!(serving(&framed(wrong)), Err("the message is malformed"), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = serving(&bytes);
            let _ = serving(&framed(&bytes));
        }

        #[test]
        fn a_number_is_read_as_written(value in any::<u64>(), rest in proptest::collection::vec(any::<u8>(), 0..4)) {
            let mut bytes = Vec::new();
            write_varint(&mut bytes, value);
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(varint(&bytes), Some((value, rest.as_slice())));
        }
    }
}
