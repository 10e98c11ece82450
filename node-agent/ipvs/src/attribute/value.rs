//! Values of attributes: one match for each enum says kind and value together, so that length, kind and bytes cannot drift apart.

use netlink_packet_core::{DefaultNla, Emitable, Nla, NlaBuffer, NlasIterator, Parseable};

use super::{CounterAttribute, DestinationAttribute, LONGEST_NAME, ServiceAttribute};

pub(super) enum Value<'a> {
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

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Fixed { bytes: _, length } => *length,
            Self::Text(name) => name.len() + 1,
            Self::Service(attributes) => attributes.buffer_len(),
            Self::Destination(attributes) => attributes.buffer_len(),
            Self::Counters(attributes) => attributes.buffer_len(),
            Self::Other(other) => other.value_len(),
        }
    }

    /// Writes the value into a buffer of exactly its length.
    pub(super) fn emit(&self, buffer: &mut [u8]) {
        match self {
            Self::Fixed { bytes, length } => buffer.copy_from_slice(&bytes[..*length]),
            Self::Text(name) => {
                buffer[..name.len()].copy_from_slice(name);
                buffer[name.len()] = 0;
            }
            Self::Service(attributes) => attributes.emit(buffer),
            Self::Destination(attributes) => attributes.emit(buffer),
            Self::Counters(attributes) => attributes.emit(buffer),
            Self::Other(other) => other.emit_value(buffer),
        }
    }
}

/// `Nla` from `parts`.
macro_rules! encode_by_parts {
    ($($attribute:ty),+) => {$(
        impl netlink_packet_core::Nla for $attribute {
            fn kind(&self) -> u16 {
                self.parts().0
            }

            fn value_len(&self) -> usize {
                self.parts().1.len()
            }

            fn emit_value(&self, buffer: &mut [u8]) {
                self.parts().1.emit(buffer);
            }
        }
    )+};
}
pub(super) use encode_by_parts;

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
