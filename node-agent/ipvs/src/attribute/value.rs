//! Values of attributes: one match for each enum says kind and value together, so that length, kind and bytes cannot drift apart.

use netlink_packet_core::{DefaultNla, NLA_HEADER_SIZE, Nla, NlaBuffer, NlasIterator, Parseable};

use super::{CounterAttribute, DestinationAttribute, LONGEST_NAME, ServiceAttribute};

pub(crate) enum Value<'a> {
    /// Up to 16 bytes as they travel.
    Fixed {
        bytes: [u8; 16],
        length: usize,
    },
    /// A name, ended by a zero byte.
    Text(&'a [u8]),
    Service(&'a [ServiceAttribute]),
    Destination(&'a [DestinationAttribute]),
    Counters(&'a [CounterAttribute]),
    Other(&'a DefaultNla),
}

impl<'a> Value<'a> {
    pub(super) fn bytes<const N: usize>(value: [u8; N]) -> Self {
        let mut bytes = [0; 16];
        bytes[..N].copy_from_slice(&value);
        Self::Fixed { bytes, length: N }
    }

    pub(super) fn host16(value: u16) -> Self {
        Self::bytes(value.to_ne_bytes())
    }

    pub(super) fn host(value: u32) -> Self {
        Self::bytes(value.to_ne_bytes())
    }

    pub(super) fn host64(value: u64) -> Self {
        Self::bytes(value.to_ne_bytes())
    }

    pub(super) fn flags(flags: u32, mask: u32) -> Self {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&flags.to_ne_bytes());
        bytes[4..].copy_from_slice(&mask.to_ne_bytes());
        Self::bytes(bytes)
    }

    pub(super) fn text(name: &'a str) -> Self {
        Self::Text(&name.as_bytes()[..name.len().min(LONGEST_NAME)])
    }

    fn len(&self) -> usize {
        match self {
            Self::Fixed { bytes: _, length } => *length,
            Self::Text(name) => name.len() + 1,
            Self::Service(attributes) => length(attributes),
            Self::Destination(attributes) => length(attributes),
            Self::Counters(attributes) => length(attributes),
            Self::Other(other) => other.value_len(),
        }
    }

    /// Writes the value at the head of a buffer, and gives its length.
    fn write(&self, buffer: &mut [u8]) -> usize {
        match self {
            Self::Fixed { bytes, length } => {
                buffer[..*length].copy_from_slice(&bytes[..*length]);
                *length
            }
            Self::Text(name) => {
                buffer[..name.len()].copy_from_slice(name);
                buffer[name.len()] = 0;
                name.len() + 1
            }
            Self::Service(attributes) => write(attributes, buffer),
            Self::Destination(attributes) => write(attributes, buffer),
            Self::Counters(attributes) => write(attributes, buffer),
            Self::Other(other) => {
                other.emit_value(&mut buffer[..other.value_len()]);
                other.value_len()
            }
        }
    }
}

/// An attribute's kind, with its flags, and its value.
pub(crate) trait Parts {
    fn parts(&self) -> (u16, Value<'_>);
}

/// How many bytes [`write`] needs.
pub(crate) fn length<A: Parts>(attributes: &[A]) -> usize {
    let framed = |attribute: &A| NLA_HEADER_SIZE + attribute.parts().1.len().next_multiple_of(4);
    attributes.iter().map(framed).sum()
}

/// Writes attributes at the head of a buffer, each with header, value and padding, and gives their length.
///
/// Not by the crate's `Nla`: it asks each attribute seven times for its length, a nest for that of all that is in it, and a
/// message of 134 bytes took longer to write than the kernel takes to execute it.
pub(crate) fn write<A: Parts>(attributes: &[A], buffer: &mut [u8]) -> usize {
    let mut start = 0;
    for attribute in attributes {
        let (kind, value) = attribute.parts();
        let end = NLA_HEADER_SIZE + value.write(&mut buffer[start + NLA_HEADER_SIZE..]);
        // The greatest there is, a service with its counters, has some hundred bytes.
        let length = u16::try_from(end).unwrap_or(u16::MAX);
        let this = &mut buffer[start..start + end.next_multiple_of(4)];
        this[..2].copy_from_slice(&length.to_ne_bytes());
        this[2..NLA_HEADER_SIZE].copy_from_slice(&kind.to_ne_bytes());
        this[end..].fill(0);
        start += this.len();
    }
    start
}

/// `Parseable` from `known`, and `Other` for the rest.
macro_rules! decode_known {
    ($($attribute:ty),+) => {$(
        impl<'a> Parseable<NlaBuffer<&'a [u8]>> for $attribute {
            fn parse(buffer: &NlaBuffer<&'a [u8]>) -> Result<Self, DecodeError> {
                match Self::known(buffer) {
                    Some(known) => Ok(known),
                    None => DefaultNla::parse(buffer).map(Self::Other),
                }
            }
        }
    )+};
}
pub(super) use decode_known;

/// A value of exactly this length.
pub(super) fn fixed<const N: usize>(buffer: &NlaBuffer<&[u8]>) -> Option<[u8; N]> {
    buffer.value().try_into().ok()
}

/// A name as the kernel writes it: one zero byte, at the end.
pub(super) fn text(buffer: &NlaBuffer<&[u8]>) -> Option<String> {
    let (last, name) = buffer.value().split_last()?;
    if *last != 0 || name.contains(&0) || name.len() > LONGEST_NAME {
        return None;
    }
    String::from_utf8(name.to_vec()).ok()
}

/// A list of attributes; `None` if its framing is broken.
pub(super) fn nest<A>(buffer: &NlaBuffer<&[u8]>) -> Option<Vec<A>>
where
    A: for<'b> Parseable<NlaBuffer<&'b [u8]>>,
{
    NlasIterator::new(buffer.value())
        .map(|nla| A::parse(&nla.ok()?).ok())
        .collect()
}
